# SPDX-License-Identifier: Apache-2.0
"""Tests that need a kernel with IPVS: ``scripts/vm pytest tests/vm``."""

from collections.abc import Iterator

import pytest

from kproxy.kernel.ipvs import Ipvs
from kproxy.table.errors import KernelError
from tests.vm.way import Way


def pytest_collection_finish() -> None:
    """End at once where there is no IPVS: nothing here may be skipped and called done."""
    try:
        Ipvs()
    except KernelError as error:
        pytest.exit(f"{error}; tests/vm run by: scripts/vm pytest tests/vm", returncode=1)


@pytest.fixture(scope="module")
def way() -> Iterator[Way]:
    """Lay out a client, a node with IPVS and servers, in a row."""
    laid = Way()
    yield laid
    laid.close()
