"""Any bytes at all as a pickle of gae-sessions, signed or not: no session, or the values that Python's own reads."""

import io
import pickle
from base64 import b64encode
from collections.abc import Iterator
from datetime import UTC, datetime
from hashlib import sha256
from hmac import digest
from typing import Any

from holdall import OldSession, decode, unpack_map
from holdall_stores.gae_sessions import GaeSessions
from holdall_stores.plain_pickle import NotPlainError, loads

from tests.core.support import identical
from tests.fuzz.seeds import NOW, pickles

KEY = b"a key of gae-sessions for tests, of 32 bytes"
SID = b"4102444800_" + b"0" * 32
READER = GaeSessions(KEY, until=datetime(2090, 1, 1, tzinfo=UTC))


class Refusing(pickle._Unpickler):
    """Python's own reader, the one in Python, whose memo takes any place; nothing has a name to it."""

    def find_class(self, module: str, name: str) -> Any:
        raise AssertionError(f"{module}.{name} is asked for")

    def persistent_load(self, pid: Any) -> Any:
        raise AssertionError(f"{pid} is asked for")


class MergedError(Exception):
    """Two keys of a dict, bytes and text, are the same text."""


def seeds() -> Iterator[bytes]:
    """Yield what Python 2 wrote, and every opcode that protocol 2 has once, among them those that are refused."""
    yield from pickles()
    yield b"\x80\x02}(U\1aNU\1bI2147483648\nU\1c\x8b\1\0\0\0\5U\1dT\1\0\0\0\xffU\1eG?\xf8\0\0\0\0\0\0u."
    yield b"\x80\x02]q\0(h\0j\0\0\0\0r\1\0\0\0K\1M\1\1J\xff\xff\xff\xff\x88\x89\x8a\1\x80e."
    yield b"\x80\x02ccopy_reg\n_reconstructor\nq\1(c__main__\nOwn\nc__builtin__\nobject\nNtRq\2}U\1aK\1sb."
    yield b"\x80\x02(]q\0]q\1h\0ah\1\x85\x86\x87t."


def check(data: bytes) -> None:
    """Raise if a pickle is read otherwise than Python reads it, or is no session and no refusal."""
    try:
        value = loads(data)
    except NotPlainError:
        assert sessions(data) == []
    else:
        check_value(data, value)
        found = sessions(data)
        if type(value) in (tuple, list) and len(value) == 2 and not value[0] and type(value[1]) is dict:
            (old,) = found
            kept = {key: decode(wire) if type(wire) is bytes else wire for key, wire in unpack_map(old.payload).items()}
            assert kept.keys() <= value[1].keys()
            assert all(identical(kept[key], value[1][key]) for key in kept)
    assert [*READER.find(f"DgU00={data.decode('latin-1')}", NOW)] == []


def check_value(data: bytes, value: Any) -> None:
    """Raise if Python's own reader makes something else of a pickle that holds a plain value."""
    theirs = Refusing(io.BytesIO(data), encoding="bytes").load()
    try:
        assert identical(as_read_here(theirs), value)
    except MergedError:
        return


def as_read_here(value: Any) -> Any:
    """Return a value with the strings of Python 2 as text, where they are that."""
    kind = type(value)
    if kind is bytes:
        try:
            return value.decode()
        except UnicodeDecodeError:
            return value
    if kind in (list, tuple):
        return kind(map(as_read_here, value))
    if kind is dict:
        read = {as_read_here(key): as_read_here(each) for key, each in value.items()}
        if len(read) != len(value):
            raise MergedError
        return read
    return value


def sessions(data: bytes) -> list[OldSession]:
    """Return the sessions of a cookie that holds a pickle and is signed."""
    signature = b64encode(digest(KEY + SID, data, sha256))
    text = (signature + SID + b64encode(data)).decode()
    pieces = [text[at : at + 4000] for at in range(0, len(text), 4000)]
    header = "; ".join([f"DgU{number:02}={piece}" for number, piece in enumerate(pieces)])
    return [*READER.find(header, NOW)] if data else []
