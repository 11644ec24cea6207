"""One request and its response: headers, receipts, and the session that is set."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from holdall import (
    Command,
    CookieOptions,
    Exchange,
    Put,
    Receipt,
    Session,
    SessionManager,
    SessionUnavailable,
    Tier,
    run,
)

from tests.core.support import KEY, Browser, World, big, put


def commit(world: World, headers: list[tuple[str, str]], n: int = 1) -> list[tuple[str, str]]:
    exchange = world.open()
    exchange.session["n"] = n
    return run(exchange.commit(status=200, headers=headers), world.stores)


@pytest.mark.requirement(22, 23)
class TestHeaders:
    """DESIGN of responses: docs/requirements.md 20 to 23."""

    def test_set_cookie(self) -> None:
        """A write sets one cookie with all attributes, and says that the response must not be shared."""
        world = World()
        headers = dict(commit(world, []))
        value, *attributes = headers["Set-Cookie"].split("; ")
        assert value.startswith("__Host-session=")
        assert attributes == ["Max-Age=604800", "Path=/", "Secure", "HttpOnly", "SameSite=Lax"]
        assert headers["Vary"] == "Cookie"
        assert headers["Cache-Control"] == 'private, no-cache="Set-Cookie"'
        assert len(headers["Set-Cookie"]) <= 4096

    def test_given_headers_stay_as_they_are(self) -> None:
        """The application's list is not changed, and its own cookies survive."""
        world = World()
        given = [("Set-Cookie", "mine=1"), ("X", "y")]
        before = list(given)
        complete = commit(world, given)
        assert given == before
        assert complete[:2] == before
        assert len([1 for field, _ in complete if field == "Set-Cookie"]) == 2

    @pytest.mark.parametrize(
        "look", [len, list, bool, dict, lambda s: "x" in s, lambda s: s.get("x"), Session.is_active]
    )
    def test_vary_on_any_access(self, look: object) -> None:
        """Whatever was asked of the session, the response varies by cookie."""
        world = World()
        world.request(look)  # type: ignore[arg-type]
        assert world.headers == [("Vary", "Cookie")]

    @pytest.mark.parametrize("size", [0, 1], ids=["no session", "in the cookie"])
    def test_loading_what_is_in_no_store_is_no_touch(self, size: int) -> None:
        """Loading first costs nothing where no reference came: the response stays cacheable."""
        world = World()
        world.request(put(**dict.fromkeys("n" * size, 1)))
        exchange = world.manager.open(iter([world.browser.header]), drive=world.drive)
        world.drive(exchange.load())
        headers: list[tuple[str, str]] = []
        assert world.drive(exchange.commit(status=200, headers=headers)) is headers
        assert not exchange.session.is_accessed()

    def test_untouched_is_handed_back(self) -> None:
        """Without a touch the very list comes back."""
        world = World()
        headers = [("X", "y")]
        assert run(world.open().commit(status=200, headers=headers), world.stores) is headers

    def test_writing_again_sets_the_same_name_once(self) -> None:
        """One Set-Cookie per name and response."""
        world = World()
        world.browser.receive(commit(world, []))
        world.request(lambda session: session.update(big=big()))
        names = [value.partition("=")[0] for value in world.set_cookies()]
        assert len(names) == len(set(names))

    @pytest.mark.requirement(21)
    def test_largest_inline_session_is_within_4096_bytes(self) -> None:
        """Whatever still rides in the cookie does so within 4096 bytes, attributes included."""
        world = World()
        for size in range(2_600, 2_800, 7):
            world.browser.cookies.clear()
            world.request(put(data=big(size)))
            assert all(len(value) <= 4096 for value in world.set_cookies())

    def test_options(self) -> None:
        """The cookie says what the options say."""
        world = World(cookie=CookieOptions(name="sid", secure=False, same_site="Strict", domain="example.org"))
        world.request(lambda session: session.update(n=1))
        (cookie,) = world.set_cookies()
        assert cookie.startswith("sid=")
        assert cookie.endswith("; Path=/; Domain=example.org; HttpOnly; SameSite=Strict")
        world.request(Session.terminate)
        assert all("Domain=example.org" in value and "Max-Age=0" in value for value in world.set_cookies())


