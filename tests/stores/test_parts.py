"""Tests of `holdall_stores.parts`: values in parts over `Memory`, with every command watched, and over real servers.

Whole sessions of this size, and processes that die with them, are in test_large_sessions.py.
"""

import secrets
import socket
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from typing import Any

import pytest
from google.cloud.datastore_v1 import types
from holdall import (
    Answer,
    Command,
    Conflict,
    Delete,
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
    UsageError,
)
from holdall.testing import FakeClock
from holdall_conformance.stores import CacheConformance, StoreConformance, UnavailableConformance
from holdall_stores import Datastore, Memcached, Memory, Store, Stores, delete_expired_sessions
from holdall_stores.datastore import new_client
from holdall_stores.parts import FIRST_BYTES, Generation, Head, InParts, Retired
from hypothesis import given
from hypothesis import strategies as st

from tests.servers import MemcachedServer
from tests.stores.conftest import Emulator

PART = 1_024
HOUR = 3_600
PATIENT = 20.0  # seconds: a busy machine shall neither make a failure nor hide one

OLD = b"\x01old" + secrets.token_bytes(4 * PART)
NEW = b"\x01new" + secrets.token_bytes(3 * PART)
SMALL = b"\x01small"
MARKER = b"\x01ended"


class Killed(BaseException):
    """The process is gone: nothing it does from now on reaches a store."""


class Watched(Memory):
    """A store of small values that notes every command, and has something happen before or after some."""

    def __init__(self, clock: Callable[[], float]) -> None:
        super().__init__(clock=clock)
        self.commands: list[Command] = []
        self.before: Callable[[Command], object] = lambda command: None
        self.after: Callable[[Command], object] = lambda command: None

    def execute(self, command: Command, /) -> Answer:
        self.before(command)
        assert not isinstance(command, Put) or len(command.value) <= PART
        self.commands.append(command)
        answer = super().execute(command)
        self.after(command)
        return answer

    def held(self) -> dict[str, bytes]:
        """Return what there is, by key."""
        return {key: found.value for key, (found, _) in self._values.items()}


class World:
    """A store in parts over `Memory`, with clocks that stand still."""

    def __init__(self, *, forgets: bool = False, **options: Any) -> None:
        self.clock = FakeClock()
        self.inner = Watched(self.clock)
        self.tier = Tier.CACHE if forgets else Tier.DURABLE
        self.store = InParts(self.inner, PART, forgets=forgets, clock=self.clock, **options)

    def put(self, value: bytes, expect: int | Expect = Expect.ABSENT, lifetime: int = HOUR) -> Answer:
        return self.store.execute(Put(self.tier, "k", value, int(self.clock()) + lifetime, expect))

    def get(self) -> Answer:
        return self.store.execute(Get(self.tier, "k"))

    def set(self, value: bytes | None) -> int:
        """Have this value there, or nothing; returns its version."""
        if value is None:
            return 0
        there = self.get()
        answer = self.put(value, there.version if isinstance(there, Found) else Expect.ABSENT)
        assert isinstance(answer, Stored)
        assert answer.version is not None
        return answer.version

    def version(self) -> int:
        """Return the version of what is there."""
        answer = self.get()
        assert isinstance(answer, Found)
        return answer.version

    def value(self) -> bytes | None:
        """Return what a reader finds."""
        answer = self.get()
        return answer.value if isinstance(answer, Found) else None

    def did(self, act: Callable[[], object]) -> list[str]:
        """Return the commands that something takes."""
        del self.inner.commands[:]
        act()
        return [type(command).__name__ for command in self.inner.commands]

    def parts(self) -> list[str]:
        return [key for key in self.inner.held() if key != "k"]

    def head(self) -> Head:
        head = Head.unpack(self.inner.held()["k"])
        assert head is not None
        return head


@pytest.fixture
def world() -> World:
    return World()


@pytest.fixture
def cache() -> World:
    return World(forgets=True)


# -- the head ----------------------------------------------------------------------------------------------------------

GENERATIONS = st.builds(Generation, st.binary(min_size=16, max_size=16), st.integers(0, 2**16 - 1))
SECONDS = st.integers(0, 2**40)


@st.composite
def heads(draw: st.DrawFn) -> Head:
    size = draw(st.integers(0, 2**50))
    shortened = min(size, FIRST_BYTES)
    return Head(
        draw(GENERATIONS),
        size,
        draw(st.binary(min_size=32, max_size=32)),
        draw(st.binary(min_size=shortened, max_size=shortened)),
        tuple(draw(st.lists(st.builds(Retired, GENERATIONS, SECONDS), max_size=16))),
    )


