"""Random histories of the rest: quick writes, no durable tier, new ids, clocks apart, backups, late writes, orphans.

What must hold in the end is the promise of docs/consistency.md, and nothing more.
"""

from typing import Any

import pytest
from holdall import Session, Tier

from tests.core.support import Browser, big
from tests.simulation.world import TRUST, Act, Log, Simulation, assign, histories, read


def incr(session: Session) -> None:
    session.incr("n")


def on_live(act: Act) -> Act:
    """Change the session that the request came with, and never begin another."""
    return lambda session: act(session) if session.is_active() else None


def keep_going(world: Simulation, most: int = 5) -> None:
    for _ in range(world.random.randrange(most + 1)):
        if world.work:
            world.step()


def began(seed: int, **options: Any) -> Simulation:
    """A simulation whose browser has a stored session."""
    world = Simulation(seed, fault_rate=0.0, **{"cookie_only_threshold": 0, **options})
    world.finish_one("begin", assign("begun", True))
    world.settle()
    return world


def check_acknowledged(final: Log, logs: list[Log]) -> None:
    """Every acknowledged key is there, and every increment counted once."""
    assert final.saw is not None
    for log in logs:
        if log.name != "n" and log.result == "done":
            assert log.name in final.saw, f"{log.name} was acknowledged and is lost"
    acknowledged = sum(log.result == "done" for log in logs if log.name == "n")
    unknown = sum(log.result in ("unknown", "dropped") for log in logs if log.name == "n")
    assert acknowledged <= final.saw.get("n", 0) <= acknowledged + unknown


@histories(60)
def test_writers_of_every_kind_lose_nothing(seed: int) -> None:
    """Requests by cookie and by sid, before and after the headers, with clocks up to an hour apart: all that counts."""
    skews = [(0.0,), (0.0, 3600.0), (-3600.0, 0.0, 3.0)][seed % 3]
    world = began(seed, skews=skews)
    sid = world.logs[0].new_sid
    logs, shared = [], [world.finish_one("shared", assign("shared", [-1]))]
    world.fault_rate = world.random.choice([0.0, 0.03, 0.1])
    for number in range(20):
        key, choice = f"k{number}", world.random.random()
        if shared[-1].ended and world.random.random() < 0.3:  # one at a time, while others hold what it was
            shared.append(world.begin("shared", assign("shared", [number])))
        if choice < 0.2:
            logs.append(world.begin(key, assign(key, [number])))
        elif choice < 0.4:
            logs.append(world.begin("n", incr))
        elif choice < 0.5:
            logs.append(world.begin(key, read, late=assign(key, [number])))
        elif choice < 0.6:
            logs.append(world.begin("n", assign(f"early{number}", [1]), late=incr))
        elif choice < 0.7:
            logs.append(world.begin(key, assign(key, [number]), sid=sid))
        elif choice < 0.8:
            world.begin("quick", lambda session, key=key: session.set_quick(f"quick {key}", [key]))  # type: ignore[misc]
        elif choice < 0.85:
            world.stores.flush()
        elif choice < 0.9:
            world.crash()
        else:
            world.clock.advance(world.random.choice([1, 30, 61, 3600]))
        keep_going(world)
        if world.random.random() < 0.5:
            world.deliver(lose=world.random.random() < 0.2)
    world.settle()
    world.stores.flush()  # what is durable is what counts
    final = world.finish_one("read", read)
    check_acknowledged(final, logs)
    assert final.saw is not None
    while shared[-1].result != "done":
        assert shared.pop().result == "unknown"
    if "shared" not in (log.name for log in world.logs[world.logs.index(shared[-1]) + 1 :]):
        assert final.saw["shared"] == shared[-1].wrote, "a value that was only read was written back"
    for key, value in final.saw.items():
        if key.startswith("quick"):
            assert value == [key.removeprefix("quick ")]


