# SPDX-License-Identifier: Apache-2.0
"""What a relay holds: memory, descriptors and pipes, over all its processes."""

import contextlib
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from bench.relay import cpu
from bench.relay.bed import Bed
from bench.relay.services import IDLE
from kproxy.lab.namespaces import inside


class Held(NamedTuple):
    """What processes hold at a moment. ``memory``: their proportional set size, in bytes."""

    memory: int
    descriptors: int
    pipes: int

    def __sub__(self, other: "Held") -> "Held":
        return Held(self.memory - other.memory, self.descriptors - other.descriptors, self.pipes - other.pipes)


def held(process: int) -> Held:
    """Return what a process and all that it started hold."""
    memory = descriptors = pipes = 0
    for pid in set(cpu.descendants(process)):
        rollup = Path(f"/proc/{pid}/smaps_rollup").read_text()
        pss = re.search(r"^Pss:\s+(\d+) kB", rollup, re.MULTILINE)
        assert pss is not None, rollup
        memory += int(pss[1]) * 1024
        for descriptor in Path(f"/proc/{pid}/fd").iterdir():
            with contextlib.suppress(FileNotFoundError):
                pipes += str(descriptor.readlink()).startswith("pipe:")
                descriptors += 1
    return Held(memory, descriptors, pipes)


@contextlib.contextmanager
def idle(bed: Bed, address: str, count: int) -> Iterator[Callable[[], None]]:
    """Hold so many connections open through a relay, each after one exchange; what is yielded has each carry another one."""
    command = [sys.executable, "-m", "bench.relay.holder", "dial", address, str(IDLE.port), str(count)]
    with inside(bed.client.namespace):
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    with process:
        assert process.stdin is not None
        assert process.stdout is not None
        words, answers = process.stdin, process.stdout

        def again() -> None:
            words.write("again\n")
            words.flush()
            assert answers.readline() == "open\n"

        assert answers.readline() == "open\n"
        yield again
        process.stdin.close()
