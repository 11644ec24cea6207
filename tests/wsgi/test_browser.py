"""What a real browser makes of the session cookie: Chromium, without a window, on a page that waitress serves."""

import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.wsgi.serving import WAITRESS, Server, server

INSTALL = "apt-get install chromium"

_PATIENCE = 60  # seconds; 2 are usual


@pytest.fixture
def chromium() -> str:
    """The browser's program; skips the test if there is none, and fails it where the environment says CI."""
    program = shutil.which("chromium") or shutil.which("chromium-browser")
    if program is None:
        missing = f"chromium is missing: {INSTALL}"
        if os.environ.get("CI"):
            pytest.fail(missing)
        pytest.skip(missing)
    return program


@pytest.fixture
def page_server(tmp_path: Path) -> Iterator[Server]:
    with server(WAITRESS, tmp_path) as made:
        made.start()
        yield made


def show(program: str, profile: Path, address: str) -> str:
    """Have a browser without a past visit an address; returns the text of the page it ends on."""
    result = subprocess.run(
        [
            program,
            "--headless",
            "--dump-dom",
            "--no-sandbox",  # it refuses to run as root otherwise
            "--disable-gpu",
            "--disable-dev-shm-usage",
            "--disable-background-networking",
            "--disable-component-update",
            "--no-first-run",
            "--no-proxy-server",
            # No other host exists, and the one that is not loopback is this machine too.
            "--host-resolver-rules=MAP shop.test 127.0.0.1, MAP * ~NOTFOUND, EXCLUDE 127.0.0.1, EXCLUDE localhost",
            f"--user-data-dir={profile}",
            address,
        ],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        timeout=_PATIENCE,
        check=True,
        text=True,
    )
    (text,) = re.findall(r"<p>(.*?)</p>", result.stdout)
    return str(text)


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
@pytest.mark.parametrize("size", [10, 20_000])
def test_loopback(size: int, host: str, chromium: str, page_server: Server, tmp_path: Path) -> None:
    """On loopback a Secure __Host- cookie over plain http comes back, data or reference, and no script sees it."""
    address = f"http://{host}:{page_server.port}/browsed?{size}"
    assert show(chromium, tmp_path / "profile", address) == "2 visits, a script sees: visible=yes"


def test_other_host_over_plain_http(chromium: str, page_server: Server, tmp_path: Path) -> None:
    """On any other host it does not, which is what the log's warning is about."""
    address = f"http://shop.test:{page_server.port}/browsed?10"
    assert show(chromium, tmp_path / "profile", address) == "1 visits, a script sees: visible=yes"
    (log,) = tmp_path.glob("*.log")
    assert log.read_text().count("a Secure session cookie was sent over plain http") == 1
