"""From Django's settings to a manager: what is taken from where, what is refused, and when it is read anew."""

import logging
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from django.core.exceptions import ImproperlyConfigured
from django.test import override_settings
from holdall import CookieOptions, Session, SessionManager, run, stretch_key
from holdall.testing import FakeClock, RecordingStores
from holdall_django.conf import ONE_COOKIE, backend, build, is_testing
from holdall_stores import Memcached, Memory, SQLite, Stores

from tests.core.support import KEY, OTHER_KEY, Browser, World, put
from tests.django.conftest import MakeSite

SHORT = "fewer than 32 bytes"


def stores_of(**holdall: Any) -> Stores:
    with override_settings(HOLDALL=holdall):
        stores = backend().stores
    assert isinstance(stores, Stores)
    return stores


def refusal(**settings: Any) -> str:
    """Return what is said when the settings are refused."""
    with override_settings(**settings), pytest.raises(ImproperlyConfigured) as caught:
        backend()
    assert KEY not in str(caught.value)
    return str(caught.value)


# -- keys --------------------------------------------------------------------------------------------------------------


@pytest.mark.requirement(6)
def test_weak_secret_key_is_refused() -> None:
    """Outside of DEBUG and tests a SECRET_KEY under 32 bytes, or a placeholder, is refused by its name."""
    assert refusal(SECRET_KEY=SHORT).startswith(f"SECRET_KEY cannot seal sessions, it has {len(SHORT)} bytes")
    assert refusal(SECRET_KEY="changeme" * 8).startswith("SECRET_KEY cannot seal sessions, it is a placeholder")
    assert refusal(SECRET_KEY_FALLBACKS=[SHORT]).startswith("SECRET_KEY_FALLBACKS[0] cannot")
    assert "SECRET_KEY" in refusal(SECRET_KEY="")
    assert SHORT not in refusal(SECRET_KEY=SHORT)


@pytest.mark.requirement(6)
def test_weak_secret_key_in_debug(caplog: pytest.LogCaptureFixture) -> None:
    """With DEBUG a weak SECRET_KEY works, as the key that others make of it, and is warned of."""
    with override_settings(SECRET_KEY=SHORT, SECRET_KEY_FALLBACKS=[KEY, SHORT + "!"], DEBUG=True):
        assert backend().weak_keys == ("SECRET_KEY", "SECRET_KEY_FALLBACKS[1]")
        manager, browser = backend().manager, Browser()
        exchange = manager.open(None)
        exchange.session["n"] = 1
        browser.receive(run(exchange.commit(status=200, headers=[]), RecordingStores(FakeClock())))
    other = SessionManager(stretch_key(SHORT), cookie=manager.cookie)
    assert other.open(browser.header).session["n"] == 1
    assert "SECRET_KEY is too weak for sessions" in caplog.text
    with override_settings(SECRET_KEY="", DEBUG=True), pytest.raises(ImproperlyConfigured):
        backend()


@pytest.mark.usefixtures("test_environment")
def test_weak_secret_key_in_tests(caplog: pytest.LogCaptureFixture) -> None:
    """In Django's test environment a weak SECRET_KEY works."""
    with override_settings(SECRET_KEY=SHORT):
        assert backend().weak_keys == ("SECRET_KEY",)
    assert caplog.records == []


def test_key_of_its_own(make_site: MakeSite) -> None:
    """HOLDALL["cookie_key"], one or several, stands instead of SECRET_KEY, and must be a good one even with DEBUG."""
    site = make_site(HOLDALL={"cookie_key": OTHER_KEY}, SECRET_KEY=SHORT)
    site.put(n=1)
    other = make_site(HOLDALL={"cookie_key": [KEY, OTHER_KEY], "clock": site.clock}, SECRET_KEY=SHORT)
    assert other.read(site.browser) == {"n": 1}
    assert refusal(HOLDALL={"cookie_key": [KEY, SHORT]}, DEBUG=True).startswith("HOLDALL['cookie_key'][1] cannot")
    assert refusal(HOLDALL={"cookie_key": 5}, DEBUG=True).startswith("HOLDALL['cookie_key'] cannot")
    assert "empty" in refusal(HOLDALL={"cookie_key": []})


