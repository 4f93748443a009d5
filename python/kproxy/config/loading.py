# SPDX-License-Identifier: Apache-2.0
"""From the command line to the configuration in force.

Upstream's precedence (``cmd/kube-proxy/app/options.go``): with ``--config`` the file's object *replaces* the one made of
flags, so every flag that sets a field is ignored, but for the logging flags, ``--hostname-override`` and those for what
only kproxy can do. ``--master`` and the actions are no fields and always count.
"""

import socket
from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec

from kproxy.config import paths
from kproxy.config.addresses import append_port
from kproxy.config.command_line import CommandLine, default_of, read_command_line
from kproxy.config.decode import decode
from kproxy.config.defaults import for_platform, with_defaults
from kproxy.config.flags import FLAGS
from kproxy.config.schema import KubeProxyConfiguration
from kproxy.config.validation import require_valid
from kproxy.table.errors import ConfigError


class Start(msgspec.Struct, frozen=True, kw_only=True):
    """All that the command line and the file ask for.

    ``config`` has its defaults and is valid; what depends on the kernel (``mode``) may still be empty, see ``complete``.
    ``warnings`` are sentences for the log. ``version`` is empty unless asked for. ``origin`` and ``places`` say where
    each field was set; ``nftables_works`` is what ``complete`` was told, None before.
    """

    config: KubeProxyConfiguration
    command_line: CommandLine = CommandLine()
    warnings: tuple[str, ...] = ()
    config_file: str = ""
    write_config_to: str = ""
    cleanup: bool = False
    init_only: bool = False
    master: str = ""
    strict_config: bool = False
    version: str = ""
    origin: str = "the flags"
    places: Mapping[str, str] = {}
    nftables_works: bool | None = None


def read_file(path: str) -> str:
    """Read a configuration file's text. Raises ConfigError."""
    try:
        return Path(path).read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigError(
            f"--config {path}: {error.strerror}: name a KubeProxyConfiguration file that can be read"
        ) from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"--config {path}: it is not UTF-8 text at byte {error.start}") from error


def _put_flag(config: KubeProxyConfiguration, name: str, value: paths.Value) -> KubeProxyConfiguration:
    for path in FLAGS[name].fields:
        config = paths.put(config, path, value)
    return config


def from_flags(command_line: CommandLine) -> KubeProxyConfiguration:
    """Make the configuration of a start without a file: defaults first, then the flags, as upstream."""
    config = with_defaults(KubeProxyConfiguration())
    for name, flag in FLAGS.items():
        if flag.fields:
            config = _put_flag(config, name, command_line.given.get(name, default_of(flag)))
    if not command_line.value("write-config-to"):
        for field, flag_name in (("healthzBindAddress", "healthz-port"), ("metricsBindAddress", "metrics-port")):
            port = command_line.value(flag_name)
            config = paths.put(config, field, append_port(paths.get(config, field), port) if port else "")
    return config


def over_file(config: KubeProxyConfiguration, command_line: CommandLine) -> KubeProxyConfiguration:
    """Put the flags that beat the file over a file's configuration. The patterns of ``--vmodule`` come before the file's."""
    for name, value in command_line.given.items():
        if FLAGS[name].beats_file:
            config = _put_flag(config, name, (value + config.logging.vmodule) if name == "vmodule" else value)
    return config


def override_hostname(config: KubeProxyConfiguration, flag: str) -> KubeProxyConfiguration:
    """Put ``--hostname-override`` over the file's: trimmed, in lower case. Raises ConfigError when it is blank."""
    if not flag:
        return config
    if not flag.strip():
        raise ConfigError("--hostname-override: it holds nothing but blanks: give the Node's name, or leave the flag out")
    return msgspec.structs.replace(config, hostname_override=flag.strip().lower())


def node_name(config: KubeProxyConfiguration) -> str:
    """Tell this node's name: as configured, else the host's, trimmed and in lower case. Raises ConfigError when empty."""
    name = (config.hostname_override or socket.gethostname()).strip().lower()
    if not name:
        raise ConfigError("this host has no name: set hostnameOverride (--hostname-override) to the Node's name")
    return name


def ignored_flags(command_line: CommandLine) -> tuple[str, ...]:
    """Name the flags given that a file overrules."""
    deprecated = {"healthz-port", "metrics-port"}
    return tuple(
        name for name in command_line.given if name in deprecated or (FLAGS[name].fields and not FLAGS[name].beats_file)
    )


def _configuration(
    command_line: CommandLine, path: str, text: str | None
) -> tuple[KubeProxyConfiguration, list[str], dict[str, str]]:
    """Return the configuration, warnings, and by field path where it was set."""
    places = {field: f"--{name}" for name in command_line.given for field in FLAGS[name].fields}
    if not path:
        return from_flags(command_line), [], places
    strict = command_line.value("strict-config")
    decoded = decode(read_file(path) if text is None else text, path, strict=strict)
    warnings = [f"configuration file {path}: {finding}" for finding in decoded.findings]
    ignored = ignored_flags(command_line)
    if ignored:
        names = ", ".join(f"--{name}" for name in ignored)
        warnings.append(f"{names}: without effect beside --config, which takes the place of flags: set it in {path}")
    places = {field: place for field, place in places.items() if FLAGS[place.removeprefix("--")].beats_file}
    lines = {field: f"line {line}" for field, line in decoded.lines.items()}
    return over_file(with_defaults(decoded.config), command_line), warnings, lines | places


def configure(command_line: CommandLine, text: str | None = None) -> Start:
    """Work out the start that a command line asks for. Raises ConfigError with everything that is wrong.

    ``text`` is the content of the file it names; None: read it.
    """
    path = command_line.value("config")
    config, warnings, places = _configuration(command_line, path, text)
    warnings += [
        f"--{name} is deprecated: {FLAGS[name].deprecated}" for name in command_line.given if FLAGS[name].deprecated
    ]
    config = override_hostname(config, command_line.value("hostname-override"))
    origin = f"configuration file {path}" if path else "the flags"
    require_valid(config, origin, places)
    version = command_line.value("version")
    return Start(
        config=config,
        command_line=command_line,
        warnings=tuple(warnings),
        config_file=path,
        write_config_to=command_line.value("write-config-to"),
        cleanup=command_line.value("cleanup"),
        init_only=command_line.value("init-only"),
        master=command_line.value("master"),
        strict_config=command_line.value("strict-config"),
        version="" if version == "false" else version,
        origin=origin,
        places=places,
    )


def complete(start: Start, *, nftables_works: bool) -> Start:
    """Fill in what depends on the kernel: mode, NodePort addresses, local detection. Raises ConfigError.

    The mode settles which section's periods count, so they are judged again.
    """
    config = for_platform(start.config, nftables_works=nftables_works)
    require_valid(config, start.origin, start.places)
    return msgspec.structs.replace(start, config=config, nftables_works=nftables_works)


def load(arguments: Sequence[str], prog: str = "kproxy") -> Start:
    """Read the arguments (without the program's name) and the file they name. Raises ConfigError."""
    return configure(read_command_line(arguments, prog))
