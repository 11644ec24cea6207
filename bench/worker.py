"""One contestant in a process of its own: proves its work, then is timed, round by round, as `processes` asks.

It reads and writes lines of JSON, one answer for each order.
"""

import gc
import json
import socket
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from itertools import count, cycle, islice
from pathlib import Path
from typing import Any

from bench.contestants import (
    ACTIONS,
    DATA,
    Action,
    Caller,
    Clock,
    Contestant,
    Make,
    Mapping,
    Places,
    holdall_wsgi,
    read,
    read_rows,
    untouched,
    write,
    write_rows,
)
from bench.profiling import profile
from bench.tables import TABLES

_TRIES = 5
_MOST = 100_000
# Nothing waits for anything there, so that the time of the CPU is all the time there is; other processes of a busy
# machine do not lengthen it as they lengthen that of the wall clock.
_WITHOUT_WAITING = ("cookie", "memory")
LIVE = 1_000  # four times as many browsers as derived keys are kept


@dataclass
class Job:
    """What is timed: requests with sessions, and the same number without."""

    request: Caller
    bare: Caller
    cookies: list[str]
    before: Callable[[], None] | None = None
    """What comes before each request and is not timed."""

    def round(self, clock: Clock = time.perf_counter) -> float:
        """Return the microseconds that a session added to a request."""
        gc.collect()
        bare = self.bare.spend(self.cookies, clock)
        if self.before is None:
            spent = self.request.spend(self.cookies, clock)
        else:
            spent = 0.0
            for cookie in self.cookies:
                self.before()
                spent += self.request.spend([cookie], clock)
        return (spent - bare) / len(self.cookies) * 1e6


class Subject:
    """A contestant whose stores are open."""

    def __init__(self, contestant: Contestant, places: Places) -> None:
        self._contestant = contestant
        self._places = places
        self._make: Make = contestant.open(places)
        self._bare = contestant.caller(self._make(None))

    def caller(self, action: Action) -> Caller:
        """Return what calls an application that does this to its session."""
        return self._contestant.caller(self._make(action))

    def cookie(self, data: dict[str, Any]) -> str:
        """Return the Cookie header of a browser whose session holds this data."""
        keep = self.caller(lambda session: session.update(data))
        keep.spend([""])
        cookie = keep.cookies()
        assert cookie, "a session was filled, and no cookie came of it"
        return cookie

    def prove(self, data: dict[str, Any]) -> None:
        """Assert that it does what it is measured for: changes arrive, and reads open the session."""
        self._bare.spend([""])
        assert self._bare.cookies() == "", "the bare application sets a cookie"
        if not self._contestant.is_whole:
            writer = self.caller(write)
            writer.spend([self.cookie(data)] * 2)
            return
        cookie = self.cookie(data)
        seen: list[tuple[int, int]] = []

        def both(session: Mapping) -> None:
            write(session)
            if "rows" in data:
                write_rows(session)
            seen.append((session["n"], session["rows"][0]["qty"] if "rows" in data else 0))

        writer = self.caller(both)
        for _ in range(3):
            writer.spend([cookie])
            cookie = writer.cookies() or cookie
        expected = [(turn + 1, turn if "rows" in data else 0) for turn in (1, 2, 3)]
        assert seen == expected, f"three changes were {seen}"
        for action in (read, read_rows) if "rows" in data else (read,):
            reader = self.caller(action)
            reader.spend([cookie])
            try:
                reader.spend([""])
            except Exception:  # each framework has its own
                continue
            raise AssertionError(f"{action.__name__} works without the cookie")
        still = self.caller(untouched)
        still.spend([cookie])
        assert still.cookies() == "", "an untouched session sets a cookie"

    def job(
        self,
        action: str,
        data: str,
        foreign: int = 0,
        seconds: float = 0.01,
        *,
        browsers: bool = False,
        lost: bool = False,
    ) -> Job:
        """Return what is to be timed, after a few requests to warm up; it takes about so many seconds a round.

        `foreign`: how many cookies of others come first. `browsers`: many, in turn. `lost`: memcached loses everything
        before each request.
        """
        request = self.caller(ACTIONS[action])
        prefix = f"{foreign_cookies(foreign)}; " if foreign else ""
        cookies = cookies_of_many_moments(LIVE) if browsers else [prefix + self.cookie(DATA[data]())]
        one = request.spend(cookies[:1])
        if one < seconds:  # or it is long enough to need no more warming up
            request.spend(cookies[:1] * _TRIES)
            one = request.spend(cookies[:1] * _TRIES) / _TRIES
        size = max(len(cookies), min(_MOST, int(seconds / one)))
        before = flush(self._places.memcached) if lost else None
        return Job(request, self._bare, list(islice(cycle(cookies), size)), before)


