"""`SessionMiddleware` by the letter of ASGI: whatever an application does with its response, its session is right.

Requests, in this process and one at a time. Several at once: `test_isolation.py`; websockets: `test_websockets.py`;
real servers: `test_servers.py`.
"""

import ast
import asyncio
import inspect
import logging
import threading
from collections.abc import Callable
from contextlib import nullcontext
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import holdall
import holdall_asgi
import holdall_stores
import pytest
from holdall import (
    CookieOptions,
    Exchange,
    SessionCommitted,
    SessionNotLoaded,
    SessionTooLarge,
    SessionUnavailable,
    Tier,
    UsageError,
    get_current_session,
    set_current_session,
)
from holdall.testing import FakeClock, RecordingStores
from holdall_asgi import Session, SessionMiddleware, load_session, revoke, sessions_of
from holdall_stores import Memory, Stores, in_threads

from tests.asgi.support import (
    REQUEST,
    START,
    TEXT,
    Response,
    Site,
    messages,
    respond,
    scope_of,
    serve,
    with_big_session,
    wrap,
)
from tests.core.support import KEY, Browser, big

REFERENCE = "__Host-session-ref"


class AsyncStores:
    """Asynchronous stores, as a client library for asyncio makes them: they answer in the event loop's own thread."""

    def __init__(self, clock: FakeClock) -> None:
        self.inner = RecordingStores(clock)
        self.threads: set[threading.Thread] = set()

    async def execute(self, commands: tuple[holdall.Command, ...], /) -> Any:
        self.threads.add(threading.current_thread())
        await asyncio.sleep(0)
        return self.inner.execute(commands)


async def counting(scope: Any, receive: Any, send: Any) -> None:
    session = get_current_session()
    session["n"] = session.get("n", 0) + 1
    await respond(send, b"%d" % session["n"])


async def untouching(scope: Any, receive: Any, send: Any) -> None:
    await respond(send)


def visit(app: Any, browser: Browser | None = None, **extra: Any) -> Response:
    return asyncio.run(serve(app, browser, extra=extra))


class TestConstruction:
    """How it is made."""

    def test_positional_parameters_are_those_of_the_seed(self) -> None:
        """app, cookie_key, lifetime, no_datastore, cookie_only_threshold, in this order; the rest is keyword-only."""
        parameters = list(inspect.signature(SessionMiddleware).parameters.values())
        positional = [each.name for each in parameters if each.kind is each.POSITIONAL_OR_KEYWORD]
        assert positional == ["app", "cookie_key", "lifetime", "no_datastore", "cookie_only_threshold"]
        stores = Stores(cache=Memory())
        middleware = SessionMiddleware(counting, KEY, timedelta(hours=1), True, 100, stores=stores)
        settings = middleware.manager.settings
        assert (settings.lifetime, settings.no_datastore, settings.cookie_only_threshold) == (3600, True, 100)

    def test_further_options_are_those_of_the_manager(self) -> None:
        """What the middleware does not know itself goes to SessionManager, which checks it."""
        cookie = CookieOptions(name="mine")
        assert wrap(counting, cookie=cookie).manager.cookie is cookie
        with pytest.raises(UsageError, match="idle_timeout"):
            wrap(counting, idle_timeout=5)
        with pytest.raises(TypeError, match="unheard_of"):
            wrap(counting, unheard_of=1)

    def test_session_class_may_be_ones_own(self) -> None:
        """A session_class that is given counts more than the one with a dict's habits."""

        class Mine(holdall.Session):
            pass

        seen: list[type] = []

        async def app(scope: Any, receive: Any, send: Any) -> None:
            seen.append(type(scope["session"]))
            await respond(send)

        visit(wrap(app))
        visit(wrap(app, session_class=Mine))
        assert seen == [Session, Mine]

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            ({"app": None}, "app=None must be an ASGI application"),
            ({"eager": "no"}, "eager='no' must be True or False"),
            ({"cookie_key": ""}, "cookie_key"),
            ({"cookie_key": "short", "cookie_only_threshold": 0}, "cookie_key"),
            ({"cookie_key": None}, "cookie_key"),
            ({"no_datastore": True}, r"no_datastore=True .* pass\s+stores=Stores\.from_urls\(cache="),
            ({"no_datastore": True, "stores": Stores(durable=Memory())}, "no_datastore=True"),
            ({"no_datastore": True, "stores": in_threads(Stores(durable=Memory()))}, "no_datastore=True"),
            ({"stores": Stores(cache=Memory())}, "no_datastore=True"),
            ({"stores": in_threads(Stores(cache=Memory()))}, "no_datastore=True"),
        ],
    )
    def test_what_cannot_work_is_refused(self, arguments: dict[str, Any], message: str) -> None:
        """A setting that cannot work is a ValueError at start-up, which names it and the remedy."""
        with pytest.raises(ValueError, match=message):
            SessionMiddleware(**{"app": counting, "cookie_key": KEY, **arguments})

    def test_by_default_sessions_are_kept_in_sqlite(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """Without stores a big session goes to a file, which is made when it is needed, and a small one makes none."""
        monkeypatch.setenv("HOLDALL_SQLITE", str(tmp_path / "mine.sqlite3"))

        async def app(scope: Any, receive: Any, send: Any) -> None:
            scope["session"].update(scope["test.values"])
            await respond(send, repr(len(scope["session"])).encode())

        middleware = SessionMiddleware(app, KEY)
        browser = Browser()
        visit(middleware, browser, **{"test.values": {"n": 1}})
        assert not list(tmp_path.iterdir())
        visit(middleware, browser, **{"test.values": {"big": big()}})
        assert (tmp_path / "mine.sqlite3").exists()
        assert visit(middleware, browser, **{"test.values": {}}).body == b"2"

    def test_uses_public_names_only(self) -> None:
        """The adapter imports public names of holdall and holdall_stores alone, from their top levels."""
        public = {"holdall": vars(holdall), "holdall_stores": [*dir(holdall_stores), "in_threads"]}
        for path in Path(holdall_asgi.__file__).parent.glob("*.py"):
            own: set[str] = set()
            used: set[str] = set()
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.Import):
                    assert {each.name for each in node.names if each.name.startswith("holdall")} <= {"holdall"}
                elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("holdall"):
                    if not (node.module or "").startswith("holdall_asgi"):
                        assert {each.name for each in node.names} <= set(public[node.module or ""])
                elif isinstance(node, ast.Attribute) and node.attr.startswith("_") and node.attr[:2] != "__":
                    used.add(node.attr)
                    if isinstance(node.value, ast.Name) and node.value.id in ("self", "app"):
                        own.add(node.attr)
            assert used == own, path