class TestHead:
    @given(heads())
    def test_comes_back(self, head: Head) -> None:
        """A head is read as it was written, begins with a byte that no sealed value has, and fits the smallest part."""
        packed = head.pack()
        assert Head.unpack(packed) == head
        assert packed[:2] == b"\x00\x01"
        assert len(packed) <= PART

    @given(st.binary(max_size=300))
    def test_any_bytes_are_a_head_or_not(self, rest: bytes) -> None:
        """Whatever bytes there are, they are a head in the one spelling that it has, or damaged."""
        packed = b"\x00\x01" + rest
        head = Head.unpack(packed)
        assert head is None or head.pack() == packed

    @given(heads(), st.data())
    def test_a_head_that_was_cut_off(self, head: Head, data: st.DataObject) -> None:
        """What is left of a head has lost retired generations at most, or is damaged."""
        packed = head.pack()
        cut = Head.unpack(packed[: data.draw(st.integers(0, len(packed) - 1))])
        assert cut is None or (cut._replace(retired=()) == head._replace(retired=()) and cut.retired != head.retired)

    @given(st.integers(0, 255).filter(lambda number: number != 1), st.binary(max_size=300))
    def test_another_format(self, number: int, rest: bytes) -> None:
        """A head of another format is no head, and nothing that may be taken for damaged."""
        with pytest.raises(StoreUnavailable, match="newer"):
            Head.unpack(bytes([0, number]) + rest)

    def test_part_keys(self) -> None:
        """The keys of parts are ASCII, different, short enough for memcached, and of no session."""
        keys = Generation(bytes(range(16)), 3).part_keys()
        assert keys == [f"p000102030405060708090a0b0c0d0e0f-{number}" for number in range(3)]


# -- values of all sizes -----------------------------------------------------------------------------------------------


class TestSizes:
    @pytest.mark.parametrize(
        "size", [0, 1, 63, 64, 65, PART, PART + 1, PART + 63, PART + 64, PART + 65, 5 * PART, 5 * PART + 64, 100 * PART]
    )
    @pytest.mark.parametrize("first", [b"\x00", b"\x01"])
    def test_all_sizes_come_back(self, world: World, size: int, first: bytes) -> None:
        """A value of any size comes back, also one that begins as a head does, with the version that was told."""
        value = (first + secrets.token_bytes(size))[:size]
        version = world.set(value)
        assert world.get() == Found(value, version)
        version = world.set(value[::-1])
        assert world.get() == Found(value[::-1], version)

    @pytest.mark.parametrize("value", [b"", SMALL, b"\x01" * PART])
    def test_what_fits_is_stored_as_it_is(self, world: World, value: bytes) -> None:
        """A value that the store takes is stored byte for byte, and costs one command, however it is used."""
        assert world.did(lambda: world.put(value)) == ["Put"]
        assert world.inner.held() == {"k": value}
        version = world.version()
        assert world.did(world.get) == ["Get"]
        assert world.did(lambda: world.put(value, version)) == ["Put"]
        assert world.did(lambda: world.put(value, Expect.ANYTHING)) == ["Put"]
        assert world.did(lambda: world.store.execute(Delete(world.tier, "k"))) == ["Delete"]

    def test_what_a_large_value_costs(self, world: World) -> None:
        """A new one: its parts and the head; read: the head and its parts; replaced: one read of the head besides."""
        value = b"\x01" * (FIRST_BYTES + 3 * PART)
        assert world.did(lambda: world.put(value)) == ["Put"] * 4
        version = world.version()
        assert world.did(world.get) == ["Get"] * 4
        assert world.did(lambda: world.put(value, version)) == ["Get"] + ["Put"] * 4
        assert world.did(lambda: world.store.execute(Delete(world.tier, "k"))) == ["Delete"]

    def test_parts_are_equal_and_expire_with_their_head(self, world: World) -> None:
        """All commands of a large value have its expiry; none replaces a part; the head comes last."""
        world.set(NEW)
        world.put(OLD, world.version())
        puts = [command for command in world.inner.commands if isinstance(command, Put)]
        assert {put.expires for put in puts} == {int(world.clock()) + HOUR}
        parts = [put.key for put in puts if put.key != "k"]
        assert len(set(parts)) == len(parts) == 3 + 4
        assert [put.key for put in puts].index("k") == 3
        assert puts[-1].key == "k"

    def test_a_replaced_version_costs_no_parts(self, world: World) -> None:
        """A large value that comes second is a conflict before any part is sent."""
        version = world.set(NEW)
        world.set(OLD)
        assert world.did(lambda: world.put(NEW, version)) == ["Get"]
        assert world.put(NEW, version) == Conflict()

    def test_too_many_parts(self, world: World) -> None:
        """More parts than a head can count are refused before anything is sent."""
        value = b"\x01" * (FIRST_BYTES + 65_535 * PART + 1)
        with pytest.raises(StoreTooLarge) as refused:
            world.put(value)
        assert (refused.value.size, refused.value.limit) == (len(value), len(value) - 1)
        assert world.inner.commands == []

    def test_parts_have_to_have_a_size(self) -> None:
        """Parts that could not hold a head are a usage error that names the setting."""
        with pytest.raises(UsageError, match="max_value_bytes=1023"):
            InParts(Memory(), 1023, forgets=True)

    def test_close_closes_the_store(self, world: World) -> None:
        """Closing reaches the store."""
        world.set(NEW)
        world.store.close()
        assert world.inner.held() == {}


