"""What is measured, and what Holdall is to reach in it: the one table that the report and the documentation show.

Nothing is timed here.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from itertools import count
from pathlib import Path
from typing import Any, NamedTuple

from bench.contestants import (
    CONTESTANTS,
    ROWS_20_KB,
    ROWS_200_KB,
    Action,
    Mapping,
    holdall,
    large,
    read,
    read_rows,
    small,
    untouched,
    write,
    write_rows,
)
from bench.measuring import Costs, Entrant
from bench.stored import Make, in_memory, on_memcached, on_sqlite

PEERS = ("Starlette", "Django", "Flask")
LIVE = 1_000  # four times as many as the derived keys that are kept
_A_THOUSAND = 1_000


class Aim(NamedTuple):
    """One figure to reach."""

    what: str
    bound: float
    measured: Callable[[Costs], float]
    unit: str = "x"
    is_least: bool = False
    """The bound is the least that will do, not the most."""

    def is_reached(self, value: float) -> bool:
        """Tell whether a measured value will do."""
        return value >= self.bound if self.is_least else value <= self.bound


class Scenario(NamedTuple):
    """One row: who is measured doing what, and the aims of it."""

    title: str
    entrants: dict[str, Entrant]
    aims: tuple[Aim, ...]


def at_most(bound: float, of: str = "limit") -> Aim:
    """Holdall costs at most so many times as much as another contestant."""
    return Aim(f"of the {of}", bound, lambda costs: costs.ratio("Holdall", of))


def microseconds(bound: float) -> Aim:
    """Holdall costs at most so many microseconds."""
    return Aim("in all", bound, lambda costs: costs.of("Holdall"), "µs")


def faster(bound: float, peers: Sequence[str]) -> Aim:
    """Each of the peers costs at least so many times as much as Holdall."""
    what = f"faster than {peers[0]}" if len(peers) == 1 else "faster than the fastest peer"
    return Aim(what, bound, lambda costs: min(costs.ratio(peer, "Holdall") for peer in peers), is_least=True)


ADAPTER = Aim("the adapter over the core", 5, lambda costs: costs.excess("Holdall", "core"), "µs")


def in_the_cookie() -> Iterator[Scenario]:
    """Sessions that ride in the cookie, beside the peers."""
    rows: tuple[tuple[str, Action, dict[str, Any], tuple[Aim, ...]], ...] = (
        ("untouched", untouched, small(), (at_most(2.2), microseconds(1.2), ADAPTER)),
        ("read 200 B", read, small(), (at_most(2.4), faster(3, PEERS), faster(12, ["Flask"]), ADAPTER)),
        ("write 200 B", write, small(), (at_most(2.4), faster(3.5, PEERS), faster(15, ["Flask"]), ADAPTER)),
        ("read 2.6 KB, one small key", read, large(), (at_most(0.8),)),
        ("write 2.6 KB, one small key", write, large(), (at_most(0.9),)),
        ("read 2.6 KB, the big container", read_rows, large(), (at_most(1.8),)),
        ("write 2.6 KB, the big container", write_rows, large(), (at_most(1.6),)),
    )
    for title, action, data, aims in rows:
        entrants = [(make(action), cookie_of(make, data)) for make in CONTESTANTS]
        yield Scenario(title, {one.name: Entrant(one, [cookie]) for one, cookie in entrants}, aims)


def in_memcached(address: str) -> Iterator[Scenario]:
    """Sessions too big for the cookie, in memcached alone."""
    with on_memcached(address) as makes:
        for size, rows, bounds in (
            ("20 KB", ROWS_20_KB, (0.5, 0.75, 1.7, 1.55)),
            ("200 KB", ROWS_200_KB, (0.2, 0.3, 1.65, 1.65)),
        ):
            for (title, action), bound in zip(
                (
                    (f"read {size}, one small key", read),
                    (f"write {size}, one small key", write),
                    (f"read {size}, the big container", read_rows),
                    (f"write {size}, the big container", write_rows),
                ),
                bounds,
                strict=True,
            ):
                yield Scenario(f"memcached: {title}", _both(makes, action, large(rows)), (at_most(bound),))


def in_sqlite(folder: Path) -> Iterator[Scenario]:
    """A session too big for the cookie, in a file in this folder: a write that is durable."""
    with on_sqlite(folder) as makes:
        title = "SQLite: durable write 20 KB, one small key"
        yield Scenario(title, _both(makes, write, large(ROWS_20_KB)), (at_most(1.4),))


def beside_itself() -> Iterator[Scenario]:
    """Holdall beside Holdall: what should make next to no difference."""
    contestant = holdall(read)
    cookie = cookie_of(holdall, small())
    one, sixty = (Entrant(contestant, [f"{foreign(number)}; {cookie}"]) for number in (1, 60))
    yield _pair("read 200 B: 60 foreign cookies, base one", one, sixty, 1.3)

    entrants = {
        "base": Entrant(contestant, [cookie]),
        "Holdall": Entrant(contestant, [f"{cookie}; {hostile_megabyte()}"]),
    }
    yield Scenario("read 200 B: 1 MB of hostile Cookie header, base none", entrants, (microseconds(5_000),))

    live = Entrant(contestant, cookies_of_many_moments(LIVE))
    one = Entrant(contestant, live.cookies[:1])
    yield Scenario(f"read 200 B: {LIVE:,} browsers in turn, base one", {"base": one, "Holdall": live}, ())

    make = in_memory()
    for title, end in (("a list of them", []), ("among other values", [None])):
        tuples = [(i, "item") for i in range(_A_THOUSAND)]
        lists = [[i, "item"] for i in range(_A_THOUSAND)]
        for verb, action in (("read", read_rows_whole), ("write", swap_rows)):
            base, mine = (
                Entrant(make(action), [cookie_of(make, {"n": 1, "rows": [*rows, *end]})]) for rows in (lists, tuples)
            )
            yield _pair(f"{verb} a thousand tuples, {title}; base lists", base, mine, 3)


def foreign(number: int) -> str:
    """Return so many cookies of others, some 50 bytes each, as analytics leave them."""
    return "; ".join(f"_ga_{i:08X}=GS1.1.17000000{i:02}.1.1.17000000{i:02}.0.0.0" for i in range(number))


def hostile_megabyte() -> str:
    """Return a Cookie header that costs more than any other of 1 MB that is known: pieces of ours amid blanks."""
    return "__Host-session=64.x; " + f"__Host-session.1=x{' ' * 1_930};" * 512


def cookies_of_many_moments(number: int) -> list[str]:
    """Return the Cookie headers of browsers whose cookies were sealed so far apart that no two share a derived key."""
    ticks = map(float, count(int(time.time()) - 20 * number, 2))
    contestant = holdall(lambda session: session.update(small()), clock=ticks.__next__)
    cookies = []
    for _ in range(number):
        contestant.request("")
        cookies.append(contestant.cookies())
    return cookies


def read_rows_whole(session: Mapping) -> None:
    """Read the big container, whatever its rows are."""
    session["rows"]


def swap_rows(session: Mapping) -> None:
    """Change the big container in place, whatever its rows are."""
    rows = session["rows"]
    rows[0], rows[1] = rows[1], rows[0]


def cookie_of(make: Make, data: dict[str, Any]) -> str:
    """Return the Cookie header of a browser whose session holds this data."""
    keep = make(lambda session: session.update(data))
    keep.request("")
    return keep.cookies()


def _both(makes: tuple[Make, Make], action: Action, data: dict[str, Any]) -> dict[str, Entrant]:
    entrants = [(make(action), cookie_of(make, data)) for make in makes]
    return {one.name: Entrant(one, [cookie]) for one, cookie in entrants}


def _pair(title: str, base: Entrant, mine: Entrant, bound: float) -> Scenario:
    return Scenario(title, {"base": base, "Holdall": mine}, (at_most(bound, "base"),))
