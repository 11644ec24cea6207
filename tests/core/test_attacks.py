"""What attacks on the core do: those that once broke it, each by its story, and every attacker of SECURITY.md.

The stories are of overlapping requests, stale copies, odd times and values.
"""

from collections.abc import Callable
from datetime import timedelta
from hashlib import sha256
from typing import Any

import pytest
from holdall import (
    Command,
    Finished,
    Get,
    Put,
    Session,
    SessionUnavailable,
    StoreUnavailable,
    Tier,
    UsageError,
    run,
)
from holdall.testing import FakeClock

from tests.core.support import KEY, OTHER_KEY, Browser, World, big


def stored_world(**options: Any) -> World:
    world = World(cookie_only_threshold=0, **options)
    world.request(lambda session: session.update(n=1, list=[1]))
    return world


def open_tab(world: World) -> Browser:
    return world.browser.copy()


class TestLateWrites:
    """Rule 15: what finish() saves, and what it must leave alone."""

    def test_a_value_that_was_only_read_does_not_overwrite_a_newer_one(self) -> None:
        """After a commit that met a newer record, finish() does not take an object read before for a change of it."""
        world = stored_world()
        slow = world.open()
        assert slow.session["list"] == [1]
        slow.session["a"] = 1
        world.request(lambda session: session["list"].append(2), open_tab(world))
        world.close(slow)
        assert world.receipt is not None
        assert world.receipt.conflicts == ()
        assert {"list": [1, 2], "a": 1}.items() <= world.read().items()

    def test_objects_are_still_noticed_after_a_commit(self) -> None:
        """A list that was saved by the commit and is changed after it is saved by finish()."""
        world = stored_world()
        exchange = world.open()
        read = exchange.session["list"]
        assigned = exchange.session["assigned"] = [1]
        world.browser.receive(run(exchange.commit(status=200, headers=[]), world.stores))
        read.append("late")
        assigned.append("late")
        run(exchange.finish(), world.stores)
        assert {"list": [1, "late"], "assigned": [1, "late"]}.items() <= world.read().items()

    def test_a_dropped_increment_is_reported(self) -> None:
        """An increment after the headers that meets a text is reported, as one before them is."""
        world = stored_world()
        exchange = world.open()
        exchange.session.ensure_data_loaded()
        run(exchange.commit(status=200, headers=[]), world.stores)
        exchange.session.incr("n")
        world.request(lambda session: session.update(n="text"), open_tab(world))
        receipt = run(exchange.finish(), world.stores)
        assert [conflict.keys for conflict in receipt.conflicts] == [("n",)]

    def test_what_an_error_discarded_is_not_called_durable(self) -> None:
        """The receipt of a response of 500 does not say that what was written is safe."""
        world = stored_world()
        world.request(lambda session: session.update(n=2), status=500)
        assert world.receipt is not None
        assert not world.receipt.durable


@pytest.mark.requirement(17)
class TestTrust:
    """Rules 5 and 11: nothing but the durable tier renews the trust in an entry."""

    def test_quick_writes_do_not_renew_it(self) -> None:
        """A session that ended while the cache was away is unreadable after the trust, however often it was written."""
        world = stored_world()
        other = open_tab(world)
        world.stores.down = {Tier.CACHE}
        world.request(Session.terminate)
        world.stores.down.clear()
        for _ in range(4):
            world.later(seconds=20)
            world.request(lambda session: session.set_quick("q", world.clock()), other)
        assert "n" not in world.read(other)

    def test_none_is_none(self) -> None:
        """With cache_trust=0 an entry of a server whose clock is a little ahead is not believed either."""
        world = stored_world(cache_trust=timedelta(0))
        world.clock.advance(-3)
        assert world.read()["n"] == 1
        assert "get durable" in world.did

    def test_an_entry_of_a_server_ahead_does_not_outlive_the_session(self) -> None:
        """An ended session's entry, written by a server an hour ahead, is not believed an hour later."""
        world = stored_world()
        other = open_tab(world)
        world.clock.advance(3600)
        world.read()
        world.clock.advance(-3600)
        world.stores.down = {Tier.CACHE}
        world.request(Session.terminate)
        world.stores.down.clear()
        assert world.read(other) == {}
        world.clock.advance(3600)
        assert world.read(other) == {}


