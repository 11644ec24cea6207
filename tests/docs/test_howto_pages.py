"""The how-to pages are true: their examples run, and do what is said about them."""

import asyncio
import re
import sqlite3
from collections.abc import Callable
from contextlib import closing
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from holdall import SessionManager, StoresLike, Tier, generate_key, run
from holdall.testing import FakeClock, RecordingStores
from holdall_conformance import AdapterConformance, Browser, Request, StoreConformance, call_wsgi
from holdall_stores import Memory, Stores
from holdall_wsgi import SessionMiddleware

from tests.core import support
from tests.docs.running import passes
from tests.docs.test_docs import blocks, execute


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Examples write where nobody minds."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def whole(page: str) -> str:
    """Return the examples of a page as one program, with a key where it says how to get one."""
    return re.sub(r'"<the output of: [^"]*>"', f'"{generate_key()}"', "\n".join(blocks(page)))


def visit(application: Any, browser: Browser, path: str = "/") -> tuple[int, bytes]:
    response = call_wsgi(application, Request(path, (browser.header,) if browser.cookies else ()))
    browser.receive(response)
    return response.status, response.body


class TestKeys:
    """docs/keys.md."""

    @pytest.fixture
    def managers(self) -> list[SessionManager]:
        names = execute(blocks("docs/keys.md")[0])
        return [names[name] for name in ("before", "step_1", "step_2", "step_3")]

    def count(self, manager: SessionManager, browser: support.Browser, stores: StoresLike) -> float:
        exchange = manager.open(browser.header, drive=lambda flow: run(flow, stores))
        n = exchange.session.incr("n")
        exchange.session.setdefault("data", support.big())
        browser.receive(run(exchange.commit(status=200, headers=[]), stores))
        return n

    def test_nobody_is_logged_out(self, managers: list[SessionManager]) -> None:
        """A session is opened at every step, by both of the deployments that run side by side at that time."""
        stores, browser = Stores(durable=Memory()), support.Browser()
        visits = [self.count(managers[0], browser, stores)]
        for old, new in pairwise(managers):
            visits += [self.count(manager, browser, stores) for manager in (new, old, new)]
        assert visits == list(range(1, 11))

    def test_the_first_step_is_needed(self, managers: list[SessionManager]) -> None:
        """Without it, what has the old key alone does not open what is sealed with the new one."""
        stores, browser = Stores(durable=Memory()), support.Browser()
        assert self.count(managers[2], browser, stores) == 1
        assert self.count(managers[0], browser, stores) == 1


def test_sharing() -> None:
    """docs/sharing.md: what is put into the basket in Flask is paid for elsewhere, small or large."""
    names = execute(whole("docs/sharing.md"), __name__="example")
    browser, shop = Browser(), names["shop"]
    assert isinstance(shop, Flask)
    for socks in range(1, 1001):
        assert visit(shop.wsgi_app, browser, "/shop/add")[0] == 200
        if socks in (1, 1000):
            assert visit(names["till"], browser) == (200, b"to pay: " + b", ".join([b"socks"] * socks))
    assert set(browser.cookies) == {"__Host-session-ref"}
    names["STORES"].close()


def test_testing(folder: Path) -> None:
    """docs/testing.md: the tests that it shows pass, as a module of tests."""
    assert passes(folder, whole("docs/testing.md")) == set(re.findall(r"def (test_\w+)", whole("docs/testing.md")))


@pytest.mark.parametrize(
    ("page", "suite"), [("docs/adapters.md", AdapterConformance), ("docs/own-store.md", StoreConformance)]
)
def test_suites(folder: Path, page: str, suite: type) -> None:
    """What the pages on adapters and stores build passes the suite, all of it."""
    duties = {name for each in suite.__mro__ for name in vars(each) if name.startswith("test_")}
    assert passes(folder, whole(page)) == duties - {"test_model"}


class TestOperating:
    """docs/operating.md."""

    @pytest.fixture
    def page(self) -> dict[str, Any]:
        names = execute(whole("docs/operating.md"), KEY=generate_key())
        names["stores"] = RecordingStores(FakeClock())
        return names

    def test_health(self, page: dict[str, Any]) -> None:
        """The probe tells which store answers, and the process lives whether or not one does."""
        stores = page["stores"]

        def hello(environ: Any, start_response: Callable[..., Any]) -> list[bytes]:
            start_response("200 OK", [])
            return [b"hello"]

        site = page["with_probes"](SessionMiddleware(hello, generate_key(), stores=stores), stores)
        assert visit(site, Browser(), "/healthz") == (200, b'{"cache": true, "durable": true}')
        stores.down.add(Tier.DURABLE)
        assert visit(site, Browser(), "/healthz") == (200, b'{"cache": true, "durable": false}')
        assert visit(site, Browser(), "/livez") == (204, b"")
        assert visit(site, Browser()) == (200, b"hello")

    def test_health_of_real_stores(self, page: dict[str, Any]) -> None:
        """An application without a cache has one that is well."""
        with closing(Stores.from_urls(durable="sqlite:///sessions.sqlite3")) as stores:
            assert page["health"](stores) == {"cache": True, "durable": True}

    def test_gunicorn(self, page: dict[str, Any]) -> None:
        """The hook closes the stores."""
        closed = []
        page["stores"].close = lambda: closed.append(True)
        page["worker_exit"](None, None)
        assert closed == [True]

    def test_lifespan(self, page: dict[str, Any]) -> None:
        """The stores are closed when the application stops, with the threads that they had."""

        async def main() -> None:
            async with page["lifespan"](page["app"]):
                await page["sessions"].execute(())
                assert page["sessions"]._pools
            assert not page["sessions"]._pools

        asyncio.run(main())


def test_one_box(folder: Path) -> None:
    """docs/one-box.md: a session is stored in the file and is in the copy, which is whole."""
    first, *others = blocks("docs/one-box.md")
    names = execute(first, FOLDER=folder, KEY=generate_key())
    browser = Browser()
    assert visit(names["application"], browser) == (200, b"stored")
    execute("\n".join(others), **names)
    assert (folder / "sessions.sqlite3").stat().st_mode & 0o777 == 0o600
    names["stores"].close()
    (folder / "backup.sqlite3").replace(folder / "sessions.sqlite3")
    for name in ("sessions.sqlite3-wal", "sessions.sqlite3-shm"):
        (folder / name).unlink(missing_ok=True)
    with closing(sqlite3.connect(folder / "sessions.sqlite3")) as copy:
        assert copy.execute("SELECT count(*) FROM record").fetchone() == (1,)
    manager = names["application"].manager
    exchange = manager.open(browser.header, drive=lambda flow: run(flow, names["stores"]))
    assert exchange.session["note"] == "x" * 20_000
    names["stores"].close()
