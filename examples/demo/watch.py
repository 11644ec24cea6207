"""Watches what a session costs: the commands that reach the stores, the bytes, the cookies and the time.

It stands outside of what it watches: `WatchedStores` around the real stores, `Watched` around the session middleware.
The sessions do not know that they are watched. How it is shown is up to `page` and `tour`.
"""

import enum
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from itertools import count
from typing import Any, NamedTuple, TypeAlias

from holdall import Answer, Command, Delete, Found, Put, StoreError, StoresLike, Tier

INLINE = "__Host-session"
REFERENCE = "__Host-session-ref"
REMEMBERED = 12

Environ: TypeAlias = dict[str, Any]
StartResponse: TypeAlias = Callable[..., Any]
WSGIApp: TypeAlias = Callable[[Environ, StartResponse], Iterable[bytes]]


class Place(enum.Enum):
    """Where the session is."""

    NOWHERE = "nowhere"
    COOKIE = "cookie"
    STORES = "stores"


class Ran(NamedTuple):
    """One command that was carried out."""

    verb: str
    tier: Tier
    answer: str
    size: int
    """Bytes of the value that went to the store or came from it."""
    micros: float


class Item(NamedTuple):
    """One value that the session holds."""

    key: str
    type: str
    size: int
    """Bytes: of a text in UTF-8, of anything else as Python writes it."""
    preview: str


class CookieSet(NamedTuple):
    """One Set-Cookie of the session's."""

    name: str
    value: str
    size: int
    """Bytes of the whole header value."""
    deleted: bool


@dataclass(slots=True)
class Trace:
    """What one request did, as far as sessions are concerned."""

    label: str
    is_action: bool
    presented: dict[str, str]
    """The session cookies that came with the request."""
    number: int = 0
    status: int = 0
    commands: list[Ran] = field(default_factory=list)
    cookies: list[CookieSet] = field(default_factory=list)
    items: list[Item] | None = None
    """What the session held at the end; None if the application did not look."""
    active: bool | None = None
    """Whether there was a session at the end; None if the application did not look."""
    fingerprint: str = ""
    """Stands for the session's id, which is nobody's business."""
    expires: int = 0
    """When the session ends, in seconds UTC since 1970; 0 if there is none."""
    _started: float = field(default_factory=time.perf_counter)
    _aside: float = 0.0
    _stopped: float | None = None

    @property
    def micros(self) -> float:
        """Microseconds of session handling, all of it: so far, if the request is not over."""
        now = time.perf_counter() if self._stopped is None else self._stopped
        return (now - self._started - self._aside) * 1e6

    def stop(self) -> None:
        """The request is over."""
        self._stopped = time.perf_counter()

    @contextmanager
    def aside(self) -> Iterator[None]:
        """What happens within is not session handling, and its time does not count."""
        self._stopped = stopped = time.perf_counter()
        try:
            yield
        finally:
            self._stopped = None
            self._aside += time.perf_counter() - stopped

    @property
    def place(self) -> Place | None:
        """Where the session is after this request; None if the application did not look."""
        if not self.active:
            return None if self.active is None else Place.NOWHERE
        kept = {cookie.name for cookie in self.cookies if not cookie.deleted}
        if kept:
            return Place.STORES if REFERENCE in kept else Place.COOKIE
        # The cookies do not tell: one that was superseded may still be there. What is in the stores was fetched.
        return Place.STORES if any(ran.verb == "Get" for ran in self.commands) else Place.COOKIE

    @property
    def set_bytes(self) -> int:
        """Bytes of the session's Set-Cookie headers."""
        return sum(cookie.size for cookie in self.cookies)

    @property
    def presented_bytes(self) -> int:
        """Bytes of the session's cookies in the request."""
        return sum(len(name) + 1 + len(value) for name, value in self.presented.items())


current_trace: ContextVar[Trace] = ContextVar("demo.trace")
"""The request that is being handled here and now."""


class WatchedStores:
    """Stores that note every command. They decide and change nothing."""

    def __init__(self, stores: StoresLike) -> None:
        self._stores = stores
        self._cached: set[str] = set()

    def execute(self, commands: tuple[Command, ...], /) -> tuple[Answer | StoreError, ...]:
        """Carry out the commands; those that are asked for at once share their time."""
        started = time.perf_counter()
        answers = self._stores.execute(commands)
        micros = (time.perf_counter() - started) * 1e6
        for command, answer in zip(commands, answers, strict=True):
            value = command.value if isinstance(command, Put) else b""
            if isinstance(answer, Found):
                value = answer.value
            if isinstance(command, Put) and command.tier is Tier.CACHE:
                self._cached.add(command.key)
            ran = Ran(type(command).__name__, command.tier, type(answer).__name__, len(value), micros)
            current_trace.get().commands.append(ran)
        return answers

    def forget_cached(self) -> None:
        """Have the cache lose what this demo put there, and nothing else that it may hold.

        Raises `StoreError` if the cache does not answer.
        """
        keys, self._cached = self._cached, set()
        for answer in self._stores.execute(tuple(Delete(Tier.CACHE, key) for key in keys)):
            if isinstance(answer, StoreError):
                raise answer


class Log:
    """The last requests, of everybody who uses this demo, in memory."""

    def __init__(self) -> None:
        self._traces: deque[Trace] = deque(maxlen=REMEMBERED)
        self._numbers = count(1)
        self._lock = threading.Lock()

    def add(self, trace: Trace) -> None:
        """Remember a request; the oldest is forgotten."""
        with self._lock:
            trace.number = next(self._numbers)
            self._traces.append(trace)

    def latest(self) -> list[Trace]:
        """Return the remembered requests, newest first."""
        with self._lock:
            return list(reversed(self._traces))


class Watched:
    """Middleware around the session middleware: makes a trace of every request that the application gave a name.

    It collects the whole response first, so that the trace is complete before the browser can ask for the next page.
    """

    def __init__(self, app: WSGIApp, log: Log) -> None:
        self._app = app
        self._log = log

    def __call__(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        """Handle a request."""
        trace = Trace("", environ["REQUEST_METHOD"] == "POST", session_cookies(environ.get("HTTP_COOKIE", "")))
        token = current_trace.set(trace)
        started: list[Any] = []

        def start(status: str, headers: list[tuple[str, str]], exc_info: Any = None) -> Callable[[bytes], Any]:
            started[:] = [status, headers, exc_info]
            return lambda data: chunks.append(data)

        chunks: list[bytes] = []
        try:
            body = self._app(environ, start)
            try:
                chunks.extend(body)
            finally:
                if hasattr(body, "close"):
                    body.close()
        finally:
            current_trace.reset(token)
        trace.stop()
        trace.status = int(started[0][:3])
        trace.cookies = [
            cookie
            for name, value in started[1]
            if name.lower() == "set-cookie" and (cookie := read_set_cookie(value)).name in (INLINE, REFERENCE)
        ]
        if trace.label:
            self._log.add(trace)
        start_response(*started)
        return chunks


def session_cookies(header: str) -> dict[str, str]:
    """Return those cookies of a Cookie header that are the session's."""
    pairs = (piece.strip().partition("=") for piece in header.split(";"))
    return {name: value for name, _, value in pairs if name in (INLINE, REFERENCE)}


def read_set_cookie(value: str) -> CookieSet:
    """Read a Set-Cookie header value."""
    pair, *attributes = value.split("; ")
    name, _, content = pair.partition("=")
    return CookieSet(name, content, len(value), "max-age=0" in (attribute.lower() for attribute in attributes))
