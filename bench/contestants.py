"""What a contestant is, and those that are made by hand: Holdall's core and adapters, and the limits without a store.

A contestant makes applications: of an action, one that does it to its session; of None, the same one without sessions.
They are called in process, the way their servers would: a WSGI callable with an environ, an ASGI application with a
scope. The peers are in `peers`, the limits on servers in `stored`.
"""

import os
import time
from collections.abc import Callable, MutableMapping, Sequence
from dataclasses import dataclass
from http.cookies import SimpleCookie
from pathlib import Path
from typing import Any, Literal, TypeAlias

import ormsgpack
import pybase64
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from holdall import Answer, Command, Flow, SessionManager, StoreError, StoresLike, generate_key, run

Mapping: TypeAlias = MutableMapping[str, Any]
Action: TypeAlias = Callable[[Mapping], None]
Make: TypeAlias = Callable[[Action | None], Any]
Clock: TypeAlias = Callable[[], float]

HEADERS = [("Content-Type", "text/plain")]
ATTRIBUTES = "Max-Age=604800; Path=/; Secure; HttpOnly"
KEY = generate_key()
_CIPHER = AESGCM(os.urandom(32))

ROWS = 62
"""Rows of the big container that make 2.6 KB of session: the most that still rides in a cookie of the default size."""
ROWS_20_KB = 463
ROWS_200_KB = 4555
_A_THOUSAND = 1_000


def small() -> dict[str, Any]:
    """Return 200 bytes of session: what a login leaves behind."""
    return {"n": 1, "user": "ada lovelace", "csrf": "x" * 64, "lang": "en", "seen": 1.5e9, "next": "/a/page" * 11}


def large(rows: int = ROWS) -> dict[str, Any]:
    """Return a session of one small key beside one big container."""
    return {
        "n": 1,
        "rows": [{"sku": f"item-{i:05}", "qty": i, "price": i * 1.25, "gift": False} for i in range(rows)],
    }


def _thousand(row: Callable[[Any], Any], *end: Any) -> dict[str, Any]:
    return {"n": 1, "rows": [*(row((i, "item")) for i in range(_A_THOUSAND)), *end]}


DATA: dict[str, Callable[[], dict[str, Any]]] = {
    "200 B": small,
    "2.6 KB": large,
    "20 KB": lambda: large(ROWS_20_KB),
    "200 KB": lambda: large(ROWS_200_KB),
    "a thousand tuples": lambda: _thousand(tuple),
    "a thousand lists": lambda: _thousand(list),
    "a thousand tuples among others": lambda: _thousand(tuple, None),
    "a thousand lists among others": lambda: _thousand(list, None),
}
"""What is in the session, by name."""


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


def read_rows_whole(session: Mapping) -> None:
    """Read the big container, whatever its rows are."""
    session["rows"]


def swap_rows(session: Mapping) -> None:
    """Change the big container in place, whatever its rows are."""
    rows = session["rows"]
    rows[0], rows[1] = rows[1], rows[0]


ACTIONS: dict[str, Action] = {
    action.__name__: action for action in (untouched, read, write, read_rows, write_rows, read_rows_whole, swap_rows)
}
"""What is done to the session, by name."""
READS: tuple[Action, ...] = (untouched, read, read_rows, read_rows_whole)


@dataclass(frozen=True)
class Places:
    """Where stores are: a memcached's and a Datastore emulator's "host:port", and a folder for files."""

    folder: Path
    memcached: str = ""
    datastore: str = ""


@dataclass(frozen=True)
class Contestant:
    """One contestant: how its applications are made and called, once its stores are open."""

    name: str
    open: Callable[[Places], Make]
    interface: Literal["wsgi", "asgi"] = "wsgi"
    is_whole: bool = True
    """It reads and writes sessions; else it does the last step of a write alone, with bytes of its own."""
    package: str = "holdall"
    """What has to be installed for it, as it is imported."""

    def caller(self, application: Any) -> "Caller":
        """Return what calls an application of this contestant."""
        return Wsgi(application) if self.interface == "wsgi" else _asgi(application)


class Caller:
    """Calls one application with requests, one after the other."""

    headers: list[tuple[Any, Any]]
    """The headers of the last response, as text or, of ASGI, as bytes."""

    def spend(self, cookies: Sequence[str], clock: Clock = time.perf_counter) -> float:
        """Make a request with each of these Cookie headers; return the seconds that it took."""
        raise NotImplementedError

    def cookies(self) -> str:
        """Return the Cookie header that a browser would send after the last response; empty if it set no cookie."""
        headers = [(_text(name), _text(value)) for name, value in self.headers]
        jar = [value for name, value in headers if name.lower() == "set-cookie"]
        return "; ".join(f"{name}={morsel.value}" for value in jar for name, morsel in SimpleCookie(value).items())


