"""The core's promises about itself: no I/O, clock or randomness of its own; small, light, and well exported."""

import ast
import io
import subprocess
import sys
import tokenize
from pathlib import Path

import holdall
import pytest

CORE = Path(holdall.__file__).parent
ALLOWED = {
    *(
        "abc",
        "base64",
        "codecs",
        "collections",
        "contextvars",
        "dataclasses",
        "datetime",
        "decimal",
        "enum",
        "fractions",
    ),
    *(
        "functools",
        "gc",
        "hashlib",
        "hmac",
        "itertools",
        "logging",
        "math",
        "operator",
        "os",
        "re",
        "string",
        "struct",
        "time",
    ),
    *("threading", "types", "typing", "uuid", "zlib", "zoneinfo"),
    *("cryptography", "ormsgpack", "pybase64", "holdall"),
}


def test_core_imports_nothing_that_does_io() -> None:
    """No socket, framework or event loop is imported anywhere in the core."""
    for path in CORE.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom):
                assert node.level == 0, path
                names.append(node.module or "")
            for name in names:
                assert name.partition(".")[0] in ALLOWED, f"{path.name} imports {name}"


@pytest.mark.requirement(1)
def test_time_and_randomness_are_arguments_only() -> None:
    """time.time and os.urandom appear as defaults of arguments, and are called nowhere."""
    for path in CORE.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
                owner = node.func.value
                if isinstance(owner, ast.Name) and owner.id in ("time", "os"):
                    assert node.func.attr == "getpid", f"{path.name} calls {owner.id}.{node.func.attr}"


@pytest.mark.requirement(9)
def test_no_request_does_io() -> None:
    """Under an audit hook, whole requests of every tier raise no event of files, sockets, processes or pickles."""
    script = """
import sys
from tests.core.support import World, big
from holdall import Session
world = World()
def round_trip():
    world.request(lambda s: s.update(n=1, l=[1], t=(1, 2)))
    world.request(lambda s: s["l"].append(2))
    world.request(lambda s: s.update(big=big()))
    world.request(lambda s: s.incr("n"))
    world.request(lambda s: s.set_quick("q", 1))
    world.request(Session.regenerate_id)
    world.request(Session.terminate)
    world.browser.cookies = {"__Host-session": "junk" * 20}
    assert world.read() == {}
    world.browser.cookies = {}
round_trip()  # whatever is imported on first use is imported now
seen = []
quiet = ("object.__", "sys._getframe", "logging", "sys.excepthook", "time.sleep")
sys.addaudithook(lambda name, args: seen.append(name))
for _ in range(3):
    round_trip()
seen = [name for name in seen if not name.startswith(quiet)]
assert not seen, set(seen)
"""
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_light() -> None:
    """The core has fewer than 3,500 lines of code beside its test doubles, and brings no client of a server."""
    assert sum(lines_of_code(path) for path in CORE.glob("*.py") if path.name != "testing.py") < 3500
    script = "import sys, holdall; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    heavy = {
        "socket",
        "asyncio",
        "ssl",
        "pickle",
        "sqlite3",
        "pymemcache",
        "grpc",
        "google.cloud.ndb",
        "http.cookies",
    }
    assert not heavy & set(done.stdout.split())


def lines_of_code(path: Path) -> int:
    """Count the lines that are neither blank nor comment nor docstring."""
    source = path.read_text()
    quiet = (tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT, tokenize.ENDMARKER)
    lines: set[int] = set()
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type not in quiet:
            lines.update(range(token.start[0], token.end[0] + 1))
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
            lines.difference_update(range(node.lineno, (node.end_lineno or node.lineno) + 1))
    return len(lines)


def test_public_names() -> None:
    """Every public name says where it is from, and has a docstring."""
    for name in dir(holdall):
        value = getattr(holdall, name)
        if not name.startswith("_") and isinstance(value, type):
            assert value.__doc__, name


@pytest.mark.requirement(9)
def test_no_pickle_nor_eval() -> None:
    """Nothing in the core names pickle, marshal, yaml, eval or exec."""
    for path in CORE.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Name):
                assert node.id not in ("pickle", "marshal", "yaml", "eval", "exec", "compile"), path
