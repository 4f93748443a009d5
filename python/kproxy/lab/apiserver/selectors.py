# SPDX-License-Identifier: Apache-2.0
"""Label and field selectors: parsed once, matched often.

The grammar is that of k8s.io/apimachinery ``pkg/labels/selector.go`` (equality, sets, existence, Gt and Lt) and
``pkg/fields/selector.go`` (``=``, ``==``, ``!=`` with backslash escapes).
"""

import re
from collections.abc import Mapping
from typing import Final

import msgspec

from kproxy.lab.apiserver.resources import Resource
from kproxy.lab.apiserver.status import bad_request

_TERM: Final = re.compile(
    r"\s*(?:"
    r"(?P<absent>!)\s*(?P<absent_key>[\w./-]+)"
    r"|(?P<key>[\w./-]+)\s*(?:"
    r"(?P<set>in|notin)\s*\((?P<values>[^()]*)\)"
    r"|(?P<operator>==|=|!=|>|<)\s*(?P<value>[\w./-]*)"
    r")?)\s*"
)
_NAME: Final = re.compile(r"^([A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?)$")
_PREFIX: Final = re.compile(r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$")


class Requirement(msgspec.Struct, frozen=True):
    """One term: ``operator`` is in, notin, exists, absent, gt or lt."""

    key: str
    operator: str
    values: frozenset[str] = frozenset()

    def matches(self, labels: Mapping[str, str]) -> bool:
        """Tell whether the labels satisfy the term; an absent key satisfies ``!=`` and ``notin``."""
        value = labels.get(self.key)
        match self.operator:
            case "exists":
                return value is not None
            case "absent":
                return value is None
            case "in":
                return value in self.values
            case "notin":
                return value not in self.values
        try:
            left, right = int(value or ""), int(next(iter(self.values)))
        except ValueError:
            return False
        return left > right if self.operator == "gt" else left < right


class Selector(msgspec.Struct, frozen=True):
    """What a list or watch is narrowed to; all terms must hold."""

    labels: tuple[Requirement, ...] = ()
    fields: tuple[Requirement, ...] = ()

    @property
    def everything(self) -> bool:
        """Tell whether nothing is left out."""
        return not self.labels and not self.fields

    def matches(self, labels: Mapping[str, str], fields: Mapping[str, str]) -> bool:
        """Tell whether an object with these labels and fields is selected."""
        return all(term.matches(labels) for term in self.labels) and all(term.matches(fields) for term in self.fields)


def _check_key(key: str) -> None:
    prefix, slash, name = key.rpartition("/")
    if (slash and not _PREFIX.match(prefix)) or not _NAME.match(name) or len(name) > 63:
        raise bad_request(
            f'unable to parse requirement: <nil>: Invalid value: "{key}": name part must consist of alphanumeric '
            "characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyName',  or "
            "'my.name',  or '123-abc', regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')"
        )


def _requirement(match: re.Match[str]) -> Requirement:
    if match["absent"]:
        return Requirement(match["absent_key"], "absent")
    key = match["key"]
    if match["set"]:
        return Requirement(key, match["set"], frozenset(value.strip() for value in match["values"].split(",")))
    match match["operator"]:
        case None:
            return Requirement(key, "exists")
        case "=" | "==":
            return Requirement(key, "in", frozenset((match["value"],)))
        case "!=":
            return Requirement(key, "notin", frozenset((match["value"],)))
        case operator:
            return Requirement(key, "gt" if operator == ">" else "lt", frozenset((match["value"],)))


def parse_labels(text: str) -> tuple[Requirement, ...]:
    """Parse a label selector. Raises ApiError 400 for what does not parse."""
    terms: list[Requirement] = []
    position = 0
    while text.strip() and position <= len(text):
        match = _TERM.match(text, position)
        if match is None or not (match["key"] or match["absent_key"]):
            raise bad_request(
                f"unable to parse requirement: found '{text[position : position + 1]}', expected: !, identifier, "
                "or 'end of string'"
            )
        requirement = _requirement(match)
        _check_key(requirement.key)
        terms.append(requirement)
        position = match.end()
        if position == len(text):
            break
        if text[position] != ",":
            raise bad_request(f"unable to parse requirement: found '{text[position:]}', expected: ',' or 'end of string'")
        position += 1
    return tuple(terms)


def _unescape(value: str) -> str:
    if re.search(r"(?<!\\)(?:\\\\)*=", value):
        raise bad_request("invalid field selector: unescaped character in value: 61")
    return re.sub(r"\\([\\,=])", r"\1", value)


def parse_fields(text: str, resource: Resource) -> tuple[Requirement, ...]:
    """Parse a field selector for a kind. Raises ApiError 400, with the server's words for an unsupported label."""
    terms: list[Requirement] = []
    for term in re.split(r"(?<!\\),", text):
        if not term:
            continue
        match = re.match(r"^(.*?)(!=|==|=)(.*)$", term, re.DOTALL)
        if match is None:
            raise bad_request(f"invalid selector: '{text}'; can't understand '{term}'")
        label, operator, value = match.groups()
        if label not in resource.field_labels:
            raise bad_request(resource.unsupported_field_label(label))
        terms.append(Requirement(label, "notin" if operator == "!=" else "in", frozenset((_unescape(value),))))
    return tuple(terms)
