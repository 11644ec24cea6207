"""Reads the pickles of Python 2 that hold nothing but plain values, and refuses all others.

No unpickler is at work here, nothing is imported, called or constructed but the values of the table below: an opcode
that is not in it, such as those that name a class or call a function, refuses the whole pickle. The opcodes are those
of protocol 2 (PEP 307) that Python 2's own `pickle.py` writes for such values; their meaning is that of `pickletools`.
"""

import struct
from collections.abc import Callable
from typing import Any

_DEEPEST = 100
_LEAVES = frozenset((type(None), bool, int, float, str, bytes))
_NUMBER_BYTES = 1_000  # of a long: reading one in decimal takes time that grows with its square


class NotPlainError(ValueError):
    """The pickle holds something else, is damaged, or too large."""


def loads(data: bytes, most_bytes: int = 1_000_000) -> Any:
    """Return the value of a pickle: None, bool, int, float, str, list, tuple and dict, nested up to 100 deep.

    Strings of Python 2 become str where they are UTF-8, else bytes. The key of a dict is no integer of more than 64
    bits, and as a tuple it has no floats, and only integers from 0 to 2**32 - 1. Raises `NotPlainError` for anything
    else, for more than `most_bytes` bytes, and for what would be more than that if nothing in it were shared.
    """
    if len(data) > most_bytes:
        raise NotPlainError("too large")
    try:
        value = _Reader(data).read()
        _measure(value, most_bytes)
    except (IndexError, KeyError, TypeError, UnicodeDecodeError, struct.error) as error:
        raise NotPlainError("damaged") from error
    return value


