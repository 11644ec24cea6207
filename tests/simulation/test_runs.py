"""Tests of what a run says of its histories, and when it fails."""

from collections import Counter

from tests.simulation.matrix import IMPOSSIBLE, PAIRS, Fault, Step, never_met, table
from tests.simulation.mistakes import MISTAKES, put_back
from tests.simulation.runs import ENOUGH, Result, failures, live, live_all, report
from tests.simulation.scheduler import history, short_of

MET = Counter(dict.fromkeys(PAIRS, 1))


def test_a_run_is_the_sum_of_its_histories() -> None:
    """However many processes share a run, it lives the same histories; some have a crowd."""
    alone = live(range(200, 260))
    assert alone.histories == 60
    assert alone.crowds > 0
    assert live_all(200, 60, 1) == alone
    assert live_all(200, 60, 2) == alone


def test_a_run_without_fault_does_not_fail() -> None:
    """All met, none broken, none short: no reason to fail."""
    assert failures(Result(ENOUGH, 0, 0, MET, {}, {}, 1)) == []


def test_a_pair_that_was_never_met_fails_a_large_run() -> None:
    """It is named; a run of fewer histories need not meet all."""
    fault, step = PAIRS[3]
    met = MET.copy()
    del met[fault, step]
    assert failures(Result(ENOUGH, 0, 0, met, {}, {}, 1)) == [f"never met: {fault.value} / {step.value}"]
    assert failures(Result(ENOUGH - 1, 0, 0, met, {}, {}, 1)) == []


def test_a_run_without_a_crowd_fails_if_it_is_large() -> None:
    """Some history must have had eight requests that write to one session, the reply to one of them lost."""
    assert failures(Result(ENOUGH, 0, 0, MET, {}, {}, 0)) == [
        "never met: 8 or more requests that write to one session at once, the reply to one of them lost"
    ]
    assert failures(Result(ENOUGH - 1, 0, 0, MET, {}, {}, 0)) == []


def test_a_history_that_is_short_of_something_fails_a_run() -> None:
    """The seed is named, and what is missing."""
    assert failures(Result(1, 0, 0, MET, {}, {5: ["a fault", "2 browsers"]}, 1)) == [
        "the history of seed 5 is short of a fault, 2 browsers"
    ]


def test_a_broken_promise_fails_a_run_with_its_story() -> None:
    """The story begins with the seed and ends with the promise; more than three are counted only."""
    with put_back(MISTAKES[0]):
        result = live(range(12))
        reasons = failures(result)
    seeds = sorted(result.broken)
    assert len(seeds) > 3
    for seed, reason in zip(seeds[:3], reasons, strict=False):
        assert reason.startswith(f"seed {seed}: ")
    assert reasons[3] == f"{len(seeds)} promises were broken, by the seeds {seeds}"
    assert f"{len(seeds)} promises broken" in report(result)


def test_the_table_counts_every_pair() -> None:
    """A row for each step, a column for each fault; what is impossible is a dash, and its reason stands below."""
    met = Counter({(Fault.LOST, Step.UPDATE): 1_234})
    lines = table(met).splitlines()
    row = next(line for line in lines if line.startswith(Step.UPDATE.value))
    assert row.removeprefix(Step.UPDATE.value).split() == ["0", "1234", *["0"] * (len(Fault) - 2)]
    for (fault, step), reason in IMPOSSIBLE.items():
        assert f"   {fault.value} / {step.value}: {reason}" in lines
    assert len(never_met(met)) == len(PAIRS) - 1


def test_what_a_history_must_have_is_counted() -> None:
    """A history that has all of it is short of nothing, and each thing that is taken away is named."""
    simulation = history(0).simulation
    assert short_of(simulation) == []
    simulation.commands, simulation.faults, simulation.promotions, simulation.new_sids = 39, 0, 0, 0
    for request in simulation.requests.values():
        request.owner, request.process = 0, 0
    assert short_of(simulation) == [
        "40 steps",
        "2 browsers",
        "2 processes",
        "a fault",
        "a promotion or a change of sid",
    ]
