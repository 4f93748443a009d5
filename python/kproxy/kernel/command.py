# SPDX-License-Identifier: Apache-2.0
"""Running one of the kernel's own tools, with every failure as a sentence.

No shell, fixed argument lists, the C locale, so that messages can be read by people who search for them.
"""

import os
import shutil
import subprocess
from collections.abc import Callable, Sequence
from typing import Final

from kproxy.table.errors import Busy, KernelError, PermissionDenied, Unsupported

_LONGEST: Final = 500  # characters of a complaint
_PACKAGES: Final = {"nft": "nftables", "ip": "iproute2", "ip6tables": "iptables"}  # where they differ from the tool's name


def installed(tool: str) -> bool:
    """Tell whether a tool is on PATH."""
    return shutil.which(tool) is not None


def run(
    arguments: Sequence[str],
    text: str | None = None,
    *,
    seconds: float = 120.0,
    ended: Callable[[int], None] | None = None,
) -> str:
    """Run a tool with ``text`` on its standard input and return its output. ``ended`` is told its process id afterwards.

    Raises Unsupported when it is not installed, PermissionDenied, Busy when somebody holds the lock or was faster, else
    KernelError with the tool's own words.
    """
    tool = arguments[0]
    environment = {**os.environ, "LC_ALL": "C"}
    try:
        process = subprocess.Popen(
            list(arguments),
            stdin=subprocess.DEVNULL if text is None else subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=environment,
        )
    except FileNotFoundError as error:
        package = _PACKAGES.get(tool, tool.partition("-")[0])
        raise Unsupported(f"{tool} is not installed: install the package {package}") from error
    with process:
        try:
            output, complaint = process.communicate(text, timeout=seconds)
        except subprocess.TimeoutExpired as error:
            process.kill()
            process.communicate()
            words = f"{' '.join(arguments)} did not end within {seconds:g} s: see what holds the kernel's tables"
            raise Busy(words) from error
        finally:
            if ended:
                ended(process.pid)
    if process.returncode == 0:
        return output
    words = " ".join(complaint.split())[:_LONGEST] or f"exit code {process.returncode}"
    sentence = f"{' '.join(arguments)}: {words}"
    if "Operation not permitted" in words or "Permission denied" in words or "must be root" in words:
        raise PermissionDenied(f"{sentence}: give kproxy CAP_NET_ADMIN")
    if "xtables lock" in words or "Resource temporarily unavailable" in words or "Device or resource busy" in words:
        raise Busy(f"{sentence}: somebody else is changing the same tables")
    raise KernelError(sentence)
