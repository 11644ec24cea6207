"""The consistency rules of docs/consistency.md, each by its story, at the level of requests and commands."""

from collections.abc import Callable
from contextlib import suppress
from datetime import timedelta
from typing import Any

import pytest
from holdall import (
    Answer,
    Command,
    Expect,
    Get,
    Missing,
    Put,
    Session,
    SessionTooLarge,
    SessionUnavailable,
    Tier,
    run,
)
from holdall.testing import FakeClock, RecordingStores

from tests.core.support import Browser, World, big, persist


def stored_world(**options: Any) -> World:
    """A world whose session is in the stores, with n = 1 and 20 KB beside it."""
    world = World(**options)
    world.request(lambda session: session.update(n=1, big=big()))
    return world


def once(world: World, when: Callable[[Command], bool], then: Callable[[], Any]) -> None:
    """Have something else happen right before the first command for which `when` holds."""

    def before(command: Command) -> None:
        if when(command):
            world.stores.before = None
            then()

    world.stores.before = before


def finish(world: World, flow: Any, step: Command) -> None:
    """Carry out a step of a flow that was held up, and all that follow."""
    with suppress(StopIteration):
        while True:
            step = flow.send(world.stores.execute((step,))[0])


def is_durable_put(command: Command) -> bool:
    return isinstance(command, Put) and command.tier is Tier.DURABLE


def is_cache_put(command: Command) -> bool:
    return isinstance(command, Put) and command.tier is Tier.CACHE


class Cacheless(RecordingStores):
    """Stores of an application that has no cache."""

    def _answer(self, command: Command) -> Answer:
        answer = super()._answer(command)
        if command.tier is Tier.CACHE:
            self.flush()
            return Missing(forever=True) if isinstance(command, Get) else answer
        return answer


class TestCosts:
    """The calls of docs/contract.md, counted at the stores."""

    def test_without_a_cache(self) -> None:
        """Where there is no cache, and the stores say so, nothing is copied to it after a read or a change."""
        clock = FakeClock()
        world = stored_world(clock=clock, stores=Cacheless(clock))
        world.read()
        assert world.did == ["get cache", "get durable"]
        world.request(lambda session: session.update(n=2))
        assert world.did == ["get cache", "get durable", "put durable"]
        world.request(lambda session: session.set_quick("n", 3))
        assert world.did == ["get cache", "get durable", "put durable"]
        assert world.read()["n"] == 3

    def test_untouched(self) -> None:
        """A request that leaves its session alone asks the stores nothing, and says nothing."""
        world = stored_world()
        world.request(lambda session: None)
        assert world.did == []
        assert world.headers == []

    def test_create_20_kb(self) -> None:
        """Creating a big session is one durable insert and one cache add."""
        world = stored_world()
        assert world.did == ["put durable", "put cache"]

    def test_read_20_kb(self) -> None:
        """Reading a big session is one get."""
        world = stored_world()
        assert world.request(lambda session: session["n"]) == 1
        assert world.did == ["get cache"]

    def test_write_20_kb(self) -> None:
        """Changing a big session is one get, one commit, one cas."""
        world = stored_world()
        world.request(lambda session: session.update(n=2))
        assert world.did == ["get cache", "put durable", "put cache"]

    @pytest.mark.requirement(35)
    def test_read_after_loss(self) -> None:
        """After the cache forgot, one read asks the durable tier and refills; the next read is one get again."""
        world = stored_world()
        world.stores.flush()
        assert world.read()["n"] == 1
        assert world.did == ["get cache", "get durable", "put cache"]
        world.read()
        assert world.did == ["get cache"]

    def test_terminate(self) -> None:
        """A logout is one marker and one tombstone."""
        world = stored_world()
        world.request(Session.terminate)
        assert world.did == ["put durable", "put cache"]

    def test_regenerate(self) -> None:
        """A new id for a big session takes five commands."""
        world = stored_world()
        world.request(Session.regenerate_id)
        assert world.did == ["get cache", "put durable", "put durable", "put cache", "put cache"]

    def test_quick(self) -> None:
        """A quick write asks the cache alone, and sets no cookie."""
        world = stored_world()
        world.request(lambda session: session.set_quick("n", 2))
        assert world.did == ["get cache", "put cache"]
        assert world.set_cookies() == []
        assert world.read()["n"] == 2


