"""Starts the contestants' processes, and talks to them: one line of JSON each way. See `worker` for the other end."""

import json
import subprocess
import sys
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from bench.contestants import Places


class Process:
    """One contestant, which carries out an order at a time."""

    def __init__(self, name: str, process: "subprocess.Popen[str]", log: Path) -> None:
        self.name = name
        self._process = process
        self._log = log

    def ask(self, order: str, **arguments: Any) -> Any:
        """Return the answer to an order. Raises RuntimeError, with what it said, if the process ended instead."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        try:
            self._process.stdin.write(json.dumps({"order": order, **arguments}) + "\n")
            self._process.stdin.flush()
            line = self._process.stdout.readline()
        except BrokenPipeError:
            line = ""
        if not line:
            raise RuntimeError(f"{self.name} ended at {order}: {self._log.read_text(errors='replace')[-2000:]}")
        return json.loads(line)


@contextmanager
def process(table: str, name: str, places: Places) -> Iterator[Process]:
    """Run a contestant in an interpreter of its own, until the block ends."""
    log = places.folder / f"{table}-{name}.log"
    told = json.dumps({"folder": str(places.folder), "memcached": places.memcached, "datastore": places.datastore})
    with log.open("wb") as errors:
        started = subprocess.Popen(
            [sys.executable, "-m", "bench.worker", table, name, told],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
        )
    try:
        yield Process(name, started, log)
    finally:
        started.kill()
        started.communicate()


@contextmanager
def processes(table: str, names: Iterable[str], places: Places) -> Iterator[dict[str, Process]]:
    """Run several contestants of a table, by name."""
    with ExitStack() as stack:
        yield {name: stack.enter_context(process(table, name, places)) for name in names}
