"""The bench measures what it says: contestants with a store do their work, ratios are paired. No time is asserted."""

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from pybase64 import urlsafe_b64decode

from bench.__main__ import report
from bench.contestants import ROWS_20_KB, Contestant, holdall, large, read, small, write
from bench.measuring import Costs, Entrant, Pace, measure
from bench.scenarios import (
    ADAPTER,
    LIVE,
    PEERS,
    at_most,
    beside_itself,
    cookie_of,
    cookies_of_many_moments,
    faster,
    foreign,
    swap_rows,
)
from bench.stored import in_memory, on_memcached, on_sqlite
from tests.bench.support import three_requests
from tests.servers import MemcachedServer


@pytest.mark.memcached
@pytest.mark.parametrize("which", [0, 1], ids=["limit", "holdall"])
def test_memcached_keeps_what_is_written(memcached: MemcachedServer, which: int) -> None:
    """Each change is read by the next request, and each request asks the server and writes to it."""
    with on_memcached(memcached.address) as makes:
        gets, sets = int(memcached.stat("get_hits")), int(memcached.stat("cmd_set"))
        assert three_requests(makes[which], large(ROWS_20_KB)) == [(2, 1), (3, 2), (4, 3)]
        assert int(memcached.stat("get_hits")) - gets >= 3
        assert int(memcached.stat("cmd_set")) - sets >= 4


@pytest.mark.memcached
@pytest.mark.parametrize("which", [0, 1], ids=["limit", "holdall"])
def test_memcached_read_writes_nothing(memcached: MemcachedServer, which: int) -> None:
    """A read asks the server once, writes nothing, and fails once the server has forgotten."""
    with on_memcached(memcached.address) as makes:
        cookie = cookie_of(makes[which], large(ROWS_20_KB))
        gets, sets = memcached.stat("get_hits"), memcached.stat("cmd_set")
        reader = makes[which](read)
        reader.request(cookie)
        assert (int(gets) + 1, sets) == (int(memcached.stat("get_hits")), memcached.stat("cmd_set"))
        assert memcached.ask("flush_all") == "OK"
        with pytest.raises(KeyError):
            reader.request(cookie)


def test_sqlite_keeps_what_is_written(tmp_path: Path) -> None:
    """Holdall's change is read by the next request, out of the file."""
    with on_sqlite(tmp_path) as (_, make):
        assert three_requests(make, large(ROWS_20_KB)) == [(2, 1), (3, 2), (4, 3)]
        with closing(sqlite3.connect(tmp_path / "holdall.sqlite3")) as file:
            assert file.execute("SELECT length(value) > 20000 FROM record").fetchall() == [(1,)]


def test_sqlite_limit_writes_fresh_bytes(tmp_path: Path) -> None:
    """The limit replaces all 20 KB at each request, under the next version, as durably as Holdall."""
    with on_sqlite(tmp_path) as (make, _):
        contestant = make(write)
        contestant.request("")
        cookie = contestant.cookies()
        values = []
        for version in (1, 2, 3):
            contestant.request(cookie)
            with closing(sqlite3.connect(tmp_path / "limit.sqlite3")) as file:
                ((found, value),) = file.execute("SELECT version, value FROM record").fetchall()
            assert found == version
            assert len(value) > 19_900
            values.append(value[-4096:])
        assert len(set(values)) == 3


def test_every_browser_has_a_key_of_its_own() -> None:
    """The cookies of many browsers share no derived key, and all of them open."""
    cookies = cookies_of_many_moments(LIVE)
    prefixes = {urlsafe_b64decode(cookie.partition("=")[2][:24])[:17] for cookie in cookies}
    assert len(prefixes) == LIVE
    reader = holdall(read)
    for cookie in cookies:
        reader.request(cookie)


def test_the_session_is_found_among_foreign_cookies() -> None:
    """Sixty cookies of others come first, and the session is read all the same."""
    seen: list[int] = []
    contestant = holdall(lambda session: seen.append(session["n"]))
    contestant.request(f"{foreign(60)}; {cookie_of(holdall, small())}")
    assert foreign(60).count("=") == 60
    assert seen == [1]


@pytest.mark.parametrize("end", [[], [None]], ids=["alone", "among others"])
def test_tuples_stay_tuples(end: list[None]) -> None:
    """The rows that are swapped come back in the new order, and as what they were."""
    make = in_memory()
    cookie = cookie_of(make, {"n": 1, "rows": [(1, "a"), (2, "b"), *end]})
    swapping = make(swap_rows)
    swapping.request(cookie)
    seen: list[Any] = []
    make(lambda session: seen.append(session["rows"])).request(swapping.cookies())
    assert seen == [[(2, "b"), (1, "a"), *end]]
    assert type(seen[0][0]) is tuple


def test_every_pair_does_its_work() -> None:
    """Each scenario of Holdall beside itself serves every one of its browsers."""
    for scenario in beside_itself():
        for contestant, cookies in scenario.entrants.values():
            for cookie in cookies:
                contestant.request(cookie)


def test_the_bare_application_is_subtracted() -> None:
    """What is measured is a request less the same one without a session, in microseconds."""
    now = 0.0

    def takes(seconds: float) -> Any:
        def request(cookie: str) -> None:
            nonlocal now
            now += seconds

        return request

    entrants = {
        "slow": Entrant(Contestant("slow", takes(0.5), takes(0.25), []), ["a"]),
        "fast": Entrant(Contestant("fast", takes(0.375), takes(0.25), []), ["a", "b"]),
    }
    costs = measure(entrants, Pace(rounds=3, seconds=2.0), clock=lambda: now)
    assert (costs.of("slow"), costs.of("fast")) == (250_000, 125_000)
    assert (costs.ratio("slow", "fast"), costs.excess("slow", "fast")) == (2.0, 125_000)


def test_ratios_are_paired_within_rounds() -> None:
    """A machine that slows down half-way changes no ratio."""
    costs = Costs({"Holdall": [2.0, 4.0, 40.0], "limit": [1.0, 2.0, 20.0], "core": [1.0, 3.0, 39.0]})
    assert at_most(2).measured(costs) == 2.0
    assert ADAPTER.measured(costs) == 1.0


def test_aims_say_whether_they_are_reached() -> None:
    """At most means at most, at least means at least, and the fastest peer is the one that counts."""
    costs = Costs({"Holdall": [2.0], "limit": [1.0], "Starlette": [6.0], "Django": [8.0], "Flask": [30.0]})
    aims = [at_most(2), at_most(1.9), faster(3, PEERS), faster(3.1, PEERS), faster(15, ["Flask"])]
    assert [aim.is_reached(aim.measured(costs)) for aim in aims] == [True, False, True, False, True]


@pytest.mark.memcached
def test_the_report_has_every_scenario(memcached: MemcachedServer) -> None:
    """A run from end to end prints the four tables, and beside each figure what is to be reached."""
    lines = list(report(Pace(rounds=1, seconds=0.0001)))
    rows = [line for line in lines if line.startswith("| ") and "---" not in line]
    costs, aims = (sum(predicate(row) for row in rows) for predicate in (_is_cost, _is_aim))
    assert (costs, aims) == (24, 30)


def _is_cost(row: str) -> bool:
    return row.rstrip("| ")[-1].isdigit() and "≤" not in row and "≥" not in row


def _is_aim(row: str) -> bool:
    return row.endswith(("reached |", "**not reached** |"))
