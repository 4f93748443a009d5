# SPDX-License-Identifier: Apache-2.0
"""Which case runs in which mode: by rule and never by id.

A case runs in each mode that its ``only_modes`` names (none named: in all). Real packets through ``ipvs`` and ``userspace``
also run whatever names nftables, with its expectation and its default of NodePort addresses. Userspace has no SCTP, and
opens its own connections, so the key ``masquerade`` says nothing there.
"""

from typing import Any, Final

from kproxy.table.terms import Mode, Protocol

Case = dict[str, Any]
MODES: Final = tuple(mode.value for mode in (Mode.IPTABLES, Mode.NFTABLES, Mode.IPVS, Mode.USERSPACE))
NOT_NAMED: Final = "only_modes does not name the mode"
NO_SCTP: Final = "userspace has no SCTP"
INNER: Final = "inner: pins how kube-proxy is built inside"


ANSWERS: Final = ("REJECT", "DROP", "ACCEPT", "NONE", "BLOCKED")


def unfit(case: Case) -> str:
    """Say why a case fits no rule at all; empty when it does."""
    unknown = [mode for mode in case.get("only_modes") or () if mode not in MODES]
    if unknown:
        return f"only_modes names {unknown[0]!r}, which is no mode"
    if "area" in case:
        return ""
    if not case.get("flows"):
        return "it has neither an area nor flows"
    return next((words for flow in case["flows"] if (words := _unfit_flow(flow))), "")


def _unfit_flow(flow: Case) -> str:
    name = flow.get("name") or "a flow without a name"
    missing = [key for key in ("from", "src_ip", "dst_ip", "dst_port", "protocol", "expect") if not flow.get(key)]
    if missing:
        return f"{name} does not say {missing[0]}"
    expect = flow["expect"]
    if not isinstance(expect, list) and expect not in ANSWERS:
        return f"{name} expects {expect!r}, which is neither a list nor one of {', '.join(ANSWERS)}"
    return ""


def modes_of(case: Case) -> list[str]:
    """Return the modes a case names."""
    return list(case.get("only_modes") or MODES)


def excluded(case: Case, mode: str, *, packets: bool) -> str:
    """Name the rule that keeps a traffic case out of a mode; empty: it runs."""
    named = modes_of(case)
    inherited = packets and mode in (Mode.IPVS, Mode.USERSPACE) and Mode.NFTABLES in named
    if mode not in named and not inherited:
        return NOT_NAMED
    if mode == Mode.USERSPACE and not flows_of(case, mode):
        return NO_SCTP
    return ""


def flows_of(case: Case, mode: str) -> list[Case]:
    """Return the flows that run in a mode."""
    flows: list[Case] = case["flows"]
    return [flow for flow in flows if mode != Mode.USERSPACE or flow["protocol"] != Protocol.SCTP]


def compares_masquerade(mode: str) -> bool:
    """Tell whether the key ``masquerade`` counts in a mode."""
    return mode != Mode.USERSPACE
