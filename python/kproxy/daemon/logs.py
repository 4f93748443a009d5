# SPDX-License-Identifier: Apache-2.0
"""The log: one line an event, as klog's text or as JSON, with key-values after the sentence.

``-v 4`` and above shows debug lines; ``--vmodule loop=4`` those of one module.
"""

import datetime as dt
import fnmatch
import logging
import sys
import threading
from collections.abc import Iterable, Mapping
from typing import Any, Final, TextIO

import msgspec

from kproxy.config.schema import Logging, VModule

DEBUG_FROM: Final = 4  # the verbosity that shows debug lines
LETTERS: Final = {logging.DEBUG: "I", logging.INFO: "I", logging.WARNING: "W", logging.ERROR: "E", logging.CRITICAL: "F"}


def fields(**values: object) -> dict[str, Any]:
    """Return key-values for a log call's ``extra``."""
    return {"fields": values}


def _fields_of(record: logging.LogRecord) -> Mapping[str, object]:
    found: Mapping[str, object] = getattr(record, "fields", {})
    return found


class TextFormatter(logging.Formatter):
    """klog's line: ``W1124 03:58:49.123456    1234 lane.py:12] The sentence. route="shop/web"``."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
        moment = dt.datetime.fromtimestamp(record.created, dt.UTC).astimezone()
        head = f"{LETTERS.get(record.levelno, 'I')}{moment:%m%d %H:%M:%S.%f} {threading.get_native_id():7d}"
        values = "".join(f" {name}={_quoted(value)}" for name, value in _fields_of(record).items())
        line = f"{head} {record.filename}:{record.lineno}] {record.getMessage()}{values}"
        return f"{line}\n{self.formatException(record.exc_info)}" if record.exc_info else line


def _quoted(value: object) -> str:
    return str(value) if isinstance(value, int | float) else msgspec.json.encode(str(value)).decode()


class JsonFormatter(logging.Formatter):
    """One JSON object a line: ts (milliseconds), level, caller, msg, then the key-values; err with a traceback."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
        line: dict[str, object] = {
            "ts": round(record.created * 1000, 3),
            "level": record.levelname.lower(),
            "caller": f"{record.filename}:{record.lineno}",
            "msg": record.getMessage(),
            **_fields_of(record),
        }
        if record.exc_info:
            line["err"] = self.formatException(record.exc_info)
        return msgspec.json.encode(line, enc_hook=str).decode()


class Verbosity(logging.Filter):
    """Lets debug lines through where the verbosity of their module asks for them."""

    def __init__(self, verbosity: int, modules: Iterable[VModule] = ()) -> None:
        super().__init__()
        self._debug = verbosity >= DEBUG_FROM
        self._modules = tuple(modules)

    def filter(self, record: logging.LogRecord) -> bool:
        """Tell whether a line is shown."""
        if record.levelno > logging.DEBUG:
            return True
        for module in self._modules:
            if fnmatch.fnmatchcase(record.module, module.file_pattern):
                return module.verbosity >= DEBUG_FROM
        return self._debug

    @property
    def level(self) -> int:
        """The level below which no line can be shown."""
        wanted = self._debug or any(module.verbosity >= DEBUG_FROM for module in self._modules)
        return logging.DEBUG if wanted else logging.INFO


def set_up(settings: Logging, stream: TextIO | None = None) -> None:
    """Put the settings in force; may be called again."""
    verbosity = Verbosity(settings.verbosity, settings.vmodule)
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(JsonFormatter() if settings.format == "json" else TextFormatter())
    handler.addFilter(verbosity)
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.WARNING)  # libraries speak up only for trouble
    logging.getLogger("kproxy").setLevel(verbosity.level)
