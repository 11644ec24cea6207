"""`settings`: which setting of Flask and of Holdall becomes which argument, and what is refused."""

import logging
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from flask import Flask
from holdall import CookieOptions, Session, SessionManager, UsageError, stretch_key
from holdall.testing import FakeClock
from holdall_flask import FlaskSession, Holdall
from holdall_flask.settings import FLASK, SETTINGS, secret_keys

from tests.core.support import OTHER_KEY, put
from tests.flask.support import KEY, Site, make_app, value_of

SHORT = "a short key"


def manager_of(app: Flask, **options: Any) -> SessionManager:
    """Return the manager that the application's configuration asks for."""
    holdall = Holdall(app, **options)
    with app.app_context():
        return holdall.manager


def refusal(app: Flask, **options: Any) -> str:
    """Return how the application's configuration is refused."""
    with pytest.raises(UsageError) as refused:
        manager_of(app, **options)
    return str(refused.value)


class TestPrecedence:
    """An argument of `Holdall` counts more than its HOLDALL_* setting, that more than Flask's own."""

    @pytest.mark.parametrize(
        ("argument", "value", "other", "read"),
        [
            ("lifetime", timedelta(days=3), timedelta(days=2), lambda settings: settings.lifetime),
            ("idle_timeout", timedelta(hours=3), timedelta(hours=2), lambda settings: settings.idle_timeout),
            ("cache_trust", timedelta(seconds=3), timedelta(seconds=2), lambda settings: settings.cache_trust // 1000),
            ("store_budget", timedelta(seconds=3), timedelta(seconds=5), lambda settings: settings.store_budget),
        ],
    )
    def test_spans(self, argument: str, value: timedelta, other: timedelta, read: Callable[[Any], int]) -> None:
        """Spans of time may be given in seconds as well, as PERMANENT_SESSION_LIFETIME may."""
        setting = SETTINGS[argument]
        for given in (other, other.total_seconds(), int(other.total_seconds())):
            assert read(manager_of(make_app(**{setting: given})).settings) == other.total_seconds()
        both = manager_of(make_app(**{setting: other}), **{argument: value})
        assert read(both.settings) == value.total_seconds()

    def test_revocation_check(self) -> None:
        """HOLDALL_REVOCATION_CHECK may be seconds; False, or the argument None, binds no session; None is 60."""
        for given, expected in ((None, 60_000), (5, 5000), (timedelta(seconds=6), 6000), (0, 0), (False, None)):
            assert manager_of(make_app(HOLDALL_REVOCATION_CHECK=given)).settings.revocation_check == expected
        both = manager_of(make_app(HOLDALL_REVOCATION_CHECK=5), revocation_check=None)
        assert both.settings.revocation_check is None
        assert "HOLDALL_REVOCATION_CHECK" in refusal(make_app(HOLDALL_REVOCATION_CHECK=True))

    @pytest.mark.parametrize(
        ("argument", "value", "other"),
        [("cookie_only_threshold", 100, 0), ("audience", "shop", "forum"), ("save_on_error", True, False)],
    )
    def test_others(self, argument: str, value: Any, other: Any) -> None:
        """The other settings are handed on as they are."""
        setting = SETTINGS[argument]
        assert getattr(manager_of(make_app(**{setting: value})).settings, argument) == value
        assert getattr(manager_of(make_app(**{setting: value}), **{argument: other}).settings, argument) == other

    def test_lifetime(self) -> None:
        """The lifetime is that of Flask's permanent sessions, 31 days, unless Holdall is told otherwise."""
        assert manager_of(make_app()).settings.lifetime == 31 * 86400
        assert manager_of(make_app(PERMANENT_SESSION_LIFETIME=60)).settings.lifetime == 60
        both = make_app(PERMANENT_SESSION_LIFETIME=60, HOLDALL_LIFETIME=timedelta(hours=1))
        assert manager_of(both).settings.lifetime == 3600

    def test_every_setting_is_an_argument(self) -> None:
        """Every setting stands for an argument of `SessionManager` or of `CookieOptions`, and is spelled after it."""
        known = set(SessionManager.__init__.__annotations__)
        assert set(SETTINGS) <= known
        assert set(FLASK) <= known | set(CookieOptions.__dataclass_fields__)
        for argument, setting in SETTINGS.items():
            assert setting == f"HOLDALL_{argument.removeprefix('cookie_' if argument == 'cookie_key' else '').upper()}"

    def test_unset_is_default(self) -> None:
        """A setting that is None is not set."""
        app = make_app(**dict.fromkeys(SETTINGS.values()))
        assert manager_of(app).settings == manager_of(make_app()).settings

    def test_clock_and_random(self) -> None:
        """`clock` and `random` are arguments only, for tests."""
        clock = FakeClock()
        assert manager_of(make_app(), clock=clock).clock is clock


class TestCookie:
    """The cookie's options are Flask's settings."""

    def test_defaults(self) -> None:
        """Without any setting: named as in Flask, HttpOnly, SameSite=Lax, not Secure, so that http works."""
        cookie = manager_of(make_app()).cookie
        assert cookie == CookieOptions(secure=False)
        assert cookie.effective_name == "session"

    def test_secure(self) -> None:
        """With SESSION_COOKIE_SECURE the cookie gets the __Host- prefix, unless a name, a domain or a path is set."""
        assert manager_of(make_app(SESSION_COOKIE_SECURE=True)).cookie == CookieOptions()
        for config in (
            {"SESSION_COOKIE_NAME": "mine"},
            {"SESSION_COOKIE_DOMAIN": "example.com"},
            {"SESSION_COOKIE_PATH": "/shop"},
        ):
            cookie = manager_of(make_app(SESSION_COOKIE_SECURE=True, **config)).cookie
            assert cookie.effective_name == config.get("SESSION_COOKIE_NAME", "session")

    def test_all(self) -> None:
        """Every SESSION_COOKIE_* setting is honoured; a leading dot of a domain is dropped, as Flask does it."""
        app = make_app(
            SESSION_COOKIE_NAME="mine",
            SESSION_COOKIE_DOMAIN=".example.com",
            SESSION_COOKIE_PATH="/shop",
            SESSION_COOKIE_HTTPONLY=False,
            SESSION_COOKIE_SECURE=True,
            SESSION_COOKIE_SAMESITE="Strict",
            SESSION_COOKIE_PARTITIONED=True,
        )
        assert manager_of(app).cookie == CookieOptions(
            name="mine",
            domain="example.com",
            path="/shop",
            http_only=False,
            secure=True,
            same_site="Strict",
            partitioned=True,
        )

    def test_application_root(self) -> None:
        """Without a path of its own the cookie is for APPLICATION_ROOT."""
        assert manager_of(make_app(APPLICATION_ROOT="/shop")).cookie.path == "/shop"
        both = make_app(APPLICATION_ROOT="/shop", SESSION_COOKIE_PATH="/")
        assert manager_of(both).cookie.path == "/"

    def test_partitioned(self) -> None:
        """SESSION_COOKIE_PARTITIONED implies Secure, as Flask documents it."""
        assert manager_of(make_app(SESSION_COOKIE_PARTITIONED=True)).cookie.secure is True

    def test_same_site_none(self) -> None:
        """SESSION_COOKIE_SAMESITE is Lax unless it is set after `Holdall` had the application; then None is None."""
        app = make_app(SESSION_COOKIE_SAMESITE=None)
        holdall = Holdall(app)
        assert app.config["SESSION_COOKIE_SAMESITE"] == "Lax"
        app.config["SESSION_COOKIE_SAMESITE"] = None
        with app.app_context():
            assert holdall.manager.cookie.same_site is None

    def test_cookie_options(self) -> None:
        """`cookie` counts more than HOLDALL_COOKIE, and that more than every SESSION_COOKIE_* setting."""
        mine, other = CookieOptions(name="mine"), CookieOptions(name="other")
        config = {"HOLDALL_COOKIE": other, "SESSION_COOKIE_NAME": "third", "SESSION_COOKIE_SAMESITE": "nonsense"}
        assert manager_of(make_app(**config)).cookie is other
        assert manager_of(make_app(**config), cookie=mine).cookie is mine


@pytest.mark.requirement(6)
class TestKeys:
    """Keys are Flask's, unless Holdall has one of its own."""

    def test_secret_key(self) -> None:
        """SECRET_KEY seals and SECRET_KEY_FALLBACKS open: a key is rotated as Flask documents it."""
        site = Site()
        site.request(put(a=1))
        site.app.config.update(SECRET_KEY=OTHER_KEY, SECRET_KEY_FALLBACKS=[KEY])
        assert site.read() == {"a": 1}
        site.request(put(b=2))  # sealed anew, with the first key
        site.app.config["SECRET_KEY_FALLBACKS"] = None
        assert site.read() == {"a": 1, "b": 2}
        site.app.secret_key = KEY
        assert site.read() == {}

    def test_fallbacks_changed_in_place(self) -> None:
        """A list of fallbacks that is changed in place is noticed."""
        site = Site({"SECRET_KEY_FALLBACKS": []})
        site.request(put(a=1))
        site.app.secret_key = OTHER_KEY
        assert site.read() == {}
        site.app.config["SECRET_KEY_FALLBACKS"].append(KEY)
        assert site.read() == {"a": 1}

    def test_holdall_key(self) -> None:
        """`cookie_key` counts more than HOLDALL_KEY, and that more than SECRET_KEY, which then may be short."""
        app = make_app(SECRET_KEY=SHORT, TESTING=False, HOLDALL_KEY=KEY)
        site = Site(app=app)
        site.request(put(a=1))
        assert value_of(site.client, "session")
        other = Site(app=make_app(SECRET_KEY=SHORT, TESTING=False, HOLDALL_KEY=OTHER_KEY), cookie_key=[KEY])
        other.client.set_cookie("session", value_of(site.client, "session") or "")
        assert other.read() == {"a": 1}

    def test_bytes(self) -> None:
        """A key may be bytes, and is the same as its UTF-8 text."""
        assert secret_keys(make_app(SECRET_KEY=KEY)) == secret_keys(make_app(SECRET_KEY=KEY.encode()))

    @pytest.mark.parametrize("mode", ["TESTING", "DEBUG"])
    def test_short_key_is_warned_about(self, mode: str, caplog: pytest.LogCaptureFixture) -> None:
        """In testing and debug mode a short SECRET_KEY works, and one warning says what will become of it."""
        site = Site(app=make_app(SECRET_KEY=SHORT, **{"TESTING": False, mode: True}))
        with caplog.at_level(logging.WARNING, "holdall.flask"):
            site.request(put(a=1))
            assert site.read() == {"a": 1}
        (record,) = [record for record in caplog.records if record.name == "holdall.flask"]
        assert "SECRET_KEY has 11 bytes" in record.getMessage()
        assert SHORT not in record.getMessage()

    def test_short_key_is_stretched(self) -> None:
        """A short key is stretched as in every framework, so that they share sessions."""
        assert secret_keys(make_app(SECRET_KEY=SHORT)) == [stretch_key(SHORT)]

    def test_short_key_is_refused(self) -> None:
        """Outside testing and debug mode a short SECRET_KEY is refused, and the refusal says what to do."""
        said = refusal(make_app(SECRET_KEY=SHORT, TESTING=False))
        assert said.startswith("SECRET_KEY has 11 bytes, and Holdall needs at least 32")
        assert "generate_key()" in said
        assert "HOLDALL_KEY" in said

    def test_short_fallback_is_refused(self) -> None:
        """So is a short fallback, by its place."""
        app = make_app(TESTING=False, SECRET_KEY_FALLBACKS=[OTHER_KEY, SHORT])
        assert refusal(app).startswith("SECRET_KEY_FALLBACKS[1] has 11 bytes")

    def test_fallbacks_are_no_letters(self) -> None:
        """A str where SECRET_KEY_FALLBACKS should be a list is one key, and never its letters."""
        keys = secret_keys(make_app(SECRET_KEY_FALLBACKS=OTHER_KEY))
        assert keys == [KEY.encode(), OTHER_KEY.encode()]

    def test_key_of_another_type(self) -> None:
        """A key that is neither str nor bytes is refused by its type."""
        assert "SECRET_KEY must be a str or bytes, not int" in refusal(make_app(SECRET_KEY=7))

    def test_placeholder(self) -> None:
        """A well-known placeholder is refused by the name of its setting, whatever the mode."""
        assert "SECRET_KEY" in refusal(make_app(SECRET_KEY="please-change-me-" + "0123456789" * 3))


class TestRefusals:
    """A setting that cannot work is refused with its name."""

    @pytest.mark.parametrize(
        ("setting", "value"),
        [
            ("SESSION_COOKIE_NAME", "no name;"),
            ("SESSION_COOKIE_DOMAIN", "http://example.com"),
            ("SESSION_COOKIE_PATH", "no-slash"),
            ("SESSION_COOKIE_SAMESITE", "invalid"),
            ("SESSION_COOKIE_SAMESITE", "None"),
            ("PERMANENT_SESSION_LIFETIME", 0),
            ("HOLDALL_IDLE_TIMEOUT", 1),
            ("HOLDALL_IDLE_TIMEOUT", "an hour"),
            ("HOLDALL_COOKIE_ONLY_THRESHOLD", -1),
            ("HOLDALL_NO_DATASTORE", "yes"),
            ("HOLDALL_SAVE_ON_ERROR", 1),
            ("HOLDALL_AUDIENCE", ""),
            ("HOLDALL_CACHE_TRUST", -1),
            ("HOLDALL_COOKIE", "a cookie"),
            ("HOLDALL_KEY", SHORT),
        ],
    )
    def test_by_name(self, setting: str, value: Any) -> None:
        """The refusal of the core is given with the name that the setting has in Flask."""
        assert setting in refusal(make_app(**{setting: value})).partition(":")[0]

    def test_argument(self) -> None:
        """What is wrong with an argument of `Holdall` is not blamed on a setting."""
        assert refusal(make_app(), audience="").startswith("audience=''")

    def test_unknown_setting(self) -> None:
        """A HOLDALL_* setting that there is not is refused, with those that there are."""
        said = refusal(make_app(HOLDALL_IDLETIMEOUT=60))
        assert "there is no setting HOLDALL_IDLETIMEOUT" in said
        assert "HOLDALL_IDLE_TIMEOUT" in said

    def test_unknown_argument(self) -> None:
        """An argument that there is not is refused at once."""
        with pytest.raises(UsageError, match="no argument 'idletimeout'"):
            Holdall(idletimeout=60)  # type: ignore[call-arg]

    @pytest.mark.parametrize("wrong", [Session, dict])
    def test_session_class(self, wrong: Any) -> None:
        """A session class that Flask could not use is refused at once."""
        with pytest.raises(UsageError, match=r"must be a subclass of holdall_flask\.FlaskSession"):
            Holdall(session_class=wrong)

    def test_session_class_of_ones_own(self) -> None:
        """A subclass of `FlaskSession` is what `flask.session` then is."""

        class Cart(FlaskSession):
            def total(self) -> int:
                return sum(self["prices"])

        site = Site(session_class=Cart)
        site.request(put(prices=[1, 2]))
        assert site.request(lambda session: session.total()) == 3  # type: ignore[attr-defined]

    def test_refused_in_a_request(self, caplog: pytest.LogCaptureFixture) -> None:
        """In production a configuration that cannot work is a 500 and a clear line in the log, with every request."""
        app = make_app(SECRET_KEY=SHORT, TESTING=False)
        Holdall(app)
        app.add_url_rule("/", view_func=lambda: "never")
        for _ in range(2):
            assert app.test_client().get("/").status_code == 500
        refusals = [record for record in caplog.records if "SECRET_KEY has 11 bytes" in (record.exc_text or "")]
        assert len(refusals) == 2


def test_configuration_that_comes_late() -> None:
    """The configuration counts as it is when the request comes, as Flask's users change it in tests."""
    site = Site()
    site.request(put(a=1))
    assert "SameSite=Lax" in site.cookies[0]
    site.app.config.update(SESSION_COOKIE_SAMESITE="Strict", HOLDALL_COOKIE_ONLY_THRESHOLD=0)
    site.request(put(a=2))
    assert site.cookies[0].startswith("session-ref=")
    assert "SameSite=Strict" in site.cookies[0]
    assert site.read() == {"a": 2}
    site.app.config["HOLDALL_AUDIENCE"] = "other"
    assert site.read() == {}
