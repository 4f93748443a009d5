# SPDX-License-Identifier: Apache-2.0
"""Tests that say nothing of how a mode does it run in each mode that their author names by this fixture."""

from collections.abc import Iterator

import pytest

from kproxy.table.terms import Mode
from tests.sequences.stage import MODE


@pytest.fixture(params=[Mode.NFTABLES, Mode.USERSPACE])
def any_mode(request: pytest.FixtureRequest) -> Iterator[Mode]:
    """Have stages set up in this mode."""
    token = MODE.set(request.param)
    yield request.param
    MODE.reset(token)
