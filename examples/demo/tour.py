"""The tour: the demo's story, told by a real client over a real socket, and checked at every step.

Each step says what must be: where the session is then, which cookies the response sets, which commands reached the
stores, what the session holds, and whether its id is the same. Where something else was, the tour says so and fails.
"""

import http.client
import logging
import os
import re
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from itertools import groupby
from typing import NamedTuple, TextIO
from urllib.parse import parse_qsl, urlencode, urlsplit

from holdall import Tier, generate_key

from .page import in_bytes
from .serving import HOST, Servers, serving
from .views import SECONDS_TO_LIVE
from .watch import INLINE, REFERENCE, Log, Place, Trace, cookie_header, read_set_cookie

GET_CACHE = ("Get", Tier.CACHE)
GET_DURABLE = ("Get", Tier.DURABLE)
PUT_CACHE = ("Put", Tier.CACHE)
PUT_DURABLE = ("Put", Tier.DURABLE)

_FORM = "application/x-www-form-urlencoded"
_PATIENCE = 60  # seconds


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
    """The session's id: `none`, `new`, or `same` if it was seen before, or nobody looked."""


def differences(expected: Fact, actual: Fact) -> list[str]:
    """Return what is not as it must be, one line each; nothing if all is."""
    return [
        f"{name}: expected {_tell(wanted)}, was {_tell(got)}"
        for name, wanted, got in zip(Fact._fields, expected, actual, strict=True)
        if wanted != got
    ]


class UnexpectedResponseError(Exception):
    """The demo answered otherwise than the story has it."""


