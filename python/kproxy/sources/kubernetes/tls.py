# SPDX-License-Identifier: Apache-2.0
"""TLS to the API server, built anew whenever one of its files has changed.

Kubelets and cert-managers replace certificates under the same path; a stat per request (there are a few a minute) notices
that without a timer. Inline data goes to OpenSSL through a memory file, so that no key is ever written to a disk.
"""

import contextlib
import os
import ssl
from collections.abc import Iterator
from pathlib import Path

from kproxy.sources.kubernetes.access import Access
from kproxy.sources.kubernetes.credentials import Certificate
from kproxy.table.errors import SourceError, Unauthorized


class Tls:
    """Makes the SSL context for the next connection."""

    def __init__(self, access: Access) -> None:
        self._cluster = access.cluster
        self._origin = access.origin
        user = access.user
        self._own = (
            Certificate(user.client_certificate, user.client_key, user.client_certificate_data, user.client_key_data)
            if user.client_certificate or user.client_certificate_data
            else None
        )
        self._context: ssl.SSLContext | None = None
        self._made_of: tuple[object, ...] = ()

    def context(self, certificate: Certificate | None = None) -> ssl.SSLContext:
        """Return the context, with the given client certificate or our own. Raises SourceError naming the bad file."""
        certificate = certificate or self._own
        files = [self._cluster.certificate_authority, *((certificate.file, certificate.key_file) if certificate else ())]
        made_of = (certificate, *map(_look, files))
        if self._context is None or made_of != self._made_of:
            self._context = self._make(certificate)
            self._made_of = made_of
        return self._context

    def _make(self, certificate: Certificate | None) -> ssl.SSLContext:
        cluster = self._cluster
        try:
            context = ssl.create_default_context(
                cafile=None if cluster.certificate_authority_data else cluster.certificate_authority or None,
                cadata=cluster.certificate_authority_data.decode("ascii") or None,
            )
        except (OSError, ValueError) as error:
            where = "certificate-authority-data" if cluster.certificate_authority_data else cluster.certificate_authority
            raise SourceError(f"{self._origin}: the authority {where} cannot be used ({error}): mend it") from error
        # Clusters' own authorities often lack the extensions that newer Pythons insist on, and may be intermediates.
        context.verify_flags &= ~ssl.VERIFY_X509_STRICT
        context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
        if cluster.insecure_skip_tls_verify:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        if certificate:
            self._add(context, certificate)
        return context

    def _add(self, context: ssl.SSLContext, certificate: Certificate) -> None:
        try:
            with _path(certificate.data, certificate.file) as file, _path(certificate.key_data, certificate.key_file) as key:
                context.load_cert_chain(file, key, password=lambda: "")  # never ask a terminal
        except (OSError, ValueError) as error:
            where = certificate.file or "client-certificate-data"
            raise Unauthorized(
                f"{self._origin}: the client certificate {where} cannot be used ({error}): mend it"
            ) from error


def _look(path: str) -> tuple[int, int, int] | None:
    """Return what changes when a file does."""
    try:
        status = Path(path).stat() if path else None
    except OSError:
        return None
    return (status.st_mtime_ns, status.st_size, status.st_ino) if status else None


@contextlib.contextmanager
def _path(data: bytes, path: str) -> Iterator[str]:
    """Give data a path for as long as OpenSSL reads it."""
    if not data:
        yield path
        return
    descriptor = os.memfd_create("kproxy-certificate", os.MFD_CLOEXEC)
    try:
        os.write(descriptor, data)
        yield f"/proc/self/fd/{descriptor}"
    finally:
        os.close(descriptor)