class TestUntouched:
    """A session that nobody asked for."""

    @pytest.mark.parametrize("eager", [True, False])
    @pytest.mark.parametrize("cookie", [True, False])
    def test_costs_nothing(self, eager: bool, cookie: bool) -> None:
        """With a session in the cookie or none, the server gets the application's own message, no store a command."""
        site = Site(eager=eager)
        if cookie:
            site.request(lambda session: session.update(n=1))
        start = {**START}

        async def app(scope: Any, receive: Any, send: Any) -> None:
            await send(start)
            await send({"type": "http.response.body"})
            assert not scope["session"].is_accessed()

        response = visit(wrap(app, stores=site.stores, clock=site.clock, eager=eager), site.browser)
        assert response.messages[0] is start
        assert site.did == []

    def test_in_a_store_it_costs_one_look_and_no_write(self) -> None:
        """Loaded before the application, an untouched stored session is read once, and no cookie is sent."""
        app, site = with_big_session(untouching)
        response = visit(app, site.browser)
        assert site.did == ["get cache"]
        assert response.cookies == []

    def test_in_a_store_it_costs_nothing_where_nobody_loads_it(self) -> None:
        """With eager=False an untouched stored session costs no command and no header either."""
        app, site = with_big_session(untouching, eager=False)
        response = visit(app, site.browser)
        assert site.did == []
        assert response.headers == [("content-type", "text/plain; charset=utf-8")]

    def test_foreign_cookies_make_nothing_load(self) -> None:
        """Cookies of others, however many, are no reason to touch the session."""
        browser = Browser()
        browser.cookies = {"session-refs": "x", "__Host-sessionref": "y", "other": "z"}
        start = visit(wrap(untouching), browser).messages[0]
        assert start["headers"] == [TEXT]


