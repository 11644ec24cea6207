"""Requests and responses without a framework: how the suites talk to an application, and a browser that keeps cookies.

`call_wsgi`, `call_asgi` and `fetch` do what a server does for an application in this process, or fetch from a real one.
"""

import asyncio
import http.client
import io
import sys
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Request:
    """A GET request."""

    path: str
    cookies: tuple[str, ...] = ()
    """The values of its Cookie headers, of which HTTP/2 allows several (RFC 9113, 8.2.3)."""
    host: str = "testserver.example"


@dataclass(frozen=True)
class Response:
    """What came back. A status of 500 also stands for an exception that reached the server."""

    status: int
    headers: list[tuple[str, str]]
    body: bytes

    def values(self, name: str) -> list[str]:
        """Return the values of all headers of a name."""
        return [value for field, value in self.headers if field.lower() == name.lower()]


class Browser:
    """Keeps cookies by name, as a browser does that visits one site."""

    def __init__(self) -> None:
        self.cookies: dict[str, str] = {}

    @property
    def header(self) -> str:
        """The value of its Cookie header; "" for none."""
        return "; ".join(f"{name}={value}" for name, value in self.cookies.items())

    def receive(self, response: Response) -> None:
        """Take over the cookies of a response."""
        for value in response.values("Set-Cookie"):
            pair, *attributes = value.split(";")
            name, _, text = pair.partition("=")
            if any(attribute.strip().lower() == "max-age=0" for attribute in attributes):
                self.cookies.pop(name, None)
            else:
                self.cookies[name] = text.strip('"')

    def copy(self) -> "Browser":
        """Return another browser with the same cookies, such as a thief's."""
        other = Browser()
        other.cookies = dict(self.cookies)
        return other


def call_wsgi(application: Callable[..., Any], request: Request) -> Response:
    """Have a WSGI application answer (PEP 3333), as a server does: with its body closed, whatever happens."""
    started: list[Any] = []
    sent: list[bytes] = []

    def start_response(status: str, headers: list[tuple[str, str]], exc_info: Any = None) -> Callable[[bytes], None]:
        if exc_info and sent:
            raise exc_info[1]
        started[:] = [int(status[:3]), headers]
        return sent.append

    environ = {
        "REQUEST_METHOD": "GET",
        "SCRIPT_NAME": "",
        "PATH_INFO": request.path,
        "QUERY_STRING": "",
        "SERVER_NAME": request.host,
        "SERVER_PORT": "443",
        "SERVER_PROTOCOL": "HTTP/1.1",
        "HTTP_HOST": request.host,
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": "https",
        "wsgi.input": io.BytesIO(),
        "wsgi.errors": sys.stderr,
        "wsgi.multithread": True,
        "wsgi.multiprocess": False,
        "wsgi.run_once": False,
    }
    if request.cookies:
        environ["HTTP_COOKIE"] = "; ".join(request.cookies)
    try:
        body = application(environ, start_response)
        try:
            sent.extend(body)
        finally:
            if (close := getattr(body, "close", None)) is not None:
                close()
    except Exception:
        if not sent:
            return Response(500, [], b"")
        raise
    status, headers = started
    return Response(status, _received(headers), b"".join(sent))


def call_asgi(application: Callable[..., Any], request: Request) -> Response:
    """Have an ASGI application answer, in an event loop of its own, whether or not one runs in this thread."""
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(lambda: asyncio.run(_call_asgi(application, request))).result()


async def _call_asgi(application: Callable[..., Any], request: Request) -> Response:
    scope = {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.4"},
        "http_version": "2",
        "method": "GET",
        "scheme": "https",
        "path": request.path,
        "raw_path": request.path.encode(),
        "query_string": b"",
        "root_path": "",
        "headers": [
            (b"host", request.host.encode()),
            *[(b"cookie", value.encode("latin-1")) for value in request.cookies],
        ],
        "client": ("127.0.0.1", 1),
        "server": (request.host, 443),
    }
    messages: list[dict[str, Any]] = []
    ended = asyncio.Event()
    asked = False

    async def receive() -> dict[str, Any]:
        nonlocal asked
        if not asked:
            asked = True
            return {"type": "http.request", "body": b"", "more_body": False}
        await ended.wait()
        return {"type": "http.disconnect"}

    async def send(message: dict[str, Any]) -> None:
        messages.append(message)
        if message["type"] == "http.response.body" and not message.get("more_body"):
            ended.set()

    try:
        await application(scope, receive, send)
    except Exception:
        if not messages:
            return Response(500, [], b"")
        if messages[0]["status"] < 500:
            raise
    finally:
        ended.set()
    start, *pieces = messages
    headers = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in start.get("headers", ())]
    return Response(start["status"], _received(headers), b"".join(piece.get("body", b"") for piece in pieces))


def fetch(address: tuple[str, int], request: Request) -> Response:
    """Fetch from a server that listens on this machine, over a socket."""
    connection = http.client.HTTPConnection(*address, timeout=30)
    try:
        connection.putrequest("GET", request.path, skip_host=True)
        connection.putheader("Host", request.host)
        for value in request.cookies:
            connection.putheader("Cookie", value)
        connection.putheader("Connection", "close")
        connection.endheaders()
        try:
            answer = connection.getresponse()
        except (http.client.BadStatusLine, ConnectionError):
            return Response(500, [], b"")  # how a small server fails
        return Response(answer.status, _received(answer.getheaders()), answer.read())
    finally:
        connection.close()


def _received(headers: Iterable[tuple[str, str]]) -> list[tuple[str, str]]:
    """Return headers as a client reads them: the spaces and tabs around a value are not part of it (RFC 9110, 5.5)."""
    return [(name, value.strip(" \t")) for name, value in headers]
