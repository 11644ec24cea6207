"""Tests of `holdall_stores.appengine` with Google's client and stub: the behaviour of stores, and what only it does."""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from google.appengine.api import apiproxy_stub_map, memcache, namespace_manager
from google.appengine.runtime import apiproxy_errors
from google.appengine.runtime.default_api_stub import DefaultApiStub
from holdall import (
    Answer,
    Conflict,
    Delete,
    Deleted,
    Expect,
    Found,
    Get,
    Missing,
    Put,
    Stored,
    StoreTooLarge,
    StoreUnavailable,
    Tier,
    UsageError,
    generate_key,
)
from holdall.testing import FakeClock
from holdall_conformance import Browser, CacheConformance, Request, UnavailableConformance, call_wsgi
from holdall_stores import AppEngineMemcache, SQLite, Stores
from holdall_wsgi import SessionMiddleware, get_current_session

from tests.appengine.bundled import TICKET, Endpoint, stub
from tests.cli.support import Shell

ROOT = Path(__file__).parents[2]
HOUR = 3600
DAY = 24 * HOUR
OVERSIZE = 1_000_001
PATIENT = 20.0  # seconds: a busy machine shall neither make a failure nor hide one

SetResponse = memcache.MemcacheSetResponse
GetResponse = memcache.MemcacheGetResponse
DeleteResponse = memcache.MemcacheDeleteResponse


@pytest.fixture
def bundled() -> Iterator[Any]:
    """Google's stub, in this process."""
    with stub() as bundled:
        yield bundled


@pytest.fixture
def store(bundled: Any) -> AppEngineMemcache:
    return AppEngineMemcache(timeout=PATIENT)


class TestAppEngineMemcache(CacheConformance):
    oversize = OVERSIZE

    @pytest.fixture
    def store(self, store: AppEngineMemcache) -> AppEngineMemcache:
        return store

    # Google's client keeps threads, and no fork takes those along: see test_a_forked_child_goes_on_after_a_while, and
    # the workers in test_page.py, which are forked before there are any.
    test_a_forked_child_goes_on = None  # type: ignore[assignment]


class TestNoBundledServices(UnavailableConformance):
    oversize = OVERSIZE

    @pytest.fixture
    def unavailable(self) -> AppEngineMemcache:
        return AppEngineMemcache()


class TestServiceIsDown(UnavailableConformance):
    oversize = OVERSIZE

    @pytest.fixture(
        params=[
            apiproxy_errors.RPCFailedError(),
            apiproxy_errors.DeadlineExceededError(),
            apiproxy_errors.CapabilityDisabledError(),
            apiproxy_errors.OverQuotaError(),
            apiproxy_errors.ApplicationError(1),
        ],
        ids=lambda error: type(error).__name__,
    )
    def unavailable(self, request: pytest.FixtureRequest, bundled: Any) -> AppEngineMemcache:
        bundled.SetError(request.param)
        return AppEngineMemcache(timeout=PATIENT)


def putting(key: str, value: bytes = b"one", expect: int | Expect = Expect.ANYTHING) -> Put:
    return Put(Tier.CACHE, key, value, int(time.time()) + HOUR, expect)


def put(store: AppEngineMemcache, key: str, value: bytes = b"one", expect: int | Expect = Expect.ANYTHING) -> Answer:
    return store.execute(putting(key, value, expect))


def get(store: AppEngineMemcache, key: str) -> Answer:
    return store.execute(Get(Tier.CACHE, key))


def commands(key: str = "k") -> list[Get | Put | Delete]:
    """One of each kind."""
    return [Get(Tier.CACHE, key), *(putting(key, expect=expect) for expect in (1, *Expect)), Delete(Tier.CACHE, key)]


def described(command: Get | Put | Delete) -> str:
    return f"put {command.expect}" if isinstance(command, Put) else type(command).__name__.lower()


# -- what memcache says of one key -------------------------------------------------------------------------------------


