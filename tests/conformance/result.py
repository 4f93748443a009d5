# SPDX-License-Identifier: Apache-2.0
"""What came of one case in one mode."""

import msgspec


class Result(msgspec.Struct, frozen=True):
    """``words`` says what was wrong, or is empty.

    ``mode`` is the mode the case ran in; ``skipped`` is the rule that kept it out, or empty: then it ran.
    """

    id: str
    ok: bool
    words: str = ""
    mode: str = ""
    skipped: str = ""


class ModeNotBuilt(Exception):  # noqa: N818 - it is an answer, not a mishap
    """A unit case about a mode that does not exist yet."""
