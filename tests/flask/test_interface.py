"""`HoldallInterface`: what a request's session becomes in the response, through Flask's test client.

On a real server: `test_servers.py`. With Flask-Login: `test_flask_login.py`.
"""

import asyncio
import gc
import io
import logging
import os
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from datetime import timedelta
from http import HTTPStatus
from pathlib import Path
from typing import Any

import flask
import pytest
from flask import Blueprint, Flask, Response, stream_with_context
from flask.sessions import SecureCookieSessionInterface
from holdall import (
    Session,
    SessionCommitted,
    SessionTooLarge,
    Tier,
    UsageError,
    get_current_session,
    set_current_session,
)
from holdall.testing import FakeClock, RecordingStores
from holdall_flask import FlaskSession, Holdall, HoldallInterface
from holdall_stores import Memory, Stores, delete_expired_sessions

from tests.core.support import big, put
from tests.flask.support import KEY, Site, cookies_of, make_app, own_session, value_of
from tests.servers import MemcachedServer

SIZES = [10, 20_000]
OK = HTTPStatus.OK


@pytest.fixture
def site() -> Site:
    return Site()


def begin(end: float, **values: Any) -> Callable[[FlaskSession], None]:
    """Return what a request does that begins a session with an end of its own."""

    def act(session: FlaskSession) -> None:
        session.start(end)
        session.update(values)

    return act


def nobody_is_here() -> bool:
    try:
        get_current_session()
    except UsageError:
        return True
    return False


class TestHeaders:
    """The response's headers, complete."""

    def test_own_cookies_survive(self, site: Site) -> None:
        """The application's own Set-Cookie headers, several of one name included, stay beside the session's."""

        def act(session: FlaskSession) -> Response:
            session["a"] = 1
            response = Response("done")
            response.set_cookie("theme", "dark")
            response.set_cookie("theme", "darker", path="/night")
            response.headers.add("X-Twice", "1")
            response.headers.add("X-Twice", "2")
            return response

        site.request(act)
        names = [cookie.partition("=")[0] for cookie in site.cookies]
        assert sorted(names) == ["session", "theme", "theme"]
        assert site.response.headers.getlist("X-Twice") == ["1", "2"]

    def test_vary_is_merged(self, site: Site) -> None:
        """Cookie is added to what the application said in Vary, once."""

        def act(session: FlaskSession) -> Response:
            response = Response("done")
            response.vary.update(["Accept-Language"])
            session.get("a")
            return response

        site.request(act)
        assert site.response.headers.getlist("Vary") == ["Accept-Language, Cookie"]

    @pytest.mark.parametrize(
        "touch",
        [
            lambda session: "a" in session,
            len,
            list,
            bool,
            lambda session: session.get("a"),
            lambda session: session.permanent,
            lambda session: session.is_active(),
        ],
    )
    def test_vary_whenever_touched(self, site: Site, touch: Callable[[FlaskSession], Any]) -> None:
        """Any look into the session makes the response vary, with and without a session."""
        assert site.visit(lambda: str(touch(own_session()))).headers["Vary"] == "Cookie"
        site.client.set_cookie("session", "junk")
        response = site.visit(lambda: str(touch(own_session())))
        assert response.headers["Vary"] == "Cookie"
        assert cookies_of(response) == []

    def test_cookies_make_private(self, site: Site) -> None:
        """A response with a session cookie is kept by no shared cache, and one without says nothing of the kind."""
        site.request(put(a=1))
        assert site.response.headers["Cache-Control"] == 'private, no-cache="Set-Cookie"'
        site.read()
        assert "Cache-Control" not in site.response.headers

    @pytest.mark.parametrize("size", SIZES)
    def test_untouched(self, size: int) -> None:
        """A request that leaves its session alone costs nothing: no header, no command, no look at the clock."""
        looks: list[float] = []
        clock = FakeClock()

        def watched() -> float:
            looks.append(clock())
            return clock()

        site = Site(clock=watched, stores=RecordingStores(clock))
        site.request(put(_permanent=True, pad=big(size)))
        del looks[:], site.stores.commands[:]
        response = site.visit()
        assert {name for name, _ in response.headers} == {"Content-Type", "Content-Length"}
        assert (looks, site.stores.commands) == ([], [])

    def test_secure_over_http_is_warned_about(self, caplog: pytest.LogCaptureFixture) -> None:
        """A Secure cookie over plain http to a host that is not loopback is logged once."""
        site = Site({"SESSION_COOKIE_SECURE": True})
        for _ in range(2):
            site.request(lambda session: session.update(n=site.clock()), base_url="http://example.com")
            site.clock.advance(1)
        assert len([record for record in caplog.records if "plain http" in record.getMessage()]) == 1
        quiet = Site({"SESSION_COOKIE_SECURE": True})
        caplog.clear()
        quiet.request(put(a=1), base_url="https://example.com")
        quiet.request(put(a=1))
        assert caplog.records == []

    def test_junk(self, site: Site, caplog: pytest.LogCaptureFixture) -> None:
        """A cookie that does not open, such as one of Flask's own sessions, is no session, no error and not deleted."""
        plain = make_app()
        plain.add_url_rule("/", "login", lambda: (flask.session.update(user=1), "done")[1])
        theirs = plain.test_client()
        theirs.get("/")
        site.client.set_cookie("session", value_of(theirs, "session") or "")
        assert site.read() == {}
        assert site.cookies == []
        site.request(put(a=1))
        assert site.read() == {"a": 1}


