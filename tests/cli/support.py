"""What the tests of the command line share: running it, and an application whose sessions it looks at."""

import io
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from holdall import Session, SessionManager, run
from holdall_cli.command import main
from holdall_stores import Stores

from tests.core.support import KEY, Browser


class Result(NamedTuple):
    """What a command left behind."""

    code: int
    out: str
    err: str


class Terminal(io.StringIO):
    """A text stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True


class Shell:
    """Runs `holdall` with a key in the environment."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
        self._monkeypatch = monkeypatch
        self._capsys = capsys
        self.set_key(KEY)

    def set_key(self, *keys: str) -> None:
        self._monkeypatch.setenv("HOLDALL_COOKIE_KEY", "\n".join(keys))

    def __call__(self, *arguments: str, stdin: str = "") -> Result:
        self._capsys.readouterr()
        self._monkeypatch.setattr(sys, "stdin", io.StringIO(stdin))
        try:
            code = main(arguments)
        except SystemExit as exit_:  # argparse's
            code = int(exit_.code or 0)
        return Result(code, *self._capsys.readouterr())


class Application:
    """Handles requests with sessions in a durable store."""

    def __init__(self, stores: Stores, **options: Any) -> None:
        self.stores = stores
        self.manager = SessionManager(options.pop("key", KEY), **options)

    def request(self, browser: Browser, **values: Any) -> Session:
        return self.act(browser, lambda session: session.update(values))

    def act(self, browser: Browser, act: Any) -> Session:
        exchange = self.manager.open(browser.header, drive=lambda flow: run(flow, self.stores))
        act(exchange.session)
        browser.receive(run(exchange.commit(status=200, headers=[]), self.stores))
        run(exchange.finish(), self.stores)
        return exchange.session


@contextmanager
def application(path: Path, **options: Any) -> Iterator[Application]:
    """An application whose sessions are in a SQLite file."""
    with closing(Stores.from_urls(durable=f"sqlite:///{path}")) as stores:
        yield Application(stores, **options)
