"""Real memcached servers as child processes: starting, waiting until they answer, stopping. No fixtures."""

import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

INSTALL = "apt-get install memcached"

_PATIENCE = 10.0  # seconds until a server must answer; 0.1 are usual
_PORTS = 5  # another process may take a free port before the server does: so many are tried


class MemcachedServer:
    """One memcached, on a free port of 127.0.0.1 or on a Unix socket; not running until `start`."""

    def __init__(self, socket_path: Path | None = None, *options: str) -> None:
        self._socket_path = socket_path
        self._options = options
        self._port = 0
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def address(self) -> str:
        """The server, as `Memcached` takes it."""
        return f"127.0.0.1:{self._port}" if self._socket_path is None else f"unix://{self._socket_path}"

    def start(self) -> None:
        """Start it, at its address from before if it had one, and wait until it answers. It holds nothing."""
        program = shutil.which("memcached")
        if program is None:
            missing = f"memcached is missing: {INSTALL}"
            if os.environ.get("CI"):
                pytest.fail(missing)
            pytest.skip(missing)
        for _ in range(_PORTS):
            self._port = self._port or free_port()
            place = ["-l", "127.0.0.1", "-p", str(self._port), "-U", "0"]
            if self._socket_path is not None:
                place = ["-s", str(self._socket_path), "-a", "0700"]
            # Run by root, memcached wants to be told as whom it should run.
            user = ["-u", "root"] if os.geteuid() == 0 else []
            self._process = subprocess.Popen(
                [program, *place, *user, *self._options], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
            )
            if self._answers(self._process):
                return
            self.kill()
            self._port = 0
        pytest.fail("memcached does not start")

    def kill(self) -> None:
        """End it at once, also when it is stopped."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None
        if self._socket_path is not None:
            self._socket_path.unlink(missing_ok=True)

    @contextmanager
    def stopped(self) -> Iterator[None]:
        """Have it accept connections and say nothing for a while."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)
        os.waitpid(self._process.pid, os.WUNTRACED)  # until all its threads have stopped
        try:
            yield
        finally:
            self._process.send_signal(signal.SIGCONT)

    def ask(self, command: str) -> str:
        """Return the first line that it answers to a command."""
        with self._connect() as connection:
            connection.sendall(command.encode() + b"\r\n")
            with connection.makefile("rb") as reply:
                return reply.readline().decode().rstrip()

    def stat(self, name: str) -> str:
        """Return one of its statistics."""
        with self._connect() as connection, connection.makefile("rb") as reply:
            connection.sendall(b"stats\r\n")
            for line in reply:
                match line.decode().split():
                    case ["STAT", found, value] if found == name:
                        return value
        raise KeyError(name)

    def _connect(self) -> socket.socket:
        if self._socket_path is None:
            return socket.create_connection(("127.0.0.1", self._port), _PATIENCE)
        connection = socket.socket(socket.AF_UNIX)
        connection.settimeout(_PATIENCE)
        try:
            connection.connect(str(self._socket_path))
        except OSError:
            connection.close()
            raise
        return connection

    def _answers(self, process: "subprocess.Popen[bytes]") -> bool:
        end = time.monotonic() + _PATIENCE
        while time.monotonic() < end and process.poll() is None:
            with suppress(OSError):
                # Its process id tells it from another memcached that was faster to take the port.
                return self.ask("stats") == f"STAT pid {process.pid}"
            time.sleep(0.01)
        return False


@contextmanager
def memcached(socket_path: Path | None = None, *options: str) -> Iterator[MemcachedServer]:
    """Run a memcached with these command-line options; ends with its process gone.

    Skips the test if memcached is not installed; fails it instead where the environment says CI.
    """
    server = MemcachedServer(socket_path, *options)
    try:
        server.start()
        yield server
    finally:
        server.kill()


def free_port() -> int:
    """Return a port of 127.0.0.1 that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
