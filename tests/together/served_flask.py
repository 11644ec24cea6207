"""The walk's application in Flask. What its pages do is in `pages.py`."""

from flask import Flask, redirect, request, session
from flask.typing import ResponseReturnValue
from holdall_flask import Holdall, get_current_session

from tests.together import pages


def visit() -> None:
    session["n"] = session.get("n", 0) + 1


def incr() -> None:
    get_current_session().incr("n")


def put() -> None:
    session[request.args["key"]] = pages.text(int(request.args["size"]))


def fill() -> None:
    session.update(pages.VALUES)


def login() -> None:
    get_current_session().regenerate_id()
    get_current_session().bind(pages.PRINCIPAL)


def logout() -> None:
    session.clear()


VIEWS = {view.__name__: view for view in (visit, incr, put, fill, login, logout)}


def handle(name: str) -> ResponseReturnValue:
    """All pages."""
    if name in VIEWS:
        VIEWS[name]()
    return redirect(request.args["then"], 303) if "then" in request.args else pages.page(session)


def make_application() -> Flask:
    """Return the application with its sessions, configured as Flask's users do."""
    app = Flask("served")
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
