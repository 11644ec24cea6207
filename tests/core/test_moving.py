"""Moving in: old sessions are read, carried over at the first write, and stay ended, whoever presents their cookie."""

import json
import logging
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from functools import partial
from itertools import count
from typing import Any

import pytest
from holdall import (
    Command,
    CookieOptions,
    Receipt,
    Session,
    SessionUnavailable,
    Tier,
    UsageError,
    pack_values,
    run,
    unpack_map,
)
from holdall.session import parse_sid
from holdall.testing import FakeClock
from holdall.tiers import store_key

from tests.core.old_library import END, NAME, Plain
from tests.core.support import Browser, World, big, put


def old_browser(values: dict[str, Any] | None = None, number: int = 7, name: str = NAME) -> Browser:
    browser = Browser()
    text = "" if values is None else "." + json.dumps(values).replace(" ", "")
    browser.cookies = {name: f"ok.{number}{text}"}
    return browser


def a_world(values: dict[str, Any] | None = None, **options: Any) -> World:
    reader = {key: options.pop(key) for key in ("name", "expires", "issued", "until", "keep") if key in options}
    world = World(moving_in=Plain(**reader), **options)
    world.browser = old_browser({"n": 1} if values is None else values, name=reader.get("name", NAME))
    return world


def stored_world(record: bytes = b'{"n": 1}', **options: Any) -> World:
    world = a_world(**options)
    world.browser = old_browser(None)
    world.stores.restore(Tier.OLD, {"7": (record, 1, END * 2)})
    return world


def add(session: Session) -> None:
    session["n"] = session.get("n", 0) + 1


@pytest.mark.requirement(39)
def test_off_by_default() -> None:
    """Without moving_in a cookie of another library is nobody's business."""
    world = World()
    world.browser = old_browser({"n": 1})

    assert world.read() == {}
    assert "old" in world.browser.cookies


def test_read_only() -> None:
    """Reading an old session writes nothing, sets no cookie, and says that the response depends on the cookie."""
    world = a_world()

    assert world.read() == {"n": 1}
    assert [type(command).__name__ for command in world.stores.commands] == ["Get"]
    assert world.headers == [("Vary", "Cookie")]


def test_untouched() -> None:
    """A request that does not touch its session asks and reads nothing."""
    world = a_world()

    world.request(lambda session: None)

    assert world.stores.commands == []
    assert world.headers == []


@pytest.mark.requirement(40)
def test_first_write_moves() -> None:
    """The first write gives the session an id and a cookie of Holdall's, and deletes the old cookie."""
    world = a_world()
    old = world.request(lambda session: session.sid)

    world.request(add)
    assert list(world.browser.cookies) == ["__Host-session"]
    assert world.read() == {"n": 2}
    assert world.request(lambda session: session.sid) != old
    assert not world.request(Session.is_new)


def test_move_to_a_store() -> None:
    """An old session too big for the cookie moves to a store."""
    world = a_world()

    world.request(lambda session: session.update(big=big()))

    assert list(world.browser.cookies) == ["__Host-session-ref"]
    assert world.read() == {"n": 1, "big": big()}


@pytest.mark.parametrize(
    "act",
    [
        lambda session: session.set_quick("n", 2),
        lambda session: session.save(persist_even_if_using_cookie=True),
        lambda session: session.bind("ada"),
        lambda session: session.regenerate_id(),
        lambda session: session.clear(),
        lambda session: session.incr("n"),
    ],
)
def test_every_write_moves(act: Any) -> None:
    """Whatever there is to be saved, the session goes on under a new id, and the old cookie goes."""
    world = a_world()
    old = world.request(lambda session: session.sid)

    world.request(act)

    assert NAME not in world.browser.cookies
    assert world.request(Session.is_active)
    assert world.request(lambda session: session.sid) != old


