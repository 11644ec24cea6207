"""What goes into a session comes out equal and of the same type, or is refused by name."""

import contextlib
import dataclasses
import enum
import io
import struct
import subprocess
import sys
from collections import Counter, OrderedDict, defaultdict, deque, namedtuple
from collections.abc import Hashable
from datetime import UTC, date, datetime, time, timedelta, timezone, tzinfo
from decimal import Decimal, localcontext
from fractions import Fraction
from typing import Any, NamedTuple
from uuid import UUID
from zoneinfo import ZoneInfo

import ormsgpack
import pytest
from holdall import UsageError
from holdall.codec import KINDS, Wire, decode, encode, is_same, pack_map, register_type, unpack_map
from hypothesis import example, given
from hypothesis import strategies as st

from tests.core.support import identical

# -- what can be kept --------------------------------------------------------------------------------------------------

zones = st.one_of(
    st.sampled_from(["Europe/Berlin", "America/New_York", "Asia/Kathmandu"]).map(ZoneInfo),
    st.just(UTC),
    st.builds(timezone, st.timedeltas(timedelta(hours=-23), timedelta(hours=23))),
    st.builds(timezone, st.timedeltas(timedelta(hours=-23), timedelta(hours=23)), st.text(max_size=5)),
)
maybe_zones = st.none() | zones
scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.integers(-(2**70), 2**70),
    st.sampled_from([2**63, 2**64 - 1, 2**64, -(2**63), -(2**63) - 1, 196, 197, 198]),
    st.floats(),
    st.text(max_size=8),
    st.text(st.characters(), max_size=8),
    st.binary(max_size=8),
)
hashables = st.one_of(
    scalars,
    st.decimals().filter(lambda number: not number.is_snan()),  # the one Decimal that has no hash
    st.fractions(),
    st.complex_numbers(),
    st.uuids(),
    st.datetimes(timezones=maybe_zones),
    st.dates(),
    st.times(timezones=maybe_zones),
    st.timedeltas(),
    zones,
)


def _keys(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.lists(inner, max_size=3).map(tuple) | st.frozensets(inner, max_size=3)


def _containers(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.one_of(
        st.lists(inner, max_size=4),
        st.lists(inner, max_size=4).map(tuple),
        st.lists(st.lists(inner, max_size=2).map(tuple), max_size=4),
        st.dictionaries(st.text(max_size=4), inner, max_size=4),
        st.dictionaries(keys, inner, max_size=4),
        st.builds(Basket, inner, st.lists(inner, max_size=2)),
        st.builds(Pair, inner, inner),
    )


class Colour(enum.Enum):
    RED = 1
    CRIMSON = 1  # noqa: PIE796 - an alias, on purpose
    GREEN = "g"


class Level(enum.IntEnum):
    LOW = 1
    HIGH = 2


class Word(enum.StrEnum):
    YES = "y"


class Right(enum.Flag):
    READ = 1
    WRITE = 2


@dataclasses.dataclass
class Basket:
    first: Any
    rest: list[Any] = dataclasses.field(default_factory=list)


class Pair(NamedTuple):
    left: Any
    right: Any


@register_type
@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    x: int
    y: int = 0
    total: int = dataclasses.field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "total", self.x + self.y)


class Model:
    """Stands for a class with ways of its own, as ndb.Model has."""

    def __init__(self, **properties: Any) -> None:
        self.properties = properties

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self) and vars(other) == vars(self)

    __hash__ = None  # type: ignore[assignment]


class User(Model):
    pass


for registered in (Colour, Level, Word, Right, Basket):
    register_type(registered)
register_type(Pair, encode=tuple, decode=lambda pair: Pair(*pair))
register_type(
    Model,
    encode=lambda model: (type(model).__name__, model.properties),
    decode=lambda content: {"Model": Model, "User": User}[content[0]](**content[1]),
    subclasses=True,
)

keys = st.recursive(
    hashables | st.sampled_from([*Colour, *Level, *Word, Right.READ | Right.WRITE, Point(x=1, y=2)]),
    _keys,
    max_leaves=4,
)
values = st.recursive(
    st.one_of(keys, st.decimals(), st.binary(max_size=300).map(bytearray), st.sets(keys, max_size=3)),
    _containers,
    max_leaves=12,
)


