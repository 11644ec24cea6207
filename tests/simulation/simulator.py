"""The world of a history: browsers, processes with clocks of their own, a cache, a durable store, and the real flows.

One event after the other is done; nothing is random here but the bytes that the core asks for. Which events happen is
chosen by `scheduler`, what an application does in a request is in `application`, what must hold is in `ledger`.
"""

import math
from collections.abc import Callable, Generator
from dataclasses import replace
from datetime import timedelta
from random import Random
from typing import Any, NamedTuple

from holdall import (
    Command,
    Conflict,
    Exchange,
    Expect,
    Finished,
    Found,
    Put,
    SessionManager,
    SessionUnavailable,
    StoreError,
    StoreUnavailable,
    Tier,
)
from holdall.record import pack, split_note, unpack, with_note
from holdall.session import format_sid, parse_sid
from holdall.tiers import store_key
from holdall.token import Token

from tests.simulation.application import ENDING, OF_PRINCIPALS, PRINCIPALS, Request, act, act_late
from tests.simulation.ledger import NEVER, BrokenPromiseError, Ledger, Life, Reading, Refusal, Status, Write
from tests.simulation.matrix import LOADING, Fault, Met, Step, step_of
from tests.simulation.servers import Cache, Durable, Server

TRUST = 60.0
CHECK = 60.0
START = 1_800_000_000.0
KEYS = ("a key for simulations only: 0123456789abcdef", "another key for simulations: fedcba9876543210")
KEY_RINGS = (KEYS[:1], KEYS, KEYS[::-1])
"""How a key rolls out: add it as second, promote it. The old one stays: what it sealed is still in use."""
SLIDE = 3 * 24 * 3600
BUDGET = 16
"""How many commands a request may take, and how many more for every error and conflict that it meets."""
FOR_TROUBLE = 4
_LATE = 7
"""Ticks after which a command that timed out is carried out."""
_SUPERSEDED = 59.0
_STALLED = 9
"""Ticks that a slow answer takes."""


class Config(NamedTuple):
    """What is the same all through a history."""

    threshold: int
    memory_only: bool
    idle_timeout: int | None
    offsets: tuple[float, ...]
    """How many seconds the clock of each process is ahead when the history begins."""
    drifts: tuple[float, ...]
    """How many seconds it gains in a second."""
    browsers: int
    budget: int
    """For how many seconds a request waits for its stores: so long that it never matters, or as by default."""
    has_logins: bool
    """There are sessions that are bound, and revoked."""


class Begin(NamedTuple):
    """A request begins."""

    request: int
    browser: int
    """Whose cookies it presents; -1: it opens a session by its id."""
    process: int
    verb: str
    key: int = 0
    late: str = ""
    """What it changes after the headers, if anything."""
    jar: int = -1
    """Which earlier cookies of the browser somebody copied and presents; -1: the browser's own of today."""
    sid: int = 0
    """Which of all sids it opens, if no browser's cookies do."""


class Go(NamedTuple):
    """The next command of a request is carried out, or is not."""

    request: int
    fault: Fault | None = None


class Arrive(NamedTuple):
    """A response arrives at its browser, or is lost."""

    request: int
    lost: bool = False


class Wait(NamedTuple):
    """Time passes."""

    seconds: float


class Strike(NamedTuple):
    """Something befalls a server or a process. `what` is a fault, or a word for its end, or for what goes before it."""

    what: Fault | str
    target: int = 0
    """Which process, or request whose key is meant."""
    seconds: float = 0.0


Event = Begin | Go | Arrive | Wait | Strike


class Cookie(NamedTuple):
    """What a response said of a session."""

    token: Token
    life: Life


class Response(NamedTuple):
    """What a response does to a browser's cookies."""

    request: Request
    cookies: dict[str, str]
    deleted: list[str]
    cookie: Cookie | None
    after_stale: bool
    """Its request presented what had expired, or a cookie of a session that ended a while ago: it may be deleted."""


class Browser:
    """Keeps cookies by name, and every state its cookies were in."""

    def __init__(self) -> None:
        self.jar: dict[str, str] = {}
        self.jars: list[dict[str, str]] = []
        self.told: Cookie | None = None
        """The stored session that it was told of last, if no response has taken that back."""


class Process:
    """An application process: its clock, its keys, and what it can reach."""

    def __init__(self, offset: float, drift: float) -> None:
        self.offset = offset
        self.drift = drift
        self.latest = START + offset
        """The latest that its clock has said."""
        self.keys = 0
        self.cut_off: set[Tier] = set()
        self.manager: SessionManager


class Work:
    """A request under way: its flow, the commands that it waits for, and their answers."""

    __slots__ = ("answers", "flow", "is_tuple", "keys", "request", "slow_until", "steps", "waiting")

    def __init__(self, request: Request, flow: Generator[Any, Any, None], keys: int) -> None:
        self.request = request
        self.flow = flow
        self.keys = keys
        """Which key ring it works with."""
        self.waiting: list[tuple[int, Command]] = []
        self.steps: list[Step] = []
        self.answers: dict[int, Any] = {}
        self.is_tuple = False
        self.slow_until = 0