def test_refresh_moves() -> None:
    """Where a framework's sessions slide, the commit that moves the end moves the session in."""
    world = a_world()
    exchange = world.open()
    assert exchange.session["n"] == 1

    end = world.clock.now + 500
    world.browser.receive(run(exchange.commit(status=200, headers=[], expiration_ts=end, refresh=True), world.stores))

    assert list(world.browser.cookies) == ["__Host-session"]
    assert world.request(Session.get_expiration) == int(end)


@pytest.mark.requirement(39)
def test_a_session_of_ours_counts() -> None:
    """A request with a session of Holdall's does not look at an old cookie, be the one live or expired."""
    world = World(moving_in=Plain(), lifetime=timedelta(minutes=5))
    world.request(lambda session: session.update(ours=True))
    world.browser.cookies |= old_browser({"n": 1}).cookies

    assert world.read() == {"ours": True}
    world.clock.advance(600)
    assert world.read() == {}


@pytest.mark.requirement(40)
def test_copied_cookie() -> None:
    """Of a session that moved in, a copied old cookie opens nothing a minute later, and changes nothing at once."""
    world = a_world()
    thief = world.browser.copy()
    world.request(add)

    world.request(add, thief)
    assert thief.cookies == old_browser({"n": 1}).cookies
    assert world.receipt is not None
    assert [conflict.keys for conflict in world.receipt.conflicts] == [("n",)]
    world.clock.advance(61)
    assert world.read(thief) == {}
    assert world.read() == {"n": 2}


@pytest.mark.requirement(40)
def test_requests_that_overlap() -> None:
    """Requests sent together with the move read what was there, and the one that comes second drops its changes."""
    world = a_world()
    late = world.open()
    assert late.session["n"] == 1
    world.request(add)
    after = world.open(old_browser({"n": 1}))
    assert after.session["n"] == 1

    late.session["n"] = 100
    headers = run(late.commit(status=200, headers=[]), world.stores)

    assert headers == [("Vary", "Cookie")]
    assert world.read() == {"n": 2}


def test_refreshes_that_overlap() -> None:
    """Of requests that only move the end along, the second has nothing to report."""
    world = a_world()
    end = world.clock.now + 500
    exchanges = [world.open(), world.open()]
    for exchange in exchanges:
        assert exchange.session["n"] == 1
    for exchange in exchanges:
        run(exchange.commit(status=200, headers=[], expiration_ts=end, refresh=True), world.stores)

    assert [run(exchange.finish(), world.stores).conflicts for exchange in exchanges] == [(), ()]


@pytest.mark.requirement(40)
@pytest.mark.parametrize("stored", [False, True])
def test_logout_stays(stored: bool) -> None:
    """After a logout neither a slow request nor the copied old cookie brings the session back."""
    world = stored_world() if stored else a_world()
    thief = world.browser.copy()
    slow = world.open(thief)
    assert slow.session["n"] == 1

    world.request(Session.terminate)
    assert world.browser.cookies == {}
    slow.session["n"] = 2
    assert run(slow.commit(status=200, headers=[]), world.stores) == [("Vary", "Cookie")]
    assert world.read(thief) == {}
    world.request(add, thief)
    assert world.read(thief) == {"n": 1}  # a session of its own
    assert world.stores.snapshot(Tier.OLD) == {}


@pytest.mark.requirement(40)
def test_logout_after_the_move() -> None:
    """A logout in Holdall ends what moved in: the old cookie, should it come again, opens nothing."""
    world = a_world(keep=True)
    thief = world.browser.copy()
    world.request(add)
    assert set(world.browser.cookies) == {NAME, "__Host-session"}

    world.request(Session.terminate)
    assert world.browser.cookies == {}
    world.clock.advance(61)
    assert world.read(thief) == {}
    world.clock.advance(29 * 86_400)
    assert world.read(thief) == {}


