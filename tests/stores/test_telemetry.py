"""Events as metrics and spans; a real Prometheus scrapes an application, and each query of the dashboard has data."""

import json
import time
import urllib.request
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from holdall import Event, HoldallError, Session, Tier
from holdall_conformance import Browser, Request, call_wsgi
from holdall_stores import Stores
from holdall_stores.telemetry import PrometheusTelemetry, Telemetry
from holdall_wsgi import SessionMiddleware
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import StatusCode

from tests import servers
from tests.core.support import KEY, World, big, put
from tests.stores.prometheus import Prometheus, prometheus

DASHBOARD = Path(__file__).parents[2] / "docs/grafana-dashboard.json"
PANELS = json.loads(DASHBOARD.read_text(encoding="utf-8"))["panels"]
QUERIES = [target["expr"] for panel in PANELS for target in panel["targets"]]
_PATIENCE = 90.0  # seconds until Prometheus must have seen it all; 3 are usual


class Heard:
    """A world whose events become metrics and spans in memory."""

    def __init__(self, **options: Any) -> None:
        self._exporter = InMemorySpanExporter()
        self._reader = InMemoryMetricReader()
        tracers = TracerProvider()
        tracers.add_span_processor(SimpleSpanProcessor(self._exporter))
        self.tracer = tracers.get_tracer("application")
        self.world = World(on_event=Telemetry(MeterProvider([self._reader]), tracers), **options)

    def spans(self) -> list[ReadableSpan]:
        """Return the spans that ended since this was asked last."""
        spans = list(self._exporter.get_finished_spans())
        self._exporter.clear()
        return spans

    def points(self) -> list[tuple[str, dict[str, Any], Any]]:
        """Return the name, the labels and the point of every metric."""
        data = self._reader.get_metrics_data()
        assert data is not None
        return [
            (metric.name, dict(point.attributes or {}), point)
            for resource in data.resource_metrics
            for scope in resource.scope_metrics
            for metric in scope.metrics
            for point in metric.data.data_points
        ]


class TestSpans:
    def test_what_asked_a_store(self) -> None:
        """A command is a span within the request's, and so is a step that has some; each lasts as long as it took."""
        heard = Heard()
        heard.world.request(put(big=big()))
        heard.world.stores.before = lambda command: heard.world.clock.advance(0.25)
        heard.spans()
        with heard.tracer.start_as_current_span("request") as request:
            heard.world.request(put(n=1))
        spans = {span.name: span for span in heard.spans()}
        assert [*spans] == ["holdall get", "holdall load", "holdall put", "holdall commit", "request"]
        load = spans["holdall load"]
        assert load.parent == request.get_span_context()
        assert (load.end_time or 0) - (load.start_time or 0) == 250_000_000
        assert load.attributes is not None
        assert load.attributes["holdall.event"] == "loaded"
        assert load.attributes["holdall.tier"] == "cache"
        assert spans["request"].events == ()

    def test_what_asked_none(self) -> None:
        """Of a session in the cookie the request's span has events, which say why."""
        heard = Heard()
        heard.world.request(put(n=1))
        with heard.tracer.start_as_current_span("request"):
            heard.world.read()
        (request,) = heard.spans()
        assert [event.name for event in request.events] == ["holdall.loaded", "holdall.committed"]
        assert (request.events[1].attributes or {})["holdall.text"] == "no Set-Cookie: clean"

    def test_a_store_that_does_not_answer(self) -> None:
        """Its span, and that of a step that raised for it, are errors."""
        heard = Heard()
        heard.world.stores.down = {Tier.DURABLE}
        with suppress(HoldallError):
            heard.world.request(put(big=big()))
        spans = heard.spans()
        assert {span.status.status_code for span in spans if span.name != "holdall get"} == {StatusCode.ERROR}
        assert spans[-1].name == "holdall commit"


