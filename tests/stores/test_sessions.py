"""Whole sessions over every pair of stores, real servers included: the stories of docs/consistency.md once more.

What each rule means is tested in tests/core/test_tiers.py on stores in memory; here the real ones keep it.
"""

import itertools
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from google.cloud import ndb
from holdall import Session, SessionUnavailable, run
from holdall_stores import Memcached, Memory, SQLite, Stores

from tests.core.support import KEY, Browser, put
from tests.servers import MemcachedServer


class Visitor(ndb.Model):  # type: ignore[misc]
    """A model whose instances are put into sessions."""

    name = ndb.StringProperty()
    visits = ndb.IntegerProperty(default=0)


class Site:
    """A manager over real stores, and requests in one line."""

    def __init__(self, stores: Stores) -> None:
        from holdall import SessionManager

        self.stores = stores
        self.manager = SessionManager(KEY)
        self.browser = Browser()

    def request(self, act: Callable[[Session], object], browser: Browser | None = None) -> object:
        browser = browser or self.browser
        exchange = self.manager.open(browser.header, drive=lambda flow: run(flow, self.stores))
        result = act(exchange.session)
        browser.receive(run(exchange.commit(status=200, headers=[]), self.stores))
        return result

    def read(self, browser: Browser | None = None) -> dict[str, object]:
        return self.request(dict, browser)  # type: ignore[return-value]


def memory(request: pytest.FixtureRequest) -> Stores:
    return Stores(cache=Memory(), durable=Memory())


def sqlite(request: pytest.FixtureRequest) -> Stores:
    return Stores(durable=SQLite(request.getfixturevalue("tmp_path") / "sessions.sqlite3"))


def memcached_and_sqlite(request: pytest.FixtureRequest) -> Stores:
    cache = Memcached(request.getfixturevalue("memcached").address)
    return Stores(cache=cache, durable=SQLite(request.getfixturevalue("tmp_path") / "sessions.sqlite3"))


def memcached_and_datastore(request: pytest.FixtureRequest) -> Stores:
    from holdall_stores import Datastore

    cache = Memcached(request.getfixturevalue("memcached").address)
    emulator = request.getfixturevalue("datastore_emulator")
    namespace = request.getfixturevalue("namespace")
    durable = Datastore.from_parts("test", namespace=namespace, emulator=emulator.address, timeout=5.0)
    return Stores(cache=cache, durable=durable)


@pytest.fixture
def site(stores: Stores) -> Site:
    return Site(stores)


