"""Holdall for FastAPI: the session as a typed dependency. The middleware is the same as for every ASGI application.

app.add_middleware(SessionMiddleware, cookie_key=KEY)

@app.get("/")
async def index(session: CurrentSession) -> ...
"""

from typing import Annotated

from fastapi import Depends
from fastapi.requests import HTTPConnection
from holdall import Session

from holdall_asgi.middleware import load_session


async def current_session(connection: HTTPConnection) -> Session:
    """Return the session of a request or websocket, loaded: for `Depends`.

    Raises what `load_session` raises.
    """
    return await load_session(connection)


CurrentSession = Annotated[Session, Depends(current_session)]
"""The type of an endpoint's parameter that is the session, whether the endpoint is `async` or not."""
