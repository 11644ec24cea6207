"""The defects of gae-sessions that are gone: docs/contract.md, "Not kept", one by one, through the WSGI middleware.

Each test fails if its defect comes back. Number 19 is Django's. The tests of the parts say more about each; here is the
one that a reader of the contract looks for.
"""

import base64
import logging
import pickle
import random
import re
import sqlite3
import string
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager
from email.utils import parsedate_to_datetime
from pathlib import Path
from types import FrameType
from typing import Any
from wsgiref.types import StartResponse, WSGIEnvironment

import holdall
import holdall_stores
import holdall_wsgi
import pytest
from holdall import (
    Command,
    Get,
    Put,
    Session,
    SessionCommitted,
    SessionTooLarge,
    Tier,
    UsageError,
    get_current_session,
    run,
)
from holdall.testing import FakeClock, RecordingStores
from holdall_stores import SQLite, Stores, delete_expired_sessions
from holdall_wsgi import SessionMiddleware

from tests.core.support import KEY, OTHER_KEY, Browser, big
from tests.servers import MemcachedServer
from tests.wsgi.support import TEXT, Headers, Response, Site, environment, serve

OK = "200 OK"
INLINE, REFERENCE = "__Host-session", "__Host-session-ref"
DAY = 24 * 3600


def stored_site(**options: Any) -> Site:
    """Return a site whose visitor has a session in the stores, with n = 1 and 20 KB beside it."""
    site = Site(**options)
    site.request(lambda session: session.update(n=1, big=big()))
    assert list(site.browser.cookies) == [REFERENCE]
    return site


@contextmanager
def real_stores(memcached: MemcachedServer, folder: Path) -> Iterator[Stores]:
    stores = Stores.from_urls(cache=f"memcached://{memcached.address}", durable=f"sqlite:///{folder / 'sessions.db'}")
    try:
        yield stores
    finally:
        stores.close()


@pytest.fixture
def real_site(memcached: MemcachedServer, tmp_path: Path) -> Iterator[Site]:
    """The same with a real memcached, a real file and the real time."""
    with real_stores(memcached, tmp_path) as stores:
        yield stored_site(stores=stores, clock=time.time)


def fail_durable_put(site: Site, number: int) -> None:
    """Have the durable tier break at its `number`-th write from now on, counted from 0, and stay away."""
    left = number

    def before(command: Command) -> None:
        nonlocal left
        if isinstance(command, Put) and command.tier is Tier.DURABLE:
            if left == 0:
                site.stores.down = {Tier.DURABLE}
            left -= 1

    site.stores.before = before


def repair(site: Site) -> None:
    site.stores.before = None
    site.stores.down = set()


