"""How a stored session is read, written, moved and ended over the tiers, whatever else happens at the same time.

The consistency rules of docs/consistency.md live here, as flows; a comment names the rule. This file knows sealed
records and versions. It knows no cookie, no request and no session object, and decides nothing about tiers but what
the rules say.

The *home* tier is the one whose answer counts: the durable tier, or the cache where there is no durable tier.
Everywhere below, a time called `now` is in milliseconds UTC since 1970 and was taken before the first command that
relies on it.
"""

import hashlib
from collections.abc import Callable
from typing import NamedTuple

from holdall.changes import Changes, overlay
from holdall.codec import Wire
from holdall.commands import Conflict, Delete, Expect, Found, Get, Missing, Put, Stored, Tier
from holdall.drive import Steps
from holdall.errors import SessionTooLarge, SessionUnavailable, StoreError, StoreTooLarge
from holdall.events import Tell
from holdall.record import (
    ORDER_BYTES,
    WRITE_ID_BYTES,
    WRITES_KEPT,
    Ending,
    Marker,
    Record,
    join_changed,
    pack,
    split_note,
    unpack,
    with_note,
)
from holdall.sealing import Box

_ATTEMPTS = 16
_AHEAD = 5_000  # milliseconds that another server's clock may be ahead before its word is doubted
TOMBSTONE_MARGIN = 60  # seconds that a tombstone outlives the trust in what it buries: stalls and clocks apart


class Held(NamedTuple):
    """A stored session as it was read."""

    record: Record
    version: int | None
    """The home tier's version; None after a write to a store that does not tell."""
    cached: int | None
    """The version of the cache entry to be replaced; None where there was none, or nobody knows."""
    confirmed: int = 0
    """When the durable tier confirmed that entry, in milliseconds UTC since 1970."""
    cacheless: bool = False
    """There is no cache that a copy could be put into."""


class Gone(NamedTuple):
    """There is no such session any more."""

    ending: Ending | None
    """None: there is nothing at all under its sid."""
    time: int
    """When it ended, in milliseconds UTC since 1970; 0 if nobody knows."""


class Inline(NamedTuple):
    """A session that was in the cookie when the request came: what a promotion grows from."""

    template: Record
    """What its first record says, but for values, revision and writes; its `origin` is the cookie's id."""
    values: dict[str, Wire]
    last: int
    """Until when its end must be known, in seconds UTC since 1970."""


class Written(NamedTuple):
    """A session is stored."""

    held: Held
    dropped: tuple[str, ...]
    """The keys whose increments found no number to be added to."""


class _Applied(NamedTuple):
    version: int | None
    plain: bytes
    """What the home tier holds at this version: what was written, or what others have made of it since."""
    overtaken_by: Record | None = None
    """The same, if it is not simply what was written."""


class _Entry(NamedTuple):
    version: int
    confirmed: int
    plain: bytes
    stored: Record | Marker


def store_key(sid: bytes) -> str:
    """Return the key that stores see: a hash, unkeyed so that rotating the cookie key does not move records."""
    return "s" + hashlib.sha256(b"holdall/sid" + sid).hexdigest()


