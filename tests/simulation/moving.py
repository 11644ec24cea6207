"""Random histories of sessions that move in: browsers with another library's cookies, requests that overlap, faults.

A world of its own beside `simulator`, since an old session has no record and no revision, and lives under two ids. The
flows are the real ones, a command is a step, all is chosen from a seed. What must hold is what docs/moving-in.md says;
where a fault lets two things be true, neither is a broken promise.
"""

import json
from collections.abc import Generator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any

from holdall import (
    Command,
    Finished,
    Session,
    SessionManager,
    SessionUnavailable,
    StoreUnavailable,
    Tier,
)
from holdall.testing import FakeClock, RecordingStores

from tests.core.old_library import NAME, Plain
from tests.core.support import KEY, Browser, big
from tests.simulation.ledger import BrokenPromiseError
from tests.simulation.runs import keys_made_once, silence

START = 1_800_000_000.0
UNTIL = datetime.fromtimestamp(START + 20_000, UTC)
MINUTE = 60.0
"""For so long requests that came along with a move may read what was there before."""
CHECK = 60.0
"""After so long every process has heard of a revocation."""
SPREAD = 5.0
"""Clocks are less apart."""
_VERBS = {"read": 6, "add": 10, "grow": 3, "log out": 4, "start": 2, "new id": 2, "revoke": 2, "revoke the others": 4}
_WAITS = (0.1, 1.0, 20.0, 58.0, 63.0, 130.0)
_STEPS = 60


@dataclass(eq=False)
class Old:
    """A session of another library."""

    number: int
    values: dict[str, Any]
    cookie: str
    sid: str | None = None
    """What its id is to Holdall, once somebody saw it."""
    touched: bool = False
    """Somebody began to move, to end or to revoke it."""
    unsure: bool = False
    """Something had no answer while somebody did: what was marked is not known."""
    moved: tuple[int, float] | None = None
    """Tick and time at which the application was told that it has moved in."""
    ended: int | None = None
    """Tick at which the application was told that it has ended, or was revoked."""
    revoked: bool = False
    crossed: int = 0
    """Tick at which others of its principal's began to be revoked last: what is under way then may end as well."""

    @property
    def principal(self) -> str | None:
        """Whose login it is."""
        return self.values.get("user")


@dataclass(eq=False)
class New:
    """A session of Holdall's."""

    sid: str
    browser: int
    old: Old | None
    """What it was before; None for one that began here."""
    touched: bool = False
    """Somebody began to end or to revoke it, or to give it another id."""
    revoked: tuple[int, float, int] | None = None
    """Tick, time and process of the revocation that the application was told of; -1: no process knows it at once."""


@dataclass(eq=False)
class Request:
    """A request under way, and its response."""

    number: int
    browser: int
    process: int
    verb: str
    jar: Browser
    is_copy: bool
    began: int
    time: float
    """The true time at which it began."""
    flow: Generator[Any, Any, None]
    waiting: Command | None = None
    troubled: bool = False
    """A command of it had no answer from the durable tier."""
    lost: set[Tier] = field(default_factory=set)
    """Who did not answer it."""