def reply(bundled: Any, monkeypatch: pytest.MonkeyPatch, method: str, field: str, *statuses: int) -> None:
    """Have memcache say this of a key, which the stub never does."""
    monkeypatch.setattr(
        bundled, f"_Dynamic_{method}", lambda request, response: getattr(response, field).extend(statuses)
    )


@pytest.mark.parametrize("status", ["TRUNCATED", "DEADLINE_EXCEEDED", "UNREACHABLE", "OTHER_ERROR"])
def test_a_failed_read_is_no_miss(
    bundled: Any, store: AppEngineMemcache, monkeypatch: pytest.MonkeyPatch, status: str
) -> None:
    """A key whose server failed is unavailable, where Google's own client would say that there is nothing."""
    reply(bundled, monkeypatch, "Get", "get_status", GetResponse.GetStatusCode.Value(status))

    assert memcache.get("k") is None
    with pytest.raises(StoreUnavailable, match=status):
        get(store, "k")


def test_a_miss_that_is_said_is_a_miss(bundled: Any, store: AppEngineMemcache, monkeypatch: pytest.MonkeyPatch) -> None:
    """A key of which memcache says that it has nothing is missing."""
    reply(bundled, monkeypatch, "Get", "get_status", GetResponse.MISS)

    assert get(store, "k") == Missing()


@pytest.mark.parametrize("status", ["ERROR", "DEADLINE_EXCEEDED", "UNREACHABLE", "OTHER_ERROR"])
@pytest.mark.parametrize("expect", [1, *Expect])
def test_a_failed_write_is_no_conflict(
    bundled: Any, store: AppEngineMemcache, monkeypatch: pytest.MonkeyPatch, expect: int | Expect, status: str
) -> None:
    """A write that a server failed at is unavailable: it may have been applied."""
    reply(bundled, monkeypatch, "Set", "set_status", SetResponse.SetStatusCode.Value(status))

    with pytest.raises(StoreUnavailable, match=status):
        put(store, "k", expect=expect)


@pytest.mark.parametrize("status", ["NOT_STORED", "EXISTS"])
def test_what_expects_nothing_never_conflicts(
    bundled: Any, store: AppEngineMemcache, monkeypatch: pytest.MonkeyPatch, status: str
) -> None:
    """A marker that was refused is unavailable, so that it is tried again; any other write has a conflict."""
    reply(bundled, monkeypatch, "Set", "set_status", SetResponse.SetStatusCode.Value(status))

    assert [put(store, "k", expect=expect) for expect in (1, Expect.ABSENT)] == [Conflict()] * 2
    with pytest.raises(StoreUnavailable, match=status):
        put(store, "k")


@pytest.mark.parametrize("status", ["DEADLINE_EXCEEDED", "UNREACHABLE", "OTHER_ERROR"])
def test_a_failed_delete_is_unavailable(
    bundled: Any, store: AppEngineMemcache, monkeypatch: pytest.MonkeyPatch, status: str
) -> None:
    """A deletion that a server failed at is no deletion."""
    reply(bundled, monkeypatch, "Delete", "delete_status", DeleteResponse.DeleteStatusCode.Value(status))

    with pytest.raises(StoreUnavailable, match=status):
        store.execute(Delete(Tier.CACHE, "k"))


@pytest.mark.parametrize("command", commands()[1:], ids=described)
def test_a_reply_without_a_word_is_unavailable(
    bundled: Any, store: AppEngineMemcache, monkeypatch: pytest.MonkeyPatch, command: Put | Delete
) -> None:
    """A reply to a write that says nothing of its key is no success."""
    for method, field in (("Set", "set_status"), ("Delete", "delete_status")):
        reply(bundled, monkeypatch, method, field)

    with pytest.raises(StoreUnavailable):
        store.execute(command)