# -- steps that never happen -------------------------------------------------------------------------------------------

STEPS = {
    "nothing to large": (None, NEW, None),
    "large to large": (OLD, NEW, None),
    "small to large": (SMALL, NEW, None),
    "large to small": (OLD, SMALL, None),
    "large to a marker": (OLD, MARKER, Expect.ANYTHING),
    "large to large, whatever is there": (OLD, NEW, Expect.ANYTHING),
    "large to nothing": (OLD, None, None),
    "a third large one": (OLD, NEW, None),
}
STEPS_MAX = 30


def change(world: World, new: bytes | None, expect: Expect | None) -> Answer:
    """Do what is interrupted: put what `new` says, by default over what is found there, or delete."""
    if new is None:
        return world.store.execute(Delete(world.tier, "k"))
    if expect is None:
        found = world.get()
        return world.put(new, found.version if isinstance(found, Found) else Expect.ABSENT)
    return world.put(new, expect)


def prepared(kind: str, tier: str) -> tuple[World, bytes | None, bytes | None, Expect | None]:
    """Return a world in which the step is about to be done, with old parts that are due to be deleted."""
    old, new, expect = STEPS[kind]
    world = World(forgets=tier == "cache", cache_trust=0 if tier == "durable, no trust" else 60)
    if kind.startswith("a third"):
        world.set(NEW)
        world.clock.advance(1)
    world.set(old)
    world.clock.advance(61)
    return world, old, new, expect


@pytest.mark.requirement(33)
@pytest.mark.parametrize("tier", ["durable", "durable, no trust", "cache"])
@pytest.mark.parametrize("kind", STEPS)
class TestInterrupted:
    def test_killed_at_every_step(self, kind: str, tier: str) -> None:
        """Whatever the command before which its process dies: readers find the old value or the new one, whole."""
        seen = set()
        for steps in range(STEPS_MAX):
            world, old, new, expect = prepared(kind, tier)
            left = steps

            def count(command: Command) -> None:
                nonlocal left
                if not left:
                    raise Killed
                left -= 1

            world.inner.before = count
            try:
                change(world, new, expect)
            except Killed:
                world.inner.before = lambda command: None
                assert world.value() in (old, new)
                seen.add(world.value())
                assert isinstance(world.put(MARKER, Expect.ANYTHING), Stored)
                assert world.value() == MARKER
                continue
            world.inner.before = lambda command: None
            assert world.value() == new
            break
        else:
            pytest.fail("it never ends")
        assert old in seen

    @pytest.mark.parametrize("carried_out", [False, True], ids=["lost command", "lost reply"])
    def test_no_answer_at_every_step(self, kind: str, tier: str, carried_out: bool) -> None:
        """Whatever the command that has no answer: the old value or the new one is there, and Stored was no lie."""
        for step in range(STEPS_MAX):
            world, old, new, expect = prepared(kind, tier)
            left = step
            failed = False

            def lose(command: Command) -> None:
                nonlocal left, failed
                left -= 1
                if left == -1:
                    failed = True
                    raise StoreUnavailable("no answer")

            if carried_out:
                world.inner.after = lose
            else:
                world.inner.before = lose
            try:
                answer: object = change(world, new, expect)
            except StoreUnavailable as error:
                answer = error
            world.inner.before = world.inner.after = lambda command: None
            if isinstance(answer, StoreUnavailable):
                assert world.value() in (old, new)
            else:
                assert world.value() == new
            if not failed:
                return
        pytest.fail("it never ends")

    def test_what_is_left_is_deleted_at_its_expiry(self, kind: str, tier: str) -> None:
        """Whatever the step at which its process dies: no part outlives the expiry that the values had."""
        for steps in range(STEPS_MAX):
            world, _, new, expect = prepared(kind, tier)
            left = steps

            def count(command: Command) -> None:
                nonlocal left
                if not left:
                    raise Killed
                left -= 1

            world.inner.before = count
            try:
                change(world, new, expect)
            except Killed:
                world.inner.before = lambda command: None
                world.clock.advance(HOUR)
                keys = list(world.inner.held())
                assert [world.inner.execute(Get(world.tier, key)) for key in keys] == [Missing()] * len(keys)
            else:
                return
        pytest.fail("it never ends")


