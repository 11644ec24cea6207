"""Events of the core as OpenTelemetry metrics and spans: for `on_event=`, with the extra `opentelemetry`.

Everything is read off the event; nothing is measured or decided here. It is in this package because every adapter has
it, and because the core depends on no telemetry.
"""

import threading
import time
from wsgiref.simple_server import WSGIServer

from holdall import Event
from opentelemetry import metrics, trace
from opentelemetry.trace import StatusCode

_SECONDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)
_BYTES = (256, 512, 1_024, 2_048, 4_096, 16_384, 65_536, 262_144, 1_048_576, 16_777_216)


class Telemetry:
    """Makes metrics and spans of events: `SessionManager(…, on_event=Telemetry())`.

    `meter_provider` and `tracer_provider` are OpenTelemetry's; None: the global ones, which do nothing until the
    application sets them. Give each process one, and make it after the process was forked.
    """

    def __init__(
        self,
        meter_provider: metrics.MeterProvider | None = None,
        tracer_provider: trace.TracerProvider | None = None,
    ) -> None:
        meter = metrics.get_meter("holdall", meter_provider=meter_provider)
        self._tracer = trace.get_tracer("holdall", tracer_provider=tracer_provider)
        self._events = meter.create_counter("holdall.events", description="What happened to sessions, and why")
        self._commands, self._steps = (
            meter.create_histogram(name, "s", text, explicit_bucket_boundaries_advisory=_SECONDS)
            for name, text in (
                ("holdall.command.duration", "How long a store took to answer"),
                ("holdall.step.duration", "How long a load, a commit or a finish took"),
            )
        )
        self._records, self._cookies = (
            meter.create_histogram(name, "By", text, explicit_bucket_boundaries_advisory=_BYTES)
            for name, text in (
                ("holdall.record.size", "Sealed records that stores gave and were given"),
                ("holdall.cookie.size", "Set-Cookie values of a response"),
            )
        )

    def __call__(self, event: Event) -> None:
        """Count an event, and tell the current span of it; what asked a store becomes a span of its own."""
        labels = {"event": event.name, "reason": event.reason, "tier": event.tier.value if event.tier else ""}
        self._events.add(1, labels)
        if event.command is not None:
            told = labels | {"command": event.command}
            self._commands.record(event.seconds or 0.0, told)
            if event.record_bytes:
                self._records.record(event.record_bytes, told)
        if event.step is not None:
            self._steps.record(event.seconds or 0.0, labels | {"step": event.step})
        if event.cookie_bytes:
            self._cookies.record(event.cookie_bytes, labels)
        attributes = {name.replace("_", ".", 1): value for name, value in event.fields().items()}
        if event.command is None and not event.commands:
            trace.get_current_span().add_event(f"holdall.{event.name}", {**attributes, "holdall.text": event.text})
            return
        now = time.time_ns()
        name = f"holdall {event.step or event.command}"
        span = self._tracer.start_span(name, attributes=attributes, start_time=now - int((event.seconds or 0.0) * 1e9))
        if event.error is not None:
            span.set_status(StatusCode.ERROR, event.text)
        span.end(now)


class PrometheusTelemetry(Telemetry):
    """Telemetry that Prometheus can scrape: `on_event=PrometheusTelemetry(port=9464)` serves its metrics at once.

    `address`: who can reach it; nobody but this machine unless told otherwise. `port` 0 takes a free one. It serves the
    metrics of this process, from a thread, with all others in the default registry of `prometheus_client`; spans go to
    the global tracer provider. One per process. Raises `OSError` if the port is taken.
    """

    port: int
    """Where it listens."""

    def __init__(self, port: int = 9464, address: str = "127.0.0.1") -> None:
        from opentelemetry.exporter.prometheus import PrometheusMetricReader
        from opentelemetry.sdk.metrics import MeterProvider
        from prometheus_client import start_http_server

        self._server: WSGIServer
        self._thread: threading.Thread
        self._server, self._thread = start_http_server(port, address)
        self.port = self._server.server_port
        self._provider = MeterProvider([PrometheusMetricReader()])
        super().__init__(self._provider)

    def close(self) -> None:
        """Stop listening, and forget what was counted."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
        self._provider.shutdown()