@histories(60)
def test_without_faults_a_read_is_at_most_the_trust_behind(seed: int) -> None:
    """Once the trust is over, or the browser has seen newer, a read sees every acknowledged write."""
    world = began(seed)
    world.fault_rate = 0.05
    logs = []
    for number in range(12):
        choice = world.random.random()
        if choice < 0.5:
            logs.append(world.begin(f"k{number}", assign(f"k{number}", number)))
        elif choice < 0.7:
            world.begin("quick", lambda session: session.set_quick("q", 1))
        elif choice < 0.8:
            world.begin("read", read)
        else:
            world.clock.advance(world.random.choice([1, 30, 61]))
        keep_going(world)
    world.settle()
    world.clock.advance(TRUST)
    final = world.finish_one("read", read)
    check_acknowledged(final, logs)


@histories(80)
def test_nothing_renews_what_ended(seed: int) -> None:
    """However the cache missed the logout, old tabs read at most until the trust is over, and write nothing durable."""
    world = began(seed, skews=((0.0,), (0.0, 3600.0))[seed % 2])
    world.finish_one("secret", assign("secret", [1]))
    world.settle()
    old = world.browser.copy()
    sid = world.logs[0].new_sid
    verb = world.random.choice([Session.terminate, Session.regenerate_id, Session.start])
    ended: Log | None = None
    for number in range(14):
        world.browser.cookies = dict(old.cookies)
        choice = world.random.random()
        if choice < 0.3:
            world.begin("quick", on_live(lambda session: session.set_quick("q", 1)))
        elif choice < 0.5:
            world.begin("write", on_live(assign(f"k{number}", 1)))
        elif choice < 0.6:
            world.begin("by sid", on_live(assign(f"k{number}", 1)), sid=sid)
        elif choice < 0.7:
            world.begin("read", read)
        elif choice < 0.8 and ended is None:
            ended = world.begin("end", verb)
        elif choice < 0.9:
            world.clock.advance(world.random.choice([1, 20, 40]))
        else:
            world.stores.down ^= {Tier.CACHE}
        keep_going(world)
    world.stores.down.clear()
    world.settle()
    if ended is None or ended.result != "done":
        return
    for log in world.logs:
        if log.sid == sid and log.began >= ended.ended and log.name in ("write", "by sid"):
            assert log.result != "done", "a session that ended was written"
    span = TRUST if seed % 2 == 0 else 2 * TRUST  # with clocks apart, tombstones may live shorter
    for _ in range(4):
        world.clock.advance(span / 4)
        world.browser.cookies = dict(old.cookies)
        world.finish_one("quick", on_live(lambda session: session.set_quick("q", 1)))
    world.browser.cookies = dict(old.cookies)
    final = world.finish_one("read", read)
    assert not final.saw, "a session that ended is readable"
    world.stores.flush()
    world.browser.cookies = dict(old.cookies)
    assert not world.finish_one("read", read).saw


@histories(80)
def test_without_a_durable_tier_it_is_whole_or_gone(seed: int) -> None:
    """Rule 12: all that was acknowledged is there, or nothing of it; what was evicted stays gone."""
    world = began(seed, no_datastore=True)
    old = world.browser.copy()
    sid = world.logs[0].new_sid
    world.fault_rate = world.random.choice([0.0, 0.03, 0.1])
    flushed = ended = False
    logs = []
    for number in range(20):
        world.browser.cookies = dict(old.cookies)
        key, choice = f"k{number}", world.random.random()
        if choice < 0.4:
            logs.append(world.begin(key, on_live(assign(key, number))))
        elif choice < 0.6:
            logs.append(world.begin("n", on_live(incr)))
        elif choice < 0.7:
            logs.append(world.begin(key, on_live(lambda session, key=key: session.set_quick(key, 1))))  # type: ignore[misc]
        elif choice < 0.8:
            logs.append(world.begin(key, read, late=on_live(assign(key, number)), sid=sid))
        elif choice < 0.83:
            world.stores.flush()
            flushed = True
        elif choice < 0.86:
            end = world.finish_one("end", world.random.choice([Session.terminate, Session.regenerate_id]))
            ended = ended or end.result == "done"
        elif choice < 0.9:
            world.crash()
        else:
            world.clock.advance(world.random.choice([1, 61, 3600]))
        keep_going(world)
    world.settle()
    logs = [log for log in logs if log.saw]
    world.browser.cookies = dict(old.cookies)
    final = world.finish_one("read", read)
    if flushed or ended:
        assert not final.saw
    elif final.saw or not any(log.name == "end" for log in world.logs):
        check_acknowledged(final, logs)