def there_and_back(value: Any) -> Any:
    wire = encode(value)
    wires = unpack_map(pack_map({"key": wire}))
    assert is_same(wires["key"], wire)
    return decode(wire) if type(wire) is bytes else wire


@given(values)
@example([bytearray(b"x"), [[bytearray(b"y")]]])
@example({"a": (bytearray(b"x"), b"x")})
@example({frozenset({(1, "\ud800")}): {1.5: {None: bytearray()}}})
@example({1: "a", (1,): "b", b"1": "c", "\udcff": "d", None: "e", date(1, 1, 1): "f", frozenset({1}): "g"})
@example([Decimal("-sNaN12"), Decimal("-0E-99"), Decimal("Infinity"), Decimal("1E+999999")])
@example([float("nan"), float("inf"), -0.0, complex(float("nan"), -0.0)])
@example([(), ((),), [()], [[(1,)], (2,)], ({}, set(), frozenset())])
@example([datetime(2024, 10, 27, 2, 30, tzinfo=ZoneInfo("Europe/Berlin"), fold=fold) for fold in (0, 1)])
@example([datetime.max, datetime.min, timedelta.max, timedelta.min, date.max, time.max.replace(fold=1)])
@example(
    [timezone(timedelta(seconds=1, microseconds=1)), timezone(timedelta(0), "Z"), timezone(timedelta(0), "\ud800")]
)
@example({"rows": [Basket([bytearray()]), Pair(1, bytearray())]})
def test_everything_comes_back_equal_and_of_the_same_type(value: Any) -> None:
    """Every kept type survives at any nesting, as a key too, with its exact type, order, zone, fold and sign."""
    assert identical(there_and_back(value), value)


@given(values)
def test_packed_bytes_are_deterministic(value: Any) -> None:
    """What was read packs to the very bytes it was read from, so that a difference means a change."""
    wire = encode(value)
    if type(wire) is bytes:
        assert encode(decode(wire)) == wire
        assert encode(decode(wire), wire) == wire


@given(st.sets(keys, max_size=6))
def test_equal_sets_pack_to_equal_bytes(elements: set[Any]) -> None:
    """The order in which a set was built does not show."""
    assert encode({*reversed([*elements])}) == encode(elements)


@given(st.one_of(st.none(), st.booleans(), st.integers(-(2**63), 2**64 - 1), st.floats(), st.text()))
def test_scalars_stand_for_themselves(value: Any) -> None:
    """A scalar that MessagePack knows is its own wire, the very object."""
    assert encode(value) is value


@pytest.mark.parametrize("value", [b"", b"\x01", 2**64, -(2**63) - 1, "\ud800", bytearray(b"x"), [], ()])
def test_everything_else_is_packed(value: Any) -> None:
    """Whatever is not a plain scalar has bytes of its own, user bytes included."""
    assert type(encode(value)) is bytes


@pytest.mark.parametrize("wrap", [lambda x: [x], lambda x: (x,), lambda x: {"k": x}, lambda x: [[1, {"k": ([x],)}]]])
@pytest.mark.parametrize("size", [0, 1, 255, 256, 65535, 65536])
def test_no_container_hides_a_bytearray(wrap: Any, size: int) -> None:
    """A bytearray of any size in any built-in container never comes back as bytes, as the serializer would have it."""
    value = wrap([bytes(size), bytearray(size), "after"])
    assert identical(there_and_back(value), value)


def test_the_attributes_of_an_object_may_hold_a_bytearray() -> None:
    """The dict of an instance, which is laid out differently, is looked through like any other."""
    value = vars(Basket(bytearray(b"x"), []))
    assert identical(there_and_back(value), {"first": bytearray(b"x"), "rest": []})


def test_the_decimal_context_does_not_show() -> None:
    """A Decimal packs to the same bytes whatever the thread's decimal context says."""
    value = [Decimal("1E+50")]
    with localcontext() as context:
        context.capitals = 0
        context.prec = 1
        wire = encode(value)
        assert identical(there_and_back(value), value)
    assert wire == encode(value)


