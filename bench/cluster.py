# SPDX-License-Identifier: Apache-2.0
"""A big cluster behind an API server in a process of its own, so that its work is not counted as ours.

``python -m bench.cluster SERVICES ENDPOINTS`` prints its URL and then does what it is told on standard input: ``step``
makes a change, ``burst N`` makes N and holds them back, ``release`` lets them go. Each answers with its monotonic time.
"""

import asyncio
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO

from kproxy.lab.apiserver import ApiServer
from kproxy.lab.workload import Shape, Workload


class Cluster:
    """The handle on such a process. ``url``: where the API server answers."""

    def __init__(self, process: subprocess.Popen[str], orders: IO[str], answers: IO[str]) -> None:
        self._process, self._orders, self._answers = process, orders, answers
        self.url = answers.readline().strip()

    def order(self, words: str) -> str:
        """Have something done; returns when it was done."""
        self._orders.write(f"{words}\n")
        self._orders.flush()
        return self._answers.readline().strip()


@contextmanager
def cluster(services: int, endpoints: int) -> Iterator[Cluster]:
    """Run a cluster while the block lasts."""
    command = [sys.executable, "-m", "bench.cluster", str(services), str(endpoints)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdin is not None
            assert process.stdout is not None
            yield Cluster(process, process.stdin, process.stdout)
        finally:
            process.terminate()


async def _serve(services: int, endpoints: int) -> None:
    workload = Workload(Shape(services=services, endpoints=endpoints))
    async with ApiServer(window=200_000, bookmark_period=5) as server:
        server.put_all(workload.objects())
        print(server.url, flush=True)
        orders = asyncio.StreamReader()
        await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(orders), sys.stdin)
        changes = workload.changes()
        while line := (await orders.readline()).decode():
            verb, _, count = line.strip().partition(" ")
            server.faults.stalled = verb == "burst"
            for _ in range(0 if verb == "release" else int(count or 1)):
                server.put_all(next(changes).puts)
            print(time.monotonic(), flush=True)


if __name__ == "__main__":
    asyncio.run(_serve(int(sys.argv[1]), int(sys.argv[2])))