class TestEnd:
    """When a session ends, in Flask's words: permanent or not, refreshed or not."""

    def permanent(self, site: Site, size: int = 10) -> None:
        site.request(put(_permanent=True, pad=big(size)))

    @pytest.mark.parametrize("size", SIZES)
    def test_not_permanent(self, site: Site, size: int) -> None:
        """A session that is not permanent ends with the browser, and on the server after the lifetime."""
        site.request(put(pad=big(size)))
        assert "Max-Age" not in site.cookies[0]
        assert "Expires" not in site.cookies[0]
        site.clock.advance(31 * 86400 - 1)
        assert site.read() == {"pad": big(size)}
        assert site.cookies == []  # it is never refreshed
        site.clock.advance(2)
        assert site.read() == {}

    @pytest.mark.parametrize("size", SIZES)
    def test_permanent(self, site: Site, size: int) -> None:
        """A permanent session ends when PERMANENT_SESSION_LIFETIME has passed, in the browser and on the server."""
        site.app.config["PERMANENT_SESSION_LIFETIME"] = timedelta(hours=2)
        self.permanent(site, size)
        assert "Max-Age=7200" in site.cookies[0]
        site.clock.advance(7201)
        assert site.read() == {}

    @pytest.mark.parametrize("size", SIZES)
    def test_refreshed(self, site: Site, size: int) -> None:
        """With SESSION_REFRESH_EACH_REQUEST, a permanent session lives as long as it is visited often enough."""
        site.app.config["PERMANENT_SESSION_LIFETIME"] = 1000
        self.permanent(site, size)
        for _ in range(5):
            site.clock.advance(900)
            assert site.read()["pad"] == big(size)
            assert "Max-Age=1000" in site.cookies[0]
        site.clock.advance(1001)
        assert site.read() == {}

    @pytest.mark.parametrize("size", SIZES)
    def test_not_refreshed(self, site: Site, size: int) -> None:
        """Without it, reading does not keep a session alive, and writing does."""
        site.app.config.update(PERMANENT_SESSION_LIFETIME=1000, SESSION_REFRESH_EACH_REQUEST=False)
        self.permanent(site, size)
        site.clock.advance(900)
        site.read()
        assert site.cookies == []
        site.request(put(n=1))
        assert "Max-Age=1000" in site.cookies[0]
        site.clock.advance(900)
        assert site.read()["n"] == 1
        site.clock.advance(101)
        assert site.read() == {}

    def test_refreshing_a_store_is_rare(self, site: Site) -> None:
        """Refreshing writes a stored session at most every tenth of its lifetime."""
        site.app.config["PERMANENT_SESSION_LIFETIME"] = 1000
        self.permanent(site, 20_000)
        puts = 0
        for _ in range(10):
            site.clock.advance(50)
            site.read()
            puts += site.did.count("put durable")
        assert puts == 5

    def test_no_longer_permanent(self, site: Site) -> None:
        """A session that is permanent no longer gets a cookie that ends with the browser."""
        self.permanent(site)
        assert "Max-Age" in site.cookies[0]
        site.request(lambda session: setattr(session, "permanent", False))
        assert "Max-Age" not in site.cookies[0]

    @pytest.mark.parametrize("size", SIZES)
    def test_end_of_its_own(self, site: Site, size: int) -> None:
        """A session that was begun with an end of its own keeps it, whatever is written later, also when refreshed."""
        end = site.clock() + 500
        site.request(begin(end, pad=big(size)))
        assert "Max-Age=500" in site.cookies[0]
        site.clock.advance(100)
        site.request(put(n=1))
        assert "Max-Age=400" in site.cookies[0]
        assert site.request(lambda session: session.get_expiration()) == end
        site.request(lambda session: setattr(session, "modified", True))
        site.clock.advance(401)
        assert site.read() == {}

    def test_past_end(self, site: Site) -> None:
        """A session that was begun with an end that is past is gone with the request."""
        site.request(begin(site.clock() - 1, a=1))
        assert site.read() == {}

    @pytest.mark.parametrize("size", SIZES)
    @pytest.mark.parametrize("empty", [lambda session: session.clear(), lambda session: session.pop("pad")])
    def test_emptied(self, site: Site, size: int, empty: Callable[[FlaskSession], Any]) -> None:
        """A session that was emptied ends, as Flask's do: its cookie is deleted, and a copy of a stored one is dead."""
        site.request(put(pad=big(size)))
        old = site.request(lambda session: session.sid)
        stolen = {name: value_of(site.client, name) for name in ("session", "session-ref")}
        site.request(empty)
        assert all("Max-Age=0" in cookie for cookie in site.cookies)
        assert [value_of(site.client, name) for name in stolen] == [None, None]
        site.request(put(a=1))
        assert site.request(lambda session: session.sid) != old
        if size > 4000:
            thief = site.app.test_client()
            thief.set_cookie("session-ref", stolen["session-ref"] or "")
            assert site.read(thief) == {}

    def test_emptied_at_once(self, site: Site) -> None:
        """A session that began and was emptied in one request sends no cookie and stores nothing."""
        site.request(lambda session: (session.update(a=1), session.pop("a")))
        assert site.cookies == []
        assert site.stores.commands == []

    def test_idle_timeout(self) -> None:
        """HOLDALL_IDLE_TIMEOUT ends a session that nobody touched for so long."""
        site = Site({"HOLDALL_IDLE_TIMEOUT": 600})
        site.request(put(a=1))
        for _ in range(3):
            site.clock.advance(500)
            assert site.read() == {"a": 1}
        site.clock.advance(601)
        assert site.read() == {}


