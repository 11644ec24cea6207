"""Tests of `holdall_stores.memory`: the behaviour of all stores, and what only `Memory` does."""

import os
import subprocess
import sys

import pytest
from holdall import Delete, Expect, Found, Get, Missing, Put, Stored, StoreTooLarge, Tier, UsageError
from holdall.testing import FakeClock
from holdall_conformance.stores import StoreConformance
from holdall_stores import Memory

HOUR = 3600


class TestMemory(StoreConformance):
    oversize = 4 * 2**20

    @pytest.fixture
    def clock(self) -> FakeClock:
        return FakeClock()

    @pytest.fixture
    def store(self, clock: FakeClock) -> Memory:
        return Memory(2 * 2**20, clock)


def put(store: Memory, clock: FakeClock, key: str, size: int, lifetime: int = HOUR) -> None:
    stored = store.execute(Put(Tier.CACHE, key, bytes(size), int(clock()) + lifetime, Expect.ANYTHING))
    assert isinstance(stored, Stored)


def kept(store: Memory, keys: str) -> str:
    return "".join(key for key in keys if isinstance(store.execute(Get(Tier.CACHE, key)), Found))


def test_the_least_recently_used_goes_first() -> None:
    """What was neither read nor written for longest is evicted when bytes run out."""
    clock = FakeClock()
    store = Memory(400, clock)
    for key in "abcd":
        put(store, clock, key, 99)
    kept(store, "a")
    put(store, clock, "b", 99)
    put(store, clock, "e", 150)

    assert kept(store, "abcde") == "abe"


def test_room_is_given_back() -> None:
    """What was deleted, replaced by less or has expired takes no room."""
    clock = FakeClock()
    store = Memory(400, clock)
    for key in "abc":
        put(store, clock, key, 99, lifetime=1 if key == "c" else HOUR)
    store.execute(Delete(Tier.CACHE, "a"))
    put(store, clock, "b", 9)
    clock.advance(1)
    assert kept(store, "c") == ""
    put(store, clock, "d", 389)

    assert kept(store, "abcd") == "bd"


def test_keys_count() -> None:
    """The limit is for key and value together."""
    clock = FakeClock()
    store = Memory(100, clock)
    put(store, clock, "k", 99)

    with pytest.raises(StoreTooLarge) as refused:
        put(store, clock, "k", 100)
    assert (refused.value.size, refused.value.limit) == (100, 99)
    assert kept(store, "k") == "k"


def test_close_forgets() -> None:
    """A store that was closed holds nothing."""
    clock = FakeClock()
    store = Memory(clock=clock)
    put(store, clock, "k", 1)
    store.close()

    assert store.execute(Get(Tier.CACHE, "k")) == Missing()


def test_no_room_at_all_is_refused() -> None:
    """A limit that can hold nothing is a usage error that names it."""
    with pytest.raises(UsageError, match="max_bytes=0"):
        Memory(0)


_FORK = """
import os, threading
from holdall import Delete, Expect, Found, Get, Missing, Put, Tier
from holdall_stores import Memory

store = Memory()
put = Put(Tier.CACHE, "k", b"one", 2**40, Expect.ANYTHING)
store.execute(put)

def work():
    while not done.is_set():
        store.execute(put)

done = threading.Event()
threads = [threading.Thread(target=work) for _ in range(4)]
for thread in threads:
    thread.start()
for _ in range(20):
    child = os.fork()
    if child == 0:
        found = store.execute(Get(Tier.CACHE, "k"))
        store.execute(Delete(Tier.CACHE, "k"))
        os._exit(0 if isinstance(found, Found) else 1)
    assert os.waitpid(child, 0)[1] == 0
    assert isinstance(store.execute(Get(Tier.CACHE, "k")), Found)
done.set()
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
def test_a_forked_child_has_a_copy_of_its_own() -> None:
    """A child of a fork, even while threads use the store, goes on with what was there, and changes its copy alone."""
    subprocess.run([sys.executable, "-c", _FORK], check=True, timeout=60)