@pytest.mark.requirement(26)
class TestVersionsAndReplay:
    """Rules 1 and 2."""

    def test_different_keys_both_win(self) -> None:
        """Two overlapping requests that change different keys both survive."""
        world = stored_world()
        first, second = world.open(), world.open()
        first.session["a"] = 1
        second.session["b"] = 2
        world.close(first)
        world.close(second)
        assert {"a": 1, "b": 2}.items() <= world.read().items()

    def test_increments_add_up(self) -> None:
        """Increments of overlapping requests all count."""
        world = stored_world()
        exchanges = [world.open() for _ in range(5)]
        for exchange in exchanges:
            exchange.session.incr("n", 2)
        for exchange in exchanges:
            world.close(exchange)
        assert world.read()["n"] == 11

    def test_clear_replays_as_delete_everything(self) -> None:
        """clear() deletes what is there at the time of the write, also what came meanwhile."""
        world = stored_world()
        clearing = world.open()
        clearing.session.clear()
        world.request(lambda session: session.update(late=1))
        world.close(clearing)
        assert world.read() == {}

    def test_clear_that_found_nothing_is_over_with_the_response(self) -> None:
        """What is changed after a response that had nothing to clear leaves what others have put there since."""
        world = stored_world()
        world.request(Session.clear)
        exchange = world.open()
        exchange.session.clear()
        run(exchange.commit(status=200, headers=[]), world.stores)
        world.request(lambda session: session.incr("n"))
        exchange.session.incr("n")
        run(exchange.finish(), world.stores)
        assert world.read() == {"n": 2}

    def test_increment_of_what_is_no_number_is_reported(self) -> None:
        """An increment that meets something else than a number is dropped and reported, other changes stay."""
        world = stored_world()
        slow = world.open()
        slow.session.incr("n")
        slow.session["kept"] = True
        world.request(lambda session: session.update(n="text"))
        world.close(slow)
        assert world.receipt is not None
        assert [conflict.keys for conflict in world.receipt.conflicts] == [("n",)]
        assert world.read()["n"] == "text"
        assert world.read()["kept"] is True

    def test_only_markers_are_written_unconditionally(self) -> None:
        """Every write of data expects a version or absence."""
        world = stored_world()
        seen: list[Command] = []
        world.stores.before = seen.append
        world.request(lambda session: session.update(n=2))
        world.request(lambda session: session.set_quick("n", 3))
        world.request(Session.regenerate_id)
        puts = [command for command in seen if isinstance(command, Put)]
        anything = [command for command in puts if command.expect is Expect.ANYTHING]
        assert len(puts) == 2 + 1 + 4
        assert len(anything) == 1  # the tombstone of the old id


