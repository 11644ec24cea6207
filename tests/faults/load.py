"""Clients that visit a real server all the time, and write down what they were told: the history that `check` looks at.

A client has one session; two tabs share it and visit at the same time.
"""

import http.client
import json
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any, NamedTuple

from tests.core.support import Browser
from tests.faults.proxy import Proxy
from tests.servers import MemcachedServer
from tests.wsgi.serving import HOST, Server

APPLICATION = "tests.faults.served:make_application()"
CLIENTS = 3
LARGE, SMALL = 20_000, 10
PATIENT = "20"  # seconds: where nothing may fail, a busy machine shall not make it fail
# No request may take longer: a request waits for its stores for 2 s, and up to 1 s more for its last command; a busy
# machine adds what it likes.
BUDGET = 30.0
VISITS = 5  # of each client, at least, while something fails

_HANGS = 60  # seconds until a client gives up: far over every deadline there is


class Site(NamedTuple):
    """A web server, its stores, and the line to the one that fails."""

    web: Server
    cache: MemcachedServer
    line: Proxy


@dataclass
class Visit:
    """One request, as its client saw it."""

    status: int
    """0: there was no response."""
    seconds: float
    cookies: list[str]
    """The Set-Cookie headers of the response."""
    retry_after: str | None


@dataclass
class Client:
    """One session: who visits with it, and what became of every visit."""

    browser: Browser
    visits: list[Visit] = field(default_factory=list)

    @property
    def acknowledged(self) -> int:
        """How many visits were counted, as far as the client was told."""
        return sum(visit.status == HTTPStatus.OK for visit in self.visits)

    @property
    def unknown(self) -> int:
        """How many may have been counted."""
        return sum(visit.status != HTTPStatus.OK for visit in self.visits)

    def visit(self, server: Server, path: str) -> Visit:
        """Visit a page, and write it down."""
        header = self.browser.header
        began = time.monotonic()
        connection = http.client.HTTPConnection(HOST, server.port, timeout=_HANGS)
        try:
            connection.request("GET", path, headers={"Cookie": header, "Connection": "close"} if header else {})
            response = connection.getresponse()
            response.read()
            headers = response.getheaders()
            self.browser.receive(headers)
            cookies = [value for name, value in headers if name.lower() == "set-cookie"]
            visit = Visit(response.status, time.monotonic() - began, cookies, response.getheader("Retry-After"))
        except (OSError, http.client.HTTPException):
            visit = Visit(0, time.monotonic() - began, [], None)
        finally:
            connection.close()
        self.visits.append(visit)
        return visit


class Load:
    """Clients that count their visits, in two tabs each, from `start` to `stop`."""

    def __init__(self, server: Server, clients: list[Client], tabs: int = 2) -> None:
        self._server = server
        self._going = threading.Event()
        self._threads = [
            threading.Thread(target=self._go_on, args=(client,)) for client in clients for _ in range(tabs)
        ]

    def __enter__(self) -> "Load":
        self._going.set()
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: Any) -> None:
        self._going.clear()
        for thread in self._threads:
            thread.join()

    def _go_on(self, client: Client) -> None:
        while self._going.is_set():
            client.visit(self._server, "/incr")


def begin(server: Server, size: int) -> Client:
    """Return a client with a session that holds so much, and has counted one visit; waits until all is well."""
    made: list[Client] = []

    def comes() -> bool:
        made[:] = [Client(Browser())]
        return made[0].visit(server, f"/count?size={size}").status == HTTPStatus.OK

    until(comes)
    return made[0]


def look(server: Server, browser: Browser, path: str = "/") -> dict[str, Any]:
    """Return what a page says; waits until it says something."""
    answers: list[bytes] = []

    def tells() -> bool:
        try:
            status, answer = server.ask(path, browser)
        except (OSError, http.client.HTTPException):  # a worker that is dying took the call
            return False
        answers.append(answer)
        return status == HTTPStatus.OK

    until(tells)
    return dict(json.loads(answers[-1]))


def until(what: Any, patience: float = 90) -> None:
    """Wait for something to become true; fails if it never does."""
    end = time.monotonic() + patience
    while not what():
        assert time.monotonic() < end, "it never became true"
        time.sleep(0.05)


def meanwhile(clients: list[Client], visits: int = VISITS) -> Callable[[], bool]:
    """Return what tells whether each client has been there a few times since now."""
    before = [len(client.visits) for client in clients]
    return lambda: all(len(c.visits) >= n + visits for c, n in zip(clients, before, strict=True))


def each_gets(clients: list[Client], status: HTTPStatus) -> Callable[[], bool]:
    """Return what tells whether each client has been answered like this since now."""
    before = [len(client.visits) for client in clients]
    return lambda: all(
        any(visit.status == status for visit in client.visits[n:]) for client, n in zip(clients, before, strict=True)
    )


def check(site: Site, clients: list[Client]) -> None:
    """Look at the whole history, once all is well."""
    # What memcached has may be older, for as long as it is trusted, where a client's cookie is older too because the
    # responses to its two tabs overtook each other.
    assert site.cache.ask("flush_all") == "OK"
    for client in clients:
        assert {visit.status for visit in client.visits} <= {0, HTTPStatus.OK, HTTPStatus.SERVICE_UNAVAILABLE}
        for visit in client.visits:
            assert visit.seconds < BUDGET, "a request hung"
            if visit.status == HTTPStatus.SERVICE_UNAVAILABLE:
                assert visit.retry_after
                assert not visit.cookies, "an outage sent a cookie"
        n = look(site.web, client.browser)["n"]
        assert client.acknowledged <= n <= client.acknowledged + client.unknown
