# SPDX-License-Identifier: Apache-2.0
"""kubeconfig files: read, merged (the first to name a thing wins), and the current context looked up.

Paths within a file are relative to that file, as for every other client.
"""

from pathlib import Path
from typing import Any, TypeVar

import msgspec
import yaml

from kproxy.sources.kubernetes.access import Access, Cluster, User
from kproxy.table.errors import ConfigError


class NamedCluster(msgspec.Struct, frozen=True):
    """An entry of ``clusters``."""

    name: str
    cluster: Cluster = Cluster()


class NamedUser(msgspec.Struct, frozen=True):
    """An entry of ``users``."""

    name: str
    user: User = User()


class Context(msgspec.Struct, frozen=True):
    """A cluster and a user, by name."""

    cluster: str = ""
    user: str = ""


class NamedContext(msgspec.Struct, frozen=True):
    """An entry of ``contexts``."""

    name: str
    context: Context = Context()


class Kubeconfig(msgspec.Struct, frozen=True, rename="kebab"):
    """One file, as far as it matters here."""

    clusters: tuple[NamedCluster, ...] | None = None
    users: tuple[NamedUser, ...] | None = None
    contexts: tuple[NamedContext, ...] | None = None
    current_context: str = ""


Named = TypeVar("Named", NamedCluster, NamedUser, NamedContext)


def load(paths: tuple[Path, ...]) -> Access:
    """Read the files and return the way in of their current context. Raises ConfigError with the mend."""
    origin = ":".join(map(str, paths))
    present = [path for path in paths if path.exists()]
    if not present:
        raise ConfigError(f"kubeconfig {origin} does not exist: mend --kubeconfig or $KUBECONFIG")
    files = [_read(path) for path in present]
    wanted = next((file.current_context for file in files if file.current_context), "")
    contexts = [context for file in files for context in file.contexts or ()]
    if not wanted:
        raise ConfigError(f"kubeconfig {origin} has no current-context: run kubectl config use-context NAME on it")
    context = _named(contexts, wanted, "context", origin).context
    clusters = [entry for file in files for entry in file.clusters or ()]
    users = [entry for file in files for entry in file.users or ()]
    cluster = _named(clusters, context.cluster, "cluster", origin).cluster
    user = _named(users, context.user, "user", origin).user if context.user else User()
    return Access(cluster, user, f"kubeconfig {origin}", tuple(map(str, present)))


def _named(entries: list[Named], name: str, what: str, origin: str) -> Named:
    for entry in entries:
        if entry.name == name:
            return entry
    names = ", ".join(entry.name for entry in entries) or "none"
    raise ConfigError(
        f"kubeconfig {origin} has no {what} named {name!r} (it has: {names}): mend the context or add the {what}"
    )


def _read(path: Path) -> Kubeconfig:
    try:
        value = yaml.load(path.read_bytes(), Loader=yaml.CSafeLoader)
    except OSError as error:
        raise ConfigError(f"kubeconfig {path} cannot be read: {error.strerror}; mend its permissions") from error
    except yaml.YAMLError as error:
        raise ConfigError(f"kubeconfig {path} is not YAML: {' '.join(str(error).split())}") from error
    try:
        file = msgspec.convert(_without_nulls(value or {}), Kubeconfig)
    except msgspec.ValidationError as error:
        raise ConfigError(f"kubeconfig {path}: {error}; mend the field") from error
    return _with_paths(file, path.absolute().parent)


def _without_nulls(value: Any) -> Any:  # noqa: ANN401 - YAML yields anything
    """Drop empty fields: tools write ``client-key: null`` and mean that there is none."""
    match value:
        case dict():
            return {key: _without_nulls(entry) for key, entry in value.items() if entry is not None}
        case list():
            return [_without_nulls(entry) for entry in value]
        case _:
            return value


def _with_paths(file: Kubeconfig, folder: Path) -> Kubeconfig:
    """Make every path in a file absolute."""

    def absolute(path: str) -> str:
        return str(folder / path) if path else ""

    replace = msgspec.structs.replace
    clusters = [
        replace(entry, cluster=replace(entry.cluster, certificate_authority=absolute(entry.cluster.certificate_authority)))
        for entry in file.clusters or ()
    ]
    users = []
    for entry in file.users or ():
        user = entry.user
        user = replace(
            user,
            client_certificate=absolute(user.client_certificate),
            client_key=absolute(user.client_key),
            token_file=absolute(user.token_file),
        )
        if user.exec and "/" in user.exec.command:  # a bare name is looked up on PATH instead
            user = replace(user, exec=replace(user.exec, command=absolute(user.exec.command)))
        users.append(replace(entry, user=user))
    return replace(file, clusters=tuple(clusters), users=tuple(users))
