"""Measures the contestants in interleaved rounds and prints microseconds and ratios. Decides nothing else."""

import argparse
import gc
import os
import statistics
import time
from collections.abc import Callable

from bench.contestants import (
    CONTESTANTS,
    Action,
    Contestant,
    large,
    read,
    read_rows,
    small,
    untouched,
    write,
    write_rows,
)

SCENARIOS: list[tuple[str, Action, Callable[[], dict[str, object]], float | None]] = [
    ("untouched", untouched, small, None),
    ("read 200 B", read, small, 2.4),
    ("write 200 B", write, small, 2.4),
    ("read 2.6 KB, one small key", read, large, 0.8),
    ("write 2.6 KB, one small key", write, large, 0.9),
    ("read 2.6 KB, the big container", read_rows, large, 1.8),
    ("write 2.6 KB, the big container", write_rows, large, 1.6),
]


def cookie_of(make: Callable[[Action], Contestant], data: dict[str, object]) -> str:
    """Return the Cookie header of a browser whose session holds this data."""
    keep = make(lambda session: session.update(data))
    keep.request("")
    return keep.cookies()


def contestants(action: Action, data: dict[str, object]) -> list[tuple[Contestant, str]]:
    """Return every contestant for one action, with the cookie that it gave."""
    return [(make(action), cookie_of(make, data)) for make in CONTESTANTS]


def spent(request: Callable[[str], None], cookie: str, times: int) -> float:
    """Return the microseconds that a request takes."""
    began = time.perf_counter()
    for _ in range(times):
        request(cookie)
    return (time.perf_counter() - began) / times * 1e6


def measure(scenario: list[tuple[Contestant, str]], rounds: int, times: int) -> dict[str, float]:
    """Return the median microseconds that each contestant's session adds to a request, rounds interleaved."""
    costs: dict[str, list[float]] = {contestant.name: [] for contestant, _ in scenario}
    for _ in range(rounds):
        for contestant, cookie in scenario:
            gc.collect()
            bare = spent(contestant.bare, cookie, times)
            costs[contestant.name].append(spent(contestant.request, cookie, times) - bare)
    return {name: statistics.median(values) for name, values in costs.items()}


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a short run, for a first look")
    options = parser.parse_args()
    rounds, times = (5, 200) if options.quick else (25, 1000)
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})  # one CPU, so that rounds compare
    names = [make(untouched).name for make in CONTESTANTS]
    print("What a session adds to a request: microseconds, and in brackets the ratio to the limit of the same run.\n")
    print(f"{'':34}" + "".join(f"{name:>17}" for name in names) + f"{'Holdall is to reach':>22}")
    for title, action, data, target in SCENARIOS:
        costs = measure(contestants(action, data()), rounds, times)
        cells = [f"{costs[name]:8.1f} ({costs[name] / costs['limit']:5.1f} x)" for name in names]
        goal = "-" if target is None else f"{target} x"
        print(f"{title:34}" + "".join(f"{cell:>17}" for cell in cells) + f"{goal:>22}")


if __name__ == "__main__":
    main()
