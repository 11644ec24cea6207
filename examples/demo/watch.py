"""Watches what a session costs: the commands that reach the stores, the bytes, the cookies, the time, and the receipt.

It stands outside of what it watches: `WatchedStores` around the real stores, `WatchedWSGI` or `WatchedASGI` around the
whole application. The sessions do not know that they are watched. How it is shown is up to `page` and `tour`.
"""

import enum
import threading
import time
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from hashlib import sha256
from itertools import count
from typing import Any, NamedTuple, TypeAlias

from holdall import (
    Answer,
    Command,
    Delete,
    Found,
    Get,
    Put,
    Receipt,
    StoreError,
    StoresLike,
    StoreUnavailable,
    Tier,
)

INLINE = "__Host-session"
REFERENCE = "__Host-session-ref"
REMEMBERED = 40

Environ: TypeAlias = dict[str, Any]
StartResponse: TypeAlias = Callable[..., Any]
WSGIApp: TypeAlias = Callable[[Environ, StartResponse], Iterable[bytes]]
Message: TypeAlias = dict[str, Any]
ASGIApp: TypeAlias = Callable[
    [Any, Callable[[], Awaitable[Any]], Callable[[Message], Awaitable[None]]], Awaitable[None]
]
Headers: TypeAlias = list[tuple[str, str]]


class Place(enum.Enum):
    """Where the session is."""

    NOWHERE = "nowhere"
    COOKIE = "cookie"
    STORES = "stores"


_PLACES = {None: Place.NOWHERE, Tier.COOKIE: Place.COOKIE, Tier.CACHE: Place.STORES, Tier.DURABLE: Place.STORES}


class Ran(NamedTuple):
    """One command that was carried out."""

    verb: str
    tier: Tier
    is_list: bool
    """Whether it is about the list of somebody's sessions; else it is about a session."""
    answer: str
    size: int
    """Bytes of the value that went to the store or came from it."""
    micros: float


class Item(NamedTuple):
    """One value that the session holds."""

    key: str
    value: Any
    size: int
    """Bytes: of a text in UTF-8, of anything else as Python writes it."""


class Lap(NamedTuple):
    """What a request did in a race."""

    race: str
    key: str
    """What it counted, and to which number."""
    reached: int


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

    is_action: bool
    presented: dict[str, str]
    """The session cookies that came with the request."""
    label: str = ""
    number: int = 0
    status: int = 0
    commands: list[Ran] = field(default_factory=list)
    cookies: list[CookieSet] = field(default_factory=list)
    receipt: Receipt | None = None
    """What Holdall says became of the session; None until the request is over, or if its session was left alone."""
    before: Place | None = None
    """Where the session was when the application first looked; None if it did not."""
    before_id: str = ""
    items: list[Item] = field(default_factory=list)
    """What the session held when the application last looked."""
    active: bool | None = None
    """Whether there was a session then; None if the application did not look."""
    id: str = ""
    """Stands for the session's id, which is nobody's business."""
    expires: int = 0
    """When the session ends, in seconds UTC since 1970; 0 if there is none, or if it ends with the browser."""
    words: tuple[str, str] | None = None
    """What the application has to say about it."""
    lap: Lap | None = None
    """What it did in a race of two tabs, if it took part in one."""
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

    def look(self, session: Any) -> None:
        """Note what the session holds now. Raises `SessionUnavailable` if that cannot be known."""
        self.items = [_item(key, session[key]) for key in session]
        self.active = session.is_active()
        self.expires = session.get_expiration()
        self.id = sha256((session.sid or "").encode()).hexdigest()[:6] if self.active else ""
        if self.before is None:
            self.before, self.before_id = self.place, self.id

    @property
    def place(self) -> Place | None:
        """Where the session is; None if the application did not look."""
        if self.active is None:
            return None
        if self.receipt is not None:
            return _PLACES[self.receipt.tier]
        if not self.active:
            return Place.NOWHERE
        # The cookies do not tell: one that was superseded may still be there. What is in the stores was fetched.
        fetched = any(ran.verb == "Get" and not ran.is_list for ran in self.commands)
        return Place.STORES if fetched else Place.COOKIE

    @property
    def set_bytes(self) -> int:
        """Bytes of the session's Set-Cookie headers."""
        return sum(cookie.size for cookie in self.cookies)

    @property
    def presented_bytes(self) -> int:
        """Bytes of the session's cookies in the request."""
        return sum(len(name) + 1 + len(value) for name, value in self.presented.items())

    @property
    def conflicts(self) -> int:
        """How often another request had been quicker."""
        return sum(ran.answer == "Conflict" for ran in self.commands)


current_trace: ContextVar[Trace] = ContextVar("demo.trace")
"""The request that is being handled here and now."""


def take_receipt(receipt: Receipt) -> None:
    """For `on_receipt`: keep what Holdall says became of the session in this request."""
    current_trace.get().receipt = receipt


