# SPDX-License-Identifier: Apache-2.0
"""The stub says what the built module has."""

import subprocess
import sys

from kproxy import _core


def test_the_stub_is_the_module() -> None:
    """``mypy.stubtest`` finds no difference between ``_core.pyi`` and the core."""
    done = subprocess.run(
        [sys.executable, "-m", "mypy.stubtest", "kproxy._core"], capture_output=True, text=True, check=False
    )

    assert done.returncode == 0, done.stdout


def test_the_core_tells_what_it_is() -> None:
    """Version, profile and architecture, for ``kproxy version``."""
    assert set(_core.build_info()) == {"version", "profile", "architecture"}
