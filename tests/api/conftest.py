# SPDX-License-Identifier: Apache-2.0
"""A lab API server and a plain HTTP client for it."""

from collections.abc import AsyncIterator

import aiohttp
import pytest

from kproxy.lab.apiserver import ApiServer


@pytest.fixture
async def server() -> AsyncIterator[ApiServer]:
    """Return a server that is impatient and beats often, so that no test has to wait."""
    async with ApiServer(patience=0.1, bookmark_period=0.2) as running:
        yield running


@pytest.fixture
async def http(server: ApiServer) -> AsyncIterator[aiohttp.ClientSession]:
    """Return a client whose paths are relative to the server."""
    async with aiohttp.ClientSession(server.url) as session:
        yield session
