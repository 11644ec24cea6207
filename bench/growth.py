"""What grows, and what does not: the cost of a session with its size, and with the number of the others."""

import socket
import sqlite3
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

from holdall import Expect, Put, Tier
from holdall_stores import Datastore, Memcached, SQLite, Stores, delete_expired_sessions

from bench.contestants import Contestant, Make, Places, holdall_wsgi, large, read, read_rows, write, write_rows
from bench.worker import Subject

SIZES = (100, 1_000, 10_000, 100_000, 1_000_000, 10_000_000)
"""Bytes."""
_ROW = 43.5  # bytes of a row of the big container
_OTHERS = b"x" * 100  # what somebody else's session holds: nobody opens it
_AT_ONCE = 500
_SWEPT = 500
_DAY = 86_400
_TIMES = 15


class Place(NamedTuple):
    """A store that is filled with the sessions of others."""

    name: str
    stores: Stores
    fill: Callable[[int, int], None]
    """Add sessions of others, of these numbers; each hundredth expired a while ago, where the store keeps it."""
    most: int
    can_sweep: bool = True


def report(places: Places, *, quick: bool) -> Iterator[str]:
    """Yield two tables, line by line; what needs a server that is not there is left out, and that is said."""
    yield from _by_size(places, SIZES[:-1] if quick else SIZES)
    yield ""
    yield from _by_number(places, 10_000 if quick else 1_000_000, 10_000 if quick else 100_000)


def _by_size(places: Places, sizes: Sequence[int]) -> Iterator[str]:
    cache = Memcached(places.memcached) if places.memcached else None
    with closing(Stores(cache=cache, durable=SQLite(places.folder / "by-size.sqlite3"))) as stores:
        where = "memcached and SQLite" if cache else "SQLite alone, without memcached"
        yield f"Milliseconds of a request by the size of its session, in the cookie up to 3 KB, then in {where}:\n"
        yield "| bytes | read a small key | write it | read the container | write it |"
        yield "|--:|--:|--:|--:|--:|"
        for size in sizes:
            subject = subject_of(holdall_wsgi(stores))
            cookie = subject.cookie(large(max(1, round(size / _ROW))))
            cells = [f"{_milliseconds(subject, action, cookie):.3f}" for action in (read, write, read_rows, write_rows)]
            yield f"| {size:,} | {' | '.join(cells)} |"


def _by_number(places: Places, most: int, most_in_emulator: int) -> Iterator[str]:
    yield "Milliseconds for a session of 20 KB by the number of others; sweeping deletes up to 500 that expired:\n"
    yield "| store | live sessions | read | write | sweep |"
    yield "|---|--:|--:|--:|--:|"
    for place in places_to_fill(places, most, most_in_emulator):
        with closing(place.stores):
            subject = subject_of(holdall_wsgi(place.stores, no_datastore=not place.can_sweep))
            cookie = subject.cookie(large(463))
            there, number = 0, 1_000
            while number <= place.most:
                place.fill(there, number)
                there = number
                cells = [f"{_milliseconds(subject, action, cookie):.3f}" for action in (read, write)]
                cells.append(f"{_sweep(place.stores):.3f}" if place.can_sweep else "")
                yield f"| {place.name} | {number:,} | {' | '.join(cells)} |"
                number *= 10
    for name in ("memcached", "datastore"):
        if not getattr(places, name):
            yield f"| {name} | not measured: it is not installed | | | |"


def places_to_fill(places: Places, most: int, most_in_emulator: int) -> Iterator[Place]:
    """Yield the stores that there are, to be filled with the sessions of others, up to so many."""
    file = places.folder / "by-number.sqlite3"
    yield Place("SQLite", Stores(durable=SQLite(file)), _into_sqlite(file), most)
    if places.memcached:
        cache = Memcached(places.memcached, timeout=5.0)
        yield Place("memcached", Stores(cache=cache), _into_memcached(places.memcached), most, can_sweep=False)
    if places.datastore:
        durable = Datastore.from_parts("growth", emulator=places.datastore, timeout=60)
        yield Place("Datastore's emulator", Stores(durable=durable), _into_datastore(durable), most_in_emulator)


def _expires(number: int) -> int:
    return int(time.time()) + (-_DAY if number % 100 == 0 else _DAY)


def _into_sqlite(file: Path) -> Callable[[int, int], None]:
    def fill(begin: int, end: int) -> None:
        # One transaction, as no session is written: a million commits would take longer than all the rest.
        with closing(sqlite3.connect(file)) as connection, connection:
            rows = ((f"s{number:064x}", number, _expires(number), _OTHERS) for number in range(begin, end))
            connection.executemany("INSERT INTO record (key, version, expires, value) VALUES (?, ?, ?, ?)", rows)

    return fill


def _into_memcached(address: str) -> Callable[[int, int], None]:
    def fill(begin: int, end: int) -> None:
        host, _, port = address.rpartition(":")
        with socket.create_connection((host, int(port))) as connection:
            for start in range(begin, end, _AT_ONCE):
                numbers = range(start, min(end, start + _AT_ONCE))
                lines = (b"ms s%064x %d T%d q\r\n%b\r\n" % (n, len(_OTHERS), _DAY, _OTHERS) for n in numbers)
                connection.sendall(b"".join(lines))
            connection.sendall(b"mn\r\n")
            assert connection.recv(16) == b"MN\r\n", "memcached kept not all of it"

    return fill


def _into_datastore(durable: Datastore) -> Callable[[int, int], None]:
    def fill(begin: int, end: int) -> None:
        for start in range(begin, end, _AT_ONCE):
            numbers = range(start, min(end, start + _AT_ONCE))
            durable.execute_many(
                [Put(Tier.DURABLE, f"s{n:064x}", _OTHERS, _expires(n), Expect.ANYTHING) for n in numbers]
            )

    return fill


def subject_of(make: Make) -> Subject:
    """Return Holdall, made by what makes its applications, as `worker` measures it."""
    return Subject(Contestant("Holdall", lambda places: make), Places(Path()))


def _milliseconds(subject: Subject, action: Any, cookie: str) -> float:
    caller = subject.caller(action)
    caller.spend([cookie])
    return median(caller.spend([cookie]) for _ in range(_TIMES)) * 1000


def _sweep(stores: Stores) -> float:
    began = time.perf_counter()
    delete_expired_sessions(stores, _SWEPT)
    return (time.perf_counter() - began) * 1000