# -- what is kept, and how long ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("lifetime", [60, 30 * DAY - 1, 30 * DAY, 30 * DAY + 1, 60 * DAY])
def test_a_value_is_kept_for_its_lifetime(bundled: Any, lifetime: int) -> None:
    """A value is kept until its time, and a second more at most, also past the 30 days of relative times."""
    clock = FakeClock(time.time())
    bundled._gettime = clock
    store = AppEngineMemcache(timeout=PATIENT, clock=clock)
    store.execute(Put(Tier.CACHE, "k", b"one", int(clock()) + lifetime, Expect.ABSENT))

    clock.advance(lifetime - 1)
    assert isinstance(get(store, "k"), Found)
    clock.advance(3)
    assert get(store, "k") == Missing()


def test_past_2038_a_value_is_kept_for_30_days(bundled: Any) -> None:
    """An expiry that memcache cannot read is brought down to 30 days, not to nothing and not to for ever."""
    clock = FakeClock(time.time())
    bundled._gettime = clock
    store = AppEngineMemcache(timeout=PATIENT, clock=clock)
    store.execute(Put(Tier.CACHE, "k", b"one", 2**33, Expect.ABSENT))

    clock.advance(30 * DAY - 1)
    assert isinstance(get(store, "k"), Found)
    clock.advance(2)
    assert get(store, "k") == Missing()


def test_the_largest_value_fits(store: AppEngineMemcache) -> None:
    """The largest value that is let through is really stored, and one byte more is refused before it is sent."""
    value = b"x" * (OVERSIZE - 1)
    assert put(store, "k", value, Expect.ABSENT) == Stored(None)
    with pytest.raises(StoreTooLarge) as refused:
        put(store, "k", value + b"x")

    assert (refused.value.size, refused.value.limit) == (OVERSIZE, OVERSIZE - 1)


def test_more_is_kept_in_parts(bundled: Any) -> None:
    """`Stores` keeps a larger value in parts, so that it comes back whole."""
    stores = Stores(cache=AppEngineMemcache(timeout=PATIENT))
    value = bytes(range(256)) * 10_000
    stored, found = stores.execute((putting("k", value, Expect.ABSENT), Get(Tier.CACHE, "k")))

    assert stored == Stored(None)
    assert isinstance(found, Found)
    assert found.value == value
    assert memcache.get_stats()["items"] == 4  # the head, and three parts


def test_values_are_what_they_are(store: AppEngineMemcache) -> None:
    """Bytes are stored as they are; what another wrote as a pickle comes back as its bytes, and is not unpickled."""
    put(store, "k", b"\x80\x05N.")
    assert memcache.get("k") == b"\x80\x05N."

    memcache.set("other", ["a list"])
    found = get(store, "other")
    assert isinstance(found, Found)
    assert b"a list" in found.value


def test_an_evicted_value_is_missing(bundled: Any, store: AppEngineMemcache) -> None:
    """What memcache had no room for is missing, can be added again, and its version conflicts."""
    put(store, "k")
    found = get(store, "k")
    assert isinstance(found, Found)
    bundled._max_size_bytes = 100
    put(store, "other", bytes(95))
    assert get(store, "k") == Missing()

    assert put(store, "k", expect=found.version) == Conflict()
    assert put(store, "k", expect=Expect.ABSENT) == Stored(None)


# -- namespaces --------------------------------------------------------------------------------------------------------


def test_namespaces_are_apart(store: AppEngineMemcache) -> None:
    """A key has a value for each namespace, with every command."""
    other = AppEngineMemcache("sessions", timeout=PATIENT)
    put(store, "k", b"one")
    assert get(other, "k") == Missing()
    assert put(other, "k", b"two", Expect.ABSENT) == Stored(None)
    assert memcache.get("k", namespace="sessions") == b"two"

    found = get(other, "k")
    assert isinstance(found, Found)
    assert put(other, "k", b"three", found.version) == Stored(None)
    assert other.execute(Delete(Tier.CACHE, "k")) == Deleted()
    assert get(other, "k") == Missing()
    found = get(store, "k")
    assert isinstance(found, Found)
    assert found.value == b"one"


def test_the_namespace_of_a_request_is_no_matter(store: AppEngineMemcache) -> None:
    """A session is found also in a request that has set a namespace for its tenant."""
    put(store, "k")
    namespace_manager.set_namespace("tenant")
    try:
        assert isinstance(get(store, "k"), Found)
    finally:
        namespace_manager.set_namespace("")


