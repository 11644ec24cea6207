"""The sweep as a WSGI and as an ASGI application, for cron services that make a request: App Engine's and others.

Who may ask is decided here, in one place for both; what a sweep does is in `sweep`.
"""

import asyncio
import hmac
import logging
import math
from collections.abc import Awaitable, Callable, Iterable
from functools import partial
from typing import Any

from holdall import StoreUnavailable, UsageError
from holdall_stores import Stores, Sweepable, sweepable

from holdall_cli.sweep import Sweep

log = logging.getLogger("holdall.cli")

_SECRET_BYTES = 16
_PHRASES = {200: "OK", 202: "Accepted", 403: "Forbidden", 503: "Service Unavailable"}


class _Sweeper:
    """What both have in common."""

    def __init__(
        self,
        durable: Sweepable | Stores,
        *,
        secret: str | None = None,
        app_engine: bool = False,
        seconds: float = 30.0,
        per_second: float = math.inf,
    ) -> None:
        if secret is None and not app_engine:
            raise UsageError("nobody may ask for the sweep: give a secret=, or on App Engine app_engine=True")
        if secret is not None and len(secret.encode()) < _SECRET_BYTES:
            raise UsageError(f"secret has fewer than {_SECRET_BYTES} bytes: make one with 'holdall keygen'")
        self._expected = None if secret is None else b"Bearer " + secret.encode()
        self._app_engine = app_engine
        self._make = partial(Sweep, sweepable(durable), seconds=seconds, per_second=per_second)
        self._make()  # refuses at start-up what cannot work

    def _answer(self, authorization: bytes, appengine_cron: bytes) -> tuple[int, bytes]:
        """Sweep if that may be asked for, and return a status and a body."""
        # In constant time: how long it takes says nothing about how much of a guess is right.
        known = self._expected is not None and hmac.compare_digest(authorization, self._expected)
        if not known and not (self._app_engine and appengine_cron == b"true"):
            return 403, b"not for you\n"
        sweep = self._make()
        try:
            done = sweep.run()
        except StoreUnavailable as error:
            log.error("the sweep ended after %d deleted: %s", sweep.deleted, error)
            return 503, b"the store does not answer; ask again\n"
        if done:
            return 200, b"%d deleted, nothing is left\n" % sweep.deleted
        return 202, b"%d deleted, more is left: ask again\n" % sweep.deleted


class WSGISweeper(_Sweeper):
    """A WSGI application that sweeps a durable store.

    `durable`: what is swept. `secret`, at least 16 bytes: who sends `Authorization: Bearer <secret>` may ask.
    `app_engine`: who sends `X-Appengine-Cron: true` may ask. Turn it on behind App Engine alone, which takes that
    header away from everybody else's requests; anywhere else the whole world can send it. Without either, it is a
    `UsageError`: nobody could ask. `seconds`: about how long one request may sweep. `per_second`: see `Sweep`.

    The answer is 200 when nothing is left to delete, 202 when it should be asked again, 403 for strangers, and 503
    when the store does not answer.
    """

    def __call__(
        self, environ: dict[str, Any], start_response: Callable[[str, list[tuple[str, str]]], Any]
    ) -> Iterable[bytes]:
        """Answer a request, whatever its path and method."""
        status, body = self._answer(
            environ.get("HTTP_AUTHORIZATION", "").encode("latin-1"),
            environ.get("HTTP_X_APPENGINE_CRON", "").encode("latin-1"),
        )
        headers = [(name.decode(), value.decode()) for name, value in _headers(body)]
        start_response(f"{status} {_PHRASES[status]}", headers)
        return [body]


class ASGISweeper(_Sweeper):
    """An ASGI application that sweeps a durable store, in a thread: arguments and answers are `WSGISweeper`'s."""

    async def __call__(
        self,
        scope: dict[str, Any],
        receive: Callable[[], Awaitable[Any]],  # noqa: ARG002 (ASGI's)
        send: Callable[[dict[str, Any]], Awaitable[None]],
    ) -> None:
        """Answer a request, whatever its path and method. Knows no lifespan: mount it in an application that does."""
        if scope["type"] != "http":
            raise UsageError(f"a sweep is asked for by http, not by {scope['type']!r}: mount it under a path")
        asked = dict(scope["headers"])
        status, body = await asyncio.to_thread(
            self._answer, asked.get(b"authorization", b""), asked.get(b"x-appengine-cron", b"")
        )
        await send({"type": "http.response.start", "status": status, "headers": _headers(body)})
        await send({"type": "http.response.body", "body": body})


def _headers(body: bytes) -> list[tuple[bytes, bytes]]:
    return [
        (b"content-type", b"text/plain"),
        (b"content-length", b"%d" % len(body)),
        (b"cache-control", b"no-store"),
    ]
