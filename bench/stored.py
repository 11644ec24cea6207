"""The contestants whose sessions live in a store: Holdall, and by hand the least that could be done there.

Real servers and a real file; where they come from is the caller's business. Nothing is timed here.
"""

import os
import socket
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, TypeAlias

import ormsgpack
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from holdall import generate_key
from holdall_stores import Memcached, Memory, SQLite, Stores

from bench.contestants import (
    HEADERS,
    ROWS_20_KB,
    Action,
    Contestant,
    bare_application,
    holdall,
    large,
    read,
    read_rows,
    wsgi,
)

Make: TypeAlias = Callable[[Action], Contestant]

_CIPHER = AESGCM(os.urandom(32))
_DAY = 86_400
_LARGEST = 1 << 20  # bytes of a memcached value


@contextmanager
def on_memcached(address: str) -> Iterator[tuple[Make, Make]]:
    """Lend the limit and Holdall, both with their sessions in this memcached alone."""
    host, _, port = address.rpartition(":")
    with closing(Stores(cache=Memcached(address))) as stores, closing(_BareMemcached(host, int(port))) as bare:
        yield lambda action: _memcached_limit(action, bare), lambda action: holdall(action, stores, no_datastore=True)


@contextmanager
def on_sqlite(folder: Path) -> Iterator[tuple[Make, Make]]:
    """Lend the limit and Holdall, each with a file of its own in this folder."""
    with (
        closing(Stores(durable=SQLite(folder / "holdall.sqlite3"))) as stores,
        closing(sqlite3.connect(folder / "limit.sqlite3", isolation_level=None)) as connection,
    ):
        bare = _BareSQLite(connection)
        yield lambda action: _sqlite_limit(bare), lambda action: holdall(action, stores)


def in_memory() -> Make:
    """Return Holdall with its sessions in this process, where values cost and stores do not."""
    stores = Stores(durable=Memory())
    return lambda action: holdall(action, stores)


def _memcached_limit(action: Action, server: "_BareMemcached") -> Contestant:
    """A bare exchange with the server, one serializer call on the whole map, one cipher call.

    No version is compared, no expiry is checked, nothing is retried and no error is handled.
    """
    writes = action not in (read, read_rows)

    def middleware(environ: Any, start_response: Any) -> list[bytes]:
        headers = HEADERS.copy()
        header = environ.get("HTTP_COOKIE", "")
        if header:
            sid = header[header.find("session=") + 8 :]
            sealed = server.get(sid.encode())
            session = ormsgpack.unpackb(_CIPHER.decrypt(sealed[:12], sealed[12:], None))
        else:
            sid, session = generate_key(), {}
            headers.append(("Set-Cookie", f"session={sid}; Max-Age=604800; Path=/; Secure; HttpOnly"))
        action(session)
        if writes:
            nonce = os.urandom(12)
            server.set(sid.encode(), nonce, _CIPHER.encrypt(nonce, ormsgpack.packb(session), None))
        start_response("200 OK", headers)
        return [b"x"]

    return wsgi("limit", middleware, bare_application)


class _BareMemcached:
    """One socket, and the meta commands of memcached's protocol.txt."""

    def __init__(self, host: str, port: int) -> None:
        self._socket = socket.create_connection((host, port))
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._view = memoryview(bytearray(_LARGEST))

    def get(self, key: bytes) -> memoryview:
        """Return a value, which is overwritten by the next get."""
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

    def set(self, key: bytes, nonce: bytes, sealed: bytes) -> None:
        """Keep a value in two parts for a day."""
        head = b"ms %b %d T%d\r\n%b" % (key, len(nonce) + len(sealed), _DAY, nonce)
        sent = self._socket.sendmsg((head, sealed, b"\r\n"))
        assert sent == len(head) + len(sealed) + 2, "a blocking socket takes everything"
        reply = self._socket.recv(64)
        assert reply == b"HD\r\n", reply

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()


class _BareSQLite:
    """Conditional updates of 20 KB of fresh bytes: no read, no serializer, no session.

    Fresh, because SQLite leaves out pages whose bytes are the same as before, and sealed bytes never are.
    """

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        # What Holdall asks of SQLite: a commit that was acknowledged survives a power failure.
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("CREATE TABLE record (key TEXT PRIMARY KEY NOT NULL, version INTEGER, value BLOB)")
        self._plain = ormsgpack.packb(large(ROWS_20_KB))
        self._versions: dict[str, int] = {}

    def insert(self, key: str) -> None:
        """Make the record that is then updated."""
        self._connection.execute("INSERT INTO record VALUES (?, 0, ?)", (key, self._fresh()))
        self._versions[key] = 0

    def update(self, key: str) -> None:
        """Replace the record if it is still the one that was written last."""
        version = self._versions[key]
        execute = self._connection.execute
        execute("BEGIN IMMEDIATE")
        changed = execute(
            "UPDATE record SET version = ?, value = ? WHERE key = ? AND version = ?",
            (version + 1, self._fresh(), key, version),
        ).rowcount
        execute("COMMIT")
        assert changed == 1
        self._versions[key] = version + 1

    def _fresh(self) -> bytes:
        nonce = os.urandom(12)
        return nonce + _CIPHER.encrypt(nonce, self._plain, None)


def _sqlite_limit(bare: _BareSQLite) -> Contestant:
    def middleware(environ: Any, start_response: Any) -> list[bytes]:
        headers = HEADERS.copy()
        header = environ.get("HTTP_COOKIE", "")
        if header:
            bare.update(header[header.find("session=") + 8 :])
        else:
            sid = generate_key()
            bare.insert(sid)
            headers.append(("Set-Cookie", f"session={sid}; Max-Age=604800; Path=/; Secure; HttpOnly"))
        start_response("200 OK", headers)
        return [b"x"]

    return wsgi("limit", middleware, bare_application)
