"""The suites' clients do what servers and browsers do."""

import socket
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from wsgiref.types import StartResponse, WSGIEnvironment
from wsgiref.validate import validator

import pytest
from holdall_conformance import Browser, Request, Response, call_asgi, call_wsgi, fetch

REQUEST = Request("/page", ("a=1", "b=2"))


class Body:
    """A body that notes that it was closed."""

    closed = 0

    def __init__(self, fails: bool = False) -> None:
        self.fails = fails

    def __iter__(self) -> Iterable[bytes]:
        yield b"one, "
        if self.fails:
            raise RuntimeError
        yield b"two"

    def close(self) -> None:
        Body.closed += 1


def test_wsgi() -> None:
    """A WSGI application gets the request with its cookies joined; its body is closed."""

    def application(environ: WSGIEnvironment, start_response: StartResponse) -> Any:
        start_response("201 Created", [("X-Got", environ["PATH_INFO"]), ("X-Cookie", environ["HTTP_COOKIE"])])
        return Body()

    before = Body.closed
    response = call_wsgi(application, REQUEST)
    assert response == Response(201, [("X-Got", "/page"), ("X-Cookie", "a=1; b=2")], b"one, two")
    assert Body.closed == before + 1


def test_wsgi_is_strict() -> None:
    """What an application is called with is valid WSGI."""

    def application(environ: WSGIEnvironment, start_response: StartResponse) -> list[bytes]:
        start_response("200 OK", [("Content-Type", "text/plain")])
        return [b"fine"]

    assert call_wsgi(validator(application), REQUEST).body == b"fine"


def test_wsgi_failures() -> None:
    """An exception before the first byte is a 500; a later one breaks off, with the body closed."""

    def fails(environ: WSGIEnvironment, start_response: StartResponse) -> list[bytes]:
        raise RuntimeError

    def fails_late(environ: WSGIEnvironment, start_response: StartResponse) -> Any:
        start_response("200 OK", [])
        return Body(fails=True)

    assert call_wsgi(fails, REQUEST).status == 500
    before = Body.closed
    with pytest.raises(RuntimeError):
        call_wsgi(fails_late, REQUEST)
    assert Body.closed == before + 1


def asgi(fails: bool = False) -> Callable[..., Any]:
    async def application(scope: Any, receive: Any, send: Any) -> None:
        if fails:
            raise RuntimeError
        assert (await receive())["type"] == "http.request"
        headers = [(b"x-cookie", value) for name, value in scope["headers"] if name == b"cookie"]
        await send({"type": "http.response.start", "status": 201, "headers": headers})
        await send({"type": "http.response.body", "body": b"one, ", "more_body": True})
        await send({"type": "http.response.body", "body": b"two"})
        assert (await receive())["type"] == "http.disconnect"

    return application


def test_asgi() -> None:
    """An ASGI application gets every Cookie header, and learns when the client has left."""
    assert call_asgi(asgi(), REQUEST) == Response(201, [("x-cookie", "a=1"), ("x-cookie", "b=2")], b"one, two")


def test_asgi_failures() -> None:
    """An exception before the first byte is a 500."""
    assert call_asgi(asgi(fails=True), REQUEST).status == 500


SPACED = [("X-One", " \tspaces and\ttabs \t"), ("X-Two", "\xa0")]
READ = [("X-One", "spaces and\ttabs"), ("X-Two", "\xa0")]


def test_wsgi_values() -> None:
    """The spaces and tabs around a header's value are not part of it."""

    def application(environ: WSGIEnvironment, start_response: StartResponse) -> list[bytes]:
        start_response("200 OK", SPACED)
        return []

    assert call_wsgi(application, REQUEST).headers == READ


def test_asgi_values() -> None:
    """The spaces and tabs around a header's value are not part of it."""

    async def application(scope: Any, receive: Any, send: Any) -> None:
        headers = [(name.encode(), value.encode("latin-1")) for name, value in SPACED]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body"})

    assert call_asgi(application, REQUEST).headers == READ


def test_fetch() -> None:
    """A server over a socket gets every Cookie header; the spaces and tabs around a value are not part of it."""
    got = bytearray()

    def serve() -> None:
        connection, _ = listener.accept()
        with connection:
            while not got.endswith(b"\r\n\r\n"):
                got.extend(connection.recv(4096))
            lines = "".join(f"{name}:{value}\r\n" for name, value in SPACED)
            connection.sendall(f"HTTP/1.1 201 Created\r\n{lines}\r\nfine".encode("latin-1"))

    with socket.create_server(("127.0.0.1", 0)) as listener, ThreadPoolExecutor(1) as pool:
        served = pool.submit(serve)
        response = fetch(listener.getsockname(), REQUEST)
        served.result()
    assert response == Response(201, READ, b"fine")
    assert b"GET /page HTTP/1.1\r\n" in got
    assert b"Cookie: a=1\r\nCookie: b=2\r\n" in got


def test_browser() -> None:
    """A browser keeps cookies, deletes what has no age left, and a copy of it goes its own way."""
    browser = Browser()
    browser.receive(Response(200, [("Set-Cookie", "a=1; Path=/"), ("set-cookie", "b=2; Secure")], b""))
    copy = browser.copy()
    browser.receive(Response(200, [("Set-Cookie", "a=; Max-Age=0; Path=/")], b""))
    assert (browser.header, copy.header) == ("b=2", "a=1; b=2")
