"""Processes that are killed at named points of a request: gunicorn, memcached, Datastore, and a browser that waits.

The point is a list of commands to stores: the process dies right before the last of them, when those before it have
been carried out. `served.py` has the names.
"""

from collections.abc import Iterator
from typing import NamedTuple

import pytest

from tests.core.support import Browser
from tests.emulators import OPTIMISTIC, EmulatorServer
from tests.faults.load import APPLICATION, LARGE, PATIENT, Client, look
from tests.servers import MemcachedServer, memcached
from tests.wsgi.serving import PRELOADED, Server, server

HUGE = 10_000_000
COMMIT, TELL, PART, HEAD = "put durable record", "put cache record", "put durable part", "put durable head"
BEFORE, AFTER, GONE = "before", "after", "gone"


class Story(NamedTuple):
    """What a browser does, where its request's process dies, and what is there from then on."""

    begins: str
    """The page with which its session begins."""
    does: str
    """The page whose process dies."""
    dies: list[str]
    then: str
    """What its next request finds in Datastore: the state before, or after, or no session."""


STORIES = {
    "a session grows; nothing is stored yet": Story("/count", f"/count?size={LARGE}", [COMMIT], BEFORE),
    "a session grew; its browser was not told": Story("/count", f"/count?size={LARGE}", [TELL], BEFORE),
    "a change; nothing is stored yet": Story(f"/count?size={LARGE}", "/incr", [COMMIT], BEFORE),
    "a change; memcached was not told": Story(f"/count?size={LARGE}", "/incr", [TELL], AFTER),
    "a new id; the new record is not there yet": Story(f"/count?size={LARGE}", "/renew", [COMMIT], BEFORE),
    "a new id; the old record has no marker": Story(f"/count?size={LARGE}", "/renew", [COMMIT] * 2, BEFORE),
    "a new id; memcached has no tombstone": Story(f"/count?size={LARGE}", "/renew", [COMMIT] * 2 + [TELL], GONE),
    "a new id; memcached has no copy": Story(f"/count?size={LARGE}", "/renew", [COMMIT] * 2 + [TELL] * 2, GONE),
    "a logout; there is no marker": Story(f"/count?size={LARGE}", "/logout", [COMMIT], BEFORE),
    "a logout; memcached was not told": Story(f"/count?size={LARGE}", "/logout", [TELL], GONE),
    "a login; nobody is listed": Story(f"/count?size={LARGE}", "/bind", ["put durable list"], BEFORE),
    "a login; the list knows, the session does not": Story(f"/count?size={LARGE}", "/bind", [COMMIT], BEFORE),
    "10 MB; no part is there": Story(f"/count?size={HUGE}", f"/count?size={HUGE}", [PART], BEFORE),
    "10 MB; not all parts are there": Story(f"/count?size={HUGE}", f"/count?size={HUGE}", [PART] * 2, BEFORE),
    "10 MB; all parts are there, the head is not": Story(f"/count?size={HUGE}", f"/count?size={HUGE}", [HEAD], BEFORE),
    "10 MB; memcached was not told": Story(
        f"/count?size={HUGE}", f"/count?size={HUGE}", [HEAD, "put cache part"], AFTER
    ),
    "10 MB; memcached has all parts, and an old head": Story(
        f"/count?size={HUGE}", f"/count?size={HUGE}", [HEAD, "put cache head"], AFTER
    ),
}


@pytest.fixture(scope="module")
def cache() -> Iterator[MemcachedServer]:
    with memcached(None, "-m", "512") as running:
        yield running


@pytest.fixture(scope="module")
def web(
    cache: MemcachedServer, datastore: EmulatorServer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Server]:
    # Preloaded, so that a new worker need not import gRPC, which takes seconds.
    with server(PRELOADED, tmp_path_factory.mktemp("killed"), APPLICATION) as web:
        web.start(
            cache=f"memcached://{cache.address}?timeout={PATIENT}",
            durable=f"datastore://test/killed?emulator={datastore.address}&timeout={PATIENT}",
            HOLDALL_TEST_BUDGET=PATIENT,
        )
        yield web


@pytest.mark.memcached
@pytest.mark.datastore
@pytest.mark.parametrize("datastore", [OPTIMISTIC], indirect=True, scope="session")
@pytest.mark.parametrize("story", STORIES.values(), ids=STORIES.keys())
def test_killed(web: Server, cache: MemcachedServer, story: Story) -> None:
    """The next request finds the state before or the state after, whole; a session lives on or has ended for good."""
    client = Client(Browser())
    payload = look(web, client.browser, story.begins)["payload"]
    query = "&".join(f"die={command.replace(' ', '+')}" for command in story.dies)
    assert client.visit(web, f"{story.does}{'&' if '?' in story.does else '?'}{query}").status == 0
    # The cache may have what was before, for as long as it is trusted, but nobody can write to that.
    n = 2 if story.then == AFTER else 1
    found = (None, 0) if story.then == GONE else (n, payload)
    assert seen(look(web, client.browser.copy())) in (found, (1, payload))
    if story.then == GONE:
        look(web, client.browser.copy(), "/incr")
    assert cache.ask("flush_all") == "OK"
    assert seen(look(web, client.browser.copy())) == found
    if story.then != GONE:
        look(web, client.browser, "/incr")
        assert seen(look(web, client.browser, f"/count?size={LARGE}")) == (n + 2, LARGE)
        assert cache.ask("flush_all") == "OK"
        assert seen(look(web, client.browser)) == (n + 2, LARGE)


def seen(answer: dict[str, object]) -> tuple[object, object]:
    """Return what a session holds."""
    return answer["n"], answer["payload"]
