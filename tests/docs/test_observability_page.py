"""docs/observability.md is true: the tables are what is told, and its examples print what the page shows."""

import json
import logging
import re
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from holdall import Tier, generate_key
from holdall.events import REASONS
from holdall_conformance import Browser
from holdall_stores import Memory, Stores
from holdall_wsgi import SessionMiddleware

from tests.core.support import World, big, put
from tests.docs.events import tables
from tests.docs.test_docs import blocks, execute
from tests.docs.test_howto_pages import visit

PAGE = "docs/observability.md"
TEXT = (Path(__file__).parents[2] / PAGE).read_text(encoding="utf-8")


@pytest.fixture(autouse=True)
def _loggers() -> Iterator[None]:
    """Loggers are as they were, whatever an example does to them."""
    root, trace = logging.getLogger(), logging.getLogger("holdall.trace")
    handlers, level = root.handlers[:], trace.level
    yield
    root.handlers[:] = handlers
    trace.setLevel(level)


def test_tables_are_what_is_told() -> None:
    """The page has the very tables that the events of every story give."""
    for table in tables():
        assert table in TEXT, f"python -m tests.docs.events prints:\n{table}"


def test_the_log_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    """A request with the cache down logs the line that the page shows."""
    world = World()
    world.request(put(big=big()))
    names = execute(blocks(PAGE)[0])
    names["handler"].setStream(_Out())
    world.stores.down = {Tier.CACHE}
    world.read()
    (shown,) = blocks(PAGE, "json")
    assert json.loads(shown) in [json.loads(line) for line in _Out.lines]


class _Out:
    lines: list[str] = []  # noqa: RUF012 (what was written)

    def write(self, text: str) -> None:
        self.lines += text.splitlines()

    def flush(self) -> None:
        pass


def test_the_trace(caplog: pytest.LogCaptureFixture) -> None:
    """The four requests of the page leave the lines that it shows."""
    acts: list[Any] = [None, {"n": 1}, "read", {"letters": big(3_000)}]

    def application(environ: Any, start_response: Any) -> list[bytes]:
        act = acts.pop(0)
        if act == "read":
            list(environ["holdall.session"])
        elif act is not None:
            environ["holdall.session"].update(act)
        start_response("200 OK", [])
        return []

    stores = Stores(durable=Memory())
    source = re.sub(r'cookie_key="[^"]*"', f'cookie_key="{generate_key()}"', blocks(PAGE)[1])
    source = source.replace("on_event=", "stores=stores, on_event=")
    names = execute(source, application=application, stores=stores)
    assert isinstance(names["application"], SessionMiddleware)
    browser = Browser()
    for _ in range(4):
        visit(names["application"], browser)
    (shown,) = blocks(PAGE, "text")
    assert caplog.messages == shown.splitlines()


def test_what_to_do_is_about_what_is_told() -> None:
    """Each event that the page explains for the worst night is told somewhere; all that degrade are there."""
    night = TEXT.partition("## The worst night")[2].partition("\n## ")[0]
    named: set[tuple[str, str]] = set()
    for cell in re.findall(r"^\| (`.*?) \|", night, re.MULTILINE):
        event, *reasons = re.findall(r"[a-z_]+", cell.partition(" where")[0])
        assert event in REASONS
        named |= {(event, reason) for reason in reasons}
    assert named <= {(event, reason) for event, reasons in REASONS.items() for reason in reasons}
    assert {("degraded", reason) for reason in REASONS["degraded"]} <= named


def test_prometheus_as_shown() -> None:
    """The example serves the metrics that the table names, with its labels."""
    example = re.sub(r'cookie_key="[^"]*"', f'cookie_key="{generate_key()}", stores=stores', blocks(PAGE)[2])
    assert "port=9464" in example

    def application(environ: Any, start_response: Any) -> list[bytes]:
        environ["holdall.session"]["big"] = big()
        start_response("200 OK", [])
        return []

    names = execute(example.replace("9464", "0"), application=application, stores=Stores(durable=Memory()))
    telemetry = names["telemetry"]
    try:
        visit(names["application"], Browser())
        with urllib.request.urlopen(f"http://127.0.0.1:{telemetry.port}/metrics", timeout=30) as answer:
            served = answer.read().decode()
    finally:
        telemetry.close()
    known = set(re.findall(r"^# TYPE (holdall_\w+)", served, re.MULTILINE))
    table = re.findall(r"^\| `holdall[\w.]+` \| `(\w+)` \|", TEXT, re.MULTILINE)
    assert set(table) == {name for name in known if not name.endswith("_created")}
    labels = set(re.findall(r'(\w+)="', " ".join(re.findall(r"^holdall.*", served, re.MULTILINE))))
    ours = {name for name in labels if not name.startswith("otel_scope")}
    assert ours == {"event", "reason", "tier", "command", "step", "le"}