@pytest.mark.requirement(40)
@pytest.mark.parametrize("stored", [False, True])
@pytest.mark.parametrize("act", [Session.terminate, Session.start])
def test_logout_ends_what_came_along(act: Any, stored: bool) -> None:
    """A logout in Holdall also ends old sessions whose cookies came along, should they outlive their deletion."""
    world = stored_world() if stored else a_world()
    old, world.browser = world.browser, Browser()
    world.request(put(ours=True))
    other = old_browser({"n": 2}, 8)
    for header in (old.header, f"{old.header}; {other.header}"):
        exchange = world.manager.open(f"{world.browser.header}; {header}", drive=world.drive)
        act(exchange.session)
        run(exchange.commit(status=200, headers=[]), world.stores)

    assert (world.read(old), world.read(other)) == ({}, {})
    assert world.stores.snapshot(Tier.OLD) == {}


@pytest.mark.requirement(40)
def test_logout_right_after_the_move() -> None:
    """A logout within the minute after the move ends the old session at once, where its cookie is still there."""
    world = a_world(keep=True)
    copy = world.browser.copy()
    world.request(add)
    world.request(Session.terminate)

    assert world.read(copy) == {}


@pytest.mark.requirement(40)
def test_clocks_apart() -> None:
    """A server whose clock is an hour behind knows what ended, though elsewhere the end date has passed."""
    world = a_world()
    copy = world.browser.copy()
    world.request(Session.terminate)
    world.clock.now = END + 3540.0
    behind = World(moving_in=Plain(), stores=world.stores, clock=FakeClock(END - 60.0))

    assert behind.read(copy) == {}


def test_start_ends_it() -> None:
    """`start` ends an old session as a logout does, and keeps nothing of it, whatever `keep` says."""
    world = stored_world(keep=True)
    thief = world.browser.copy()

    def begin(session: Session) -> None:
        session.start()
        session["other"] = 1

    world.request(begin)

    assert list(world.browser.cookies) == ["__Host-session"]
    assert world.read(thief) == {}
    assert world.stores.snapshot(Tier.OLD) == {}


@pytest.mark.requirement(40)
def test_login_leaves_the_old_id() -> None:
    """A cookie planted before a login does not open what the login made of it: no fixation."""
    world = a_world()
    attacker = world.browser.copy()

    def log_in(session: Session) -> None:
        session.regenerate_id()
        session["user"] = "ada"

    world.request(log_in)

    world.clock.advance(61)
    assert world.read(attacker) == {}
    assert world.read()["user"] == "ada"


@pytest.mark.requirement(39)
def test_until() -> None:
    """From the end date on no old session is read."""
    world = a_world()
    world.clock.now = END - 1.0
    assert world.read() == {"n": 1}
    world.clock.now = END
    assert world.read() == {}


def test_over_is_said(caplog: pytest.LogCaptureFixture) -> None:
    """A moving_in whose time is over is said at start-up."""
    World(moving_in=Plain(until=datetime(2020, 1, 1, tzinfo=UTC)))

    assert "the time of moving_in is over" in caplog.text


@pytest.mark.parametrize(
    "options",
    [{"until": datetime(2030, 1, 1)}, {"until": "2030-01-01"}, {"until": None}, {"keep": 1}],
)
def test_refused_arguments(options: dict[str, Any]) -> None:
    """An end date without a time zone, and other nonsense, is refused by name."""
    with pytest.raises(UsageError, match=next(iter(options))):
        Plain(**options)


def test_refused_settings() -> None:
    """`moving_in` must be a reader, and `keep` needs a cookie name of Holdall's own."""
    with pytest.raises(UsageError, match="moving_in='flask'"):
        World(moving_in="flask")
    with pytest.raises(UsageError, match="has the same name"):
        World(moving_in=Plain(name="session", keep=True), cookie=CookieOptions(name="session"))


@pytest.mark.requirement(39)
def test_expired() -> None:
    """An old session past its own end is none, and lives no longer for having moved in."""
    world = a_world(expires=1_800_000_100)
    world.request(add)
    assert world.request(Session.get_expiration) == 1_800_000_100

    world = a_world(expires=1_800_000_100)
    world.clock.advance(100)
    assert world.read() == {}


