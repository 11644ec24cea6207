"""`holdall sweep` deletes what expired and nothing else, within its bounds, and goes on where it was killed.

`hatch run python -m tests.cli.test_sweep` does with 20,000 of 40,000 sessions on an emulator what the suite does with
fewer, which takes minutes.
"""

import io
import sqlite3
import subprocess
import sys
import time
import uuid
from contextlib import closing
from pathlib import Path
from urllib.parse import urlencode

import pytest
from holdall import Expect, Found, Get, Put, Tier, UsageError
from holdall_cli.command import main
from holdall_cli.sweep import Progress, Sweep
from holdall_stores import Datastore, SQLite, Stores
from holdall_stores.datastore import new_client

from tests.cli.support import Shell, Terminal
from tests.emulators import OPTIMISTIC, emulator

HALF = 100_000
PROGRAM = "import sys; from holdall_cli.command import main; sys.exit(main())"


class Time:
    """A clock that moves by what is slept, and by one millisecond each time it is read."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        self.now += 0.001
        return self.now

    def sleep(self, seconds: float) -> None:
        assert seconds >= 0
        self.now += seconds


def fill(path: Path, half: int) -> None:
    """Make a store with so many expired and so many live values: the schema by the store, the rows by the thousand."""
    with closing(SQLite(path)) as store:
        store.execute(Put(Tier.DURABLE, "first", b"live", int(time.time()) + 9_999, Expect.ABSENT))
    past, future = int(time.time()) - 9_999, int(time.time()) + 9_999
    with closing(sqlite3.connect(path)) as connection, connection:
        rows = ((f"s{n}", n, past if n % 2 else future, b"x" * 100) for n in range(2 * half))
        connection.executemany("INSERT INTO record VALUES (?, ?, ?, ?)", rows)


def counts(path: Path) -> tuple[int, int]:
    """Return how many expired and how many live values there are."""
    with closing(sqlite3.connect(path)) as connection:
        query = "SELECT COALESCE(SUM(expires <= :now), 0), COALESCE(SUM(expires > :now), 0) FROM record"
        expired, live = connection.execute(query, {"now": time.time()}).fetchone()
        return expired, live


def test_a_hundred_thousand_after_a_kill(shell: Shell, tmp_path: Path) -> None:
    """Of 200,000 sessions the 100,000 expired go, also over a kill in the middle, and no live one does."""
    path = tmp_path / "sessions.sqlite3"
    fill(path, HALF)
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, "sweep", f"sqlite:///{path}", "--per-second", "20000"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    while counts(path)[0] == HALF:
        time.sleep(0.01)
    process.kill()
    process.wait()
    left, live = counts(path)
    assert 0 < left < HALF
    assert live == HALF + 1
    result = shell("sweep", f"sqlite:///{path}?timeout=20")
    assert result.code == 0
    assert result.out == f"{left:,} deleted\n"
    assert result.err == f"{left:,} expired\n"
    assert counts(path) == (0, HALF + 1)


def populate(store: Datastore, half: int) -> None:
    """Put so many expired and so many live values into a Datastore."""
    past, future = int(time.time()) - 9_999, int(time.time()) + 9_999
    names = range(2 * half)
    puts = [Put(Tier.DURABLE, f"s{n}", b"x", past if n % 2 else future, Expect.ANYTHING) for n in names]
    for begin in range(0, len(puts), 500):
        store.execute_many(puts[begin : begin + 500])


def found(store: Datastore, half: int, first: int) -> int:
    """Return how many of the live (`first` 0) or of the expired (1) a store finds."""
    gets = [Get(Tier.DURABLE, f"s{n}") for n in range(first, 2 * half, 2)]
    answers = (store.execute_many(gets[begin : begin + 500]) for begin in range(0, half, 500))
    return sum(isinstance(answer, Found) for batch in answers for answer in batch)


def sweep_datastore(address: str, half: int) -> None:
    """Fill an emulator, sweep it with a kill in the middle, and check what is left each time."""
    namespace = uuid.uuid4().hex
    url = f"datastore://test/{namespace}?{urlencode({'emulator': address, 'timeout': 60})}"
    client = new_client("test", namespace=namespace, emulator=address)
    with closing(client.stub):
        store = Datastore(client, timeout=60.0)
        early = Datastore(client, timeout=60.0, clock=lambda: 0)  # for whom nothing has expired yet
        populate(store, half)
        command = [sys.executable, "-c", PROGRAM, "sweep", url, "--per-second", str(half / 10)]
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        while found(early, half, 1) == half:
            time.sleep(0.05)
        process.kill()
        process.wait()
        assert 0 < found(early, half, 1) < half
        assert main(["sweep", url]) == 0
        assert (found(early, half, 0), found(early, half, 1)) == (half, 0)


@pytest.mark.datastore
def test_datastore(datastore_address: str) -> None:
    """On Datastore too what expired goes, also over a kill, and no live session does."""
    sweep_datastore(datastore_address, 20)


def test_rate(tmp_path: Path) -> None:
    """--per-second bounds the rate: by the sweep's own clock, so many take so long."""
    path = tmp_path / "sessions.sqlite3"
    fill(path, 1_000)
    clock = Time()
    with closing(SQLite(path)) as store:
        sweep = Sweep(store, per_second=100, clock=clock, sleep=clock.sleep)
        assert sweep.run()
    assert sweep.deleted == 1_000
    assert 9.9 < clock.now < 11


