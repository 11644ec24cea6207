"""What starting costs is measured in interpreters of their own, beside another start. No time is asserted."""

from itertools import count
from pathlib import Path

from bench.imports import ALONE, FIRSTS, measure_starts


def test_what_both_take_is_no_part_of_it(tmp_path: Path) -> None:
    """What is told is the time of one statement's interpreter less that of the other's, each of its own round."""
    ticks = count()
    clock = [0.0, 0.0, 0.0, 0.010, 0.010, 0.035].__getitem__  # in the first round only the starts are asked for
    taken = measure_starts(str(tmp_path), 1, {"json": ("import json", ALONE)}, lambda: clock(next(ticks)))
    assert list(taken) == ["json"]
    assert round(taken["json"], 6) == 15


def test_bytecode_is_at_hand(tmp_path: Path) -> None:
    """The first round leaves the bytecode of what it imports where the others find it."""
    measure_starts(str(tmp_path), 1, {"mine": ("import bench.measuring", ALONE)})
    assert list(tmp_path.rglob("measuring.*.pyc"))


def test_a_first_request_is_made(tmp_path: Path) -> None:
    """The statements of a first request run, with a session and without."""
    assert list(measure_starts(str(tmp_path), 1, {"Holdall": FIRSTS["Holdall"]})) == ["Holdall"]
