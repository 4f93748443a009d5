# SPDX-License-Identifier: Apache-2.0
"""Who may ask: everybody, the bearer of a token, or whoever shows a client certificate.

The answer to anybody else is upstream's 401 (k8s.io/apiserver ``pkg/endpoints/filters/authentication.go``). There is no
authorisation: who is known may do all.
"""

import hmac
import ssl
from pathlib import Path

from kproxy.lab.apiserver.status import unauthorized


class Authentication:
    """What a request must show. ``tokens``: any of these; changing the set revokes those that left it."""

    def __init__(self, tokens: frozenset[str] = frozenset(), *, client_certificates: bool = False) -> None:
        self.tokens = tokens
        self.client_certificates = client_certificates

    def check(self, header: str | None, certificate: object) -> None:
        """Let a request pass or raise ApiError 401."""
        if not self.tokens and not self.client_certificates:
            return
        if self.client_certificates and certificate:
            return
        scheme, _, token = (header or "").partition(" ")
        if scheme.lower() == "bearer" and any(hmac.compare_digest(token.strip(), known) for known in self.tokens):
            return
        raise unauthorized()


def tls_context(certificate: Path, key: Path, client_ca: Path | None = None) -> ssl.SSLContext:
    """Build the server's TLS. ``client_ca``: client certificates are asked for and checked; a token does as well."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate, key)
    if client_ca is not None:
        context.load_verify_locations(client_ca)
        context.verify_mode = ssl.CERT_OPTIONAL
    return context
