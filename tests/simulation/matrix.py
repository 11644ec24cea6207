"""Which fault met which step: what there is to meet, what cannot be met and why, and the table that a run prints.

A step is named by the flow of the core that asks for it, read from the frames that wait for its answer. A fault that
befalls a server or a process has met every step that was waiting for its answer at that moment.
"""

from collections.abc import Generator, Iterable
from enum import Enum
from typing import Any

from holdall import Command, Delete, Expect, Get, Put


class Step(Enum):
    """What a command is for. Members hash by identity, which is quicker."""

    __hash__ = object.__hash__

    LOAD_CACHE = "load: ask the cache"
    LOAD_HOME = "load: ask the home tier"
    REFILL = "load: refill the cache"
    LOAD_BURY = "load: bury what is gone"
    INSERT = "insert a record"
    PROMOTE = "promote a cookie"
    UPDATE = "update a record"
    LATE = "update after the headers"
    LOOK = "look what stands there"
    MOVE_NEW = "move: the new record"
    MOVE_OLD = "move: mark the old id"
    MOVE_UNDO = "move: undo"
    END = "end: the marker"
    PUBLISH = "tell the cache of a write"
    PUBLISH_LOOK = "look what the cache has"
    TOMBSTONE = "tombstone"
    QUICK_LOOK = "quick: look"
    QUICK = "quick write"
    ASK = "load: ask whether it was revoked"
    LIST_LOOK = "look at somebody's list"
    ENTER = "enter it into a list"
    LEAVE = "end it in a list"
    REVOKE = "revoke all in a list"


LOADING = frozenset((Step.LOAD_CACHE, Step.LOAD_HOME, Step.REFILL, Step.LOAD_BURY, Step.ASK))
OF_LISTS = frozenset((Step.ASK, Step.LIST_LOOK, Step.ENTER, Step.LEAVE, Step.REVOKE))
CACHE_ONLY = frozenset(
    (
        Step.LOAD_CACHE,
        Step.REFILL,
        Step.LOAD_BURY,
        Step.PUBLISH,
        Step.PUBLISH_LOOK,
        Step.TOMBSTONE,
        Step.QUICK_LOOK,
        Step.QUICK,
    )
)


class Fault(Enum):
    """What goes wrong. Members hash by identity, which is quicker."""

    __hash__ = object.__hash__

    REFUSED = "fails before it took effect"
    LOST = "takes effect, reply lost"
    LATE = "times out, takes effect later"
    SLOW = "is slow"
    DIES_BEFORE = "process dies before"
    DIES_AFTER = "process dies after"
    PARTITION = "cache unreachable"
    OUTAGE = "durable store unreachable"
    EVICT = "cache evicts"
    FLUSH = "cache is flushed"
    RESTART = "cache restarts"
    FAIL_OVER = "cache fails over to a stale copy"
    FAIL_BACK = "cache fails back"
    RESTORE = "backup restored"
    NEWER = "record of a newer format"
    ROTATE = "keys rotate"
    CLOCK = "clock jumps"


ON_COMMANDS = (Fault.REFUSED, Fault.LOST, Fault.LATE, Fault.SLOW, Fault.DIES_BEFORE, Fault.DIES_AFTER)

Pair = tuple[Fault, Step]
Met = dict[Pair, int]


def _impossible() -> dict[Pair, str]:
    pairs: dict[Pair, str] = {}
    for step in CACHE_ONLY:
        pairs[Fault.OUTAGE, step] = "only the cache is asked"
    for step in (Step.INSERT, Step.MOVE_NEW, Step.MOVE_UNDO):
        pairs[Fault.NEWER, step] = "no other process knows the sid yet"
    pairs[Fault.EVICT, Step.INSERT] = "nothing is under a new sid yet"
    for step in OF_LISTS:
        pairs[Fault.PARTITION, step] = pairs[Fault.EVICT, step] = "only the durable store has lists"
    for step in (Step.LOAD_BURY, Step.TOMBSTONE):
        pairs[Fault.NEWER, step] = "the durable store has a marker or nothing there, and no record"
    return pairs


