"""The simulated servers answer as real stores do: the suite of real stores passes, and faults do what they say."""

import threading

import pytest
from holdall import Answer, Command, Expect, Found, Get, Missing, Put, Stored, StoreTooLarge, Tier
from holdall.testing import FakeClock
from holdall_conformance.stores import CacheConformance, StoreConformance

from tests.simulation.servers import Cache, Durable, Server

LIMIT = 2**21
HOUR = 3600


class OneByOne:
    """What a simulation does without: several threads take turns, and a value can be too large."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._lock = threading.Lock()

    def execute(self, command: Command) -> Answer:
        if isinstance(command, Put) and len(command.value) > LIMIT:
            raise StoreTooLarge(len(command.value), LIMIT)
        with self._lock:
            return self._server.execute(command)

    def close(self) -> None:
        pass


class TestCache(CacheConformance):
    oversize = LIMIT + 1

    @pytest.fixture
    def clock(self) -> FakeClock:
        return FakeClock()

    @pytest.fixture
    def store(self, clock: FakeClock) -> OneByOne:
        return OneByOne(Cache(clock))


class TestDurable(StoreConformance):
    oversize = LIMIT + 1

    @pytest.fixture
    def clock(self) -> FakeClock:
        return FakeClock()

    @pytest.fixture
    def store(self, clock: FakeClock) -> OneByOne:
        return OneByOne(Durable(clock))


def put(server: Server, value: bytes) -> Answer:
    return server.execute(Put(Tier.DURABLE, "key", value, int(FakeClock()()) + HOUR, Expect.ANYTHING))


def value(server: Server) -> bytes | None:
    answer = server.execute(Get(Tier.DURABLE, "key"))
    return answer.value if isinstance(answer, Found) else None


def test_a_restored_store_never_repeats_a_version() -> None:
    """After a backup is restored the old value is there again, and what is written next has a version of its own."""
    durable = Durable(FakeClock())
    put(durable, b"old")
    durable.back_up()
    lost = put(durable, b"new")
    durable.restore()
    assert value(durable) == b"old"
    after = put(durable, b"newer")
    assert isinstance(lost, Stored)
    assert isinstance(after, Stored)
    assert lost.version is not None
    assert after.version is not None
    assert after.version > lost.version


def test_a_cache_forgets() -> None:
    """Flushed it counts on, restarted it counts anew."""
    cache = Cache(FakeClock())
    put(cache, b"a")
    cache.flush()
    assert value(cache) is None
    put(cache, b"b")
    assert cache.version == 2
    cache.restart()
    assert cache.execute(Get(Tier.CACHE, "key")) == Missing()
    assert cache.version == 0


def test_a_cache_fails_over_to_a_stale_copy_and_back() -> None:
    """The replica has what it was told last; the primary, what it had when it failed."""
    cache = Cache(FakeClock())
    put(cache, b"1")
    cache.replicate()
    put(cache, b"2")
    cache.fail_over()
    assert value(cache) == b"1"
    put(cache, b"3")
    cache.fail_back()
    assert value(cache) == b"2"
    cache.fail_over()
    assert value(cache) == b"3"
