# SPDX-License-Identifier: Apache-2.0
"""``kproxy`` without a command: the daemon, or what one of its one-shot flags asks for."""

import asyncio
import platform
from collections.abc import Sequence

from kproxy import __version__
from kproxy.config.loading import Start, load
from kproxy.config.write import write_config
from kproxy.daemon import logs
from kproxy.daemon.main import initialise, run
from kproxy.daemon.process import families, spare_memory


def main(arguments: Sequence[str]) -> int:
    """Run until told to end. Raises KproxyError."""
    start = load(arguments)
    if start.version:
        print(version_text(start.version))
        return 0
    logs.set_up(start.config.logging)
    if start.cleanup:
        from kproxy.cli.cleanup import clean  # noqa: PLC0415 - rarely asked for

        return clean()
    if start.write_config_to:
        from kproxy.daemon.modes import choose_mode  # noqa: PLC0415 - rarely asked for

        completed, _ = choose_mode(start, families())
        write_config(completed.config, start.write_config_to)
        return 0
    return _serve(start)


def _serve(start: Start) -> int:
    if start.init_only:
        initialise(start)
        return 0
    spare_memory()
    asyncio.run(run(start))
    return 0


def version_text(wanted: str) -> str:
    """Return what ``--version`` prints: one line, or with ``raw`` all parts; ``vX.Y.Z`` is reported as it is."""
    if wanted == "raw":
        from kproxy import _core  # noqa: PLC0415 - rarely asked for

        parts = {"version": __version__, "python": platform.python_version(), "platform": platform.platform()}
        return "\n".join(f"{name}: {value}" for name, value in (parts | _core.build_info()).items())
    return f"kproxy {wanted}" if wanted.startswith("v") else f"kproxy {__version__}"
