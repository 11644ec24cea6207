"""docs/moving-in.md is true: its examples run and let sessions of before move in, and its table has every name."""

import json
import re
import time
from pathlib import Path
from typing import Any

import flask
import pytest
from holdall import generate_key, run
from itsdangerous import Signer
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.sessions import SessionMiddleware as StarlettesOwn
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from tests.asgi.clients import TestClient
from tests.core.support import World
from tests.stores.original import BY_NAME, MADE
from tests.wsgi.support import serve

PAGE = (Path(__file__).parents[2] / "docs" / "moving-in.md").read_text(encoding="utf-8")
BLOCKS: list[str] = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
OLD_KEY = "an old key of the application, of 32 bytes"

# What the original defines and an application may have used: of its module, its session and its middleware.
NAMES = (
    "SessionMiddleware",
    "DjangoSessionMiddleware",
    "get_current_session",
    "set_current_session",
    "delete_expired_sessions",
    "Session",
    "SessionModel",
    "is_gaesessions_key",
    "COOKIE_NAME_PREFIX",
    "COOKIE_PATH",
    "DEFAULT_COOKIE_ONLY_THRESH",
    "DEFAULT_LIFETIME",
    "SID_LEN",
    "SIG_LEN",
    "MAX_COOKIE_LEN",
    "EXPIRE_COOKIE_FMT",
    "COOKIE_FMT",
    "COOKIE_FMT_SECURE",
    "COOKIE_DATE_FMT",
    "COOKIE_OVERHEAD",
    "MAX_DATA_PER_COOKIE",
    "DIRTY_BUT_DONT_PERSIST_TO_DB",
    "make_cookie_headers",
    "is_active",
    "is_ssl_only",
    "is_accessed",
    "ensure_data_loaded",
    "get_expiration",
    "regenerate_id",
    "start",
    "terminate",
    "save",
    "clear",
    "get",
    "has_key",
    "pop",
    "pop_quick",
    "set_quick",
    "sid",
    "cookie_keys",
    "cookie_data",
    "data",
    "dirty",
    "lifetime",
    "no_datastore",
    "cookie_only_thresh",
    "base_key",
    "db_key",
    "cookie_key",
    "cookie_only_threshold",
    "expiration_ts",
    "ssl_only",
    "clear_data",
    "persist_even_if_using_cookie",
    "webapp_add_wsgi_middleware",
)


def names_of(block: str) -> dict[str, Any]:
    """Run one example, with keys where it says which."""
    source = re.sub(r'"<the output of: [^"]*>"', repr(generate_key()), block)
    source = source.replace('b"<the cookie_key of gae-sessions>"', repr(MADE["key"].encode()))
    source = re.sub(r'"<[^"]*>"', repr(OLD_KEY), source)
    names: dict[str, Any] = {"__name__": "example"}
    exec(compile(source, "docs/moving-in.md", "exec"), names)  # the examples are ours
    return names


def block_with(text: str) -> str:
    (block,) = [block for block in BLOCKS if text in block]
    return block


def show() -> dict[str, Any]:
    return dict(flask.session)


def test_flask(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The Flask example reads a cookie of Flask's own."""
    monkeypatch.setenv("HOLDALL_SQLITE", str(tmp_path / "sessions.db"))
    before = flask.Flask("before")
    before.secret_key = OLD_KEY
    before.add_url_rule("/", view_func=lambda: (flask.session.update(user="ada"), "")[1])
    cookie = before.test_client().get("/").headers["Set-Cookie"].partition(";")[0].partition("=")[2]
    app = names_of(block_with("FlaskSessions"))["app"]
    app.add_url_rule("/", view_func=show)
    client = app.test_client()
    client.set_cookie("session", cookie)

    assert client.get("/").json == {"user": "ada"}
    with app.app_context():
        app.extensions["holdall"].stores.close()


async def show_request(request: Request) -> JSONResponse:
    request.session.setdefault("user", "ada")
    return JSONResponse(dict(request.session))


def test_starlette(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The Starlette example reads a cookie of Starlette's own."""
    monkeypatch.setenv("HOLDALL_SQLITE", str(tmp_path / "sessions.db"))
    route = Route("/", show_request)
    before = TestClient(Starlette(routes=[route], middleware=[Middleware(StarlettesOwn, secret_key=OLD_KEY)]))
    before.get("/")
    cookie = str(*before.cookies.values())
    names = names_of(block_with("StarletteSessions"))
    world = World(moving_in=names["moving_in"])
    world.clock.now = time.time()
    world.browser.cookies = {"session": cookie}

    assert world.read() == {"user": "ada"}
    assert names["app"].user_middleware


def test_gae_sessions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The example of gae-sessions reads a cookie of the original."""
    monkeypatch.setenv("HOLDALL_SQLITE", str(tmp_path / "sessions.db"))
    application = names_of(block_with("GaeSessions("))["application"]
    seen: list[dict[str, Any]] = []

    def app(environ: Any, start_response: Any) -> list[bytes]:
        seen.append(dict(environ["holdall.session"]))
        start_response("200 OK", [])
        return [b""]

    application.app = app
    cookies = BY_NAME["browser"]["cookies"]
    serve(application, None, None, {"HTTP_COOKIE": f"DgU00={cookies['DgU00']}"})
    application.stores.close()
    assert seen == [{"user": "ada"}]


def test_own_reader() -> None:
    """The reader of one's own reads, moves in and binds."""
    world = World(moving_in=names_of(block_with("OurOldSessions"))["moving_in"])
    values = {"id": "7", "ends": 1_900_000_000, "user": "ada"}
    signed = Signer(OLD_KEY).sign(json.dumps(values).replace(" ", "")).decode()
    world.browser.cookies = {"ours": signed}

    assert world.read() == values
    world.request(lambda session: session.update(n=1))
    assert list(world.browser.cookies) == ["__Host-session"]
    assert len(run(world.manager.sessions_of("ada"), world.stores)) == 1


def test_every_name() -> None:
    """The table of names has every one that the original gave to applications."""
    table = PAGE.partition("### What was called what")[2].partition("\n## ")[0]
    left = "".join(line.split("|")[1] for line in table.splitlines() if line.startswith("|"))

    assert [name for name in NAMES if not re.search(rf"\b{name}\b", left)] == []