class TestEnding:
    """Rules 3, 4, 9 and 10."""

    @pytest.mark.requirement(17)
    def test_second_promotion_does_not_insert_after_a_logout(self) -> None:
        """A promotion under way when the user logs out finds the marker: nothing comes back."""
        world = World()
        world.request(lambda session: session.update(n=1))
        slow = world.open()
        slow.session["big"] = big()
        world.request(Session.terminate, world.browser.copy())
        world.close(slow)
        assert world.set_cookies() == []
        assert world.receipt is not None
        assert world.receipt.conflicts

    @pytest.mark.requirement(17)
    def test_stalled_refill_does_not_bring_a_session_back(self) -> None:
        """A refill that arrives after the logout does not replace the tombstone."""
        world = stored_world()
        world.stores.flush()
        other = world.browser.copy()
        once(world, is_cache_put, lambda: run(self._logout(world, other), world.stores))
        world.read()
        assert world.read(other) == {}

    @staticmethod
    def _logout(world: World, browser: Browser) -> Any:
        exchange = world.open(browser.copy())
        exchange.session.terminate()
        return exchange.commit(status=200, headers=[])

    def test_stale_refill_does_not_bury_a_write(self) -> None:
        """A refill that was read before a write and arrives after it leaves the newer entry alone."""
        world = stored_world()
        world.stores.flush()

        def write() -> None:
            exchange = world.open()
            exchange.session["n"] = 2
            world.close(exchange)

        once(world, is_cache_put, write)
        reader = world.browser.copy()
        world.read(reader)
        assert world.read()["n"] == 2

    @pytest.mark.requirement(17)
    def test_slow_write_after_a_logout_is_dropped(self) -> None:
        """A slow request cannot resurrect a session that logged out meanwhile."""
        world = stored_world()
        slow = world.open()
        slow.session["late"] = 1
        other = world.browser.copy()
        world.request(Session.terminate)
        world.close(slow, other)
        assert world.set_cookies() == []
        assert world.read(other) == {}

    @pytest.mark.requirement(17)
    @pytest.mark.parametrize("act", [Session.terminate, Session.regenerate_id])
    def test_a_stalled_logout_is_told_to_the_cache_as_long_as_any(self, act: Callable[[Session], None]) -> None:
        """However long a logout was stalled: what was written before it does not come to the cache after it."""
        world = stored_world(store_budget=timedelta(days=1))
        other = world.browser.copy()
        logout = world.open()
        logout.session.ensure_data_loaded()
        act(logout.session)
        ending: Any = logout.commit(status=200, headers=[])
        marker = next(ending)
        world.later(seconds=130)
        writer = world.open(other.copy())
        writer.session["late"] = 1
        writing: Any = writer.commit(status=200, headers=[])
        telling = writing.send(world.stores.execute((next(writing),))[0])
        assert is_cache_put(telling)
        finish(world, ending, marker)
        finish(world, writing, telling)
        assert world.read(other) == {}

    @pytest.mark.requirement(33)
    def test_a_crash_before_the_marker_leaves_the_old_session(self) -> None:
        """If marking the old id fails, the old session is whole and the new id reaches nobody."""
        world = stored_world()
        puts = iter(range(10))

        def fail_from_second_put(command: Command) -> None:
            if is_durable_put(command) and next(puts) == 1:
                world.stores.down = {Tier.DURABLE}

        world.stores.before = fail_from_second_put
        with pytest.raises(SessionUnavailable):
            world.request(Session.regenerate_id)
        world.stores.before = None
        world.stores.down.clear()
        assert world.read()["n"] == 1

    def test_regenerate_takes_along_what_others_wrote_meanwhile(self) -> None:
        """A write that lands while the id changes is carried over."""
        world = stored_world()
        logging_in = world.open()
        logging_in.session["user"] = "ada"
        logging_in.session.regenerate_id()
        world.request(lambda session: session.update(late=1), world.browser.copy())
        world.close(logging_in)
        assert {"user": "ada", "late": 1, "n": 1}.items() <= world.read().items()

    def test_logout_wins_over_a_new_id(self) -> None:
        """If the session ended while its id was changing, no new one comes to be."""
        world = stored_world()
        changing = world.open()
        changing.session.regenerate_id()
        new_sid = changing.session.sid
        world.request(Session.terminate, world.browser.copy())
        world.close(changing)
        assert world.set_cookies() == []
        assert new_sid is not None
        assert dict(world.manager.open_sid(new_sid, drive=world.drive).session) == {}

    def test_parallel_request_with_the_old_cookie_leaves_the_login_alone(self) -> None:
        """The page's other request, still with the old cookie, neither deletes nor replaces the login's cookie."""
        world = stored_world()
        other = world.browser.copy()
        world.request(Session.regenerate_id)
        world.request(lambda session: session.update(x=1), other)
        assert world.set_cookies() == []
        assert world.receipt is not None
        assert [conflict.keys for conflict in world.receipt.conflicts] == [("x",)]
        world.later(seconds=61)
        world.request(lambda session: session.update(x=1), other)
        assert world.set_cookies() != []

    def test_ended_inline_session_leaves_a_marker(self) -> None:
        """Logging out of a session in the cookie is recorded in the durable tier."""
        world = World()
        world.request(lambda session: session.update(n=1))
        world.request(Session.terminate)
        assert world.did == ["put durable", "put cache"]
        assert world.browser.cookies == {}

    def test_ended_inline_session_goes_even_if_the_durable_tier_is_down(self) -> None:
        """If the marker cannot be written the cookie of an inline session is deleted all the same."""
        world = World()
        world.request(lambda session: session.update(n=1))
        world.stores.down = {Tier.DURABLE}
        world.request(Session.terminate)
        assert world.browser.cookies == {}

    def test_stored_session_cannot_end_while_the_durable_tier_is_down(self) -> None:
        """A logout that cannot be recorded is an error, and the cookie is kept."""
        world = stored_world()
        world.stores.down = {Tier.DURABLE}
        with pytest.raises(SessionUnavailable):
            world.request(Session.terminate)
        world.stores.down.clear()
        assert world.read()["n"] == 1


