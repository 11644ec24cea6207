"""The tour: the demo's story, told by a real client over a real socket, and checked at every step.

Each step says what must be: where the session is then, which cookies the response sets, which commands reached the
stores, what the session holds, and whether its id is the same. Where something else was, the tour says so and fails.
"""

import http.client
import logging
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from itertools import groupby
from typing import NamedTuple, TextIO
from urllib.parse import urlencode

from holdall import Tier, generate_key

from .app import SECONDS_TO_LIVE
from .page import in_bytes
from .serving import HOST, Servers, serving
from .watch import INLINE, REFERENCE, Log, Place, Trace, read_set_cookie

GET_CACHE = ("Get", Tier.CACHE)
GET_DURABLE = ("Get", Tier.DURABLE)
PUT_CACHE = ("Put", Tier.CACHE)
PUT_DURABLE = ("Put", Tier.DURABLE)


class Fact(NamedTuple):
    """What is true after a step; how a step is compared."""

    place: Place | None
    """None if the application did not look."""
    commands: tuple[tuple[str, Tier], ...] = ()
    cookies: tuple[str, ...] = ()
    """What the response does with the session's cookies: `set data`, `set reference`, `delete data` …"""
    holds: tuple[str, ...] = ()
    """The keys in the session, sorted."""
    id: str = "same"
    """The session's id: `none`, or against the last that was seen `same` or `new`; `same` if nobody looked."""


def differences(expected: Fact, actual: Fact) -> list[str]:
    """Return what is not as it must be, one line each; nothing if all is."""
    return [
        f"{name}: expected {_tell(wanted)}, was {_tell(got)}"
        for name, wanted, got in zip(Fact._fields, expected, actual, strict=True)
        if wanted != got
    ]


class UnexpectedResponseError(Exception):
    """The demo answered with an error."""


class Visitor:
    """A browser as far as it matters: sends forms, follows no redirects, keeps the cookies itself.

    It returns Secure cookies to 127.0.0.1, as browsers do and Python's cookie jars do not.
    """

    def __init__(self) -> None:
        self.port = 0
        self.cookies: dict[str, str] = {}

    def send(self, method: str, form: dict[str, str] | None = None, cookies: dict[str, str] | None = None) -> str:
        """Send a request, with other cookies than its own if they are given; returns the body.

        With cookies of its own only does it take over what the response sets. Raises `UnexpectedResponseError` for
        an error.
        """
        sent = self.cookies if cookies is None else cookies
        headers = {"Cookie": "; ".join(f"{name}={value}" for name, value in sent.items())} if sent else {}
        body = None
        if form is not None:
            body = urlencode(form)
            headers["Content-Type"] = "application/x-www-form-urlencoded"
        connection = http.client.HTTPConnection(HOST, self.port, timeout=30)
        try:
            connection.request(method, "/", body, headers)
            response = connection.getresponse()
            text = response.read().decode()
        finally:
            connection.close()
        if response.status not in (200, 303):
            raise UnexpectedResponseError(f"the demo answered {response.status}: {text.strip()}")
        for value in response.headers.get_all("Set-Cookie", []) if cookies is None else []:
            cookie = read_set_cookie(value)
            if cookie.deleted:
                self.cookies.pop(cookie.name, None)
            else:
                self.cookies[cookie.name] = cookie.value
        return text


class Step(NamedTuple):
    """One step of the story."""

    title: str
    act: Callable[[], object]
    expected: Fact


