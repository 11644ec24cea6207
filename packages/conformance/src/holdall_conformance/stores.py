"""What every store does, as pytest classes to be subclassed: `StoreConformance`, and `CacheConformance` for caches.

One fixture says which `store` is meant, class attributes say how large its values may be. Each test is one duty and
fails for no other; where a duty builds on others that are not done, it is skipped and names them. What only one store
does belongs in that store's own tests, and nothing here knows any store.
"""

import os
import secrets
import select
import signal
import threading
import time
import warnings
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any, ClassVar, NoReturn, Protocol

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
    StoreError,
    StoreTooLarge,
    StoreUnavailable,
    Tier,
)
from holdall.testing import FakeClock
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, rule, run_state_machine_as_test

_HOUR = 3600
_DAY = 24 * _HOUR
_LATEST = 2**40 - 1  # the latest end, in seconds UTC since 1970, that a session can be given
_THREADS = 8
_SHOWN = 40  # bytes of a value that a message shows


class Store(Protocol):
    """What is tested: a store as docs/stores.md describes it."""

    def execute(self, command: Command, /) -> Answer:
        """Carry out one command; raises `StoreUnavailable` or `StoreTooLarge`, and nothing else."""

    def close(self) -> None:
        """Let go of connections and files."""


class _Trial:
    """Puts commands to the store that is tested, and says in words where it fails its users."""

    def __init__(self, store: Store, tier: Tier, clock: FakeClock | None) -> None:
        self.store = store
        self.tier = tier
        self.clock = clock

    # -- commands, with answers of the right type --------------------------------------------------------------------

    def get(self, key: str) -> Found | Missing:
        answer: Found | Missing = self._ask(Get(self.tier, key), Found, Missing)
        if isinstance(answer, Found) and not (type(answer.value) is bytes and type(answer.version) is int):
            self.fail(
                key, f"Get answered {_shown(answer)}, whose value is not bytes or whose version is no int", _TYPES
            )
        return answer

    def put(self, key: str, value: bytes, expect: int | Expect, lifetime: int = _HOUR) -> Stored | Conflict:
        """Put a value that ends `lifetime` seconds from now, or ended if that is negative."""
        return self.put_until(key, value, expect, self.now + lifetime)

    def put_until(self, key: str, value: bytes, expect: int | Expect, expires: int) -> Stored | Conflict:
        answer: Stored | Conflict = self._ask(Put(self.tier, key, value, expires, expect), Stored, Conflict)
        return answer

    def delete(self, key: str) -> None:
        self._ask(Delete(self.tier, key), Deleted)

    def _ask(self, command: Command, *kinds: type[Any]) -> Any:
        done = _described(command)
        try:
            answer = self.store.execute(command)
        except StoreTooLarge:
            raise
        except StoreUnavailable as error:
            message = f"{done} had no answer ({error}): the tests need a store that works"
            self.fail(command.key, message, "without an answer there is nothing to judge", error)
        except Exception as error:
            self.fail(command.key, f"{done} raised {type(error).__name__}: {error}", _FOREIGN, error)
        if not isinstance(answer, kinds):
            names = " or ".join(kind.__name__ for kind in kinds)
            self.fail(command.key, f"{done} answered {_shown(answer)}, which is not {names}", _TYPES)
        return answer

    @property
    def now(self) -> int:
        return int((self.clock or time.time)())

    # -- commands that must succeed ----------------------------------------------------------------------------------

    def insert(self, key: str, value: bytes, lifetime: int = _HOUR) -> int:
        """Put a value where nothing is; returns its version."""
        __tracebackhide__ = True
        return self.store_it(key, value, Expect.ABSENT, lifetime, "Put(expect=ABSENT) where nothing was")

    def store_it(self, key: str, value: bytes, expect: int | Expect, lifetime: int, did: str) -> int:
        __tracebackhide__ = True
        answer = self.put(key, value, expect, lifetime)
        self.stored(key, did, answer, _KEEPS)
        return self.holds(key, value, f"Get after {did}", _KEEPS).version

    def holds(self, key: str, value: bytes, did: str, promise: str) -> Found:
        """Require that a key holds a value."""
        __tracebackhide__ = True
        answer = self.get(key)
        if not isinstance(answer, Found) or answer.value != value:
            self.fail(key, f"{did} answered {_shown(answer)}, and should find {_shown(value)}", promise)
        return answer

    def stored(self, key: str, did: str, answer: Answer, promise: str) -> None:
        """Require that a Put was answered by Stored."""
        __tracebackhide__ = True
        if not isinstance(answer, Stored):
            self.fail(key, f"{did} answered {_shown(answer)}, and should answer Stored", promise)

    def require(self, key: str, did: str, answer: Answer, expected: Answer, promise: str) -> None:
        """Require an answer."""
        __tracebackhide__ = True
        if answer != expected:
            self.fail(key, f"{did} answered {_shown(answer)}, and should answer {_shown(expected)}", promise)

    def fail(self, key: str, what: str, promise: str, cause: Exception | None = None) -> NoReturn:
        """Say what failed, and for whom."""
        __tracebackhide__ = True
        name = type(self.store).__name__
        raise AssertionError(f"{name}: {what}.\nWhy it matters: {promise}.\nThe key was {key}.") from cause


