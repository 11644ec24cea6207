"""Stores that fail under load: real clients over HTTP, gunicorn with two workers, memcached, SQLite and Datastore.

What must hold is docs/consistency.md's promise, looked for in what the clients were told: nothing that was acknowledged
is lost, nothing is counted twice, an outage is neither a logout nor a login, and no request hangs.
"""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from http import HTTPStatus

import pytest

from tests.emulators import EmulatorServer
from tests.faults.load import (
    APPLICATION,
    CLIENTS,
    LARGE,
    PATIENT,
    SMALL,
    Client,
    Load,
    Site,
    begin,
    check,
    each_gets,
    meanwhile,
    until,
)
from tests.faults.proxy import Mode, proxy
from tests.servers import memcached
from tests.wsgi.serving import GUNICORN, server

FAULTS = [mode for mode in Mode if mode is not Mode.PASS]


@pytest.fixture(scope="module")
def caching(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """A site that counts in SQLite, and memcached behind the line."""
    folder = tmp_path_factory.mktemp("cache")
    with memcached() as cache, proxy(cache.address) as line, server(GUNICORN, folder, APPLICATION) as web:
        durable = f"sqlite:///{folder / 'sessions.db'}?timeout={PATIENT}"
        web.start(cache=f"memcached://{line.address}", durable=durable, HOLDALL_TEST_BUDGET=PATIENT)
        yield Site(web, cache, line)


@pytest.fixture(scope="module")
def storing(datastore: EmulatorServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """A site with its own memcached, and Datastore behind the line."""
    with ExitStack() as stack:
        cache, line = stack.enter_context(memcached()), stack.enter_context(proxy(datastore.address))
        web = stack.enter_context(server(GUNICORN, tmp_path_factory.mktemp("durable"), APPLICATION))
        web.start(cache=f"memcached://{cache.address}", durable=f"datastore://test/faults?emulator={line.address}")
        yield Site(web, cache, line)


@pytest.mark.requirement(29, 35)
@pytest.mark.memcached
class TestCache:
    """memcached fails, and the durable store is well: slower, and every request is done, and counted once."""

    @contextmanager
    def load(self, site: Site) -> Iterator[list[Client]]:
        clients = [begin(site.web, LARGE) for _ in range(CLIENTS)]
        with Load(site.web, clients):
            until(meanwhile(clients))
            yield clients
            hits = int(site.cache.stat("get_hits"))
            until(lambda: int(site.cache.stat("get_hits")) > hits)  # the breakers have noticed that all is well
        check(site, clients)
        assert sum(client.unknown for client in clients) == 0, "the durable store was there all the time"

    @pytest.mark.parametrize("mode", FAULTS)
    def test_behind_a_bad_line(self, caching: Site, mode: Mode) -> None:
        """Whatever becomes of memcached's bytes, every request is answered in time, and every one is counted once."""
        with self.load(caching) as clients:
            caching.line.set(mode)
            until(meanwhile(clients))
            caching.line.set(Mode.PASS)

    def test_stopped_and_restarted(self, caching: Site) -> None:
        """The cache says nothing for a while, dies, and comes back empty."""
        with self.load(caching) as clients:
            with caching.cache.stopped():
                until(meanwhile(clients))
            until(meanwhile(clients))
            caching.cache.kill()
            until(meanwhile(clients))
            caching.cache.start()
            until(meanwhile(clients))

    def test_a_dead_cache_is_left_alone(self, caching: Site) -> None:
        """While connections are refused most requests try none; when they are accepted, memcached is used again."""
        with self.load(caching) as clients:
            caching.line.set(Mode.RESET)
            before, visits = caching.line.tried, sum(len(client.visits) for client in clients)
            until(meanwhile(clients, 60))
            tried, visits = caching.line.tried - before, sum(len(client.visits) for client in clients) - visits
            caching.line.set(Mode.PASS)
        # Each visit would have tried two, and more to tell the cache of what it wrote.
        assert tried < visits


@pytest.mark.requirement(30, 31)
@pytest.mark.memcached
@pytest.mark.datastore
class TestDurable:
    """Datastore fails: sessions in the cookie go on, the others get 503 with the cookie kept, until all is well."""

    @contextmanager
    def load(self, site: Site) -> Iterator[list[Client]]:
        small, large = begin(site.web, SMALL), [begin(site.web, LARGE) for _ in range(CLIENTS)]
        with Load(site.web, large), Load(site.web, [small], tabs=1):
            until(meanwhile([small, *large]))
            yield large
            until(each_gets(large, HTTPStatus.OK))
        check(site, [small, *large])
        assert small.unknown == 0, "a session in the cookie needs no store"

    @pytest.mark.parametrize("mode", [Mode.STALL, Mode.RESET, Mode.LOSE])
    def test_behind_a_dead_line(self, storing: Site, mode: Mode) -> None:
        """While no answer comes nobody is logged out, and no acknowledged write is lost."""
        with self.load(storing) as large:
            storing.line.set(mode)
            until(each_gets(large, HTTPStatus.SERVICE_UNAVAILABLE))
            storing.line.set(Mode.PASS)

    @pytest.mark.parametrize("mode", [Mode.DELAY, Mode.TRICKLE, Mode.CORRUPT])
    def test_behind_a_bad_line(self, storing: Site, mode: Mode) -> None:
        """Where answers come late, in drops or damaged, some requests may be done, and none is done twice."""
        with self.load(storing) as large:
            storing.line.set(mode)
            until(meanwhile(large))
            storing.line.set(Mode.PASS)

    def test_stopped(self, storing: Site, datastore: EmulatorServer) -> None:
        """Datastore says nothing for a while, and goes on where it was."""
        with self.load(storing) as large, datastore.stopped():
            until(each_gets(large, HTTPStatus.SERVICE_UNAVAILABLE))
