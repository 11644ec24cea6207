"""Times contestants in interleaved rounds, and pairs what was measured in the same round. Knows no contestant."""

import gc
import time
from collections.abc import Callable, Mapping, Sequence
from itertools import cycle, islice
from statistics import median
from typing import NamedTuple

from bench.contestants import Contestant

_TRIES = 10
_MOST = 100_000


class Entrant(NamedTuple):
    """A contestant, and the Cookie headers of the browsers that it serves in turn."""

    contestant: Contestant
    cookies: Sequence[str]


class Pace(NamedTuple):
    """How long to measure."""

    rounds: int
    seconds: float
    """How long one contestant goes on in one round, about; at least until each of its browsers had a turn."""


class Costs:
    """What sessions cost: for each name the microseconds per request, one figure per round."""

    def __init__(self, rounds: Mapping[str, Sequence[float]]) -> None:
        self._rounds = rounds

    def of(self, name: str) -> float:
        """Return the median."""
        return median(self._rounds[name])

    def ratio(self, name: str, to: str) -> float:
        """Return how many times as much it costs: the median of the ratios of each round, since machines drift."""
        return median(mine / other for mine, other in zip(self._rounds[name], self._rounds[to], strict=True))

    def excess(self, name: str, over: str) -> float:
        """Return how many microseconds more it costs: the median of the differences of each round."""
        return median(mine - other for mine, other in zip(self._rounds[name], self._rounds[over], strict=True))


def measure(entrants: Mapping[str, Entrant], pace: Pace, clock: Callable[[], float] = time.perf_counter) -> Costs:
    """Return what each entrant's session adds to a request, over the same application without one.

    `clock` tells the time in seconds.
    """
    batches = {name: _batch(entrant, pace.seconds, clock) for name, entrant in entrants.items()}
    costs: dict[str, list[float]] = {name: [] for name in entrants}
    gc.collect()
    gc.freeze()  # what the frameworks brought along is not scanned again and again
    try:
        for _ in range(pace.rounds):
            for name, (contestant, _) in entrants.items():
                batch = batches[name]
                gc.collect()
                bare = _spent(contestant.bare, batch, clock)
                costs[name].append((_spent(contestant.request, batch, clock) - bare) / len(batch) * 1e6)
    finally:
        gc.unfreeze()
    return Costs(costs)


def _batch(entrant: Entrant, seconds: float, clock: Callable[[], float]) -> list[str]:
    """Return as many Cookie headers as one batch takes, after a few requests to warm up."""
    first = list(islice(cycle(entrant.cookies), _TRIES))
    _spent(entrant.contestant.request, first, clock)
    one = _spent(entrant.contestant.request, first, clock) / _TRIES
    size = max(len(entrant.cookies), min(_MOST, int(seconds / one)))
    return list(islice(cycle(entrant.cookies), size))


def _spent(request: Callable[[str], None], cookies: Sequence[str], clock: Callable[[], float]) -> float:
    began = clock()
    for cookie in cookies:
        request(cookie)
    return clock() - began
