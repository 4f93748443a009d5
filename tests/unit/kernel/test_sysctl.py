# SPDX-License-Identifier: Apache-2.0
"""Sysctls are written only where they differ, and a refusal says what to do."""

import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kproxy.config.durations import Duration
from kproxy.config.schema import Conntrack
from kproxy.kernel.conntrack_sysctls import LARGEST_TABLE, conntrack_sysctls, table_size
from kproxy.kernel.sysctl import PROC_SYS, Sysctl, Sysctls
from kproxy.table.errors import PermissionDenied, Unsupported


def _put(root: Path, name: str, value: int) -> Path:
    file = root.joinpath(*name.split("."))
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(f"{value}\n", encoding="ascii")
    return file


def test_only_differences_are_written(tmp_path: Path) -> None:
    """What is right stays, what is larger stays where larger is as good, the rest is written."""
    equal, larger, different = (_put(tmp_path, f"net.{name}", value) for name, value in (("a", 1), ("b", 9), ("c", 9)))
    before = [file.stat().st_mtime_ns for file in (equal, larger)]

    outcome = Sysctls(tmp_path).ensure([Sysctl("net.a", 1), Sysctl("net.b", 5, raise_only=True), Sysctl("net.c", 5)])

    assert [str(wish) for wish in outcome.written] == ["net.c=5"]
    assert different.read_text(encoding="ascii").strip() == "5"
    assert [file.stat().st_mtime_ns for file in (equal, larger)] == before


def test_a_missing_setting(tmp_path: Path) -> None:
    """A setting that the kernel does not have is named with the module to load; the others are still written."""
    _put(tmp_path, "net.c", 9)

    outcome = Sysctls(tmp_path).ensure([
        Sysctl("net.netfilter.nf_conntrack_max", 5, "conntrack.maxPerCore"),
        Sysctl("net.netfilter.nf_conntrack_buckets", 5, optional=True),
        Sysctl("net.c", 5),
    ])  # fmt: skip

    assert [type(error) for error in outcome.errors] == [Unsupported]
    assert "load the kernel module nf_conntrack, or set conntrack.maxPerCore to 0" in str(outcome.errors[0])
    assert len(outcome.ignored) == 1
    assert [wish.name for wish in outcome.written] == ["net.c"]


def test_names_with_dots_of_their_own(tmp_path: Path) -> None:
    """An interface whose name holds a dot is written with slashes."""
    _put(tmp_path, "net.x", 0)
    (tmp_path / "net" / "eth0.5").write_text("0", encoding="ascii")

    assert Sysctls(tmp_path).ensure([Sysctl("net/eth0.5", 1)]).written


@pytest.mark.packets
def test_the_kernel_refuses() -> None:
    """In a namespace of its own the table's size is read-only: the error names the sysctl, the field and the mend."""
    code = (
        "from kproxy.kernel.sysctl import Sysctl, Sysctls\n"
        "wish = Sysctl('net.netfilter.nf_conntrack_max', 999999999, 'conntrack.maxPerCore', raise_only=True)\n"
        "print(*(f'{type(e).__name__}: {e}' for e in Sysctls().ensure([wish]).errors))"
    )
    shown = subprocess.run(["unshare", "-n", sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout

    assert shown.startswith(
        f"{PermissionDenied.__name__}: sysctl net.netfilter.nf_conntrack_max=999999999 may not be written"
    )
    assert "kproxy --init-only" in shown
    assert "set conntrack.maxPerCore to 0" in shown


def test_reading_this_kernel() -> None:
    """The default root is the kernel's own."""
    assert Sysctls(PROC_SYS).read("kernel.pid_max") == int(Path("/proc/sys/kernel/pid_max").read_text(encoding="ascii"))
    assert Sysctls().read("net.no_such_thing") is None


@given(st.integers(0, 2**31 - 1), st.integers(0, 2**31 - 1), st.integers(1, 1024))
def test_table_size(max_per_core: int, least: int, cpus: int) -> None:
    """No more than the cap by multiplication alone, never less than asked for below it, nothing when switched off."""
    size = table_size(max_per_core, least, cpus)

    if max_per_core == 0:
        assert size == 0
    elif max_per_core * cpus > LARGEST_TABLE:
        assert size == LARGEST_TABLE
    else:
        assert size == max(max_per_core * cpus, least)


def test_short_timeouts_are_not_cut_to_nothing() -> None:
    """Less than a second becomes one: a time-out of none would end every flow at once."""
    wishes = conntrack_sysctls(Conntrack(udp_timeout=Duration.of(0.5), udp_stream_timeout=Duration.of(2.9)), 1)

    assert [wish.value for wish in wishes] == [1, 2]