class TestPromotion:
    """Rule 8."""

    def test_a_slow_promotion_of_an_older_cookie_keeps_what_a_newer_one_stored(self) -> None:
        """Inline data that a promotion stored is not undone by a slow request that still grows from an older cookie."""
        world = World()
        world.request(lambda session: session.update(n=1))
        slow = world.open()
        slow.session["slow"] = big(5000)
        world.request(lambda session: session.update(lost=big(5000)), open_tab(world))  # its response never arrives
        world.request(lambda session: session.update(inline=1))
        world.request(lambda session: session.update(grown=big(5000)))
        assert world.receipt is not None
        assert world.receipt.durable
        world.close(slow, Browser())
        assert {"inline", "lost", "grown", "slow"} <= set(world.read())

    def test_a_newer_cookie_wins_over_what_an_older_one_carried_along(self) -> None:
        """Two promotions whose responses were lost do not hide what the browser changed inline since."""
        world = World()
        world.request(lambda session: session.update(n=1))
        world.request(lambda session: session.update(first=big(5000)), open_tab(world))
        world.request(lambda session: session.update(n=2))
        world.request(lambda session: session.update(second=big(5000)), open_tab(world))
        world.request(lambda session: session.update(n=3))
        world.request(lambda session: session.update(third=big(5000)))
        assert world.read()["n"] == 3
        assert set(world.read()) == {"n", "first", "second", "third"}


class TestEndings:
    """Rules 3, 9 and 10."""

    def test_a_new_id_for_what_had_ended_tombstones_the_cache(self) -> None:
        """A regenerate_id that finds the session ended tombstones its stale entry, as any other commit does."""
        world = stored_world()
        slow, other = world.open(), open_tab(world)
        slow.session.regenerate_id()
        world.stores.down = {Tier.CACHE}
        world.request(Session.terminate)
        world.stores.down.clear()
        world.close(slow, Browser())
        assert world.read(other) == {}

    def test_ending_by_sid_is_remembered_as_long_as_the_session_could_live(self) -> None:
        """The marker of a session that was ended by its sid lives until the session's own end, not the lifetime's."""
        world = World(cookie_only_threshold=0)
        ends = int(world.clock()) + 86_400 * 300

        def act(session: Session) -> str | None:
            session.start(ends)
            session["n"] = 1
            return session.sid

        exchange = world.manager.open_sid(world.request(act), drive=world.drive)
        exchange.session.terminate()
        world.close(exchange, Browser())
        (marker,) = world.stores.snapshot(Tier.DURABLE).values()
        assert marker[2] == ends

    def test_ending_an_unknown_sid_writes_nothing(self) -> None:
        """terminate() on a sid that no store knows leaves nothing behind."""
        world = World()
        exchange = world.manager.open_sid("A" * 43, drive=world.drive)
        exchange.session.terminate()
        world.close(exchange)
        assert world.stores.snapshot(Tier.DURABLE) == {}

    def test_a_load_that_comes_too_late_brings_nothing_back(self) -> None:
        """What a load that was under way brings is dropped if the session was replaced meanwhile."""
        world = stored_world()
        exchange = world.open()
        loading = exchange.load()
        assert not isinstance(loading, Finished)
        command = next(loading)
        assert isinstance(command, Get)
        exchange.session.start()
        with pytest.raises(StopIteration):
            loading.send(world.stores.execute((command,))[0])
        assert dict(exchange.session) == {}


@pytest.mark.requirement(19, 38)
class TestOddRecords:
    """Requirements 19 and 38: what stands in the stores and is not ours."""

    def test_garbage_found_by_a_write_is_no_error(self) -> None:
        """A record that becomes garbage between load and commit is gone: the write is dropped, and no 5xx."""
        world = stored_world()
        exchange = world.open()
        exchange.session["n"] = 2
        (key,) = world.stores.snapshot(Tier.DURABLE)
        world.stores.restore(Tier.DURABLE, {key: (b"garbage", 10**6, 2**40)})
        world.close(exchange)
        assert world.receipt is not None
        assert world.receipt.conflicts
        assert world.stores.snapshot(Tier.DURABLE)[key][0] == b"garbage"

    def test_a_marker_of_a_newer_version_is_refused_and_kept(self) -> None:
        """A kind of marker that this version does not know is neither an ended session nor a crash."""
        from holdall.record import unpack

        assert unpack(bytes([1, 8]) + bytes(24)) is None