# -- what is left over -------------------------------------------------------------------------------------------------


class TestLeftovers:
    def test_the_beginning_is_in_the_head_alone(self, world: World) -> None:
        """No part holds any of the first 64 bytes of its value, of which 24 are the nonce that opens it."""
        world.set(OLD)
        held = world.inner.held()
        head = held.pop("k")
        assert OLD[:FIRST_BYTES] in head
        assert b"".join(held[key] for key in world.head().generation.part_keys()) == OLD[FIRST_BYTES:]
        assert not any(OLD[start : start + 4] in part for part in held.values() for start in range(5, FIRST_BYTES - 4))

    @pytest.mark.parametrize("successor", [MARKER, NEW], ids=["marker", "new"])
    def test_a_replaced_head_takes_the_beginning_along(self, world: World, successor: bytes) -> None:
        """As soon as the value is replaced, the first bytes of the old one are nowhere in the store."""
        world.set(OLD)
        world.put(successor, Expect.ANYTHING)
        dump = b"".join(world.inner.held().values())
        assert OLD[FIRST_BYTES:200] in dump
        assert OLD[5:29] not in dump

    def test_parts_go_after_cache_trust(self, world: World) -> None:
        """The parts of a replaced value stay for readers for 60 s; the first large write after that deletes them."""
        world.set(OLD)
        old = world.parts()
        world.clock.advance(1_000)
        world.set(NEW)
        world.clock.advance(59)
        world.set(NEW)
        assert set(old) < set(world.parts())
        world.clock.advance(1)
        world.set(NEW)
        assert not set(old) & set(world.parts())
        assert len(world.head().retired) == 2

    def test_a_dead_writer_leaves_the_list_to_the_next(self, world: World) -> None:
        """A writer that died after it had deleted old parts leaves them listed: the next one deletes them again."""
        world.set(OLD)
        world.set(NEW)
        (retired,) = world.head().retired
        world.clock.advance(60)

        def die(command: Command) -> None:
            if isinstance(command, Put) and command.key == "k":
                raise Killed

        world.inner.before = die
        with pytest.raises(Killed):
            world.set(NEW)
        world.inner.before = lambda command: None
        assert world.head().retired == (retired,)
        assert world.value() == NEW

    def test_what_cannot_be_deleted_stays_listed(self, world: World) -> None:
        """Old parts that could not be deleted fail no write, and the next one tries again."""
        world.set(OLD)
        world.set(NEW)
        world.clock.advance(60)

        def fail(command: Command) -> None:
            if isinstance(command, Delete):
                raise StoreUnavailable("no answer")

        world.inner.before = fail
        world.set(NEW)
        world.inner.before = lambda command: None
        assert len(world.head().retired) == 2
        world.set(NEW)
        assert len(world.head().retired) == 2
        assert len(world.parts()) == 3 * 3

    def test_they_do_not_pile_up(self, world: World) -> None:
        """A value that is written all the time leaves the parts of 16 old ones, and no more."""
        for number in range(40):
            world.set(b"\x01%d" % number + bytes(2 * PART))
        assert len(world.head().retired) == 16
        assert len(world.parts()) == 17 * 2
        assert isinstance(world.value(), bytes)

    def test_a_loser_cleans_up(self, world: World) -> None:
        """Of two writers that overlap one wins; the other is told, and leaves no parts behind."""
        version = world.set(OLD)
        winner = InParts(world.inner, PART, forgets=False, clock=world.clock)
        answers: list[Answer] = []

        def overtake(command: Command) -> None:
            if isinstance(command, Put) and command.key == "k":
                world.inner.before = lambda command: None
                answers.append(winner.execute(Put(world.tier, "k", NEW, command.expires, version)))

        world.inner.before = overtake
        assert world.put(OLD[::-1], version) == Conflict()
        assert isinstance(answers[0], Stored)
        assert world.value() == NEW
        assert len(world.parts()) == 4 + 3

    def test_a_failed_write_cleans_up(self, world: World) -> None:
        """If a part cannot be stored, the value is as it was, and the parts that could be are deleted."""
        world.set(OLD)
        before = world.inner.held()

        def fail(command: Command) -> None:
            if isinstance(command, Put) and command.key.endswith("-2"):
                raise StoreUnavailable("no answer")

        world.inner.before = fail
        with pytest.raises(StoreUnavailable):
            world.set(NEW)
        assert world.inner.held() == before