class TestCurrentSession:
    """Which session is the current one, and for how long."""

    def test_the_scope_has_it_too(self) -> None:
        """scope["session"] is what get_current_session() returns, and the rest of the scope is left alone."""
        seen: dict[str, Any] = {}

        async def app(scope: Any, receive: Any, send: Any) -> None:
            assert scope["session"] is get_current_session()
            seen.update(scope)
            await respond(send)

        state = {"db": object()}
        visit(wrap(app), state=state)
        assert seen["state"] is state
        assert state.keys() == {"db"}

    @pytest.mark.parametrize("error", [None, LookupError, SessionUnavailable, asyncio.CancelledError])
    def test_gone_after_the_request(self, error: type[BaseException] | None) -> None:
        """Once a request is over there is no current session, whichever way it ended."""

        async def app(scope: Any, receive: Any, send: Any) -> None:
            get_current_session()["n"] = 1
            if error is not None:
                raise error
            await respond(send)

        async def main() -> None:
            with nullcontext() if error is None or error is SessionUnavailable else pytest.raises(error):
                await serve(wrap(app))
            with pytest.raises(UsageError, match="no session here"):
                get_current_session()

        asyncio.run(main())

    def test_there_in_threads_and_tasks(self) -> None:
        """Code that runs in a thread or a task on the request's behalf has the same session."""

        async def app(scope: Any, receive: Any, send: Any) -> None:
            def increment() -> None:
                get_current_session().incr("n")

            async def increment_too() -> None:
                increment()

            await asyncio.to_thread(increment)
            await asyncio.gather(increment_too(), increment_too())
            await respond(send, b"%d" % scope["session"]["n"])

        assert visit(wrap(app)).body == b"3"

    def test_the_one_that_is_set_is_the_one_that_is_saved(self) -> None:
        """After set_current_session the response saves the other session, and the first keeps what it had."""
        middleware: SessionMiddleware

        async def app(scope: Any, receive: Any, send: Any) -> None:
            get_current_session()["n"] = 99
            set_current_session(middleware.manager.open(None).session)
            get_current_session()["other"] = True
            await respond(send)

        site = Site()
        site.request(lambda session: session.update(n=1))
        before = site.browser.copy()
        middleware = wrap(app, clock=site.clock)
        visit(middleware, site.browser)
        assert site.read() == {"other": True}
        assert site.read(before) == {"n": 1}

    def test_the_one_that_is_set_in_the_task_that_answers_counts(self) -> None:
        """A session that is set in a child task is saved if that task also starts the response."""
        middleware: SessionMiddleware

        async def answer(send: Any) -> None:
            set_current_session(middleware.manager.open(None).session)
            get_current_session()["other"] = True
            await respond(send)

        async def app(scope: Any, receive: Any, send: Any) -> None:
            await asyncio.create_task(answer(send))

        site = Site()
        middleware = wrap(app, clock=site.clock)
        visit(middleware, site.browser)
        assert site.read() == {"other": True}

    def test_a_session_by_its_sid_is_loaded_and_saved(self) -> None:
        """A session opened by its sid and made the current one is what load_session loads."""
        site = Site()
        sid = site.request(lambda session: (session.update(n=1, big=big()), session.sid)[1])
        middleware: SessionMiddleware

        async def app(scope: Any, receive: Any, send: Any) -> None:
            set_current_session(middleware.manager.open_sid(sid).session)
            session = await load_session(scope)
            session.incr("n")
            await respond(send)

        middleware = wrap(app, stores=site.stores, clock=site.clock)
        visit(middleware)
        assert site.read()["n"] == 2


