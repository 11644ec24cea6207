"""Doubles for tests of applications, adapters and the core: a clock that stands still, and stores that remember.

They do no I/O. They follow the contract of real stores (docs/stores.md) and pass the same tests; nothing here is
used by the library itself.
"""

from collections.abc import Callable
from typing import Any

from holdall.commands import (
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
    Tier,
)
from holdall.errors import StoreError, StoreTooLarge, StoreUnavailable


class FakeClock:
    """A clock that moves when it is told to. Calling it returns seconds UTC since 1970."""

    def __init__(self, now: float = 1_800_000_000.0) -> None:
        self.now = now

    def __call__(self) -> float:
        """Return the time, in seconds UTC since 1970."""
        return self.now

    def advance(self, seconds: float) -> None:
        """Move on, or back."""
        self.now += seconds


class RecordingStores:
    """A cache and a durable tier in memory, which remember every command and fail on demand.

    `commands` and `answers` hold what was asked and answered, in order. `down` names tiers that do not answer.
    `losing_replies` names tiers that carry out what they are asked and do not answer. `before`, if set, is called with
    every command before it is carried out, so that a test can have something else happen right then, or raise a
    `StoreError`. `limit`: the most bytes a value may have.
    """

    def __init__(self, clock: Callable[[], float], *, limit: int | None = None) -> None:
        self.commands: list[Command] = []
        self.answers: list[Answer | StoreError] = []
        self.down: set[Tier] = set()
        self.losing_replies: set[Tier] = set()
        self.before: Callable[[Command], Any] | None = None
        self.limit = limit
        self._clock = clock
        self._version = 0
        self._values: dict[Tier, dict[str, tuple[bytes, int, int]]] = {
            Tier.CACHE: {},
            Tier.DURABLE: {},
            Tier.OLD: {},
        }

    def execute(self, commands: tuple[Command, ...], /) -> tuple[Answer | StoreError, ...]:
        """Carry out commands, as the stores of `holdall_stores` do."""
        return tuple(self._record(command) for command in commands)

    def flush(self, tier: Tier = Tier.CACHE) -> None:
        """Forget everything a tier holds."""
        self._values[tier].clear()

    def snapshot(self, tier: Tier) -> dict[str, tuple[bytes, int, int]]:
        """Return what a tier holds: key → (value, version, expires); to be given to `restore`."""
        return dict(self._values[tier])

    def restore(self, tier: Tier, snapshot: dict[str, tuple[bytes, int, int]]) -> None:
        """Put a tier back to an earlier state, as a backup does. Versions go on growing all the same."""
        self._values[tier] = dict(snapshot)

    def _record(self, command: Command) -> Answer | StoreError:
        self.commands.append(command)
        try:
            if self.before is not None:
                self.before(command)
            if command.tier in self.down:
                raise StoreUnavailable(f"the {command.tier.value} tier is down")
            answer: Answer | StoreError = self._answer(command)
            if command.tier in self.losing_replies:
                raise StoreUnavailable(f"no reply from the {command.tier.value} tier")
        except StoreError as error:
            answer = error
        self.answers.append(answer)
        return answer

    def _answer(self, command: Command) -> Answer:
        values = self._values[command.tier]
        there = values.get(command.key)
        if there is not None and there[2] <= self._clock():
            del values[command.key]
            there = None
        match command:
            case Get():
                return Missing() if there is None else Found(there[0], there[1])
            case Put(expect=expect):
                if self.limit is not None and len(command.value) > self.limit:
                    raise StoreTooLarge(len(command.value), self.limit)
                if expect is Expect.ABSENT and there is not None:
                    return Conflict()
                if isinstance(expect, int) and (there is None or there[1] != expect):
                    return Conflict()
                self._version += 1
                values[command.key] = (command.value, self._version, command.expires)
                # As memcached: a cache does not tell the version of what it stored.
                return Stored(self._version if command.tier is Tier.DURABLE else None)
            case Delete():
                values.pop(command.key, None)
                return Deleted()