class History:
    """One history. `live` raises `BrokenPromiseError`; `story` tells what happened until then."""

    def __init__(self, seed: int) -> None:
        self.random = Random(seed)
        self.clock = FakeClock(START)
        self.stores = RecordingStores(self.clock)
        self.is_stored = self.random.random() < 0.5
        keep = self.random.random() < 0.5
        issued = self.random.choice((0, int(START) - 500))
        self.offsets = (0.0, self.random.choice((0.0, -2.0, 2.0)))
        self.managers = []
        for offset in self.offsets:
            reader = Plain(until=UNTIL, keep=keep, issued=issued)
            self.managers.append(
                SessionManager(
                    KEY,
                    moving_in=reader,
                    clock=lambda offset=offset: self.clock() + offset,  # type: ignore[misc]
                    random=self.random.randbytes,
                    store_budget=timedelta(days=1),
                )
            )
        self.tick = 0
        self.news: dict[str, New] = {}
        self.olds: list[Old] = []
        self.browsers: list[Browser] = []
        self.cookies: dict[str, tuple[New, dict[str, Any]]] = {}
        """Which session each cookie of ours is of, and what was in it by then."""
        self.work: list[Request] = []
        self.responses: list[tuple[Request, list[tuple[str, str]]]] = []
        self.story: list[str] = []
        self._begun = 0
        records = {}
        for number in range(2):
            values: dict[str, Any] = {"n": 0, "who": number}
            if self.random.random() < 0.7:
                values["user"] = "ada"
            text = json.dumps(values).replace(" ", "")
            cookie = f"ok.{number}" + ("" if self.is_stored else f".{text}")
            records[str(number)] = (text.encode(), 1, int(START) * 2)
            self.olds.append(Old(number, values, cookie))
            self.browsers.append(Browser())
            self.browsers[-1].cookies = {NAME: cookie}
        if self.is_stored:
            self.stores.restore(Tier.OLD, records)

    def live(self) -> None:
        """Let it happen."""
        chances = self.random
        troubled = chances.choice((0.0, 0.0, 0.05, 0.15))
        for _ in range(_STEPS):
            self.tick += 1
            chance = chances.random()
            if chance < 0.25 or not (self.work or self.responses):
                self._begin()
            elif chance < 0.8 and self.work:
                self._go(chances.choice(self.work), chances.random() < troubled)
            elif chance < 0.92 and self.responses:
                self._arrive(chances.randrange(len(self.responses)), lost=chances.random() < 0.15)
            else:
                self._wait(chances.choice(_WAITS))
        while self.work:
            self._go(chances.choice(self.work), troubled=False)
        while self.responses:
            self._arrive(0, lost=False)
        self._wait(130.0)
        for number, browser in enumerate(self.browsers):
            for process in range(len(self.managers)):
                for jar in (browser, self._copy_of(number)):
                    self._whole("read", number, process, jar)
        self._wait(UNTIL.timestamp() - self.clock() + 3)
        for number in range(len(self.browsers)):
            self._whole("read", number, 0, self._copy_of(number))

    # -- what happens ------------------------------------------------------------------------------------------------

    def _copy_of(self, number: int) -> Browser:
        """What the browser held in the beginning, as somebody may have copied it."""
        copy = Browser()
        copy.cookies = {NAME: self.olds[number].cookie}
        return copy

    def _begin(self) -> None:
        number = self.random.randrange(len(self.browsers))
        is_copy = self.random.random() < 0.15
        jar = self._copy_of(number) if is_copy else self.browsers[number].copy()
        verb = self.random.choices([*_VERBS], [*_VERBS.values()])[0]
        self._request(verb, number, self.random.randrange(len(self.managers)), jar, is_copy=is_copy)

    def _whole(self, verb: str, number: int, process: int, jar: Browser) -> None:
        self.tick += 1
        request = self._request(verb, number, process, jar.copy(), is_copy=True)
        while request in self.work:
            self._go(request, troubled=False)
        self.responses.clear()

    def _request(self, verb: str, number: int, process: int, jar: Browser, *, is_copy: bool) -> Request:
        self._begun += 1
        request = Request(self._begun, number, process, verb, jar, is_copy, self.tick, self.clock(), _nothing())
        request.flow = self._serve(request)
        whose = "somebody with a copy of" if is_copy else "of"
        self._tell(request, f"{whose} browser {number} to process {process}, presenting {[*jar.cookies]}: {verb}")
        self.work.append(request)
        self._advance(request, None)
        return request

    def _go(self, request: Request, troubled: bool) -> None:
        """Have the next command of a request carried out; or it is not, or its reply is lost, or the process dies."""
        command = request.waiting
        assert command is not None
        trouble = self.random.choice(("not asked", "reply lost", "dies")) if troubled else ""
        if trouble == "dies":
            self._tell(request, "is gone, with its process")
            self.work.remove(request)
            self._note_trouble(request)
            request.flow.close()
            return
        answer: Any = StoreUnavailable(trouble)
        if trouble != "not asked":
            (answered,) = self.stores.execute((command,))
            answer = answered if not trouble else answer
        name = f"{type(command).__name__.lower()} {command.tier.value}"
        self._tell(request, f"{name}: {trouble or type(answer).__name__}")
        if trouble:
            request.lost.add(command.tier)
            request.troubled = request.troubled or command.tier is Tier.DURABLE
        self._advance(request, answer)

    def _advance(self, request: Request, answer: Any) -> None:
        flow = request.flow
        try:
            asked = flow.throw(answer) if isinstance(answer, StoreUnavailable) else flow.send(answer)
        except StopIteration:
            self.work.remove(request)
            return
        assert not isinstance(asked, tuple)
        request.waiting = asked

    def _arrive(self, index: int, *, lost: bool) -> None:
        request, headers = self.responses.pop(index)
        if not lost and not request.is_copy:
            self.browsers[request.browser].receive(headers)
        self._tell(request, "its response is lost" if lost else "its response arrives")

    def _wait(self, seconds: float) -> None:
        self.story.append(f"{seconds:g} seconds pass")
        self.clock.advance(seconds)

    def _serve(self, request: Request) -> Generator[Any, Any, None]:
        """Handle a request, as an adapter and an application do."""
        manager = self.managers[request.process]
        exchange = manager.open(request.jar.header)
        session = exchange.session
        try:
            yield from _steps(exchange.load())
        except SessionUnavailable:
            self._tell(request, "503")
            if not request.lost:
                raise BrokenPromiseError("everybody answered, and the session is unavailable") from None
            return
        saw, sid = dict(session), session.sid
        self._tell(request, f"sees {_short(saw)}")
        old = self.olds[request.browser] if NAME in request.jar.cookies else None
        ours = [value for name, value in request.jar.cookies.items() if name != NAME]
        self._check(request, None if ours else old, ours, sid, saw)
        before = self.news.get(sid or "")
        if old is not None and not ours and sid is not None:
            old.sid = sid
        if old is not None and request.verb in ("add", "grow", "log out", "start", "new id"):
            old.touched = True
        if before is not None and request.verb in ("log out", "start", "new id"):
            before.touched = True
        if request.verb.startswith("revoke"):
            yield from self._revoke(request, manager, session)
            act(session, "read", request.browser)
        else:
            act(session, request.verb, request.browser)
        try:
            headers = yield from _steps(exchange.commit(status=200, headers=[]))
        except SessionUnavailable:
            self._tell(request, "503, and nobody knows what is stored")
            self._note_trouble(request)
            return
        self._note_trouble(request)
        dropped = bool(exchange._conflicts)
        self._tell(request, f"is answered{', its changes dropped' if dropped else ''}")
        if not dropped:
            self._note(request, None if ours else old, before, session)
            if old is not None and saw and request.verb in ("log out", "start") and not old.unsure:
                old.ended = self.tick if old.ended is None else old.ended
        for name, value in headers:
            if name == "Set-Cookie" and "Max-Age=0" not in value:
                text = value.partition("; ")[0].partition("=")[2]
                self.cookies[text] = self.news[session.sid or ""], dict(session)
        self.responses.append((request, headers))
        yield from _steps(exchange.finish())

    def _revoke(self, request: Request, manager: SessionManager, session: Session) -> Generator[Any, Any, None]:
        """End all sessions of somebody, or all but the one that asks."""
        spared = session.sid if request.verb == "revoke the others" and session.get("user") else None
        if request.verb == "revoke the others" and spared is None:
            return
        meant = [old for old in self.olds if old.principal and (spared is None or old.sid != spared)]
        for old in meant:
            old.touched = True
        news = self._cross(spared)
        try:
            yield from _steps(manager.revoke("ada", except_sid=spared))
        except SessionUnavailable:
            self._tell(request, "nobody knows whether ada's sessions are revoked")
            self._note_trouble(request)
            return
        self._tell(request, f"has revoked ada's sessions, but {spared}")
        self._cross(spared)
        if request.troubled:
            self._note_trouble(request)
            return
        for old in meant:
            old.ended, old.revoked = self.tick if old.ended is None else old.ended, True
        for new in news:
            if new.old in meant and new.revoked is None:
                new.revoked = self.tick, self.clock(), request.process

    def _cross(self, spared: str | None) -> list[New]:
        """Note that what moves meanwhile may end as well; returns which sessions are meant."""
        for old in self.olds:
            old.crossed = self.tick
        news = [new for new in self.news.values() if new.old is not None and new.old.principal and new.sid != spared]
        for new in news:
            new.touched = True
        return news

    # -- what must hold ----------------------------------------------------------------------------------------------

    def _note_trouble(self, request: Request) -> None:
        """Note that what a request was to mark may not be marked."""
        if request.verb == "read" or (not request.troubled and request in self.work):
            return
        is_meant = request.verb.startswith("revoke")
        for old in self.olds:
            if is_meant or old.number == request.browser:
                old.unsure = old.touched = True
        for new in self.news.values():
            if is_meant or new.browser == request.browser:
                new.touched = True

    def _note(self, request: Request, old: Old | None, before: New | None, session: Session) -> None:
        """Note which session the application was told of. `old`: what was presented, without a cookie of ours."""
        sid = session.sid
        if sid is None or sid in self.news or request.verb not in ("add", "grow", "start", "new id"):
            return
        came = None
        if session.get("came"):
            came = old if before is None else before.old
        self.news[sid] = new = New(sid, request.browser, came)
        new.touched = came is not None and (came.unsure or request.began <= came.crossed)
        if came is not None and came is old:
            self._note_move(request, old, new)

    def _note_move(self, request: Request, old: Old, new: New) -> None:
        if old.unsure:
            return
        if old.revoked:  # while it moved
            new.touched, new.revoked = True, (self.tick, self.clock(), -1)
        if old.ended is not None and old.ended < request.began:
            raise BrokenPromiseError(f"old session {old.number} had ended, and moved in")
        if old.moved is not None:
            raise BrokenPromiseError(f"old session {old.number} moved in twice")
        old.moved = self.tick, self.clock()

    def _check(self, request: Request, old: Old | None, ours: list[str], sid: str | None, saw: dict[str, Any]) -> None:
        """Judge what a request found. `old`: what it presents, if it has no cookie of ours; `ours`: those cookies."""
        if saw and saw.get("who") != request.browser:
            raise BrokenPromiseError(f"browser {request.browser} sees the session of browser {saw.get('who')}")
        if old is not None:
            self._check_old(request, old, saw)
        elif ours:
            self._check_new(request, ours, sid, saw)
        elif saw:
            raise BrokenPromiseError("data without a cookie")

    def _check_old(self, request: Request, old: Old, saw: dict[str, Any]) -> None:
        clock = self.managers[request.process].clock()
        if saw and saw != old.values:
            raise BrokenPromiseError(f"the old cookie of browser {old.number} shows {saw}")
        if saw and clock >= UNTIL.timestamp():
            raise BrokenPromiseError("an old session is read after the day")
        if not saw and not old.touched and clock < UNTIL.timestamp():
            raise BrokenPromiseError(f"nobody ended or moved old session {old.number}, and it is not found")
        if not saw or old.unsure or request.lost:
            return
        if old.ended is not None and old.ended < request.began:
            raise BrokenPromiseError(f"old session {old.number} had ended, and is read")
        if old.moved is not None and old.moved[0] < request.began and request.time > old.moved[1] + MINUTE + SPREAD:
            raise BrokenPromiseError(f"old session {old.number} moved in more than a minute ago, and is read")

    def _check_new(self, request: Request, ours: list[str], sid: str | None, saw: dict[str, Any]) -> None:
        held = {self.cookies[text][0]: self.cookies[text][1] for text in ours}
        if not saw:
            if not any(new.touched for new in held):
                raise BrokenPromiseError(f"nobody ended session {[new.sid for new in held]}, and it is not found")
            return
        new = next((new for new in held if new.sid == sid), None)
        if new is None:
            raise BrokenPromiseError(f"cookies of session {[new.sid for new in held]} open {sid}")
        if "big" not in saw and saw != held[new]:
            raise BrokenPromiseError(f"the cookie held {held[new]}, and shows {saw}")
        if new.revoked is None or request.lost or (new.old is not None and new.old.unsure):
            return
        tick, time, process = new.revoked
        is_told = request.process == process or request.time > time + CHECK + SPREAD
        if request.began > tick and is_told:
            raise BrokenPromiseError(f"session {sid} was revoked, and is read")

    def _tell(self, request: Request, what: str) -> None:
        self.story.append(f"request {request.number} {what}")


