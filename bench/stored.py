"""The limits on servers and a disk: by hand, the least that could be done there. Nothing is timed here."""

import os
import socket
import sqlite3
from collections.abc import Callable
from typing import Any, Protocol

import ormsgpack
from holdall import generate_key

from bench.contestants import (
    ATTRIBUTES,
    DATA,
    HEADERS,
    READS,
    Action,
    Make,
    Places,
    Sealing,
    Whole,
    bare_application,
    untouched,
)

_DAY = 86_400
_LARGEST = 1 << 20  # bytes of a memcached value


def memcached_limit(sealing: Sealing) -> Callable[[Places], Make]:
    """A bare exchange with the server, one serializer call, one cipher call.

    No version is compared, no expiry is checked, nothing is retried and no error is handled.
    """

    def opened(places: Places) -> Make:
        server = _BareMemcached(places.memcached)
        return lambda action: _reading(action, sealing, server.get, server.set)

    return opened


def refill_limit(places: Places) -> Make:
    """A bare exchange with a memcached that has lost the value, one SELECT, and a bare exchange that fills it again."""
    server, table = _BareMemcached(places.memcached), _BareSQLite(places)

    def get(key: bytes) -> Any:
        try:
            return server.get(key)
        except KeyError:
            value = table.select(key)
            server.set(key, value)
            return value

    def keep(key: bytes, value: bytes) -> None:
        table.insert(key, value)
        server.set(key, value)

    return lambda action: _reading(action, Whole, get, keep)


def _reading(
    action: Action | None, sealing: Sealing, get: Callable[[bytes], Any], keep: Callable[[bytes, bytes], None]
) -> Any:
    if action is None:
        return bare_application
    writes = action not in READS

    def application(environ: Any, start_response: Any) -> list[bytes]:
        headers = HEADERS.copy()
        header = environ.get("HTTP_COOKIE", "")
        if action is untouched:
            session: dict[str, Any] = {}
        elif header:
            sid = header[header.find("session=") + 8 :]
            session = sealing.opened(get(sid.encode()))
        else:
            sid, session = generate_key(), sealing.new()
            headers.append(("Set-Cookie", f"session={sid}; {ATTRIBUTES}"))
        action(session)
        if writes:
            keep(sid.encode(), sealing.sealed(session))
        start_response("200 OK", headers)
        return [b"x"]

    return application


class _BareMemcached:
    """One socket, and the meta commands of memcached's protocol.txt."""

    def __init__(self, address: str) -> None:
        host, _, port = address.rpartition(":")
        self._socket = socket.create_connection((host, int(port)))
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._view = memoryview(bytearray(_LARGEST))

    def get(self, key: bytes) -> memoryview:
        """Return a value, which is overwritten by the next get. Raises KeyError if there is none."""
        self._socket.sendall(b"mg %b v\r\n" % key)
        view = self._view
        received = self._socket.recv_into(view)
        head = bytes(view[:32])  # "VA <size>\r\n" and then the value
        if head[:3] != b"VA ":
            raise KeyError(key)
        end = head.index(b"\r\n")
        begin, size = end + 2, int(head[3:end])
        while received < begin + size + 2:
            received += self._socket.recv_into(view[received:])
        return view[begin : begin + size]

    def set(self, key: bytes, sealed: bytes) -> None:
        """Keep a value for a day."""
        head = b"ms %b %d T%d\r\n" % (key, len(sealed), _DAY)
        sent = self._socket.sendmsg((head, sealed, b"\r\n"))
        assert sent == len(head) + len(sealed) + 2, "a blocking socket takes everything"
        reply = self._socket.recv(64)
        assert reply == b"HD\r\n", reply


class _Conditional(Protocol):
    """A table whose records are inserted, and replaced if they are still the ones that were written last."""

    def insert(self, key: bytes, value: bytes) -> None:
        """Make the record that is then replaced."""

    def update(self, key: bytes, value: bytes) -> None:
        """Replace the record if it is still the one that was written last."""


