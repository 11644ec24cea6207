"""The ASGI adapter (ASGI 3.0): opens the session of a connection, and commits it when the response starts.

Plumbing only: nothing is decided about sessions here, and nothing is used of the core but its public names. It knows
no framework, but for what two of them do to `scope["session"]` and to exceptions, which is marked. For asyncio.
"""

import asyncio
import inspect
import logging
from collections.abc import Awaitable, Callable, MutableMapping, Sequence
from contextvars import ContextVar
from datetime import timedelta
from typing import TYPE_CHECKING, Any, TypeAlias, TypedDict, TypeVar

import holdall
from holdall import (
    AsyncStoresLike,
    BoundSession,
    Exchange,
    Finished,
    Flow,
    ManagerOptions,
    SessionManager,
    SessionNotLoaded,
    SessionUnavailable,
    StoresLike,
    UsageError,
    arun,
    current_session,
)
from holdall_stores import Stores, default_stores, in_threads, with_old_records

from holdall_asgi.session import Session

if TYPE_CHECKING:
    from typing import Unpack

log = logging.getLogger("holdall.asgi")

Scope: TypeAlias = MutableMapping[str, Any]
Message: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[Any]]
Send: TypeAlias = Callable[[Any], Awaitable[None]]
ASGIApp: TypeAlias = Callable[[Any, Receive, Send], Awaitable[None]]

T = TypeVar("T")

_CONNECTION = "holdall.connection"
_STARTS = frozenset({"http.response.start", "websocket.accept", "websocket.http.response.start"})
_UNAVAILABLE = b"The session store does not answer. Please try again in a moment.\n"
_REFUSAL = (
    (b"content-type", b"text/plain; charset=utf-8"),
    (b"content-length", b"%d" % len(_UNAVAILABLE)),
    (b"retry-after", b"5"),
    (b"cache-control", b"no-store"),
)
_TRY_AGAIN_LATER = 1013  # a close code of IANA's WebSocket registry
_SWITCHING_PROTOCOLS = 101

_here: "ContextVar[_Connection | None]" = ContextVar("holdall_asgi.connection", default=None)


class CommitOptions(TypedDict, total=False):
    """What a framework whose sessions slide adds to `Exchange.commit`."""

    expiration_ts: float | None
    refresh: bool


class SessionMiddleware:
    """Gives an ASGI application sessions: `scope["session"]`, or `get_current_session()` anywhere.

    `cookie_key`, `lifetime`, `no_datastore`, `cookie_only_threshold` and the further options are those of
    `holdall.SessionManager`. `stores`: where sessions too big for the cookie go; None keeps them in SQLite, in the file
    that the environment variable HOLDALL_SQLITE names or `holdall.sqlite3` in the working directory. Synchronous ones
    run in threads, see `holdall_stores.in_threads`; asynchronous ones, whose `execute` is an `async def`, as they are.

    `eager`: a session that is in a store is loaded before the application is called. False: the application awaits
    `load_session` where it needs the session, and nothing is loaded where it does not.

    A session that cannot be read or written becomes a 503 with Retry-After, the cookie kept. Raises `UsageError`, which
    is a `ValueError`, for settings that cannot work.
    """

    def __init__(
        self,
        app: ASGIApp,
        cookie_key: bytes | str | Sequence[bytes | str],
        lifetime: timedelta = timedelta(days=7),
        no_datastore: bool = False,
        cookie_only_threshold: int = 3800,
        *,
        stores: StoresLike | AsyncStoresLike | None = None,
        eager: bool = True,
        **options: "Unpack[ManagerOptions]",
    ) -> None:
        if not callable(app):
            raise UsageError(f"app={app!r} must be an ASGI application: a callable")
        if type(eager) is not bool:
            raise UsageError(f"eager={eager!r} must be True or False")
        self.app = app
        self.eager = eager
        awaitable = _awaitable(stores, no_datastore=no_datastore)
        options.setdefault("session_class", Session)
        self.manager = SessionManager(
            cookie_key,
            lifetime=lifetime,
            no_datastore=no_datastore,
            cookie_only_threshold=cookie_only_threshold,
            **options,
        )
        self.stores = with_old_records(awaitable, self.manager.moving_in)

    async def __call__(self, scope: Any, receive: Receive, send: Send) -> None:
        """Handle one connection; what is neither http nor a websocket goes to the application as it is."""
        if scope["type"] not in ("http", "websocket"):
            await self.app(scope, receive, send)
            return
        cookies = [value for name, value in scope["headers"] if name == b"cookie"]
        exchange = self.manager.open(cookies, drive=_cannot_wait)
        connection = _Connection(self, exchange, scope, send)
        # In place, as Starlette's own does it: what the application notes in its scope is read outside as well.
        scope["session"] = exchange.session
        outer = scope.get(_CONNECTION)
        scope[_CONNECTION] = connection
        session_token, here_token = current_session.set(exchange.session), _here.set(connection)
        try:
            if self.eager and not isinstance(flow := exchange.load(), Finished):
                await connection.fetch(flow)
            await self.app(scope, receive, connection.send)
        except SessionUnavailable:
            if not connection.refused:
                if connection.started:
                    raise
                await connection.refuse()
        finally:
            scope[_CONNECTION] = outer  # and no cycle is left, which would keep the session's data for a while
            _here.reset(here_token)
            current_session.reset(session_token)
        if not exchange.is_complete():
            late = exchange.finish()
            if not isinstance(late, Finished):
                await _to_the_end(late, self.stores)

    async def revoke(self, principal: str, *, except_sid: str | None = None, only: str | None = None) -> None:
        """End sessions bound to a principal, now: all, all but one, or one; see `holdall.SessionManager.revoke`."""
        await _to_the_end(self.manager.revoke(principal, except_sid=except_sid, only=only), self.stores)

    async def sessions_of(self, principal: str) -> list[BoundSession]:
        """Return the sessions bound to a principal; see `holdall.SessionManager.sessions_of`."""
        return await arun(self.manager.sessions_of(principal), self.stores)

    def commit_options(self, session: holdall.Session) -> CommitOptions:  # noqa: ARG002 (for those that override it)
        """For adapters of frameworks whose sessions slide: called when a response starts, see `Exchange.commit`."""
        return {}


