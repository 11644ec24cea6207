"""`SessionStore`: Django's SessionBase and Holdall's verbs, in requests and outside of them."""

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from django.contrib.sessions.backends.base import CreateError, UpdateError
from django.contrib.sessions.middleware import SessionMiddleware as DjangoSessionMiddleware
from django.core.exceptions import SynchronousOnlyOperation
from django.http import HttpRequest, HttpResponse
from django.test import RequestFactory
from holdall import SessionUnavailable, Tier
from holdall_django.engine import SessionStore
from holdall_stores import SQLite, Stores

from tests.core.support import Browser
from tests.django.conftest import MakeSite
from tests.django.support import LARGE, SIZES, Site

SIZE = pytest.mark.parametrize("value", SIZES.values(), ids=SIZES)
DAY = 24 * 3600


def do(method: str, *arguments: Any, **named: Any) -> Callable[[HttpRequest], Any]:
    """Return a view that calls a method of its session, and returns what it returned."""
    return lambda request: getattr(request.session, method)(*arguments, **named)


def key_of(request: HttpRequest) -> Any:
    return request.session.session_key


def stored(**values: Any) -> str:
    """Return the key of a session that was saved outside of requests."""
    store = SessionStore()
    store.update(values)
    store.save()
    assert store.session_key is not None
    return store.session_key


# -- the mapping -------------------------------------------------------------------------------------------------------


def test_pop(site: Site) -> None:
    """pop() of a missing key raises KeyError, as in Django, unless there is a default."""
    site.put(n=1)

    def act(request: HttpRequest) -> None:
        with pytest.raises(KeyError):
            request.session.pop("missing")
        assert request.session.pop("missing", None) is None
        assert not request.session.modified
        assert request.session.pop("n") == 1
        assert request.session.modified

    site.request(act)
    assert site.read() == {}


def test_mapping(site: Site) -> None:
    """Length, iteration, |=, setdefault and has_key work, and a session is true though it is empty."""

    def act(request: HttpRequest) -> None:
        session = request.session
        assert bool(session)
        assert len(session) == 0
        session |= {"a": 1}
        assert session.setdefault("b", 2) == session.setdefault("b", 3) == 2
        assert session.has_key("a")
        assert "c" not in session
        assert sorted(session) == ["a", "b"]
        assert list(session.keys()) == ["a", "b"]
        assert list(session.values()) == [1, 2]
        del session["b"]

    site.request(act)
    assert site.read() == {"a": 1}


@SIZE
def test_changes_inside_values_are_noticed(site: Site, value: str) -> None:
    """A value that is changed in place is saved, without `modified = True`."""
    site.put(v=[value])
    site.request(lambda request: request.session["v"].append(1))
    assert site.read() == {"v": [value, 1]}


def test_clear_keeps_the_session(site: Site) -> None:
    """clear() removes the values, and the session lives on under its id."""
    site.put(n=1)
    sid = site.request(lambda request: request.session.sid)
    site.request(do("clear"))
    assert site.request(lambda request: (request.session.sid, request.session.is_empty())) == (sid, False)
    assert site.read() == {}


def test_accessed_and_modified(site: Site) -> None:
    """`accessed` and `modified` say what they say in Django."""
    site.put(n=1)

    def act(request: HttpRequest) -> list[tuple[bool, bool]]:
        session = request.session
        seen = [(session.accessed, session.modified)]
        session.get("n")
        seen.append((session.accessed, session.modified))
        session["n"] = 2
        return [*seen, (session.accessed, session.modified)]

    assert site.request(act) == [(False, False), (True, False), (True, True)]


def test_repr_tells_no_secret(site: Site) -> None:
    """Neither key nor id nor value of a session is in its repr."""
    site.put(v="payload")

    def act(request: HttpRequest) -> None:
        shown = repr(request.session) + str(request.session)
        assert request.session["v"] not in shown
        assert request.session.sid not in shown
        assert request.session.session_key not in shown

    site.request(act)
    assert site.response.code == 200


