"""`SQLite`: a durable store in one file, for the processes of one machine."""

import logging
import math
import os
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path

from holdall import (
    Answer,
    Command,
    Conflict,
    Delete,
    Deleted,
    Found,
    Get,
    Missing,
    Put,
    Stored,
    StoreTooLarge,
    StoreUnavailable,
    UsageError,
)

from holdall_stores.pool import Pool
from holdall_stores.stores import is_expected, next_version

log = logging.getLogger("holdall.stores")

# The value comes last, so that the columns before it are read without the pages that a long value flows over to.
# `counter` has the last version given: the records themselves forget it when the newest one is deleted.
_SCHEMA = """
BEGIN IMMEDIATE;
CREATE TABLE IF NOT EXISTS record (
    key TEXT PRIMARY KEY NOT NULL, version INTEGER NOT NULL, expires INTEGER NOT NULL, value BLOB NOT NULL
);
CREATE INDEX IF NOT EXISTS record_expires ON record (expires);
CREATE TABLE IF NOT EXISTS counter (id INTEGER PRIMARY KEY CHECK (id = 1), version INTEGER NOT NULL);
INSERT OR IGNORE INTO counter VALUES (1, 0);
COMMIT;
"""

# SQLite's limit is for a whole row: key, numbers and header besides the value.
_ROW_OVERHEAD = 1_000  # bytes

_IDLE_CONNECTIONS = 8  # a connection has a cache of pages of up to 2 MB


