"""Real servers over loopback, and many clients at once: requests per second, latency, memory of a worker.

wrk is the client. Each server has one worker; its application changes a session of 200 bytes at each request.
"""

import os
import re
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.cookies import SimpleCookie
from pathlib import Path
from typing import NamedTuple

from bench.served import IS_BARE, NAME

INSTALL = "apt-get install wrk"
CONTESTANTS = (
    ("Flask", None),
    ("Flask", "Holdall Flask"),
    ("Flask", "Flask"),
    ("Django", None),
    ("Django", "Holdall Django"),
    ("Django", "Django"),
    ("Starlette", None),
    ("Starlette", "Holdall ASGI"),
    ("Starlette", "Starlette"),
)
"""The application, by the contestant that has it without sessions, and whose sessions it has."""
_ON_UVICORN = ("Starlette",)
# Not its option --fd, which takes the socket for a Unix one and leaves Nagle's algorithm on: 40 ms for each answer.
_UVICORN = """
import socket, sys, uvicorn
config = uvicorn.Config("bench.served:application", access_log=False, log_level="error")
uvicorn.Server(config).run(sockets=[socket.socket(fileno=int(sys.argv[1]))])
"""
_PATIENCE = 30.0  # seconds until a server must answer
_DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))
_UNITS = {"us": 0.001, "ms": 1.0, "s": 1000.0}


class Load(NamedTuple):
    """What a number of clients got."""

    clients: int
    requests: float
    """Per second."""
    p50: float
    """Milliseconds, as `p99`."""
    p99: float


class Server(NamedTuple):
    """A server that answers."""

    url: str
    cookie: str
    """The Cookie header of a browser that was here once; empty without sessions."""
    pid: int

    def memory(self) -> float:
        """Return the megabytes that its worker has in memory: of the processes of the server, the last one started."""
        children = Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text().split()
        status = Path(f"/proc/{children[-1] if children else self.pid}/status").read_text()
        found = re.search(r"VmRSS:\s+(\d+) kB", status)
        assert found is not None
        return int(found[1]) / 1024


def report(clients: tuple[int, ...], seconds: float) -> Iterator[str]:
    """Yield a table, line by line."""
    if shutil.which("wrk") is None:
        yield f"Not measured, wrk is missing: {INSTALL}"
        return
    yield f"Requests per second, p50 / p99 in milliseconds, {seconds:g} s each, beside {os.cpu_count()} CPUs for all.\n"
    columns = [f"{number} client{'s' * (number > 1)}" for number in clients]
    yield f"| application | sessions | {' | '.join(columns)} | MB of a worker |"
    yield f"|---|---|{'--:|' * len(clients)}--:|"
    for application, sessions in CONTESTANTS:
        with serving(application, sessions) as server:
            loads = [load(server, number, seconds) for number in clients]
            cells = [f"{one.requests:.0f}, {one.p50:.3g} / {one.p99:.3g}" for one in loads]
            yield f"| {application} | {sessions or 'none'} | {' | '.join(cells)} | {server.memory():.0f} |"


@contextmanager
def serving(application: str, sessions: str | None) -> Iterator[Server]:
    """Run a server, gunicorn or uvicorn, with one worker, on a free port of 127.0.0.1."""
    environment = {**os.environ, NAME: sessions or application}
    if sessions is None:
        environment[IS_BARE] = "1"
    with socket.create_server(("127.0.0.1", 0), backlog=512) as listening:
        handle = listening.fileno()
        flags = ["bench.served:application", "--bind", f"fd://{handle}", "--threads", "8", "--keep-alive", "30"]
        program = ["-c", _UVICORN, str(handle)] if application in _ON_UVICORN else ["-m", "gunicorn", *flags]
        process = subprocess.Popen(
            [sys.executable, *program], env=environment, pass_fds=(handle,), stderr=subprocess.DEVNULL
        )
        url = f"http://127.0.0.1:{listening.getsockname()[1]}/"
        try:
            yield Server(url, _first_visit(url), process.pid)
        finally:
            process.terminate()
            with suppress(subprocess.TimeoutExpired):
                process.wait(5)
            process.kill()
            process.wait()


def load(server: Server, clients: int, seconds: float) -> Load:
    """Have so many clients ask, each as soon as it was answered. Raises RuntimeError if any answer is an error."""
    header = ["-H", f"Cookie: {server.cookie}"] if server.cookie else []
    command = ["wrk", "-t1", f"-c{clients}", f"-d{max(1, round(seconds))}s", "--latency", *header, server.url]
    return parsed(subprocess.run(command, check=True, capture_output=True, text=True).stdout, clients)


def parsed(output: str, clients: int) -> Load:
    """Return what wrk says. Raises RuntimeError if it tells of errors."""
    if "Non-2xx" in output or "Socket errors" in output:
        raise RuntimeError(f"not all went well: {output}")
    requests = re.search(r"Requests/sec:\s+([\d.]+)", output)
    latency = {share: float(figure) * _UNITS[unit] for share, figure, unit in re.findall(_LATENCY, output)}
    if requests is None or not {"50", "99"} <= set(latency):
        raise RuntimeError(f"wrk says nothing: {output}")
    return Load(clients, float(requests[1]), latency["50"], latency["99"])


_LATENCY = r"(\d+)%\s+([\d.]+)(us|ms|s)"


def _first_visit(url: str) -> str:
    end = time.monotonic() + _PATIENCE
    while True:
        try:
            with _DIRECT.open(url, timeout=_PATIENCE) as response:
                jar = SimpleCookie(response.headers.get("Set-Cookie", ""))
            return "; ".join(f"{name}={morsel.value}" for name, morsel in jar.items())
        except OSError:
            if time.monotonic() > end:
                raise
            time.sleep(0.05)
