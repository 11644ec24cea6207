"""The table: what a commit does, for every state a session can be in.

Whether and where a session is written, and which cookie the response sets, is decided by `decide` and nowhere else.
It is a pure function of three small facts, tabulated once; how its decision is carried out is in `tiers` (stores)
and `exchange` (cookies).
"""

import enum
from typing import NamedTuple


class _Fact(enum.Enum):
    # Members are compared by identity, so they may be hashed by it; Enum hashes their names, which takes longer than
    # all the rest of a look-up.
    __hash__ = object.__hash__


class Home(_Fact):
    """Where the session of the request was kept when the request came."""

    NOWHERE = "no session"
    COOKIE = "in the cookie"
    STORE = "in a store"
    GONE = "nowhere, though a reference to it came"


class Wish(_Fact):
    """What the application did with it."""

    NOTHING = "nothing, or only read it"
    QUICK = "only quick writes"
    CHANGE = "changed it"
    BEGIN = "began a new one"
    REGENERATE = "gave it a new id"
    END = "terminated it"


class Write(enum.Enum):
    """What happens in the stores."""

    NOTHING = "-"
    CACHE_ONLY = "replace the cache entry"
    INSERT = "insert a record"
    PROMOTE = "insert a record that grew from the cookie"
    UPDATE = "replace the record, replay on conflict"
    MOVE = "mark the old id as regenerated; insert under the new one if it goes to a store"


class Cookie(enum.Enum):
    """What the response does with the cookie."""

    KEEP = "-"
    INLINE = "set, with the data"
    REFERENCE = "set, with a reference"
    DELETE = "delete"


class Outcome(NamedTuple):
    """What a commit does."""

    write: Write
    ends_old: bool
    """The record of the sid that the request came with is replaced by a marker that it ended."""
    cookie: Cookie


_NOTHING = Outcome(Write.NOTHING, False, Cookie.KEEP)


def _decide(home: Home, wish: Wish, fits: bool) -> Outcome:
    if wish is Wish.NOTHING:
        return _NOTHING
    exists = home in (Home.COOKIE, Home.STORE)
    if wish is Wish.END:
        # Nothing to end where nothing began; what was assigned afterwards would be Wish.BEGIN.
        return _NOTHING if home is Home.NOWHERE else Outcome(Write.NOTHING, exists, Cookie.DELETE)
    if wish is Wish.BEGIN or not exists:
        if fits:
            return Outcome(Write.NOTHING, exists, Cookie.INLINE)
        return Outcome(Write.INSERT, exists, Cookie.REFERENCE)
    if wish is Wish.REGENERATE:
        # The one other moment at which a session may come back from a store to the cookie: its sid is new.
        return Outcome(Write.MOVE, True, Cookie.INLINE if fits else Cookie.REFERENCE)
    if home is Home.COOKIE:
        # A quick write to a session that is in no store is a write like any other.
        if fits:
            return Outcome(Write.NOTHING, False, Cookie.INLINE)
        return Outcome(Write.PROMOTE, False, Cookie.REFERENCE)
    if wish is Wish.QUICK:
        return Outcome(Write.CACHE_ONLY, False, Cookie.KEEP)
    # However small it became: within one sid a session only ever moves up.
    return Outcome(Write.UPDATE, False, Cookie.REFERENCE)


TABLE = {(home, wish, fits): _decide(home, wish, fits) for home in Home for wish in Wish for fits in (True, False)}
"""Every row, in the order of the enumerations: what the documentation shows."""


def decide(home: Home, wish: Wish, *, fits: bool) -> Outcome:
    """Return what a commit does.

    `fits`: the data may ride in the cookie: small enough, and the application did not ask to persist it.
    """
    return TABLE[home, wish, fits]