@pytest.mark.requirement(37)
class TestTimes:
    """Requirement 37, and rule 14."""

    @pytest.mark.parametrize("now", [-10.0, 0.0, 1.5, 2**31 - 1.0, 2**31 + 1.0, 2**33])
    def test_clocks_far_off_work(self, now: float) -> None:
        """Before 1970, at it, past 2038: sessions begin, are read, change, move and end."""
        clock = FakeClock()
        clock.now = now
        for threshold in (0, 3800):
            world = World(clock=clock, cookie_only_threshold=threshold, idle_timeout=timedelta(hours=1))
            world.request(lambda session: session.update(n=1))
            world.request(lambda session: session.update(n=2))
            world.request(Session.regenerate_id)
            assert world.read() == {"n": 2}
            world.request(Session.terminate)
            assert world.read() == {}

    @pytest.mark.parametrize("expiration", ["tomorrow", timedelta(days=1), float("nan"), float("inf"), -1, 2**40])
    def test_what_is_no_time_is_refused(self, expiration: Any) -> None:
        """An expiration_ts that is no time raises UsageError where it is given."""
        world = stored_world()
        for verb in (Session.start, Session.regenerate_id):
            with pytest.raises(UsageError, match="expiration_ts"):
                world.request(lambda session, verb=verb: verb(session, expiration))  # type: ignore[misc]
        assert world.read()["n"] == 1

    @pytest.mark.requirement(16)
    @pytest.mark.parametrize("timeout", [10, 15, 19, 101])
    @pytest.mark.parametrize("fraction", [0.0, 0.5, 0.99])
    def test_a_tenth_of_the_timeout_and_no_more(self, timeout: int, fraction: float) -> None:
        """Whatever the fractions of seconds, a session lives 0.9 T after its last touched request, and never over T."""
        world = World(idle_timeout=timedelta(seconds=timeout))
        world.clock.advance(fraction)
        world.request(lambda session: session.update(n=1))
        world.later(seconds=timeout / 10 - 0.01)
        assert world.read() == {"n": 1}
        touched = world.clock()
        assert world.set_cookies() == [] or timeout % 10 or fraction
        world.clock.now = touched + 0.9 * timeout - 0.01
        assert world.read(open_tab(world)) == {"n": 1}
        world.clock.now = touched + timeout + 0.01
        assert world.read(open_tab(world)) == {}


class TestOddValues:
    """Values at the edges of what numbers can do."""

    def test_increment_beyond_all_floats(self) -> None:
        """A float added to an integer that no float can hold is refused, and on replay dropped and reported."""
        world = stored_world()
        slow = world.open()
        slow.session.incr("n", 1.5)
        world.request(lambda session: session.update(n=10**400), open_tab(world))
        world.close(slow)
        assert world.receipt is not None
        assert [conflict.keys for conflict in world.receipt.conflicts] == [("n",)]
        with pytest.raises(UsageError):
            world.request(lambda session: session.incr("n", 1.5))


def test_headers_may_come_as_an_iterator() -> None:
    """Cookie headers that can be iterated over once only are read all the same, and their stale pieces cleared."""
    world = World(cookie_only_threshold=100_000)
    world.request(lambda session: session.update(big=big(20_000)))
    exchange = world.manager.open(iter([world.browser.header]), drive=world.drive)
    exchange.session["big"] = "small"
    world.close(exchange)
    assert len(world.browser.cookies) == 1


def test_restored_backup_is_raised_above_what_the_request_read() -> None:
    """Rule 6: a write rises above the revision at load too, though its own cookie's floor was lower."""
    world = stored_world()
    old_tab, backup = open_tab(world), world.stores.snapshot(Tier.DURABLE)
    for n in (2, 3, 4):
        world.request(lambda session, n=n: session.update(n=n))  # type: ignore[misc]
    world.stores.restore(Tier.DURABLE, backup)
    world.request(lambda session: session.update(m=1), old_tab)
    assert world.read()["m"] == 1
    assert world.did == ["get cache"]


@pytest.mark.requirement(37)
def test_two_managers_an_hour_apart() -> None:
    """Requirement 37: servers whose clocks differ by an hour read and change each other's sessions, and end them."""
    world = stored_world()
    ahead = FakeClock()
    ahead.now = world.clock() + 3600
    other = World(clock=ahead, stores=world.stores, cookie_only_threshold=0)
    other.browser = world.browser
    for number in range(3):
        world.request(lambda session: session.incr("n"))
        other.request(lambda session: session.incr("n"))
        assert world.read()["n"] == other.read()["n"] == 3 + 2 * number
    old_tab = open_tab(world)
    other.request(Session.terminate)
    assert world.read(old_tab) == {}
    assert other.read(old_tab) == {}