class TestReceipt:
    """What finish() tells."""

    def test_tiers(self) -> None:
        """The receipt tells where the session is, and what the cookies weigh."""
        world = World()
        world.request(lambda session: session.update(n=1))
        assert world.receipt is not None
        assert (world.receipt.tier, world.receipt.durable) == (Tier.COOKIE, True)
        assert world.receipt.cookie_bytes == len(world.set_cookies()[0])
        world.request(lambda session: session.update(big=big()))
        assert (world.receipt.tier, world.receipt.durable) == (Tier.DURABLE, True)
        world.request(lambda session: session.set_quick("q", 1))
        assert (world.receipt.tier, world.receipt.durable) == (Tier.DURABLE, False)
        world.request(Session.terminate)
        assert world.receipt.tier is None

    def test_revisions(self) -> None:
        """The receipt tells which of the session's writes is kept; a quick write counts for none."""
        world = World()
        revisions = []
        for act in (put(n=1), put(n=2), put(big=big()), lambda s: s.set_quick("q", 1), dict, Session.terminate, dict):
            world.request(act)
            assert world.receipt is not None
            revisions.append(world.receipt.revision)
        assert revisions == [1, 2, 3, 3, 3, None, None]

    def test_a_late_write_has_a_revision(self) -> None:
        """What was saved after the headers counts, though no cookie tells it; what had no answer does not."""
        world = World()
        world.request(put(big=big()))
        exchange = world.open()
        assert exchange.session["big"] == big()
        run(exchange.commit(status=200, headers=[]), world.stores)
        exchange.session["late"] = 1
        assert run(exchange.finish(), world.stores)[:3] == (Tier.DURABLE, 2, True)
        world.stores.down = set(Tier)
        exchange = world.open()
        with pytest.raises(SessionUnavailable):
            dict(exchange.session)
        assert run(exchange.finish(), world.stores)[:3] == (Tier.DURABLE, 1, False)

    def test_failures(self) -> None:
        """What had no answer is told by command, tier and error, whether the request noticed or not."""
        world = World()
        world.request(put(big=big()))
        world.stores.down = {Tier.CACHE}
        world.request(put(n=1))
        assert world.receipt is not None
        assert world.receipt.failures == ("get cache: the cache tier is down", "put cache: the cache tier is down")
        assert world.receipt.durable
        exchange = world.open()
        exchange.session["n"] = 2
        world.stores.down = {Tier.DURABLE}
        with pytest.raises(SessionUnavailable):
            run(exchange.commit(status=200, headers=[]), world.stores)
        receipt = run(exchange.finish(), world.stores)
        assert receipt.failures[-1] == "get durable: the durable tier is down"
        assert not receipt.durable

    def test_everybody_may_be_told(self, caplog: pytest.LogCaptureFixture) -> None:
        """`on_receipt` is told of every request that touched its session; if it raises, that is logged and no more."""
        receipts: list[Receipt] = []
        world = World(on_receipt=receipts.append)
        world.request(put(n=1))
        world.request(lambda session: None)
        world.request(dict)
        assert [receipt.tier for receipt in receipts] == [Tier.COOKIE, Tier.COOKIE]
        failing = World(on_receipt=lambda receipt: 1 / 0)
        failing.request(put(n=1))
        assert failing.read() == {"n": 1}
        assert "on_receipt raised" in caplog.text

    def test_memory_only(self) -> None:
        """Without a durable tier nothing is durable."""
        world = World(no_datastore=True)
        world.request(lambda session: session.update(big=big()))
        assert world.receipt is not None
        assert (world.receipt.tier, world.receipt.durable) == (Tier.CACHE, False)


