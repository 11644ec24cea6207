"""An application whose processes can be told where to die, for gunicorn: the seed's example and some more pages.

The environment says where sessions go, as in tests/wsgi/served.py; HOLDALL_TEST_BUDGET is the `store_budget`, in
seconds. A process dies by SIGKILL, right before the command that a request's `?die=` names: see `Doomed`.
"""

import json
import os
import signal
from collections.abc import Iterable, Sequence
from contextvars import ContextVar
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs
from wsgiref.types import StartResponse, WSGIEnvironment

from holdall import Answer, Command, Put, run
from holdall_stores import Store, Stores
from holdall_stores.urls import cache_from_url, durable_from_url
from holdall_wsgi import SessionMiddleware, get_current_session

from tests.wsgi.served import example

_doom: ContextVar[list[str] | None] = ContextVar("doom", default=None)
"""What this request is still to be asked for before its process dies: the last of these kills it."""


class Doomed:
    """A store whose process dies at a named point: before the last of the commands that `_doom` lists, in this order.

    A command's name is its verb, its tier and what it is about: "put durable record", say. Others may come in between.
    """

    def __init__(self, store: Store, tier: str) -> None:
        self._store: Any = store
        self._tier = tier
        if hasattr(store, "max_value_bytes"):
            self.max_value_bytes: int = store.max_value_bytes
        if hasattr(store, "batch_bytes"):
            self.batch_bytes: int = store.batch_bytes

    def execute(self, command: Command, /) -> Answer:
        self._meet(command)
        answer: Answer = self._store.execute(command)
        return answer

    def execute_many(self, commands: Sequence[Command], /) -> list[Answer]:
        self._meet(commands[0])
        answers: list[Answer] = self._store.execute_many(commands)
        return answers

    def close(self) -> None:
        self._store.close()

    def _meet(self, command: Command) -> None:
        doom = _doom.get()
        if doom and doom[0] == f"{type(command).__name__.lower()} {self._tier} {_about(command)}":
            del doom[0]
            if not doom:
                os.kill(os.getpid(), signal.SIGKILL)


def _about(command: Command) -> str:
    if command.key.startswith("s"):
        return "head" if isinstance(command, Put) and command.value.startswith(b"\0") else "record"
    return "part" if "-" in command.key else "list"


def site(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    """The seed's example, and pages that renew the session's id, bind it, or tell of open files."""
    session = get_current_session()
    _doom.set(parse_qs(environ["QUERY_STRING"]).get("die"))
    match environ["PATH_INFO"]:
        case "/renew":
            session.regenerate_id()
        case "/bind":
            session.bind("ada")
        case "/open":
            start_response("200 OK", [("Content-Type", "application/json")])
            return [json.dumps({"pid": os.getpid(), "open": len(list(Path("/dev/fd").iterdir()))}).encode()]
    return example(environ, start_response)


def make_application() -> SessionMiddleware:
    """Return the application as the environment wants it."""
    cache = Doomed(cache_from_url(os.environ["HOLDALL_TEST_CACHE"]), "cache")
    durable = Doomed(durable_from_url(os.environ["HOLDALL_TEST_DURABLE"]), "durable")
    budget = timedelta(seconds=float(os.environ.get("HOLDALL_TEST_BUDGET", "2")))
    return SessionMiddleware(site, os.environ["HOLDALL_TEST_KEYS"], stores=Stores(cache, durable), store_budget=budget)


def make_used_application() -> SessionMiddleware:
    """The same after its process has served a request, and has connections to its stores."""
    application = make_application()
    manager = application.manager
    exchange = manager.open(None)
    exchange.session["data"] = "x" * 20_000
    run(exchange.commit(status=200, headers=[]), application.stores)
    return application