class WatchedStores:
    """Stores that note every command. They decide and change nothing, until somebody breaks them."""

    def __init__(self, stores: StoresLike) -> None:
        self._stores = stores
        self._cached: set[str] = set()
        self.is_stopped = False
        """Whether the durable store is as good as down: no command to it gets an answer."""

    def execute(self, commands: tuple[Command, ...], /) -> tuple[Answer | StoreError, ...]:
        """Carry out the commands; those that are asked for at once share their time."""
        started = time.perf_counter()
        answers = tuple([self._execute(command) for command in commands])
        micros = (time.perf_counter() - started) * 1e6
        for command, answer in zip(commands, answers, strict=True):
            value = command.value if isinstance(command, Put) else b""
            if isinstance(answer, Found):
                value = answer.value
            if isinstance(command, Put) and command.tier is Tier.CACHE:
                self._cached.add(command.key)
            verb, is_list = type(command).__name__, command.key.startswith("p")
            said = "no answer" if isinstance(answer, StoreError) else type(answer).__name__
            current_trace.get().commands.append(Ran(verb, command.tier, is_list, said, len(value), micros))
        return answers

    def _execute(self, command: Get | Put | Delete) -> Answer | StoreError:
        if self.is_stopped and command.tier is Tier.DURABLE:
            return StoreUnavailable("stopped by a button of the demo")
        (answer,) = self._stores.execute((command,))
        return answer

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

    def name(self, trace: Trace, label: str) -> None:
        """Give a request its name and number: it is to be remembered."""
        trace.label, trace.number = label, next(self._numbers)

    def add(self, trace: Trace) -> None:
        """Remember a request that is over; the oldest is forgotten."""
        with self._lock:
            self._traces.append(trace)

    def latest(self) -> list[Trace]:
        """Return the remembered requests, the one that was over last first."""
        with self._lock:
            return list(reversed(self._traces))

    def find(self, number: int) -> Trace | None:
        """Return the request of that number, if it is remembered."""
        return next((trace for trace in self.latest() if trace.number == number), None)


Refused: TypeAlias = Callable[[Trace], str]


class _Watched:
    """What both have in common: a trace of every request that the application gave a name.

    The whole response is collected first, so that the trace is complete before the browser can ask for the next page.
    Of an adapter's own 503 the text is replaced by a page, as the proxy in front of an application would do it.
    """

    def __init__(self, app: Any, log: Log, refused: Refused) -> None:
        self._app = app
        self._log = log
        self._refused = refused

    def _end(self, trace: Trace, status: int, headers: Headers, body: bytes) -> tuple[Headers, bytes]:
        """Complete the trace; returns what is sent."""
        trace.stop()
        trace.status = status
        set_cookies = [read_set_cookie(value) for name, value in headers if name.lower() == "set-cookie"]
        trace.cookies = [cookie for cookie in set_cookies if cookie.name in (INLINE, REFERENCE)]
        if trace.label:
            self._log.add(trace)
            headers = [*headers, ("Demo-Request", str(trace.number))]
        if status == 503 and any(value.startswith("text/plain") for _, value in headers):
            body = self._refused(trace).encode()
            kept = [field for field in headers if field[0].lower() not in ("content-type", "content-length")]
            length = ("Content-Length", str(len(body)))
            headers = [*kept, ("Content-Type", "text/html; charset=utf-8"), length]
        return headers, body


class WatchedWSGI(_Watched):
    """Watches a WSGI application."""

    def __call__(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        """Handle a request."""
        trace = Trace(environ["REQUEST_METHOD"] == "POST", session_cookies(environ.get("HTTP_COOKIE", "")))
        token = current_trace.set(trace)
        started: list[Any] = []

        def start(status: str, headers: Headers, _: Any = None) -> Callable[[bytes], Any]:
            started[:] = [status, headers]
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
        status, headers = started
        headers, whole = self._end(trace, int(status[:3]), headers, b"".join(chunks))
        start_response(status, headers)
        return [whole]


class WatchedASGI(_Watched):
    """Watches an ASGI application."""

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Handle a connection."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        cookies = "; ".join(value.decode("latin-1") for name, value in scope["headers"] if name == b"cookie")
        trace = Trace(scope["method"] == "POST", session_cookies(cookies))
        token = current_trace.set(trace)
        messages: list[Message] = []

        async def collect(message: Message) -> None:
            messages.append(message)

        try:
            await self._app(scope, receive, collect)
        finally:
            current_trace.reset(token)
        start, *rest = messages
        headers = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in start["headers"]]
        whole = b"".join(message.get("body", b"") for message in rest)
        headers, whole = self._end(trace, start["status"], headers, whole)
        sent = [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in headers]
        await send({**start, "headers": sent})
        await send({"type": "http.response.body", "body": whole})


def session_cookies(header: str) -> dict[str, str]:
    """Return those cookies of a Cookie header that are the session's."""
    pairs = (piece.strip().partition("=") for piece in header.split(";"))
    return {name: value for name, _, value in pairs if name in (INLINE, REFERENCE)}


def cookie_header(cookies: Mapping[str, str]) -> str:
    """Return the Cookie header that presents these cookies."""
    return "; ".join(f"{name}={value}" for name, value in cookies.items())


def read_set_cookie(value: str) -> CookieSet:
    """Read a Set-Cookie header value."""
    value = value.strip()  # Django sends a space more
    pair, *attributes = value.split("; ")
    name, _, content = pair.partition("=")
    return CookieSet(name, content, len(value), "max-age=0" in (attribute.lower() for attribute in attributes))


def _item(key: str, value: Any) -> Item:
    text = value if isinstance(value, str) else repr(value)
    return Item(key, value, len(text) if text.isascii() else len(text.encode("utf-8", "surrogatepass")))
