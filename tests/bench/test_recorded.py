"""What `--check` compares, and what `--record` keeps."""

from pathlib import Path

from bench.measuring import Spread
from bench.recorded import record, recorded, worse
from bench.report import Outcome
from bench.scenarios import TABLES, at_most, faster, microseconds

NOW = Spread(2.0, 2.2, 2.4)


def _most(value: Spread) -> Outcome:
    return Outcome("read", at_most(1), value)


def _least(value: Spread) -> Outcome:
    return Outcome("read", faster(1, ["Flask"]), value)


def test_worse_is_what_no_noise_explains() -> None:
    """A ratio is worse when its quartiles lie wholly beyond the recorded ones, on the wrong side."""
    found = [_most(NOW), _least(NOW)]
    assert worse(found, {outcome.name: Spread(1.5, 1.7, 1.9) for outcome in found}) == found[:1]
    assert worse(found, {outcome.name: Spread(2.5, 2.7, 2.9) for outcome in found}) == found[1:]


def test_quartiles_that_touch_are_no_news() -> None:
    """Where they overlap nothing is said, in either direction."""
    for before in (Spread(1.0, 1.5, 2.0), Spread(2.4, 2.5, 2.6)):
        assert worse([_most(NOW), _least(NOW)], {_most(NOW).name: before, _least(NOW).name: before}) == []


def test_what_was_never_recorded_is_told() -> None:
    """A new aim fails the check until it is recorded; an absolute figure is not compared at all."""
    found = [_most(NOW), Outcome("read", microseconds(1), NOW)]
    assert worse(found, {}) == found[:1]


def test_recording_keeps_what_was_not_measured(tmp_path: Path) -> None:
    """A run without a server does not erase its ratios, and only ratios are recorded."""
    file = tmp_path / "recorded.json"
    record([_most(NOW)], file)
    record([_least(NOW), Outcome("read", microseconds(1), NOW)], file)
    assert recorded(file) == {_most(NOW).name: NOW, _least(NOW).name: NOW}


def test_recording_joins_runs(tmp_path: Path) -> None:
    """Recorded are the outer quartiles of all runs, as the same code differs more between runs than within one."""
    file = tmp_path / "recorded.json"
    for value in (NOW, Spread(1.0, 1.2, 1.4), Spread(3.0, 3.3, 3.6)):
        record([_most(value)], file)
    assert recorded(file)[_most(NOW).name] == Spread(1.0, 3.3, 3.6)


def test_every_ratio_is_recorded() -> None:
    """The file has each ratio that is to be reached, and no other."""
    aims = [(row.title, aim) for table in TABLES for row in table.scenarios for aim in row.aims]
    assert set(recorded()) == {Outcome(title, aim, NOW).name for title, aim in aims if aim.unit == "x"}
