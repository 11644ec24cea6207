"""Moving in from Starlette's own sessions: its signed cookie, made by a real Starlette application."""

import base64
import json
import time
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from holdall import CookieOptions, UsageError
from holdall.testing import FakeClock, RecordingStores
from holdall_asgi import SessionMiddleware, revoke, sessions_of
from holdall_asgi.starlette import StarletteSessions
from itsdangerous import TimestampSigner
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.sessions import SessionMiddleware as StarlettesOwn
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from tests.asgi.clients import TestClient
from tests.core.support import KEY

SECRET = "starlette's secret"
NOW = datetime.now(UTC)
UNTIL = NOW + timedelta(days=30)
VALUES: dict[str, Any] = {"user": "ada", "cart": [1, {"a": None}], "text": "\u00fc"}


async def log_in(request: Request) -> JSONResponse:
    request.session.update(VALUES)
    return JSONResponse(None)


async def show(request: Request) -> JSONResponse:
    return JSONResponse(dict(request.session))


async def count(request: Request) -> JSONResponse:
    request.session["n"] = request.session.get("n", 0) + 1
    return JSONResponse(request.session["n"])


async def log_out(request: Request) -> JSONResponse:
    request.session.terminate()  # type: ignore[attr-defined]
    return JSONResponse(None)


async def log_out_everywhere(request: Request) -> JSONResponse:
    count = len(await sessions_of(request, "ada"))
    await revoke(request, "ada")
    return JSONResponse(count)


def give(client: TestClient, cookies: dict[str, str]) -> None:
    """Have the client hold these cookies, as if this site had set them."""
    client.cookies.clear()
    for name, value in cookies.items():
        client.cookies.set(name, value, domain="testserver.local")


def client_of(middleware: Middleware) -> TestClient:
    routes = [Route(f"/{page.__name__}", page) for page in (log_in, show, count, log_out, log_out_everywhere)]
    return TestClient(Starlette(routes=routes, middleware=[middleware]))


def before(**options: Any) -> TestClient:
    """Return the browser of somebody who logged in under Starlette's own sessions."""
    client = client_of(Middleware(StarlettesOwn, secret_key=SECRET, **options))
    client.get("/log_in")
    assert client.cookies
    return client


def moved(cookies: Any, *, clock: FakeClock | None = None, name: str = "session", **options: Any) -> TestClient:
    """Return the same with Holdall."""
    clock = clock or FakeClock(time.time())  # not before the cookie was made
    options = {"until": UNTIL, "principal_of": lambda values: values.get("user"), **options}
    made = Middleware(
        SessionMiddleware,
        cookie_key=KEY,
        stores=RecordingStores(clock),
        clock=clock,
        cookie=CookieOptions(name, secure=False),
        moving_in=StarletteSessions(SECRET, **options),
    )
    client = client_of(made)
    give(client, dict(cookies))
    return client


def test_moves_in() -> None:
    """Who was logged in still is; nothing is written for reading, and the first write sets Holdall's cookie alone."""
    client = moved(before().cookies)

    shown = client.get("/show")
    assert shown.json() == VALUES
    assert "set-cookie" not in shown.headers
    counted = client.get("/count")
    assert [cookie.partition("=")[0] for cookie in counted.headers.get_list("set-cookie")] == ["session"]
    assert client.get("/show").json() == {**VALUES, "n": 1}


def test_logout_stays() -> None:
    """A logout holds, before the move and after, whoever has a copy of the old cookie."""
    old = dict(before().cookies)
    for moves_first in (False, True):
        client = moved(old, clock=(clock := FakeClock(time.time())))
        if moves_first:
            client.get("/count")
        client.get("/log_out")
        assert client.get("/show").json() == {}
        give(client, old)
        client.get("/count")
        clock.advance(61)
        assert "user" not in client.get("/show").json()


def test_revoked() -> None:
    """What the application says whose login it is binds at the move; revoking ends it, moved in or not."""
    for moves_first in (False, True):
        client = moved(before().cookies)
        if moves_first:
            client.get("/count")
        assert client.get("/log_out_everywhere").json() == int(moves_first)
        assert client.get("/show").json() == {}


def test_kept_for_a_way_back() -> None:
    """With `keep` Starlette's own middleware still knows the session after the move; a logout ends that too."""
    past = before()
    client = moved(past.cookies, name="holdall", keep=True)
    client.get("/count")

    assert set(client.cookies) == {"session", "holdall"}
    assert client.get("/show").json() == {**VALUES, "n": 1}
    client.get("/log_out")
    assert not client.cookies


def test_end_date() -> None:
    """From the end date on no session of Starlette's is read."""
    clock = FakeClock(time.time())
    client = moved(before().cookies, clock=clock)
    assert client.get("/show").json() == VALUES
    clock.now = UNTIL.timestamp()
    assert client.get("/show").json() == {}


@pytest.mark.parametrize(
    ("max_age", "later", "seen"), [(86_400, 80_000, True), (86_400, 86_402, False), (None, 10**6, True)]
)
def test_age(max_age: int | None, later: int, seen: bool) -> None:
    """A cookie older than `max_age` is no session, as with Starlette; without one it is as old as it likes."""
    cookies = before(max_age=max_age).cookies
    client = moved(cookies, clock=FakeClock(time.time() + later), max_age=max_age)

    assert bool(client.get("/show").json()) is seen
    assert moved(cookies, clock=FakeClock(time.time() - 3600)).get("/show").json() == {}


def test_foreign_cookies() -> None:
    """Whatever stands under the name without Starlette's signature is no session and no error."""
    good = before().cookies["session"]
    signer = TimestampSigner(SECRET)
    signed = [signer.sign(data).decode() for data in (b"", b"x", base64.b64encode(json.dumps([1]).encode()))]
    other = TimestampSigner("other").sign(base64.b64encode(b"{}")).decode()
    for cookie in ("", ".", "a.b.c", good[:-1], good[1:], "x" * 4000, "null", other, *signed):
        shown = moved({"session": cookie}).get("/show")
        assert (shown.status_code, shown.json()) == (200, {})


def test_other_spellings() -> None:
    """A signature spelled otherwise does not make another session of one that has ended."""
    cookie = before().cookies["session"]
    client = moved({"session": cookie})
    client.get("/log_out")

    for spelling in (cookie, cookie + "=", cookie[:-1] + chr(ord(cookie[-1]) + 1)):
        give(client, {"session": spelling})
        assert client.get("/show").json() == {}


@pytest.mark.parametrize("name", ["__Host-session", "__Secure-old"])
def test_names_with_a_prefix(name: str) -> None:
    """A cookie whose name needs Secure is read, and deleted with it."""
    client = moved({name: before().cookies["session"]}, session_cookie=name)

    assert client.get("/show").json() == VALUES
    deletion = client.get("/count").headers.get_list("set-cookie")[-1]
    assert deletion.startswith(f"{name}=; Max-Age=0")
    assert "; Secure" in deletion


def test_nonsense() -> None:
    """An empty key and an end date without a time zone are refused."""
    with pytest.raises(UsageError, match="secret_key is empty"):
        StarletteSessions("", until=UNTIL)
    with pytest.raises(UsageError, match="until="):
        StarletteSessions(SECRET, until=datetime(2030, 1, 1))