class Tiers:
    """The flows, bound to what they need of the settings; keeps no state of its own."""

    def __init__(
        self,
        *,
        records: Box,
        entries: Box,
        no_datastore: bool,
        cache_trust: int,
        clock: Callable[[], int],
        random: Callable[[int], bytes],
        tell: Tell,
    ) -> None:
        """Bind the flows; `cache_trust` is in milliseconds, what `clock` returns in milliseconds UTC since 1970."""
        self._records = records
        self._entries = entries
        self._home = Tier.CACHE if no_datastore else Tier.DURABLE
        self._trust = cache_trust
        self._clock = clock
        self._random = random
        self._tell = tell

    # -- reading -----------------------------------------------------------------------------------------------------

    def read(self, key: str, floor: int, now: int) -> Steps[Held | Gone]:
        """Read a session that is at least at revision `floor`.

        Raises `SessionUnavailable` if that cannot be known now.
        """
        if self._home is Tier.CACHE:
            held = yield from self._read_home(key, now)
            if isinstance(held, Held) and held.record.revision < floor:
                return Gone(None, 0)  # an old copy on a failed-over node: the newer state is lost
            return held
        try:
            cached = yield Get(Tier.CACHE, key)
        except StoreError as error:
            self._tell("degraded", "cache_read", error, tier=Tier.CACHE)
            cached = None
        entry = self._open_entry(key, cached.value) if isinstance(cached, Found) else None
        if (
            entry is not None
            and isinstance(entry.stored, Record)
            and self._is_trusted(entry, now)
            and entry.stored.revision >= floor  # rule 6: this browser has seen newer
            and entry.stored.expires * 1000 > now
        ):
            return Held(entry.stored, entry.version, cached.version, entry.confirmed)
        answer = yield from self._get_home(key)
        plain, home = self._open_record(key, answer.value) if isinstance(answer, Found) else (b"", None)
        if isinstance(answer, Missing) or not isinstance(home, Record) or home.expires * 1000 <= now:
            if entry is not None and isinstance(entry.stored, Record):  # a server whose clock is behind may trust it
                yield from self._bury(key)
            return _gone(home)
        if home.revision < floor:
            self._tell("degraded", "restored", tier=Tier.DURABLE)
        if isinstance(cached, Missing) and cached.forever:
            return Held(home, answer.version, None, cacheless=True)
        expect: int | Expect | None = None
        if isinstance(cached, Missing):  # rule 4: a miss is refilled with add
            expect = Expect.ABSENT
        elif isinstance(cached, Found) and entry is None:  # not ours, or not of this version: worth nothing to anybody
            expect = cached.version
        elif entry is not None and isinstance(entry.stored, Record):  # rule 4: a tombstone is never replaced
            if entry.version == answer.version and entry.stored.revision >= home.revision:
                # Confirmed anew, with the quick writes that only the entry has (rule 11).
                expect, plain, home = cached.version, entry.plain, entry.stored
            elif entry.version < answer.version:
                expect = cached.version
        if expect is not None:
            yield from self._try_put_entry(key, answer.version, now, plain, home.expires, expect)
        return Held(home, answer.version, None)

    def _is_trusted(self, entry: _Entry, now: int) -> bool:
        # Rule 5. An entry from the future comes from a server whose clock cannot be compared with ours.
        return -min(_AHEAD, self._trust) <= now - entry.confirmed < self._trust

    def _get_home(self, key: str) -> Steps[Found | Missing]:
        try:
            answer = yield Get(self._home, key)
        except StoreError as error:
            raise SessionUnavailable(f"the session's store cannot be read: {error}") from error
        return answer  # type: ignore[no-any-return]

    def _read_home(self, key: str, now: int) -> Steps[Held | Gone]:
        answer = yield from self._get_home(key)
        if isinstance(answer, Missing):
            return Gone(None, 0)
        _, stored = self._open_record(key, answer.value)
        if not isinstance(stored, Record) or stored.expires * 1000 <= now:
            return _gone(stored)
        return Held(stored, answer.version, answer.version if self._home is Tier.CACHE else None)

    def ending(self, key: str, now: int) -> Steps[Gone | None]:
        """Return how a session ended, None if no marker says that it did. An outage is no logout: it says nothing."""
        try:
            found = yield from self._read_home(key, now)
        except SessionUnavailable as error:
            self._tell("degraded", "old_ending", error, tier=self._home)
            return None
        return found if isinstance(found, Gone) and found.ending is not None else None

    # -- writing -----------------------------------------------------------------------------------------------------

    def insert(self, key: str, record: Record, now: int) -> Steps[Written]:
        """Store a session under a new sid."""
        held, plain = yield from self._put_new(key, None, record, record.values, now)
        yield from self._publish(key, plain, record.expires, held.version, None, now)
        return Written(held, ())

    def update(self, key: str, base: Held | Inline, changes: Changes, floor: int, now: int) -> Steps[Written | Gone]:
        """Store changes to a session; promote it if it was inline. Replays them on whatever is there by then (rule 2).

        `Gone` if the session ended meanwhile: then the changes are dropped. Raises `SessionTooLarge` before anything
        is written, and `SessionUnavailable` if the changes may or may not be stored.
        """
        write_id = self._random(WRITE_ID_BYTES)
        if isinstance(base, Held):
            if base.version is None:
                again = yield from self._read_home(key, now)
                if isinstance(again, Gone):
                    return again
                base = again
            floor = max(floor, base.record.revision)
        cached = base.cached if isinstance(base, Held) else None
        current: Held | Inline = base
        for _ in range(_ATTEMPTS):
            values, dropped = changes.apply(_values(current, base))
            record = _successor(current, base, values, changes, write_id, floor)
            plain = pack(record)
            expect, base_id = _expectation(current)
            result = yield from self._replace(key, plain, record.expires, expect, write_id, base_id, now)
            if isinstance(result, _Applied):
                if current is not base:
                    self._tell("merged", "conflict", tier=self._home)
                record = result.overtaken_by or record
                if not (isinstance(base, Held) and base.cacheless):
                    yield from self._publish(key, result.plain, record.expires, result.version, cached, now)
                return Written(Held(record, result.version, None), dropped)
            if isinstance(result, Gone):
                yield from self._bury(key)  # rule 10
                return result
            current = result
        raise SessionUnavailable("the session is being changed by too many requests at once")

    def update_quickly(self, key: str, base: Held, changes: Changes) -> Steps[Held | None]:
        """Store changes in the cache only (rule 11); None if that cannot be done: then store them regularly."""
        if self._home is Tier.CACHE or base.version is None or base.cacheless:
            return None
        record, expect, confirmed = base.record, base.cached, base.confirmed
        if expect is None:  # refilled by this request: the entry's own version is not known yet
            try:
                found = yield Get(Tier.CACHE, key)
            except StoreError:
                return None
            entry = self._open_entry(key, found.value) if isinstance(found, Found) else None
            if entry is None or entry.version != base.version or not isinstance(entry.stored, Record):
                return None
            expect, record, confirmed = found.version, entry.stored, entry.confirmed
        values, dropped = changes.apply(record.values)
        if dropped:
            return None
        record = record._replace(values=values)
        plain = pack(record)
        # Rule 5: the durable tier confirmed nothing now, so the trust in this entry ends when it would have ended.
        stored = yield from self._try_put_entry(key, base.version, confirmed, plain, record.expires, expect)
        return Held(record, base.version, None) if stored else None

    def move(
        self,
        old_key: str,
        base: Held | Inline,
        new_key: str,
        template: Record,
        changes: Changes,
        fits: Callable[[dict[str, Wire]], bool],
        now: int,
    ) -> Steps[Written | dict[str, Wire] | Gone]:
        """Carry a session over to a new sid and end the old one (rule 9).

        Returns `Written` if the new one is stored, its values if it `fits` the cookie, `Gone` if the old one had ended:
        then there is no new one. Raises `SessionUnavailable` while an old one that is stored still stands.
        """
        write_id = self._random(WRITE_ID_BYTES)
        expires = base.last if isinstance(base, Inline) else base.record.expires
        marker = pack(Marker(Ending.REGENERATED, now, expires, write_id))
        current: Held | Inline = base
        new: Held | None = None
        plain = b""
        for _ in range(_ATTEMPTS):
            values, dropped = changes.apply(_values(current, base))
            if new is not None or not fits(values):
                new, plain = yield from self._put_new(new_key, new, template, values, now)
            expect, base_id = _expectation(current)
            try:
                result = yield from self._replace(old_key, marker, expires, expect, write_id, base_id, now)
            except SessionUnavailable as error:
                if not isinstance(base, Inline):
                    raise
                # It may be marked all the same: to keep the new one back could end both.
                self._tell("degraded", "move", error, tier=self._home)
                result = None
            if isinstance(result, Held):
                current = result
                continue
            yield from self._bury(old_key)
            if isinstance(result, Gone):
                if new is not None:
                    yield from self._try_delete(new_key)
                return result
            if current is not base:
                self._tell("merged", "conflict", tier=self._home)
            if new is None:
                return values
            yield from self._publish(new_key, plain, new.record.expires, new.version, None, now)
            return Written(new, dropped)
        raise SessionUnavailable("the session is being changed by too many requests at once")

    def _put_new(
        self, key: str, new: Held | None, template: Record, values: dict[str, Wire], now: int
    ) -> Steps[tuple[Held, bytes]]:
        """Store a session under a sid that nobody else knows yet, or store it there again; returns it packed too."""
        write_id = self._random(WRITE_ID_BYTES)
        if new is None:
            record = template._replace(values=values, writes=(write_id,))
            expect: int | Expect = Expect.ABSENT
            base_id = None
        else:
            if new.version is None:
                again = yield from self._read_home(key, now)
                if isinstance(again, Gone):
                    raise SessionUnavailable("the session's new record vanished")
                new = again
            record = new.record._replace(values=values, writes=(*new.record.writes, write_id))
            expect, base_id = _expectation(new)
        plain = pack(record)
        result = yield from self._replace(key, plain, record.expires, expect, write_id, base_id, now)
        if not isinstance(result, _Applied):
            raise SessionUnavailable("a new session id is taken: is the random source broken?")
        return Held(record, result.version, None), plain

    def end(self, key: str, expires: int, now: int) -> Steps[None]:
        """Replace whatever there is under a sid by a marker that it ended (rule 3).

        Raises `SessionUnavailable` if it may not have ended.
        """
        plain = pack(Marker(Ending.ENDED, now, expires, self._random(WRITE_ID_BYTES)))
        try:
            yield Put(self._home, key, self._records.seal(plain, key.encode(), now / 1000), expires, Expect.ANYTHING)
        except StoreError as error:
            raise SessionUnavailable(f"the session cannot be ended now: {error}") from error
        yield from self._bury(key)

    def _replace(
        self,
        key: str,
        plain: bytes,
        expires: int,
        expect: int | Expect,
        write_id: bytes,
        base_id: bytes | None,
        now: int,
    ) -> Steps[_Applied | Held | Gone]:
        """One conditional write to the home tier, applied once or not at all (rules 1 and 7).

        Returns what stands there instead if it was not applied. `base_id` is the last write id of what is expected,
        None where nothing is expected.
        """
        put = Put(self._home, key, self._records.seal(plain, key.encode(), now / 1000), expires, expect)
        unsure = False
        for _ in range(3):
            try:
                answer = yield put
            except StoreTooLarge as error:
                raise SessionTooLarge(error.size, error.limit, str(error)) from error
            except StoreError as error:
                self._tell("degraded", "no_reply", error, tier=self._home)
                unsure = True
            else:
                if isinstance(answer, Stored):
                    return _Applied(answer.version, plain)
            there = yield from self._get_home(key)
            if isinstance(there, Missing):
                if expect is Expect.ABSENT:
                    continue  # what stood there has expired, or the write never arrived
                return Gone(None, 0)
            found, stored = self._open_record(key, there.value)
            if not isinstance(stored, Record):
                is_mine = stored is not None and stored.write_id == write_id
                return _Applied(there.version, plain) if is_mine else _gone(stored)
            if write_id in stored.writes:
                return _Applied(there.version, found, stored)
            if there.version == expect:
                continue  # not applied so far; the same write again cannot be applied twice
            reaches_back = base_id in stored.writes if base_id else len(stored.writes) < WRITES_KEPT
            if unsure and not reaches_back:
                break
            return Held(stored, there.version, there.version if self._home is Tier.CACHE else None)
        raise SessionUnavailable("a write had no answer: it may or may not have been applied")

    # -- the cache as a copy -----------------------------------------------------------------------------------------

    def _publish(
        self, key: str, plain: bytes, expires: int, version: int | None, cached: int | None, now: int
    ) -> Steps[None]:
        """After a durable commit: replace the cache entry unless it is as new, or a tombstone (rule 4).

        What fails here costs time later and nothing else: trust and floor bound what a stale entry can do.
        """
        if self._home is Tier.CACHE or version is None:
            return
        entry = self._seal_entry(key, version, now, plain)
        expect: int | Expect = Expect.ABSENT if cached is None else cached
        for _ in range(3):
            try:
                answer = yield Put(Tier.CACHE, key, entry, expires, expect)
                if not isinstance(answer, Conflict):
                    return
                there = yield Get(Tier.CACHE, key)
            except StoreTooLarge:
                # A copy has no room: what the cache still has is older, and must not be found.
                yield from self._bury(key)
                return
            except StoreError as error:
                self._tell("degraded", "cache_commit", error, tier=Tier.CACHE)
                return
            if isinstance(there, Missing):
                expect = Expect.ABSENT
                continue
            current = self._open_entry(key, there.value)
            if current is not None and (isinstance(current.stored, Marker) or current.version >= version):
                return
            expect = there.version

    def _try_put_entry(
        self, key: str, version: int, confirmed: int, plain: bytes, expires: int, expect: int | Expect
    ) -> Steps[bool]:
        try:
            answer = yield Put(Tier.CACHE, key, self._seal_entry(key, version, confirmed, plain), expires, expect)
        except StoreError as error:
            self._tell("degraded", "cache_write", error, tier=Tier.CACHE)
            return False
        return isinstance(answer, Stored)

    def _bury(self, key: str) -> Steps[None]:
        """Put a tombstone into the cache: until nothing older can be trusted any more, ask the durable tier.

        It lives from this moment, not from when its request began: it may replace one that came meanwhile.
        """
        if self._home is Tier.CACHE:
            return
        now = self._clock()
        expires = (now + self._trust) // 1000 + TOMBSTONE_MARGIN
        plain = pack(Marker(Ending.ASK, now, expires, bytes(WRITE_ID_BYTES)))
        try:
            yield Put(Tier.CACHE, key, self._seal_entry(key, 0, now, plain), expires, Expect.ANYTHING)
        except StoreError as error:
            self._tell("degraded", "cache_end", error, tier=Tier.CACHE)

    def _try_delete(self, key: str) -> Steps[None]:
        try:
            yield Delete(self._home, key)
        except StoreError as error:
            self._tell("degraded", "leftover", error, tier=self._home)

    # -- sealing -----------------------------------------------------------------------------------------------------

    def _open_record(self, key: str, sealed: bytes) -> tuple[bytes, Record | Marker | None]:
        """Open what the home tier holds; (b"", None) for what is not a record of this very session."""
        plain = self._records.open(sealed, key.encode())
        if plain is None:
            self._tell("rejected", "record", tier=self._home)
            return b"", None
        stored = unpack(plain)
        if stored is None:
            raise SessionUnavailable("a record was written by a newer version of Holdall")
        return plain, stored

    def _seal_entry(self, key: str, version: int, confirmed: int, plain: bytes) -> bytes:
        return self._entries.seal(with_note(version, confirmed, plain), key.encode(), confirmed / 1000)

    def _open_entry(self, key: str, sealed: bytes) -> _Entry | None:
        plain = self._entries.open(sealed, key.encode())
        if plain is None:
            return None
        version, confirmed, plain = split_note(plain)
        stored = unpack(plain)
        return None if stored is None else _Entry(version, confirmed, plain, stored)


