"""The random histories of every run, and the proof that they find things: fifteen known mistakes, each put back."""

import os
import subprocess
import sys
from itertools import count, islice
from pathlib import Path

import pytest

from tests.simulation.mistakes import MISTAKES, MORE, Mistake, NoSuchSourceError, put_back
from tests.simulation.runs import ENOUGH, live, tell
from tests.simulation.scheduler import aim

ROOT = Path(__file__).parents[2]
_MOST_TRIES = 2_500
"""Histories after which a mistake is not found; each was found within 300, most within 50."""


def simulate(*arguments: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-m", "tests.simulation", *arguments], cwd=ROOT, capture_output=True, text=True, check=False
    )


@pytest.mark.timeout(3600)
def test_every_promise_is_kept_and_every_fault_meets_every_step() -> None:
    """In 20,000 histories no promise is broken, none is short, and each fault meets each step that it can meet."""
    done = simulate("--histories", str(ENOUGH), "--processes", str(os.cpu_count() or 1))
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.timeout(600)
@pytest.mark.parametrize("mistake", [*MISTAKES, *MORE], ids=lambda mistake: mistake.name)
def test_a_known_mistake_is_found(mistake: Mistake) -> None:
    """With one known mistake put back into the core, some history breaks a promise, and not by an exception."""
    seeds = islice((seed for seed in count() if mistake.needs is None or mistake.needs in aim(seed)), _MOST_TRIES)
    with put_back(mistake):
        found = next((promise for seed in seeds for promise in live([seed]).broken.values()), "")
    assert found
    assert "fails:" not in found


def test_there_are_fifteen_mistakes() -> None:
    """Each of the fifteen is another one, and so is each of those that are caught besides."""
    assert len({mistake.name for mistake in MISTAKES}) == 15
    assert len({mistake.name for mistake in [*MISTAKES, *MORE]}) == 15 + len(MORE)


def test_a_mistake_is_taken_back() -> None:
    """The core is as it was after a mistake was tried."""
    seed = 2
    with put_back(MISTAKES[0]):
        assert live([seed]).broken
    assert not live([seed]).broken


def test_a_mistake_that_fits_nowhere_is_refused() -> None:
    """A mistake whose source is no longer in the core is an error, and not a mistake that goes unnoticed."""
    lost = MISTAKES[0]._replace(edits=(MISTAKES[0].edits[0]._replace(before="what no function contains"),))
    with pytest.raises(NoSuchSourceError), put_back(lost):
        pass


def test_a_seed_tells_the_whole_history() -> None:
    """The same seed gives the same history, to the last step."""
    assert tell(7) == tell(7)
    assert tell(7) != tell(8)


def test_a_story_without_a_broken_promise_is_told_whole() -> None:
    """A run of one history tells it, whatever came of it."""
    done = simulate("--histories", "1", "--seed", "7", "--processes", "1")
    assert done.returncode == 0
    assert done.stdout.startswith("seed 7: ")
    assert done.stdout.strip() == tell(7).strip()