def test_bad_cookies(caplog: pytest.LogCaptureFixture) -> None:
    """What does not authenticate is no session: no header but Vary, one log line, and nothing of the cookie in it."""
    world = a_world()
    world.browser.cookies = {NAME: "forged.7.secret"}

    for _ in range(3):
        assert world.read() == {}
        assert world.headers == [("Vary", "Cookie")]
    assert len(caplog.records) == 1
    assert "secret" not in caplog.text


@pytest.mark.requirement(39)
def test_several_cookies() -> None:
    """Of two old sessions under the same name none is meant, whatever their order; of the same one twice, that one."""
    world = a_world()
    for pair in (("7", "8"), ("8", "7")):
        header = "; ".join(f'{NAME}=ok.{number}.{{"n":{number}}}' for number in pair)
        assert dict(world.manager.open(header, drive=world.drive).session) == {}
    header = f'{NAME}=ok.7.{{"n":7}}; {NAME}=ok.7.{{"n":7}}'
    assert dict(world.manager.open(header, drive=world.drive).session) == {"n": 7}


@pytest.mark.parametrize("is_big", [False, True])
def test_same_name(is_big: bool, caplog: pytest.LogCaptureFixture) -> None:
    """Under a name that both use, Holdall's cookie replaces the old one, one for a name, and nobody warns."""
    world = a_world(name="session", cookie=CookieOptions(name="session"))
    world.request(lambda session: session.update(more=big() if is_big else 1))

    names = [value.partition("=")[0] for name, value in world.headers if name == "Set-Cookie"]
    assert sorted(names) == (["session", "session-ref"] if is_big else ["session"])
    assert world.read()["n"] == 1
    assert list(world.browser.cookies) == ["session-ref" if is_big else "session"]
    assert not caplog.records


def test_promotion_under_the_same_name() -> None:
    """Once moved in, a session that goes to a store does not delete the cookie of that name: it may be a login's."""
    world = a_world(name="session", cookie=CookieOptions(name="session"))
    world.request(add)
    world.request(lambda session: session.update(more=big()))

    names = [value.partition("=")[0] for name, value in world.headers if name == "Set-Cookie"]
    assert names == ["session-ref"]


def test_stored_and_requests_that_overlap() -> None:
    """A request that finds the record gone, since another has just moved it in, begins no session of its own."""
    world = stored_world()
    late = world.browser.copy()
    world.request(add)

    world.request(add, late)
    assert world.headers == [("Vary", "Cookie")]
    world.clock.advance(61)
    assert world.read(late) == {}


def test_other_audience() -> None:
    """Applications of two audiences with the same old cookie each move it in."""
    world = a_world({"n": 1})
    other = World(moving_in=Plain(), audience="other", stores=world.stores, clock=world.clock)
    other.browser = world.browser.copy()
    world.request(add)
    other.request(add)

    assert (world.read(), other.read()) == ({"n": 2}, {"n": 2})


@pytest.mark.requirement(40)
def test_stored() -> None:
    """A session whose values are in the other library's store is fetched there, and deleted there when it has moved."""
    world = stored_world()

    assert world.request(Session.is_active)
    assert world.stores.commands == []  # until somebody looks further
    assert world.read() == {"n": 1}
    assert world.stores.snapshot(Tier.OLD)
    world.request(add)
    assert world.stores.snapshot(Tier.OLD) == {}
    assert world.read() == {"n": 2}


def test_stored_and_kept() -> None:
    """With `keep` the other library keeps the record and the browser its cookie."""
    world = stored_world(keep=True)

    world.request(add)

    assert world.stores.snapshot(Tier.OLD)
    assert NAME in world.browser.cookies
    assert world.read() == {"n": 2}


