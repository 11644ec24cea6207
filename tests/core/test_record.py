"""What a stored record says: the byte layouts of records, markers and cache notes."""

import pytest
from holdall.record import Ending, Marker, Record, join_changed, pack, split_note, unpack, with_note
from hypothesis import given
from hypothesis import strategies as st

times = st.integers(0, 2**63)
wires = st.one_of(st.none(), st.booleans(), st.integers(-(2**63), 2**64 - 1), st.text(max_size=5), st.binary())
RECORDS = st.builds(
    Record,
    issued=times,
    expires=times,
    ssl_only=st.booleans(),
    browser=st.booleans(),
    epoch=st.integers(0, 2**16 - 1),
    revision=st.integers(0, 2**32 - 1),
    writes=st.lists(st.binary(min_size=8, max_size=8), max_size=8).map(tuple),
    origin=st.one_of(st.none(), st.binary(min_size=16, max_size=16)),
    changed=st.one_of(st.none(), st.frozensets(st.text(max_size=5), max_size=8)),
    values=st.dictionaries(st.text(max_size=5), wires, max_size=5),
    bond=st.one_of(st.just(b""), st.binary(min_size=16, max_size=16)),
)
MARKERS = st.builds(
    Marker,
    ending=st.sampled_from(Ending),
    time=times,
    expires=times,
    write_id=st.binary(min_size=8, max_size=8),
)


@given(st.one_of(RECORDS, MARKERS))
def test_round_trip(stored: Record | Marker) -> None:
    """Every record and marker comes back as it went in."""
    assert unpack(pack(stored)) == stored


@given(RECORDS, times, times)
def test_note_round_trip(record: Record, version: int, confirmed: int) -> None:
    """A cache entry's note is read back beside the record it is about."""
    assert split_note(with_note(version, confirmed, pack(record))) == (version, confirmed, pack(record))


@pytest.mark.requirement(38)
@given(RECORDS)
def test_unknown_format_is_refused(record: Record) -> None:
    """A record of another format is not taken for anything."""
    assert unpack(b"\x02" + pack(record)[1:]) is None


@given(RECORDS, st.binary(min_size=8, max_size=8), st.integers(0, 2**31))
def test_rewriting_rises_above_base_and_floor(record: Record, write_id: bytes, floor: int) -> None:
    """A record that replaces another is above it and above the floor, and remembers its last 8 writes."""
    record = record._replace(revision=record.revision // 2)
    after = record.rewritten({}, ("k",), write_id, floor)
    assert after.revision == max(record.revision, floor) + 1
    assert after.writes[-1] == write_id
    assert len(after.writes) <= 8


def test_too_many_changed_keys_stand_for_all() -> None:
    """Beyond 64 keys the record says that everything changed, and does not grow."""
    many = [f"k{number}" for number in range(65)]
    assert join_changed(frozenset(), many) is None
    assert join_changed(None, ["k"]) is None
    assert join_changed(frozenset("a"), "b") == frozenset("ab")


@given(st.one_of(RECORDS, MARKERS), st.data())
def test_what_is_cut_short_is_no_record(stored: Record | Marker, data: st.DataObject) -> None:
    """Of a record or a marker that lacks its end, nothing is believed: it is as one of an unknown format."""
    plain = pack(stored)
    assert unpack(plain[: data.draw(st.integers(0, len(plain) - 1))]) is None


@given(st.binary(max_size=200))
def test_any_bytes_are_a_record_or_none(plain: bytes) -> None:
    """Whatever is behind the format's byte, and as a cache entry, raises nothing."""
    for bytes_ in (plain, b"\x01" + plain, b"\x01\x01" + plain):
        stored = unpack(bytes_)
        assert stored is None or pack(stored)
    assert unpack(split_note(plain[:15])[2]) is None