class Visitor:
    """A browser as far as it matters: sends forms, follows no redirects, keeps the cookies itself.

    It returns Secure cookies to 127.0.0.1, as browsers do and Python's cookie jars do not.
    """

    def __init__(self) -> None:
        self.port = 0
        self.cookies: dict[str, str] = {}
        self.location = ""
        """Where the last response sent it."""

    def look(self, path: str = "/", cookies: dict[str, str] | None = None) -> str:
        """Look at a page, with other cookies than its own if they are given; returns the page."""
        return self._send(path, None, cookies, 200)

    def press(self, action: str, status: int = 303, **form: str) -> str:
        """Open the page, and press a button on it; returns the body."""
        return self.post({"csrf": self.token(), "action": action, **form}, status)

    def token(self) -> str:
        """Open the page, and return what is hidden in its forms."""
        found = re.search('name="csrf" value="(.*?)"', self.look())
        return found[1] if found else ""

    def post(self, form: dict[str, str], status: int = 303, path: str = "/do") -> str:
        """Send a form; returns the body."""
        return self._send(path, form, None, status)

    def choose(self, person: str) -> None:
        """Be at the provider that the demo sent it to, say who it is, and be sent back."""
        at = urlsplit(self.location)
        connection = http.client.HTTPConnection(at.netloc, timeout=_PATIENCE)
        try:
            form = dict(parse_qsl(at.query)) | {"person": person}
            connection.request("POST", at.path, urlencode(form), {"Content-Type": _FORM})
            self.location = connection.getresponse().headers["Location"]
        finally:
            connection.close()

    def follow(self, status: int = 303) -> str:
        """Go where the last response sent it; returns the body."""
        at = urlsplit(self.location)
        return self._send(f"{at.path}?{at.query}", None, None, status)

    def _send(self, path: str, form: dict[str, str] | None, cookies: dict[str, str] | None, status: int) -> str:
        """Send a request; with cookies of its own only does it take over what the response sets."""
        headers = {"Cookie": cookie_header(self.cookies if cookies is None else cookies)}
        body = None
        if form is not None:
            body = urlencode(form)
            headers |= {"Content-Type": _FORM, "Origin": f"http://{HOST}:{self.port}"}
        connection = http.client.HTTPConnection(HOST, self.port, timeout=_PATIENCE)
        try:
            connection.request("GET" if body is None else "POST", path, body, headers)
            response = connection.getresponse()
            text = response.read().decode()
        finally:
            connection.close()
        for value in response.headers.get_all("Set-Cookie", []) if cookies is None else []:
            cookie = read_set_cookie(value)
            if cookie.deleted:
                self.cookies.pop(cookie.name, None)
            else:
                self.cookies[cookie.name] = cookie.value
        if response.status != status:
            heading = re.search("<main.*?<p[^>]*>(.*?)</p>", text, re.DOTALL)
            raise UnexpectedResponseError(f"the demo answered {response.status}: {heading[1] if heading else text}")
        self.location = response.headers.get("Location", "")
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
        self.other = Visitor()
        self._servers = servers
        self._key = generate_key()
        self._ahead = 0.0
        self._running = ExitStack()
        self._copied: dict[str, str] = {}
        self._ids = {""}

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
            tuple(sorted(item.key for item in trace.items if not item.key.startswith("_"))),  # a framework's own
            "none" if trace.active is False else "same" if trace.id in self._ids else "new",
        )
        self._ids.add(trace.id)
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
        small = ("csrf", "thing apple")
        big, mine = (*small[:1], "parcel 1", *small[1:]), ("csrf", "mark", "thing apple", "user")
        rich = ("csrf", "mark", "parcel 1", "thing apple", "user")
        raced = ("csrf", "mark", "parcel 1", "thing apple", "thing blue marble", "thing red marble", "user")
        none = Fact(nowhere, id="none")
        refused = Fact(nowhere, (GET_CACHE, GET_DURABLE), id="none")
        me, other, press = self.visitor, self.other, self._press

        yield Step("first visit", me.look, none)
        yield Step("look again: starts nothing", me.look, none)
        yield Step(
            "an apple: in the cookie", press("put", name="apple", pieces="1"), Fact(cookie, (), data, small, "new")
        )
        yield Step("look", me.look, Fact(cookie, (), (), small))
        yield Step(
            "a parcel of 20 KB: to the stores", press("pack", kilobytes="20"), Fact(stores, both, reference, big)
        )
        yield Step("look", me.look, Fact(stores, get, (), big))
        yield Step("another apple", press("put", name="apple", pieces="1"), Fact(stores, get + both, replaced, big))
        more = ("csrf", "parcel 1", "parcel 2", "thing apple")
        yield Step("900 KB more", press("pack", kilobytes="900"), Fact(stores, get + both, reference, more))
        most = ("csrf", "parcel 1", "parcel 2", "parcel 3", "thing apple")
        yield Step("5 MB more: in parts", press("pack", kilobytes="5000"), Fact(stores, get + both, reference, most))
        yield Step("the parcels out: it stays", press("unpack"), Fact(stores, get + both, reference, small))
        yield Step(
            "quick write: only the cache",
            press("quick"),
            Fact(stores, (GET_CACHE, PUT_CACHE), (), ("csrf", "scroll", "thing apple")),
        )
        self._copy()
        yield Step(
            "begin to sign in",
            press("sign-in"),
            Fact(stores, get + both, reference, ("csrf", "scroll", "sign-in", "thing apple")),
        )
        me.choose("ada")
        yield Step(
            "signed in: new id, in the cookie",
            me.follow,
            Fact(cookie, get + listed + both, data, ("csrf", "mark", "scroll", "thing apple", "user"), "new"),
        )
        yield Step("the copied cookie of the old id", self._look_with_copy, refused)
        yield Step(
            "a parcel: to the stores", press("pack", kilobytes="20"), Fact(stores, both, replaced, _with_scroll(rich))
        )
        yield Step("the cache forgets", press("flush"), Fact(stores, get, (), _with_scroll(rich)))
        yield Step("look: durable still has it", me.look, Fact(stores, refill, (), _with_scroll(rich)))
        yield Step("look: the cache has it again", me.look, Fact(stores, get, (), _with_scroll(rich)))
        self._restart()
        yield Step(
            "the application restarted",
            me.look,
            Fact(stores, (get if survives else refill) + ask, (), _with_scroll(rich)),
        )
        yield Step("two tabs race: both win", self._race, Fact(stores, get, (), _with_scroll(raced)))
        yield Step("the durable store stops", press("stop"), Fact(stores, get, (), _with_scroll(raced)))
        yield Step("look: the cache has it", me.look, Fact(stores, get, (), _with_scroll(raced)))
        yield Step(
            "an apple: 503, nothing changed",
            press("put", 503, name="apple", pieces="1"),
            Fact(stores, (*get, PUT_DURABLE, GET_DURABLE), (), _with_scroll(raced)),
        )
        yield Step("the durable store starts", press("start"), Fact(None))
        other.press("sign-in")
        other.choose("ada")
        yield Step(
            "another browser signs in",
            other.follow,
            Fact(cookie, listed + both, data, ("csrf", "mark", "user"), "new"),
        )
        yield Step("my sessions: both", lambda: self._listed(2), Fact(stores, get + ask, (), _with_scroll(raced)))
        yield Step("end all others", press("revoke"), Fact(stores, get + ask + listed, (), _with_scroll(raced)))
        yield Step("the other browser: signed out", other.look, none)
        yield Step("my sessions: one", lambda: self._listed(1), Fact(stores, get + ask, (), _with_scroll(raced)))
        self._copy()
        yield Step(
            "sign out: gone everywhere",
            press("sign-out"),
            Fact(nowhere, get + both + listed, ("delete data", "delete reference"), id="none"),
        )
        yield Step("the copied cookie: out is out", self._look_with_copy, refused)
        yield Step(
            "a new apple, a new session", press("put", name="apple", pieces="1"), Fact(cookie, (), data, small, "new")
        )
        me.press("sign-in")
        me.choose("grace")
        yield Step("signed in: bound, in the cookie", me.follow, Fact(cookie, listed + both, data, mine, "new"))
        self._copy()
        yield Step(
            "sign out again",
            press("sign-out"),
            Fact(nowhere, both + listed, ("delete data", "delete reference"), id="none"),
        )
        yield Step("the copy with all in it: refused", self._look_with_copy, none)
        yield Step(
            "another apple, a new session", press("put", name="apple", pieces="1"), Fact(cookie, (), data, small, "new")
        )
        yield Step("a forged cookie: as good as none", self._look_with_forged, none)
        yield Step("let it end in 5 seconds", press("expire"), Fact(cookie, both, data, small, "new"))
        self._ahead += SECONDS_TO_LIVE + 1
        yield Step("6 seconds later: it is over", me.look, Fact(nowhere, (), ("delete data",), id="none"))

    def _start(self) -> None:
        port = self._running.enter_context(serving(self._servers, self._key, self.log, self.clock))
        self.visitor.port = self.other.port = port

    def _restart(self) -> None:
        self._running.close()
        self._start()

    def _press(self, action: str, status: int = 303, **form: str) -> Callable[[], object]:
        return lambda: self.visitor.press(action, status, **form)

    def _race(self) -> None:
        """Press a button in two tabs at once, then look."""
        form = {"csrf": self.visitor.token(), "action": "race", "race": "tour"}
        with ThreadPoolExecutor(2) as tabs:
            for tab in [tabs.submit(self.visitor.post, form) for _ in range(2)]:
                tab.result()
        self.visitor.look()

    def _listed(self, expected: int) -> None:
        """Look at my sessions, which must be so many."""
        listed = self.visitor.look("/sessions").count('<tr><th scope="row">') + 1  # this very session's row is marked
        if listed != expected:
            raise UnexpectedResponseError(f"{listed} sessions are listed instead of {expected}")

    def _copy(self) -> None:
        self._copied = dict(self.visitor.cookies)

    def _look_with_copy(self) -> None:
        self.visitor.look(cookies=self._copied)

    def _look_with_forged(self) -> None:
        value = self.visitor.cookies[INLINE]
        middle = len(value) // 2
        other = "A" if value[middle] != "A" else "B"
        self.visitor.look(cookies={INLINE: value[:middle] + other + value[middle + 1 :]})


def walk(servers: Servers, out: TextIO = sys.stdout) -> int:
    """Take the tour; returns the exit status: 0 if everything was as it must be, else 1."""
    paint = Paint(out)
    cache, durable, framework = servers.labels
    print(f"Holdall's tour of {framework}. Cache: {cache}. Durable: {durable}.\n", file=out)
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
                ", ".join(item.key for item in trace.items) or "-",
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


def _with_scroll(keys: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(sorted((*keys, "scroll")))


def _row(number: str, *cells: str) -> str:
    step, place, cookie, commands, traffic, took, holds = (*cells, *[""] * (7 - len(cells)))
    return f"{number:>2}  {step:<32} {place:<8} {cookie:<9} {commands:<57} {traffic:>8} {took:>8}  {holds}".rstrip()


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
