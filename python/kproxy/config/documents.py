# SPDX-License-Identifier: Apache-2.0
"""The text of a configuration file as plain values that remember their lines.

YAML and JSON alike; scalars are read as Kubernetes reads them (no dates, no base-60 numbers). A duplicate key does not
end the reading: the last one counts, as with upstream's lenient decoder, and the finding is reported.
"""

import re
from typing import Any, Final

import msgspec
import yaml

from kproxy.config.paths import Value
from kproxy.table.errors import ConfigError

_DEEPEST: Final = 32


class Finding(msgspec.Struct, frozen=True):
    """Something odd in the file that need not end the start: where it is and what it is."""

    line: int  # counted from 1
    field: str
    words: str

    def __str__(self) -> str:
        """Return one sentence."""
        return f"line {self.line}: {self.field} {self.words}"


class Document(msgspec.Struct, frozen=True):
    """The values of one file, the line of each field by its path, and the duplicates found."""

    values: dict[str, Any]
    lines: dict[str, int]
    findings: tuple[Finding, ...] = ()


class _Loader(yaml.SafeLoader):
    """YAML's safe scalars less the two kinds that Kubernetes does not know."""

    yaml_implicit_resolvers = {  # noqa: RUF012 - PyYAML's own way to say it
        first: [(tag, pattern) for tag, pattern in resolvers if not tag.endswith((":timestamp", ":float", ":int", ":merge"))]
        for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }


class _Dumper(yaml.SafeDumper):
    """Quotes every text that either YAML or Kubernetes would take for something else."""


for _resolving in (_Loader, _Dumper):
    _resolving.add_implicit_resolver(
        "tag:yaml.org,2002:int",
        re.compile(r"[-+]?(?:0x[0-9a-fA-F_]+|0b[01_]+|0[0-7_]*|[1-9][0-9_]*)$"),
        list("-+0123456789"),
    )
    _resolving.add_implicit_resolver(
        "tag:yaml.org,2002:float",
        re.compile(r"[-+]?(?:[0-9]+\.[0-9]*|\.[0-9]+|[0-9]+(?=[eE]))(?:[eE][-+]?[0-9]+)?$"),
        list("-+.0123456789"),
    )


def write_document(values: dict[str, Any]) -> str:
    """Print values as YAML, sorted; ``read_document`` gives them back."""
    return yaml.dump(values, Dumper=_Dumper, sort_keys=True, default_flow_style=False, allow_unicode=True)


class _Reader:
    """Walks the nodes of one document and keeps account of lines and duplicates."""

    def __init__(self, loader: _Loader) -> None:
        self.loader = loader
        self.lines: dict[str, int] = {}
        self.findings: list[Finding] = []

    def value(self, node: yaml.Node, path: str, depth: int = 0) -> Value:
        line = node.start_mark.line + 1
        self.lines.setdefault(path, line)
        if depth > _DEEPEST:
            raise ConfigError(f"line {line}: {path} is nested deeper than {_DEEPEST} levels")
        if isinstance(node, yaml.MappingNode):
            return self.mapping(node, path, depth)
        if isinstance(node, yaml.SequenceNode):
            return [self.value(item, f"{path}[{index}]", depth + 1) for index, item in enumerate(node.value)]
        return self.loader.construct_object(node)

    def mapping(self, node: yaml.MappingNode, path: str, depth: int) -> dict[str, Any]:
        values: dict[str, Any] = {}
        first: dict[str, int] = {}
        for key_node, value_node in node.value:
            line = key_node.start_mark.line + 1
            if not isinstance(key_node, yaml.ScalarNode):
                raise ConfigError(f"line {line}: a field name must be plain text")
            key: str = key_node.value
            here = f"{path}.{key}" if path else key
            if key in first:
                words = f"stands twice (first on line {first[key]}); the last one counts, take the other out"
                self.findings.append(Finding(line, here, words))
            first.setdefault(key, line)
            self.lines[here] = line
            value = self.value(value_node, here, depth + 1)
            if value is None:
                values.pop(key, None)  # null is "not set", as in Go
            else:
                values[key] = value
        return values


def read_document(text: str) -> Document:
    """Read YAML or JSON. Raises ConfigError with the line when it is neither, or not one mapping."""
    if text.lstrip().startswith("{"):
        text = text.replace("\t", " ")  # JSON allows tabs between its tokens, YAML does not; inside strings neither does
    loader = _Loader(text)
    reader = _Reader(loader)
    try:
        node = loader.get_node() if loader.check_node() else None
        if not isinstance(node, yaml.MappingNode):
            raise ConfigError("it must hold one mapping of fields to values (apiVersion: ..., kind: ...)")
        values = reader.mapping(node, "", 0)
        if loader.check_node():
            reader.findings.append(
                Finding(loader.line + 1, "---", "begins a second document, which does not count; take it out")
            )
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise ConfigError(f"line {line}: not YAML or JSON: {error.problem or error.context}") from error
    except (yaml.YAMLError, ValueError) as error:
        raise ConfigError(f"not YAML or JSON: {error}") from error
    finally:
        loader.dispose()
    return Document(values, reader.lines, tuple(reader.findings))
