"""Whose sessions there are: binding, listing, revoking, and what a copied cookie is worth afterwards."""

import logging
from datetime import timedelta
from typing import Any

import pytest
from holdall import Finished, Get, Put, Session, SessionUnavailable, Tier, UsageError, run
from holdall.codec import encode, pack_map
from holdall.principals import MOST_SESSIONS, Principals, _Entry, _pruned
from holdall.record import Ending
from hypothesis import given
from hypothesis import strategies as st

from tests.core.support import Browser, World, big

SIZES = pytest.mark.parametrize("pad", ["", big(6000)], ids=["cookie", "stored"])


def login(who: str = "ada", pad: str = "", label: str | None = None) -> Any:
    def act(session: Session) -> str | None:
        session.regenerate_id()
        session.update(user=who, pad=pad)
        session.bind(who, label)
        return session.sid

    return act


def other_process(world: World) -> World:
    """Return another process of the same application: same key, stores, clock and browser, a memory of its own."""
    other = World(stores=world.stores, clock=world.clock)
    other.browser = world.browser
    return other


def user(session: Session) -> Any:
    return session.get("user")


class TestEnding:
    @pytest.mark.requirement(14)
    @SIZES
    def test_a_copied_cookie_is_refused_after_logout(self, pad: str) -> None:
        """After `terminate`, a copy of the cookie opens nothing: here at once, elsewhere within `revocation_check`."""
        world = World()
        elsewhere = other_process(world)
        world.request(login(pad=pad))
        thief = world.browser.copy()
        assert elsewhere.request(user, thief) == "ada"
        world.request(Session.terminate)
        assert world.request(user, thief.copy()) is None
        world.later(seconds=61)
        assert elsewhere.request(user, thief) is None
        assert elsewhere.request(lambda s: len(s) == 0 and s.is_active(), thief) is False

    @pytest.mark.requirement(13)
    @SIZES
    def test_a_copied_cookie_is_refused_after_a_new_id(self, pad: str) -> None:
        """After `regenerate_id`, a copy of the old cookie opens nothing, and the session goes on under the new one."""
        world = World()
        world.request(login(pad=pad))
        thief = world.browser.copy()
        world.request(Session.regenerate_id)
        assert world.request(user, thief) is None
        assert world.request(user) == "ada"
        world.later(seconds=61)
        assert other_process(world).request(user) == "ada"

    @SIZES
    def test_start_ends_the_old_one(self, pad: str) -> None:
        """A session that begins in the place of a bound one is bound to nobody, and the old one's copy is refused."""
        world = World()
        world.request(login(pad=pad))
        thief = world.browser.copy()
        world.request(lambda s: s.start())
        assert world.request(user, thief) is None
        world.request(lambda s: s.bind("bob"))

    def test_a_parallel_request_with_the_old_cookie_sends_none(self) -> None:
        """A request that still carries the id of before the login drops its writes and leaves the cookie alone."""
        world = World()
        world.request(login())
        late = world.browser.copy()
        world.request(Session.regenerate_id)
        world.request(lambda s: s.update(late=1), late)
        assert not world.set_cookies()
        assert world.receipt is not None
        assert world.receipt.conflicts
        assert "late" not in world.read()

    @SIZES
    def test_its_id_opens_nothing_any_more(self, pad: str) -> None:
        """`open_sid` refuses a bound session that was revoked."""
        world = World()
        world.request(login(pad=pad))
        sid = world.request(lambda s: s.sid)
        world.request(lambda s: s.save(persist_even_if_using_cookie=True))
        assert world.manager.open_sid(sid, drive=world.drive).session.get("user") == "ada"
        world.drive(world.manager.revoke("ada"))
        assert world.manager.open_sid(sid, drive=world.drive).session.get("user") is None

    def test_logout_is_not_told_as_done_while_nobody_can_be_told(self) -> None:
        """With the durable tier down, ending a bound session in the cookie is `SessionUnavailable`, not a promise."""
        world = World()
        world.request(login())
        exchange = world.open()
        exchange.session.terminate()
        world.stores.down = {Tier.DURABLE}
        with pytest.raises(SessionUnavailable):
            run(exchange.commit(status=200, headers=[]), world.stores)


