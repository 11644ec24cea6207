"""What a request costs, counted at the servers: docs/contract.md promises upper bounds, and these tests are exact.

memcached counts for itself; calls to the Datastore emulator are counted on the channel, as they leave.
"""

import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from typing import Any

import grpc
import pytest
from google.cloud.datastore_v1.services.datastore.transports import DatastoreGrpcTransport
from holdall import Session
from holdall.testing import FakeClock
from holdall_stores import Memcached, Stores
from holdall_stores.datastore import Datastore, new_client

from tests.core.support import Browser, big
from tests.emulators import OPTIMISTIC, emulator
from tests.servers import MemcachedServer
from tests.wsgi.support import Site

pytestmark = [pytest.mark.memcached, pytest.mark.datastore]

PATIENT = 10.0  # seconds: a call that a busy machine makes slow must not become two


class CallCounter(grpc.UnaryUnaryClientInterceptor):  # type: ignore[misc]
    """Counts the calls that leave through a channel."""

    def __init__(self) -> None:
        self.calls: Counter[str] = Counter()

    def intercept_unary_unary(self, continuation: Callable[..., Any], details: Any, request: Any) -> Any:
        self.calls[details.method.rpartition("/")[2].lower()] += 1
        return continuation(details, request)


class CountedSite(Site):
    """A site on real servers, which tells what a request cost."""

    def __init__(self, memcached: MemcachedServer, counter: CallCounter, **options: Any) -> None:
        super().__init__(**options)
        self._memcached = memcached
        self._counter = counter

    def cost(self, act: Callable[[Session], Any], browser: Browser | None = None) -> dict[str, int]:
        """Return how often each call was made in one request."""
        before = self._count()
        self.request(act, browser)
        assert self.response.code == 200
        return dict(self._count() - before)

    def _count(self) -> Counter[str]:
        names = (
            "cmd_get",
            "cmd_set",
            "cmd_touch",
            "cmd_meta",
            "delete_hits",
            "delete_misses",
            "incr_hits",
            "decr_hits",
        )
        return self._counter.calls + Counter({name: int(self._memcached.stat(name)) for name in names})


@pytest.fixture(scope="module")
def datastore_address() -> Iterator[str]:
    """The optimistic emulator; the tests of stores run both."""
    with emulator(OPTIMISTIC) as address:
        yield address


@pytest.fixture
def site(memcached: MemcachedServer, datastore_address: str) -> Iterator[CountedSite]:
    with counted(memcached, datastore_address) as site:
        yield site


@contextmanager
def counted(memcached: MemcachedServer, datastore: str | None, *, cache: bool = True) -> Iterator[CountedSite]:
    """Yield a site on memcached and Datastore, or on one of them."""
    with ExitStack() as stack:
        counter = CallCounter()
        durable = None
        if datastore is not None:
            client = new_client("test", namespace="calls", emulator=datastore)
            channel = stack.enter_context(closing(client.stub.grpc_channel))
            client.stub = DatastoreGrpcTransport(host=client.host, channel=grpc.intercept_channel(channel, counter))
            durable = Datastore(client, timeout=PATIENT)
        entries = Memcached(memcached.address, connect_timeout=PATIENT, timeout=PATIENT) if cache else None
        stores = stack.enter_context(closing(Stores(cache=entries, durable=durable)))
        clock = FakeClock(time.time())
        yield CountedSite(memcached, counter, stores=stores, no_datastore=durable is None, clock=clock)


@pytest.fixture
def stored(site: CountedSite) -> CountedSite:
    """The same with a session of 20 KB in the stores."""
    site.request(lambda session: session.update(n=1, big=big()))
    return site


def change(session: Session) -> None:
    session["n"] += 1


def test_untouched(stored: CountedSite) -> None:
    """A request that leaves its session alone calls nobody."""
    assert stored.cost(lambda session: None) == {}


def test_cookie_tier(site: CountedSite) -> None:
    """A session in the cookie is created, read, changed and given a new value without any call."""
    assert site.cost(lambda session: session.update(n=1)) == {}
    assert site.cost(dict) == {}
    assert site.cost(change) == {}
    assert site.read() == {"n": 2}


def test_create(site: CountedSite) -> None:
    """Creating 20 KB is two calls: one commit, one add."""
    assert site.cost(lambda session: session.update(big=big())) == {"commit": 1, "cmd_set": 1}


def test_grow(site: CountedSite) -> None:
    """So is the change with which a session outgrows its cookie."""
    site.request(lambda session: session.update(n=1))
    assert site.cost(lambda session: session.update(big=big())) == {"commit": 1, "cmd_set": 1}


def test_read(stored: CountedSite) -> None:
    """Reading 20 KB is one get, however often it is looked at."""
    assert stored.cost(lambda session: [session["n"], session["big"], len(session)]) == {"cmd_get": 1}


