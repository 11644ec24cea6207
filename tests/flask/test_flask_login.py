"""Flask-Login on Holdall's sessions: login, logout, remembering, session protection, and a new id at each login."""

import logging
from datetime import UTC, datetime
from typing import Any

import flask
import pytest
from flask import Flask
from flask.testing import FlaskClient
from flask_login import (  # type: ignore[import-untyped]
    LoginManager,
    UserMixin,
    confirm_login,
    current_user,
    login_required,
    login_user,
    logout_user,
)
from holdall import Tier

from tests.core.support import big, put
from tests.flask.support import Site, make_app, own_session, value_of

# Flask-Login 0.6 asks for the time in a way that Python 3.12 warns about.
pytestmark = pytest.mark.filterwarnings("ignore:datetime.datetime.utcnow:DeprecationWarning")

SIZES = [10, 20_000]


class User(UserMixin):  # type: ignore[misc]  # Flask-Login has no types
    """Somebody, by name."""

    def __init__(self, name: str) -> None:
        self.id = name


def site_with_login(**config: Any) -> Site:
    """Return a site with pages to log in, to log out, and for members only; LoginManager comes after Holdall."""
    app = make_app(**config)
    site = Site(app=app)
    add_login(app)
    return site


def add_login(app: Flask) -> None:
    login = LoginManager(app)
    login.user_loader(User)
    app.add_url_rule("/login/<name>", "login", lambda name: str(login_user(User(name))))
    app.add_url_rule("/remember/<name>", "remember", lambda name: str(login_user(User(name), remember=True)))
    app.add_url_rule("/confirm", "confirm", lambda: str(confirm_login()))
    app.add_url_rule("/logout", "logout", lambda: str(logout_user()))
    app.add_url_rule("/members", "members", login_required(lambda: f"hello {current_user.id}"))


def see(client: FlaskClient, page: str, **headers: str) -> tuple[int, str]:
    response = client.get(page, headers=headers, buffered=True)
    return response.status_code, response.text if response.status_code == 200 else ""


def copy_of(site: Site, client: FlaskClient | None = None) -> FlaskClient:
    """Return another client with a copy of the session's cookies."""
    thief = site.app.test_client()
    for name in ("session", "session-ref"):
        if (value := value_of(client or site.client, name)) is not None:
            thief.set_cookie(name, value)
    return thief


def listed(site: Site, principal: str) -> int:
    """Return how many sessions a principal has."""
    with site.app.app_context():
        return len(site.holdall.sessions_of(principal))


def revoke(site: Site, principal: str) -> None:
    with site.app.app_context():
        site.holdall.revoke(principal)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("protection", ["basic", "strong", None])
def test_login_and_logout(size: int, protection: str | None) -> None:
    """A user who has logged in is known until the logout, whatever else the session holds."""
    site = site_with_login(SESSION_PROTECTION=protection)
    site.request(put(pad=big(size)))
    assert see(site.client, "/members")[0] == 401
    see(site.client, "/login/ada")
    for _ in range(3):
        assert see(site.client, "/members") == (200, "hello ada")
    assert site.read()["pad"] == big(size)
    see(site.client, "/logout")
    assert see(site.client, "/members")[0] == 401


@pytest.mark.parametrize("early", [True, False])
def test_order_of_extensions(early: bool) -> None:
    """It does not matter which of the two extensions the application got first."""
    app = make_app()
    if early:
        add_login(app)
    site = Site(app=app)
    if not early:
        add_login(app)
    before = site.request(lambda session: (session.update(a=1), session.sid))[1]
    see(site.client, "/login/ada")
    assert see(site.client, "/members") == (200, "hello ada")
    assert site.request(lambda session: session.sid) != before


@pytest.mark.requirement(13)
@pytest.mark.parametrize("size", SIZES)
def test_new_id_at_login(size: int) -> None:
    """A login gives the session a new id, so that one planted before it is worth nothing (ASVS 7.2.4)."""
    site = site_with_login()
    site.request(put(pad=big(size)))
    planted = {name: value_of(site.client, name) for name in ("session", "session-ref")}
    before = site.request(lambda session: session.sid)
    see(site.client, "/login/ada")
    assert site.request(lambda session: (session.sid != before, session["pad"])) == (True, big(size))
    thief = site.app.test_client()
    for name, value in planted.items():
        if value is not None:
            thief.set_cookie(name, value)
    assert see(thief, "/members")[0] == 401
    if size > 4000:
        assert site.read(thief) == {}


def test_logout_ends_an_empty_session() -> None:
    """A session in which nothing is left after the logout ends, and its cookie is deleted."""
    site = site_with_login(HOLDALL_COOKIE_ONLY_THRESHOLD=0)
    see(site.client, "/login/ada")
    thief = site.app.test_client()
    thief.set_cookie("session-ref", value_of(site.client, "session-ref") or "")
    assert see(thief, "/members") == (200, "hello ada")
    see(site.client, "/logout")
    assert value_of(site.client, "session-ref") is None
    assert see(thief, "/members")[0] == 401


