"""Times what `import` costs, and the first request: fresh interpreters in turn, with bytecode at hand."""

import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from statistics import median
from time import perf_counter

ALONE = "pass"
"""What Python alone does."""
IMPORTS = {
    "its dependencies": (
        "import logging, hashlib, ormsgpack, pybase64, cryptography.hazmat.primitives.ciphers.aead, "
        "cryptography.hazmat.primitives.kdf.hkdf, cryptography.hazmat.primitives.hashes"
    ),
    "holdall": "import holdall",
    "Starlette": "import starlette.middleware.sessions",
    "Django": "import django.contrib.sessions.middleware, django.contrib.sessions.backends.signed_cookies",
    "Flask": "import flask.sessions",
}
"""What is imported, by name."""

_FIRST = """
from pathlib import Path
from bench.contestants import Places
from bench.tables import TABLES
from bench.worker import first_request
first_request(TABLES["cookie"]["{name}"], Places(Path()), is_bare={is_bare})
"""
FIRSTS = {
    name: (_FIRST.format(name=name, is_bare=False), _FIRST.format(name=name, is_bare=True))
    for name in ("Holdall", "Holdall Flask", "Flask", "Holdall Django", "Django", "Holdall ASGI", "Starlette")
}
"""The first request of a process, which fills a session, and the same without sessions, by the name of who makes it."""


def imports(folder: str, rounds: int) -> dict[str, float]:
    """Return the milliseconds that each of the imports takes over Python alone."""
    return measure_starts(folder, rounds, {name: (statement, ALONE) for name, statement in IMPORTS.items()})


def first_requests(folder: str, rounds: int) -> dict[str, float]:
    """Return the milliseconds that sessions add to the first request of a process, its imports included."""
    return measure_starts(folder, rounds, FIRSTS)


def measure_starts(
    folder: str, rounds: int, starts: Mapping[str, tuple[str, str]], clock: Callable[[], float] = perf_counter
) -> dict[str, float]:
    """Return for each name the milliseconds that its first statement takes over its second; medians of so many rounds.

    `folder` is where the bytecode goes, so that it is there whatever this process was told. `clock` tells seconds.
    """
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONDONTWRITEBYTECODE"}
    environment["PYTHONPYCACHEPREFIX"] = folder
    taken: dict[str, list[float]] = {statement: [] for pair in starts.values() for statement in reversed(pair)}
    for turn in range(rounds + 1):
        for statement, times in taken.items():
            began = clock()
            subprocess.run([sys.executable, "-c", statement], check=True, env=environment)
            if turn:  # the first one compiles
                times.append((clock() - began) * 1000)
    return {
        name: median(with_it - without for with_it, without in zip(taken[mine], taken[other], strict=True))
        for name, (mine, other) in starts.items()
    }
