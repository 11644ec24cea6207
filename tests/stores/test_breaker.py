"""Tests of `holdall_stores.breaker`, with a store that counts its calls and fails on demand."""

from collections.abc import Sequence

import pytest
from holdall import Answer, Command, Get, Missing, StoreError, StoreTooLarge, StoreUnavailable, Tier, UsageError
from holdall.testing import FakeClock
from holdall_stores.breaker import Breaker

GET = Get(Tier.CACHE, "k")


class Flaky:
    """Misses, or raises `error` while there is one."""

    def __init__(self) -> None:
        self.error: StoreError | None = None
        self.calls = 0
        self.closed = False

    def execute(self, command: Command, /) -> Answer:
        self.calls += 1
        if self.error is not None:
            raise self.error
        return Missing()

    def close(self) -> None:
        self.closed = True


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def store() -> Flaky:
    return Flaky()


@pytest.fixture
def breaker(store: Flaky, clock: FakeClock) -> Breaker:
    return Breaker(store, failures=3, pause=1.0, clock=clock)


def fail(breaker: Breaker, times: int) -> None:
    for _ in range(times):
        with pytest.raises(StoreUnavailable):
            breaker.execute(GET)


def test_answers_pass(store: Flaky, breaker: Breaker) -> None:
    """While a store answers, its breaker is not noticed."""
    assert [breaker.execute(GET) for _ in range(9)] == [Missing()] * 9
    assert store.calls == 9


@pytest.mark.requirement(36)
def test_failures_in_a_row_open_it(store: Flaky, breaker: Breaker) -> None:
    """After so many failures in a row the store is not asked any more."""
    store.error = StoreUnavailable("down")
    fail(breaker, 9)

    assert store.calls == 3


def test_an_answer_starts_the_count_again(store: Flaky, breaker: Breaker) -> None:
    """Failures with an answer in between are not in a row."""
    for _ in range(3):
        store.error = StoreUnavailable("down")
        fail(breaker, 2)
        store.error = None
        assert breaker.execute(GET) == Missing()


def test_a_value_too_large_is_no_failure(store: Flaky, breaker: Breaker) -> None:
    """Refusals of large values say nothing about the server, good or bad."""
    store.error = StoreUnavailable("down")
    fail(breaker, 2)
    store.error = StoreTooLarge(2, 1)
    for _ in range(9):
        with pytest.raises(StoreTooLarge):
            breaker.execute(GET)
    store.error = StoreUnavailable("down")
    fail(breaker, 2)

    assert store.calls == 2 + 9 + 1


@pytest.mark.requirement(36)
def test_after_the_pause_one_call_goes_through(store: Flaky, breaker: Breaker, clock: FakeClock) -> None:
    """When the pause is over one call tries the store, and if it fails the next pause begins."""
    store.error = StoreUnavailable("down")
    fail(breaker, 5)
    clock.advance(0.9)
    fail(breaker, 1)
    assert store.calls == 3

    clock.advance(0.1)
    fail(breaker, 5)
    assert store.calls == 4


def test_an_answer_after_the_pause_closes_it(store: Flaky, breaker: Breaker, clock: FakeClock) -> None:
    """When the store answers again all calls reach it."""
    store.error = StoreUnavailable("down")
    fail(breaker, 5)
    store.error = None
    clock.advance(1)

    assert [breaker.execute(GET) for _ in range(3)] == [Missing()] * 3
    assert store.calls == 3 + 3


def test_the_others_wait_for_the_call_that_tries(store: Flaky, breaker: Breaker, clock: FakeClock) -> None:
    """While the one call after the pause is under way, others fail at once."""
    store.error = StoreUnavailable("down")
    fail(breaker, 3)
    clock.advance(1)

    class Slow(StoreUnavailable):
        pass

    def execute(command: Command, /) -> Answer:
        fail(breaker, 3)
        raise Slow("down")

    store.execute = execute  # type: ignore[method-assign]
    with pytest.raises(Slow):
        breaker.execute(GET)


def test_many_commands_are_one_call(store: Flaky, breaker: Breaker) -> None:
    """Several commands in one call pass as one does, count as one, and wait as one."""

    def execute_many(commands: Sequence[Command], /) -> list[Answer]:
        return [store.execute(command) for command in commands[:1]] * len(commands)

    store.execute_many = execute_many  # type: ignore[attr-defined]
    assert breaker.execute_many([GET, GET]) == [Missing(), Missing()]
    store.error = StoreUnavailable("down")
    for _ in range(2):
        with pytest.raises(StoreUnavailable, match="down"):
            breaker.execute_many([GET, GET])
    fail(breaker, 1)
    with pytest.raises(StoreUnavailable, match="left alone"):
        breaker.execute_many([GET, GET])
    assert store.calls == 1 + 3


def test_close_closes_the_store(store: Flaky, breaker: Breaker) -> None:
    """Closing reaches the store."""
    breaker.close()

    assert store.closed


@pytest.mark.parametrize(("failures", "pause", "setting"), [(0, 1.0, "failures=0"), (1, 0.0, "pause=0")])
def test_settings_are_checked(store: Flaky, failures: int, pause: float, setting: str) -> None:
    """A breaker that would be open for ever, or never, is a usage error."""
    with pytest.raises(UsageError, match=setting):
        Breaker(store, failures, pause)