class TestDefect01OtherPeoplesSessions:
    """1. The cookie came from the process's environment, and the session stayed in a thread-local after the request."""

    def test_defect_01_environment(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """A cookie in the environment of the process is nobody's."""
        site = Site()
        site.request(lambda session: session.update(who="ada"))
        monkeypatch.setenv("HTTP_COOKIE", site.browser.header)
        assert site.read(Browser()) == {}

    def test_defect_01_after_the_request(self) -> None:
        """Once a request is over there is no session in its thread."""
        Site().request(lambda session: session.update(who="ada"))
        with pytest.raises(UsageError):
            get_current_session()

    def test_defect_01_interleaved(self) -> None:
        """Two responses that one thread iterates in turns each see their own session, at every step."""

        def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterator[bytes]:
            get_current_session()["who"] = environ["test.who"]
            start_response(OK, [TEXT])
            for _ in range(3):
                yield get_current_session()["who"].encode()

        middleware = SessionMiddleware(app, KEY, stores=RecordingStores(FakeClock()))
        bodies = [middleware(environment(extra={"test.who": who}), Response().start) for who in "ab"]
        assert list(zip(*bodies, strict=True)) == [(b"a", b"b")] * 3


def test_defect_02() -> None:
    """2. Cookies were appended to the application's own header list: one user's went to the next user."""
    shared: Headers = [TEXT]

    def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        get_current_session()["n"] = 1
        start_response(OK, shared)
        return []

    middleware = SessionMiddleware(app, KEY, stores=RecordingStores(FakeClock()))
    first, second = serve(middleware), serve(middleware)
    assert shared == [TEXT]
    assert len(first.cookies) == len(second.cookies) == 1
    assert first.cookies != second.cookies


def test_defect_03() -> None:
    """3. Signature, base64 and unpickling ran on every request: an untouched one now runs none of that."""
    site = Site()
    site.request(lambda session: session.update(n=1))
    modules: set[str] = set()

    def watch(frame: FrameType, event: str, argument: object) -> None:
        modules.add(frame.f_globals.get("__name__", ""))
        if event == "c_call":
            modules.add(getattr(argument, "__module__", None) or "")

    def request(act: Any) -> set[str]:
        modules.clear()
        sys.setprofile(watch)
        try:
            site.request(act)
        finally:
            sys.setprofile(None)
        return set(modules)

    costly = {"holdall.cookies", "holdall.sealing", "holdall.presented", "holdall.token", "holdall.codec"}
    assert costly <= request(lambda session: session.update(n=[2]))
    assert request(lambda session: None) & costly == set()


bangs: list[str] = []


def explode() -> None:
    bangs.append("bang")


class Bomb:
    """Explodes when it is unpickled."""

    def __reduce__(self) -> Any:
        return explode, ()


class TestDefect04Pickle:
    """4. What the client held was unpickled, signatures were compared with ==, and whole payloads were logged."""

    def test_defect_04_nothing_is_unpickled(self, tmp_path: Path) -> None:
        """Pickles that are planted in cookies and in a store are never loaded."""
        bangs.clear()
        bomb = pickle.dumps(Bomb())
        with closing(SQLite(tmp_path / "sessions.db")) as durable:
            site = stored_site(stores=Stores(durable=durable), clock=time.time)
            for name in (INLINE, REFERENCE):
                for text in (base64.urlsafe_b64encode(bomb), base64.b64encode(bomb), bomb.hex().encode()):
                    browser = Browser()
                    browser.cookies[name] = text.decode()
                    assert site.read(browser) == {}
            with closing(sqlite3.connect(tmp_path / "sessions.db")) as database, database:
                assert database.execute("UPDATE record SET value = ?", (bomb,)).rowcount == 1
            assert site.read() == {}
        assert bangs == []
        pickle.loads(bomb)
        assert bangs == ["bang"]  # so it would have shown

    def test_defect_04_no_comparison_of_signatures(self) -> None:
        """No package imports a deserializer that runs code; a token of another key is refused."""
        for package in (holdall, holdall_stores, holdall_wsgi):
            assert package.__file__ is not None
            for path in Path(package.__file__).parent.glob("*.py"):
                assert (
                    re.findall(r"^\s*(?:import|from) (?:pickle|marshal|shelve)\b", path.read_text(), re.MULTILINE) == []
                )
        site, other = Site(), Site(key=OTHER_KEY)
        other.request(lambda session: session.update(n=1))
        assert site.read(other.browser) == {}

    def test_defect_04_nothing_is_logged(self, caplog: pytest.LogCaptureFixture) -> None:
        """Neither the payload nor the token nor the id of a good or a bad cookie is in any log line."""
        caplog.set_level(logging.DEBUG)
        site = stored_site()
        sid = site.request(lambda session: session.sid)
        site.request(lambda session: session.update(secret="precious"))
        forged = site.browser.copy()
        forged.cookies[REFERENCE] = forged.cookies[REFERENCE][:-1] + "A"
        assert site.read(forged) == {}
        site.request(lambda session: session.update(secret="precious again"))
        site.stores.down = {Tier.CACHE, Tier.DURABLE}
        site.read()
        assert site.response.code == 503
        assert caplog.records
        for hidden in ("precious", sid, site.browser.cookies[REFERENCE], forged.cookies[REFERENCE]):
            assert hidden not in caplog.text


def test_defect_05() -> None:
    """5. Base64 was read leniently: every other spelling of a token's bytes is refused now."""
    site = Site()
    site.request(lambda session: session.update(n=1))
    good = site.browser.cookies[INLINE]
    spoilt = {good + "=", good + "==", good + ".", good + "!", "=" + good, "-" + good, good[:-1], good + "A"}
    spoilt |= {good.replace("-", "+"), good.replace("_", "/")} - {good}
    for at in range(len(good)):
        spoilt |= {good[:at] + other + good[at + 1 :] for other in "A_!~\xe9" if other != good[at]}
        spoilt |= {good[:at] + junk + good[at:] for junk in "!=.*"}
    for last in string.ascii_letters + string.digits + "-_":
        spoilt |= {good[:-1] + last} - {good}
    for value in spoilt:
        browser = Browser()
        browser.cookies[INLINE] = value
        assert site.read(browser) == {}, value
    assert site.read() == {"n": 1}


class TestDefect06ForeignCookies:
    """6. A malformed foreign cookie hid the session; a foreign cookie with our prefix broke it or was deleted."""

    @pytest.mark.parametrize(
        "neighbour",
        [
            'a="b;c',
            "a[b]=c,d",
            "=",
            ";;;",
            "$Version=1",
            "a=\xe9\xff",
            "no-equals-sign",
            "a b=c",
            'a={"x":"y, z"}',
            "a=b=c",
            "\x00=\x01",
            "__host-session=other case",
            "x__Host-session=longer",
        ],
    )
    def test_defect_06_malformed(self, neighbour: str) -> None:
        """Whatever stands beside ours in the header, on either side, our session is there."""
        site = Site()
        site.request(lambda session: session.update(n=1))
        ours = site.browser.header
        for header in (f"{neighbour}; {ours}", f"{ours}; {neighbour}", f"{neighbour};{ours};{neighbour}"):
            assert site.request(dict, Browser(), extra={"HTTP_COOKIE": header}) == {"n": 1}

    @pytest.mark.parametrize("stored", [False, True])
    @pytest.mark.parametrize("name", ["x", "0", "99"])
    def test_defect_06_prefix(self, stored: bool, name: str) -> None:
        """A foreign cookie whose name begins like ours neither breaks the session nor is taken for it nor deleted."""
        site = stored_site() if stored else Site()
        site.request(lambda session: session.update(n=1))
        foreign = {f"{INLINE}{name}", f"{INLINE}-{name}", f"{INLINE}.{name}", f"{REFERENCE}.{name}"}
        (token,) = site.browser.cookies.values()
        stranger = Browser()
        stranger.cookies = dict.fromkeys(foreign | {f"x{INLINE}", f"x{REFERENCE}"}, token)
        assert site.read(stranger) == {}
        site.browser.cookies.update(dict.fromkeys(foreign, "1"))
        assert site.read()["n"] == 1
        site.request(Session.terminate)
        deleted = {cookie.partition("=")[0] for cookie in site.response.cookies}
        assert deleted == {INLINE, REFERENCE}
        assert set(site.browser.cookies) == foreign


def test_defect_07() -> None:
    """7. Pieces of a long cookie were sorted as text: over ten, or over a hundred, and the session was lost."""
    site = Site(cookie_only_threshold=10_000_000)
    digits = random.Random(7)
    for size, pieces in ((30_000, range(10, 20)), (150_000, range(50, 65))):
        text = digits.randbytes(size // 2).hex()
        site.request(lambda session, text=text: session.update(text=text))  # type: ignore[misc]
        assert len(site.browser.cookies) in pieces
        assert site.read() == {"text": text}
        names = list(site.browser.cookies)
        digits.shuffle(names)
        shuffled = "; ".join(f"{name}={site.browser.cookies[name]}" for name in names)
        assert site.request(dict, Browser(), extra={"HTTP_COOKIE": shuffled}) == {"text": text}
    assert site.did == []
    more = digits.randbytes(200_000).hex()  # would take over a hundred
    site.request(lambda session: session.update(text=more))
    assert set(site.browser.cookies) == {INLINE, REFERENCE}  # only a request that presents both clears one
    assert site.read() == {"text": more}


def test_defect_08(monkeypatch: pytest.MonkeyPatch) -> None:
    """8. Expires was local time labelled GMT, an hour short over a DST change, on a wrong weekday in deletions."""
    monkeypatch.setenv("TZ", "America/New_York")
    time.tzset()
    try:
        site = Site(clock=FakeClock(1_804_950_000))  # 2027-03-13, the day before the clocks change
        site.request(lambda session: session.update(n=1))
        assert "; Max-Age=604800; " in site.response.cookies[0]
        assert "Expires" not in site.response.cookies[0]
        copy = site.browser.copy()
        site.clock.advance(7 * DAY - 1)
        assert site.read(copy.copy()) == {"n": 1}
        site.clock.advance(1)
        assert site.read(copy) == {}
        site.request(lambda session: session.update(n=1))
        site.request(Session.terminate)
        deletions = [cookie for cookie in site.response.cookies if "Max-Age=0" in cookie]
        assert deletions
        for cookie in deletions:
            (text,) = re.findall(r"Expires=([^;]+)", cookie)
            moment = parsedate_to_datetime(text)
            assert text == moment.strftime("%a, %d %b %Y %H:%M:%S GMT")
            assert moment.timestamp() == 0
    finally:
        monkeypatch.undo()
        time.tzset()


class TestDefect09RegenerateId:
    """9. regenerate_id deleted the old data before the new was saved; of lost data it made an immortal one."""

    @pytest.mark.parametrize("stored", [False, True])
    @pytest.mark.parametrize("step", [0, 1])
    def test_defect_09_failing(self, stored: bool, step: int) -> None:
        """Wherever the store breaks, the visitor's next request has the data."""
        site = stored_site() if stored else Site()
        site.request(lambda session: session.update(n=1))
        fail_durable_put(site, step)
        site.request(Session.regenerate_id)
        repair(site)
        site.stores.flush()
        assert site.read()["n"] == 1

    def test_defect_09_lost(self) -> None:
        """A session whose data is lost does not get a new id: there is no session."""
        site = stored_site()
        for tier in (Tier.CACHE, Tier.DURABLE):
            site.stores.flush(tier)
        site.request(Session.regenerate_id)
        assert [cookie for cookie in site.response.cookies if "Max-Age=0" not in cookie] == []
        assert site.request(lambda session: (len(session), session.is_active())) == (0, False)
        assert site.stores.snapshot(Tier.DURABLE) == {}


class TestDefect10LastWriteWins:
    """10. The last write won with its whole dictionary, and a slow request resurrected a session that was over."""

    def test_defect_10_overlapping(self, real_site: Site) -> None:
        """Requests that overlap and change different keys both win, and increments add up."""

        def slow(session: Session) -> None:
            session["mine"] = 1
            session.incr("n")
            other = real_site.browser.copy()
            real_site.request(lambda theirs: (theirs.update(theirs=2), theirs.incr("n")), other)

        real_site.request(slow)
        assert {"mine": 1, "theirs": 2, "n": 3}.items() <= real_site.read().items()

    def test_defect_10_logged_out(self, real_site: Site) -> None:
        """A request that began before the logout and ends after it brings nothing back."""
        slow_browser = real_site.browser.copy()

        def slow(session: Session) -> None:
            session["mine"] = 1
            real_site.request(Session.terminate)

        real_site.request(slow, slow_browser)
        assert real_site.response.cookies == []
        assert real_site.read(slow_browser) == {}
        assert real_site.read() == {}


@pytest.mark.parametrize("end", [Session.terminate, Session.regenerate_id, Session.start])
def test_defect_11(end: Any, real_site: Site) -> None:
    """11. A cookie copied before logout or regenerate_id still worked: for stored sessions it is dead at once."""
    copy = real_site.browser.copy()
    assert real_site.read(copy)["n"] == 1
    real_site.request(end)
    assert real_site.read(copy) == {}
    real_site.request(lambda session: session.update(n=2), copy.copy())
    assert real_site.read(copy) == {}


@pytest.mark.parametrize("end", [Session.terminate, Session.regenerate_id, Session.start])
def test_defect_11_in_the_cookie(end: Any, real_site: Site) -> None:
    """The same for a session that is bound to somebody, in the cookie, with the copy used in another process."""
    real_site.request(Session.start)

    def log_in(session: Session) -> None:
        session.regenerate_id()
        session["user"] = "ada"
        session.bind("ada")

    real_site.request(log_in)
    copy = real_site.browser.copy()
    assert set(copy.cookies) == {INLINE}
    assert real_site.read(copy) == {"user": "ada"}
    real_site.request(end)
    assert real_site.read(copy) == {}
    elsewhere = Site(stores=real_site.stores)
    assert elsewhere.read(copy) == {}


class TestDefect12CacheOutage:
    """12. A write during a cache outage was hidden by the stale entry; no refill; a failed read ended a session."""

    def test_defect_12_stale_entry(self, memcached: MemcachedServer, real_site: Site, tmp_path: Path) -> None:
        """A write while memcached says nothing is seen when it is back, though it still has the old entry."""
        with closing(sqlite3.connect(tmp_path / "sessions.db")) as database:
            ((key,),) = database.execute("SELECT key FROM record").fetchall()
        entry = real_site.stores.cache.execute(Get(Tier.CACHE, key))
        with memcached.stopped():
            real_site.request(lambda session: session.update(n=2))
            assert real_site.response.code == 200
            assert real_site.read()["n"] == 2
        # Another process, which has not seen memcached fail.
        with real_stores(memcached, tmp_path) as stores:
            assert stores.cache is not None
            assert stores.cache.execute(Get(Tier.CACHE, key)) == entry
            assert Site(stores=stores, clock=time.time).read(real_site.browser)["n"] == 2

    def test_defect_12_refill(self) -> None:
        """The first read after a loss refills the cache, so that the next one costs one call again."""
        site = stored_site()
        site.stores.flush()
        site.read()
        site.stores.commands.clear()
        assert site.read()["n"] == 1
        assert site.did == ["get cache"]

    def test_defect_12_no_datastore(self, memcached: MemcachedServer) -> None:
        """With no_datastore a read that fails is a 503; the session is there afterwards."""
        stores = Stores.from_urls(cache=f"memcached://{memcached.address}")
        with closing(stores):
            site = stored_site(stores=stores, clock=time.time, no_datastore=True)
            with memcached.stopped():
                site.read()
                assert (site.response.code, site.response.cookies) == (503, [])
            assert site.read()["n"] == 1


def test_defect_13(memcached: MemcachedServer, tmp_path: Path) -> None:
    """13. A large quick write onto a cookie session moved all of it to memcache only: one flush lost what was safe."""
    with real_stores(memcached, tmp_path) as stores:
        site = Site(stores=stores, clock=time.time)
        site.request(lambda session: session.update(n=1))
        assert list(site.browser.cookies) == [INLINE]
        site.request(lambda session: session.set_quick("big", big()))
        assert memcached.ask("flush_all") == "OK"
        assert site.read() == {"n": 1, "big": big()}


class TestDefect14TooLarge:
    """14. Over the limit an exception came out of start_response; caught, it wiped an existing session."""

    @pytest.mark.parametrize("size", [0, 20_000])
    def test_defect_14(self, size: int) -> None:
        """An application that catches everything neither meets the error nor loses the session."""
        caught: list[BaseException] = []

        def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
            get_current_session()["big"] = big(2_000_000)
            try:
                start_response(OK, [TEXT])
            except BaseException as error:
                caught.append(error)
            return [b"saved"]

        site = Site(stores=RecordingStores(FakeClock(), limit=1_000_000))
        site.request(lambda session: session.update(n=1, text="x" * size))
        response = Response()
        with pytest.raises(SessionTooLarge):
            serve(SessionMiddleware(app, KEY, stores=site.stores, clock=site.clock), site.browser, response)
        assert caught == []
        assert response.status == ""
        assert site.read() == {"n": 1, "text": "x" * size}


class TestDefect15StaleCopy:
    """15. After a session shrank into the cookie its old stored copy stayed readable by a replayed reference cookie."""

    def test_defect_15_shrunk(self) -> None:
        """Within one id a session stays stored, and every reference cookie of it reads what is there now."""
        site = stored_site()
        before = site.browser.copy()
        site.request(lambda session: session.pop("big"))
        assert site.read() == {"n": 1}
        assert site.read(before) == {"n": 1}

    @pytest.mark.parametrize("move", [Session.regenerate_id, Session.start])
    def test_defect_15_moved(self, move: Any) -> None:
        """Where a new id brings it back to the cookie, the old reference reads nothing."""
        site = stored_site()
        before = site.browser.copy()

        def shrink(session: Session) -> None:
            session.pop("big")
            move(session)
            session["m"] = 2

        site.request(shrink)
        assert INLINE in site.browser.cookies
        assert site.read()["m"] == 2
        assert site.read(before) == {}


class TestDefect16SessionsBySid:
    """16. Small writes to a session that was opened by its sid vanished, and an expired sid still loaded."""

    @staticmethod
    def by_sid(site: Site, sid: str, act: Any) -> Any:
        exchange = site.app.manager.open_sid(sid, drive=lambda flow: run(flow, site.stores))
        result = act(exchange.session)
        run(exchange.commit(status=200, headers=[]), site.stores)
        return result

    def test_defect_16_small_writes(self) -> None:
        """A worker's small write is there in the visitor's next request."""
        site = Site()

        def save(session: Session) -> str | None:
            session["n"] = 1
            session.save(persist_even_if_using_cookie=True)
            return session.sid

        sid = site.request(save)
        assert self.by_sid(site, sid, lambda session: session.incr("n")) == 2
        assert site.read() == {"n": 2}
        assert self.by_sid(site, sid, dict) == {"n": 2}

    def test_defect_16_expired(self) -> None:
        """A sid whose session has expired, or ended, opens an inactive session."""
        for ended in (False, True):
            site = stored_site()
            sid = site.request(lambda session: session.sid)
            if ended:
                site.request(Session.terminate)
            else:
                site.clock.advance(7 * DAY)
            assert self.by_sid(site, sid, lambda session: (dict(session), session.is_active())) == ({}, False)


class TestDefect17BrowserSessions:
    """17. The cleanup job deleted live browser sessions (expiry 0), and in memcache they never expired."""

    @staticmethod
    def begin(session: Session) -> None:
        session.start(expiration_ts=0)
        session.update(n=1, big=big())

    def test_defect_17_cleanup(self, tmp_path: Path) -> None:
        """The cleanup leaves a live browser session alone, and takes it once its lifetime is over."""
        clock = FakeClock()
        with closing(SQLite(tmp_path / "sessions.db", clock=clock)) as durable:
            site = Site(stores=Stores(durable=durable), clock=clock)
            site.request(self.begin)
            assert "Max-Age" not in site.response.cookies[0]
            site.clock.advance(7 * DAY - 1)
            assert delete_expired_sessions(durable) is True
            assert site.read()["n"] == 1
            site.clock.advance(1)
            assert site.read() == {}
            assert durable.delete_expired() == 1

    def test_defect_17_cache(self) -> None:
        """Whatever is put into the cache for a browser session expires with its lifetime."""
        site = Site()
        site.request(self.begin)
        expiries = {command.expires for command in site.stores.commands if isinstance(command, Put)}
        assert expiries == {int(site.clock()) + 7 * DAY}


class TestDefect18ChangesAndNoChanges:
    """18. Late changes and changes in place were lost in silence; what changed nothing was sent and stored again."""

    @staticmethod
    def streaming(environ: WSGIEnvironment, start_response: StartResponse) -> Iterator[bytes]:
        start_response(OK, [TEXT])
        yield b"x"
        get_current_session()["n"] = 2
        yield b"y"

    def test_defect_18_streaming(self) -> None:
        """A change while streaming is saved where a store is enough, and refused aloud where it would need a cookie."""
        site = stored_site()
        middleware = SessionMiddleware(self.streaming, KEY, stores=site.stores, clock=site.clock)
        serve(middleware, site.browser)
        assert site.read()["n"] == 2
        small = Site()
        small.request(lambda session: session.update(n=1))
        middleware = SessionMiddleware(self.streaming, KEY, stores=small.stores, clock=small.clock)
        with pytest.raises(SessionCommitted):
            serve(middleware, small.browser)
        assert small.read() == {"n": 1}

    @pytest.mark.parametrize("size", [0, 20_000])
    def test_defect_18_in_place(self, size: int) -> None:
        """Values that were changed in place, however deep, are saved."""
        site = Site()
        site.request(lambda session: session.update(basket={"items": [{"n": 1}]}, big=big(size)))
        site.request(lambda session: session["basket"]["items"][0].update(n=2))
        assert site.read()["basket"] == {"items": [{"n": 2}]}

    @pytest.mark.parametrize("size", [0, 20_000])
    def test_defect_18_nothing_changed(self, size: int) -> None:
        """A pop of a missing key, an equal value, a look inside a value: nothing is sent and nothing is stored."""
        site = Site()
        site.request(lambda session: session.update(n=1, basket=[1, 2], big=big(size)))
        site.stores.commands.clear()
        for act in (
            lambda session: session.pop("missing"),
            lambda session: session.update(n=1, basket=[1, 2]),
            lambda session: session["basket"].append(3) or session["basket"].pop(),
            lambda session: (session.update(n=2), session.update(n=1)),
        ):
            site.request(act)
            assert site.response.cookies == []
        assert not [command for command in site.stores.commands if not isinstance(command, Get)]

    def test_defect_18_identical_cookies(self) -> None:
        """A quick write, which the browser need not know of, sends no cookie."""
        site = stored_site()
        site.request(lambda session: session.set_quick("n", 2))
        assert site.response.cookies == []
        assert site.read()["n"] == 2


class TestDefect20Outage:
    """20. A store outage looked like a logout, or like success."""

    def test_defect_20_read(self) -> None:
        """A read that no store answers is a 503 with the cookie kept: neither logged out nor logged in."""
        site = stored_site()
        site.stores.down = {Tier.CACHE, Tier.DURABLE}
        ran: list[Any] = []
        site.request(lambda session: ran.append(session.get("n")))
        assert ran == []
        assert (site.response.code, site.response.cookies) == (503, [])
        site.stores.down = set()
        assert site.read()["n"] == 1

    @pytest.mark.parametrize("grown", [False, True])
    def test_defect_20_write(self, grown: bool) -> None:
        """A write that is not durable is never answered with a cookie that says so."""
        site = stored_site() if grown else Site()
        site.request(lambda session: session.update(n=1))
        site.stores.down = {Tier.DURABLE}
        before = dict(site.browser.cookies)
        site.request(lambda session: session.update(n=2, big=big(30_000)))
        assert (site.response.code, site.response.cookies) == (503, [])
        assert site.browser.cookies == before
        site.stores.down = set()
        assert site.read()["n"] == 1

    def test_defect_20_logout(self) -> None:
        """A logout that cannot be recorded is no success either."""
        site = stored_site()
        site.stores.down = {Tier.DURABLE}
        site.request(Session.terminate)
        assert (site.response.code, site.response.cookies) == (503, [])
