"""Litestar: `request.session`, `set_session` and `clear_session`, and what Litestar makes of exceptions."""

import threading
from typing import Any

import pytest
from holdall import Tier
from holdall.testing import FakeClock, RecordingStores
from holdall_asgi import SessionMiddleware, get_current_session, load_session
from litestar import Litestar, Request, WebSocket, get, post, websocket
from litestar.exceptions import WebSocketDisconnect
from litestar.middleware import DefineMiddleware
from litestar.testing import TestClient

from tests.asgi.support import PATIENCE
from tests.core.support import KEY, big

HTTPS = "https://testserver.local"


@get("/count")
async def count(request: Request[Any, Any, Any]) -> int:
    request.session["n"] = request.session.get("n", 0) + 1
    return int(request.session["n"])


@get("/count-in-a-thread", sync_to_thread=True)
def count_in_a_thread(request: Request[Any, Any, Any]) -> int:
    return int(get_current_session().incr("n"))


@get("/show")
async def show(request: Request[Any, Any, Any]) -> dict[str, Any]:
    return {key: value for key, value in (await load_session(request)).items() if key != "big"}


@post("/big", status_code=204)
async def make_big(request: Request[Any, Any, Any]) -> None:
    request.session.update(n=0, big=big())


@post("/set", status_code=204)
async def set_session(request: Request[Any, Any, Any]) -> None:
    request.set_session({"user": "anna"})


@post("/set-wrong")
async def set_wrong(request: Request[Any, Any, Any]) -> None:
    request.set_session(["no", "dict"])


@post("/clear", status_code=204)
async def clear_session(request: Request[Any, Any, Any]) -> None:
    request.clear_session()


class Site:
    """A Litestar application with the middleware around its handlers, or around the whole."""

    def __init__(self, *handlers: Any, outside: bool = False, **options: Any) -> None:
        self.stores = RecordingStores(FakeClock())
        options = {"cookie_key": KEY, "stores": self.stores, "clock": self.stores._clock, **options}
        all_handlers = [*handlers, count, count_in_a_thread, show, make_big, set_session, set_wrong, clear_session]
        inner = [] if outside else [DefineMiddleware(SessionMiddleware, **options)]
        app: Any = Litestar(all_handlers, middleware=inner, logging_config=None)
        self.app = SessionMiddleware(app, **options) if outside else app


@pytest.mark.parametrize("outside", [False, True])
@pytest.mark.parametrize("size", ["small", "big"])
def test_sessions_work(outside: bool, size: str) -> None:
    """Async handlers and those in threads have the session, in the cookie and in a store."""
    with TestClient(Site(outside=outside).app, base_url=HTTPS) as client:
        if size == "big":
            client.post("/big")
        answers = [client.get(path).json() for path in ("/count", "/count-in-a-thread", "/count")]
        assert answers == [1, 2, 3]


@pytest.mark.parametrize("size", ["small", "big"])
def test_set_session_replaces_it(size: str) -> None:
    """request.set_session() with a dict leaves what is in that dict, and nothing else."""
    with TestClient(Site().app, base_url=HTTPS) as client:
        client.get("/count")
        if size == "big":
            client.post("/big")
        assert client.post("/set").status_code == 204
        assert client.get("/show").json() == {"user": "anna"}


@pytest.mark.parametrize("size", ["small", "big"])
def test_clear_session_ends_it(size: str) -> None:
    """request.clear_session() is a logout: the cookie is deleted, and a copy of a stored session's opens nothing."""
    with TestClient(Site().app, base_url=HTTPS) as client:
        client.get("/count")
        if size == "big":
            client.post("/big")
        stolen = dict(client.cookies)
        assert client.post("/clear").status_code == 204
        assert dict(client.cookies) == {}
        assert client.get("/show").json() == {}
        if size == "big":
            client.cookies.update({name: value for name, value in stolen.items() if name.endswith("-ref")})
            assert client.get("/show").json() == {}


def test_set_session_with_something_else_says_so() -> None:
    """What is no dict is refused, and not dropped in silence."""
    with TestClient(Site().app, base_url=HTTPS, raise_server_exceptions=False) as client:
        assert client.post("/set-wrong").status_code == 500


def test_taken_out_of_the_scope() -> None:
    """A handler that takes the session out of the scope has still changed it."""

    @get("/take")
    async def take(request: Request[Any, Any, Any]) -> None:
        scope: Any = request.scope
        scope.pop("session")["n"] = 5

    with TestClient(Site(take).app, base_url=HTTPS) as client:
        assert client.get("/take").status_code == 200
        assert client.get("/count").json() == 6


@pytest.mark.parametrize("outside", [False, True])
@pytest.mark.parametrize("eager", [False, True])
def test_503_when_the_store_is_down(outside: bool, eager: bool) -> None:
    """Where Litestar makes a 500 of SessionUnavailable, 503 is sent in its place."""
    site = Site(outside=outside, eager=eager)
    with TestClient(site.app, base_url=HTTPS, raise_server_exceptions=False) as client:
        client.post("/big")
        site.stores.down = {Tier.CACHE, Tier.DURABLE}
        response = client.get("/show")
        assert (response.status_code, response.headers["retry-after"]) == (503, "5")
        site.stores.down = set()
        assert client.get("/show").json() == {"n": 0}


def test_websockets() -> None:
    """A websocket handler reads the session, and its late changes of a stored one are saved."""

    @websocket("/socket")
    async def socket(socket: WebSocket[Any, Any, Any]) -> None:
        await socket.accept()
        await socket.send_json(socket.session["n"])
        get_current_session()["n"] = 5
        await socket.close()

    site, done = Site(socket), threading.Event()

    async def whole(scope: Any, receive: Any, send: Any) -> None:
        await site.app(scope, receive, send)
        if scope["type"] == "websocket":
            done.set()  # Litestar's client does not wait for that

    with TestClient(whole, base_url=HTTPS) as client:
        client.post("/big")
        cookie = "; ".join(f"{name}={value}" for name, value in client.cookies.items())
        with client.websocket_connect("/socket", headers={"cookie": cookie}) as connection:
            assert connection.receive_json() == 0
            with pytest.raises(WebSocketDisconnect):
                connection.receive()
            assert done.wait(PATIENCE)
        assert client.get("/count").json() == 6
