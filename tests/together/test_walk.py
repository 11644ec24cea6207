"""One browser walks through all frameworks with one session, over memcached and Datastore.

The applications know nothing of each other: they have the same key, cookie name, audience and stores.
"""

import threading
from pathlib import Path
from typing import Any

import pytest

from tests.servers import MemcachedServer
from tests.together import pages
from tests.together.serving import PROGRAMS, Addresses, Browser, address
from tests.wsgi.test_browser import show

pytestmark = [pytest.mark.memcached, pytest.mark.datastore]

FRAMEWORKS = [*PROGRAMS]
EACH = pytest.mark.parametrize("framework", FRAMEWORKS)
SMALL, LARGE = 10, 20_000
SMALL_OR_LARGE = pytest.mark.parametrize("size", [SMALL, LARGE], ids=["small", "large"])
COOKIES = {SMALL: ["walk"], LARGE: ["walk-ref"]}


def others(framework: str) -> list[str]:
    """Return the other frameworks, in turn."""
    at = FRAMEWORKS.index(framework)
    return FRAMEWORKS[at + 1 :] + FRAMEWORKS[:at]


def begin(browser: Browser, framework: str, size: int) -> dict[str, str]:
    """Begin a session of that size in a framework; returns what it holds."""
    held = browser.visit(framework, "put", key="payload", size=size)
    assert held == pages.held({"payload": pages.text(size)})
    assert browser.cookies == COOKIES[size]
    return held


@SMALL_OR_LARGE
def test_begun_in_flask_read_in_django_ended_in_asgi(browser: Browser, size: int) -> None:
    """A session begun in Flask is read in Django and ended in ASGI."""
    begun = begin(browser, "flask", size)
    assert browser.visit("django", "show") == begun
    assert browser.visit("starlette", "logout") == {}
    assert browser.cookies == []
    for each in FRAMEWORKS:
        assert browser.visit(each, "show") == {}


@SMALL_OR_LARGE
@EACH
def test_values_of_every_type(browser: Browser, framework: str, size: int) -> None:
    """What is put into a session in one framework is in all others, with its type, and all go on with the session."""
    begin(browser, framework, size)
    values = pages.VALUES | {"payload": pages.text(size), "n": 1}
    browser.visit(framework, "fill")
    assert browser.visit(framework, "visit") == pages.held(values)
    for n, each in enumerate(others(framework), start=2):
        assert browser.visit(each, "show") == pages.held(values)
        values["n"] = n
        assert browser.visit(each, "visit") == pages.held(values)
    assert browser.cookies == COOKIES[size]


@EACH
def test_grows_and_shrinks(browser: Browser, framework: str) -> None:
    """A session that one framework makes too large for the cookie, and small again, is whole in all others."""
    small = begin(browser, others(framework)[0], SMALL)
    large = browser.visit(framework, "put", key="payload", size=LARGE)
    assert large == pages.held({"payload": pages.text(LARGE)})
    for each in others(framework):
        assert browser.visit(each, "show") == large
    assert browser.visit(framework, "put", key="payload", size=SMALL) == small
    assert browser.cookies == ["walk-ref"]  # within one id a session does not come back from the stores
    for each in others(framework):
        assert browser.visit(each, "show") == small
    assert browser.visit(framework, "login") == small
    for n, each in enumerate(others(framework), start=1):
        assert browser.visit(each, "visit") == small | pages.held({"n": n})
        assert browser.cookies == ["walk"]


@SMALL_OR_LARGE
def test_changes_in_turn(browser: Browser, size: int) -> None:
    """What each framework changes in turn, and its count of visits, is what all others see next."""
    begin(browser, FRAMEWORKS[-1], size)
    values: dict[str, Any] = {"payload": pages.text(size)}
    for n, framework in enumerate(FRAMEWORKS * 2, start=1):
        values |= {framework: pages.text(2 * n), "n": n}
        browser.visit(framework, "put", key=framework, size=2 * n)
        assert browser.visit(framework, "visit" if n % 2 else "incr") == pages.held(values)
        for each in others(framework):
            assert browser.visit(each, "show") == pages.held(values)
    assert browser.cookies == COOKIES[size]


@SMALL_OR_LARGE
@EACH
def test_logging_out(browser: Browser, framework: str, size: int) -> None:
    """Logging out in one framework is seen by all; for a stored session also by who kept its cookie."""
    for other in others(framework):
        begun = begin(browser, other, size)
        assert browser.visit(framework, "show") == begun
        kept = browser.copy()
        assert browser.visit(framework, "logout") == {}
        assert browser.cookies == []
        for each in FRAMEWORKS:
            assert browser.visit(each, "show") == {}
            if size == LARGE:
                assert kept.visit(each, "show") == {}