def test_remember() -> None:
    """The remember cookie, which is Flask-Login's own, survives beside the session's and brings the user back."""
    site = site_with_login()
    see(site.client, "/remember/ada")
    assert value_of(site.client, "remember_token")
    assert value_of(site.client, "session")
    site.client.delete_cookie("session")
    assert see(site.client, "/members") == (200, "hello ada")
    assert site.request(lambda session: session["_fresh"]) is False
    cookie = site.client.get_cookie("remember_token")
    assert cookie is not None
    assert cookie.expires is not None
    assert cookie.expires > datetime.now(UTC)
    see(site.client, "/logout")
    assert value_of(site.client, "remember_token") is None
    assert see(site.client, "/members")[0] == 401


def test_strong_protection() -> None:
    """With strong session protection a cookie in another browser logs nobody in."""
    site = site_with_login(SESSION_PROTECTION="strong")
    see(site.client, "/login/ada")
    assert see(site.client, "/members", **{"User-Agent": "another"})[0] == 401
    assert see(site.client, "/members")[0] == 401


def test_several_applications() -> None:
    """A login in one application leaves the session of another in the same process alone."""
    one, two = site_with_login(), site_with_login()
    two.request(put(a=1))
    before = two.request(lambda session: session.sid)
    see(one.client, "/login/ada")
    assert two.request(lambda session: session.sid) == before


def test_store_that_is_down(caplog: pytest.LogCaptureFixture) -> None:
    """Flask-Login looks into the session after every request: with the store down, each page is a 503 and no logout."""
    site = site_with_login(HOLDALL_COOKIE_ONLY_THRESHOLD=0, TESTING=False)
    see(site.client, "/login/ada")
    site.stores.down = {Tier.CACHE, Tier.DURABLE}
    with caplog.at_level(logging.CRITICAL):
        assert [see(site.client, page)[0] for page in ("/members", "/page")] == [503, 503]
    site.stores.down = set()
    assert see(site.client, "/members") == (200, "hello ada")


def test_without_a_session_of_ours() -> None:
    """A login where Holdall's sessions were replaced is none of its business."""
    site = site_with_login()
    site.visit(lambda: str(own_session().get("a")))
    site.app.session_interface = flask.sessions.SecureCookieSessionInterface()
    see(site.client, "/login/ada")
    assert see(site.client, "/members") == (200, "hello ada")


