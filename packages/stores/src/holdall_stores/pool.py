"""`Pool`: idle connections, kept for the next operation of any thread, and never taken across a fork.

Knows neither what a connection is nor whether it still works.
"""

import os
import sys
import weakref
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Generic, TypeVar

T = TypeVar("T")

_pools: "weakref.WeakSet[Pool[Any]]" = weakref.WeakSet()


class Pool(Generic[T]):
    """At most `keep` idle connections per process; the one that was used last is taken first. Never waits.

    `close` closes one connection. Those that are idle are closed before a fork, with the pool, and when it is
    forgotten.
    """

    def __init__(self, close: Callable[[T], None], keep: int) -> None:
        self._close = close
        self._keep = keep
        # By process id. What a child inherits all the same (from a server that forks in C, where no hook runs) stays
        # here untouched: to use a connection of the parent would mix up their replies, and even closing SQLite's may
        # damage the file (https://sqlite.org/howtocorrupt.html, 2.6).
        self._idle: dict[int, deque[T]] = {}
        weakref.finalize(self, _drain, self._idle, close)
        _pools.add(self)

    def take(self) -> T | None:
        """Return an idle connection, which is then the caller's alone, or None."""
        try:
            return self._idle[os.getpid()].pop()
        except (KeyError, IndexError):
            return None

    def give(self, connection: T) -> None:
        """Take back a connection that is fit for another operation."""
        idle = self._idle.setdefault(os.getpid(), deque())
        if len(idle) < self._keep:
            idle.append(connection)
        else:
            self._close(connection)

    def drain(self) -> None:
        """Close what is idle."""
        _drain(self._idle, self._close)

    def close(self) -> None:
        """Close what is idle, and from now on whatever is given."""
        self._keep = 0
        self.drain()


def _drain(idle_of: dict[int, deque[T]], close: Callable[[T], None]) -> None:
    idle = idle_of.get(os.getpid(), deque())
    with suppress(IndexError):  # not `while idle`: another thread may take the last one in between
        while True:
            close(idle.pop())


def _drain_all() -> None:
    for pool in list(_pools):
        pool.drain()


if sys.platform != "win32":
    os.register_at_fork(before=_drain_all)