# -- Google's client, and what is at the other end of it ---------------------------------------------------------------


@pytest.fixture
def within_a_request(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[int], None]]:
    """Have this thread be that of a request on App Engine, whose API endpoint is at a port of 127.0.0.1."""
    client = DefaultApiStub()
    before = apiproxy_stub_map.apiproxy
    apiproxy_stub_map.apiproxy = apiproxy_stub_map.GetDefaultAPIProxy()
    apiproxy_stub_map.apiproxy.SetDefaultStub(client)
    client.SetUseRequestSecurityTicketForThread(True)
    monkeypatch.setenv("HTTP_X_APPENGINE_API_TICKET", TICKET)
    monkeypatch.setenv("API_HOST", "127.0.0.1")
    yield lambda port: monkeypatch.setenv("API_PORT", str(port))
    client.SetUseRequestSecurityTicketForThread(False)
    apiproxy_stub_map.apiproxy = before
    client.http.clear()
    client.thread_pool.shutdown()


def test_a_request_asks_the_endpoint(within_a_request: Callable[[int], None]) -> None:
    """Every command is one call to the endpoint, by Google's own client; what fails there is unavailable."""
    store = AppEngineMemcache(timeout=PATIENT)
    with Endpoint() as endpoint:
        within_a_request(endpoint.port)
        assert put(store, "k", b"one", Expect.ABSENT) == Stored(None)
        found = get(store, "k")
        assert isinstance(found, Found)
        assert put(store, "k", b"two", found.version) == Stored(None)
        assert put(store, "k", b"three", found.version) == Conflict()
        assert store.execute(Delete(Tier.CACHE, "k")) == Deleted()
        assert get(store, "k") == Missing()
        assert endpoint.calls == ["Set", "Get", "Set", "Set", "Delete", "Get"]

        endpoint.memcache.SetError(apiproxy_errors.RPCFailedError())
        for command in commands():
            with pytest.raises(StoreUnavailable, match="RPCFailedError"):
                store.execute(command)


@pytest.mark.parametrize("command", commands(), ids=described)
def test_nobody_listens(within_a_request: Callable[[int], None], command: Get | Put | Delete) -> None:
    """An endpoint that is not there is unavailable."""
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        within_a_request(nobody.getsockname()[1])
        with pytest.raises(StoreUnavailable, match="RPCFailedError"):
            AppEngineMemcache(timeout=PATIENT).execute(command)


@pytest.mark.parametrize("command", commands(), ids=described)
def test_nobody_answers(within_a_request: Callable[[int], None], command: Get | Put | Delete) -> None:
    """An endpoint that says nothing is not waited for for ever."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        within_a_request(silent.getsockname()[1])
        with pytest.raises(StoreUnavailable, match=r"TimeoutError|DeadlineExceededError"):
            AppEngineMemcache(timeout=0.05).execute(command)


def test_outside_of_a_request_it_says_what_is_missing(
    within_a_request: Callable[[int], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without the ticket of a request memcache is unavailable, and the message names the remedy."""
    monkeypatch.delenv("HTTP_X_APPENGINE_API_TICKET")
    with pytest.raises(StoreUnavailable, match=r"wrap_wsgi_app.*app_engine_apis"):
        get(AppEngineMemcache(), "k")