@pytest.mark.requirement(32)
def test_lost_reply_of_the_new_ids_record() -> None:
    """Requirement 32: a new id whose insert has no reply is found by its write id, and the data is there."""
    world = stored_world()
    puts: list[Command] = []

    def lose_first(command: Command) -> None:
        if isinstance(command, Put) and command.tier is Tier.DURABLE:
            puts.append(command)
            if len(puts) == 1:
                raise StoreUnavailable("lost")

    world.stores.before = lose_first
    world.request(Session.regenerate_id)
    world.stores.before = None
    assert world.read()["n"] == 1


@pytest.mark.requirement(30)
def test_unavailable_commits_change_no_cookie() -> None:
    """Requirement 30: a commit that fails leaves the browser's cookie as it was."""
    world = stored_world()
    before = dict(world.browser.cookies)
    acts: list[Callable[[Session], Any]] = [Session.regenerate_id, Session.terminate, Session.start, Session.clear]
    for act in acts:
        world.read()
        world.stores.down = {Tier.DURABLE}
        with pytest.raises(SessionUnavailable):
            world.request(act)
        world.stores.down.clear()
        assert world.browser.cookies == before
        assert world.read()["n"] == 1


def values_of(world: World, tier: Tier) -> dict[str, bytes]:
    return {key: value for key, (value, _, _) in world.stores.snapshot(tier).items()}


def plant(world: World, tier: Tier, **values: bytes) -> None:
    """Do what somebody does who can write to a tier: put values under keys."""
    there = world.stores.snapshot(tier)
    world.stores.restore(tier, there | {key: (value, 10**9, 2**40) for key, value in values.items()})


class TestWriterOfTheCache:
    """Somebody who can read and write all of memcached, and has no key."""

    def test_swapped_entries_show_nobody_elses_data(self) -> None:
        """Under each other's keys, two users' entries open for neither, and both read their own."""
        world = World()
        ada, bob = Browser(), Browser()
        for name, browser in (("ada", ada), ("bob", bob)):
            world.request(lambda session, name=name: session.update(user=name, extra=big(6000)), browser)  # type: ignore[misc]
        (one, first), (other, second) = values_of(world, Tier.CACHE).items()
        plant(world, Tier.CACHE, **{one: second, other: first})
        assert world.read(ada)["user"] == "ada"
        assert world.read(bob)["user"] == "bob"

    @pytest.mark.parametrize("garbage", [b"", b"\0", b"\0\1" + bytes(200), b"\x80\x04N.", b"junk" * 100])
    def test_garbage_costs_a_lookup(self, garbage: bytes) -> None:
        """In the place of an entry it is a miss: the session is read from the durable tier, and goes on."""
        world = stored_world()
        (key,) = values_of(world, Tier.CACHE)
        plant(world, Tier.CACHE, **{key: garbage})
        assert world.read()["n"] == 1
        world.request(lambda session: session.update(n=2))
        assert world.read()["n"] == 2

    def test_an_entry_of_before_the_logout_is_read_for_the_trust_at_most(self) -> None:
        """Put back over the tombstone it shows the ended session until it is `cache_trust` old, and takes no write."""
        world = stored_world()
        thief = open_tab(world)
        entry = values_of(world, Tier.CACHE)
        world.request(Session.terminate)
        plant(world, Tier.CACHE, **entry)
        assert world.read(thief)["n"] == 1
        world.request(lambda session: session.update(n=2), thief)
        assert world.receipt is not None
        assert world.receipt.conflicts
        plant(world, Tier.CACHE, **entry)
        world.later(seconds=60)
        assert world.read(thief) == {}

    def test_an_older_entry_loses_no_write(self) -> None:
        """A change made on an entry that was put back is replayed on what the durable tier has."""
        world = stored_world()
        old_tab, entry = open_tab(world), values_of(world, Tier.CACHE)
        world.request(lambda session: session.update(m=1))
        plant(world, Tier.CACHE, **entry)
        world.request(lambda session: session.update(k=1), old_tab)
        assert {"n": 1, "m": 1, "k": 1}.items() <= world.read().items()

    def test_without_a_durable_tier_its_word_counts(self) -> None:
        """With `no_datastore` what had ended can be put back; what a browser has seen newer of, cannot."""
        world = stored_world(no_datastore=True)
        before = values_of(world, Tier.CACHE)
        world.request(lambda session: session.update(n=2))
        thief, entry = open_tab(world), values_of(world, Tier.CACHE)
        plant(world, Tier.CACHE, **before)
        assert world.read(open_tab(world)) == {}
        plant(world, Tier.CACHE, **entry)
        world.request(Session.terminate)
        assert world.read(thief) == {}
        plant(world, Tier.CACHE, **entry)
        assert world.read(thief)["n"] == 2


