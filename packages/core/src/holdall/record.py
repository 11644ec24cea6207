"""What a stored record says once it is open: a session's data, or that the session ended.

Only byte layouts live here: of a record, of the marker that replaces it for good, and of the note a cache entry starts
with. Where they are kept, and when, is decided in `tiers`.
"""

import enum
import struct
from collections.abc import Iterable
from typing import NamedTuple

from holdall.codec import Wire, pack_map, unpack_map
from holdall.errors import UsageError

WRITE_ID_BYTES = 8
WRITES_KEPT = 8
ORDER_BYTES = 4
_CHANGED_KEPT = 64

_FORMAT = 1
_HEAD = struct.Struct(">BBQQHIIB")  # format, flags, issued, expires, epoch, revision, changed size, number of write ids
_MARKER = struct.Struct(">BBQQ8s")  # format, kind, time, expires, write id
_NOTE = struct.Struct(">QQ")  # durable version, confirmed at
_DATA = 0b1
_SSL_ONLY = 0b10
_BROWSER = 0b100
_ORIGIN = 0b1000
_EVERYTHING = 0b10000
_BOUND = 0b100000
_ORIGIN_BYTES = ORDER_BYTES + 12
_BOND_BYTES = 16


class Ending(enum.IntEnum):
    """Why a marker stands where a record was."""

    ENDED = 2
    """Logged out, or replaced by a new session."""
    REGENERATED = 4
    """Its data went on under a new sid."""
    ASK = 6
    """A cache's tombstone: nothing is said here, ask the durable tier."""


_ENDINGS = frozenset(Ending)


class Record(NamedTuple):
    """A stored session."""

    issued: int
    """When the sid was issued, in milliseconds UTC since 1970."""
    expires: int
    """Absolute end, in seconds UTC since 1970."""
    ssl_only: bool
    browser: bool
    epoch: int
    revision: int
    writes: tuple[bytes, ...]
    """The ids of the last 8 writes, newest last: what tells after a lost reply whether a write was applied."""
    origin: bytes | None
    """The inline cookie the record grew from: its revision in 4 bytes, which orders origins, and its id.

    None for a session that was never inline.
    """
    changed: frozenset[str] | None
    """The keys changed since the session was inline; None stands for every key."""
    values: dict[str, Wire]
    """The session's map, each value as the codec wrote it."""
    bond: bytes = b""
    """Whose session it is, as in a token."""

    def rewritten(
        self, values: dict[str, Wire], changed: Iterable[str] | None, write_id: bytes, floor: int
    ) -> "Record":
        """Return the record that replaces this one, above the floor, with one more write in its history."""
        return self._replace(
            revision=max(self.revision, floor) + 1,
            writes=(*self.writes, write_id)[-WRITES_KEPT:],
            changed=join_changed(self.changed, changed),
            values=values,
        )


class Marker(NamedTuple):
    """Stands where a session's record was: it ended, and stays ended."""

    ending: Ending
    time: int
    """When, in milliseconds UTC since 1970."""
    expires: int
    write_id: bytes


def join_changed(before: frozenset[str] | None, more: Iterable[str] | None) -> frozenset[str] | None:
    """Add to the keys changed since the session was inline; too many to list, or None, stand for every key."""
    if before is None or more is None:
        return None
    joined = before.union(more)
    return joined if len(joined) <= _CHANGED_KEPT else None


def pack(stored: Record | Marker) -> bytes:
    """Lay a record or a marker out as bytes."""
    if isinstance(stored, Marker):
        return _MARKER.pack(_FORMAT, stored.ending, stored.time, stored.expires, stored.write_id)
    issued, expires, ssl_only, browser, epoch, revision, writes, origin, keys, values, bond = stored
    changed = b"" if not keys else pack_map(dict.fromkeys(sorted(keys)))
    flags = _DATA | _SSL_ONLY * ssl_only | _BROWSER * browser
    flags |= _ORIGIN * (origin is not None) | _EVERYTHING * (keys is None) | _BOUND * bool(bond)
    head = _HEAD.pack(_FORMAT, flags, issued, expires, epoch, revision, len(changed), len(writes))
    return b"".join((head, *writes, origin or b"", changed, bond, pack_map(values)))


def unpack(plain: bytes) -> Record | Marker | None:
    """Read the layout of `pack`; None for one that this version does not know.

    The bytes were authenticated before they came here.
    """
    try:
        return _unpack(plain)
    except (struct.error, UsageError):
        return None


def _unpack(plain: bytes) -> Record | Marker | None:
    if len(plain) < _MARKER.size or plain[0] != _FORMAT:
        return None
    if not plain[1] & _DATA:
        _, kind, time, expires, write_id = _MARKER.unpack(plain)
        return Marker(Ending(kind), time, expires, write_id) if kind in _ENDINGS else None
    _, flags, issued, expires, epoch, revision, changed_size, count = _HEAD.unpack_from(plain)
    at = _HEAD.size
    writes = tuple(plain[at + i * WRITE_ID_BYTES : at + (i + 1) * WRITE_ID_BYTES] for i in range(count))
    at += count * WRITE_ID_BYTES
    origin = None
    if flags & _ORIGIN:
        origin = plain[at : at + _ORIGIN_BYTES]
        at += _ORIGIN_BYTES
    changed: frozenset[str] | None = None
    if not flags & _EVERYTHING:
        changed = frozenset(unpack_map(plain[at : at + changed_size]) if changed_size else ())
    start = at + changed_size
    at = start + _BOND_BYTES * (flags & _BOUND != 0)
    ssl_only, browser = flags & _SSL_ONLY != 0, flags & _BROWSER != 0
    values, bond = unpack_map(plain[at:]), plain[start:at]
    return Record(issued, expires, ssl_only, browser, epoch, revision, writes, origin, changed, values, bond)


def with_note(version: int, confirmed: int, plain: bytes) -> bytes:
    """Put before a packed record what a cache entry says of it.

    `version` is the durable version it copies, `confirmed` the time in milliseconds UTC at which the durable tier was
    asked for it, or told.
    """
    return _NOTE.pack(version, confirmed) + plain


def split_note(plain: bytes) -> tuple[int, int, bytes]:
    """Return (version, confirmed, packed record) of `with_note`; no record where not even the note is whole."""
    if len(plain) < _NOTE.size:
        return 0, 0, b""
    version, confirmed = _NOTE.unpack_from(plain)
    return version, confirmed, plain[_NOTE.size :]