class TestBudget:
    """How long a request waits for its stores."""

    def world(self, seconds: float, **options: Any) -> World:
        """Return a world with a stored session, whose stores take so many seconds for every command from now on."""
        world = World(**options)
        world.request(put(big=big(), n=0))
        world.stores.before = lambda command: world.clock.advance(seconds)
        return world

    def test_it_is_one_for_load_and_commit(self) -> None:
        """Once it is spent no store is asked any more: nothing is written, the cookie is kept, the receipt says it."""
        world = self.world(0.7)
        world.stores.flush()
        before = dict(world.browser.cookies)
        exchange = world.open()
        exchange.session["n"] = 1
        assert exchange.session["big"] == big()
        asked = len(world.stores.commands)
        with pytest.raises(SessionUnavailable, match=r"waited 2 s for its stores"):
            world.close(exchange)
        assert len(world.stores.commands) == asked
        assert world.browser.cookies == before
        receipt = run(exchange.finish(), world.stores)
        assert receipt.failures[0] == "put durable: not asked, this request has waited 2 s for its stores"
        assert not receipt.durable
        world.stores.before = None
        assert world.read()["n"] == 0

    def test_what_was_committed_by_then_is_committed(self) -> None:
        """A commit that spent the budget is acknowledged, though the cache is not told, and is seen."""
        world = self.world(1.1)
        world.request(put(n=1))
        assert world.did == ["get cache", "put durable"]
        assert world.receipt is not None
        assert world.receipt.durable
        world.stores.before = None
        assert world.read()["n"] == 1

    def test_being_beaten_by_others_ends_with_it(self) -> None:
        """A write that others beat again and again gives up after a while, and says so."""
        world = self.world(0.0)
        other = world.browser.copy()

        def beat(command: Command) -> None:
            world.clock.advance(0.25)
            if isinstance(command, Put) and command.tier is Tier.DURABLE:
                world.stores.before = None
                world.request(lambda session: session.incr("n"), other)
                world.stores.before = beat

        exchange = world.open()
        exchange.session["mine"] = 1
        world.stores.before = beat
        with pytest.raises(SessionUnavailable):
            world.close(exchange)
        world.stores.before = None
        assert world.read() == {"big": big(), "n": 4}

    def test_the_application_may_take_its_time(self) -> None:
        """What the application does in between does not count, nor does a clock that is set back count for less."""
        world = self.world(0.3)
        exchange = world.open()
        exchange.session["n"] = 1
        world.clock.advance(3600)
        world.close(exchange)
        assert world.receipt is not None
        assert world.receipt.failures == ()
        steps = iter([-3600.0])
        world.stores.before = lambda command: world.clock.advance(next(steps, 1.1))
        world.request(put(n=2))
        assert world.did == ["get cache", "put durable", "put cache"]

    def test_it_is_a_setting(self) -> None:
        """Who has slow stores gives requests more time."""
        world = self.world(1.5, store_budget=timedelta(minutes=1))
        world.request(put(n=1))
        assert world.did == ["get cache", "put durable", "put cache"]


def forget(world: World, session: Session) -> None:
    """Have the stores lose the session, before it was looked at."""
    for tier in (Tier.CACHE, Tier.DURABLE):
        world.stores.flush(tier)


@pytest.mark.parametrize("end", [forget, lambda _, session: session.terminate()], ids=["is gone", "was terminated"])
def test_what_takes_the_place_of_another_is_there_after_the_response(end: Callable[[World, Session], None]) -> None:
    """What begins in a request whose session is gone, or was ended, has an id, a receipt and late writes as any."""
    world = World()
    world.request(put(big=big()))
    exchange = world.open()
    session = exchange.session
    end(world, session)
    session["n"] = big()
    world.browser.receive(run(exchange.commit(status=200, headers=[]), world.stores))
    assert session.is_active()
    assert session.sid is not None
    session["late"] = 1
    assert run(exchange.finish(), world.stores)[:3] == (Tier.DURABLE, 2, True)
    assert world.read() == {"n": big(), "late": 1}


def test_another_session_may_be_set() -> None:
    """The session that is set is the one that is saved."""
    world = World()
    world.request(lambda session: session.update(n=1, big=big()))
    sid = world.request(lambda session: session.sid)
    exchange = world.manager.open("", drive=world.drive)
    exchange.session["ignored"] = 1
    exchange.session = world.manager.open_sid(sid, drive=world.drive).session
    exchange.session["n"] = 2
    headers = run(exchange.commit(status=200, headers=[]), world.stores)
    assert "-ref=" in dict(headers)["Set-Cookie"]
    assert world.read()["n"] == 2
    assert "ignored" not in world.read()


@pytest.mark.requirement(5)
def test_managers_share_sessions_by_key_name_and_audience() -> None:
    """Two managers with the same key, cookie name and audience are one application to a browser."""
    world = World()
    world.request(lambda session: session.update(n=1))
    other = SessionManager(KEY, clock=world.clock)
    assert dict(other.open(world.browser.header).session) == {"n": 1}


@pytest.mark.parametrize(
    ("host", "warned"),
    [("localhost:8000", False), ("127.0.0.1", False), ("[::1]:80", False), ("[::1]", False), ("example.org", True)],
)
def test_plain_http_is_warned_of_once(host: str, warned: bool, caplog: pytest.LogCaptureFixture) -> None:
    """A Secure cookie over plain http to a host that is not loopback gives one warning that says what to do."""
    world = World()
    headers = commit(world, [])
    for _ in range(3):
        world.manager.warn_of_plain_http(host, headers)
    assert len(caplog.records) == int(warned)
    assert ("secure=False" in caplog.text) == warned


