"""What the ASGI tests share: a server in this process that does what ASGI asks of one, and a site to visit.

The site's application does with its session whatever the request brings along, so that a test reads as a story. Real
servers are in `serving.py`.
"""

import asyncio
import inspect
from collections.abc import Awaitable, Callable, Mapping
from types import MappingProxyType
from typing import Any

from holdall import get_current_session
from holdall.testing import FakeClock, RecordingStores
from holdall_asgi import Session, SessionMiddleware

from tests.core.support import KEY, Browser

Message = dict[str, Any]
Act = Callable[[Session], Any]
NOTHING: Mapping[str, Any] = MappingProxyType({})
TEXT = (b"content-type", b"text/plain; charset=utf-8")
START: Mapping[str, Any] = MappingProxyType({"type": "http.response.start", "status": 200, "headers": [TEXT]})
PATIENCE = 60  # seconds until a test gives up; it decides nothing


class Response:
    """What a server was told in one request or websocket, and what it would have sent."""

    def __init__(self) -> None:
        self.messages: list[Message] = []

    async def send(self, message: Message) -> None:
        """The server's `send`, which is as strict as ASGI asks."""
        if message["type"] == "http.response.start":
            assert not self.messages, "the response was started twice"
        elif message["type"] == "http.response.body":
            assert self.messages, "the body came before the start"
            assert not self.is_complete, "the body went on after its end"
        for name, value in message.get("headers", ()):
            assert (type(name), type(value)) == (bytes, bytes)
            assert name == name.lower()
        self.messages.append(message)

    @property
    def status(self) -> int:
        return int(self.messages[0]["status"])

    @property
    def headers(self) -> list[tuple[str, str]]:
        """The headers of the first message."""
        if not self.messages:
            return []
        return [(name.decode("latin-1"), value.decode("latin-1")) for name, value in self.messages[0]["headers"]]

    @property
    def body(self) -> bytes:
        return b"".join(each.get("body", b"") for each in self.messages if each["type"].endswith(".body"))

    @property
    def is_complete(self) -> bool:
        return any(each["type"].endswith(".body") and not each.get("more_body") for each in self.messages)

    def all(self, name: str) -> list[str]:
        """Return the values of a header, in order."""
        return [value for field, value in self.headers if field == name]

    @property
    def cookies(self) -> list[str]:
        return self.all("set-cookie")


def scope_of(browser: Browser | None = None, extra: Mapping[str, Any] = NOTHING) -> Message:
    """Return the scope of a request from this browser."""
    scope: Message = {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.4"},
        "http_version": "1.1",
        "method": "GET",
        "scheme": "https",
        "path": "/",
        "raw_path": b"/",
        "query_string": b"",
        "root_path": "",
        "headers": [(b"host", b"example.com")],
        "client": ("127.0.0.1", 50000),
        "server": ("127.0.0.1", 443),
        **extra,
    }
    if browser is not None and browser.cookies:
        scope["headers"] = [*scope["headers"], (b"cookie", browser.header.encode("latin-1"))]
    return scope


def websocket_scope(browser: Browser | None = None, *, denial: bool = True) -> Message:
    """Return the scope of a websocket from this browser, to a server that can refuse with a response or cannot."""
    extensions: Message = {"websocket.http.response": {}} if denial else {}
    return scope_of(browser, {"type": "websocket", "scheme": "wss", "extensions": extensions, "subprotocols": []})


def messages(*queue: Message, until: asyncio.Event | None = None) -> Callable[[], Awaitable[Message]]:
    """Return a `receive` that hands out these messages, and then waits for ever, or hangs up when `until` is set."""
    waiting = [*queue]

    async def receive() -> Message:
        if waiting:
            return waiting.pop(0)
        await (asyncio.Future() if until is None else until.wait())
        return {"type": "websocket.disconnect", "code": 1000}

    return receive


REQUEST: Message = {"type": "http.request", "body": b"", "more_body": False}


async def serve(
    app: Any,
    browser: Browser | None = None,
    response: Response | None = None,
    extra: Mapping[str, Any] = NOTHING,
) -> Response:
    """Handle one request as a server does. `response`: looked at also when something is raised."""
    response = response or Response()
    await app(scope_of(browser, extra), messages(REQUEST), response.send)
    assert response.is_complete
    if browser is not None:
        browser.receive(titled(response.headers))
    return response


def titled(headers: list[tuple[str, str]]) -> list[tuple[str, str]]:
    """Return ASGI's headers as `Browser.receive` takes them."""
    return [(name.title(), value) for name, value in headers]


async def respond(send: Any, body: bytes = b"done", **start: Any) -> None:
    """Send a response that is whole."""
    await send({**START, **start})
    await send({"type": "http.response.body", "body": body})


def wrap(app: Any, **options: Any) -> SessionMiddleware:
    clock = options.setdefault("clock", FakeClock())
    return SessionMiddleware(app, KEY, stores=options.pop("stores", None) or RecordingStores(clock), **options)


class Site:
    """An application in the middleware, its stores, its clock, and a browser that visits it."""

    def __init__(self, **options: Any) -> None:
        self.clock = options.setdefault("clock", FakeClock())
        self.stores = options.setdefault("stores", RecordingStores(self.clock))
        self.app = SessionMiddleware(self._handle, options.pop("key", KEY), **options)
        self.browser = Browser()
        self.response = Response()

    def request(
        self, act: Act, browser: Browser | None = None, *, status: int = 200, extra: Mapping[str, Any] = NOTHING
    ) -> Any:
        """Handle one request whole, and return what `act`, awaited if it can be, made of the session."""
        results: list[Any] = []
        self.response = Response()
        work = {"test.act": (act, results), "test.status": status}
        asyncio.run(serve(self.app, browser or self.browser, self.response, {**extra, **work}))
        return results[0] if results else None

    def read(self, browser: Browser | None = None) -> dict[str, Any]:
        return self.request(dict, browser)  # type: ignore[no-any-return]

    @property
    def did(self) -> list[str]:
        """The commands since the last look, such as "get cache"; of recording stores."""
        commands = [f"{type(command).__name__.lower()} {command.tier.value}" for command in self.stores.commands]
        self.stores.commands.clear()
        return commands

    @staticmethod
    async def _handle(scope: Message, receive: Any, send: Any) -> None:
        act, results = scope["test.act"]
        session = get_current_session()
        assert session is scope["session"]
        result = act(session)
        results.append(await result if inspect.isawaitable(result) else result)
        await respond(send, status=scope["test.status"])


def with_big_session(app: Any, **options: Any) -> tuple[SessionMiddleware, Site]:
    """Return the application in the middleware, and a site whose browser has a stored session with n = 1."""
    site = Site()
    site.request(lambda session: session.update(n=1, big="x" * 20_000))
    site.stores.commands.clear()
    return wrap(app, stores=site.stores, clock=site.clock, **options), site
