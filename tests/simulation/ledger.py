"""What every request did, saw and was told, and whether that keeps the promise of docs/consistency.md.

The ledger knows no store and no command: it judges by what an application and a browser can see. Moments are counted in
ticks, which order everything that happens in a history; times are true ones, in seconds UTC since 1970, which no
process knows exactly. Each value that a history writes names the write it is from, so that one look at a value tells
whose it is and what came before it.
"""

from collections.abc import Iterable
from enum import Enum
from typing import Any, NamedTuple

NEVER = 1 << 60


class BrokenPromiseError(AssertionError):
    """An invariant does not hold. The message says which, and for what."""


class Status(Enum):
    """What the application was told of a write."""

    OPEN = "under way"
    DONE = "acknowledged"
    UNKNOWN = "unknown"
    DROPPED = "dropped and reported"
    NOT_SAVED = "not to be saved"


class Refusal(NamedTuple):
    """Since when a bound session is to be refused."""

    tick: int
    clocks: tuple[float, ...]
    """The latest that each process's clock had said until then: what it was told before, it believes no longer."""
    memory: object
    """What the process remembers by that knows of it at once."""


class Revocation:
    """A request to end all sessions of a principal but one."""

    __slots__ = ("begin", "end", "keep", "principal", "refusal", "time")

    def __init__(self, principal: str, keep: "Life | None", begin: int, time: float) -> None:
        self.principal = principal
        self.keep = keep
        self.begin = begin
        self.time = time
        """When it began."""
        self.end = NEVER
        self.refusal: Refusal | None = None
        """None while it is not acknowledged, and when a backup has taken it back."""

    def may_end(self, life: "Life") -> bool:
        """Tell whether this session may have ended by it."""
        return self.principal == life.principal and self.keep is not life and life.born <= self.end

    def must_end(self, life: "Life") -> bool:
        """Tell whether a session, or the one whose place in the list it took, was in the list before this began."""
        if self.principal != life.principal or self.keep is life or self.begin <= life.rolled_back:
            return False
        return life.bound_at < self.begin or (life.carries is not None and self.must_end(life.carries))


class Line:
    """A session as a user understands it: it keeps its data when it gets a new id."""

    __slots__ = ("browser", "writes")

    def __init__(self, browser: int) -> None:
        self.browser = browser
        self.writes: list[Write] = []


class Life:
    """All that goes by one sid."""

    __slots__ = (
        "announced",
        "born",
        "bound_at",
        "carries",
        "children",
        "earliest_end",
        "ended",
        "enders",
        "first_end",
        "inline_copies",
        "label",
        "latest_end",
        "left",
        "line",
        "name",
        "parent",
        "principal",
        "revoked",
        "rolled_back",
        "sid",
        "stored_at",
        "unlisted",
    )

    def __init__(self, sid: str, name: str, line: Line, expires: float, born: int) -> None:
        self.sid = sid
        self.born = born
        self.name = name
        self.line = line
        self.parent: Life | None = None
        """The life that this one carries on, once it is certain that it has all of it."""
        self.children: list[Life] = []
        """Those that were to carry this one on, and of which nobody was told what became of them."""
        self.ended: tuple[int, float, int] | None = None
        """Tick, time, and tick at which the request began that was told that this one has ended."""
        self.enders = 0
        """How many requests tried to end it."""
        self.first_end = float("inf")
        """When the first of them did."""
        self.rolled_back = 0
        """The last tick at which it may have gone or become what it was: a backup, or a loss of the only tier."""
        self.announced = False
        """Some request was told that it is there."""
        self.stored_at = NEVER
        """Since when it is known that there is a record under this sid."""
        self.earliest_end = self.latest_end = expires
        self.inline_copies: list[dict[str, str]] = []
        """Cookies that held it."""
        self.principal: str | None = None
        """To whom it is bound."""
        self.carries: Life | None = None
        """The life whose place in its principal's list it took."""
        self.label: str | None = None
        """What its principal was to be told of it."""
        self.bound_at = NEVER
        """Since when it is known to be listed."""
        self.unlisted = False
        """A backup may have taken it from the list: a process that knew it as listed has to ask again."""
        self.left: Refusal | None = None
        """It was ended, or has a new id."""
        self.revoked: Refusal | None = None

    @property
    def is_stored(self) -> bool:
        """Some write under this sid was acknowledged as stored."""
        return self.stored_at < NEVER

    @property
    def is_certain(self) -> bool:
        """Nothing has ended it, may have ended it or lost it."""
        return self.ended is None and not self.enders and not self.rolled_back


