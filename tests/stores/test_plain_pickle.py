"""The reader of plain pickles: what Python 2 writes for plain values, and nothing else, whatever it is sent."""

import ast
import base64
import collections
import datetime
import decimal
import io
import itertools
import json
import os
import pickle
import pickletools
import struct
import sys
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
from holdall_stores.plain_pickle import NotPlainError, loads
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tests.core.support import identical

MADE = Path(__file__).parent / "gae_sessions" / "pickles.json"  # see pickles.py2
# What Python 3 writes in protocol 2 for these is what Python 2 writes for its unicode, long and so on.
LEAVES = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text()
KEYS: st.SearchStrategy[Any] = st.none() | st.integers(-(2**63), 2**64 - 1) | st.floats(allow_nan=False) | st.text()
KEYS |= st.tuples(st.booleans() | st.integers(0, 2**32 - 1) | st.text())
PLAIN = st.recursive(
    LEAVES,
    lambda inner: st.lists(inner) | st.lists(inner).map(tuple) | st.dictionaries(KEYS, inner),
    max_leaves=30,
)


class Runs:
    """Runs code where an unpickler reads it."""

    def __init__(self, *call: Any) -> None:
        self.call = call

    def __reduce__(self) -> Any:
        return self.call[0], self.call[1:]


class Plain:
    """An object."""

    def __init__(self) -> None:
        self.a = 1


HOSTILE = {
    "system": pickle.dumps(Runs(os.system, "exit 1"), 2),
    "eval in a dict": pickle.dumps({"a": [Runs(eval, "1/0")]}, 2),
    "object": pickle.dumps(Plain(), 2),
    "bytes of Python 3": pickle.dumps(b"x", 2),
    "date": pickle.dumps(datetime.date(2026, 1, 2), 2),
    "decimal": pickle.dumps(decimal.Decimal(1), 2),
    "set": pickle.dumps({1}, 2),
    "ordered": pickle.dumps(collections.OrderedDict(a=1), 2),
    "fraction": pickle.dumps(Fraction(1, 2), 2),
    "class": pickle.dumps(dict, 2),
    "global": b"\x80\x02cos\nsystem\n.",
    "stack global": b"\x80\x02U\x02osU\x06system\x93.",
    "inst": b"\x80\x02(U\x01xios\nsystem\n.",
    "obj": b"\x80\x02(cos\nsystem\nU\x01xo.",
    "newobj": b"\x80\x02)\x81.",
    "reduce without a global": b"\x80\x02])R.",
    "build": b"\x80\x02]}b.",
    "persistent id": b"\x80\x02Px\n.",
    "binary persistent id": b"\x80\x02K\x01Q.",
    "extension": b"\x80\x02\x82\x01.",
    "next buffer": b"\x80\x02\x97.",
    "text string": b"\x80\x02S'x'\n.",
    "text float": b"\x80\x02F1\n.",
    "pop": b"\x80\x02NN0.",
    "duplicate": b"\x80\x02]2a.",
    "frame": b"\x80\x02\x95" + bytes(8) + b"N.",
    "protocol 4": pickle.dumps({"a": 1}, 4),
}


@pytest.mark.requirement(9)
@pytest.mark.parametrize("data", HOSTILE.values(), ids=HOSTILE)
def test_hostile(data: bytes) -> None:
    """What names a class, calls, builds or refers to anything is refused, and nothing of it runs or is imported."""
    seen: list[str] = []
    before = set(sys.modules)
    sys.addaudithook(lambda event, _: seen.append(event) if is_watching else None)
    is_watching = True
    try:
        with pytest.raises(NotPlainError):
            loads(data)
    finally:
        is_watching = False
    assert not [event for event in seen if event.startswith(("pickle", "os.", "exec", "import", "subprocess"))]
    assert set(sys.modules) == before


@pytest.mark.parametrize("by", ["pickle", "cPickle"])
def test_python_2(by: str) -> None:
    """What a real Python 2.7 wrote, by either of its modules, comes back equal and of the type it has here."""
    made = [each for each in json.loads(MADE.read_text()) if each["by"] == by]

    assert len(made) > 50
    for each in made:
        assert identical(loads(base64.b64decode(each["pickle"])), ast.literal_eval(each["value"])), each["value"]


@given(PLAIN)
@settings(max_examples=60, deadline=None)
@example([True, 1, 1.0, 255, 256, 65_535, 65_536, 2**31 - 1, 2**31, -(2**31), 2**63, -(2**200)])
@example({"\ud800": "\U0001f600"})
def test_plain(value: Any) -> None:
    """Plain values come back equal and of the same type."""
    read = loads(pickle.dumps(value, 2))

    assert repr(read) == repr(value)


@pytest.mark.requirement(39)
@given(st.binary(max_size=60) | st.lists(st.sampled_from(sorted(HOSTILE.values()))).map(b"".join))
@settings(max_examples=300, deadline=None)
def test_any_bytes(data: bytes) -> None:
    """Of any bytes at all there is a plain value, or the one error."""
    for each in (data, b"\x80\x02" + data + b"."):
        try:
            loads(each)
        except NotPlainError:
            continue