class Stories:
    """What every pair of stores must show."""

    def test_all_sizes(self, site: Site) -> None:
        """Small, 20 KB and 900 KB values come back, and the session moves up by itself."""
        for size in (10, 20_000, 900_000):
            site.request(put(data="x" * size))
            assert site.read() == {"data": "x" * size}

    @pytest.mark.requirement(26, 28)
    def test_different_keys_both_win(self, site: Site) -> None:
        """Overlapping requests that change different keys both survive."""
        site.request(lambda session: session.update(big="x" * 20_000))

        exchanges = [
            site.manager.open(site.browser.header, drive=lambda flow: run(flow, site.stores)) for _ in range(4)
        ]
        for number, exchange in enumerate(exchanges):
            exchange.session[f"k{number}"] = number
        for exchange in exchanges:
            site.browser.receive(run(exchange.commit(status=200, headers=[]), site.stores))
        assert {f"k{number}": number for number in range(4)}.items() <= site.read().items()

    def test_increments_of_threads_add_up(self, site: Site) -> None:
        """Threads that increment one stored session lose no count; what failed was reported as failed."""
        site.request(lambda session: session.update(n=0, big="x" * 20_000))
        done = itertools.count()

        def visit() -> None:
            for _ in range(5):
                browser = site.browser.copy()
                try:
                    site.request(lambda session: session.incr("n"), browser)
                except SessionUnavailable:
                    continue
                next(done)

        threads = [threading.Thread(target=visit) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        browser = site.browser.copy()
        site.request(lambda session: session.update(last=1), browser)
        acknowledged = next(done)
        assert acknowledged > 0
        assert acknowledged <= site.read(browser)["n"] <= 20  # type: ignore[operator]

    def test_slow_request_does_not_bring_a_session_back(self, site: Site) -> None:
        """A request that overlapped a logout writes nothing and sets nothing."""
        site.request(lambda session: session.update(n=1, big="x" * 20_000))
        old = site.browser.copy()
        slow = site.manager.open(old.header, drive=lambda flow: run(flow, site.stores))
        slow.session["late"] = 1
        site.request(Session.terminate)
        headers = run(slow.commit(status=200, headers=[]), site.stores)
        assert not [value for field, value in headers if field == "Set-Cookie"]
        assert site.read(old) == {}

    def test_promotion_under_way_does_not_bring_a_session_back(self, site: Site) -> None:
        """A promotion that overlapped the logout of a small session finds the marker."""
        site.request(lambda session: session.update(n=1))
        slow = site.manager.open(site.browser.header, drive=lambda flow: run(flow, site.stores))
        slow.session["big"] = "x" * 20_000
        site.request(Session.terminate)
        headers = run(slow.commit(status=200, headers=[]), site.stores)
        assert not [value for field, value in headers if field == "Set-Cookie"]

    def test_new_id(self, site: Site) -> None:
        """A new id carries the data over, and the old cookie is dead at once."""
        site.request(lambda session: session.update(n=1, big="x" * 20_000))
        old = site.browser.copy()
        site.request(Session.regenerate_id)
        assert site.read()["n"] == 1
        assert site.read(old) == {}

    def test_models(self, site: Site) -> None:
        """ndb.Model instances are session values, in the cookie and in a store, and changes in them are noticed."""
        from holdall_stores.datastore import new_client
        from holdall_stores.models import register_models

        client = new_client("test", emulator="127.0.0.1:1")  # it is never called
        register_models(client)
        with client.context():
            ada, changed = (Visitor(id=7, name="Ada", visits=visits) for visits in (0, 3))
        for padding in ("", "x" * 20_000):
            site.request(put(visitor=ada, padding=padding))
            site.request(lambda session: setattr(session["visitor"], "visits", 3))
            assert site.read()["visitor"] == changed


class TestMemory(Stories):
    """Memory as cache and durable store."""

    @pytest.fixture
    def stores(self, request: pytest.FixtureRequest) -> Stores:
        return memory(request)


class TestSQLite(Stories):
    """SQLite without a cache: the default."""

    @pytest.fixture
    def stores(self, request: pytest.FixtureRequest) -> Iterator[Stores]:
        stores = sqlite(request)
        yield stores
        stores.close()


@pytest.mark.memcached
class TestMemcachedAndSQLite(Stories):
    """A real memcached before SQLite."""

    @pytest.fixture
    def stores(self, request: pytest.FixtureRequest) -> Iterator[Stores]:
        stores = memcached_and_sqlite(request)
        yield stores
        stores.close()

    @pytest.mark.requirement(29)
    def test_memcached_that_was_away(self, tmp_path: Path, memcached_server: MemcachedServer) -> None:
        """What was written while memcached did not answer is seen when it is back, and its stale entry is not."""
        cache = Memcached(memcached_server.address)
        site = Site(Stores(cache=cache, durable=SQLite(tmp_path / "sessions.sqlite3")))
        site.request(lambda session: session.update(n=1, big="x" * 20_000))
        with memcached_server.stopped():
            site.request(lambda session: session.update(n=2))
        assert site.read()["n"] == 2
        site.stores.close()

    def test_logout_while_memcached_was_away(self, tmp_path: Path, memcached_server: MemcachedServer) -> None:
        """A session that ended while memcached did not answer is not continued: what is written later is a new one."""
        cache = Memcached(memcached_server.address)
        site = Site(Stores(cache=cache, durable=SQLite(tmp_path / "sessions.sqlite3")))
        site.request(lambda session: session.update(n=1, big="x" * 20_000))
        old = site.browser.copy()
        with memcached_server.stopped():
            site.request(Session.terminate)
        site.request(lambda session: session.update(late=1), old)
        assert "n" not in site.read(old)
        site.stores.close()


@pytest.mark.memcached
@pytest.mark.datastore
class TestMemcachedAndDatastore(Stories):
    """A real memcached before both Datastore emulators."""

    @pytest.fixture
    def stores(self, request: pytest.FixtureRequest, datastore_emulator: object) -> Iterator[Stores]:
        stores = memcached_and_datastore(request)
        yield stores
        stores.close()