class Write:
    """What one commit was to change."""

    __slots__ = (
        "added",
        "begin",
        "cleared",
        "effects",
        "end",
        "from_cookie",
        "is_acknowledged",
        "known",
        "life",
        "line",
        "quick",
        "read",
        "request",
        "revision",
        "status",
        "time",
        "void",
    )

    def __init__(self, request: int, begin: int, read: int | None = None) -> None:
        self.request = request
        self.life: Life | None = None
        self.line: Line | None = None
        self.effects: dict[str, int | None] = {}
        """key → the number of the value it was given; None: deleted."""
        self.cleared = False
        self.added = 0
        """What the counter was incremented by."""
        self.quick = False
        self.from_cookie = False
        """Its request read the session from the cookie, and so no quick write to its record."""
        self.begin = begin
        self.read = begin if read is None else read
        """When its request began to read what this is a change of."""
        self.end = NEVER
        self.status = Status.OPEN
        self.known = NEVER
        """Since when it is certain to be stored: it was acknowledged as such, or somebody has read it."""
        self.time = 0.0
        """The time of `known`."""
        self.is_acknowledged = False
        """It was acknowledged as stored."""
        self.revision = NEVER
        """A browser whose floor is not below has been told of it."""
        self.void = False
        """A backup was restored, or the only tier lost what it had: it may be there or not."""

    def __bool__(self) -> bool:
        return bool(self.effects or self.cleared or self.added)


class Reading:
    """What a request found when it had loaded its session, and what it could rely on."""

    __slots__ = (
        "asked",
        "begin",
        "browser",
        "clock",
        "content",
        "floor",
        "hides",
        "inline",
        "memory",
        "presented",
        "process",
        "time",
        "unanswered",
    )

    def __init__(
        self, begin: int, time: float, clock: float, browser: int | None, process: int = 0, memory: object = None
    ) -> None:
        self.begin = begin
        self.time = time
        self.clock = clock
        """What the clock of its process said."""
        self.browser = browser
        """None for a worker, that opened the session by its id."""
        self.process = process
        self.memory = memory
        self.unanswered = False
        """The durable store did not answer while the session was loaded."""
        self.asked: list[Life] = []
        """Whose cookies were presented, or whose id was given, as far as they had not expired."""
        self.presented: frozenset[str] = frozenset()
        """Every sid that was presented or given."""
        self.floor = -1
        self.inline = False
        """The session was in the cookie."""
        self.content: dict[str, Any] | None = None
        """What the response said that put it there."""
        self.hides: Life | None = None
        """The stored session that the browser was last told of, and should still have."""


