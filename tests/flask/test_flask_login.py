"""Flask-Login on Holdall's sessions: login, logout, remembering, session protection, and a new id at each login."""

import logging
from datetime import UTC, datetime
from typing import Any

import flask
import pytest
from flask import Flask
from flask.testing import FlaskClient
from flask_login import LoginManager, UserMixin, current_user, login_required, login_user, logout_user  # type: ignore[import-untyped]
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
    app.add_url_rule("/logout", "logout", lambda: str(logout_user()))
    app.add_url_rule("/members", "members", login_required(lambda: f"hello {current_user.id}"))


def see(client: FlaskClient, page: str, **headers: str) -> tuple[int, str]:
    response = client.get(page, headers=headers, buffered=True)
    return response.status_code, response.text if response.status_code == 200 else ""


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
