"""What the real servers serve: the application of the contestant that the environment names. See `servers`."""

import os
from pathlib import Path
from typing import Any

from bench.contestants import DATA, Mapping, Places, write
from bench.tables import COOKIE

NAME, IS_BARE = "HOLDALL_BENCH_CONTESTANT", "HOLDALL_BENCH_IS_BARE"


def fill_or_write(session: Mapping) -> None:
    """Fill a new session with 200 bytes; change one key of one that there is."""
    if "n" in session:
        write(session)
    else:
        session.update(DATA["200 B"]())


def make() -> Any:
    """Return the application."""
    return COOKIE[os.environ[NAME]].open(Places(Path()))(None if IS_BARE in os.environ else fill_or_write)


if NAME in os.environ:
    application = make()
