"""Compares ratios with those that were recorded, and records them. Absolute figures drift between machines: they are
neither recorded nor compared.
"""

import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from bench.measuring import Spread
from bench.report import Outcome

FILE = Path(__file__).with_name("recorded.json")

Recorded = Mapping[str, Spread]


def recorded(file: Path = FILE) -> Recorded:
    """Return the recorded ratios, by the names of the outcomes."""
    return {name: Spread(*values) for name, values in json.loads(file.read_text()).items()}


def record(found: Iterable[Outcome], file: Path = FILE) -> None:
    """Record the ratios of a run. What that run did not measure, for want of a server, stays as it was."""
    kept = dict(recorded(file)) if file.exists() else {}
    kept |= {outcome.name: outcome.value for outcome in found if outcome.aim.unit == "x"}
    lines = [
        f"  {json.dumps(name)}: {json.dumps([round(figure, 4) for figure in kept[name]])}" for name in sorted(kept)
    ]
    file.write_text("{\n" + ",\n".join(lines) + "\n}\n")


def worse(found: Iterable[Outcome], then: Recorded) -> Iterator[str]:
    """Yield each ratio that got worse by more than the noise: its quartiles and the recorded ones do not overlap.

    A ratio that was never recorded is told too, since nothing could ever be said of it.
    """
    for outcome in found:
        if outcome.aim.unit != "x":
            continue
        before, now = then.get(outcome.name), outcome.value
        if before is None:
            yield f"{outcome.name}: not recorded"
        elif now.high < before.low if outcome.aim.is_least else now.low > before.high:
            yield f"{outcome.name}: {now}, recorded were {before}"
