# SPDX-License-Identifier: Apache-2.0
"""Ten minutes of spoilt bytes for each reader of bytes from outside: how many were read, and that none was too much.

The tests do the same for a moment, CI for twenty seconds. ``RELAY_FUZZ_SECONDS`` is how long.
"""

import os
import re
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Final

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

ROOT: Final = Path(__file__).parents[1]
SECONDS: Final = os.environ.get("RELAY_FUZZ_SECONDS", "600")
READERS: Final = [
    "addresses_of_the_kernel",
    "batches_of_datagrams",
    "control_messages_and_original_destinations",
    "datagrams_of_clients_and_endpoints",
    "messages_of_a_hand_over",
    "proxy_protocol_headers",
]


@pytest.mark.parametrize("reader", READERS)
def test_reader(benchmark: BenchmarkFixture, figure: Callable[[str], None], reader: str) -> None:
    """Nothing from outside makes a reader panic or believe more than it was given."""
    command = ["cargo", "test", "-q", "--release", "-p", "relay", "--lib", f"fuzz::{reader}", "--", "--exact", "--nocapture"]
    done = benchmark.pedantic(
        subprocess.run,
        args=(command,),
        kwargs={"cwd": ROOT, "env": {**os.environ, "RELAY_FUZZ_SECONDS": SECONDS}, "capture_output": True, "text": True},
        rounds=1,
    )

    assert done.returncode == 0, done.stdout + done.stderr
    told = re.search(r"fuzzed (.*)", done.stdout)
    assert told is not None, "no reader has this name"
    figure(f"fuzzed {told[1]}")
