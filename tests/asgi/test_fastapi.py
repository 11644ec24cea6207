"""FastAPI: the typed dependency, in endpoints of every kind, in other dependencies and in websockets."""

import json
from collections.abc import AsyncIterator, Iterator
from typing import Annotated, Any

import holdall
import pytest
from fastapi import BackgroundTasks, Depends, FastAPI, HTTPException, Request, WebSocket
from fastapi.responses import PlainTextResponse
from holdall import SessionUnavailable, Tier, UsageError
from holdall.testing import FakeClock, RecordingStores
from holdall_asgi import SessionMiddleware
from holdall_asgi.fastapi import CurrentSession, current_session

from tests.asgi.clients import TestClient
from tests.core.support import KEY

HTTPS = "https://testserver"


def current_user(session: CurrentSession) -> str:
    """A dependency that depends on the session, as applications have them."""
    if "user" not in session:
        raise HTTPException(401)
    return str(session["user"])


def site(**options: Any) -> tuple[FastAPI, TestClient, RecordingStores]:
    """Return an application, a client that visits it, and its stores."""
    app = FastAPI()
    stores = RecordingStores(FakeClock())
    app.add_middleware(SessionMiddleware, cookie_key=KEY, stores=stores, clock=stores._clock, **options)

    @app.post("/login/{user}")
    async def login(session: CurrentSession, user: str, size: int = 0) -> None:
        session["user"] = user
        session["payload"] = "x" * size
        session.regenerate_id()

    @app.post("/logout", status_code=204)
    def logout(session: CurrentSession) -> None:
        session.terminate()

    @app.get("/count")
    async def count(session: CurrentSession) -> int:
        session["n"] = session.get("n", 0) + 1
        return int(session["n"])

    @app.get("/count-in-a-thread")
    def count_in_a_thread(session: CurrentSession) -> int:
        return int(session.incr("n"))

    @app.get("/me")
    async def me(user: Annotated[str, Depends(current_user)]) -> str:
        return user

    return app, TestClient(app, base_url=HTTPS, raise_server_exceptions=False), stores


@pytest.mark.parametrize("eager", [True, False])
@pytest.mark.parametrize("size", [0, 20_000])
def test_endpoints_get_the_session(eager: bool, size: int) -> None:
    """Async and sync endpoints and dependencies have the session as a parameter, loaded, whatever its size."""
    _, client, _ = site(eager=eager)
    assert client.get("/me").status_code == 401
    client.post(f"/login/anna?size={size}")
    assert client.get("/me").json() == "anna"
    assert [client.get("/count").json(), client.get("/count-in-a-thread").json()] == [1, 2]
    assert client.post("/logout").status_code == 204
    assert client.get("/me").status_code == 401
    assert dict(client.cookies) == {}


def test_it_is_no_parameter_of_the_request() -> None:
    """The session does not appear in the application's OpenAPI description."""
    app, client, _ = site()
    operation = client.get("/openapi.json").json()["paths"]["/count"]["get"]
    assert "parameters" not in operation
    assert "requestBody" not in operation
    assert "session" not in json.dumps(app.openapi()).lower()


def test_it_is_the_requests_session() -> None:
    """The dependency's session, request.session and get_current_session() are one."""
    app, client, _ = site()

    @app.get("/same")
    async def same(request: Request, session: CurrentSession) -> bool:
        assert isinstance(session, holdall.Session)
        return session is request.scope["session"] and session is holdall.get_current_session()

    assert client.get("/same").json() is True


def test_an_endpoint_that_does_not_ask_for_it_costs_nothing() -> None:
    """With eager=False only endpoints that have the session as a parameter read a store."""
    app, client, stores = site(eager=False)

    @app.get("/plain")
    async def plain() -> str:
        return "hello"

    client.post("/login/anna?size=20000")
    stores.commands.clear()
    assert "vary" not in client.get("/plain").headers
    assert stores.commands == []
    client.get("/me")
    assert len(stores.commands) == 1


@pytest.mark.parametrize("eager", [True, False])
def test_503_when_the_store_is_down(eager: bool) -> None:
    """An endpoint whose session cannot be loaded or saved is answered with 503, and the cookie is kept."""
    _, client, stores = site(eager=eager)
    client.post("/login/anna?size=20000")
    for tiers in ({Tier.CACHE, Tier.DURABLE}, {Tier.DURABLE}):
        stores.down = tiers
        response = client.get("/count")
        assert (response.status_code, response.headers["retry-after"]) == (503, "5")
        assert "set-cookie" not in response.headers
    stores.down = set()
    assert client.get("/count").json() == 1


def test_an_exception_handler_of_ones_own() -> None:
    """FastAPI's exception handlers see SessionUnavailable from the dependency."""
    app, client, stores = site(eager=False)

    @app.exception_handler(SessionUnavailable)
    async def sorry(request: Request, error: SessionUnavailable) -> PlainTextResponse:
        return PlainTextResponse("sorry", 503)

    client.post("/login/anna?size=20000")
    stores.down = {Tier.CACHE, Tier.DURABLE}
    assert client.get("/count").text == "sorry"


def test_dependencies_that_yield_and_background_tasks() -> None:
    """What a dependency changes after its yield, and a background task after that, is saved for a stored session."""
    app, client, _ = site()

    async def audited(session: CurrentSession) -> AsyncIterator[None]:
        session["audit"] = ["before"]
        yield
        session["audit"].append("after")

    def audited_in_a_thread(session: CurrentSession) -> Iterator[None]:
        yield
        session["thread"] = True

    @app.get("/work", dependencies=[Depends(audited), Depends(audited_in_a_thread)])
    async def work(tasks: BackgroundTasks, session: CurrentSession) -> None:
        tasks.add_task(lambda: session.update(task=True))

    @app.get("/show")
    async def show(session: CurrentSession) -> dict[str, Any]:
        return {key: session.get(key) for key in ("audit", "thread", "task")}

    client.post("/login/anna?size=20000")
    client.get("/work")
    assert client.get("/show").json() == {"audit": ["before", "after"], "thread": True, "task": True}


@pytest.mark.parametrize("eager", [True, False])
def test_websockets_get_the_session(eager: bool) -> None:
    """A websocket's endpoint has the same parameter."""
    app, client, _ = site(eager=eager)

    @app.websocket("/socket")
    async def socket(websocket: WebSocket, session: CurrentSession) -> None:
        await websocket.accept()
        await websocket.send_text(session["user"])
        session.incr("n")
        await websocket.close()

    client.post("/login/anna?size=20000")
    with client.websocket_connect("wss://testserver/socket") as connection:
        assert connection.receive_text() == "anna"
        assert connection.receive()["type"] == "websocket.close"
    assert client.get("/count").json() == 2


def test_dependency_overrides() -> None:
    """A test may put a session of its own in the place of the request's, as FastAPI documents it."""
    app, client, _ = site()
    mine = {"user": "somebody"}
    app.dependency_overrides[current_session] = lambda: mine
    assert client.get("/me").json() == "somebody"


def test_without_the_middleware_it_says_so() -> None:
    """An application without the middleware is told what is missing."""
    app = FastAPI()

    @app.get("/")
    async def index(session: CurrentSession) -> None: ...

    with pytest.raises(UsageError, match="SessionMiddleware"):
        TestClient(app).get("/")
