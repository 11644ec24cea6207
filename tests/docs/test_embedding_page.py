"""The page on embedding says what is true: its example runs."""

from pathlib import Path

import pytest
from holdall import Session, StoreUnavailable
from holdall.testing import RecordingStores

from tests.core.support import Browser, big
from tests.docs.test_docs import blocks, execute


def test_embedding_example_works(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The example's four calls keep sessions of all sizes, and answer 503 when the store is down."""
    monkeypatch.chdir(tmp_path)
    names = execute(blocks("docs/embedding.md")[0])
    browser = Browser()

    def view(session: Session) -> tuple[int, list[tuple[str, str]], bytes]:
        session["n"] = session.get("n", 0) + 1
        session["data"] = big() if session["n"] > 2 else ""
        return 200, [], str(session["n"]).encode()

    for visit in (1, 2, 3, 4):
        status, headers, body = names["handle"]([browser.header], view)
        browser.receive(headers)
        assert (status, body) == (200, str(visit).encode())
    names["stores"].close()
    stores = names["stores"] = RecordingStores(lambda: 0.0)
    stores.before = _down
    assert names["handle"]([browser.header], view)[0] == 503


def test_bound_sessions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The example's two functions list and end the sessions that are bound to somebody."""
    monkeypatch.chdir(tmp_path)
    names = execute("\n".join(blocks("docs/embedding.md")))
    browser = Browser()

    def view(session: Session) -> tuple[int, list[tuple[str, str]], bytes]:
        if not session.is_active():
            session.bind("ada", "a browser")
        return 200, [], b""

    browser.receive(names["handle"]([browser.header], view)[1])
    assert names["browsers_of"]("ada") == ["a browser"]
    names["log_out_everywhere"]("ada")
    assert names["browsers_of"]("ada") == []
    session = names["manager"].open(browser.header).session
    assert not session.get("n")
    assert not session.is_active()
    names["stores"].close()


def _down(_: object) -> None:
    raise StoreUnavailable("down")
