"""What all random histories share: requests of several processes over the same stores, one command at a time.

A scheduler that a seed steers drives every flow, so that each failure repeats. Faults come between any two commands;
responses come late, out of order, or never. What must hold in the end is said in the test modules.
"""

import os
import random
from collections.abc import Callable, Generator
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import pytest
from holdall import (
    Command,
    Exchange,
    Finished,
    Session,
    SessionManager,
    SessionUnavailable,
    StoreError,
    StoreUnavailable,
)
from holdall.testing import FakeClock, RecordingStores

from tests.core.support import KEY, Browser


def histories(default: int) -> pytest.MarkDecorator:
    """Run a test with that many seeds, or as many as HOLDALL_HISTORIES says."""
    return pytest.mark.parametrize("seed", range(int(os.environ.get("HOLDALL_HISTORIES", default))))


TRUST = 60
Steps = Generator[Any, Any, Any]
Act = Callable[[Session], Any]


@dataclass
class Work:
    """One request under way."""

    steps: Steps
    pending: Any
    name: str
    log: "Log"


@dataclass
class Log:
    """What became of a request."""

    name: str
    sid: str | None = None
    saw: dict[str, Any] | None = None
    result: str = "under way"
    new_sid: str | None = None
    wrote: Any = None
    """What it left under the key that it is called by."""
    headers: list[tuple[str, str]] = field(default_factory=list)
    began: int = 0
    """How many commands had been carried out when it began."""
    ended: int = 0
    """The same of its end."""


def steps(flow: Any) -> Steps:
    if isinstance(flow, Finished):
        return flow.value
    return (yield from flow)


class Simulation:
    """A browser, several processes' worth of requests, and stores that fail between any two commands.

    `skews`: how many seconds the clock of each process is ahead.
    """

    def __init__(self, seed: int, *, fault_rate: float, skews: tuple[float, ...] = (0.0,), **options: Any) -> None:
        self.random = random.Random(seed)
        self.clock = FakeClock()
        self.stores = RecordingStores(self.clock)
        self.fault_rate = fault_rate
        self.managers = [
            SessionManager(
                KEY,
                clock=self._ahead_by(skew),
                random=self.random.randbytes,
                cache_trust=timedelta(seconds=TRUST),
                **options,
            )
            for skew in skews
        ]
        self.browser = Browser()
        self.work: list[Work] = []
        self.responses: list[Log] = []
        self.logs: list[Log] = []

    def _ahead_by(self, skew: float) -> Callable[[], float]:
        return lambda: self.clock.now + skew

    @property
    def manager(self) -> SessionManager:
        """Any of the processes."""
        return self.random.choice(self.managers) if len(self.managers) > 1 else self.managers[0]

    def begin(self, name: str, act: Act, *, late: Act | None = None, sid: str | None = None) -> Log:
        """Let a request begin, by the browser's cookies or by `sid`; `late` runs after its response has begun."""
        log = Log(name, began=len(self.stores.commands))
        self.logs.append(log)
        exchange = self.manager.open(self.browser.header) if sid is None else self.manager.open_sid(sid)
        self._advance(Work(self._request(exchange, act, late, log), None, name, log), None)
        return log

    def _request(self, exchange: Exchange, act: Act, late: Act | None, log: Log) -> Steps:
        try:
            yield from steps(exchange.load())
            log.sid = exchange.session.sid
            log.saw = dict(exchange.session)
            act(exchange.session)
            log.headers = yield from steps(exchange.commit(status=200, headers=[]))
            log.new_sid = exchange.session.sid
            log.wrote = exchange.session.get(log.name)
            if late is not None:
                late(exchange.session)
            receipt = yield from steps(exchange.finish())
        except SessionUnavailable:
            log.result = "unknown"
            return
        finally:
            log.ended = len(self.stores.commands)
        log.result = "dropped" if receipt.conflicts else "done"

    def _advance(self, work: Work, answer: Any) -> None:
        try:
            if isinstance(answer, StoreError):
                work.pending = work.steps.throw(answer)
            else:
                work.pending = work.steps.send(answer)
        except StopIteration:
            if work in self.work:
                self.work.remove(work)
            if work.log.headers:
                self.responses.append(work.log)
            return
        if work not in self.work:
            self.work.append(work)

    def _carry_out(self, command: Command) -> Any:
        luck = self.random.random()
        if luck < self.fault_rate:
            return StoreUnavailable("not asked")
        (answer,) = self.stores.execute((command,))
        return StoreUnavailable("reply lost") if luck < 2 * self.fault_rate else answer

    def step(self) -> None:
        """One command of one request, chosen at random."""
        self.answer(self.random.choice(self.work))

    def answer(self, work: Work, *, lose_reply: bool = False) -> None:
        """Carry out the next command of one request."""
        pending = work.pending
        if lose_reply:
            self.stores.execute((pending,))
            self._advance(work, StoreUnavailable("reply lost"))
        elif isinstance(pending, tuple):
            self._advance(work, tuple(self._carry_out(command) for command in pending))
        else:
            self._advance(work, self._carry_out(pending))

    def crash(self) -> None:
        """A process dies between two commands."""
        if self.work:
            work = self.work.pop(self.random.randrange(len(self.work)))
            work.steps.close()
            work.log.result = "unknown"

    def deliver(self, *, lose: bool = False) -> None:
        """A response reaches the browser, in any order; or never."""
        if self.responses:
            log = self.responses.pop(self.random.randrange(len(self.responses)))
            if not lose:
                self.browser.receive(log.headers)

    def settle(self) -> None:
        """Everything under way comes to its end, without further faults."""
        self.fault_rate = 0
        while self.work:
            self.step()
        while self.responses:
            self.deliver()

    def finish_one(self, name: str, act: Act, *, sid: str | None = None) -> Log:
        log = self.begin(name, act, sid=sid)
        while any(work.log is log for work in self.work):
            self.step()
        return log


def assign(key: str, value: Any) -> Act:
    return lambda session: session.__setitem__(key, value)


def read(session: Session) -> None:
    """Do nothing more than what every request of a simulation does: read all of the session."""
