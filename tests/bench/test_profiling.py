"""A profile says where the cost of a request lies, and nothing of what it costs without sessions."""

from pathlib import Path

from bench.contestants import Places, Wsgi, bare_application, holdall_wsgi, read, small, untouched, write
from bench.growth import subject_of
from bench.measuring import Spread
from bench.profiled import report
from bench.profiling import profile

MISSED = "read a thousand tuples, among other values; base lists: of the base"


def test_the_bare_application_is_taken_off() -> None:
    """An application that is compared with itself costs nothing anywhere."""
    caller = Wsgi(bare_application)
    spent = profile(caller, caller, [""] * 4)
    assert {(place.instructions, place.calls) for place in spent.values()} == {(0, 0)}


def test_what_is_done_is_found_where_it_is_done() -> None:
    """A write calls more than a read, a read more than an untouched session, each in the modules of the core."""
    subject = subject_of(holdall_wsgi())
    cookie, bare = subject.cookie(small()), Wsgi(bare_application)
    found = [profile(subject.caller(action), bare, [cookie] * 4) for action in (untouched, read, write)]
    calls = [sum(place.calls for place in spent.values()) for spent in found]
    assert 0 < calls[0] < calls[1] < calls[2]
    assert "holdall.presented" not in found[0]
    assert {"holdall.presented", "holdall.sealing", "AESGCM.decrypt, in C"} <= set(found[1])
    assert {"holdall.changes", "AESGCM.encrypt, in C"} <= set(found[2]) - set(found[1])


def test_each_row_that_misses_an_aim_is_shown(tmp_path: Path) -> None:
    """One table with the places, the sum and the sum of what it is compared with; none where every aim is reached."""
    reached = MISSED.replace("read", "write")
    told = list(report(Places(tmp_path), {MISSED: Spread(5, 6, 7), reached: Spread(1, 2, 2.5)}))
    table = [line for line in told if line.startswith("|")]
    assert table[0] == "| | read a thousand tuples, among other values; base lists |"
    assert "holdall.codec" in table[2]
    assert [line.split(" | ")[0] for line in table[-3:]] == ["| all else", "| **in all**", "| base"]
    assert sum("not measured" in line for line in told) == 4


def test_an_aim_that_was_never_recorded_is_no_miss(tmp_path: Path) -> None:
    """Where nothing is recorded, nothing is shown."""
    assert not any(line.startswith("|") for line in report(Places(tmp_path), {}))