async def load_session(connection: Any) -> holdall.Session:
    """Load the session of a request or websocket, or of its scope, and return it; at once if it is loaded already.

    Needed with `eager=False` only. Raises `SessionUnavailable` if the store does not answer, `UsageError` outside
    `SessionMiddleware`.
    """
    return await _found(connection, "load_session").load()


async def revoke(connection: Any, principal: str, *, except_sid: str | None = None, only: str | None = None) -> None:
    """`SessionMiddleware.revoke` of the middleware that handles this request, websocket or scope."""
    await _found(connection, "revoke").middleware.revoke(principal, except_sid=except_sid, only=only)


async def sessions_of(connection: Any, principal: str) -> list[BoundSession]:
    """`SessionMiddleware.sessions_of` of the middleware that handles this request, websocket or scope."""
    return await _found(connection, "sessions_of").middleware.sessions_of(principal)


def _found(connection: Any, who: str) -> "_Connection":
    scope = getattr(connection, "scope", connection)
    here = scope.get(_CONNECTION) if isinstance(scope, MutableMapping) else None
    if not isinstance(here, _Connection):
        raise UsageError(
            f"{who}() needs a request, a websocket or a scope, while it is handled by an application that is wrapped "
            "in holdall_asgi.SessionMiddleware"
        )
    return here


