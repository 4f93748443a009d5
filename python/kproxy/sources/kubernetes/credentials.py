# SPDX-License-Identifier: Apache-2.0
"""Who we are to the API server, and how that is renewed.

Client certificates are TLS's business (``tls``) unless an exec plugin makes them; everything else is a header. The order
in which a user's fields count is the one of kubectl.
"""

import base64
import logging
from pathlib import Path
from typing import Final, Protocol

import msgspec

from kproxy.sources.kubernetes.access import Access
from kproxy.table.clock import Clock
from kproxy.table.errors import ConfigError, Unauthorized

log = logging.getLogger(__name__)

TOKEN_FILE_PERIOD: Final = 60.0  # seconds; kubelets renew tokens long before they expire


class Certificate(msgspec.Struct, frozen=True):
    """A client certificate and its key: paths, or PEM where the ``_data`` fields are set."""

    file: str = ""
    key_file: str = ""
    data: bytes = b""
    key_data: bytes = b""


class Credentials(Protocol):
    """A way to show who we are."""

    async def authorization(self) -> str:
        """Return the value of the Authorization header; empty: none. Raises SourceError when it cannot be had now."""

    def certificate(self) -> Certificate | None:
        """Return the client certificate that the last ``authorization`` brought."""

    def refused(self) -> None:
        """Note that the server did not accept it: the next call of ``authorization`` gets another."""


class Fixed:
    """A header that never changes: a token, a password, or nothing."""

    def __init__(self, header: str = "") -> None:
        self._header = header

    async def authorization(self) -> str:
        """Return it."""
        return self._header

    def certificate(self) -> Certificate | None:
        """Return none."""
        return None

    def refused(self) -> None:
        """Do nothing: there is no other."""


class TokenFile:
    """A token in a file that somebody else renews; read every minute and whenever it is refused."""

    def __init__(self, path: Path, *, clock: Clock, initial: str = "") -> None:
        self._path = path
        self._clock = clock
        self._token = initial
        self._due = 0.0

    async def authorization(self) -> str:
        """Return the token, read anew if that is due. One that was good stays in use while the file is bad."""
        if self._clock.monotonic() >= self._due:
            self._read()
        return f"Bearer {self._token}"

    def _read(self) -> None:
        try:
            token, trouble = self._path.read_text().strip(), "is empty"
        except (OSError, UnicodeDecodeError) as error:
            token, trouble = "", f"cannot be read ({error})"
        if token:
            self._token = token
            self._due = self._clock.monotonic() + TOKEN_FILE_PERIOD
        elif self._token:
            log.warning("token file %s %s; the last good token stays in use", self._path, trouble)
        else:
            raise Unauthorized(f"token file {self._path} {trouble}: mend the file")

    def certificate(self) -> Certificate | None:
        """Return none."""
        return None

    def refused(self) -> None:
        """Read the file anew next time."""
        self._due = 0.0


def credentials_of(access: Access, *, clock: Clock) -> Credentials:
    """Choose the way in. Raises ConfigError for one that cannot work."""
    user = access.user
    if bool(user.client_certificate or user.client_certificate_data) != bool(user.client_key or user.client_key_data):
        raise ConfigError(
            f"{access.origin}: a client certificate needs its key and the other way round: set both for the user"
        )
    if user.token_file:
        return TokenFile(Path(user.token_file), clock=clock, initial=user.token)
    if user.token:
        return Fixed(f"Bearer {user.token}")
    if user.username:
        return Fixed("Basic " + base64.b64encode(f"{user.username}:{user.password}".encode()).decode())
    if user.exec:
        from kproxy.sources.kubernetes.exec_plugin import ExecPlugin  # noqa: PLC0415 - few need it

        return ExecPlugin(user.exec, access, clock=clock)
    if user.auth_provider:
        from kproxy.sources.kubernetes.vendor import AuthProviderCredentials  # noqa: PLC0415 - 43 MB that few need

        return AuthProviderCredentials(user.auth_provider, access, clock=clock)
    return Fixed()
