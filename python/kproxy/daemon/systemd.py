# SPDX-License-Identifier: Apache-2.0
"""What systemd is told: READY once the first table is in force, STOPPING, and that we are alive (WATCHDOG)."""

import os
import socket
from collections.abc import Mapping


class Notifier:
    """Speaks sd_notify(3), or is silent where nobody listens."""

    def __init__(self, environment: Mapping[str, str] = os.environ) -> None:
        self._address = environment.get("NOTIFY_SOCKET", "").replace("@", "\0", 1)
        microseconds = environment.get("WATCHDOG_USEC", "")
        watched = environment.get("WATCHDOG_PID", str(os.getpid())) == str(os.getpid())
        self.watchdog = int(microseconds) / 2e6 if microseconds.isdigit() and watched else None
        """Seconds between two signs of life; None: nobody asks for them."""

    def ready(self, words: str) -> None:
        """Tell that the service is up."""
        self._send(f"READY=1\nSTATUS={words}")

    def alive(self) -> None:
        """Give a sign of life."""
        self._send("WATCHDOG=1")

    def stopping(self) -> None:
        """Tell that the service goes down."""
        self._send("STOPPING=1")

    def _send(self, message: str) -> None:
        if not self._address:
            return
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as channel:
            try:
                channel.sendto(message.encode(), self._address)
            except OSError:
                return  # whoever started us has gone; there is nobody to tell
