# SPDX-License-Identifier: Apache-2.0
"""auth-providers (OIDC and vendors' own), by way of the official client library.

This is the only module that imports ``kubernetes``, and only users of an auth-provider ever import this one: it costs
43 MB. The library reads the kubeconfig file by itself, asks the provider when the token has expired, and writes a renewed
refresh token back to the file.
"""

import asyncio
from typing import Final

from kubernetes import config as library

from kproxy.sources.kubernetes.access import Access, AuthProvider
from kproxy.sources.kubernetes.credentials import Certificate
from kproxy.table.clock import Clock
from kproxy.table.errors import Unauthorized

PERIOD: Final = 60.0  # seconds between looks at the token's expiry


class _Answer:
    """Takes what the library sets on its own client's configuration."""

    def __init__(self) -> None:
        self.api_key: dict[str, str] = {}


class AuthProviderCredentials:
    """Asks the library for a header."""

    def __init__(self, provider: AuthProvider, access: Access, *, clock: Clock) -> None:
        self._provider = provider
        self._origin = access.origin
        self._files = ":".join(access.files)
        self._clock = clock
        self._header = ""
        self._due = 0.0

    async def authorization(self) -> str:
        """Return the provider's token as a header."""
        if self._clock.monotonic() >= self._due:
            self._header = await asyncio.to_thread(self._ask)
            self._due = self._clock.monotonic() + PERIOD
        return self._header

    def certificate(self) -> Certificate | None:
        """Return none."""
        return None

    def refused(self) -> None:
        """Ask again next time."""
        self._due = 0.0

    def _ask(self) -> str:
        answer = _Answer()
        name = self._provider.name
        try:
            library.load_kube_config(config_file=self._files, client_configuration=answer)  # type: ignore[no-untyped-call]
        except Exception as error:  # the library lets through whatever its own libraries raise
            raise Unauthorized(f"{self._origin}: auth-provider {name} failed: {error}; log in again") from error
        header = answer.api_key.get("BearerToken", "")
        if not header:
            raise Unauthorized(f"{self._origin}: auth-provider {name} gave no token: log in again, or use an exec plugin")
        return header