IMPOSSIBLE = _impossible()
"""Pairs that cannot be met, each with its reason."""

PAIRS: tuple[Pair, ...] = tuple((fault, step) for step in Step for fault in Fault if (fault, step) not in IMPOSSIBLE)


class UnknownStepError(Exception):
    """The core asks for something that this module has no name for: give it one."""


_names: dict[tuple[Any, ...], Step] = {}


def step_of(flow: Generator[Any, Any, Any], command: Command) -> Step:
    """Return what a flow wants with the command that it just asked for."""
    frames = []
    inner: Any = flow
    while inner is not None:
        name = inner.gi_code.co_name
        frames.append(name)
        inner = inner.gi_frame.f_locals["flow"] if name == "_watch" else inner.gi_yieldfrom
    signature = (*frames, type(command), command.tier, type(command) is Put and command.expect is Expect.ABSENT)
    step = _names.get(signature)
    if step is None:
        step = _names[signature] = _name(frames, command)
    return step


def _name(frames: list[str], command: Command) -> Step:
    is_get, is_put = type(command) is Get, type(command) is Put
    tier, inner = command.tier.value, frames[-1]
    if inner in ("_read", "_update"):
        if "check" in frames:
            return Step.ASK
        if is_get:
            return Step.LIST_LOOK
        return Step.ENTER if "enter" in frames else Step.REVOKE if "revoke" in frames else Step.LEAVE
    if "update_quickly" in frames:
        return Step.QUICK_LOOK if is_get else Step.QUICK
    if "_publish" in frames and inner == "_publish":
        return Step.PUBLISH_LOOK if is_get else Step.PUBLISH
    if "read" in frames:
        if inner == "_bury":
            return Step.LOAD_BURY
        if is_put:
            return Step.REFILL
        return Step.LOAD_CACHE if inner == "read" and tier == "cache" else Step.LOAD_HOME
    if inner == "_bury":
        return Step.TOMBSTONE
    if is_get and inner == "_get_home":
        return Step.LOOK
    if inner == "_try_delete" and type(command) is Delete:
        return Step.MOVE_UNDO
    if inner == "end":
        return Step.END
    if is_put and inner == "_replace":
        if "move" in frames:
            return Step.MOVE_NEW if "_put_new" in frames else Step.MOVE_OLD
        if "insert" in frames:
            return Step.INSERT
        if "_store_late" in frames:
            return Step.LATE
        if "update" in frames:
            assert isinstance(command, Put)
            return Step.PROMOTE if command.expect is Expect.ABSENT else Step.UPDATE
    raise UnknownStepError(f"{' > '.join(frames)}: {command!r}")


def never_met(met: Met) -> list[Pair]:
    """Return the pairs that should have been met and were not."""
    return [pair for pair in PAIRS if not met.get(pair)]


def table(met: Met) -> str:
    """Return the matrix as text: a row for each step, a column for each fault, how often they met."""
    faults, width = list(Fault), max(len(step.value) for step in Step)
    lines = [f"{chr(ord('a') + number)}  {fault.value}" for number, fault in enumerate(faults)]
    lines += ["", " " * width + "".join(f"{chr(ord('a') + number):>8}" for number in range(len(faults)))]
    for step in Step:
        cells = ("-" if (fault, step) in IMPOSSIBLE else str(met.get((fault, step), 0)) for fault in faults)
        lines.append(f"{step.value:<{width}}" + "".join(f"{cell:>8}" for cell in cells))
    lines += ["", "-  impossible:", *(f"   {line}" for line in _reasons(IMPOSSIBLE.items()))]
    return "\n".join(lines)


def _reasons(impossible: Iterable[tuple[Pair, str]]) -> list[str]:
    return sorted(f"{fault.value} / {step.value}: {reason}" for (fault, step), reason in impossible)