class TestErrors:
    """What goes wrong in the application."""

    @pytest.mark.parametrize("size", SIZES)
    def test_status_500(self, site: Site, size: int) -> None:
        """A response with a status of 500 or above saves nothing, and varies all the same."""
        site.request(put(a=1, pad=big(size)))
        site.request(put(a=2), status=500)
        assert site.cookies == []
        assert site.response.headers["Vary"] == "Cookie"
        assert site.read()["a"] == 1
        site.request(put(a=3), status=499)
        assert site.read()["a"] == 3

    def test_save_on_error(self) -> None:
        """With HOLDALL_SAVE_ON_ERROR it does."""
        site = Site({"HOLDALL_SAVE_ON_ERROR": True})
        site.request(put(a=1), status=500)
        assert site.read() == {"a": 1}

    @pytest.mark.parametrize("testing", [True, False])
    def test_exception_in_a_view(self, testing: bool) -> None:
        """A view that raises saves nothing, and leaves no session behind for the next request."""
        site = Site({"TESTING": testing})
        site.request(put(a=1))

        def fail(session: FlaskSession) -> None:
            session["a"] = 2
            raise ZeroDivisionError

        if testing:
            with pytest.raises(ZeroDivisionError):
                site.request(fail)
        else:
            site.request(fail)
            assert site.response.status_code == 500
        assert nobody_is_here()
        assert site.read() == {"a": 1}

    def test_error_page_reads_the_session(self) -> None:
        """An error page may read the session, which then is as the view left it."""
        site = Site({"TESTING": False})
        site.app.register_error_handler(500, lambda error: (f"sorry, {flask.session['name']}", 500))

        def fail(session: FlaskSession) -> None:
            session["name"] = "Ada"
            raise ZeroDivisionError

        site.request(fail)
        assert site.response.text == "sorry, Ada"
        assert site.read() == {}

    def test_handled_exception_saves(self, site: Site) -> None:
        """A view whose exception became an ordinary response saves what it did before."""
        site.app.register_error_handler(ZeroDivisionError, lambda error: ("try again", 400))

        def fail(session: FlaskSession) -> None:
            session["tries"] = 1
            raise ZeroDivisionError

        site.request(fail)
        assert site.response.status_code == 400
        assert site.read() == {"tries": 1}

    def test_not_found(self, site: Site) -> None:
        """A page that is not there leaves the session alone."""
        site.request(put(a=1))
        response = site.client.get("/nowhere")
        assert response.status_code == 404
        assert "Vary" not in response.headers

    def test_too_large(self) -> None:
        """A session that no store can take is an error of the application; what was there before stays."""
        clock = FakeClock()
        site = Site(clock=clock, stores=RecordingStores(clock, limit=50_000))
        site.request(put(a=1))
        closed: list[bool] = []

        def act(session: FlaskSession) -> Response:
            session["pad"] = os.urandom(100_000)
            response = Response("done")
            response.call_on_close(lambda: closed.append(True))
            return response

        with pytest.raises(SessionTooLarge):
            site.request(act)
        assert closed == [True]
        assert site.read() == {"a": 1}

    def test_value_that_cannot_be_kept(self, site: Site) -> None:
        """A value that cannot be kept is refused by name, and in production that is a 500."""
        with pytest.raises(UsageError, match="there is no way to keep"):
            site.request(lambda session: session.update(bad=object()))
        site.app.testing = False
        site.request(lambda session: session.update(bad=object()))
        assert site.response.status_code == 500


