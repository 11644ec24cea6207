"""Many requests in one event loop: nothing of one user ever reaches another.

Every interleaving is forced by events; nothing is decided by timing. One request at a time: `test_middleware.py`.
"""

import asyncio
import gc
import random
import threading
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from holdall import Command, SessionCommitted, UsageError, arun, get_current_session, set_current_session
from holdall.testing import FakeClock, RecordingStores
from holdall_asgi import CookieOptions, Session, SessionMiddleware, load_session
from holdall_stores import Memcached, SQLite, Stores, in_threads

from tests.asgi.support import PATIENCE, START, Response, Site, respond, serve, with_big_session, wrap
from tests.core.support import KEY, Browser, big
from tests.servers import MemcachedServer


class Turns:
    """Lets tasks go on one at a time, in an order that a seed decides: each waits for its turn at every step."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)
        self._waiting: list[asyncio.Future[None]] = []

    async def next(self) -> None:
        turn = asyncio.get_running_loop().create_future()
        self._waiting.append(turn)
        await turn

    async def run(self, *tasks: "asyncio.Task[Any]") -> None:
        """Give turns until all tasks have ended."""
        while not all(task.done() for task in tasks):
            while len(self._waiting) < sum(not task.done() for task in tasks):
                await asyncio.sleep(0)  # everybody comes to its next step, or to its end
            if self._waiting:
                self._waiting.pop(self._random.randrange(len(self._waiting))).set_result(None)
        for task in tasks:
            task.result()


@pytest.mark.requirement(27)
@pytest.mark.parametrize("size", [10, 20_000])
@pytest.mark.parametrize("seed", range(8))
def test_interleaved_requests_each_see_their_own_session(seed: int, size: int) -> None:
    """Requests of many users, stopped at every step and gone on with in any order, each have their own session."""
    turns = Turns(seed)

    async def app(scope: Any, receive: Any, send: Any) -> None:
        who = scope["test.who"]
        session = get_current_session()
        assert session.get("who") in (None, who)
        await turns.next()
        get_current_session()["who"] = who
        session["visits"] = session.get("visits", 0) + 1
        session["payload"] = who * size
        await turns.next()
        assert get_current_session() is session
        await send(START)
        await turns.next()
        assert get_current_session()["who"] == who
        await send({"type": "http.response.body", "body": who.encode()})
        await turns.next()
        assert get_current_session()["who"] == who

    middleware = wrap(app)
    browsers = {who: Browser() for who in "abcdefgh"}

    async def visit(who: str) -> bytes:
        return (await serve(middleware, browsers[who], extra={"test.who": who})).body

    async def main() -> None:
        for _ in range(3):
            tasks = {who: asyncio.create_task(visit(who)) for who in browsers}
            await turns.run(*tasks.values())
            assert {who: task.result() for who, task in tasks.items()} == {who: who.encode() for who in browsers}

    asyncio.run(main())
    for who, browser in browsers.items():
        site = Site(stores=middleware.stores, clock=middleware.manager.clock)
        assert site.read(browser) == {"who": who, "visits": 3, "payload": who * size}


def test_all_wait_for_the_store_at_once() -> None:
    """Requests whose stores answer in the opposite order of their asking each get their own session."""
    number = 8
    together = threading.Barrier(number)
    order: dict[str, threading.Event] = {}
    stores = RecordingStores(FakeClock())

    async def app(scope: Any, receive: Any, send: Any) -> None:
        session = scope["session"]
        assert session is get_current_session()
        await respond(send, str(session["who"]).encode())

    site = Site(stores=stores, clock=stores._clock)
    browsers = {f"user {each}": Browser() for each in range(number)}
    for who, browser in browsers.items():
        site.request(lambda session, who=who: session.update(who=who, big=big()), browser)  # type: ignore[misc]

    keys: list[str] = []
    lock = threading.Lock()

    class Reversed:
        def execute(self, commands: tuple[Command, ...], /) -> Any:
            answers = stores.execute(commands)
            with lock:
                place = len(keys)
                keys.append(commands[0].key)
                order.setdefault(str(place), threading.Event())
                order.setdefault(str(place + 1), threading.Event())
            together.wait(PATIENCE)
            if place < number - 1:
                assert order[str(place + 1)].wait(PATIENCE)
            order[str(place)].set()
            return answers

    middleware = wrap(app, stores=in_threads(Reversed(), limit=number), clock=site.clock)

    async def main() -> list[bytes]:
        responses = await asyncio.gather(*(serve(middleware, browser) for browser in browsers.values()))
        return [response.body for response in responses]

    assert asyncio.run(main()) == [who.encode() for who in browsers]
    assert len(set(keys)) == number


def test_a_task_of_another_request_brings_no_session_along() -> None:
    """Where one user's request began a task that answers another user's, each response saves its own session."""
    jobs: asyncio.Queue[tuple[Any, asyncio.Future[None]]]

    async def work() -> None:
        while True:
            send, done = await jobs.get()
            await respond(send)  # here get_current_session() is the session of whoever began this task
            done.set_result(None)

    async def app(scope: Any, receive: Any, send: Any) -> None:
        session = get_current_session()
        session["who"] = scope["test.who"]
        if scope["test.who"] == "first":
            workers.append(asyncio.create_task(work()))
        done = asyncio.get_running_loop().create_future()
        await jobs.put((send, done))
        await done

    workers: list[asyncio.Task[None]] = []
    middleware = wrap(app)
    site = Site(stores=middleware.stores, clock=middleware.manager.clock)
    browsers = {"first": Browser(), "second": Browser()}

    async def main() -> None:
        nonlocal jobs
        jobs = asyncio.Queue()
        for who, browser in browsers.items():
            await serve(middleware, browser, extra={"test.who": who})
        workers[0].cancel()

    asyncio.run(main())
    assert {who: site.read(browser) for who, browser in browsers.items()} == {who: {"who": who} for who in browsers}


def test_a_detached_task_cannot_reach_the_next_request() -> None:
    """A task that outlives its request still has its own session only, and cannot change what was sent."""
    late: list[Any] = []
    go_on: asyncio.Event

    async def outlive() -> None:
        await go_on.wait()
        session = get_current_session()
        with pytest.raises(SessionCommitted):
            session["n"] = 99
        late.append(session["n"])

    async def app(scope: Any, receive: Any, send: Any) -> None:
        session = get_current_session()
        session["n"] = scope["test.n"]
        if scope["test.n"] == 1:
            tasks.append(asyncio.create_task(outlive()))
        await respond(send)

    tasks: list[asyncio.Task[None]] = []
    middleware = wrap(app)
    site = Site(clock=middleware.manager.clock)
    browsers = [Browser(), Browser()]

    async def main() -> None:
        nonlocal go_on
        go_on = asyncio.Event()
        for number, browser in enumerate(browsers, 1):
            await serve(middleware, browser, extra={"test.n": number})
        go_on.set()
        await tasks[0]

    asyncio.run(main())
    assert late == [1]
    assert [site.read(browser) for browser in browsers] == [{"n": 1}, {"n": 2}]


def test_two_middlewares_around_each_other() -> None:
    """An application within an application, each with a session of its own, gets two cookies with the right values."""

    async def inner(scope: Any, receive: Any, send: Any) -> None:
        session = get_current_session()
        session["inner"] = session.get("inner", 0) + 1
        assert "outer" not in session
        await respond(send)

    async def outer(scope: Any, receive: Any, send: Any) -> None:
        session = get_current_session()
        session["outer"] = session.get("outer", 0) + 1
        assert "inner" not in session
        await wrapped_inner(scope, receive, send)
        assert get_current_session() is session

    clock = FakeClock()
    names = {name: CookieOptions(name=name) for name in ("inner", "outer")}
    wrapped_inner = wrap(inner, clock=clock, cookie=names["inner"], audience="inner")
    wrapped_outer = wrap(outer, clock=clock, cookie=names["outer"])
    browser = Browser()
    for _ in range(2):
        asyncio.run(serve(wrapped_outer, browser))
    assert set(browser.cookies) == {"inner", "outer"}
    assert Site(clock=clock, cookie=names["outer"]).read(browser) == {"outer": 2}
    assert Site(clock=clock, cookie=names["inner"], audience="inner").read(browser) == {"inner": 2}


def test_the_outer_middleware_loads_again_after_the_inner_one() -> None:
    """What the inner of two middlewares leaves in the scope is not in the way of the outer one."""

    async def outer(scope: Any, receive: Any, send: Any) -> None:
        response = Response()
        await wrap(respond_to_it, cookie=CookieOptions(name="inner"))(scope, receive, response.send)
        session = await load_session(scope)
        session.incr("n")
        await respond(send)

    async def respond_to_it(scope: Any, receive: Any, send: Any) -> None:
        await respond(send)

    middleware, site = with_big_session(outer, eager=False)
    asyncio.run(serve(middleware, site.browser))
    assert site.read()["n"] == 2


def test_set_current_session_stays_in_its_request() -> None:
    """While one request has made another session the current one, requests beside it have theirs."""
    turn: asyncio.Event
    middleware: SessionMiddleware

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["test.switches"]:
            set_current_session(middleware.manager.open(None).session)
            get_current_session()["switched"] = True
            turn.set()
        else:
            await turn.wait()
            get_current_session()["switched"] = False
        await respond(send)

    middleware = wrap(app)
    browsers = [Browser(), Browser()]

    async def main() -> None:
        nonlocal turn
        turn = asyncio.Event()
        await asyncio.gather(
            serve(middleware, browsers[0], extra={"test.switches": False}),
            serve(middleware, browsers[1], extra={"test.switches": True}),
        )
        with pytest.raises(UsageError):
            get_current_session()

    asyncio.run(main())
    site = Site(clock=middleware.manager.clock)
    assert [site.read(browser) for browser in browsers] == [{"switched": False}, {"switched": True}]


def test_nothing_is_left_of_a_request() -> None:
    """When a request is over its session is freed at once, without waiting for the garbage collector."""
    kept: list[weakref.ref[Any]] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        scope["session"]["n"] = 1
        kept.append(weakref.ref(scope.pop("session")))
        await respond(send)

    middleware = wrap(app)
    gc.collect()
    gc.disable()
    try:
        asyncio.run(serve(middleware, Browser()))
        assert [reference() for reference in kept] == [None]
    finally:
        gc.enable()


def increments_and_own_keys(name: str) -> Callable[[Session], None]:
    def act(session: Session) -> None:
        session.incr("n")
        session[name] = True

    return act


@pytest.mark.memcached
@pytest.mark.timeout(240)
def test_overlapping_requests_over_real_stores(memcached: MemcachedServer, tmp_path: Path) -> None:
    """Eight requests of one user, all loaded before the first is saved, lose neither keys nor increments."""
    cache = Memcached([memcached.address], timeout=5)
    stores = Stores(cache=cache, durable=SQLite(tmp_path / "sessions.sqlite3", timeout=30))
    number = 8
    everybody: asyncio.Event

    async def app(scope: Any, receive: Any, send: Any) -> None:
        act = scope.get("test.act")
        if act is None:
            get_current_session().update(n=0, big=big())
        else:
            waiting.append(scope)
            if len(waiting) == number:
                everybody.set()
            await everybody.wait()
            act(get_current_session())
        await respond(send)

    waiting: list[Any] = []
    middleware = SessionMiddleware(app, KEY, stores=stores)
    browser = Browser()

    async def main() -> dict[str, Any]:
        nonlocal everybody
        everybody = asyncio.Event()
        await serve(middleware, browser)
        acts = [increments_and_own_keys(f"request {each}") for each in range(number)]
        responses = await asyncio.gather(*(serve(middleware, browser.copy(), extra={"test.act": act}) for act in acts))
        assert [response.status for response in responses] == [200] * number
        exchange = middleware.manager.open(browser.header)
        await arun(exchange.load(), middleware.stores)
        return dict(exchange.session)

    kept = asyncio.run(main())
    assert kept["n"] == number
    assert {f"request {each}" for each in range(number)} <= set(kept)
    stores.close()
