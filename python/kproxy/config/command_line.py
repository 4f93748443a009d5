# SPDX-License-Identifier: Apache-2.0
"""Reading the command line by the table of flags.

The syntax is upstream's (pflag): ``--name value``, ``--name=value``, booleans as ``--name`` or ``--name=false``,
underscores for dashes, ``-v4``; a list given twice grows. Arguments are first written out as ``--name=value`` so that a
value may begin with a dash; argparse, without abbreviations, does the rest.
"""

import argparse
import difflib
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final, NoReturn

import msgspec

from kproxy.config import paths
from kproxy.config.addresses import address_or_none, split_port
from kproxy.config.defaults import with_defaults
from kproxy.config.durations import parse_duration
from kproxy.config.flags import FLAGS, GROUPS, Flag
from kproxy.config.paths import Value
from kproxy.config.schema import QUANTITY, KubeProxyConfiguration, VModule
from kproxy.table.errors import ConfigError

_TRUE: Final = frozenset({"1", "t", "T", "true", "TRUE", "True"})  # Go's strconv.ParseBool
_FALSE: Final = frozenset({"0", "f", "F", "false", "FALSE", "False"})


def _boolean(text: str) -> bool:
    if text not in _TRUE | _FALSE:
        raise ValueError(f"{text!r} is neither true nor false")
    return text in _TRUE


def _integer(low: int, high: int) -> Callable[[str], int]:
    def read(text: str) -> int:
        try:
            value = int(text, 0)
        except ValueError:
            raise ValueError(f"{text!r} is not a whole number") from None
        if not low <= value <= high:
            raise ValueError(f"{text} is not within {low}..{high}")
        return value

    return read


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise ValueError(f"{text!r} is not a number") from None


def _pairs(text: str, reason: str) -> Iterator[tuple[str, str]]:
    for item in filter(None, (part.strip() for part in text.split(","))):
        name, equals, value = item.partition("=")
        if not equals or not name.strip():
            raise ValueError(f"{item!r} is not {reason}")
        yield name.strip(), value.strip()


def _gates(text: str) -> dict[str, bool]:
    return {name: _boolean(value) for name, value in _pairs(text, "NAME=true or NAME=false")}


def _vmodule(text: str) -> tuple[VModule, ...]:
    level = _integer(0, 2**31 - 1)
    return tuple(VModule(file_pattern=name, verbosity=level(value)) for name, value in _pairs(text, "PATTERN=N"))


def _list(text: str) -> tuple[str, ...]:
    return tuple(text.split(",")) if text else ()


def _ip(text: str) -> str:
    address = address_or_none(text.strip())
    if address is None:
        raise ValueError(f"{text!r} is not an IP address")
    return text.strip()


def _ip_port(text: str) -> str:
    if not text or address_or_none(text) is not None:
        return text
    host, port = split_port(text)
    if address_or_none(host) is None:
        raise ValueError(f"{host!r} is not an IP address")
    _integer(1, 65535)(port)
    return text


def _quantity(text: str) -> str:
    if not re.fullmatch(QUANTITY, text):
        raise ValueError(f"{text!r} is not a quantity, such as 512Ki or 1M")
    return text


_READERS: Final[dict[str, Callable[[str], Any]]] = {
    "string": str,
    "version": str,
    "bool": _boolean,
    "int32": _integer(-(2**31), 2**31 - 1),
    "uint32": _integer(0, 2**32 - 1),
    "float32": _number,
    "duration": parse_duration,
    "list": _list,
    "gates": _gates,
    "vmodule": _vmodule,
    "ip": _ip,
    "ipport": _ip_port,
    "quantity": _quantity,
}
_BARE: Final = {"bool": "true", "version": "true"}  # the value of a flag given without one


class CommandLine(msgspec.Struct, frozen=True):
    """The flags that were given, by name, with their values read."""

    given: Mapping[str, Any] = {}

    def __contains__(self, name: object) -> bool:
        return name in self.given

    def value(self, name: str) -> Value:
        """Return the value given, else the default. For flags that write no field."""
        return self.given.get(name, FLAGS[name].default)


class _Parser(argparse.ArgumentParser):
    """argparse that raises instead of exiting."""

    def error(self, message: str) -> NoReturn:
        raise ConfigError(f"{message}: see kproxy --help")


