"""Moving in from Flask's own sessions: its signed cookie, made by a real Flask application, before and after."""

import time
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import flask
import pytest
from flask import Flask, session
from flask.sessions import SecureCookieSessionInterface
from holdall import CookieOptions, UsageError, generate_key
from holdall.testing import FakeClock
from holdall_flask import FlaskSessions
from itsdangerous import URLSafeTimedSerializer
from markupsafe import Markup

from tests.flask.support import KEY, Site, cookies_of, make_app, value_of
from tests.flask.test_flask_login import add_login, see

pytestmark = pytest.mark.filterwarnings("ignore:datetime.datetime.utcnow:DeprecationWarning")

NOW = datetime.now(UTC)
VALUES: dict[str, Any] = {
    "user": "ada",
    "tags": ("a", "b"),
    "since": datetime(2026, 1, 2, tzinfo=UTC),
    "id": UUID(int=7),
    "raw": b"\0\xff",
    "page": Markup("<b>"),
    "cart": [{"sku": 1}],
}


class Past:
    """An application with Flask's own sessions, and what a browser has of it."""

    def __init__(self, values: dict[str, Any] | None = None, **config: Any) -> None:
        self.app = make_app(**config)
        self.app.add_url_rule("/", view_func=lambda: (session.update(VALUES if values is None else values), "set")[1])
        add_login(self.app)
        self.client = self.app.test_client()

    def visit(self, page: str = "/") -> str:
        assert self.client.get(page).status_code == 200
        cookie = value_of(self.client, "session")
        assert cookie is not None
        return cookie


def moved(cookie: str, config: dict[str, Any] | None = None, *, keep: bool = False, **options: Any) -> Site:
    """Return the same site with Holdall, and a browser that comes with a cookie from before."""
    until = options.pop("until", NOW + timedelta(days=30))
    options.setdefault("clock", FakeClock(time.time()))  # not before the cookie was made
    settings = {"HOLDALL_MOVING_IN": FlaskSessions(until=until, keep=keep), **(config or {})}
    site = Site(settings, **options)
    add_login(site.app)
    site.client.set_cookie("session", cookie)
    return site


def write(own: Any) -> None:
    own["n"] = own.get("n", 0) + 1


def test_values() -> None:
    """Everything that Flask keeps comes back equal and of the same type, and nothing is written for being read."""
    site = moved(Past().visit())

    assert site.request(dict) == VALUES
    assert {key: type(value) for key, value in site.request(dict).items()} == {k: type(v) for k, v in VALUES.items()}
    assert cookies_of(site.response) == []
    assert site.response.headers["Vary"] == "Cookie"


def test_moves_at_the_first_write() -> None:
    """At the first write one cookie of Holdall's takes the place of Flask's, under the name that both have."""
    site = moved(Past().visit())
    site.request(write)

    assert [cookie.partition("=")[0] for cookie in cookies_of(site.response)] == ["session"]
    assert site.request(dict) == {**VALUES, "n": 1}


def test_other_name() -> None:
    """Where Holdall's cookie has a name of its own, Flask's is deleted."""
    site = moved(Past().visit(), {"HOLDALL_COOKIE": CookieOptions(name="holdall", secure=False)})
    site.request(write)

    assert value_of(site.client, "session") is None
    assert site.request(dict) == {**VALUES, "n": 1}


def test_still_logged_in() -> None:
    """Who was logged in by Flask-Login still is; the login moves in bound, is listed, and can be logged out."""
    past = Past()
    cookie = past.visit("/login/ada")
    site = moved(cookie)

    assert see(site.client, "/members") == (200, "hello ada")
    site.request(write)
    with site.app.app_context():
        assert len(site.holdall.sessions_of("ada")) == 1
    assert see(site.client, "/members") == (200, "hello ada")
    see(site.client, "/logout")
    assert see(site.client, "/members")[0] == 401
    site.client.set_cookie("session", cookie)  # copied before
    site.clock.advance(61)
    assert see(site.client, "/members")[0] == 401


@pytest.mark.parametrize("moves_first", [False, True])
def test_revoked(moves_first: bool) -> None:
    """`revoke` ends an old login, whether it has moved in or not."""
    site = moved(Past().visit("/login/ada"))
    if moves_first:
        site.request(write)

    with site.app.app_context():
        site.holdall.revoke("ada")
    assert see(site.client, "/members")[0] == 401


def test_logout_before_the_move() -> None:
    """A logout as the first thing that happens ends the old session for good, also for its copied cookie."""
    cookie = Past().visit("/login/ada")
    site = moved(cookie)
    see(site.client, "/logout")

    site.client.set_cookie("session", cookie)
    assert see(site.client, "/members")[0] == 401