def _gone(stored: Record | Marker | None) -> Gone:
    return Gone(stored.ending, stored.time) if isinstance(stored, Marker) else Gone(None, 0)


def _values(current: Held | Inline, base: Held | Inline) -> dict[str, Wire]:
    """Return what changes are replayed on."""
    if isinstance(current, Inline):
        return current.values
    if isinstance(base, Inline) and _went_on_inline(current.record, base):
        return overlay(base.values, current.record.values, current.record.changed)
    return current.record.values


def _successor(
    current: Held | Inline,
    base: Held | Inline,
    values: dict[str, Wire],
    changes: Changes,
    write_id: bytes,
    floor: int,
) -> Record:
    if isinstance(current, Held):
        record = current.record.rewritten(values, changes.keys, write_id, floor)
        if changes.until is not None:
            record = record._replace(expires=changes.until[0], browser=changes.until[1])
        if changes.bond is not None:
            record = record._replace(bond=changes.bond)
        if isinstance(base, Inline) and _went_on_inline(current.record, base):
            # Laid over an orphan, the record now holds what this request's cookie held.
            return record._replace(origin=base.template.origin)
        return record
    return current.template._replace(
        values=values,
        revision=max(current.template.revision, floor) + 1,
        writes=(write_id,),
        changed=join_changed(frozenset(), changes.keys),
    )


def _went_on_inline(record: Record, base: Inline) -> bool:
    """Tell whether a record is the orphan of an earlier promotion, and its browser went on inline since (rule 8).

    If it is the record that grew from a newer cookie, then it holds what a slow request's older cookie held.
    """
    origin, own = record.origin or b"", base.template.origin or b""
    return origin != own and origin[:ORDER_BYTES] <= own[:ORDER_BYTES]


def _expectation(current: Held | Inline) -> tuple[int | Expect, bytes | None]:
    """Return what a write expects to find, and the last write id of that."""
    if isinstance(current, Inline):
        return Expect.ABSENT, None
    # A version is unknown only between a write to such a store and the read that every further write starts with.
    assert current.version is not None
    return current.version, current.record.writes[-1]