@pytest.mark.parametrize("record", [None, b"garbage"])
def test_stored_and_lost(record: bytes | None) -> None:
    """A record that is not there, or cannot be read, is no session."""
    world = stored_world(record or b"")
    if record is None:
        world.stores.flush(Tier.OLD)

    assert world.read() == {}
    world.request(add)
    assert world.read() == {"n": 1}


def test_stored_and_down() -> None:
    """A store of the other library that does not answer is an outage, and no logout: the cookie is kept."""
    world = stored_world()
    world.stores.down = {Tier.OLD}

    with pytest.raises(SessionUnavailable):
        world.read()
    world.stores.down = set()
    assert world.read() == {"n": 1}


def test_record_left_behind(caplog: pytest.LogCaptureFixture) -> None:
    """Where the old record cannot be deleted the session moves all the same, and the old cookie stays dead."""
    world = stored_world()
    thief = world.browser.copy()
    exchange = world.open()
    add(exchange.session)
    world.stores.down = {Tier.OLD}
    world.close(exchange)
    world.stores.down = set()

    assert "left behind" in caplog.text
    world.clock.advance(61)
    assert world.read(thief) == {}


def test_durable_tier_down() -> None:
    """While the durable tier is down, an old session goes on: an outage is no logout."""
    world = a_world()
    world.stores.down = {Tier.DURABLE}

    assert world.read() == {"n": 1}
    world.request(add)
    assert world.read() == {"n": 2}


def test_login_is_bound() -> None:
    """An old login is bound by the write that moves it in, and can be revoked from then on."""
    world = a_world({"user": "ada"})
    world.request(add)

    assert len(run(world.manager.sessions_of("ada"), world.stores)) == 1
    run(world.manager.revoke("ada"), world.stores)
    assert world.read() == {}


@pytest.mark.requirement(40)
@pytest.mark.parametrize(("issued", "seen"), [(1_799_999_999, False), (0, False), (1_800_000_001, True)])
def test_revoked_before_it_moved(issued: int, seen: bool) -> None:
    """`revoke` also ends old logins that have not moved in yet, as far as they were issued before."""
    world = a_world({"user": "ada"}, issued=issued)
    run(world.manager.revoke("ada"), world.stores)

    assert bool(world.read()) is seen
    assert world.read(old_browser({"user": "bob"}, 8)) == {"user": "bob"}


def test_second_login_of_a_move_leaves_no_trace() -> None:
    """Of two requests that move a login in together, one session is listed."""
    world = a_world({"user": "ada"})
    late = world.open()
    assert late.session["user"] == "ada"
    world.request(add)
    late.session["n"] = 1
    run(late.commit(status=200, headers=[]), world.stores)

    assert len(run(world.manager.sessions_of("ada"), world.stores)) == 1


@pytest.mark.requirement(40)
def test_a_revocation_spares_who_asked() -> None:
    """`revoke` with `except_sid` of an old session ends the principal's others, before and after this one moves in."""
    world = a_world({"user": "ada"})
    other = old_browser({"user": "ada"}, 8)

    def log_out_elsewhere(session: Session) -> None:
        run(world.manager.revoke("ada", except_sid=session.sid), world.stores)

    world.request(log_out_elsewhere)
    assert world.read() == {"user": "ada"}
    assert world.read(other) == {}
    world.request(add)
    assert world.read() == {"user": "ada", "n": 1}
    run(world.manager.revoke("ada"), world.stores)
    assert world.read() == {}


@pytest.mark.requirement(40)
@pytest.mark.parametrize("issued", [0, 1_799_999_000], ids=["issued at some time", "issued before"])
def test_a_revocation_takes_no_earlier_one_back(issued: int) -> None:
    """Of two sessions that each end all others, as of one that asks after all have ended, neither goes on."""
    for first_spares in (True, False):
        world = a_world({"user": "ada"}, issued=issued)
        other = old_browser({"user": "ada"}, number=8)
        one, two = (world.request(lambda session: session.sid, browser) for browser in (world.browser, other))
        run(world.manager.revoke("ada", except_sid=one if first_spares else None), world.stores)
        run(world.manager.revoke("ada", except_sid=two), world.stores)
        assert world.read() == {}
        assert world.read(other) == {}