def foreign_cookies(number: int) -> str:
    """Return so many cookies of others, some 50 bytes each, as analytics leave them."""
    return "; ".join(f"_ga_{i:08X}=GS1.1.17000000{i % 100:02}.1.1.17000000{i % 100:02}.0.0.0" for i in range(number))


def cookies_of_many_moments(number: int) -> list[str]:
    """Return the Cookie headers of browsers whose cookies were sealed so far apart that no two share a derived key."""
    ticks = map(float, count(int(time.time()) - 20 * number, 2))
    make = holdall_wsgi(clock=ticks.__next__)
    subject = TABLES["cookie"]["Holdall"].caller(make(lambda session: session.update(DATA["200 B"]())))
    cookies = []
    for _ in range(number):
        subject.spend([""])
        cookies.append(subject.cookies())
    return cookies


def flush(address: str) -> Callable[[], None]:
    """Return what has a memcached lose everything."""
    host, _, port = address.rpartition(":")
    connection = socket.create_connection((host, int(port)))

    def lose() -> None:
        connection.sendall(b"flush_all\r\n")
        assert connection.recv(64) == b"OK\r\n"

    return lose


def serve(subject: Subject, orders: Any, answers: Any, clock: Clock) -> None:
    """Carry out orders, lines of JSON, until there are no more."""
    jobs: dict[str, Job] = {}
    for line in orders:
        order = json.loads(line)
        answer: Any
        match order.pop("order"):
            case "prove":
                subject.prove(DATA[order["data"]]())
                answer = "proved"
            case "job":
                name = order.pop("name")
                try:
                    jobs[name] = subject.job(**order)
                    answer = "ready"
                except Exception as error:  # each framework has its own for what is too large
                    answer = f"cannot: {type(error).__name__}: {str(error)[:200]}"
                gc.collect()
                gc.freeze()  # what the framework brought along is not scanned again and again
            case "round":
                answer = jobs[order["name"]].round(clock)
            case "profile":
                job = jobs[order["name"]]
                answer = profile(job.request, job.bare, job.cookies)
            case "forget":
                answer = jobs.pop(order["name"], None) and "forgotten"
        answers.write(json.dumps(answer) + "\n")
        answers.flush()


def first_request(contestant: Contestant, places: Places, *, is_bare: bool) -> None:
    """Make the application, and the first request of this process, which fills a small session."""
    make = contestant.open(places)
    action: Action | None = None if is_bare else (lambda session: session.update(DATA["200 B"]()))
    contestant.caller(make(action)).spend([""])


def main() -> None:
    """Serve the contestant that the command line names: table, name, and the places as JSON."""
    table, name, places = sys.argv[1:]
    found = {key: value for key, value in json.loads(places).items() if key != "folder"}
    subject = Subject(TABLES[table][name], Places(Path(json.loads(places)["folder"]), **found))
    serve(subject, sys.stdin, sys.stdout, time.thread_time if table in _WITHOUT_WAITING else time.perf_counter)


if __name__ == "__main__":
    main()
