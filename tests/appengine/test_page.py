"""docs/app-engine.md on the bundled memcache is true: its module runs on gunicorn, in two processes."""

import http.client
import os
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from holdall import generate_key
from holdall_conformance import Browser, Response

from tests.appengine.bundled import TICKET, Endpoint
from tests.docs.test_docs import blocks

_STREAMED = """
import warnings
from holdall import generate_key
from holdall_conformance import Browser, Request, call_wsgi
from holdall_stores import Memory, Stores
from holdall_wsgi import SessionMiddleware, get_current_session

warnings.simplefilter("ignore")  # of Google's own code
import google.appengine.api

def site(environ, start_response):
    session = get_current_session()
    session["note"] = "x" * 20_000
    session.incr("before")
    start_response("200 OK", [])
    yield b"%d %d" % (session["before"], session.get("after", 0))
    session.incr("after")

application = SessionMiddleware(site, cookie_key=generate_key(), stores=Stores(durable=Memory()))
for application in (application, google.appengine.api.wrap_wsgi_app(application)):
    browser = Browser()
    for _ in range(2):
        response = call_wsgi(application, Request("/", (browser.header,)))
        browser.receive(response)
    print(response.body.decode())
"""

_PATIENCE = 60.0  # seconds that a busy machine may take to start a server

Visit = Callable[[Browser, str], bytes]


@pytest.fixture
def endpoint() -> Iterator[Endpoint]:
    with Endpoint() as endpoint:
        yield endpoint


@pytest.fixture
def visit(endpoint: Endpoint, tmp_path: Path) -> Iterator[Visit]:
    """Run the page's module, and yield how to visit it, in a request with a ticket or without."""
    module, end = blocks("docs/app-engine.md")[:2]
    budget = "stores=stores, store_budget=__import__('datetime').timedelta(seconds=20))"  # on a busy machine
    (tmp_path / "main.py").write_text(module.replace("stores=stores)", budget) + end)
    with socket.create_server(("127.0.0.1", 0)) as listener, (tmp_path / "log").open("wb") as log:
        port = listener.getsockname()[1]
        options = ["--preload", "--workers=2", f"--bind=fd://{listener.fileno()}", "--forwarded-allow-ips=*"]
        server = subprocess.Popen(
            [sys.executable, "-m", "gunicorn", *options, "main:application"],
            cwd=tmp_path,
            env={
                **os.environ,
                "HOME": str(tmp_path),  # where gunicorn puts its control socket
                "HOLDALL_KEY": generate_key(),
                "SESSION_CACHE": "appengine-memcache://sessions?timeout=20",
                "SESSION_STORE": f"sqlite:///{tmp_path}/sessions.sqlite3?timeout=20",
                "API_HOST": "127.0.0.1",
                "API_PORT": str(endpoint.port),
            },
            pass_fds=[listener.fileno()],
            stdout=log,
            stderr=log,
        )

        def visit(browser: Browser, ticket: str) -> bytes:
            headers = {"Cookie": browser.header, "X-Forwarded-Proto": "https", "X-Appengine-Api-Ticket": ticket}
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=_PATIENCE)
            connection.request("GET", "/", headers=headers)
            answer = connection.getresponse()
            browser.receive(Response(answer.status, answer.getheaders(), body := answer.read()))
            connection.close()
            return body

        try:
            yield visit
        finally:
            server.terminate()
            server.wait(_PATIENCE)


def test_the_module_keeps_sessions_in_memcache(endpoint: Endpoint, visit: Visit) -> None:
    """Sessions are written to memcache and read from it, by forked workers, and outlive an outage."""
    browsers = [Browser() for _ in range(4)]
    for n in (1, 2):
        assert [visit(browser, TICKET) for browser in browsers] == [b"visit %d" % n] * 4
    assert endpoint.calls == ["Set"] * 4 + ["Get", "Set"] * 4
    assert sorted(endpoint.memcache._the_cache) == ["sessions"]

    # Without the ticket of a request memcache cannot be asked; the sessions are in the durable store all the same.
    assert [visit(browser, "") for browser in browsers] == [b"visit 3"] * 4
    assert len(endpoint.calls) == 12


def test_the_wrapper_does_not_close() -> None:
    """What changes after the first chunk is saved without Google's wrapper, and not within it."""
    done = subprocess.run([sys.executable, "-c", _STREAMED], capture_output=True, text=True, timeout=_PATIENCE)
    assert done.stdout.splitlines() == ["2 1", "2 0"], done.stderr