class TestEndsMeanwhile:
    """A session expires while a request waits: what the browser has under its name by then may be another one's."""

    @pytest.mark.parametrize("values", [{"n": 1}, {"n": 1, "big": big()}], ids=["inline", "stored"])
    @pytest.mark.parametrize("browser_session", [False, True])
    def test_a_response_sets_no_cookie(self, values: dict[str, Any], browser_session: bool) -> None:
        """Neither one that has no time left nor one without a time, also where the clock of the store is behind."""
        clock = FakeClock()
        world = World(lifetime=timedelta(seconds=10), clock=clock, stores=RecordingStores(FakeClock()))
        world.request(lambda session: session.start(0 if browser_session else None))
        world.request(lambda session: session.update(values))
        slow = world.open()
        slow.session["n"] += 1
        world.later(seconds=11)
        assert world.close(slow) == [("Vary", "Cookie")]

    def test_a_promotion_that_finds_nothing_any_more_deletes_nothing(self) -> None:
        """A second promotion meets the record of the first, which then expires: its cookies are left alone."""
        world = World(lifetime=timedelta(seconds=10), store_budget=timedelta(days=1))
        world.request(lambda session: session.update(n=1))
        slow, other = world.open(), world.browser.copy()
        slow.session["big"] = big()
        world.request(lambda session: session.update(big=big()), other)

        def expires(command: Command) -> None:
            if isinstance(command, Put) and command.tier is Tier.DURABLE and command.expect is not Expect.ABSENT:
                world.stores.before = None
                world.later(seconds=11)

        world.stores.before = expires
        assert world.close(slow) == [("Vary", "Cookie")]
        assert world.receipt is not None
        assert [conflict.keys for conflict in world.receipt.conflicts] == [("big",)]


class TestCookieBroughtBack:
    """A slow response brings back the inline cookie of a session that has ended."""

    def world(self) -> World:
        world = World()
        world.request(lambda session: session.update(n=1))
        slow = world.open()
        slow.session["slow"] = 1
        world.request(Session.terminate)
        world.close(slow)
        assert world.browser.cookies
        return world

    @pytest.mark.parametrize("act", [Session.regenerate_id, lambda session: session.update(big=big())])
    def test_later_it_is_deleted_where_nothing_could_be_stored(self, act: Callable[[Session], None]) -> None:
        """A minute later, a request that would have to store it deletes the cookie, and the next one starts anew."""
        world = self.world()
        world.later(seconds=61)
        world.request(act)
        assert world.browser.cookies == {}
        world.request(act)
        world.request(lambda session: session.update(n=2))
        assert world.read()["n"] == 2

    def test_sooner_it_may_be_somebody_elses(self) -> None:
        """Within the minute no cookie is deleted: the login's response may be under way."""
        world = self.world()
        world.request(Session.regenerate_id)
        assert world.set_cookies() == []

    @pytest.mark.parametrize("end", [Session.terminate, Session.regenerate_id, Session.start])
    def test_its_end_may_have_moved_meanwhile(self, end: Callable[[Session], None]) -> None:
        """It is remembered that a session ended, though the slow response moved its end beyond what was known then."""
        world = World()
        world.request(lambda session: session.start(expiration_ts=world.clock() + 90))
        slow, late = world.open(), world.browser.copy()
        assert slow.session.is_active()
        until = world.clock() + 3 * 24 * 3600
        headers = run(slow.commit(status=200, headers=[], expiration_ts=until, refresh=True), world.stores)
        world.request(end)
        late.receive(headers)
        world.later(seconds=120)
        world.request(lambda session: session.update(big=big()), late)
        assert world.read(late) == {}


