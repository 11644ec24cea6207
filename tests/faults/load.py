"""Clients that visit a real server all the time, and write down what they were told: the history that tests look at.

A client has one session; two tabs share it and visit at the same time. What must hold is said in the tests.
"""

import http.client
import threading
import time
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any

from tests.core.support import Browser
from tests.wsgi.serving import HOST, Server

_HANGS = 60  # seconds until a client gives up: far over every deadline there is


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
    """Return a client with a session that holds so much, and has counted one visit."""
    client = Client(Browser())
    assert client.visit(server, f"/count?size={size}").status == HTTPStatus.OK
    return client


def counted(server: Server, client: Client) -> int:
    """Return what a client's session says that was counted, once all is well again."""
    return int(server.visit("/", client.browser)["n"])


def until(what: Any, patience: float = 60) -> None:
    """Wait for something to become true; fails if it never does."""
    end = time.monotonic() + patience
    while not what():
        assert time.monotonic() < end, "it never became true"
        time.sleep(0.05)
