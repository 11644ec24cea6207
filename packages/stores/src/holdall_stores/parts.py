"""`InParts`: keeps values that are larger than its store takes, in parts behind one head. Knows no particular store.

A value that the store takes is stored as it is, byte for byte, with the same round trips as without `InParts`. A larger
one is cut: under its key stands a *head*, and the rest is in *parts* under keys of their own, which are made for one
write, at random, and never used again. So the head decides alone:

- **A write** stores its parts first, where nobody looks, and then the head, on the condition that the caller made. That
  is the one step that changes the value: before it the old one is there, whole, and after it the new one. The version
  of the value is the head's.
- **A read** gets the head, then its parts, and compares length and hash. If anything is not as the head says, the head
  is read once more: one that has changed is followed anew; one that has not has lost a part, or has one that somebody
  damaged. A cache may do that: the rest is removed, and the value is `Missing`. A durable store may not lose any:
  `StoreUnavailable`, and never a miss. What was damaged in it is `Found` as it is, as in a value that is whole: it is
  for the core to refuse.
- **The parts of a value that was replaced** may still be read by whoever got its head before. The new head lists them
  as retired, and the next large write deletes those that were retired `cache_trust` seconds ago. Whatever no head
  lists (the value shrank or ended; a writer died) goes when it expires, as any value: parts have the expiry of their
  head.

**What is left over opens nothing.** The first 64 bytes of a value are in the head and nowhere else. Values are sealed
bytes, which begin with version, key id and nonce, and without the 24 random bytes of its nonce nobody opens a message,
not even with the key. So when a head is replaced, by the marker of a session that ended for instance, the data is gone
at that moment, though parts may lie about until they expire.

A head begins with a byte that no sealed value begins with. A value that does all the same is given a head of its own,
however small it is, so that every value comes back.
"""

import math
import os
import struct
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from hashlib import blake2b
from typing import TYPE_CHECKING, Any, NamedTuple

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
    StoreTooLarge,
    StoreUnavailable,
    Tier,
    UsageError,
)

if TYPE_CHECKING:
    from holdall_stores.stores import Store

FIRST_BYTES = 64
"""So much of a value is in its head alone: version 1, key id 4, nonce 24, and some of what they seal."""

_MARK = b"\x00"
_FORMAT = 1
_NAME_BYTES = 16
_MOST_PARTS = 2**16 - 1
_MOST_RETIRED = 16
_FIXED = struct.Struct(f">cB{_NAME_BYTES}sHQ32s")  # mark, format, generation, its parts, length, hash
_RETIRED = struct.Struct(f">{_NAME_BYTES}sHQ")  # generation, its parts, since when
_LEAST_PART = 1_024  # bytes: the largest head has 540, and has to fit too

_READS = 4  # of a head that is replaced whenever its parts are read
_MOST_TOGETHER = 500  # commands that a store with `execute_many` is given at once


class Generation(NamedTuple):
    """The parts of one write."""

    name: bytes
    parts: int

    def part_keys(self) -> list[str]:
        """Return the keys of the parts, in order."""
        return [f"p{self.name.hex()}-{number}" for number in range(self.parts)]


class Retired(NamedTuple):
    """The parts of a value that was replaced."""

    generation: Generation
    since: int
    """When that was, in seconds UTC since 1970."""