class TestTrustAndFloor:
    """Rules 5 and 6."""

    def test_entry_is_revalidated_after_the_trust(self) -> None:
        """After cache_trust one lookup confirms the entry, and for another span it is believed."""
        world = stored_world(cache_trust=timedelta(seconds=60))
        world.later(seconds=61)
        world.read()
        assert world.did == ["get cache", "get durable", "put cache"]
        world.later(seconds=30)
        world.read()
        assert world.did == ["get cache"]

    @pytest.mark.requirement(29)
    def test_write_while_the_cache_was_away_is_seen_afterwards(self) -> None:
        """A write made while the cache was down is not hidden by the stale entry when it is back."""
        world = stored_world()
        world.stores.down = {Tier.CACHE}
        world.request(lambda session: session.update(n=2))
        world.stores.down.clear()
        assert world.read()["n"] == 2
        assert world.did == ["get cache", "get durable", "put cache"]

    def test_logout_while_the_cache_was_away_ends_within_the_trust(self) -> None:
        """If the tombstone is lost, the ended session is unreadable once the trust in its entry is over."""
        world = stored_world()
        other = world.browser.copy()
        world.stores.down = {Tier.CACHE}
        world.request(Session.terminate)
        world.stores.down.clear()
        world.later(seconds=61)
        assert world.read(other) == {}

    def test_restored_backup_is_served_and_raised(self) -> None:
        """A durable record below the floor is served, and the next write raises it above the floor."""
        world = stored_world()
        backup = world.stores.snapshot(Tier.DURABLE)
        world.request(lambda session: session.update(n=2))
        world.request(lambda session: session.update(n=3))
        world.stores.restore(Tier.DURABLE, backup)
        world.stores.flush()
        assert world.read()["n"] == 1
        world.request(lambda session: session.update(m=1))
        assert world.read()["m"] == 1
        assert world.did == ["get cache"]

    @pytest.mark.requirement(37)
    @pytest.mark.parametrize("jump", [-7200, 7200])
    def test_clocks_apart_only_cost_lookups(self, jump: int) -> None:
        """An entry of a server whose clock is hours off is revalidated, never believed for hours."""
        world = stored_world()
        world.clock.advance(jump)
        assert world.read()["n"] == 1
        assert "get durable" in world.did


@pytest.mark.requirement(32)
class TestAmbiguity:
    """Rule 7."""

    def test_lost_reply_is_applied_once(self) -> None:
        """A commit whose reply is lost is found by its write id and not applied again."""
        world = stored_world()
        world.stores.losing_replies = {Tier.DURABLE}
        calls = iter(range(9))

        def heal(command: Command) -> None:
            if command.tier is Tier.DURABLE and next(calls) == 1:
                world.stores.losing_replies = set()

        world.stores.before = heal
        world.request(lambda session: session.incr("n"))
        world.stores.before = None
        assert world.read()["n"] == 2

    def test_history_too_short_is_reported_as_unknown(self) -> None:
        """If more than 8 others wrote since, a write without reply is reported as unknown and never replayed."""
        world = stored_world()
        slow = world.open()
        slow.session.incr("n")
        others = [world.open(world.browser.copy()) for _ in range(9)]
        for other in others:
            other.session.incr("n")
        lost = iter([True])

        def lose_first(command: Command) -> None:
            if is_durable_put(command) and next(lost, False):
                world.stores.before = None
                world.stores.losing_replies = {Tier.DURABLE}
                world.stores.before = restore

        def restore(command: Command) -> None:
            world.stores.before = None
            world.stores.losing_replies = set()
            for other in others:
                world.close(other, Browser())

        world.stores.before = lose_first
        with pytest.raises(SessionUnavailable):
            world.close(slow)
        assert world.read()["n"] == 11

    def test_lost_insert_is_found(self) -> None:
        """A first record whose reply is lost is found by its write id."""
        world = World()
        calls = iter(range(9))
        world.stores.losing_replies = {Tier.DURABLE}

        def heal(command: Command) -> None:
            if command.tier is Tier.DURABLE and next(calls) == 1:
                world.stores.losing_replies = set()

        world.stores.before = heal
        world.request(lambda session: session.update(big=big()))
        world.stores.before = None
        assert world.read()["big"] == big()


