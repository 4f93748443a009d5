# SPDX-License-Identifier: Apache-2.0
"""The command line: ``kproxy`` runs the daemon; ``kproxy VERB`` looks, plans or cleans.

- ``run``: the daemon, with kube-proxy's flags, and its one-shot flags
- ``explain``, ``status``: ask the running daemon; ``explain`` also from manifests
- ``plan``: the transaction that would be sent, as text
- ``cleanup``: our rules and kube-proxy's leftovers, nobody else's
- ``lab``: a small cluster in network namespaces
"""

import importlib
import sys
from collections.abc import Sequence
from typing import Final

from kproxy import __version__
from kproxy.table.errors import KproxyError

COMMANDS: Final = {
    "explain": "what a packet meets, and why: kproxy explain SRC DST:PORT/PROTO",
    "status": "what the running daemon does, and what troubles it",
    "plan": "the transaction that would be sent to the kernel, as text",
    "cleanup": "remove our rules and kube-proxy's leftovers, nobody else's",
    "lab": "a small cluster in network namespaces, to try things",
    "version": "print the version",
}
FAILED: Final = 1


def overview() -> str:
    """Return what stands above the flags in ``--help``."""
    commands = "\n".join(f"  {name:<9}{words}" for name, words in COMMANDS.items())
    return f"""kproxy {__version__}: forwards Service traffic on this node, in kube-proxy's place.

usage: kproxy [flags]            run the daemon
       kproxy COMMAND [...]      kproxy COMMAND --help says more

commands:
{commands}

"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run what is asked for and return the exit code. Errors are one sentence on standard error."""
    arguments = sys.argv[1:] if arguments is None else list(arguments)
    try:
        if arguments and arguments[0] in COMMANDS:
            return _command(arguments[0], arguments[1:])
        if arguments and arguments[0] in {"-h", "--help", "help"}:
            from kproxy.config.command_line import parser  # noqa: PLC0415 - commands start faster without

            print(overview() + parser().format_help().partition("\n\n")[2], end="")
            return 0
        from kproxy.cli import run  # noqa: PLC0415 - commands start faster without

        return run.main(arguments)
    except KproxyError as error:
        print(f"kproxy: {error}", file=sys.stderr)
        return FAILED
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        return FAILED


def _command(name: str, arguments: Sequence[str]) -> int:
    if name == "version":
        print(f"kproxy {__version__}")
        return 0
    module = importlib.import_module("kproxy.lab.command" if name == "lab" else f"kproxy.cli.{name}")
    code: int = module.main(arguments)
    return code