class TestWriterOfTheDurableTier:
    """Somebody who can read and write all of Datastore, and has no key."""

    def test_swapped_records_show_nobody_elses_data(self) -> None:
        """Under each other's keys, records and lists open for nobody."""
        world = World(cookie_only_threshold=0)
        for name in ("ada", "bob"):
            world.request(lambda session, name=name: session.update(user=name), browser := Browser())  # type: ignore[misc]
            world.request(lambda session, name=name: session.bind(name), browser)  # type: ignore[misc]
        values = values_of(world, Tier.DURABLE)
        for kind in "sp":
            one, other = (key for key in values if key.startswith(kind))
            plant(world, Tier.DURABLE, **{one: values[other], other: values[one]})
        world.stores.flush()
        assert world.read(browser) == {}
        assert world.drive(world.manager.sessions_of("ada")) == []

    def test_a_record_put_back_is_the_session_again(self) -> None:
        """What this tier says counts: over its marker an old record lives again, for those who have its cookie."""
        world = stored_world()
        thief, record = open_tab(world), values_of(world, Tier.DURABLE)
        world.request(Session.terminate)
        assert world.read(thief) == {}
        plant(world, Tier.DURABLE, **record)
        assert world.read(thief)["n"] == 1
        world.later(days=7)
        assert world.read(thief) == {}

    @pytest.mark.parametrize("garbage", [b"", b"\0", b"\x80\x04N.", b"junk" * 100])
    def test_garbage_is_no_session(self, garbage: bytes) -> None:
        """In the place of a record and a list it ends what was there, and nothing fails."""
        world = stored_world()
        world.request(lambda session: session.bind("ada"))
        plant(world, Tier.DURABLE, **dict.fromkeys(values_of(world, Tier.DURABLE), garbage))
        world.stores.flush()
        assert world.read() == {}
        assert world.drive(world.manager.sessions_of("ada")) == []

    @pytest.mark.parametrize("extra", ["", big(6000)], ids=["cookie", "stored"])
    def test_without_its_list_a_bound_session_ends(self, extra: str) -> None:
        """A list that was removed, with its labels, refuses everybody who was on it: how a person is erased."""
        world = World()
        world.request(lambda session: session.update(n=1, extra=extra))
        world.request(lambda session: session.bind("ada", "a browser"))
        there = world.stores.snapshot(Tier.DURABLE)
        world.stores.restore(Tier.DURABLE, {key: there[key] for key in there if not key.startswith("p")})
        world.later(seconds=61)
        assert world.read() == {}

    def test_a_principal_can_be_guessed(self) -> None:
        """A list's key is a hash without a secret: who sees it and guesses the principal knows whose list it is."""
        world = World()
        world.request(lambda session: session.bind("7"))
        guess = sha256(b"holdall/principal" + len(b"holdall").to_bytes(4) + b"holdall" + b"7").hexdigest()[:32]
        assert f"p{guess}" in world.stores.snapshot(Tier.DURABLE)


class TestPlantedCookies:
    """A subdomain, or anybody else who can put cookies into a browser."""

    @pytest.mark.parametrize("extra", ["", big(6000)], ids=["cookie", "stored"])
    def test_a_login_is_not_shared_with_who_planted_the_session(self, extra: str) -> None:
        """The attacker's copy of a session that a victim logs in with, and gives a new id, never shows the login."""
        world = World()
        world.request(lambda session: session.update(cart=1, extra=extra))
        attacker = open_tab(world)

        def log_in(session: Session) -> None:
            session.regenerate_id()
            session["user"] = "ada"

        world.request(log_in)
        assert world.read()["user"] == "ada"
        assert "user" not in world.read(attacker)
        world.request(lambda session: session.update(seen=1), attacker)
        assert "seen" not in world.read()

    @pytest.mark.parametrize("first", [True, False])
    def test_two_sessions_under_one_name_are_none(self, first: bool) -> None:
        """A second authentic session beside the victim's is not taken for it, whichever comes first."""
        world = World()
        ada, mallory = Browser(), Browser()
        world.request(lambda session: session.update(user="ada"), ada)
        world.request(lambda session: session.update(user="mallory"), mallory)
        header = "; ".join([mallory.header, ada.header] if first else [ada.header, mallory.header])
        assert dict(world.manager.open(header, drive=world.drive).session) == {}

    def test_of_the_two_names_the_later_session_counts(self) -> None:
        """Who can write our very names can put a session of their own beside an older one, and reads nothing of it."""
        world = World()
        ada, mallory = Browser(), Browser()
        world.request(lambda session: session.update(user="ada"), ada)
        world.later(seconds=1)
        world.request(lambda session: session.update(user="mallory", extra=big(6000)), mallory)
        for header in (f"{ada.header}; {mallory.header}", f"{mallory.header}; {ada.header}"):
            assert dict(world.manager.open(header, drive=world.drive).session)["user"] == "mallory"

    def test_names_that_look_like_ours_are_foreign(self) -> None:
        """Without the very name, which browsers refuse to a subdomain, a planted cookie is not read."""
        world = World()
        world.request(lambda session: session.update(n=1))
        value = world.browser.header.partition("=")[2]
        for name in (
            "__host-session",
            "__HOST-session",
            "__Host-Session",
            " __Host-session ",
            "session",
            "=__Host-session",
        ):
            assert dict(world.manager.open(f"{name}={value}", drive=world.drive).session) == {}