class TestPromotion:
    """Rule 8, and the upward-only tiers."""

    def test_overlapping_promotions_of_one_cookie_merge(self) -> None:
        """Two requests that both outgrow the same cookie both win."""
        world = World()
        world.request(lambda session: session.update(n=1))
        first, second = world.open(), world.open()
        first.session["a"] = big(5000)
        second.session["b"] = big(6000)
        world.close(first)
        world.close(second)
        assert set(world.read()) == {"n", "a", "b"}

    def test_orphan_of_a_crashed_promotion_is_merged(self) -> None:
        """A browser that went on inline after a promotion's response was lost keeps both sides."""
        world = World()
        world.request(lambda session: session.update(n=1, old=1))
        lost = world.browser.copy()
        world.request(lambda session: session.update(orphan=big(5000)), lost)
        world.request(lambda session: session.update(inline=2))
        world.request(lambda session: session.update(grown=big(6000)))
        assert set(world.read()) == {"n", "old", "orphan", "inline", "grown"}

    def test_it_stays_on_the_server_however_small(self) -> None:
        """A session that shrinks stays where it is, so that no overlapping request loses it."""
        world = stored_world()
        world.request(lambda session: session.pop("big"))
        assert "put durable" in world.did
        assert world.read() == {"n": 1}
        assert world.did == ["get cache"]

    def test_a_new_id_chooses_the_tier_anew(self) -> None:
        """A small session returns to the cookie when its id changes."""
        world = stored_world()
        world.request(lambda session: session.pop("big"))
        world.request(Session.regenerate_id)
        assert world.read() == {"n": 1}
        assert world.did == []

    def test_late_inline_response_does_not_hide_the_record(self) -> None:
        """An inline response that arrives after the promotion's does not win."""
        world = World()
        world.request(lambda session: session.update(n=1))
        slow = world.open()
        slow.session["inline"] = 1
        world.request(lambda session: session.update(big=big()))
        world.close(slow)
        assert "big" in world.read()

    def test_persist_makes_a_server_session(self) -> None:
        """save(persist_even_if_using_cookie=True) stores a small session, and open_sid finds it from then on."""
        world = World()
        sid = world.request(persist)
        assert world.did == ["put durable", "put cache"]
        assert dict(world.manager.open_sid(sid, drive=world.drive).session) == {"n": 1}
        world.request(lambda session: session.update(n=2))
        assert dict(world.manager.open_sid(sid, drive=world.drive).session) == {"n": 2}