class _Connection:
    """One request, or one websocket: the application's `send`, and what has become of its session."""

    __slots__ = ("_committed", "_exchange", "_scope", "_send", "_unloaded", "middleware", "refused", "started")

    def __init__(self, middleware: SessionMiddleware, exchange: Exchange, scope: Scope, send: Send) -> None:
        self.middleware = middleware
        self._exchange = exchange
        self._scope = scope
        self._send = send
        self._unloaded = False  # its store did not answer
        self._committed = False
        self.refused = False  # with a response of ours, whatever the application sends
        self.started = False  # the application's response

    async def load(self) -> holdall.Session:
        """Load the session, and return it."""
        self._adopt()
        await self.fetch(self._exchange.load())
        return self._exchange.session

    async def fetch(self, flow: Flow[None]) -> None:
        """Drive a flow that loads the session, and note whether it could be loaded."""
        try:
            await arun(flow, self.middleware.stores)
        except SessionUnavailable:
            self._unloaded = True
            raise
        self._unloaded = False

    async def send(self, message: Message) -> None:
        """Send what the application sends; its first message that has headers commits the session."""
        if self.refused:
            return
        kind = message["type"]
        if kind in _STARTS and not self._committed:
            await self._start(message)
            return
        if kind == "websocket.close" and not self._committed and self._exchange.session.is_modified():
            log.warning("a websocket was closed before it was accepted: what changed in its session is not saved")
        await self._send(message)

    async def refuse(self) -> None:
        """Answer that the session's store does not answer, whatever the application was about to say."""
        log.error("answering 503: a session could be neither read nor written", exc_info=True)
        self.refused = True
        kind = "http.response"
        if self._scope["type"] == "websocket":
            kind = "websocket.http.response"
            if kind not in (self._scope.get("extensions") or ()):
                await self._send({"type": "websocket.close", "code": _TRY_AGAIN_LATER})
                return
        await self._send({"type": f"{kind}.start", "status": 503, "headers": [*_REFUSAL]})
        await self._send({"type": f"{kind}.body", "body": _UNAVAILABLE, "more_body": False})

    async def _start(self, message: Message) -> None:
        """Commit the session, and start the response with the headers that come of it."""
        self._adopt()
        exchange, middleware, scope = self._exchange, self.middleware, self._scope
        session = exchange.session
        if "litestar_app" in scope:
            _take_from_litestar(scope, session)
        is_accepted = message["type"] == "websocket.accept"
        status = _SWITCHING_PROTOCOLS if is_accepted else message["status"]
        self._committed = True
        headers: list[tuple[str, str]] = []  # of an untouched session's response, nobody looks at them
        if session.is_accessed():
            headers = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in message.get("headers", ())]
        try:
            if self._unloaded and status == 500:
                # SessionUnavailable was raised in the application, and something in there (Starlette outside of its
                # `middleware=`, Litestar) has made it a 500 before it came to us.
                raise SessionUnavailable("the session could not be loaded")
            options = middleware.commit_options(session)
            flow = exchange.commit(status=status, headers=headers, **options)
            complete = flow.value if isinstance(flow, Finished) else await _to_the_end(flow, middleware.stores)
        except SessionUnavailable:
            if is_accepted:
                raise  # the application must not go on as if it were accepted
            await self.refuse()
            return
        if complete is not headers:
            if scope.get("scheme", "http") in ("http", "ws"):
                host = next((value for name, value in scope["headers"] if name == b"host"), b"")
                middleware.manager.warn_of_plain_http(host.decode("latin-1"), complete)
            encoded = [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in complete]
            message = {**message, "headers": encoded}
        self.started = True
        await self._send(message)

    def _adopt(self) -> None:
        """Take the session that the application made the current one for the one to load or to save.

        Only where this connection's own code runs: a task that another connection began has that one's session.
        """
        session = current_session.get()
        if session is not None and _here.get() is self and not self._committed:
            self._exchange.session = session


async def _to_the_end(flow: Flow[T], stores: AsyncStoresLike) -> T:
    """Drive a flow that writes; once begun it is completed, within the stores' deadlines, before a cancellation counts.

    Half a commit would be repaired by the next request, but a whole one is better.
    """
    if isinstance(flow, Finished):
        return flow.value
    task = asyncio.ensure_future(arun(flow, stores))
    cancelled: asyncio.CancelledError | None = None
    while not task.done():
        try:
            await asyncio.wait([task])
        except asyncio.CancelledError as error:
            cancelled = error
    if cancelled is not None:
        raise cancelled from (None if task.cancelled() else task.exception())
    return task.result()


def _cannot_wait(_: Flow[None]) -> None:
    raise SessionNotLoaded(
        "this session is in a store, and cannot be waited for here: `await load_session(request)` before touching it, "
        "or leave eager=True"
    )


def _take_from_litestar(scope: Scope, session: holdall.Session) -> None:
    """Honour Litestar's `request.set_session()` and `clear_session()`, which put something else into the scope."""
    there = scope.get("session")
    if there is None or isinstance(there, holdall.Session):
        return
    from litestar.types import Empty

    if there is Empty:
        session.terminate()
    elif isinstance(there, dict):
        session.clear()
        session.update(there)
    else:
        raise UsageError(f"set_session() got a {type(there).__name__}: Holdall keeps a dict")


def _awaitable(stores: StoresLike | AsyncStoresLike | None, *, no_datastore: bool) -> AsyncStoresLike:
    """Return the stores that the settings ask for, awaitable; raises `UsageError` if they contradict each other."""
    inner = getattr(stores, "stores", stores)  # in_threads has them there
    if no_datastore and (stores is None or (isinstance(inner, Stores) and inner.cache is None)):
        raise UsageError(
            "no_datastore=True keeps sessions in the cache alone, and there is no cache: pass "
            "stores=Stores.from_urls(cache='memcached://127.0.0.1:11211')"
        )
    if not no_datastore and isinstance(inner, Stores) and inner.durable is None:
        raise UsageError(
            "stores has a cache alone: give it a durable= store as well, or pass no_datastore=True and accept that "
            "sessions end when the cache loses them"
        )
    if stores is None:
        return in_threads(default_stores())
    if inspect.iscoroutinefunction(stores.execute):
        return stores  # type: ignore[return-value]
    return in_threads(stores)  # type: ignore[arg-type]
