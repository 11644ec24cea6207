"""What happens to sessions, as data: every event there is has a story, and the log says what it says."""

import logging
from collections.abc import Callable
from contextlib import suppress
from datetime import timedelta
from typing import Any, NoReturn

import pytest
from holdall import (
    Command,
    Delete,
    Event,
    HoldallError,
    Put,
    Session,
    StoreUnavailable,
    Tier,
    log_event,
    run,
)
from holdall.events import REASONS, Tell

from tests.core.old_library import Plain
from tests.core.support import Browser, World, big, put
from tests.core.test_moving import old_browser

Story = Callable[[World], Any]


def down(tier: Tier, act: Callable[[Session], Any], kind: type[Command] | None = None) -> Story:
    """Return what happens to a session while commands of a kind have no answer from a tier."""

    def refuse(command: Command) -> None:
        if command.tier is tier and (kind is None or isinstance(command, kind)):
            raise StoreUnavailable("the store is away")

    def story(world: World) -> None:
        world.stores.before = refuse
        world.request(act)

    return story


def beaten(act: Callable[[Session], Any], by: Callable[[Session], Any]) -> Story:
    """Return what happens to a request that another one overtakes."""

    def story(world: World) -> None:
        exchange, other = world.open(), world.browser.copy()
        act(exchange.session)
        world.request(by, other)
        world.close(exchange)

    return story


def twice(act: Callable[[Session], Any], then: Callable[[Session], Any], **later: float) -> Story:
    """Return what happens to a request that comes with the cookie of before another one."""

    def story(world: World) -> None:
        before = world.browser.copy()
        world.request(act)
        world.later(**later)
        world.request(then, before)

    return story


def late(act: Callable[[Session], Any], meanwhile: Callable[[Session], Any] = dict) -> Story:
    """Return what happens to a change after the response's headers."""

    def story(world: World) -> None:
        exchange = world.open()
        exchange.session["list"]
        run(exchange.commit(status=200, headers=[]), world.stores)
        act(exchange.session)
        world.request(meanwhile, world.browser.copy())
        run(exchange.finish(), world.stores)

    return story


def lost(tier: Tier, act: Callable[[Session], Any]) -> Story:
    """Return what happens to a session while a tier does what it is asked and its replies are lost."""

    def story(world: World) -> None:
        world.stores.losing_replies = {tier}
        world.request(act)

    return story


def garbage(prefix: str) -> Story:
    """Return what happens to a session whose record, or whose principal's, is not ours."""

    def story(world: World) -> None:
        values = world.stores._values[Tier.DURABLE]
        for key, (_, *rest) in list(values.items()):
            if key.startswith(prefix):
                values[key] = (b"junk", *rest)
        world.stores.flush()
        world.later(seconds=61)
        world.read()

    return story


def forgotten(world: World) -> None:
    world.stores.flush(Tier.DURABLE)
    world.stores.flush(Tier.CACHE)
    world.read()


def restored(world: World) -> None:
    backup = world.stores.snapshot(Tier.DURABLE)
    world.request(put(n=2))
    world.stores.restore(Tier.DURABLE, backup)
    world.stores.flush()
    world.read()


def two_sessions(world: World) -> None:
    name, text = next(iter(world.browser.cookies.items()))
    other = Browser()
    world.request(put(n=1), other)
    run(world.manager.open(f"{name}={text}; {other.header}").commit(status=200, headers=[]), world.stores)
    exchange = world.manager.open(f"{name}={text}; {other.header}", drive=world.drive)
    assert not exchange.session.is_active()


def junk(world: World) -> None:
    world.browser.cookies = {"__Host-session": "junk" * 20}
    world.read()


def leftover(world: World) -> None:
    exchange, other = world.open(), world.browser.copy()
    exchange.session.regenerate_id()
    world.request(Session.terminate, other)

    def refuse(command: Command) -> None:
        if isinstance(command, Delete):
            raise StoreUnavailable("the store is away")

    world.stores.before = refuse
    world.close(exchange)


def other_process(tier: Tier) -> Story:
    """Return what happens where nobody knows yet whether a session was revoked, and nobody can be asked."""

    def story(world: World) -> None:
        world.later(seconds=61)
        world.stores.down = {tier}
        world.request(put(n=2))

    return story


def leave(world: World) -> None:
    """The list takes the new id of the session, and does not answer when the old one is to leave."""
    writes = []

    def refuse(command: Command) -> None:
        if command.key.startswith("p") and isinstance(command, Put):
            writes.append(command)
            if len(writes) > 1:
                raise StoreUnavailable("the store is away")

    world.stores.before = refuse
    world.request(Session.regenerate_id)


def too_large(world: World) -> None:
    world.stores.limit = 1_000
    world.request(put(big=big()))


def old(act: Story) -> Story:
    """Return what happens to a session of another library."""

    def story(world: World) -> None:
        world.browser = old_browser(None, 777_777_777)
        world.stores.restore(Tier.OLD, {"777777777": (b'{"n": 1}', 1, int(world.clock()) * 2)})
        act(world)

    return story


