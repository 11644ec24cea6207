"""Google's Datastore emulators as child processes: the optimistic and the pessimistic one.

Starting, waiting until they answer, and stopping; the fixtures are in `tests/stores/conftest.py`. No client
code.
"""

import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

INSTALL = "gcloud components install cloud-datastore-emulator cloud-firestore-emulator beta"

OPTIMISTIC = "optimistic"
PESSIMISTIC = "pessimistic"

_ARGUMENTS = {
    # The default of 0.9 lets every tenth query miss what was just written; the real service does not do that.
    OPTIMISTIC: ["datastore", "start", "--no-store-on-disk", "--project=test", "--consistency=1.0"],
    PESSIMISTIC: ["firestore", "start", "--database-mode=datastore-mode"],
}
_DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))
_PATIENCE = 60.0  # seconds until an emulator must answer; 3 to 10 are usual
_PORTS = 3  # another process may take a free port before the emulator does: so many are tried


class _NotStartedError(Exception):
    pass


class EmulatorServer:
    """A running emulator: gcloud, the shell it started, and the Java that one started, which are one process group."""

    def __init__(self, address: str, process: "subprocess.Popen[bytes]") -> None:
        self.address = address
        """Where it listens, as host:port."""
        self._process = process

    @contextmanager
    def stopped(self) -> Iterator[None]:
        """Have it accept connections and say nothing for a while."""
        os.killpg(self._process.pid, signal.SIGSTOP)
        try:
            yield
        finally:
            os.killpg(self._process.pid, signal.SIGCONT)

    def kill(self) -> None:
        """End all of it at once."""
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()


@contextmanager
def emulator(concurrency: str) -> Iterator[str]:
    """Run the emulator of that `concurrency`, as `emulator_server` does; yields its "host:port"."""
    with emulator_server(concurrency) as running:
        yield running.address


@contextmanager
def emulator_server(concurrency: str) -> Iterator[EmulatorServer]:
    """Run the emulator of that `concurrency`; ends with all its processes gone.

    Skips the test if the emulator is not installed; fails it instead where the environment says CI.
    """
    gcloud = shutil.which("gcloud")
    if gcloud is None or shutil.which("java") is None:
        _missing("gcloud or Java is missing")
    assert gcloud is not None
    with tempfile.TemporaryDirectory(prefix="holdall-emulator-") as home:
        for attempt in range(1, _PORTS + 1):
            address = f"127.0.0.1:{_free_port()}"
            log = Path(home, f"log-{attempt}")
            process = _start(gcloud, concurrency, address, home, log)
            running = EmulatorServer(address, process)
            try:
                _wait(process, address, log)
            except _NotStartedError as error:
                running.kill()
                if attempt == _PORTS:
                    _missing(f"the {concurrency} emulator did not start: {error}")
                continue
            try:
                yield running
            finally:
                running.kill()
            return


def _missing(reason: str) -> None:
    message = f"{reason}; install with: {INSTALL}"
    if os.environ.get("CI"):
        pytest.fail(message)
    pytest.skip(message)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _start(gcloud: str, concurrency: str, address: str, home: str, log: Path) -> "subprocess.Popen[bytes]":
    environment = {
        **os.environ,
        "CLOUDSDK_CONFIG": home,
        "CLOUDSDK_CORE_DISABLE_PROMPTS": "1",
        "CLOUDSDK_CORE_DISABLE_USAGE_REPORTING": "1",
        "CLOUDSDK_COMPONENT_MANAGER_DISABLE_UPDATE_CHECK": "1",
    }
    arguments = [gcloud, "beta", "emulators", *_ARGUMENTS[concurrency], f"--host-port={address}"]
    with log.open("wb") as output:
        return subprocess.Popen(
            arguments,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env=environment,
            start_new_session=True,
        )


def _wait(process: "subprocess.Popen[bytes]", address: str, log: Path) -> None:
    deadline = time.monotonic() + _PATIENCE
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise _NotStartedError(log.read_text(errors="replace")[-500:])
        try:
            with _DIRECT.open(f"http://{address}/", timeout=1) as response:
                if response.read().strip() == b"Ok":
                    return
        except OSError:
            time.sleep(0.05)
    raise _NotStartedError(f"no answer in {_PATIENCE} seconds")
