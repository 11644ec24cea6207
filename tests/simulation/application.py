"""What the application of a history does with its session in a request, and what the ledger is told of it.

Each verb is one habit of real applications. Values are numbers that name the write they are from; `big` is what does
not fit the cookie; `n` is the counter; `q` is for quick writes alone.
"""

from collections.abc import Callable
from typing import Any

from holdall import Session

from tests.simulation.ledger import Ledger, Life, Write

PADDING = "x" * 600
BRIEF = 90
"""Seconds that a session lives that is begun with an early end."""
PRINCIPALS = ("ada", "ada", "ada", "bob")
"""As whom one logs in, and whose sessions are revoked, by the key of the request."""


class Request:
    """One request: what it is asked to do, what it saw, and what became of it."""

    __slots__ = (
        "begin",
        "browser",
        "clock",
        "commands",
        "ends",
        "held_back",
        "home_faults",
        "inline_lives",
        "key",
        "late",
        "life",
        "moved",
        "number",
        "owner",
        "presents_expired",
        "principal",
        "process",
        "saw",
        "sid",
        "troubles",
        "verb",
        "was_inline",
        "writes",
    )

    def __init__(self, number: int, begin: int, process: int, verb: str, key: int, late: str, clock: float) -> None:
        self.number = number
        self.begin = begin
        self.process = process
        self.verb = verb
        self.key = f"k{key}"
        self.principal = PRINCIPALS[key]
        self.late = late
        self.clock = clock
        """What the clock of its process said when it began."""
        self.owner: int | None = None
        """Whose cookies it presents; None for a worker that opens a session by its id."""
        self.browser: int | None = None
        """To whom its response goes, if to anybody."""
        self.presents_expired = False
        self.inline_lives: list[Life] = []
        """The sessions that were in the cookies it presents."""
        self.sid: str | None = None
        self.saw: dict[str, Any] = {}
        self.was_inline = False
        self.life: Life | None = None
        """The session that it leaves, as far as it knows."""
        self.moved = False
        """It gave its session a new id."""
        self.ends: Life | None = None
        """The session whose id is not to be valid any more."""
        self.writes: list[Write] = []
        self.commands = 0
        self.troubles = 0
        """How many of its commands had no answer, or met a conflict."""
        self.held_back = 0
        """How many of its commands the core held back, since it had waited long enough."""
        self.home_faults = 0
        """How many of those for the tier whose answer counts had none."""

    @property
    def fails(self) -> bool:
        """Its response has a status of 500."""
        return self.verb == "fail"

    @property
    def slides(self) -> bool:
        """Its framework moves the end of the session with every response."""
        return self.verb in ("slide", "slide and set")

    @property
    def only_reads(self) -> bool:
        return self.verb == "read"

    @property
    def binds(self) -> bool:
        """It says whose its session is."""
        return self.verb in ("log in", "log in and grow")


def _give(session: Session, write: Write, ledger: Ledger, key: str) -> None:
    number = write.effects[key] = ledger.new_value(write)
    session[key] = number


def _set(session: Session, request: Request, write: Write, ledger: Ledger) -> None:
    _give(session, write, ledger, request.key)


def _set_two(session: Session, request: Request, write: Write, ledger: Ledger) -> None:
    _give(session, write, ledger, "k0")
    _give(session, write, ledger, "k1")


def _delete(session: Session, request: Request, write: Write, ledger: Ledger) -> None:
    if request.key in session:
        del session[request.key]
        write.effects[request.key] = None


def _clear(session: Session, request: Request, write: Write, ledger: Ledger) -> None:
    write.cleared = len(session) > 0
    session.clear()


def _incr(session: Session, request: Request, write: Write, ledger: Ledger) -> None:
    session.incr("n")
    write.added = 1


def _grow(session: Session, request: Request, write: Write, ledger: Ledger) -> None:
    number = write.effects["big"] = ledger.new_value(write)
    session["big"] = f"{number:06d}{PADDING}"


def _shrink(session: Session, request: Request, write: Write, ledger: Ledger) -> None:
    number = write.effects["big"] = ledger.new_value(write)
    session["big"] = f"{number:06d}"


