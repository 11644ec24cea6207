"""The demo as a Flask application: `flask.session` is the session."""

from flask import Flask, Response, request, session
from holdall_flask import Holdall

from .parts import Parts
from .web import LONGEST_FORM, Asked

METHODS = ["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]


def make(parts: Parts) -> Flask:
    """Make the application."""
    app = Flask(__name__, static_folder=None)
    app.config.update(SECRET_KEY=parts.key, SESSION_COOKIE_SECURE=True, MAX_CONTENT_LENGTH=LONGEST_FORM)
    holdall = Holdall(
        app,
        stores=parts.stores,
        clock=parts.clock,
        on_event=parts.on_event,
        on_receipt=parts.on_receipt,
        store_budget=parts.store_budget,
    )

    @app.route("/", defaults={"path": ""}, methods=METHODS)
    @app.route("/<path:path>", methods=METHODS)
    def show(path: str) -> Response:
        asked = Asked(
            method=request.method,
            path=f"/{path}",
            query=request.args.to_dict(),
            form=request.form.to_dict(),
            origin=request.headers.get("Origin"),
            agent=request.user_agent.string,
            get_session=lambda: session,
            people=holdall,
        )
        status, headers, body = parts.demo(asked)
        return Response(body, status, headers)

    return app
