"""Whose sessions there are: for each principal one record that lists its bound sessions, and ends them.

A bound session is one that its principal's record lists: who is not on it is refused, within `revocation_check`, in
every tier, so that an ended session's copied cookie is worth nothing. All of someone's sessions end with one atomic
write. This file knows records and versions, no cookie and no request; how a session is bound is in `session`, and when
its entry is written in `exchange`.
"""

import hashlib
from collections import OrderedDict
from collections.abc import Callable
from typing import NamedTuple, TypeAlias

from holdall.codec import decode, encode, pack_map, unpack_map
from holdall.commands import Expect, Found, Get, Put, Stored, Tier
from holdall.drive import Steps
from holdall.errors import SessionUnavailable, StoreError, UsageError
from holdall.events import Tell
from holdall.record import Ending
from holdall.sealing import Box
from holdall.tiers import Gone, store_key
from holdall.token import BOND_BYTES, Token

MOST_SESSIONS = 128
"""How many sessions of one principal are listed; beyond, the one seen longest ago ends."""
_FORMAT = b"\x01"
_ATTEMPTS = 16
_REMEMBERED = 10_000
_ENDED_KEPT = 120_000  # milliseconds; responses from before the end are under way for less


class BoundSession(NamedTuple):
    """A session as its principal may see it."""

    id: str
    """Tells it from the principal's others, and opens nothing; it stays when the session gets a new sid."""
    created: int
    """When it was bound, in seconds UTC since 1970."""
    seen: int
    """When the durable tier last heard of it, in seconds UTC since 1970: at a login, a new sid, or a new end."""
    label: str | None
    """What the application said of it, such as the browser's name."""


class _Entry(NamedTuple):
    public_id: str
    created: int
    seen: int
    expires: int
    label: str | None
    ended: int = 0
    """When it ended, in milliseconds UTC since 1970; 0: it lives."""
    ending: int = 0


_UNMOVED = "unmoved"
"""The entry of the principal's sessions of another library, which have none of their own: `ended` is when they were
revoked last, `public_id` names the one that was spared then, and `created` is when that one was revoked, in
milliseconds."""
_NEVER = _Entry("", 0, 0, 0, None)


class _Known(NamedTuple):
    asked: int
    gone: Gone | None
    expires: int


_Entries: TypeAlias = dict[str, _Entry]
_Change: TypeAlias = Callable[[_Entries], None]
_IsMeant: TypeAlias = Callable[[str, _Entry], bool]
_LAYOUTS = frozenset((str, int, int, int, label, int, int) for label in (str, type(None)))


