"""Tests of `holdall_stores.pool`."""

import gc
import os
from collections.abc import Callable

import pytest
from holdall_stores.pool import Pool


@pytest.fixture
def closed() -> list[str]:
    return []


@pytest.fixture
def pool(closed: list[str]) -> Pool[str]:
    return Pool(closed.append, 2)


def test_the_last_one_given_is_taken_first(pool: Pool[str]) -> None:
    """The connection that was used last is the least likely to have gone stale."""
    pool.give("one")
    pool.give("two")

    assert [pool.take(), pool.take(), pool.take()] == ["two", "one", None]


def test_more_than_it_keeps_are_closed(pool: Pool[str], closed: list[str]) -> None:
    """A connection that there is no room for is closed."""
    for connection in ("one", "two", "three"):
        pool.give(connection)

    assert closed == ["three"]
    assert pool.take() == "two"


def test_close_closes_what_is_idle_and_what_comes_back(pool: Pool[str], closed: list[str]) -> None:
    """After close a connection that was in use is closed when it is given back."""
    pool.give("idle")
    pool.close()
    pool.give("in use")

    assert closed == ["idle", "in use"]
    assert pool.take() is None


def test_a_forgotten_pool_closes_what_is_idle(closed: list[str]) -> None:
    """A pool that nobody refers to any more leaves nothing open."""
    Pool(closed.append, 2).give("idle")
    gc.collect()

    assert closed == ["idle"]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
@pytest.mark.filterwarnings("ignore:.*use of fork:DeprecationWarning")
def test_nothing_is_carried_across_a_fork(pool: Pool[str], closed: list[str]) -> None:
    """What is idle is closed before a fork, so that parent and child share nothing."""
    pool.give("idle")
    if (child := os.fork()) == 0:
        os._exit(0 if pool.take() is None else 1)

    assert os.waitpid(child, 0)[1] == 0
    assert closed == ["idle"]


def test_what_another_process_left_is_never_touched(
    pool: Pool[str], closed: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A child of a fork that told nobody neither takes nor closes what it inherited."""
    pool.give("inherited")
    in_child: Callable[[], int] = lambda: 0  # noqa: E731
    monkeypatch.setattr(os, "getpid", in_child)

    assert pool.take() is None
    pool.close()
    assert closed == []
