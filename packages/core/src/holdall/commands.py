"""All that the core can ask of a store, and all that a store can answer.

Three commands, five answers, nothing else. No I/O, no decision and no format belongs here: values are opaque bytes to a
store, and keys are opaque ASCII strings. An error is not an answer: a store that cannot answer raises
`errors.StoreError`.
"""

import enum
from dataclasses import dataclass
from typing import TypeAlias


class Tier(enum.Enum):
    """Where a session is kept."""

    COOKIE = "cookie"
    """The whole session, sealed, with the browser. No command ever names this tier."""
    CACHE = "cache"
    """Fast and forgetful: an entry may vanish at any time."""
    DURABLE = "durable"
    """What it acknowledged stays until it is replaced, deleted or restored from a backup."""
    OLD = "old"
    """Where another library kept its sessions: read and deleted from while they move in, never written."""


class Expect(enum.Enum):
    """What a `Put` may find under its key, where that is not one certain version."""

    ABSENT = "absent"
    """Nothing: insert, or answer `Conflict`."""
    ANYTHING = "anything"
    """Anything or nothing: only for markers that a session ended, which may replace everything."""


class _Message:
    """Shows itself as its call, but a value by its size: there may be a megabyte of it."""

    __slots__: tuple[str, ...] = ()

    def __repr__(self) -> str:
        fields = [(name, getattr(self, name)) for name in self.__slots__]
        shown = (f"{name}={f'<{len(v)} bytes>' if type(v) is bytes else repr(v)}" for name, v in fields)
        return f"{type(self).__name__}({', '.join(shown)})"


@dataclass(frozen=True, slots=True, repr=False)
class Get(_Message):
    """Read the value under a key: answered by `Found` or `Missing`."""

    tier: Tier
    key: str


@dataclass(frozen=True, slots=True, repr=False)
class Put(_Message):
    """Write a value if the key holds what is expected: answered by `Stored` or `Conflict`.

    `expires` is an absolute time in whole seconds UTC since 1970; from then on the store may forget the value.
    `expect` is the version that a `Found` or `Stored` reported, or an `Expect`.
    """

    tier: Tier
    key: str
    value: bytes
    expires: int
    expect: int | Expect


@dataclass(frozen=True, slots=True, repr=False)
class Delete(_Message):
    """Remove whatever is under a key, if anything: answered by `Deleted`."""

    tier: Tier
    key: str


@dataclass(frozen=True, slots=True, repr=False)
class Found(_Message):
    """The value under a key, and the version to expect when it is to be replaced.

    A durable tier's versions grow with every write to the store and never repeat, even after a restore.
    A cache's versions only tell whether the entry is still the same.
    """

    value: bytes
    version: int


@dataclass(frozen=True, slots=True, repr=False)
class Missing(_Message):
    """There is nothing under the key: never written, deleted, expired or, in a cache, evicted.

    `forever`: nor will there be, since the application has no cache. So nothing needs to be put there.
    """

    forever: bool = False


@dataclass(frozen=True, slots=True, repr=False)
class Stored(_Message):
    """The value is stored. `version` is None where the store does not tell it (memcached)."""

    version: int | None


@dataclass(frozen=True, slots=True, repr=False)
class Conflict(_Message):
    """The key did not hold what was expected. This `Put` changed nothing, nor did any retry of it."""


@dataclass(frozen=True, slots=True, repr=False)
class Deleted(_Message):
    """There is nothing under the key any more."""


Command: TypeAlias = Get | Put | Delete
"""What the core asks of a store."""

Answer: TypeAlias = Found | Missing | Stored | Conflict | Deleted
"""What a store answers."""
