"""The applications of the walk on real servers, as child processes, and the browser that walks. No fixtures."""

import os
import re
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from http.cookiejar import CookieJar, DefaultCookiePolicy
from pathlib import Path
from urllib.error import HTTPError
from urllib.parse import urlencode
from urllib.request import HTTPCookieProcessor, OpenerDirector, ProxyHandler, build_opener

from tests.core.support import KEY
from tests.strict import WARNINGS
from tests.together import pages
from tests.wsgi.serving import HOST, Server

_ROOT = Path(__file__).parents[2]
_PATIENCE = 60  # seconds for an answer, in which a busy machine has to start a server too
_BROWSER_LEFT = ("BrokenPipeError", "ConnectionResetError")  # before it had its response, as browsers do
_GUNICORN = ["gunicorn", "--workers=2", "--worker-class=gthread", "--threads=8", "--bind=fd://{fd}"]
# gunicorn does not close one of two objects for the socket that it is given, and Python warns of that.
_WARNINGS = f"{WARNINGS},ignore::ResourceWarning:gunicorn.arbiter"
_UVICORN = ["uvicorn", "--factory", "--ws=none", "--no-access-log", "--fd={fd}"]

PROGRAMS = {
    "wsgi": [*_GUNICORN, "tests.together.served_wsgi:make_application()"],
    "flask": [*_GUNICORN, "tests.together.served_flask:make_application()"],
    "django": [*_GUNICORN, "tests.together.served_django:make_application()"],
    "starlette": [*_UVICORN, "tests.together.served_starlette:make_application"],
    "quart": [*_UVICORN, "tests.together.served_quart:make_application"],
    "http_server": ["tests.together.served_http_server", "{fd}"],
}
"""By framework, the server program and its application."""

Addresses = dict[str, str]
"""By framework, where its application is, such as "http://127.0.0.1:8080"."""


class FrameworkServer(Server):
    """The server of one framework, on one port. Not running until `start`."""

    def start(
        self, *, keys: str = KEY, cache: str | None = None, durable: str | None = None, **environment: str
    ) -> None:
        """Start it in its folder, with stores at these URLs."""
        assert cache is not None
        assert durable is not None
        settings = {
            "HOLDALL_TEST_KEY": keys,
            "HOLDALL_TEST_CACHE": cache,
            "HOLDALL_TEST_DURABLE": durable,
            "PYTHONPATH": os.pathsep.join([str(_ROOT), *(each for each in sys.path if each)]),
            "PYTHONWARNINGS": _WARNINGS,
            "HOME": str(self._folder),  # where gunicorn puts its control socket
        }
        fd = self._listener.fileno()
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", *(each.format(fd=fd) for each in PROGRAMS[self._kind])],
                cwd=self._folder,
                env={**os.environ, **settings, **environment},
                pass_fds=[fd],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    @property
    def log(self) -> Path:
        """The file with what it has written to its streams."""
        return self._folder / f"{self._kind}.log"


@contextmanager
def all_frameworks(folder: Path, cache: str, durable: str) -> Iterator[Addresses]:
    """Serve all of them over the same stores; ends with their processes gone, and fails if one logged a traceback."""
    with ExitStack() as stack:
        servers = {}
        for framework in PROGRAMS:
            listener = stack.enter_context(socket.create_server((HOST, 0)))
            servers[framework] = server = FrameworkServer(framework, folder, listener)
            stack.callback(server.kill)
            server.start(cache=cache, durable=durable)
        yield {framework: f"http://{HOST}:{server.port}" for framework, server in servers.items()}
        for server in servers.values():
            log = server.log.read_text()
            raised = re.findall(r"^Traceback.*\n(?:[ \t].*\n)*(.*)$", log, re.MULTILINE)
            assert all(line.startswith(_BROWSER_LEFT) for line in raised), log


class Browser:
    """A browser on loopback: keeps cookies and sends them by the rules, and those do not know ports.

    "Cookies for a given host are shared across all the ports on that host" (RFC 6265, 8.5).
    """

    def __init__(self, addresses: Addresses) -> None:
        self._addresses = addresses
        # Browsers take loopback for as trustworthy as https, and keep Secure cookies of it (W3C Secure Contexts, 3.1).
        self._jar = CookieJar(DefaultCookiePolicy(secure_protocols=("http", "https")))
        self._opener: OpenerDirector = build_opener(ProxyHandler({}), HTTPCookieProcessor(self._jar))

    @property
    def cookies(self) -> list[str]:
        """The names of the cookies it has."""
        return sorted(cookie.name for cookie in self._jar)

    def copy(self) -> "Browser":
        """Return another browser with the same cookies: a thief's."""
        other = Browser(self._addresses)
        for cookie in self._jar:
            other._jar.set_cookie(cookie)
        return other

    def visit(self, framework: str, page: str, **query: object) -> dict[str, str]:
        """Visit a page of a framework's application; returns what it says that the session then holds."""
        status, answer = self.ask(framework, page, **query)
        assert status == 200, answer
        (paragraph,) = re.findall("<p>(.*)</p>", answer)
        return pages.read(paragraph)

    def ask(self, framework: str, page: str, **query: object) -> tuple[int, str]:
        """The same for whatever comes; returns status and body."""
        try:
            with self._opener.open(address(self._addresses, framework, page, **query), timeout=_PATIENCE) as response:
                return response.status, response.read().decode()
        except HTTPError as error:
            with error:
                return error.code, error.read().decode()


def address(addresses: Addresses, framework: str, page: str, **query: object) -> str:
    """Return the address of a page."""
    return f"{addresses[framework]}/{page}?{urlencode(query)}"