class _Store(argparse.Action):
    """Reads a value by the flag's kind; lists and maps given again grow."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,  # noqa: ARG002 - argparse's signature
        namespace: argparse.Namespace,
        values: Value,
        option_string: str | None = None,  # noqa: ARG002
    ) -> None:
        flag = FLAGS[self.dest]
        try:
            value = _READERS[flag.kind](values)
        except ValueError as error:
            raise ConfigError(f"--{flag.name}: {error}") from error
        before = getattr(namespace, self.dest, None)
        if before is not None and flag.kind in {"list", "vmodule"}:
            value = before + value
        elif before is not None and flag.kind == "gates":
            value = before | value
        if flag.kind == "ipport" and not value:
            return  # upstream: an empty address keeps the default
        setattr(namespace, self.dest, value)


def default_of(flag: Flag) -> Value:
    """Return a flag's default."""
    if flag.default is not None or not flag.fields:
        return flag.default
    return paths.get(with_defaults(KubeProxyConfiguration()), flag.fields[0])


def _shown(value: Value) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, (tuple, dict)):
        return ",".join(map(str, value))
    return str(value)


def parser(prog: str = "kproxy") -> argparse.ArgumentParser:
    """Build the parser; its help lists the flags by group."""
    result = _Parser(
        prog=prog,
        usage=f"{prog} [flags]",
        allow_abbrev=False,
        argument_default=argparse.SUPPRESS,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        description="Forward Service traffic on this node. With --config, the file replaces the flags that set fields.",
    )
    for group in GROUPS:
        section = result.add_argument_group(group.title)
        for flag in group.flags:
            shown = _shown(default_of(flag))
            words = [
                flag.help,
                f"Deprecated: {flag.deprecated}." if flag.deprecated else "",
                f"(default {shown})" if shown else "",
            ]
            section.add_argument(
                *([f"-{flag.short}"] if flag.short else []),
                f"--{flag.name}",
                dest=flag.name,
                action=_Store,
                metavar=flag.kind.upper() if flag.kind not in _BARE else "BOOL",
                help=" ".join(filter(None, words)).replace("%", "%%"),
            )
    return result


def _written_out(arguments: Sequence[str]) -> Iterator[str]:
    """Write every flag as ``--name=value``. What is no flag passes as it is."""
    waiting = iter(arguments)
    for argument in waiting:
        if argument == "--":
            yield argument
            yield from waiting
            return
        if argument in {"-h", "--help"}:
            yield "--help"
            continue
        short = re.fullmatch(r"-v=?(.*)", argument)
        name, equals, value = ("v", bool(short[1]), short[1]) if short else argument.removeprefix("--").partition("=")
        flag = FLAGS.get(name.replace("_", "-"))
        if flag is None or not (short or argument.startswith("--")):
            yield argument
        elif equals:
            yield f"--{flag.name}={value}"
        elif flag.kind in _BARE:
            yield f"--{flag.name}={_BARE[flag.kind]}"
        else:
            following = next(waiting, None)
            if following is None:
                raise ConfigError(f"--{flag.name} wants a value: --{flag.name}={flag.kind.upper()}")
            yield f"--{flag.name}={following}"


def _refuse(surplus: Sequence[str]) -> NoReturn:
    sentences = []
    for argument in surplus:
        name = argument.partition("=")[0]
        if not name.startswith("-"):
            sentences.append(f"argument {argument!r} belongs to no flag: take it out")
            continue
        near = difflib.get_close_matches(name.lstrip("-").replace("_", "-"), FLAGS, n=1, cutoff=0.75)
        mend = f"did you mean --{near[0]}?" if near else "kproxy --help lists all flags"
        sentences.append(f"flag {name} is not known: {mend}")
    raise ConfigError("; ".join(sentences))


def read_command_line(arguments: Sequence[str], prog: str = "kproxy") -> CommandLine:
    """Read the arguments (without the program's name). Raises ConfigError; ``--help`` prints and raises SystemExit."""
    namespace, surplus = parser(prog).parse_known_args(list(_written_out(arguments)))
    if surplus:
        _refuse(surplus)
    return CommandLine(vars(namespace))
