"""What one request changed, key by key, and how to replay it on newer data.

Pure data: no session, no store and no clock. A whole session is never written over another one; changes are.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from holdall.codec import Wire, decode, encode, is_same
from holdall.errors import UsageError


class Mark:
    """A sentinel that says what was done to a key."""

    __slots__ = ("name",)

    def __init__(self, name: str) -> None:
        self.name = name

    def __repr__(self) -> str:
        return self.name


ASSIGNED = Mark("ASSIGNED")
DELETED = Mark("DELETED")
_NUMBERS = frozenset((int, float))


@dataclass(slots=True)
class Changes:
    """The difference between the session that was read and the one the application left."""

    cleared: bool = False
    """Everything there is at the time of the write goes first, whatever it is by then."""
    assigned: dict[str, Wire] = field(default_factory=dict)
    deleted: set[str] = field(default_factory=set)
    increments: dict[str, int | float] = field(default_factory=dict)
    quick: bool = False
    """Only quick writes are among them."""
    until: tuple[int, bool] | None = None
    """When the session is to end from now on, in seconds UTC since 1970, and whether its cookie ends with the browser.

    None: as before.
    """
    bond: bytes | None = None
    """Whose session it is from now on; None: as before."""

    def __bool__(self) -> bool:
        return bool(self.assigned or self.cleared or self.deleted or self.increments or self.until or self.bond)

    @property
    def keys(self) -> tuple[str, ...] | None:
        """The keys that are concerned; None stands for every key."""
        return None if self.cleared else (*self.assigned, *self.deleted, *self.increments)

    def with_end(self, until: tuple[int, bool]) -> "Changes":
        """Return these changes and that of the session's end, which is no quick one."""
        return Changes(self.cleared, self.assigned, self.deleted, self.increments, False, until, self.bond)

    def apply(self, values: Mapping[str, Wire]) -> tuple[dict[str, Wire], tuple[str, ...]]:
        """Return the values with these changes, and the keys whose increments had to be dropped.

        An increment is dropped where there is no number any more; a missing value counts as 0.
        """
        result = {} if self.cleared else {**values}
        for key in self.deleted:
            result.pop(key, None)
        result.update(self.assigned)
        dropped = []
        for key, amount in self.increments.items():
            before = result.get(key, 0)
            # bytes are a packed value, which may be an integer too large to stand for itself
            number = decode(before) if type(before) is bytes else before
            total = add(number, amount)
            if total is None:
                dropped.append(key)
            else:
                result[key] = encode(total)
        return result, tuple(dropped)


NO_CHANGES = Changes()


def add(number: Any, amount: Any) -> int | float | None:
    """Return the sum; None where one of them is neither an int nor a float, or no float can hold it."""
    if not _NUMBERS.issuperset((type(number), type(amount))):
        return None
    try:
        return number + amount  # type: ignore[no-any-return]
    except OverflowError:
        return None


def collect(
    loaded: Mapping[str, Wire],
    *,
    cleared: bool,
    live: Mapping[str, Any],
    marks: Mapping[str, Any],
    quick: bool,
) -> Changes:
    """Find what changed against `loaded`.

    `live` holds the values that were handed out or assigned, `marks` what was done to a key: ASSIGNED, DELETED or the
    number it was incremented by. A value handed out and changed in place shows as a difference from its packed bytes.
    What was assigned but is the same as before is no change. Raises `UsageError`, naming the key, for a value that
    cannot be kept.
    """
    assigned: dict[str, Wire] = {}
    deleted: set[str] = set()
    increments: dict[str, int | float] = {}
    key = ""
    try:
        for key, mark in marks.items():
            if mark is ASSIGNED:
                wire = encode(live[key])
                if cleared or key not in loaded or not is_same(wire, loaded[key]):
                    assigned[key] = wire
            elif mark is DELETED:
                if key in loaded and not cleared:
                    deleted.add(key)
            elif mark:
                increments[key] = mark
        for key, value in live.items():
            if key not in marks:
                wire = encode(value, loaded[key])
                if wire != loaded[key]:
                    assigned[key] = wire
                    quick = False
    except UsageError as error:
        raise UsageError(f"session[{key!r}] cannot be kept: {error}") from error
    return Changes(cleared and bool(loaded), assigned, deleted, increments, quick)


def overlay(inline: Mapping[str, Wire], record: Mapping[str, Wire], changed: Iterable[str] | None) -> dict[str, Wire]:
    """Lay what a record says of its changed keys over inline data; None for `changed` means every key."""
    if changed is None:
        return dict(record)
    result = dict(inline)
    for key in changed:
        if key in record:
            result[key] = record[key]
        else:
            result.pop(key, None)
    return result
