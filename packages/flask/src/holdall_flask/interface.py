"""Flask's session interface: opens the session of a request, and commits it into the response.

Plumbing only: nothing is decided about sessions here. What Flask's users are used to (permanent sessions, refreshing,
that an empty session is none) is said in the core's words. Which setting counts is in `settings`.
"""

import os
import sys
from collections.abc import Callable, Iterable, Iterator
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, NoReturn

from flask import request
from flask import session as flask_session
from flask.sessions import NullSession, SessionInterface
from holdall import (
    Exchange,
    Finished,
    Flow,
    Session,
    SessionManager,
    SessionUnavailable,
    UsageError,
    current_session,
    run,
)
from holdall_stores import Stores, default_stores, with_old_records

from holdall_flask.session import FlaskSession
from holdall_flask.settings import STORES, Options, checked, kept, make_manager, snapshot

if TYPE_CHECKING:
    from typing import Unpack

    from flask import Flask, Request, Response
    from flask.sessions import SessionMixin
    from holdall import StoresLike

# Kept with Flask's request object, of which every request context has its own, however they are nested.
_OUTER = "holdall_flask.outer"  # the session that was current before
_OWN = "holdall_flask.own"  # the session that flask.session is in this context
_LATE = "holdall_flask.late"  # to be called when the context is torn down


class UnkeyedSession(NullSession):
    """What `flask.session` is while no key is set: it can be read, is empty, and says what is missing when written."""

    def _explain(self, *_: Any, **__: Any) -> NoReturn:
        raise RuntimeError(
            "The session is unavailable because no secret key was set. Set SECRET_KEY, or HOLDALL_KEY, to something "
            "unique and secret of at least 32 bytes: holdall_flask.generate_key() makes one."
        )

    __setitem__ = __delitem__ = __ior__ = clear = pop = popitem = update = setdefault = _explain
    start = terminate = regenerate_id = bind = save = set_quick = pop_quick = incr = _explain


class Made(NamedTuple):
    """What was made of a configuration."""

    seen: tuple[Any, ...]
    """The configuration, as `settings.snapshot` has it."""
    manager: SessionManager | None
    """None if there is no key."""
    urls: tuple[str | None, ...]
    given: "StoresLike | None"
    """None for the default, which is made when it is needed."""
    stores: "Callable[[], StoresLike]"
    drive: Callable[[Flow[Any]], Any]
    """Drives a flow to its end with the stores."""


