"""Any bytes at all as a packed value and as a session's map: refused by the documented error, or read for good."""

import dataclasses
import enum
from collections.abc import Iterator

from holdall import UsageError
from holdall.codec import decode, encode, is_same, pack_map, register_type, unpack_map

from tests.core.support import identical
from tests.fuzz.seeds import packed_values, payloads


@dataclasses.dataclass
class Place:
    """A type of an application's own."""

    name: str
    at: object = None


class Shade(enum.Enum):
    """Another."""

    DARK = 1
    LIGHT = 2


register_type(Place, name="P")
register_type(Shade, name="S")


def seeds() -> Iterator[bytes]:
    """Yield every value of the vectors packed alone, all of them as maps, and what else must be told apart."""
    yield from packed_values()
    yield from payloads()
    for value in (Place("here", Shade.DARK), {Shade.LIGHT: [Place("there")]}, [bytearray(b"x"), ({b"y"}, "\ud800")]):
        wire = encode(value)
        assert type(wire) is bytes
        yield wire


def check(data: bytes) -> None:
    """Raise if bytes are read as something that cannot be written, or is not the same when it is read again."""
    try:
        value = decode(data)
    except UsageError:
        pass
    else:
        try:
            wire = encode(value)
        except UsageError as error:  # what was never written may be nested deeper than anything that was
            if "nested too deeply" not in str(error):
                raise
        else:
            again = decode(wire) if type(wire) is bytes else wire
            assert identical(again, value)
            assert is_same(encode(again), wire)
    try:
        wires = unpack_map(data)
    except UsageError:
        return
    assert {type(key) for key in wires} <= {str}
    packed = pack_map(wires)
    assert identical(unpack_map(packed), wires)
    assert pack_map(unpack_map(packed)) == packed
