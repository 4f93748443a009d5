# SPDX-License-Identifier: Apache-2.0
"""The log is klog's text or one JSON object a line, with key-values, and as loud as asked for."""

import io
import json
import logging
import re
from collections.abc import Iterator

import pytest

from kproxy.config.schema import Logging, VModule
from kproxy.daemon import logs
from kproxy.daemon.logs import fields

log = logging.getLogger("kproxy.daemon.test_logs")


@pytest.fixture(autouse=True)
def _restore() -> Iterator[None]:
    root, own = logging.getLogger(), logging.getLogger("kproxy")
    handlers, level, own_level = root.handlers[:], root.level, own.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    own.setLevel(own_level)


def _said(settings: Logging) -> list[str]:
    stream = io.StringIO()
    logs.set_up(settings, stream)
    log.info("a %s", "sentence", extra=fields(route="shop/web", seconds=0.5))
    log.debug("a detail")
    log.warning("trouble")
    try:
        int("why")
    except ValueError:
        log.exception("it fell")
    return stream.getvalue().splitlines()


def test_text_is_klogs() -> None:
    """Severity, date, time, thread, place, sentence, key-values."""
    lines = _said(Logging(format="text"))
    assert re.fullmatch(
        r'I\d{4} \d\d:\d\d:\d\d\.\d{6} +\d+ test_logs\.py:\d+\] a sentence route="shop/web" seconds=0\.5', lines[0]
    )
    assert lines[1].startswith("W")
    assert lines[2].startswith("E")
    assert lines[-1].startswith("ValueError: invalid literal")


def test_json_is_one_object_a_line() -> None:
    """Tracebacks included."""
    lines = [json.loads(line) for line in _said(Logging(format="json"))]
    assert lines[0]["msg"] == "a sentence"
    assert lines[0]["route"] == "shop/web"
    assert lines[0]["caller"].startswith("test_logs.py:")
    assert [line["level"] for line in lines] == ["info", "warning", "error"]
    assert "ValueError: invalid literal" in lines[2]["err"]


def test_verbosity_four_shows_details() -> None:
    """For everything, or for the modules that match."""
    shown = {
        "quiet": Logging(verbosity=2),
        "loud": Logging(verbosity=4),
        "this module": Logging(vmodule=(VModule(file_pattern="test_*", verbosity=4),)),
        "another": Logging(vmodule=(VModule(file_pattern="lane", verbosity=9),)),
        "not this one": Logging(verbosity=5, vmodule=(VModule(file_pattern="test_logs", verbosity=0),)),
    }
    found = {name: any("a detail" in line for line in _said(settings)) for name, settings in shown.items()}
    assert found == {"quiet": False, "loud": True, "this module": True, "another": False, "not this one": False}
