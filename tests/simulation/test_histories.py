"""Random histories: overlapping requests, faults between any two commands, responses late, lost or out of order.

What must hold in the end is the promise of docs/consistency.md, and nothing more.
"""

import pytest
from holdall import Tier

from tests.simulation.world import TRUST, Log, Simulation, assign, histories


@pytest.mark.parametrize("no_cache", [False, True], ids=["cache", "no cache"])
@histories(100)
def test_acknowledged_changes_of_overlapping_requests_all_survive(seed: int, no_cache: bool) -> None:
    """Every acknowledged key is there in the end and every increment counted once, whatever failed in between."""
    world = Simulation(seed, fault_rate=0.0, cookie_only_threshold=0)
    if no_cache:
        world.stores.down.add(Tier.CACHE)
    world.finish_one("begin", assign("begun", True))
    world.settle()
    world.fault_rate = world.random.choice([0.0, 0.03, 0.1])
    keys = []
    for number in range(25):
        choice = world.random.random()
        if choice < 0.45:
            keys.append(world.begin(f"k{number}", assign(f"k{number}", number)))
        elif choice < 0.75:
            keys.append(world.begin("n", lambda session: session.incr("n")))
        elif choice < 0.8:
            world.stores.flush()
        elif choice < 0.85:
            world.crash()
        elif choice < 0.9:
            world.clock.advance(world.random.choice([1, 30, 61, 3600]))
        for _ in range(world.random.randrange(6)):
            if world.work:
                world.step()
        if world.random.random() < 0.5:
            world.deliver(lose=world.random.random() < 0.2)
    world.settle()
    # A late response may have lowered the browser's floor: only after the trust is no older state read any more.
    world.clock.advance(TRUST)
    final = world.finish_one("read", lambda session: None)
    assert final.saw is not None
    for log in keys:
        if log.name != "n" and log.result == "done":
            assert log.name in final.saw, f"{log.name} was acknowledged and is lost"
        assert log.result != "dropped"
    counted = final.saw.get("n", 0)
    acknowledged = sum(log.result == "done" for log in keys if log.name == "n")
    unknown = sum(log.result == "unknown" for log in keys if log.name == "n")
    assert acknowledged <= counted <= acknowledged + unknown


@histories(100)
def test_promotions_lose_nothing_that_was_acknowledged_as_stored(seed: int) -> None:
    """Growing out of the cookie in overlapping requests keeps every key that any response acknowledged as stored."""
    world = Simulation(seed, fault_rate=0.0)
    world.finish_one("begin", assign("begun", True))
    world.settle()
    world.fault_rate = world.random.choice([0.0, 0.05, 0.15])
    logs = []
    for number in range(12):
        if world.random.random() < 0.6:
            logs.append(world.begin(f"k{number}", assign(f"k{number}", "x" * 6000)))
        for _ in range(world.random.randrange(5)):
            if world.work:
                world.step()
        if world.random.random() < 0.4:
            world.deliver(lose=world.random.random() < 0.3)
        if world.random.random() < 0.1:
            world.crash()
        if world.random.random() < 0.1:
            world.stores.flush()
    world.settle()
    # The last word: the browser's own cookie decides which tier is read, so let it learn of the promotion.
    final = world.finish_one("last", assign("last", "x" * 6000))
    world.settle()
    final = world.finish_one("read", lambda session: None)
    assert final.saw is not None
    for log in logs:
        if log.result == "done" and "-ref=" in str(log.headers):
            assert log.name in final.saw, f"{log.name} was acknowledged as stored and is lost"


@pytest.mark.requirement(17)
@pytest.mark.parametrize("threshold", [0, 3800], ids=["stored", "inline first"])
@histories(100)
def test_what_ended_stays_ended(seed: int, threshold: int) -> None:
    """After an acknowledged logout or new id, nothing reads the old session beyond the trust, or writes it."""
    world = Simulation(seed, fault_rate=0.0, cookie_only_threshold=threshold)
    world.finish_one("begin", assign("secret", "x" * world.random.choice([10, 6000])))
    world.settle()
    before = world.browser.copy()
    # The end of a session in the cookie is recorded if the durable tier answers, and no more is promised.
    world.fault_rate = world.random.choice([0.0, 0.05]) if threshold == 0 else 0.0
    ended: Log | None = None
    for number in range(14):
        choice = world.random.random()
        world.browser.cookies = dict(before.cookies)
        if choice < 0.5:
            world.begin(f"k{number}", assign(f"k{number}", "x" * world.random.choice([10, 6000])))
        elif choice < 0.7:
            world.begin("read", lambda session: None)
        elif choice < 0.8 and ended is None:
            verb = world.random.choice(["terminate", "regenerate_id"])
            ended = world.begin(verb, lambda session, verb=verb: getattr(session, verb)())  # type: ignore[misc]
        elif choice < 0.85:
            world.stores.flush()
        for _ in range(world.random.randrange(6)):
            if world.work:
                world.step()
    while world.work:
        world.step()
    if ended is None or ended.result != "done":
        return
    world.settle()
    world.clock.advance(TRUST + 61)
    stored = [log for log in world.logs if log.result == "done" and "-ref=" in str(log.headers)]
    for log in [ended, *stored]:
        browser = before.copy()
        if log is not ended:
            browser.receive(log.headers)
        reference = {name: value for name, value in browser.cookies.items() if name.endswith("-ref")}
        if log.new_sid == ended.new_sid or not reference:
            continue
        world.browser.cookies = reference
        seen = world.finish_one("replay", lambda session: None)
        if seen.sid == ended.sid or log.sid == ended.sid:
            assert not seen.saw, "a session that ended is readable"