def test_time_is_over(shell: Shell, tmp_path: Path) -> None:
    """What --seconds does not suffice for exits with 75, and the next run goes on."""
    path = tmp_path / "sessions.sqlite3"
    fill(path, 1_000)
    result = shell("sweep", f"sqlite:///{path}", "--seconds", "0.05", "--per-second", "100")
    assert result.code == 75
    assert result.out == "100 deleted\n"
    assert "run it again" in result.err
    assert shell("sweep", f"sqlite:///{path}").out == "900 deleted\n"


def test_an_empty_store(shell: Shell, tmp_path: Path) -> None:
    """Nothing to sweep is no failure, and makes no file."""
    path = tmp_path / "sessions.sqlite3"
    result = shell("sweep", f"sqlite:///{path}")
    assert (result.code, result.out) == (0, "0 deleted\n")
    assert not path.exists()


def test_a_failing_store(shell: Shell, tmp_path: Path) -> None:
    """A store that fails exits with 1, and says which and why; what was deleted until then is said too."""
    path = tmp_path / "sessions.sqlite3"
    fill(path, 10)
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        result = shell("sweep", f"sqlite:///{path}?timeout=0.05")
    assert (result.code, result.out) == (1, "0 deleted\n")
    assert "database is locked" in result.err


@pytest.mark.parametrize(
    "arguments",
    [
        ["memory://"],
        ["memcached://127.0.0.1:11211"],
        ["sqlite:///x", "--per-second", "0"],
        ["sqlite:///x", "--seconds", "-1"],
        ["sqlite:///x", "--seconds", "nan"],
    ],
)
def test_refused(shell: Shell, arguments: list[str]) -> None:
    """A store without anything to sweep, and bounds that cannot be, exit with 2."""
    result = shell("sweep", *arguments)
    assert (result.code, result.out) == (2, "")
    assert "Traceback" not in result.err


def test_a_cache_is_refused() -> None:
    """A Stores without a durable store has nothing to sweep."""
    with pytest.raises(UsageError, match="nothing to sweep"):
        Sweep(Stores.from_urls(cache="memory://"))


def test_bar_on_a_terminal() -> None:
    """On a terminal one line is drawn again and again: a bar, how many of how many, and the share."""
    stream = Terminal()
    progress = Progress(stream, 1_000)
    progress(500)
    progress(1_000)
    progress.close()
    half = f"[{'#' * 15}{' ' * 15}] 500 of 1,000 deleted (50%)"
    assert stream.getvalue() == f"\r{half}\r[{'#' * 30}] 1,000 of 1,000 deleted (100%)\n"


def test_lines_elsewhere() -> None:
    """Elsewhere there is a plain line every ten seconds, and no control character."""
    clock = Time()
    stream = io.StringIO()
    progress = Progress(stream, 400, clock)
    for deleted in (100, 200, 300, 400):
        clock.sleep(6)
        progress(deleted)
    progress.close()
    assert stream.getvalue() == "200 of 400 deleted (50%)\n400 of 400 deleted (100%)\n"


def test_no_total() -> None:
    """Where the store cannot count, the number that is deleted is shown alone; more than there were makes the total."""
    stream = Terminal()
    Progress(stream, None)(1_500)
    Progress(stream, 10)(20)
    assert stream.getvalue() == f"\r1,500 deleted\r[{'#' * 30}] 20 of 20 deleted (100%)"


if __name__ == "__main__":
    started = time.monotonic()
    with emulator(OPTIMISTIC) as address:
        sweep_datastore(address, 20_000)
    print(f"{time.monotonic() - started:.0f} s, filling and checking included")  # noqa: T201
