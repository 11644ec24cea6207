"""What happens when stores fail, found out by having them fail: the rows of the table in docs/consistency.md.

`python -m tests.docs.failures` prints the table. Nothing here is written by hand but the names.
"""

import sys
from collections.abc import Callable
from typing import Any, NamedTuple

from holdall import Session, SessionUnavailable, Tier, run

from tests.core.support import World, big


class Case(NamedTuple):
    """A request to a session that is somewhere."""

    where: str
    does: str
    begin: Callable[[Session], Any]
    act: Callable[[Session], Any]
    is_cached: bool = True
    seconds: float = 1
    """How long after the session began."""


def _small(session: Session) -> None:
    session["n"] = 1


def _large(session: Session) -> None:
    session.update(n=1, big=big())


def _bound(session: Session) -> None:
    session["n"] = 1
    session.bind("ada")


def _read(session: Session) -> Any:
    return session.get("n")


def _change(session: Session) -> None:
    session["n"] = 2


def _quick(session: Session) -> None:
    session.set_quick("n", 2)


CASES = (
    Case("in the cookie", "read", _small, _read),
    Case("in the cookie", "change", _small, _change),
    Case("in the cookie", "grow", _small, lambda session: session.update(n=2, big=big())),
    Case("in the cookie", "end", _small, Session.terminate),
    Case("in the cookie, bound, time to ask", "read", _bound, _read, seconds=61),
    Case("in the cookie, bound", "end", _bound, Session.terminate),
    Case("stored, cached", "read", _large, _read),
    Case("stored, cached", "change", _large, _change),
    Case("stored, cached", "quick write", _large, _quick),
    Case("stored, cached", "end", _large, Session.terminate),
    Case("stored, not cached", "read", _large, _read, is_cached=False),
    Case("stored, not cached", "change", _large, _change, is_cached=False),
)

FAULTS: dict[str, Callable[[World], None]] = {
    "the cache is down": lambda world: world.stores.down.add(Tier.CACHE),
    "the durable store is down": lambda world: world.stores.down.add(Tier.DURABLE),
    "both are down": lambda world: world.stores.down.update(Tier),
    "the durable store's replies are lost": lambda world: world.stores.losing_replies.add(Tier.DURABLE),
}


def table() -> list[str]:
    """Return the lines of the table, as Markdown."""
    lines = [f"| the session is | the request | {' | '.join(FAULTS)} |", f"|---|---|{'---|' * len(FAULTS)}"]
    for case in CASES:
        cells = [outcome(case, fault) for fault in FAULTS.values()]
        lines.append(f"| {case.where} | {case.does} | {' | '.join(cells)} |")
    return lines


def outcome(case: Case, fault: Callable[[World], None]) -> str:
    """Have a store fail during one request, and say what its user gets, and what is there once all is well again."""
    world = World()
    world.request(case.begin)
    if not case.is_cached:
        world.stores.flush(Tier.CACHE)
    world.later(seconds=case.seconds)
    before = dict(world.browser.cookies)
    # Another process's view, with no memory of what this one was told.
    other = World(stores=world.stores, clock=world.clock)
    other.browser = world.browser
    fault(other)
    exchange = other.open()
    try:
        case.act(exchange.session)
        other.browser.receive(run(exchange.commit(status=200, headers=[]), other.stores))
        receipt = run(exchange.finish(), other.stores)
    except SessionUnavailable:
        assert other.browser.cookies == before, "an outage sent a cookie"
        found = _after(other)
        assert found in (1, None if case.act is Session.terminate else 2), "neither the state before nor the one after"
        return "503; nothing changed" if found == 1 else "503; it was done all the same"
    found = _after(other)
    wanted = None if case.act is Session.terminate else 1 if case.act is _read else 2
    assert found == wanted, f"{case.where}, {case.does}: {found} instead of {wanted}"
    if not receipt.failures:
        return "as ever"
    return "done, with the failure logged" if receipt.durable or wanted is None else "done, in the cache alone"


def _after(world: World) -> Any:
    """Tell what is found once all is well again, and the cache is no help."""
    world.stores.down.clear()
    world.stores.losing_replies.clear()
    world.later(seconds=61)
    fresh = World(stores=world.stores, clock=world.clock)
    fresh.browser = world.browser
    return fresh.request(_read)


if __name__ == "__main__":
    sys.stdout.write("\n".join([*table(), ""]))
