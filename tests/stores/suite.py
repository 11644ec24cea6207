"""What every store does: `StoreBehaviour`, and `CacheBehaviour` for those that forget. To be subclassed.

What only one store does is in its own tests.
"""

import secrets
import threading
import time
from typing import ClassVar

import pytest
from holdall import (
    Answer,
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
    Tier,
)
from holdall.testing import FakeClock
from holdall_stores import Store
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

HOUR = 3600
DAY = 24 * HOUR


class CacheBehaviour:
    """What every store does, one that forgets and does not tell versions too. A subclass says which `store`."""

    tier: ClassVar[Tier] = Tier.CACHE
    oversize: ClassVar[int]
    """So many bytes are too large a value."""
    increments: ClassVar[int] = 20
    """How often each of eight threads adds one to the same value."""

    @pytest.fixture
    def store(self) -> Store:
        raise NotImplementedError("a subclass says which store is tested")

    @pytest.fixture
    def clock(self) -> FakeClock | None:
        """The clock by which the store judges expiry; None if its server has its own."""
        return None

    @pytest.fixture
    def key(self) -> str:
        """A key like those of the core, that no other test uses."""
        return _new_key()

    def test_nothing_is_missing(self, store: Store, key: str) -> None:
        """A key that was never written is missing."""
        assert store.execute(Get(self.tier, key)) == Missing()

    @pytest.mark.parametrize("expect", list(Expect))
    def test_an_insert_can_be_read(self, store: Store, clock: FakeClock | None, key: str, expect: Expect) -> None:
        """What was put where nothing was is found."""
        stored = self._put(store, clock, key, b"one", expect)

        assert isinstance(stored, Stored)
        assert self._value(store, key) == b"one"

    def test_an_insert_conflicts_with_what_is_there(self, store: Store, clock: FakeClock | None, key: str) -> None:
        """Putting where nothing should be conflicts with a value, and leaves it."""
        self._put(store, clock, key, b"one", Expect.ABSENT)

        assert self._put(store, clock, key, b"two", Expect.ABSENT) == Conflict()
        assert self._value(store, key) == b"one"

    def test_the_version_found_can_be_replaced(self, store: Store, clock: FakeClock | None, key: str) -> None:
        """Putting with the version that was found replaces the value."""
        self._put(store, clock, key, b"one", Expect.ABSENT)

        assert isinstance(self._put(store, clock, key, b"two", self._version(store, key)), Stored)
        assert self._value(store, key) == b"two"

    def test_another_version_conflicts(self, store: Store, clock: FakeClock | None, key: str) -> None:
        """Putting with a version that was replaced conflicts, and leaves the newer value."""
        self._put(store, clock, key, b"one", Expect.ABSENT)
        version = self._version(store, key)
        self._put(store, clock, key, b"two", version)

        assert self._put(store, clock, key, b"three", version) == Conflict()
        assert self._value(store, key) == b"two"

    def test_a_version_conflicts_with_nothing(self, store: Store, clock: FakeClock | None, key: str) -> None:
        """Putting with a version conflicts where the value was deleted, and does not bring it back."""
        self._put(store, clock, key, b"one", Expect.ABSENT)
        version = self._version(store, key)
        store.execute(Delete(self.tier, key))

        assert self._put(store, clock, key, b"two", version) == Conflict()
        assert store.execute(Get(self.tier, key)) == Missing()

    def test_the_same_bytes_again_are_another_version(self, store: Store, clock: FakeClock | None, key: str) -> None:
        """A version from before a deletion conflicts with an equal value that was inserted afterwards."""
        self._put(store, clock, key, b"one", Expect.ABSENT)
        version = self._version(store, key)
        store.execute(Delete(self.tier, key))
        self._put(store, clock, key, b"one", Expect.ABSENT)

        assert self._put(store, clock, key, b"two", version) == Conflict()

    def test_anything_can_be_replaced(self, store: Store, clock: FakeClock | None, key: str) -> None:
        """Putting over anything replaces what is there, and ends its version."""
        self._put(store, clock, key, b"one", Expect.ABSENT)
        version = self._version(store, key)

        assert isinstance(self._put(store, clock, key, b"marker", Expect.ANYTHING), Stored)
        assert self._put(store, clock, key, b"two", version) == Conflict()
        assert self._value(store, key) == b"marker"

    def test_delete_deletes(self, store: Store, clock: FakeClock | None, key: str) -> None:
        """What was deleted is missing, and to delete it again is no error."""
        self._put(store, clock, key, b"one", Expect.ABSENT)

        assert store.execute(Delete(self.tier, key)) == Deleted()
        assert store.execute(Get(self.tier, key)) == Missing()
        assert store.execute(Delete(self.tier, key)) == Deleted()

    def test_keys_are_apart(self, store: Store, clock: FakeClock | None) -> None:
        """Neither a write nor a deletion touches another key."""
        first, second = _new_key(), _new_key()
        self._put(store, clock, first, b"one", Expect.ABSENT)
        self._put(store, clock, second, b"two", Expect.ABSENT)
        store.execute(Delete(self.tier, first))

        assert self._value(store, second) == b"two"

    @settings(
        max_examples=30,
        deadline=None,
        suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.differing_executors],
    )
    @given(value=st.binary(max_size=3000))
    def test_bytes_come_back_as_they_are(self, store: Store, clock: FakeClock | None, value: bytes) -> None:
        """Any bytes, none at all too, are found as they were put."""
        key = _new_key()
        self._put(store, clock, key, value, Expect.ABSENT)

        assert self._value(store, key) == value

    def test_a_large_value_comes_back(self, store: Store, clock: FakeClock | None, key: str) -> None:
        """900,000 bytes are no problem."""
        value = secrets.token_bytes(900_000)
        self._put(store, clock, key, value, Expect.ABSENT)

        assert self._value(store, key) == value

    def test_too_large_a_value_is_refused(self, store: Store, clock: FakeClock | None, key: str) -> None:
        """A value over the limit raises StoreTooLarge, and what is there stays as it was."""
        self._put(store, clock, key, b"one", Expect.ABSENT)
        version = self._version(store, key)

        for expect in (version, *Expect):
            with pytest.raises(StoreTooLarge) as refused:
                self._put(store, clock, key, bytes(self.oversize), expect)
            assert refused.value.size == self.oversize
            assert refused.value.limit < self.oversize
        assert store.execute(Get(self.tier, key)) == Found(b"one", version)

    def test_what_has_expired_is_missing(self, store: Store, clock: FakeClock | None, key: str) -> None:
        """A value that was put with a time that has come is stored, and missing at once."""
        stored = self._put(store, clock, key, b"one", Expect.ABSENT, lifetime=-10)

        assert isinstance(stored, Stored)
        assert store.execute(Get(self.tier, key)) == Missing()

    def test_an_expired_value_replaces(self, store: Store, clock: FakeClock | None, key: str) -> None:
        """Putting a value that has expired over an expected version removes it, for that is what it says."""
        self._put(store, clock, key, b"one", Expect.ABSENT)

        stored = self._put(store, clock, key, b"two", self._version(store, key), lifetime=-10)

        assert isinstance(stored, Stored)
        assert store.execute(Get(self.tier, key)) == Missing()

    def test_an_expired_value_can_conflict(self, store: Store, clock: FakeClock | None, key: str) -> None:
        """Putting a value that has expired is as conditional as any other."""
        self._put(store, clock, key, b"one", Expect.ABSENT)
        version = self._version(store, key)
        self._put(store, clock, key, b"two", version)

        assert self._put(store, clock, key, b"three", Expect.ABSENT, lifetime=-10) == Conflict()
        assert self._put(store, clock, key, b"three", version, lifetime=-10) == Conflict()
        assert self._value(store, key) == b"two"

    @pytest.mark.parametrize("lifetime", [HOUR, 29 * DAY, 30 * DAY, 31 * DAY, 400 * DAY, 5000 * DAY])
    def test_what_has_not_expired_is_there(
        self, store: Store, clock: FakeClock | None, key: str, lifetime: int
    ) -> None:
        """A value is there before its time, however far away that is."""
        self._put(store, clock, key, b"one", Expect.ABSENT, lifetime=lifetime)

        assert self._value(store, key) == b"one"

    def test_no_increment_is_lost(self, store: Store, clock: FakeClock | None, key: str) -> None:
        """Eight threads add to one value, each expecting what it read, and every addition is there in the end."""
        self._put(store, clock, key, b"0", Expect.ABSENT)
        failures = []

        def add() -> None:
            try:
                for _ in range(self.increments):
                    while True:
                        found = store.execute(Get(self.tier, key))
                        assert isinstance(found, Found)
                        value = str(int(found.value) + 1).encode()
                        if isinstance(self._put(store, clock, key, value, found.version), Stored):
                            break
            except BaseException as error:
                failures.append(error)

        threads = [threading.Thread(target=add) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

        assert failures == []
        assert int(self._value(store, key)) == 8 * self.increments

    def test_close_closes(self, store: Store, clock: FakeClock | None, key: str) -> None:
        """Closing a store is no error, twice neither."""
        self._put(store, clock, key, b"one", Expect.ABSENT)
        store.close()
        store.close()

    def _put(
        self,
        store: Store,
        clock: FakeClock | None,
        key: str,
        value: bytes,
        expect: int | Expect,
        *,
        lifetime: int = HOUR,
    ) -> Answer:
        expires = int((clock or time.time)()) + lifetime
        return store.execute(Put(self.tier, key, value, expires, expect))

    def _found(self, store: Store, key: str) -> Found:
        found = store.execute(Get(self.tier, key))
        assert isinstance(found, Found)
        return found

    def _value(self, store: Store, key: str) -> bytes:
        return self._found(store, key).value

    def _version(self, store: Store, key: str) -> int:
        return self._found(store, key).version


class StoreBehaviour(CacheBehaviour):
    """What a durable store does besides; a subclass also has the `clock` that its store goes by."""

    tier = Tier.DURABLE

    @pytest.fixture
    def clock(self) -> FakeClock:
        raise NotImplementedError("a subclass says what time it is")

    def test_a_value_expires_to_the_second(self, store: Store, clock: FakeClock, key: str) -> None:
        """A value is there until its time comes, and missing from then on."""
        self._put(store, clock, key, b"one", Expect.ABSENT, lifetime=HOUR)

        clock.advance(HOUR - 1)
        assert self._value(store, key) == b"one"
        clock.advance(1)
        assert store.execute(Get(self.tier, key)) == Missing()

    def test_expired_is_absent(self, store: Store, clock: FakeClock, key: str) -> None:
        """A value that has expired may be inserted anew."""
        self._put(store, clock, key, b"one", Expect.ABSENT, lifetime=HOUR)
        clock.advance(HOUR)

        assert isinstance(self._put(store, clock, key, b"two", Expect.ABSENT), Stored)
        assert self._value(store, key) == b"two"

    def test_a_replacement_brings_its_own_expiry(self, store: Store, clock: FakeClock, key: str) -> None:
        """The newest value's time counts, earlier or later."""
        self._put(store, clock, key, b"one", Expect.ABSENT, lifetime=HOUR)
        self._put(store, clock, key, b"two", self._version(store, key), lifetime=2 * HOUR)
        clock.advance(HOUR)
        assert self._value(store, key) == b"two"

        self._put(store, clock, key, b"three", self._version(store, key), lifetime=1)
        clock.advance(1)
        assert store.execute(Get(self.tier, key)) == Missing()

    def test_stored_tells_the_version_found(self, store: Store, clock: FakeClock, key: str) -> None:
        """A durable store's Stored has the version that is found next."""
        stored = self._put(store, clock, key, b"one", Expect.ABSENT)
        assert stored == Stored(self._version(store, key))

        stored = self._put(store, clock, key, b"two", self._version(store, key))
        assert stored == Stored(self._version(store, key))

    def test_versions_grow(self, store: Store, clock: FakeClock) -> None:
        """Versions of a durable store grow with every write to it, over all keys and past deletions."""
        first, second = _new_key(), _new_key()
        versions = []
        for key, expect in (
            (first, Expect.ABSENT),
            (second, Expect.ABSENT),
            (first, Expect.ANYTHING),
            (second, Expect.ANYTHING),
        ):
            self._put(store, clock, key, b"one", expect)
            versions.append(self._version(store, key))
        store.execute(Delete(self.tier, second))
        self._put(store, clock, second, b"two", Expect.ABSENT)
        versions.append(self._version(store, second))

        assert versions == sorted(set(versions))

    def test_versions_grow_when_the_clock_is_set_back(self, store: Store, clock: FakeClock, key: str) -> None:
        """A durable store's versions grow also when its clock steps back."""
        self._put(store, clock, key, b"one", Expect.ABSENT, lifetime=DAY)
        version = self._version(store, key)
        store.execute(Delete(self.tier, key))
        clock.advance(-HOUR)
        self._put(store, clock, key, b"two", Expect.ABSENT)

        assert self._version(store, key) > version


def _new_key() -> str:
    return f"s{secrets.token_hex(32)}"
