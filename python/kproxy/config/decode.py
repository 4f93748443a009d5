# SPDX-License-Identifier: Apache-2.0
"""From the text of a file to a ``KubeProxyConfiguration``, with warnings.

Upstream reads strictly first and, where only the strictness failed, leniently again: unknown and duplicate fields cost a
warning, everything else the start. ``strict`` makes those warnings errors.
"""

import re
import typing
from collections.abc import Iterator, Mapping
from typing import Final

import msgspec

from kproxy.config import paths
from kproxy.config.documents import Document, Finding, read_document
from kproxy.config.durations import Duration, parse_duration
from kproxy.config.paths import Value
from kproxy.config.schema import API_VERSION, KIND, KubeProxyConfiguration
from kproxy.table.errors import ConfigError

_AT: Final = re.compile(r"(?P<words>.*?)(?: - at `\$\.?(?P<path>.*)`)?", re.DOTALL)
_ENVELOPE: Final = frozenset({"apiVersion", "kind"})


class Decoded(msgspec.Struct, frozen=True):
    """The configuration as written (no defaults), the line of each field, and what was odd about the file."""

    config: KubeProxyConfiguration
    lines: Mapping[str, int] = {}
    findings: tuple[Finding, ...] = ()


def _duration(kind: type, value: Value) -> Duration:
    if kind is not Duration:
        raise TypeError(f"no reader for {kind}")
    if not isinstance(value, str):
        raise ValueError(f'{value!r} is not a duration: write text with a unit, such as "30s"')  # noqa: TRY004 - msgspec's contract
    return parse_duration(value)


def _sections(annotation: object) -> type[msgspec.Struct] | None:
    """Return the struct that a field, or each item of it, must be."""
    for kind in (annotation, *typing.get_args(annotation)):
        if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
            return kind
    return None


def _unknown(values: object, kind: type[msgspec.Struct], path: str, lines: dict[str, int]) -> Iterator[Finding]:
    if isinstance(values, list):
        for index, item in enumerate(values):
            yield from _unknown(item, kind, f"{path}[{index}]", lines)
    if not isinstance(values, dict):
        return  # a wrong type: the conversion names it
    fields = {field.encode_name: field.type for field in msgspec.structs.fields(kind)}
    for name, value in values.items():
        here = f"{path}.{name}" if path else name
        if name in fields:
            section = _sections(fields[name])
            if section is not None:
                yield from _unknown(value, section, here, lines)
        elif path or name not in _ENVELOPE:
            near = [known for known in fields if known.lower() == name.lower()]
            mend = f"did you mean {near[0]}?" if near else "it has no effect, take it out"
            yield Finding(lines[here], here, f"is no field of {KIND} {API_VERSION.rpartition('/')[2]}; {mend}")


def _require_envelope(document: Document) -> None:
    version, kind = document.values.get("apiVersion"), document.values.get("kind")
    if kind != KIND or version != API_VERSION:
        raise ConfigError(
            f"it says apiVersion {version or 'nothing'!r} and kind {kind or 'nothing'!r}; "
            f"kproxy reads apiVersion {API_VERSION!r} and kind {KIND!r} only"
        )


def configuration_of(values: Mapping[str, Value]) -> KubeProxyConfiguration:
    """Convert plain values, as of a file but without apiVersion and kind. Raises msgspec.ValidationError."""
    logging = values.get("logging")
    if isinstance(logging, dict):  # the one duration that may be a number of nanoseconds
        flush = logging.get("flushFrequency")
        if isinstance(flush, int) and not isinstance(flush, bool):
            values = {**values, "logging": {**logging, "flushFrequency": f"{flush}ns"}}
    return msgspec.convert(values, KubeProxyConfiguration, dec_hook=_duration)


def _convert(document: Document) -> KubeProxyConfiguration:
    """Convert field by field, so that every wrong one is named at once."""
    values = {name: value for name, value in document.values.items() if name not in _ENVELOPE}
    problems = []
    for name, value in values.items():
        try:
            configuration_of({name: value})
        except msgspec.ValidationError as error:
            match = _AT.fullmatch(str(error))
            words, path = (match["words"], match["path"] or name) if match else (str(error), name)
            line = next(
                (document.lines[above] for above in paths.above(path) if above in document.lines), document.lines[name]
            )
            problems.append(f"line {line}: {path}: {words}")
    if problems:
        raise ConfigError("; ".join(problems))
    return configuration_of(values)


def decode(text: str, origin: str, *, strict: bool = False) -> Decoded:
    """Read the text of a file. Raises ConfigError, naming ``origin``, line and field.

    Unknown and duplicate fields are findings, or errors when ``strict``.
    """
    try:
        document = read_document(text)
        _require_envelope(document)
        unknown = _unknown(document.values, KubeProxyConfiguration, "", document.lines)
        findings = tuple(sorted((*document.findings, *unknown), key=lambda finding: finding.line))
        decoded = Decoded(_convert(document), document.lines, findings)
    except ConfigError as error:
        raise ConfigError(f"configuration file {origin}: {error}") from error
    if strict and findings:
        raise ConfigError(
            f"configuration file {origin}: {'; '.join(map(str, findings))} (an error because of --strict-config)"
        )
    return decoded