@given(PLAIN, st.data())
@settings(max_examples=150, deadline=None)
def test_damaged(value: Any, data: st.DataObject) -> None:
    """A pickle that is cut off or changed somewhere makes a plain value, or the one error."""
    good = pickle.dumps(value, 2)
    at = data.draw(st.integers(0, len(good) - 1))
    for bad in (good[:at], good[:at] + data.draw(st.binary(max_size=3)) + good[at + 1 :]):
        try:
            loads(bad)
        except NotPlainError:
            continue


def doubling(levels: int) -> bytes:
    """A pickle whose value has 2 to the power of `levels` elements, all shared."""
    out = io.BytesIO()
    out.write(b"\x80\x02]q\x00")
    for level in range(levels):
        out.write(b"]q" + bytes([level + 1]) + b"(h" + bytes([level]) + b"h" + bytes([level]) + b"e")
    return out.getvalue() + b"h" + bytes([levels]) + b"\x86" * levels + b"."


BOMBS = {
    "everything shared, doubled 40 times": doubling(40),
    "a long string, shared": b"\x80\x02]T"
    + struct.pack("<i", 10_000)
    + b"x" * 10_000
    + b"q\x000("
    + b"h\x00" * 1000
    + b"e.",
    "a string shared by a list": b"\x80\x02T"
    + struct.pack("<i", 10_000)
    + b"x" * 10_000
    + b"q\x00"
    + b"h\x00\x86" * 500
    + b".",
    "a list in itself": b"\x80\x02]q\x00h\x00a.",
    "lists in lists": b"\x80\x02" + b"]" * 100_000 + b"a" * 99_999 + b".",
    "tuples in tuples": b"\x80\x02)" + b"\x85" * 400_000 + b".",
    "tuples in tuples as a key": b"\x80\x02})" + b"\x85" * 400_000 + b"Ns.",
    "marks": b"\x80\x02" + b"(" * 400_000 + b"t" * 400_000 + b".",
    "a place in the memo far away": b"\x80\x02]r\xff\xff\xff\xff.",
    "a string longer than all": b"\x80\x02T\xff\xff\xff\x7f.",
    "a string of negative length": b"\x80\x02T\xff\xff\xff\xffx.",
    "a huge number": b"\x80\x02\x8b\xff\xff\x0f\x00" + b"\xff" * 1_000_000 + b".",
    "a huge number, shared": b"\x80\x02](\x8b\xe8\x03\x00\x00" + b"\x7f" * 1000 + b"q\x00" + b"h\x00" * 490_000 + b"e.",
    "over a megabyte": pickle.dumps("x" * 1_000_001, 2),
}


@pytest.mark.parametrize("data", BOMBS.values(), ids=BOMBS)
def test_bombs(data: bytes) -> None:
    """What would take far more room or depth than its bytes is refused or small, at once."""
    try:
        value = loads(data)
    except NotPlainError:
        return
    assert len(repr(value)) < 100


LONGS = [b"\x8a\x0a" + (number * (2**61 - 1)).to_bytes(10, "little", signed=True) for number in range(1, 10_000)]
PAIRS = [bytes(part) for part in itertools.product(*[(254, 255)] * 12)]
COLLISIONS = {
    "integers of one hash": [*LONGS],
    "tuples of one hash": [b"(" + b"".join(b"J" + struct.pack("<i", n - 256) for n in pair) + b"t" for pair in PAIRS],
    "tuples of floats": [b"G" + struct.pack(">d", 2.0 ** (61 * n)) + b"\x85" for n in range(3)],
}


@pytest.mark.parametrize("keys", COLLISIONS.values(), ids=COLLISIONS)
def test_keys_of_one_hash(keys: list[bytes]) -> None:
    """A dict whose keys were chosen to have one hash is refused before any time is spent on it."""
    with pytest.raises(NotPlainError):
        loads(b"\x80\x02}(" + b"".join(key + b"N" for key in keys) + b"u.")


def test_keys_that_are_common() -> None:
    """Keys that applications have are read: texts, numbers, and tuples of these."""
    value = {1: "a", -1: "b", 2.5: "c", 2**63: "d", ("x", 7): "e", (None, True): "f"}
    assert loads(pickle.dumps(value, 2)) == value


def test_large() -> None:
    """A pickle near the limit is read."""
    value = {f"key{number}": "x" * 100 for number in range(8_000)}

    assert loads(pickle.dumps(value, 2)) == value


def test_every_opcode_is_one_of_protocol_2() -> None:
    """No opcode is read that protocol 2 does not have, and none that names something."""
    from holdall_stores.plain_pickle import _OPCODES

    named = {opcode.code.encode("latin-1"): opcode for opcode in pickletools.opcodes}
    assert all(named[code].proto <= 2 for code in _OPCODES)
    dangerous = {"GLOBAL", "REDUCE", "BUILD", "INST", "OBJ", "NEWOBJ", "PERSID", "BINPERSID", "EXT1", "EXT2", "EXT4"}
    assert not dangerous & {named[code].name for code in _OPCODES}
