"""The WSGI adapter (PEP 3333): opens the session of a request, and commits it when the response starts.

Plumbing only: nothing is decided about sessions here, and nothing is used of the core but its public names. The
response starts as late as WSGI allows, with the first chunk of the body, so that everything the application did
before counts, and so that a commit that fails becomes a response of its own instead of an exception inside the
application.
"""

import logging
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import timedelta
from types import TracebackType
from typing import TYPE_CHECKING, Any, TypeAlias

from holdall import (
    BoundSession,
    Exchange,
    Finished,
    Flow,
    ManagerOptions,
    SessionManager,
    SessionUnavailable,
    UsageError,
    current_session,
    run,
)
from holdall_stores import Stores, default_stores, with_old_records

if TYPE_CHECKING:
    from contextvars import Token
    from typing import Unpack
    from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

    from holdall import Session, StoresLike

log = logging.getLogger("holdall.wsgi")

ExcInfo: TypeAlias = tuple[type[BaseException], BaseException, TracebackType] | tuple[None, None, None]

_END = object()
_UNAVAILABLE = b"The session store does not answer. Please try again in a moment.\n"


class SessionMiddleware:
    """Gives a WSGI application sessions: `environ["holdall.session"]`, or `get_current_session()` anywhere.

    `cookie_key`, `lifetime`, `no_datastore`, `cookie_only_threshold` and the further options are those of
    `holdall.SessionManager`. `stores`: where sessions too big for the cookie go; None keeps them in SQLite, in the file
    that the environment variable HOLDALL_SQLITE names or `holdall.sqlite3` in the working directory.

    A session that cannot be read or written becomes a 503 with Retry-After, the cookie kept. Raises `UsageError`, which
    is a `ValueError`, for settings that cannot work.
    """

    def __init__(
        self,
        app: "WSGIApplication",
        cookie_key: bytes | str | Sequence[bytes | str],
        lifetime: timedelta = timedelta(days=7),
        no_datastore: bool = False,
        cookie_only_threshold: int = 3800,
        *,
        stores: "StoresLike | None" = None,
        **options: "Unpack[ManagerOptions]",
    ) -> None:
        if not callable(app):
            raise UsageError(f"app={app!r} must be a WSGI application: a callable")
        if no_datastore and (stores is None or (isinstance(stores, Stores) and stores.cache is None)):
            raise UsageError(
                "no_datastore=True keeps sessions in the cache alone, and there is no cache: pass "
                "stores=Stores.from_urls(cache='memcached://127.0.0.1:11211')"
            )
        if not no_datastore and isinstance(stores, Stores) and stores.durable is None:
            raise UsageError(
                "stores has a cache alone: give it a durable= store as well, or pass no_datastore=True and accept that "
                "sessions end when the cache loses them"
            )
        self.app = app
        self.manager = SessionManager(
            cookie_key,
            lifetime=lifetime,
            no_datastore=no_datastore,
            cookie_only_threshold=cookie_only_threshold,
            **options,
        )
        self.stores = stores = default_stores() if stores is None else stores
        reached = with_old_records(stores, self.manager.moving_in)
        # Bound once: a closure is the fastest partial there is.
        self._drive: Callable[[Flow[Any]], Any] = lambda flow: run(flow, reached)

    def __call__(self, environ: "WSGIEnvironment", start_response: "StartResponse") -> Iterable[bytes]:
        """Handle one request."""
        exchange = self.manager.open(environ.get("HTTP_COOKIE"), drive=self._drive)
        environ["holdall.session"] = exchange.session
        response = _Response(self, exchange, environ, start_response)
        token = current_session.set(exchange.session)
        try:
            body = self.app(environ, response.start)
        except SessionUnavailable:
            if response.sent:
                raise
            refusal = response.refuse()
            self._drive(exchange.finish())  # which has nothing to save, but to tell
            return refusal
        finally:
            response.leave(token)
        response.body = body
        if response.sent or not (type(body) is list or type(body) is tuple or _is_file(body, environ)):
            return response  # something may have changed since write(), or will in its body
        try:
            response.send()
        except SessionUnavailable:
            response.close()
            return response.refuse()
        except BaseException:
            response.close()
            raise
        if self.manager.on_receipt is not None:
            self._drive(exchange.finish())
        return body

    def revoke(self, principal: str, *, except_sid: str | None = None, only: str | None = None) -> None:
        """End sessions bound to a principal, now: all, all but one, or one; see `holdall.SessionManager.revoke`."""
        self._drive(self.manager.revoke(principal, except_sid=except_sid, only=only))

    def sessions_of(self, principal: str) -> list[BoundSession]:
        """Return the sessions bound to a principal; see `holdall.SessionManager.sessions_of`."""
        sessions: list[BoundSession] = self._drive(self.manager.sessions_of(principal))
        return sessions