class TestRevoking:
    @pytest.mark.requirement(15)
    def test_all_sessions_end_in_every_tier(self) -> None:
        """`revoke` ends all sessions of a principal, in the cookie and in stores, and nobody else's."""
        world = World()
        browsers = [Browser() for _ in range(4)]
        for browser, who, pad in zip(browsers, ("ada", "ada", "ada", "bob"), ("", big(), "", ""), strict=True):
            world.request(login(who, pad), browser)
        world.drive(world.manager.revoke("ada"))
        assert [world.request(user, browser) for browser in browsers] == [None, None, None, "bob"]
        world.later(seconds=61)
        elsewhere = other_process(world)
        assert [elsewhere.request(user, browser) for browser in browsers] == [None, None, None, "bob"]

    @SIZES
    def test_the_one_that_asks_may_go_on(self, pad: str) -> None:
        """`except_sid` names the session that is spared, also after it got a new id since its login."""
        world = World()
        other = Browser()
        world.request(login(pad=pad))
        world.request(login(pad=pad), other)
        world.request(Session.regenerate_id)
        sid = world.request(lambda s: s.sid)
        world.drive(world.manager.revoke("ada", except_sid=sid))
        world.request(Session.regenerate_id)
        world.later(seconds=61)
        assert world.request(user) == "ada"
        assert world.request(user, other) is None

    @pytest.mark.requirement(15)
    @SIZES
    def test_one_of_them(self, pad: str) -> None:
        """`only` names a session by the public id that `sessions_of` tells, also after it got a new sid; it ends."""
        world = World()
        lost, kept = Browser(), Browser()
        world.request(login(pad=pad, label="kept"), kept)
        world.request(login(pad=pad, label="lost"), lost)
        world.request(Session.regenerate_id, lost)
        (one,) = (bound.id for bound in world.drive(world.manager.sessions_of("ada")) if bound.label == "lost")
        del world.stores.commands[:]
        world.drive(world.manager.revoke("ada", only=one))
        assert world.did == ["get durable", "put durable"]
        assert world.request(user, lost.copy()) is None
        assert [bound.label for bound in world.drive(world.manager.sessions_of("ada"))] == ["kept"]
        world.later(seconds=61)
        elsewhere = other_process(world)
        assert [elsewhere.request(user, browser) for browser in (lost, kept)] == [None, "ada"]

    def test_an_id_that_is_not_listed(self) -> None:
        """A public id of somebody else's session, or of none, ends nothing."""
        world = World()
        world.request(login("bob"))
        (bob,) = world.drive(world.manager.sessions_of("bob"))
        for only in (bob.id, "0" * 16, "junk"):
            world.drive(world.manager.revoke("ada", only=only))
        assert world.request(user) == "bob"

    @pytest.mark.requirement(15)
    def test_by_one_atomic_write(self) -> None:
        """However many sessions there are, revoking them is one read and one conditional write."""
        world = World()
        for _ in range(10):
            world.request(login(), Browser())
        del world.stores.commands[:]
        world.drive(world.manager.revoke("ada"))
        assert world.did == ["get durable", "put durable"]
        (put,) = [command for command in world.stores.commands if isinstance(command, Put)]
        assert isinstance(put.expect, int)

    def test_a_revoked_session_cannot_move_away(self) -> None:
        """A session that is revoked while it gets a new id ends: the new id never lives."""
        world = World()
        world.request(login())
        exchange = world.open()
        exchange.session.regenerate_id()
        world.drive(other_process(world).manager.revoke("ada"))
        world.close(exchange)
        assert not world.set_cookies()
        assert world.receipt is not None
        assert world.receipt.conflicts
        assert world.drive(world.manager.sessions_of("ada")) == []

    @pytest.mark.requirement(14)
    def test_within_the_interval(self) -> None:
        """Another process refuses a revoked session once `revocation_check` has passed since it last asked."""
        world = World(revocation_check=timedelta(seconds=10))
        elsewhere = World(stores=world.stores, clock=world.clock, revocation_check=timedelta(seconds=10))
        world.request(login())
        assert elsewhere.request(user, world.browser.copy()) == "ada"
        world.drive(world.manager.revoke("ada"))
        world.later(seconds=9)
        assert elsewhere.request(user, world.browser.copy()) == "ada"
        world.later(seconds=1)
        assert elsewhere.request(user, world.browser.copy()) is None

    def test_nobody_and_nonsense(self) -> None:
        """Somebody without sessions can be revoked; what is no principal or no id is refused by name."""
        world = World()
        world.drive(world.manager.revoke("nobody"))
        assert world.drive(world.manager.sessions_of("nobody")) == []
        with pytest.raises(UsageError, match="except_sid"):
            world.manager.revoke("ada", except_sid="junk")
        for nothing in ("", 7):
            with pytest.raises(UsageError, match="only must be the id"):
                world.manager.revoke("ada", only=nothing)  # type: ignore[arg-type]
        with pytest.raises(UsageError, match="without except_sid"):
            world.manager.revoke("ada", except_sid=world.request(login()), only="id")
        for junk in ("", 7, None):
            with pytest.raises(UsageError, match="principal"):
                world.drive(world.manager.revoke(junk))  # type: ignore[arg-type]


