"""What the tests of the bench share."""

from typing import Any

from bench.contestants import Mapping, write, write_rows
from bench.scenarios import cookie_of
from bench.stored import Make


def three_requests(make: Make, data: dict[str, Any]) -> list[tuple[int, int]]:
    """Return what three requests saw, each having changed what the one before left."""
    cookie = cookie_of(make, data)
    seen: list[tuple[int, int]] = []

    def both(session: Mapping) -> None:
        write(session)
        write_rows(session)
        seen.append((session["n"], session["rows"][0]["qty"]))

    contestant = make(both)
    for _ in range(3):
        contestant.request(cookie)
        cookie = contestant.cookies() or cookie
    return seen