class _Response:
    """The response of one request: what `start_response` is for the application, and the body for the server."""

    # Defaults live on the class, so that a request with nothing out of the ordinary does not pay for them.
    status: str | None = None
    sent = False
    body: Iterable[bytes]
    _iterator: Iterator[bytes] | None = None
    _exc_info: ExcInfo | None = None
    _failed = False

    def __init__(
        self,
        middleware: SessionMiddleware,
        exchange: Exchange,
        environ: "WSGIEnvironment",
        start_response: "StartResponse",
    ) -> None:
        self._middleware = middleware
        self._exchange = exchange
        self._environ = environ
        self._start = start_response

    def start(
        self, status: str, headers: list[tuple[str, str]], exc_info: ExcInfo | None = None, /
    ) -> Callable[[bytes], object]:
        """The application's `start_response`: the last call before the first chunk counts."""
        if self.sent:
            return self._start(status, headers, exc_info)  # it raises: the headers are gone
        if self.status is not None and exc_info is None:
            raise AssertionError("start_response was called twice without exc_info (PEP 3333)")
        self.status, self._headers, self._exc_info = status, headers, exc_info
        return self.write

    def write(self, data: bytes) -> object:
        """The imperative way to send a body (PEP 3333): starts the response."""
        if not self.sent:
            session = current_session.get()
            if session is not None:
                self._exchange.session = session
            self.send()
        return self._write(data)

    def leave(self, token: "Token[Session | None]") -> None:
        """The application's code has run for now: whichever session it made the current one is the one to save."""
        session = current_session.get()
        if session is not None:
            self._exchange.session = session
        current_session.reset(token)

    def send(self) -> None:
        """Commit the session, and start the response with the headers that come of it."""
        if self.status is None:
            return
        headers = self._headers
        flow = self._exchange.commit(status=int(self.status[:3]), headers=headers)
        complete = flow.value if isinstance(flow, Finished) else self._middleware._drive(flow)
        if complete is not headers and self._environ.get("wsgi.url_scheme") == "http":
            self._middleware.manager.warn_of_plain_http(self._environ.get("HTTP_HOST"), complete)
        self._start_server(self.status, complete)

    def refuse(self) -> list[bytes]:
        """Answer that the session's store does not answer, whatever the application was about to say."""
        log.error("answering 503: a session could be neither read nor written", exc_info=True)
        headers = [
            ("Content-Type", "text/plain; charset=utf-8"),
            ("Content-Length", str(len(_UNAVAILABLE))),
            ("Retry-After", "5"),
            ("Cache-Control", "no-store"),
        ]
        self._exc_info = sys.exc_info()
        self._start_server("503 Service Unavailable", headers)
        return [_UNAVAILABLE]

    def _start_server(self, status: str, headers: list[tuple[str, str]]) -> None:
        try:
            self.sent = True
            if self._exc_info is None:
                self._write = self._start(status, headers)
            else:
                self._write = self._start(status, headers, self._exc_info)
        finally:
            self._exc_info = None  # it refers to frames that refer to it

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        token = current_session.set(self._exchange.session)
        try:
            if self._iterator is None:
                self._iterator = iter(self.body)
            chunk = next(self._iterator, _END)
        except BaseException as error:
            self._failed = True
            if self.sent or not isinstance(error, SessionUnavailable):
                raise
            return self._refuse_instead()
        finally:
            self.leave(token)
        if not self.sent:
            try:
                self.send()
            except SessionUnavailable:
                return self._refuse_instead()
        if chunk is _END:
            raise StopIteration
        return chunk  # type: ignore[return-value]

    def _refuse_instead(self) -> bytes:
        (chunk,) = self.refuse()
        self._iterator = iter(())  # nothing more of the application's body
        self._failed = False  # nothing was committed, so that `finish` has nothing to save, but to tell
        return chunk

    def close(self) -> None:
        """Let the application close its body, then save what it changed after the headers, unless it raised."""
        token = current_session.set(self._exchange.session)
        try:
            if (close := getattr(self.body, "close", None)) is not None:
                close()
        finally:
            self.leave(token)
        if not self._failed:
            self._middleware._drive(self._exchange.finish())


def _is_file(body: Iterable[bytes], environ: "WSGIEnvironment") -> bool:
    """Tell whether a body is a file that the server may send in its own way; some servers' wrapper is no class."""
    wrapper = environ.get("wsgi.file_wrapper")
    return isinstance(wrapper, type) and isinstance(body, wrapper)
