# SPDX-License-Identifier: Apache-2.0
"""A directory of manifests as a source: every way in which files change, and those in which they go bad."""

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from kproxy.objects.events import Broken, Event
from kproxy.sources import directory
from kproxy.sources.directory import DirectorySource
from kproxy.sources.watches import watches_of
from kproxy.table.errors import ConfigError
from tests.unit.sources.told import Told

ALL_SYNCED = ["synced Service", "synced EndpointSlice", "synced Node", "synced ServiceCIDR"]


def service(name: str, address: str = "10.96.0.1", **labels: str) -> str:
    """Return a Service's manifest."""
    return f"kind: Service\nmetadata: {{name: {name}, labels: {labels}}}\nspec: {{clusterIP: {address}}}\n"


class Directory(Told):
    """A source of a directory, and what it tells."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.path = path
        self._news = asyncio.Event()

    def __call__(self, event: Event) -> None:
        """Take one event."""
        super().__call__(event)
        self._news.set()

    async def until(self, condition: Callable[[], bool]) -> None:
        """Wait until something was told."""
        async with asyncio.timeout(10):
            while not condition():
                self._news.clear()
                await self._news.wait()

    def write(self, name: str, text: str) -> None:
        """Write a file in place."""
        (self.path / name).write_text(text)

    def replace(self, name: str, text: str) -> None:
        """Write a file beside and rename it over."""
        beside = self.path / ".beside"
        beside.write_text(text)
        beside.rename(self.path / name)

    async def tells(self, *expected: str) -> None:
        """Wait until so much was told, and compare."""
        await self.until(lambda: len(self.events) >= len(expected))
        await asyncio.sleep(0.03)
        assert self.take() == list(expected)

    async def tells_nothing(self) -> None:
        """Wait a moment in which nothing must be told."""
        await asyncio.sleep(0.05)
        assert self.take() == []

    async def mend(self, key: str) -> str:
        """Wait for words about a bad thing and return them."""

        def words() -> list[str]:
            return [event.mend for event in self.events if isinstance(event, Broken) and event.key == key]

        await self.until(lambda: bool(words()))
        return words()[-1]


@contextlib.asynccontextmanager
async def running(path: Path) -> AsyncIterator[Directory]:
    """Run a source of a directory."""
    told = Directory(path)
    task = asyncio.create_task(DirectorySource(path, watches_of("here")).run(told))
    try:
        yield told
        assert not task.done()
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


@pytest.fixture
def often(monkeypatch: pytest.MonkeyPatch) -> None:
    """Look often at what inotify cannot see."""
    monkeypatch.setattr(directory, "PERIOD", 0.05)
    monkeypatch.setattr(directory, "UNSETTLED", 0.0)


async def test_files_are_told_and_followed(tmp_path: Path) -> None:
    """Written in place, renamed over, renamed away, removed; only differences are told."""
    (tmp_path / "a.yaml").write_text(service("a") + "---\n" + service("b"))
    (tmp_path / "b.json").write_text('{"kind": "Node", "metadata": {"name": "here"}}')
    async with running(tmp_path) as told:
        await told.tells("+here", "+default/a", "+default/b", *ALL_SYNCED)
        told.write("a.yaml", service("a") + "---\n" + service("b", "10.96.0.2") + "---\n" + service("c"))
        await told.tells("+default/b", "+default/c")
        told.replace("a.yaml", service("a", "10.96.0.3"))
        await told.tells("+default/a", "-default/b", "-default/c")
        told.write("c.yml", service("c"))
        await told.tells("+default/c")
        (tmp_path / "c.yml").rename(tmp_path / "c.yml.off")
        await told.tells("-default/c")
        (tmp_path / "a.yaml").unlink()
        await told.tells("-default/a")


async def test_what_is_no_manifest_is_left_alone(tmp_path: Path) -> None:
    """Other suffixes, dot files and folders; and a file written anew with the same content."""
    (tmp_path / "a.yaml").write_text(service("a"))
    (tmp_path / "folder.yaml").mkdir()
    async with running(tmp_path) as told:
        await told.tells("+default/a", *ALL_SYNCED)
        told.write("a.yaml", service("a"))
        told.write("notes.txt", service("b"))
        told.write(".a.yaml.swp", service("b"))
        told.write(".hidden.yaml", service("b"))
        await told.tells_nothing()


async def test_the_watches_selectors_count_here_too(tmp_path: Path) -> None:
    """Headless, foreign, other nodes' and headless slices are left out; a Service may come and go by its labels."""
    slices = "kind: EndpointSlice\nmetadata: {name: s, labels: {service.kubernetes.io/headless: ''}}\naddressType: IPv4\n"
    nodes = "kind: Node\nmetadata: {name: here}\n---\nkind: Node\nmetadata: {name: elsewhere}\n"
    (tmp_path / "a.yaml").write_text("---\n".join([service("h", "None"), slices, nodes]))
    foreign = {"service.kubernetes.io/service-proxy-name": "other"}
    async with running(tmp_path) as told:
        await told.tells("+here", *ALL_SYNCED)
        told.write("b.yaml", service("b"))
        await told.tells("+default/b")
        told.write("b.yaml", service("b", **foreign))
        await told.tells("-default/b")