# Why each duty matters. The rules are those of docs/consistency.md, the table is that of docs/stores.md.
_KEEPS = (
    '"what was acknowledged as durable is not lost" (docs/consistency.md, the promise): the response said that it was'
    " saved, and the user's session is gone"
)
_TYPES = "docs/stores.md: the core knows five answers, and what else it gets fails the request"
_FOREIGN = (
    "docs/stores.md: a store raises StoreUnavailable or StoreTooLarge and nothing else. The core makes 503 of those, or"
    " goes round the cache (docs/consistency.md, rule 13); any other error ends the user's request"
)
_MISS = (
    "docs/consistency.md, rule 13: a miss is an answer, and means that the session is gone; whatever else comes instead"
    " is taken for the user's data, or for a failure"
)
_BYTES = "records are sealed: with one byte changed they do not open, and the session is lost"
_ONE_KEY = "a write for one user would change, or show, the session of another"
_NO_UPSERT = (
    "docs/consistency.md, rule 1: there is no upsert. A request that knows nothing of a newer state would write over"
    " it, and what another request was told is saved would be lost"
)
_STALE = (
    "docs/consistency.md, rules 1 and 2: of two requests that overlap the later one must learn that it comes second, or"
    " it writes over what the first was told is saved"
)
_REVIVAL = (
    '"a session that ended stays ended" (docs/consistency.md, the promise): a slow request would bring back what its'
    " user ended"
)
_REPLACES = (
    "docs/consistency.md, rule 3: only the marker of an ended session is put like this, and must stand whatever was"
    " there; or the user who logged out still is logged in"
)
_DELETES = "docs/stores.md: Deleted says that there is nothing under the key any more, also if there was nothing before"
_LIMIT = (
    "the user's previous session must stay intact when a new state is too large (docs/stores.md: StoreTooLarge comes"
    " before anything is sent); without it the core takes a truncated or lost session for a saved one"
)
_ENDS = "docs/consistency.md, rule 14: absolute expiry is exact; a session that is over must be readable by nobody"
_LASTS = (
    "docs/stores.md: `expires` is absolute, in seconds UTC since 1970. A user who was promised a session for that long"
    " would be logged out early"
)
_RACE = (
    "docs/consistency.md, rule 1: two requests of one user overlap, both are told that they saved, and one of them lost"
    " its changes"
)
_FORK = (
    "servers fork their workers after the application was made (gunicorn --preload): users would get each other's"
    " answers, or none"
)
_CLOSE = "servers close stores at shutdown, and some of them twice"
_TOLD = (
    "docs/stores.md: a durable store's Stored has the version that the value is found with; the core copies it into the"
    " cache entry, and with a wrong one a newer entry is taken for an older (docs/consistency.md, rule 4)"
)
_GROWS = (
    "docs/consistency.md, rules 1 and 4: which of two cache entries is newer is decided by the durable version, so it"
    " grows with every write to the store, and never repeats"
)
_ANSWERS = (
    "docs/stores.md: every operation has a deadline; without one a dead server takes all workers of an application with"
    " it"
)


