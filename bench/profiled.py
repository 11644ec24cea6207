"""Shows where the cost of a request lies, in every row of the bench that misses an aim: what `bench profile` prints.

How it is found out is in `profiling`, in the contestant's own process. Nothing is measured against anybody here.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

from bench.contestants import Places
from bench.processes import Process, processes
from bench.profiling import Spent
from bench.recorded import Recorded
from bench.scenarios import ADAPTERS, NOISY, TABLES, Scenario, Table
from bench.tables import HOLDALL, LIMIT

_SECONDS = 0.001  # of requests that a contestant warms up with
_LEAST = 0.03
"""A place with a smaller share of everything in every column is not shown by itself."""


class Column(NamedTuple):
    """One contestant in one scenario, place by place; of whom it is compared with, only the sum is shown."""

    title: str
    places: dict[str, Spent]
    beside: Spent


def report(places: Places, then: Recorded) -> Iterator[str]:
    """Yield tables of where the cost lies, in every row of which an aim is recorded as missed."""
    for table in TABLES:
        if table.needs and not getattr(places, table.needs):
            yield f"{table.title}: not measured, without {table.needs}.\n"
            continue
        missed = [scenario for scenario in table.scenarios if _is_missed(scenario, then)]
        if not missed:
            continue
        yield from _lines(table, HOLDALL, LIMIT if LIMIT in table.columns else "base", missed, places)
        if table.name == "cookie":
            smallest = [row for row in missed if row.jobs[HOLDALL].options["data"] == "200 B"]
            for adapter, framework in ADAPTERS.items():
                yield from _lines(table, adapter, framework, smallest, places)


def _is_missed(scenario: Scenario, then: Recorded) -> bool:
    values = [(aim, then.get(f"{scenario.title}: {aim.what}")) for aim in scenario.aims]
    return any(value is not None and aim.verdict(value) not in ("reached", NOISY) for aim, value in values)


def _column(row: Scenario, who: str, beside: str, workers: Mapping[str, Process]) -> Column:
    return Column(row.title, _spent(row, who, workers), _sum(_spent(row, beside, workers).values()))


def _spent(row: Scenario, who: str, workers: Mapping[str, Process]) -> dict[str, Spent]:
    contestant, options = row.jobs[who]
    worker = workers[contestant]
    answer = worker.ask("job", name=row.title, seconds=_SECONDS, **options)
    assert answer == "ready", answer
    places = worker.ask("profile", name=row.title)
    worker.ask("forget", name=row.title)
    return {place: Spent(*spent) for place, spent in places.items()}


def _sum(spent: Iterable[Spent]) -> Spent:
    columns = list(zip(*spent, strict=True)) or [(), (), ()]
    return Spent(*(sum(column) for column in columns))


def _lines(table: Table, who: str, beside: str, rows: Sequence[Scenario], places: Places) -> Iterator[str]:
    """Yield one table: a line for each place that has a share worth showing, and the rest of them together."""
    names = {row.jobs[name].contestant for row in rows for name in (who, beside)}
    with processes(table.name, names, places) as workers:
        columns = [_column(row, who, beside, workers) for row in rows]
    sums = [_sum(column.places.values()) for column in columns]
    everywhere = sorted({place for column in columns for place in column.places})
    shares = {
        place: [_share(column.places.get(place), whole) for column, whole in zip(columns, sums, strict=True)]
        for place in everywhere
    }
    shown = sorted(
        (place for place in everywhere if max(shares[place]) >= _LEAST), key=lambda place: -max(shares[place])
    )
    yield f"**{table.title}: {who}**\n"
    yield f"| | {' | '.join(column.title for column in columns)} |"
    yield f"|---|{'--:|' * len(columns)}"
    for place in shown:
        yield _line(place, [(column.places.get(place), whole) for column, whole in zip(columns, sums, strict=True)])
    rest = [_sum(spent for place, spent in column.places.items() if place not in shown) for column in columns]
    yield _line("all else", list(zip(rest, sums, strict=True)))
    yield f"| **in all** | {' | '.join(_in_all(whole) for whole in sums)} |"
    yield f"| {beside} | {' | '.join(_in_all(column.beside) for column in columns)} |"
    yield ""


def _share(spent: Spent | None, whole: Spent) -> float:
    """Return which part of the time a place has, or of the instructions if that is more."""
    if spent is None:
        return 0.0
    pairs = ((spent.instructions, whole.instructions), (spent.microseconds, whole.microseconds))
    return max(mine / (every or 1) for mine, every in pairs)


def _line(place: str, cells: Iterable[tuple[Spent | None, Spent]]) -> str:
    return f"| {place} | {' | '.join(_cell(spent, whole) for spent, whole in cells)} |"


def _cell(spent: Spent | None, whole: Spent) -> str:
    if spent is None:
        return ""
    share = f"{spent.microseconds / (whole.microseconds or 1):.0%}"
    return f"{spent.instructions:,.0f}, {share}" if spent.instructions >= 0.5 else share


def _in_all(whole: Spent) -> str:
    return f"{whole.instructions:,.0f}, {whole.calls:.0f} calls"