def test_revoking_the_others_again() -> None:
    """A session that ends all others again and again is spared each time, unless somebody ended it in between."""
    world = a_world({"user": "ada"})
    sid = world.request(lambda session: session.sid)
    for _ in range(3):
        run(world.manager.revoke("ada", except_sid=sid), world.stores)
        world.later(seconds=1)
    assert world.read() == {"user": "ada"}
    run(world.manager.revoke("ada"), world.stores)
    run(world.manager.revoke("ada", except_sid=sid), world.stores)
    assert world.read() == {}


def test_a_newer_session_is_spared_after_an_older_revocation() -> None:
    """What was issued after a revocation is not meant by it, and can be spared by the next one."""
    world = a_world({"user": "ada"}, issued=1_800_000_010)
    run(world.manager.revoke("ada"), world.stores)
    world.later(seconds=20)
    sid = world.request(lambda session: session.sid)
    run(world.manager.revoke("ada", except_sid=sid), world.stores)
    assert world.read() == {"user": "ada"}


@pytest.mark.requirement(40)
def test_a_revocation_while_it_moves() -> None:
    """However a revocation falls between the steps of a move, nothing of the principal's goes on."""
    for at in range(steps(a_world({"user": "ada"}), add)):
        world = a_world({"user": "ada"})
        copy = world.browser.copy()
        at_step(world, at, lambda world=world: run(world.manager.revoke("ada"), world.stores))  # type: ignore[misc]
        world.request(add)

        world.later(seconds=121)
        assert "user" not in world.read()
        assert world.read(copy) == {}
        assert run(world.manager.sessions_of("ada"), world.stores) == []


def test_a_login_after_a_revocation() -> None:
    """Who logs in anew after a revocation is let in, though the session came from the other library."""
    world = a_world()
    run(world.manager.revoke("ada"), world.stores)

    def log_in(session: Session) -> None:
        session.regenerate_id()
        session["user"] = "ada"

    world.request(log_in)
    assert world.read() == {"n": 1, "user": "ada"}


def test_a_revocation_after_the_end_date() -> None:
    """When the time of moving in is over, revoking marks no old sessions any more."""
    world = a_world()
    world.clock.now = END
    run(world.manager.revoke("ada"), world.stores)

    assert world.did == ["get durable"]


def test_left_behind_values(caplog: pytest.LogCaptureFixture) -> None:
    """A value that cannot be kept is left behind and named, and the rest goes on; its content is not told."""
    payload = pack_values({"n": 1, "odd": object(), 3: "secret"})

    assert unpack_map(payload) == {"n": 1}
    assert caplog.text.count("left behind") == 2
    assert "secret" not in caplog.text


