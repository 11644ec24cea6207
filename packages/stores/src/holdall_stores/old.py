"""Stores of other libraries, while their sessions move in: only to be read, and deleted from.

What such a store is, and what has it asked along with our own. The libraries' own stores are with their readers.
"""

import inspect
from typing import Any, Protocol, TypeVar

from holdall import (
    Answer,
    AsyncStoresLike,
    Command,
    Delete,
    Deleted,
    Found,
    Get,
    Missing,
    MovingIn,
    StoreError,
    StoresLike,
    StoreUnavailable,
    Tier,
    UsageError,
)

S = TypeVar("S", StoresLike, AsyncStoresLike)


class OldRecords(Protocol):
    """The store of another library, as a `MovingIn` has it in `records`. Whatever it raises is an outage."""

    def get(self, key: str, /) -> bytes | None:
        """Return the record under a key, None if there is none; in a form that the reader's `read` knows."""

    def delete(self, key: str, /) -> None:
        """Delete a record, if there is one."""


def with_old_records(stores: S, moving_in: MovingIn | None) -> S:
    """For adapters: return stores that also know the records that `moving_in` reads; the same if it reads none.

    Beside asynchronous stores, the records are read and deleted in threads.
    """
    if moving_in is None or moving_in.records is None:
        return stores
    old = _Old(moving_in.records)
    beside: Any  # of the same kind as the stores
    if inspect.iscoroutinefunction(stores.execute):
        from holdall_stores.threads import in_threads

        beside = _AsyncBeside(stores, in_threads(old))  # type: ignore[arg-type]
    else:
        beside = _Beside(stores, old)  # type: ignore[arg-type]
    return beside  # type: ignore[no-any-return]


class _Old:
    """The store of another library, as `run` needs it."""

    def __init__(self, records: OldRecords) -> None:
        self._records = records

    def execute(self, commands: tuple[Command, ...], /) -> tuple[Answer | StoreError, ...]:
        return tuple([self._answer(command) for command in commands])

    def _answer(self, command: Command) -> Answer | StoreError:
        try:
            match command:
                case Get():
                    value = self._records.get(command.key)
                    return Missing() if value is None else Found(value, 0)
                case Delete():
                    self._records.delete(command.key)
                    return Deleted()
        except Exception as error:  # of whatever client the other library's store has
            unavailable = StoreUnavailable(f"the old sessions' store failed: {type(error).__name__}")
            unavailable.__cause__ = error
            return unavailable
        raise UsageError("nothing is written to the store of another library")


class _Beside:
    """Our stores, and beside them the other library's."""

    def __init__(self, stores: StoresLike, old: StoresLike) -> None:
        self.stores = stores
        self._old = old

    def execute(self, commands: tuple[Command, ...], /) -> tuple[Answer | StoreError, ...]:
        return (self._old if _is_old(commands) else self.stores).execute(commands)


class _AsyncBeside:
    """The same, awaitable."""

    def __init__(self, stores: AsyncStoresLike, old: AsyncStoresLike) -> None:
        self.stores = stores
        self._old = old

    async def execute(self, commands: tuple[Command, ...], /) -> tuple[Answer | StoreError, ...]:
        return await (self._old if _is_old(commands) else self.stores).execute(commands)


def _is_old(commands: tuple[Command, ...]) -> bool:
    """Tell whether commands are for the other library's store; the core asks it one at a time, and nobody else then."""
    return any(command.tier is Tier.OLD for command in commands)