# -- parts that are gone -----------------------------------------------------------------------------------------------


def lose(world: World) -> None:
    world.inner.execute(Delete(world.tier, world.head().generation.part_keys()[1]))


def damage(world: World) -> None:
    key = world.head().generation.part_keys()[1]
    part = world.inner.held()[key]
    put = Put(world.tier, key, part[:-1] + bytes([part[-1] ^ 1]), int(world.clock()) + HOUR, Expect.ANYTHING)
    world.inner.execute(put)


def shorten(world: World) -> None:
    key = world.head().generation.part_keys()[-1]
    part = world.inner.held()[key]
    world.inner.execute(Put(world.tier, key, part[:-1], int(world.clock()) + HOUR, Expect.ANYTHING))


def damage_head(world: World) -> None:
    head = world.inner.held()["k"]
    world.inner.execute(Put(world.tier, "k", head[:100], int(world.clock()) + HOUR, Expect.ANYTHING))


DAMAGES = [damage, shorten, damage_head]


@pytest.mark.parametrize("harm", [lose, *DAMAGES])
class TestLost:
    def test_a_cache_has_lost_the_value(self, cache: World, harm: Callable[[World], None]) -> None:
        """In a cache a value that lost a part is missing, and no longer in the way of a refill."""
        version = cache.set(OLD)
        harm(cache)
        there = cache.inner.execute(Get(cache.tier, "k"))
        assert cache.get() == Missing()
        assert cache.put(NEW, version) == Conflict()
        assert isinstance(there, Found)
        assert isinstance(cache.put(NEW), Stored)
        assert cache.value() == NEW

    def test_what_took_its_place_is_read(self, cache: World, harm: Callable[[World], None]) -> None:
        """A value that is replaced while its loss is found out is not removed: the new one is read."""
        cache.set(OLD)
        harm(cache)

        def replace(command: Command) -> None:
            if isinstance(command, Put):
                cache.inner.before = lambda command: None
                cache.put(NEW, Expect.ANYTHING)

        cache.inner.before = replace
        assert cache.value() == NEW


def test_a_durable_store_that_lost_a_part_is_unavailable(world: World) -> None:
    """In a durable store a value that lost a part is never missing: it is unavailable, until it is replaced."""
    world.set(OLD)
    lose(world)
    for _ in range(2):
        with pytest.raises(StoreUnavailable, match="lost"):
            world.get()
    assert world.put(NEW) == Conflict()
    assert isinstance(world.put(MARKER, Expect.ANYTHING), Stored)
    assert world.value() == MARKER


@pytest.mark.requirement(19)
@pytest.mark.parametrize("harm", DAMAGES)
def test_what_is_damaged_in_a_durable_store_is_found(world: World, harm: Callable[[World], None]) -> None:
    """19: what somebody damaged in a durable store is found as it is, for the core to refuse, at its version."""
    world.set(OLD)
    harm(world)
    there = world.inner.execute(Get(world.tier, "k"))
    assert isinstance(there, Found)
    assert world.version() == there.version
    assert world.value() != OLD
    assert isinstance(world.put(NEW, there.version), Stored)
    assert world.value() == NEW


