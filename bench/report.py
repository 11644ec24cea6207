"""Runs the scenarios, and says what came of them: Markdown tables, what is reached, where, and how noisy it was."""

import os
import platform
from collections.abc import Callable, Iterable, Iterator, Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import NamedTuple

from bench.contestants import Places
from bench.imports import first_requests, imports
from bench.measuring import Costs, Pace, Spread, measure
from bench.processes import Process, processes
from bench.scenarios import NOISY, Aim, Scenario, Table
from bench.tables import TABLES as CONTESTANTS

_PACKAGES = (
    *("cryptography", "ormsgpack", "pybase64", "flask", "django", "starlette", "pyramid", "beaker", "flask-session"),
    *("starsessions", "pymemcache", "pylibmc", "google-cloud-ndb", "gunicorn", "uvicorn"),
)
_NOISY = 0.25
"""A row whose figures scatter by more, from quartile to quartile and of the median, is said to be noisy."""


class Measured(NamedTuple):
    """One scenario, and what came of it."""

    scenario: Scenario
    costs: Costs
    impossible: Mapping[str, str]
    """Who cannot do it, and why."""


class Outcome(NamedTuple):
    """One aim, and what came of it."""

    title: str
    aim: Aim
    value: Spread

    @property
    def name(self) -> str:
        """What it is recorded under."""
        return f"{self.title}: {self.aim.what}"


Results = dict[str, list[Measured]]
"""What was measured, by the name of the table."""


def measured(table: Table, pace: Pace, places: Places) -> Iterator[Measured]:
    """Start the contestants of a table, have each prove its work, and yield one row after the other."""
    who = {job.contestant for scenario in table.scenarios for job in scenario.jobs.values()}
    names = [name for name in CONTESTANTS[table.name] if name in who]
    with processes(table.name, names, places) as workers:
        for worker in workers.values():
            worker.ask("prove", data=table.proof)
        for scenario in table.scenarios:
            yield _measured(scenario, workers, pace)


def _measured(scenario: Scenario, workers: Mapping[str, Process], pace: Pace) -> Measured:
    rounds: dict[str, Callable[[], float]] = {}
    impossible: dict[str, str] = {}
    for column, (contestant, options) in scenario.jobs.items():
        worker = workers[contestant]
        answer = worker.ask("job", name=column, seconds=pace.seconds, **options)
        if answer == "ready":
            rounds[column] = _round(worker, column)
        else:
            impossible[column] = answer.removeprefix("cannot: ")
    costs = measure(rounds, min(pace.rounds, scenario.most_rounds))
    for column, (contestant, _) in scenario.jobs.items():
        workers[contestant].ask("forget", name=column)
    return Measured(scenario, costs, impossible)


def _round(worker: Process, name: str) -> Callable[[], float]:
    return lambda: float(worker.ask("round", name=name))


def outcomes(results: Results) -> list[Outcome]:
    """Return what came of each aim."""
    return [
        Outcome(row.scenario.title, aim, aim.measured(row.costs))
        for rows in results.values()
        for row in rows
        for aim in row.scenario.aims
    ]


def head(table: Table) -> Iterator[str]:
    """Yield the lines above a table."""
    columns = [name for name in table.columns if any(name in scenario.jobs for scenario in table.scenarios)]
    yield f"\n**{table.title}**\n"
    yield f"| | {' | '.join(columns)} |"
    yield f"|---|{'--:|' * len(columns)}"


def line(table: Table, row: Measured) -> str:
    """Return the line of one row: medians in microseconds, and a mark where the figures scatter."""
    columns = [name for name in table.columns if any(name in scenario.jobs for scenario in table.scenarios)]
    return f"| {row.scenario.title} | {' | '.join(_cell(row, name) for name in columns)} |"


def _cell(row: Measured, name: str) -> str:
    if name in row.impossible:
        return "—"
    if name not in row.costs:
        return ""
    cost = row.costs.of(name)
    return f"{cost.median:.1f}{'~' * _is_noisy(cost)}"


def _is_noisy(cost: Spread) -> bool:
    return cost.high - cost.low > max(_NOISY * abs(cost.median), 0.3)  # a clock tells no less of a fast application


def notes(results: Results) -> Iterator[str]:
    """Yield who cannot do what, and how much of the figures scattered."""
    for rows in results.values():
        for row in rows:
            for name, reason in row.impossible.items():
                yield f"- {row.scenario.title}: not by {name} ({reason})"
    measured = [row for rows in results.values() for row in rows]
    cells = [row.costs.of(name) for row in measured for name in row.scenario.jobs if name in row.costs]
    noisy = sum(_is_noisy(cost) for cost in cells)
    yield (
        f"- {noisy} of {len(cells)} figures are marked ~: they scatter by over {_NOISY:.0%} between their quartiles, "
        "and for them the machine was too noisy to tell"
    )


def aims(found: Iterable[Outcome]) -> Iterator[str]:
    """Yield the table of what is to reach, and what is reached."""
    found = list(found)
    verdicts = [outcome.aim.verdict(outcome.value) for outcome in found]
    noisy = verdicts.count(NOISY)
    yield f"{verdicts.count('reached')} of {len(found)} are reached in that run, and {noisy} were too noisy to tell:\n"
    yield "| scenario | Holdall | median (quartiles) | to reach | |"
    yield "|---|---|--:|--:|---|"
    for outcome, verdict in zip(found, verdicts, strict=True):
        aim = outcome.aim
        sign = "≥" if aim.is_least else "≤"
        bound = f"{sign} {aim.bound:g} {aim.unit}"
        yield f"| {outcome.title} | {aim.what} | {outcome.value} {aim.unit} | {bound} | {verdict} |"


def machine(pace: Pace) -> Iterator[str]:
    """Yield what the figures were measured on."""
    found = {}
    for package in _PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    load = f", load {os.getloadavg()[0]:.1f} when it began" if hasattr(os, "getloadavg") else ""
    yield (
        f"{platform.python_implementation()} {platform.python_version()}, {platform.system()} {platform.machine()}, "
        f"{os.cpu_count()} CPUs{load}; at most {pace.rounds} rounds of {pace.seconds * 1000:g} ms. "
        f"{', '.join(f'{name} {number}' for name, number in found.items())}."
    )


def starting(folder: Path, rounds: int) -> Iterator[str]:
    """Yield the milliseconds that imports cost, and the first request of a process."""
    for title, taken in (
        ("import, over Python alone", imports(str(folder), rounds)),
        ("first request of a process, over the same without sessions", first_requests(str(folder), rounds)),
    ):
        yield f"\n| | {' | '.join(taken)} |"
        yield f"|---|{'--:|' * len(taken)}"
        yield f"| {title} | {' | '.join(f'{one:.0f}' for one in taken.values())} |"


def into(page: Path, sections: Mapping[str, str]) -> None:
    """Put sections into a Markdown page, each between its own two markers, in the place of what was there."""
    text = page.read_text()
    for name, section in sections.items():
        begin, end = f"<!-- {name}: begin -->", f"<!-- {name}: end -->"
        before, found, rest = text.partition(begin)
        _, closed, after = rest.partition(end)
        if not found or not closed:
            raise ValueError(f"{page} has no place for {name}: {begin} … {end}")
        text = f"{before}{begin}\n{section.strip()}\n{end}{after}"
    page.write_text(text)
