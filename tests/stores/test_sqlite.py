"""Tests of `holdall_stores.sqlite`: the behaviour of all stores, and what only `SQLite` does."""

import logging
import multiprocessing
import os
import secrets
import shutil
import sqlite3
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from holdall import (
    Conflict,
    Delete,
    Deleted,
    Expect,
    Found,
    Get,
    Missing,
    Put,
    Stored,
    StoreUnavailable,
    Tier,
    UsageError,
)
from holdall.testing import FakeClock
from holdall_conformance.stores import StoreConformance, UnavailableConformance
from holdall_stores import SQLite

HOUR = 3600


class TestSQLite(StoreConformance):
    oversize = 10**9

    @pytest.fixture
    def clock(self) -> FakeClock:
        return FakeClock()

    @pytest.fixture
    def store(self, path: Path, clock: FakeClock) -> Iterator[SQLite]:
        store = SQLite(path, timeout=10, clock=clock)
        yield store
        store.close()


class TestNotADatabase(UnavailableConformance):
    tier = Tier.DURABLE
    oversize = 10**9

    @pytest.fixture
    def unavailable(self, path: Path) -> Iterator[SQLite]:
        path.write_bytes(b"this is no database" * 1000)
        with closing(SQLite(path)) as store:
            yield store


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "sessions #1?.sqlite3"


@pytest.fixture
def store(path: Path) -> Iterator[SQLite]:
    store = SQLite(path, timeout=10)
    yield store
    store.close()


def put(store: SQLite, key: str, value: bytes, expect: int | Expect = Expect.ANYTHING) -> int:
    stored = store.execute(Put(Tier.DURABLE, key, value, int(time.time()) + HOUR, expect))
    assert isinstance(stored, Stored)
    assert stored.version is not None
    return stored.version


def value(store: SQLite, key: str) -> bytes | None:
    found = store.execute(Get(Tier.DURABLE, key))
    return found.value if isinstance(found, Found) else None


def test_the_file_is_made_by_the_first_stored_write(store: SQLite, path: Path) -> None:
    """No command but one that stores something makes the file."""
    assert store.execute(Get(Tier.DURABLE, "k")) == Missing()
    assert store.execute(Delete(Tier.DURABLE, "k")) == Deleted()
    assert store.execute(Put(Tier.DURABLE, "k", b"one", int(time.time()) + HOUR, 7)) == Conflict()
    assert store.delete_expired(500) == 0
    assert list(path.parent.iterdir()) == []

    put(store, "k", b"one", Expect.ABSENT)
    assert path.is_file()


def test_only_its_owner_can_read_the_file(store: SQLite, path: Path) -> None:
    """The file and those that SQLite puts beside it have mode 0600, whatever the umask allows."""
    before = os.umask(0)
    try:
        put(store, "k", b"one")
        modes = {file.name: stat.S_IMODE(file.stat().st_mode) for file in path.parent.iterdir()}
    finally:
        os.umask(before)

    assert modes == {f"{path.name}{suffix}": 0o600 for suffix in ("", "-wal", "-shm")}


def test_an_empty_file_will_do(store: SQLite, path: Path) -> None:
    """A file that somebody made beforehand, to give it a mode of its own, is used as it is."""
    path.touch(mode=0o640)
    assert value(store, "k") is None
    put(store, "k", b"one")

    assert value(store, "k") == b"one"
    assert stat.S_IMODE(path.stat().st_mode) == 0o640