class Sliding(World):
    """A world whose framework says with every commit that the session lasts another 1,000 seconds."""

    ends_with_browser = False
    refresh = False

    def close(self, exchange: Exchange, browser: Browser | None = None, status: int = 200) -> list[tuple[str, str]]:
        until = 0 if self.ends_with_browser else self.clock() + 1000
        flow = exchange.commit(status=status, headers=[], expiration_ts=until, refresh=self.refresh)
        self.headers = run(flow, self.stores)
        (browser or self.browser).receive(self.headers)
        return self.headers


@pytest.mark.parametrize("size", [1, 20_000], ids=["cookie", "stored"])
class TestSliding:
    """The end of a session moves where a framework's habit is that it does."""

    def test_every_write_moves_the_end(self, size: int) -> None:
        """Written every 900 seconds, a session of 1,000 seconds lasts; left alone, it ends."""
        world = Sliding()
        for n in range(4):
            world.request(put(big=big(size), n=n))
            world.later(seconds=900)
        assert world.read()["n"] == 3
        world.later(seconds=101)
        assert world.read() == {}

    def test_reading_does_not_move_it(self, size: int) -> None:
        """Without `refresh`, a request that only reads sets no cookie, writes no store, and moves nothing."""
        world = Sliding()
        world.request(put(big=big(size)))
        world.later(seconds=600)
        assert world.read()
        assert world.set_cookies() == []
        assert not [did for did in world.did if did.startswith("put durable")]
        world.later(seconds=401)
        assert world.read() == {}

    def test_refresh_moves_it_with_reading(self, size: int) -> None:
        """With `refresh`, a session that is read lasts."""
        world = Sliding()
        world.refresh = True
        world.request(put(big=big(size)))
        for _ in range(4):
            world.later(seconds=900)
            assert world.read()
            assert len(world.set_cookies()) == 1

    def test_refresh_spares_the_store(self, size: int) -> None:
        """Before a tenth of the time has passed, refreshing sets the inline cookie, and leaves a store alone."""
        world = Sliding()
        world.refresh = True
        world.request(put(big=big(size)))
        world.later(seconds=99)
        assert world.read()
        assert len(world.set_cookies()) == (1 if size == 1 else 0)
        assert not [did for did in world.did if did.startswith("put durable")]

    def test_refresh_leaves_the_untouched_alone(self, size: int) -> None:
        """An untouched session costs nothing, with `refresh` too."""
        world = Sliding()
        world.refresh = True
        world.request(put(big=big(size)))
        world.later(seconds=900)
        world.request(lambda session: None)
        assert (world.headers, world.did) == ([], [])

    def test_kind_of_cookie_follows(self, size: int) -> None:
        """A session becomes one that ends with the browser, and back, without a new id."""
        world = Sliding()
        world.request(put(big=big(size)))
        sid = world.request(lambda session: session.sid)
        world.ends_with_browser = True
        world.request(put(n=1))
        assert "Max-Age" not in world.set_cookies()[0]
        assert world.request(Session.get_expiration) == 0
        world.ends_with_browser = False
        world.request(put(n=2))
        assert "Max-Age=1000" in world.set_cookies()[0]
        assert world.request(lambda session: session.sid) == sid

    def test_what_the_application_said_counts(self, size: int) -> None:
        """An end given to `start` or `regenerate_id` stands against the framework's in the same request."""
        world = Sliding()

        def start(session: Session) -> None:
            session.start(world.clock() + 50)
            session["big"] = big(size)

        world.request(start)
        assert "Max-Age=50" in world.set_cookies()[0]
        world.request(lambda session: session.regenerate_id(world.clock() + 70))
        assert "Max-Age=70" in world.set_cookies()[0]
        world.request(Session.regenerate_id)
        assert "Max-Age=1000" in world.set_cookies()[0]

    def test_an_end_that_is_past_ends_it(self, size: int) -> None:
        """A session whose end is moved into the past is over, and stays over for an old cookie in a store."""
        world = Sliding()
        world.request(put(big=big(size)))
        old = world.browser.copy()
        exchange = world.open()
        exchange.session["n"] = 1
        headers = run(exchange.commit(status=200, headers=[], expiration_ts=world.clock() - 5), world.stores)
        world.browser.receive(headers)
        assert world.browser.cookies == {}
        assert world.read(old) == ({} if size > 1 else {"big": big(size)})

    def test_overlapping_requests_keep_both_changes_and_the_later_end(self, size: int) -> None:
        """The end is replayed with the other changes on what another request has stored meanwhile."""
        world = Sliding()
        world.request(put(big=big(size)))
        world.request(Session.save)
        slow = world.open()
        slow.session["slow"] = 1
        world.later(seconds=10)
        world.request(put(fast=1))
        world.later(seconds=10)
        world.close(slow)
        assert "Max-Age=1000" in world.set_cookies()[0]
        if size > 1:
            assert world.read() == {"big": big(size), "slow": 1, "fast": 1}

    def test_promotion_takes_the_new_end(self, size: int) -> None:
        """A cookie session that grows into a store lasts there as long as the commit said."""
        world = Sliding()
        world.request(put(n=1))
        world.later(seconds=900)
        world.request(put(big=big()))
        world.later(seconds=900)
        assert world.read() == {"n": 1, "big": big()}


