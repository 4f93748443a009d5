# SPDX-License-Identifier: Apache-2.0
"""Running one of the kernel's own tools, with every failure as a sentence.

No shell, fixed argument lists, the C locale, so that messages can be read by people who search for them.
"""

import os
import shutil
import subprocess
from collections.abc import Sequence
from typing import Final

from kproxy.table.errors import Busy, KernelError, PermissionDenied, Unsupported

_PACKAGES: Final = {"nft": "nftables", "ip": "iproute2", "ip6tables": "iptables"}  # where they differ from the tool's name


def installed(tool: str) -> bool:
    """Tell whether a tool is on PATH."""
    return shutil.which(tool) is not None


def run(arguments: Sequence[str], text: str | None = None, *, seconds: float = 120.0) -> str:
    """Run a tool with ``text`` on its standard input and return its output.

    Raises Unsupported when it is not installed, PermissionDenied, Busy when somebody holds the lock or was faster, else
    KernelError with the tool's own words.
    """
    tool = arguments[0]
    environment = {**os.environ, "LC_ALL": "C"}
    try:
        done = subprocess.run(
            list(arguments), input=text, capture_output=True, text=True, timeout=seconds, env=environment, check=False
        )
    except FileNotFoundError as error:
        package = _PACKAGES.get(tool, tool.partition("-")[0])
        raise Unsupported(f"{tool} is not installed: install the package {package}") from error
    except subprocess.TimeoutExpired as error:
        raise Busy(f"{' '.join(arguments)} did not end within {seconds:g} s: see what holds the kernel's tables") from error
    if done.returncode == 0:
        return done.stdout
    words = " ".join(done.stderr.split()) or f"exit code {done.returncode}"
    sentence = f"{' '.join(arguments)}: {words}"
    if "Operation not permitted" in words or "Permission denied" in words or "must be root" in words:
        raise PermissionDenied(f"{sentence}: give kproxy CAP_NET_ADMIN")
    if "xtables lock" in words or "Resource temporarily unavailable" in words or "Device or resource busy" in words:
        raise Busy(f"{sentence}: somebody else is changing the same tables")
    raise KernelError(sentence)