def test_encode_and_decode() -> None:
    """encode() and decode() are Django's, with SESSION_SERIALIZER."""
    store = SessionStore()
    assert store.decode(store.encode({"n": 1})) == {"n": 1}
    assert store.decode("junk") == {}


def test_unknown_attribute() -> None:
    """An attribute that neither Django nor Holdall has is an AttributeError."""
    for name in ("missing", "_session_cache"):
        with pytest.raises(AttributeError):
            getattr(SessionStore(), name)


def test_test_cookie(site: Site) -> None:
    """Django's test cookie works."""
    site.request(do("set_test_cookie"))
    assert site.request(do("test_cookie_worked"))
    site.request(do("delete_test_cookie"))
    assert not site.request(do("test_cookie_worked"))


# -- Holdall's verbs ---------------------------------------------------------------------------------------------------


@SIZE
def test_verbs(site: Site, value: str) -> None:
    """start, regenerate_id and terminate do what they do everywhere else."""
    site.put(v=value)
    before = site.request(lambda request: request.session.sid)
    copy = site.browser.copy()
    site.request(do("regenerate_id"))
    after = site.request(lambda request: request.session.sid)
    assert after not in (before, None)
    assert site.read() == {"v": value}
    if value is LARGE:
        assert site.read(copy) == {}
    site.request(do("start"))
    assert site.request(lambda request: request.session.sid) not in (before, after, None)
    assert site.read() == {}
    site.request(do("terminate"))
    assert site.browser.cookies == {}


def test_quick_and_incr(site: Site) -> None:
    """set_quick writes the cache alone, pop_quick removes, and incr counts."""
    site.put(v=LARGE)
    assert site.did
    site.request(do("set_quick", "q", 1))
    assert "put durable" not in site.did
    assert site.request(do("pop_quick", "q")) == 1
    assert site.request(do("pop_quick", "q", "none")) == "none"
    assert [site.request(do("incr", "n")) for _ in range(3)] == [1, 2, 3]


def test_ssl_only(site: Site) -> None:
    """A session that is started with ssl_only has a Secure cookie for good."""
    site.request(do("start", ssl_only=True))
    assert "Secure" in site.response.cookies[0]
    site.put(n=1)
    assert "Secure" in site.response.cookies[0]
    assert site.request(do("is_ssl_only"))


def test_persisted_on_demand(site: Site) -> None:
    """save(persist_even_if_using_cookie=True) makes a small session a stored one."""
    site.put(n=1)
    site.request(do("save", persist_even_if_using_cookie=True))
    assert site.request(key_of).startswith("ref.")
    assert site.read() == {"n": 1}


def test_persisted_on_demand_in_an_event_loop(site: Site) -> None:
    """There `save` is refused, since it asks a store at once, and `asave` does the same."""
    site.put(n=1)

    async def act(request: HttpRequest) -> None:
        with pytest.raises(SynchronousOnlyOperation):
            request.session.save(persist_even_if_using_cookie=True)
        assert site.did == []
        await request.session.asave(persist_even_if_using_cookie=True)
        request.session["m"] = 2

    site.arequest(act)
    assert site.request(key_of).startswith("ref.")
    assert site.read() == {"n": 1, "m": 2}


# -- expiry ------------------------------------------------------------------------------------------------------------


@SIZE
def test_expiry_counts_from_the_last_change(site: Site, value: str) -> None:
    """A session ends SESSION_COOKIE_AGE after it was last modified, and reading does not keep it."""
    site.put(v=value)
    for _ in range(3):
        site.clock.advance(10 * DAY)
        site.request(do("incr", "n"))
    site.clock.advance(10 * DAY)
    assert site.read() == {"v": value, "n": 3}
    site.clock.advance(5 * DAY)
    assert site.read() == {}


