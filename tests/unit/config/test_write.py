# SPDX-License-Identifier: Apache-2.0
"""What is written is read back the same."""

import typing
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kproxy.config.decode import decode
from kproxy.config.defaults import for_platform, with_defaults
from kproxy.config.durations import Duration
from kproxy.config.schema import KubeProxyConfiguration
from kproxy.config.write import as_values, as_yaml, write_config
from kproxy.table.errors import ConfigError
from tests.examples import examples

_CHARACTERS = st.characters(
    codec="utf-8", exclude_categories=("Cc", "Cs"), exclude_characters="\ufeff\ufffe\uffff\u2028\u2029"
)
_MISLEADING = (
    "1e5",
    "0x10",
    "on",
    "null",
    "~",
    "10:20",
    "2024-01-01",
    "1_000",
    "007",
    ".5",
    "=",
    "<<",
    "#",
    "5",
    "- a",
    "a: b",
    "",
)
_TEXT = st.text(_CHARACTERS, max_size=12) | st.sampled_from(_MISLEADING)


def _strategy(kind: Any) -> st.SearchStrategy[Any]:
    """Derive the values of a field from its type."""
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
        return st.builds(kind, **{field.name: _strategy(field.type) for field in msgspec.structs.fields(kind)})
    if kind is Duration:
        return st.integers(-(10**12), 10**15).map(Duration)
    if origin is typing.Annotated:
        limits = arguments[1]
        if limits.pattern:
            return st.sampled_from(["0", "512Ki", "1e3", ".5M", "-7"])
        return st.integers(limits.ge, limits.le)
    if origin is tuple:
        return st.lists(_strategy(arguments[0]), max_size=3).map(tuple)
    if origin is dict:
        return st.dictionaries(_TEXT, st.booleans(), max_size=3)
    if arguments:  # a union
        return st.one_of([_strategy(item) for item in arguments])
    plain: dict[Any, st.SearchStrategy[Any]] = {
        str: _TEXT,
        bool: st.booleans(),
        int: st.integers(0, 2**31),
        float: st.floats(0, 1000, allow_nan=False).map(lambda number: round(number, 3)),
        type(None): st.none(),
    }
    return plain[kind]


@settings(max_examples=examples(150), deadline=None)
@given(_strategy(KubeProxyConfiguration))
def test_round_trip(config: KubeProxyConfiguration) -> None:
    """Any configuration that is written is read back the same, strictly, whatever its texts look like to YAML."""
    assert decode(as_yaml(config), "test", strict=True).config == config


@settings(max_examples=examples(80), deadline=None)
@given(_strategy(KubeProxyConfiguration))
def test_json_is_read_too(config: KubeProxyConfiguration) -> None:
    """The same values as JSON give the same configuration."""
    text = msgspec.json.format(msgspec.json.encode(as_values(config)), indent=1).decode()

    assert decode(text.replace("\n ", "\n\t"), "test", strict=True).config == config


@settings(max_examples=examples(50), deadline=None)
@given(_strategy(KubeProxyConfiguration))
def test_defaults_settle(config: KubeProxyConfiguration) -> None:
    """Filling in defaults twice changes nothing the second time."""
    once = for_platform(with_defaults(config), nftables_works=True)

    assert for_platform(with_defaults(once), nftables_works=True) == once


def test_upstream_reads_ours_without_a_warning() -> None:
    """Our own section is left out while nothing in it is set."""
    values = as_values(with_defaults(KubeProxyConfiguration()))

    assert "kproxy" not in values
    assert values["configSyncPeriod"] == "15m0s"


def test_a_file_that_cannot_be_written(tmp_path: Path) -> None:
    """The error names the flag, the file and the mend."""
    with pytest.raises(ConfigError, match=r"--write-config-to .*nowhere.*name a file"):
        write_config(KubeProxyConfiguration(), str(tmp_path / "nowhere" / "config.yaml"))
