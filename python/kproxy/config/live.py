# SPDX-License-Identifier: Apache-2.0
"""What to do when the configuration file changes under a running daemon.

Upstream ends itself at every change so that its supervisor starts it anew. kproxy applies what it can and ends, with the
same words, only for what it cannot: the fields below, and a file that cannot be used any more. Ending costs no traffic:
the rules stay, and the new start either takes them over or says what is wrong with the file. Another mode is applied too.
"""

from typing import Final, TypeAlias

import msgspec

from kproxy.config import paths
from kproxy.config.loading import Start, complete, configure
from kproxy.config.schema import KubeProxyConfiguration
from kproxy.table.errors import ConfigError

WORDS: Final = "content of the proxy server's configuration file was updated"  # upstream's, which supervisors may look for

# Fields, or whole sections, that are read once: at the start.
FIXED: Final[dict[str, str]] = {
    "featureGates": "gates are settled at the start",
    "clientConnection": "the connection to the API server is made at the start",
    "hostnameOverride": "another node name is another daemon",
    "healthzBindAddress": "the health server is bound at the start",
    "metricsBindAddress": "the metrics server is bound at the start",
    "bindAddressHardFail": "the servers are bound at the start",
    "enableProfiling": "the metrics server's paths are settled at the start",
    "showHiddenMetricsForVersion": "metrics are registered at the start",
    "iptables.masqueradeBit": "the mark is part of every rule",
    "nftables.masqueradeBit": "the mark is part of every rule",
    "oomScoreAdj": "it wants the privileges of the start",
    "conntrack": "sysctls want the privileges of the start",
    "logging.format": "the log is opened at the start",
    "logging.options": "the log is opened at the start",
    "kproxy.manifests": "the source of Services is opened at the start",
    "kproxy.countBytes": "counting is part of the rules",
    "kproxy.conntrackMask": "the mask is part of the rules",
    "kproxy.relay": "the relay is started with it",
    "ipvs.excludeCIDRs": "what is not ours is settled at the start",
    "ipvs.strictARP": "sysctls are set at the start",
    "ipvs.tcpTimeout": "time-outs are set at the start",
    "ipvs.tcpFinTimeout": "time-outs are set at the start",
    "ipvs.udpTimeout": "time-outs are set at the start",
}
# Fields that have no effect on Linux: a change of them is no change.
IDLE: Final = frozenset({"winkernel", "windowsRunAsService", "portRange"})


class Unchanged(msgspec.Struct, frozen=True):
    """The file says what it said before."""


class Apply(msgspec.Struct, frozen=True):
    """All that changed can be applied now: the paths of the fields, and the new start.

    ``as_written`` is that start before the machine's part in it was filled in.
    """

    fields: tuple[str, ...]
    start: Start
    as_written: Start

    def keeping(self, mode: str) -> "Apply":
        """Return the same but for the mode. Raises ConfigError for what does not go with that mode."""
        kept = msgspec.structs.replace(self.as_written, config=msgspec.structs.replace(self.as_written.config, mode=mode))
        start = complete(kept, nftables_works=bool(self.start.nftables_works))
        return msgspec.structs.replace(self, start=start, fields=tuple(path for path in self.fields if path != "mode"))


class End(msgspec.Struct, frozen=True):
    """The process must end with these words, for its supervisor to start it with the new content."""

    words: str


Decision: TypeAlias = Unchanged | Apply | End


def _within(path: str, above: str) -> bool:
    return path == above or path.startswith(f"{above}.")


def fixed(fields: tuple[str, ...]) -> dict[str, str]:
    """Return those of the fields that cannot change live, with the reason."""
    return {path: why for path in fields for above, why in FIXED.items() if _within(path, above)}


def changed_fields(before: KubeProxyConfiguration, after: KubeProxyConfiguration) -> tuple[str, ...]:
    """Return the paths of the fields that differ and have an effect."""
    return tuple(path for path in paths.changed(before, after) if not any(_within(path, idle) for idle in IDLE))


def judge(start: Start, text: str | None) -> Decision:
    """Decide what a new content of the file asks for. ``text`` None: the file is gone. ``start`` is what is in force now."""
    if text is None:
        return End(f"{WORDS}: {start.config_file} is gone")
    try:
        written = after = configure(start.command_line, text)
        if start.nftables_works is not None:
            after = complete(written, nftables_works=start.nftables_works)
    except ConfigError as error:
        return End(f"{WORDS} and cannot be used: {error}")
    fields = changed_fields(start.config, after.config)
    reasons = fixed(fields)
    if reasons:
        named = "; ".join(f"{path} ({why})" for path, why in reasons.items())
        return End(f"{WORDS}, and cannot all be changed while running: {named}")
    return Apply(fields, after, written) if fields else Unchanged()
