"""The demo's metrics, which a real Prometheus scrapes while somebody uses it."""

import time
from pathlib import Path

import pytest

from examples.demo.page import Labels
from examples.demo.serving import FRAMEWORKS, Servers
from examples.demo.tour import Visitor
from examples.demo.watch import Log
from tests.demo.support import running
from tests.servers import free_port
from tests.stores.prometheus import prometheus

_PATIENCE = 90.0  # seconds until Prometheus must have seen it all; 1 is usual


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_prometheus_sees_what_the_buttons_do(tmp_path: Path, framework: str) -> None:
    """What is put in, flushed and stopped is counted under its event, whichever framework serves the demo."""
    port = free_port()
    durable = f"sqlite:///{tmp_path / 'demo.sqlite3'}"
    servers = Servers("memory://", durable, Labels("memory", "SQLite"), framework, metrics=port)
    visitor = Visitor()
    with (
        running(servers, Log(), time.time) as visitor.port,
        prometheus(tmp_path, f"127.0.0.1:{port}") as server,
    ):
        visitor.press("pack", kilobytes="20")
        visitor.press("flush")
        visitor.look()
        visitor.press("stop")
        visitor.post({"csrf": visitor.token(), "action": "put", "name": "apple", "pieces": "1"}, 503)
        wanted = {("committed", "durable"), ("loaded", "cache"), ("loaded", "durable")}
        end = time.monotonic() + _PATIENCE
        while not wanted <= (seen := _seen(server.query("holdall_events_total"))):
            assert time.monotonic() < end, f"only {seen} was counted"
            time.sleep(0.1)
        assert {event for event, _ in seen} >= {"degraded"}


def _seen(series: list[tuple[dict[str, str], float]]) -> set[tuple[str, str]]:
    return {(labels["event"], labels.get("tier", "")) for labels, count in series if count}