async def test_a_mounted_configmap_is_followed_through_its_swap(tmp_path: Path) -> None:
    """Files are links through ``..data``, which the kubelet renames over to a new folder."""

    def version(number: int, text: str) -> None:
        folder = tmp_path / f"..{number}"
        folder.mkdir()
        (folder / "a.yaml").write_text(text)
        (tmp_path / "..data_tmp").symlink_to(folder.name)
        (tmp_path / "..data_tmp").rename(tmp_path / "..data")

    version(1, service("a"))
    (tmp_path / "a.yaml").symlink_to("..data/a.yaml")
    async with running(tmp_path) as told:
        await told.tells("+default/a", *ALL_SYNCED)
        version(2, service("a", "10.96.0.2") + "---\n" + service("b"))
        await told.tells("+default/a", "+default/b")


async def test_a_link_counts_as_soon_as_it_is_made(tmp_path: Path) -> None:
    """Making one is no write and closes nothing."""
    (tmp_path / "kept").write_text(service("a"))
    async with running(tmp_path) as told:
        await told.tells(*ALL_SYNCED)
        (tmp_path / "a.yaml").symlink_to("kept")
        await told.tells("+default/a")


@pytest.mark.usefixtures("often")
async def test_what_inotify_cannot_see_is_noticed_later(tmp_path: Path) -> None:
    """The target of a link outside, and a directory that is itself a link which now points elsewhere."""
    one, two, outside = tmp_path / "one", tmp_path / "two", tmp_path / "outside.yaml"
    for folder in (one, two):
        folder.mkdir()
    outside.write_text(service("a"))
    (one / "a.yaml").symlink_to(outside)
    (two / "b.yaml").write_text(service("b"))
    (tmp_path / "current").symlink_to(one)
    async with running(tmp_path / "current") as told:
        await told.tells("+default/a", *ALL_SYNCED)
        outside.write_text(service("a", "10.96.0.2"))
        await told.tells("+default/a")
        (tmp_path / "next").symlink_to(two)
        (tmp_path / "next").rename(tmp_path / "current")
        await told.tells("-default/a", "+default/b")
        (two / "c.yaml").write_text(service("c"))
        await told.tells("+default/c")


@pytest.mark.usefixtures("often")
async def test_a_directory_that_vanishes_keeps_what_it_said(tmp_path: Path) -> None:
    """Unmounted or removed: reported, everything stays, and it is taken up again when it is back."""
    path = tmp_path / "manifests"
    path.mkdir()
    (path / "a.yaml").write_text(service("a"))
    async with running(path) as told:
        await told.tells("+default/a", *ALL_SYNCED)
        path.rename(tmp_path / "away")
        await told.tells(f"broken {path}")
        (tmp_path / "away").rename(path)
        await told.tells(f"mended {path}")


