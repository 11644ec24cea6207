"""docs/django.md is true: its blocks make a project, whose own tests pass, and its table has every setting."""

import inspect
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from holdall import SessionManager

from tests.strict import WARNINGS

PAGE = (Path(__file__).parents[2] / "docs" / "django.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```python\n# (\S+)\n(.*?)```", PAGE, re.DOTALL)

Run = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """Run Python in a project that startproject made, and to whose files the page's blocks were added in order."""
    path = os.pathsep.join(each for each in sys.path if each)
    environment = {**os.environ, "PYTHONPATH": path, "PYTHONWARNINGS": WARNINGS}
    for name in ("HOLDALL_SQLITE", "DJANGO_SETTINGS_MODULE"):
        environment.pop(name, None)

    def python(*arguments: str) -> "subprocess.CompletedProcess[str]":
        command = [sys.executable, *arguments]
        return subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)

    made = python("-m", "django", "startproject", "mysite", ".")
    assert made.returncode == 0, made.stderr
    for name, source in BLOCKS:
        with (tmp_path / name).open("a", encoding="utf-8") as file:
            file.write(f"\n{source}")
    return python


def test_every_example_is_in_a_file() -> None:
    """Every example of the page says which file it is for."""
    assert len(BLOCKS) == PAGE.count("```python\n") >= 11


def test_the_project_passes_its_tests(run: Run, tmp_path: Path) -> None:
    """The page's project passes its system checks and the page's tests, and they leave no session behind."""
    done = run("manage.py", "check")
    assert done.returncode == 0, done.stderr
    done = run("manage.py", "test")
    assert done.returncode == 0, done.stderr
    assert "Ran 6 tests" in done.stderr
    assert not (tmp_path / "holdall.sqlite3").exists()


def test_defect_19_the_project_runs_as_shipped(run: Run, tmp_path: Path) -> None:
    """Served as it stands, the project counts visits in the cookie, and takes a cart that grows to SQLite."""
    script = """
from http.cookies import SimpleCookie
from wsgiref.util import setup_testing_defaults
from mysite.wsgi import application
jar = {}
def visit(path):
    environ = {"PATH_INFO": path, "HTTP_COOKIE": "; ".join(f"{name}={value}" for name, value in jar.items())}
    setup_testing_defaults(environ)
    def start(status, headers):
        for name, value in headers:
            if name == "Set-Cookie":
                jar.update({name: morsel.value for name, morsel in SimpleCookie(value).items()})
    body = application(environ, start)
    print(b"".join(body).decode(), end=", ")
    body.close()
for path in ("/", "/", "/cart/3", "/cart/1000", "/cart/0", "/"):
    visit(path)
print(*jar)
"""
    (tmp_path / "visits.py").write_text(script)
    done = run("visits.py")
    expected = "visit 1, visit 2, 3 items, 1003 items, 1003 items, visit 3, sessionid sessionid-ref\n"
    assert done.stdout == expected, done.stderr
    assert (tmp_path / "holdall.sqlite3").exists()


def test_every_setting_is_in_the_table() -> None:
    """The table has a row for every argument of SessionManager and for the stores, and nothing else."""
    table = PAGE.partition("|---|---|---|\n")[2].partition("\n\n")[0]
    documented = {row.split("|")[1].strip(" `") for row in table.splitlines()}
    assert documented == {*inspect.signature(SessionManager).parameters, "stores"}