@SIZE
def test_modified_alone_counts_anew(site: Site, value: str) -> None:
    """`modified = True` has the expiry counted anew; an equal value assigned sends and stores nothing."""
    site.put(v=value)
    assert site.did or value == "x"
    site.clock.advance(5 * DAY)
    site.put(v=value)
    assert site.response.cookies == []
    assert not [command for command in site.did if command.startswith("put") and "durable" in command]
    site.request(lambda request: setattr(request.session, "modified", True))
    assert "Max-Age=1209600" in site.response.cookies[0]
    site.clock.advance(13 * DAY)
    assert site.read() == {"v": value}


@SIZE
def test_save_every_request(make_site: MakeSite, value: str) -> None:
    """With SESSION_SAVE_EVERY_REQUEST every request counts, though it leaves the session alone."""
    site = make_site(SESSION_SAVE_EVERY_REQUEST=True)
    site.put(v=value)
    for send in (Site.request, Site.arequest):
        site.clock.advance(13 * DAY)
        send(site, lambda request: None)
        assert "Max-Age=1209600" in site.response.cookies[0]
        assert site.response.all("Vary") == ["Cookie"]
    assert site.read() == {"v": value}
    site.request(lambda request: None, Browser())
    assert site.response.cookies == []


def test_set_expiry_in_seconds(site: Site) -> None:
    """set_expiry(seconds) counts from every change, and None goes back to the setting."""
    site.request(do("set_expiry", 100))
    assert "Max-Age=100" in site.response.cookies[0]
    site.clock.advance(90)
    site.put(n=1)
    assert "Max-Age=100" in site.response.cookies[0]
    assert site.request(do("get_expiry_age")) == 100
    site.request(do("set_expiry", None))
    assert "Max-Age=1209600" in site.response.cookies[0]
    site.request(do("set_expiry", 100))
    site.clock.advance(101)
    assert site.read() == {}


def test_set_expiry_at_a_time(site: Site) -> None:
    """set_expiry(datetime) is an end that no change moves."""
    end = datetime.fromtimestamp(site.clock() + 100, UTC)
    site.request(do("set_expiry", end))
    assert "Max-Age=100" in site.response.cookies[0]
    site.clock.advance(90)
    site.put(n=1)
    assert "Max-Age=10" in site.response.cookies[0]
    assert site.request(do("get_expiry_date")) == end
    assert site.request(do("get_expiration")) == int(end.timestamp())


def test_set_expiry_with_the_browser(site: Site) -> None:
    """set_expiry(0) makes a cookie that ends with the browser."""
    site.request(do("set_expiry", 0))
    assert "Max-Age" not in site.response.cookies[0]
    assert site.request(do("get_expire_at_browser_close")) is True
    assert site.request(do("get_expiration")) == 0


def test_expiry_in_the_past(site: Site) -> None:
    """A session whose end is past is there in this request, and gone in the next."""
    site.put(n=1)
    site.request(do("set_expiry", -10))
    assert site.browser.cookies == {}
    site.request(lambda request: (request.session.set_expiry(-10), request.session.update(n=1)))
    assert (site.response.code, site.response.cookies) == (200, [])
    site.request(lambda request: (request.session.start(1), request.session.update(n=1)))
    assert (site.response.code, site.response.cookies) == (200, [])


def test_end_of_start_stays(site: Site) -> None:
    """An end that start() was given is not moved by later changes, as it is nowhere else."""
    site.request(do("start", site.clock() + 100))
    site.clock.advance(90)
    site.put(n=1)
    assert "Max-Age=10" in site.response.cookies[0]
    site.request(do("regenerate_id", site.clock() + 50))
    site.clock.advance(40)
    site.put(n=2)
    assert "Max-Age=10" in site.response.cookies[0]
    site.request(do("start", 0))
    site.put(n=3)
    assert "Max-Age" not in site.response.cookies[0]


# -- keys, and sessions outside of requests ----------------------------------------------------------------------------