class TestStart:
    """The response starts, and with it the session is saved."""

    def test_visits_are_counted(self) -> None:
        """A session begins with its first value, and the next request finds it."""
        browser = Browser()
        middleware = wrap(counting)
        assert [visit(middleware, browser).body for _ in range(3)] == [b"1", b"2", b"3"]
        assert list(browser.cookies) == ["__Host-session"]

    @pytest.mark.parametrize("pair", [tuple, list])
    def test_the_applications_headers_are_never_changed(self, pair: Any) -> None:
        """Headers that requests of two users share stay as they are, and neither gets the other's cookie."""
        headers = [pair(TEXT), pair((b"vary", b"Accept"))]
        start = {"type": "http.response.start", "status": 200, "headers": headers}

        async def app(scope: Any, receive: Any, send: Any) -> None:
            get_current_session()["n"] = 1
            await send(start)
            await send({"type": "http.response.body"})

        middleware = wrap(app)
        first, second = visit(middleware, Browser()), visit(middleware, Browser())
        assert start == {"type": "http.response.start", "status": 200, "headers": headers}
        assert headers == [pair(TEXT), pair((b"vary", b"Accept"))]
        assert len(first.cookies) == len(second.cookies) == 1
        assert first.cookies != second.cookies

    def test_all_headers_arrive(self) -> None:
        """Several Set-Cookie headers, bytes beyond ASCII and headers in any iterable survive beside ours."""
        own = [(b"set-cookie", b"a=1"), (b"X-Odd", bytes(range(0x80, 0x100))), (b"set-cookie", b"b=2; Path=/x")]

        async def app(scope: Any, receive: Any, send: Any) -> None:
            get_current_session()["n"] = 1
            await respond(send, headers=(each for each in own))

        response = visit(wrap(app))
        sent = response.messages[0]["headers"]
        assert [each for each in sent if each[0] == b"x-odd"] == [(b"x-odd", bytes(range(0x80, 0x100)))]
        assert [cookie.partition("=")[0] for cookie in response.cookies] == ["a", "b", "__Host-session"]
        assert response.all("vary") == ["Cookie"]
        assert response.all("cache-control") == ['private, no-cache="Set-Cookie"']

    def test_headers_may_be_missing(self) -> None:
        """A start without headers gets ours."""

        async def app(scope: Any, receive: Any, send: Any) -> None:
            get_current_session()["n"] = 1
            await send({"type": "http.response.start", "status": 204})
            await send({"type": "http.response.body"})

        assert len(visit(wrap(app)).cookies) == 1

    def test_all_cookie_headers_are_read(self) -> None:
        """HTTP/2 may split the cookies over several headers (RFC 9113, 8.2.3): the session is found in any of them."""
        site = Site()
        site.request(lambda session: session.update(n=1))
        cookie = site.browser.header.encode()
        for headers in (
            [(b"cookie", b"a=1"), (b"cookie", cookie), (b"cookie", b"b=2")],
            [(b"cookie", cookie), (b"cookie", b"a=1")],
            [(b"cookie", b"a=1"), (b"cookie", b'$Version=1; "'), (b"cookie", cookie)],
        ):
            assert site.request(dict, Browser(), extra={"headers": headers}) == {"n": 1}

    def test_all_cookie_headers_are_looked_through_for_a_reference(self) -> None:
        """A stored session is loaded whichever Cookie header its reference is in."""
        app, site = with_big_session(counting)
        cookie = site.browser.header.encode()
        assert REFERENCE in site.browser.cookies
        response = visit(app, headers=[(b"cookie", b"a=1"), (b"cookie", cookie)])
        assert response.body == b"2"

    @pytest.mark.parametrize("status", [500, 503])
    @pytest.mark.parametrize("saves", [False, True])
    def test_errors_save_nothing(self, status: int, saves: bool) -> None:
        """A status of 500 or above saves nothing, unless save_on_error."""
        site = Site(save_on_error=saves)
        site.request(lambda session: session.update(n=1), status=status)
        assert len(site.response.cookies) == saves
        assert site.response.all("vary") == ["Cookie"]

    def test_client_errors_save(self) -> None:
        """A status below 500 saves."""
        site = Site()
        site.request(lambda session: session.update(n=1), status=499)
        assert site.read() == {"n": 1}

    @pytest.mark.parametrize("started", [False, True])
    def test_an_application_that_raises(self, started: bool) -> None:
        """What it raised goes to the server; nothing is saved that was not saved with the response's start."""
        app, site = with_big_session(untouching)

        async def raising(scope: Any, receive: Any, send: Any) -> None:
            scope["session"]["before"] = True
            if started:
                await send(START)
            scope["session"]["after"] = True
            raise LookupError("mine")

        app.app = raising
        response = Response()
        with pytest.raises(LookupError, match="mine"):
            asyncio.run(serve(app, site.browser, response))
        assert len(response.messages) == started
        kept = site.read()
        assert ("before" in kept, "after" in kept) == (started, False)

    def test_a_second_start_is_the_servers_business(self) -> None:
        """An application that starts twice is told so by its server, and its session is committed once."""

        async def app(scope: Any, receive: Any, send: Any) -> None:
            scope["session"]["n"] = 1
            await send(START)
            await send(START)

        response = Response()
        with pytest.raises(AssertionError, match="started twice"):
            asyncio.run(serve(wrap(app), response=response))
        assert len(response.cookies) == 1

    def test_what_is_too_large_is_refused_where_it_is_sent(self) -> None:
        """SessionTooLarge reaches the application from `send`, and it may answer otherwise; the old state is intact."""
        stores = RecordingStores(FakeClock(), limit=100_000)
        caught: list[SessionTooLarge] = []

        async def app(scope: Any, receive: Any, send: Any) -> None:
            scope["session"]["big"] = big(200_000)
            try:
                await respond(send)
            except SessionTooLarge as error:
                caught.append(error)
                await respond(send, b"too large", status=413)

        site = Site(stores=stores)
        site.request(lambda session: session.update(n=1))
        response = visit(wrap(app, stores=stores, clock=site.clock), site.browser)
        assert (response.status, response.body, response.cookies) == (413, b"too large", [])
        assert caught[0].limit == 100_000
        assert site.read() == {"n": 1}

    @pytest.mark.parametrize(
        ("scheme", "host", "warns"),
        [
            ("http", b"example.com", 1),
            ("http", b"127.0.0.1:8000", 0),
            ("http", b"localhost", 0),
            ("https", b"example.com", 0),
        ],
    )
    def test_warns_of_plain_http(self, scheme: str, host: bytes, warns: int, caplog: pytest.LogCaptureFixture) -> None:
        """A Secure cookie that goes out over plain http to a host that is not loopback is warned of, once."""
        middleware = wrap(counting)
        for _ in range(2):
            visit(middleware, scheme=scheme, headers=[(b"host", host)])
        assert sum("over plain http" in record.message for record in caplog.records) == warns

    def test_a_scope_without_a_scheme_is_plain_http(self, caplog: pytest.LogCaptureFixture) -> None:
        """ASGI says that a missing scheme is http; a missing Host is no loopback host."""

        async def main() -> None:
            scope = scope_of(extra={"headers": []})
            del scope["scheme"]
            await wrap(counting)(scope, messages(REQUEST), Response().send)

        asyncio.run(main())
        assert "over plain http" in caplog.text


