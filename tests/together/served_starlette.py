"""The walk's application in Starlette. What its pages do is in `pages.py`."""

from holdall_asgi import SessionMiddleware
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.routing import Route

from tests.together import pages


async def handle(request: Request) -> Response:
    """All pages."""
    query = request.query_params
    match request.path_params["name"]:
        case "visit":
            request.session["n"] = request.session.get("n", 0) + 1
        case "incr":
            request.session.incr("n")  # type: ignore[attr-defined]  # declared as a dict
        case "put":
            request.session[query["key"]] = pages.text(int(query["size"]))
        case "fill":
            request.session.update(pages.VALUES)
        case "login":
            request.session.regenerate_id()  # type: ignore[attr-defined]
            request.session.bind(pages.PRINCIPAL)  # type: ignore[attr-defined]
        case "logout":
            request.session.terminate()  # type: ignore[attr-defined]
    return RedirectResponse(query["then"], 303) if "then" in query else HTMLResponse(pages.page(request.session))


def make_application() -> Starlette:
    """Return the application with its sessions."""
    app = Starlette(routes=[Route("/{name}", handle)])
    app.add_middleware(SessionMiddleware, **pages.options())
    return app
