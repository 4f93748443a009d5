# SPDX-License-Identifier: Apache-2.0
"""What can go wrong on the way to an API server, each as one sentence with a mend."""

import contextlib
import ssl
from collections.abc import Iterator, Mapping

import aiohttp

from kproxy.sources.kubernetes.wire import open_status
from kproxy.table.errors import Expired, SourceError, Stalled, Unauthorized


@contextlib.contextmanager
def sentences(server: str, origin: str) -> Iterator[None]:
    """Turn whatever the network raises into a SourceError."""
    try:
        yield
    except (aiohttp.ClientError, TimeoutError, OSError) as error:
        kind = Stalled if isinstance(error, TimeoutError) else SourceError
        raise kind(_sentence(error, server, origin)) from error


def _sentence(error: Exception, server: str, origin: str) -> str:
    match error:
        case aiohttp.ClientConnectorCertificateError():
            return (
                f"{server} shows a certificate that {origin} does not trust ({error.certificate_error}): mend the authority"
            )
        case aiohttp.ClientConnectorDNSError():
            return f"{server} is an unknown name ({error.os_error.strerror}): mend the node's DNS or the server of {origin}"
        case aiohttp.ClientHttpProxyError() | aiohttp.ClientProxyConnectionError():
            return f"the proxy towards {server} does not let us through ({error}): mend HTTPS_PROXY or NO_PROXY"
        case aiohttp.ClientSSLError() | ssl.SSLError():
            return f"{server} does not speak TLS as it should ({error}): mend the server's address in {origin}"
        case aiohttp.ClientConnectorError():
            return f"{server} cannot be reached ({error.os_error.strerror or error.os_error}): is the API server up?"
        case TimeoutError():
            return f"{server} has said nothing for too long: is the network in between well?"
        case _:
            return f"the connection to {server} is torn ({str(error) or type(error).__name__}): is the API server up?"


def refusal(method: str, path: str, status: int, headers: Mapping[str, str], body: bytes) -> SourceError:
    """Turn an answer that is not a success into the error to raise."""
    answer = open_status(body)
    words = f"{method} {path}: {status} {answer.words}".rstrip()
    wait = max(answer.retry_after, _seconds(headers.get("Retry-After", "")))
    if status == 410:
        return Expired(words, status=status, retry_after=wait)
    if status == 401:
        return Unauthorized(
            f"{words}: the API server does not know us; mend the credentials", status=status, retry_after=wait
        )
    if status == 403:
        mend = "grant it, as ClusterRole system:node-proxier does"
        return Unauthorized(f"{words}: {mend}", status=status, retry_after=wait)
    if 300 <= status < 400:
        target = headers.get("Location", "elsewhere")
        return SourceError(f"{words}: sends us to {target}; name the API server itself as the server", status=status)
    return SourceError(words, status=status, retry_after=wait)


def _seconds(retry_after: str) -> float:
    """Read Retry-After; API servers send seconds, never a date."""
    return float(retry_after) if retry_after.isascii() and retry_after.isdigit() else 0.0
