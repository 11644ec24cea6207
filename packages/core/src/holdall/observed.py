"""A request whose session's events are told: how each step ended, and what stores were asked.

Made in place of the plain exchange where somebody listens, so that nobody pays for it elsewhere. Nothing is decided
here: what a commit did, and why, is read off the table of `outcome` and the state that the commit left.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

from holdall.commands import Found, Put, Tier
from holdall.drive import Finished, Flow, Steps
from holdall.errors import HoldallError, SessionTooLarge, SessionUnavailable, StoreError
from holdall.events import Tell
from holdall.exchange import Exchange, Receipt
from holdall.headers import Headers
from holdall.outcome import Cookie, Home, Wish, Write, decide
from holdall.session import Session
from holdall.token import value_length

if TYPE_CHECKING:
    from holdall.manager import SessionManager

T = TypeVar("T")


class ObservedExchange(Exchange):
    """An exchange that tells the manager's `on_event` what becomes of the session."""

    def commit(
        self, *, status: int, headers: Headers, expiration_ts: float | None = None, refresh: bool = False
    ) -> Flow[Headers]:
        """Commit as `Exchange.commit` does, and tell how it ended."""
        step = _Step(self._manager, "commit")
        try:
            flow = super().commit(status=status, headers=headers, expiration_ts=expiration_ts, refresh=refresh)
        except HoldallError as error:
            step.failed(error)
            raise
        if isinstance(flow, Finished):
            self._tell_committed(step, status)
            return flow
        return step.follow(flow, lambda: self._tell_committed(step, status))

    def finish(self) -> Flow[Receipt]:
        """Finish as `Exchange.finish` does, and tell of a late write."""
        step = _Step(self._manager, "finish")
        flow = super().finish()
        return flow if isinstance(flow, Finished) else step.follow(flow, lambda: self._tell_late(step))

    def _tell_late(self, step: "_Step") -> None:
        reason = "stored" if self.session._gone is None else "dropped"
        step.tell("late", reason, tier=self._stored_in, **step.cost())

    def _tell_committed(self, step: "_Step", status: int) -> None:
        reason, because, more = self._outcome(status)
        cookie_bytes = sum(len(value) for _, value in self._cookies)
        step.tell("committed", reason, because, cookie_bytes=cookie_bytes, **more, **step.cost())

    def _outcome(self, status: int) -> tuple[str, str | None, dict[str, Any]]:
        """Return what a commit did: the reason, what to add to its sentence, and fields."""
        session = self.session
        if session._presented is None:
            return "untouched", None, {}
        if self._discarded and status >= 500:
            return "discarded", f"status {status}", {}
        token = session._token
        if self._decided is None:
            is_there = session._active_token() is not None
            return ("clean" if not self._cookies else "refreshed" if is_there else "forgotten"), None, {}
        home, wish, fits, size = self._decided
        if session._gone is not None and home is not Home.GONE:
            return "dropped", None, {}
        outcome = decide(home, wish, fits=fits)
        if outcome.cookie is Cookie.DELETE or token is None:
            return "end", None, {}
        if outcome.write is Write.CACHE_ONLY and not self._quick:
            outcome = decide(home, Wish.CHANGE, fits=fits)  # the cache was no place for it
        is_inline = token.payload is not None
        tier = Tier.CACHE if self._quick else Tier.COOKIE if is_inline else self._stored_in
        reason = "inline" if outcome.write is Write.NOTHING else outcome.write.name.lower()
        if decide(home, wish, fits=not fits) == decide(home, wish, fits=fits) or is_inline is not fits:
            return reason, None, {"tier": tier}  # its size counted for nothing, or was another in the end
        size, limit = value_length(size + len(token.bond)), value_length(self._manager._inline_room)
        if (size <= limit) is not fits:
            return reason, "the application asked for it", {"tier": tier}
        because = f"{size:,} {'<=' if fits else '>'} {limit:,}".replace(",", " ")
        return reason, because, {"tier": tier, "size": size, "limit": limit}


def observed_load(manager: "SessionManager", session: Session, flow: Steps[None]) -> Steps[None]:
    """Have a load told: its commands, and how it ended."""
    step = _Step(manager, "load")
    return step.follow(flow, lambda: tell_opened(manager._tell, session, **step.cost()))


def tell_opened(tell: Tell, session: Session, **cost: Any) -> None:
    """Tell where a session was loaded from, or why what the request presented is none; nothing if that is not known."""
    presented, token, gone, held = session._presented, session._token, session._gone, session._held
    if presented is not None and token is None and (presented.inline or presented.reference):
        tell("rejected", "expired" if presented.expired else "ambiguous")
    elif not session._opened or token is None:
        return
    elif gone is not None:
        tell("rejected", "missing" if gone.ending is None else gone.ending.name.lower(), **cost)
    elif token.payload is not None:
        old = session._old
        tier = Tier.COOKIE if old is None or old.record is None else Tier.OLD
        tell("loaded", "cookie" if old is None else "old", tier=tier, **cost)
    elif held is not None:
        tier = Tier.CACHE if held.cached is not None else Tier.DURABLE
        tell("loaded", tier.value, tier=tier, **cost)


class _Step:
    """One of the up to three steps of a request: load, commit, finish."""

    def __init__(self, manager: "SessionManager", name: str) -> None:
        self.tell = manager._tell
        self._clock = manager.clock
        self._name = name
        self._since = manager.clock()
        self._commands = self._bytes = 0

    def follow(self, flow: Steps[T], ended: Callable[[], None]) -> Steps[T]:
        """Hand on the commands of a flow and tell of each; `ended` tells of the end."""
        try:
            command = next(flow)
            while True:
                since = self._clock()
                try:
                    answer = yield command
                except StoreError as error:
                    self._answered(command, error, since)
                    command = flow.throw(error)
                else:
                    self._answered(command, answer, since)
                    command = flow.send(answer)
        except StopIteration as stop:
            ended()
            return stop.value  # type: ignore[no-any-return]
        except HoldallError as error:
            self.failed(error)
            raise

    def _answered(self, command: Any, answer: Any, since: float) -> None:
        sealed = command if isinstance(command, Put) else answer
        size = len(sealed.value) if isinstance(sealed, Put | Found) else 0
        self._commands += 1
        self._bytes += size
        verb, reason = type(command).__name__.lower(), type(answer).__name__.lower()
        because, error = f"{verb} {command.tier.value}", None
        if isinstance(answer, StoreError):
            reason, error = "failed", str(answer)
            because += f": {error}"
        took = max(0.0, self._clock() - since)  # the clock may have been set back
        told = {"tier": command.tier, "command": verb, "error": error, "record_bytes": size, "seconds": took}
        self.tell("command", reason, because, **told)

    def failed(self, error: HoldallError) -> None:
        """Tell that the step raised."""
        reason = "usage"
        if isinstance(error, SessionUnavailable | SessionTooLarge):
            reason = "unavailable" if isinstance(error, SessionUnavailable) else "too_large"
        self.tell("failed", reason, error, **self.cost())

    def cost(self) -> dict[str, Any]:
        """Return what an event says that ends the step."""
        return {
            "step": self._name,
            "commands": self._commands,
            "record_bytes": self._bytes,
            "seconds": max(0.0, self._clock() - self._since),
        }