class Tour:
    """A running demo, a visitor, and the story.

    `clock` of the demo is this object's, so that time can pass without anybody waiting.
    """

    def __init__(self, servers: Servers) -> None:
        self.log = Log()
        self.visitor = Visitor()
        self._servers = servers
        self._key = generate_key()
        self._ahead = 0.0
        self._running = ExitStack()
        self._copied: dict[str, str] = {}
        self._id = ""

    def __enter__(self) -> "Tour":
        self._start()
        return self

    def __exit__(self, *_: object) -> None:
        self._running.close()

    def clock(self) -> float:
        """Return the demo's time, in seconds UTC since 1970."""
        return time.time() + self._ahead

    def take(self, step: Step) -> tuple[Trace, Fact]:
        """Take a step; returns what the demo saw of its last request, and what is true then."""
        step.act()
        trace = self.log.latest()[0]
        fact = Fact(
            trace.place,
            tuple((ran.verb, ran.tier) for ran in trace.commands),
            tuple(sorted(f"{'delete' if c.deleted else 'set'} {_cookie_name(c.name)}" for c in trace.cookies)),
            tuple(sorted(item.key for item in trace.items or ())),
            "none" if trace.active is False else "same" if trace.fingerprint in ("", self._id) else "new",
        )
        self._id = trace.fingerprint or self._id
        return trace, fact

    def steps(self) -> Iterator[Step]:
        """Tell the story; a step may be taken before the next one is asked for."""
        nowhere, cookie, stores = Place
        get, both = (GET_CACHE,), (PUT_DURABLE, PUT_CACHE)
        ask, listed = (GET_DURABLE,), (GET_DURABLE, PUT_DURABLE)  # the list of whose sessions are live
        refill = (GET_CACHE, GET_DURABLE, PUT_CACHE)
        survives = self._servers.cache.startswith("memcached:")
        data, reference = ("set data",), ("set reference",)
        replaced = ("delete data", "set reference")  # the request came with both, the older one goes
        small, big, user = ("note",), ("draft", "note"), ("draft", "note", "scroll", "user")
        none = Fact(nowhere, id="none")
        out = Fact(nowhere, both + listed, ("delete data", "delete reference"), id="none")
        refused = Fact(nowhere, (GET_CACHE, GET_DURABLE), id="none")

        yield Step("first visit", self._read, none)
        yield Step("read: starts nothing", self._read, none)
        yield Step("keep a note: in the cookie", self._do("note"), Fact(cookie, (), data, small, "new"))
        yield Step("read", self._read, Fact(cookie, (), (), small))
        yield Step("put in 20 KB: to the stores", self._do("draft"), Fact(stores, both, reference, big))
        yield Step("read", self._read, Fact(stores, get, (), big))
        yield Step("put in other 20 KB", self._do("draft"), Fact(stores, get + both, replaced, big))
        yield Step(
            "put in 900 KB more", self._do("album"), Fact(stores, get + both, reference, ("album", "draft", "note"))
        )
        yield Step(
            "put in 5 MB more: in parts",
            self._do("film"),
            Fact(stores, get + both, reference, ("album", "draft", "film", "note")),
        )
        yield Step("take the big out: it stays", self._do("unpack"), Fact(stores, get + both, reference, small))
        yield Step(
            "quick write: only the cache",
            self._do("quick"),
            Fact(stores, (GET_CACHE, PUT_CACHE), (), ("note", "scroll")),
        )
        self._copy()
        yield Step(
            "log in: new id, back to cookie",
            self._do("login"),
            Fact(cookie, get + listed + both, data, ("note", "scroll", "user"), "new"),
        )
        yield Step("the copied cookie of the old id", self._read_copied, refused)
        yield Step("put in 20 KB: to the stores", self._do("draft"), Fact(stores, both, replaced, user))
        yield Step("the cache forgets", self._do("forget"), Fact(None))
        yield Step("read: durable still has it", self._read, Fact(stores, refill, (), user))
        yield Step("read: the cache has it again", self._read, Fact(stores, get, (), user))
        self._restart()
        yield Step("the application restarted", self._read, Fact(stores, (get if survives else refill) + ask, (), user))
        self._copy()
        yield Step("log out: gone everywhere", self._do("logout"), out)
        yield Step("the copied cookie: out is out", self._read_copied, refused)
        yield Step("a new note, a new session", self._do("note"), Fact(cookie, (), data, small, "new"))
        bound = Fact(cookie, listed + both, data, ("note", "user"), "new")
        yield Step("log in: bound, all in the cookie", self._do("login"), bound)
        self._copy()
        yield Step("log out again", self._do("logout"), out)
        yield Step("the copy with all in it: refused", self._read_copied, none)
        yield Step("another note, a new session", self._do("note"), Fact(cookie, (), data, small, "new"))
        yield Step("a forged cookie: as good as none", self._read_forged, none)
        yield Step("let it end in 5 seconds", self._do("expire"), Fact(cookie, both, data, small, "new"))
        self._ahead += SECONDS_TO_LIVE + 1
        yield Step("6 seconds later: it is over", self._read, Fact(nowhere, (), ("delete data",), id="none"))

    def _start(self) -> None:
        port = self._running.enter_context(serving(self._servers, self._key, self.log, self.clock))
        self.visitor.port = port

    def _restart(self) -> None:
        self._running.close()
        self._start()

    def _read(self) -> None:
        self.visitor.send("GET")

    def _do(self, action: str) -> Callable[[], object]:
        return lambda: self.visitor.send("POST", {"action": action, "text": "buy milk"})

    def _copy(self) -> None:
        self._copied = dict(self.visitor.cookies)

    def _read_copied(self) -> None:
        self.visitor.send("GET", cookies=self._copied)

    def _read_forged(self) -> None:
        value = self.visitor.cookies[INLINE]
        middle = len(value) // 2
        other = "A" if value[middle] != "A" else "B"
        self.visitor.send("GET", cookies={INLINE: value[:middle] + other + value[middle + 1 :]})