def test_utc_stays_the_singleton() -> None:
    """`timezone.utc` comes back as itself, also where it was spelled out."""
    for zone in (UTC, timezone(timedelta(0)), timezone(timedelta(0), "UTC")):
        assert there_and_back([zone])[0] is UTC


def test_values_handed_out_are_new_each_time() -> None:
    """Changing what was decoded changes nothing that is decoded later."""
    wire = encode({"a": [1]})
    assert isinstance(wire, bytes)
    decode(wire)["a"].append(2)
    assert decode(wire) == {"a": [1]}


def test_an_unchanged_value_is_told_by_the_wire_it_was_read_from() -> None:
    """Given what the key held, encode returns exactly that if nothing changed, and other bytes if something did."""
    wire = encode([b"raw", (1, 2), 196])
    assert isinstance(wire, bytes)
    value = decode(wire)
    assert encode(value, wire) is wire
    value[2] = 197
    assert encode(value, wire) == encode(value) != wire


@pytest.mark.parametrize(
    ("a", "b", "same"),
    [
        (1, 1, True),
        (1, True, False),
        (1, 1.0, False),
        (0.0, -0.0, False),
        (-0.0, -0.0, True),
        (float("nan"), float("-nan"), True),
        (float("nan"), 1.0, False),
        ("1", b"1", False),
        ("a", "a", True),
        (None, None, True),
        (None, False, False),
        (b"x", b"y", False),
    ],
)
def test_same_means_identical_in_type_and_value(a: Wire, b: Wire, *, same: bool) -> None:
    """Neither equality across types nor the sign of zero nor NaN deceives the comparison."""
    assert is_same(a, b) is same
    assert is_same(b, a) is same


# -- what cannot -------------------------------------------------------------------------------------------------------

Plain = namedtuple("Plain", ["x"])


class Text(str):
    __slots__ = ()


class Unknown:
    pass


class Season(enum.IntEnum):
    SUMMER = 1


class Zone(tzinfo):
    def utcoffset(self, when: datetime | None) -> timedelta:
        return timedelta(0)

    dst = utcoffset

    def tzname(self, when: datetime | None) -> str:
        return "ZONE"


@dataclasses.dataclass
class Loose:
    x: int


@pytest.mark.parametrize(
    ("value", "named"),
    [
        (Plain(1), "test_codec.Plain"),
        (OrderedDict(a=1), "collections.OrderedDict"),
        (defaultdict(list), "collections.defaultdict"),
        (Counter("a"), "collections.Counter"),
        (deque([1]), "collections.deque"),
        (Season.SUMMER, "test_codec.Season"),
        (Text("x"), "test_codec.Text"),
        (type("Raw", (bytearray,), {})(b"x"), ".Raw"),
        (memoryview(b"x"), "type memoryview"),
        (ormsgpack.Ext(1, b"\x90\xc4"), "Ext"),
        ((n for n in [1]), "type generator"),
        (len, "type builtin_function_or_method"),
        (identical, "type function"),
        (object(), "type object"),
        (Unknown(), "test_codec.Unknown"),
        (Loose(1), "test_codec.Loose"),
        (Loose, "type type"),
        (range(3), "type range"),
        (datetime(2024, 1, 1, tzinfo=Zone()), "test_codec.Zone"),
        (io.BytesIO(), "_io.BytesIO"),
        (..., "type ellipsis"),
        (ValueError("x"), "type ValueError"),
    ],
)
@pytest.mark.parametrize("wrap", [lambda x: x, lambda x: [x], lambda x: {"k": (1, [x])}])
def test_what_cannot_be_kept_is_refused_by_name(value: Any, named: str, wrap: Any) -> None:
    """A type that would not come back the same is refused at any depth, with its name and the remedy."""
    with pytest.raises(UsageError, match="register_type") as caught:
        encode(wrap(value))
    assert named in str(caught.value)


@pytest.mark.parametrize("key", [Text("x"), Plain(1), Season.SUMMER, (1, Unknown())])
def test_keys_that_cannot_be_kept_are_refused(key: Any) -> None:
    """A key of a type that is not kept is refused, though it may equal one that is."""
    with pytest.raises(UsageError, match="a key"):
        encode({"a": {key: 1}})