class TestMetrics:
    def test_counted_and_measured(self) -> None:
        """Events are counted by name, reason and tier; times and sizes are distributions."""
        heard = Heard()
        heard.world.request(put(big=big()))
        for _ in range(3):
            heard.world.read()
        points = heard.points()
        assert {name for name, _, _ in points} == {
            "holdall.events",
            "holdall.command.duration",
            "holdall.step.duration",
            "holdall.record.size",
            "holdall.cookie.size",
        }
        loaded = {"event": "loaded", "reason": "cache", "tier": "cache"}
        assert [point.value for name, labels, point in points if name == "holdall.events" and labels == loaded] == [3]
        got = [p for name, labels, p in points if name == "holdall.record.size" and labels["command"] == "get"]
        assert [point.count for point in got] == [3]
        assert got[0].sum > 3 * 20_000

    @pytest.mark.requirement(11)
    def test_nothing_secret(self) -> None:
        """Neither labels nor spans hold a token, an id, a store's key or a value, whatever fails."""
        heard = Heard()
        secrets = {heard.world.request(lambda session: (session.update(user="lovelace"), session.sid)[1]), "lovelace"}
        acts = (put(n=1), put(big=big()), put(n=2), Session.regenerate_id, put(n=object()), Session.terminate)
        for act in acts:
            for down in (set[Tier](), {Tier.CACHE}, {Tier.DURABLE}):
                heard.world.stores.down = down
                with suppress(HoldallError), heard.tracer.start_as_current_span("request"):
                    heard.world.request(act)
                secrets |= {*heard.world.browser.cookies.values()}
                secrets |= {command.key for command in heard.world.stores.commands}
        spans = " ".join(span.to_json() for span in heard.spans())
        shown = spans + " ".join(f"{name} {labels}" for name, labels, _ in heard.points())
        assert "holdall.committed" in shown
        assert not [secret for secret in secrets if secret in shown]


def test_global_providers() -> None:
    """Without a provider of OpenTelemetry nothing is kept, and nothing fails."""
    Telemetry()(Event("loaded", "cookie", "from the cookie", Tier.COOKIE))


class TestPrometheusTelemetry:
    def test_port_taken(self) -> None:
        """It is an error at start-up, and leaves nothing behind."""
        telemetry = PrometheusTelemetry(0)
        try:
            with pytest.raises(OSError, match="in use"):
                PrometheusTelemetry(telemetry.port)
        finally:
            telemetry.close()

    def test_close(self) -> None:
        """After it nobody listens, and another one can be made."""
        for _ in range(2):
            telemetry = PrometheusTelemetry(0)
            telemetry(Event("loaded", "cookie", "from the cookie", Tier.COOKIE))
            with urllib.request.urlopen(f"http://127.0.0.1:{telemetry.port}/metrics", timeout=30) as answer:
                (line,) = [line for line in answer.read().decode().splitlines() if line.startswith("holdall_events_t")]
            assert line.endswith(" 1.0")
            telemetry.close()
            with pytest.raises(OSError, match="refused"):
                urllib.request.urlopen(f"http://127.0.0.1:{telemetry.port}/metrics", timeout=30)


def visit(site: SessionMiddleware, browser: Browser, path: str) -> None:
    browser.receive(call_wsgi(site, Request(path, (browser.header,) if browser.cookies else ())))


def application(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
    """Do what the path says."""
    session: Session = environ["holdall.session"]

    def late() -> Iterator[bytes]:
        yield b"first"
        session["list"].append(1)

    match environ["PATH_INFO"]:
        case "/small":
            session["n"] = session.get("n", 0) + 1
        case "/big":
            session.update(big=big(), list=[])
        case "/late":
            list(session["list"])
            start_response("200 OK", [])
            return late()
        case "/wrong":
            session["n"] = object()
    start_response("200 OK", [])
    return []


@pytest.mark.memcached
def test_every_query_of_the_dashboard(tmp_path: Path) -> None:
    """Prometheus scrapes an application that lives through a bad day, and each panel shows it; nothing is at zero."""
    telemetry = PrometheusTelemetry(0)
    with servers.memcached() as memcached, prometheus(tmp_path, f"127.0.0.1:{telemetry.port}") as server:
        stores = Stores.from_urls(
            cache=f"memcached://{memcached.address}", durable=f"sqlite:///{tmp_path / 'sessions.sqlite3'}"
        )
        try:
            site = SessionMiddleware(application, KEY, stores=stores, on_event=telemetry)
            end = time.monotonic() + _PATIENCE
            for day in range(1_000):
                small, large, stranger = Browser(), Browser(), Browser()
                stranger.cookies = {"__Host-session": "junk" * 20}
                for browser, path in ((small, "/small"), (large, "/big"), (large, "/late"), (stranger, "/small")) * 2:
                    visit(site, browser, path)
                visit(site, small, "/wrong")
                empty = [query for query in QUERIES if not _shows(server, query)]
                if not empty:
                    break
                assert time.monotonic() < end, f"day {day} is over without {empty}"
                if all("degraded" in query for query in empty):
                    memcached.kill()
                time.sleep(0.1)
            reasons = {labels["reason"] for labels, _ in server.query('holdall_events_total{event="degraded"}')}
            assert "cache_read" in reasons
        finally:
            stores.close()
            telemetry.close()


def _shows(server: Prometheus, query: str) -> bool:
    return any(value > 0 for _, value in server.query(query.replace("$__rate_interval", "10m")))


def test_the_dashboard_has_panels() -> None:
    """Each has a query of its own, and the datasource that the reader picks."""
    assert len(QUERIES) == len(set(QUERIES)) > 10
    assert all("$__rate_interval" in query for query in QUERIES)