@pytest.mark.parametrize(("threshold", "size"), [(0, 1), (3800, 6000), (3800, 1)], ids=["stored", "large", "inline"])
@histories(80)
def test_new_ids_carry_over_and_are_alone(seed: int, threshold: int, size: int) -> None:
    """Rule 9: of overlapping new ids one wins, with every acknowledged write; never two live ids, never a half."""
    world = Simulation(seed, fault_rate=0.0, cookie_only_threshold=threshold)
    world.finish_one("begin", assign("big", big(size)))
    world.settle()
    is_inline = "-ref=" not in world.browser.header
    old, sid = world.browser.copy(), world.logs[0].new_sid
    # If the durable tier is down an inline session moves all the same, and it is logged.
    world.fault_rate = 0.0 if is_inline else world.random.choice([0.0, 0.0, 0.05])
    logs, moves = [], []
    logout: Log | None = None
    for number in range(12):
        world.browser.cookies = dict(old.cookies)
        key, choice = f"k{number}", world.random.random()
        if choice < 0.5:
            logs.append(world.begin(key, on_live(assign(key, [big(world.random.choice([1, 6000]))]))))
        elif choice < 0.6 and not is_inline:
            logs.append(world.begin("n", on_live(incr)))
        elif choice < 0.65:
            world.begin("size", on_live(assign("big", big(world.random.choice([1, 6000])))))
        elif choice < 0.8:

            def move(session: Session, key: str = key) -> None:
                session.regenerate_id()
                if session.is_active():
                    session[key] = [0]

            moves.append(world.begin(key, move))
        elif choice < 0.84 and logout is None:
            logout = world.begin("logout", Session.terminate)
        elif choice < 0.88:
            world.stores.flush()
        keep_going(world)
    world.settle()
    world.clock.advance(TRUST)
    won = [log for log in moves if log.result == "done" and log.new_sid not in (None, sid)]
    assert len(won) <= 1, "two new ids are live"
    still = world.finish_one("read", read, sid=sid)
    logs = [log for log in logs if log.sid == sid and log.saw and not (is_inline and "-ref=" not in str(log.headers))]
    if won:
        assert not still.saw, "the old id is live beside the new one"
        world.browser = Browser()
        world.browser.receive(won[0].headers)
        final = world.finish_one("read", read)
        check_acknowledged(final, [*logs, *won])
        assert final.saw is not None
        assert "big" in final.saw
    elif logout is not None and logout.result == "done" and logout.sid == sid:
        assert not still.saw
    elif still.saw:
        check_acknowledged(still, logs)
    elif not is_inline:
        assert any(log.result == "unknown" for log in world.logs), "the session vanished"


@pytest.mark.parametrize("threshold", [0, 3800], ids=["stored", "inline first"])
@histories(80)
def test_verbs_never_mix_two_sessions(seed: int, threshold: int) -> None:
    """start(), terminate() and what is assigned afterwards: each id shows what was put under it, and nothing else."""
    world = Simulation(seed, fault_rate=0.0, cookie_only_threshold=threshold)
    world.fault_rate = world.random.choice([0.0, 0.05])

    def begin_anew(session: Session, number: int, verb: Act) -> None:
        verb(session)
        session["owner"] = [number]
        owners[session.sid] = number
        if world.random.random() < 0.5:
            session["size"] = big(6000)

    def change(session: Session) -> None:
        if session.is_active():
            session["mine"] = [*session["owner"]]

    def move(session: Session) -> None:
        before = session.sid
        session.regenerate_id()
        if session.sid is not None:
            owners[session.sid] = owners[before]

    owners: dict[str | None, int] = {}
    for number in range(20):
        choice = world.random.random()
        if choice < 0.3:
            verb: Act = world.random.choice([Session.start, Session.terminate])
            world.begin("anew", lambda session, number=number, verb=verb: begin_anew(session, number, verb))  # type: ignore[misc]
        elif choice < 0.6:
            world.begin("change", change)
        elif choice < 0.7:
            world.begin("move", move)
        elif choice < 0.75:
            world.begin("out", Session.terminate)
        elif choice < 0.8:
            world.stores.flush()
        elif choice < 0.9:
            world.clock.advance(world.random.choice([1, 30, 61]))
        keep_going(world)
        world.deliver(lose=world.random.random() < 0.1)
    world.settle()
    world.finish_one("read", read)
    for log in world.logs:
        if log.saw:
            assert log.saw["owner"] == [owners[log.sid]]
            assert log.saw.get("mine", log.saw["owner"]) == log.saw["owner"]