def test_a_refusal_says_where_but_shows_no_value() -> None:
    """The message leads to the place by indexes and keys, and holds nothing of the values."""
    with pytest.raises(UsageError) as caught:
        encode([1, "secret", {"x": ({3: {date(2024, 1, 1): Unknown()}}, "secret")}])
    assert " at [2]['x'][0][3][a date]: " in str(caught.value)
    assert "secret" not in str(caught.value)


def test_a_zone_without_a_key_is_refused() -> None:
    """A ZoneInfo that was read from a file has no name to be found by again."""
    with pytest.raises(UsageError, match=r"ZoneInfo\(key\)"):
        encode(datetime(2024, 1, 1, tzinfo=ZoneInfo.from_file(io.BytesIO(_zone_file()))))


def _zone_file() -> bytes:
    """Make the smallest zone file (RFC 8536): version 1, one type, UTC+0."""
    return b"TZif" + bytes(16) + struct.pack(">6l", 0, 0, 0, 0, 1, 4) + struct.pack(">lbb", 0, 0, 0) + b"XYZ\0"


def _nested(depth: int, wrap: Any) -> Any:
    value: Any = 1
    for _ in range(depth):
        value = wrap(value)
    return value


@pytest.mark.parametrize(
    "wrap",
    [lambda x: [x], lambda x: (x,), lambda x: {"k": x}, lambda x: {1: x}, lambda x: frozenset({x}), Basket],
    ids=["list", "tuple", "dict", "other keys", "frozenset", "object"],
)
def test_nesting_is_bounded(wrap: Any) -> None:
    """Sixty levels of anything are kept; what is deeper is either kept too or refused, never written unreadably."""
    assert identical(there_and_back(_nested(60, wrap)), _nested(60, wrap))
    written = []
    for depth in (64, 65, 254, 300):
        with contextlib.suppress(UsageError):
            wire = encode(_nested(depth, wrap))
            assert isinstance(wire, bytes)
            written.append(wire)
    for wire in written:
        decode(wire)
    with pytest.raises(UsageError, match="nested too deeply"):
        encode(_nested(700, wrap))


def test_what_contains_itself_is_refused() -> None:
    """A cycle through any container is a usage error, not a RecursionError."""
    loop: list[Any] = []
    looped: dict[Any, Any] = {}
    basket = Basket(None)
    for value, add in ((loop, loop.append), (looped, lambda x: looped.update({1: x})), (basket, basket.rest.append)):
        add((value,))
        with pytest.raises(UsageError, match="contains itself"):
            encode(value)


# -- registered types --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "value",
    [
        Colour.GREEN,
        Colour.CRIMSON,
        Level.HIGH,
        Word.YES,
        Right.READ | Right.WRITE,
        Right(0),
        Basket(1, [bytearray(b"x")]),
        Pair(1, (2,)),
        Point(x=1, y=2),
        Model(a=1),
        User(name="x", when=datetime(2024, 1, 1)),
    ],
    ids=lambda value: type(value).__name__,
)
def test_registered_types_come_back(value: Any) -> None:
    """Enums, dataclasses and classes with functions of their own survive, alone, nested and as keys."""
    for wrapped in (value, [value], (value, {"k": value})):
        assert identical(there_and_back(wrapped), wrapped)
    if isinstance(value, Hashable):
        assert identical(there_and_back({value: 1}), {value: 1})


def test_subclasses_are_kept_where_asked() -> None:
    """Registered with its subclasses, a class covers them; without, a subclass is refused."""

    class Admin(Basket):
        pass

    assert type(there_and_back([User()])[0]) is User
    with pytest.raises(UsageError, match="Admin"):
        encode(Admin(1))


def test_a_dataclass_is_made_again_without_running_its_code() -> None:
    """Neither `__init__` nor `__post_init__` runs at reading, which need not be idempotent."""

    @register_type
    @dataclasses.dataclass
    class Counted:
        n: int
        unset: int = dataclasses.field(init=False)

        def __post_init__(self) -> None:
            self.n += 1

    back = there_and_back(Counted(1))
    assert back.n == 2
    assert not hasattr(back, "unset")


