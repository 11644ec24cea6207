"""Times what `import` costs: fresh interpreters in turn, each of which imports one thing, with bytecode at hand."""

import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from statistics import median
from time import perf_counter

ALONE = "python"
STATEMENTS = {
    ALONE: "pass",
    "its dependencies": (
        "import logging, hashlib, ormsgpack, pybase64, cryptography.hazmat.primitives.ciphers.aead, "
        "cryptography.hazmat.primitives.kdf.hkdf, cryptography.hazmat.primitives.hashes"
    ),
    "holdall": "import holdall",
    "Starlette": "import starlette.middleware.sessions",
    "Django": "import django.contrib.sessions.middleware, django.contrib.sessions.backends.signed_cookies",
    "Flask": "import flask.sessions",
}
"""What is imported, by name. Python alone is what the others are measured over."""


def measure_imports(
    folder: str, rounds: int, clock: Callable[[], float] = perf_counter, statements: Mapping[str, str] = STATEMENTS
) -> dict[str, float]:
    """Return for each name the milliseconds that its import takes over Python alone; medians of so many rounds.

    `folder` is where the bytecode goes, so that it is there whatever this process was told. `clock` tells seconds.
    """
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONDONTWRITEBYTECODE"}
    environment["PYTHONPYCACHEPREFIX"] = folder
    taken: dict[str, list[float]] = {name: [] for name in statements}
    for turn in range(rounds + 1):
        for name, statement in statements.items():
            started = clock()
            subprocess.run([sys.executable, "-c", statement], check=True, env=environment)
            if turn:  # the first one compiles
                taken[name].append((clock() - started) * 1000)
    alone = taken.pop(ALONE)
    return {name: median(mine - its for mine, its in zip(times, alone, strict=True)) for name, times in taken.items()}