def test_shared_with_other_frameworks(make_site: MakeSite) -> None:
    """The same key, cookie name, audience and stores make the same session as anywhere else."""
    world = World(cookie=CookieOptions(name="sessionid", secure=False))
    world.request(put(n=1, big="x" * 20_000))
    site = make_site(HOLDALL={"stores": world.stores, "clock": world.clock})
    assert site.read(world.browser) == {"n": 1, "big": "x" * 20_000}
    site.put(world.browser, n=2)
    assert world.read()["n"] == 2


# -- settings to arguments ---------------------------------------------------------------------------------------------


def test_djangos_settings() -> None:
    """SESSION_COOKIE_* become the cookie's options and the lifetime."""
    settings = {
        "SESSION_COOKIE_NAME": "__Secure-s",
        "SESSION_COOKIE_AGE": 100,
        "SESSION_COOKIE_DOMAIN": "example.com",
        "SESSION_COOKIE_PATH": "/app",
        "SESSION_COOKIE_SECURE": True,
        "SESSION_COOKIE_HTTPONLY": False,
        "SESSION_COOKIE_SAMESITE": "None",
    }
    with override_settings(**settings):
        manager = backend().manager
    assert manager.cookie == CookieOptions(
        name="__Secure-s", secure=True, http_only=False, same_site="None", path="/app", domain="example.com"
    )
    assert manager.settings.lifetime == 100
    with override_settings(SESSION_COOKIE_SAMESITE=False):
        assert backend().manager.cookie.same_site is None


def test_further_options() -> None:
    """What else is in HOLDALL goes to SessionManager as it is."""

    class Own(Session):
        pass

    with override_settings(HOLDALL={"audience": "here", "session_class": Own, "save_on_error": True}):
        manager = backend().manager
        assert (manager.settings.audience, manager.settings.save_on_error) == ("here", True)
        assert type(manager.open(None).session) is Own


def test_refusals() -> None:
    """What cannot work is refused with the name of the setting and the remedy."""
    assert "HOLDALL must be a dict" in refusal(HOLDALL="memcached://127.0.0.1")
    assert "HOLDALL['chache'] is no option of Holdall: there are audience, cache," in refusal(HOLDALL={"chache": ""})
    assert "use SESSION_COOKIE_AGE instead" in refusal(HOLDALL={"lifetime": 5})
    assert "use the SESSION_COOKIE_* settings instead" in refusal(HOLDALL={"cookie": CookieOptions()})
    assert "durable: use a URL" in refusal(HOLDALL={"durable": "http://127.0.0.1"})
    assert "there is no cache" in refusal(HOLDALL={"no_datastore": True})
    assert "there is a cache alone" in refusal(HOLDALL={"cache": "memory://"})
    assert "leave out 'cache' and 'durable'" in refusal(HOLDALL={"stores": RecordingStores(FakeClock()), "cache": "x"})
    assert "lifetime" in refusal(SESSION_COOKIE_AGE=0)
    assert "SESSION_*" in refusal(SESSION_COOKIE_AGE="a week")
    assert 'same_site="None" needs secure=True' in refusal(SESSION_COOKIE_SAMESITE="None")


# -- stores ------------------------------------------------------------------------------------------------------------


def test_stores_from_urls() -> None:
    """HOLDALL["cache"] and HOLDALL["durable"] are URLs, and the stores of the same URLs are the same."""
    stores = stores_of(cache="memcached://127.0.0.1:11211", durable="sqlite:////tmp/never-opened.sqlite3")
    assert (type(stores.cache), type(stores.durable)) == (Memcached, SQLite)
    with override_settings(SESSION_COOKIE_AGE=5):
        again = stores_of(cache="memcached://127.0.0.1:11211", durable="sqlite:////tmp/never-opened.sqlite3")
    assert again is stores
    assert stores_of(cache="memory://", no_datastore=True).durable is None


