"""Types what the tutorials say, from nothing to a session that counts: `hatch run dist:try`.

Each tutorial's examples are saved and its commands run, in their order and in an empty virtual environment, until a
server runs; then a browser's part is played. Holdall is installed from dist/, where `dist:check` put it, and everything
else from the package index.
"""

import os
import re
import shlex
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
import venv
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]

PORTS = {
    "flask": "--port={}",
    "gunicorn": "--bind=127.0.0.1:{}",
    "uvicorn": "--port={}",
    "python manage.py runserver": "--noreload 127.0.0.1:{}",
}
"""How each command that starts a server is told a port, since another's may be taken."""

_BLOCK = re.compile(r"```(python|sh)\n(.*?)```", re.DOTALL)
_FILE = re.compile(r"Saved as `(\S+)`")
_KEY = re.compile(r"<the output of: (.*)>")
_SILENT: Any = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
_PATIENCE = 30.0  # seconds until a server must answer


def follow(page: str, folder: Path) -> None:
    """Do in an empty folder what a tutorial says. Raises `AssertionError` if it does not lead to a session."""
    venv.create(folder / "venv", with_pip=True)
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith(("VIRTUAL", "PYTHON"))},
        "PATH": f"{folder / 'venv' / 'bin'}{os.pathsep}{os.environ['PATH']}",
        "PIP_FIND_LINKS": str(ROOT / "dist"),
        "PIP_QUIET": "1",
    }
    (unnamed,) = _FILE.findall(page) or ["nothing.py"]
    for kind, text in _BLOCK.findall(page):
        if kind == "python":
            named = re.match(r"# (\S+\.py)\n", text)
            with (folder / (named[1] if named else unnamed)).open("a", encoding="utf-8") as file:
                file.write(f"\n{text}")
            continue
        for line in text.splitlines():
            starts = next((port for command, port in PORTS.items() if line.startswith(command)), None)
            if starts is None:
                subprocess.run(shlex.split(line), cwd=folder, env=environment, check=True)
                continue
            for path in folder.glob("*.py"):
                _fill_in_the_key(path, environment)
            port = _free_port()
            command = shlex.split(f"{line} {starts.format(port)}")
            with subprocess.Popen(command, cwd=folder, env=environment, **_SILENT) as server:
                try:
                    visits = _visit(f"http://127.0.0.1:{port}/")
                finally:
                    server.terminate()
            assert visits == ["visit 1", "visit 2", "visit 3"], visits
            return
    raise AssertionError("the page starts no server")


def _fill_in_the_key(path: Path, environment: dict[str, str]) -> None:
    def made(match: re.Match[str]) -> str:
        done = subprocess.run(shlex.split(match[1]), env=environment, capture_output=True, text=True, check=True)
        return done.stdout.strip()

    path.write_text(_KEY.sub(made, path.read_text(encoding="utf-8")), encoding="utf-8")


def _visit(url: str) -> list[str]:
    """Visit a page three times, as a browser does: it sends Secure cookies to this machine."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    cookies: dict[str, str] = {}
    bodies: list[str] = []
    deadline = time.monotonic() + _PATIENCE
    while len(bodies) < 3:
        header = "; ".join(f"{name}={value}" for name, value in cookies.items())
        request = urllib.request.Request(url, headers={"Cookie": header} if cookies else {})
        try:
            with opener.open(request, timeout=_PATIENCE) as response:
                bodies.append(response.read().decode())
                for cookie in response.headers.get_all("Set-Cookie", []):
                    name, _, value = cookie.partition(";")[0].partition("=")
                    cookies[name] = value
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.1)
    return bodies


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


if __name__ == "__main__":
    for name in sys.argv[1:] or ["wsgi", "flask", "django", "asgi"]:
        with tempfile.TemporaryDirectory() as made:
            begun = time.monotonic()
            follow((ROOT / f"docs/{name}.md").read_text(encoding="utf-8"), Path(made))
            sys.stdout.write(f"docs/{name}.md leads to a session that counts, in {time.monotonic() - begun:.0f} s\n")