class SQLite:
    """A durable store in the file `path`, made at the first write, readable by its owner alone (mode 0600).

    Any number of threads and processes of one machine may use the file, also after a fork; not over a network file
    system. A file that was deleted or replaced is noticed at the next command. A command waits at most `timeout`
    seconds for a lock that another process holds, which is `StoreUnavailable` then, as any error of SQLite is; for a
    disk there is no deadline. `clock` tells the time in seconds UTC since 1970.

    Values have up to a gigabyte, less where SQLite was built with less.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        timeout: float = 1.0,
        clock: Callable[[], float] = time.time,
    ) -> None:
        if not 0 < timeout < math.inf:
            raise UsageError(f"timeout={timeout}: give the seconds to wait for a lock, more than 0")
        name = os.fspath(path)
        if not name or name.startswith((":", "file:")):
            raise UsageError(f"path={name!r}: SQLite needs a file; for a store without one use Memory()")
        # Absolute from the start: a server may change its working directory.
        self._path = Path(name).absolute()
        if not self._path.parent.is_dir():
            raise UsageError(f"path={name!r}: make the folder {self._path.parent} first")
        if self._path.is_dir():
            raise UsageError(f"path={name!r}: that is a folder; name a file in it")
        self._timeout = timeout
        self._clock = clock
        with closing(sqlite3.connect(":memory:")) as connection:
            self._max_value_bytes = connection.getlimit(sqlite3.SQLITE_LIMIT_LENGTH) - _ROW_OVERHEAD
        self._idle: Pool[_Connection] = Pool(_Connection.close, _IDLE_CONNECTIONS)
        self._logged = False

    def execute(self, command: Command, /) -> Answer:
        """Carry out one command. Raises `StoreTooLarge` or `StoreUnavailable`."""
        match command:
            case Get():
                return self._get(command)
            case Put():
                return self._put(command)
            case Delete():
                with self._connection() as connection:
                    if connection is not None:
                        connection.execute("DELETE FROM record WHERE key = ?", (command.key,))
                return Deleted()

    def delete_expired(self, limit: int = 500) -> int:
        """Delete up to `limit` expired values; returns how many. Raises `StoreUnavailable`."""
        with self._connection() as connection:
            if connection is None:
                return 0
            return connection.execute(
                "DELETE FROM record WHERE rowid IN (SELECT rowid FROM record WHERE expires <= ? LIMIT ?)",
                (self._clock(), limit),
            ).rowcount

    def count_expired(self) -> int:
        """Return how many values `delete_expired` would find now. Raises `StoreUnavailable`."""
        with self._connection() as connection:
            if connection is None:
                return 0
            row = connection.execute("SELECT COUNT(*) FROM record WHERE expires <= ?", (self._clock(),)).fetchone()
        return int(row[0])

    def close(self) -> None:
        """Close the file, in this process."""
        self._idle.close()

    def _get(self, command: Get) -> Found | Missing:
        with self._connection() as connection:
            if connection is None:
                return Missing()
            row = connection.execute(
                "SELECT value, version FROM record WHERE key = ? AND expires > ?", (command.key, self._clock())
            ).fetchone()
        return Missing() if row is None else Found(*row)

    def _put(self, command: Put) -> Stored | Conflict:
        if len(command.value) > self._max_value_bytes:
            raise StoreTooLarge(len(command.value), self._max_value_bytes)
        with self._connection(create=not isinstance(command.expect, int)) as connection:
            if connection is None:
                return Conflict()
            # Whatever is raised before or by COMMIT closes the connection, which rolls back what it can.
            connection.execute("BEGIN IMMEDIATE")
            now = self._clock()
            there, last = connection.execute(
                "SELECT (SELECT version FROM record WHERE key = ? AND expires > ?), version FROM counter",
                (command.key, now),
            ).fetchone()
            if not is_expected(command.expect, there):
                connection.execute("ROLLBACK")
                return Conflict()
            version = next_version(last, now)
            connection.execute("UPDATE counter SET version = ?", (version,))
            connection.execute(
                "INSERT INTO record VALUES (?, ?, ?, ?) ON CONFLICT (key) DO UPDATE"
                " SET version = excluded.version, expires = excluded.expires, value = excluded.value",
                (command.key, version, command.expires, command.value),
            )
            connection.execute("COMMIT")
            return Stored(version)

    @contextmanager
    def _connection(self, *, create: bool = False) -> Iterator["_Connection | None"]:
        """Lend a connection; None where there is no file, unless it is to be created."""
        connection = None
        try:
            connection = self._connect(create)
            yield connection
        except BaseException as error:
            if connection is not None:
                with suppress(sqlite3.Error):
                    connection.close()
            if isinstance(error, sqlite3.Error | OSError):
                raise StoreUnavailable(f"SQLite, {self._path}: {error}") from error
            raise
        if connection is not None:
            self._idle.give(connection)

    def _connect(self, create: bool) -> "_Connection | None":
        file = self._file()
        while (idle := self._idle.take()) is not None:
            if idle.file == file:
                return idle
            idle.close()
        if file is None:
            if not create:
                return None
            # Not left to SQLite, which would give it the mode that the umask allows. The files beside it (-wal, -shm)
            # get the mode of this one.
            with suppress(FileExistsError):
                os.close(os.open(self._path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))
            file = self._file()
        connection = sqlite3.connect(
            f"{self._path.as_uri()}?mode=rw",
            uri=True,
            timeout=self._timeout,
            isolation_level=None,
            check_same_thread=False,
            factory=_Connection,
        )
        try:
            connection.file = file
            _use_wal(connection, self._timeout)
            # "Durable" is a promise: with NORMAL a power failure may take back the last commits.
            connection.execute("PRAGMA synchronous = FULL")
            if connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'counter'").fetchone() is None:
                connection.executescript(_SCHEMA)
        except BaseException:
            connection.close()
            raise
        if not self._logged:
            self._logged = True
            log.info("sessions are stored in %s", self._path)
        return connection

    def _file(self) -> tuple[int, int] | None:
        """Tell which file the path leads to; None for none."""
        try:
            status = self._path.stat()
        except FileNotFoundError:
            return None
        return status.st_dev, status.st_ino


def _use_wal(connection: sqlite3.Connection, timeout: float) -> None:
    """Have the file in WAL mode. SQLite does not wait for a lock where a new file is changed to it: we do."""
    end = time.monotonic() + timeout
    while True:
        try:
            connection.execute("PRAGMA journal_mode = WAL")
            return
        except sqlite3.OperationalError:
            if time.monotonic() >= end:
                raise
            time.sleep(0.005)


class _Connection(sqlite3.Connection):
    """A connection that knows which file it is to, should another one take its place."""

    file: tuple[int, int] | None = None
