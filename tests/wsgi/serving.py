"""Real WSGI servers as child processes, and visitors that talk to them over sockets. What they serve is `served.py`.

The parent listens, and the child inherits the socket: no port is ever taken by somebody else, and nobody has to wait
for a server to start, since connections queue.
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

from tests.core.support import KEY, Browser
from tests.strict import WARNINGS

WSGIREF, WAITRESS, GUNICORN = "wsgiref", "waitress", "gunicorn"
PRELOADED, GEVENT = "gunicorn --preload", "gunicorn -k gevent"
HOST = "127.0.0.1"
SEEDS_EXAMPLE = "tests.wsgi.served:make_application()"

_THREADS = ["--workers=2", "--worker-class=gthread", "--threads=8"]
_GUNICORNS = {
    GUNICORN: _THREADS,
    PRELOADED: [*_THREADS, "--preload"],
    GEVENT: ["--workers=2", "--worker-class=gevent"],
}
_ROOT = Path(__file__).parents[2]
_PATIENCE = 60  # seconds for an answer, in which a busy machine has to start a server too


class Server:
    """One server program on one port, which stays the same when it is started again. Not running until `start`."""

    def __init__(self, kind: str, folder: Path, listener: socket.socket, application: str = SEEDS_EXAMPLE) -> None:
        self._kind = kind
        self._application = application
        self._folder = folder
        self._listener = listener
        self._process: subprocess.Popen[bytes] | None = None
        self.port: int = listener.getsockname()[1]

    def start(
        self, *, keys: str = KEY, cache: str | None = None, durable: str | None = None, **environment: str
    ) -> None:
        """Start it in its folder, with these settings of `served.py`."""
        settings = {"HOLDALL_TEST_KEYS": keys, "HOLDALL_TEST_CACHE": cache, "HOLDALL_TEST_DURABLE": durable}
        path = os.pathsep.join([str(_ROOT), *(each for each in sys.path if each)])
        own = {"PYTHONPATH": path, "PYTHONWARNINGS": WARNINGS, "HOME": str(self._folder)}  # where gunicorn has a socket
        environment = {**os.environ, **own, **environment}
        environment.update({name: value for name, value in settings.items() if value is not None})
        fd = self._listener.fileno()
        if (workers := _GUNICORNS.get(self._kind)) is not None:
            program = ["gunicorn", *workers, f"--bind=fd://{fd}", self._application]
        else:
            program = ["tests.wsgi.served", self._kind, str(fd)]
        with Path(self._folder, f"{self._kind.split()[0]}-{self.port}.log").open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", *program],
                cwd=self._folder,
                env=environment,
                pass_fds=[fd],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def kill(self) -> None:
        """End it and its workers at once, as a crash does."""
        if self._process is not None:
            with suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
            self._process = None

    def visit(self, path: str, browser: Browser) -> dict[str, Any]:
        """Have a browser visit a page of `served.py`; returns what it says."""
        status, answer = self.ask(path, browser)
        assert status == HTTPStatus.OK
        return dict(json.loads(answer))

    def ask(self, path: str, browser: Browser) -> tuple[int, bytes]:
        """The same for whatever comes; returns status and body."""
        connection = http.client.HTTPConnection(HOST, self.port, timeout=_PATIENCE)
        try:
            headers = {"Cookie": browser.header} if browser.cookies else {}
            connection.request("GET", path, headers={**headers, "Connection": "close"})
            response = connection.getresponse()
            browser.receive(response.getheaders())
            return response.status, response.read()
        finally:
            connection.close()


@contextmanager
def server(kind: str, folder: Path, application: str = SEEDS_EXAMPLE) -> Iterator[Server]:
    """Make a server on a free port; ends with its processes gone. `application`: what a gunicorn serves."""
    with socket.create_server((HOST, 0)) as listener:
        made = Server(kind, folder, listener, application)
        try:
            yield made
        finally:
            made.kill()
