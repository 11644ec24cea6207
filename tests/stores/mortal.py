"""A program that makes requests in processes which die before a certain command to a store. No tests.

It reads one JSON object per line, forks, has the child make the request, and writes the child's exit code. It uses no
store itself, so that every child begins with clients of its own: gRPC does not survive every fork.
"""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

from holdall import Answer, Command, Session, SessionManager, run
from holdall_stores import Stores
from holdall_stores.datastore import Datastore
from holdall_stores.memcached import Memcached

from tests.core.support import KEY

KILLED = 9
PATIENT = 20.0  # seconds: a busy machine shall neither make a failure nor hide one


def text(size: int, number: int = 0) -> str:
    """Return so many characters that tell a number everywhere."""
    line = f"value {number} "
    return (line * (size // len(line) + 1))[:size]


ACTS: dict[str, Callable[[Session, int, int], object]] = {
    "fill": lambda session, size, number: session.update(data=text(size, number)),
    "empty": lambda session, size, number: session.pop("data"),
    "terminate": lambda session, size, number: session.terminate(),
    "regenerate_id": lambda session, size, number: session.regenerate_id(),
}


class Steps:
    """How many commands this process may still give to stores before it is gone."""

    def __init__(self, left: int) -> None:
        self._left = left

    def take(self) -> None:
        if not self._left:
            os._exit(KILLED)
        self._left -= 1


class Mortal:
    """A store of a process that dies."""

    def __init__(self, store: Any, steps: Steps) -> None:
        self._store = store
        self._steps = steps
        self.max_value_bytes: int = store.max_value_bytes
        self.batch_bytes: int = getattr(store, "batch_bytes", 0)

    def execute(self, command: Command, /) -> Answer:
        self._steps.take()
        answer: Answer = self._store.execute(command)
        return answer

    def execute_many(self, commands: Sequence[Command], /) -> list[Answer]:
        self._steps.take()
        answers: list[Answer] = self._store.execute_many(commands)
        return answers

    def close(self) -> None:
        self._store.close()


class Undertaker:
    """Has requests made in processes that die."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self._process = process

    def request(self, **details: Any) -> bool:
        """Make a request, as `main` reads it; tells whether its process was killed. Fails if it failed otherwise."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(details) + "\n")
        self._process.stdin.flush()
        code = self._process.stdout.readline().strip()
        assert code in ("0", str(KILLED))
        return code == str(KILLED)


@contextmanager
def undertaker() -> Iterator[Undertaker]:
    """Run this program."""
    command = [sys.executable, "-m", "tests.stores.mortal"]
    root = Path(__file__).parents[2]
    with subprocess.Popen(command, cwd=root, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        yield Undertaker(process)


def main() -> None:
    """Serve until the input ends."""
    for line in sys.stdin:
        child = os.fork()
        if child == 0:
            try:
                _request(**json.loads(line))
                os._exit(0)
            finally:
                sys.excepthook(*sys.exc_info())
                os._exit(1)
        _, status = os.waitpid(child, 0)
        print(os.waitstatus_to_exitcode(status), flush=True)  # noqa: T201


def _request(
    memcached: str, emulator: str, namespace: str, cookies: str, step: int, act: str, size: int, number: int
) -> None:
    steps = Steps(step)
    cache = Memcached(memcached, connect_timeout=PATIENT, timeout=PATIENT)
    durable = Datastore.from_parts("test", namespace=namespace, emulator=emulator, timeout=PATIENT)
    stores = Stores(Mortal(cache, steps), Mortal(durable, steps))
    manager = SessionManager(KEY, store_budget=timedelta(seconds=PATIENT))
    exchange = manager.open(cookies, drive=lambda flow: run(flow, stores))
    ACTS[act](exchange.session, size, number)
    run(exchange.commit(status=200, headers=[]), stores)


if __name__ == "__main__":
    main()