def act(session: Session, verb: str, number: int) -> None:
    """Do what an application does in a request of a browser."""
    if verb == "read":
        return
    if verb == "log out":
        session.terminate()
        return
    if verb == "start":
        session.start()
    if verb == "new id" and session.is_active():
        session.regenerate_id()
    if session.is_active() and "who" in session and verb != "start":
        session["came"] = True
    session["who"] = number
    session.incr("n") if "n" in session else session.update(n=1)
    if verb == "grow":
        session["big"] = big()


def broken(seeds: range, most: int = 3) -> list[str]:
    """Live the histories of some seeds; returns the stories of some that break a promise, with seed and promise."""
    stories: list[str] = []
    with silence(), keys_made_once():
        for seed in seeds:
            history = History(seed)
            try:
                history.live()
            except BrokenPromiseError as promise:
                stories.append("\n".join([f"seed {seed}", *history.story, str(promise)]))
                if len(stories) == most:
                    break
    return stories


def _steps(flow: Any) -> Generator[Any, Any, Any]:
    return flow.value if isinstance(flow, Finished) else (yield from flow)


def _nothing() -> Generator[Any, Any, None]:
    yield from ()


def _short(saw: dict[str, Any]) -> dict[str, Any]:
    return {key: value if key != "big" else "..." for key, value in saw.items()}