def test_own_stores() -> None:
    """HOLDALL["stores"] is taken as it is."""
    own = Stores(durable=Memory())
    assert stores_of(stores=own) is own


@pytest.mark.parametrize("where", ["BASE_DIR", "here", "HOLDALL_SQLITE"])
def test_default_store(tmp_path: Path, where: str) -> None:
    """Without stores, sessions go to SQLite in BASE_DIR, else in the working directory; HOLDALL_SQLITE wins."""
    folder = tmp_path / where
    folder.mkdir()
    script = f"""
from pathlib import Path
from django.conf import settings
where = {where!r}
more = {{"BASE_DIR": Path({str(folder)!r})}} if where != "here" else {{}}
settings.configure(SECRET_KEY={KEY!r}, SESSION_ENGINE="holdall_django.engine", **more)
from holdall_django.engine import SessionStore
store = SessionStore()
store["v"] = "x" * 20_000
store.save()
assert SessionStore(store.session_key)["v"] == store["v"]
"""
    path = os.pathsep.join(each for each in sys.path if each)
    environment = {**os.environ, "PYTHONPATH": path}
    environment.pop("HOLDALL_SQLITE", None)
    expected = folder / "holdall.sqlite3"
    if where == "HOLDALL_SQLITE":
        expected = folder / "named.sqlite3"
        environment["HOLDALL_SQLITE"] = str(expected)
    here = folder if where == "here" else tmp_path
    subprocess.run([sys.executable, "-c", script], cwd=here, env=environment, check=True)
    assert expected.exists()
    assert [each.name for each in folder.iterdir() if each.suffix == ".sqlite3"] == [expected.name]


@pytest.mark.usefixtures("test_environment")
def test_default_store_in_tests(monkeypatch: pytest.MonkeyPatch) -> None:
    """In Django's test environment sessions stay in memory, unless a store is named."""
    monkeypatch.delenv("HOLDALL_SQLITE", raising=False)
    assert is_testing()
    assert type(stores_of().durable) is Memory
    assert type(stores_of(durable="sqlite:////tmp/never-opened.sqlite3").durable) is SQLite
    monkeypatch.setenv("HOLDALL_SQLITE", "/tmp/never-opened.sqlite3")
    assert type(stores_of(audience="other").durable) is SQLite


@pytest.mark.usefixtures("test_environment")
def test_no_split_in_tests() -> None:
    """In Django's test environment a session is in one cookie at most, since the test client hands around one."""
    for threshold, expected in ((10_000, ONE_COOKIE), (100, 100)):
        with override_settings(HOLDALL={"cookie_only_threshold": threshold}):
            assert backend().manager.settings.cookie_only_threshold == expected


# -- when they are read ------------------------------------------------------------------------------------------------


def test_read_once_and_anew() -> None:
    """Settings are read once, and anew when a test overrides one that counts."""
    first = backend()
    assert backend() is first
    with override_settings(LANGUAGE_CODE="de"):
        assert backend() is first
    with override_settings(SESSION_COOKIE_NAME="other"):
        assert backend().manager.cookie.name == "other"
    assert backend().manager.cookie.name == "sessionid"


def test_build_keeps_nothing(caplog: pytest.LogCaptureFixture) -> None:
    """build() makes another, and logs nothing, for checks to look at."""
    caplog.set_level(logging.DEBUG)
    with override_settings(SECRET_KEY=SHORT, DEBUG=True):
        assert build(is_test=False) is not build(is_test=False)
    assert caplog.records == []


def test_not_testing() -> None:
    """Outside of Django's test environment nothing of it is at work, though its module was imported."""
    assert "django.test.utils" in sys.modules
    assert not is_testing()
