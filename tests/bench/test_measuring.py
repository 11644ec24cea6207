"""Rounds are interleaved and paired, and the bare application is subtracted. No time is asserted."""

from functools import partial

from bench.measuring import Costs, Spread, measure, spread
from bench.worker import Job
from tests.bench.support import Takes


def test_the_bare_application_is_subtracted() -> None:
    """What a round tells is a request less the same one without a session, in microseconds."""
    job = Job(Takes(0.5), Takes(0.125), ["a", "b"])
    assert job.round() == 375_000


def test_what_comes_before_each_request_is_not_timed() -> None:
    """The cache is emptied before each request, and that takes no time."""
    request = Takes(0.5)
    seen: list[int] = []
    job = Job(request, Takes(0.0), ["a", "b"], before=lambda: seen.append(len(request.asked)))
    assert job.round() == 500_000
    assert seen == [0, 1]


def test_rounds_are_interleaved() -> None:
    """Everybody has one turn before anybody has the next."""
    turns: list[str] = []

    def turn(name: str) -> float:
        turns.append(name)
        return 1.0

    costs = measure({name: partial(turn, name) for name in "ab"}, 2)
    assert turns == ["a", "b", "a", "b"]
    assert costs.of("a") == Spread(1, 1, 1)


def test_ratios_are_paired_within_rounds() -> None:
    """A machine that slows down half-way changes no ratio."""
    costs = Costs({"Holdall": [2.0, 4.0, 40.0], "limit": [1.0, 2.0, 20.0], "core": [1.0, 3.0, 39.0]})
    assert costs.ratio("Holdall", "limit") == Spread(2, 2, 2)
    assert costs.excess("Holdall", "core") == Spread(1, 1, 1)


def test_quartiles() -> None:
    """A median stands between its quartiles; a single figure is all three."""
    assert spread([5, 1, 3, 2, 4]) == Spread(2, 3, 4)
    assert spread([7]) == Spread(7, 7, 7)
