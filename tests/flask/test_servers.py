"""A Flask application on a real server: gunicorn with two workers of eight threads, over sockets."""

import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.core.support import KEY, Browser
from tests.servers import MemcachedServer
from tests.strict import WARNINGS
from tests.wsgi.serving import GUNICORN, HOST, Server

SIZES = [10, 20_000, 900_000]
APPLICATION = "tests.flask.served:make_application()"
INLINE, REFERENCE = "session", "session-ref"


class Gunicorn(Server):
    """gunicorn with `served.py`, on one port, in one folder. Not running until `start`."""

    workers: tuple[str, ...] = ("--workers=2", "--worker-class=gthread", "--threads=8")

    def start(
        self, *, keys: str = KEY, cache: str | None = None, durable: str | None = None, **environment: str
    ) -> None:
        """Start it, with stores at these URLs, or the default ones; a cache alone is enough."""
        path = os.pathsep.join([str(Path(__file__).parents[2]), *(each for each in sys.path if each)])
        urls = {"HOLDALL_TEST_KEY": keys, "HOLDALL_TEST_CACHE": cache, "HOLDALL_TEST_DURABLE": durable}
        inherited = {name: value for name, value in os.environ.items() if name != "HOLDALL_SQLITE"}
        given = {name: value for name, value in urls.items() if value is not None}
        # gunicorn has a socket in HOME.
        instance = {"HOLDALL_TEST_INSTANCE": str(self._folder / "instance"), "HOME": str(self._folder)}
        settings = {"PYTHONPATH": path, "PYTHONWARNINGS": WARNINGS, **instance, **given, **environment}
        fd = self._listener.fileno()
        with Path(self._folder, "gunicorn.log").open("ab") as log:
            self._process = subprocess.Popen(
                [
                    sys.executable,
                    "-m",
                    "gunicorn",
                    *self.workers,
                    f"--bind=fd://{fd}",
                    APPLICATION,
                ],
                cwd=self._folder,
                env={**inherited, **settings},
                pass_fds=[fd],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Gunicorn]:
    with socket.create_server((HOST, 0)) as listener:
        made = Gunicorn(GUNICORN, tmp_path, listener)
        try:
            yield made
        finally:
            made.kill()


def visit_all(server: Server, browsers: dict[int, Browser], n: int) -> None:
    """Have the visitor of each size come for the n-th time."""
    for size, browser in browsers.items():
        answer = server.visit(f"/count/{size}", browser)
        assert (answer["n"], answer["payload"]) == (n, size)


@pytest.mark.memcached
def test_all_sizes(server: Gunicorn, memcached: MemcachedServer, tmp_path: Path) -> None:
    """Small sessions travel in the cookie and bigger ones do not; they outlive the cache and the server."""
    stores = {"cache": f"memcached://{memcached.address}", "durable": f"sqlite:///{tmp_path / 'sessions.db'}"}
    server.start(**stores)
    browsers = {size: Browser() for size in SIZES}
    for n in range(1, 4):
        visit_all(server, browsers, n)
    assert [list(browser.cookies) for browser in browsers.values()] == [[INLINE], [REFERENCE], [REFERENCE]]
    assert memcached.ask("flush_all") == "OK"
    visit_all(server, browsers, 4)
    server.kill()
    server.start(**stores)
    visit_all(server, browsers, 5)
    for browser in browsers.values():
        assert server.visit("/untouched", browser) == {}
        server.visit("/logout", browser)
        assert browser.cookies == {}
        assert server.visit("/read", browser)["n"] is None


def test_instance_folder(server: Gunicorn, tmp_path: Path) -> None:
    """Without any setting two workers share the instance folder's SQLite, made by whichever needs it first."""
    server.start()
    browser = Browser()
    for n in range(1, 9):
        assert server.visit("/count/20000", browser)["n"] == n
    assert (tmp_path / "instance" / "holdall.sqlite3").exists()


def test_late(server: Gunicorn) -> None:
    """What is written while the body streams is there in the next request."""
    server.workers = ("--workers=1", "--worker-class=sync")  # which closes a response before the next request
    server.start()
    browser = Browser()
    server.visit("/count/20000", browser)
    for n in range(2, 6):
        assert server.ask("/late", browser) == (200, b"[]")
        assert server.visit("/read", browser)["n"] == n


def test_overlapping(server: Gunicorn) -> None:
    """Of requests that overlap no increment that was acknowledged is lost, and nobody sees another's session."""
    server.start()
    browsers = [Browser() for _ in range(3)]
    statuses: list[list[int]] = [[] for _ in browsers]
    for number, browser in enumerate(browsers):
        server.visit(f"/count/{20_000 + 2 * number}", browser)

    def visit(number: int) -> None:
        statuses[number].append(server.ask("/incr", browsers[number].copy())[0])

    threads = [threading.Thread(target=visit, args=(number,)) for number in range(3) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for number, browser in enumerate(browsers):
        answer = server.visit("/read", browser)
        assert answer["payload"] == 20_000 + 2 * number
        assert set(statuses[number]) <= {200, 503}  # on a busy machine some may be beaten for too long: counted or not
        assert 1 + statuses[number].count(200) <= answer["n"] <= 1 + len(statuses[number]) == 9


@pytest.mark.memcached
def test_store_that_is_down(server: Gunicorn, memcached: MemcachedServer) -> None:
    """While the store does not answer, a page that needs it is a 503 and the cookie stays; then all is as before."""
    server.start(cache=f"memcached://{memcached.address}")
    browser = Browser()
    server.visit("/count/20000", browser)
    cookies = dict(browser.cookies)
    with memcached.stopped():
        assert server.ask("/read", browser)[0] == 503
        assert server.ask("/count/20000", browser)[0] == 503
        assert server.visit("/untouched", browser) == {}
    assert browser.cookies == cookies
    assert server.visit("/read", browser)["n"] == 1
