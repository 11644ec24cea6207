"""Session values to bytes and back, key by key, so that what goes in comes out equal and of the same type.

A scalar stands for itself; anything else becomes MessagePack bytes of its own, with extension types for what
MessagePack does not know. Nothing about cookies or records belongs here, and nothing that runs code named by the data:
an extension type is a row of the table below, or a class that the application registered.
"""

import dataclasses
import enum
from collections.abc import Callable, Iterable
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from fractions import Fraction
from gc import get_referents
from itertools import count, repeat
from math import copysign
from struct import Struct
from typing import Any, NamedTuple, NoReturn, TypeAlias, TypeVar
from uuid import UUID
from zoneinfo import ZoneInfo

import ormsgpack
from ormsgpack import Ext, packb, unpackb

from holdall.errors import UsageError

T = TypeVar("T")

Wire: TypeAlias = bool | int | float | str | bytes | None
"""What a key of a session's map holds: a scalar as it is, or the packed form of anything else, also of bytes."""

Pack: TypeAlias = Callable[[Any], bytes]
Unpack: TypeAlias = Callable[[bytes], Any]
Write: TypeAlias = Callable[[Any, Pack], bytes]
Read: TypeAlias = Callable[[bytes, Unpack], Any]
Hook: TypeAlias = Callable[[Any], Ext]

# Whatever ormsgpack would write by itself as something else goes to our hook instead, or is refused.
_OPTIONS = (
    ormsgpack.OPT_PASSTHROUGH_TUPLE
    | ormsgpack.OPT_PASSTHROUGH_DATETIME
    | ormsgpack.OPT_PASSTHROUGH_UUID
    | ormsgpack.OPT_PASSTHROUGH_DATACLASS
    | ormsgpack.OPT_PASSTHROUGH_ENUM
    | ormsgpack.OPT_PASSTHROUGH_SUBCLASS
    | ormsgpack.OPT_PASSTHROUGH_BIG_INT
)
_INT_MIN, _INT_MAX = -(2**63), 2**64 - 1
# How many extension values may stand in one another. Reading takes three Python frames for each, so that what was
# written can be read on any stack that is not nearly exhausted already.
_NESTING = 64

_LEAVES = frozenset({type(None), bool, int, float, str, bytes})
_CONTAINERS = frozenset({list, dict, tuple, set, frozenset})
_TRANSPARENT = _LEAVES | _CONTAINERS
_A_KEY = object()  # stands for the place of a key in messages
# These ormsgpack writes without asking, the first two as if they were bytes.
_RAW = frozenset({bytearray, memoryview, Ext, ormsgpack.Fragment})


class _RefusalError(Exception):
    """Says what cannot be kept, and the remedy; the containers it stands in add where, innermost first."""

    def __init__(self, what: str, remedy: str) -> None:
        super().__init__(what, remedy)
        self.what = what
        self.remedy = remedy
        self.steps: list[str] = []

    def as_usage_error(self) -> UsageError:
        where = f" at {''.join(reversed(self.steps))}" if self.steps else ""
        return UsageError(f"there is no way to keep {self.what}{where}: {self.remedy}")


_TOO_DEEP = "the value is nested too deeply, or contains itself: store something flatter"


# -- the table: how each type is written and read ----------------------------------------------------------------------

_DATE = Struct(">HBB")
_TIME = Struct(">BBBI")  # hour, minute, second, microsecond with the fold as its highest bit
_DATETIME = Struct(">HBBBBBI")
_TIMEDELTA = Struct(">iII")  # days, seconds, microseconds
_COMPLEX = Struct(">dd")
_ARRAY = Struct(">BI")  # the head of MessagePack's array 32
_FOLD = 1 << 31
_MICROSECOND = timedelta(microseconds=1)


