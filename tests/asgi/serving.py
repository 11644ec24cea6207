"""A real uvicorn as a child process, and visitors that talk to it over sockets. What it serves is `served.py`.

The parent listens, and the child inherits the socket: no port is ever taken by somebody else, and nobody has to wait
for the server to start, since connections queue.
"""

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http import HTTPStatus
from pathlib import Path
from typing import Any

from wsproto import ConnectionType, WSConnection
from wsproto.events import (
    AcceptConnection,
    CloseConnection,
    Event,
    RejectConnection,
    Request,
    TextMessage,
)

from tests.core.support import KEY, Browser
from tests.strict import WARNINGS

HOST = "127.0.0.1"

_ROOT = Path(__file__).parents[2]
_PATIENCE = 60  # seconds for an answer, in which a busy machine has to start a server too


class Server:
    """One uvicorn on one port, which stays the same when it is started again. Not running until `start`."""

    def __init__(self, folder: Path, listener: socket.socket) -> None:
        self._folder = folder
        self._listener = listener
        self._process: subprocess.Popen[bytes] | None = None
        self.port: int = listener.getsockname()[1]

    @property
    def log(self) -> str:
        """What it has written to its streams."""
        return (self._folder / f"uvicorn-{self.port}.log").read_text()

    def start(self, *, cache: str | None = None, durable: str | None = None) -> None:
        """Start it in its folder, with these settings of `served.py`."""
        settings = {"HOLDALL_TEST_KEYS": KEY, "HOLDALL_TEST_CACHE": cache, "HOLDALL_TEST_DURABLE": durable}
        path = os.pathsep.join([str(_ROOT), *(each for each in sys.path if each)])
        environment = {**os.environ, "PYTHONPATH": path, "PYTHONWARNINGS": WARNINGS}
        environment.update({name: value for name, value in settings.items() if value is not None})
        fd = self._listener.fileno()
        with (self._folder / f"uvicorn-{self.port}.log").open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "tests.asgi.served", str(fd)],
                cwd=self._folder,
                env=environment,
                pass_fds=[fd],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def kill(self) -> None:
        """End it at once, as a crash does."""
        if self._process is not None:
            with suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
            self._process = None

    def stop(self) -> None:
        """Have it end as a server does, which waits for all that is under way."""
        assert self._process is not None
        self._process.send_signal(signal.SIGTERM)
        self._process.wait(_PATIENCE)
        assert "Finished server process" in self.log

    def visit(self, path: str, browser: Browser) -> dict[str, Any]:
        """Have a browser visit a page of `served.py`; returns what it says."""
        status, answer = self.ask(path, browser)
        assert status == HTTPStatus.OK
        return dict(json.loads(answer))

    def ask(self, path: str, browser: Browser) -> tuple[int, bytes]:
        """The same for whatever comes; returns status and body."""
        connection = http.client.HTTPConnection(HOST, self.port, timeout=_PATIENCE)
        try:
            connection.request("GET", path, headers={**_cookie(browser), "Connection": "close"})
            response = connection.getresponse()
            browser.receive(response.getheaders())
            return response.status, response.read()
        finally:
            connection.close()

    def leave(self, path: str, browser: Browser) -> None:
        """Have a browser ask for a page, and leave without waiting for the answer."""
        connection = http.client.HTTPConnection(HOST, self.port, timeout=_PATIENCE)
        connection.request("GET", path, headers=_cookie(browser))
        connection.close()

    @contextmanager
    def websocket(self, path: str, browser: Browser) -> Iterator["WebSocket"]:
        """Open a websocket with a browser's cookies."""
        with socket.create_connection((HOST, self.port), _PATIENCE) as connection:
            yield WebSocket(connection, self.port, path, browser)


class WebSocket:
    """The browser's end of a websocket. `refused`: the status of a response in the place of an accept."""

    def __init__(self, connection: socket.socket, port: int, path: str, browser: Browser) -> None:
        self._socket = connection
        self._protocol = WSConnection(ConnectionType.CLIENT)
        self._events: list[Event] = []
        self.refused: int | None = None
        headers = [(name.encode(), value.encode()) for name, value in _cookie(browser).items()]
        self._send(Request(host=f"{HOST}:{port}", target=path, extra_headers=headers))
        answer = self._next()
        if isinstance(answer, RejectConnection):
            self.refused = answer.status_code
        else:
            assert isinstance(answer, AcceptConnection)
        browser.receive([(name.decode().title(), value.decode()) for name, value in _headers_of(answer)])

    def say(self, text: str) -> Any:
        """Send a text, and return the JSON that comes back; None if the server closes instead."""
        self._send(TextMessage(text))
        text = ""
        while True:
            event = self._next()
            if isinstance(event, CloseConnection):
                self._send(event.response())
                while self._socket.recv(4096):
                    pass  # until the server is done with the connection
                return None
            assert isinstance(event, TextMessage)
            text += event.data
            if event.message_finished:
                return json.loads(text)

    def _send(self, event: Event) -> None:
        self._socket.sendall(self._protocol.send(event))

    def _next(self) -> Event:
        while not self._events:
            self._protocol.receive_data(self._socket.recv(4096) or None)
            self._events += self._protocol.events()
        return self._events.pop(0)


def _cookie(browser: Browser) -> dict[str, str]:
    return {"Cookie": browser.header} if browser.cookies else {}


def _headers_of(answer: Any) -> list[tuple[bytes, bytes]]:
    return list(answer.headers if isinstance(answer, RejectConnection) else answer.extra_headers)


@contextmanager
def server(folder: Path) -> Iterator[Server]:
    """Make a server on a free port; ends with its process gone."""
    with socket.create_server((HOST, 0)) as listener:
        made = Server(folder, listener)
        try:
            yield made
        finally:
            made.kill()
