"""Sessions of many megabytes on real servers: what they cost, what they lose, and what a dying process leaves behind.

How values are kept in parts is tested in test_parts.py; here whole requests are made, and whole processes killed.
"""

import os
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import timedelta
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.cloud.datastore_v1.services.datastore.transports import DatastoreGrpcTransport
from holdall import (
    Delete,
    Expect,
    Found,
    Get,
    Put,
    Session,
    SessionManager,
    SessionTooLarge,
    SessionUnavailable,
    Tier,
    run,
)
from holdall.session import parse_sid
from holdall.testing import FakeClock
from holdall.tiers import store_key
from holdall_stores import Datastore, Memcached, Memory, SQLite, Store, Stores
from holdall_stores.datastore import new_client
from holdall_stores.parts import Head

from tests import servers
from tests.core.support import KEY, Browser, put
from tests.servers import MemcachedServer
from tests.stores import mortal
from tests.stores.conftest import Emulator
from tests.stores.mortal import PATIENT, Undertaker, text

MB = 1_000_000

Data = dict[str, object]


class Site:
    """A manager over stores, and requests in one line."""

    def __init__(self, stores: Stores, **options: Any) -> None:
        self.stores = stores
        self.manager = SessionManager(KEY, store_budget=timedelta(seconds=PATIENT), **options)
        self.browser = Browser()

    def request(self, act: Callable[[Session], object], browser: Browser | None = None) -> Any:
        browser = browser or self.browser
        exchange = self.manager.open(browser.header, drive=lambda flow: run(flow, self.stores))
        result = act(exchange.session)
        browser.receive(run(exchange.commit(status=200, headers=[]), self.stores))
        return result

    def read(self, browser: Browser | None = None) -> Data:
        return self.request(dict, browser)  # type: ignore[no-any-return]


class CallCounter(grpc.UnaryUnaryClientInterceptor):  # type: ignore[misc]
    """Counts the calls that leave through a channel."""

    def __init__(self) -> None:
        self.calls: Counter[str] = Counter()

    def intercept_unary_unary(self, continuation: Callable[..., Any], details: Any, request: Any) -> Any:
        self.calls[details.method.rpartition("/")[2].lower()] += 1
        return continuation(details, request)


@pytest.fixture(scope="module")
def roomy() -> Iterator[MemcachedServer]:
    """A memcached that has room for what the tests keep in it."""
    with servers.memcached(None, "-m", "512") as server:
        yield server


@pytest.fixture
def memcached(roomy: MemcachedServer) -> MemcachedServer:
    """A memcached that holds nothing."""
    assert roomy.ask("flush_all") == "OK"
    return roomy


def a_cache(memcached: MemcachedServer) -> Memcached:
    return Memcached(memcached.address, connect_timeout=PATIENT, timeout=PATIENT)


def head_of(store: Store, tier: Tier, session: Session) -> Head:
    """Return the head of a stored session."""
    found = store.execute(Get(tier, key_of(session)))
    assert isinstance(found, Found)
    head = Head.unpack(found.value)
    assert head is not None
    assert head.generation.parts > 1
    return head


def lose_a_part(store: Store, tier: Tier, session: Session) -> None:
    """Have one part of a stored session vanish."""
    store.execute(Delete(tier, head_of(store, tier, session).generation.part_keys()[-1]))


def damage_a_part(store: Store, tier: Tier, session: Session) -> None:
    """Have somebody write garbage over one part of a stored session."""
    key = head_of(store, tier, session).generation.part_keys()[-1]
    store.execute(Put(tier, key, b"garbage", 2**31, Expect.ANYTHING))


def key_of(session: Session) -> str:
    sid = parse_sid(session.sid or "")
    assert sid is not None
    return store_key(sid)


# -- what it costs -----------------------------------------------------------------------------------------------------


class Counted(Site):
    """A site on real servers, which tells what a request cost."""

    def __init__(self, memcached: MemcachedServer, counter: CallCounter, stores: Stores, clock: FakeClock) -> None:
        super().__init__(stores, clock=clock)
        self.clock = clock
        self._memcached = memcached
        self._counter = counter

    def cost(self, act: Callable[[Session], object]) -> dict[str, int]:
        """Return how often the servers were called in one request."""
        before = self._count()
        self.request(act)
        return dict(self._count() - before)

    def _count(self) -> Counter[str]:
        names = ("cmd_get", "cmd_set", "delete_hits", "delete_misses")
        return self._counter.calls + Counter({name: int(self._memcached.stat(name)) for name in names})


