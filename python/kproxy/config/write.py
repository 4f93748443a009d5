# SPDX-License-Identifier: Apache-2.0
"""A configuration as v1alpha1 YAML: ``--write-config-to`` and ``/configz``.

All of upstream's fields are written, sorted, as upstream's encoder does; our own section only where something in it differs
from its default, so that upstream reads our files without a warning.
"""

from pathlib import Path
from typing import Any

import msgspec

from kproxy.config.documents import write_document
from kproxy.config.schema import API_VERSION, KIND, Extensions, KubeProxyConfiguration
from kproxy.table.errors import ConfigError


def as_values(config: KubeProxyConfiguration) -> dict[str, Any]:
    """Return the configuration as plain JSON values, with apiVersion and kind."""
    values: dict[str, Any] = msgspec.to_builtins(config, enc_hook=str)
    if config.kproxy == Extensions():
        del values["kproxy"]
    return {"apiVersion": API_VERSION, "kind": KIND, **values}


def as_yaml(config: KubeProxyConfiguration) -> str:
    """Return the text of the file; reading it gives the same configuration."""
    return write_document(as_values(config))


def write_config(config: KubeProxyConfiguration, path: str) -> None:
    """Write the file. Raises ConfigError when it cannot be written."""
    try:
        Path(path).write_text(as_yaml(config), encoding="utf-8")
    except OSError as error:
        raise ConfigError(
            f"--write-config-to {path}: {error.strerror}: name a file in a directory that can be written"
        ) from error
