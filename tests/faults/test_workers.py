"""Connections that break under load, in workers of every kind: threads, preloaded (forked) ones, gevent's greenlets."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.core.support import Browser
from tests.emulators import OPTIMISTIC, EmulatorServer
from tests.faults.load import APPLICATION, CLIENTS, LARGE, PATIENT, Load, Site, begin, check, look, meanwhile, until
from tests.faults.proxy import proxy
from tests.servers import MemcachedServer, memcached
from tests.wsgi.serving import GEVENT, GUNICORN, PRELOADED, Server, server

USED_APPLICATION = "tests.faults.served:make_used_application()"
BROKEN = 150  # connections to memcached, at least: many more than may be open
# In each worker: its eight threads, or as many requests as there are at once, may each have one to memcached and three
# files of SQLite's, and gRPC some.
OPEN = 40


@pytest.fixture
def cache() -> Iterator[MemcachedServer]:
    """A memcached whose connections nobody else has."""
    with memcached() as running:
        yield running


def open_files(web: Server) -> dict[int, int]:
    """Return how many files each of two workers has open."""
    found: dict[int, int] = {}

    def both() -> bool:
        answer = look(web, Browser(), "/open")
        found[answer["pid"]] = answer["open"]
        return len(found) == 2

    until(both)
    return found


@pytest.mark.memcached
@pytest.mark.parametrize(
    ("kind", "application"),
    [(GUNICORN, APPLICATION), (PRELOADED, USED_APPLICATION), (GEVENT, APPLICATION)],
    ids=["threads", "preloaded", "gevent"],
)
def test_connections_are_not_leaked(cache: MemcachedServer, tmp_path: Path, kind: str, application: str) -> None:
    """However often connections break, every request is counted once, and what is broken is closed."""
    with proxy(cache.address) as line, server(kind, tmp_path, application) as web:
        durable = f"sqlite:///{tmp_path / 'sessions.db'}?timeout={PATIENT}"
        web.start(cache=f"memcached://{line.address}", durable=durable, HOLDALL_TEST_BUDGET=PATIENT)
        site = Site(web, cache, line)
        clients = [begin(web, LARGE) for _ in range(CLIENTS)]
        with Load(web, clients):
            until(meanwhile(clients))
            before, tried = open_files(web), line.tried

            def broken() -> bool:
                line.reset()
                return line.tried - tried > BROKEN

            until(broken)
            until(meanwhile(clients))
        after = open_files(web)
        assert set(after) == set(before), "a worker died"
        assert all(after[pid] <= before[pid] + OPEN for pid in before)
        # One for each of eight threads in two workers, or for each of six clients' tabs, and the one that asks.
        until(lambda: int(cache.stat("curr_connections")) <= 2 * 8 + 2)
        check(site, clients)
        assert sum(client.unknown for client in clients) == 0, "the durable store was there all the time"


@pytest.mark.memcached
@pytest.mark.datastore
@pytest.mark.parametrize("datastore", [OPTIMISTIC], indirect=True, scope="session")
def test_preloaded_workers_share_nothing(cache: MemcachedServer, datastore: EmulatorServer, tmp_path: Path) -> None:
    """Workers forked from a process that had used memcached and Datastore have connections of their own."""
    with proxy(datastore.address) as line, server(PRELOADED, tmp_path, USED_APPLICATION) as web:
        durable = f"datastore://test/workers?emulator={line.address}&timeout={PATIENT}"
        web.start(cache=f"memcached://{cache.address}", durable=durable, HOLDALL_TEST_BUDGET=PATIENT)
        clients = [begin(web, LARGE) for _ in range(CLIENTS)]
        with Load(web, clients):
            until(meanwhile(clients, 20))
            workers = open_files(web)
        check(Site(web, cache, line), clients)
        assert sum(client.unknown for client in clients) == 0
        assert line.tried >= 1 + len(workers)  # a busy machine may have a worker connect again
