"""Every contestant of the bench does the work that it is measured for, and one that does not is found out."""

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from bench.contestants import (
    DATA,
    HEADERS,
    Action,
    Contestant,
    Lazy,
    Make,
    Places,
    Whole,
    bare_application,
    holdall_wsgi,
    large,
    limit,
    read,
    small,
    untouched,
)
from bench.processes import process
from bench.tables import TABLES
from bench.worker import LIVE, Subject, cookies_of_many_moments, foreign_cookies
from tests.bench.support import INSTALLED
from tests.emulators import OPTIMISTIC, emulator
from tests.servers import memcached

HERE = Places(Path())


@pytest.fixture(scope="module")
def places(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """Return what lends the places that a table needs, each server started once."""
    with ExitStack() as stack:
        started: dict[str, str] = {}

        def lend(table: str) -> Places:
            folder = tmp_path_factory.mktemp(table)
            if table == "datastore" and table not in started:
                started[table] = stack.enter_context(emulator(OPTIMISTIC))
            if table in ("memcached", "refill", "sqlite") and "memcached" not in started:
                started["memcached"] = stack.enter_context(memcached()).address
            return Places(folder, **started)

        yield lend


@pytest.mark.parametrize(("table", "name"), INSTALLED)
def test_it_does_its_work_in_a_process_of_its_own(table: str, name: str, places: Any) -> None:
    """Three changes arrive one after the other, reading opens the session, and the bare application has none."""
    with process(table, name, places(table)) as worker:
        assert worker.ask("prove", data="200 B" if table == "cookie" else "20 KB") == "proved"


def test_what_cannot_be_done_is_told(tmp_path: Path) -> None:
    """A session that is too large for a contestant is an answer, and the process goes on; an unknown order ends it."""
    with process("cookie", "core", Places(tmp_path)) as worker:
        assert worker.ask("job", name="large", action="read", data="20 KB").startswith("cannot: AssertionError: ")
        assert worker.ask("job", name="small", action="read", data="200 B") == "ready"
        with pytest.raises(RuntimeError, match="KeyError: 'nowhere'"):
            worker.ask("round", name="nowhere")


def _subject(make: Make) -> Subject:
    return Subject(Contestant("broken", lambda places: make), HERE)


def _forgetful(action: Action | None) -> Any:
    """Set a cookie, and remember nothing."""

    def application(environ: Any, start_response: Any) -> list[bytes]:
        if action is not None:
            action(large())
            start_response("200 OK", [*HEADERS, ("Set-Cookie", "session=x")])
            return [b"x"]
        return bare_application(environ, start_response)

    return application


def _chatty(action: Action | None) -> Any:
    """Set a cookie whether the session was touched or not."""
    inner = holdall_wsgi()(action)

    def application(environ: Any, start_response: Any) -> Any:
        def start(status: str, headers: list[tuple[str, str]]) -> Any:
            return start_response(status, [*headers, ("Set-Cookie", "seen=1")] if action is untouched else headers)

        return inner(environ, start)

    return application


def _never_bare(action: Action | None) -> Any:
    return _forgetful(action or untouched)


@pytest.mark.parametrize(
    ("make", "complaint"),
    [
        (_forgetful, "three changes were"),
        (_chatty, "an untouched session sets a cookie"),
        (_never_bare, "the bare application sets a cookie"),
    ],
)
def test_a_broken_contestant_is_found_out(make: Make, complaint: str) -> None:
    """One that loses changes, or says too much, is not measured."""
    with pytest.raises(AssertionError, match=complaint):
        _subject(make).prove(large())


@pytest.mark.parametrize("sealing", [Whole, Lazy])
def test_the_limits_keep_any_of_the_data(sealing: Any) -> None:
    """Both ways of sealing give back what went in; the lazy one packs what was changed in place."""
    for make in DATA.values():
        session = sealing.new()
        session.update(make())
        again = sealing.opened(sealing.sealed(session))
        assert {key: again[key] for key in again} == _as_lists(make())
        again["n"] = 7
        if "rows" in again:
            again["rows"][1] = "changed"
        last = sealing.opened(sealing.sealed(again))
        assert last["n"] == 7
        assert "rows" not in last or last["rows"][1] == "changed"


def _as_lists(data: dict[str, Any]) -> dict[str, Any]:
    """Return the data without tuples: the limits do not keep those."""
    return {
        key: [[*row] if isinstance(row, tuple) else row for row in value] if isinstance(value, list) else value
        for key, value in data.items()
    }


def test_a_limit_fails_without_its_cookie() -> None:
    """What the limit reads comes from the cookie."""
    subject = Subject(Contestant("limit", limit(Whole)), HERE)
    subject.prove(small())


def test_every_browser_has_a_key_of_its_own() -> None:
    """The cookies of many browsers share no derived key, and all of them open."""
    cookies = cookies_of_many_moments(LIVE)
    assert len({cookie.partition("=")[2][:22] for cookie in cookies}) == LIVE
    TABLES["cookie"]["Holdall"].caller(holdall_wsgi()(read)).spend(cookies)


def test_the_session_is_found_among_foreign_cookies() -> None:
    """Twenty thousand cookies of others come first, a megabyte, and the session is read all the same."""
    seen: list[int] = []
    subject = Subject(TABLES["cookie"]["Holdall"], HERE)
    header = f"{foreign_cookies(20_000)}; {subject.cookie(small())}"
    subject.caller(lambda session: seen.append(session["n"])).spend([header])
    assert 1_000_000 < len(header) < 1_100_000
    assert seen == [1]
