"""Tests of how a broken promise is told."""

import pytest

from tests.simulation.mistakes import MISTAKES, Mistake, put_back
from tests.simulation.scheduler import History, again, history
from tests.simulation.shrink import shrink, story


def broken(mistake: Mistake) -> History:
    """The first history that a mistake breaks."""
    return next(one for seed in range(2_500) if (one := history(seed)).broken)


@pytest.mark.parametrize("mistake", [MISTAKES[0], MISTAKES[6], MISTAKES[12]], ids=lambda mistake: mistake.name)
def test_a_story_is_short_and_still_broken(mistake: Mistake) -> None:
    """What is left breaks the same promise, takes a few events, and none of them can be left out."""
    with put_back(mistake):
        whole = broken(mistake)
        events = shrink(whole)
        assert len(events) < len(whole.events) / 2
        left = again(whole.seed, whole.config, events)
        assert left is not None
        for at in range(len(events)):
            fewer = again(whole.seed, whole.config, events[:at] + events[at + 1 :])
            assert fewer is None or fewer.split()[1:] != left.split()[1:]


def test_a_story_begins_with_its_seed_and_ends_with_the_promise() -> None:
    """It can be told again from the seed alone, and every line of it is numbered."""
    with put_back(MISTAKES[0]):
        whole = broken(MISTAKES[0])
        events = shrink(whole)
        head, *lines, promise = story(whole.seed, whole.config, events).splitlines()
        assert promise.strip() == again(whole.seed, whole.config, events)
        assert shrink(history(whole.seed)) == events
    assert head.startswith(f"seed {whole.seed}: ")
    numbered = [line.split(".")[0].strip() for line in lines if not line.startswith(("clocks", "idle"))]
    assert numbered == [str(number) for number in range(1, len(numbered) + 1)]
    assert again(whole.seed, whole.config, events) is None, "without the mistake the same events keep the promise"
