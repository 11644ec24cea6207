"""What the tests of an adapter stand on: `Adapter`, which an author fills in, and `Site`, an application to be visited.

Nothing is checked here but that the adapter answers at all.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, ClassVar

from holdall import Command, SessionManager, StoresLike, run
from holdall.testing import FakeClock, RecordingStores

from holdall_conformance.clients import Browser, Request, Response
from holdall_conformance.script import Application, Operation, Script

KEY = "holdall-conformance-0123456789abcdef-0123456789"
"""The key of every application under test. It is public: never use it."""


class Adapter(ABC):
    """An adapter under test: how an application is built with it, and how a request reaches that.

    The class attributes say where the framework's documented habits differ from `holdall.Session`.
    """

    pop_raises: ClassVar[bool] = False
    """`pop` without a default raises `KeyError`, as a dict's does."""
    empty_ends: ClassVar[bool] = False
    """A session that was emptied ends."""
    slides: ClassVar[bool] = False
    """Every write moves the end of the session, to a lifetime from then."""
    loads_first: ClassVar[bool] = False
    """A session in a store is loaded before the application runs, touched or not."""
    asks_first: ClassVar[bool] = False
    """When it is time, a bound session in the cookie asks before the application runs, touched or not.

    So does everyone who `loads_first`.
    """

    @abstractmethod
    def build(self, application: Application, *, cookie_key: str, stores: StoresLike, **options: Any) -> Any:
        """Build an application whose every path is answered by `application.visit`, and return what `send` needs.

        `options` are arguments of `holdall.SessionManager`, always `clock` and `lifetime` among them. The view hands
        the session to `visit` or `avisit` untouched, lets its exceptions through, and gives status, headers and body as
        the `Page` has them: as a stream if it says so.
        """

    @abstractmethod
    def send(self, built: Any, request: Request) -> Response:
        """Send a request to what `build` returned; an exception that would reach the server is a status of 500."""

    def close(self, built: Any) -> None:  # noqa: B027 (most have nothing to let go of)
        """Let go of what `build` returned."""


@dataclass(frozen=True)
class Visit:
    """One request, its response, and what happened in between."""

    results: list[Any]
    """What each operation returned."""
    response: Response
    commands: list[Command]
    """What the stores were asked."""

    @property
    def set_cookies(self) -> list[str]:
        """The values of all Set-Cookie headers."""
        return self.response.values("Set-Cookie")


class Site:
    """An application under test, with its clock and its stores, and a browser that visits it."""

    def __init__(self, adapter: Adapter, **options: Any) -> None:
        """Build it; `options` are arguments of `holdall.SessionManager`, and `limit`, that of `RecordingStores`.

        The lifetime, where none is given, is the core's default, whatever the framework's may be.
        """
        self.adapter = adapter
        self.clock = FakeClock()
        self.stores = RecordingStores(self.clock, limit=options.pop("limit", None))
        self.application = Application()
        self.browser = Browser()
        options = {"clock": self.clock, "lifetime": timedelta(days=7), **options}
        self._built = adapter.build(self.application, cookie_key=KEY, stores=self.stores, **options)

    def close(self) -> None:
        """Let go of the application."""
        self.adapter.close(self._built)

    def visit(self, *operations: Operation, browser: Browser | None = None, **script: Any) -> Visit:
        """Have a browser visit a page with this script: see `script.Script`."""
        path = self.application.add(Script(operations, **script))
        return self.again(path, browser=browser)

    def again(self, path: str, browser: Browser | None = None, cookies: tuple[str, ...] | None = None) -> Visit:
        """Have a browser visit a page, with these Cookie headers in the place of its own if they are given."""
        browser = browser or self.browser
        if cookies is None:
            cookies = (browser.header,) if browser.cookies else ()
        before = len(self.stores.commands)
        response = self.adapter.send(self._built, Request(path, cookies))
        browser.receive(response)
        return Visit(self.application.results.get(path, []), response, self.stores.commands[before:])

    def revoke_elsewhere(self, principal: str) -> None:
        """End all sessions bound to a principal, in another process of the same application."""
        run(SessionManager(KEY, clock=self.clock).revoke(principal), self.stores)

    def check(self, condition: object, what: str) -> None:
        """Fail the test, in words, unless the condition holds."""
        if not condition:
            raise AssertionError(f"{type(self.adapter).__name__}: {what}")
