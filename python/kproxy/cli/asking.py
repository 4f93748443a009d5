# SPDX-License-Identifier: Apache-2.0
"""How commands ask the running daemon: HTTP over its abstract socket, which exists once in a network namespace."""

import http.client
import socket
import urllib.parse
from collections.abc import Mapping

from kproxy.observe.http import LOCAL_SOCKET
from kproxy.table.errors import KproxyError


class _Connection(http.client.HTTPConnection):
    """HTTP to the daemon of this network namespace."""

    def connect(self) -> None:
        """Connect."""
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(30)
        self.sock.connect(f"\0{LOCAL_SOCKET}")


def ask(page: str, query: Mapping[str, str]) -> str:
    """Return the daemon's answer. Raises KproxyError when none runs here, or with what it says is wrong."""
    connection = _Connection("kproxy")
    try:
        connection.request("GET", f"{page}?{urllib.parse.urlencode(query)}")
        response = connection.getresponse()
        text = response.read().decode()
    except ConnectionRefusedError:
        raise KproxyError("no kproxy runs in this network namespace: start it, or give --manifests DIR") from None
    except (OSError, http.client.HTTPException) as error:
        raise KproxyError(
            f"the kproxy that runs here does not answer ({error!r}): ask as root or as its own user"
        ) from error
    finally:
        connection.close()
    if response.status != http.client.OK:
        raise KproxyError(text.strip())
    return text