@SIZE
def test_key_in_a_request(site: Site, value: str) -> None:
    """session_key opens the session elsewhere, is no id, and is None where there is no session or a new one."""
    assert site.request(key_of) is None
    site.put(v=value)
    key = site.request(key_of)
    assert key.removeprefix("ref.") in site.browser.cookies.values()
    assert SessionStore(key)["v"] == value
    assert site.request(lambda request: (request.session.cycle_key(), request.session.session_key)[1]) is None


def test_key_of_a_split_session(make_site: MakeSite) -> None:
    """The key of a session that is split over several cookies opens it too."""
    site = make_site(HOLDALL={"cookie_only_threshold": 20_000})
    site.put(v="x" * 9_000)
    assert len(site.browser.cookies) > 2
    assert SessionStore(site.request(key_of))["v"] == "x" * 9_000


def test_both_cookies_presented(site: Site) -> None:
    """Where a browser presents an older session beside the current one, the key is the current one's."""
    site.put(v="x")
    older = site.browser.cookies["sessionid"]
    site.clock.advance(1)
    site.request(lambda request: (request.session.start(), request.session.update(v=LARGE)))
    site.browser.cookies["sessionid"] = older
    assert SessionStore(site.request(key_of))["v"] == LARGE


@SIZE
def test_saved_outside_of_requests(site: Site, value: str) -> None:
    """A session that is saved outside of requests is opened by its key, which stays good through later saves."""
    store = SessionStore()
    assert store.session_key is None
    store["v"] = value
    store.save()
    key = store.session_key
    assert SessionStore(key).exists(key)
    for n in range(3):
        store["n"] = n
        store.save()
    assert SessionStore(key).load() == SessionStore(store.session_key).load() == {"v": value, "n": 2}


def test_request_session_saved_outside(site: Site) -> None:
    """A session in the cookie that is saved outside of its requests goes to a store under the same id."""
    site.put(n=1)
    store = SessionStore(site.request(key_of))
    sid = store.sid
    store["m"] = 2
    store.save()
    assert store.sid == sid
    assert SessionStore(store.session_key).load() == {"n": 1, "m": 2}


@pytest.mark.requirement(12)
def test_unknown_key(site: Site) -> None:
    """A key that opens nothing is forgotten at the first look, and never adopted."""
    for key in ("ref.unknown-key", "unknown-key", "short", ""):
        store = SessionStore(key)
        assert store.get("n") is None
        assert store.session_key is None
        assert store.is_empty()
        store.save()
        assert store.session_key not in (key, None)
    assert not SessionStore().exists("unknown-key")
    assert not SessionStore().exists(None)


def test_create_and_delete(site: Site) -> None:
    """create() makes a new session that is saved; delete() ends one by its key, or this one."""
    store = SessionStore()
    store.create()
    first = store.session_key
    assert store.exists(first)
    store.create()
    assert store.session_key != first
    assert not store.exists(first)
    other = stored(n=1)
    store.delete(other)
    assert not store.exists(other)
    mine = store.session_key
    store.delete()
    assert store.session_key is None
    assert not store.exists(mine)


def test_flush_and_cycle_key(site: Site) -> None:
    """Outside of requests flush() and cycle_key() act at once, and the old key is dead."""
    store = SessionStore(stored(n=1))
    first = store.session_key
    store.cycle_key()
    second = store.session_key
    assert second not in (first, None)
    assert (store.exists(first), store.exists(second)) == (False, True)
    assert store["n"] == 1
    store.flush()
    assert store.session_key is None
    assert not store.exists(second)


def test_must_create(site: Site) -> None:
    """save(must_create=True) saves a new session, and refuses one that was saved."""
    store = SessionStore()
    store["n"] = 1
    store.save(must_create=True)
    with pytest.raises(CreateError):
        store.save(must_create=True)
    assert SessionStore(store.session_key)["n"] == 1