class TestCopiedCookies:
    """A thief of a cookie, or the owner who kept an old one. Bound sessions are in test_principals."""

    def test_an_unbound_session_in_the_cookie_lives_until_its_end(self) -> None:
        """Neither logout nor a new id reaches the copy of a small session bound to nobody; its absolute end does."""
        world = World()
        world.request(lambda session: session.update(n=1))
        for act in (Session.regenerate_id, Session.terminate):
            thief = open_tab(world)
            world.request(act)
            assert world.read(thief) == {"n": 1}
        world.later(days=7)
        assert world.read(thief) == {}

    def test_a_stored_one_ends_with_the_logout(self) -> None:
        """The copy of a reference opens nothing from the logout on."""
        world = stored_world()
        thief = open_tab(world)
        world.request(Session.terminate)
        assert world.read(thief) == {}

    def test_old_cookies_roll_back_small_sessions_only(self) -> None:
        """Who presents an older cookie has the older state of a small session, and the latest of a stored one."""
        for threshold, seen in ((3800, 1), (0, 2)):
            world = World(cookie_only_threshold=threshold)
            world.request(lambda session: session.update(n=1))
            old = open_tab(world)
            world.request(lambda session: session.update(n=2))
            assert world.read(old) == {"n": seen}


class TestStolenKeys:
    """Somebody who has a key that was in use."""

    @pytest.mark.parametrize("threshold", [0, 3800], ids=["stored", "cookie"])
    def test_a_new_key_alone_ends_everything(self, threshold: int) -> None:
        """Once the stolen key is gone from the list, what was or will be sealed with it opens nothing, in any tier."""
        world = World(cookie_only_threshold=threshold)
        thief = Browser()
        World(clock=world.clock, stores=world.stores).request(lambda session: session.update(user="admin"), thief)
        kept = World(key=[OTHER_KEY, KEY], clock=world.clock, stores=world.stores)
        assert kept.read(thief) == {"user": "admin"}  # as second it opens still, and so do forgeries
        world.request(lambda session: session.update(user="ada"))
        alone = World(key=OTHER_KEY, clock=world.clock, stores=world.stores)
        for browser in (thief, world.browser):
            assert alone.read(browser) == {}
        alone.request(lambda session: session.update(user="ada"), world.browser)
        assert alone.read(world.browser) == {"user": "ada"}

    @pytest.mark.parametrize("threshold", [0, 3800], ids=["stored", "cookie"])
    def test_another_audience_ends_everything(self, threshold: int) -> None:
        """With the same key and another audience, all sessions of before are junk."""
        world = World(cookie_only_threshold=threshold)
        world.request(lambda session: session.update(n=1))
        other = World(clock=world.clock, stores=world.stores, audience="holdall-2")
        assert other.read(world.browser) == {}

    def test_a_forged_session_is_on_nobodys_list(self) -> None:
        """Who has the key and no store can claim to be bound to somebody, and is refused: their list has no such id."""
        world = World()
        forger = World(clock=world.clock)
        forger.request(lambda session: session.bind("ada"))
        assert forger.request(Session.is_active, open_tab(forger))
        assert dict(world.manager.open(forger.browser.header, drive=world.drive).session) == {}
        assert not world.request(lambda session: (session.get("n"), session.is_active())[1], open_tab(forger))
