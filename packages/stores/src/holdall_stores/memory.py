"""`Memory`: a store in this process. Keeps nothing on a disk, and shares nothing with other processes."""

import os
import sys
import threading
import time
from collections import OrderedDict
from collections.abc import Callable

from holdall import (
    Answer,
    Command,
    Conflict,
    Delete,
    Deleted,
    Found,
    Get,
    Missing,
    Put,
    Stored,
    StoreTooLarge,
    UsageError,
)

from holdall_stores.stores import is_expected, next_version

# One for all, held for microseconds; a fork waits for it, so that no child inherits it locked or a store half-changed.
_LOCK = threading.Lock()
if sys.platform != "win32":
    os.register_at_fork(before=_LOCK.acquire, after_in_parent=_LOCK.release, after_in_child=_LOCK.release)


class Memory:
    """A store in this process, of at most `max_bytes` bytes: the least recently used values go first.

    A cache for one process, and a durable store for tests: each process has its own, from a fork on too, and nothing
    outlives it. `clock` tells the time in seconds UTC since 1970.
    """

    def __init__(self, max_bytes: int = 64 * 2**20, clock: Callable[[], float] = time.time) -> None:
        if max_bytes < 1:
            raise UsageError(f"max_bytes={max_bytes}: give the bytes that may be kept, at least 1")
        self._max_bytes = max_bytes
        self._clock = clock
        self._values: OrderedDict[str, tuple[Found, int]] = OrderedDict()  # the least recently used first
        self._bytes = 0
        self._version = 0

    def execute(self, command: Command, /) -> Answer:
        """Carry out one command. Raises `StoreTooLarge` for a value that would not fit if it were alone."""
        with _LOCK:
            there = self._look_up(command.key)
            match command:
                case Get():
                    return there or Missing()
                case Put():
                    return self._put(command, there)
                case Delete():
                    self._remove(command.key)
                    return Deleted()

    def close(self) -> None:
        """Forget everything."""
        with _LOCK:
            self._values.clear()
            self._bytes = 0

    def _look_up(self, key: str) -> Found | None:
        found, expires = self._values.get(key, (None, 0))
        if found is None:
            return None
        if expires <= self._clock():
            self._remove(key)
            return None
        self._values.move_to_end(key)
        return found

    def _put(self, command: Put, there: Found | None) -> Stored | Conflict:
        room = self._max_bytes - len(command.key)
        if len(command.value) > room:
            raise StoreTooLarge(len(command.value), max(room, 0))
        if not is_expected(command.expect, None if there is None else there.version):
            return Conflict()
        self._remove(command.key)
        self._version = next_version(self._version, self._clock())
        self._values[command.key] = Found(command.value, self._version), command.expires
        self._bytes += len(command.key) + len(command.value)
        while self._bytes > self._max_bytes:
            self._remove(next(iter(self._values)))
        return Stored(self._version)

    def _remove(self, key: str) -> None:
        found, _ = self._values.pop(key, (None, 0))
        if found is not None:
            self._bytes -= len(key) + len(found.value)
