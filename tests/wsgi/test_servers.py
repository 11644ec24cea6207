"""The seed's example on real servers, over sockets: wsgiref, waitress, gunicorn with two workers of eight threads."""

import json
import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.core.support import KEY, OTHER_KEY, Browser
from tests.servers import MemcachedServer
from tests.wsgi.serving import GUNICORN, WAITRESS, WSGIREF, Server, server

SIZES = [10, 20_000, 900_000]
INLINE, REFERENCE = "__Host-session", "__Host-session-ref"


class Urls(NamedTuple):
    cache: str
    durable: str


@pytest.fixture
def urls(memcached: MemcachedServer, tmp_path: Path) -> Urls:
    return Urls(f"memcached://{memcached.address}", f"sqlite:///{tmp_path / 'sessions.db'}")


@pytest.fixture(params=[WSGIREF, WAITRESS, GUNICORN])
def each_server(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Server]:
    with server(request.param, tmp_path) as made:
        yield made


@pytest.fixture
def one_server(tmp_path: Path) -> Iterator[Server]:
    with server(WAITRESS, tmp_path) as made:
        yield made


def visit_all(server: Server, browsers: dict[int, Browser], n: int) -> None:
    """Have the visitor of each size come for the n-th time."""
    for size, browser in browsers.items():
        answer = server.visit(f"/count?size={size}", browser)
        assert (answer["n"], answer["payload"]) == (n, size)


@pytest.mark.memcached
class TestEachServer:
    """Sessions of all sizes on every server."""

    def test_example(self, each_server: Server, urls: Urls) -> None:
        """Small sessions travel in the cookie and bigger ones do not, and each visitor's visits are counted."""
        each_server.start(cache=urls.cache, durable=urls.durable)
        browsers = {size: Browser() for size in SIZES}
        for n in range(1, 4):
            visit_all(each_server, browsers, n)
        assert [list(browser.cookies) for browser in browsers.values()] == [[INLINE], [REFERENCE], [REFERENCE]]
        for browser in browsers.values():
            assert each_server.visit("/untouched", browser) == {}
            each_server.visit("/logout", browser)
            assert browser.cookies == {}
            assert each_server.visit("/look", browser)["n"] is None

    def test_restart(self, each_server: Server, urls: Urls) -> None:
        """Sessions of all sizes outlive a server that was killed."""
        each_server.start(durable=urls.durable)
        browsers = {size: Browser() for size in SIZES}
        visit_all(each_server, browsers, 1)
        each_server.kill()
        each_server.start(durable=urls.durable)
        visit_all(each_server, browsers, 2)


@pytest.mark.requirement(35)
@pytest.mark.memcached
def test_cache_loss(one_server: Server, urls: Urls, memcached: MemcachedServer) -> None:
    """Sessions of all sizes outlive a memcached that forgets everything."""
    one_server.start(cache=urls.cache, durable=urls.durable)
    browsers = {size: Browser() for size in SIZES}
    for n in range(1, 4):
        visit_all(one_server, browsers, n)
        assert memcached.ask("flush_all") == "OK"


@pytest.mark.requirement(6)
@pytest.mark.memcached
class TestKeys:
    """A new key is rolled out."""

    def test_rotation(self, one_server: Server, urls: Urls) -> None:
        """With the old key second everyone stays logged in, and who came meanwhile stays so without the old key."""
        came, stayed_away = ({size: Browser() for size in SIZES} for _ in range(2))
        one_server.start(keys=KEY, cache=urls.cache, durable=urls.durable)
        visit_all(one_server, came, 1)
        visit_all(one_server, stayed_away, 1)
        one_server.kill()
        one_server.start(keys=f"{OTHER_KEY},{KEY}", cache=urls.cache, durable=urls.durable)
        visit_all(one_server, came, 2)
        one_server.kill()
        one_server.start(keys=OTHER_KEY, cache=urls.cache, durable=urls.durable)
        visit_all(one_server, came, 3)
        visit_all(one_server, stayed_away, 1)  # strangers by now

    def test_half_rolled_out(self, urls: Urls, tmp_path: Path) -> None:
        """While one process seals with the old key and one with the new, visitors may meet either."""
        with server(WAITRESS, tmp_path) as old, server(WAITRESS, tmp_path) as new:
            old.start(keys=f"{KEY},{OTHER_KEY}", cache=urls.cache, durable=urls.durable)
            new.start(keys=f"{OTHER_KEY},{KEY}", cache=urls.cache, durable=urls.durable)
            browsers = {size: Browser() for size in SIZES}
            for n in range(1, 7):
                visit_all((old, new)[n % 2], browsers, n)


@pytest.mark.requirement(26)
@pytest.mark.memcached
def test_concurrent_increments(urls: Urls, tmp_path: Path) -> None:
    """Eight threads of one browser add to one stored session through two servers: what was acknowledged is not lost."""
    # Two servers, because which of its workers a gunicorn gives a request to is the kernel's choice.
    with server(GUNICORN, tmp_path) as one, server(GUNICORN, tmp_path) as other:
        for gunicorn in (one, other):
            gunicorn.start(cache=urls.cache, durable=urls.durable)
        browser = Browser()
        one.visit("/count?size=20000", browser)
        outcomes: list[int] = []
        processes: set[int] = set()
        together = threading.Barrier(8)

        def work(gunicorn: Server) -> None:
            copy = browser.copy()
            together.wait(10)
            for _ in range(5):
                status, answer = gunicorn.ask("/incr", copy)
                outcomes.append(status)
                if status == 200:
                    processes.add(json.loads(answer)["pid"])

        threads = [threading.Thread(target=work, args=((one, other)[number % 2],)) for number in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        statuses = Counter(outcomes)
        assert statuses.total() == 40
        assert set(statuses) <= {200, 503}
        # A 503 says that the increment may or may not have been applied.
        assert 1 + statuses[200] <= one.visit("/look", browser)["n"] <= 1 + statuses.total()
        assert len(processes) >= 2


class TestDefault:
    """What a server stores where it was told nothing."""

    def test_file(self, one_server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """./holdall.sqlite3 is made at the first stored write, readable by its owner alone."""
        monkeypatch.delenv("HOLDALL_SQLITE", raising=False)
        one_server.start()
        self._grow(one_server, tmp_path / "holdall.sqlite3")

    def test_file_that_the_environment_names(self, one_server: Server, tmp_path: Path) -> None:
        """HOLDALL_SQLITE says where instead."""
        one_server.start(HOLDALL_SQLITE=str(tmp_path / "elsewhere.db"))
        self._grow(one_server, tmp_path / "elsewhere.db")
        assert not (tmp_path / "holdall.sqlite3").exists()

    @staticmethod
    def _grow(server: Server, path: Path) -> None:
        browser = Browser()
        for address in ("/untouched", "/look", "/count", "/count"):
            server.visit(address, browser)
            assert not path.exists()
        assert server.visit("/count?size=20000", browser)["n"] == 3
        assert path.stat().st_mode & 0o777 == 0o600
        assert server.visit("/look", browser)["payload"] == 20_000
