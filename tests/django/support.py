"""What the Django tests share: a site whose views do what the test says, behind Django's own WSGI and ASGI handlers.

Real servers are in `serving.py`; what needs Django's database runs in processes of its own, see `test_client.py`.
"""

import asyncio
import inspect
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from django.core.handlers.asgi import ASGIHandler
from django.core.handlers.wsgi import WSGIHandler
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.urls import path
from holdall.testing import FakeClock, RecordingStores

from tests.core.support import KEY, Browser
from tests.wsgi.support import NOTHING, Response, serve

MIDDLEWARE = "holdall_django.middleware.SessionMiddleware"
ENGINE = "holdall_django.engine"
LARGE = "x" * 20_000
SIZES = {"small": "x", "large": LARGE}


def settings_of(**changes: Any) -> dict[str, Any]:
    """Return the settings of these tests, with changes."""
    defaults = {
        "SECRET_KEY": KEY,
        "SECRET_KEY_FALLBACKS": [],
        "DEBUG": False,
        "ALLOWED_HOSTS": ["*"],
        "MIDDLEWARE": [MIDDLEWARE],
        "SESSION_ENGINE": ENGINE,
        "HOLDALL": {},
    }
    return defaults | changes


class Site:
    """A site of one view, its stores and its clock, and a browser that visits it. `settings` must be in force."""

    def __init__(self, **changes: Any) -> None:
        options = dict(changes.pop("HOLDALL", {}))
        self.clock = options.setdefault("clock", FakeClock())
        self.stores = options.setdefault("stores", RecordingStores(self.clock))
        urls = type("urls", (), {"urlpatterns": [path("", self._view), path("async", self._async_view)]})
        self.settings = settings_of(HOLDALL=options, ROOT_URLCONF=urls, **changes)
        self.browser = Browser()
        self.response = Response()
        self._act: Callable[[HttpRequest], Any] = lambda request: None

    def request(
        self, act: Callable[[HttpRequest], Any], browser: Browser | None = None, extra: Mapping[str, Any] = NOTHING
    ) -> Any:
        """Have a view do this, which may return the response; returns what else it returned."""
        with self._doing(act) as results:
            browser = browser or self.browser
            cookies = {"HTTP_COOKIE": browser.header} if browser.cookies else {}
            self.response = response = serve(WSGIHandler(), None, None, {**cookies, **extra})
            # Django's Set-Cookie values begin with a space, which servers send and clients leave out.
            response.headers = [(name, value.strip()) for name, value in response.headers]
            browser.receive(response.headers)
        return results[0] if results else None

    def arequest(self, act: Callable[[HttpRequest], Any], browser: Browser | None = None, path: str = "/async") -> Any:
        """Do the same in an asynchronous stack; `act` may be asynchronous."""
        with self._doing(act) as results:
            self.response = asyncio.run(ask(AsyncHandler(), browser or self.browser, path))
        return results[0] if results else None

    def put(self, browser: Browser | None = None, **values: Any) -> None:
        """Assign session values, in a request."""
        self.request(lambda request: request.session.update(values), browser)

    def read(self, browser: Browser | None = None) -> dict[str, Any]:
        """Return the session's values, read in a request."""
        return self.request(lambda request: dict(request.session.items()), browser)  # type: ignore[no-any-return]

    @property
    def did(self) -> list[str]:
        """The commands since the last look, such as "get cache"."""
        commands = [f"{type(command).__name__.lower()} {command.tier.value}" for command in self.stores.commands]
        self.stores.commands.clear()
        return commands

    @contextmanager
    def _doing(self, act: Callable[[HttpRequest], Any]) -> Iterator[list[Any]]:
        before, self._act = self._act, act
        self._results: list[Any] = []
        try:
            yield self._results
        finally:
            self._act = before

    def _view(self, request: HttpRequest) -> HttpResponseBase:
        return self._respond(self._act(request))

    async def _async_view(self, request: HttpRequest) -> HttpResponseBase:
        result = self._act(request)
        return self._respond(await result if inspect.isawaitable(result) else result)

    def _respond(self, result: Any) -> HttpResponseBase:
        if isinstance(result, HttpResponseBase):
            return result
        self._results.append(result)
        return HttpResponse("done")


class AsyncHandler(ASGIHandler):  # type: ignore[misc]
    """Django's handler, which leaves the file with a request's body open where the response's body raises."""

    bodies: tuple[Any, ...] = ()

    async def read_body(self, receive: Any) -> Any:
        body = await super().read_body(receive)
        self.bodies += (body,)
        return body


async def ask(app: AsyncHandler, browser: Browser, path: str = "/", host: str = "127.0.0.1") -> Response:
    """Send a GET request to an ASGI application, as its server does (ASGI 3.0, HTTP 2.3)."""
    headers = [(b"host", host.encode())]
    if browser.cookies:
        headers.append((b"cookie", browser.header.encode()))
    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": "GET",
        "scheme": "http",
        "path": path,
        "query_string": b"",
        "headers": headers,
        "server": (host, 80),
    }
    incoming = [{"type": "http.request", "body": b"", "more_body": False}]
    response = Response()

    async def receive() -> dict[str, Any]:
        if incoming:
            return incoming.pop()
        await asyncio.get_running_loop().create_future()  # the client stays
        raise AssertionError

    async def send(message: Any) -> None:
        if message["type"] == "http.response.start":
            response.status = str(message["status"])
            response.headers = [(name.decode().title(), value.decode()) for name, value in message["headers"]]
        elif message.get("body"):
            response.chunks.append(message["body"])

    try:
        await app(scope, receive, send)
    finally:
        for body in app.bodies:
            body.close()
    browser.receive(response.headers)
    return response


async def agenerate(*chunks: bytes) -> AsyncIterator[bytes]:
    """Yield chunks of a body."""
    for chunk in chunks:
        yield chunk
