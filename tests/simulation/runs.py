"""Lives many histories, on several processor cores, and says what came of them."""

import logging
import multiprocessing
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import cache
from typing import NamedTuple, TypeVar
from unittest.mock import patch

from holdall import sealing

from tests.simulation.matrix import PAIRS, Pair, never_met, table
from tests.simulation.scheduler import CROWD, history, short_of
from tests.simulation.shrink import shrink, story

T = TypeVar("T")
ENOUGH = 20_000
"""So many histories meet every pair of a fault and a step; fewer need not."""
_A_CROWD = f"{CROWD} or more requests that write to one session at once, the reply to one of them lost"
_AT_ONCE = 50
_STORIES = 3
"""How many broken promises are told; the others are counted."""


class Result(NamedTuple):
    """What came of some histories."""

    histories: int
    commands: int
    requests: int
    met: Counter[Pair]
    broken: dict[int, str]
    """seed → which promise was broken."""
    short: dict[int, list[str]]
    """seed → what its history should have had, and had not."""
    crowds: int
    """In how many histories 8 or more requests wrote to one session at once, and the reply to one of them was lost."""


def live(seeds: Iterable[int]) -> Result:
    """Live these histories, one after the other."""
    histories = commands = requests = crowds = 0
    met: Counter[Pair] = Counter()
    broken, short = {}, {}
    with silence(), keys_made_once():
        for seed in seeds:
            one = history(seed)
            histories += 1
            commands += one.simulation.commands
            requests += len(one.simulation.requests)
            crowds += one.simulation.crowd >= CROWD
            met.update(one.simulation.met)
            if one.broken is not None:
                broken[seed] = one.broken
            elif missing := short_of(one.simulation):
                short[seed] = missing
    return Result(histories, commands, requests, met, broken, short, crowds)


def live_all(first: int, histories: int, processes: int) -> Result:
    """Live the histories of all seeds from `first` on, some at a time in each of several processes."""
    return _sum(spread(live, first, histories, processes))


def spread(function: Callable[[range], T], first: int, histories: int, processes: int) -> Iterator[T]:
    """Hand all seeds from `first` on to a function, some at a time in each of several processes; yields its results."""
    seeds = range(first, first + histories)
    chunks = [seeds[at : at + _AT_ONCE] for at in range(0, histories, _AT_ONCE)]
    if processes == 1:
        yield from map(function, chunks)
        return
    with multiprocessing.get_context("spawn").Pool(processes) as pool:
        yield from pool.imap_unordered(function, chunks)


def failures(result: Result) -> list[str]:
    """Return why a run has failed, each reason as a text of its own; nothing if it has not."""
    reasons = [tell(seed) for seed in sorted(result.broken)[:_STORIES]]
    if len(result.broken) > _STORIES:
        reasons.append(f"{len(result.broken)} promises were broken, by the seeds {sorted(result.broken)}")
    reasons += [f"the history of seed {seed} is short of {', '.join(what)}" for seed, what in result.short.items()]
    if result.histories >= ENOUGH:
        reasons += [f"never met: {fault.value} / {step.value}" for fault, step in never_met(result.met)]
        if not result.crowds:
            reasons.append(f"never met: {_A_CROWD}")
    return reasons


def report(result: Result) -> str:
    """Return what was met, as a table, and how much there was of it."""
    met = len(PAIRS) - len(never_met(result.met))
    return (
        f"{table(result.met)}\n\n"
        f"{result.histories:,} histories, {result.requests:,} requests, {result.commands:,} commands; "
        f"{met} of {len(PAIRS)} pairs of a fault and a step met; {result.crowds:,} histories had {_A_CROWD}; "
        f"{len(result.broken)} promises broken"
    )


def tell(seed: int) -> str:
    """Tell the history of a seed; no more of it than breaks the promise that it breaks, if it does."""
    with silence():
        one = history(seed)
        events = one.events if one.broken is None else shrink(one)
        return story(seed, one.config, events)


def _sum(results: Iterator[Result]) -> Result:
    histories = commands = requests = crowds = 0
    met: Counter[Pair] = Counter()
    broken: dict[int, str] = {}
    short: dict[int, list[str]] = {}
    for result in results:
        histories += result.histories
        commands += result.commands
        requests += result.requests
        met.update(result.met)
        broken.update(result.broken)
        short.update(result.short)
        crowds += result.crowds
    return Result(histories, commands, requests, met, broken, short, crowds)


_sub_key, _cipher = cache(sealing._sub_key), cache(sealing.XAES256GCM)


@contextmanager
def keys_made_once() -> Iterator[None]:
    """Have all managers share what is derived from a secret: it is the same in every history, and holds no state."""
    with patch.object(sealing, "_sub_key", _sub_key), patch.object(sealing, "XAES256GCM", _cipher):
        yield


@contextmanager
def silence() -> Iterator[None]:
    """Keep the library from logging all that goes wrong here."""
    log = logging.getLogger("holdall")
    before, log.disabled = log.disabled, True
    try:
        yield
    finally:
        log.disabled = before
