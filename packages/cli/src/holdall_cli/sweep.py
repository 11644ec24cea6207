"""Sweeps a durable store, batch by batch and within bounds. Each batch is a commit of its own, so nothing is resumed:
whoever was killed and runs again goes on where it ended.

What expired and how it is deleted is each store's affair; how a sweep is shown or answered is in `command` and `cron`.
"""

import math
import time
from collections.abc import Callable
from typing import TextIO

from holdall import UsageError
from holdall_stores import Stores, Sweepable, sweepable

_BATCH = 500
_WIDTH = 30  # characters of the bar
_LINE_SECONDS = 10.0


class Sweep:
    """Deletes what expired from a durable store, at most `per_second` values per second, for about `seconds`.

    A batch that has begun is finished. `clock` counts seconds and never steps back.
    """

    def __init__(
        self,
        durable: Sweepable | Stores,
        *,
        per_second: float = math.inf,
        seconds: float = math.inf,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        if not per_second > 0:
            raise UsageError(f"per_second={per_second}: give how many may be deleted per second, more than 0")
        if not seconds > 0:
            raise UsageError(f"seconds={seconds}: give the seconds that a sweep may take, more than 0")
        self._store = sweepable(durable)
        self._per_second = per_second
        self._seconds = seconds
        self._clock = clock
        self._sleep = sleep
        self.deleted = 0

    def total(self) -> int | None:
        """Return how many there are to delete now; None where the store cannot tell. Raises `StoreUnavailable`."""
        count: Callable[[], int] | None = getattr(self._store, "count_expired", None)
        return None if count is None else count()

    def run(self, progress: Callable[[int], object] = int) -> bool:
        """Sweep; True when nothing is left, False when the time is over. `progress` is told how many are deleted.

        Raises `StoreUnavailable`; what was deleted until then stays deleted.
        """
        started = self._clock()
        end = started + self._seconds
        batch = int(min(_BATCH, max(1, self._per_second)))
        while self._clock() < end:
            found = self._store.delete_expired(batch)
            self.deleted += found
            progress(self.deleted)
            if found < batch:
                return True
            due = started + self.deleted / self._per_second
            self._sleep(max(0.0, min(due, end) - self._clock()))
        return False


class Progress:
    """Shows how a sweep gets on: a bar on a terminal, elsewhere a line every ten seconds."""

    def __init__(self, stream: TextIO, total: int | None, clock: Callable[[], float] = time.monotonic) -> None:
        self._stream = stream
        self._total = total
        self._clock = clock
        self._drawn = False
        self._last = clock()

    def __call__(self, deleted: int) -> None:
        """Show that so many are deleted."""
        if self._stream.isatty():
            self._drawn = True
            self._stream.write("\r" + self._text(deleted, bar=True))
            self._stream.flush()
        elif self._clock() - self._last >= _LINE_SECONDS:
            self._last = self._clock()
            self._stream.write(self._text(deleted, bar=False) + "\n")
            self._stream.flush()

    def close(self) -> None:
        """End the bar's line."""
        if self._drawn:
            self._stream.write("\n")

    def _text(self, deleted: int, *, bar: bool) -> str:
        if self._total is None:
            return f"{deleted:,} deleted"
        total = max(self._total, deleted)  # more may expire meanwhile
        done = deleted / total if total else 1.0
        drawn = f"[{'#' * int(done * _WIDTH):<{_WIDTH}}] " if bar else ""
        return f"{drawn}{deleted:,} of {total:,} deleted ({done:.0%})"
