"""The demo as a WSGI application: the middleware around it, and its session in the environ."""

from collections.abc import Iterable
from http import HTTPStatus
from typing import TYPE_CHECKING

from holdall_wsgi import SessionMiddleware

from .parts import Parts
from .web import LONGEST_FORM, Asked, read_form

if TYPE_CHECKING:
    from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment


def make(parts: Parts) -> "WSGIApplication":
    """Make the application."""

    def application(environ: "WSGIEnvironment", start_response: "StartResponse") -> Iterable[bytes]:
        length = min(int(environ.get("CONTENT_LENGTH") or 0), LONGEST_FORM)
        asked = Asked(
            method=environ["REQUEST_METHOD"],
            path=environ["PATH_INFO"] or "/",
            query=read_form(environ.get("QUERY_STRING", "")),
            form=read_form(environ["wsgi.input"].read(length)),
            origin=environ.get("HTTP_ORIGIN"),
            agent=environ.get("HTTP_USER_AGENT", ""),
            get_session=lambda: environ["holdall.session"],
            people=middleware,
        )
        status, headers, text = parts.demo(asked)
        body = text.encode()
        start_response(f"{status} {HTTPStatus(status).phrase}", [*headers, ("Content-Length", str(len(body)))])
        return [body if asked.method != "HEAD" else b""]

    middleware = SessionMiddleware(
        application,
        parts.key,
        stores=parts.stores,
        clock=parts.clock,
        on_event=parts.on_event,
        on_receipt=parts.on_receipt,
        store_budget=parts.store_budget,
    )
    return middleware