class Head(NamedTuple):
    """What stands under the key of a value in parts."""

    generation: Generation
    size: int
    """Bytes of the value."""
    digest: bytes
    """BLAKE2b of the value, 32 bytes."""
    first: bytes
    """The beginning of the value: 64 bytes, or all where there are fewer."""
    retired: tuple[Retired, ...]
    """The longest ago first."""

    def pack(self) -> bytes:
        """Return the head as it is stored."""
        fixed = _FIXED.pack(_MARK, _FORMAT, *self.generation, self.size, self.digest)
        return b"".join([fixed, self.first, *(_RETIRED.pack(*generation, since) for generation, since in self.retired)])

    def is_of(self, value: bytes) -> bool:
        """Tell whether a value is the one that was stored."""
        return len(value) == self.size and _digest(value) == self.digest

    @staticmethod
    def unpack(packed: bytes) -> "Head | None":
        """Read a head; None for what is damaged. Raises `StoreUnavailable` for one of a format that is not known."""
        if len(packed) > 1 and packed[1] != _FORMAT:
            raise StoreUnavailable("a large value was written by a newer version of Holdall")
        if len(packed) < _FIXED.size:
            return None
        _, _, name, parts, size, digest = _FIXED.unpack_from(packed)
        end = _FIXED.size + min(size, FIRST_BYTES)
        first, rest = packed[_FIXED.size : end], packed[end:]
        if len(packed) < end or len(rest) % _RETIRED.size:
            return None
        retired = (Retired(Generation(*generation), since) for *generation, since in _RETIRED.iter_unpack(rest))
        return Head(Generation(name, parts), size, digest, first, tuple(retired))