class CacheConformance:
    """What every store does, also one that may forget and does not tell the versions of what it stored.

    Subclass it, set `oversize`, and have a fixture `store` make yours. The store must have room for a few dozen values
    of a few bytes, besides one of `large` bytes.
    """

    tier: ClassVar[Tier] = Tier.CACHE
    """The tier that commands name."""
    oversize: ClassVar[int]
    """So many bytes are too large a value for this store."""
    large: ClassVar[int] = 900_000
    """So many bytes must come back. Nearly what Datastore holds, so that a session of any size can be cached."""
    rounds: ClassVar[int] = 20
    """How often eight threads write at the same moment; fewer where a conflict takes a store long."""
    examples: ClassVar[int] = 50
    """How many random sequences of commands are compared with a dictionary."""
    patience: ClassVar[float] = 60.0
    """Seconds after which a command that has not come back is taken for one that never will."""

    @pytest.fixture
    def store(self) -> Store:
        """The store that is tested: yours to make. What it holds does not matter, each test uses keys of its own."""
        raise NotImplementedError(f"{type(self).__name__} needs a fixture `store` that makes the store to be tested")

    @pytest.fixture
    def clock(self) -> FakeClock | None:
        """The clock that the store was given; None if it, or its server, goes by the time of day."""
        return None

    @pytest.fixture
    def forking_store(self, store: Store) -> Store:
        """The store that is used on both sides of a fork; `store` itself, unless you need another."""
        return store

    @pytest.fixture
    def trial(self, store: Store, clock: FakeClock | None) -> _Trial:
        """Puts the tests' commands to the store."""
        return _Trial(store, self.tier, clock)

    @pytest.fixture
    def key(self) -> str:
        """A key as the core makes them, "s" and 64 hex digits, that no other test uses."""
        return _new_key()

    # -- values ------------------------------------------------------------------------------------------------------

    def test_what_was_never_written_is_missing(self, trial: _Trial, key: str) -> None:
        """A key that was never written is missing."""
        trial.require(key, "Get of a key that was never written", trial.get(key), Missing(), _MISS)

    @settings(
        max_examples=30,
        deadline=None,
        database=None,
        derandomize=True,
        suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.differing_executors],
    )
    @given(value=st.binary(max_size=3000))
    @example(value=b"")
    @example(value=bytes(range(256)))
    @example(value=b"\r\n\0END\r\n\0")
    def test_any_bytes_come_back(self, trial: _Trial, value: bytes) -> None:
        """Any bytes, none at all too, are found as they were put."""
        key = _new_key()
        did = f"Put(expect=ABSENT) of {len(value)} bytes"
        answer = trial.put(key, value, Expect.ABSENT)
        trial.stored(key, did, answer, _KEEPS)
        trial.holds(key, value, f"Get after {did}", _BYTES)

    def test_a_large_value_comes_back(self, trial: _Trial, key: str) -> None:
        """A value of `large` bytes is found as it was put."""
        value = secrets.token_bytes(self.large)
        answer = trial.put(key, value, Expect.ABSENT)
        trial.stored(key, f"Put of {self.large} bytes", answer, _KEEPS)
        trial.holds(key, value, f"Get after a Put of {self.large} bytes", _BYTES)

    def test_keys_are_apart(self, trial: _Trial, key: str) -> None:
        """Keys that differ in their first or last digit alone hold values of their own, each until it is deleted."""
        self._build_on(trial, self.test_what_was_never_written_is_missing)
        other_digit = {digit: "1" if digit == "0" else "0" for digit in "0123456789abcdef"}
        others = [f"s{other_digit[key[1]]}{key[2:]}", f"{key[:-1]}{other_digit[key[-1]]}"]
        trial.insert(key, b"one")
        for number, other in enumerate(others):
            answer = trial.get(other)
            trial.require(
                other, "Get of a key that differs from a written one in one digit", answer, Missing(), _ONE_KEY
            )
            value = b"another %d" % number
            if not isinstance(trial.put(other, value, Expect.ABSENT), Stored):
                trial.fail(other, "an insert conflicts with a key that differs in one digit", _ONE_KEY)
            trial.holds(key, b"one", "Get after a Put to a key that differs in one digit", _ONE_KEY)
            trial.holds(other, value, "Get of a key that differs in one digit", _ONE_KEY)
        trial.delete(key)
        for number, other in enumerate(others):
            value = b"another %d" % number
            trial.holds(other, value, "Get after a Delete of a key that differs in one digit", _ONE_KEY)

    # -- what a Put expects ------------------------------------------------------------------------------------------

    def test_an_insert_needs_absence(self, trial: _Trial, key: str) -> None:
        """Putting where nothing should be conflicts with a value, and changes nothing."""
        version = trial.insert(key, b"one")
        for lifetime in (_HOUR, -10):
            did = f"Put(expect=ABSENT, expires={lifetime} s from now) over a value"
            trial.require(key, did, trial.put(key, b"two", Expect.ABSENT, lifetime), Conflict(), _NO_UPSERT)
            trial.require(key, f"Get after {did}", trial.get(key), Found(b"one", version), _NO_UPSERT)

    def test_a_replaced_version_conflicts(self, trial: _Trial, key: str) -> None:
        """The version that is there can be replaced; one that was replaced conflicts, and changes nothing."""
        stale = trial.insert(key, b"one")
        # Replaced by the same bytes: what tells writers apart is the version, not the value.
        version = trial.store_it(key, b"one", stale, _HOUR, "Put(expect=the version found)")
        for lifetime in (_HOUR, -10):
            did = f"Put(expect=a version that was replaced, expires={lifetime} s from now)"
            trial.require(key, did, trial.put(key, b"two", stale, lifetime), Conflict(), _STALE)
            trial.require(key, f"Get after {did}", trial.get(key), Found(b"one", version), _STALE)

    def test_a_version_does_not_bring_back(self, trial: _Trial, key: str) -> None:
        """Putting with a version conflicts where the value was deleted, and leaves nothing there."""
        self._build_on(trial, self.test_delete_deletes)
        version = trial.insert(key, b"one")
        trial.delete(key)
        did = "Put(expect=the version of a value that was deleted)"
        trial.require(key, did, trial.put(key, b"two", version), Conflict(), _REVIVAL)
        trial.require(key, f"Get after {did}", trial.get(key), Missing(), _REVIVAL)

    def test_a_version_does_not_return(self, trial: _Trial, key: str) -> None:
        """A version from before a deletion conflicts with an equal value that was inserted afterwards."""
        self._build_on(trial, self.test_delete_deletes, self.test_a_replaced_version_conflicts)
        stale = trial.insert(key, b"one")
        trial.delete(key)
        version = trial.insert(key, b"one")
        did = "Put(expect=the version of an equal value that was deleted and inserted again)"
        trial.require(key, did, trial.put(key, b"two", stale), Conflict(), _STALE)
        trial.require(key, f"Get after {did}", trial.get(key), Found(b"one", version), _STALE)

    def test_anything_is_replaced(self, trial: _Trial, key: str) -> None:
        """Putting over anything replaces a value, under a new version, and inserts where nothing is."""
        self._build_on(trial, self.test_delete_deletes)
        old = trial.insert(key, b"one")
        for there in ("a value", "nothing"):
            did = f"Put(expect=ANYTHING) over {there}"
            answer = trial.put(key, b"marker", Expect.ANYTHING)
            trial.stored(key, did, answer, _REPLACES)
            version = trial.holds(key, b"marker", f"Get after {did}", _REPLACES).version
            if version == old:
                trial.fail(key, f"{did} left the version at {version}, so that older writers do not conflict", _STALE)
            old = version
            trial.delete(key)

    def test_delete_deletes(self, trial: _Trial, key: str) -> None:
        """What was deleted is missing, and deleting what is missing is no error."""
        trial.delete(key)
        trial.insert(key, b"one")
        trial.delete(key)
        trial.require(key, "Get after Delete", trial.get(key), Missing(), _DELETES)
        trial.delete(key)
        trial.require(key, "Get after a second Delete", trial.get(key), Missing(), _DELETES)

    # -- limits ------------------------------------------------------------------------------------------------------

    def test_too_large_a_value_is_refused(self, trial: _Trial, key: str) -> None:
        """A value over the limit raises StoreTooLarge, with its size and the limit, and nothing is changed."""
        version = trial.insert(key, b"one")
        value = bytes(_oversize(self))
        for expect in (version, *Expect):
            did = f"Put(expect={_expectation(expect)}) of {len(value)} bytes"
            self._refused(trial, key, value, expect, did)
            trial.require(key, f"Get after {did}", trial.get(key), Found(b"one", version), _LIMIT)

    def test_a_value_ends_at_its_time(self, trial: _Trial, key: str) -> None:
        """A value whose time has come is stored, is missing at once, and makes room for another."""
        self._build_on(trial, self.test_anything_is_replaced)
        replaced, overwritten = _new_key(), _new_key()
        puts: list[tuple[str, int | Expect]] = [(key, Expect.ABSENT), (replaced, trial.insert(replaced, b"one"))]
        trial.insert(overwritten, b"one")
        for each, expect in (*puts, (overwritten, Expect.ANYTHING)):
            did = f"Put(expect={_expectation(expect)}, expires=10 s ago)"
            answer = trial.put(each, b"two", expect, lifetime=-10)
            trial.stored(each, did, answer, _ENDS)
            trial.require(each, f"Get after {did}", trial.get(each), Missing(), _ENDS)
            answer = trial.put(each, b"three", Expect.ABSENT)
            trial.stored(each, "an insert where a value has expired", answer, _ENDS)
            trial.holds(each, b"three", "Get after an insert where a value has expired", _KEEPS)

    @pytest.mark.parametrize("days", [1, 29, 30, 31, 400, 5000, None])
    def test_a_value_lasts_until_its_time(self, trial: _Trial, key: str, days: int | None) -> None:
        """A value is there before its time, however far away that is; None is the latest that a session can have."""
        expires = _LATEST if days is None else trial.now + days * _DAY
        answer = trial.put_until(key, b"one", Expect.ABSENT, expires)
        did = f"Put(expires={expires}), which is {(expires - trial.now) // _DAY} days from now"
        trial.stored(key, did, answer, _LASTS)
        trial.holds(key, b"one", f"Get right after {did}", _LASTS)

    # -- threads and processes ---------------------------------------------------------------------------------------

    def test_of_overlapping_inserts_one_wins(self, trial: _Trial) -> None:
        """Of eight threads that insert under one key at the same moment one is told Stored, and its value is there."""
        self._build_on(trial, self.test_an_insert_needs_absence)
        keys = [_new_key() for _ in range(self.rounds)]
        together = threading.Barrier(_THREADS)
        answers: dict[tuple[str, int], Answer] = {}

        def insert(number: int) -> None:
            for key in keys:
                together.wait(self.patience)
                answers[key, number] = trial.put(key, b"%d" % number, Expect.ABSENT)

        self._in_threads(insert, together)
        for key in keys:
            winners = [number for number in range(_THREADS) if isinstance(answers[key, number], Stored)]
            if len(winners) != 1:
                message = f"of {_THREADS} threads that inserted at the same moment {len(winners)} were told Stored"
                trial.fail(key, f"{message}, and exactly one should", _RACE)
            trial.holds(key, b"%d" % winners[0], "Get after an insert that one of several threads won", _RACE)

    def test_of_overlapping_replacements_one_wins(self, trial: _Trial, key: str) -> None:
        """Of eight threads that replace one version at the same moment one is told Stored; no addition is lost."""
        self._build_on(trial, self.test_a_replaced_version_conflicts)
        trial.insert(key, b"0")
        together = threading.Barrier(_THREADS)
        wins: list[int] = []  # the round, for every thread that came first in it

        def add(_: int) -> None:
            for number in range(self.rounds):
                together.wait(self.patience)
                first = True
                while True:
                    found = trial.get(key)
                    if not isinstance(found, Found):
                        trial.fail(key, "a value that eight threads replace vanished", _RACE)
                    if first:
                        together.wait(self.patience)  # all have read the same version
                    answer = trial.put(key, b"%d" % (int(found.value) + 1), found.version)
                    if isinstance(answer, Stored):
                        break
                    first = False
                if first:
                    wins.append(number)

        self._in_threads(add, together)
        for number in range(self.rounds):
            if (count := wins.count(number)) != 1:
                message = f"of {_THREADS} threads that replaced one version at the same moment {count} were told Stored"
                trial.fail(key, f"{message}, and exactly one should", _RACE)
        total = _THREADS * self.rounds
        trial.holds(key, b"%d" % total, f"Get after {total} additions of 1 that were told Stored", _RACE)

    @pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
    def test_a_forked_child_goes_on(self, forking_store: Store, clock: FakeClock | None, key: str) -> None:
        """Parent and child of a fork both go on with the store, and each gets the answers to its own commands."""
        trial = _Trial(forking_store, self.tier, clock)
        trial.insert(key, b"from before the fork")

        def work(value: bytes) -> None:
            for _ in range(20):
                own = _new_key()
                trial.holds(key, b"from before the fork", "Get after a fork", _FORK)
                if not isinstance(trial.put(own, value, Expect.ABSENT), Stored):
                    trial.fail(own, "Put(expect=ABSENT) after a fork was not Stored", _FORK)
                trial.holds(own, value, "Get after a Put after a fork", _FORK)

        child = _Child(lambda: work(b"from the child"))
        try:
            work(b"from the parent")
            said = child.said(self.patience)
        finally:
            child.end()
        if said is None:
            trial.fail(key, f"a forked child had not done its commands after {self.patience} s", _FORK)
        elif said:
            trial.fail(key, f"a forked child failed:\n{said}", _FORK)

    def test_close_may_be_repeated(self, trial: _Trial, key: str) -> None:
        """Closing a store is no error, twice neither."""
        trial.insert(key, b"one")
        for time_ in ("first", "second"):
            try:
                trial.store.close()
            except Exception as error:
                trial.fail(key, f"the {time_} close() raised {type(error).__name__}: {error}", _CLOSE, error)

    def test_a_closed_store_is_at_most_unavailable(self, trial: _Trial, key: str) -> None:
        """A store that was closed either answers, or raises StoreUnavailable."""
        trial.insert(key, b"one")
        trial.store.close()
        for command in _one_of_each(self.tier, key, trial.now + _HOUR):
            try:
                trial.store.execute(command)
            except StoreUnavailable:
                pass
            except Exception as error:
                did = f"{_described(command)} on a closed store raised {type(error).__name__}: {error}"
                trial.fail(key, did, _FOREIGN, error)

    # -- all together ------------------------------------------------------------------------------------------------

    def test_any_sequence_of_commands(self, trial: _Trial) -> None:
        """After any sequence of commands the store answers as a dictionary that knows versions and times would."""
        self._build_on(trial, *self._basics())
        factory: Any = partial(_Machine, trial)  # its annotation asks for a class, its documentation for a factory
        run_state_machine_as_test(
            factory,
            settings=settings(
                max_examples=self.examples,
                stateful_step_count=30,
                deadline=None,
                database=None,
                derandomize=True,
                suppress_health_check=list(HealthCheck),
            ),
        )

    def _basics(self) -> list[Callable[[_Trial, str], None]]:
        """What a sequence of commands consists of: where one of these fails, every sequence does."""
        return [
            self.test_what_was_never_written_is_missing,
            self.test_an_insert_needs_absence,
            self.test_a_replaced_version_conflicts,
            self.test_a_version_does_not_bring_back,
            self.test_a_version_does_not_return,
            self.test_anything_is_replaced,
            self.test_delete_deletes,
            self.test_a_value_ends_at_its_time,
        ]

    def _build_on(self, trial: _Trial, *behaviours: Callable[[_Trial, str], None]) -> None:
        """Go on only if these behave, so that one cause makes one failure, whatever the order of the tests."""
        for behaviour in behaviours:
            try:
                behaviour(trial, _new_key())
            except AssertionError:
                pytest.skip(f"not judged before {behaviour.__name__} passes, which this builds on")

    def _refused(self, trial: _Trial, key: str, value: bytes, expect: int | Expect, did: str) -> None:
        try:
            answer = trial.put(key, value, expect)
        except StoreTooLarge as error:
            if error.size != len(value) or not 0 <= error.limit < len(value):
                what = f"{did} raised StoreTooLarge with size={error.size} and limit={error.limit}"
                trial.fail(key, f"{what}: give the bytes of the value, and how many would have been taken", _LIMIT)
        else:
            trial.fail(key, f"{did} answered {_shown(answer)}, and should raise StoreTooLarge", _LIMIT)

    def _in_threads(self, work: Callable[[int], None], together: threading.Barrier) -> None:
        failures: list[BaseException] = []

        def guarded(number: int) -> None:
            try:
                work(number)
            except BaseException as error:
                failures.append(error)
                together.abort()  # nobody waits for a thread that is gone

        threads = [threading.Thread(target=guarded, args=(number,), daemon=True) for number in range(_THREADS)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(self.patience)
        if any(thread.is_alive() for thread in threads):
            raise AssertionError(f"a thread had not done its commands after {self.patience} s.\n{_ANSWERS}.")
        if failures:
            told = [error for error in failures if not isinstance(error, threading.BrokenBarrierError)]
            raise (told or failures)[0]


class StoreConformance(CacheConformance):
    """What a durable store does besides: it tells its versions, they grow for ever, and time is kept to the second.

    Subclass it, set `oversize`, and have a fixture `store` make yours with the fixture `clock` as its clock, which
    these tests move.
    """

    tier = Tier.DURABLE

    @pytest.fixture
    def clock(self) -> FakeClock | None:
        """The clock that the store must be given: expiry is tested by moving it."""
        return FakeClock()

    def test_a_value_ends_at_its_time(self, trial: _Trial, key: str) -> None:
        """A value is there until the second at which it expires; from then on it is missing, and makes room."""
        super().test_a_value_ends_at_its_time(trial, _new_key())
        trial.insert(key, b"one", lifetime=_HOUR)
        _clock(trial).advance(_HOUR - 1)
        trial.holds(key, b"one", "Get one second before the value expires", _LASTS)
        _clock(trial).advance(1)
        trial.require(key, "Get at the second at which the value expires", trial.get(key), Missing(), _ENDS)
        answer = trial.put(key, b"two", Expect.ABSENT)
        trial.stored(key, "an insert where a value has expired", answer, _ENDS)
        trial.holds(key, b"two", "Get after an insert where a value has expired", _KEEPS)

    def test_a_replacement_brings_its_own_time(self, trial: _Trial, key: str) -> None:
        """The time of the newest value counts, be it later or earlier than that of the one it replaced."""
        self._build_on(trial, self.test_a_value_ends_at_its_time)
        did = "Put(expect=the version found)"
        version = trial.insert(key, b"one", lifetime=_HOUR)
        version = trial.store_it(key, b"two", version, 2 * _HOUR, did)
        _clock(trial).advance(_HOUR)
        trial.holds(key, b"two", "Get when the value it replaced would have expired", _LASTS)
        trial.store_it(key, b"three", version, 1, did)
        _clock(trial).advance(1)
        did = "Get when the value has expired, though the one it replaced would not have"
        trial.require(key, did, trial.get(key), Missing(), _ENDS)

    def test_stored_tells_the_version(self, trial: _Trial, key: str) -> None:
        """Stored has the version that is found next, whatever the Put expected."""
        self._build_on(trial, self.test_anything_is_replaced)
        version = self._told(trial, key, Expect.ABSENT)
        self._told(trial, key, version)
        self._told(trial, key, Expect.ANYTHING)

    def test_versions_grow_over_the_whole_store(self, trial: _Trial, key: str) -> None:
        """Every write to the store gets a higher version than all before, over all keys, deletions and expiries."""
        self._build_on(trial, self.test_a_version_does_not_return)
        other = _new_key()
        versions = [
            trial.insert(key, b"one"),
            trial.insert(other, b"one"),
        ]
        versions.append(trial.store_it(key, b"two", versions[0], _HOUR, "Put(expect=the version found)"))
        versions.append(trial.store_it(other, b"two", versions[1], 1, "Put(expect=the version found)"))
        trial.delete(key)
        versions.append(trial.insert(key, b"three"))
        _clock(trial).advance(1)
        versions.append(trial.store_it(other, b"three", Expect.ANYTHING, _HOUR, "Put(expect=ANYTHING) over an expired"))
        versions.append(trial.insert(_new_key(), b"one"))
        if versions != sorted(set(versions)):
            trial.fail(key, f"seven writes to two keys and a third one got the versions {versions}", _GROWS)

    def test_versions_grow_when_the_clock_is_set_back(self, trial: _Trial, key: str) -> None:
        """Versions grow also when the clock is set back, over a deletion too."""
        self._build_on(trial, self.test_a_version_does_not_return)
        before = trial.insert(key, b"one", lifetime=_DAY)
        trial.delete(key)
        _clock(trial).advance(-_HOUR)
        after = trial.insert(key, b"two")
        if after <= before:
            what = f"a write got version {before}, and one after the clock was set back by an hour {after}"
            trial.fail(key, what, _GROWS)

    def _told(self, trial: _Trial, key: str, expect: int | Expect) -> int:
        did = f"Put(expect={_expectation(expect)})"
        answer = trial.put(key, b"one", expect)
        version = trial.holds(key, b"one", f"Get after {did}", _KEEPS).version
        if answer != Stored(version):
            trial.fail(key, f"{did} answered {_shown(answer)}, and the version found next is {version}", _TOLD)
        return version

    def _basics(self) -> list[Callable[[_Trial, str], None]]:
        return [
            *super()._basics(),
            self.test_a_replacement_brings_its_own_time,
            self.test_stored_tells_the_version,
            self.test_versions_grow_over_the_whole_store,
            self.test_versions_grow_when_the_clock_is_set_back,
        ]


class UnavailableConformance:
    """What a store does whose server does not answer. For stores that have a server, a disk or anything to fail.

    Subclass it, set `oversize`, and have a fixture `unavailable` make a store that nobody answers.
    """

    tier: ClassVar[Tier] = Tier.CACHE
    """The tier that commands name."""
    oversize: ClassVar[int]
    """So many bytes are too large a value for this store."""
    patience: ClassVar[float] = 60.0
    """Seconds after which a command that has not come back is taken for one that never will."""

    @pytest.fixture
    def unavailable(self) -> Store:
        """A store whose server is gone, says nothing, or answers nonsense: yours to make."""
        raise NotImplementedError(f"{type(self).__name__} needs a fixture `unavailable` that makes a store")

    def test_no_answer_is_unavailable(self, unavailable: Store) -> None:
        """Every command raises StoreUnavailable, and no other error, within the store's deadline."""
        key = _new_key()
        for command in _one_of_each(self.tier, key, int(time.time()) + _HOUR):
            done, outcome = _described(command), self._outcome(unavailable, command)
            if outcome is None:
                self._fail(unavailable, f"{done} had not come back after {self.patience} s", _ANSWERS)
            if not isinstance(outcome, Exception):
                what = f"{done} answered {_shown(outcome)} without a server"
                self._fail(unavailable, what, f"{_KEEPS}. {_MISS}")
            if not isinstance(outcome, StoreUnavailable):
                what = f"{done} raised {type(outcome).__name__} ({outcome}), and should raise StoreUnavailable"
                self._fail(unavailable, what, _FOREIGN)

    def test_size_is_judged_before_anything_is_sent(self, unavailable: Store) -> None:
        """A value that is too large is StoreTooLarge also where nobody answers."""
        value = bytes(_oversize(self))
        put = Put(self.tier, _new_key(), value, int(time.time()) + _HOUR, Expect.ANYTHING)
        outcome = self._outcome(unavailable, put)
        if not isinstance(outcome, StoreTooLarge):
            what = f"Put of {len(value)} bytes came to {_shown(outcome)} without a server"
            self._fail(unavailable, f"{what}, and should raise StoreTooLarge", _LIMIT)

    def _outcome(self, store: Store, command: Command) -> Answer | StoreError | Exception | None:
        """Return what a command comes to; None if it does not come back."""
        outcomes: list[Answer | Exception] = []

        def execute() -> None:
            try:
                outcomes.append(store.execute(command))
            except Exception as error:
                outcomes.append(error)

        thread = threading.Thread(target=execute, daemon=True)
        thread.start()
        thread.join(self.patience)
        return outcomes[0] if outcomes else None

    def _fail(self, store: Store, what: str, promise: str) -> NoReturn:
        raise AssertionError(f"{type(store).__name__}: {what}.\nWhy it matters: {promise}.")


# -- a dictionary to compare with --------------------------------------------------------------------------------------


class _Kept:
    """What the dictionary has under a key; when it has expired, its version may be replaced all the same."""

    def __init__(self, value: bytes, expires: int, version: int | None) -> None:
        self.value = value
        self.expires = expires
        self.version = version


_WHICH = st.integers(0, 2)
_LIFETIMES = st.sampled_from([10, _HOUR, 7 * _DAY, -10])


class _Machine(RuleBasedStateMachine):
    """Carries out random commands on the store and on a dictionary, and compares the answers."""

    def __init__(self, trial: _Trial) -> None:
        super().__init__()
        self._trial = trial
        self._keys = [_new_key() for _ in range(3)]
        self._kept: dict[str, _Kept] = {}
        self._seen: dict[str, list[int]] = {key: [] for key in self._keys}  # versions, the newest last
        self._writes = 0

    @rule(which=_WHICH)
    def read(self, which: int) -> None:
        self._compare(self._keys[which], "Get")

    @rule(which=_WHICH, lifetime=_LIFETIMES)
    def insert(self, which: int, lifetime: int) -> None:
        key = self._keys[which]
        self._put(key, Expect.ABSENT, lifetime, {Conflict if self._live(key) else Stored})

    @rule(which=_WHICH, back=st.integers(0, 3), lifetime=_LIFETIMES)
    def replace(self, which: int, back: int, lifetime: int) -> None:
        key = self._keys[which]
        if len(self._seen[key]) <= back:
            return
        version = self._seen[key][-1 - back]
        kept = self._kept.get(key)
        allowed: set[type[Stored] | type[Conflict]] = {Conflict}
        if kept is not None and kept.version == version:
            # Whoever has the version of what expired may still replace it (docs/stores.md), but need not be able to.
            allowed = {Stored} if self._live(key) else {Stored, Conflict}
        self._put(key, version, lifetime, allowed)

    @rule(which=_WHICH, lifetime=_LIFETIMES)
    def overwrite(self, which: int, lifetime: int) -> None:
        self._put(self._keys[which], Expect.ANYTHING, lifetime, {Stored})

    @rule(which=_WHICH)
    def delete(self, which: int) -> None:
        key = self._keys[which]
        self._trial.delete(key)
        self._kept.pop(key, None)
        self._compare(key, "Get after Delete")

    @rule(seconds=st.sampled_from([1, 10, _HOUR]))
    def wait(self, seconds: int) -> None:
        if self._trial.clock is not None:
            self._trial.clock.advance(seconds)

    def _live(self, key: str) -> bool:
        kept = self._kept.get(key)
        return kept is not None and kept.expires > self._trial.now

    def _put(
        self, key: str, expect: int | Expect, lifetime: int, allowed: Iterable[type[Stored] | type[Conflict]]
    ) -> None:
        # A store by the time of day cannot be told the time: nothing may expire while the sequence runs.
        lifetime = _HOUR if self._trial.clock is None and lifetime == 10 else lifetime
        self._writes += 1
        value = b"write %d" % self._writes
        did = f"Put(expect={_expectation(expect)}, expires={lifetime} s from now)"
        answer = self._trial.put(key, value, expect, lifetime)
        if type(answer) not in allowed:
            names = " or ".join(sorted(kind.__name__ for kind in allowed))
            self._trial.fail(key, f"{did} answered {_shown(answer)}, and should answer {names}", _STALE)
        if isinstance(answer, Stored):
            self._kept[key] = _Kept(value, self._trial.now + lifetime, answer.version)
            self._note(key, answer.version)
        self._compare(key, f"Get after {did} answered {_shown(answer)}")

    def _compare(self, key: str, did: str) -> None:
        found = self._trial.get(key)
        if not self._live(key):
            self._trial.require(key, did, found, Missing(), f"{_ENDS}. {_REVIVAL}")
            return
        kept = self._kept[key]
        if not isinstance(found, Found) or found.value != kept.value or kept.version not in (None, found.version):
            version = "" if kept.version is None else f" at version {kept.version}"
            what = f"{did}: the answer was {_shown(found)}, and should be {kept.value!r}{version}"
            self._trial.fail(key, what, _KEEPS)
        kept.version = found.version
        self._note(key, found.version)

    def _note(self, key: str, version: int | None) -> None:
        if version is not None and version not in self._seen[key][-1:]:
            if version in self._seen[key]:
                self._trial.fail(key, f"the version {version} came a second time", _GROWS)
            self._seen[key].append(version)


# -- a forked child ----------------------------------------------------------------------------------------------------


class _Child:
    """A forked child that does something, says what failed, and ends."""

    def __init__(self, work: Callable[[], None]) -> None:
        self._from_child, to_parent = os.pipe()
        with warnings.catch_warnings():
            # From 3.12 on Python warns of a fork where there are threads, such as those of a store's client: to fork
            # all the same is the point.
            warnings.simplefilter("ignore", DeprecationWarning)
            self._pid = os.fork()
        if self._pid == 0:
            said = ""
            try:
                work()
            except BaseException as error:
                said = f"{type(error).__name__}: {error}"
            finally:
                os.write(to_parent, said.encode("utf-8", "replace")[:4000] + b"\0")
                os._exit(0)  # nothing of the tests' own goes on in the child
        os.close(to_parent)

    def said(self, patience: float) -> str | None:
        """Wait so many seconds for what the child says: what failed, "" for nothing; None if it says nothing."""
        text = b""
        deadline = time.monotonic() + patience
        while not text.endswith(b"\0"):
            ready, _, _ = select.select([self._from_child], [], [], max(0.0, deadline - time.monotonic()))
            if not ready or not (more := os.read(self._from_child, 65536)):
                return None
            text += more
        return text[:-1].decode()

    def end(self) -> None:
        """Have it gone, also if it hangs."""
        os.close(self._from_child)
        os.kill(self._pid, signal.SIGKILL)  # not waited for yet, so it is still this process
        os.waitpid(self._pid, 0)


# -- words -------------------------------------------------------------------------------------------------------------


def _new_key() -> str:
    return f"s{secrets.token_hex(32)}"


def _oversize(suite: CacheConformance | UnavailableConformance) -> int:
    if not hasattr(type(suite), "oversize"):
        raise NotImplementedError(f"{type(suite).__name__} needs a class attribute `oversize`, in bytes")
    return suite.oversize


def _clock(trial: _Trial) -> FakeClock:
    if trial.clock is None:
        raise NotImplementedError(
            "a durable store is tested with a clock: give the store the fixture `clock` as its own"
        )
    return trial.clock


def _one_of_each(tier: Tier, key: str, expires: int) -> list[Command]:
    puts = [Put(tier, key, b"one", expires, expect) for expect in (1, *Expect)]
    return [Get(tier, key), *puts, Delete(tier, key)]


def _described(command: Command) -> str:
    if isinstance(command, Put):
        return f"Put(expect={_expectation(command.expect)}) of {len(command.value)} bytes"
    return type(command).__name__


def _expectation(expect: int | Expect) -> str:
    return expect.name if isinstance(expect, Expect) else f"version {expect}"


def _shown(thing: object) -> str:
    """Return an answer or a value as a message shows it: with the beginning of its bytes."""
    if isinstance(thing, Found):
        return f"Found({_shown(thing.value)}, version={thing.version!r})"
    if isinstance(thing, bytes) and len(thing) > _SHOWN:
        return f"{thing[:_SHOWN]!r}… ({len(thing)} bytes)"
    return repr(thing)
