"""The sweep as a handler: who may ask, and what is answered, the same by WSGI and by ASGI."""

import asyncio
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any, TypeAlias

import pytest
from holdall import UsageError
from holdall_cli import ASGISweeper, WSGISweeper
from holdall_stores import Memory, SQLite, Stores

from tests.cli.test_sweep import counts, fill

SECRET = "0123456789abcdef-a-shared-secret"
Ask: TypeAlias = Callable[..., tuple[int, str]]


def ask_wsgi(durable: Any, headers: dict[str, str], **options: Any) -> tuple[int, str]:
    seen: list[str] = []
    environ = {f"HTTP_{name.upper().replace('-', '_')}": value for name, value in headers.items()}
    sweeper = WSGISweeper(durable, **options)
    body = b"".join(sweeper(environ, lambda status, headers: seen.append(status)))
    return int(seen[0].split()[0]), body.decode()


def ask_asgi(durable: Any, headers: dict[str, str], **options: Any) -> tuple[int, str]:
    sent: list[dict[str, Any]] = []

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    async def receive() -> dict[str, Any]:
        return {"type": "http.request"}

    raw = [(name.lower().encode(), value.encode("latin-1")) for name, value in headers.items()]
    asyncio.run(ASGISweeper(durable, **options)({"type": "http", "headers": raw}, receive, send))
    return sent[0]["status"], sent[1]["body"].decode()


@pytest.fixture(params=[ask_wsgi, ask_asgi])
def ask(request: pytest.FixtureRequest) -> Ask:
    """Asks for a sweep, by WSGI and by ASGI."""
    found: Ask = request.param
    return found


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A store with 1,000 expired and 1,001 live values."""
    found = tmp_path / "sessions.sqlite3"
    fill(found, 1_000)
    return found


def test_done(ask: Ask, path: Path) -> None:
    """Who knows the secret sweeps: 200 when nothing is left, and no live session is touched."""
    with closing(Stores(durable=SQLite(path))) as stores:
        answer = ask(stores, {"Authorization": f"Bearer {SECRET}"}, secret=SECRET)
    assert answer == (200, "1000 deleted, nothing is left\n")
    assert counts(path) == (0, 1_001)


def test_more_is_left(ask: Ask, path: Path) -> None:
    """A sweep that the time does not suffice for answers 202, and the next request goes on."""
    with closing(SQLite(path)) as store:
        headers = {"Authorization": f"Bearer {SECRET}"}
        status, body = ask(store, headers, secret=SECRET, seconds=0.05, per_second=100)
        assert (status, body) == (202, "100 deleted, more is left: ask again\n")
        assert ask(store, headers, secret=SECRET) == (200, "900 deleted, nothing is left\n")


@pytest.mark.parametrize(
    "authorization",
    ["", SECRET, f"Basic {SECRET}", f"Bearer {SECRET}x", f"Bearer {SECRET[:-1]}", "Bearer ", "Bearer \xff"],
)
def test_strangers(ask: Ask, path: Path, authorization: str) -> None:
    """Whoever does not know the whole secret gets 403, and nothing is swept."""
    with closing(SQLite(path)) as store:
        headers = {"Authorization": authorization} if authorization else {}
        assert ask(store, headers, secret=SECRET)[0] == 403
    assert counts(path)[0] == 1_000


def test_app_engine(ask: Ask, path: Path) -> None:
    """App Engine's header counts only where it was turned on, and only if it says true."""
    headers = {"X-Appengine-Cron": "true"}
    with closing(SQLite(path)) as store:
        assert ask(store, headers, secret=SECRET)[0] == 403
        assert ask(store, {"X-Appengine-Cron": "false"}, app_engine=True)[0] == 403
        assert ask(store, {"Authorization": "Bearer "}, app_engine=True)[0] == 403
        assert counts(path)[0] == 1_000
        assert ask(store, headers, app_engine=True)[0] == 200
    assert counts(path)[0] == 0


def test_a_failing_store(ask: Ask, path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A store that does not answer is 503 and a line in the log."""
    with closing(SQLite(path, timeout=0.05)) as store, closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        assert ask(store, {"X-Appengine-Cron": "true"}, app_engine=True)[0] == 503
    assert "the sweep ended after 0 deleted" in caplog.text


@pytest.mark.parametrize("sweeper", [WSGISweeper, ASGISweeper])
def test_refused_at_start_up(sweeper: Any, tmp_path: Path) -> None:
    """Nobody who may ask, a short secret, impossible bounds, and a store without anything to sweep are usage errors."""
    with closing(SQLite(tmp_path / "sessions.sqlite3")) as store:
        for options in ({}, {"secret": "short"}, {"secret": ""}, {"app_engine": True, "seconds": 0}):
            with pytest.raises(UsageError):
                sweeper(store, **options)
    with pytest.raises(UsageError, match="nothing to sweep"):
        sweeper(Memory(), app_engine=True)


def test_not_http() -> None:
    """A websocket or a lifespan is refused by a usage error that says what to do."""
    sweeper: Any = ASGISweeper(SQLite("unused.sqlite3"), app_engine=True)
    with pytest.raises(UsageError, match="mount it"):
        asyncio.run(sweeper({"type": "lifespan"}, None, None))