_FORK = """
import os, time
from holdall import Expect, Get, Put, StoreUnavailable, Tier
from holdall_stores import AppEngineMemcache
from tests.appengine.bundled import stub

with stub():
    store = AppEngineMemcache(timeout=20)
    store.execute(Put(Tier.CACHE, "k", b"one", int(time.time()) + 60, Expect.ABSENT))
    child = os.fork()
    if child == 0:
        store = AppEngineMemcache(timeout=0.2)
        for _ in range(100):
            try:
                print(store.execute(Get(Tier.CACHE, "k")).value, flush=True)
                break
            except StoreUnavailable as error:
                print(error, flush=True)
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
def test_a_forked_child_goes_on_after_a_while() -> None:
    """A child of a process that has asked memcache waits in vain for a thread that it lacks, and then has its own."""
    command = [sys.executable, "-W", "ignore", "-c", _FORK]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=True)
    said = done.stdout.splitlines()
    assert (said[0], said[-1]) == ("App Engine's memcache: TimeoutError", "b'one'")


# -- settings ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("appengine-memcache://?timeout=0", "timeout=0"),
        ("appengine-memcache://?timeout=nan", "timeout=nan"),
        ("appengine-memcache://a%20b", "namespace='a%20b'"),
        (f"appengine-memcache://{'n' * 101}", "namespace='n"),
        ("appengine-memcache:///sessions", "appengine-memcache://namespace"),
        ("appengine-memcache://?max_value_bytes=1", "'max_value_bytes'"),
    ],
)
def test_urls_are_checked(url: str, message: str) -> None:
    """A URL that cannot work is a usage error that names the setting."""
    with pytest.raises(UsageError, match=message):
        Stores.from_urls(cache=url)


def test_urls_make_stores(bundled: Any) -> None:
    """A URL has a namespace or none, and a timeout."""
    for url, namespace in (("appengine-memcache://?timeout=20", ""), ("appengine-memcache://Eu_1?timeout=20", "Eu_1")):
        stores = Stores.from_urls(cache=url)
        assert isinstance(stores.cache, AppEngineMemcache)
        assert stores.execute((putting("k"),)) == (Stored(None),)
        assert memcache.get("k", namespace=namespace) == b"one"


def test_doctor_does_not_ask_it(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """`holdall doctor`, which runs in no request, says that it has not asked memcache, and finds nothing wrong."""
    result = Shell(monkeypatch, capsys)("doctor", "--cache", "appengine-memcache://", "--no-datastore", "--verbose")
    assert "appengine-memcache: answers within App Engine's requests only" in result.out
    assert result.code == 0


# -- a session ---------------------------------------------------------------------------------------------------------


def test_a_session_grows_into_memcache(bundled: Any, tmp_path: Path) -> None:
    """A session moves from the cookie to memcache and SQLite, is read from memcache, and outlives its loss."""

    def site(environ: Any, start_response: Any) -> list[bytes]:
        session = get_current_session()
        match environ["PATH_INFO"]:
            case "/grow":
                session["note"] = "x" * 20_000
            case "/leave":
                session.terminate()
            case "/visit":
                session.incr("n")
        start_response("200 OK", [])
        return [b"%d %d" % (session.get("n", 0), len(session.get("note", "")))]

    durable = SQLite(tmp_path / "sessions.sqlite3", timeout=PATIENT)
    stores = Stores(cache=AppEngineMemcache(timeout=PATIENT), durable=durable)
    application = SessionMiddleware(
        site, cookie_key=generate_key(), stores=stores, store_budget=timedelta(seconds=PATIENT)
    )
    browser = Browser()

    def visit(path: str) -> bytes:
        response = call_wsgi(application, Request(path, (browser.header,) if browser.cookies else ()))
        browser.receive(response)
        return response.body

    def stats(name: str) -> int:
        return int(memcache.get_stats()[name])

    assert visit("/visit") == b"1 0"
    assert stats("items") == 0
    assert visit("/grow") == b"1 20000"
    assert stats("items") == 1
    assert visit("/visit") == b"2 20000"

    hits = stats("hits")
    assert visit("/") == b"2 20000"
    assert stats("hits") == hits + 1

    assert memcache.flush_all()
    assert visit("/") == b"2 20000"
    assert stats("items") == 1  # and is in memcache again
    bundled.SetError(apiproxy_errors.RPCFailedError())
    assert visit("/visit") == b"3 20000"
    bundled.SetError(None)
    assert visit("/visit") == b"4 20000"

    copy = browser.copy()
    visit("/leave")
    browser = copy
    assert visit("/") == b"0 0"
    stores.close()