@pytest.mark.parametrize("act", [add, put(n=2, big=big())], ids=["small", "big"])
@pytest.mark.parametrize("user", [{}, {"user": "ada"}], ids=["nobody's", "login"])
@pytest.mark.parametrize("is_stored", [False, True], ids=["cookie", "record"])
class TestEveryStep:
    """A request that moves a session in, and what may happen before or at each of its commands."""

    @pytest.fixture
    def make(self, is_stored: bool, user: dict[str, str]) -> Callable[[], World]:
        values = {"n": 1, **user}
        return lambda: stored_world(json.dumps(values).encode()) if is_stored else a_world(values)

    @pytest.mark.requirement(33)
    def test_the_process_dies(self, make: Callable[[], World], act: Any, user: dict[str, str], is_stored: bool) -> None:
        """Until its id is marked the old session is whole; then the new one has its place, whose only cookie is lost.

        For the minute in which requests that came along may read the old session, its browser still can.
        """
        for at in range(steps(make(), act) + 1):
            world = make()
            key = old_key(world)
            at_step(world, at, die)
            with suppress(DiedError):
                world.request(act, world.browser.copy())
            world.stores.before = None

            is_marked = key in world.stores.snapshot(Tier.DURABLE)
            is_there = not is_stored or bool(world.stores.snapshot(Tier.OLD))
            assert world.read() == ({"n": 1, **user} if is_there else {})
            world.later(seconds=121)
            assert world.read() == ({} if is_marked else {"n": 1, **user})
            world.request(put(n=3))
            assert world.read() == ({"n": 3} if is_marked else {"n": 3, **user})

    @pytest.mark.parametrize("lasts", [False, True], ids=["once", "from then on"])
    @pytest.mark.parametrize("is_done", [False, True], ids=["before", "after"])
    def test_a_store_fails(
        self, make: Callable[[], World], act: Any, user: dict[str, str], lasts: bool, is_done: bool
    ) -> None:
        """Whatever has no answer, nobody is logged out: the browser has the old session or the new one.

        Somebody who copied the old cookie has it too only if the durable tier did not answer from the marker on.
        """
        for at in range(steps(make(), act)):
            world = make()
            copy = world.browser.copy()
            failing = fail_at_step(world, at, is_done=is_done, lasts=lasts)
            with suppress(SessionUnavailable):
                world.request(act)
            world.stores.before = None
            world.stores.down, world.stores.losing_replies = set(), set()

            world.later(seconds=121)
            is_new = NAME not in world.browser.cookies
            values = world.read()
            assert values.pop("n") == (2 if is_new else 1)
            assert user.items() <= values.items()
            assert not is_new or not world.read(copy) or (lasts and failing == [Tier.DURABLE])

    def test_another_request(self, make: Callable[[], World], act: Any, user: dict[str, str]) -> None:
        """Of two requests that move a session in, one does and the other reports what it drops: never two sessions."""
        for at in range(steps(make(), act)):
            world = make()
            copy = world.browser.copy()
            receipts: list[Receipt] = []
            world.manager.on_receipt = receipts.append
            at_step(world, at, partial(world.request, put(other=1)))
            world.request(act)

            assert [bool(receipt.conflicts) for receipt in receipts].count(True) == 1
            values = world.read()
            assert values.keys() - {"big", *user} == ({"n", "other"} if values["n"] == 1 else {"n"})
            world.later(seconds=121)
            assert world.read() == values
            assert world.read(copy) == {}
            assert len(run(world.manager.sessions_of("ada"), world.stores)) == len(user)


class DiedError(BaseException):
    """The process is no more."""


def die() -> None:
    raise DiedError


def steps(world: World, act: Callable[[Session], Any]) -> int:
    """Return how many commands a request takes when nothing happens."""
    world.request(act)
    return len(world.stores.commands)


def old_key(world: World) -> str:
    """Return where an old session's end is marked."""
    sid = parse_sid(world.request(lambda session: session.sid))
    assert sid is not None
    return store_key(sid)


def at_step(world: World, at: int, then: Callable[[], Any]) -> None:
    """Have something else happen before a command, counted from 0."""
    numbers = count()

    def before(command: Command) -> None:
        if next(numbers) == at:
            world.stores.before = None
            then()

    world.stores.before = before


def fail_at_step(world: World, at: int, *, is_done: bool, lasts: bool) -> list[Tier]:
    """Have a command get no answer, carried out or not, and none after it of its store; returns which that was."""
    numbers, failing, stores = count(), list[Tier](), world.stores

    def before(command: Command) -> None:
        number = next(numbers)
        if number == at:
            failing.append(command.tier)
        stores.losing_replies = set(failing) if is_done and number == at else set()
        stores.down = set(failing) if (not is_done and number == at) or (lasts and number > at) else set()

    stores.before = before
    return failing


@pytest.fixture(autouse=True)
def _warnings(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING, "holdall")
