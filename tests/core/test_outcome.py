"""The table: what a commit does, row by row where it matters, and as a whole."""

from pathlib import Path

import pytest
from holdall.outcome import TABLE, Cookie, Home, Outcome, Wish, Write, decide

DOCS = Path(__file__).parents[2] / "docs" / "how-it-works.md"


def test_every_state_has_an_outcome() -> None:
    """Every home, wish and size has exactly one row."""
    assert len(TABLE) == len(Home) * len(Wish) * 2


@pytest.mark.requirement(18)
def test_reading_writes_nothing() -> None:
    """Whoever only reads never writes, wherever the session is."""
    for (home, wish, _), outcome in TABLE.items():
        if wish is Wish.NOTHING:
            assert outcome == Outcome(Write.NOTHING, False, Cookie.KEEP), home


def test_within_one_sid_only_upwards() -> None:
    """A stored session is never put into the cookie but under a new sid."""
    for (home, wish, _), outcome in TABLE.items():
        if home is Home.STORE and outcome.cookie is Cookie.INLINE:
            assert wish in (Wish.BEGIN, Wish.REGENERATE)


def test_data_rides_in_the_cookie_only_if_it_fits() -> None:
    """What does not fit is never set inline."""
    assert all(outcome.cookie is not Cookie.INLINE for (_, _, fits), outcome in TABLE.items() if not fits)


def test_a_replaced_session_ends() -> None:
    """Beginning anew, a new id and the end all leave a marker where a session was."""
    for (home, wish, _), outcome in TABLE.items():
        replaces = wish in (Wish.BEGIN, Wish.REGENERATE, Wish.END)
        assert outcome.ends_old == (replaces and home in (Home.COOKIE, Home.STORE))


def test_a_quick_write_of_a_cookie_session_is_a_write() -> None:
    """Where there is no record, quick means regular."""
    for fits in (True, False):
        assert decide(Home.COOKIE, Wish.QUICK, fits=fits) == decide(Home.COOKIE, Wish.CHANGE, fits=fits)


def test_documentation_shows_this_very_table() -> None:
    """The table in the documentation is the table in the code."""
    assert render() in DOCS.read_text(), f"put this into {DOCS.name}:\n{render()}"


def render() -> str:
    """Write the table as Markdown, rows that say the same as one."""
    lines = [
        "| the session is | the application | fits | stores | old one ends | cookie |",
        "|---|---|---|---|---|---|",
    ]
    for home in Home:
        for wish in Wish:
            small, large = (decide(home, wish, fits=fits) for fits in (True, False))
            for fits, outcome in [("-", small)] if small == large else [("yes", small), ("no", large)]:
                ends = "yes" if outcome.ends_old else "-"
                cells = (home.value, wish.value, fits, outcome.write.value, ends, outcome.cookie.value)
                lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)