@pytest.mark.parametrize("forgets", [False, True], ids=["durable", "cache"])
class TestReaders:
    @pytest.mark.parametrize(
        ("successor", "found"),
        [(NEW, NEW), (SMALL, SMALL), (MARKER, MARKER), (None, None)],
        ids=["large", "small", "marker", "nothing"],
    )
    def test_a_slow_reader_starts_over(self, forgets: bool, successor: bytes | None, found: bytes | None) -> None:
        """A reader whose parts are deleted between head and parts finds what stands there now."""
        world = World(forgets=forgets, cache_trust=0)
        world.set(OLD)

        def replace(command: Command) -> None:
            if command.key != "k":
                world.inner.before = lambda command: None
                lose(world)
                if successor is None:
                    world.store.execute(Delete(world.tier, "k"))
                else:
                    world.put(successor, Expect.ANYTHING)

        world.inner.before = replace
        assert world.value() == found

    def test_a_reader_does_not_start_over_for_ever(self, forgets: bool) -> None:
        """A value that is replaced whenever it is read is unavailable after four tries; it is not missing."""
        world = World(forgets=forgets)
        world.set(OLD)
        reads = 0

        def replace(command: Command) -> None:
            nonlocal reads
            if isinstance(command, Get) and command.key.endswith("-0"):
                reads += 1
                world.inner.before = lambda command: None
                world.put(OLD, Expect.ANYTHING)
                world.inner.execute(Delete(world.tier, command.key))
                world.inner.before = replace

        world.inner.before = replace
        with pytest.raises(StoreUnavailable, match="faster than it can be read"):
            world.get()
        assert reads == 4

    @pytest.mark.requirement(38)
    def test_another_format_is_left_alone(self, forgets: bool) -> None:
        """A head of a later format is neither served nor removed nor counted as missing."""
        world = World(forgets=forgets)
        later = b"\x00\x02" + bytes(100)
        expires = int(world.clock()) + HOUR
        answer = world.inner.execute(Put(world.tier, "k", later, expires, Expect.ABSENT))
        assert isinstance(answer, Stored)
        assert answer.version is not None
        with pytest.raises(StoreUnavailable, match="newer"):
            world.get()
        with pytest.raises(StoreUnavailable, match="newer"):
            world.put(NEW, answer.version)
        assert world.put(NEW) == Conflict()
        assert world.inner.held() == {"k": later}

    def test_an_expired_value_is_missing(self, forgets: bool) -> None:
        """A value that expires between its head and its parts is missing, in a durable store too."""
        world = World(forgets=forgets)
        world.set(OLD)

        def expire(command: Command) -> None:
            if command.key != "k":
                world.inner.before = lambda command: None
                world.clock.advance(HOUR)

        world.inner.before = expire
        assert world.get() == Missing()


class TestDeadline:
    @pytest.mark.parametrize(
        ("act", "done"), [(lambda world: world.get(), 3), (lambda world: world.put(NEW, Expect.ANYTHING), 2)]
    )
    def test_nothing_is_begun_when_the_time_is_over(self, act: Callable[[World], object], done: int) -> None:
        """A large value whose commands are slow is given up after `timeout` seconds, and what was there stays."""
        timer = FakeClock()
        world = World(timeout=2.0, timer=timer)
        world.set(OLD)
        world.inner.after = lambda command: timer.advance(1)
        del world.inner.commands[:]
        with pytest.raises(StoreUnavailable, match="more than"):
            act(world)
        assert len(world.inner.commands) == done
        world.inner.after = lambda command: None
        assert world.value() == OLD


# -- several commands in one -------------------------------------------------------------------------------------------


class Batching(Watched):
    """Carries out several commands at once."""

    def __init__(self, clock: Callable[[], float]) -> None:
        super().__init__(clock)
        self.batches: list[list[str]] = []

    def execute_many(self, commands: Sequence[Command]) -> list[Answer]:
        self.batches.append([type(command).__name__ for command in commands])
        return [self.execute(command) for command in commands]


def test_parts_go_together() -> None:
    """Where a store carries out several commands at once, parts are put, read and deleted together."""
    clock = FakeClock()
    inner = Batching(clock)
    store = InParts(inner, PART, forgets=False, batch_bytes=2 * PART + 1, clock=clock)
    value = b"\x01" * (FIRST_BYTES + 3 * PART)

    def put(expect: int | Expect) -> int:
        answer = store.execute(Put(Tier.DURABLE, "k", value, int(clock()) + HOUR, expect))
        assert isinstance(answer, Stored)
        assert answer.version is not None
        return answer.version

    version = put(Expect.ABSENT)
    assert store.execute(Get(Tier.DURABLE, "k")) == Found(value, version)
    version = put(version)
    clock.advance(60)
    put(version)

    puts = [["Put"] * 2, ["Put"]]
    assert inner.batches == [*puts, ["Get"] * 2, ["Get"], *puts, *puts, ["Delete"] * 3]


# -- conformance: everything that is put is in parts -------------------------------------------------------------------

PADDING = secrets.token_bytes(3_000)
LIMIT = 1_000_000


