"""The demo as an ASGI application, with Starlette: `request.session` is the session.

The views are plain functions, which run in threads. `eager=False`: the session is loaded where it is asked for, so that
a request that leaves it alone costs nothing.
"""

from functools import partial

import holdall_asgi
from anyio.from_thread import run as run_in_loop
from holdall import BoundSession
from holdall_asgi import SessionMiddleware, load_session
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from .parts import Parts
from .web import LONGEST_FORM, Asked, read_form

METHODS = ["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]


class _People:
    """Somebody's sessions, for code that runs in a thread."""

    def __init__(self, request: Request) -> None:
        self._request = request

    def sessions_of(self, principal: str) -> list[BoundSession]:
        """Return the sessions that are bound to somebody."""
        return run_in_loop(holdall_asgi.sessions_of, self._request, principal)

    def revoke(self, principal: str, *, except_sid: str | None = None, only: str | None = None) -> None:
        """End all of somebody's sessions, or all but one, or one."""
        run_in_loop(partial(holdall_asgi.revoke, self._request, principal, except_sid=except_sid, only=only))


def make(parts: Parts) -> Starlette:
    """Make the application."""

    async def show(request: Request) -> Response:
        form = b""
        async for chunk in request.stream():
            form += chunk[: LONGEST_FORM - len(form)]
        asked = Asked(
            method=request.method,
            path=request.url.path,
            query=dict(request.query_params),
            form=read_form(form),
            origin=request.headers.get("Origin"),
            agent=request.headers.get("User-Agent", ""),
            get_session=lambda: run_in_loop(load_session, request),
            people=_People(request),
        )
        status, headers, body = await run_in_threadpool(parts.demo, asked)
        return Response(body, status, dict(headers))

    sessions = Middleware(
        SessionMiddleware,
        cookie_key=parts.key,
        stores=parts.stores,
        eager=False,
        clock=parts.clock,
        on_event=parts.on_event,
        on_receipt=parts.on_receipt,
        store_budget=parts.store_budget,
    )
    return Starlette(routes=[Route("/{path:path}", show, methods=METHODS)], middleware=[sessions])
