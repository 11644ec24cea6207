"""Prints what sessions cost, and which aims Holdall reaches: of `scenarios`, by `measuring`, and `imports`.

Everything runs on one CPU: this process, and the memcached that it starts.
"""

import argparse
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

from bench.imports import measure_imports
from bench.measuring import Costs, Pace, measure
from bench.scenarios import Aim, Scenario, beside_itself, in_memcached, in_sqlite, in_the_cookie
from tests.servers import INSTALL, memcached

FULL = Pace(rounds=41, seconds=0.015)
QUICK = Pace(rounds=9, seconds=0.004)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="bench", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a short run, for a first look")
    options = parser.parse_args()
    if sys.platform == "linux":  # elsewhere there is no such call, and figures scatter more
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    for line in report(QUICK if options.quick else FULL):
        print(line, flush=True)


def report(pace: Pace) -> Iterator[str]:
    """Yield the lines of the report, a Markdown page, as they are known."""
    aims: list[tuple[str, Aim, float]] = []
    yield "Microseconds that a session adds to a request; medians."
    with ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory())
        tables = [in_the_cookie(), in_sqlite(Path(folder)), beside_itself()]
        has_memcached = shutil.which("memcached") is not None
        if has_memcached:
            server = stack.enter_context(memcached(None, "-t", "1"))
            tables.insert(1, in_memcached(server.address))
        for scenarios in tables:
            yield from _table(scenarios, pace, aims)
        imports = measure_imports(folder, max(1, pace.rounds // 4))
    yield f"\nMilliseconds that an import takes over Python alone:\n\n| {' | '.join(imports)} |"
    yield "|--:" * len(imports) + "|"
    yield f"| {' | '.join(f'{taken:.0f}' for taken in imports.values())} |"
    if not has_memcached:
        yield f"\nNot measured, memcached is missing: {INSTALL}"
    yield f"\nTo reach; {sum(aim.is_reached(value) for _, aim, value in aims)} of {len(aims)} are reached:\n"
    yield "| scenario | Holdall | measured | to reach | |"
    yield "|---|---|--:|--:|---|"
    for title, aim, value in aims:
        sign = "≥" if aim.is_least else "≤"
        verdict = "reached" if aim.is_reached(value) else "**not reached**"
        yield f"| {title} | {aim.what} | {value:#.3g} {aim.unit} | {sign} {aim.bound:g} {aim.unit} | {verdict} |"


def _table(scenarios: Iterator[Scenario], pace: Pace, aims: list[tuple[str, Aim, float]]) -> Iterator[str]:
    names: list[str] = []
    for scenario in scenarios:
        if not names:
            names = list(scenario.entrants)
            yield f"\n| | {' | '.join(names)} |"
            yield f"|---|{'--:|' * len(names)}"
        costs = measure(scenario.entrants, pace)
        aims += [(scenario.title, aim, aim.measured(costs)) for aim in scenario.aims]
        yield f"| {scenario.title} | {' | '.join(_cell(costs, name) for name in names)} |"


def _cell(costs: Costs, name: str) -> str:
    return f"{costs.of(name):.1f}"


if __name__ == "__main__":
    main()