def _version(**fields: Any) -> type[Any]:
    """Make a dataclass as a newer version of the module would, and register it under the same name."""
    specs = [(name, Any, dataclasses.field(**options)) for name, options in fields.items()]
    made = dataclasses.make_dataclass("Evolving", specs)
    made.__module__ = __name__
    return register_type(made)


def test_a_dataclass_may_gain_and_lose_fields() -> None:
    """A field new since the session was written takes its default; one that is gone is dropped."""
    wire = encode(_version(old={}, stays={})(1, 2))
    assert isinstance(wire, bytes)
    newer = _version(stays={}, more={"default": 3}, rest={"default_factory": list})
    assert decode(wire) == newer(2, 3, [])
    assert type(decode(wire)) is newer
    _version(stays={}, required={})
    with pytest.raises(UsageError, match="Evolving"):
        decode(wire)


def test_a_module_may_be_loaded_again() -> None:
    """The same qualified name replaces; objects of the class as it was are then refused."""
    old = _version(stays={})
    _version(stays={})
    with pytest.raises(UsageError, match="Evolving"):
        encode(old(1))


def test_a_class_may_move() -> None:
    """Under a second name a class is written by the new name and still read by the old."""

    @dataclasses.dataclass
    class Moving:
        x: int

    register_type(Moving, name="tests.before")
    before = encode(Moving(1))
    register_type(Moving, name="tests.after")
    after = encode(Moving(1))
    assert isinstance(before, bytes)
    assert isinstance(after, bytes)
    assert before != after
    assert decode(before) == decode(after) == Moving(1)


def test_a_name_belongs_to_one_class() -> None:
    """A second class under the same name is refused, and nothing of it is registered."""

    @dataclasses.dataclass
    class First:
        x: int

    register_type(First, name="tests.taken")
    with pytest.raises(UsageError, match=r"tests\.taken"):
        register_type(Unknown, name="tests.taken", encode=vars, decode=lambda _: Unknown())
    with pytest.raises(UsageError, match="Unknown"):
        encode(Unknown())


class Custom:
    def __new__(cls, x: int) -> "Custom":
        return super().__new__(cls)


@pytest.mark.parametrize(
    ("cls", "options"),
    [
        (Unknown, {}),
        (Unknown, {"encode": vars}),
        (Unknown, {"decode": vars}),
        (Loose, {"subclasses": True}),
        (type("Inheriting", (Loose,), {}), {}),
        (dataclasses.make_dataclass("Built", ["x"], bases=(dict,)), {}),
        (dataclasses.make_dataclass("Custom2", ["x"], bases=(Custom,)), {}),
    ],
)
def test_functions_are_asked_for_where_they_are_needed(cls: type, options: dict[str, Any]) -> None:
    """Only dataclasses and enums know how they are kept."""
    with pytest.raises(UsageError, match="encode= and decode="):
        register_type(cls, **options)


@pytest.mark.parametrize("cls", [dict, tuple, str, bytearray, type(None), datetime, *(kind.type for kind in KINDS)])
def test_types_that_are_kept_cannot_be_registered(cls: type) -> None:
    """The codec's own types stay what they are."""
    with pytest.raises(UsageError, match="already"):
        register_type(cls, encode=str, decode=str)


@pytest.mark.parametrize("options", [{"name": ""}, {"name": "x" * 2**16}])
def test_a_name_has_a_sensible_length(options: dict[str, Any]) -> None:
    """An empty name and one that no header could hold are refused."""
    with pytest.raises(UsageError, match="name="):
        register_type(Loose, **options)


def test_only_classes_can_be_registered() -> None:
    """An object in the place of a class is a usage error."""
    with pytest.raises(UsageError, match="takes a class"):
        register_type(Loose(1))  # type: ignore[arg-type]


