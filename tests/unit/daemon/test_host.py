# SPDX-License-Identifier: Apache-2.0
"""What a daemon owes its host: systemd is told, files are followed, servers wait for their address, tasks end together."""

import asyncio
import os
import signal
import socket
from pathlib import Path

import pytest

from kproxy.daemon import config_file, process, servers
from kproxy.daemon.config_file import contents
from kproxy.daemon.servers import Place, serve
from kproxy.daemon.signals import ended
from kproxy.daemon.systemd import Notifier
from kproxy.daemon.tasks import first_ended
from kproxy.observe.events import Reason, Recorder
from kproxy.observe.http import Response
from kproxy.table.clock import FakeClock
from kproxy.table.errors import ConfigError, KproxyError
from kproxy.table.terms import Family


def test_systemd_hears_of_readiness_life_and_the_end(tmp_path: Path) -> None:
    """On the socket it names."""
    address = str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(address)
        notifier = Notifier({"NOTIFY_SOCKET": address, "WATCHDOG_USEC": "30000000", "WATCHDOG_PID": str(os.getpid())})
        notifier.ready("3 Services in force")
        notifier.alive()
        notifier.stopping()
        said = [systemd.recv(100).decode() for _ in range(3)]
    assert said == ["READY=1\nSTATUS=3 Services in force", "WATCHDOG=1", "STOPPING=1"]
    assert notifier.watchdog == 15.0


def test_nobody_is_told_where_nobody_listens() -> None:
    """A watchdog meant for another process is not ours."""
    notifier = Notifier({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "1"})
    notifier.ready("x")
    assert notifier.watchdog is None
    Notifier({"NOTIFY_SOCKET": "/nowhere/at/all"}).alive()


async def test_a_file_is_followed_through_every_way_of_writing_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In place, renamed over, by the symbolic links of a mounted ConfigMap, and gone."""
    monkeypatch.setattr(config_file, "SETTLE", 0.01)
    for name, text in (("v1", "one"), ("v2", "two")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "config").write_text(text)
    (tmp_path / "..data").symlink_to("v1")
    path = tmp_path / "config"
    path.symlink_to("..data/config")
    said = contents(path)
    async with asyncio.timeout(20):
        assert await anext(said) == "one"
        (tmp_path / "..new").symlink_to("v2")
        (tmp_path / "..new").rename(tmp_path / "..data")
        assert await anext(said) == "two"
        (tmp_path / "fresh").write_text("three")
        (tmp_path / "fresh").rename(path)
        assert await anext(said) == "three"
        path.write_text("four")
        assert await anext(said) == "four"
        path.unlink()
        assert await anext(said) is None
    await said.aclose()  # type: ignore[attr-defined]


async def test_what_inotify_cannot_see_is_found_by_looking(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A link whose target changes somewhere else."""
    monkeypatch.setattr(config_file, "SETTLE", 0.01)
    monkeypatch.setattr(config_file, "PERIOD", 0.05)
    (tmp_path / "elsewhere").mkdir()
    target = tmp_path / "elsewhere" / "config"
    target.write_text("one")
    (tmp_path / "here").mkdir()
    (tmp_path / "here" / "config").symlink_to(target)
    said = contents(tmp_path / "here" / "config")
    async with asyncio.timeout(20):
        assert await anext(said) == "one"
        target.write_text("two")
        assert await anext(said) == "two"
    await said.aclose()  # type: ignore[attr-defined]


def _place(port: int, *, hard_fail: bool = False) -> Place:
    return Place("health", f"127.0.0.1:{port}", Reason.HEALTH_SERVER, "healthzBindAddress", hard_fail)


async def test_a_server_waits_for_its_address(monkeypatch: pytest.MonkeyPatch) -> None:
    """And serves once it is free."""
    monkeypatch.setattr(servers, "RETRY", 0.02)
    with socket.create_server(("127.0.0.1", 0)) as holder:
        port = holder.getsockname()[1]
        serving = asyncio.create_task(serve(_place(port), lambda _: Response(b"ok"), Recorder("n", clock=FakeClock())))
        await asyncio.sleep(0.1)
        assert not serving.done()
    async with asyncio.timeout(5):
        while True:
            try:
                reader, writer = await asyncio.open_connection("127.0.0.1", port)
            except ConnectionRefusedError:
                await asyncio.sleep(0.01)
                continue
            writer.write(b"GET / HTTP/1.0\r\n\r\n")
            assert (await reader.read()).endswith(b"ok")
            writer.close()
            break
    serving.cancel()
    await asyncio.gather(serving, return_exceptions=True)


async def test_a_server_that_must_not_fail_ends_the_process() -> None:
    """With the setting that mends it."""
    with socket.create_server(("127.0.0.1", 0)) as holder:
        place = _place(holder.getsockname()[1], hard_fail=True)
        with pytest.raises(KproxyError, match="healthzBindAddress"):
            await serve(place, lambda _: Response(), Recorder("n", clock=FakeClock()))


async def test_the_first_to_fail_ends_all() -> None:
    """And its error comes out as it is."""
    cleaned = []

    async def patient() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            cleaned.append("patient")

    async def failing() -> None:
        await asyncio.sleep(0)
        raise ConfigError("mend it")

    with pytest.raises(ConfigError, match="mend it"):
        await first_ended(patient(), failing())
    assert cleaned == ["patient"]


async def test_a_signal_ends_the_wait() -> None:
    """Without ending the process."""
    waiting = asyncio.create_task(ended())
    await asyncio.sleep(0)
    os.kill(os.getpid(), signal.SIGTERM)
    async with asyncio.timeout(5):
        assert await waiting is signal.SIGTERM


def test_a_kernel_without_ipv6_has_one_family(tmp_path: Path) -> None:
    """As the kernel says."""
    assert process.families(tmp_path) == (Family.IPV4,)
    (tmp_path / "net").mkdir()
    (tmp_path / "net" / "if_inet6").touch()
    assert process.families(tmp_path) == (Family.IPV4, Family.IPV6)


def test_an_oom_score_that_may_not_be_set_is_no_error(tmp_path: Path) -> None:
    """Whoever starts us can set it."""
    process.set_oom_score(-999, tmp_path)
    (tmp_path / "self").mkdir()
    (tmp_path / "self" / "oom_score_adj").write_text("0")
    process.set_oom_score(-999, tmp_path)
    assert (tmp_path / "self" / "oom_score_adj").read_text() == "-999\n"
