"""The contestants: each makes a request with a session, and the same request without.

Every contestant is a function from an action to a `Contestant`. All are called in process, the way their servers would:
a WSGI callable with an environ, an ASGI application with a scope. Nothing is timed here.
"""

import os
from collections.abc import Callable, Coroutine, MutableMapping
from dataclasses import dataclass
from http.cookies import SimpleCookie
from typing import Any, Unpack

import ormsgpack
import pybase64
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from holdall import (
    Answer,
    Command,
    Flow,
    ManagerOptions,
    SessionManager,
    StoreError,
    StoresLike,
    generate_key,
    run,
)
from holdall_wsgi import SessionMiddleware

Mapping = MutableMapping[str, Any]
Action = Callable[[Mapping], None]
HEADERS = [("Content-Type", "text/plain")]
KEY = generate_key()
_CIPHER = AESGCM(os.urandom(32))


ROWS = 62
"""Rows of the big container that make 2.6 KB of session: the most that still rides in a cookie of the default size."""
ROWS_20_KB = 463
ROWS_200_KB = 4555


def small() -> dict[str, Any]:
    """Return 200 bytes of session: what a login leaves behind."""
    return {"n": 1, "user": "ada lovelace", "csrf": "x" * 64, "lang": "en", "seen": 1.5e9, "next": "/a/page" * 11}


def large(rows: int = ROWS) -> dict[str, Any]:
    """Return a session of one small key beside one big container."""
    return {
        "n": 1,
        "rows": [{"sku": f"item-{i:05}", "qty": i, "price": i * 1.25, "gift": False} for i in range(rows)],
    }


def untouched(session: Mapping) -> None:
    """Leave the session alone."""


def read(session: Mapping) -> None:
    """Read one small key."""
    session["n"]


def write(session: Mapping) -> None:
    """Change one small key."""
    session["n"] = session["n"] + 1


def read_rows(session: Mapping) -> None:
    """Read the big container."""
    session["rows"][0]["qty"]


def write_rows(session: Mapping) -> None:
    """Change the big container in place, and say so where that must be said."""
    session["rows"][0]["qty"] += 1
    if hasattr(session, "modified"):
        session.modified = True


@dataclass
class Contestant:
    """One contestant for one action: a request with the session, and the same application without."""

    name: str
    request: Callable[[str], None]
    """Handles a request with this Cookie header."""
    bare: Callable[[str], None]
    headers: list[tuple[Any, Any]]
    """The headers of the last response, as text or, of ASGI, as bytes."""

    def cookies(self) -> str:
        """Return the Cookie header that a browser would send after the last response."""
        headers = [(_text(name), _text(value)) for name, value in self.headers]
        jar = [value for name, value in headers if name.lower() == "set-cookie"]
        return "; ".join(f"{name}={morsel.value}" for value in jar for name, morsel in SimpleCookie(value).items())


def wsgi(name: str, application: Any, bare: Any) -> Contestant:
    """Return a contestant that is a WSGI application, called as a server would."""
    headers: list[tuple[str, str]] = []

    def start_response(status: str, response: list[tuple[str, str]], exc_info: Any = None) -> None:
        assert status[:3] == "200", status
        headers[:] = response

    def caller(app: Any) -> Callable[[str], None]:
        def request(cookie: str) -> None:
            environ = {
                "REQUEST_METHOD": "GET",
                "PATH_INFO": "/",
                "SCRIPT_NAME": "",
                "QUERY_STRING": "",
                "SERVER_NAME": "testserver",
                "SERVER_PORT": "443",
                "SERVER_PROTOCOL": "HTTP/1.1",
                "HTTP_HOST": "testserver",
                "wsgi.url_scheme": "https",
                "wsgi.input": None,
            }
            if cookie:
                environ["HTTP_COOKIE"] = cookie
            body = app(environ, start_response)
            if type(body) is not list:
                b"".join(body)
                body.close()
            environ.clear()  # so that the session's deallocation is inside the timer, for everybody

        return request

    return Contestant(name, caller(application), caller(bare), headers)


def bare_application(environ: Any, start_response: Any) -> list[bytes]:
    """Answer without any session."""
    start_response("200 OK", HEADERS.copy())
    return [b"x"]


class _NoStores:
    def execute(self, commands: tuple[Command, ...], /) -> tuple[Answer | StoreError, ...]:
        raise AssertionError("a session in the cookie asked a store")


def holdall(
    action: Action,
    stores: StoresLike | None = None,
    *,
    no_datastore: bool = False,
    **options: Unpack[ManagerOptions],
) -> Contestant:
    """Holdall's WSGI middleware; without stores, for sessions that stay in the cookie."""

    def application(environ: Any, start_response: Any) -> list[bytes]:
        action(environ["holdall.session"])
        return bare_application(environ, start_response)

    middleware = SessionMiddleware(application, KEY, no_datastore=no_datastore, stores=stores or _NoStores(), **options)
    return wsgi("Holdall", middleware, bare_application)


def core(action: Action) -> Contestant:
    """Holdall without an adapter: what the middleware is over, driven by hand."""
    manager = SessionManager(KEY)
    stores = _NoStores()

    def drive(flow: Flow[Any]) -> Any:
        return run(flow, stores)

    def application(environ: Any, start_response: Any) -> list[bytes]:
        exchange = manager.open(environ.get("HTTP_COOKIE"), drive=drive)
        action(exchange.session)
        start_response("200 OK", drive(exchange.commit(status=200, headers=HEADERS.copy())))
        return [b"x"]

    return wsgi("core", application, bare_application)


