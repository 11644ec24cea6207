"""The fixtures of the command line: running it in this process, and an emulator."""

from collections.abc import Iterator

import pytest

from tests.cli.support import Shell
from tests.emulators import PESSIMISTIC, emulator


@pytest.fixture
def shell(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Shell:
    """The command `holdall`, with a key in the environment."""
    return Shell(monkeypatch, capsys)


@pytest.fixture(scope="session")
def datastore_address() -> Iterator[str]:
    """Where the emulator listens that tells the time."""
    with emulator(PESSIMISTIC) as address:
        yield address
