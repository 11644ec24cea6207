"""Every flow, stopped after every one of its commands: the next request sees the state before or the state after.

Nothing is random here. A flow is either abandoned, as by a process that dies, or one of its commands has no answer:
not carried out, or carried out and its reply lost.
"""

from collections.abc import Callable
from typing import Any

import pytest
from holdall import Command, Exchange, Session, SessionUnavailable, StoreUnavailable, run

from tests.core.support import World, big

LARGE = big(6000)


class CrashError(BaseException):
    """The process died."""


def late(session: Session) -> None:
    session["late"] = 1


def moved(session: Session) -> None:
    session.regenerate_id()
    session["user"] = "ada"


def moved_to_the_cookie(session: Session) -> None:
    session.regenerate_id()
    session["big"] = ""


def begun_anew(session: Session) -> None:
    session.start()
    session["anew"] = 1


def begun_anew_large(session: Session) -> None:
    session.start()
    session["anew"] = LARGE


def persisted(session: Session) -> None:
    session.save(persist_even_if_using_cookie=True)


# What the request does, and whether the state after may also be no session at all: a new sid that reached nobody.
FLOWS: dict[str, tuple[Callable[[Session], Any], bool]] = {
    "read": (dict, False),
    "change": (lambda session: session.update(n=2, list=[2]), False),
    "clear": (Session.clear, False),
    "quick": (lambda session: session.set_quick("n", 2), False),
    "grow": (lambda session: session.update(n=2, big=LARGE), False),
    "persist": (persisted, False),
    "late": (dict, False),
    "regenerate": (moved, True),
    "regenerate to the cookie": (moved_to_the_cookie, True),
    "start": (begun_anew, True),
    "start large": (begun_anew_large, True),
    "terminate": (Session.terminate, True),
}
BEGINNINGS = {"inline": "", "stored": LARGE}


def make(beginning: str, no_datastore: bool, cold: bool) -> World:
    world = World(no_datastore=no_datastore)
    world.request(lambda session: session.update(n=1, list=[1], big=BEGINNINGS[beginning]))
    if cold and not no_datastore:
        world.stores.flush()
    del world.stores.commands[:]
    return world


def attempt(world: World, flow: str) -> dict[str, Any] | None:
    """One whole request; what the session is afterwards."""
    exchange: Exchange = world.open()
    session = exchange.session
    FLOWS[flow][0](session)
    world.browser.receive(run(exchange.commit(status=200, headers=[]), world.stores))
    if flow == "late" and session._is_stored():
        late(session)
    run(exchange.finish(), world.stores)
    return dict(session)


@pytest.mark.requirement(32, 33)
@pytest.mark.parametrize("no_datastore", [False, True], ids=["durable", "cache only"])
@pytest.mark.parametrize("cold", [False, True], ids=["warm", "cold"])
@pytest.mark.parametrize("beginning", BEGINNINGS)
@pytest.mark.parametrize("flow", FLOWS)
@pytest.mark.parametrize("fault", ["dies before", "dies after", "not asked", "reply lost", "down from here"])
def test_before_or_after_and_never_a_half(
    flow: str, beginning: str, cold: bool, no_datastore: bool, fault: str
) -> None:
    """Requirements 32 and 33: whichever command fails, the next request sees all of the change or nothing of it."""
    whole = make(beginning, no_datastore, cold)
    before = {"n": 1, "list": [1], "big": BEGINNINGS[beginning]}
    after = attempt(whole, flow)
    count = len(whole.stores.commands)
    assert whole.read() == after
    for at in range(count):
        world = make(beginning, no_datastore, cold)
        browser = world.browser.copy()
        states = [before, after, {}] if FLOWS[flow][1] else [before, after]
        broken = [fault]

        def strike(command: Command, world: World = world, at: int = at, broken: list[str] = broken) -> None:
            # The stores remember a command before they ask, so the one in question is the last of them.
            if len(world.stores.commands) - 1 < at or not broken:
                return
            if broken[0] != "down from here":
                broken.pop()
            if fault == "dies before":
                raise CrashError
            if fault in ("dies after", "reply lost"):
                world.stores.before = None
                world.stores._answer(command)
                world.stores.before = strike
            if fault == "dies after":
                raise CrashError
            raise StoreUnavailable("no answer")

        world.stores.before = strike
        done = False
        try:
            attempt(world, flow)
            done = True
        except (CrashError, SessionUnavailable):
            pass
        world.stores.before = None
        world.later(seconds=1)
        if done:
            if flow == "late":  # no cookie tells the browser of it, so an older copy may be read while it is trusted
                world.later(seconds=61)
            assert world.read() == after, f"command {at}: acknowledged, and not there"
        assert world.read() in states, f"command {at}: a half"
        # The tab that sent the request, and one that never saw its response.
        assert world.read(browser) in [*states, {}], f"command {at}: a half"
        # Life goes on: what the next request writes is there for the one after it.
        world.request(lambda session: session.update(next=1))
        if world.receipt is not None and not world.receipt.conflicts:
            assert world.read()["next"] == 1
