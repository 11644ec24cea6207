"""`Holdall`, the extension: applications that get it, and what becomes of a store that is down."""

import gc
import logging
import weakref
from collections.abc import Callable
from typing import Any

import flask
import pytest
from flask import Blueprint, Flask, Response
from flask.sessions import SecureCookieSessionInterface
from holdall import SessionUnavailable, Tier, UsageError
from holdall.testing import FakeClock, RecordingStores
from holdall_flask import FlaskSession, Holdall, HoldallInterface

from tests.core.support import OTHER_KEY, big, put
from tests.flask.support import KEY, Site, cookies_of, make_app, own_session, value_of


@pytest.fixture
def site() -> Site:
    return Site()


class TestInit:
    """The usual pattern of Flask's extensions."""

    def test_factory(self) -> None:
        """One `Holdall` serves any number of applications from a factory, each with its own key and cookie."""
        holdall = Holdall()

        def create_app(key: str, name: str) -> Flask:
            app = make_app(SECRET_KEY=key, SESSION_COOKIE_NAME=name)
            holdall.init_app(app)
            app.add_url_rule("/<who>", "index", lambda who: str(flask.session.setdefault("who", who)))
            return app

        first, second = create_app(KEY, "first"), create_app(OTHER_KEY, "second")
        clients = first.test_client(), second.test_client()
        for who, client, name in zip("ab", clients, ("first", "second"), strict=True):
            assert client.get(f"/{who}").text == who
            assert client.get("/other").text == who
            assert value_of(client, name)
        for app in (first, second):
            with app.app_context():
                assert holdall.manager.cookie.name == app.config["SESSION_COOKIE_NAME"]
        assert first.extensions["holdall"] is second.extensions["holdall"] is holdall

    def test_shared_session(self) -> None:
        """Two applications with the same key, cookie, audience and stores share their sessions."""
        clock = FakeClock()
        stores = RecordingStores(clock)
        one, two = (Site(clock=clock, stores=stores) for _ in range(2))
        one.request(put(a=1, pad=big()))
        two.client.set_cookie("session-ref", value_of(one.client, "session-ref") or "")
        assert two.read()["a"] == 1
        two.request(lambda session: session.terminate())
        assert one.read() == {}

    def test_twice(self, site: Site) -> None:
        """An application gets its Holdall once."""
        with pytest.raises(UsageError, match="has its Holdall already"):
            Holdall(site.app)

    def test_no_application(self) -> None:
        """What is no Flask application is refused by name."""
        with pytest.raises(UsageError, match=r"must be a flask\.Flask"):
            Holdall("shop")  # type: ignore[arg-type]

    def test_blueprints(self) -> None:
        """Views of blueprints share the application's session."""
        app = make_app()
        Holdall(app)
        for name in ("shop", "forum"):
            page = Blueprint(name, __name__, url_prefix=f"/{name}")
            page.add_url_rule("/", "index", lambda: f"{flask.session.setdefault('n', 0)}{flask.request.blueprint}")
            app.register_blueprint(page)
        client = app.test_client()
        assert [client.get("/shop/").text, client.get("/forum/").text] == ["0shop", "0forum"]

    def test_replaces_only_its_own(self) -> None:
        """Other applications of the process keep Flask's sessions."""
        Holdall(make_app())
        other = make_app()
        assert type(other.session_interface) is SecureCookieSessionInterface
        assert "handle_exception" not in vars(other)

    def test_is_freed(self) -> None:
        """An application with Holdall is freed as soon as nobody holds it, as Flask sees to it."""
        app = make_app()
        Holdall(app)
        app.add_url_rule("/", "index", lambda: (flask.session.update(a=1), "done")[1])
        app.test_client().get("/")
        alive = weakref.ref(app)
        gc.collect()
        gc.disable()
        try:
            del app
            assert alive() is None
        finally:
            gc.enable()

    def test_without_an_application(self) -> None:
        """`manager` needs an application's context, and a key."""
        app = make_app(SECRET_KEY=None)
        holdall = Holdall(app)
        with pytest.raises(RuntimeError, match="application context"):
            assert holdall.manager
        with app.app_context(), pytest.raises(UsageError, match="set SECRET_KEY, or HOLDALL_KEY"):
            assert holdall.manager


def unavailable(site: Site) -> None:
    site.stores.down = {Tier.CACHE, Tier.DURABLE}