class TestBinding:
    """The session of a login is bound to the user, and a logout leaves a session that is nobody's."""

    @pytest.mark.parametrize("size", SIZES)
    def test_login_binds(self, size: int) -> None:
        """A login binds the session to the user's id: it is listed, and revoking ends it, whoever has its cookie."""
        site = site_with_login()
        site.request(put(pad=big(size)))
        see(site.client, "/login/ada")
        thief = copy_of(site)
        assert listed(site, "ada") == 1
        assert see(thief, "/members") == (200, "hello ada")
        revoke(site, "ada")
        assert [see(client, "/members")[0] for client in (site.client, thief)] == [401, 401]
        see(site.client, "/login/ada")
        assert see(site.client, "/members") == (200, "hello ada")

    @pytest.mark.parametrize("size", SIZES)
    @pytest.mark.parametrize("remembered", [False, True])
    def test_copied_cookie_after_logout(self, size: int, remembered: bool) -> None:
        """After a logout a copied cookie opens nothing; what the logout left goes on, bound to nobody."""
        site = site_with_login()
        site.request(put(pad=big(size)))
        see(site.client, "/remember/ada" if remembered else "/login/ada")
        thief = copy_of(site)
        before = site.request(lambda session: session.sid)
        see(site.client, "/logout")
        assert listed(site, "ada") == 0
        assert see(thief, "/members")[0] == 401
        assert site.read(thief) == {}
        assert site.request(lambda session: (session.sid != before, dict(session))) == (True, {"pad": big(size)})
        revoke(site, "ada")
        site.clock.advance(61)
        assert site.read()["pad"] == big(size)

    def test_logout_of_nobody(self) -> None:
        """A logout where there is no session begins none."""
        site = site_with_login()
        see(site.client, "/logout")
        assert value_of(site.client, "session") is None
        assert site.stores.commands == []

    @pytest.mark.parametrize("end", [0, 5000])
    def test_logout_keeps_the_end(self, end: int) -> None:
        """What goes on after a logout ends when it did: with the browser, or at a time of its own; ssl_only stays."""
        site = site_with_login()
        until = end and int(site.clock()) + end

        def begin(session: Any) -> None:
            session.start(until, ssl_only=True)
            session["cart"] = 1

        site.request(begin, base_url="https://localhost")
        for page in ("/login/ada", "/logout"):
            site.client.get(page, base_url="https://localhost")
        seen = site.request(
            lambda session: (dict(session), session.get_expiration(), session.is_ssl_only()),
            base_url="https://localhost",
        )
        assert seen == ({"cart": 1}, until, True)

    def test_logout_of_a_permanent_session(self) -> None:
        """A permanent session goes on as one after a logout, for its lifetime from then."""
        site = site_with_login(PERMANENT_SESSION_LIFETIME=1000)
        site.request(put(cart=1, _permanent=True))
        see(site.client, "/login/ada")
        site.clock.advance(500)
        see(site.client, "/logout")
        assert site.request(lambda session: (session["cart"], session.permanent)) == (1, True)
        assert site.request(lambda session: session.get_expiration()) == site.clock() + 1000

    @pytest.mark.parametrize("size", SIZES)
    def test_another_user_over_the_first(self, size: int) -> None:
        """Another user's login over the first's makes the session the other's, under a new id."""
        site = site_with_login()
        site.request(put(pad=big(size)))
        see(site.client, "/login/ada")
        thief = copy_of(site)
        see(site.client, "/login/bob")
        assert (listed(site, "ada"), listed(site, "bob")) == (0, 1)
        assert see(site.client, "/members") == (200, "hello bob")
        assert see(thief, "/members")[0] == 401
        revoke(site, "ada")
        assert see(site.client, "/members") == (200, "hello bob")

    def test_two_users_in_one_request(self) -> None:
        """Of two users who are logged in by the request that begins the session, it is the second's."""
        site = site_with_login()

        def act(session: Any) -> None:
            login_user(User("ada"))
            session["seen"] = 1
            login_user(User("bob"))

        site.request(act)
        assert (listed(site, "ada"), listed(site, "bob")) == (0, 1)
        assert site.read()["seen"] == 1

    @pytest.mark.parametrize("page", ["/login/ada", "/confirm"])
    def test_fresh_login(self, page: str) -> None:
        """A user who logs in once more, or is confirmed, has a new id, and the same session in the list."""
        site = site_with_login()
        see(site.client, "/login/ada")
        with site.app.app_context():
            (before,) = site.holdall.sessions_of("ada")
        old = site.request(lambda session: session.sid)
        see(site.client, page)
        with site.app.app_context():
            (after,) = site.holdall.sessions_of("ada")
        assert after.id == before.id
        assert site.request(lambda session: session.sid) != old
        assert see(site.client, "/members") == (200, "hello ada")

    def test_confirmed_without_a_session(self) -> None:
        """Confirming who was not logged in by a session binds nothing."""
        site = site_with_login()
        site.request(put(cart=1))
        before = site.request(lambda session: session.sid)
        see(site.client, "/confirm")
        assert site.request(lambda session: (session.sid == before, session["_fresh"])) == (True, True)

    def test_remembered_user(self) -> None:
        """A user whom the remember cookie brings back has a bound session, under a new id."""
        site = site_with_login()
        see(site.client, "/remember/ada")
        site.client.delete_cookie("session")
        site.request(put(cart=1))  # Flask-Login looks for its user only where a page asks for one
        before = site.request(lambda session: session.sid)
        assert see(site.client, "/members") == (200, "hello ada")
        assert site.request(lambda session: (session.sid != before, session["cart"])) == (True, 1)
        assert listed(site, "ada") == 2
        thief = copy_of(site)
        revoke(site, "ada")
        assert see(thief, "/members")[0] == 401

    @pytest.mark.parametrize("size", SIZES)
    def test_where_nothing_can_be_bound(self, size: int) -> None:
        """With HOLDALL_REVOCATION_CHECK False, logins and logouts go on unbound; a stored session's copy ends."""
        site = site_with_login(HOLDALL_REVOCATION_CHECK=False)
        site.request(put(pad=big(size)))
        see(site.client, "/login/ada")
        thief = copy_of(site)
        assert see(thief, "/members") == (200, "hello ada")
        see(site.client, "/logout")
        assert see(site.client, "/members")[0] == 401
        assert see(thief, "/members")[0] == (401 if size > 4000 else 200)
        assert site.read()["pad"] == big(size)

    def test_without_a_durable_store(self) -> None:
        """With HOLDALL_NO_DATASTORE nothing is bound, and logins go on."""
        site = site_with_login(HOLDALL_NO_DATASTORE=True)
        site.request(put(pad=big()))
        see(site.client, "/login/ada")
        assert see(site.client, "/members") == (200, "hello ada")
        see(site.client, "/logout")
        assert site.read() == {"pad": big()}

    def test_label(self) -> None:
        """An application may say more of the session that was bound at the login."""
        site = site_with_login()

        def act(session: Any) -> None:
            login_user(User("ada"))
            session.bind("ada", "a browser on a desk")

        site.request(act)
        with site.app.app_context():
            assert [bound.label for bound in site.holdall.sessions_of("ada")] == ["a browser on a desk"]

    def test_store_that_is_down_at_login_and_logout(self, caplog: pytest.LogCaptureFixture) -> None:
        """A login that cannot be listed, and a logout that nobody could be told of, are a 503; nothing has changed."""
        site = site_with_login(TESTING=False)
        with caplog.at_level(logging.CRITICAL):
            site.stores.down = {Tier.DURABLE}
            assert see(site.client, "/login/ada")[0] == 503
            site.stores.down = set()
            assert see(site.client, "/members")[0] == 401
            see(site.client, "/login/ada")
            site.stores.down = {Tier.DURABLE}
            assert see(site.client, "/logout")[0] == 503
            site.stores.down = set()
        assert see(site.client, "/members") == (200, "hello ada")