class Principals:
    """The flows around the principals' records, and a bounded memory of what they said."""

    def __init__(
        self,
        *,
        box: Box,
        audience: str,
        check: int,
        clock: Callable[[], float],
        random: Callable[[int], bytes],
        tell: Tell,
    ) -> None:
        """`check`: for how many milliseconds an answer is believed."""
        self._box = box
        self._audience = len(audience.encode()).to_bytes(4) + audience.encode()
        self._check = check
        self._clock = clock
        self._random = random
        self._tell = tell
        self._known: OrderedDict[str, _Known] = OrderedDict()

    def bond(self, principal: str) -> bytes:
        """Return what stands for a principal in tokens and keys: a hash, unkeyed so that it survives new keys."""
        if type(principal) is not str or not principal:
            raise UsageError(f"a principal must be a non-empty str, not {type(principal).__name__}: use str(user.id)")
        return hashlib.sha256(b"holdall/principal" + self._audience + principal.encode()).digest()[:BOND_BYTES]

    def known(self, sid: bytes, now: int) -> _Known | None:
        """Return what was last said of a session; None if it is time to ask. `now` is in milliseconds."""
        known = self._known.get(_name(sid))
        return known if known is not None and 0 <= now - known.asked < self._check else None

    def is_short(self, token: Token) -> bool:
        """Tell whether a session's end has moved beyond what its list was told."""
        known = self._known.get(_name(token.sid))
        return known is None or known.expires < token.expires

    def check(self, bond: bytes, sid: bytes, now: int) -> Steps[Gone | None]:
        """Ask whether a session is still listed."""
        entries = yield from self._look(bond)
        return None if entries is None else self._remember(entries, _name(sid), now)

    def refused(self, bond: bytes, unmoved: tuple[bytes, int] | None) -> Steps[Gone | None]:
        """Ask whether a login of another library was revoked: its sid, and when it was issued, in seconds."""
        entries = yield from self._look(bond)
        return None if entries is None else _refused(entries, unmoved)

    def enter(
        self, token: Token, carried: bytes | None, label: str | None, unmoved: tuple[bytes, int] | None, now: int
    ) -> Steps[Gone | None]:
        """List a session, or its new sid or end; `carried`: under which sid it is listed already, None for not at all.

        `unmoved`: which login of another library it carries on, see `refused`. `Gone` if that was revoked, or if it is
        not listed (any more) though it should be: then nothing was written.
        """
        name = _name(token.sid)
        listed = name if carried is None else _name(carried)
        public_id = self._random(8).hex()
        seen = now // 1000
        # A tenth more than it has left, so that an end that moves on with every request need not be told every time.
        expires = token.expires + (token.expires - seen) // 10

        def change(entries: _Entries) -> None:
            old = entries.get(listed)
            if carried is None and not _refused(entries, unmoved):
                entries[name] = _Entry(public_id, seen, seen, expires, label)
            elif old is not None and not old.ended:
                entries[name] = old._replace(seen=seen, expires=expires, label=old.label if label is None else label)

        entries = yield from self._update(_key(token.bond), change, now)
        return _refused(entries, unmoved) or self._remember(entries, name if name in entries else listed, now)

    def leave(self, token: Token, ending: Ending, now: int) -> Steps[None]:
        """Have a session refused from now on. Raises `SessionUnavailable` if that may not be known to others."""
        yield from self._end(token.bond, lambda name, _: name == _name(token.sid), ending, None, now)

    def revoke(self, principal: str, keep: bytes | None, only: str | None, until: int) -> Steps[None]:
        """End all sessions of a principal but one, or only the one of a public id, by one atomic write.

        `until`: for how long it must be known of those that have not moved in, in seconds UTC since 1970; 0: not.
        """
        kept, now = None if keep is None else _name(keep), int(self._clock() * 1000)

        def is_meant(name: str, entry: _Entry) -> bool:
            return name != kept and only in (None, entry.public_id)

        def mark(entries: _Entries) -> None:
            last = entries.get(_UNMOVED, _NEVER)
            before = now if kept is None else last.created if last.public_id == kept else last.ended
            entries[_UNMOVED] = _Entry(kept or "", before, now // 1000, until, None, now, int(Ending.ENDED))

        yield from self._end(self.bond(principal), is_meant, Ending.ENDED, mark if until else None, now)

    def listed(self, principal: str) -> Steps[list[BoundSession]]:
        """Return the sessions of a principal that have not ended, the one seen last first."""
        try:
            entries, _ = yield from self._read(_key(self.bond(principal)))
        except StoreError as error:
            raise SessionUnavailable(f"the sessions of a principal cannot be read: {error}") from error
        live = [entry for entry in entries.values() if not entry.ended and entry.expires > self._clock()]
        return [BoundSession(*entry[:3], entry.label) for entry in sorted(live, key=lambda one: one.seen, reverse=True)]

    def _end(self, bond: bytes, is_meant: _IsMeant, ending: Ending, mark: _Change | None, now: int) -> Steps[None]:
        def change(entries: _Entries) -> None:
            for name, entry in entries.items():
                if not entry.ended and is_meant(name, entry):
                    entries[name] = entry._replace(ended=now, ending=int(ending))
            if mark is not None:
                mark(entries)

        entries = yield from self._update(_key(bond), change, now)
        for name in entries:
            self._remember(entries, name, now)

    def _remember(self, entries: _Entries, name: str, now: int) -> Gone | None:
        before = self._known.get(name)
        if before is not None and before.gone is not None and abs(now - before.asked) < self._check:
            return before.gone  # what was asked for earlier and comes later does not take an end back
        entry = entries.get(name)
        if entry is None:
            known = _Known(now, Gone(None, 0), 0)
        else:
            known = _Known(now, Gone(Ending(entry.ending), entry.ended) if entry.ended else None, entry.expires)
        # Every step is one atomic operation: at worst, threads that race remember one session more, or ask again.
        if len(self._known) >= _REMEMBERED:
            self._known.popitem(last=False)
        self._known[name] = known
        return known.gone

    def _update(self, key: str, change: _Change, now: int) -> Steps[_Entries]:
        """Change a record by compare-and-set. What `change` does may be done twice without harm."""
        for _ in range(_ATTEMPTS):
            try:
                before, expect = yield from self._read(key)
                entries = dict(before)
                change(entries)
                if entries == before:
                    return entries
                kept = _pruned(entries, now)
                expires = max((entry.expires for entry in kept.values()), default=now // 1000)
                sealed = self._box.seal(_pack(kept), key.encode(), now / 1000)
                answer = yield Put(Tier.DURABLE, key, sealed, expires, expect)
            except StoreError as error:
                raise SessionUnavailable(f"the list of a principal's sessions cannot be written: {error}") from error
            if isinstance(answer, Stored):
                return entries
        raise SessionUnavailable("the list of a principal's sessions is being changed by too many requests at once")

    def _look(self, bond: bytes) -> Steps[_Entries | None]:
        """Read a record to ask who is refused; None, so nobody, if it does not answer: an outage is no logout."""
        try:
            return (yield from self._read(_key(bond)))[0]
        except (StoreError, SessionUnavailable) as error:
            self._tell("degraded", "revocation", error, tier=Tier.DURABLE)
            return None

    def _read(self, key: str) -> Steps[tuple[_Entries, int | Expect]]:
        answer = yield Get(Tier.DURABLE, key)
        if not isinstance(answer, Found):
            return {}, Expect.ABSENT
        plain = self._box.open(answer.value, key.encode())
        if plain is None:
            self._tell("rejected", "list", tier=Tier.DURABLE)
            return {}, answer.version
        entries = _unpack(plain)
        if entries is None:
            raise SessionUnavailable("the list of a principal's sessions was written by a newer version of Holdall")
        return entries, answer.version


def _pack(entries: _Entries) -> bytes:
    return _FORMAT + pack_map({name: encode(tuple(entry)) for name, entry in entries.items()})


def _unpack(plain: bytes) -> _Entries | None:
    """Read the layout of `_pack`; None for one that this version does not know."""
    if plain[:1] != _FORMAT:
        return None
    entries = {}
    try:
        for name, wire in unpack_map(plain[1:]).items():
            fields = decode(wire) if type(wire) is bytes else None
            if type(fields) is not tuple or tuple(map(type, fields)) not in _LAYOUTS:
                return None
            entries[name] = entry = _Entry(*fields)
            if entry.ended:
                Ending(entry.ending)
    except ValueError:
        return None
    return entries


def _key(bond: bytes) -> str:
    return "p" + bond.hex()


def _name(sid: bytes) -> str:
    return store_key(sid)[:33]


def _refused(entries: _Entries, unmoved: tuple[bytes, int] | None) -> Gone | None:
    """Return how a session of another library ended, if one of the revocations since it was issued did not spare it."""
    if unmoved is None:
        return None
    (sid, issued), entry = unmoved, entries.get(_UNMOVED, _NEVER)
    ended = entry.created if entry.public_id == _name(sid) else entry.ended
    return Gone(Ending.ENDED, ended) if ended and ended >= issued * 1000 else None


def _pruned(entries: _Entries, now: int) -> _Entries:
    """Leave out what nobody needs to know any more, and the sessions over the limit."""
    kept = {
        name: entry
        for name, entry in entries.items()
        if entry.expires * 1000 > now and (not entry.ended or name == _UNMOVED or abs(now - entry.ended) < _ENDED_KEPT)
    }
    for name in sorted((name for name in kept if not kept[name].ended), key=lambda name: kept[name].seen)[
        : max(0, sum(not entry.ended for entry in kept.values()) - MOST_SESSIONS)
    ]:
        del kept[name]
    return kept