def test_session_ended_meanwhile(site: Site) -> None:
    """What was ended elsewhere cannot be saved: UpdateError, and the session does not come back."""
    key = stored(n=1)
    store = SessionStore(key)
    store["n"] = 2
    SessionStore(key).flush()
    with pytest.raises(UpdateError):
        store.save()
    assert store.load() == {}
    assert not store.exists(key)


def test_failed_save(site: Site) -> None:
    """After a save that failed the session is as it was last saved, and can be saved again."""
    store = SessionStore(stored(n=1))
    store["n"] = 2
    site.stores.down = {Tier.CACHE, Tier.DURABLE}
    with pytest.raises(SessionUnavailable):
        store.save()
    site.stores.down = set()
    assert store["n"] == 1
    store["n"] = 3
    store.save()
    assert store.load() == {"n": 3}


def test_load_tells_what_was_saved(site: Site) -> None:
    """load() returns the values as they were last saved, whatever was assigned since."""
    store = SessionStore(stored(n=1))
    assert store.load() == {"n": 1}
    store["n"] = 2
    assert store.load() == {"n": 1}


def test_load_looks_at_the_key(site: Site) -> None:
    """After load() a key that opens nothing is forgotten, as at every other look."""
    for key in ("ref.unknown-key", "unknown-key"):
        store = SessionStore(key)
        assert store.session_key == key
        assert store.load() == {}
        assert store.session_key is None
    key = stored(n=1)
    store = SessionStore(key)
    store.load()
    assert store.session_key == key


def test_djangos_middleware(site: Site) -> None:
    """Under Django's own middleware sessions of any size work all the same, in stores."""
    middleware = DjangoSessionMiddleware(lambda request: (request.session.update(v=LARGE), HttpResponse())[1])
    response = middleware(RequestFactory().get("/"))
    assert SessionStore(response.cookies["sessionid"].value)["v"] == LARGE


def test_clear_expired(make_site: MakeSite, tmp_path: Path) -> None:
    """clear_expired() removes what expired from the durable store, and nothing else."""
    site = make_site()
    durable = SQLite(tmp_path / "sessions.sqlite3", clock=site.clock)
    make_site(HOLDALL={"clock": site.clock, "stores": Stores(durable=durable)})
    stored(v=1)
    site.clock.advance(10 * DAY)
    alive = stored(v=2)
    site.clock.advance(10 * DAY)
    asyncio.run(SessionStore.aclear_expired())
    assert durable.delete_expired() == 0
    assert SessionStore(alive)["v"] == 2
    durable.close()


def test_clear_expired_without_a_durable_store(site: Site) -> None:
    """Where nothing is to be cleared, clear_expired() does nothing."""
    SessionStore.clear_expired()
    assert site.did == []


# -- asynchronous ------------------------------------------------------------------------------------------------------


@SIZE
def test_async_twins(site: Site, value: str) -> None:
    """Every method has its twin for asynchronous views."""

    async def act(request: HttpRequest) -> None:
        session = request.session
        await session.aset("v", value)
        await session.aupdate({"n": 1, "m": 2})
        assert await session.aget("n") == 1
        assert await session.apop("n") == 1
        with pytest.raises(KeyError):
            await session.apop("n")
        assert await session.asetdefault("s", 3) == 3
        assert await session.ahas_key("s")
        assert sorted(await session.akeys()) == ["m", "s", "v"]
        assert len(await session.avalues()) == len(await session.aitems()) == 3
        await session.aset_expiry(100)
        assert await session.aget_expiry_age() == 100
        assert not await session.aget_expire_at_browser_close()
        await session.aset_test_cookie()
        assert await session.atest_cookie_worked()
        await session.adelete_test_cookie()
        await session.asave()
        key = session.session_key
        assert (await SessionStore(key).aload())["v"] == value
        assert await session.aexists(key)
        await session.acycle_key()
        await session.aset("last", 1)

    site.arequest(act)
    assert site.response.code == 200
    assert site.read() == {"v": value, "m": 2, "s": 3, "_session_expiry": 100, "last": 1}
    site.arequest(lambda request: request.session.aflush())
    assert site.browser.cookies == {}