class TestQuick:
    """Rule 11."""

    def test_regular_commit_takes_quick_values_along(self) -> None:
        """What a regular write saw of quick values becomes durable with it."""
        world = stored_world()
        world.request(lambda session: session.set_quick("q", 1))
        world.request(lambda session: session.update(r=1))
        world.stores.flush()
        assert {"q": 1, "r": 1}.items() <= world.read().items()

    def test_loss_of_the_cache_rolls_back_to_the_last_regular_write(self) -> None:
        """A quick value is gone with the cache, nothing else is."""
        world = stored_world()
        world.request(lambda session: session.set_quick("q", 1))
        world.stores.flush()
        assert "q" not in world.read()
        assert world.read()["n"] == 1

    def test_quick_beside_regular_is_regular(self) -> None:
        """A quick write in a request that changes anything regularly is durable."""
        world = stored_world()

        def act(session: Session) -> None:
            session["r"] = 1
            session.set_quick("q", 1)

        world.request(act)
        world.stores.flush()
        assert world.read()["q"] == 1

    def test_cache_down_makes_it_regular(self) -> None:
        """If the cache is down a quick write becomes a regular one."""
        world = stored_world()
        world.stores.down = {Tier.CACHE}
        world.request(lambda session: session.set_quick("q", 1))
        world.stores.down.clear()
        world.stores.flush()
        assert world.read()["q"] == 1

    def test_large_quick_value_moves_to_the_durable_tier(self) -> None:
        """A quick value that outgrows the cookie is stored durably with all the rest: one flush loses nothing."""
        world = World()
        world.request(lambda session: session.update(n=1))
        world.request(lambda session: session.set_quick("q", big()))
        world.stores.flush()
        assert world.read() == {"n": 1, "q": big()}

    def test_quick_values_survive_revalidation(self) -> None:
        """Confirming an entry with the durable tier keeps the quick values that only the entry has."""
        world = stored_world()
        world.request(lambda session: session.set_quick("q", 1))
        world.later(seconds=61)
        assert world.read()["q"] == 1
        assert world.read()["q"] == 1


class TestNoDatastore:
    """Rule 12."""

    def test_all_of_it_in_the_cache(self) -> None:
        """Without a durable tier the cache holds the session, and nothing else is asked."""
        world = stored_world(no_datastore=True)
        assert world.did == ["put cache"]
        world.request(lambda session: session.update(n=2))
        assert world.did == ["get cache", "put cache"]
        assert world.read()["n"] == 2

    @pytest.mark.requirement(35)
    def test_loss_ends_it(self) -> None:
        """Losing the cache ends the session cleanly, and an overlapping write does not add it again."""
        world = stored_world(no_datastore=True)
        slow = world.open()
        slow.session["late"] = 1
        world.stores.flush()
        world.close(slow)
        assert world.read() == {}

    def test_failed_read_does_not_end_it(self) -> None:
        """A cache that does not answer is an error; the session is still there afterwards."""
        world = stored_world(no_datastore=True)
        world.stores.down = {Tier.CACHE}
        with pytest.raises(SessionUnavailable):
            world.read()
        world.stores.down.clear()
        assert world.read()["n"] == 1

    def test_logout_holds_until_the_session_would_have_expired(self) -> None:
        """The tombstone lives as long as the session could."""
        world = stored_world(no_datastore=True)
        slow = world.open()
        slow.session["late"] = 1
        other = world.browser.copy()
        world.request(Session.terminate)
        world.later(days=6)
        world.close(slow, other)
        assert world.read(other) == {}

    def test_new_id(self) -> None:
        """A new id carries the data over and the old one is dead."""
        world = stored_world(no_datastore=True)
        other = world.browser.copy()
        world.request(Session.regenerate_id)
        assert world.read()["n"] == 1
        assert world.read(other) == {}

    @pytest.mark.requirement(35)
    def test_older_copy_is_not_taken_for_the_session(self) -> None:
        """A record below the floor, as on a node that was failed over to, is a session that is lost."""
        world = stored_world(no_datastore=True)
        old = world.stores.snapshot(Tier.CACHE)
        world.request(lambda session: session.update(n=2))
        world.stores.restore(Tier.CACHE, old)
        assert world.read() == {}


