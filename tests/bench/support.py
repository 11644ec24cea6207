"""What the tests of the bench share."""

from collections.abc import Sequence
from importlib.util import find_spec

import pytest

from bench.contestants import Caller, Clock
from bench.tables import TABLES

INSTALLED = [
    pytest.param(table, name, marks=getattr(pytest.mark, server) if server else ())
    for table, server in (
        *(("cookie", ""), ("memory", ""), ("memcached", "memcached"), ("refill", "memcached")),
        *(("sqlite", "memcached"), ("datastore", "datastore")),
    )
    for name, contestant in TABLES[table].items()
    if find_spec(contestant.package)
]
"""Each contestant whose package is there: all of them in the bench's own environment, fewer in that of the tests."""


class Takes(Caller):
    """Requests that take a while by a clock of their own."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self.headers = []
        self.asked: list[str] = []

    def spend(self, cookies: Sequence[str], clock: Clock = float) -> float:
        """Note who asked; each request takes as long as was said."""
        self.asked += cookies
        return self._seconds * len(cookies)
