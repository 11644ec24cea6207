"""The suites' clients do what servers and browsers do."""

from collections.abc import Callable, Iterable
from typing import Any
from wsgiref.types import StartResponse, WSGIEnvironment
from wsgiref.validate import validator

import pytest
from holdall_conformance import Browser, Request, Response, call_asgi, call_wsgi

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


def test_browser() -> None:
    """A browser keeps cookies, deletes what has no age left, and a copy of it goes its own way."""
    browser = Browser()
    browser.receive(Response(200, [("Set-Cookie", "a=1; Path=/"), ("set-cookie", "b=2; Secure")], b""))
    copy = browser.copy()
    browser.receive(Response(200, [("Set-Cookie", "a=; Max-Age=0; Path=/")], b""))
    assert (browser.header, copy.header) == ("b=2", "a=1; b=2")
