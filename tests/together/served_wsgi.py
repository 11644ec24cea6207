"""The walk's application in plain WSGI. What its pages do is in `pages.py`."""

from collections.abc import Iterable
from urllib.parse import parse_qsl
from wsgiref.types import StartResponse, WSGIEnvironment

from holdall_wsgi import SessionMiddleware, get_current_session

from tests.together import pages


def application(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    """All pages."""
    session = get_current_session()
    query = dict(parse_qsl(environ["QUERY_STRING"]))
    match environ["PATH_INFO"]:
        case "/visit":
            session["n"] = session.get("n", 0) + 1
        case "/incr":
            session.incr("n")
        case "/put":
            session[query["key"]] = pages.text(int(query["size"]))
        case "/fill":
            session.update(pages.VALUES)
        case "/login":
            session.regenerate_id()
            session.bind(pages.PRINCIPAL)
        case "/logout":
            session.terminate()
    if "then" in query:
        start_response("303 See Other", [("Location", query["then"])])
        return []
    start_response("200 OK", [("Content-Type", "text/html")])
    return [pages.page(session).encode()]


def make_application() -> SessionMiddleware:
    """Return the application with its sessions."""
    return SessionMiddleware(application, **pages.options())
