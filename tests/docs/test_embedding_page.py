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


def _down(_: object) -> None:
    raise StoreUnavailable("down")