@EACH
def test_old_cookie_of_a_small_session(browser: Browser, framework: str) -> None:
    """A small session that ended in one framework gets into the stores by none, whoever kept its cookie."""
    begun = begin(browser, others(framework)[0], SMALL)
    kept = browser.copy()
    assert browser.visit(framework, "logout") == {}
    for each in FRAMEWORKS:
        status, _ = kept.ask(each, "put", key="payload", size=LARGE)
        assert status == (400 if each == "django" else 200)  # its users know SessionInterrupted
        assert kept.cookies == ["walk"]
        # "A copied cookie of a session bound to nobody lives until it expires" (docs/consistency.md): as it was.
        assert kept.visit(each, "show") == begun


@SMALL_OR_LARGE
@EACH
def test_new_id(browser: Browser, framework: str, size: int) -> None:
    """A login in one framework, with a new id, keeps the contents for all; a stored session's old cookie opens none."""
    begun = begin(browser, others(framework)[0], size)
    kept = browser.copy()
    assert browser.visit(framework, "login") == begun
    assert browser.cookies == COOKIES[size]
    for n, each in enumerate(FRAMEWORKS, start=1):
        assert browser.visit(each, "visit") == begun | pages.held({"n": n})
        if size == LARGE:
            assert kept.visit(each, "show") == {}


@pytest.mark.requirement(14)
@SMALL_OR_LARGE
@EACH
def test_logging_out_of_a_bound_session(browser: Browser, framework: str, size: int) -> None:
    """Logged in by one framework and out by another, a session is worth nothing to who kept its cookie, in any size."""
    for other in others(framework)[:2]:
        begun = begin(browser, other, size)
        assert browser.visit(framework, "login") == begun
        kept = browser.copy()
        assert browser.visit(other, "logout") == {}
        assert browser.cookies == []
        for each in others(framework):  # that one was told a moment ago that it lives
            assert kept.visit(each, "show") == {}


def test_cache_loss(browser: Browser, own_memcached: MemcachedServer) -> None:
    """All frameworks read a large session from memcached, and once that has forgotten it, from Datastore."""
    begun = begin(browser, FRAMEWORKS[-1], LARGE)
    for n, framework in enumerate(FRAMEWORKS, start=1):
        hits = int(own_memcached.stat("get_hits"))
        assert browser.visit(framework, "visit") == begun | pages.held({"n": n})
        assert int(own_memcached.stat("get_hits")) > hits
        assert own_memcached.ask("flush_all") == "OK"
        assert browser.visit(others(framework)[0], "show") == begun | pages.held({"n": n})


def test_at_the_same_time(browser: Browser) -> None:
    """Of requests that overlap in all frameworks, every change of another key and every increment is kept."""
    begun = begin(browser, FRAMEWORKS[0], LARGE)
    keys = [f"{framework} {number}" for framework in FRAMEWORKS for number in range(3)]
    together = threading.Barrier(len(FRAMEWORKS))
    increments: list[int] = []  # statuses

    def window(framework: str) -> None:
        copy = browser.copy()
        together.wait(60)
        for key in keys:
            if key.startswith(framework):
                increments.append(copy.ask(framework, "incr")[0])
                while (status := copy.ask(framework, "put", key=key, size=8)[0]) != 200:
                    assert status == 503  # it may or may not have been applied: try again

    threads = [threading.Thread(target=window, args=(framework,)) for framework in FRAMEWORKS]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert set(increments) <= {200, 503}
    held = browser.visit(FRAMEWORKS[0], "show")
    assert increments.count(200) <= int(held.pop("n")) <= len(increments) == len(keys)
    assert held == begun | pages.held(dict.fromkeys(keys, pages.text(8)))


Step = tuple[str, str, dict[str, object]]


def tour(addresses: Addresses, *steps: Step) -> str:
    """Return the address of the first page, which sends a browser on to the next, and so on to the last."""
    *before, (framework, page, query) = steps
    target = address(addresses, framework, page, **query)
    for framework, page, query in reversed(before):
        target = address(addresses, framework, page, **query, then=target)
    return target


@SMALL_OR_LARGE
class TestChromium:
    """A real browser, which each framework sends on to the next."""

    def test_visits(self, chromium: str, addresses: Addresses, tmp_path: Path, size: int) -> None:
        """All frameworks count its visits twice, in the end to a session of that size."""
        visits: list[Step] = [(framework, "visit", {}) for framework in FRAMEWORKS]
        start = tour(addresses, *visits, ("flask", "put", {"key": "payload", "size": size}), *visits)
        expected = pages.held({"n": 2 * len(FRAMEWORKS), "payload": pages.text(size)})
        assert pages.read(show(chromium, tmp_path, start)) == expected

    def test_logging_out(self, chromium: str, addresses: Addresses, tmp_path: Path, size: int) -> None:
        """After a session begun in Flask has ended in ASGI, the other frameworks count from one again."""
        steps: list[Step] = [
            ("flask", "put", {"key": "payload", "size": size}),
            *[(framework, "visit", {}) for framework in FRAMEWORKS],
            ("starlette", "logout", {}),
            *[(framework, "visit", {}) for framework in others("starlette")],
        ]
        expected = pages.held({"n": len(FRAMEWORKS) - 1})
        assert pages.read(show(chromium, tmp_path, tour(addresses, *steps))) == expected
