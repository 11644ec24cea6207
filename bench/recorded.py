"""Compares ratios with those that were recorded, and records them. Absolute figures drift between machines: they are
neither recorded nor compared.
"""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path

from bench.measuring import Spread
from bench.report import Outcome

FILE = Path(__file__).with_name("recorded.json")

Recorded = Mapping[str, Spread]


def recorded(file: Path = FILE) -> Recorded:
    """Return the recorded ratios, by the names of the outcomes; without a file there are none."""
    return {} if not file.exists() else {name: Spread(*values) for name, values in json.loads(file.read_text()).items()}


def record(found: Iterable[Outcome], file: Path = FILE) -> None:
    """Join the ratios of a run with those recorded, so that the file knows what one and the same code may come to.

    What that run did not measure, for want of a server, stays as it was. Delete the file to begin anew.
    """
    kept = dict(recorded(file))
    for outcome in found:
        if outcome.aim.unit == "x":
            kept[outcome.name] = _joined(kept.get(outcome.name, outcome.value), outcome.value)
    lines = [
        f"  {json.dumps(name)}: {json.dumps([round(figure, 4) for figure in kept[name]])}" for name in sorted(kept)
    ]
    file.write_text("{\n" + ",\n".join(lines) + "\n}\n")


def _joined(then: Spread, now: Spread) -> Spread:
    """Return this median, and the quartiles that lie farther out: ratios drift between runs by more than within one."""
    return Spread(min(then.low, now.low), now.median, max(then.high, now.high))


def worse(found: Iterable[Outcome], then: Recorded) -> list[Outcome]:
    """Return the ratios that got worse by more than the noise: their quartiles and the recorded ones do not overlap.

    A ratio that was never recorded is among them, since nothing could ever be said of it.
    """
    return [outcome for outcome in found if outcome.aim.unit == "x" and _is_worse(outcome, then.get(outcome.name))]


def _is_worse(outcome: Outcome, before: Spread | None) -> bool:
    if before is None:
        return True
    return outcome.value.high < before.low if outcome.aim.is_least else outcome.value.low > before.high