class TestAfterTheHeaders:
    """Background tasks, late writes, and what comes too late."""

    @pytest.mark.parametrize("when", ["in the body", "after the body"])
    def test_a_stored_session_is_saved_late(self, when: str) -> None:
        """What changes in a stored session after the headers is there in the next request."""

        async def app(scope: Any, receive: Any, send: Any) -> None:
            await send(START)
            if when == "in the body":
                scope["session"]["late"] = 1
            await send({"type": "http.response.body", "body": b"x"})
            if when == "after the body":
                scope["session"]["late"] = 1

        middleware, site = with_big_session(app)
        visit(middleware, site.browser)
        assert site.read()["late"] == 1

    def test_a_late_change_in_place_is_saved(self) -> None:
        """Values changed in place after the headers count as well."""
        site = Site()
        site.request(lambda session: session.update(big=big(), log=[]))

        async def app(scope: Any, receive: Any, send: Any) -> None:
            log = scope["session"]["log"]
            await respond(send)
            log.append("late")

        visit(wrap(app, stores=site.stores, clock=site.clock), site.browser)
        assert site.read()["log"] == ["late"]

    def test_the_session_that_was_committed_is_saved_late(self) -> None:
        """Making another session the current one after the headers does not take away what is saved late."""

        async def app(scope: Any, receive: Any, send: Any) -> None:
            session = scope["session"]
            await respond(send)
            session["late"] = 1
            set_current_session(middleware.manager.open(None).session)
            assert await load_session(scope) is session

        middleware, site = with_big_session(app)
        visit(middleware, site.browser)
        assert site.read()["late"] == 1

    def test_what_needs_a_cookie_is_refused(self) -> None:
        """A late change of a session in the cookie raises SessionCommitted where it is made."""

        async def app(scope: Any, receive: Any, send: Any) -> None:
            scope["session"]["n"] = 1
            await respond(send)
            with pytest.raises(SessionCommitted):
                scope["session"]["n"] = 2
            with pytest.raises(SessionCommitted):
                scope["session"].terminate()

        site = Site()
        visit(wrap(app, clock=site.clock), site.browser)
        assert site.read() == {"n": 1}

    def test_an_untouched_session_cannot_begin_late(self) -> None:
        """The first touch after the headers may read, and not begin a session."""

        async def app(scope: Any, receive: Any, send: Any) -> None:
            await respond(send)
            assert dict(scope["session"]) == {}
            with pytest.raises(SessionCommitted):
                scope["session"]["n"] = 1

        assert visit(wrap(app)).cookies == []

    def test_a_late_failure_reaches_the_server(self) -> None:
        """When a late change cannot be saved, the server is told, since no response can tell any more."""

        async def app(scope: Any, receive: Any, send: Any) -> None:
            await respond(send)
            scope["session"]["late"] = 1
            site.stores.down = {Tier.DURABLE}

        middleware, site = with_big_session(app)
        response = Response()
        with pytest.raises(SessionUnavailable):
            asyncio.run(serve(middleware, site.browser, response))
        assert response.is_complete


class TestUnavailable:
    """The store does not answer."""

    def check(self, response: Response) -> None:
        assert response.status == 503
        assert response.all("retry-after") == ["5"]
        assert response.cookies == []
        assert response.is_complete

    def test_when_it_is_loaded_before_the_application(self) -> None:
        """The application is not called, the answer is 503 with Retry-After, and the browser keeps its cookie."""
        called: list[Any] = []

        async def app(scope: Any, receive: Any, send: Any) -> None:
            called.append(scope)

        middleware, site = with_big_session(app)
        site.stores.down = {Tier.CACHE, Tier.DURABLE}
        self.check(visit(middleware, site.browser))
        assert called == []
        site.stores.down = set()
        assert site.read()["n"] == 1

    def test_when_the_application_lets_it_through(self) -> None:
        """SessionUnavailable out of the application becomes 503 if the response has not started."""

        async def app(scope: Any, receive: Any, send: Any) -> None:
            await load_session(scope)

        middleware, site = with_big_session(app, eager=False)
        site.stores.down = {Tier.CACHE, Tier.DURABLE}
        self.check(visit(middleware, site.browser))

    def test_when_a_framework_makes_a_500_of_it(self) -> None:
        """Where something inside has made the failed load an error page already, 503 is sent in its place."""

        async def app(scope: Any, receive: Any, send: Any) -> None:
            try:
                await load_session(scope)
            except SessionUnavailable:
                await respond(send, b"Internal Server Error", status=500)
                raise

        middleware, site = with_big_session(app, eager=False)
        site.stores.down = {Tier.CACHE, Tier.DURABLE}
        response = visit(middleware, site.browser)
        self.check(response)
        assert b"Internal" not in response.body

    def test_when_the_application_fails_for_another_reason(self) -> None:
        """A 500 of an application that got its session at the second try is its own."""

        async def app(scope: Any, receive: Any, send: Any) -> None:
            with pytest.raises(SessionUnavailable):
                await load_session(scope)
            site.stores.down = set()
            await load_session(scope)
            await respond(send, b"mine", status=500)

        middleware, site = with_big_session(app, eager=False)
        site.stores.down = {Tier.CACHE, Tier.DURABLE}
        response = visit(middleware, site.browser)
        assert (response.status, response.body) == (500, b"mine")

    @pytest.mark.parametrize("status", [200, 502])
    def test_when_the_application_handles_it(self, status: int) -> None:
        """An application that answers something of its own is let."""

        async def app(scope: Any, receive: Any, send: Any) -> None:
            with pytest.raises(SessionUnavailable):
                await load_session(scope)
            await respond(send, b"come back later", status=status)

        middleware, site = with_big_session(app, eager=False)
        site.stores.down = {Tier.CACHE, Tier.DURABLE}
        response = visit(middleware, site.browser)
        assert (response.status, response.body) == (status, b"come back later")

    def test_when_the_session_cannot_be_saved(self) -> None:
        """503 is sent instead of the application's start, and whatever else it sends is swallowed."""

        async def app(scope: Any, receive: Any, send: Any) -> None:
            scope["session"]["n"] = 2
            await send({**START, "headers": [(b"location", b"/paid")], "status": 303})
            await send({"type": "http.response.body", "body": b"never", "more_body": True})
            await send({"type": "http.response.body", "body": b"seen"})

        middleware, site = with_big_session(app)
        site.stores.down = {Tier.DURABLE}
        response = visit(middleware, site.browser)
        self.check(response)
        assert b"never" not in response.body
        assert response.all("location") == []
        site.stores.down = set()
        assert site.read()["n"] == 1

    def test_after_the_response_has_started_it_is_raised(self) -> None:
        """Once the response has started nothing but an abort can tell: the server gets the exception."""

        async def app(scope: Any, receive: Any, send: Any) -> None:
            await send(START)
            await load_session(scope)

        middleware, site = with_big_session(app, eager=False)
        site.stores.down = {Tier.CACHE, Tier.DURABLE}
        response = Response()
        with pytest.raises(SessionUnavailable):
            asyncio.run(serve(middleware, site.browser, response))
        assert (response.status, len(response.messages)) == (200, 1)

    def test_small_sessions_go_on(self) -> None:
        """With all stores down a session in the cookie works as ever."""
        site = Site()
        site.stores.down = {Tier.CACHE, Tier.DURABLE}
        site.request(lambda session: session.update(n=1))
        assert site.read() == {"n": 1}