class Wsgi(Caller):
    """Calls a WSGI application as a server would."""

    def __init__(self, application: Any) -> None:
        self._application = application
        self.headers = []

    def spend(self, cookies: Sequence[str], clock: Clock = time.perf_counter) -> float:  # noqa: D102 (as in Caller)
        application, respond = self._application, self._respond
        began = clock()
        for cookie in cookies:
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
                "wsgi.input": _EMPTY,
            }
            if cookie:
                environ["HTTP_COOKIE"] = cookie
            body = application(environ, respond)
            if type(body) is not list:
                b"".join(body)
                body.close()
            environ.clear()  # so that the session's deallocation is inside the timer, for everybody
        return clock() - began

    def _respond(self, status: str, headers: list[tuple[str, str]], exc_info: Any = None) -> None:
        assert status[:3] == "200", status
        self.headers = headers


class _Empty:
    def read(self, size: int = -1) -> bytes:
        return b""

    def readline(self, size: int = -1) -> bytes:
        return b""


_EMPTY = _Empty()


def _asgi(application: Any) -> Caller:
    import asyncio  # only those that need a loop pay for it, also in the first request of a process

    loop = asyncio.new_event_loop()

    class Asgi(Caller):
        """Calls an ASGI application in an event loop, as a server would."""

        def __init__(self) -> None:
            self.headers = []

        def spend(self, cookies: Sequence[str], clock: Clock = time.perf_counter) -> float:
            return loop.run_until_complete(self._spend(cookies, clock))

        async def _spend(self, cookies: Sequence[str], clock: Clock) -> float:
            began = clock()
            for cookie in cookies:
                headers = [(b"host", b"testserver")]
                if cookie:
                    headers.append((b"cookie", cookie.encode()))
                scope = {
                    "type": "http",
                    "method": "GET",
                    "scheme": "https",
                    "path": "/",
                    "query_string": b"",
                    "headers": headers,
                }
                await application(scope, self._receive, self._send)
                scope.clear()
            return clock() - began

        async def _receive(self) -> Any:
            return {"type": "http.request", "body": b"", "more_body": False}

        async def _send(self, message: Any) -> None:
            if message["type"] == "http.response.start":
                assert message["status"] == 200, message
                self.headers = message["headers"]

    return Asgi()


def _text(value: str | bytes) -> str:
    return value if isinstance(value, str) else value.decode("latin-1")


def bare_application(environ: Any, start_response: Any) -> list[bytes]:
    """Answer without any session."""
    start_response("200 OK", HEADERS.copy())
    return [b"x"]


class _NoStores:
    def execute(self, commands: tuple[Command, ...], /) -> tuple[Answer | StoreError, ...]:
        raise AssertionError("a session in the cookie asked a store")


def holdall_wsgi(stores: StoresLike | None = None, **options: Any) -> Make:
    """Holdall's WSGI middleware; without stores, for sessions that stay in the cookie."""
    from holdall_wsgi import SessionMiddleware

    def make(action: Action | None) -> Any:
        if action is None:
            return bare_application

        def application(environ: Any, start_response: Any) -> list[bytes]:
            action(environ["holdall.session"])
            return bare_application(environ, start_response)

        return SessionMiddleware(application, KEY, stores=stores or _NoStores(), **options)

    return make


def holdall_flask(stores: StoresLike | None = None, **options: Any) -> Make:
    """Holdall's Flask extension."""
    from holdall_flask import Holdall

    from bench.peers import flask_application

    def sessions(app: Any) -> None:
        app.config["SESSION_COOKIE_SECURE"] = True
        Holdall(app, stores=stores or _NoStores(), cookie_key=KEY, **options)

    return lambda action: flask_application(action, sessions)


def holdall_django(stores: StoresLike | None = None, **options: Any) -> Make:
    """Holdall's Django middleware."""
    from bench.peers import django_applications

    return django_applications(
        "holdall_django.middleware.SessionMiddleware",
        SESSION_ENGINE="holdall_django.engine",
        SESSION_COOKIE_SECURE=True,
        HOLDALL={"stores": stores or _NoStores(), **options},
    )


