# SPDX-License-Identifier: Apache-2.0
"""The loads: bulk, new connections, kept connections, messages at a fixed rate, and datagrams kept in flight."""

import re
import subprocess
from typing import Final

import msgspec

from bench.relay.backends import BIG
from bench.relay.bed import Bed
from bench.relay.datagrams import ECHO
from bench.relay.rounds import SECONDS, Load
from bench.relay.services import BULK, DATAGRAMS, MESSAGES, WEB
from kproxy.lab.namespaces import inside

_SCALE: Final = {"us": 1.0, "ms": 1e3, "s": 1e6, "m": 60e6}
_GIGABYTE: Final = 1e9
_WARM_UP: Final = 1.0  # seconds that sockperf takes besides


def _run(bed: Bed, *command: str) -> str:
    with inside(bed.client.namespace):
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    words, _ = process.communicate(timeout=120)
    assert process.returncode == 0, f"{command} failed: {words[-2000:]}"
    return words


def bulk(bed: Bed, address: str, *, streams: int = 1, download: bool = False, seconds: float = SECONDS) -> Load:
    """Send as much as goes, or receive it; units are gigabytes."""
    command = ["iperf3", "-c", address, "-p", str(BULK.port), "-t", f"{seconds:.0f}", "-P", str(streams), "-J"]
    report = msgspec.json.decode(_run(bed, *command, *(["-R"] if download else [])))
    received = report["end"]["sum_received"]
    return Load(received["bits_per_second"] / 8 / _GIGABYTE, received["bytes"] / _GIGABYTE)


def web(bed: Bed, address: str, *, connections: int, close: bool = False, path: str = "", seconds: float = SECONDS) -> Load:
    """Ask a web server; units are requests, which with ``close`` are connections too."""
    command = ["wrk", "-t2", f"-c{connections}", f"-d{seconds:.0f}s", "--latency"]
    command += ["-H", "Connection: close"] if close else []
    words = _run(bed, *command, f"http://{address}:{WEB.port}/{path}")
    errors = re.search(r"Socket errors: .*(connect|read|write) [1-9].*|Non-2xx.*", words)  # a late answer is no error
    assert errors is None, f"{address}: {errors.group()}"
    rate, asked = float(_number(words, r"Requests/sec:\s+([\d.]+)")), float(_number(words, r"(\d+) requests in"))
    return Load(rate, asked, _percentile(words, 50), _percentile(words, 99))


def bodies(bed: Bed, address: str) -> Load:
    """Fetch bodies of 4 MiB over eight connections; units are bodies."""
    return web(bed, address, connections=8, path=BIG)


def _number(words: str, pattern: str) -> str:
    found = re.search(pattern, words)
    assert found is not None, words
    return found[1]


def _percentile(words: str, percent: int) -> float:
    taken = _number(words, rf"\b{percent}%\s+([\d.]+(?:us|ms|s|m))\b")
    number, unit = re.split(r"(?<=\d)(?=[a-z])", taken)
    return float(number) * _SCALE[unit]


def messages(bed: Bed, address: str, *, rate: int = 10_000) -> Load:
    """Send 64-byte messages at a fixed rate over one connection, every one answered; latency is one way."""
    where = ["--tcp", "-i", address, "-p", str(MESSAGES.port), "-m", "64"]
    words = _run(bed, "sockperf", "under-load", *where, "--mps", str(rate), "--reply-every", "1", "-t", f"{SECONDS:.0f}")
    p50, p99 = (float(_number(words, rf"percentile {percent}\.\d+ =\s+([\d.]+)")) for percent in (50, 99))
    return Load(rate, rate * (SECONDS + _WARM_UP), p50, p99)


def datagrams(
    bed: Bed, address: str, *, flows: int = 16, in_flight: int = 16, size: int = 64, seconds: float = SECONDS
) -> Load:
    """Keep datagrams in flight on every flow, each answer followed by the next; units are round trips."""
    shape = [str(flows), str(in_flight), str(size), f"{seconds:g}"]
    words = _run(bed, str(ECHO), "load", f"{address}:{DATAGRAMS.port}", *shape)
    trips, lost, taken = words.split()
    assert int(trips) > 10 * int(lost), f"{address} lost {lost} of {trips} datagrams"
    return Load(int(trips) / float(taken), float(trips))