def _quick(session: Session, request: Request, write: Write, ledger: Ledger) -> None:
    number = write.effects["q"] = ledger.new_value(write)
    write.quick = True
    session.set_quick("q", number)


def _pop_quick(session: Session, request: Request, write: Write, ledger: Ledger) -> None:
    if "q" in session:
        write.effects["q"] = None
        write.quick = True
        session.pop_quick("q")


def _terminate(session: Session, request: Request, write: Write, ledger: Ledger) -> None:
    session.terminate()


def _change_user(session: Session, request: Request, write: Write, ledger: Ledger) -> None:
    session.terminate()
    _give(session, write, ledger, request.key)


def _start(session: Session, request: Request, write: Write, ledger: Ledger) -> None:
    session.start()
    _give(session, write, ledger, request.key)


def _start_large(session: Session, request: Request, write: Write, ledger: Ledger) -> None:
    session.start()
    _grow(session, request, write, ledger)


def _start_brief(session: Session, request: Request, write: Write, ledger: Ledger) -> None:
    session.start(expiration_ts=request.clock + BRIEF)
    _give(session, write, ledger, request.key)


def _regenerate(session: Session, request: Request, write: Write, ledger: Ledger) -> None:
    request.moved = session.is_active()
    session.regenerate_id()


def _regenerate_and_set(session: Session, request: Request, write: Write, ledger: Ledger) -> None:
    _regenerate(session, request, write, ledger)
    _give(session, write, ledger, request.key)


def _regenerate_and_shrink(session: Session, request: Request, write: Write, ledger: Ledger) -> None:
    _regenerate(session, request, write, ledger)
    _shrink(session, request, write, ledger)


def _log_in(session: Session, request: Request, write: Write, ledger: Ledger) -> None:
    _regenerate(session, request, write, ledger)
    session.bind(request.principal, str(request.number))
    _give(session, write, ledger, request.key)


def _log_in_large(session: Session, request: Request, write: Write, ledger: Ledger) -> None:
    _log_in(session, request, write, ledger)
    _grow(session, request, write, ledger)


def _persist(session: Session, request: Request, write: Write, ledger: Ledger) -> None:
    _give(session, write, ledger, request.key)
    session.save(persist_even_if_using_cookie=True)


def _nothing(session: Session, request: Request, write: Write, ledger: Ledger) -> None:
    pass


_Act = Callable[[Session, Request, Write, Ledger], None]

VERBS: dict[str, _Act] = {
    "read": _nothing,
    "set": _set,
    "set two keys": _set_two,
    "delete": _delete,
    "clear": _clear,
    "incr": _incr,
    "grow": _grow,
    "shrink": _shrink,
    "set_quick": _quick,
    "pop_quick": _pop_quick,
    "terminate": _terminate,
    "terminate and set": _change_user,
    "start": _start,
    "start large": _start_large,
    "start with an early end": _start_brief,
    "regenerate_id": _regenerate,
    "regenerate_id and set": _regenerate_and_set,
    "regenerate_id and shrink": _regenerate_and_shrink,
    "log in": _log_in,
    "log in and grow": _log_in_large,
    "revoke": _nothing,
    "revoke the others": _nothing,
    "sessions_of": _nothing,
    "persist": _persist,
    "slide": _nothing,
    "slide and set": _set,
    "fail": _set,
}
OF_PRINCIPALS = ("revoke", "sessions_of")
"""What is asked without any session."""
OF_WORKERS = ("read", "set", "delete", "clear", "incr", "grow", "set_quick", "pop_quick")
"""What a worker does that opens a session by its id; it never begins one."""
ENDING = frozenset(verb for verb in VERBS if verb.startswith(("terminate", "start", "regenerate_id", "log in")))
LATE = ("set", "incr")
"""What may be changed after the headers."""


def act(session: Session, request: Request, write: Write, ledger: Ledger) -> None:
    """Do what a request is asked to do with its session."""
    if request.owner is None and not session.is_active():
        return
    VERBS[request.verb](session, request, write, ledger)


def act_late(session: Session, request: Request, write: Write, ledger: Ledger) -> None:
    """Do what a request does after its headers are gone."""
    if request.late == "incr":
        _incr(session, request, write, ledger)
    else:
        _give(session, write, ledger, "k4")
