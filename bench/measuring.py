"""Interleaves the rounds of several contestants, and pairs what was measured in the same round. Knows no contestant."""

from collections.abc import Callable, Mapping, Sequence
from statistics import median, quantiles
from typing import NamedTuple


class Pace(NamedTuple):
    """How long to measure."""

    rounds: int
    seconds: float
    """How long one contestant goes on in one round, about; at least one request, or one of each of its browsers."""


class Spread(NamedTuple):
    """A median between its quartiles."""

    low: float
    median: float
    high: float

    def __str__(self) -> str:
        return f"{self.median:#.3g} ({self.low:#.3g} to {self.high:#.3g})"


def spread(values: Sequence[float]) -> Spread:
    """Return the median of at least one value, and the quartiles."""
    if len(values) == 1:
        return Spread(values[0], values[0], values[0])
    low, _, high = quantiles(values, n=4, method="inclusive")
    return Spread(low, median(values), high)


class Costs:
    """What sessions cost: for each name the microseconds per request, one figure per round."""

    def __init__(self, rounds: Mapping[str, Sequence[float]]) -> None:
        self._rounds = rounds

    def __contains__(self, name: str) -> bool:
        return name in self._rounds

    def of(self, name: str) -> Spread:
        """Return what it costs."""
        return spread(self._rounds[name])

    def ratio(self, name: str, to: str) -> Spread:
        """Return how many times as much it costs, of the ratios of each round, since machines drift."""
        return self._paired(name, to, lambda mine, other: mine / other)

    def excess(self, name: str, over: str) -> Spread:
        """Return how many microseconds more it costs, of the differences of each round."""
        return self._paired(name, over, lambda mine, other: mine - other)

    def _paired(self, name: str, other: str, pair: Callable[[float, float], float]) -> Spread:
        pairs = zip(self._rounds[name], self._rounds[other], strict=True)
        # A clock that cannot tell two figures apart says that they are the same, and not that one is nothing.
        return spread([pair(mine, other or mine or 1.0) for mine, other in pairs])


def measure(rounds: Mapping[str, Callable[[], float]], number: int) -> Costs:
    """Return what each contestant's rounds say, so many times all of them in turn."""
    costs: dict[str, list[float]] = {name: [] for name in rounds}
    for _ in range(number):
        for name, one in rounds.items():
            costs[name].append(one())
    return Costs(costs)