def bound(session: Session) -> None:
    session.update(n=1)
    session.bind("lovelace")


def not_a_number(session: Session) -> None:
    session["n"] = "text"


def refresh(world: World) -> None:
    world.later(minutes=5)
    world.read()


def forget(world: World) -> None:
    world.later(days=8)
    world.read()


def fail(world: World) -> None:
    world.request(put(n=2), status=500)


def conflict(world: World) -> None:
    beaten(put(n=2), put(m=2))(world)


SMALL = put(n=1, list=[1], name="lovelace")
STORED = put(n=1, list=[1], name="lovelace", big=big())
MOVE = Session.regenerate_id
END = Session.terminate


def append(session: Session) -> None:
    session["list"].append(2)


STORIES: dict[tuple[str, str], tuple[Callable[[Session], Any], Story]] = {
    ("rejected", "invalid"): (SMALL, junk),
    ("rejected", "expired"): (SMALL, forget),
    ("rejected", "ambiguous"): (SMALL, two_sessions),
    ("rejected", "missing"): (STORED, forgotten),
    ("rejected", "ended"): (STORED, twice(END, dict)),
    ("rejected", "regenerated"): (STORED, twice(MOVE, dict)),
    ("rejected", "record"): (STORED, garbage("s")),
    ("rejected", "list"): (bound, garbage("p")),
    ("loaded", "cookie"): (SMALL, World.read),
    ("loaded", "cache"): (STORED, World.read),
    ("loaded", "durable"): (STORED, lambda world: (world.stores.flush(), world.read())),
    ("loaded", "old"): (dict, old(World.read)),
    ("merged", "conflict"): (STORED, conflict),
    ("dropped", "superseded"): (STORED, twice(MOVE, put(n=2))),
    ("dropped", "ended"): (STORED, beaten(put(n=2), END)),
    ("dropped", "late"): (SMALL, late(append)),
    ("dropped", "no_number"): (STORED, beaten(lambda session: session.incr("n"), not_a_number)),
    ("degraded", "cache_read"): (STORED, down(Tier.CACHE, dict)),
    ("degraded", "cache_write"): (STORED, lambda w: (w.stores.flush(), down(Tier.CACHE, dict, Put)(w))),
    ("degraded", "cache_commit"): (STORED, down(Tier.CACHE, put(n=2))),
    ("degraded", "cache_end"): (STORED, down(Tier.CACHE, END)),
    ("degraded", "no_reply"): (STORED, lost(Tier.DURABLE, put(n=2))),
    ("degraded", "leftover"): (STORED, leftover),
    ("degraded", "old_leftover"): (dict, old(down(Tier.OLD, put(n=2), Delete))),
    ("degraded", "old_ending"): (dict, old(down(Tier.DURABLE, dict))),
    ("degraded", "restored"): (STORED, restored),
    ("degraded", "end"): (SMALL, down(Tier.DURABLE, END)),
    ("degraded", "move"): (SMALL, down(Tier.DURABLE, MOVE)),
    ("degraded", "leave"): (bound, leave),
    ("degraded", "revocation"): (bound, other_process(Tier.DURABLE)),
    ("committed", "untouched"): (SMALL, lambda world: world.request(lambda session: None)),
    ("committed", "clean"): (SMALL, World.read),
    ("committed", "refreshed"): (SMALL, refresh),
    ("committed", "forgotten"): (SMALL, forget),
    ("committed", "discarded"): (SMALL, fail),
    ("committed", "dropped"): (STORED, beaten(put(n=2), END)),
    ("committed", "inline"): (SMALL, lambda world: world.request(put(n=2))),
    ("committed", "insert"): (dict, lambda world: world.request(STORED)),
    ("committed", "promote"): (SMALL, lambda world: world.request(STORED)),
    ("committed", "update"): (STORED, lambda world: world.request(put(n=2))),
    ("committed", "cache_only"): (STORED, lambda world: world.request(lambda session: session.set_quick("q", 1))),
    ("committed", "move"): (STORED, lambda world: world.request(MOVE)),
    ("committed", "end"): (SMALL, lambda world: world.request(END)),
    ("late", "stored"): (STORED, late(append)),
    ("late", "dropped"): (STORED, late(append, END)),
    ("failed", "unavailable"): (STORED, down(Tier.DURABLE, put(n=2))),
    ("failed", "too_large"): (SMALL, too_large),
    ("failed", "usage"): (SMALL, lambda world: world.request(put(n=object()))),
    ("command", "found"): (STORED, World.read),
    ("command", "missing"): (STORED, forgotten),
    ("command", "stored"): (STORED, lambda world: world.request(put(n=2))),
    ("command", "conflict"): (STORED, conflict),
    ("command", "deleted"): (STORED, beaten(MOVE, END)),
    ("command", "failed"): (STORED, down(Tier.CACHE, dict)),
}
"""How a session begins, and what then happens, for every event there is."""


