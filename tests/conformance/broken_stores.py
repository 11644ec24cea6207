"""Broken stores, each in one way, and what of the suite must fail for each: what the suite is tested with.

Run by `test_stores.py`, which collects the classes at the end; not by pytest itself. A defect here is one that a store
could really have.
"""

import os
import threading
import time
from collections.abc import Callable, Iterator
from itertools import count
from typing import Any, NamedTuple

import pytest
from holdall import (
    Answer,
    Command,
    Conflict,
    Delete,
    Deleted,
    Expect,
    Found,
    Get,
    Missing,
    Put,
    Stored,
    StoreTooLarge,
    StoreUnavailable,
    Tier,
)
from holdall.testing import FakeClock
from holdall_conformance.stores import CacheConformance, StoreConformance, UnavailableConformance
from holdall_stores import Memory

LIMIT = 2 * 2**20
DAY = 24 * 3600


class Sound:
    """No defect: a store in memory, with a method for each command, to be overridden."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self.clock = clock
        self.memory = Memory(LIMIT, clock)

    def execute(self, command: Command, /) -> Answer:
        match command:
            case Get():
                return self.get(command)
            case Put():
                return self.put(command)
            case Delete():
                return self.delete(command)

    def close(self) -> None:
        self.memory.close()

    def get(self, command: Get) -> Answer:
        return self.memory.execute(command)

    def put(self, command: Put) -> Answer:
        return self.memory.execute(command)

    def delete(self, command: Delete) -> Answer:
        return self.memory.execute(command)

    def there(self, key: str) -> Found | None:
        """Return what is there now."""
        found = self.memory.execute(Get(Tier.DURABLE, key))
        return found if isinstance(found, Found) else None


def but(put: Put, **changes: Any) -> Put:
    """Return a Put with something changed."""
    fields = {name: getattr(put, name) for name in ("tier", "key", "value", "expires", "expect")}
    return Put(**{**fields, **changes})


class DoesNotTell(Sound):
    """No defect in a cache: it tells no versions."""

    def put(self, command: Put) -> Answer:
        answer = super().put(command)
        return Stored(None) if isinstance(answer, Stored) else answer


# -- values ------------------------------------------------------------------------------------------------------------


class FindsWhatWasNeverWritten(Sound):
    """Answers with an empty value for a key that it has never seen."""

    def __init__(self, clock: Callable[[], float]) -> None:
        super().__init__(clock)
        self.seen: set[str] = set()

    def get(self, command: Get) -> Answer:
        return super().get(command) if command.key in self.seen else Found(b"", 0)

    def put(self, command: Put) -> Answer:
        self.seen.add(command.key)
        return super().put(command)


class TakesEmptyForNothing(Sound):
    """Takes a value without bytes for no value."""

    def get(self, command: Get) -> Answer:
        found = super().get(command)
        return found if isinstance(found, Found) and found.value else Missing()


class Truncates(Sound):
    """Keeps the first 500,000 bytes, as a column that is too narrow does."""

    def put(self, command: Put) -> Answer:
        return super().put(but(command, value=command.value[:500_000]) if len(command.value) < LIMIT else command)


class CutsKeys(Sound):
    """Keeps 64 characters of a key, and so returns what is under another one."""

    def execute(self, command: Command, /) -> Answer:
        key = command.key[:64]
        match command:
            case Put():
                return super().execute(but(command, key=key))
            case Get():
                return super().execute(Get(command.tier, key))
            case Delete():
                return super().execute(Delete(command.tier, key))


# -- what a Put expects ------------------------------------------------------------------------------------------------


class Upserts(Sound):
    """Writes where nothing should be whatever is there."""

    def put(self, command: Put) -> Answer:
        return super().put(but(command, expect=Expect.ANYTHING) if command.expect is Expect.ABSENT else command)


class IgnoresVersions(Sound):
    """Replaces whichever version is there."""

    def put(self, command: Put) -> Answer:
        there = self.there(command.key)
        return super().put(but(command, expect=there.version) if there and command.expect in Versions() else command)


class ChangesInSpiteOfAConflict(Sound):
    """Says Conflict, and has replaced the value all the same."""

    def put(self, command: Put) -> Answer:
        answer = super().put(command)
        if isinstance(answer, Conflict) and command.expect in Versions() and self.there(command.key):
            super().put(but(command, expect=Expect.ANYTHING))
        return answer


class BringsBack(Sound):
    """Inserts where a version is expected and nothing is there."""

    def put(self, command: Put) -> Answer:
        gone = command.expect in Versions() and self.there(command.key) is None
        return super().put(but(command, expect=Expect.ABSENT) if gone else command)


class SaysStored(Sound):
    """Says Stored where a version is expected and nothing is there, without looking how many rows it updated."""

    def put(self, command: Put) -> Answer:
        if command.expect in Versions() and self.there(command.key) is None:
            return Stored(1)
        return super().put(command)


class Versions:
    """All expectations of one certain version."""

    def __contains__(self, expect: int | Expect) -> bool:
        return isinstance(expect, int)


class Renumbered(Sound):
    """Gives the versions numbers of its own."""

    def __init__(self, clock: Callable[[], float]) -> None:
        super().__init__(clock)
        self.numbers: dict[str, tuple[int, int]] = {}  # the version of the store in memory, and our own

    def number(self, command: Put, last: int, *, replaced: bool) -> int:
        """Return the version that a write gets; `last` is the one of the key before, `replaced` if it was there."""
        raise NotImplementedError

    def get(self, command: Get) -> Answer:
        found = super().get(command)
        return Found(found.value, self.numbers[command.key][1]) if isinstance(found, Found) else found

    def put(self, command: Put) -> Answer:
        version, number = self.numbers.get(command.key, (0, 0))
        if isinstance(command.expect, int):
            command = but(command, expect=version if command.expect == number else -1)
        replaced = self.there(command.key) is not None
        answer = super().put(command)
        if not isinstance(answer, Stored) or answer.version is None:
            return answer
        number = self.number(command, number, replaced=replaced)
        self.numbers[command.key] = answer.version, number
        return Stored(number)


class RestartsVersions(Renumbered):
    """Counts the versions of a key, and begins anew when it was deleted."""

    def number(self, command: Put, last: int, *, replaced: bool) -> int:
        return last + 1

    def delete(self, command: Delete) -> Answer:
        self.numbers.pop(command.key, None)
        return super().delete(command)


class CountsPerKey(Renumbered):
    """Counts the versions of each key for itself."""

    def number(self, command: Put, last: int, *, replaced: bool) -> int:
        return last + 1


class KeepsTheVersion(Renumbered):
    """Leaves the version as it is when a marker replaces a value."""

    def __init__(self, clock: Callable[[], float]) -> None:
        super().__init__(clock)
        self.counter = count(1)

    def number(self, command: Put, last: int, *, replaced: bool) -> int:
        return last if command.expect is Expect.ANYTHING and replaced else next(self.counter)


class GoesByTheClock(Renumbered):
    """Takes its versions from the clock, and is set back with it."""

    def __init__(self, clock: Callable[[], float]) -> None:
        super().__init__(clock)
        self.counter = count()

    def number(self, command: Put, last: int, *, replaced: bool) -> int:
        return int(self.clock()) * 1_000_000 + next(self.counter)


class NeverReplaces(Sound):
    """Takes "anything" for "nothing"."""

    def put(self, command: Put) -> Answer:
        return super().put(but(command, expect=Expect.ABSENT) if command.expect is Expect.ANYTHING else command)


class DeletesOnlyWhatIsThere(Sound):
    """Raises an error for the deletion of a missing key."""

    def delete(self, command: Delete) -> Answer:
        if self.there(command.key) is None:
            raise KeyError(command.key)
        return super().delete(command)


class DeletesNothing(Sound):
    """Says Deleted, and has done nothing."""

    def delete(self, command: Delete) -> Answer:
        return Deleted()


# -- limits ------------------------------------------------------------------------------------------------------------


class CutsOversize(Sound):
    """Keeps as much of a value that is too large as there is room for, and says Stored."""

    def put(self, command: Put) -> Answer:
        return super().put(but(command, value=command.value[: LIMIT - 100]))


class SwallowsOversize(Sound):
    """Says Stored for a value that is too large, as memcached does with `noreply`."""

    def put(self, command: Put) -> Answer:
        return Stored(1) if len(command.value) > LIMIT else super().put(command)


class DropsBeforeItRefuses(Sound):
    """Removes the old value before it finds that the new one is too large."""

    def put(self, command: Put) -> Answer:
        if len(command.value) > LIMIT:
            self.memory.execute(Delete(command.tier, command.key))
        return super().put(command)


class RefusesWithoutSize(Sound):
    """Raises StoreTooLarge with numbers that mean nothing."""

    def put(self, command: Put) -> Answer:
        if len(command.value) > LIMIT:
            raise StoreTooLarge(0, 0)
        return super().put(command)


class ForgetsExpiry(Sound):
    """Keeps everything for ever."""

    def put(self, command: Put) -> Answer:
        return super().put(but(command, expires=2**40))


class TakesExpiryForRelative(Sound):
    """Adds the time to `expires`, which is absolute."""

    def put(self, command: Put) -> Answer:
        return super().put(but(command, expires=command.expires + int(self.clock())))


class EndsASecondLate(Sound):
    """Answers with a value at the second at which it expires."""

    def put(self, command: Put) -> Answer:
        return super().put(but(command, expires=command.expires + 1))


class ForgetsLongTimes(Sound):
    """Takes more than 30 days for a time that is past, as memcached does with a relative time."""

    def put(self, command: Put) -> Answer:
        return super().put(but(command, expires=0) if command.expires > self.clock() + 30 * DAY else command)


class Has32Bits(Sound):
    """Keeps the time in a signed number of 32 bits."""

    def put(self, command: Put) -> Answer:
        return super().put(but(command, expires=command.expires % 2**32 - 2**32 * (command.expires % 2**32 >= 2**31)))


class NeverExtends(Sound):
    """Lets a value end no later than the one that it replaced."""

    def __init__(self, clock: Callable[[], float]) -> None:
        super().__init__(clock)
        self.ends: dict[str, int] = {}

    def put(self, command: Put) -> Answer:
        if isinstance(command.expect, int):
            command = but(command, expires=min(command.expires, self.ends.get(command.key, command.expires)))
        self.ends[command.key] = command.expires
        return super().put(command)


# -- versions that are told --------------------------------------------------------------------------------------------


class TellsTheVersionBefore(Sound):
    """Stored has the version that was replaced."""

    def put(self, command: Put) -> Answer:
        before = self.there(command.key)
        answer = super().put(command)
        return Stored(before.version) if before and isinstance(answer, Stored) else answer


# -- threads and processes ---------------------------------------------------------------------------------------------


class LooksBeforeItInserts(Sound):
    """Looks whether something is there, and writes afterwards."""

    def put(self, command: Put) -> Answer:
        if command.expect is not Expect.ABSENT or len(command.value) > LIMIT:
            return super().put(command)
        if self.there(command.key) is not None:
            return Conflict()
        let_others_in()
        return super().put(but(command, expect=Expect.ANYTHING))


class LooksBeforeItReplaces(Sound):
    """Looks which version is there, and writes afterwards."""

    def put(self, command: Put) -> Answer:
        if command.expect not in Versions() or len(command.value) > LIMIT:
            return super().put(command)
        there = self.there(command.key)
        if there is None or there.version != command.expect:
            return Conflict()
        let_others_in()
        return super().put(but(command, expect=Expect.ANYTHING))


def let_others_in() -> None:
    """Make wide the gap between looking and writing, where there are other threads."""
    if threading.current_thread() is not threading.main_thread():
        time.sleep(0.01)


class BelongsToOneProcess(Sound):
    """Has a connection that a forked child cannot use."""

    def __init__(self, clock: Callable[[], float]) -> None:
        super().__init__(clock)
        self.process = os.getpid()

    def execute(self, command: Command, /) -> Answer:
        if os.getpid() != self.process:
            raise StoreUnavailable("the connection is another process's")
        return super().execute(command)


class ClosesOnce(Sound):
    """Fails when it is closed again."""

    closed = False

    def close(self) -> None:
        if self.closed:
            raise ValueError("already closed")
        self.closed = True
        super().close()


class FailsWhenClosed(Sound):
    """Raises its client's own error after it was closed."""

    closed = False

    def execute(self, command: Command, /) -> Answer:
        if self.closed:
            raise ConnectionError("the client was closed")
        return super().execute(command)

    def close(self) -> None:
        self.closed = True
        super().close()