class Simulation:
    """One history. `do` takes the next event; `conclude` ends it. Both raise `BrokenPromiseError`."""

    def __init__(self, config: Config, seed: int, *, story: list[str] | None = None) -> None:
        self.config = config
        self.time = START
        self.ledger = Ledger(TRUST, CHECK, memory_only=config.memory_only)
        self.cache = Cache(self._true_time)
        self.durable = Durable(self._true_time)
        self._bytes = Random(seed).randbytes
        self.processes = [Process(*of) for of in zip(config.offsets, config.drifts, strict=True)]
        for process in self.processes:
            process.manager = self._manager(process)
        self._ahead = [*config.offsets]
        self.ledger.spread = max(self._ahead) - min(self._ahead)
        self.browsers = [Browser() for _ in range(config.browsers)]
        self.work: dict[int, Work] = {}
        self.responses: dict[int, Response] = {}
        self.requests: dict[int, Request] = {}
        self.cookies: dict[str, Cookie] = {}
        self._contents: dict[Token, dict[str, Any]] = {}
        self.late: list[tuple[int, Server, Command]] = []
        self.met: Met = {}
        self.story = story
        self.commands = self.faults = self.promotions = self.new_sids = 0
        self.crowd = 0
        """How many requests were writing to one session at most when the reply to one of them was lost."""
        self.backup_tick = self.replica_tick = self.restart_tick = 0
        self.failed_over = False
        self._lives_by_key: dict[str, Life] = {}

    # -- events ------------------------------------------------------------------------------------------------------

    def do(self, event: Event) -> None:
        """Let one thing happen. What cannot happen any more, because its request is over, does not."""
        ledger = self.ledger
        ledger.tick += 1
        ledger.time = self.time
        if self.late:
            self._carry_out_late(ledger.tick)
        if type(event) is Go:
            work = self.work.get(event.request)
            if work is not None:
                self._go(work, event.fault)
        elif type(event) is Begin:
            self._begin(event)
        elif type(event) is Arrive:
            response = self.responses.pop(event.request, None)
            if response is not None:
                self._arrive(response, lost=event.lost)
        elif type(event) is Wait:
            self._tell(f"{event.seconds:g} seconds pass")
            self.time += event.seconds
            for process in self.processes:
                process.offset += process.drift * event.seconds
            self._note_clocks()
        else:
            assert type(event) is Strike
            self._strike(event)

    def conclude(self) -> None:
        """Let everything come to its end, heal everything, and look at every session once more."""
        self._heal()
        self._finish_all()
        for number in sorted(self.responses):
            self.do(Arrive(number))
        for number, life in enumerate(self.announced()):
            if life.is_stored:  # now, while what the cache has is still trusted
                self._ask(Begin(self.next_request(), -1, number % len(self.processes), "read", sid=number))
        if self.ledger.spread < 1e6:
            self.do(Wait(TRUST + self.ledger.spread + 61))
        for number in range(len(self.browsers)):
            self._ask(Begin(self.next_request(), number, 0, "read"))
        if self.config.has_logins:
            for principal in sorted({*PRINCIPALS}):
                self._ask(Begin(self.next_request(), -1, 0, "sessions_of", PRINCIPALS.index(principal)))
        if not self.config.memory_only:
            self.do(Strike(Fault.FLUSH))
        for life in self.announced():
            self._look_again(self.announced().index(life), life)

    def _look_again(self, number: int, life: Life) -> None:
        process = number % len(self.processes)
        if life.is_stored or life.ended is not None:
            found = self._ask(Begin(self.next_request(), -1, process, "read", sid=number))
            if (
                found.sid is None
                and life.enders == len(life.children) == 1
                and not life.rolled_back
                and not self.ledger.may_be_revoked(life)
            ):
                self._look_for_child(process, life)
        if (
            (life.ended or life.left or life.revoked) is not None
            and life.inline_copies
            and self.time + self.processes[process].offset < life.earliest_end
        ):
            # Somebody kept a copy of its cookie from before it ended: it can be read unless it was bound, and never be
            # stored.
            browser = self.browsers[life.line.browser]
            browser.jars.append(life.inline_copies[-1])
            self._ask(Begin(self.next_request(), life.line.browser, process, "grow", jar=len(browser.jars) - 1))

    def _look_for_child(self, process: int, life: Life) -> None:
        """Rule 9: if nobody was told what became of a new id, then one of both ids has everything."""
        if (
            self.config.threshold
            or not life.is_stored
            or self.time + self.processes[process].offset >= life.earliest_end
        ):
            return
        (child,) = life.children
        child.parent, child.stored_at, child.announced = life, self.ledger.tick, True
        self._ask(Begin(self.next_request(), -1, process, "read", sid=self.announced().index(child)))

    def _ask(self, begin: Begin) -> Request:
        self.do(begin)
        while begin.request in self.work:
            self.do(Go(begin.request))
        self.do(Arrive(begin.request))
        return self.requests[begin.request]

    def _heal(self) -> None:
        for number, process in enumerate(self.processes):
            if Tier.CACHE in process.cut_off:
                self.do(Strike("the cache is reachable", number))
            if Tier.DURABLE in process.cut_off:
                self.do(Strike("the durable store is reachable", number))
        if self.durable.newer:
            self.do(Strike("the newer version is taken back"))

    def _finish_all(self) -> None:
        for _ in range(100_000):
            if not self.work:
                if not self.late:
                    return
                self.do(Wait(0))
                continue
            # What began first ends last: then the others have done all that it does not know of.
            latest = [number for number in reversed(self.work) if not self.work[number].slow_until]
            self.do(Go(latest[0] if latest else next(iter(self.work))))
        raise BrokenPromiseError("requests do not come to an end")

    # -- requests ----------------------------------------------------------------------------------------------------

    def _begin(self, begin: Begin) -> None:
        process = self.processes[begin.process]
        clock = process.manager.clock()
        request = Request(begin.request, self.ledger.tick, begin.process, begin.verb, begin.key, begin.late, clock)
        self.requests[begin.request] = request
        request.owner = begin.browser if begin.browser >= 0 else None
        if begin.verb in OF_PRINCIPALS:
            self._tell(f"request {begin.request} to process {begin.process}: {self._what(request)}")
            flow = (
                self._revoke(process.manager, request.principal, None, request)
                if begin.verb == "revoke"
                else self._list(process.manager, request)
            )
            self._advance(Work(request, flow, process.keys), None)
            return
        reading = Reading(self.ledger.tick, self.time, clock, request.owner, begin.process, process.manager)
        if begin.browser < 0:
            lives = self.announced()
            if not lives:
                return
            life = lives[begin.sid % len(lives)]
            reading.asked = [life]
            reading.presented = frozenset((life.sid,))
            exchange = process.manager.open_sid(life.sid)
            self._tell(f"request {begin.request} to process {begin.process} opens {life.name}: {self._what(request)}")
        else:
            exchange = self._present(begin, request, reading, process.manager)
        work = Work(request, self._serve(exchange, request, reading), process.keys)
        self._advance(work, None)

    def _present(self, begin: Begin, request: Request, reading: Reading, manager: SessionManager) -> Exchange:
        browser = self.browsers[begin.browser]
        is_copy = 0 <= begin.jar < len(browser.jars)
        jar = browser.jars[begin.jar] if is_copy else browser.jar
        request.browser = None if is_copy else begin.browser
        presented = [self.cookies[value] for value in jar.values()]
        live = [cookie for cookie in presented if self._is_live(cookie.token, request.clock)]
        reading.presented = frozenset(cookie.life.sid for cookie in presented)
        reading.asked = [*{cookie.life: None for cookie in live}]
        reading.inline = bool(live) and all(cookie.token.payload is not None for cookie in live)
        request.presents_expired = len(live) < len(presented)
        request.inline_lives = [cookie.life for cookie in live if cookie.token.payload is not None]
        told = browser.told
        if told is not None and not is_copy and self._is_live(told.token, request.clock):
            reading.hides = told.life
        if self.story is not None:
            whose = "somebody with a copy of the cookies of browser" if is_copy else "browser"
            self._tell(
                f"request {begin.request} of {whose} {begin.browser} to process {begin.process}, "
                f"presenting {self._names(jar)}: {self._what(request)}"
            )
        return manager.open("; ".join(f"{name}={value}" for name, value in jar.items()))

    def _is_live(self, token: Token, clock: float) -> bool:
        idle = self.config.idle_timeout
        return clock < token.expires and (idle is None or clock - token.seen <= idle)

    def _serve(self, exchange: Exchange, request: Request, reading: Reading) -> Generator[Any, Any, None]:
        """Handle one request, as an adapter and an application do."""
        ledger, session = self.ledger, exchange.session
        try:
            yield from _steps(exchange.load())
        except SessionUnavailable:
            self._note_held_back(exchange, request)
            self._tell(f"request {request.number} cannot load its session: 503")
            self._keep_cookies((yield from _steps(exchange.commit(status=200, headers=[]))))
            return
        self._note_held_back(exchange, request)
        reading.unanswered = request.home_faults > 0
        request.sid, request.saw = session.sid, dict(session)
        token = session._token
        if token is not None and request.sid is not None:
            reading.floor = token.revision
            reading.inline = request.was_inline = token.payload is not None
            if reading.inline:
                reading.content = self._contents.get(token)
        if self.story is not None:
            self._tell(f"request {request.number} sees {self._name(request.sid)} {_short(request.saw)}")
        ledger.read(reading, request.sid, request.saw)
        before = ledger.lives.get(request.sid or "")
        main = Write(request.number, request.begin)
        main.from_cookie = request.was_inline
        act(session, request, main, ledger)
        token = session._active_token()
        if token is not None:
            sid = format_sid(token.sid)
            request.life = ledger.lives.get(sid) or self._new_life(sid, request, before, token.expires)
        if request.verb == "revoke the others" and before is not None and before.principal is not None:
            yield from self._revoke(exchange._manager, before.principal, before, request)
        if before is not None and request.life is not before:
            request.ends = before
            before.enders += 1
            before.first_end = min(before.first_end, self.time)
        if not request.only_reads:
            ledger.belongs(main, request.life)
            request.writes.append(main)
        if request.fails:
            main.status = Status.NOT_SAVED
        until = request.clock + SLIDE if request.slides else None
        status = 500 if request.fails else 200
        try:
            flow = exchange.commit(status=status, headers=[], expiration_ts=until, refresh=request.slides)
            self._note_end(exchange)  # which may be stored, whatever becomes of its process
            headers = yield from _steps(flow)
        except SessionUnavailable:
            self._note_held_back(exchange, request)
            self._tell(f"request {request.number}: unknown whether it is saved: 503")
            self._note_end(exchange)
            self._leave_open(request)
            return
        self._note_held_back(exchange, request)
        self._note_end(exchange)
        dropped = bool(exchange._conflicts)
        ledger.closed(main, Status.DROPPED if dropped else Status.DONE)
        if self.story is not None:
            self._tell(f"request {request.number} is answered" + (", its changes are dropped" if dropped else ""))
        if not dropped and not request.fails:
            self._acknowledged(exchange, request, main)
        self._respond(exchange, request, headers)
        if request.late and not request.fails and session.is_active() and session._held is not None and not dropped:
            yield from self._serve_late(exchange, request)
        else:
            yield from _steps(exchange.finish())

    def _revoke(
        self, manager: SessionManager, principal: str, keep: Life | None, request: Request
    ) -> Generator[Any, Any, None]:
        revocation = self.ledger.revokes(principal, keep)
        try:
            yield from _steps(manager.revoke(principal, except_sid=None if keep is None else keep.sid))
        except SessionUnavailable:
            self._tell(f"request {request.number}: unknown whether {principal}'s sessions are revoked")
        else:
            self._tell(f"request {request.number} has revoked {principal}'s sessions")
            self.ledger.revoked(revocation, self._refusal(manager))
        finally:
            revocation.end = self.ledger.tick

    def _list(self, manager: SessionManager, request: Request) -> Generator[Any, Any, None]:
        try:
            listed = yield from _steps(manager.sessions_of(request.principal))
        except SessionUnavailable:
            self._tell(f"request {request.number} cannot list {request.principal}'s sessions")
            return
        self._tell(f"request {request.number} lists those that began with requests {[one.label for one in listed]}")
        self.ledger.listed(request.principal, {one.label for one in listed}, request.begin, manager.clock())

    def _refusal(self, manager: SessionManager) -> Refusal:
        return Refusal(self.ledger.tick, tuple(process.latest for process in self.processes), manager)

    def _serve_late(self, exchange: Exchange, request: Request) -> Generator[Any, Any, None]:
        ledger, session = self.ledger, exchange.session
        write = Write(request.number, ledger.tick, request.begin)
        act_late(session, request, write, ledger)
        ledger.belongs(write, ledger.lives[session.sid or ""])
        request.writes.append(write)
        before = len(exchange._conflicts)
        try:
            yield from _steps(exchange.finish())
        except SessionUnavailable:
            self._note_held_back(exchange, request)
            ledger.closed(write, Status.UNKNOWN)
            return
        self._note_held_back(exchange, request)
        dropped = len(exchange._conflicts) > before
        ledger.closed(write, Status.DROPPED if dropped else Status.DONE)
        if not dropped:
            ledger.stored(write, NEVER, durable=True)

    def _keep_cookies(self, headers: list[tuple[str, str]]) -> None:
        """What was unavailable is neither a logout nor a login."""
        cookies, deleted = _cookies_of(headers)
        if deleted or (cookies and not self.config.idle_timeout):
            raise BrokenPromiseError("a response to a request whose session was unavailable changes a cookie")

    def _new_life(self, sid: str, request: Request, old: Life | None, expires: float) -> Life:
        assert request.owner is not None
        of = old if request.moved else None
        life = self.ledger.new_life(sid, expires, of=of, browser=request.owner)
        came = None if of is None else of.principal
        life.principal = request.principal if request.binds else came
        life.carries = of if life.principal == came else None
        life.label = str(request.number) if request.binds else None if of is None else of.label
        raw = parse_sid(sid)
        assert raw is not None
        self._lives_by_key[store_key(raw)] = life
        return life

    def _leave_open(self, request: Request) -> None:
        """Nobody was told what became of a request."""
        for write in request.writes:
            if write.status is Status.OPEN:
                self.ledger.closed(write, Status.UNKNOWN)
                if request.ends is not None and request.moved and request.life is not None:
                    request.ends.children.append(request.life)

    def _note_held_back(self, exchange: Exchange, request: Request) -> None:
        """Note which commands the core held back, since the request had waited long enough: as if nobody answered."""
        failures = exchange.session._failures if exchange.session.is_accessed() else []
        if not failures:
            return
        held_back = [failure for failure in failures if "not asked, this request has" in failure]
        for failure in held_back[request.held_back :]:
            self._tell(f"request {request.number}: {failure}")
            is_cache = f" {Tier.CACHE.value}: " in failure
            request.troubles += 1
            request.home_faults += is_cache == self.config.memory_only
            if is_cache:
                self.ledger.untell()
        request.held_back = len(held_back)

    def _note_end(self, exchange: Exchange) -> None:
        token = exchange.session._new or exchange.session._token
        life = None if token is None else self.ledger.lives.get(format_sid(token.sid))
        if life is not None and token is not None and token.expires:
            life.earliest_end = min(life.earliest_end, token.expires)
            life.latest_end = max(life.latest_end, token.expires)

    def _acknowledged(self, exchange: Exchange, request: Request, main: Write) -> None:
        ledger, ends, life = self.ledger, request.ends, request.life
        if life is not None and life.principal is not None and life.bound_at == NEVER:
            ledger.bound(life, request.begin)
        # Where nobody answers, the old id of a bound session may stay in the list; its end may not.
        may_stay = request.moved and request.home_faults
        if ends is not None and ends.principal is not None and request.begin > ends.rolled_back and not may_stay:
            ends.left = ends.left or self._refusal(exchange._manager)
        # That a session in the cookie has ended is recorded if the store answers, and no more is promised.
        if ends is not None and not (request.was_inline and request.home_faults):
            if request.moved:
                ledger.moved(ends, request.begin)
            ledger.ended(ends, request.begin)
            if request.moved and life is not None and request.begin > ends.rolled_back:
                life.parent = ends
        token = exchange.session._token
        if life is not None:
            life.announced = True
        if life is None or token is None or not (main or ends is not None or request.slides):
            return
        self.new_sids += ends is not None
        if token.payload is None:
            self.promotions += request.was_inline and ends is None
            ledger.stored(main, token.revision, durable=not exchange._quick)

    def _respond(self, exchange: Exchange, request: Request, headers: list[tuple[str, str]]) -> None:
        cookies, deleted = _cookies_of(headers)
        if not cookies and not deleted:
            return
        cookie = None
        token = exchange.session._token
        if cookies:
            assert token is not None
            cookie = Cookie(token, self.ledger.lives[format_sid(token.sid)])
            for text in cookies.values():
                self.cookies[text] = cookie
            if token.payload is not None:
                self._contents[token] = dict(exchange.session)
                cookie.life.inline_copies.append(cookies)
        if request.browser is not None:
            # Rule 10: a cookie that comes long after its session ended is deleted, whosever it is by then.
            long_ago = self.time - _SUPERSEDED + self.ledger.spread
            after_stale = request.presents_expired or any(
                self.ledger.may_have_ended_by(life, long_ago) for life in request.inline_lives
            )
            self.responses[request.number] = Response(request, cookies, deleted, cookie, after_stale)

    def _arrive(self, response: Response, *, lost: bool) -> None:
        request = response.request
        if self.story is not None:
            self._tell(f"the response to request {request.number} " + ("is lost" if lost else "arrives"))
        if lost:
            return
        assert request.browser is not None
        browser = self.browsers[request.browser]
        before = {self.cookies[value].life: self.cookies[value] for value in browser.jar.values()}
        for name in response.deleted:
            browser.jar.pop(name, None)
            if name.endswith("-ref"):
                browser.told = None
        browser.jar.update(response.cookies)
        if response.cookie is not None and response.cookie.token.payload is None:
            browser.told = response.cookie
        browser.jars.append(dict(browser.jar))
        if not browser.jar and not response.after_stale and request.verb not in ENDING:
            for life, cookie in before.items():
                if self.ledger.is_certain(life) and self._is_live(cookie.token, self.time + self.ledger.spread):
                    raise BrokenPromiseError(f"a response to a request that ended nothing logs {life.name} out")

    # -- commands ----------------------------------------------------------------------------------------------------

    def _advance(self, work: Work, answer: Any) -> None:
        request = work.request
        try:
            step = work.flow.throw(answer) if isinstance(answer, StoreError) else work.flow.send(answer)
        except StopIteration:
            self.work.pop(request.number, None)
            return
        except BrokenPromiseError:
            raise
        except Exception as error:
            raise BrokenPromiseError(f"request {request.number} fails: {error!r}") from error
        work.is_tuple = isinstance(step, tuple)
        commands = step if work.is_tuple else (step,)
        work.waiting = [*enumerate(commands)]
        work.steps = [step_of(work.flow, command) for command in commands]
        work.answers = {}
        self.work[request.number] = work

    def _go(self, work: Work, fault: Fault | None) -> None:
        tick, request = self.ledger.tick, work.request
        if work.slow_until:
            if tick < work.slow_until and len(self.work) > 1:
                return
            work.slow_until = 0
        else:
            number, command = work.waiting.pop(tick % len(work.waiting))
            answer = self._carry_out(work, work.steps[number], command, fault)
            if request.number not in self.work:
                return
            work.answers[number] = answer
            if fault is Fault.SLOW:
                work.slow_until = tick + _STALLED
                return
        if work.waiting:
            return
        answers = tuple(work.answers[number] for number in sorted(work.answers))
        self._advance(work, answers if work.is_tuple else answers[0])

    def _carry_out(self, work: Work, step: Step, command: Command, fault: Fault | None) -> Any:
        request, ledger = work.request, self.ledger
        process = self.processes[request.process]
        server: Server = self.cache if command.tier is Tier.CACHE else self.durable
        if server is self.cache and type(command) is Put:  # as memcached, which is told how much time is left
            command = replace(command, expires=math.ceil(command.expires - process.offset))
        self.commands += 1
        request.commands += 1
        if request.commands > BUDGET + FOR_TROUBLE * request.troubles:
            raise BrokenPromiseError(f"request {request.number} takes {request.commands} commands")
        if request.only_reads and not request.late and step not in LOADING:
            raise BrokenPromiseError(f"request {request.number} only read, and writes: {step.value}")
        answer: Any
        if command.tier in process.cut_off:
            fault = Fault.PARTITION if command.tier is Tier.CACHE else Fault.OUTAGE
            answer = StoreUnavailable(fault.value)
        elif fault is Fault.REFUSED:
            answer = StoreUnavailable(fault.value)
        elif fault is Fault.DIES_BEFORE:
            answer = None
        elif fault is Fault.LATE:
            self.late.append((ledger.tick + _LATE, server, command))
            answer = StoreUnavailable(fault.value)
        else:
            answer = self._execute(server, command)
            if server is self.cache and type(command) is Put and request.begin <= self.restart_tick:
                ledger.untell()  # it counts anew, so that what was expected from before may be another entry by now
            if fault is Fault.LOST:
                answer = StoreUnavailable(fault.value)
                if step is Step.UPDATE:
                    self.crowd = max(self.crowd, 1 + self._writers(command))
        if self.story is not None:
            outcome = fault.value if fault is not None else f"{type(answer).__name__.lower()}"
            self._tell(f"request {request.number}: {step.value} ({command.tier.value}): {outcome}")
        if fault is not None:
            self._meet(fault, step)
            if command.tier is Tier.CACHE and fault is not Fault.SLOW:
                ledger.untell()
        if isinstance(answer, StoreError):
            request.troubles += 1
            if command.tier is (Tier.CACHE if self.config.memory_only else Tier.DURABLE):
                request.home_faults += 1
        elif isinstance(answer, Conflict):
            request.troubles += 1
        elif server is self.durable and command.key in self.durable.newer and isinstance(answer, Found):
            request.home_faults += 1  # nobody knows what it says
        if fault is Fault.DIES_BEFORE or fault is Fault.DIES_AFTER:
            self._kill(request.process, fault)
        return answer

    def _writers(self, put: Command) -> int:
        """Return how many other requests have loaded a session and are about to write to it."""
        waiting = [(command.key, work.steps[number]) for work in self.work.values() for number, command in work.waiting]
        return waiting.count((put.key, Step.UPDATE))

    def _execute(self, server: Server, command: Command) -> Any:
        newer = self.durable.newer
        if server is self.durable and newer and command.key in newer:
            before = self.durable.kept.get(command.key)
            answer = server.execute(command)
            if self.durable.kept.get(command.key) is not before:
                is_over = before is None or before[2] <= self.time
                if not (is_over or (type(command) is Put and command.expect is Expect.ANYTHING)):
                    raise BrokenPromiseError("a record of a newer format was replaced, or deleted")
                newer.discard(command.key)  # it has expired, or a marker says that it ended
            return answer
        return server.execute(command)

    def _carry_out_late(self, tick: int) -> None:
        due = [one for one in self.late if one[0] <= tick or not self.work]
        for one in due:
            self.late.remove(one)
            _, server, command = one
            self._execute(server, command)
            self._tell(f"a {command.tier.value} command that had timed out is carried out")
            if server is self.cache:
                self.ledger.untell()

    def _kill(self, process: int, fault: Fault) -> None:
        """All requests of a process end where they are."""
        self.ledger.untell()
        for work in [work for work in self.work.values() if work.request.process == process]:
            del self.work[work.request.number]
            work.flow.close()
            for number, _ in work.waiting:
                self._meet(Fault.DIES_BEFORE, work.steps[number])
            self._tell(f"request {work.request.number} dies with its process")
            self._leave_open(work.request)
        if self.config.has_logins:
            self.processes[process].manager = self._manager(self.processes[process])  # another one remembers nothing

    def _meet(self, fault: Fault, step: Step) -> None:
        self.faults += 1
        self.met[fault, step] = self.met.get((fault, step), 0) + 1

    # -- what befalls servers and processes --------------------------------------------------------------------------

    def _strike(self, strike: Strike) -> None:
        what = strike.what
        process = self.processes[strike.target % len(self.processes)]
        if self.story is not None:
            self._tell((what.value if isinstance(what, Fault) else what) + self._where(strike))
        match what:
            case Fault.EVICT:
                self._evict(strike.target)
                return
            case Fault.NEWER:
                self._write_newer(strike.target)
                return
            case Fault.FLUSH:
                self.cache.flush()
                self._lose_cache(stale=False)
            case Fault.RESTART:
                self.cache.restart()
                self.restart_tick = self.ledger.tick
                self._lose_cache(stale=False)
            case Fault.FAIL_OVER:
                if self.failed_over:
                    return
                self.cache.fail_over()
                self.failed_over = True
                self._lose_cache(stale=True)
            case Fault.FAIL_BACK:
                if not self.failed_over:
                    return
                self.cache.fail_back()
                self.failed_over = False
                self._lose_cache(stale=True)
            case Fault.RESTORE:
                if self.config.memory_only or not self.backup_tick:
                    return
                self.durable.restore()
                self.ledger.roll_back(self.backup_tick, self.ledger.lives.values())
            case Fault.ROTATE:
                if not self._rotate(process):
                    return
            case Fault.CLOCK:
                process.offset += strike.seconds
                self._note_clocks()
            case "the cache is unreachable":
                process.cut_off.add(Tier.CACHE)
                return
            case "the cache is reachable":
                process.cut_off.discard(Tier.CACHE)
                return
            case "the durable store is unreachable":
                process.cut_off.add(Tier.DURABLE)
                return
            case "the durable store is reachable":
                process.cut_off.discard(Tier.DURABLE)
                return
            case "a backup is made":
                self.durable.back_up()
                self.backup_tick = self.ledger.tick
                return
            case "the replica is brought up to date":
                if not self.failed_over:
                    self.cache.replicate()
                    self.replica_tick = self.ledger.tick
                return
            case "the newer version is taken back":
                for key in [*self.durable.newer]:
                    self._rewrite(key, 1)
                return
            case _:
                raise AssertionError(what)
        assert isinstance(what, Fault)
        for work in self.work.values():
            if what not in (Fault.ROTATE, Fault.CLOCK) or self.processes[work.request.process] is process:
                for number, _ in work.waiting:
                    self._meet(what, work.steps[number])
        self.faults += 1

    def _lose_cache(self, *, stale: bool) -> None:
        self.ledger.unsound = self.ledger.tick
        if stale:
            self.ledger.untell()
        if self.config.memory_only:
            self.ledger.roll_back(0, self.ledger.lives.values())

    def _evict(self, target: int) -> None:
        work = self.work.get(target)
        if work is None:
            return
        for number, command in work.waiting:
            if self.cache.kept.pop(command.key, None) is not None:
                self._meet(Fault.EVICT, work.steps[number])
                self.ledger.unsound = self.ledger.tick
                if self.config.memory_only and command.key in self._lives_by_key:
                    self.ledger.roll_back(0, [self._lives_by_key[command.key]])

    def _write_newer(self, target: int) -> None:
        """Let a newer version of the software rewrite the record that a request waits for."""
        work = self.work.get(target)
        if work is None:
            return
        for number, command in work.waiting:
            if command.key in self.durable.newer or self._rewrite(command.key, 2):
                self._meet(Fault.NEWER, work.steps[number])

    def _rewrite(self, key: str, version: int) -> bool:
        """Write a record anew, in the format of another version of the software; tell whether there is one."""
        there = self.durable.kept.get(key)
        life = self._lives_by_key.get(key)
        tiers, principals = self.processes[0].manager._tiers, self.processes[0].manager._principals
        box = tiers._records if life is not None or principals is None else principals._box
        if there is None or (life is not None and not life.is_stored):
            return False
        plain = box.open(there[0], key.encode())
        assert plain is not None
        if life is not None:
            old = b"\x01" + plain[1:]
            stored = unpack(old)
            if stored is None or not hasattr(stored, "values"):
                return False
            assert pack(stored) == old
        plain = bytes((version,)) + plain[1:]
        sealed = box.seal(plain, key.encode(), self.time)
        answer = self.durable.execute(Put(Tier.DURABLE, key, sealed, there[2], there[1]))
        if isinstance(answer, Conflict):  # it expired this very moment
            return False
        (self.durable.newer.add if version == 2 else self.durable.newer.discard)(key)
        entry = self.cache.kept.get(key)
        if entry is not None and version == 2:
            opened = tiers._entries.open(entry[0], key.encode())
            if opened is not None:
                _, confirmed, _ = split_note(opened)
                noted = with_note(self.durable.version, confirmed, plain)
                sealed = tiers._entries.seal(noted, key.encode(), self.time)
                self.cache.execute(Put(Tier.CACHE, key, sealed, there[2], entry[1]))
        self.ledger.untell()
        return True

    def _rotate(self, process: Process) -> bool:
        # A key is promoted when everybody has it, and no request goes on that has not.
        in_use = [*(other.keys for other in self.processes), *(work.keys for work in self.work.values())]
        if process.keys == 2 or (process.keys == 1 and 0 in in_use):
            return False
        process.keys += 1
        process.manager = self._manager(process)
        return True

    def _manager(self, process: Process) -> SessionManager:
        return SessionManager(
            KEY_RINGS[process.keys],
            cookie_only_threshold=self.config.threshold,
            no_datastore=self.config.memory_only,
            idle_timeout=None if self.config.idle_timeout is None else timedelta(seconds=self.config.idle_timeout),
            cache_trust=timedelta(seconds=TRUST),
            revocation_check=timedelta(seconds=CHECK) if self.config.has_logins else None,
            store_budget=timedelta(seconds=self.config.budget),
            clock=self._clock_of(process),
            random=self._bytes,
        )

    def _clock_of(self, process: Process) -> Callable[[], float]:
        return lambda: self.time + process.offset

    def _true_time(self) -> float:
        return self.time

    def _note_clocks(self) -> None:
        ahead = [process.offset for process in self.processes]
        self._ahead = [min(self._ahead[0], *ahead), max(self._ahead[-1], *ahead)]
        self.ledger.spread = self._ahead[1] - self._ahead[0]
        for process in self.processes:
            process.latest = max(process.latest, self.time + process.offset)

    # -- the story ---------------------------------------------------------------------------------------------------

    def _tell(self, line: str) -> None:
        if self.story is not None:
            self.story.append(line)

    def announced(self) -> list[Life]:
        """Return the sessions whose ids somebody may know by now."""
        return [life for life in self.ledger.lives.values() if life.announced]

    def next_request(self) -> int:
        """Return the next number for a request."""
        return next(reversed(self.requests), -1) + 1

    def _what(self, request: Request) -> str:
        verb = request.verb
        if verb in ("set", "delete", "fail", "start", "persist", "log in") or verb.endswith("set"):
            verb += f" {request.key}"
        if request.binds or verb in OF_PRINCIPALS:
            verb += f" ({request.principal})"
        return verb + (f", after the headers {request.late}" if request.late else "")

    def _name(self, sid: str | None) -> str:
        life = self.ledger.lives.get(sid or "")
        return "no session" if sid is None else "an unknown session" if life is None else life.name

    def _names(self, jar: dict[str, str]) -> str:
        cookies = [self.cookies[value] for value in jar.values()]
        names = (
            f"{cookie.life.name} "
            + ("in a cookie" if cookie.token.payload is not None else f"by reference, floor {cookie.token.revision}")
            for cookie in cookies
        )
        return " and ".join(names) or "nothing"

    def _where(self, strike: Strike) -> str:
        if strike.what in (Fault.EVICT, Fault.NEWER):
            return f", for the key that request {strike.target} waits for"
        if strike.what is Fault.CLOCK:
            return f" by {strike.seconds:g} seconds, at process {strike.target}"
        if strike.what is Fault.ROTATE or "reachable" in str(strike.what):
            return f", at process {strike.target}"
        return ""


def _steps(flow: Any) -> Generator[Any, Any, Any]:
    return _finished(flow.value) if type(flow) is Finished else flow


def _finished(value: Any) -> Generator[Any, Any, Any]:
    yield from ()
    return value


def _cookies_of(headers: list[tuple[str, str]]) -> tuple[dict[str, str], list[str]]:
    """Return which cookies a response sets, and which it deletes."""
    cookies: dict[str, str] = {}
    deleted: list[str] = []
    for field, value in headers:
        if field == "Set-Cookie":
            pair, *attributes = value.split("; ")
            name, _, text = pair.partition("=")
            if "Max-Age=0" in attributes:
                deleted.append(name)
            else:
                cookies[name] = text
    return cookies, deleted


def _short(saw: dict[str, Any]) -> dict[str, Any]:
    return {key: f"{value[:6]}..." if type(value) is str and len(value) > 6 else value for key, value in saw.items()}
