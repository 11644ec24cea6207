"""Moving in from Django's own sessions: cookies and records made by Django's middleware, read by ours.

Logins of every engine, with a database, are in `moving_tests.py`, for Django's own test runner.
"""

import re
import time
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from django.core import signing
from django.core.cache import cache
from django.core.exceptions import ImproperlyConfigured
from django.test import override_settings
from holdall.testing import FakeClock
from holdall_django.checks import check_settings
from holdall_django.conf import build

from tests.core.support import Browser
from tests.django.conftest import MakeSite
from tests.django.serving import command
from tests.django.support import Site

BACKENDS = "django.contrib.sessions.backends."
SIGNED, CACHE = BACKENDS + "signed_cookies", BACKENDS + "cache"
DJANGOS = "django.contrib.sessions.middleware.SessionMiddleware"
NOW = datetime.now(UTC)
VALUES = {"user": "ada", "cart": [{"sku": 1}], "text": "x" * 300}
ENGINE = pytest.mark.parametrize("engine", [SIGNED, CACHE])

Before = Callable[..., Browser]


@pytest.fixture
def before() -> Iterator[Before]:
    """Return the browser of somebody who visited a site with Django's own sessions."""

    def visit(engine: str, values: dict[str, Any] | None = None, **changes: Any) -> Browser:
        site = Site(**changes)
        settings = {**site.settings, "SESSION_ENGINE": engine, "MIDDLEWARE": [DJANGOS]}
        with override_settings(**settings):
            site.put(**(VALUES if values is None else values))
        assert list(site.browser.cookies) == ["sessionid"]
        return site.browser

    yield visit
    cache.clear()


@pytest.fixture
def switch(make_site: MakeSite) -> Callable[..., Site]:
    """Make the switch: return the site with Holdall, and a browser from before."""

    def make(browser: Browser, engine: str, **changes: Any) -> Site:
        moving_in = {"engine": engine, "until": NOW + timedelta(days=30), **changes.pop("moving_in", {})}
        options = {"clock": FakeClock(time.time()), "moving_in": moving_in, **changes.pop("HOLDALL", {})}
        site = make_site(HOLDALL=options, **changes)
        site.browser = browser
        return site

    return make


Switch = Callable[..., Site]


@ENGINE
def test_moves_at_the_first_write(before: Before, switch: Switch, engine: str) -> None:
    """An old session is read and nothing is written; the first write puts Holdall's cookie in the place of Django's."""
    site = switch(before(engine), engine)
    old = dict(site.browser.cookies)

    assert site.read() == VALUES
    assert site.response.cookies == []
    assert site.request(lambda request: request.session.session_key) == old["sessionid"]
    site.put(n=1)
    assert [cookie.partition("=")[0] for cookie in site.response.cookies] == ["sessionid"]
    assert site.browser.cookies != old
    assert site.read() == {**VALUES, "n": 1}


@ENGINE
@pytest.mark.parametrize("ends", ["flush", "terminate"])
def test_logout_stays(before: Before, switch: Switch, engine: str, ends: str) -> None:
    """What ends before it has moved in is ended, also for a copy of the cookie."""
    site = switch(before(engine), engine)
    thief = site.browser.copy()
    site.request(lambda request: getattr(request.session, ends)())

    assert site.browser.cookies == {}
    assert site.read(thief) == {}


@ENGINE
def test_async(before: Before, switch: Switch, engine: str) -> None:
    """In an asynchronous stack the session is there without being waited for, and moves in."""
    site = switch(before(engine), engine)

    assert site.arequest(lambda request: request.session["user"]) == "ada"
    site.arequest(lambda request: request.session.update(n=1))
    assert site.read() == {**VALUES, "n": 1}


@ENGINE
def test_end_date(before: Before, switch: Switch, engine: str) -> None:
    """From the end date on no session of Django's is read."""
    site = switch(before(engine), engine, moving_in={"until": NOW + timedelta(days=1)})

    assert site.read() == VALUES
    site.clock.advance(86_400)
    assert site.read() == {}


@ENGINE
@pytest.mark.parametrize("keep", [False, True])
def test_other_name(before: Before, switch: Switch, engine: str, keep: bool) -> None:
    """With a new SESSION_COOKIE_NAME the old cookie is named, and goes when its session moves in; or stays."""
    named = {"cookie_name": "sessionid", "keep": keep}
    site = switch(before(engine), engine, moving_in=named, SESSION_COOKIE_NAME="holdall")
    site.put(n=1)

    assert set(site.browser.cookies) == ({"holdall", "sessionid"} if keep else {"holdall"})
    assert site.read() == {**VALUES, "n": 1}
    site.request(lambda request: request.session.flush())
    assert site.browser.cookies == {}


