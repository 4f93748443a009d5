# SPDX-License-Identifier: Apache-2.0
"""The page on configuration names what the code knows."""

import re
from pathlib import Path

from kproxy.config import paths
from kproxy.config.flags import FLAGS
from kproxy.config.live import FIXED
from kproxy.config.schema import Extensions

PAGE = (Path(__file__).parents[3] / "docs" / "configuration.md").read_text(encoding="utf-8")


def test_what_is_read_at_the_start_only() -> None:
    """The list of fields that cannot change live is the code's."""
    paragraph = PAGE.partition("These are read at the start only:\n\n")[2].partition("\n\n")[0]

    assert set(re.findall(r"`([^`]+)`", paragraph)) == set(FIXED)


def test_our_section() -> None:
    """Each field of ours stands in the table with its flag, which writes it and beats the file."""
    rows = dict(re.findall(r"^\| `(kproxy\.[\w.]+)` \| `--([\w-]+)` \|", PAGE, re.MULTILINE))

    assert set(rows) == {f"kproxy.{path}" for path, _ in paths.leaves(Extensions())}
    assert all(FLAGS[flag].fields == (field,) and FLAGS[flag].beats_file for field, flag in rows.items())
