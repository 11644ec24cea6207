"""docs/wsgi.md is true: its examples run in their order, as one program."""

import inspect
import re
from pathlib import Path
from typing import Any

import pytest
from holdall import generate_key
from holdall_conformance import Browser, Request, Response, call_wsgi
from holdall_wsgi import SessionMiddleware

from tests.docs.test_docs import ROOT, blocks, execute

PAGE = "docs/wsgi.md"


@pytest.fixture
def page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """The names that the page's examples make, with a key where it says how to get one."""
    monkeypatch.chdir(tmp_path)
    return execute(re.sub(r'"<the output of: [^"]*>"', f'"{generate_key()}"', "\n".join(blocks(PAGE))))


def visit(application: Any, browser: Browser, path: str = "/") -> Response:
    response = call_wsgi(application, Request(path, (browser.header,) if browser.cookies else ()))
    browser.receive(response)
    assert response.status == 200
    return response


def test_first_example(page: dict[str, Any], tmp_path: Path) -> None:
    """The first example counts visits, in the cookie."""
    browser = Browser()
    assert [visit(page["application"], browser).body for _ in range(3)] == [b"visit 1", b"visit 2", b"visit 3"]
    assert set(browser.cookies) == {"__Host-session"}
    assert not list(tmp_path.iterdir())


def test_growing(page: dict[str, Any], tmp_path: Path) -> None:
    """A list that grows in place takes the session to SQLite, in the working directory, and is all there."""
    browser = Browser()
    assert [visit(page["middleware"], browser, "/cart").body for _ in range(2)] == [b"1000 items", b"2000 items"]
    assert (tmp_path / "holdall.sqlite3").exists()
    page["middleware"].stores.close()


def test_logging_in_and_out(page: dict[str, Any]) -> None:
    """A login gives another id, a logout ends the session, and a copied cookie of it opens nothing."""
    browser, site = Browser(), page["middleware"]
    visit(site, browser)
    before = browser.copy()
    visit(site, browser, "/login")
    assert browser.cookies != before.cookies
    thief = browser.copy()
    assert visit(site, browser, "/logout").body == b"logged out"
    assert browser.cookies == {}
    assert visit(site, thief).body == b"visit 1"
    site.stores.close()


def test_log_out_everywhere(page: dict[str, Any]) -> None:
    """All of somebody's sessions but the one that asked end."""
    mine, other, site = Browser(), Browser(), page["middleware"]
    for browser in (mine, other):
        visit(site, browser)
        visit(site, browser, "/login")
    assert visit(site, mine, "/log-out-elsewhere").body == b"left: "  # one session, whose label is empty
    assert visit(site, other).body == b"visit 1"
    assert visit(site, mine).body == b"visit 2"
    site.stores.close()


def test_signature() -> None:
    """The page gives the middleware's arguments in their order."""
    text = (ROOT / PAGE).read_text(encoding="utf-8")
    (signature,) = re.findall(r"`SessionMiddleware\((app, .*?), \.\.\.\)`", text)
    mine = [name for name in inspect.signature(SessionMiddleware).parameters if name != "options"]
    assert [name for name in signature.split(", ") if name != "*"] == mine