def told(name: str, reason: str) -> tuple[list[Event], set[str]]:
    """Return all that was told while a story went on, and what must not have been."""
    events: list[Event] = []
    idle_timeout = timedelta(minutes=30) if reason == "refreshed" else None
    moving_in = Plain() if reason.startswith("old") else None
    world = World(on_event=events.append, idle_timeout=idle_timeout, moving_in=moving_in)
    begin, story = STORIES[name, reason]
    world.request(begin)
    events.clear()
    secrets = {"lovelace", *world.browser.cookies.values()}
    with suppress(HoldallError):
        story(world)
    keys = {command.key for command in world.stores.commands}
    return events, secrets | keys | set(world.browser.cookies.values())


@pytest.mark.parametrize(
    ("name", "reason"), [(name, reason) for name, reasons in REASONS.items() for reason in reasons]
)
@pytest.mark.requirement(11)
def test_every_event_has_a_story(name: str, reason: str, caplog: pytest.LogCaptureFixture) -> None:
    """It is told when it happens, and logged with its fields at its level if it has one; nothing secret is in it."""
    level, sentence = REASONS[name][reason]
    events, secrets = told(name, reason)
    event = next(event for event in events if (event.name, event.reason) == (name, reason))
    assert event.text.startswith(sentence)
    logged = [record for record in caplog.records if record.name == "holdall"]
    matching = [record for record in logged if vars(record)["holdall_reason"] == reason]
    assert [record.levelno for record in matching[:1]] == [level] * bool(level)
    for record in matching:
        assert record.getMessage() in [event.text for event in events]
        assert event.fields().items() <= vars(record).items()
    shown = " ".join(map(str, [*events, *(event.fields() for event in events), *map(vars, caplog.records)]))
    assert not [secret for secret in secrets if secret in shown]


class TestFields:
    def test_those_that_are_none_are_not_there(self) -> None:
        """A log line has the fields that an event has, as plain values under names with a prefix."""
        event = Event("loaded", "cache", "from the cache", Tier.CACHE, commands=0)
        assert event.fields() == {
            "holdall_event": "loaded",
            "holdall_reason": "cache",
            "holdall_tier": "cache",
            "holdall_commands": 0,
        }

    def test_text(self) -> None:
        """As text, an event is what happened and the sentence."""
        assert str(Event("committed", "clean", "no Set-Cookie: clean")) == "committed: no Set-Cookie: clean"


class TestTell:
    def test_a_listener_that_raises(self, caplog: pytest.LogCaptureFixture) -> None:
        """It is logged, and the request goes on."""

        def raises(event: Event) -> NoReturn:
            raise ZeroDivisionError

        world = World(on_event=raises)
        world.request(put(n=1))
        assert world.read() == {"n": 1}
        assert {record.getMessage() for record in caplog.records} == {"on_event raised: the request goes on"}
        assert all(record.exc_info for record in caplog.records)

    def test_without_a_listener_the_log_hears_the_same(self, caplog: pytest.LogCaptureFixture) -> None:
        """What is logged does not depend on who listens."""
        for listener in (None, lambda event: None):
            Tell(listener)("degraded", "cache_read", StoreUnavailable("gone"), tier=Tier.CACHE)
        one, other = caplog.records
        assert one.getMessage() == other.getMessage() == "the cache cannot be read, asking the durable tier: gone"
        assert vars(one)["holdall_error"] == vars(other)["holdall_error"] == "gone"

    def test_quiet(self, caplog: pytest.LogCaptureFixture) -> None:
        """The log is spared a flood of bad cookies, of which the listener hears each."""
        events: list[Event] = []
        world = World(on_event=events.append)
        for _ in range(3):
            junk(world)
        assert [event.reason for event in events if event.name == "rejected"] == ["invalid"] * 3
        assert len(caplog.records) == 1


class TestTrace:
    def test_a_request_in_words(self, caplog: pytest.LogCaptureFixture) -> None:
        """At level DEBUG the logger `holdall.trace` tells each request's story, with the fields of every event."""
        world = World(on_event=log_event)
        with caplog.at_level(logging.DEBUG, "holdall.trace"):
            world.request(lambda session: None)
            world.request(put(n=1))
            world.read()
            world.request(put(letters=big(3_000)))
            world.request(put(n=2))
        assert caplog.messages == [
            "committed: no Set-Cookie: not touched",
            "committed: kept in the cookie: 152 <= 3 800",
            "loaded: from the cookie",
            "committed: no Set-Cookie: clean",
            "loaded: from the cookie",
            "command: a store stored it: put durable",
            "command: a store stored it: put cache",
            "committed: moved to store: 4 164 > 3 800",
            "command: a store has what was asked for: get cache",
            "loaded: from the cache",
            "command: a store stored it: put durable",
            "command: a store stored it: put cache",
            "committed: kept in the store: within one id it only moves up",
        ]
        assert vars(caplog.records[7])["holdall_size"] == 4164

    def test_otherwise_it_is_silent(self, caplog: pytest.LogCaptureFixture) -> None:
        """At any higher level nothing is logged."""
        with caplog.at_level(logging.INFO):
            World(on_event=log_event).request(put(n=1))
        assert caplog.records == []