class LosesWhatReplacesAMarker(Sound):
    """Says Stored and keeps the old value, but only where that was put over anything: no single command shows it."""

    def __init__(self, clock: Callable[[], float]) -> None:
        super().__init__(clock)
        self.markers: set[str] = set()

    def put(self, command: Put) -> Answer:
        there = self.there(command.key)
        if there and command.key in self.markers and command.expect == there.version:
            return Stored(there.version)
        answer = super().put(command)
        if isinstance(answer, Stored):
            (self.markers.add if command.expect is Expect.ANYTHING else self.markers.discard)(command.key)
        return answer


# -- no server ---------------------------------------------------------------------------------------------------------


class Down:
    """No defect: its server does not answer."""

    def execute(self, command: Command, /) -> Answer:
        if isinstance(command, Put) and len(command.value) > LIMIT:
            raise StoreTooLarge(len(command.value), LIMIT)
        return self.ask(command)

    def close(self) -> None:
        pass

    def ask(self, command: Command) -> Answer:
        raise StoreUnavailable("no answer")


class RaisesItsClientsError(Down):
    """Lets through what its client raises."""

    def ask(self, command: Command) -> Answer:
        raise ConnectionRefusedError("nobody listens")


class TakesFailureForMissing(Down):
    """Makes a failure a miss, as pymemcache does with `ignore_exc`."""

    def ask(self, command: Command) -> Answer:
        if isinstance(command, Get):
            return Missing()
        return super().ask(command)