class TestUnavailable:
    """A session that can be neither read nor written becomes a 503, the cookie kept."""

    @pytest.fixture(params=["production", "testing", "debug"])
    def site(self, request: pytest.FixtureRequest) -> Site:
        """A site with a stored session, in each of Flask's modes."""
        site = Site({"TESTING": request.param == "testing", "DEBUG": request.param == "debug"})
        site.app.after_request(lambda response: self.after(response))
        self.after: Callable[[Response], Response] = lambda response: response
        site.request(put(a=1, pad=big()))
        return site

    def refused(self, site: Site, caplog: pytest.LogCaptureFixture) -> None:
        """Check that the last response refused, and that the session is there when the store is."""
        assert site.response.status_code == 503
        assert site.response.headers["Retry-After"] == "5"
        assert site.response.headers["Cache-Control"] == "no-store"
        assert site.response.headers["Vary"] == "Cookie"
        assert site.cookies == []
        assert "does not answer" in site.response.text
        (record,) = [record for record in caplog.records if record.name == "holdall.flask"]
        assert record.levelno == logging.ERROR
        site.stores.down = set()
        self.after = lambda response: response
        assert site.read()["a"] == 1

    def test_reading(self, site: Site, caplog: pytest.LogCaptureFixture) -> None:
        """A view that reads a session whose store is down."""
        unavailable(site)
        site.request(lambda session: session["a"])
        self.refused(site, caplog)

    def test_committing(self, site: Site, caplog: pytest.LogCaptureFixture) -> None:
        """A response whose session cannot be written is not sent: it is closed, and never says that it was saved."""
        closed: list[bool] = []

        def act(session: FlaskSession) -> Response:
            session["a"] = 2
            unavailable(site)
            response = Response("saved", headers={"Set-Cookie": "theme=dark"})
            response.call_on_close(lambda: closed.append(True))
            return response

        site.request(act)
        self.refused(site, caplog)
        assert closed == [True]

    def test_after_request(self, site: Site, caplog: pytest.LogCaptureFixture) -> None:
        """A function that runs after every request and touches the session, as Flask-Login's does."""

        def after(response: Response) -> Response:
            response.headers["X-User"] = str(flask.session.get("user"))
            return response

        self.after = after
        unavailable(site)
        site.visit()
        self.refused(site, caplog)

    def test_view_and_after_request(self, site: Site, caplog: pytest.LogCaptureFixture) -> None:
        """Both of them."""

        def after(response: Response) -> Response:
            flask.session.get("user")
            return response

        self.after = after
        unavailable(site)
        site.request(lambda session: session["a"])
        self.refused(site, caplog)

    def test_untouched(self, site: Site) -> None:
        """A page that leaves the session alone works as ever."""
        unavailable(site)
        assert site.visit().text == "untouched"

    def test_in_the_cookie(self, site: Site) -> None:
        """A session that is in the cookie works as ever."""
        client = site.app.test_client()
        unavailable(site)
        site.request(put(b=1), client)
        assert site.read(client) == {"b": 1}

    def test_view_that_gets_on(self, site: Site) -> None:
        """A view that catches the error may answer whatever it likes, and the session is not lost by that."""

        def act(session: FlaskSession) -> None:
            with pytest.raises(SessionUnavailable):
                session.get("a")

        site.request(lambda session: setattr(session, "permanent", True))
        unavailable(site)
        site.request(act)
        assert (site.response.text, site.cookies) == ("done", [])
        site.stores.down = set()
        assert site.read()["a"] == 1

    def test_transaction(self, site: Site) -> None:
        """In `session_transaction()` the error comes out, since there is no response to give."""
        unavailable(site)
        with pytest.raises(SessionUnavailable), site.client.session_transaction() as session:
            assert session["a"]


