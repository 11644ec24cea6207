"""Adapters that each break one duty, and which test of the suite is to notice. They are WSGI adapters, but for that.

How the suite is run against them is in `test_adapters.py`.
"""

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from http.cookies import CookieError, SimpleCookie
from typing import Any
from wsgiref.types import StartResponse, WSGIEnvironment

from holdall import (
    Answer,
    Command,
    Exchange,
    Finished,
    Flow,
    Session,
    SessionUnavailable,
    StoreError,
    StoresLike,
    StoreUnavailable,
    current_session,
    get_current_session,
    run,
)
from holdall.testing import FakeClock, RecordingStores
from holdall_conformance import Adapter, Application, Request, Response, call_wsgi
from holdall_wsgi import SessionMiddleware

Headers = list[tuple[str, str]]


class Sound(Adapter):
    """A bare WSGI application behind the middleware; the broken ones override a step."""

    def build(self, application: Application, *, cookie_key: str, stores: StoresLike, **options: Any) -> Any:
        """Return the wrapped application."""

        def view(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
            page = application.visit(environ["PATH_INFO"], environ["holdall.session"])
            start_response(f"{page.status} Whatever", page.headers)
            return page.chunks if page.streams else [*page.chunks]

        return self.wrap(SessionMiddleware(view, cookie_key, stores=stores, **options))

    def wrap(self, middleware: SessionMiddleware) -> Any:
        """Return what is to be called."""
        return middleware

    def send(self, built: Any, request: Request) -> Response:
        """Do what a server does."""
        return call_wsgi(built, request)


def rewriting(rewrite: Callable[[int, Headers], tuple[int, Headers]]) -> type[Sound]:
    """Make an adapter that changes status and headers on their way to the server."""

    class Rewriting(Sound):
        def wrap(self, middleware: SessionMiddleware) -> Any:
            def application(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
                def start(status: str, headers: Headers, exc_info: Any = None) -> Any:
                    number, changed = rewrite(int(status[:3]), headers)
                    return start_response(f"{number} Whatever", changed, exc_info)

                return middleware(environ, start)

            return application

    return Rewriting


def committing(change: Callable[..., Any]) -> type[Sound]:
    """Make an adapter that commits in its own way: `change` is called with the original, the exchange and the rest."""

    class Committing(Sound):
        def wrap(self, middleware: SessionMiddleware) -> Any:
            opened = middleware.manager.open

            def open_(cookie_headers: Any, **options: Any) -> Exchange:
                exchange = opened(cookie_headers, **options)
                original = exchange.commit
                vars(exchange)["commit"] = partial(change, original, exchange, middleware.stores)
                return exchange

            vars(middleware.manager)["open"] = open_
            return middleware

    return Committing


def _without(headers: Headers, name: str, *, but: Callable[[str], bool] = lambda value: False) -> Headers:
    return [(field, value) for field, value in headers if field != name or but(value)]


def _is_ours(cookie: str) -> bool:
    return cookie.startswith(("__Host-", "mine", "session"))


def _forgets_vary(status: int, headers: Headers) -> tuple[int, Headers]:
    if any(field == "Set-Cookie" for field, _ in headers):
        return status, headers
    return status, _without(headers, "Vary")


def _replaces_vary(status: int, headers: Headers) -> tuple[int, Headers]:
    if "Vary" not in dict(headers):
        return status, headers
    return status, [*_without(headers, "Vary"), ("Vary", "Cookie")]


def _shares_responses(status: int, headers: Headers) -> tuple[int, Headers]:
    return status, _without(headers, "Cache-Control")


def _drops_the_applications_cookies(status: int, headers: Headers) -> tuple[int, Headers]:
    return status, _without(headers, "Set-Cookie", but=_is_ours)


def _forgets_retry_after(status: int, headers: Headers) -> tuple[int, Headers]:
    return status, _without(headers, "Retry-After")


def _deletes_bare(status: int, headers: Headers) -> tuple[int, Headers]:
    return status, [
        (field, value.partition(";")[0] + "; Max-Age=0" if field == "Set-Cookie" and "Max-Age=0" in value else value)
        for field, value in headers
    ]


def _logs_out_in_an_outage(status: int, headers: Headers) -> tuple[int, Headers]:
    if status != 503:
        return status, headers
    return status, [*headers, ("Set-Cookie", "__Host-session-ref=; Max-Age=0; Path=/; Secure")]


def _ignores_the_status(original: Any, exchange: Exchange, stores: StoresLike, *, status: int, headers: Headers) -> Any:
    return original(status=200, headers=headers)


def _obeys_no_save_on_error(
    original: Any, exchange: Exchange, stores: StoresLike, *, status: int, headers: Headers
) -> Any:
    return Finished(headers) if status >= 500 else original(status=status, headers=headers)


def _saves_no_redirects_nor_errors(
    original: Any, exchange: Exchange, stores: StoresLike, *, status: int, headers: Headers
) -> Any:
    return Finished(headers) if 300 <= status < 500 else original(status=status, headers=headers)


def _changes_the_applications_list(
    original: Any, exchange: Exchange, stores: StoresLike, *, status: int, headers: Headers
) -> Any:
    complete = run(original(status=status, headers=headers), stores)
    headers[:] = complete
    return Finished(complete)


def _claims_to_have_saved(
    original: Any, exchange: Exchange, stores: StoresLike, *, status: int, headers: Headers
) -> Any:
    def commit() -> Flow[Headers]:
        try:
            return Finished(run(original(status=status, headers=headers), stores))
        except SessionUnavailable:
            return Finished(headers)

    return commit()


def _touches_everything(original: Any, exchange: Exchange, stores: StoresLike, *, status: int, headers: Headers) -> Any:
    exchange.session.is_active()
    return original(status=status, headers=headers)


def _writes_what_is_the_same(
    original: Any, exchange: Exchange, stores: StoresLike, *, status: int, headers: Headers
) -> Any:
    session = exchange.session
    if session.is_accessed() and session.is_active() and not session.is_modified():
        return original(status=status, headers=headers, expiration_ts=session.get_expiration(), refresh=True)
    return original(status=status, headers=headers)


def _logs_out_in_the_browser_alone(
    original: Any, exchange: Exchange, stores: StoresLike, *, status: int, headers: Headers
) -> Any:
    session = exchange.session
    if not session.is_accessed() or session.is_active() or not session.is_modified():
        return original(status=status, headers=headers)
    nobodys = RecordingStores(FakeClock())
    complete = run(original(status=status, headers=headers), nobodys)
    for command in nobodys.commands:  # what is stored does end
        if command.key.startswith("s"):
            stores.execute((command,))
    return Finished(complete)


class NeverFinishes(Sound):
    """Does not drive `finish`."""

    def wrap(self, middleware: SessionMiddleware) -> Any:
        opened = middleware.manager.open

        def open_(cookie_headers: Any, **options: Any) -> Exchange:
            exchange = opened(cookie_headers, **options)
            vars(exchange)["finish"] = lambda: Finished(None)
            return exchange

        vars(middleware.manager)["open"] = open_
        return middleware


class HasNoMemory(Sound):
    """Has a manager for each request, and so nothing is known of what was asked a moment ago."""

    def build(self, application: Application, **options: Any) -> Any:
        """Return what builds the application anew."""
        return lambda environ, start: super(HasNoMemory, self).build(application, **options)(environ, start)


class AsksFirst(Sound):
    """Asks about bound sessions before the application runs, and does not say so."""

    def wrap(self, middleware: SessionMiddleware) -> Any:
        inner = middleware.app

        def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
            if "-ref=" not in environ.get("HTTP_COOKIE", ""):
                exchange = middleware.manager.open(environ.get("HTTP_COOKIE"), drive=middleware._drive)
                middleware._drive(exchange.load())
                session = exchange.session
                if session.is_accessed():
                    environ["holdall.session"] = session
                    current_session.set(session)
            return inner(environ, start_response)

        middleware.app = app
        return middleware


class TellsNoFailure(Sound):
    """Drives flows without telling them what failed: every failure of a store is a 503."""

    def build(self, application: Application, *, stores: StoresLike, **options: Any) -> Any:
        """Build it with stores that raise."""
        return super().build(application, stores=Raising(stores), **options)


class Raising:
    """Stores that raise where an error is to be returned."""

    def __init__(self, stores: StoresLike) -> None:
        self._stores = stores

    def execute(self, commands: tuple[Command, ...], /) -> tuple[Answer | StoreError, ...]:
        """Carry out commands."""
        answers = self._stores.execute(commands)
        for answer in answers:
            if isinstance(answer, StoreUnavailable):
                raise SessionUnavailable("a store failed") from answer
        return answers


class Forgetful(Session):
    """A session whose new id is nobody's."""

    def regenerate_id(self, expiration_ts: float | None = None) -> None:
        """Begin another session with the same values."""
        values, was_active = dict(self), self.is_active()
        if was_active:
            self.start(expiration_ts or self.get_expiration(), self.is_ssl_only())
            self.update(values)
        elif expiration_ts is not None:
            self.start(expiration_ts)


class ForgetsWhose(Sound):
    """Carries values over to a new session, and forgets whose it was."""

    def build(self, application: Application, **options: Any) -> Any:
        """Build it with sessions of its own."""
        return super().build(application, session_class=Forgetful, **options)


class ForgetsRevocationCheck(Sound):
    """Does not hand the option on."""

    def build(self, application: Application, **options: Any) -> Any:
        """Build it without."""
        options.pop("revocation_check", None)
        return super().build(application, **options)


class ParsesCookies(Sound):
    """Reads the Cookie header with the standard library, which stops at what it does not like."""

    def send(self, built: Any, request: Request) -> Response:
        """Hand on what was understood."""
        cookies = []
        for header in request.cookies:
            jar: SimpleCookie = SimpleCookie()
            try:
                jar.load(header)
            except CookieError:
                continue
            cookies.append("; ".join(f"{name}={morsel.value}" for name, morsel in jar.items()))
        return call_wsgi(built, Request(request.path, tuple(cookies), request.host))


class ReadsOneHeader(Sound):
    """Looks only at the first Cookie header."""

    def send(self, built: Any, request: Request) -> Response:
        """Hand on the first."""
        return call_wsgi(built, Request(request.path, request.cookies[:1], request.host))


class HasNoCurrentSession(Sound):
    """Does not set the current session."""

    def wrap(self, middleware: SessionMiddleware) -> Any:
        inner = middleware.app

        def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
            token = current_session.set(middleware.manager.open(None).session)
            try:
                return inner(environ, start_response)
            finally:
                current_session.reset(token)

        middleware.app = app
        return middleware


class LeavesTheSession(Sound):
    """Leaves the current session behind."""

    def wrap(self, middleware: SessionMiddleware) -> Any:
        inner = middleware.app
        left: list[Any] = [None]

        def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
            left[0] = get_current_session()
            return inner(environ, start_response)

        middleware.app = app

        def application(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
            is_first = current_session.get() is None
            try:
                return middleware(environ, start_response)
            finally:
                if is_first:
                    current_session.set(left[0])

        return application


class SharesTheCurrentSession(Sound):
    """Keeps the current session in a place that requests share: that of the latest one is everybody's."""

    def wrap(self, middleware: SessionMiddleware) -> Any:
        inner = middleware.app

        def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
            own = latest[0] = get_current_session()
            try:
                return inner(environ, start_response)
            finally:
                current_session.set(own)

        def application(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
            is_first = current_session.get() is None
            body = middleware(environ, start_response)
            if not is_first:
                current_session.set(latest[0])
            return body

        latest: list[Any] = [None]
        middleware.app = app
        return application


class FailsWithoutStores(Sound):
    """Answers 500 instead of 503 when a session cannot be read."""

    def wrap(self, middleware: SessionMiddleware) -> Any:
        inner = middleware.app

        def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
            try:
                return inner(environ, start_response)
            except SessionUnavailable as error:
                raise RuntimeError("no session") from error

        middleware.app = app
        return middleware


class SavesWhatFailed(Sound):
    """Turns an exception into a response of its own, and commits with that."""

    def wrap(self, middleware: SessionMiddleware) -> Any:
        inner = middleware.app

        def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
            try:
                return inner(environ, start_response)
            except SessionUnavailable:
                raise
            except Exception:
                start_response("200 OK", [("X-Failed", "yes")])
                return [b"failed"]

        middleware.app = app

        def application(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
            def start(status: str, headers: Headers, exc_info: Any = None) -> Any:
                return start_response("500 Failed" if "X-Failed" in dict(headers) else status, headers, exc_info)

            return middleware(environ, start)

        return application


class ForgetsCookieOptions(Sound):
    """Does not hand the cookie's options on."""

    def build(self, application: Application, *, cookie_key: str, stores: StoresLike, **options: Any) -> Any:
        """Build it without them."""
        options.pop("cookie", None)
        return super().build(application, cookie_key=cookie_key, stores=stores, **options)


class SwallowsStreams(Sound):
    """Sends only the first chunk of a streamed body."""

    def send(self, built: Any, request: Request) -> Response:
        """Cut it."""
        response = call_wsgi(built, request)
        return Response(response.status, response.headers, response.body.replace(b"begun, ended", b"begun, "))


BROKEN: Sequence[tuple[str, type[Sound], set[str]]] = (
    ("forgets Vary where a session was only read", rewriting(_forgets_vary), {"test_vary_on_any_access"}),
    ("replaces the application's Vary", rewriting(_replaces_vary), {"test_vary_is_merged"}),
    ("lets caches share cookies", rewriting(_shares_responses), {"test_responses_with_cookies_are_not_shared"}),
    ("drops other cookies", rewriting(_drops_the_applications_cookies), {"test_application_cookies_survive"}),
    ("says no Retry-After", rewriting(_forgets_retry_after), {"test_unreadable_session_is_503"}),
    ("deletes cookies without their attributes", rewriting(_deletes_bare), {"test_terminate"}),
    (
        "logs out in an outage",
        rewriting(_logs_out_in_an_outage),
        {"test_outage_is_no_logout", "test_unheard_logout_is_503", "test_receipts"},
    ),
    ("ignores the status", committing(_ignores_the_status), {"test_error_status_saves_nothing"}),
    ("ignores save_on_error", committing(_obeys_no_save_on_error), {"test_save_on_error"}),
    ("does not save at 404", committing(_saves_no_redirects_nor_errors), {"test_status_headers_and_body_arrive"}),
    (
        "changes the application's list",
        committing(_changes_the_applications_list),
        {"test_application_headers_are_not_changed"},
    ),
    (
        "claims to have saved",
        committing(_claims_to_have_saved),
        {"test_unsaved_session_is_503", "test_unheard_logout_is_503"},
    ),
    (
        "touches every session",
        committing(_touches_everything),
        {"test_untouched_costs_nothing", "test_untouched_bound_session_costs_nothing"},
    ),
    (
        "logs out in the browser alone",
        committing(_logs_out_in_the_browser_alone),
        {"test_copied_cookie_of_bound_session_is_refused", "test_unheard_logout_is_503"},
    ),
    ("forgets whose session it was", ForgetsWhose, {"test_bound_session_keeps_its_principal"}),
    ("forgets revocation_check", ForgetsRevocationCheck, {"test_revoked_elsewhere"}),
    ("has no memory", HasNoMemory, {"test_bound_session_asks_once_per_interval"}),
    ("asks first", AsksFirst, {"test_untouched_bound_session_costs_nothing"}),
    # Where the cache may fail, somebody must be told that it did.
    (
        "tells no flow what failed",
        TellsNoFailure,
        {"test_outage_is_no_logout_of_bound_sessions", "test_cache_is_not_needed", "test_receipts"},
    ),
    (
        "writes what is the same",
        committing(_writes_what_is_the_same),
        {"test_nothing_changed_nothing_sent", "test_receipts"},
    ),
    ("never finishes", NeverFinishes, {"test_late_change_is_stored", "test_receipts"}),
    ("parses cookies with a library", ParsesCookies, {"test_foreign_cookies_change_nothing"}),
    ("reads one Cookie header", ReadsOneHeader, {"test_every_cookie_header_counts"}),
    ("leaves the session behind", LeavesTheSession, {"test_nothing_is_left_after_a_request"}),
    ("gives overlapping requests one session", SharesTheCurrentSession, {"test_users_never_see_each_other"}),
    ("fails without stores", FailsWithoutStores, {"test_unreadable_session_is_503", "test_receipts"}),
    ("saves what failed", SavesWhatFailed, {"test_exception_saves_nothing"}),
    ("forgets the cookie's options", ForgetsCookieOptions, {"test_cookie_options"}),
    ("cuts streams short", SwallowsStreams, {"test_stream_arrives_with_its_session"}),
    # Where there is none at all, there is none either while another user's request runs.
    (
        "sets no current session",
        HasNoCurrentSession,
        {"test_current_session", "test_users_never_see_each_other"},
    ),
)
"""What is broken, the adapter, and which tests of the suite must fail for it: one, where nothing else is said.

What fails in an outage, or writes more than was changed, is told by receipts too.
"""