class TestLate:
    """After the headers."""

    def stream(self, site: Site, write: Callable[[FlaskSession], Any]) -> None:
        """Have a request write to its session while its body streams."""

        def act(session: FlaskSession) -> Response:
            session.get("a")

            def body() -> Iterator[str]:
                yield "one"
                write(own_session())
                assert get_current_session() is own_session()
                yield "two"

            return Response(stream_with_context(body()))

        site.request(act)
        assert site.response.text == "onetwo"

    def test_stored(self, site: Site) -> None:
        """What is written while the body streams reaches the store."""
        site.request(put(pad=big(), log=["begun"]))
        self.stream(site, lambda session: (session.update(a=1), session["log"].append("streamed")))
        assert site.cookies == []
        found = site.read()
        assert (found["a"], found["log"]) == (1, ["begun", "streamed"])

    def test_in_the_cookie(self, site: Site) -> None:
        """What would need a cookie raises where it is written, and the response ends there."""
        site.request(put(a=1))
        with pytest.raises(SessionCommitted):
            self.stream(site, put(a=2))
        assert site.read() == {"a": 1}
        assert nobody_is_here()

    def test_first_touch_is_late(self, site: Site) -> None:
        """A stored session that is first touched while the body streams is loaded and saved."""
        site.request(put(pad=big()))

        def body() -> Iterator[str]:
            own_session().incr("n")
            yield "counted"

        site.visit(lambda: Response(stream_with_context(body())))
        assert site.read()["n"] == 1

    def test_body_that_raises(self, site: Site) -> None:
        """A body that raises saves nothing of what was written late."""
        site.request(put(pad=big(), a=1))

        def write(session: FlaskSession) -> None:
            session["a"] = 2
            raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError):
            self.stream(site, write)
        assert site.read()["a"] == 1

    def test_body_that_is_abandoned(self, site: Site) -> None:
        """A body that nobody reads to its end is closed, and what was written until then is saved."""
        site.request(put(pad=big()))
        closed: list[bool] = []

        def body() -> Iterator[str]:
            try:
                own_session()["seen"] = 1
                yield "one"
                own_session()["seen"] = 2
                yield "two"
            finally:
                closed.append(True)

        site.page = lambda: Response(stream_with_context(body()))
        response = site.client.get("/page")
        assert next(response.iter_encoded()) == b"one"
        response.close()
        assert closed == [True]
        assert site.read()["seen"] == 1

    def test_without_context(self, site: Site) -> None:
        """`get_current_session()` is right in a body that streams without Flask's context too."""
        site.request(put(pad=big()))

        def body() -> Iterator[str]:
            get_current_session()["seen"] = True
            yield "one"

        site.visit(lambda: Response(body()))
        assert site.read()["seen"] is True

    def test_head(self, site: Site) -> None:
        """A HEAD request closes a body that it does not read."""
        closed: list[bool] = []

        class Body:
            def __iter__(self) -> Iterator[bytes]:
                return iter([b"one"])

            def close(self) -> None:
                closed.append(True)

        site.page = lambda: Response(Body())
        assert site.client.head("/page", buffered=True).data == b""
        assert closed == [True]

    def test_teardown(self, site: Site) -> None:
        """Functions that tear a request down may still write to a stored session, also after a file was sent."""

        def file() -> Response:
            flask.g.name = "file"
            return flask.send_file(io.BytesIO(b"content"), mimetype="text/plain")

        def text() -> str:
            flask.g.name = "text"
            return "content"

        def write(error: BaseException | None) -> None:
            if "name" in flask.g:
                own_session()[flask.g.name] = True
                assert get_current_session() is own_session()

        site.app.teardown_request(write)
        site.request(put(pad=big()))
        for page in (file, text):
            assert site.visit(page).data == b"content"
        found = site.read()
        assert (found["file"], found["text"]) == (True, True)

    def test_on_close(self, site: Site) -> None:
        """So may functions that the application has called when the response is closed."""
        site.request(put(pad=big()))

        def act(session: FlaskSession) -> Response:
            session.get("a")
            response = Response("done")
            response.call_on_close(lambda: session.update(closed=True))
            return response

        site.request(act)
        assert site.read()["closed"] is True