class TestMissOrError:
    """Rule 13, and limits."""

    @pytest.mark.requirement(30)
    def test_durable_down_and_cache_hit(self) -> None:
        """A read that the cache can answer is served while the durable tier is down; a write is an error."""
        world = stored_world()
        world.stores.down = {Tier.DURABLE}
        assert world.read()["n"] == 1
        with pytest.raises(SessionUnavailable):
            world.request(lambda session: session.update(n=2))
        world.stores.down.clear()
        assert world.read()["n"] == 1

    @pytest.mark.requirement(30)
    def test_durable_down_and_cache_miss(self) -> None:
        """Where nothing can be known the session is unavailable: not logged out, not logged in."""
        world = stored_world()
        world.stores.flush()
        world.stores.down = {Tier.DURABLE}
        with pytest.raises(SessionUnavailable):
            world.read()
        world.stores.down.clear()
        assert world.read()["n"] == 1

    def test_failure_is_asked_for_once_per_request(self) -> None:
        """A store that failed once in a request is not waited for again in the same request."""
        world = stored_world()
        world.stores.down = {Tier.CACHE, Tier.DURABLE}
        exchange = world.open()
        for _ in range(3):
            with pytest.raises(SessionUnavailable):
                exchange.session.get("n")
        assert len(world.stores.commands) == 2 + 2

    @pytest.mark.requirement(31)
    def test_both_down_inline_works(self) -> None:
        """Sessions in the cookie need no store."""
        world = World()
        world.stores.down = {Tier.CACHE, Tier.DURABLE}
        world.request(lambda session: session.update(n=1))
        assert world.read() == {"n": 1}

    @pytest.mark.requirement(29)
    def test_cache_down_is_slower_and_right(self) -> None:
        """With the cache down everything works through the durable tier."""
        world = World()
        world.stores.down = {Tier.CACHE}
        world.request(lambda session: session.update(n=1, big=big()))
        world.request(lambda session: session.update(n=2))
        assert world.read()["n"] == 2
        world.request(Session.regenerate_id)
        assert world.read()["n"] == 2
        world.request(Session.terminate)
        assert world.read() == {}

    @pytest.mark.requirement(34)
    @pytest.mark.parametrize("no_datastore", [False, True])
    def test_too_large_leaves_the_old_state(self, no_datastore: bool) -> None:
        """A session over the limit is refused, and the state before stays readable."""
        world = stored_world(limit=100_000, no_datastore=no_datastore)
        with pytest.raises(SessionTooLarge):
            world.request(lambda session: session.update(n=2, big=big(200_000)))
        assert world.read()["n"] == 1

    @pytest.mark.requirement(34)
    def test_inline_too_large_leaves_the_cookie(self) -> None:
        """A promotion over the limit is refused, and the cookie stays good."""
        world = World(limit=100_000)
        world.request(lambda session: session.update(n=1))
        with pytest.raises(SessionTooLarge):
            world.request(lambda session: session.update(big=big(200_000)))
        assert world.read() == {"n": 1}

    def test_copy_too_large_for_the_cache_is_not_cached(self) -> None:
        """A record with no room in the cache is read from the durable tier, never an older entry instead."""
        world = stored_world()
        limit = 100_000

        def before(command: Command) -> None:
            if is_cache_put(command) and isinstance(command, Put) and len(command.value) > limit:
                from holdall import StoreTooLarge

                raise StoreTooLarge(len(command.value), limit)

        world.stores.before = before
        world.request(lambda session: session.update(n=2, big=big(200_000)))
        assert world.read()["n"] == 2

    @pytest.mark.requirement(19)
    def test_garbage_in_the_stores_is_no_session(self) -> None:
        """Records that do not authenticate are ignored: no session, no error, nobody else's data."""
        world = stored_world()
        for tier in (Tier.CACHE, Tier.DURABLE):
            garbage = {
                key: (b"\x80\x04junk" * 30, version, expires)
                for key, (_, version, expires) in world.stores.snapshot(tier).items()
            }
            world.stores.restore(tier, garbage)
        assert world.read() == {}
        assert isinstance(world.stores.commands[0], Get)

    @pytest.mark.requirement(19)
    def test_swapped_records_open_nothing(self) -> None:
        """The record of another session under this session's key is ignored."""
        world = stored_world()
        other = Browser()
        world.request(lambda session: session.update(n=99, big=big()), other)
        durable = world.stores.snapshot(Tier.DURABLE)
        first, second = durable
        world.stores.restore(Tier.DURABLE, {first: durable[second], second: durable[first]})
        world.stores.flush()
        assert world.read() == {}
        assert world.read(other) == {}
