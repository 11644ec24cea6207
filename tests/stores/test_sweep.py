"""Tests of `holdall_stores.sweep`."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from holdall import Expect, Put, Tier, UsageError
from holdall.testing import FakeClock
from holdall_stores import Memory, SQLite, Stores, delete_expired_sessions

HOUR = 3600


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def durable(tmp_path: Path, clock: FakeClock) -> Iterator[SQLite]:
    """A store with ten values; five expire in an hour, five later."""
    store = SQLite(tmp_path / "sessions.sqlite3", clock=clock)
    for n in range(10):
        expires = int(clock()) + (HOUR if n % 2 else 2 * HOUR)
        store.execute(Put(Tier.DURABLE, f"k{n}", b"one", expires, Expect.ABSENT))
    yield store
    store.close()


def test_it_says_when_nothing_is_left(durable: SQLite, clock: FakeClock) -> None:
    """It is True when fewer than the limit were found, and False when there may be more."""
    clock.advance(HOUR)

    assert [delete_expired_sessions(durable, limit=2) for _ in range(3)] == [False, False, True]


def test_full_batches_have_to_be_followed_by_another(durable: SQLite, clock: FakeClock) -> None:
    """It cannot know that nothing is left when it found just as many as the limit."""
    clock.advance(HOUR)

    assert [delete_expired_sessions(durable, limit=5) for _ in range(2)] == [False, True]


def test_it_takes_all_stores_too(durable: SQLite, clock: FakeClock) -> None:
    """Given a Stores, it sweeps the durable one."""
    clock.advance(HOUR)

    assert delete_expired_sessions(Stores(cache=Memory(), durable=durable))
    assert durable.delete_expired(500) == 0


@pytest.mark.parametrize("limit", [-1, 0, 501])
def test_the_limit_is_checked(durable: SQLite, limit: int) -> None:
    """A limit outside 1 to 500 is a usage error."""
    with pytest.raises(UsageError, match=f"limit={limit}"):
        delete_expired_sessions(durable, limit)


def test_a_cache_has_nothing_to_sweep() -> None:
    """A Stores without a durable store, or with one that forgets by itself, is a usage error."""
    with pytest.raises(UsageError, match="durable"):
        delete_expired_sessions(Stores(cache=Memory()))
    with pytest.raises(UsageError, match="Memory"):
        delete_expired_sessions(Stores(durable=Memory()))