def test_the_path_is_logged_once(path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    """The absolute path is logged when the file is first opened, not before, and only then."""
    monkeypatch.chdir(path.parent)
    caplog.set_level(logging.INFO, "holdall.stores")
    store = SQLite(path.name)
    value(store, "k")
    assert caplog.messages == []

    put(store, "k", b"one")
    store.close()
    value(store, "k")
    assert caplog.messages == [f"sessions are stored in {path}"]


def test_a_relative_path_stays_where_it_was(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that changes its working directory later still writes to the file it was told."""
    monkeypatch.chdir(path.parent)
    store = SQLite(path.name)
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    put(store, "k", b"one")
    store.close()

    assert path.is_file()


def test_what_was_stored_outlives_the_store(store: SQLite, path: Path) -> None:
    """Another store on the same file finds what the first one put, and may replace it."""
    version = put(store, "k", b"one")
    store.close()
    other = SQLite(path)
    put(other, "k", b"two", version)
    other.close()

    assert value(store, "k") == b"two"


@pytest.mark.parametrize("unusable", ["", ":memory:", "file:x?mode=memory"])
def test_a_path_that_is_no_file_is_refused(unusable: str) -> None:
    """What SQLite would keep in memory is a usage error that names the store for that."""
    with pytest.raises(UsageError, match=r"path=.*Memory\(\)"):
        SQLite(unusable)


def test_a_missing_folder_is_refused(tmp_path: Path) -> None:
    """A path in a folder that is not there is a usage error that says which folder to make."""
    with pytest.raises(UsageError, match=f"path=.*make the folder {tmp_path / 'nowhere'}"):
        SQLite(tmp_path / "nowhere" / "sessions.sqlite3")


def test_a_folder_is_refused(tmp_path: Path) -> None:
    """A path that is a folder is a usage error."""
    with pytest.raises(UsageError, match="path="):
        SQLite(tmp_path)


def test_a_timeout_is_needed(path: Path) -> None:
    """There is no waiting for ever."""
    with pytest.raises(UsageError, match="timeout=0"):
        SQLite(path, timeout=0)


@pytest.mark.requirement(36)
def test_a_locked_file_is_unavailable(path: Path) -> None:
    """While another process holds the lock, writes fail, after as long as the store was told to wait; reads go on."""
    store = SQLite(path, timeout=0.05)
    put(store, "k", b"one")
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        for command in (
            Put(Tier.DURABLE, "k", b"two", int(time.time()) + HOUR, Expect.ANYTHING),
            Delete(Tier.DURABLE, "k"),
        ):
            with pytest.raises(StoreUnavailable, match="locked"):
                store.execute(command)
        assert value(store, "k") == b"one"
        with pytest.raises(StoreUnavailable, match="locked"):
            store.delete_expired(500)
        other.execute("ROLLBACK")

    put(store, "k", b"three")
    connection = store._idle.take()
    assert connection is not None
    assert connection.execute("PRAGMA busy_timeout").fetchone() == (50,)  # milliseconds
    connection.close()
    store.close()


@pytest.mark.parametrize("content", [secrets.token_bytes(8192), b"no database at all" * 100], ids=["random", "text"])
def test_a_corrupt_file_is_unavailable(store: SQLite, path: Path, content: bytes) -> None:
    """A file that is no database is an error of the store, and left as it is."""
    path.write_bytes(content)
    with pytest.raises(StoreUnavailable):
        value(store, "k")
    with pytest.raises(StoreUnavailable):
        put(store, "k", b"one")

    assert path.read_bytes() == content


def test_a_folder_that_went_away_is_unavailable(tmp_path: Path) -> None:
    """A write into a folder that was removed is an error of the store."""
    folder = tmp_path / "folder"
    folder.mkdir()
    store = SQLite(folder / "sessions.sqlite3")
    folder.rmdir()

    assert value(store, "k") is None
    with pytest.raises(StoreUnavailable):
        put(store, "k", b"one")


def test_versions_do_not_repeat_after_a_restore(store: SQLite, path: Path) -> None:
    """A file from a backup gives no version that was given after the backup was made."""
    put(store, "k", b"one")
    store.close()
    backup = path.with_name("backup")
    shutil.copy(path, backup)
    given = [put(store, "k", b"two") for _ in range(100)]
    store.close()
    shutil.copy(backup, path)

    assert value(store, "k") == b"one"
    assert put(store, "k", b"three") > max(given)


def test_a_deleted_file_is_made_anew(store: SQLite, path: Path) -> None:
    """When the file is deleted under a running process, the values are gone, and new ones are kept in a new file."""
    put(store, "k", b"one")
    for file in path.parent.iterdir():
        file.unlink()

    assert value(store, "k") is None
    put(store, "k", b"two")
    other = SQLite(path)
    assert value(other, "k") == b"two"
    other.close()


def test_a_replaced_file_is_noticed(store: SQLite, path: Path) -> None:
    """When another file is moved to the path under a running process, it is read from then on."""
    put(store, "k", b"one")
    another = SQLite(path.with_name("another"))
    put(another, "k", b"two")
    another.close()
    path.with_name("another").replace(path)
    for suffix in ("-wal", "-shm"):
        path.with_name(path.name + suffix).unlink(missing_ok=True)

    assert value(store, "k") == b"two"


def test_expired_values_are_deleted_in_batches(path: Path) -> None:
    """delete_expired deletes what expired, so much at a time, and nothing else."""
    clock = FakeClock()
    store = SQLite(path, clock=clock)
    for n in range(12):
        expires = int(clock()) + (HOUR if n < 7 else 2 * HOUR)
        store.execute(Put(Tier.DURABLE, f"k{n}", b"one", expires, Expect.ABSENT))
    clock.advance(HOUR)

    assert store.count_expired() == 7
    assert [store.delete_expired(3) for _ in range(4)] == [3, 3, 1, 0]
    assert store.count_expired() == 0
    assert [value(store, f"k{n}") for n in range(7, 12)] == [b"one"] * 5
    store.close()


def test_an_error_leaves_the_store_usable(store: SQLite, path: Path) -> None:
    """After an error in the middle of a write, nothing of it is there, and the next one works."""
    put(store, "k", b"one")
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("CREATE TRIGGER no BEFORE UPDATE ON record BEGIN SELECT raise(ABORT, 'not now'); END")
        with pytest.raises(StoreUnavailable, match="not now"):
            put(store, "k", b"two")
        other.execute("DROP TRIGGER no")

    assert value(store, "k") == b"one"
    put(store, "k", b"three")


def _add(path: str, times: int) -> None:
    """Add to the value "k", in a process of its own; the first to come makes the file."""
    store = SQLite(path, timeout=30)
    for _ in range(times):
        while True:
            found = store.execute(Get(Tier.DURABLE, "k"))
            before, expect = (found.value, found.version) if isinstance(found, Found) else (b"0", Expect.ABSENT)
            put = Put(Tier.DURABLE, "k", str(int(before) + 1).encode(), int(time.time()) + HOUR, expect)
            if isinstance(store.execute(put), Stored):
                break
    store.close()


def test_processes_share_the_file(store: SQLite, path: Path) -> None:
    """Several processes that start at once make one file, and no addition of any is lost."""
    spawn = multiprocessing.get_context("spawn")
    processes = [spawn.Process(target=_add, args=(str(path), 25)) for _ in range(4)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(60)

    assert [process.exitcode for process in processes] == [0, 0, 0, 0]
    assert value(store, "k") == b"100"


_FORK = """
import os, sys, time
from holdall import Expect, Get, Put, Tier
from holdall_stores import SQLite

def put(store, key):
    store.execute(Put(Tier.DURABLE, key, key.encode(), int(time.time()) + 60, Expect.ABSENT))

store = SQLite(sys.argv[1])
put(store, "before")
children = []
for name in ("one", "two"):
    child = os.fork()
    if child == 0:
        put(store, name)
        assert store.execute(Get(Tier.DURABLE, "before")).value == b"before"
        store.close()
        os._exit(0)
    children.append(child)
put(store, "parent")
assert [os.waitpid(child, 0)[1] for child in children] == [0, 0]
put(store, "after")
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
def test_forked_children_reopen_the_file(store: SQLite, path: Path) -> None:
    """Parent and children of a fork go on using the store, each with a connection of its own, and nothing is lost."""
    subprocess.run([sys.executable, "-c", _FORK, str(path)], check=True, timeout=60)

    assert [value(store, key) for key in ("before", "one", "two", "parent", "after")] == [
        b"before",
        b"one",
        b"two",
        b"parent",
        b"after",
    ]


_CRASH = """
import os, sys, time
from holdall import Expect, Put, Tier
from holdall_stores import SQLite

store = SQLite(sys.argv[1])
for n in range(1000000):
    store.execute(Put(Tier.DURABLE, f"k{n}", b"value", int(time.time()) + 60, Expect.ABSENT))
    os.write(1, f"k{n}\\n".encode())
"""


def test_what_was_acknowledged_survives_a_crash(store: SQLite, path: Path) -> None:
    """A process that is killed while it writes loses nothing that it was told is stored."""
    with subprocess.Popen([sys.executable, "-c", _CRASH, str(path)], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        acknowledged = [process.stdout.readline().decode().strip() for _ in range(20)]
        process.kill()
        acknowledged += process.stdout.read().decode().split("\n")[:-1]

    assert {value(store, key) for key in acknowledged} == {b"value"}
