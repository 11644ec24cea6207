"""docs/flask.md is true: its examples run in their order, as one application, and its table has every setting."""

import inspect
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from holdall import SessionManager, generate_key
from holdall_flask import CookieOptions, Holdall
from holdall_flask.settings import FLASK, SETTINGS, STORES

from tests.core.support import big
from tests.flask.support import value_of

PAGE = (Path(__file__).parents[2] / "docs" / "flask.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)


@pytest.fixture
def page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, Any]]:
    """The names that the page's examples make, with a key where it says how to get one."""
    monkeypatch.setenv("HOLDALL_SQLITE", str(tmp_path / "sessions.db"))
    names: dict[str, Any] = {"__name__": "example"}
    source = re.sub(r'"<the output of: [^"]*>"', f'"{generate_key()}"', "\n".join(BLOCKS))
    exec(compile(source, "docs/flask.md", "exec"), names)  # the examples are ours
    yield names
    app: Flask = names["app"]
    with app.app_context():
        app.extensions["holdall"].stores.close()


def test_first_example(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first example alone is an application that counts visits, in the cookie."""
    monkeypatch.setenv("HOLDALL_SQLITE", str(tmp_path / "sessions.db"))
    names: dict[str, Any] = {"__name__": "example"}
    exec(re.sub(r'"<the output of: [^"]*>"', f'"{generate_key()}"', BLOCKS[0]), names)
    client = names["app"].test_client()
    assert [client.get("/").text for _ in range(3)] == ["visit 1", "visit 2", "visit 3"]
    assert not list(tmp_path.iterdir())


def test_growing(page: dict[str, Any], tmp_path: Path) -> None:
    """A list that grows in place takes the session to SQLite, and is all there."""
    client = page["app"].test_client()
    assert client.get("/cart/3").text == "3 items"
    assert not list(tmp_path.iterdir())
    assert client.get("/cart/1000").text == "1003 items"
    assert client.get("/cart/0").text == "1003 items"
    assert (tmp_path / "sessions.db").exists()


def test_login(page: dict[str, Any]) -> None:
    """Logging in flashes once, is remembered, and logging out deletes the cookie."""
    client = page["app"].test_client()
    assert "Max-Age=" in client.get("/login/Ada").headers["Set-Cookie"]
    assert [client.get("/hello").text for _ in range(2)] == ["Welcome Ada", " Ada"]
    assert "Max-Age=0" in client.get("/logout").headers["Set-Cookie"]
    assert value_of(client, "session") is None


def test_log_out_everywhere(page: dict[str, Any]) -> None:
    """Somebody's sessions are listed with their browsers, and all but the one that asked end."""
    mine, other, thief = (page["app"].test_client() for _ in range(3))
    for client, name in ((mine, "Firefox"), (other, "Chrome")):
        assert client.get("/sign-in/Ada", headers={"User-Agent": name}).text == "signed in"
    thief.set_cookie("session", value_of(other, "session") or "")
    assert {each["label"] for each in mine.get("/my-sessions").get_json()} == {"Firefox", "Chrome"}
    assert mine.get("/log-out-elsewhere").text == "only this browser is left"
    assert [each["label"] for each in mine.get("/my-sessions").get_json()] == ["Firefox"]
    for client in (other, thief):
        with client:
            client.get("/")
            assert "user" not in page["session"]
    thief.set_cookie("session", value_of(mine, "session") or "")
    mine.get("/logout")
    with thief:
        thief.get("/")
        assert "user" not in page["session"]


def test_factory(page: dict[str, Any]) -> None:
    """The factory's applications each have their sessions."""
    for _ in range(2):
        client = page["create_app"](SECRET_KEY=generate_key()).test_client()
        assert [client.get("/").text for _ in range(2)] == ["visit 1", "visit 2"]


def test_back_soon(page: dict[str, Any], tmp_path: Path) -> None:
    """The error handler answers for a store that is damaged."""
    app: Flask = page["app"]
    client = app.test_client()
    client.get("/cart/1000")
    with app.app_context():
        app.extensions["holdall"].stores.close()
    (tmp_path / "sessions.db").write_bytes(b"this is no database" * 1000)
    response = client.get("/")
    assert (response.status_code, response.text) == (503, "We are back in a moment.")
    assert value_of(client, "session-ref")


def test_additions(page: dict[str, Any]) -> None:
    """The verbs and `get_current_session()` count."""
    client = page["app"].test_client()
    assert [client.get("/count").text for _ in range(3)] == ["1", "2", "3"]


def test_sweep(page: dict[str, Any]) -> None:
    """The command for cron runs."""
    client = page["app"].test_client()
    client.get("/cart/1000")
    result = page["app"].test_cli_runner().invoke(args=["sweep"])
    assert (result.exit_code, result.output) == (0, "")


def test_testing(page: dict[str, Any]) -> None:
    """The test that the page shows passes, and would fail if the logout did not log out."""
    page["test_hello"]()
    page["app"].view_functions["logout"] = lambda: "still here"
    with pytest.raises(AssertionError):
        page["test_hello"]()


def test_memory_url() -> None:
    """The store that the page recommends for tests keeps sessions of any size."""
    app = Flask("example")
    app.config.update(SECRET_KEY=generate_key(), HOLDALL_DURABLE="memory://")
    Holdall(app)
    client = app.test_client()
    with client.session_transaction() as session:
        session["pad"] = big()
    with client.session_transaction() as session:
        assert session["pad"] == big()


def rows() -> list[list[str]]:
    table = PAGE.partition("|---|---|---|---|\n")[2].partition("\n\n")[0]
    return [[cell.strip() for cell in row.strip("|").split("|")] for row in table.splitlines()]


def named(column: int, pattern: str) -> set[str]:
    return {name for row in rows() for name in re.findall(pattern, row[column])}


def test_table_has_every_argument() -> None:
    """The table names every argument of `SessionManager`, `CookieOptions` and `Holdall`, and nothing else."""
    arguments = {*inspect.signature(SessionManager).parameters, *CookieOptions.__dataclass_fields__, "stores"}
    assert named(0, r"`([a-z_]+)`") == arguments


def test_table_has_every_setting() -> None:
    """The table names every setting that Holdall reads, and nothing else."""
    setting = r"\b[A-Z]+(?:_[A-Z]+)+\b"
    assert named(1, setting) == {*SETTINGS.values(), *STORES}
    assert named(2, setting) == {*FLASK.values(), "SECRET_KEY_FALLBACKS", "APPLICATION_ROOT"}


def test_table_pairs() -> None:
    """Each row names the setting that Holdall reads for its argument."""
    for argument, holdall, flask, _ in rows():
        for name in re.findall(r"`([a-z_]+)`", argument):
            if name in SETTINGS:
                assert SETTINGS[name] in holdall
            if name in FLASK:
                assert FLASK[name] in flask
