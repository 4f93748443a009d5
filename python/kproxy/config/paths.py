# SPDX-License-Identifier: Apache-2.0
"""Fields by their path in the file: ``conntrack.maxPerCore``.

Flags, warnings and live changes all speak of fields by these paths, so there is one way to read, set and list them.
"""

import functools
from collections.abc import Iterator
from typing import Any, TypeAlias, TypeVar

import msgspec

Value: TypeAlias = Any  # of a field: as its schema says
StructType = TypeVar("StructType", bound=msgspec.Struct)


@functools.cache
def names(kind: type[msgspec.Struct]) -> dict[str, str]:
    """Map the names in the file to the attributes of one struct."""
    return {field.encode_name: field.name for field in msgspec.structs.fields(kind)}


def get(config: msgspec.Struct, path: str) -> Value:
    """Return the value at a path. Raises KeyError when there is no such field."""
    name, _, rest = path.partition(".")
    value: Value = getattr(config, names(type(config))[name])
    return get(value, rest) if rest else value


def put(config: StructType, path: str, value: Value) -> StructType:
    """Return a copy with one field set. Raises KeyError when there is no such field."""
    name, _, rest = path.partition(".")
    attribute = names(type(config))[name]
    if rest:
        value = put(getattr(config, attribute), rest, value)
    return msgspec.structs.replace(config, **{attribute: value})


def leaves(config: msgspec.Struct, above: str = "") -> Iterator[tuple[str, Value]]:
    """Yield path and value of every field that is not itself a section, in the order of the schema."""
    for name, attribute in names(type(config)).items():
        value = getattr(config, attribute)
        if isinstance(value, msgspec.Struct):
            yield from leaves(value, f"{above}{name}.")
        else:
            yield f"{above}{name}", value


def above(path: str) -> Iterator[str]:
    """Yield the path and all that hold it, the nearest first: ``a.b[1].c``, ``a.b[1]``, ``a.b``, ``a``."""
    while path:
        yield path
        path = path[: max(path.rfind("."), path.rfind("["), 0)]


def changed(before: StructType, after: StructType) -> tuple[str, ...]:
    """Return the paths whose values differ, in the order of the schema."""
    return tuple(path for (path, old), (_, new) in zip(leaves(before), leaves(after), strict=True) if old != new)