@pytest.fixture
def counted(memcached: MemcachedServer, datastore_emulator: Emulator, namespace: str) -> Iterator[Counted]:
    client = new_client("test", namespace=namespace, emulator=datastore_emulator.address)
    counter = CallCounter()
    channel = client.stub.grpc_channel
    client.stub = DatastoreGrpcTransport(host=client.host, channel=grpc.intercept_channel(channel, counter))
    with closing(channel), closing(Stores(a_cache(memcached), Datastore(client, timeout=PATIENT))) as stores:
        yield Counted(memcached, counter, stores, FakeClock(time.time()))


@pytest.mark.memcached
@pytest.mark.datastore
class TestOnBothEmulators:
    """A real memcached before both Datastore emulators."""

    def test_a_session_of_10_mb(self, counted: Counted) -> None:
        """10 MB are created, read, changed, refilled and ended, at the costs that docs/stores.md says."""
        site = counted
        create = {"commit": 4, "cmd_set": 11}
        assert site.cost(lambda session: session.update(n=1, big=text(10 * MB))) == create
        assert site.cost(dict) == {"cmd_get": 11}
        change = {"cmd_get": 11 + 1, "lookup": 1, "commit": 4, "cmd_set": 11}
        assert site.cost(lambda session: session.incr("n")) == change
        assert site.read() == {"n": 2, "big": text(10 * MB)}

        assert site._memcached.ask("flush_all") == "OK"
        assert site.cost(dict) == {"cmd_get": 1, "lookup": 4, "cmd_set": 11}
        assert site.read() == {"n": 2, "big": text(10 * MB)}
        assert site.cost(Session.terminate) == {"commit": 1, "cmd_set": 1}
        assert site.read() == {}

    def test_sizes_in_between(self, counted: Counted) -> None:
        """A session grows from the cookie to 16 MB and shrinks again, and comes back whole at every size."""
        for size in (10, 20_000, MB, 1_044_000, 1_045_000, 1_100_000, 4 * MB, 15_900_000, 1_050_000, 100):
            counted.request(put(data=text(size, size)))
            assert counted.read() == {"data": text(size, size)}
            assert counted._memcached.ask("flush_all") == "OK"
            assert counted.read() == {"data": text(size, size)}

    def test_quick_writes(self, counted: Counted) -> None:
        """A quick write to a large session is written to memcached alone, and read from there."""
        counted.request(put(data=text(3 * MB), n=1))
        assert "commit" not in counted.cost(lambda session: session.set_quick("n", 2))
        assert counted.read()["n"] == 2
        assert counted._memcached.ask("flush_all") == "OK"
        assert counted.read() == {"data": text(3 * MB), "n": 1}

    def test_a_part_that_memcached_lost(self, counted: Counted) -> None:
        """When memcached has lost a part, the durable store is asked once, and memcached has all of it again."""
        session = counted.request(lambda session: session.update(data=text(3 * MB)) or session)
        assert counted.stores.cache is not None
        lose_a_part(counted.stores.cache, Tier.CACHE, session)
        assert counted.cost(dict)["lookup"] == 2
        assert counted.cost(dict) == {"cmd_get": 4}
        assert counted.read() == {"data": text(3 * MB)}

    def test_a_part_that_datastore_lost(self, counted: Counted) -> None:
        """When the durable store has lost a part, the session is unavailable: no session is made in its place."""
        session = counted.request(lambda session: session.update(data=text(3 * MB)) or session)
        assert counted.stores.durable is not None
        lose_a_part(counted.stores.durable, Tier.DURABLE, session)
        assert counted._memcached.ask("flush_all") == "OK"
        cookies = dict(counted.browser.cookies)
        for act in (dict, lambda session: session.update(n=1)):
            with pytest.raises(SessionUnavailable, match="lost"):
                counted.request(act)
        assert counted.browser.cookies == cookies
        counted.request(Session.terminate)
        assert counted.read() == {}

    @pytest.mark.requirement(19)
    def test_a_part_that_somebody_damaged(self, counted: Counted) -> None:
        """19: garbage in a part of the durable store is no session and no error, as garbage in a whole value is."""
        session = counted.request(lambda session: session.update(data=text(3 * MB)) or session)
        assert counted.stores.durable is not None
        damage_a_part(counted.stores.durable, Tier.DURABLE, session)
        assert counted._memcached.ask("flush_all") == "OK"
        assert counted.read() == {}
        counted.request(put(n=1))
        assert counted.read() == {"n": 1}

    def test_requests_that_overlap(self, counted: Counted) -> None:
        """Threads that change different keys of one large session all win, and no acknowledged increment is lost."""
        counted.request(put(data=text(2 * MB), n=0))
        done: list[int] = []
        failures: list[BaseException] = []

        def visit(number: int) -> None:
            def act(session: Session) -> None:
                session.incr("n")
                session[f"k{number}"] = number

            for _ in range(2):
                try:
                    counted.request(act, counted.browser.copy())
                except SessionUnavailable:  # beaten by the others for too long: reported, and perhaps not stored
                    continue
                except BaseException as error:
                    failures.append(error)
                    raise
                done.append(number)

        threads = [threading.Thread(target=visit, args=(number,)) for number in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert failures == []
        assert done
        counted.request(lambda session: session.update(last=1))
        data = counted.read()
        assert {"data": text(2 * MB), "last": 1, **{f"k{number}": number for number in done}}.items() <= data.items()
        assert len(done) <= data["n"] <= 6  # type: ignore[operator]


# -- the limit ---------------------------------------------------------------------------------------------------------


def memory(tmp_path: Path) -> Stores:
    return Stores(cache=Memory(), durable=Memory())


def sqlite(tmp_path: Path) -> Stores:
    return Stores(durable=SQLite(tmp_path / "sessions.sqlite3"))


@pytest.mark.requirement(34)
@pytest.mark.parametrize("make", [memory, sqlite])
def test_the_limit_is_the_same_in_every_store(make: Callable[[Path], Stores], tmp_path: Path) -> None:
    """By default 15.9 MB are kept and 16.1 MB refused, and then the previous state stays, whatever the stores are."""
    site = Site(make(tmp_path))
    site.request(put(data=text(15_900_000)))
    with pytest.raises(SessionTooLarge) as refused:
        site.request(put(data=text(16_100_000)))
    assert refused.value.limit == 16 * MB
    assert 16_100_000 < refused.value.size < 16_200_000
    assert "max_session_bytes=16000000" in str(refused.value.__cause__)
    assert site.read() == {"data": text(15_900_000)}
    site.stores.close()


@pytest.mark.memcached
def test_memcached_alone(memcached: MemcachedServer) -> None:
    """Without a durable store a session of 5 MB is kept all the same; when a part is lost it has ended, whole."""
    cache = a_cache(memcached)
    site = Site(Stores(cache=cache), no_datastore=True)
    session = site.request(lambda session: session.update(data=text(5 * MB)) or session)
    site.request(put(n=1))
    assert site.read() == {"data": text(5 * MB), "n": 1}
    with pytest.raises(SessionTooLarge):
        site.request(put(more=text(12 * MB)))
    assert site.read() == {"data": text(5 * MB), "n": 1}

    lose_a_part(cache, Tier.CACHE, session)
    assert site.read() == {}
    site.request(put(data=text(4 * MB)))
    assert site.read() == {"data": text(4 * MB)}
    cache.close()


def test_a_session_that_ended_cannot_be_opened_any_more() -> None:
    """After terminate parts may be left over, but the nonce of their seal is nowhere: the keys alone open nothing."""

    class Small(Memory):
        max_value_bytes = 10_000

    durable, cache = Small(), Small()
    site = Site(Stores(cache, durable))
    session = site.request(lambda session: session.update(data=text(MB)) or session)
    heads = {tier: head_of(store, tier, session) for tier, store in ((Tier.CACHE, cache), (Tier.DURABLE, durable))}
    site.request(Session.terminate)
    assert site.read() == {}

    for tier, store in ((Tier.CACHE, cache), (Tier.DURABLE, durable)):
        first = heads[tier].first
        keys = [key_of(session), *heads[tier].generation.part_keys()]
        answers = [store.execute(Get(tier, key)) for key in keys]
        dump = [answer.value for answer in answers if isinstance(answer, Found)]
        assert first[0] == 1
        assert len(dump) == len(keys)
        assert not any(first[5:29] in value for value in dump)


# -- processes that die ------------------------------------------------------------------------------------------------


class Servers:
    """Real stores, and requests by processes that live and by some that die."""

    def __init__(self, memcached: MemcachedServer, emulator: Emulator, namespace: str, undertaker: Undertaker) -> None:
        self._memcached = memcached
        self._places = {"memcached": memcached.address, "emulator": emulator.address, "namespace": namespace}
        self._undertaker = undertaker
        durable = Datastore.from_parts("test", namespace=namespace, emulator=emulator.address, timeout=PATIENT)
        self.site = Site(Stores(a_cache(memcached), durable))

    def begin(self, **values: object) -> None:
        """Have a new browser with a session of its own."""
        self.site.browser = Browser()
        self.site.request(put(**values))

    def dies(self, step: int, act: str, size: int = 0, number: int = 0) -> bool:
        """Make a request in a process that is killed before that command, if it comes to that; tells whether it did."""
        cookies = self.site.browser.header
        return self._undertaker.request(**self._places, cookies=cookies, step=step, act=act, size=size, number=number)

    def seen(self) -> list[Data]:
        """Return what the browser's next request finds in memcached, and what without it."""
        found = self.site.read(self.site.browser.copy())
        # What memcached has may be older, for as long as it is trusted: the browser was never told of anything newer.
        assert self._memcached.ask("flush_all") == "OK"
        return [found, self.site.read(self.site.browser.copy())]


@pytest.fixture(scope="module")
def undertaker() -> Iterator[Undertaker]:
    with mortal.undertaker() as undertaker:
        yield undertaker


@pytest.fixture
def real(
    memcached: MemcachedServer, datastore_emulator: Emulator, namespace: str, undertaker: Undertaker
) -> Iterator[Servers]:
    real = Servers(memcached, datastore_emulator, namespace, undertaker)
    with closing(real.site.stores):
        yield real


MANY = 200  # more commands than any request takes


@pytest.mark.requirement(33)
@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
@pytest.mark.memcached
@pytest.mark.datastore
class TestKilled:
    """A process dies before its first command, its second, and so on, until one comes through."""

    def test_while_it_changes_10_mb(self, real: Servers) -> None:
        """A session of 10 MB is found as it was or as it became, whole, and can be changed and read by others."""
        old: Data = {"n": 0, "data": text(10 * MB)}
        real.begin(**old)
        after = 0
        for step in range(MANY):
            new = {**old, "data": text(10 * MB, step + 1)}
            killed = real.dies(step, "fill", 10 * MB, step + 1)
            seen = real.seen()
            assert all(found in (old, new) for found in seen)
            if not killed:
                assert seen == [new, new]
                break
            after += seen[1] == new
            real.site.request(lambda session: session.incr("n"))
            old = real.site.read()
            assert old == {**seen[1], "n": step + 1}
        # Reading is a head and ten parts; the commit one look at the head, three times parts, and a head; the copy in
        # memcached a look at the head, ten parts, and a head. Some of those that died had stored the new value.
        assert step >= 11 + 5 + 12
        assert after == 12

    def test_while_a_session_grows(self, real: Servers) -> None:
        """A browser whose session did not get out of its cookie goes on with it, and may grow it again."""
        for step in range(MANY):
            real.begin(n=step)
            if not real.dies(step, "fill", 3 * MB):
                break
            assert real.seen() == [{"n": step}] * 2
            real.site.request(put(data=text(2 * MB, step)))
            assert real.seen() == [{"n": step, "data": text(2 * MB, step)}] * 2
        assert step == 2 + 4

    def test_while_a_session_shrinks(self, real: Servers) -> None:
        """A session is found large or small."""
        large: Data = {"n": 1, "data": text(3 * MB)}
        for step in range(MANY):
            real.begin(**large)
            killed = real.dies(step, "empty")
            seen = real.seen()
            assert all(found in (large, {"n": 1}) for found in seen)
            if not killed:
                assert seen == [{"n": 1}] * 2
                break
        assert step == 4 + 1 + 1

    @pytest.mark.parametrize("end", ["terminate", "regenerate_id"])
    def test_while_a_session_ends(self, real: Servers, end: str) -> None:
        """A session that ends or gets a new id is found under its old one whole or not at all, and then never again."""
        large: Data = {"n": 1, "data": text(3 * MB)}
        for step in range(MANY):
            real.begin(**large)
            killed = real.dies(step, end)
            seen = real.seen()
            assert all(found in (large, {}) for found in seen)
            if seen[1] == {}:
                assert real.seen() == [{}, {}]
            if not killed:
                assert seen == [{}, {}]
                break
        assert step > 0