class TestCurrent:
    """`get_current_session()` and `set_current_session()`."""

    def test_everywhere(self) -> None:
        """It is `flask.session` before, in and after the view, in blueprints too, and nobody's outside."""
        app = make_app()
        Holdall(app)
        seen: list[str] = []

        def look(place: str) -> str:
            assert get_current_session() is own_session()
            seen.append(place)
            return "done"

        def after(response: Response) -> Response:
            look("after")
            return response

        def teardown(error: BaseException | None) -> None:
            look("teardown")

        page = Blueprint("page", __name__)
        page.before_request(lambda: look("blueprint") and None)
        page.add_url_rule("/", "index", lambda: look("view"))
        app.before_request(lambda: look("before") and None)
        app.after_request(after)
        app.teardown_request(teardown)
        app.register_blueprint(page, url_prefix="/page")
        assert nobody_is_here()
        assert app.test_client().get("/page/").text == "done"
        assert seen == ["before", "blueprint", "view", "after", "teardown"]
        assert nobody_is_here()

    @pytest.mark.parametrize("size", SIZES)
    def test_set(self, site: Site, size: int) -> None:
        """The session that was made the current one is the one that is saved."""
        other = site.app.test_client()

        def keep(session: FlaskSession) -> str | None:
            session["pad"] = big(size)
            session.save(persist_even_if_using_cookie=True)
            return session.sid

        sid = site.request(keep)

        def act(session: FlaskSession) -> None:
            drive = site.app.session_interface.made(site.app).drive  # type: ignore[attr-defined]
            opened = site.holdall.manager.open_sid(sid, drive=drive).session
            opened["by"] = "sid"
            session["lost"] = True
            set_current_session(opened)

        site.request(act, other)
        assert site.read()["by"] == "sid"
        assert site.read(other) == site.read()

    def test_nested(self, site: Site) -> None:
        """A request within a request has a session of its own and gives back the outer one."""
        inner = Site()

        def act(session: FlaskSession) -> None:
            session["who"] = "outer"
            inner.request(put(who="inner"))
            assert get_current_session() is session
            with inner.client.session_transaction() as other:
                assert other["who"] == "inner"
                other["in"] = "transaction"
            assert get_current_session() is session
            site.app.test_client().get("/page")
            with site.app.test_request_context():
                assert get_current_session() is own_session()
                assert get_current_session() is not session
            assert get_current_session() is session

        site.request(act)
        assert site.read() == {"who": "outer"}
        assert inner.read() == {"who": "inner", "in": "transaction"}
        assert nobody_is_here()

    def test_same_environ(self, site: Site) -> None:
        """An application that hands its own environ to another one keeps its session apart from the other's."""
        other = Site({"SESSION_COOKIE_NAME": "other"})
        other._act = put(who="other")

        def act(session: FlaskSession) -> None:
            session["who"] = "site"
            inner.append(Response.from_app(other.app, flask.request.environ))
            assert get_current_session() is session

        inner: list[Any] = []
        site.request(act)
        assert site.read() == {"who": "site"}
        assert inner[0].headers["Set-Cookie"].startswith("other=")

    def test_without_a_key(self, site: Site) -> None:
        """Within a request that can have no session there is no current one, not even that of a request around it."""
        unkeyed = make_app(SECRET_KEY=None)
        Holdall(unkeyed)
        unkeyed.add_url_rule("/", "index", lambda: str(nobody_is_here()))
        assert site.request(lambda session: unkeyed.test_client().get("/").text) == "True"

    def test_threads(self, site: Site) -> None:
        """Requests that overlap in threads each have their own session."""
        barrier = threading.Barrier(4, timeout=60)
        found: list[bool] = []

        def index(who: str) -> str:
            flask.session["who"] = who
            barrier.wait()
            found.append(get_current_session()["who"] == who == flask.session["who"])
            barrier.wait()
            return "done"

        site.app.add_url_rule("/<who>/here", "here", index)
        clients = [site.app.test_client() for _ in range(4)]
        threads = [
            threading.Thread(target=lambda number=number, client=client: client.get(f"/{number}/here"))
            for number, client in enumerate(clients)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
        assert found == [True] * 4
        assert [site.read(client)["who"] for client in clients] == ["0", "1", "2", "3"]

    @pytest.mark.parametrize("size", SIZES)
    def test_async_view(self, site: Site, size: int) -> None:
        """An async view reads and writes its session as any other does."""

        async def index() -> str:
            await asyncio.sleep(0)
            flask.session["n"] = flask.session.get("n", 0) + 1
            flask.session["pad"] = big(size)
            await asyncio.sleep(0)
            return str(get_current_session()["n"])

        page = site.app.ensure_sync(index)
        assert [site.visit(page).text for _ in range(3)] == ["1", "2", "3"]
        assert nobody_is_here()


class TestTransaction:
    """`client.session_transaction()`, as Flask's page on testing has it."""

    @pytest.mark.parametrize("size", SIZES)
    def test_before_and_after(self, site: Site, size: int) -> None:
        """It puts a session there before a request, and shows what the request made of it, whatever the size."""
        with site.client.session_transaction() as session:
            session["user"] = 1
            session["pad"] = big(size)
        assert site.request(lambda session: (session["user"], session.incr("user"))) == (1, 2)
        with site.client.session_transaction() as session:
            assert session["user"] == 2
        assert nobody_is_here()

    def test_secure(self) -> None:
        """Flask's test client returns Secure cookies over plain http, so tests need no setting of their own."""
        site = Site({"SESSION_COOKIE_SECURE": True})
        with site.client.session_transaction() as session:
            session["a"] = 1
        assert value_of(site.client, "__Host-session")
        assert site.read() == {"a": 1}

    def test_without_a_key(self) -> None:
        """Without a key it says so, as Flask does."""
        app = make_app(SECRET_KEY=None)
        Holdall(app)
        with pytest.raises(RuntimeError, match="did not open a session"), app.test_client().session_transaction():
            pass


class TestUnkeyed:
    """Without a key."""

    @pytest.mark.parametrize(
        "write",
        [
            lambda session: session.update(a=1),
            lambda session: session.__setitem__("a", 1),
            lambda session: session.pop("a"),
            lambda session: session.incr("a"),
            lambda session: session.start(),
            lambda session: setattr(session, "permanent", True),
        ],
    )
    def test_explains_itself(self, write: Callable[[Any], Any]) -> None:
        """The session can be read, and writing says which setting is missing and how a key is made."""
        app = make_app(SECRET_KEY=None)
        Holdall(app)
        with app.test_request_context():
            assert flask.session.get("a") is None
            assert dict(flask.session) == {}
            with pytest.raises(RuntimeError, match=r"session is unavailable.*SECRET_KEY.*generate_key"):
                write(flask.session)

    def test_nothing_is_sent(self) -> None:
        """A page that only reads works, and sends nothing."""
        app = make_app(SECRET_KEY=None)
        Holdall(app)
        app.add_url_rule("/", "index", lambda: str(flask.session.get("a")))
        response = app.test_client().get("/")
        assert (response.text, cookies_of(response)) == ("None", [])


class TestStores:
    """Where sessions go that are too big for the cookie."""

    def test_instance_folder(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """By default in SQLite in the instance folder, which is made when it is first needed."""
        monkeypatch.delenv("HOLDALL_SQLITE", raising=False)
        folder = tmp_path / "deep" / "instance"
        app = Flask("site", instance_path=str(folder))
        app.config.update(TESTING=True, SECRET_KEY=KEY)
        holdall = Holdall(app)
        app.add_url_rule("/<int:size>", "index", lambda size: (flask.session.update(pad=big(size)), "done")[1])
        app.add_url_rule("/", "read", lambda: str(len(flask.session["pad"])))
        client = app.test_client()
        client.get("/10")
        assert client.get("/").text == "10"
        assert not folder.exists()
        client.get("/20000")
        assert client.get("/").text == "20000"
        assert (folder / "holdall.sqlite3").exists()
        with app.app_context():
            stores = holdall.stores
            assert isinstance(stores, Stores)
            assert delete_expired_sessions(stores) is True
            stores.close()

    def test_holdall_sqlite(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """The environment variable HOLDALL_SQLITE names another file, and then no folder is made."""
        monkeypatch.setenv("HOLDALL_SQLITE", str(tmp_path / "sessions.db"))
        app = Flask("site", instance_path=str(tmp_path / "instance"))
        app.config.update(TESTING=True, SECRET_KEY=KEY)
        holdall = Holdall(app)
        app.add_url_rule("/", "index", lambda: (flask.session.update(pad=big()), "done")[1])
        app.test_client().get("/")
        assert (tmp_path / "sessions.db").exists()
        assert not (tmp_path / "instance").exists()
        with app.app_context():
            holdall.stores.close()  # type: ignore[attr-defined]

    def test_folder_that_cannot_be_made(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """An instance folder that cannot be made is explained, with what to do."""
        monkeypatch.delenv("HOLDALL_SQLITE", raising=False)
        (tmp_path / "file").touch()
        app = Flask("site", instance_path=str(tmp_path / "file" / "instance"))
        app.config.update(TESTING=True, SECRET_KEY=KEY)
        Holdall(app)
        app.add_url_rule("/", "index", lambda: (flask.session.update(pad=big()), "done")[1])
        with pytest.raises(UsageError, match=r"instance folder .* cannot be made .* HOLDALL_DURABLE"):
            app.test_client().get("/")

    @pytest.mark.memcached
    @pytest.mark.parametrize("size", [10, 20_000, 300_000])
    def test_urls(self, size: int, memcached: MemcachedServer, tmp_path: Path) -> None:
        """HOLDALL_CACHE and HOLDALL_DURABLE name the stores; a session outlives the cache, and a logout is one."""
        app = make_app(
            HOLDALL_CACHE=f"memcached://{memcached.address}", HOLDALL_DURABLE=f"sqlite:///{tmp_path / 'sessions.db'}"
        )
        site = Site(app=app, stores=None, clock=time.time)
        site.stores = RecordingStores(time.time)  # asked nothing; `Site` only clears what it recorded
        stored_before = int(memcached.stat("total_items"))  # what was flushed still counts as there for a while
        site.request(put(pad=big(size), n=0))
        for n in range(1, 3):
            assert site.request(lambda session: session.incr("n")) == n
        assert (int(memcached.stat("total_items")) > stored_before) is (size > 4000)
        memcached.ask("flush_all")
        assert site.read() == {"pad": big(size), "n": 2}
        thief = site.app.test_client()
        for name in ("session", "session-ref"):
            if (value := value_of(site.client, name)) is not None:
                thief.set_cookie(name, value)
        site.request(lambda session: session.terminate())
        assert site.read() == {}
        assert site.read(thief) == ({} if size > 4000 else {"pad": big(size), "n": 2})
        assert site.stores.commands == []
        with app.app_context():
            site.holdall.stores.close()  # type: ignore[attr-defined]

    @pytest.mark.parametrize(
        ("config", "options", "message"),
        [
            ({"HOLDALL_NO_DATASTORE": True}, {}, "set HOLDALL_CACHE"),
            ({"HOLDALL_NO_DATASTORE": True, "HOLDALL_DURABLE": "memory://"}, {}, "set HOLDALL_CACHE"),
            ({"HOLDALL_CACHE": "memory://"}, {}, "set HOLDALL_DURABLE as well"),
            ({}, {"stores": Stores(cache=Memory())}, "set HOLDALL_DURABLE as well"),
            ({"HOLDALL_DURABLE": "nonsense://"}, {}, "HOLDALL_DURABLE: durable: use a URL"),
        ],
    )
    def test_refused(self, config: dict[str, Any], options: dict[str, Any], message: str) -> None:
        """Stores that do not go with the settings are refused."""
        app = make_app(**config)
        holdall = Holdall(app, **options)
        with app.app_context(), pytest.raises(UsageError, match=message):
            assert holdall.manager

    def test_memory_alone(self) -> None:
        """With HOLDALL_NO_DATASTORE a cache alone will do."""
        app = make_app(HOLDALL_CACHE="memory://", HOLDALL_NO_DATASTORE=True)
        site = Site(app=app, stores=None, clock=time.time)
        site.stores = RecordingStores(time.time)
        site.request(put(pad=big()))
        assert site.read() == {"pad": big()}

    def test_stores_are_kept(self) -> None:
        """A change of other settings keeps the stores; another URL is another store."""
        app = make_app(HOLDALL_DURABLE="memory://")
        holdall = Holdall(app)
        with app.app_context():
            first = holdall.stores
            app.config["SESSION_COOKIE_SAMESITE"] = "Strict"
            assert holdall.stores is first
            app.config["HOLDALL_DURABLE"] = "memory://?max_bytes=1000"
            assert holdall.stores is not first


class TestSubclass:
    """A session interface of one's own."""

    def test_cookie_name_by_request(self) -> None:
        """`get_cookie_name` may depend on the request, as Flask documents it."""

        class ByPath(HoldallInterface):
            def get_cookie_name(self, app: Flask) -> str:
                return "admin" if flask.request.path.startswith("/admin") else "visitor"

        site = Site()
        site.app.session_interface = ByPath(stores=site.stores)
        site.app.add_url_rule("/admin", "admin", lambda: str(flask.session.setdefault("who", "admin")))
        site.app.add_url_rule("/visitor", "visitor", lambda: str(flask.session.setdefault("who", "visitor")))
        for _ in range(2):
            assert site.client.get("/admin").text == "admin"
            assert site.client.get("/visitor").text == "visitor"
        assert value_of(site.client, "admin")
        assert value_of(site.client, "visitor")

    def test_replaced(self) -> None:
        """Where something else replaced the session interface, asking for the manager says so."""
        site = Site()
        site.app.session_interface = SecureCookieSessionInterface()
        with site.app.app_context(), pytest.raises(UsageError, match="let nothing replace it"):
            assert site.holdall.manager
        site.app.add_url_rule("/theirs", "theirs", lambda: (flask.session.update(a=1), str(nobody_is_here()))[1])
        assert site.client.get("/theirs").text == "True"


def test_nothing_is_left_behind(site: Site) -> None:
    """When a request is over, nothing holds on to its session any more."""
    alive: list[weakref.ref[Session]] = []

    def act(session: FlaskSession) -> None:
        alive.append(weakref.ref(session))
        session["pad"] = big()

    site.request(act)
    del site.response
    gc.collect()
    assert [each() for each in alive] == [None]


def test_copied_context(site: Site) -> None:
    """A function that took the request's context along to a thread sees the session of the request."""
    found: list[Any] = []

    def act(session: FlaskSession) -> None:
        session["a"] = 1
        work = flask.copy_current_request_context(lambda: found.append(flask.session["a"]))
        thread = threading.Thread(target=work)
        thread.start()
        thread.join(60)
        assert get_current_session() is session

    site.request(act)
    assert found == [1]
    assert site.read() == {"a": 1}


def test_logs_no_secrets(site: Site, caplog: pytest.LogCaptureFixture) -> None:
    """Neither values nor tokens are logged at any level."""
    with caplog.at_level(logging.DEBUG):
        site.request(put(secret="hunter2", pad=big()))
        site.client.set_cookie("session", "forged")
        site.read()
    assert site.stores.snapshot(Tier.DURABLE)
    token = value_of(site.client, "session-ref") or ""
    assert not any("hunter2" in record.getMessage() or token in record.getMessage() for record in caplog.records)
