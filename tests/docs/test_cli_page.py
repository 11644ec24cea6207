"""docs/cli.md is true: its commands run in their order and print what the page shows, and its handlers answer."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from holdall_cli.command import DONE, FAILED, NOT_FINISHED, USAGE
from holdall_stores import SQLite, Stores

from tests.cli.support import application
from tests.cli.test_sweep import fill
from tests.core.support import Browser

PAGE = (Path(__file__).parents[2] / "docs" / "cli.md").read_text(encoding="utf-8")
SECRET = "a-shared-secret-of-many-bytes"


def commands(part: str) -> Iterator[tuple[str, str]]:
    """Yield the commands of a part of the page, each with what it prints."""
    for block in re.findall(r"```console\n(.*?)```", part, re.DOTALL):
        for said in block.split("$ ", 1)[1].split("\n$ "):
            command, _, output = said.partition("\n")
            yield command, output


def play(part: str, folder: Path) -> None:
    """Run the commands of a part, and compare; "..." on the page stands for anything."""
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    environment.pop("HOLDALL_COOKIE_KEY", None)
    for command, output in commands(part):
        done = subprocess.run(
            command,
            shell=True,
            cwd=folder,
            env=environment,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            check=False,
        )
        expected = re.escape(output.strip()).replace(r"\.\.\.", ".+")
        assert re.fullmatch(expected, done.stdout.strip()), f"{command}\n{done.stdout}"


def test_commands(tmp_path: Path) -> None:
    """Every command prints what the page says, with the sessions of an application that has the page's key."""
    start, *parts = re.split(r"^## ", PAGE, flags=re.MULTILINE)
    play(start, tmp_path)
    key = (tmp_path / "cookie.key").read_text().strip()
    path = tmp_path / "holdall.sqlite3"
    browser = Browser()
    fill(path, 500)
    path.chmod(0o600)
    with application(path, key=key) as app:
        app.request(browser, user="Ada", basket=[1, 2, 3])
        app.act(Browser(), lambda session: session.bind("ada", label="Firefox"))
    (tmp_path / "cookie.txt").write_text(f"Cookie: {browser.header}\n")
    for part in parts:
        play(part, tmp_path)
    assert sum(1 for _ in commands(PAGE)) == 8


def test_handlers(tmp_path: Path) -> None:
    """The page's three handlers sweep for those whom they know, and nobody else."""
    (example,) = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    path = tmp_path / "holdall.sqlite3"
    fill(path, 10)
    stores = Stores(durable=SQLite(path))
    names: dict[str, Any] = {"stores": stores, "SECRET": SECRET}
    exec(compile(example, "docs/cli.md", "exec"), names)  # the example is ours
    seen: list[str] = []

    def ask(handler: str, **environ: str) -> str:
        names[handler](environ, lambda status, headers: seen.append(status))
        return seen[-1]

    assert ask("application", HTTP_X_APPENGINE_CRON="true") == "403 Forbidden"
    assert ask("on_app_engine", HTTP_AUTHORIZATION=f"Bearer {SECRET}") == "403 Forbidden"
    assert ask("application", HTTP_AUTHORIZATION=f"Bearer {SECRET}") == "200 OK"
    assert ask("on_app_engine", HTTP_X_APPENGINE_CRON="true") == "200 OK"
    stores.close()


@pytest.mark.parametrize("code", [DONE, FAILED, USAGE, NOT_FINISHED])
def test_exit_codes(code: int) -> None:
    """The page's table has every exit code."""
    assert f"| {code} |" in PAGE
