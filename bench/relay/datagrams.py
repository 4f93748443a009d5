# SPDX-License-Identifier: Apache-2.0
"""Where the echo and the load for datagrams stand: a program of its own, because Python cannot keep a relay busy."""

from pathlib import Path
from typing import Final

ECHO: Final = Path(__file__).parents[2] / "target/release/datagrams"