def test_permanent_sessions_slide_in() -> None:
    """A permanent session moves in when it is touched, as Flask sends its cookie with every response."""
    app_values = {"_permanent": True, **VALUES}
    site = moved(Past(app_values).visit())
    site.request(dict)

    assert "Max-Age=2678400" in cookies_of(site.response)[0]
    assert site.request(dict) == app_values


def test_compressed() -> None:
    """A cookie that Flask has compressed is read."""
    values = {"text": "holdall " * 1000}
    cookie = Past(values).visit()
    assert cookie.startswith(".")

    assert moved(cookie).request(dict) == values


@pytest.mark.requirement(39)
def test_bomb() -> None:
    """What would be over a megabyte once inflated is no session."""
    cookie = signer().dumps({"text": "x" * 1_000_001})
    assert len(cookie) < 4096

    assert moved(cookie).request(dict) == {}


def test_fallback_keys() -> None:
    """A cookie signed with a key that Flask's settings still name is read; with another key it is not."""
    old_key = generate_key()
    cookie = Past(SECRET_KEY=old_key).visit()

    assert moved(cookie, {"SECRET_KEY_FALLBACKS": [old_key]}).request(dict) == VALUES
    assert moved(cookie).request(dict) == {}


def test_end_date() -> None:
    """From the end date on no cookie of Flask's is read."""
    cookie = Past().visit()

    site = moved(cookie, until=NOW + timedelta(days=1))
    assert site.request(dict) == VALUES
    site.clock.advance(86_400)
    assert site.request(dict) == {}


@pytest.mark.requirement(39)
def test_too_old() -> None:
    """A cookie older than PERMANENT_SESSION_LIFETIME is no session, as with Flask; nor is one from the future."""
    cookie = Past().visit()

    assert moved(cookie, clock=FakeClock(time.time() + 31 * 86_400 + 2)).request(dict) == {}
    assert moved(cookie, clock=FakeClock(time.time() - 3600)).request(dict) == {}


@pytest.mark.requirement(40)
def test_other_spellings() -> None:
    """A signature spelled otherwise does not make another session of one that has moved in."""
    cookie = Past().visit()
    site = moved(cookie)
    site.request(write)
    site.clock.advance(61)

    for spelling in (cookie, cookie + "=", cookie[:-1] + chr(ord(cookie[-1]) + 1)):
        site.client.set_cookie("session", spelling)
        assert site.request(dict) == {}


@pytest.mark.requirement(39)
def test_foreign_cookies() -> None:
    """Whatever stands under the name without a signature of Flask's sessions is no session and no error."""
    good = Past().visit()
    other_salt = URLSafeTimedSerializer(KEY, salt="other", signer_kwargs={"key_derivation": "hmac"}).dumps(
        {"user": "ada"}
    )
    for cookie in ("", ".", "..", "a.b.c", good[:-1], good[1:], "x" * 4000, "é", other_salt, signer().dumps([1])):
        site = moved(cookie)
        assert site.request(dict) == {}, cookie
        assert cookies_of(site.response) == []


def test_keep_for_a_way_back() -> None:
    """With `keep` the old application still knows its session after the move; a logout ends both."""
    past = Past()
    cookie = past.visit("/login/ada")
    site = moved(cookie, {"HOLDALL_COOKIE": CookieOptions(name="holdall", secure=False)}, keep=True)
    site.request(write)

    assert value_of(site.client, "session") == cookie
    assert see(site.client, "/members") == (200, "hello ada")
    see(site.client, "/logout")
    assert value_of(site.client, "session") is None
    assert see(site.client, "/members")[0] == 401


def test_keep_needs_a_name() -> None:
    """`keep` is refused where both cookies have the same name."""
    site = moved(Past().visit(), keep=True)

    with pytest.raises(UsageError, match="HOLDALL_MOVING_IN: moving_in with keep=True"):
        site.request(dict)


def test_own_interface() -> None:
    """An application that had an interface of its own names it."""

    class Salted(SecureCookieSessionInterface):
        salt = "ours"

    past = Past()
    past.app.session_interface = Salted()
    cookie = past.visit()

    assert moved(cookie).request(dict) == {}
    reader = FlaskSessions(until=NOW + timedelta(days=1), interface=Salted())
    assert moved(cookie, {"HOLDALL_MOVING_IN": reader}).request(dict) == VALUES


def signer() -> URLSafeTimedSerializer:
    made = SecureCookieSessionInterface().get_signing_serializer(Flask_with_key())
    assert made is not None
    return made


def Flask_with_key() -> Flask:
    app = flask.Flask("other")
    app.secret_key = KEY
    return app
