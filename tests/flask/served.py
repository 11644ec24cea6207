"""A Flask application for real servers: the child's side of `test_servers.py`.

The environment has the key in HOLDALL_TEST_KEY and the instance folder in HOLDALL_TEST_INSTANCE, and says where
sessions go: HOLDALL_TEST_CACHE and HOLDALL_TEST_DURABLE are URLs, and neither means the default.
"""

import os
import random
from collections.abc import Iterator
from typing import Any

from flask import Flask, Response, session, stream_with_context
from holdall_flask import Holdall, get_current_session

holdall = Holdall()


def shown() -> dict[str, Any]:
    return {"n": session.get("n"), "payload": len(session.get("payload", "")), "pid": os.getpid()}


def count(size: int) -> dict[str, Any]:
    """Count a visit, and put that many characters beside the count."""
    session["n"] = session.get("n", 0) + 1
    session["payload"] = random.Random(session["n"]).randbytes(size // 2).hex()
    assert get_current_session()["n"] == session["n"]
    return shown()


def incr() -> dict[str, Any]:
    """Count a visit so that requests that overlap all count."""
    get_current_session().incr("n")
    return shown()


def late() -> Response:
    """Count a visit while the body streams."""

    def body() -> Iterator[str]:
        yield "["
        get_current_session().incr("n")
        yield "]"

    return Response(stream_with_context(body()))


async def read() -> dict[str, Any]:
    """Look at the session."""
    return shown()


def logout() -> dict[str, Any]:
    """End the session, in Flask's words."""
    session.clear()
    return {}


def make_application() -> Flask:
    """Return the application as the environment wants it."""
    app = Flask("served", instance_path=os.environ["HOLDALL_TEST_INSTANCE"])
    app.config["SECRET_KEY"] = os.environ["HOLDALL_TEST_KEY"]
    for name in ("CACHE", "DURABLE"):
        app.config[f"HOLDALL_{name}"] = os.environ.get(f"HOLDALL_TEST_{name}")
    app.config["HOLDALL_NO_DATASTORE"] = bool(app.config["HOLDALL_CACHE"] and not app.config["HOLDALL_DURABLE"])
    holdall.init_app(app)
    app.add_url_rule("/count/<int:size>", "count", count)
    for view in (incr, late, read, logout):
        app.add_url_rule(f"/{view.__name__}", view.__name__, view)
    app.add_url_rule("/untouched", "untouched", dict)
    return app
