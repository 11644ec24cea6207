"""docs/settings.md has the defaults that the code has."""

import inspect
import re
from datetime import timedelta
from typing import Any

import pytest
from holdall import CookieOptions, SessionManager
from holdall_stores import Datastore, Memcached, Memory, SQLite, Stores, delete_expired_sessions, in_threads
from holdall_stores.breaker import Breaker

from tests.docs.test_docs import ROOT

PAGE = (ROOT / "docs/settings.md").read_text(encoding="utf-8")


def default(of: Any, name: str) -> Any:
    return inspect.signature(of).parameters[name].default


def shown(value: Any) -> str:
    if value is inspect.Parameter.empty:
        return "required"
    if isinstance(value, timedelta):
        return f"{value.days} days" if value.days else f"{value.seconds} seconds"
    if isinstance(value, str):
        return f'`"{value}"`'
    if value == CookieOptions():
        return "`CookieOptions()`"
    if callable(value):
        return f"`{value.__name__}`" if isinstance(value, type) else f"`{value.__module__}.{value.__name__}`"
    return "none" if value is None else str(value)


def test_arguments() -> None:
    """Each setting's default is that of its argument of SessionManager."""
    for row in re.findall(r"^\|(.*?)\|(.*?)\|", PAGE.partition("\n\n## ")[0], re.MULTILINE)[2:]:
        names = re.findall(r"`(\w+)`", row[0])
        defaults = ", ".join(shown(default(SessionManager, name)) for name in names)
        assert row[1].strip() == defaults.replace("posix.", "os."), names


@pytest.mark.parametrize(
    ("row", "seconds"),
    [
        ("memcached: connecting", default(Memcached, "connect_timeout")),
        ("memcached: one operation", default(Memcached, "timeout")),
        ("Datastore: one command", default(Datastore, "timeout")),
        ("SQLite: waiting for a lock", default(SQLite, "timeout")),
        (f"a store that failed {default(Breaker, 'failures')} times in a row", default(Breaker, "pause")),
        (
            "a request: waiting for its stores, load, commit and `finish()` together",
            default(SessionManager, "store_budget").total_seconds(),
        ),
    ],
)
def test_time_limits(row: str, seconds: float) -> None:
    """Each time limit begins with the default of what keeps it."""
    ((number, unit),) = re.findall(rf"^\| {re.escape(row)} \| (?:left alone for )?(\d+) (m?s)\b", PAGE, re.MULTILINE)
    assert int(number) / (1000 if unit == "ms" else 1) == seconds


def test_other_limits() -> None:
    """Each other limit is the default of the argument that sets it."""
    makers = {
        each.__name__: each for each in (Stores, Memcached, Memory, Datastore, in_threads, delete_expired_sessions)
    }
    rows = re.findall(r"^\| .* \| ([\d,]+) \| `(\w+)\((\w+)=\)` \|$", PAGE, re.MULTILINE)
    assert len(rows) == PAGE.partition("## Other limits")[2].partition("\n\n## ")[0].count("\n|") - 2
    for number, maker, name in rows:
        assert int(number.replace(",", "")) == default(makers[maker], name), (maker, name)
