"""What sessions cost a request, beside the peers (`beside`), on servers (`servers`), as they grow (`growth`), and where
that cost lies (`profile`)."""

import argparse
import os
import shutil
import sys
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from pathlib import Path

from bench import growth, profiled, recorded, report, servers
from bench.chart import bars
from bench.contestants import Places
from bench.measuring import Pace
from bench.scenarios import TABLES, Table
from tests import emulators
from tests.servers import memcached as memcached_server

FULL = Pace(rounds=31, seconds=0.008)
QUICK = Pace(rounds=3, seconds=0.002)
DOCS = Path(__file__).parents[1] / "docs"
PAGE = DOCS / "performance.md"
CHART = DOCS / "performance.svg"
_AGAIN = 2
"""How often what looks worse is measured again. One run in a few has a ratio out of the ordinary, by how its processes
happen to lie in memory; the same one hardly has it three times."""
_CHARTED = ("untouched", "read 200 B", "write 200 B", "read 2.6 KB, one small key", "write 2.6 KB, one small key")


def main() -> int:
    """Measure, print, and do what the options say; return 1 if a ratio got worse."""
    parser = argparse.ArgumentParser(prog="bench", description=__doc__)
    parser.add_argument(
        "--quick", action="store_true", help="a short run, for a first look; without Datastore and what starting costs"
    )
    parser.add_argument("--docs", action="store_true", help="write the figures into docs/performance.md, and the chart")
    parser.add_argument("--check", action="store_true", help="fail if a ratio is worse than recorded, beyond the noise")
    parser.add_argument("--record", action="store_true", help="join the ratios with those recorded, for --check")
    parser.add_argument("what", nargs="?", choices=["beside", "servers", "growth", "profile"], default="beside")
    options = parser.parse_args()
    if options.what == "beside":
        return beside(options)
    if options.check or options.record:
        parser.error("only the bench beside the peers has ratios")
    if options.what == "servers":
        with_docs(servers.report((1, 16), 1) if options.quick else servers.report((1, 8, 64), 3), options)
        return 0
    with running(memcached=True, datastore=True) as places:
        if options.what == "profile":
            with_docs(profiled.report(places, recorded.recorded()), options)
        else:
            with_docs(growth.report(places, quick=options.quick), options)
    return 0


def with_docs(lines: Iterable[str], options: argparse.Namespace) -> None:
    """Print these lines, and put them into the documentation if that was asked for."""
    told: list[str] = []
    for line in lines:
        print(line, flush=True)
        told.append(line)
    if options.docs:
        report.into(PAGE, {options.what: "\n".join(told)})


def beside(options: argparse.Namespace) -> int:
    """Measure Holdall beside its peers."""
    pace = QUICK if options.quick else FULL
    then = recorded.recorded()
    with running(memcached=True, datastore=not options.quick) as places:
        lines: list[str] = []
        results: report.Results = {}
        for line in _show(places, pace, results):
            print(line, flush=True)
            lines.append(line)
        found = report.outcomes(results)
        reached = list(report.aims(found))
        print("\n".join(["", *reached]))
        worse = recorded.worse(found, then) if options.check else []
        for _ in range(_AGAIN if worse else 0):
            _tell(worse, then)
            worse = recorded.worse(_again(worse, places, pace), then)
    if options.docs:
        report.into(PAGE, {"figures": "\n".join(lines), "aims": "\n".join(reached)})
        CHART.write_text(_chart(results))
    if options.record:
        recorded.record(found)
    _tell(worse, then, "worse each time")
    return 1 if worse else 0


def _again(doubted: Iterable[report.Outcome], places: Places, pace: Pace) -> list[report.Outcome]:
    """Measure again, in new processes, what these say."""
    names = {outcome.name for outcome in doubted}
    titles = {outcome.title for outcome in doubted}
    results: report.Results = {}
    for table in TABLES:
        rows = tuple(row for row in table.scenarios if row.title in titles)
        if rows:
            results[table.name] = list(report.measured(table._replace(scenarios=rows), pace, places))
    return [outcome for outcome in report.outcomes(results) if outcome.name in names]


def _tell(worse: Iterable[report.Outcome], then: recorded.Recorded, what: str = "worse, measured again") -> None:
    for outcome in worse:
        print(f"{what}: {outcome.name}: {outcome.value}, recorded were {then.get(outcome.name)}", file=sys.stderr)


class running:  # noqa: N801 (reads as the context manager that it is)
    """Lends a folder and the servers that are asked for and installed; this process and memcached share one CPU."""

    def __init__(self, *, memcached: bool = False, datastore: bool = False) -> None:
        self._memcached = memcached and shutil.which("memcached") is not None
        self._datastore = datastore and shutil.which("gcloud") is not None and shutil.which("java") is not None
        self._stack = ExitStack()

    def __enter__(self) -> Places:
        enter = self._stack.enter_context
        folder = Path(enter(tempfile.TemporaryDirectory()))
        # First, and on every CPU: the emulator has threads of its own for everything.
        datastore = enter(emulators.emulator(emulators.OPTIMISTIC)) if self._datastore else ""
        if sys.platform == "linux":  # elsewhere there is no such call, and figures scatter more
            affinity = os.sched_getaffinity(0)
            self._stack.callback(os.sched_setaffinity, 0, affinity)
            os.sched_setaffinity(0, {max(affinity)})
        memcached = enter(memcached_server(None, "-t", "1", "-m", "1024")).address if self._memcached else ""
        return Places(folder, memcached, datastore)

    def __exit__(self, *error: object) -> None:
        self._stack.close()


def _show(places: Places, pace: Pace, results: report.Results, tables: Iterable[Table] = TABLES) -> Iterator[str]:
    yield from report.machine(pace)
    yield "Microseconds that a session adds to a request; medians."
    for table in tables:
        if table.needs and not getattr(places, table.needs):
            yield f"\n{table.title}: not measured, without {table.needs}."
            continue
        yield from report.head(table)
        rows = results.setdefault(table.name, [])
        for row in report.measured(table, pace, places):
            rows.append(row)
            yield report.line(table, row)
    if pace.rounds >= FULL.rounds:
        yield "\n**Starting, in milliseconds**"
        yield from report.starting(places.folder, pace.rounds // 6)
    yield ""
    yield from report.notes(results)


def _chart(results: report.Results) -> str:
    groups = {
        row.scenario.title: {name: row.costs.of(name).median for name in row.scenario.jobs if name in row.costs}
        for row in results["cookie"]
        if row.scenario.title in _CHARTED
    }
    return bars("Microseconds that a session in the cookie adds to a request (logarithmic)", groups, "Holdall")


if __name__ == "__main__":
    sys.exit(main())