def limit(action: Action) -> Contestant:
    """The least that could be done: one serializer call on the whole map, one cipher call, base64, one header string.

    No expiry, no key id, no other cookie, no error handling. Not a session library: what one is measured against.
    """

    def middleware(environ: Any, start_response: Any) -> list[bytes]:
        session: dict[str, Any] = {}
        if action is not untouched:
            header = environ.get("HTTP_COOKIE", "session=")
            raw = pybase64.b64decode(header[header.find("session=") + 8 :], b"-_", True)
            session = ormsgpack.unpackb(_CIPHER.decrypt(raw[:12], raw[12:], None)) if raw else {}
        environ["session"] = session

        def start(status: str, headers: list[tuple[str, str]]) -> Any:
            if action not in (untouched, read, read_rows):
                nonce = os.urandom(12)
                sealed = nonce + _CIPHER.encrypt(nonce, ormsgpack.packb(session), None)
                value = pybase64.b64encode_as_string(sealed, b"-_")
                headers = [*headers, ("Set-Cookie", f"session={value}; Max-Age=604800; Path=/; Secure; HttpOnly")]
            return start_response(status, headers)

        action(session)
        start("200 OK", HEADERS.copy())
        return [b"x"]

    return wsgi("limit", middleware, bare_application)


def flask(action: Action) -> Contestant:
    """Flask's own session: signed with itsdangerous."""
    import flask as framework
    from flask.sessions import SecureCookieSession, SessionInterface

    class NoSessions(SessionInterface):
        """What the same application costs without sessions."""

        def open_session(self, app: Any, request: Any) -> SecureCookieSession:
            return _no_session

        def save_session(self, app: Any, session: Any, response: Any) -> None:
            pass

    _no_session = SecureCookieSession()

    def make(act: Action, interface: SessionInterface | None) -> Any:
        app = framework.Flask("bench")
        app.secret_key = KEY
        if interface is not None:
            app.session_interface = interface

        @app.route("/")
        def view() -> str:
            act(framework.session)
            return "x"

        return app

    return wsgi("Flask", make(action, None), make(untouched, NoSessions()))


def django(action: Action) -> Contestant:
    """Django's signed_cookies engine."""
    import django as framework
    from django.conf import settings
    from django.core.handlers.wsgi import WSGIHandler
    from django.http import HttpRequest, HttpResponse
    from django.urls import path

    if not settings.configured:
        settings.configure(
            SECRET_KEY=KEY,
            ALLOWED_HOSTS=["*"],
            ROOT_URLCONF=type("urls", (), {"urlpatterns": []}),
            SESSION_ENGINE="django.contrib.sessions.backends.signed_cookies",
            SESSION_SERIALIZER="django.contrib.sessions.serializers.JSONSerializer",
            MIDDLEWARE=[],
            DATABASES={},
        )
        framework.setup()

    def make(act: Action | None, middleware: list[str]) -> Any:
        def view(request: HttpRequest) -> HttpResponse:
            if act is not None:
                act(request.session)
            return HttpResponse(b"x", content_type="text/plain")

        urls = type("urls", (), {"urlpatterns": [path("", view)]})
        settings.MIDDLEWARE = middleware
        handler = WSGIHandler()

        def application(environ: Any, start_response: Any) -> Any:
            environ["wsgi.input"] = _EMPTY
            return handler(environ, start_response)

        handler.get_response = _with_urls(handler.get_response, urls)
        return application

    return wsgi("Django", make(action, ["django.contrib.sessions.middleware.SessionMiddleware"]), make(None, []))


def _with_urls(get_response: Any, urls: Any) -> Any:
    def respond(request: Any) -> Any:
        request.urlconf = urls
        return get_response(request)

    return respond


class _Empty:
    def read(self, size: int = -1) -> bytes:
        return b""

    def readline(self, size: int = -1) -> bytes:
        return b""


_EMPTY = _Empty()


def starlette(action: Action) -> Contestant:
    """Starlette's SessionMiddleware: signed with itsdangerous. Its coroutine is driven by hand, without a loop."""
    from starlette.middleware.sessions import SessionMiddleware as Middleware

    headers: list[tuple[bytes, bytes]] = []

    async def bare(scope: Any, receive: Any, send: Any) -> None:
        start = {"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/plain")]}
        await send(start)
        await send({"type": "http.response.body", "body": b"x"})

    async def application(scope: Any, receive: Any, send: Any) -> None:
        action(scope["session"])
        await bare(scope, receive, send)

    async def receive() -> Any:
        return {"type": "http.request"}

    async def send(message: Any) -> None:
        if message["type"] == "http.response.start":
            headers[:] = message["headers"]

    def caller(app: Any) -> Callable[[str], None]:
        def request(cookie: str) -> None:
            scope = {"type": "http", "headers": [(b"host", b"testserver")], "method": "GET", "path": "/"}
            if cookie:
                scope["headers"] = [(b"host", b"testserver"), (b"cookie", cookie.encode())]
            coroutine: Coroutine[Any, Any, None] = app(scope, receive, send)
            try:
                coroutine.send(None)
            except StopIteration:
                scope.clear()
            else:
                raise AssertionError("the application waits for something")

        return request

    return Contestant("Starlette", caller(Middleware(application, KEY, https_only=True)), caller(bare), headers)


def _text(value: str | bytes) -> str:
    return value if isinstance(value, str) else value.decode("latin-1")


CONTESTANTS = (limit, core, holdall, starlette, django, flask)
