# SPDX-License-Identifier: Apache-2.0
"""No dial is refused while endpoints change. ``bench/test_dials.py`` does the same at full length."""

import pytest

from kproxy.dataplanes.nftables.dataplane import NftablesDataplane
from tests.faults.churn import churn

pytestmark = pytest.mark.packets


@pytest.mark.parametrize("affinity", [0, 60])
def test_no_dial_is_refused_while_endpoints_change(affinity: int) -> None:
    """Adding, taking away and replacing endpoints refuses nobody, with and without affinity."""
    outcome = churn(NftablesDataplane, services=100, changes=2_000, affinity=affinity)

    assert outcome.dials > outcome.changes
    assert (outcome.failures, outcome.slow, outcome.refused) == (0, 0, {})