class Padded:
    """One tier of `Stores`, which makes short values long: they take three parts and more."""

    def __init__(self, store: Store, tier: Tier) -> None:
        cache, durable = (store, None) if tier is Tier.CACHE else (None, store)
        self._stores = Stores(cache, durable, max_session_bytes=LIMIT)

    def execute(self, command: Command, /) -> Answer:
        if isinstance(command, Put) and len(command.value) <= len(PADDING):
            value = command.value + PADDING
            command = Put(command.tier, command.key, value, command.expires, command.expect)
        (answer,) = self._stores.execute((command,))
        if isinstance(answer, StoreError):
            raise answer
        if isinstance(answer, Found):
            return Found(answer.value.removesuffix(PADDING), answer.version)
        return answer

    def close(self) -> None:
        self._stores.close()


class SmallDatastore(Datastore):
    max_value_bytes = PART


class TestMemoryInParts(StoreConformance):
    oversize = LIMIT + 1

    @pytest.fixture
    def clock(self) -> FakeClock:
        return FakeClock()

    @pytest.fixture
    def store(self, clock: FakeClock) -> Padded:
        # The clock of the parts is the time of day, which decides nothing here but when old parts are deleted.
        inner = Watched(clock)
        inner.max_value_bytes = PART  # type: ignore[attr-defined]
        return Padded(inner, Tier.DURABLE)


@pytest.mark.memcached
class TestMemcachedInParts(CacheConformance):
    oversize = LIMIT + 1

    @pytest.fixture
    def store(self, memcached: MemcachedServer) -> Iterator[Padded]:
        inner = Memcached(memcached.address, connect_timeout=PATIENT, timeout=PATIENT, max_value_bytes=PART)
        with closing(Padded(inner, Tier.CACHE)) as store:
            yield store


@pytest.mark.datastore
class TestDatastoreInParts(StoreConformance):
    oversize = LIMIT + 1
    rounds = 3
    examples = 15

    @pytest.fixture
    def clock(self) -> FakeClock:
        return FakeClock()

    @pytest.fixture
    def store(self, datastore_emulator: Emulator, namespace: str, clock: FakeClock) -> Iterator[Padded]:
        client = new_client("test", namespace=namespace, emulator=datastore_emulator.address)
        with closing(client.stub):
            yield Padded(SmallDatastore(client, timeout=PATIENT, clock=clock), Tier.DURABLE)

    @pytest.fixture
    def forking_store(self, datastore_emulator: Emulator, namespace: str) -> Iterator[Padded]:
        inner = SmallDatastore.from_parts(
            "test", namespace=namespace, emulator=datastore_emulator.address, timeout=PATIENT
        )
        with closing(Padded(inner, Tier.DURABLE)) as store:
            yield store


class TestNobodyAnswers(UnavailableConformance):
    oversize = LIMIT + 1

    @pytest.fixture
    def unavailable(self) -> Iterator[Padded]:
        with socket.socket() as nobody:
            nobody.bind(("127.0.0.1", 0))
            address = f"127.0.0.1:{nobody.getsockname()[1]}"
            with closing(Padded(Memcached(address, max_value_bytes=PART), Tier.CACHE)) as store:
                yield store


# -- many at once on real servers --------------------------------------------------------------------------------------