class TestHandlers:
    """An application's own handler of `SessionUnavailable` answers in its place."""

    @pytest.mark.parametrize("kind", [SessionUnavailable, Exception])
    @pytest.mark.parametrize("early", [True, False])
    @pytest.mark.parametrize("moment", ["read", "commit", "after"])
    def test_own_handler(self, kind: type[Exception], early: bool, moment: str) -> None:
        """Registered before or after Holdall, for the error or for all of them, wherever the error comes from."""
        app = make_app()

        def sorry(error: Exception) -> tuple[str, int]:
            assert isinstance(error, SessionUnavailable)
            return "back soon", 418

        if early:
            app.register_error_handler(kind, sorry)
        site = Site(app=app)
        if not early:
            app.register_error_handler(kind, sorry)
        if moment == "after":
            app.after_request(lambda response: (own_session().get("a"), response)[1])
        site.request(put(a=1, pad=big()))

        def act(session: FlaskSession) -> None:
            if moment == "commit":
                session["a"] = 2
            unavailable(site)
            if moment == "read":
                raise SessionUnavailable("the durable store does not answer")

        if moment == "after":
            unavailable(site)
            site.visit()
        else:
            site.request(act)
        assert (site.response.status_code, site.response.text, site.cookies) == (418, "back soon", [])
        assert site.response.headers["Vary"] == "Cookie"

    def test_blueprint(self) -> None:
        """A handler of the view's blueprint counts, also for what the commit raises."""
        app = make_app()
        clock = FakeClock()
        stores = RecordingStores(clock)
        Holdall(app, stores=stores, clock=clock)
        page = Blueprint("page", __name__)
        page.register_error_handler(SessionUnavailable, lambda error: ("the page is sorry", 503))

        @page.route("/")
        def index() -> str:
            flask.session["pad"] = big()
            stores.down = {Tier.DURABLE}
            return "saved"

        app.register_blueprint(page)
        response = app.test_client().get("/")
        assert (response.text, cookies_of(response)) == ("the page is sorry", [])

    def test_handler_that_touches_the_session(self) -> None:
        """A handler that touches the session as well is answered for."""
        app = make_app()
        app.register_error_handler(SessionUnavailable, lambda error: f"sorry, {flask.session['name']}")
        site = Site(app=app)
        site.request(put(pad=big()))
        unavailable(site)
        site.request(lambda session: session["a"])
        assert site.response.status_code == 503

    @pytest.mark.parametrize("patched", [True, False])
    def test_other_errors(self, patched: bool, caplog: pytest.LogCaptureFixture) -> None:
        """Every other error takes the way that it took before, also where another extension had changed it."""
        app = make_app(TESTING=False)
        if patched:
            vars(app)["handle_exception"] = lambda error: Response(f"caught {type(error).__name__}", 500)
        site = Site(app=app)

        def fail(session: FlaskSession) -> Any:
            raise ZeroDivisionError

        site.request(fail)
        assert site.response.status_code == 500
        assert ("caught ZeroDivisionError" in site.response.text) is patched
        assert any("Exception on /" in record.getMessage() for record in caplog.records) is not patched

    def test_signal_of_other_errors(self, site: Site) -> None:
        """`got_request_exception` is sent for other errors, as ever."""
        seen: list[Exception] = []

        def note(sender: Flask, exception: Exception, **_: Any) -> None:
            seen.append(exception)

        def fail(session: FlaskSession) -> Any:
            raise ZeroDivisionError

        with flask.got_request_exception.connected_to(note, site.app), pytest.raises(ZeroDivisionError):
            site.request(fail)
        assert [type(error) for error in seen] == [ZeroDivisionError]


def test_interface_is_one_per_application() -> None:
    """Applications do not share a session interface, so that none of them sees another's configuration."""
    holdall = Holdall()
    apps = [make_app(), make_app()]
    for app in apps:
        holdall.init_app(app)
    first, second = (app.session_interface for app in apps)
    assert isinstance(first, HoldallInterface)
    assert first is not second


def bind(session: FlaskSession) -> str | None:
    session.bind("ada", "a browser")
    return session.sid


@pytest.mark.parametrize("size", [10, 20_000])
def test_bound_sessions(size: int) -> None:
    """`sessions_of` lists the sessions bound to somebody, and `revoke` ends all but the one that asked, or one."""
    site = Site()
    mine, other = site.client, site.app.test_client()
    for client in (mine, other):
        site.request(put(pad=big(size)), client)
        site.request(bind, client)

    def log_out_the_others(session: FlaskSession) -> list[str | None]:
        labels = [bound.label for bound in site.holdall.sessions_of("ada")]
        site.holdall.revoke("ada", except_sid=session.sid)
        return labels

    assert site.request(log_out_the_others, mine) == ["a browser"] * 2
    assert site.read(mine) == {"pad": big(size)}
    assert site.read(other) == {}
    with site.app.app_context():
        (one,) = site.holdall.sessions_of("ada")
        site.holdall.revoke("ada", only="another")
        assert site.holdall.sessions_of("ada") == [one]
        site.holdall.revoke("ada", only=one.id)
    assert site.read(mine) == {}


def test_bound_and_empty() -> None:
    """A session that was begun by binding it stays, though nothing is in it."""
    site = Site()
    site.request(bind)
    assert site.request(lambda session: session.is_active())


def test_unkeyed_session_cannot_be_bound() -> None:
    """Without a key, binding says what is missing."""
    site = Site({"SECRET_KEY": None})
    session: Any
    with site.app.test_request_context():
        session = flask.session
        with pytest.raises(RuntimeError, match="SECRET_KEY"):
            session.bind("ada")
        with pytest.raises(UsageError, match="no key"):
            site.holdall.revoke("ada")