def test_async_outside_of_requests(site: Site) -> None:
    """Tasks open, save and end sessions by their keys."""

    async def work() -> None:
        store = SessionStore()
        await store.acreate()
        await store.aset("v", LARGE)
        await store.asave()
        key = store.session_key
        assert await SessionStore(key).aget("v") == LARGE
        await store.acycle_key()
        assert not await store.aexists(key)
        assert await store.aget("v") == LARGE
        await store.adelete()
        assert store.session_key is None

    asyncio.run(work())


def test_touching_would_block(site: Site) -> None:
    """In an event loop, touching a stored session that is not loaded is Django's SynchronousOnlyOperation."""
    site.put(v=LARGE)
    assert site.did

    async def act(request: HttpRequest) -> None:
        with pytest.raises(SynchronousOnlyOperation, match="aget"):
            request.session["v"]
        assert site.did == []
        await request.session.aget("v")
        assert request.session["v"] == LARGE

    site.arequest(act)
    assert site.response.code == 200


def test_touching_what_is_in_the_cookie(site: Site) -> None:
    """A session in the cookie is read and written in an event loop like anywhere else."""
    site.put(n=1)
    assert site.arequest(lambda request: request.session["n"]) == 1
    site.arequest(lambda request: request.session.update(n=2))
    assert site.read() == {"n": 2}


def test_touching_a_bound_session(site: Site) -> None:
    """A bound session in the cookie, too, is read in an event loop like anywhere else, though it is time to ask."""
    site.put(n=1)
    site.request(lambda request: request.session.bind("ada"))
    for commands in ([], ["get durable"]):
        assert site.did is not None
        assert site.arequest(lambda request: request.session["n"]) == 1
        assert site.did == commands
        site.clock.advance(61)


def test_touching_a_stored_session_asks_nothing_first(site: Site) -> None:
    """A stored session that is bound is neither loaded nor asked about before a view of an event loop touches it."""
    site.put(v=LARGE)
    site.request(lambda request: request.session.bind("ada"))
    site.clock.advance(61)
    assert site.did is not None
    site.arequest(lambda request: None)
    assert site.did == []
    assert "Vary" not in dict(site.response.headers)
    assert site.arequest(lambda request: request.session.aget("v")) == LARGE


def test_set_expiry_with_a_timedelta(site: Site) -> None:
    """set_expiry(timedelta) is an end at that time from now, as Django has it."""
    store = SessionStore()
    store.set_expiry(timedelta(seconds=600))
    assert 590 < store.get_expiry_age() <= 600


# -- Django's test environment -----------------------------------------------------------------------------------------


@pytest.mark.usefixtures("test_environment")
@SIZE
def test_client_cookie_follows(site: Site, value: str) -> None:
    """In Django's test environment a cookie follows what is saved outside of requests, as `client.session` needs it."""
    site.put(v=value)
    store = SessionStore(site.browser.cookies["sessionid"])
    store["n"] = 1
    store.save()
    assert site.read() == {"v": value, "n": 1}
    site.put(n=2)
    store = SessionStore(site.browser.cookies["sessionid"])
    assert store["n"] == 2
    store.save()
    store.save()
    store["n"] = 3
    store.save()
    assert site.read() == {"v": value, "n": 3}
    store.flush()
    assert site.read() == {}


@pytest.mark.usefixtures("test_environment")
@SIZE
def test_client_cookie_is_dead(site: Site, value: str) -> None:
    """In Django's test environment a cookie is dead once its session was ended or got another key elsewhere."""
    for end in ("cycle_key", "flush", "delete"):
        site.put(v=value)
        getattr(SessionStore(site.browser.cookies["sessionid"]), end)()
        assert site.read() == {}
    site.put(v=value)
    SessionStore().delete(site.browser.cookies["sessionid"])
    assert site.read() == {}