class InParts:
    """A store that keeps values larger than `part_bytes` bytes in parts of so many, in `store`.

    `forgets`: the store is a cache, where a lost part makes a miss. `batch_bytes`: the store has `execute_many`, and
    that takes so many bytes at once; 0 if it has none. Each command to the store has the store's own deadline, and
    after `timeout` seconds no further one is begun for a large value. `cache_trust`: seconds that the parts of a
    replaced value stay for slow readers. `clock` tells the time in seconds UTC since 1970; `timer` counts seconds and
    never steps back; `random` returns so many random bytes.
    """

    def __init__(
        self,
        store: "Store",
        part_bytes: int,
        *,
        forgets: bool,
        batch_bytes: int = 0,
        cache_trust: float = 60.0,
        timeout: float = 10.0,
        clock: Callable[[], float] = time.time,
        timer: Callable[[], float] = time.monotonic,
        random: Callable[[int], bytes] = os.urandom,
    ) -> None:
        if part_bytes < _LEAST_PART:
            raise UsageError(
                f"max_value_bytes={part_bytes}: larger sessions are kept in parts of so many bytes, "
                f"which have to be at least {_LEAST_PART}"
            )
        self._store = store
        self._part_bytes = part_bytes
        self._forgets = forgets
        self._batches = batch_bytes > 0
        self._together = max(1, min(batch_bytes // part_bytes, _MOST_TOGETHER))
        self._cache_trust = cache_trust
        self._timeout = timeout
        self._clock = clock
        self._timer = timer
        self._random = random

    def execute(self, command: Command, /) -> Answer:
        """Carry out one command. Raises `StoreTooLarge` for more than 65,535 parts, and what the store raises."""
        if isinstance(command, Put):
            if len(command.value) > self._part_bytes or command.value.startswith(_MARK):
                return self._put(command, self._timer() + self._timeout)
            return self._store.execute(command)
        answer = self._store.execute(command)
        if isinstance(answer, Found) and answer.value.startswith(_MARK):
            return self._get(command, answer, self._timer() + self._timeout)
        return answer

    def close(self) -> None:
        """Close the store."""
        self._store.close()

    # -- reading -----------------------------------------------------------------------------------------------------

    def _get(self, get: Command, found: Found, deadline: float) -> Found | Missing:
        for _ in range(_READS):
            head = Head.unpack(found.value)
            value = found.value if head is None else self._collect(get.tier, head, deadline)
            if head is not None and value is not None and head.is_of(value):
                return Found(value, found.version)
            again = self._store.execute(get)
            if isinstance(again, Found) and again.version == found.version:
                if not self._forgets:
                    if value is None:
                        raise StoreUnavailable("a part of a large value is lost")
                    return Found(value, found.version)
                # Expired where it stands, not deleted: only if it still is the same. It would be in the way of a
                # refill, which adds, for as long as it lives.
                removal = self._store.execute(Put(get.tier, get.key, b"", 0, found.version))
                again = Missing() if isinstance(removal, Stored) else self._store.execute(get)
            if not (isinstance(again, Found) and again.value.startswith(_MARK)):
                return again  # type: ignore[return-value]
            found = again
        raise StoreUnavailable("a large value is replaced faster than it can be read")

    def _collect(self, tier: Tier, head: Head, deadline: float) -> bytes | None:
        """Return what is in the head and in all parts; None if one of them is missing."""
        pieces = [head.first]
        for answer in self._each([Get(tier, key) for key in head.generation.part_keys()], self._together, deadline):
            if not isinstance(answer, Found):
                return None
            pieces.append(answer.value)
        return b"".join(pieces)

    # -- writing -----------------------------------------------------------------------------------------------------

    def _put(self, put: Put, deadline: float) -> Stored | Conflict:
        tier, key, value, expires, expect = put.tier, put.key, put.value, put.expires, put.expect
        generation = Generation(
            self._random(_NAME_BYTES), math.ceil(max(0, len(value) - FIRST_BYTES) / self._part_bytes)
        )
        if generation.parts > _MOST_PARTS:
            raise StoreTooLarge(len(value), FIRST_BYTES + _MOST_PARTS * self._part_bytes)
        old: Head | None = None
        if expect is not Expect.ABSENT:
            there = self._store.execute(Get(tier, key))
            if isinstance(there, Found):
                if expect not in (Expect.ANYTHING, there.version):
                    return Conflict()  # known before so much is sent in vain
                old = Head.unpack(there.value) if there.value.startswith(_MARK) else None
        parts = [
            Put(tier, name, value[start : start + self._part_bytes], expires, Expect.ANYTHING)
            for name, start in zip(
                generation.part_keys(), range(FIRST_BYTES, len(value), self._part_bytes), strict=True
            )
        ]
        try:
            for _ in self._each(parts, self._together, deadline):
                pass
            retired = [] if old is None else self._sweep(tier, old.retired, deadline)
        except StoreUnavailable:
            self._try_delete(tier, [generation], deadline)
            raise
        if old is not None:
            retired.append(Retired(old.generation, int(self._clock())))
        head = Head(generation, len(value), _digest(value), value[:FIRST_BYTES], tuple(retired))
        # Where this has no answer the parts stay: it may have been applied, or may still be.
        answer = self._store.execute(Put(tier, key, head.pack(), expires, expect))
        if isinstance(answer, Conflict):
            self._try_delete(tier, [generation], deadline)
        return answer  # type: ignore[return-value]

    def _sweep(self, tier: Tier, retired: Sequence[Retired], deadline: float) -> list[Retired]:
        """Delete what nobody can be reading any more; returns what is still to be listed.

        Before the head is replaced: should this process die now, the old one still lists them.
        """
        until = self._clock() - self._cache_trust
        # The value may be written all the time. Whoever still reads the longest retired misses it, and starts over.
        crowd = len(retired) - _MOST_RETIRED + 1
        due = [each for number, each in enumerate(retired) if number < crowd or each.since <= until]
        if due and self._try_delete(tier, [each.generation for each in due], deadline):
            return [each for each in retired if each not in due]
        return list(retired[-_MOST_RETIRED + 1 :])

    def _try_delete(self, tier: Tier, generations: list[Generation], deadline: float) -> bool:
        deletes = [Delete(tier, key) for generation in generations for key in generation.part_keys()]
        with suppress(StoreUnavailable):
            for _ in self._each(deletes, _MOST_TOGETHER if self._batches else 1, deadline):
                pass
            return True
        return False

    # -- many commands -----------------------------------------------------------------------------------------------

    def _each(self, commands: Sequence[Command], together: int, deadline: float) -> Iterator[Answer]:
        """Carry out commands, so many at once; stops where its reader does."""
        for start in range(0, len(commands), together):
            if self._timer() >= deadline:
                raise StoreUnavailable(f"a large value took more than {self._timeout} s")
            group = commands[start : start + together]
            if self._batches:
                batching: Any = self._store
                yield from batching.execute_many(group)
            else:
                yield self._store.execute(group[0])


def _digest(value: bytes) -> bytes:
    return blake2b(value, digest_size=32).digest()
