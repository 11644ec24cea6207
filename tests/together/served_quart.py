"""The walk's application in Quart. What its pages do is in `pages.py`."""

from holdall_asgi import get_current_session
from holdall_asgi.quart import Holdall
from quart import Quart, redirect, request, session
from quart.typing import ResponseReturnValue

from tests.together import pages


async def handle(name: str) -> ResponseReturnValue:
    """All pages."""
    match name:
        case "visit":
            session["n"] = session.get("n", 0) + 1
        case "incr":
            get_current_session().incr("n")
        case "put":
            session[request.args["key"]] = pages.text(int(request.args["size"]))
        case "fill":
            session.update(pages.VALUES)
        case "login":
            get_current_session().regenerate_id()
            get_current_session().bind(pages.PRINCIPAL)
        case "logout":
            session.clear()
    return redirect(request.args["then"], 303) if "then" in request.args else pages.page(session)


def make_application() -> Quart:
    """Return the application with its sessions, configured as Quart's users do."""
    app = Quart("served")
    app.config.update(
        SECRET_KEY=pages.key(),
        SESSION_COOKIE_NAME=pages.COOKIE,
        SESSION_COOKIE_SECURE=True,
        HOLDALL_AUDIENCE=pages.AUDIENCE,
        **{f"HOLDALL_{tier.upper()}": url for tier, url in pages.urls().items()},
    )
    Holdall(app)
    app.add_url_rule("/<name>", view_func=handle)
    return app