def values_stay_whole(stores: Sequence[Store], tier: Tier, *, rounds: int) -> None:
    """Have writers replace one value, each with a value of one byte repeated, while readers look at it."""
    key = f"s{secrets.token_hex(32)}"
    writers, readers = stores[: len(stores) // 2], stores[len(stores) // 2 :]
    expires = int(time.time()) + HOUR
    assert isinstance(stores[0].execute(Put(tier, key, b"\x01" * 3 * PART, expires, Expect.ABSENT)), Stored)
    failures: list[BaseException] = []
    wins: list[int] = []
    writing = threading.Event()
    writing.set()

    def write(number: int, store: Store) -> None:
        for size in range(2, 2 + rounds):
            while True:
                found = read(store)
                value = bytes([number]) * (size % 4 + 1) * PART
                if isinstance(store.execute(Put(tier, key, value, expires, found.version)), Stored):
                    wins.append(found.version)
                    break

    def read(store: Store) -> Found:
        found = store.execute(Get(tier, key))
        assert isinstance(found, Found)
        assert len(set(found.value)) == 1
        assert len(found.value) % PART == 0
        return found

    def watch(store: Store) -> None:
        while writing.is_set():
            read(store)

    def guarded(work: Callable[..., None], *arguments: Any) -> threading.Thread:
        def run() -> None:
            try:
                work(*arguments)
            except BaseException as error:
                failures.append(error)

        thread = threading.Thread(target=run)
        thread.start()
        return thread

    writing_threads = [guarded(write, number, store) for number, store in enumerate(writers, start=1)]
    reading_threads = [guarded(watch, store) for store in readers]
    for thread in writing_threads:
        thread.join()
    writing.clear()
    for thread in reading_threads:
        thread.join()
    if failures:
        raise failures[0]
    assert len(wins) == len(writers) * rounds
    assert len(set(wins)) == len(wins), "two writers replaced the same version"


@pytest.mark.memcached
def test_values_of_memcached_stay_whole(memcached: MemcachedServer) -> None:
    """Threads that read and write one large value never see parts of two; each version is replaced once."""
    with closing(Memcached(memcached.address, connect_timeout=PATIENT, timeout=PATIENT)) as inner:
        # Old parts are deleted at once, so that readers meet them gone.
        stores = [InParts(inner, PART, forgets=True, cache_trust=0) for _ in range(6)]
        values_stay_whole(stores, Tier.CACHE, rounds=40)


@pytest.mark.datastore
def test_values_of_datastore_stay_whole(datastore_emulator: Emulator, namespace: str) -> None:
    """Threads that read and write one large value never see parts of two; each version is replaced once."""
    client = new_client("test", namespace=namespace, emulator=datastore_emulator.address)
    with closing(client.stub):
        inner = Datastore(client, timeout=PATIENT)
        stores = [InParts(inner, PART, forgets=False, batch_bytes=2 * PART, cache_trust=60) for _ in range(4)]
        values_stay_whole(stores, Tier.DURABLE, rounds=8)


# -- leftovers on Datastore --------------------------------------------------------------------------------------------


def keys_in(client: Any) -> list[str]:
    """Return the names of all entities in a client's namespace."""
    query = types.Query(kind=[{"name": "HoldallSession"}], projection=[{"property": {"name": "__key__"}}])
    partition = types.PartitionId(project_id="test", namespace_id=client.namespace)
    request = types.RunQueryRequest(project_id="test", partition_id=partition, query=query)
    return [result.entity.key.path[0].name for result in client.stub.run_query(request).batch.entity_results]


@pytest.mark.datastore
def test_leftovers_are_swept(datastore_emulator: Emulator, namespace: str) -> None:
    """Whatever a writer that died and values that ended left behind: delete_expired_sessions leaves nothing."""
    clock = FakeClock(1_800_000_000)
    expires = int(clock()) + HOUR
    client = new_client("test", namespace=namespace, emulator=datastore_emulator.address)
    with closing(client.stub):
        datastore = Datastore(client, timeout=PATIENT, shards=4, clock=clock)

        class Dying:
            def __init__(self, steps: int) -> None:
                self.steps = steps

            def execute(self, command: Command, /) -> Answer:
                self._live()
                return datastore.execute(command)

            def execute_many(self, commands: Sequence[Command], /) -> list[Answer]:
                self._live()
                return datastore.execute_many(commands)

            def _live(self) -> None:
                self.steps -= 1
                if self.steps < 0:
                    raise Killed

            def close(self) -> None:
                pass

        def store(steps: int = STEPS_MAX) -> InParts:
            return InParts(Dying(steps), PART, forgets=False, batch_bytes=PART, clock=clock)

        died = 0
        for steps in range(STEPS_MAX):
            key = f"k{steps}"
            first = store().execute(Put(Tier.DURABLE, key, OLD, expires, Expect.ABSENT))
            assert isinstance(first, Stored)
            try:
                store(steps).execute(Put(Tier.DURABLE, key, NEW, expires, first.version or 0))
            except Killed:
                died += 1
            found = store().execute(Get(Tier.DURABLE, key))
            assert isinstance(found, Found)
            assert found.value in (OLD, NEW)
            if steps % 2:
                store().execute(Put(Tier.DURABLE, key, MARKER, expires, Expect.ANYTHING))
        assert died > 4
        assert not delete_all(datastore)
        assert len(keys_in(client)) > 5 * STEPS_MAX
        clock.advance(2 * HOUR)
        assert delete_all(datastore)
        assert keys_in(client) == []


def delete_all(durable: Datastore) -> int:
    """Sweep until nothing is found; returns how often."""
    times = 0
    while not delete_expired_sessions(durable, limit=100):
        times += 1
    return times