def test_errors_of_registered_functions_are_told() -> None:
    """What an encode raises reaches the caller; what a decode raises is told with the type's name, and as the cause."""

    class Fragile:
        def __init__(self, broken: bool) -> None:
            self.broken = broken

    def to_content(value: Fragile) -> bool:
        if value.broken:
            raise LookupError("broken")
        return value.broken

    def from_content(content: bool) -> Fragile:
        raise LookupError("secret")

    register_type(Fragile, name="tests.fragile", encode=to_content, decode=from_content)
    with pytest.raises(LookupError, match="broken"):
        encode([Fragile(True)])
    wire = encode([(Fragile(False),)])
    assert isinstance(wire, bytes)
    with pytest.raises(UsageError, match=r"tests\.fragile.*LookupError") as caught:
        decode(wire)
    assert "secret" not in str(caught.value)
    assert isinstance(caught.value.__cause__, LookupError)


def test_a_type_that_is_not_registered_here_is_named() -> None:
    """A session with a type that this process does not know says which, however deep, and what to do."""

    @dataclasses.dataclass
    class Gone:
        x: int

    register_type(Gone, name="tests.gone")
    wire = encode({"a": [(1, {2: Gone(1)})]})
    assert isinstance(wire, bytes)
    with pytest.raises(UsageError, match=r"tests\.gine.*register_type"):
        decode(wire.replace(b"tests.gone", b"tests.gine"))


def test_a_zone_that_is_unknown_here_is_named() -> None:
    """A time zone that this machine's database lacks is told by name."""
    wire = encode([datetime(2024, 1, 1, tzinfo=ZoneInfo("Europe/Berlin"))])
    assert isinstance(wire, bytes)
    with pytest.raises(UsageError, match=r"Europe/Berlix.*tzdata"):
        decode(wire.replace(b"Europe/Berlin", b"Europe/Berlix"))


# -- damage ------------------------------------------------------------------------------------------------------------


@given(st.binary(max_size=40))
@example(b"")
@example(b"\xc1")
@example(b"\xdd\xff\xff\xff\xff")
@example(b"\xdf\xff\xff\xff\xff")
@example(b"\xc6\xff\xff\xff\xff")
@example(b"\x91" * 100_000)
def test_arbitrary_bytes_raise_nothing_unexpected(data: bytes) -> None:
    """Bytes that encode never wrote give some value or a usage error."""
    for read in (decode, unpack_map):
        with contextlib.suppress(UsageError):
            read(data)


@given(values, st.data())
def test_damaged_bytes_raise_nothing_unexpected(value: Any, data: st.DataObject) -> None:
    """One byte changed, or the end cut off, gives some value or a usage error."""
    wire = encode([value])
    assert isinstance(wire, bytes)
    at = data.draw(st.integers(0, len(wire) - 1))
    changed = bytes([data.draw(st.integers(0, 255))])
    for damaged in (wire[:at], wire[:at] + changed + wire[at + 1 :]):
        with contextlib.suppress(UsageError):
            decode(damaged)


def test_extension_values_nested_without_end_raise_a_usage_error() -> None:
    """Deeper than encode ever writes, reading stops with a usage error rather than a RecursionError."""
    data = b"\x01"
    for _ in range(2000):
        data = ormsgpack.packb(ormsgpack.Ext(1, b"\x91" + data))
    with pytest.raises(UsageError, match="cannot be read"):
        decode(data)


# -- the map -----------------------------------------------------------------------------------------------------------


@given(st.dictionaries(st.text(max_size=4), scalars.filter(lambda x: not isinstance(x, int)) | st.booleans()))
def test_the_map_keeps_its_wires_and_their_order(content: dict[str, Any]) -> None:
    """The top level goes there and back as it is, packed values untouched."""
    wires = {key: encode(value) for key, value in content.items()}
    assert identical(unpack_map(pack_map(wires)), wires)


def test_a_key_of_the_map_must_be_text_that_can_be_written() -> None:
    """A lone surrogate in a session key is a usage error."""
    with pytest.raises(UsageError, match="surrogate"):
        pack_map({"\ud800": 1})


@pytest.mark.parametrize("data", [b"\x90", b"\xc0", b"\x81\x01\x02", b"", b"\x81\xa1a\xd4\x01\x90"])
def test_what_is_no_map_is_refused(data: bytes) -> None:
    """Anything but a map of text to wires is a usage error."""
    with pytest.raises(UsageError, match="cannot be read"):
        unpack_map(data)


