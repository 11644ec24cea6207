"""What a request changed, and its replay on newer data."""

from typing import Any

from holdall.changes import ASSIGNED, DELETED, Changes, collect, overlay
from holdall.codec import encode
from hypothesis import given
from hypothesis import strategies as st

keys = st.sampled_from("abcdef")
maps = st.dictionaries(keys, st.integers(0, 5))
CHANGES = st.builds(
    Changes,
    cleared=st.booleans(),
    assigned=st.dictionaries(st.sampled_from("ab"), st.integers()),
    deleted=st.sets(st.sampled_from("cd")),
    increments=st.dictionaries(st.sampled_from("ef"), st.integers(-3, 3)),
)


@given(maps, CHANGES, CHANGES)
def test_replay_on_newer_data_keeps_what_others_changed(values: dict[str, Any], mine: Changes, others: Changes) -> None:
    """Replayed on a newer record, mine win on my keys and theirs stay on all others, unless I cleared."""
    newer, _ = others.apply(values)
    result, _ = mine.apply(newer)
    for key in "abcd":
        if mine.cleared or key in mine.assigned or key in mine.deleted:
            assert result.get(key) == mine.assigned.get(key)
        else:
            assert result.get(key) == newer.get(key)


@given(maps, CHANGES, CHANGES)
def test_increments_add_up_in_any_order(values: dict[str, Any], one: Changes, other: Changes) -> None:
    """Increments of two requests give the same sum in either order."""
    one.cleared = other.cleared = False
    first = other.apply(one.apply(values)[0])[0]
    second = one.apply(other.apply(values)[0])[0]
    assert {key: first.get(key) for key in "ef"} == {key: second.get(key) for key in "ef"}


@given(maps, CHANGES)
def test_applying_leaves_the_given_values_alone(values: dict[str, Any], changes: Changes) -> None:
    """Apply returns new values."""
    before = dict(values)
    changes.apply(values)
    assert values == before


def test_increment_of_what_is_no_number_is_dropped() -> None:
    """An increment that finds text is dropped by name; the rest is applied."""
    changes = Changes(increments={"n": 1, "m": 1})
    assert changes.apply({"n": "text"}) == ({"n": "text", "m": 1}, ("n",))


def test_increment_crosses_the_size_of_a_machine_word() -> None:
    """Integers of any size can be incremented."""
    changes = Changes(increments={"n": 1})
    values, _ = changes.apply({"n": encode(2**64 - 1)})
    values, _ = changes.apply(values)
    assert values["n"] == encode(2**64 + 1)


@given(maps)
def test_what_is_the_same_is_no_change(values: dict[str, Any]) -> None:
    """Assigning what was there, and deleting what was not, leaves nothing to write."""
    marks = dict.fromkeys(values, ASSIGNED) | {"missing": DELETED}
    assert not collect(values, cleared=False, live=values, marks=marks, quick=False)


def test_change_in_place_is_a_regular_change() -> None:
    """A container that was changed in place is assigned, and no quick write."""
    changes = collect({"k": encode([1])}, cleared=False, live={"k": [1, 2]}, marks={}, quick=True)
    assert changes.assigned == {"k": encode([1, 2])}
    assert not changes.quick


def test_overlay() -> None:
    """Changed keys of the record win over inline data, deletions too; every key if it is not known which."""
    assert overlay({"a": 1, "b": 1}, {"a": 2, "c": 2}, {"a", "b"}) == {"a": 2}
    assert overlay({"a": 1, "b": 1}, {"a": 2, "c": 2}, None) == {"a": 2, "c": 2}


def test_clearing_an_empty_session_is_no_change() -> None:
    """Where there was nothing, clear leaves nothing to write."""
    assert not collect({}, cleared=True, live={}, marks={}, quick=False)


def test_after_clear_everything_assigned_counts() -> None:
    """A value that was assigned again after clear is written, though it is the same; what was deleted went with it."""
    values = {"same": 1, "gone": 1}
    marks = {"same": ASSIGNED, "gone": DELETED}
    changes = collect(values, cleared=True, live={"same": 1}, marks=marks, quick=False)
    assert changes == Changes(cleared=True, assigned={"same": 1})
    assert changes.apply(values) == ({"same": 1}, ())


def test_nothing_is_the_default() -> None:
    """Changes that say nothing change nothing, and are no quick write."""
    assert not Changes()
    assert Changes() == Changes(False, {}, set(), {}, False, None, None)


def test_marks_are_read_by_name() -> None:
    """In messages of tests and debuggers a mark shows as its name."""
    assert f"{ASSIGNED} {DELETED}" == "ASSIGNED DELETED"
