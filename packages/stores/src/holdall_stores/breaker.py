"""`Breaker`: leaves a store alone for a while when it keeps failing. Knows no particular store."""

import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from holdall import Answer, Command, StoreUnavailable, UsageError

if TYPE_CHECKING:
    from holdall_stores.stores import Store

_Commands = TypeVar("_Commands")
_Answers = TypeVar("_Answers")


class Breaker:
    """A store that after `failures` failures in a row raises `StoreUnavailable` at once for `pause` seconds.

    After the pause one call goes through: if it gets an answer all do, if not the next pause begins. So a dead server
    costs a request its deadline a few times only, and has peace to come back. `clock` counts seconds and never steps
    back.
    """

    def __init__(
        self,
        store: "Store",
        failures: int = 5,
        pause: float = 1.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        if failures < 1:
            raise UsageError(f"failures={failures}: at least one failure has to come first")
        if not pause > 0:
            raise UsageError(f"pause={pause}: give the seconds to leave the store alone, more than 0")
        self._store = store
        self._limit = failures
        self._pause = pause
        self._clock = clock
        # No lock, which a fork could leave locked for ever: threads that meet here can at worst miscount a failure, or
        # make two calls where one would do.
        self._failed = 0
        self._resume = 0.0

    def execute(self, command: Command, /) -> Answer:
        """Carry out one command, as the store does."""
        return self._ask(self._store.execute, command)

    def execute_many(self, commands: Sequence[Command], /) -> list[Answer]:
        """Carry out several commands, as the store does, if it has `execute_many`."""
        batching: Any = self._store
        answers: list[Answer] = self._ask(batching.execute_many, commands)
        return answers

    def close(self) -> None:
        """Close the store."""
        self._store.close()

    def _ask(self, execute: Callable[[_Commands], _Answers], commands: _Commands) -> _Answers:
        if self._failed >= self._limit:
            now = self._clock()
            if now < self._resume:
                raise StoreUnavailable(f"left alone for {self._pause} s after {self._failed} failures in a row")
            self._resume = now + self._pause  # the others wait for what this call finds
        try:
            answers = execute(commands)
        except StoreUnavailable:
            self._failed += 1
            self._resume = self._clock() + self._pause
            raise
        self._failed = 0
        return answers