@ENGINE
def test_explicit_save(before: Before, switch: Switch, engine: str) -> None:
    """A view that saves in the middle moves the session in there, and goes on with it."""
    site = switch(before(engine), engine)

    def view(request: Any) -> None:
        request.session["n"] = 1
        request.session.save()
        request.session["n"] += 1

    site.request(view)
    assert site.read() == {**VALUES, "n": 2}


def test_types(before: Before, switch: Switch) -> None:
    """What Django's cache keeps and JSON could not comes back with its type."""
    values = {"day": date(2026, 1, 2), "pair": (1, 2)}
    site = switch(before(CACHE, values), CACHE)

    assert site.read() == values


def test_session_that_ends_with_the_browser(before: Before, switch: Switch) -> None:
    """A session that ends with the browser still does."""
    site = switch(before(SIGNED, {**VALUES, "_session_expiry": 0}), SIGNED)
    site.put(n=1)

    assert "Max-Age" not in site.response.cookies[0]


def test_signed_cookie_too_old(before: Before, switch: Switch) -> None:
    """A signed cookie older than SESSION_COOKIE_AGE is none."""
    clock = FakeClock(time.time() + 14 * 86_400 + 2)
    site = switch(before(SIGNED), SIGNED, HOLDALL={"clock": clock})

    assert site.read() == {}


def test_fallback_keys(before: Before, switch: Switch) -> None:
    """A cookie signed with a key that is a fallback now is read; with one that is no more, it is not."""
    key = "an-older-key-of-the-site-0123456789abcdefghijklmno"
    browser = before(SIGNED, SECRET_KEY=key)

    assert switch(browser, SIGNED, SECRET_KEY_FALLBACKS=[key]).read() == VALUES
    assert switch(browser, SIGNED).read() == {}


@pytest.mark.parametrize(
    "cookie", ["", ".", ":", "a:b:c", "x" * 4000, "\x80", "aaaaaaaa", "a" * 32, "../../etc/passwd", "ref.x"]
)
@ENGINE
def test_foreign_cookies(switch: Switch, engine: str, cookie: str) -> None:
    """Whatever stands under the name is no session and no error, and is never adopted."""
    site = switch(Browser(), engine)
    site.browser.cookies = {"sessionid": cookie}

    assert site.read() == {}
    assert site.response.cookies == []
    site.put(n=1)
    assert site.browser.cookies["sessionid"] != cookie


def test_other_salt(switch: Switch) -> None:
    """A value that Django signed for something else is no session."""
    site = switch(Browser(), SIGNED)
    site.browser.cookies = {"sessionid": signing.dumps(VALUES, salt="else")}

    assert site.read() == {}


def test_bomb(switch: Switch) -> None:
    """What would be over a megabyte once inflated is no session."""
    site = switch(Browser(), SIGNED)
    for size, seen in ((900_000, True), (1_000_001, False)):
        site.browser.cookies = {"sessionid": signing.dumps({"t": "x" * size}, compress=True, salt=SIGNED)}
        assert len(site.browser.cookies["sessionid"]) < 4096
        assert bool(site.read()) is seen


@pytest.mark.parametrize(
    ("moving_in", "expected"),
    [
        ({"engine": "nowhere", "until": NOW}, "engine='nowhere' cannot be used"),
        ({"engine": "holdall_django.engine", "until": NOW}, "is Holdall's own"),
        ({"engine": BACKENDS + "db", "until": NOW}, "INSTALLED_APPS"),
        ({"engine": SIGNED, "until": datetime(2030, 1, 1)}, "until="),
        ({"engine": SIGNED}, "until"),
        ({"until": NOW}, "engine"),
        ({"engine": SIGNED, "until": NOW, "kepe": True}, "kepe"),
        ({"engine": SIGNED, "until": NOW, "keep": True}, "has the same name"),
        ("signed_cookies", "moving_in='signed_cookies'"),
    ],
)
def test_nonsense(moving_in: Any, expected: str) -> None:
    """What cannot work is refused in words, and a system check says so."""
    with override_settings(HOLDALL={"moving_in": moving_in}):
        with pytest.raises(ImproperlyConfigured, match=re.escape(expected)):
            build(is_test=False)
        assert [each.id for each in check_settings()] == ["holdall.E004"]


def test_over() -> None:
    """A system check says when the time is over."""
    with override_settings(HOLDALL={"moving_in": {"engine": SIGNED, "until": datetime(2020, 1, 1, tzinfo=UTC)}}):
        assert [each.id for each in check_settings()] == ["holdall.W002"]


def test_logins(tmp_path: Path) -> None:
    """Django's test runner passes the tests in `moving_tests.py`."""
    done = command(tmp_path, "test", "tests.django.moving_tests")
    assert done.returncode == 0, done.stderr
    counted = re.search(r"Ran (\d+) tests", done.stderr)
    assert counted is not None
    assert int(counted[1]) >= 7
