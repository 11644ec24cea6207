"""What the core's tests share: a browser that keeps cookies, and a world with a clock and stores that remember.

And what equal means for session values.
"""

import dataclasses
import struct
from collections.abc import Callable
from datetime import datetime, time, timedelta, timezone
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

from holdall import Exchange, Receipt, Session, SessionManager, run
from holdall.testing import FakeClock, RecordingStores

KEY = "0123456789abcdef-for-tests-only-0123456789abcdef"
OTHER_KEY = "fedcba9876543210-another-key-for-tests-0123456789"


class Browser:
    """Keeps cookies by name, as a browser does: Max-Age=0 deletes."""

    def __init__(self) -> None:
        self.cookies: dict[str, str] = {}

    @property
    def header(self) -> str:
        return "; ".join(f"{name}={value}" for name, value in self.cookies.items())

    def receive(self, headers: list[tuple[str, str]]) -> None:
        for field, value in headers:
            if field.lower() == "set-cookie":
                pair, *attributes = value.split("; ")
                name, _, text = pair.partition("=")
                if "Max-Age=0" in attributes:
                    self.cookies.pop(name, None)
                else:
                    self.cookies[name] = text

    def copy(self) -> "Browser":
        other = Browser()
        other.cookies = dict(self.cookies)
        return other


class World:
    """A manager, stores in memory and a clock; runs requests in one line."""

    def __init__(self, **options: Any) -> None:
        self.clock = options.pop("clock", None) or FakeClock()
        self.stores = options.pop("stores", None) or RecordingStores(self.clock, limit=options.pop("limit", None))
        self.manager = SessionManager(options.pop("key", KEY), clock=self.clock, **options)
        self.browser = Browser()
        self.headers: list[tuple[str, str]] = []
        self.receipt: Receipt | None = None

    def drive(self, flow: Any) -> Any:
        return run(flow, self.stores)

    def open(self, browser: Browser | None = None) -> Exchange:
        return self.manager.open((browser or self.browser).header, drive=self.drive)

    def close(self, exchange: Exchange, browser: Browser | None = None, status: int = 200) -> list[tuple[str, str]]:
        self.headers = run(exchange.commit(status=status, headers=[]), self.stores)
        (browser or self.browser).receive(self.headers)
        self.receipt = run(exchange.finish(), self.stores)
        return self.headers

    def request(self, act: Callable[[Session], Any], browser: Browser | None = None, status: int = 200) -> Any:
        """Handle one request whole, and return what the application made of it. `did` then tells its commands."""
        del self.stores.commands[:], self.stores.answers[:]
        exchange = self.open(browser)
        result = act(exchange.session)
        self.close(exchange, browser, status)
        return result

    def read(self, browser: Browser | None = None) -> dict[str, Any]:
        return self.request(dict, browser)  # type: ignore[no-any-return]

    @property
    def did(self) -> list[str]:
        """The commands of the last request, such as "get cache"."""
        return [f"{type(command).__name__.lower()} {command.tier.value}" for command in self.stores.commands]

    def set_cookies(self) -> list[str]:
        return [value for field, value in self.headers if field == "Set-Cookie"]

    def later(self, **span: float) -> None:
        self.clock.advance(timedelta(**span).total_seconds())


def big(size: int = 20_000, letter: str = "x") -> str:
    return letter * size


def persist(session: Session) -> str | None:
    """Make a small session a stored one, and return its id."""
    session["n"] = 1
    session.save(persist_even_if_using_cookie=True)
    return session.sid


def put(**values: Any) -> Callable[[Session], None]:
    """Return what a request does that assigns these values."""
    return lambda session: session.update(values)


def identical(a: Any, b: Any) -> bool:
    """Tell whether two values are equal and of exactly the same types, all the way down."""
    if type(a) is not type(b):
        return False
    match a:
        case float():
            return struct.pack("d", a) == struct.pack("d", b) or (a != a and b != b)
        case complex():
            return identical((a.real, a.imag), (b.real, b.imag))
        case Decimal():
            return bool(a.as_tuple() == b.as_tuple())
        case datetime() | time():
            naive = a.replace(tzinfo=None) == b.replace(tzinfo=None) and a.fold == b.fold
            return bool(naive) and identical(a.tzinfo, b.tzinfo)
        case timezone():
            return bool(a == b and a.tzname(None) == b.tzname(None))
        case ZoneInfo():
            return a is b
        case list() | tuple():
            return len(a) == len(b) and all(map(identical, a, b))
        case dict():
            return identical([*a.items()], [*b.items()])
        case set() | frozenset():
            return len(a) == len(b) and all(any(identical(x, y) for y in b) for x in a)
        case _ if dataclasses.is_dataclass(a):
            return all(identical(getattr(a, field.name), getattr(b, field.name)) for field in dataclasses.fields(a))
    return bool(a == b)