class TestLoading:
    """eager=True, eager=False, and load_session."""

    def test_a_stored_session_is_there(self) -> None:
        """By default a session in a store is loaded before the application, which needs no await."""
        middleware, site = with_big_session(counting)
        assert visit(middleware, site.browser).body == b"2"
        assert site.did == ["get cache", "put durable", "put cache"]

    def test_touched_too_early_it_says_so(self) -> None:
        """With eager=False, touching a stored session that was not loaded raises an error that says what to do."""
        told: list[str] = []

        async def app(scope: Any, receive: Any, send: Any) -> None:
            for touch in (lambda it: it["n"], lambda it: it.update(n=2), len, lambda it: "n" in it):
                with pytest.raises(SessionNotLoaded) as caught:
                    touch(scope["session"])
                told.append(str(caught.value))
            session = await load_session(scope)
            session["n"] = 5
            await respond(send)

        middleware, site = with_big_session(app, eager=False)
        visit(middleware, site.browser)
        assert len(told) == 4
        assert all("await load_session(request)" in text and "eager=True" in text for text in told)
        assert site.read()["n"] == 5

    def test_in_the_cookie_it_needs_no_loading(self) -> None:
        """With eager=False a session in the cookie, or none, is read and written without awaiting."""
        browser = Browser()
        middleware = wrap(counting, eager=False)
        assert [visit(middleware, browser).body for _ in range(2)] == [b"1", b"2"]

    def test_takes_a_request_or_a_scope(self) -> None:
        """load_session takes whatever has a scope, or the scope, or a copy of it; and returns the session."""

        async def app(scope: Any, receive: Any, send: Any) -> None:
            for connection in (scope, {**scope}, SimpleNamespace(scope=scope)):
                assert await load_session(connection) is scope["session"]
            await respond(send)

        middleware, site = with_big_session(app, eager=False)
        visit(middleware, site.browser)
        assert site.did == ["get cache"]  # once is enough

    def test_several_at_once(self) -> None:
        """Parts of a request that load at the same time get the same session, with all their changes."""

        async def part(scope: Any) -> None:
            (await load_session(scope)).incr("n")

        async def app(scope: Any, receive: Any, send: Any) -> None:
            await asyncio.gather(*(part(scope) for _ in range(5)))
            await respond(send)

        middleware, site = with_big_session(app, eager=False)
        visit(middleware, site.browser)
        assert site.read()["n"] == 6

    def test_a_load_that_failed_may_be_tried_again(self) -> None:
        """load_session asks the store again, and what was missing is there if the store is back."""

        async def app(scope: Any, receive: Any, send: Any) -> None:
            site.stores.down = {Tier.CACHE, Tier.DURABLE}
            with pytest.raises(SessionUnavailable):
                await load_session(scope)
            site.stores.down = set()
            (await load_session(scope)).incr("n")
            await respond(send)

        middleware, site = with_big_session(app, eager=False)
        visit(middleware, site.browser)
        assert site.read()["n"] == 2

    @pytest.mark.parametrize("connection", [{}, {"type": "http"}, None, 7, SimpleNamespace(scope={})])
    def test_outside_the_middleware_it_says_so(self, connection: Any) -> None:
        """load_session without the middleware is a UsageError that names it."""
        with pytest.raises(UsageError, match=r"wrapped in holdall_asgi\.SessionMiddleware"):
            asyncio.run(load_session(connection))

    def test_after_the_request_it_says_so(self) -> None:
        """A scope whose request is over loads nothing any more, and keeps nothing of the session's machinery."""
        scopes: list[Any] = []

        async def app(scope: Any, receive: Any, send: Any) -> None:
            scopes.append(scope)
            await respond(send)

        visit(wrap(app))
        with pytest.raises(UsageError, match="while it is handled"):
            asyncio.run(load_session(scopes[0]))

    def test_asynchronous_stores_are_used_as_they_are(self) -> None:
        """Stores with an async execute run in the event loop, and no thread is started for them."""
        clock = FakeClock()
        stores = AsyncStores(clock)
        site = Site(stores=stores, clock=clock)
        site.request(lambda session: session.update(n=1, big=big()))
        assert site.read()["n"] == 1
        assert stores.threads == {threading.current_thread()}
        assert site.app.stores is stores

    def test_synchronous_stores_run_off_the_event_loop(self) -> None:
        """Stores with a plain execute never run in the event loop's thread."""
        clock = FakeClock()
        stores = RecordingStores(clock)
        threads: set[threading.Thread] = set()
        stores.before = lambda command: threads.add(threading.current_thread())
        site = Site(stores=stores, clock=clock)
        site.request(lambda session: session.update(n=1, big=big()))
        assert site.read()["n"] == 1
        assert threads
        assert threading.current_thread() not in threads

    def test_in_threads_with_a_limit_of_ones_own(self) -> None:
        """Stores that are in threads already are used as they are."""
        threaded = in_threads(RecordingStores(FakeClock()), limit=2)
        assert wrap(counting, stores=threaded).stores is threaded


