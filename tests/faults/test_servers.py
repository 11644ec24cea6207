"""Stores that fail under load: real clients over HTTP, gunicorn with two workers, memcached, SQLite and Datastore.

What must hold is docs/consistency.md's promise, looked for in what the clients were told: nothing that was acknowledged
is lost, nothing is counted twice, an outage is neither a logout nor a login, and no request hangs.
"""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from http import HTTPStatus
from pathlib import Path

import pytest

from tests.emulators import OPTIMISTIC, emulator
from tests.faults.load import Client, Load, begin, counted, until
from tests.faults.proxy import Mode, Proxy, proxy
from tests.servers import MemcachedServer, memcached
from tests.wsgi.serving import GUNICORN, Server, server

CLIENTS = 3
LARGE, SMALL = 20_000, 10
# No request may take longer. The deadlines allow 0.3 s for memcached's and 1 s for a durable command, of which a read
# needs two at most and a write some more until its budget of 2 s is over; a busy machine adds what it likes.
BUDGET = 30.0
VISITS = 5  # of each client, at least, while something fails


@pytest.fixture
def own_memcached() -> Iterator[MemcachedServer]:
    """A memcached that only these tests break."""
    with memcached() as made:
        yield made


@pytest.fixture
def web(tmp_path: Path) -> Iterator[Server]:
    """A web server, not started yet."""
    with server(GUNICORN, tmp_path) as made:
        yield made


@pytest.fixture(scope="module")
def datastore() -> Iterator[str]:
    """The address of Datastore's emulator."""
    with emulator(OPTIMISTIC) as address:
        yield address


def sqlite(folder: Path) -> str:
    """Return the URL of a file, with patience for the locks of a busy machine."""
    return f"sqlite:///{folder / 'sessions.db'}?timeout=20"


def meanwhile(clients: list[Client]) -> Callable[[], bool]:
    """Return what tells whether each client has been there a few times since now."""
    before = [len(client.visits) for client in clients]
    return lambda: all(len(c.visits) >= n + VISITS for c, n in zip(clients, before, strict=True))


def check(web: Server, clients: list[Client]) -> None:
    """Look at the whole history."""
    for client in clients:
        assert {visit.status for visit in client.visits} <= {0, HTTPStatus.OK, HTTPStatus.SERVICE_UNAVAILABLE}
        for visit in client.visits:
            assert visit.seconds < BUDGET, "a request hung"
            if visit.status == HTTPStatus.SERVICE_UNAVAILABLE:
                assert visit.retry_after
                assert not visit.cookies, "an outage sent a cookie"
        n = counted(web, client)
        assert client.acknowledged <= n <= client.acknowledged + client.unknown


@pytest.mark.requirement(29, 35)
@pytest.mark.memcached
class TestCache:
    """memcached fails, and the durable store is well."""

    @pytest.mark.parametrize("mode", [mode for mode in Mode if mode is not Mode.PASS])
    def test_behind_a_bad_line(self, own_memcached: MemcachedServer, web: Server, tmp_path: Path, mode: Mode) -> None:
        """Whatever becomes of memcached's bytes, every request is answered in time, and every one is counted once."""
        with proxy(own_memcached.address) as between:
            web.start(cache=f"memcached://{between.address}", durable=sqlite(tmp_path))
            clients = [begin(web, LARGE) for _ in range(CLIENTS)]
            with Load(web, clients):
                until(meanwhile(clients))
                between.set(mode)
                until(meanwhile(clients))
                between.set(Mode.PASS)
                until(meanwhile(clients))
            check(web, clients)
            assert sum(client.unknown for client in clients) == 0, "the durable store was there all the time"

    def test_stopped_and_restarted(self, own_memcached: MemcachedServer, web: Server, tmp_path: Path) -> None:
        """The cache says nothing for a while, dies, and comes back empty: slower, and nothing is lost."""
        web.start(cache=f"memcached://{own_memcached.address}", durable=sqlite(tmp_path))
        clients = [begin(web, LARGE) for _ in range(CLIENTS)]
        with Load(web, clients):
            with own_memcached.stopped():
                until(meanwhile(clients))
            until(meanwhile(clients))
            own_memcached.kill()
            until(meanwhile(clients))
            own_memcached.start()
            until(meanwhile(clients))
            until(lambda: int(own_memcached.stat("get_hits")) > 0)  # the breakers have noticed
        check(web, clients)
        assert sum(client.unknown for client in clients) == 0

    def test_connections_are_not_leaked(self, own_memcached: MemcachedServer, web: Server, tmp_path: Path) -> None:
        """However often connections break, there are never more than threads that use them."""
        with proxy(own_memcached.address) as between:
            web.start(cache=f"memcached://{between.address}", durable=sqlite(tmp_path))
            clients = [begin(web, LARGE) for _ in range(CLIENTS)]
            with Load(web, clients):
                for _ in range(5):
                    between.reset()
                    until(meanwhile(clients))
            # Two workers of eight threads, and the one that asks.
            until(lambda: int(own_memcached.stat("curr_connections")) <= 2 * 8 + 2)
        check(web, clients)


@pytest.mark.requirement(30, 31)
@pytest.mark.memcached
@pytest.mark.datastore
class TestDurable:
    """Datastore fails."""

    @pytest.fixture
    def lines(self, own_memcached: MemcachedServer, web: Server, datastore: str) -> Iterator[Proxy]:
        """The line to Datastore, with the web server behind it."""
        with ExitStack() as stack:
            between = stack.enter_context(proxy(datastore))
            durable = f"datastore://test/faults?emulator={between.address}&timeout=2"
            web.start(cache=f"memcached://{own_memcached.address}", durable=durable)
            yield between
            web.kill()

    @pytest.mark.parametrize("mode", [Mode.STALL, Mode.RESET, Mode.LOSE])
    def test_behind_a_bad_line(self, web: Server, lines: Proxy, mode: Mode) -> None:
        """Sessions in the cookie go on, the others get 503 with the cookie kept, and recover; no write is lost."""
        small, large = begin(web, SMALL), [begin(web, LARGE) for _ in range(CLIENTS)]
        with Load(web, large), Load(web, [small], tabs=1):
            until(meanwhile([small, *large]))
            lines.set(mode)
            before = [len(client.visits) for client in large]
            until(meanwhile([small, *large]))
            until(
                lambda: all(
                    any(visit.status == HTTPStatus.SERVICE_UNAVAILABLE for visit in client.visits[n:])
                    for client, n in zip(large, before, strict=True)
                )
            )
            lines.set(Mode.PASS)
            healed = [len(client.visits) for client in large]
            until(
                lambda: all(
                    any(visit.status == HTTPStatus.OK for visit in client.visits[n:])
                    for client, n in zip(large, healed, strict=True)
                )
            )
        check(web, [small, *large])
        assert small.unknown == 0, "a session in the cookie needs no store"
        assert all(client.unknown for client in large), "nothing failed"


@pytest.mark.memcached
def test_killed_under_load(own_memcached: MemcachedServer, web: Server, tmp_path: Path) -> None:
    """The web server and its workers are killed in the middle of everything: what was acknowledged is still there."""
    cache, durable = f"memcached://{own_memcached.address}", sqlite(tmp_path)
    web.start(cache=cache, durable=durable)
    clients = [begin(web, LARGE) for _ in range(CLIENTS)]
    with Load(web, clients):
        for _ in range(3):
            until(meanwhile(clients))
            web.kill()
            web.start(cache=cache, durable=durable)
        until(meanwhile(clients))
    check(web, clients)