class Ledger:
    """The book of one history. `trust` and `check` in seconds; `memory_only`: there is no durable tier."""

    def __init__(self, trust: float, check: float, *, memory_only: bool) -> None:
        self.trust = trust
        self.check = check
        self.memory_only = memory_only
        self.tick = 0
        self.time = 0.0
        self.spread = 0.0
        """How far apart the clocks of any two processes have been, at any two moments, in seconds."""
        self.unsound = 0
        """The last tick at which the cache lost something, or was not told of something."""
        self.untold = 0
        """The last tick at which it was not told of something: it may be stale from then on."""
        self.lines: list[Line] = []
        self.lives: dict[str, Life] = {}
        self.authors: list[Write] = []
        self.revocations: list[Revocation] = []

    # -- what is done ------------------------------------------------------------------------------------------------

    def new_value(self, write: Write) -> int:
        """Return a number that names this write, for the value of a key."""
        self.authors.append(write)
        return len(self.authors) - 1

    def new_life(self, sid: str, expires: float, *, of: Life | None, browser: int) -> Life:
        """Note a new sid, which carries on what is `of` another, or begins."""
        if of is None:
            self.lines.append(line := Line(browser))
        else:
            line = of.line
        life = self.lives[sid] = Life(sid, f"S{len(self.lives) + 1}", line, expires, self.tick)
        return life

    def belongs(self, write: Write, life: Life | None) -> None:
        """Note which session a write is for; None: for none."""
        write.life = life
        if life is None:
            write.status = Status.NOT_SAVED
        else:
            write.line = life.line
            life.line.writes.append(write)

    def closed(self, write: Write, status: Status) -> None:
        """Note what the application was told of a write."""
        if write.status is Status.OPEN:
            write.status = status
            write.end = self.tick

    def stored(self, write: Write, revision: int, *, durable: bool) -> None:
        """Note that a write was acknowledged as stored."""
        life = write.life
        assert life is not None
        if write.begin <= life.rolled_back:
            write.void = True
        if durable and write and self._is_over(life, write.begin) and not write.void:
            raise BrokenPromiseError(f"{life.name} had ended, and a write to it was acknowledged")
        write.quick = not durable
        write.known, write.time, write.revision = self.tick, self.time, revision
        write.is_acknowledged = True
        life.stored_at = min(life.stored_at, self.tick)

    def moved(self, life: Life, begin: int) -> None:
        """Note that the application was told that a session has a new id."""
        if self._is_over(life, begin):
            raise BrokenPromiseError(f"{life.name} had ended, and a new id carries it on")

    def _is_over(self, life: Life, begin: int) -> bool:
        """Tell whether a session had ended when a request began; that is known until it would have expired."""
        return life.ended is not None and begin > life.ended[0] and self.time + self.spread < life.earliest_end

    def untell(self) -> None:
        """Note that the cache was not told of something, or knows again what it had forgotten."""
        self.unsound = self.untold = self.tick

    def ended(self, life: Life, begin: int) -> None:
        """Note that the application was told that a session has ended."""
        if life.ended is None and begin > life.rolled_back:
            life.ended = (self.tick, self.time, begin)

    def bound(self, life: Life, begin: int) -> None:
        """Note that the application was told that a session is bound, by a request that began at a tick."""
        life.bound_at = min(life.bound_at, self.tick)
        for revocation in self.revocations:
            if revocation.refusal is not None and revocation.must_end(life):
                if revocation.refusal.tick < begin:
                    raise BrokenPromiseError(f"{life.name} carries on what was revoked")
                life.revoked = life.revoked or revocation.refusal

    def revokes(self, principal: str, keep: Life | None) -> Revocation:
        """Note that all sessions of a principal but one are to end."""
        self.revocations.append(revocation := Revocation(principal, keep, self.tick, self.time))
        return revocation

    def revoked(self, revocation: Revocation, refusal: Refusal) -> None:
        """Note that the application was told that they have ended."""
        revocation.refusal = refusal
        for life in self.lives.values():
            if life.bound_at < NEVER and revocation.must_end(life):
                others = [other for other in self.revocations if other is not revocation]
                # Where another had ended it, this one's process had nothing to end, and asks again in its time.
                is_first = not any(other.may_end(life) for other in others)
                life.revoked = life.revoked or (refusal if is_first else refusal._replace(memory=None))

    def is_certain(self, life: Life) -> bool:
        """Tell whether nothing has ended a session, may have ended it or lost it."""
        return life.is_certain and not self.may_be_revoked(life)

    def may_be_revoked(self, life: Life) -> bool:
        """Tell whether a session may have ended with all others of its principal."""
        return any(revocation.may_end(life) for revocation in self.revocations)

    def may_have_ended_by(self, life: Life, time: float) -> bool:
        """Tell whether a session, which is in the cookie, may have ended until then."""
        revoked = any(revocation.may_end(life) and revocation.time <= time for revocation in self.revocations)
        return bool(life.rolled_back or (life.enders and life.first_end <= time) or revoked)

    def roll_back(self, since: int, lives: Iterable[Life]) -> None:
        """Note that these sessions may be as they were at a tick: all that came later may be gone."""
        rolled_back = set(lives)
        for life in rolled_back:
            if life.ended is not None and life.ended[0] >= since:
                life.ended = None
            if life.left is not None and life.left.tick >= since:
                life.left = None
            if life.revoked is not None and life.revoked.tick >= since:
                life.revoked = None
            life.rolled_back = self.tick
            life.unlisted = life.unlisted or life.bound_at >= since
            for write in life.line.writes:
                if write.known >= since and write.life is life:
                    write.void = True
        for life in self.lives.values():
            if life in rolled_back or life.parent in rolled_back:
                life.parent = None
        for revocation in self.revocations:
            if revocation.refusal is not None and revocation.refusal.tick >= since:
                revocation.refusal = None

    # -- what is seen ------------------------------------------------------------------------------------------------

    def read(self, reading: Reading, sid: str | None, saw: dict[str, Any]) -> None:
        """Judge what a request found. Raises `BrokenPromiseError`."""
        if sid is None:
            self._found_nothing(reading, saw)
            return
        life = self.lives.get(sid)
        if life is None:
            raise BrokenPromiseError("a session that nobody began is live")
        if sid not in reading.presented:
            raise BrokenPromiseError(f"{life.name} is live in a request that did not present it")
        if reading.browser is not None and reading.browser != life.line.browser:
            raise BrokenPromiseError(f"{life.name} is another browser's session")
        seen = self._authors_of(life, saw)
        if reading.clock >= life.latest_end:
            raise BrokenPromiseError(f"{life.name} is live after its end")
        if life.principal is not None and not reading.unanswered:  # an outage is no logout
            self._check_refused(reading, life)
        if reading.inline:
            if saw != reading.content:
                raise BrokenPromiseError(f"{life.name} is not what its cookie held: {saw} instead of {reading.content}")
            if reading.hides is life and self.is_certain(life):
                raise BrokenPromiseError(f"{life.name} was acknowledged as stored, and an older cookie hides it")
            return
        self._check_ended(reading, life)
        known = [write for write in life.line.writes if self._must_see(reading, life, write)]
        self._check_keys(life, saw, seen, known)
        self._check_counter(life, saw.get("n", 0), known)
        for write in seen:
            if write.known == NEVER and not write.quick and write.status is not Status.DONE:
                write.known, write.time = self.tick, self.time

    def _found_nothing(self, reading: Reading, saw: dict[str, Any]) -> None:
        if saw:
            raise BrokenPromiseError(f"data without a session: {saw}")
        if len(reading.asked) != 1 or len(reading.presented) != 1:
            return
        (life,) = reading.asked
        is_bound = life.principal is not None
        if (reading.inline and not is_bound) or (
            (life.bound_at if reading.inline else life.stored_at) < reading.begin
            and self.is_certain(life)
            # memcached counts down what the clock of the process that wrote it made of the end.
            and max(self.time + self.spread * (is_bound or self.memory_only), reading.clock) < life.earliest_end
        ):
            raise BrokenPromiseError(f"{life.name} is live, and a request was told that there is no session")

    def _authors_of(self, life: Life, saw: dict[str, Any]) -> list[Write]:
        seen = []
        for key, value in saw.items():
            if key == "n":
                continue
            number = number_of(value)
            write = self.authors[number]
            if write.line is not life.line or write.effects.get(key) != number:
                raise BrokenPromiseError(f"{life.name} shows under {key!r} what another session, or key, was given")
            if write.status is Status.NOT_SAVED:
                raise BrokenPromiseError(f"{life.name} shows under {key!r} what was not to be saved")
            seen.append(write)
        return seen

    def _check_refused(self, reading: Reading, life: Life) -> None:
        for refusal, what in ((life.left, "had ended"), (life.revoked, "was revoked")):
            if (
                refusal is not None
                and reading.begin > refusal.tick
                and (
                    (reading.memory is refusal.memory and not life.unlisted)
                    or reading.clock >= refusal.clocks[reading.process] + self.check
                )
            ):
                raise BrokenPromiseError(f"{life.name} {what}, and is live, though its principal's list was asked")

    def listed(self, principal: str, labels: set[str | None], begin: int, clock: float) -> None:
        """Judge what a request that began at a tick was told of a principal's sessions, by their labels.

        `clock`: what the clock of its process says.
        """
        for label in labels:
            lives = [life for life in self.lives.values() if life.label == label]
            if not any(life.principal == principal for life in lives):
                raise BrokenPromiseError(f"a session that is not {principal}'s is on their list")
            if all(any(end is not None and end.tick < begin for end in (life.left, life.revoked)) for life in lives):
                raise BrokenPromiseError(f"{lives[-1].name} had ended, and is on the list")
        for life in self.lives.values():
            if (
                life.principal == principal
                and life.bound_at < begin
                and life.label not in labels
                and self.is_certain(life)
                and max(self.time + self.spread, clock) < life.earliest_end
            ):
                raise BrokenPromiseError(f"{life.name} is bound, and not on the list")

    def _check_ended(self, reading: Reading, life: Life) -> None:
        if life.ended is None or reading.begin <= life.ended[0]:
            return
        _, time, begin = life.ended
        if (
            self.memory_only
            or reading.time >= time + self.trust + self.spread
            or (not self.spread and self._is_sound_since(begin))
        ):
            raise BrokenPromiseError(f"{life.name} had ended, and is readable")

    def _is_sound_since(self, tick: int) -> bool:
        """Tell whether the cache has lost nothing, and was told of everything, since a tick."""
        return self.unsound < tick

    def _must_see(self, reading: Reading, life: Life, write: Write) -> bool:
        if write.known >= reading.begin or write.void:
            return False
        if life.inline_copies and self.time + self.spread >= life.earliest_end:
            return False  # its record has ended; only a cookie of before it was stored was given a later end
        if write.life is not life:
            return not write.quick and _is_ancestor(write.life, life)
        if write.quick:
            is_sound = self._is_sound_since(write.begin) and self.untold < life.born
            return is_sound and not self.spread and not self._was_disturbed(write)
        return (
            self.memory_only
            or reading.time >= write.time + self.trust + self.spread
            or (write.revision <= reading.floor and not life.rolled_back)
            or (write.is_acknowledged and self._is_sound_since(write.begin))
        )

    def _was_disturbed(self, quick: Write) -> bool:
        """Tell whether a quick write was made on what a backup took back, or a regular one did not see it (rule 11)."""
        assert quick.line is not None
        assert quick.life is not None
        return quick.life.rolled_back > 0 or any(
            other is not quick
            and not (other.quick and other.status is Status.DONE)
            and (other.read < quick.end or other.from_cookie)
            and other.end > quick.begin
            for other in quick.line.writes
        )

    def _check_keys(self, life: Life, saw: dict[str, Any], seen: list[Write], known: list[Write]) -> None:
        writes = life.line.writes
        for write in seen:
            for key, number in write.effects.items():
                if key in saw and number is not None and number_of(saw[key]) == number:
                    for other in known:
                        if other.begin > write.end and (other.cleared or key in other.effects):
                            raise BrokenPromiseError(
                                f"{life.name} shows under {key!r} what request {write.request} put there, "
                                f"and request {other.request} changed it later"
                            )
        for key in {key for write in known for key in write.effects}:
            if key in saw:
                continue
            blockers = [write for write in known if write.cleared or key in write.effects]
            for write in writes:
                if (
                    write.status is not Status.NOT_SAVED
                    and _removes(write, key)
                    and not any(other.begin > write.end for other in blockers)
                ):
                    break
            else:
                raise BrokenPromiseError(
                    f"{life.name} has lost {key!r}, acknowledged to request {blockers[-1].request}"
                )

    def _check_counter(self, life: Life, counted: int, known: list[Write]) -> None:
        writes = [write for write in life.line.writes if write.status is not Status.NOT_SAVED]
        added = [write for write in writes if write.added]
        if not added and not counted:
            return
        clears = [write for write in writes if write.cleared]
        least = sum(write.added for write in known if write.added and all(clear.end < write.begin for clear in clears))
        most = sum(
            write.added for write in added if not any(clear.cleared and clear.begin > write.end for clear in known)
        )
        if not least <= counted <= most:
            raise BrokenPromiseError(f"{life.name} counts {counted}, which should be between {least} and {most}")


def number_of(value: Any) -> int:
    """Return which write a value names: a number, or text that begins with one."""
    return value if type(value) is int else int(value[:6])


def _removes(write: Write, key: str) -> bool:
    if key in write.effects:
        return write.effects[key] is None
    return write.cleared


def _is_ancestor(older: Life | None, life: Life) -> bool:
    ancestor = life.parent
    while ancestor is not None:
        if ancestor is older:
            return True
        ancestor = ancestor.parent
    return False
