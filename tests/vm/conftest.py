# SPDX-License-Identifier: Apache-2.0
"""Tests that need a kernel with IPVS: ``scripts/vm pytest tests/vm``."""

from collections.abc import Iterator

import pytest

from kproxy.kernel.ipvs import Ipvs
from kproxy.table.errors import KernelError
from tests.vm.way import Way


@pytest.fixture(scope="session", autouse=True)
def _kernel_with_ipvs() -> None:
    """Fail where there is no IPVS: nothing here may be skipped and called done."""
    try:
        Ipvs()
    except KernelError as error:
        pytest.fail(f"{error}; these tests are run by: scripts/vm pytest tests/vm", pytrace=False)


@pytest.fixture(scope="module")
def way() -> Iterator[Way]:
    """Lay out a client, a node with IPVS and servers, in a row."""
    laid = Way()
    yield laid
    laid.close()