def holdall_asgi(stores: StoresLike | None = None, **options: Any) -> Make:
    """Holdall's ASGI middleware; stores run in threads."""
    from holdall_asgi import SessionMiddleware

    from bench.peers import asgi_applications

    return asgi_applications(lambda app: SessionMiddleware(app, KEY, stores=stores or _NoStores(), **options))


def core(places: Places) -> Make:
    """Holdall without an adapter: what the middleware is over, driven by hand."""
    manager = SessionManager(KEY)
    stores = _NoStores()

    def drive(flow: Flow[Any]) -> Any:
        return run(flow, stores)

    def make(action: Action | None) -> Any:
        if action is None:
            return bare_application

        def application(environ: Any, start_response: Any) -> list[bytes]:
            exchange = manager.open(environ.get("HTTP_COOKIE"), drive=drive)
            action(exchange.session)
            start_response("200 OK", drive(exchange.commit(status=200, headers=HEADERS.copy())))
            return [b"x"]

        return application

    return make


class Whole:
    """A session by one serializer call on the whole map and one cipher call."""

    @staticmethod
    def opened(sealed: Any) -> dict[str, Any]:
        """Return the session that these bytes hold."""
        session: dict[str, Any] = ormsgpack.unpackb(_CIPHER.decrypt(sealed[:12], sealed[12:], None))
        return session

    @staticmethod
    def sealed(session: dict[str, Any]) -> bytes:
        """Return the bytes that hold this session."""
        nonce = os.urandom(12)
        return nonce + _CIPHER.encrypt(nonce, ormsgpack.packb(session), None)

    new: type[dict[str, Any]] = dict


class _LazyMap(dict[str, Any]):
    """A map whose containers are their own packed bytes until they are handed out. It holds no bytes of yours."""

    __slots__ = ("taken",)

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.taken: dict[str, Any] = {}

    def __getitem__(self, key: str) -> Any:
        if key in self.taken:
            return self.taken[key]
        value = dict.__getitem__(self, key)
        if type(value) is bytes:
            value = self.taken[key] = ormsgpack.unpackb(value)
        return value


class Lazy:
    """A session whose containers are packed each by itself, so that one small key beside them is cheap; as in Holdall.

    What was handed out is packed again, and nothing else; no change in place is looked for.
    """

    @staticmethod
    def opened(sealed: Any) -> dict[str, Any]:
        """Return the session that these bytes hold."""
        return _LazyMap(ormsgpack.unpackb(_CIPHER.decrypt(sealed[:12], sealed[12:], None)))

    @staticmethod
    def sealed(session: dict[str, Any]) -> bytes:
        """Return the bytes that hold this session."""
        assert isinstance(session, _LazyMap)
        for key, value in session.taken.items():
            dict.__setitem__(session, key, ormsgpack.packb(value))
        nonce = os.urandom(12)
        return nonce + _CIPHER.encrypt(nonce, ormsgpack.packb(dict(session)), None)

    class new(_LazyMap):  # noqa: N801 (called as what it makes)
        """A session that is filled, and then packed."""

        def update(self, data: Any) -> None:  # type: ignore[override]
            """Take these values, to be packed each by itself."""
            for key, value in data.items():
                dict.__setitem__(self, key, value)
                if isinstance(value, list | dict):
                    self.taken[key] = value


Sealing: TypeAlias = type[Whole] | type[Lazy]


def limit(sealing: Sealing) -> Callable[[Places], Make]:
    """The least that could be done in a cookie: one serializer call, one cipher call, base64, one header string.

    No expiry, no key id, no other cookie, no error handling. Not a session library: what one is measured against.
    """

    def make(action: Action | None) -> Any:
        if action is None:
            return bare_application
        opened, seal, new, writes = sealing.opened, sealing.sealed, sealing.new, action not in READS

        def middleware(environ: Any, start_response: Any) -> list[bytes]:
            session: dict[str, Any] = {}
            if action is not untouched:
                header = environ.get("HTTP_COOKIE", "session=")
                raw = pybase64.b64decode(header[header.find("session=") + 8 :], b"-_", True)
                session = opened(raw) if raw else new()
            environ["session"] = session

            def start(status: str, headers: list[tuple[str, str]]) -> Any:
                if writes:
                    value = pybase64.b64encode_as_string(seal(session), b"-_")
                    headers = [*headers, ("Set-Cookie", f"session={value}; {ATTRIBUTES}")]
                return start_response(status, headers)

            action(session)
            start("200 OK", HEADERS.copy())
            return [b"x"]

        return middleware

    return lambda places: make
