"""The project of `served.py` in processes of its own: commands, and real servers. Nothing here says what is right."""

import http.client
import os
import re
import subprocess
import sys
from pathlib import Path
from urllib.parse import urlencode

from tests.core.support import KEY, Browser
from tests.strict import WARNINGS
from tests.wsgi.serving import HOST, Server

WSGI, ASGI = "gunicorn", "uvicorn"
ROOT = Path(__file__).parents[2]

_PROGRAMS = {
    WSGI: ["--workers=2", "--worker-class=gthread", "--threads=8", "django.core.wsgi:get_wsgi_application()"],
    ASGI: ["--factory", "--lifespan=off", "--no-access-log", "django.core.asgi:get_asgi_application"],
}


def environment(folder: Path, **more: str | None) -> dict[str, str]:
    """Return the environment of a process of the project in this folder."""
    inherited = {name: value for name, value in os.environ.items() if name != "HOLDALL_SQLITE"}
    path = os.pathsep.join([str(ROOT), *(each for each in sys.path if each)])
    own = {
        "PYTHONPATH": path,
        "PYTHONWARNINGS": WARNINGS,
        "DJANGO_SETTINGS_MODULE": "tests.django.served",
        "HOLDALL_TEST_FOLDER": str(folder),
        "HOME": str(folder),  # where gunicorn has a socket
    }
    given = {f"HOLDALL_TEST_{name.upper()}": value for name, value in more.items() if value is not None}
    return {**inherited, **own, **given}


def command(folder: Path, *arguments: str, **more: str | None) -> "subprocess.CompletedProcess[str]":
    """Run one of Django's management commands in the project."""
    return subprocess.run(
        [sys.executable, "-m", "django", *arguments],
        cwd=folder,
        env=environment(folder, **more) | {"DJANGO_SUPERUSER_PASSWORD": "secret"},
        capture_output=True,
        text=True,
        check=False,
    )


class DjangoServer(Server):
    """One of two server programs with the project, on one port, in one folder. Not running until `start`."""

    def start(
        self, *, keys: str = KEY, cache: str | None = None, durable: str | None = None, **environment_: str
    ) -> None:
        """Start it, with stores at these URLs, or the default one."""
        fd = self._listener.fileno()
        bind = [f"--bind=fd://{fd}"] if self._kind == WSGI else ["--fd", str(fd)]
        with Path(self._folder, f"{self._kind}.log").open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", self._kind, *bind, *_PROGRAMS[self._kind]],
                cwd=self._folder,
                env=environment(self._folder, key=keys, cache=cache, durable=durable) | environment_,
                pass_fds=[fd],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def submit(self, path: str, browser: Browser, to: str | None = None, **fields: str) -> int:
        """Fill in the form of a page, whose token is in it, and submit it, there or to another; returns the status."""
        _, page = self.ask(path, browser)
        token = re.search(rb'name="csrfmiddlewaretoken" value="(\w+)"', page)
        assert token is not None, page
        body = urlencode({**fields, "csrfmiddlewaretoken": token[1].decode()})
        connection = http.client.HTTPConnection(HOST, self.port, timeout=60)
        try:
            headers = {"Content-Type": "application/x-www-form-urlencoded", "Connection": "close"}
            connection.request("POST", to or path, body, {**headers, "Cookie": browser.header})
            response = connection.getresponse()
            browser.receive(response.getheaders())
            response.read()
            return response.status
        finally:
            connection.close()
