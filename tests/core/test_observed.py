"""A request that is listened to: what its steps cost, and that it behaves as one that is not."""

from collections.abc import Callable
from typing import Any

import pytest
from holdall import Event, Exchange, Session, SessionUnavailable, Tier, run

from tests.core.support import World, big, persist, put


def listened(**options: Any) -> tuple[World, list[Event]]:
    events: list[Event] = []
    return World(on_event=events.append, **options), events


def committed(events: list[Event]) -> Event:
    (event,) = [event for event in events if event.name == "committed"]
    events.clear()
    return event


class TestCommitted:
    @pytest.mark.parametrize(
        ("act", "text", "tier"),
        [
            (put(n=1), "kept in the cookie: 152 <= 3 800", Tier.COOKIE),
            (put(n=1, big=big(2_700)), "kept in the cookie: 3 760 <= 3 800", Tier.COOKIE),
            (put(n=1, big=big(2_800)), "begun in the store: 3 892 > 3 800", Tier.DURABLE),
            (persist, "begun in the store: the application asked for it", Tier.DURABLE),
            (lambda session: session.start(), "kept in the cookie: 148 <= 3 800", Tier.COOKIE),
        ],
    )
    def test_why_a_session_begins_where_it_does(self, act: Callable[[Session], Any], text: str, tier: Tier) -> None:
        """The reason is the size that was compared, or the wish of the application."""
        world, events = listened()
        world.request(act)
        event = committed(events)
        assert (event.text, event.tier) == (text, tier)
        assert event.cookie_bytes == sum(map(len, world.set_cookies()))

    def test_the_size_is_that_of_the_cookie_value(self) -> None:
        """What is compared is the length of the value that is sent, bound or not."""
        for act in (put(n=1), lambda session: (session.update(n=1), session.bind("ada"))):
            world, events = listened()
            world.request(act)
            assert committed(events).size == len(world.browser.cookies["__Host-session"])

    def test_memory_only(self) -> None:
        """Where there is no durable tier, the store is the cache."""
        world, events = listened(no_datastore=True)
        world.request(put(big=big()))
        assert committed(events).tier is Tier.CACHE
        world.read()
        assert [event.tier for event in events if event.name == "loaded"] == [Tier.CACHE]

    @pytest.mark.parametrize(("size", "tier"), [(10, Tier.COOKIE), (9_000, Tier.DURABLE)])
    def test_a_new_id(self, size: int, tier: Tier) -> None:
        """Where a session goes under a new id is told as it came out."""
        world, events = listened()
        world.request(put(big=big()))
        events.clear()

        def act(session: Session) -> None:
            session.regenerate_id()
            session["big"] = big(size)

        world.request(act)
        event = committed(events)
        assert (event.reason, event.tier) == ("move", tier)
        assert (event.size or 0) > 3800 or tier is Tier.COOKIE

    def test_a_new_id_with_what_others_made_of_the_data(self) -> None:
        """If the data is another than was measured, and goes elsewhere, no size is told."""
        world, events = listened()
        world.request(persist)
        exchange, other = world.open(), world.browser.copy()
        exchange.session.regenerate_id()
        world.request(put(big=big()), other)
        events.clear()
        world.close(exchange)
        assert [event.name for event in events].count("merged") == 1
        event = committed(events)
        assert (event.text, event.tier) == ("moved to a new id", Tier.DURABLE)

    def test_a_quick_write_that_the_cache_does_not_take(self) -> None:
        """It is told as the regular write that it became."""
        world, events = listened()
        world.request(put(big=big()))
        exchange = world.open()
        exchange.session.set_quick("q", 1)
        events.clear()
        world.stores.down = {Tier.CACHE}
        world.close(exchange)
        event = committed(events)
        assert (event.reason, event.tier) == ("update", Tier.DURABLE)

    def test_after_an_end(self) -> None:
        """What begins after a logout in the same request, or with a dead cookie, is told as what it is."""
        world, events = listened()
        world.request(put(n=1))
        events.clear()

        def act(session: Session) -> None:
            session.terminate()
            session["n"] = 2

        world.request(act)
        assert committed(events).reason == "inline"


class TestSteps:
    def test_costs(self) -> None:
        """A step says how many commands it gave, how many bytes went either way, and how long it took."""
        world, events = listened()
        world.request(put(big=big()))
        world.stores.before = lambda command: world.clock.advance(0.25)
        events.clear()
        world.request(put(n=1))
        load, commit = (event for event in events if event.step)
        assert (load.step, load.commands, load.seconds) == ("load", 1, 0.25)
        assert (commit.step, commit.commands, commit.seconds) == ("commit", 2, 0.5)
        commands = [event for event in events if event.name == "command"]
        assert [(event.command, event.tier) for event in commands] == [
            ("get", Tier.CACHE),
            ("put", Tier.DURABLE),
            ("put", Tier.CACHE),
        ]
        assert [event.seconds for event in commands] == [0.25] * 3
        sizes = [event.record_bytes or 0 for event in commands]
        assert [load.record_bytes, commit.record_bytes] == [sizes[0], sum(sizes[1:])]
        assert all(size > 20_000 for size in sizes)

    def test_a_clock_that_is_set_back(self) -> None:
        """Nothing takes less than no time."""
        world, events = listened()
        world.stores.before = lambda command: world.clock.advance(-5)
        world.request(put(big=big()))
        assert {event.seconds for event in events} == {0.0}

    def test_a_load_that_fails_and_succeeds_later(self) -> None:
        """Each attempt is told."""
        world, events = listened()
        world.request(put(big=big()))
        world.stores.flush()
        events.clear()
        exchange = world.manager.open(world.browser.header)
        world.stores.down = {Tier.DURABLE}
        with pytest.raises(SessionUnavailable):
            run(exchange.load(), world.stores)
        world.stores.down = set()
        run(exchange.load(), world.stores)
        assert [(event.name, event.step) for event in events if event.step] == [("failed", "load"), ("loaded", "load")]
        assert events[-1].tier is Tier.DURABLE

    def test_begun_anew_while_it_was_loaded(self) -> None:
        """A load whose session nobody needs any more tells of no session."""
        world, events = listened()
        world.request(put(big=big()))
        exchange = world.open()
        world.stores.before = lambda command: exchange.session.start()
        events.clear()
        run(exchange.load(), world.stores)
        assert [event.name for event in events] == ["command"]

    def test_by_its_id(self) -> None:
        """A session that is opened by its id tells its events too."""
        world, events = listened()
        sid = world.request(persist)
        events.clear()
        exchange = world.manager.open_sid(sid, drive=world.drive)
        exchange.session["n"] = 2
        world.close(exchange)
        assert [event.reason for event in events if event.step] == ["cache", "update"]


def test_the_same_happens_as_without_a_listener() -> None:
    """Headers, commands and receipts are those of a request that nobody listens to."""
    plain, (heard, events) = World(random=bytes), listened(random=bytes)
    acts: list[Callable[[Session], Any]] = [put(n=1), dict, put(big=big()), put(n=2)]
    acts += [lambda session: session.set_quick("q", 1), Session.regenerate_id]
    for act in [*acts, Session.terminate, dict]:
        for world in (plain, heard):
            world.request(act)
        assert (plain.headers, plain.did, plain.receipt) == (heard.headers, heard.did, heard.receipt)
    assert events
    assert type(plain.open()) is Exchange