class _Reader:
    """One reading of one pickle."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0
        self._stack: list[Any] = []
        self._outer: list[list[Any]] = []  # the stacks below each mark
        self._memo: dict[int, Any] = {}

    def read(self) -> Any:
        while (code := self._take(1)) != b".":
            act = _OPCODES.get(code)
            if act is None:
                raise NotPlainError(f"it holds more than plain values (opcode {code!r})")
            act(self)
        if len(self._stack) != 1 or self._outer or self._at != len(self._data):
            raise NotPlainError("damaged")
        return self._stack[0]

    # -- what the opcodes do -------------------------------------------------------------------------------------------

    def _take(self, count: int) -> bytes:
        piece = self._data[self._at : self._at + count]
        if len(piece) != count:
            raise NotPlainError("cut off")
        self._at += count
        return piece

    def _number(self, layout: str) -> Any:
        return struct.unpack(layout, self._take(struct.calcsize(layout)))[0]

    def _push(self, value: Any) -> None:
        self._stack.append(value)

    def _protocol(self) -> None:
        if self._take(1) != b"\x02":
            raise NotPlainError("another protocol")

    def _text_int(self) -> None:
        digits, newline, _ = self._data[self._at : self._at + 32].partition(b"\n")
        if not newline or not digits.removeprefix(b"-").isdigit() or b"%d" % int(digits) != digits:
            raise NotPlainError("damaged")  # or a bool of protocol 1, which is 00 or 01
        self._at += len(digits) + 1
        self._push(int(digits))

    def _long(self, layout: str) -> None:
        size = self._number(layout)
        if not 0 <= size <= _NUMBER_BYTES:
            raise NotPlainError("too large a number")
        self._push(int.from_bytes(self._take(size), "little", signed=True))

    def _string(self, layout: str) -> None:
        raw = self._take(self._number(layout))
        try:
            self._push(raw.decode())
        except UnicodeDecodeError:
            self._push(raw)

    def _unicode(self) -> None:
        self._push(self._take(self._number("<I")).decode("utf-8", "surrogatepass"))

    def _put(self, layout: str) -> None:
        self._memo[self._number(layout)] = self._stack[-1]

    def _get(self, layout: str) -> None:
        self._push(self._memo[self._number(layout)])

    def _mark(self) -> None:
        self._outer.append(self._stack)
        self._stack = []

    def _marked(self) -> list[Any]:
        """Take off what was put on the stack since the last mark, and the mark."""
        items, self._stack = self._stack, self._outer.pop()
        return items

    def _popped(self, count: int) -> list[Any]:
        items = self._stack[-count:]
        if len(items) != count:
            raise NotPlainError("damaged")
        del self._stack[-count:]
        return items

    def _append(self, items: list[Any]) -> None:
        target = self._stack[-1]
        if type(target) is not list:
            raise NotPlainError("damaged")
        target.extend(items)

    def _set(self, items: list[Any]) -> None:
        target = self._stack[-1]
        if type(target) is not dict or len(items) % 2 or not all(map(_may_be_key, items[::2])):
            raise NotPlainError("damaged")
        target.update(zip(items[::2], items[1::2], strict=True))


_OPCODES: dict[bytes, Callable[[_Reader], None]] = {
    b"\x80": _Reader._protocol,
    b"(": _Reader._mark,
    b"N": lambda reader: reader._push(None),
    b"\x88": lambda reader: reader._push(True),
    b"\x89": lambda reader: reader._push(False),
    b"K": lambda reader: reader._push(reader._number("<B")),
    b"M": lambda reader: reader._push(reader._number("<H")),
    b"J": lambda reader: reader._push(reader._number("<i")),
    b"I": _Reader._text_int,  # of 32 bits and more, in 64 bits
    b"\x8a": lambda reader: reader._long("<B"),
    b"\x8b": lambda reader: reader._long("<i"),
    b"G": lambda reader: reader._push(reader._number(">d")),
    b"U": lambda reader: reader._string("<B"),
    b"T": lambda reader: reader._string("<i"),
    b"X": _Reader._unicode,
    b"}": lambda reader: reader._push({}),
    b"]": lambda reader: reader._push([]),
    b")": lambda reader: reader._push(()),
    b"\x85": lambda reader: reader._push(tuple(reader._popped(1))),
    b"\x86": lambda reader: reader._push(tuple(reader._popped(2))),
    b"\x87": lambda reader: reader._push(tuple(reader._popped(3))),
    b"t": lambda reader: reader._push(tuple(reader._marked())),
    b"a": lambda reader: reader._append(reader._popped(1)),
    b"e": lambda reader: reader._append(reader._marked()),
    b"s": lambda reader: reader._set(reader._popped(2)),
    b"u": lambda reader: reader._set(reader._marked()),
    b"q": lambda reader: reader._put("<B"),
    b"r": lambda reader: reader._put("<I"),
    b"h": lambda reader: reader._get("<B"),
    b"j": lambda reader: reader._get("<I"),
}
"""Every opcode that is read, and what it does. Whatever is not here is refused."""


def _may_be_key(value: Any) -> bool:
    """Tell whether a value may be the key of a dict; of a tuple in tuples not even the hash is to be asked for.

    Numbers have hashes that anybody can compute. Many keys of one hash would make a dict take time that grows with the
    square of their number: so integers have 64 bits at most, of which nine share a hash, and those in tuples, where
    such sets multiply, are small and not negative.
    """
    kind = type(value)
    if isinstance(value, int):
        return -(2**63) <= value < 2**64
    return kind in _LEAVES or (kind is tuple and all(map(_may_be_in_key, value)))


def _may_be_in_key(value: Any) -> bool:
    if isinstance(value, int):
        return 0 <= value < 2**32
    return isinstance(value, (str, bytes)) or value is None


def _measure(value: Any, most_bytes: int) -> None:
    """Refuse what is too large or too deep once everything shared is written out; what contains itself is both."""
    left = most_bytes
    level = {id(value): (value, 1)}  # what is at this depth, each object once, and how many times it is there
    for _ in range(_DEEPEST):
        below: dict[int, tuple[Any, int]] = {}
        for each, times in level.values():
            kind = type(each)
            size = len(each) if kind in (str, bytes) else each.bit_length() // 8 if kind is int else 0
            left -= times * (1 + size)
            if left < 0:
                raise NotPlainError("too large")
            inner = [*each, *each.values()] if kind is dict else each if kind in (list, tuple) else ()
            for item in inner:
                before = below.get(id(item))
                below[id(item)] = (item, times if before is None else before[1] + times)
        if not below:
            return
        level = below
    raise NotPlainError("nested too deeply")
