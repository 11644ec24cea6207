"""The example as an application for real servers: the child's side of `serving.py`.

The environment says where sessions go: HOLDALL_TEST_KEYS, and HOLDALL_TEST_CACHE and HOLDALL_TEST_DURABLE, which are
URLs; neither means the default. The first argument of the program is the file descriptor of a socket that listens.
"""

import os
import random
import socket
import sys
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import parse_qs

import uvicorn
from holdall_asgi import CookieOptions, SessionMiddleware, get_current_session
from holdall_stores import Stores
from starlette.applications import Starlette
from starlette.background import BackgroundTask
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocket, WebSocketDisconnect


def held() -> dict[str, Any]:
    session = get_current_session()
    return {"n": session.get("n"), "payload": len(session.get("payload", "")), "pid": os.getpid()}


async def example(request: Request) -> Response:
    """Count visits; `?size=` puts that many characters beside the count. Answers with what the session then holds."""
    session = get_current_session()
    match request.url.path:
        case "/count":
            session["n"] = session.get("n", 0) + 1
        case "/incr":
            session.incr("n")
        case "/logout":
            session.terminate()
    query = parse_qs(request.url.query)
    if "size" in query:
        session["payload"] = random.Random(session["n"]).randbytes(int(query["size"][0]) // 2).hex()
    return JSONResponse(held())


def in_a_thread(request: Request) -> Response:
    """Count visits in an endpoint that is not async."""
    get_current_session().incr("n")
    return JSONResponse(held())


async def untouched(request: Request) -> Response:
    """Leave the session alone."""
    return JSONResponse({})


async def late(request: Request) -> Response:
    """Count twice more after the headers: in the body, and in a background task."""
    session = get_current_session()

    async def body() -> AsyncIterator[bytes]:
        session.incr("n")
        yield b"{}"

    return StreamingResponse(body(), background=BackgroundTask(lambda: session.incr("n")))


class NoResponse(Response):
    """What is answered to nobody."""

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Send nothing."""


async def hang(request: Request) -> Response:
    """Change the session, and wait until the client has gone."""
    get_current_session()["n"] = -1
    while (await request.receive())["type"] != "http.disconnect":
        pass
    return NoResponse()


async def websocket(connection: WebSocket) -> None:
    """Count the connection with its accept, then every text, and answer each with what the session holds."""
    session = get_current_session()
    session.incr("n")
    await connection.accept()
    try:
        while await connection.receive_text() != "bye":
            session.incr("n")
            await connection.send_json(held())
        await connection.close()
    except WebSocketDisconnect:
        pass


ROUTES = [
    Route("/untouched", untouched),
    Route("/thread", in_a_thread),
    Route("/late", late),
    Route("/hang", hang),
    WebSocketRoute("/socket", websocket),
    Route("/{rest:path}", example),
]


def make_application() -> Starlette:
    """Return the application as the environment wants it."""
    cache, durable = os.environ.get("HOLDALL_TEST_CACHE"), os.environ.get("HOLDALL_TEST_DURABLE")
    app = Starlette(routes=ROUTES)
    app.add_middleware(
        SessionMiddleware,
        cookie_key=os.environ["HOLDALL_TEST_KEYS"].split(","),
        stores=Stores.from_urls(cache=cache, durable=durable) if cache or durable else None,
        cookie=CookieOptions(),
    )
    return app


if __name__ == "__main__":
    listener = socket.socket(fileno=int(sys.argv[1]))
    config = uvicorn.Config(make_application(), log_level="info", access_log=False, ws="wsproto")
    uvicorn.Server(config).run(sockets=[listener])
