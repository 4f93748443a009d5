# SPDX-License-Identifier: Apache-2.0
"""A host of the lab: one network namespace without a name.

Nothing but a descriptor of this process keeps it alive, so whatever ends the process (Ctrl-C, a crash, ``kill -9``) takes
the namespace, its links, rules and listeners with it. Nothing has to be cleaned up, and nothing can be left behind.
"""

import os
import socket
import subprocess
import threading
from typing import Final

from kproxy.lab.namespaces import inside, private
from kproxy.table.errors import KernelError

_SYSCTLS: Final = (
    "net/ipv4/ip_forward=1",
    "net/ipv6/conf/all/forwarding=1",
    "net/ipv6/conf/default/forwarding=1",
    "net/ipv4/conf/all/rp_filter=0",
    "net/ipv4/conf/default/rp_filter=0",
    "net/ipv6/conf/all/accept_dad=0",  # addresses are usable at once
    "net/ipv6/conf/default/accept_dad=0",
    "net/ipv6/conf/all/accept_ra=0",
    "net/ipv6/conf/default/accept_ra=0",
)


def _descriptor_of_new_namespace() -> int:
    """Make a namespace in a thread of its own, so that no other thread ever leaves its place."""
    made: list[int] = []
    failed: list[Exception] = []

    def make() -> None:
        try:
            with private():
                made.append(os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC))
        except Exception as error:  # noqa: BLE001 - carried over to the caller's thread
            failed.append(error)

    thread = threading.Thread(target=make, name="new-namespace")
    thread.start()
    thread.join()
    if failed:
        raise failed[0]
    return made[0]


class Host:
    """A machine, or a Pod, of the lab."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.namespace = _descriptor_of_new_namespace()
        self.ip("link set lo up")
        for setting in _SYSCTLS:
            self.sysctl(setting)

    @property
    def path(self) -> str:
        """A path by which other processes (``ip link … netns PATH``) find the namespace."""
        return f"/proc/{os.getpid()}/fd/{self.namespace}"

    def ip(self, *commands: str) -> None:
        """Run ``ip`` commands inside, all in one process. Raises KernelError with ip's words."""
        with inside(self.namespace):
            done = subprocess.run(
                ["ip", "-batch", "-"], input="\n".join(commands) + "\n", capture_output=True, text=True, check=False
            )
        if done.returncode:
            raise KernelError(f"{self.name}: ip refused one of {commands}: {done.stderr.strip()}")

    def sysctl(self, setting: str) -> None:
        """Write ``path/below/proc/sys=value`` inside; a setting this kernel does not have is left out."""
        path, _, value = setting.partition("=")
        with inside(self.namespace):
            try:
                with open(f"/proc/sys/{path}", "w") as file:  # noqa: PTH123 - /proc/sys is seen through this thread
                    file.write(value)
            except FileNotFoundError:
                pass

    def socket(self, family: int, kind: int) -> socket.socket:
        """Open a non-blocking socket inside; it stays there for good."""
        with inside(self.namespace):
            made = socket.socket(family, kind)
        made.setblocking(False)
        return made

    def close(self) -> None:
        """Let go of the namespace; the kernel takes it and its links away."""
        if self.namespace >= 0:
            os.close(self.namespace)
            self.namespace = -1


def join(one: Host, one_link: str, other: Host, other_link: str) -> None:
    """Join two hosts by a veth pair, both ends up."""
    one.ip(
        f"link add {one_link} type veth peer name {other_link} netns {other.path}",
        f"link set {one_link} up",
    )
    other.ip(f"link set {other_link} up")