class HoldallInterface(SessionInterface):
    """Keeps the sessions of one application. `Holdall` makes it; a subclass may override Flask's `get_cookie_*`.

    `stores` and `options` are those of `Holdall`. The configuration is read when a request comes, and anew when it has
    changed: raises `UsageError` then for settings that cannot work.
    """

    null_session_class = UnkeyedSession

    def __init__(self, *, stores: "StoresLike | None" = None, **options: "Unpack[Options]") -> None:
        self._stores = stores
        self._options = checked(options)
        self._made: Made | None = None

    def is_null_session(self, obj: object) -> bool:
        """Tell whether there is nothing to be saved: no session of ours, or none because opening it failed."""
        return not isinstance(obj, FlaskSession)

    def open_session(self, app: "Flask", request: "Request") -> FlaskSession | None:
        """Open the session of a request, which costs next to nothing until it is touched; None without a key."""
        made = self.made(app)
        session = None
        if made.manager is not None:
            exchange = made.manager.open(request.environ.get("HTTP_COOKIE"), drive=made.drive)
            session = _ours(exchange.session)
            session.flask_opened = exchange, made.manager, made.drive
        state = vars(request)
        if _OUTER not in state:  # session_transaction() opens a second one, which is nobody's current session
            state[_OUTER] = current_session.get()
            state[_OWN] = session
            current_session.set(session)
        return session

    def save_session(self, app: "Flask", session: "Session | SessionMixin", response: "Response") -> None:
        """Commit the session, and give the response the headers that come of it.

        Raises what `Exchange.commit` raises; the response is closed then.
        """
        session = _ours(session)
        exchange, manager, drive = session.flask_opened
        here: Request = request._get_current_object()  # type: ignore[attr-defined]  # each look through it takes time
        current = current_session.get()
        if vars(here).get(_OWN) is session and isinstance(current, FlaskSession):
            session = current
        if session.flask_said is False and session.is_modified():  # save the session as it came
            session = _ours(manager.open(here.environ.get("HTTP_COOKIE"), drive=drive).session)
            session.accessed = True
        exchange.session = session
        until, refresh = self._end_of(app, session, exchange, manager) if session.accessed else (None, False)
        session.settle()
        headers = list(response.headers)
        try:
            complete = drive(
                exchange.commit(status=response.status_code, headers=headers, expiration_ts=until, refresh=refresh)
            )
        except Exception:
            response.close()
            raise
        if complete is not headers:
            if complete[: len(headers)] == headers:
                response.headers.extend(complete[len(headers) :])  # those that are there take time as well
            else:
                response.headers[:] = complete
            if here.environ.get("wsgi.url_scheme") == "http":
                manager.warn_of_plain_http(here.environ.get("HTTP_HOST"), complete)
        self._finish_late(response, exchange, drive)

    # -- Flask's habits ----------------------------------------------------------------------------------------------

    @staticmethod
    def _end_of(
        app: "Flask", session: FlaskSession, exchange: Exchange, manager: SessionManager
    ) -> tuple[float | None, bool]:
        """Return when a touched session is to end if it is written, and whether its cookie is sent in any case."""
        # Looking at it also makes Vary say so where the application has not looked further than flask.session.
        until: float = session.get_expiration()
        may_be_empty = session.flask_removed and session.is_active() and not session.flask_began
        if may_be_empty and not session and session.is_modified():
            session.terminate()  # "Empty session cookies are now deleted", as Flask's changes have it since 0.8
        refresh = bool(session.flask_said)
        slides = until != 0 and app.config["SESSION_REFRESH_EACH_REQUEST"]
        if not (refresh or slides) and (session.is_as_read() or not isinstance(exchange.load(), Finished)):
            return None, False
        try:
            if "_permanent" in session:
                permanent = session.permanent
                refresh = refresh or bool(slides and permanent)
                until = manager.clock() + manager.settings.lifetime if permanent else 0
            elif session.is_new() or session.flask_freed:
                until = 0
        except SessionUnavailable:
            if refresh:
                raise
            return None, False  # the application did not need it, or got on without it
        return until, refresh  # that of a session which was begun with an end of its own, or elsewhere

    # -- after the headers -------------------------------------------------------------------------------------------

    @staticmethod
    def _finish_late(response: "Response", exchange: Exchange, drive: Callable[[Flow[Any]], Any]) -> None:
        """Have late changes saved once the body is through, unless the body raised."""
        if response.direct_passthrough:  # the server closes the file, and nobody the response
            vars(request)[_LATE] = lambda: drive(exchange.finish())
            return
        body = None
        if response.is_streamed:
            response.response = body = _Streamed(response.response, exchange.session)

        @response.call_on_close
        def finish() -> None:
            if not exchange.is_complete() and not (body and body.failed):
                drive(exchange.finish())

    # -- the configuration -------------------------------------------------------------------------------------------

    def made(self, app: "Flask") -> Made:
        """Return what the application's configuration asks for now. Raises `UsageError` for what cannot work."""
        seen = snapshot(app, self)
        made = self._made
        if made is None or made.seen != seen:
            self._made = made = self._make(app, seen)
        return made

    def _make(self, app: "Flask", seen: tuple[Any, ...]) -> Made:
        manager = make_manager(app, self, self._options)
        urls = tuple(app.config.get(name) or None for name in STORES)
        before = self._made
        if before is not None and before.urls == urls:
            given, stores = before.given, before.stores
        else:
            given = _from_urls(urls) if self._stores is None and any(urls) else self._stores
            stores = cache(partial(_stores, given, app.instance_path))
        if manager is not None:
            _check(given, no_datastore=manager.settings.no_datastore)
        if (login := sys.modules.get("flask_login")) is not None:
            for logged_in in (login.user_logged_in, login.user_loaded_from_cookie, login.user_login_confirmed):
                logged_in.connect(_logged_in, app)
            login.user_logged_out.connect(_logged_out, app)

        @cache
        def reached() -> "StoresLike":
            return with_old_records(stores(), None if manager is None else manager.moving_in)

        def drive(flow: Flow[Any]) -> Any:
            return flow.value if isinstance(flow, Finished) else run(flow, reached())

        return Made(kept(seen), manager, urls, given, stores, drive)