class TestCancelled:
    """The client has gone, or the server ends."""

    def test_before_the_response_nothing_is_saved(self) -> None:
        """A request that is cancelled while the application works leaves the session as it was."""
        reached = asyncio.Event()

        async def app(scope: Any, receive: Any, send: Any) -> None:
            scope["session"]["n"] = 99
            reached.set()
            await asyncio.Future()

        middleware, site = with_big_session(app)

        async def main() -> None:
            task = asyncio.ensure_future(serve(middleware, site.browser))
            await reached.wait()
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task

        asyncio.run(main())
        assert "put durable" not in site.did
        assert site.read()["n"] == 1

    def test_a_client_that_leaves_saves_nothing(self) -> None:
        """An application that returns without an answer because its client has gone leaves the session as it was."""

        async def app(scope: Any, receive: Any, send: Any) -> None:
            scope["session"]["n"] = 99
            assert (await receive())["type"] == "http.disconnect"

        middleware, site = with_big_session(app)
        receive = messages({"type": "http.disconnect"})
        response = Response()
        asyncio.run(middleware(scope_of(site.browser), receive, response.send))
        assert response.messages == []
        assert site.read()["n"] == 1

    @pytest.mark.parametrize("times", [1, 3])
    def test_a_commit_that_has_begun_is_completed(self, times: int) -> None:
        """Cancelled between the commands of a commit, the request ends as cancelled, and its session is saved whole."""
        reached, opened = threading.Event(), threading.Event()

        def hold(command: holdall.Command) -> None:
            if isinstance(command, holdall.Put) and command.tier is Tier.DURABLE:
                reached.set()
                assert opened.wait(60)

        middleware, site = with_big_session(counting)
        site.stores.before = hold
        response = Response()

        async def main() -> None:
            task = asyncio.ensure_future(serve(middleware, site.browser, response))
            await asyncio.to_thread(reached.wait, 60)
            for _ in range(times):  # as anyio does, which cancels until it is obeyed
                task.cancel()
                await asyncio.sleep(0)
            assert not task.done()
            opened.set()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert asyncio.all_tasks() == {asyncio.current_task()}

        asyncio.run(main())
        site.stores.before = None
        assert response.messages == []
        assert site.did == ["get cache", "put durable", "put cache"]
        assert site.read()["n"] == 2

    def test_a_commit_that_fails_while_cancelled(self) -> None:
        """A cancelled request whose commit then fails is cancelled, and carries the failure as its cause."""
        reached, opened = threading.Event(), threading.Event()

        def hold(command: holdall.Command) -> None:
            if isinstance(command, holdall.Put):
                reached.set()
                assert opened.wait(60)
                raise holdall.StoreUnavailable("down")

        middleware, site = with_big_session(counting)
        site.stores.before = hold

        async def main() -> BaseException | None:
            task = asyncio.ensure_future(serve(middleware, site.browser, Response()))
            await asyncio.to_thread(reached.wait, 60)
            task.cancel()
            await asyncio.sleep(0)
            opened.set()
            with pytest.raises(asyncio.CancelledError) as caught:
                await task
            return caught.value.__cause__

        assert isinstance(asyncio.run(main()), SessionUnavailable)

    def test_a_load_is_let_go(self) -> None:
        """A request that is cancelled while its session is loaded ends at once; the next one finds the session."""
        reached, opened = threading.Event(), threading.Event()

        def hold(command: holdall.Command) -> None:
            reached.set()
            assert opened.wait(60)

        middleware, site = with_big_session(counting)
        site.stores.before = hold

        async def main() -> None:
            task = asyncio.ensure_future(serve(middleware, site.browser, Response()))
            await asyncio.to_thread(reached.wait, 60)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            site.stores.before = None
            opened.set()

        asyncio.run(main())
        assert site.read()["n"] == 1


