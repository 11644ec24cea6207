"""The embedded servers as child processes, started as the page says, and visited by real clients over sockets."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from tests.core.support import Browser
from tests.core.test_architecture import lines_of_code
from tests.strict import WARNINGS

ROOT = Path(__file__).parents[2]
EXAMPLES = ("http_server", "h11_server", "asyncio_server")


@contextmanager
def running(name: str, folder: Path) -> Iterator[str]:
    """Run an example in a folder; yields its address."""
    path = os.pathsep.join(each for each in sys.path if each)
    process = subprocess.Popen(
        [sys.executable, str(ROOT / "examples" / f"{name}.py")],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": path, "PYTHONWARNINGS": WARNINGS},
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        yield process.stdout.readline().strip()
    finally:
        process.kill()
        process.communicate()


@pytest.mark.parametrize("name", EXAMPLES)
class TestExamples:
    """Each example is a whole server, and short."""

    def test_counts_visits(self, name: str, tmp_path: Path) -> None:
        """A browser's visits are counted, another's apart from them, and other paths are not there."""
        with running(name, tmp_path) as address, httpx.Client(trust_env=False) as client:
            assert re.fullmatch(r"http://127\.0\.0\.1:\d+/", address)
            for browser in (Browser(), Browser()):
                for visit in (1, 2, 3):
                    answer = client.get(address, headers={"Cookie": browser.header} if browser.cookies else {})
                    browser.receive(answer.headers.multi_items())
                    assert answer.text == f"visit {visit}\n"
            assert client.get(f"{address}other").status_code == 404

    def test_is_short(self, name: str, tmp_path: Path) -> None:
        """An example takes fewer than 60 lines of code."""
        assert lines_of_code(ROOT / "examples" / f"{name}.py") < 60