class WaitsForEver(Down):
    """Has no deadline."""

    def ask(self, command: Command) -> Answer:
        threading.Event().wait()
        raise AssertionError("nobody sets it")


class SendsBeforeItMeasures(Down):
    """Learns only from its server that a value is too large."""

    def execute(self, command: Command, /) -> Answer:
        return self.ask(command)


# -- the table ---------------------------------------------------------------------------------------------------------


class Verdict(NamedTuple):
    """What the suite must say of a store."""

    suite: type[Any]
    store: Callable[..., Any]
    fails: str | None
    """The one test that must fail; None for a store without a defect."""


VERDICTS = (
    Verdict(StoreConformance, Sound, None),
    Verdict(CacheConformance, DoesNotTell, None),
    Verdict(UnavailableConformance, Down, None),
    Verdict(StoreConformance, FindsWhatWasNeverWritten, "test_what_was_never_written_is_missing"),
    Verdict(StoreConformance, TakesEmptyForNothing, "test_any_bytes_come_back"),
    Verdict(StoreConformance, Truncates, "test_a_large_value_comes_back"),
    Verdict(StoreConformance, CutsKeys, "test_keys_are_apart"),
    Verdict(StoreConformance, Upserts, "test_an_insert_needs_absence"),
    Verdict(StoreConformance, IgnoresVersions, "test_a_replaced_version_conflicts"),
    Verdict(StoreConformance, ChangesInSpiteOfAConflict, "test_a_replaced_version_conflicts"),
    Verdict(StoreConformance, BringsBack, "test_a_version_does_not_bring_back"),
    Verdict(StoreConformance, SaysStored, "test_a_version_does_not_bring_back"),
    Verdict(StoreConformance, RestartsVersions, "test_a_version_does_not_return"),
    Verdict(StoreConformance, KeepsTheVersion, "test_anything_is_replaced"),
    Verdict(StoreConformance, NeverReplaces, "test_anything_is_replaced"),
    Verdict(StoreConformance, DeletesOnlyWhatIsThere, "test_delete_deletes"),
    Verdict(StoreConformance, DeletesNothing, "test_delete_deletes"),
    Verdict(StoreConformance, CutsOversize, "test_too_large_a_value_is_refused"),
    Verdict(StoreConformance, SwallowsOversize, "test_too_large_a_value_is_refused"),
    Verdict(StoreConformance, DropsBeforeItRefuses, "test_too_large_a_value_is_refused"),
    Verdict(StoreConformance, RefusesWithoutSize, "test_too_large_a_value_is_refused"),
    Verdict(StoreConformance, ForgetsExpiry, "test_a_value_ends_at_its_time"),
    Verdict(StoreConformance, TakesExpiryForRelative, "test_a_value_ends_at_its_time"),
    Verdict(StoreConformance, EndsASecondLate, "test_a_value_ends_at_its_time"),
    Verdict(CacheConformance, ForgetsExpiry, "test_a_value_ends_at_its_time"),
    Verdict(StoreConformance, ForgetsLongTimes, "test_a_value_lasts_until_its_time"),
    Verdict(StoreConformance, Has32Bits, "test_a_value_lasts_until_its_time"),
    Verdict(StoreConformance, NeverExtends, "test_a_replacement_brings_its_own_time"),
    Verdict(StoreConformance, DoesNotTell, "test_stored_tells_the_version"),
    Verdict(StoreConformance, TellsTheVersionBefore, "test_stored_tells_the_version"),
    Verdict(StoreConformance, CountsPerKey, "test_versions_grow_over_the_whole_store"),
    Verdict(StoreConformance, GoesByTheClock, "test_versions_grow_when_the_clock_is_set_back"),
    Verdict(StoreConformance, LooksBeforeItInserts, "test_of_overlapping_inserts_one_wins"),
    Verdict(StoreConformance, LooksBeforeItReplaces, "test_of_overlapping_replacements_one_wins"),
    Verdict(StoreConformance, BelongsToOneProcess, "test_a_forked_child_goes_on"),
    Verdict(StoreConformance, ClosesOnce, "test_close_may_be_repeated"),
    Verdict(StoreConformance, FailsWhenClosed, "test_a_closed_store_is_at_most_unavailable"),
    Verdict(StoreConformance, LosesWhatReplacesAMarker, "test_any_sequence_of_commands"),
    Verdict(UnavailableConformance, RaisesItsClientsError, "test_no_answer_is_unavailable"),
    Verdict(UnavailableConformance, TakesFailureForMissing, "test_no_answer_is_unavailable"),
    Verdict(UnavailableConformance, WaitsForEver, "test_no_answer_is_unavailable"),
    Verdict(UnavailableConformance, SendsBeforeItMeasures, "test_size_is_judged_before_anything_is_sent"),
)


def class_name(verdict: Verdict) -> str:
    """Return the name of the class that tests a store."""
    return f"Test{verdict.suite.__name__}Of{verdict.store.__name__}"


def _suites() -> Iterator[tuple[str, type[Any]]]:
    for verdict in VERDICTS:
        fixtures: dict[str, Any]
        if verdict.suite is UnavailableConformance:

            @pytest.fixture
            def unavailable(self: Any, verdict: Verdict = verdict) -> Any:
                return verdict.store()

            fixtures = {"unavailable": unavailable}
            if verdict.store is WaitsForEver:
                fixtures["patience"] = 1.0
        else:

            @pytest.fixture
            def store(self: Any, clock: FakeClock | None, verdict: Verdict = verdict) -> Any:
                return verdict.store(clock or time.time)

            # What two commands in a row show, the oldest hypothesis that is supported comes upon late.
            fixtures = {"store": store, "examples": 200 if verdict.store is LosesWhatReplacesAMarker else 20}
        yield class_name(verdict), type(class_name(verdict), (verdict.suite,), {**fixtures, "oversize": 2 * LIMIT})


globals().update(_suites())