class TestWhatChanged:
    """What an adapter may ask of a session."""

    @staticmethod
    def ask(world: World, question: Callable[[Session], bool], *acts: Callable[[Session], object]) -> bool:
        def view(session: Session) -> bool:
            for act in acts:
                act(session)
            return question(session)

        return bool(world.request(view))

    def test_is_modified(self) -> None:
        """Whatever would be saved counts as modified, in-place changes too; reading does not."""
        world = World()
        assert not self.ask(world, Session.is_modified)
        assert not self.ask(world, Session.is_modified, len)
        assert self.ask(world, Session.is_modified, put(n=[1]))
        assert not self.ask(world, Session.is_modified, lambda session: session["n"])
        assert self.ask(world, Session.is_modified, lambda session: session["n"].append(2))
        assert self.ask(world, Session.is_modified, Session.regenerate_id)
        assert self.ask(world, Session.is_modified, Session.terminate)
        assert not self.ask(world, Session.is_modified, Session.terminate)

    def test_is_as_read(self) -> None:
        """A session is as read until it is changed, or a value handed out that may change in place."""
        world = World()
        world.request(put(n=1, items=[]))
        assert self.ask(world, Session.is_as_read)
        assert self.ask(world, Session.is_as_read, lambda session: session["n"])
        assert not self.ask(world, Session.is_as_read, lambda session: session["items"])
        assert not self.ask(world, Session.is_as_read, put(n=1))
        assert not self.ask(world, Session.is_as_read, Session.terminate)

    def test_was_modified(self) -> None:
        """After the response a session tells whether there was something to be saved."""
        world = World()
        sessions = []

        def append(session: Session) -> None:
            session["items"].append(1)

        for act in (put(items=[]), lambda session: session["items"], append):
            exchange = world.open()
            act(exchange.session)
            world.close(exchange)
            sessions.append(exchange.session)
        assert [session.was_modified() for session in sessions] == [True, False, True]
        assert not sessions[2].is_modified()

    def test_is_complete(self) -> None:
        """An exchange needs no finish where nothing can be left to save, unless somebody is to be told."""
        for told, options in ((False, {}), (True, {"on_receipt": print}), (True, {"on_event": print})):
            world = World(**options)
            for act, waits in (
                *((lambda session: None, False), (put(n=1), told), (lambda session: session["n"], told)),
                *((put(items=[]), True), (lambda session: session["items"], True), (put(n=2), told)),
            ):
                exchange = world.open()
                act(exchange.session)
                world.headers = run(exchange.commit(status=200, headers=[]), world.stores)
                world.browser.receive(world.headers)
                assert exchange.is_complete() is not waits

    def test_over_at_once_is_no_conflict(self) -> None:
        """A session begun with an end that is past is gone after the response, and nothing is reported."""
        world = World()
        world.request(lambda session: (session.start(1), session.update(n=1)))  # type: ignore[func-returns-value]
        assert world.receipt is not None
        assert (world.receipt.tier, world.receipt.conflicts, world.headers) == (None, (), [("Vary", "Cookie")])

    def test_is_new(self) -> None:
        """A session is new in the request in which it begins, and carried over to a new id it is not."""
        world = World()
        assert not self.ask(world, Session.is_new)
        assert self.ask(world, Session.is_new, put(n=1))
        assert not self.ask(world, Session.is_new, put(n=2))
        assert not self.ask(world, Session.is_new, Session.regenerate_id)
        assert self.ask(world, Session.is_new, Session.start)