def conditional_limit(connect: Callable[[Places], _Conditional]) -> Callable[[Places], Make]:
    """Conditional updates of 20 KB of fresh bytes: no read, no serializer, no session.

    Fresh, because SQLite leaves out pages whose bytes are the same as before, and sealed bytes never are.
    """

    def opened(places: Places) -> Make:
        table = connect(places)

        def make(action: Action | None) -> Any:
            def middleware(environ: Any, start_response: Any) -> list[bytes]:
                headers = HEADERS.copy()
                header = environ.get("HTTP_COOKIE", "")
                if header:
                    table.update(header[header.find("session=") + 8 :].encode(), fresh())
                else:
                    sid = generate_key()
                    table.insert(sid.encode(), fresh())
                    headers.append(("Set-Cookie", f"session={sid}; {ATTRIBUTES}"))
                start_response("200 OK", headers)
                return [b"x"]

            return bare_application if action is None else middleware

        return make

    size = len(ormsgpack.packb(DATA["20 KB"]()))

    def fresh() -> bytes:
        return os.urandom(size)

    return opened


class _BareSQLite:
    """One connection to a file, as durable as Holdall's."""

    def __init__(self, places: Places) -> None:
        self._connection = sqlite3.connect(places.folder / f"limit-{generate_key()}.sqlite3", isolation_level=None)
        # What Holdall asks of SQLite: a commit that was acknowledged survives a power failure.
        self._connection.execute("PRAGMA journal_mode = WAL")
        self._connection.execute("PRAGMA synchronous = FULL")
        self._connection.execute("CREATE TABLE record (key BLOB PRIMARY KEY NOT NULL, version INTEGER, value BLOB)")
        self._versions: dict[bytes, int] = {}

    def insert(self, key: bytes, value: bytes) -> None:
        """Make the record that is then replaced."""
        self._connection.execute("INSERT OR REPLACE INTO record VALUES (?, 0, ?)", (key, value))
        self._versions[key] = 0

    def update(self, key: bytes, value: bytes) -> None:
        """Replace the record if it is still the one that was written last."""
        version = self._versions[key]
        execute = self._connection.execute
        execute("BEGIN IMMEDIATE")
        changed = execute(
            "UPDATE record SET version = ?, value = ? WHERE key = ? AND version = ?", (version + 1, value, key, version)
        ).rowcount
        execute("COMMIT")
        assert changed == 1
        self._versions[key] = version + 1

    def select(self, key: bytes) -> bytes:
        """Return the value of a record."""
        value: bytes = self._connection.execute("SELECT value FROM record WHERE key = ?", (key,)).fetchone()[0]
        return value


class _BareDatastore:
    """The raw stub of Datastore's client, and one Commit for each write."""

    def __init__(self, places: Places) -> None:
        from google.cloud.datastore_v1 import types
        from holdall_stores.datastore import new_client

        self._types = types
        self._stub = new_client("test", emulator=places.datastore).stub
        self._versions: dict[bytes, int] = {}

    def insert(self, key: bytes, value: bytes) -> None:
        """Make the record that is then replaced."""
        self._commit(key, self._types.Mutation.pb()(insert=self._entity(key, value)))

    def update(self, key: bytes, value: bytes) -> None:
        """Replace the record if it is still the one that was written last."""
        mutation = self._types.Mutation.pb()(
            update=self._entity(key, value),
            base_version=self._versions[key],
            conflict_resolution_strategy=self._types.Mutation.ConflictResolutionStrategy.FAIL,
        )
        self._commit(key, mutation)

    def _entity(self, key: bytes, value: bytes) -> Any:
        entity = self._types.Entity.pb()()
        entity.key.partition_id.project_id = "test"
        entity.key.path.add(kind="Limit", name=key.decode())
        entity.properties["value"].blob_value = value
        entity.properties["value"].exclude_from_indexes = True
        return entity

    def _commit(self, key: bytes, mutation: Any) -> None:
        request = self._types.CommitRequest.pb()(
            project_id="test", mode=self._types.CommitRequest.Mode.NON_TRANSACTIONAL, mutations=[mutation]
        )
        response = self._types.CommitResponse.pb(self._stub.commit(request, timeout=10))
        result = response.mutation_results[0]
        assert not result.conflict_detected
        self._versions[key] = result.version


sqlite_limit = conditional_limit(_BareSQLite)
datastore_limit = conditional_limit(_BareDatastore)