def test_write(stored: CountedSite) -> None:
    """Changing 20 KB is three calls: one get, one commit, one cas."""
    assert stored.cost(change) == {"cmd_get": 1, "commit": 1, "cmd_set": 1}
    assert stored.cost(change) == {"cmd_get": 1, "commit": 1, "cmd_set": 1}
    assert stored.read()["n"] == 3


def test_quick_write(stored: CountedSite) -> None:
    """A quick write is one get and one cas: the durable store is not asked."""
    assert stored.cost(lambda session: session.set_quick("n", 2)) == {"cmd_get": 1, "cmd_set": 1}
    assert stored.read()["n"] == 2


def test_read_after_loss(stored: CountedSite, memcached: MemcachedServer) -> None:
    """After memcached forgot, one read is two calls and one that refills it; the next is one call again."""
    assert memcached.ask("flush_all") == "OK"
    assert stored.cost(dict) == {"cmd_get": 1, "lookup": 1, "cmd_set": 1}
    assert stored.cost(dict) == {"cmd_get": 1}


def test_trust(stored: CountedSite) -> None:
    """Once per session and cache_trust, a read asks the durable store too."""
    stored.clock.advance(61)
    assert stored.cost(dict) == {"cmd_get": 1, "lookup": 1, "cmd_set": 1}
    assert stored.cost(dict) == {"cmd_get": 1}


def test_terminate(stored: CountedSite) -> None:
    """A logout is two calls: one marker, one tombstone."""
    assert stored.cost(Session.terminate) == {"commit": 1, "cmd_set": 1}
    assert stored.read() == {}


def test_regenerate(stored: CountedSite) -> None:
    """A new id for 20 KB is five calls: one get, a new record, the old one's marker, a new entry, a tombstone."""
    assert stored.cost(Session.regenerate_id) == {"cmd_get": 1, "commit": 2, "cmd_set": 2}
    assert stored.read()["n"] == 1


def test_conflict(stored: CountedSite) -> None:
    """A change that another one overtook is told so, read again and written again: a lookup and a commit more."""
    other = Browser()
    other.cookies = stored.browser.cookies.copy()

    def overtaken(session: Session) -> None:
        session["n"] += 1
        stored.request(lambda theirs: theirs.update(theirs=1), other)

    theirs = {"cmd_get": 1, "commit": 1, "cmd_set": 1}
    ours = {"cmd_get": 1, "commit": 2, "lookup": 1, "cmd_set": 1}
    lost_cas = {"cmd_get": 1, "cmd_set": 1}  # the copy that was to be replaced is another one by then
    assert stored.cost(overtaken) == Counter(theirs) + Counter(ours) + Counter(lost_cas)
    assert stored.read()["n"] == 2
    assert stored.read()["theirs"] == 1


def test_quick_write_after_loss(stored: CountedSite, memcached: MemcachedServer) -> None:
    """A quick write to what memcached forgot reads the session anew, asks for the entry's number, and writes it."""
    assert memcached.ask("flush_all") == "OK"
    assert stored.cost(lambda session: session.set_quick("n", 2)) == {"cmd_get": 2, "lookup": 1, "cmd_set": 2}
    assert stored.read()["n"] == 2


def test_logout_from_the_cookie(site: CountedSite) -> None:
    """A session in the cookie that ends leaves a marker, so that its cookie is refused should it grow: two calls."""
    site.request(lambda session: session.update(n=1))
    assert site.cost(Session.terminate) == {"commit": 1, "cmd_set": 1}


def test_new_id_in_the_cookie(site: CountedSite) -> None:
    """A new id for a session in the cookie leaves a marker under the old one: two calls."""
    site.request(lambda session: session.update(n=1))
    assert site.cost(Session.regenerate_id) == {"commit": 1, "cmd_set": 1}


def test_memcached_alone(memcached: MemcachedServer) -> None:
    """Without a durable store each row is one call less: creating is one, reading one, changing two, ending one."""
    with counted(memcached, None) as site:
        assert site.cost(lambda session: session.update(n=1, big=big())) == {"cmd_set": 1}
        assert site.cost(dict) == {"cmd_get": 1}
        assert site.cost(change) == {"cmd_get": 1, "cmd_set": 1}
        assert site.cost(Session.terminate) == {"cmd_set": 1}


def test_datastore_alone(memcached: MemcachedServer, datastore_address: str) -> None:
    """Without memcached as well: nothing is copied, and nobody asks for a copy."""
    with counted(memcached, datastore_address, cache=False) as site:
        assert site.cost(lambda session: session.update(n=1, big=big())) == {"commit": 1}
        assert site.cost(dict) == {"lookup": 1}
        assert site.cost(change) == {"lookup": 1, "commit": 1}
        assert site.cost(Session.regenerate_id) == {"lookup": 1, "commit": 2}
        assert site.cost(Session.terminate) == {"commit": 1}
