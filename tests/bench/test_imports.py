"""The imports are measured in interpreters of their own, beside Python alone. No time is asserted."""

from itertools import count
from pathlib import Path

from bench.imports import ALONE, measure_imports


def test_what_python_takes_is_no_part_of_it(tmp_path: Path) -> None:
    """What is told is the time of the statement's interpreter less that of Python's own, each of its own round."""
    ticks = count()
    clock = [0.0, 0.0, 0.0, 0.010, 0.010, 0.035].__getitem__  # in the first round only the starts are asked for
    taken = measure_imports(str(tmp_path), 1, lambda: clock(next(ticks)), {ALONE: "pass", "json": "import json"})
    assert list(taken) == ["json"]
    assert round(taken["json"], 6) == 15


def test_bytecode_is_at_hand(tmp_path: Path) -> None:
    """The first round leaves the bytecode of what it imports where the others find it."""
    measure_imports(str(tmp_path), 1, statements={ALONE: "pass", "mine": "import bench.measuring"})
    assert list(tmp_path.rglob("measuring.*.pyc"))