class TestCosts:
    def test_unbound_sessions_ask_nobody(self) -> None:
        """A session that is bound to nobody costs no command in the cookie, however long it lives."""
        world = World()
        world.request(lambda s: s.update(n=1))
        for _ in range(5):
            world.later(hours=1)
            world.request(lambda s: s.update(n=s["n"] + 1))
            assert world.did == []

    @pytest.mark.requirement(14)
    def test_one_small_read_per_interval(self) -> None:
        """A bound session in the cookie asks once per `revocation_check`, however often it is used."""
        world = World()
        world.request(login())
        asked = 0
        for _ in range(60):
            world.later(seconds=10)
            world.request(lambda s: s.update(n=1))
            assert world.did in ([], ["get durable"])
            asked += len(world.did)
        assert asked == 10
        answer = next(a for a in world.stores.answers or [None]) if world.did else None
        assert answer is None or len(getattr(answer, "value", b"")) < 1000

    @SIZES
    def test_untouched_requests_ask_nobody(self, pad: str) -> None:
        """A request that does not touch a bound session costs nothing, though it is time to ask."""
        world = World()
        world.request(login(pad=pad))
        world.later(seconds=300)
        world.request(lambda s: None)
        assert world.did == []
        assert not world.headers

    def test_loading_first_touches_only_what_asks(self) -> None:
        """`Exchange.load` asks for a bound session when it is time, and leaves it untouched otherwise."""
        world = World()
        world.request(login())
        exchange = world.manager.open(world.browser.header)
        world.drive(exchange.load())
        assert not exchange.session.is_accessed()
        assert exchange.session["user"] == "ada"
        world.later(seconds=61)
        del world.stores.commands[:]
        exchange = world.manager.open(world.browser.header)
        world.drive(exchange.load())
        assert world.did == ["get durable"]
        assert exchange.session["user"] == "ada"

    def test_the_memory_is_bounded(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """What is known of sessions takes bounded memory; who was forgotten is asked for again."""
        monkeypatch.setattr("holdall.principals._REMEMBERED", 3)
        world = World()
        browsers = [Browser() for _ in range(5)]
        for number, browser in enumerate(browsers):
            world.request(login(f"user {number}"), browser)
        principals = world.manager._principals
        assert principals is not None
        assert len(principals._known) == 3
        assert world.request(user, browsers[0]) == "user 0"
        assert world.did == ["get durable"]


class TestSlowAnswers:
    @SIZES
    @pytest.mark.parametrize("seconds", [61, -1], ids=["slow", "clock set back"])
    def test_an_answer_counts_however_long_it_took(self, pad: str, seconds: int) -> None:
        """A request that is told that its session was revoked refuses it, though the clock has moved meanwhile."""
        world = World()
        elsewhere = other_process(world)
        world.request(login(pad=pad))
        world.drive(world.manager.revoke("ada"))
        world.stores.before = lambda command: world.later(seconds=seconds if command.key.startswith("p") else 0)
        assert elsewhere.request(user) is None

    @SIZES
    def test_an_older_answer_does_not_take_an_end_back(self, pad: str) -> None:
        """A request that asked before a session was revoked, and hears of it afterwards, makes nobody believe it."""
        world = World()
        world.request(login(pad=pad))
        world.later(seconds=61)
        slow = world.open().load()
        assert not isinstance(slow, Finished)
        step: Any = next(slow)
        while not step.key.startswith("p"):
            step = slow.send(world.stores.execute((step,))[0])
        (answer,) = world.stores.execute((step,))
        world.drive(world.manager.revoke("ada"))
        with pytest.raises(StopIteration):
            slow.send(answer)
        assert world.request(user) is None


class TestOutages:
    @SIZES
    def test_an_outage_is_no_logout(self, pad: str, caplog: pytest.LogCaptureFixture) -> None:
        """While the durable tier is down, bound sessions go on where they can be read, and it is logged."""
        world = World(cache_trust=timedelta(hours=1))
        world.request(login(pad=pad))
        world.later(seconds=61)
        world.stores.down = {Tier.DURABLE}
        with caplog.at_level(logging.ERROR, "holdall"):
            assert world.request(user) == "ada"
        assert "revoked" in caplog.text
        world.stores.down = set()
        assert world.request(user) == "ada"
        assert "get durable" in world.did

    def test_binding_needs_the_durable_tier(self) -> None:
        """A login that cannot be listed is `SessionUnavailable`, with the state of before intact."""
        world = World()
        world.request(lambda s: s.update(cart=1))
        exchange = world.open()
        login()(exchange.session)
        world.stores.down = {Tier.DURABLE}
        with pytest.raises(SessionUnavailable):
            run(exchange.commit(status=200, headers=[]), world.stores)
        world.stores.down = set()
        assert world.read() == {"cart": 1}

    def test_a_lost_reply_does_no_harm(self) -> None:
        """A login whose listing has no answer is told as unknown, and trying it again lists it once."""
        world = World()
        exchange = world.open()
        login()(exchange.session)
        world.stores.losing_replies = {Tier.DURABLE}
        with pytest.raises(SessionUnavailable):
            run(exchange.commit(status=200, headers=[]), world.stores)
        world.stores.losing_replies = set()
        world.request(login())
        assert world.request(user) == "ada"

    @pytest.mark.requirement(33)
    @pytest.mark.parametrize("extra", ["", big(6000)], ids=["cookie", "stored"])
    def test_killed_between_any_two_steps(self, extra: str) -> None:
        """Whenever a process dies while it gives a bound session a new id, the old or the new id holds all of it."""
        step = 0
        finished = False
        while not finished:
            world = World()
            world.request(login(pad=extra))
            before = world.browser.copy()
            exchange = world.open()
            exchange.session.regenerate_id()
            exchange.session["n"] = 1
            flow = exchange.commit(status=200, headers=[])
            finished = not _runs(world, flow, step)
            step += 1
            world.later(seconds=61)
            elsewhere = other_process(world)
            found = elsewhere.read(before)
            assert found in ({}, {"user": "ada", "pad": extra})
        assert step > 3

    @pytest.mark.requirement(38)
    @pytest.mark.parametrize(
        "plain",
        [
            b"",
            b"\x02 something new",
            b"\x01 no map",
            b"\x01" + pack_map({"s": 5}),
            b"\x01" + pack_map({"s": encode([1, 2])}),
            b"\x01" + pack_map({"s": encode(("id", 1, 1, 2**40, None, 0))}),
            b"\x01" + pack_map({"s": encode(("id", 1, "1", 2**40, None, 0, 0))}),
            b"\x01" + pack_map({"s": encode(("id", 1, 1, 2**40, None, 1, 3))}),
        ],
    )
    def test_another_formats_list_is_left_alone(self, plain: bytes) -> None:
        """A list of a newer version is neither overwritten nor taken for an empty one, however it differs."""
        world = World()
        world.request(login())
        (key,) = [c.key for c in world.stores.commands if isinstance(c, Put) and c.key.startswith("p")]
        principals = world.manager._principals
        assert principals is not None
        sealed = principals._box.seal(plain, key.encode(), world.clock())
        values = world.stores.snapshot(Tier.DURABLE)
        values[key] = (sealed, *values[key][1:])
        world.stores.restore(Tier.DURABLE, values)
        world.later(seconds=61)
        assert world.request(user) == "ada"
        with pytest.raises(SessionUnavailable, match="newer version"):
            world.drive(world.manager.revoke("ada"))
        with pytest.raises(SessionUnavailable, match="newer version"):
            world.drive(world.manager.sessions_of("ada"))
        assert world.stores.snapshot(Tier.DURABLE)[key][0] == sealed

    def test_a_forged_list_is_ignored(self, caplog: pytest.LogCaptureFixture) -> None:
        """A list that does not authenticate lists nobody, and the next login replaces it."""
        world = World()
        world.request(login())
        (key,) = [c.key for c in world.stores.commands if isinstance(c, Put) and c.key.startswith("p")]
        values = world.stores.snapshot(Tier.DURABLE)
        values[key] = (b"junk", *values[key][1:])
        world.stores.restore(Tier.DURABLE, values)
        world.later(seconds=61)
        assert world.request(user) is None
        assert "does not authenticate" in caplog.text
        world.request(login())
        assert world.request(user) == "ada"


class TestListing:
    def test_what_is_listed(self) -> None:
        """The sessions of a principal are listed with their times and labels, the one seen last first."""
        world = World()
        laptop, phone = Browser(), Browser()
        world.request(login(label="Laptop"), laptop)
        first = int(world.clock())
        world.later(minutes=5)
        world.request(login(pad=big(), label="Phone"), phone)
        world.later(minutes=5)
        world.request(Session.regenerate_id, laptop)
        laptops, phones = world.drive(world.manager.sessions_of("ada"))
        assert (laptops.label, laptops.created, laptops.seen) == ("Laptop", first, first + 600)
        assert (phones.label, phones.created, phones.seen) == ("Phone", first + 300, first + 300)
        assert laptops.id != phones.id

    def test_no_sid_is_shown(self) -> None:
        """What is listed opens nothing, and its id stays the same when the session gets a new one."""
        world = World()
        sid = world.request(login(label="Laptop"))
        (before,) = world.drive(world.manager.sessions_of("ada"))
        assert sid not in str(before)
        assert not world.manager.open_sid(before.id, drive=world.drive).session.is_active()
        world.request(Session.regenerate_id)
        (after,) = world.drive(world.manager.sessions_of("ada"))
        assert before.id == after.id

    def test_ended_ones_are_not_listed(self) -> None:
        """A session that was terminated, or has expired, is listed no more."""
        world = World(lifetime=timedelta(hours=1))
        gone, old, new = Browser(), Browser(), Browser()
        for browser in (gone, old):
            world.request(login(), browser)
        world.request(Session.terminate, gone)
        world.later(minutes=50)
        world.request(login(), new)
        assert len(world.drive(world.manager.sessions_of("ada"))) == 2
        world.later(minutes=20)
        assert len(world.drive(world.manager.sessions_of("ada"))) == 1

    def test_stores_do_not_see_who(self) -> None:
        """Neither the key nor the value of a list shows the principal or a label."""
        world = World()
        world.request(login(label="a very special browser"))
        for command in world.stores.commands:
            assert "ada" not in command.key
            assert not isinstance(command, Put) or b"special" not in command.value

    def test_two_logins_at_once_are_both_listed(self) -> None:
        """Two sessions that are bound at the same time are both listed: the second write is made on the first."""
        world = World()
        browsers = [Browser(), Browser()]
        exchanges = [world.open(browser) for browser in browsers]
        for exchange in exchanges:
            login()(exchange.session)
        other: list[Any] = [exchanges[1]]

        def meanwhile(command: Any) -> None:
            if isinstance(command, Put) and command.key.startswith("p") and other:
                world.close(other.pop(), browsers[1])

        world.stores.before = meanwhile
        world.close(exchanges[0], browsers[0])
        world.stores.before = None
        assert not other
        world.later(seconds=61)
        assert [other_process(world).request(user, browser) for browser in browsers] == ["ada", "ada"]

    def test_over_the_limit_the_oldest_ends(self) -> None:
        """Beyond 128 sessions of one principal, the one seen longest ago ends."""
        world = World()
        browsers = [Browser() for _ in range(MOST_SESSIONS + 2)]
        for browser in browsers:
            world.request(login(), browser)
            world.later(seconds=1)
        world.later(seconds=61)
        elsewhere = other_process(world)
        assert [elsewhere.request(user, browser) for browser in browsers[:3]] == [None, None, "ada"]
        assert len(world.drive(world.manager.sessions_of("ada"))) == MOST_SESSIONS

    def test_a_list_is_swept_with_its_last_session(self) -> None:
        """A list expires when the last session on it does."""
        world = World(lifetime=timedelta(hours=2))
        world.request(login())
        world.later(hours=1)
        world.request(login(), Browser())
        *_, put = [c for c in world.stores.commands if isinstance(c, Put) and c.key.startswith("p")]
        assert put.expires == int(world.clock()) + 7200 + 720  # a tenth more, for sessions whose end moves


class TestBinding:
    def test_somebody_else_needs_a_new_id(self) -> None:
        """Binding a session to another principal without a new id is refused, and says what to do."""
        world = World()
        world.request(login("ada"))
        with pytest.raises(UsageError, match="regenerate_id"):
            world.request(lambda s: s.bind("bob"))
        thief = world.browser.copy()
        world.request(login("bob"))
        assert world.request(user) == "bob"
        assert world.drive(world.manager.sessions_of("ada")) == []
        assert world.request(user, thief) is None

    def test_the_same_again_costs_nothing(self) -> None:
        """Binding a session to whom it is bound already writes nothing, but for a new label."""
        world = World()
        world.request(login())
        world.request(lambda s: s.bind("ada"))
        assert world.did == []
        world.request(lambda s: s.bind("ada", "Laptop"))
        (listed,) = world.drive(world.manager.sessions_of("ada"))
        assert listed.label == "Laptop"

    @SIZES
    def test_without_a_new_id(self, pad: str) -> None:
        """A session that was bound to nobody may be bound as it is."""
        world = World()
        world.request(lambda s: s.update(user="ada", pad=pad))
        world.request(lambda s: s.bind("ada"))
        thief = world.browser.copy()
        world.drive(world.manager.revoke("ada"))
        assert world.request(user, thief) is None

    def test_a_bound_session_grows_and_stays_bound(self) -> None:
        """A bound session that moves to a store is still refused when it was revoked."""
        world = World()
        world.request(login())
        world.request(lambda s: s.update(pad=big()))
        world.later(seconds=61)
        assert world.request(user) == "ada"
        world.drive(world.manager.revoke("ada"))
        assert world.request(user) is None

    def test_begins_a_session(self) -> None:
        """Binding where there is no session begins one."""
        world = World()
        world.request(lambda s: s.bind("ada"))
        assert world.request(lambda s: s.is_active()) is True
        assert len(world.drive(world.manager.sessions_of("ada"))) == 1

    def test_counts_as_a_change(self) -> None:
        """A session that is bound is modified, until it is saved."""
        world = World()
        world.request(lambda s: s.update(n=1))
        exchange = world.open()
        exchange.session.bind("ada")
        assert exchange.session.is_modified()
        world.close(exchange)
        assert not exchange.session.is_modified()

    @pytest.mark.parametrize("options", [{"no_datastore": True}, {"revocation_check": None}])
    def test_where_none_can_be_bound(self, options: dict[str, Any]) -> None:
        """Without a durable tier, or with `revocation_check=None`, binding is refused by name."""
        world = World(**options)
        with pytest.raises(UsageError, match="durable tier"):
            world.request(lambda s: s.bind("ada"))
        with pytest.raises(UsageError, match="durable tier"):
            world.manager.revoke("ada")

    def test_long_labels_are_refused(self) -> None:
        """A label over 100 characters, or no text, is refused, and nothing is bound."""
        world = World()
        junk: list[Any] = ["x" * 101, 7]
        for label in junk:
            with pytest.raises(UsageError, match="label"):
                world.open().session.bind("ada", label)
        assert world.drive(world.manager.sessions_of("ada")) == []

    @SIZES
    def test_sliding_ends_are_listed(self, pad: str) -> None:
        """A bound session whose end moves on is not taken for expired by its list."""
        world = World(lifetime=timedelta(hours=1))
        world.request(login(pad=pad))
        for _ in range(12):
            world.later(minutes=10)
            exchange = world.open()
            exchange.session["n"] = 1
            headers = run(
                exchange.commit(status=200, headers=[], expiration_ts=world.clock() + 3600, refresh=True), world.stores
            )
            world.browser.receive(headers)
            world.request(login(), Browser())  # prunes the list
        assert other_process(world).request(user) == "ada"

    @SIZES
    def test_sliding_loses_no_data(self, pad: str) -> None:
        """A bound session that was only looked at when it was time to ask keeps its data when its end is to move."""
        world = World(lifetime=timedelta(hours=1))
        world.request(login(pad=pad))
        world.later(minutes=30)
        exchange = world.open()
        assert exchange.session.sid
        flow = exchange.commit(status=200, headers=[], expiration_ts=world.clock() + 3600, refresh=True)
        world.browser.receive(run(flow, world.stores))
        assert world.read() == {"user": "ada", "pad": pad}

    @SIZES
    def test_sliding_seldom_writes_the_list(self, pad: str) -> None:
        """While the end of a bound session moves with every request, its list is written once per tenth of its time."""
        world = World(lifetime=timedelta(hours=1))
        world.request(login(pad=pad))
        for minute in range(60):
            world.later(minutes=1)
            exchange = world.open()
            exchange.session["n"] = minute
            flow = exchange.commit(status=200, headers=[], expiration_ts=world.clock() + 3600, refresh=True)
            world.browser.receive(run(flow, world.stores))
        written = sum(isinstance(c, Put) and c.key.startswith("p") for c in world.stores.commands)
        assert 8 <= written <= 11

    def test_after_a_response_that_did_not_arrive(self) -> None:
        """A stored session is bound by its record: a cookie from before the login asks as well."""
        world = World()
        world.request(lambda s: s.update(user="ada", pad=big()))
        old = world.browser.copy()
        world.request(lambda s: s.bind("ada"))
        world.drive(world.manager.revoke("ada"))
        world.later(seconds=61)
        assert world.request(user, old) is None

    def test_other_audiences_lists_are_others(self) -> None:
        """Applications that do not share sessions do not share lists, though they share the stores."""
        world = World()
        other = World(stores=world.stores, clock=world.clock, audience="other")
        world.request(login())
        other.request(login())
        other.drive(other.manager.revoke("ada"))
        world.later(seconds=61)
        assert world.request(user) == "ada"


@given(
    st.dictionaries(st.text(max_size=3), st.integers(0, 300).map(lambda n: n * 1000), max_size=9), st.integers(0, 300)
)
def test_pruning_leaves_the_living(ended: dict[str, int], seconds: int) -> None:
    """What is pruned has ended two minutes ago or more; what lives stays."""
    now = 1_000_000 + seconds * 1000
    entries = {
        name: _Entry("id", 0, 0, 10**9, None, 1_000_000 + time if time else 0, Ending.ENDED if time else 0)
        for name, time in ended.items()
    }
    kept = _pruned(entries, now)
    assert all(name in kept for name, entry in entries.items() if not entry.ended)
    assert all(abs(now - entries[name].ended) >= 120_000 for name in entries.keys() - kept.keys())


def test_a_failing_clock_asks_again() -> None:
    """Where the clock stepped back, what is known of a session is not believed."""
    world = World()
    world.request(login())
    principals = world.manager._principals
    assert isinstance(principals, Principals)
    world.later(seconds=-300)
    world.request(user)
    assert any(isinstance(command, Get) for command in world.stores.commands)


def _runs(world: World, flow: Any, steps: int) -> bool:
    """Carry out so many steps of a flow; tells whether more were to come."""
    answer: Any = None
    try:
        for _ in range(steps):
            step = flow.send(answer)
            answers = world.stores.execute(step if isinstance(step, tuple) else (step,))
            answer = answers if isinstance(step, tuple) else answers[0]
        flow.send(answer)
    except StopIteration:
        return False
    return True