def walk(servers: Servers, out: TextIO = sys.stdout) -> int:
    """Take the tour; returns the exit status: 0 if everything was as it must be, else 1."""
    paint = Paint(out)
    print(f"Holdall's tour. Cache: {servers.labels.cache}. Durable: {servers.labels.durable}.\n", file=out)
    print(paint("1", _row("", "step", "it is in", "cookie", "store commands", "traffic", "time", "it holds")), file=out)
    failures = 0
    taken = 0
    with Tour(servers) as tour, collected_log() as lines:
        for taken, step in enumerate(tour.steps(), 1):
            try:
                trace, actual = tour.take(step)
            except UnexpectedResponseError as error:
                print(_row(str(taken), step.title), *_indented("the log says:", lines), sep="\n", file=out)
                print(paint("1;31", f"    ! {error}"), file=out)
                return 1
            wrong = differences(step.expected, actual)
            line = _row(
                str(taken),
                step.title,
                _tell(actual.place),
                _cookies(trace),
                _commands(actual) or "-",
                in_bytes(sum(ran.size for ran in trace.commands)) if actual.commands else "-",
                f"{trace.micros / 1000:.1f} ms",
                ", ".join(item.key for item in trace.items or ()) or "-",
            )
            print(paint("31", line) if wrong else line, file=out)
            for message in _indented("the log says:", lines):
                print(paint("2", message), file=out)
            for difference in _indented("!", wrong):
                print(paint("31", difference), file=out)
            failures += bool(wrong)
            lines.clear()
    print(file=out)
    if failures:
        print(paint("1;31", f"{failures} of {taken} steps went differently from what must be."), file=out)
        return 1
    print(paint("1;32", f"{taken} steps, and every one went as it must."), file=out)
    return 0


@contextmanager
def collected_log() -> Iterator[list[str]]:
    """Collect what Holdall logs meanwhile."""
    lines: list[str] = []
    handler = logging.Handler(logging.WARNING)
    handler.emit = lambda record: lines.append(record.getMessage())  # type: ignore[method-assign]
    log = logging.getLogger("holdall")
    log.addHandler(handler)
    try:
        yield lines
    finally:
        log.removeHandler(handler)


class Paint:
    """Colours, if a person is looking and did not ask for none (https://no-color.org)."""

    def __init__(self, out: TextIO) -> None:
        self._on = out.isatty() and not os.environ.get("NO_COLOR")

    def __call__(self, code: str, text: str) -> str:
        """Return the text with the SGR code around it, or as it is."""
        return f"\x1b[{code}m{text}\x1b[0m" if self._on else text


def _row(number: str, *cells: str) -> str:
    step, place, cookie, commands, traffic, took, holds = (*cells, *[""] * (7 - len(cells)))
    return f"{number:>2}  {step:<32} {place:<8} {cookie:<9} {commands:<46} {traffic:>8} {took:>8}  {holds}".rstrip()


def _indented(mark: str, lines: list[str]) -> list[str]:
    return [f"    {mark} {line}" for line in lines]


def _cookies(trace: Trace) -> str:
    kept = [cookie for cookie in trace.cookies if not cookie.deleted]
    if kept:
        return f"set {trace.set_bytes} B"
    return f"{len(trace.cookies)} deleted" if trace.cookies else "-"


def _commands(fact: Fact) -> str:
    """The commands in their order, each verb once for those of it that come together."""
    groups = groupby(fact.commands, key=lambda command: command[0])
    return "; ".join(f"{verb} {', '.join(tier.value for _, tier in group)}" for verb, group in groups)


def _cookie_name(name: str) -> str:
    return {INLINE: "data", REFERENCE: "reference"}[name]


def _tell(value: object) -> str:
    match value:
        case None:
            return "-"
        case Place():
            return value.value
        case (str(verb), Tier() as tier):
            return f"{verb} {tier.value}"
        case tuple():
            return ", ".join(_tell(part) for part in value) or "nothing"
    return str(value)
