"""A real Prometheus as a child process that scrapes one address: starting, asking, stopping. No fixtures."""

import json
import os
import shutil
import subprocess
import time
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from tests.servers import free_port

INSTALL = "apt-get install prometheus"

_PATIENCE = 60.0  # seconds until it must answer; 1 is usual
_PORTS = 5  # another process may take a free port before it does: so many are tried
_CONFIG = """\
global: {{scrape_interval: 300ms, scrape_timeout: 300ms}}
scrape_configs:
- job_name: application
  static_configs: [{{targets: ["{target}"]}}]
"""


class Prometheus:
    """One that runs, at a port of 127.0.0.1."""

    def __init__(self, port: int) -> None:
        self._at = f"http://127.0.0.1:{port}"

    def get(self, path: str, **query: str) -> bytes:
        """Return what it answers; raises `OSError` if it does not, or not with 200."""
        with urllib.request.urlopen(f"{self._at}{path}?{urllib.parse.urlencode(query)}", timeout=_PATIENCE) as answer:
            return bytes(answer.read())

    def query(self, expression: str) -> list[tuple[dict[str, str], float]]:
        """Return the labels and the value of each series that an expression gives now."""
        result: list[dict[str, Any]] = json.loads(self.get("/api/v1/query", query=expression))["data"]["result"]
        return [(series["metric"], float(series["value"][1])) for series in result]


@contextmanager
def prometheus(folder: Path, target: str) -> Iterator[Prometheus]:
    """Run one that scrapes `target`, such as `127.0.0.1:9464`; ends with its process gone.

    Skips the test if Prometheus is not installed; fails it instead where the environment says CI.
    """
    program = shutil.which("prometheus")
    if program is None:
        missing = f"prometheus is missing: {INSTALL}"
        if os.environ.get("CI"):
            pytest.fail(missing)
        pytest.skip(missing)
    config = folder / "prometheus.yml"
    config.write_text(_CONFIG.format(target=target), encoding="utf-8")
    for attempt in range(_PORTS):
        port = free_port()
        place = [f"--web.listen-address=127.0.0.1:{port}", f"--storage.tsdb.path={folder / f'data-{attempt}'}"]
        process = subprocess.Popen(
            [program, f"--config.file={config}", *place], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        try:
            server = Prometheus(port)
            if _answers(server, process):
                yield server
                return
        finally:
            process.kill()
            process.wait()
    pytest.fail("prometheus does not start")


def _answers(server: Prometheus, process: "subprocess.Popen[bytes]") -> bool:
    end = time.monotonic() + _PATIENCE
    while time.monotonic() < end and process.poll() is None:
        with suppress(OSError):
            server.get("/-/ready")
            return True
        time.sleep(0.05)
    return False
