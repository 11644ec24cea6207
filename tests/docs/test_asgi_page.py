"""docs/asgi.md is true: its examples run in their order, as one program, and its tables have every setting."""

import asyncio
import inspect
import re
from pathlib import Path
from typing import Any

import pytest
from holdall import SessionManager, SessionNotLoaded, generate_key
from holdall_asgi import CookieOptions, SessionMiddleware, get_current_session
from holdall_asgi.quart import SETTINGS, STORES
from holdall_stores import in_threads
from starlette.middleware.sessions import SessionMiddleware as StarlettesOwn

from tests.asgi.clients import TestClient
from tests.asgi.support import serve
from tests.core.support import Browser, big

PAGE = (Path(__file__).parents[2] / "docs" / "asgi.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
HTTPS = "https://testserver"


@pytest.fixture
def page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """The names that the page's examples make, with a key where it says how to get one."""
    monkeypatch.setenv("HOLDALL_SQLITE", str(tmp_path / "sessions.sqlite3"))
    names: dict[str, Any] = {"__name__": "example"}
    source = re.sub(r'"<the output of: [^"]*>"', f'"{generate_key()}"', "\n".join(BLOCKS))
    exec(compile(source, "docs/asgi.md", "exec"), names)  # the examples are ours
    return names


def test_starlette(page: dict[str, Any], tmp_path: Path) -> None:
    """The first example counts visits, in the cookie; logging in and out works."""
    client = TestClient(page["app"], base_url=HTTPS)
    assert [client.get("/").text for _ in range(3)] == ["visit 1", "visit 2", "visit 3"]
    before = dict(client.cookies)
    assert client.get("/login/Ada").text == "visit 4"
    assert dict(client.cookies) != before
    assert client.get("/logout").text == "logged out"
    assert dict(client.cookies) == {}
    assert client.get("/").text == "visit 1"
    assert not (tmp_path / "holdall.sqlite3").exists()


def test_log_out_everywhere(page: dict[str, Any]) -> None:
    """Somebody's sessions are listed with their browsers, and all but the one that asked end, also for a thief."""
    mine, other = (TestClient(page["app"], base_url=HTTPS, headers={"user-agent": name}) for name in ("one", "two"))
    for client in (mine, other):
        assert client.get("/sign-in/Ada").text == "signed in"
    thief = TestClient(page["app"], base_url=HTTPS, cookies=dict(other.cookies))
    assert {each["label"] for each in mine.get("/my-sessions").json()} == {"one", "two"}
    assert len(thief.get("/my-sessions").json()) == 2
    assert mine.get("/log-out-elsewhere").text == "only this browser is left"
    assert [each["label"] for each in mine.get("/my-sessions").json()] == ["one"]
    assert [client.get("/").text for client in (other, thief)] == ["visit 1", "visit 1"]


def test_fastapi(page: dict[str, Any]) -> None:
    """The typed dependency counts."""
    client = TestClient(page["api"], base_url=HTTPS)
    assert [client.get("/visits").json() for _ in range(3)] == [1, 2, 3]


def test_bare_application(page: dict[str, Any]) -> None:
    """The bare application counts."""
    browser = Browser()
    bodies = [asyncio.run(serve(page["bare"], browser)).body for _ in range(3)]
    assert bodies == [b"visit 1", b"visit 2", b"visit 3"]


def test_quart(page: dict[str, Any]) -> None:
    """Quart's example counts."""

    async def main() -> list[str]:
        client = page["quart_app"].test_client()
        return [await (await client.get("/")).get_data(as_text=True) for _ in range(3)]

    assert asyncio.run(main()) == ["visit 1", "visit 2", "visit 3"]


def test_lazy(page: dict[str, Any]) -> None:
    """The lazy example reads a stored session, which raises where it is touched without being awaited."""
    from starlette.requests import Request
    from starlette.responses import PlainTextResponse, Response
    from starlette.routing import Route

    async def grow(request: Request) -> Response:
        get_current_session().update(user="Ada", big=big())
        return PlainTextResponse("")

    async def touch(request: Request) -> Response:
        with pytest.raises(SessionNotLoaded):
            get_current_session()["user"]
        return PlainTextResponse("")

    page["lazy"].routes.extend([Route("/grow", grow), Route("/touch", touch)])
    client = TestClient(page["lazy"], base_url=HTTPS)
    assert client.get("/").text == "nobody"
    client.get("/grow")
    assert client.get("/touch").status_code == 200
    assert client.get("/").text == "Ada"


def test_the_pages_test(page: dict[str, Any]) -> None:
    """The test that the page shows passes, and would fail over plain http, as it says."""
    page["test_visits"](TestClient)
    with pytest.raises(AssertionError):
        page["test_visits"](lambda app, base_url: TestClient(app, base_url="http://testserver"))


def test_limit() -> None:
    """The number of threads that the page tells is the default."""
    default = inspect.signature(in_threads).parameters["limit"].default
    assert f"at most {default} threads" in PAGE


def rows(columns: int) -> list[list[str]]:
    table = PAGE.partition("\n" + "|---" * columns + "|\n")[2].partition("\n\n")[0]
    return [[cell.strip() for cell in row.strip("|").split("|")] for row in table.splitlines()]


def test_starlettes_table() -> None:
    """The first table has every argument of Starlette's middleware, and names arguments that there are here."""
    theirs = {re.findall(r"`(\w+)", row[0])[0] for row in rows(3)}
    assert theirs == set(inspect.signature(StarlettesOwn).parameters) - {"app"}
    ours = {*inspect.signature(SessionManager).parameters, *CookieOptions.__dataclass_fields__}
    named = {name for row in rows(3) for name in re.findall(r"(\w+)=…", row[1])}
    assert named <= ours
    signature = re.findall(r"`SessionMiddleware\((.*?), \.\.\.\)`", PAGE)[0]
    mine = [name for name in inspect.signature(SessionMiddleware).parameters if name != "options"]
    assert [name for name in signature.split(", ") if name != "*"] == mine


def test_quarts_table() -> None:
    """The second table has every argument and every setting, paired as they are read, and nothing else."""
    arguments = {name for row in rows(4) for name in re.findall(r"`([a-z_]+)`", row[0])}
    assert arguments == {*inspect.signature(SessionManager).parameters, *CookieOptions.__dataclass_fields__, "stores"}
    settings = {name for row in rows(4) for name in re.findall(r"\bHOLDALL_[A-Z_]+\b", row[1])}
    assert settings == {*SETTINGS.values(), *STORES}
    for argument, holdall, *_ in rows(4):
        for name in re.findall(r"`([a-z_]+)`", argument):
            if name in SETTINGS:
                assert SETTINGS[name] in holdall
    quarts = {name for row in rows(4) for name in re.findall(r"\b(?:SESSION|SECRET|PERMANENT)_[A-Z_]+\b", row[2])}
    from quart import Quart

    config = Quart("example").config
    assert quarts <= {*config}
    assert {name for name in config if name.startswith("SESSION_COOKIE")} <= quarts