async def test_a_file_that_turns_bad_keeps_its_last_good_content(tmp_path: Path) -> None:
    """One Broken with file, line and mend; another file is not affected; the mended file counts again."""
    (tmp_path / "a.yaml").write_text(service("a"))
    async with running(tmp_path) as told:
        await told.tells("+default/a", *ALL_SYNCED)
        told.write("a.yaml", service("a").replace("}", "", 1))
        mend = await told.mend(f"{tmp_path}/a.yaml")
        assert mend.startswith(f"{tmp_path}/a.yaml line 3: ")
        await told.tells(f"broken {tmp_path}/a.yaml")
        told.write("b.yaml", service("b"))
        await told.tells("+default/b")
        told.write("a.yaml", service("a", "10.96.0.9"))
        await told.tells("+default/a", f"mended {tmp_path}/a.yaml")


async def test_a_bad_object_keeps_what_it_was_and_the_others_in_its_file_count(tmp_path: Path) -> None:
    """The good part of a file is taken up, the bad object stays as it was until it is mended or removed."""
    (tmp_path / "a.yaml").write_text(service("a") + "---\n" + service("b"))
    async with running(tmp_path) as told:
        await told.tells("+default/a", "+default/b", *ALL_SYNCED)
        told.write("a.yaml", service("a", "[]") + "---\n" + service("b", "10.96.0.2"))
        await told.tells("+default/b", "broken default/a")
        told.write("a.yaml", service("b", "10.96.0.2"))
        await told.tells("-default/a", "mended default/a")


async def test_an_object_in_two_files_counts_from_the_first(tmp_path: Path) -> None:
    """By the files' names, whichever came first; the other takes over when the first goes."""
    (tmp_path / "b.yaml").write_text(service("web", "10.96.0.2"))
    async with running(tmp_path) as told:
        await told.tells("+default/web", *ALL_SYNCED)
        told.write("a.yaml", service("web", "10.96.0.1"))
        assert f"is in {tmp_path}/a.yaml, which counts, and in b.yaml: remove it there" in await told.mend("default/web")
        await told.tells("+default/web", "broken default/web")
        told.write("b.yaml", service("web", "10.96.0.3"))
        await told.tells_nothing()
        (tmp_path / "a.yaml").unlink()
        await told.tells("+default/web", "mended default/web")


async def test_a_dangling_link_is_named_and_keeps_what_it_said(tmp_path: Path) -> None:
    """Its target may come back."""
    (tmp_path / "kept").write_text(service("a"))
    (tmp_path / "a.yaml").symlink_to("kept")
    async with running(tmp_path) as told:
        await told.tells("+default/a", *ALL_SYNCED)
        (tmp_path / "a.yaml").unlink()
        (tmp_path / "a.yaml").symlink_to("nowhere")
        assert "is a link to nothing" in await told.mend(f"{tmp_path}/a.yaml")
        await told.tells(f"broken {tmp_path}/a.yaml")
        (tmp_path / "a.yaml").unlink()
        await told.tells("-default/a", f"mended {tmp_path}/a.yaml")


async def test_a_fifo_does_not_hold_anybody_up(tmp_path: Path) -> None:
    """What is no regular file is not opened."""
    os.mkfifo(tmp_path / "a.yaml")
    async with running(tmp_path) as told:
        await told.tells(*ALL_SYNCED)


def test_a_path_that_is_no_directory_is_refused_at_start(tmp_path: Path) -> None:
    """With the flag's name."""
    with pytest.raises(ConfigError, match=r"--manifests .*/none is not a directory: create it or mend the flag"):
        DirectorySource(tmp_path / "none", ())