@histories(80)
def test_what_was_acknowledged_after_a_restore_is_kept(seed: int) -> None:
    """Rule 6: after a backup was restored everything works on from it, whatever caches and cookies still say."""
    world = began(seed)
    world.fault_rate = world.random.choice([0.0, 0.05])
    backup, restored = world.stores.snapshot(Tier.DURABLE), 0
    logs = []
    for number in range(20):
        key, choice = f"k{number}", world.random.random()
        if choice < 0.6:
            logs.append(world.begin(key, assign(key, number)))
        elif choice < 0.65:
            world.begin("quick", lambda session: session.set_quick("q", 1))
        elif choice < 0.7:
            backup = world.stores.snapshot(Tier.DURABLE)
        elif choice < 0.8:
            world.stores.restore(Tier.DURABLE, backup)
            restored = len(world.stores.commands)
        elif choice < 0.85:
            world.stores.flush()
        elif choice < 0.9:
            world.clock.advance(world.random.choice([1, 30, 61]))
        keep_going(world)
        world.deliver(lose=world.random.random() < 0.2)
    world.settle()
    world.clock.advance(TRUST)
    final = world.finish_one("read", read)
    check_acknowledged(final, [log for log in logs if log.began >= restored])


@pytest.mark.parametrize("no_datastore", [False, True])
@histories(60)
def test_more_writers_than_a_record_remembers(seed: int, no_datastore: bool) -> None:
    """Rule 7: with more overlapping writers than write ids are kept, and replies lost, nothing is applied twice."""
    world = began(seed, no_datastore=no_datastore)
    header = dict(world.browser.cookies)
    logs = []
    for _ in range(14):
        world.browser.cookies = dict(header)
        logs.append(world.begin("n", on_live(incr)))
    world.fault_rate = world.random.choice([0.0, 0.2])
    for _ in range(world.random.randrange(40)):
        if world.work:
            world.step()
    if world.work:  # one reply is lost, and all others are quicker than the question what became of it
        victim = world.random.choice(world.work)
        world.work = [work for work in world.work if work is not victim]
        world.answer(victim, lose_reply=True)
        if victim in world.work:
            world.work.remove(victim)
            world.settle()
            world.work.append(victim)
    world.settle()
    world.clock.advance(TRUST)
    world.browser.cookies = dict(header)
    check_acknowledged(world.finish_one("read", read), [log for log in logs if log.saw])


@histories(150)
def test_promotions_go_on_from_the_newest_cookie(seed: int) -> None:
    """Rule 8: a browser that lost responses and went on inline keeps what its cookie held, and all that was stored."""
    world = Simulation(seed, fault_rate=0.0)
    world.finish_one("begin", assign("inline", 0))
    world.settle()
    inline, logs = 0, []
    for number in range(1, 12):
        choice = world.random.random()
        if choice < 0.4:  # the browser goes on inline, one request after the other
            log = world.finish_one("inline", assign("inline", number))
            world.browser.receive(log.headers)
            inline = number
        elif choice < 0.7:  # a promotion whose response is lost
            logs.append(world.finish_one(f"k{number}", assign(f"k{number}", big(6000))))
        else:  # a slow one
            logs.append(world.begin(f"k{number}", assign(f"k{number}", big(6000))))
            keep_going(world, 2)
        world.responses.clear()
    logs.append(world.finish_one("last", assign("last", big(6000))))
    world.settle()
    world.clock.advance(TRUST)
    final = world.finish_one("read", read)
    check_acknowledged(final, logs)
    assert final.saw is not None
    assert final.saw["inline"] == inline