def leave(error: BaseException | None = None) -> None:
    """When a request context is torn down: its session is the current one no longer."""
    state = vars(request)
    try:
        if (finish := state.pop(_LATE, None)) is not None and error is None:
            finish()
        elif isinstance(error, SessionUnavailable) and (session := state.get(_OWN)) is not None:
            exchange, _, drive = session.flask_opened
            drive(exchange.finish())  # which has nothing to save, but to tell
    finally:
        if _OUTER in state:
            current_session.set(state[_OUTER])


def _ours(session: "Session | SessionMixin") -> FlaskSession:
    assert isinstance(session, FlaskSession)  # `checked` saw to it, and is_null_session
    return session


class _Streamed:
    """A body in pieces, with its request's session as the current one wherever the application makes them."""

    def __init__(self, body: Iterable[Any], session: Session) -> None:
        self._body = body
        self._session = session
        self._pieces: Iterator[Any] | None = None
        self.failed = False

    def __iter__(self) -> "_Streamed":
        return self

    def __next__(self) -> Any:
        outer = current_session.get()
        current_session.set(self._session)
        try:
            if self._pieces is None:
                self._pieces = iter(self._body)
            return next(self._pieces)
        except StopIteration:
            raise
        except BaseException:
            self.failed = True
            raise
        finally:
            current_session.set(outer)

    def close(self) -> None:
        if (close := getattr(self._body, "close", None)) is not None:
            close()


def _from_urls(urls: tuple[str | None, ...]) -> Stores:
    try:
        return Stores.from_urls(*urls)
    except UsageError as error:
        raise UsageError(f"{' or '.join(STORES)}: {error}") from error


def _stores(given: "StoresLike | None", folder: str) -> "StoresLike":
    """Return the stores, which by default are SQLite in the application's instance folder; that is made if need be."""
    if given is not None:
        return given
    if not os.environ.get("HOLDALL_SQLITE"):
        try:
            Path(folder).mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UsageError(
                f"the instance folder {folder} cannot be made ({error.strerror}): make it, set HOLDALL_DURABLE to the "
                "URL of a store, or the environment variable HOLDALL_SQLITE to a path"
            ) from error
    return default_stores(folder)


def _check(stores: "StoresLike | None", *, no_datastore: bool) -> None:
    """Refuse stores that do not go with the setting; None is the default."""
    if no_datastore and (stores is None or (isinstance(stores, Stores) and stores.cache is None)):
        raise UsageError(
            "HOLDALL_NO_DATASTORE keeps sessions in the cache alone, and there is no cache: set HOLDALL_CACHE, such as "
            "'memcached://127.0.0.1:11211', or pass stores="
        )
    if not no_datastore and isinstance(stores, Stores) and stores.durable is None:
        raise UsageError(
            "HOLDALL_CACHE is a cache alone: set HOLDALL_DURABLE as well, or HOLDALL_NO_DATASTORE to True and accept "
            "that sessions end when the cache loses them"
        )


def _logged_in(_: object, **__: object) -> None:
    """When Flask-Login has logged a user in: the session goes on under a new id (OWASP ASVS 7.2.4), as the user's."""
    session = _own()
    if session is not None and "_user_id" in session:
        if session.is_new():  # it may be another user's since a moment ago
            session.forsake()
        else:
            session.regenerate_id()
        settings = session.flask_opened[1].settings
        if settings.revocation_check is not None and not settings.no_datastore:
            session.bind(str(session["_user_id"]))


def _logged_out(_: object, **__: object) -> None:
    """When Flask-Login has logged a user out: what it leaves goes on in a session that is nobody's (ASVS 7.4.1)."""
    session = _own()
    if session is not None and session.is_active():
        session.forsake()


def _own() -> FlaskSession | None:
    session = flask_session._get_current_object()  # type: ignore[attr-defined]
    return session if isinstance(session, FlaskSession) else None
