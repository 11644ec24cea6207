"""What the WSGI tests share: a server in this process that does what PEP 3333 asks of one, and a site to visit.

The site's application does with its session whatever the request brings along, so that a test reads as a story. Real
servers are in `serving.py`.
"""

from collections.abc import Callable, Iterable, Mapping
from http import HTTPStatus
from types import MappingProxyType
from typing import Any
from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment
from wsgiref.util import setup_testing_defaults

from holdall import Session, get_current_session
from holdall.testing import FakeClock, RecordingStores
from holdall_wsgi import SessionMiddleware

from tests.core.support import KEY, Browser

Headers = list[tuple[str, str]]
NOTHING: Mapping[str, Any] = MappingProxyType({})
TEXT = ("Content-Type", "text/plain; charset=utf-8")


class Response:
    """What a server was told in one request, and what it would have sent."""

    def __init__(self) -> None:
        self.status = ""
        self.headers: Headers = []
        self.chunks: list[bytes] = []

    @property
    def code(self) -> int:
        return int(self.status[:3])

    @property
    def body(self) -> bytes:
        return b"".join(self.chunks)

    def all(self, name: str) -> list[str]:
        """Return the values of a header, in order."""
        return [value for field, value in self.headers if field.lower() == name.lower()]

    @property
    def cookies(self) -> list[str]:
        return self.all("Set-Cookie")

    def start(self, status: str, headers: Headers, exc_info: Any = None, /) -> Callable[[bytes], object]:
        """The server's `start_response`: headers leave with the first bytes of the body."""
        if exc_info is not None:
            if self.chunks:
                raise exc_info[1].with_traceback(exc_info[2])
        else:
            assert not self.status, "start_response was called twice"
        self.status, self.headers = status, headers
        return self.write

    def write(self, data: bytes) -> None:
        assert self.status, "the body came before start_response"
        if data:
            self.chunks.append(data)


def environment(browser: Browser | None = None, extra: Mapping[str, Any] = NOTHING) -> WSGIEnvironment:
    """Return the environ of a GET request from this browser."""
    environ: WSGIEnvironment = {"QUERY_STRING": "", **extra}
    if browser is not None and browser.cookies:
        environ["HTTP_COOKIE"] = browser.header
    setup_testing_defaults(environ)
    return environ


def serve(
    app: WSGIApplication,
    browser: Browser | None = None,
    response: Response | None = None,
    extra: Mapping[str, Any] = NOTHING,
) -> Response:
    """Handle one request as a server does; what the application raises comes out once its body was closed.

    `response`: looked at also when something is raised.
    """
    response = response or Response()
    body = app(environment(browser, extra), response.start)
    try:
        for chunk in body:
            response.write(chunk)
        assert response.status, "start_response was never called"
    finally:
        if hasattr(body, "close"):
            body.close()
    if browser is not None:
        browser.receive(response.headers)
    return response


class Site:
    """An application in the middleware, its stores, its clock, and a browser that visits it."""

    def __init__(self, **options: Any) -> None:
        self.clock = options.setdefault("clock", FakeClock())
        self.stores = options.setdefault("stores", RecordingStores(self.clock))
        self.app = SessionMiddleware(self._handle, options.pop("key", KEY), **options)
        self.browser = Browser()
        self.response = Response()

    def request(
        self,
        act: Callable[[Session], Any],
        browser: Browser | None = None,
        *,
        status: HTTPStatus = HTTPStatus.OK,
        extra: Mapping[str, Any] = NOTHING,
    ) -> Any:
        """Handle one request whole, and return what `act` made of the session."""
        results: list[Any] = []
        work = {
            "test.act": lambda session: results.append(act(session)),
            "test.status": f"{status.value} {status.phrase}",
        }
        response = Response()
        try:
            serve(self.app, browser or self.browser, response, {**extra, **work})
        finally:
            self.response = response
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
    def _handle(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        environ["test.act"](get_current_session())
        start_response(environ["test.status"], [TEXT])
        return [b"done"]