class TestOtherScopes:
    """What is neither a request nor a websocket."""

    def test_lifespan_passes_through(self) -> None:
        """The application gets the server's very scope, receive and send for its lifespan."""
        seen: list[Any] = []

        async def app(*arguments: Any) -> None:
            seen.append(arguments)

        scope = {"type": "lifespan", "state": {}}
        receive, send = messages(), Response().send
        asyncio.run(wrap(app)(scope, receive, send))
        assert seen == [(scope, receive, send)]
        assert scope == {"type": "lifespan", "state": {}}


def test_nothing_secret_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    """A refusal's log line holds neither cookie nor session id nor session value."""
    caplog.set_level(logging.DEBUG)
    middleware, site = with_big_session(counting)
    site.stores.down = {Tier.DURABLE}
    visit(middleware, site.browser)
    (value,) = site.browser.cookies.values()
    assert "answering 503" in caplog.text
    assert value not in caplog.text
    assert "x" * 100 not in caplog.text


def test_the_receipt_is_driven_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each request drives load, commit and finish at most once, in this order; the last only where it has work."""
    called: list[str] = []
    for name in ("load", "commit", "finish"):
        inner: Callable[..., Any] = getattr(Exchange, name)

        def note(self: Exchange, *arguments: Any, inner: Any = inner, name: str = name, **named: Any) -> Any:
            called.append(name)
            return inner(self, *arguments, **named)

        monkeypatch.setattr(Exchange, name, note)
    middleware, site = with_big_session(counting)
    called.clear()
    visit(middleware, site.browser)
    assert called == ["load", "commit"]
    middleware.manager.on_receipt = lambda receipt: None
    called.clear()
    visit(middleware, site.browser)
    assert called == ["load", "commit", "finish"]


def as_ada(label: str = "a browser", **values: Any) -> Callable[[holdall.Session], None]:
    """Return what a page does that assigns these values, and binds the session."""

    def act(session: holdall.Session) -> None:
        session.update(values)
        session.bind("ada", label)

    return act


class TestBoundSessions:
    """Sessions that are bound to somebody are listed and ended, and ask in time whether they were."""

    @pytest.mark.parametrize("pad", ["", big()], ids=["cookie", "stored"])
    @pytest.mark.parametrize("where", ["scope", "request", "middleware"])
    def test_listing_and_revoking(self, pad: str, where: str) -> None:
        """A request, its scope, and who has the middleware list somebody's sessions and end one, or all but one."""
        site, other, lost = Site(), Browser(), Browser()
        for browser, label in ((site.browser, "a browser"), (other, "a browser"), (lost, "lost")):
            site.request(as_ada(label, pad=pad), browser)

        async def app(scope: Any, receive: Any, send: Any) -> None:
            sid = get_current_session().sid
            if where == "middleware":
                (one,) = (bound.id for bound in await middleware.sessions_of("ada") if bound.label == "lost")
                await middleware.revoke("ada", only=one)
                listed = await middleware.sessions_of("ada")
                await middleware.revoke("ada", except_sid=sid)
            else:
                connection = scope if where == "scope" else SimpleNamespace(scope=scope)
                (one,) = (bound.id for bound in await sessions_of(connection, "ada") if bound.label == "lost")
                await revoke(connection, "ada", only=one)
                listed = await sessions_of(connection, "ada")
                await revoke(connection, "ada", except_sid=sid)
            await respond(send, repr([bound.label for bound in listed]).encode())

        middleware = wrap(app, stores=site.stores, clock=site.clock)
        assert visit(middleware, site.browser).body == b"['a browser', 'a browser']"
        site.clock.advance(61)
        assert site.read() == {"pad": pad}
        assert site.read(other) == {}

    def test_outside_of_the_middleware(self) -> None:
        """Where no middleware handles the request, that is said."""
        for flow in (revoke({}, "ada"), sessions_of({}, "ada")):
            with pytest.raises(UsageError, match="SessionMiddleware"):
                asyncio.run(flow)

    @pytest.mark.parametrize("eager", [True, False])
    def test_a_session_in_the_cookie_asks_first(self, eager: bool) -> None:
        """When it is time to ask, a session in the cookie does before the application runs, or when it is awaited."""
        site = Site(eager=eager)
        site.request(as_ada(n=1))
        assert site.did == ["get durable", "put durable"]
        assert site.request(lambda session: session["n"]) == 1
        assert site.did == []
        site.clock.advance(61)

        async def app(scope: Any, receive: Any, send: Any) -> None:
            if not eager:
                with pytest.raises(SessionNotLoaded):
                    get_current_session()["n"]
                await load_session(scope)
            await respond(send, repr(get_current_session()["n"]).encode())

        middleware = wrap(app, stores=site.stores, clock=site.clock, eager=eager)
        assert visit(middleware, site.browser).body == b"1"
        assert site.did == ["get durable"]