# -- promises about the whole ------------------------------------------------------------------------------------------


def test_tags_are_unique_and_positive() -> None:
    """Each row of the table has an extension type of its own, of those that are the application's (0 to 127)."""
    tags = [kind.tag for kind in KINDS]
    assert len({*tags, 2, 3, 4, 5}) == len(tags) + 4
    assert all(0 < tag < 128 for tag in tags)


@dataclasses.dataclass
class Kept:
    x: int


register_type(Kept, name="tests.kept")


@pytest.mark.parametrize(
    ("value", "written"),
    [
        ((1, "a"), "d6019201a161"),
        ([(1, "a"), (2, ())], "c70a02929201a1619202d40190"),
        ({2: "b", (): None}, "c70a03929202d4019092a162c0"),
        (["\ud800", {"\udfff": 1}], "92c70304eda080c70a039291c70304edbfbf9101"),
        ({3, 1, 2}, "d710dd00000003010203"),
        (frozenset({b"x"}), "d711dd00000001c40178"),
        (bytearray(b"x"), "d41278"),
        (b"x", "c40178"),
        (-(2**64), "c70913ff0000000000000000"),
        (complex(1, -0.0), "d8143ff00000000000008000000000000000"),
        (Decimal("-1.50E+9"), "d7152d312e3530452b39"),
        (Fraction(1, 3), "c70316920103"),
        (UUID(int=7), "d81700000000000000000000000000000007"),
        (datetime(2024, 2, 29, 1, 2, 3, 4), "c70b1807e8021d01020300000004"),
        (datetime(2024, 2, 29, 1, 2, 3, 4, UTC, fold=1), "c70e1807e8021d01020380000004c7001c"),
        (
            datetime(2024, 2, 29, tzinfo=ZoneInfo("Europe/Berlin")),
            "c71b1807e8021d00000000000000c70d1d4575726f70652f4265726c696e",
        ),
        (date(2024, 2, 29), "d61907e8021d"),
        (
            time(1, 2, 3, 4, timezone(timedelta(hours=-1), "X"), fold=1),
            "c7161a01020380000004c70c1c92d3ffffffff296c5c00a158",
        ),
        (timedelta(-1, 2, 3), "c70c1bffffffff0000000200000003"),
        (timezone(timedelta(microseconds=5)), "d51c9105"),
        (Kept(1), "d805000a74657374732e6b65707481a17801"),
    ],
)
def test_the_wire_format_is_stable(value: Any, written: str) -> None:
    """Sessions outlive a release: these very bytes are what is written, and stay readable."""
    wire = encode(value)
    assert isinstance(wire, bytes)
    assert wire.hex() == written
    assert identical(decode(bytes.fromhex(written)), value)


@pytest.mark.requirement(9)
def test_no_other_serializer_is_loaded() -> None:
    """Reading and writing sessions imports neither pickle nor yaml."""
    script = (
        "import sys; from holdall.codec import decode, encode\n"
        "decode(encode([(1, {2: bytearray(b'x')}, {3})]))\n"
        "print(*({'pickle', '_pickle', 'yaml', 'shelve', 'dill'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""


def test_a_thousand_tuples_pack_as_one() -> None:
    """A list of nothing but tuples is one extension value, which costs a few bytes over a list of lists."""
    rows = [(number, str(number)) for number in range(1000)]
    as_tuples, as_lists = encode(rows), encode([list(row) for row in rows])
    assert isinstance(as_tuples, bytes)
    assert isinstance(as_lists, bytes)
    assert len(as_tuples) <= len(as_lists) + 6
    assert identical(decode(as_tuples), rows)


@given(st.lists(st.fractions() | st.complex_numbers(allow_nan=False) | st.uuids()))
def test_numbers_and_ids_of_the_standard_library_are_exact(content: list[Fraction | complex | UUID]) -> None:
    """Fractions, complex numbers and UUIDs come back exactly."""
    assert identical(there_and_back(content), content)
