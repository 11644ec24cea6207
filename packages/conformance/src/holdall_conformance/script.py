"""The neutral application: pages that do to their session what a script says, whatever the framework.

An adapter's author gives `Application.visit` (or `avisit`) to a view and turns the `Page` into the framework's
response. Nothing here checks anything; that is in `adapters` and `model`.
"""

import asyncio
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import count
from typing import Any, TypeAlias

from holdall import HoldallError, get_current_session

Operation: TypeAlias = tuple[Any, ...]
"""What is done to a session: a name of `OPERATIONS`, and its arguments."""


def _assign(session: Any, key: str, value: Any) -> None:
    session[key] = value


def _delete(session: Any, key: str) -> None:
    del session[key]


def _merge(session: Any, values: dict[str, Any]) -> None:
    session |= values


def _names(session: Any) -> list[str]:
    return sorted(key for key in session.keys() if not key.startswith("_"))  # noqa: SIM118


OPERATIONS: dict[str, Callable[..., Any]] = {
    "get": lambda session, key, default=None: session.get(key, default),
    "item": lambda session, key: session[key],
    "set": _assign,
    "delete": _delete,
    "in": lambda session, key: key in session,
    "names": _names,
    "iterate": lambda session: sorted(key for key in session if not key.startswith("_")),
    "values": lambda session: len(list(session.values())),
    "items": lambda session: sorted(key for key, _ in session.items() if not key.startswith("_")),
    "pop": lambda session, key, *default: session.pop(key, *default),
    "setdefault": lambda session, key, value: session.setdefault(key, value),
    "update": lambda session, values: session.update(values),
    "merge": _merge,
    "clear": lambda session: session.clear(),
    "has_key": lambda session, key: session.has_key(key),
    "append": lambda session, key, value: session[key].append(value),
    "incr": lambda session, key, amount=1: session.incr(key, amount),
    "set_quick": lambda session, key, value: session.set_quick(key, value),
    "pop_quick": lambda session, key, default=None: session.pop_quick(key, default),
    "start": lambda session, *arguments, **options: session.start(*arguments, **options),
    "terminate": lambda session: session.terminate(),
    "regenerate_id": lambda session, *arguments: session.regenerate_id(*arguments),
    "bind": lambda session, *arguments: session.bind(*arguments),
    "persist": lambda session: session.save(persist_even_if_using_cookie=True),
    "sid": lambda session: session.sid,
    "is_active": lambda session: session.is_active(),
    "is_accessed": lambda session: session.is_accessed(),
    "is_ssl_only": lambda session: session.is_ssl_only(),
    "get_expiration": lambda session: session.get_expiration(),
    "ensure_data_loaded": lambda session: session.ensure_data_loaded(),
    "str": str,
    "type": lambda session, key: type(session[key]).__name__,
}
"""Every operation by its name: called with the session and the operation's arguments."""


@dataclass(frozen=True)
class Script:
    """What one page does: operations on its session, then a response.

    Beside those of `OPERATIONS`, an operation may be `("current", name, ...)`: done to `get_current_session()`;
    `("try", name, ...)`: an error of Holdall's or a `KeyError` it raises becomes its result, as the error's name;
    `("meanwhile", function)`: the function is called, such as one that sends another request; and `("raise",)`: the
    page fails.
    """

    operations: tuple[Operation, ...] = ()
    status: int = 200
    headers: list[tuple[str, str]] = field(default_factory=list)
    """The application's own. The very list is handed out every time the page is visited: it must not change."""
    late: tuple[Operation, ...] | None = None
    """Operations after the first chunk of the body, which is then a stream of two; None: it is not streamed."""


class PageFailedError(Exception):
    """What a page raises whose script says so."""


@dataclass
class Page:
    """The response that a page wants to give: to be turned into the framework's."""

    status: int
    headers: list[tuple[str, str]]
    chunks: Iterator[bytes]
    """The body. Iterating runs the late operations: do so only while the response is being sent, if it `streams`."""
    streams: bool


class Application:
    """Pages by their paths. One instance serves all visitors; results are found by path too."""

    def __init__(self) -> None:
        self._numbers = count(1)
        self._scripts: dict[str, Script] = {}
        self.results: dict[str, list[Any]] = {}
        """For each path, what each operation returned, in order, at the latest visit."""

    def add(self, script: Script) -> str:
        """Add a page; returns its path, such as "/page-1"."""
        path = f"/page-{next(self._numbers)}"
        self._scripts[path] = script
        return path

    def visit(self, path: str, session: Any) -> Page:
        """Do what the page at a path does to the session of the request; for views that are plain functions.

        Raises what the session raises, which the view must let through.
        """
        script, results = self._begin(path)
        for pause in _steps(script.operations, session, results):
            pause()
        return self._page(script, session, results)

    async def avisit(self, path: str, session: Any) -> Page:
        """The same for views that are coroutines: other requests run while this one pauses."""
        script, results = self._begin(path)
        for pause in _steps(script.operations, session, results):
            await asyncio.to_thread(pause)
        return self._page(script, session, results)

    def touches(self, path: str) -> bool:
        """Tell whether the page does anything to its session, for adapters that have to be told to load it."""
        script = self._scripts[path]
        return any(name not in ("meanwhile", "raise") for name, *_ in (*script.operations, *(script.late or ())))

    def _begin(self, path: str) -> tuple[Script, list[Any]]:
        results = self.results[path] = []
        return self._scripts[path], results

    def _page(self, script: Script, session: Any, results: list[Any]) -> Page:
        return Page(script.status, script.headers, _chunks(script, session, results), script.late is not None)


def _chunks(script: Script, session: Any, results: list[Any]) -> Iterator[bytes]:
    if script.late is None:
        yield b"whole"
        return
    yield b"begun, "
    for pause in _steps(script.late, session, results):
        pause()
    yield b"ended"


def _steps(operations: Sequence[Operation], session: Any, results: list[Any]) -> Iterator[Callable[[], Any]]:
    """Carry out operations and note their results; yields what is to be called in between."""
    for name, *arguments in operations:
        if name == "meanwhile":
            yield arguments[0]
        elif name == "raise":
            raise PageFailedError
        elif name == "try":
            try:
                results.append(_do(session, arguments))
            except (HoldallError, KeyError) as error:
                results.append(type(error).__name__)
        else:
            results.append(_do(session, (name, *arguments)))


def _do(session: Any, operation: Sequence[Any]) -> Any:
    name, *arguments = operation
    if name == "current":
        return _do(get_current_session(), arguments)
    return OPERATIONS[name](session, *arguments)