def _write_int(value: int, _: Pack) -> bytes:
    return value.to_bytes(value.bit_length() // 8 + 1, "big", signed=True)


def _write_set(value: set[Any] | frozenset[Any], pack: Pack) -> bytes:
    # Sorted, so that equal sets give equal bytes; each element packed once, so that nesting does not multiply the work.
    return _ARRAY.pack(0xDD, len(value)) + b"".join(sorted(map(pack, value)))


def _write_zone(zone: Any, data: bytes, pack: Pack) -> bytes:
    return data if zone is None else data + pack(zone)


def _read_zone(data: bytes, start: int, unpack: Unpack) -> Any:
    return unpack(data[start:]) if len(data) > start else None


def _write_datetime(value: datetime, pack: Pack) -> bytes:
    day, clock = (value.year, value.month, value.day), (value.hour, value.minute, value.second)
    data = _DATETIME.pack(*day, *clock, value.microsecond | value.fold * _FOLD)
    return _write_zone(value.tzinfo, data, pack)


def _read_datetime(data: bytes, unpack: Unpack) -> datetime:
    year, month, day, hour, minute, second, last = _DATETIME.unpack_from(data)
    zone = _read_zone(data, _DATETIME.size, unpack)
    return datetime(year, month, day, hour, minute, second, last % _FOLD, zone, fold=last // _FOLD)


def _write_time(value: time, pack: Pack) -> bytes:
    data = _TIME.pack(value.hour, value.minute, value.second, value.microsecond | value.fold * _FOLD)
    return _write_zone(value.tzinfo, data, pack)


def _read_time(data: bytes, unpack: Unpack) -> time:
    hour, minute, second, last = _TIME.unpack_from(data)
    zone = _read_zone(data, _TIME.size, unpack)
    return time(hour, minute, second, last % _FOLD, zone, fold=last // _FOLD)


def _write_timezone(value: timezone, pack: Pack) -> bytes:
    if value is UTC:
        return b""
    offset, name = value.utcoffset(None), value.tzname(None)
    unnamed = timezone(offset)
    if unnamed.tzname(None) == name:
        return b"" if unnamed is UTC else pack([offset // _MICROSECOND])
    return pack([offset // _MICROSECOND, name])


def _read_timezone(data: bytes, unpack: Unpack) -> timezone:
    if not data:
        return UTC
    offset, *name = unpack(data)
    return timezone(offset * _MICROSECOND, *name)


def _write_zoneinfo(value: ZoneInfo, _: Pack) -> bytes:
    if value.key is None:
        raise _RefusalError("a ZoneInfo without a key", "make it with ZoneInfo(key)")
    return value.key.encode()


def _read_zoneinfo(data: bytes, _: Unpack) -> ZoneInfo:
    key = data.decode()
    try:
        return ZoneInfo(key)
    except KeyError as error:
        raise UsageError(f"the session holds the time zone {key!r}, which is unknown here: install tzdata") from error


def _write_fraction(value: Fraction, pack: Pack) -> bytes:
    return pack([value.numerator, value.denominator])


def _read_object(data: bytes, unpack: Unpack) -> Any:
    start = 2 + int.from_bytes(data[:2], "big")
    name = data[2:start].decode()
    registered = _REGISTERED.get(name)
    if registered is None:
        raise UsageError(
            f"the session holds a {name!r}, which is not registered here: call holdall.register_type for it at start-up"
        )
    content = unpack(data[start:])
    try:
        return registered.decode(content)
    except Exception as error:
        raise UsageError(
            f"the session holds a {name!r} that its registered decode cannot make again: {type(error).__name__}"
        ) from error


class Kind(NamedTuple):
    """A row of the table: the extension type of a Python type, and how its data is written and read."""

    tag: int
    type: type
    write: Write
    read: Read


_TUPLE, _TUPLES, _MAP, _TEXT, _OBJECT = 1, 2, 3, 4, 5
KINDS = (
    Kind(_TUPLE, tuple, lambda value, pack: pack([*value]), lambda data, unpack: tuple(unpack(data))),
    Kind(16, set, _write_set, lambda data, unpack: set(unpack(data))),
    Kind(17, frozenset, _write_set, lambda data, unpack: frozenset(unpack(data))),
    Kind(18, bytearray, lambda value, _: bytes(value), lambda data, _: bytearray(data)),
    Kind(19, int, _write_int, lambda data, _: int.from_bytes(data, "big", signed=True)),
    Kind(20, complex, lambda z, _: _COMPLEX.pack(z.real, z.imag), lambda data, _: complex(*_COMPLEX.unpack(data))),
    # In upper case, because the case of the exponent depends on the thread's decimal context.
    Kind(21, Decimal, lambda value, _: str(value).upper().encode(), lambda data, _: Decimal(data.decode())),
    Kind(22, Fraction, _write_fraction, lambda data, unpack: Fraction(*unpack(data))),
    Kind(23, UUID, lambda value, _: value.bytes, lambda data, _: UUID(bytes=data)),
    Kind(24, datetime, _write_datetime, _read_datetime),
    Kind(25, date, lambda d, _: _DATE.pack(d.year, d.month, d.day), lambda data, _: date(*_DATE.unpack(data))),
    Kind(26, time, _write_time, _read_time),
    Kind(
        27,
        timedelta,
        lambda value, _: _TIMEDELTA.pack(value.days, value.seconds, value.microseconds),
        lambda data, _: timedelta(*_TIMEDELTA.unpack(data)),
    ),
    Kind(28, timezone, _write_timezone, _read_timezone),
    Kind(29, ZoneInfo, _write_zoneinfo, _read_zoneinfo),
)
"""The types that are kept beside those of MessagePack itself: None, bool, int, float, str, bytes, list and dict."""

_BUILT_IN: frozenset[type] = _TRANSPARENT | {kind.type for kind in KINDS}
_WRITERS: dict[type, tuple[int, Write]] = {kind.type: (kind.tag, kind.write) for kind in KINDS}
_READERS: dict[int, Read] = {
    **{kind.tag: kind.read for kind in KINDS},
    _TUPLES: lambda data, unpack: [*map(tuple, unpack(data))],  # a list of nothing but tuples
    _MAP: lambda data, unpack: dict(zip(*unpack(data), strict=True)),  # a dict whose keys are not all text
    _TEXT: lambda data, _: data.decode("utf-8", "surrogatepass"),  # a str with lone surrogates
    _OBJECT: _read_object,
}


def _writer(kind: type) -> tuple[int, Write]:
    """Find the way to write an extension type, or raise `_RefusalError`."""
    if kind in _WRITERS:
        return _WRITERS[kind]
    for base in kind.__mro__[1:]:
        if base in _WITH_SUBCLASSES:
            return _WRITERS[base]
    bases = (str, bytes, int, float, list, dict, tuple, set, frozenset)
    target = next((f"by {base.__name__}(value)" for base in bases if issubclass(kind, base)), "to a built-in type")
    raise _RefusalError(
        f"the type {_name(kind)}", f"convert it {target}, or register the type with holdall.register_type"
    )


def _name(kind: type) -> str:
    return kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"


# -- writing -----------------------------------------------------------------------------------------------------------


def encode(value: Any, before: Wire = None) -> Wire:
    """Return what a value is kept as. Equal bytes mean equal values of equal types.

    `before`, what the key held when it was read, changes nothing but the time it takes to find that the value is still
    the same. (With one exception: a bytearray put in the place of equal bytes is then no change.)

    Raises `UsageError` for what cannot be kept. Its message names the type, where in the value it is, and the remedy,
    but never the value.
    """
    kind = type(value)
    if kind is str:
        if value.isascii() or _is_well_formed(value):
            return value  # type: ignore[no-any-return]
    elif kind is int:
        if _INT_MIN <= value <= _INT_MAX:
            return value  # type: ignore[no-any-return]
    elif kind is bytes:
        return packb(value)
    elif kind in _LEAVES:
        return value  # type: ignore[no-any-return]
    try:
        packed = packb(_batched(value) if kind is list else value, _hook, _OPTIONS)
        if type(before) is bytes and packed == before:
            return before
        if not (_may_hold_raw(packed) and _holds_raw(value)):
            return packed
    except TypeError:
        pass  # the walk either finds the way or says what is wrong; ormsgpack hides what its hook raises
    try:
        return _pack_plain(_plain(value, _NESTING))
    except _RefusalError as refusal:
        raise refusal.as_usage_error() from None
    except RecursionError:
        raise UsageError(_TOO_DEEP) from None


def _is_well_formed(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _batched(value: list[Any]) -> Any:
    """Make one extension value of a list of nothing but tuples: one for each would take five times as long to write."""
    if value and type(value[0]) is tuple and {tuple}.issuperset(map(type, value)):
        return Ext(_TUPLES, packb([*map(list, value)], _hook, _OPTIONS))
    return value


def _hook_over(deeper: Hook) -> Hook:
    """Make the function that ormsgpack calls for what it does not know, at one level of nesting."""

    def pack(value: Any) -> bytes:
        packed = packb(value, deeper, _OPTIONS)
        if _may_hold_raw(packed) and _holds_raw(value):
            raise TypeError
        return packed

    def hook(value: Any) -> Ext:
        kind = type(value)
        if kind is tuple:  # written here, because there may be thousands
            return Ext(_TUPLE, packb([*value], deeper, _OPTIONS))
        tag, write = _WRITERS.get(kind) or _writer(kind)
        return Ext(tag, write(value, pack))

    return hook


def _too_deep(_: Any) -> NoReturn:
    raise TypeError(_TOO_DEEP)


_hook: Hook = _too_deep
for _ in range(_NESTING):
    _hook = _hook_over(_hook)


def _may_hold_raw(packed: bytes) -> bool:
    """Tell whether a byte is there that could begin MessagePack's bin 8, bin 16 (from 256 bytes on) or bin 32."""
    return b"\xc4" in packed or (len(packed) > 258 and (b"\xc5" in packed or b"\xc6" in packed))


def _holds_raw(value: Any) -> bool:
    """Tell whether ormsgpack wrote something unasked that it would not read back as it was.

    Goes through the value level by level at the speed of C (a loop would take longer than the packing), which relies on
    CPython's built-in containers referring to all they hold. What the objects of a registered class are kept as is not
    looked at here: `pack` did that.
    """
    level = [value]
    while level:
        kinds = set(map(type, level))
        if not _RAW.isdisjoint(kinds):
            return True
        if not _TRANSPARENT.issuperset(kinds):
            level = [item for item in level if type(item) in _CONTAINERS]
        level = get_referents(*level)
    return False


def _pack_plain(plain: Any) -> bytes:
    try:
        return packb(plain, None, _OPTIONS)
    except TypeError:  # the only one left is ormsgpack's own limit
        raise UsageError(_TOO_DEEP) from None


def _plain(value: Any, room: int) -> Any:
    """Make of any value one that ormsgpack writes without a hook.

    The slow way, for what ormsgpack cannot do or would do wrong, and to find out what cannot be kept. `room` is how
    many more extension values may be nested. Raises `_RefusalError`, or `UsageError` where the place does not matter.
    """
    kind = type(value)
    if kind is str:
        return value if _is_well_formed(value) else Ext(_TEXT, value.encode("utf-8", "surrogatepass"))
    if kind is int:
        if _INT_MIN <= value <= _INT_MAX:
            return value
    elif kind in _LEAVES:
        return value
    elif kind is list:
        return _plain_items(count(), value, room)
    elif kind is dict and {str}.issuperset(map(type, value)) and all(map(_is_well_formed, value)):
        return dict(zip(value, _plain_items(value, value.values(), room), strict=True))
    if not room:
        raise UsageError(_TOO_DEEP)
    if kind is dict:
        keys = _plain_items(repeat(_A_KEY), value, room - 1)
        return Ext(_MAP, _pack_plain([keys, _plain_items(value, value.values(), room - 1)]))
    tag, write = _writer(kind)
    return Ext(tag, write(value, lambda inner: _pack_plain(_plain(inner, room - 1))))


def _plain_items(keys: Iterable[Any], items: Iterable[Any], room: int) -> list[Any]:
    done = []
    for key, item in zip(keys, items, strict=False):
        try:
            done.append(_plain(item, room))
        except _RefusalError as refusal:
            refusal.steps.append(_step(key))
            raise
    return done


def _step(key: Any) -> str:
    if key is _A_KEY:
        return "[a key]"
    return f"[{key!r}]" if type(key) in (str, int) else f"[a {type(key).__name__}]"


# -- reading -----------------------------------------------------------------------------------------------------------


def decode(packed: bytes) -> Any:
    """Return the value that was packed: a new one with every call.

    Raises `UsageError` if its type is not registered (any more), or the bytes are not what `encode` writes. They were
    authenticated before they came here, so that is a version's fault, not a stranger's.
    """
    try:
        return unpackb(packed, ext_hook=_revive)
    except ValueError:
        return _decode_again(packed)


def _revive(tag: int, data: bytes) -> Any:
    if tag == _TUPLE:
        return tuple(unpackb(data, ext_hook=_revive))
    return _READERS[tag](data, _unpack)


def _unpack(data: bytes) -> Any:
    return unpackb(data, ext_hook=_revive)


def _decode_again(packed: bytes) -> Any:
    """Decode once more, for the exception: ormsgpack hides what its hook raises."""
    hidden: list[Exception] = []

    def revive(tag: int, data: bytes) -> Any:
        try:
            return _READERS[tag](data, unpack)
        except Exception as error:
            hidden.append(error)
            raise

    def unpack(data: bytes) -> Any:
        return unpackb(data, ext_hook=revive)

    try:
        return unpack(packed)
    except ValueError as error:
        cause = hidden[0] if hidden else error
        if isinstance(cause, UsageError):
            raise cause from cause.__cause__
        raise UsageError(
            "the session holds a value that cannot be read: it was written by another version of holdall, or damaged"
        ) from cause


# -- a session's map ---------------------------------------------------------------------------------------------------


def pack_map(wires: dict[str, Wire]) -> bytes:
    """Pack the top level of a session. Raises `UsageError` if a key is not well-formed text."""
    try:
        return packb(wires)
    except TypeError:
        raise UsageError("a session key holds a lone surrogate: use well-formed text") from None


def unpack_map(data: bytes) -> dict[str, Wire]:
    """Return what `pack_map` packed, without decoding any value. Raises `UsageError` for what is no map of text."""
    try:
        wires = unpackb(data)
    except ValueError:
        wires = None
    if type(wires) is not dict:
        raise UsageError("the session's data cannot be read: it was written by another version of holdall, or damaged")
    return wires


def is_same(a: Wire, b: Wire) -> bool:
    """Tell whether two wires are identical in type and value: 1 is not 1.0, -0.0 is not 0.0, NaN is NaN."""
    if type(a) is not type(b):
        return False
    if a == b:
        return type(a) is not float or copysign(1, a) == copysign(1, b)  # type: ignore[arg-type]
    return a != a and b != b


# -- the application's own types ---------------------------------------------------------------------------------------


class _Registered(NamedTuple):
    cls: type
    decode: Callable[[Any], Any]


_REGISTERED: dict[str, _Registered] = {}
_WITH_SUBCLASSES: set[type] = set()


def register_type(
    cls: type[T],
    *,
    name: str | None = None,
    encode: Callable[[T], object] | None = None,
    decode: Callable[[Any], T] | None = None,
    subclasses: bool = False,
) -> type[T]:
    """Have the objects of a class kept in sessions, in this whole process; do it at start-up. Returns the class.

    `encode` turns an object into anything that can be kept, `decode` makes an equal object of that again. A dataclass
    or an enum needs neither, and `@register_type` above it is enough. A dataclass is kept field by field and made again
    without `__init__` or `__post_init__`: a field that the class got since takes its default, one that it lost is
    dropped. A member of an enum is kept by its name, a flag by its value.

    `name` is what stored sessions call the class; by default its module and qualified name. Registered under several
    names, it is written under the last and read under all, so that classes can move. `subclasses` has the objects of
    all its subclasses kept the same way, unless they are registered themselves.

    Raises `UsageError` if a function is missing, another class has the name, or the type is kept anyway.
    """
    if not isinstance(cls, type):
        raise UsageError(f"register_type takes a class, not a {_name(type(cls))}")
    if cls in _BUILT_IN:
        raise UsageError(f"register_type({cls.__name__}): this type is kept already, there is nothing to register")
    if encode is None and decode is None and not subclasses:
        encode, decode = _own_functions(cls)
    if encode is None or decode is None:
        raise UsageError(
            f"register_type({cls.__name__}) needs both encode= and decode=: only a dataclass or an enum, "
            "without subclasses=True and without a __new__, needs neither"
        )
    name = _name(cls) if name is None else name
    label = name.encode()
    if not 0 < len(label) < 2**16:
        raise UsageError(f"register_type({cls.__name__}): name= must have 1 to 65535 bytes")
    other = _REGISTERED.get(name)
    if other is not None and other.cls is not cls:
        if _name(other.cls) != _name(cls):  # the same where a module was loaded again
            raise UsageError(
                f"register_type({cls.__name__}): the name {name!r} is taken by {_name(other.cls)}, choose another name="
            )
        _WRITERS.pop(other.cls, None)
        _WITH_SUBCLASSES.discard(other.cls)
    head = len(label).to_bytes(2, "big") + label
    to_content = encode
    _REGISTERED[name] = _Registered(cls, decode)
    _WRITERS[cls] = (_OBJECT, lambda value, pack: head + pack(to_content(value)))
    if subclasses:
        _WITH_SUBCLASSES.add(cls)
    else:
        _WITH_SUBCLASSES.discard(cls)
    return cls


def _own_functions(cls: type[Any]) -> tuple[Callable[[Any], object] | None, Callable[[Any], Any] | None]:
    """Return how a dataclass or an enum is kept without being told; (None, None) for any other class."""
    if issubclass(cls, enum.Flag):
        return (lambda flag: flag.value), cls
    if issubclass(cls, enum.Enum):
        return (lambda member: member.name), (lambda name: cls[name])
    # One that only inherits from a dataclass may hold more than the fields, and a __new__ may need what we do not know.
    maker: Any = cls.__new__
    if "__dataclass_fields__" not in vars(cls) or maker is not object.__new__:
        return None, None
    fields = dataclasses.fields(cls)

    def to_content(value: Any) -> dict[str, Any]:
        return {field.name: getattr(value, field.name) for field in fields if hasattr(value, field.name)}

    def from_content(content: dict[str, Any]) -> Any:
        value = object.__new__(cls)
        for field in fields:
            if field.name in content:
                item = content[field.name]
            elif field.default is not dataclasses.MISSING:
                item = field.default
            elif field.default_factory is not dataclasses.MISSING:
                item = field.default_factory()
            elif field.init:
                raise UsageError(f"the field {field.name} has no default, and the session was written without it")
            else:
                continue  # never set by `__init__` either
            object.__setattr__(value, field.name, item)  # also where the class is frozen
        return value

    return to_content, from_content
