"""Chooses from a seed what happens in a history: requests, interleavings, faults; and the rest of a world.

It looks at the simulation while it chooses, and what it chose is a list of events that can be done again without it.
Every history aims at one pair of a fault and a step, so that a run of many meets them all.
"""

from random import Random
from typing import NamedTuple

from tests.simulation.application import LATE, OF_PRINCIPALS, OF_WORKERS, PRINCIPALS, VERBS
from tests.simulation.ledger import BrokenPromiseError
from tests.simulation.matrix import CACHE_ONLY, OF_LISTS, ON_COMMANDS, PAIRS, Fault, Pair, Step
from tests.simulation.simulator import CHECK, TRUST, Arrive, Begin, Config, Event, Go, Simulation, Strike, Wait, Work

LEAST_STEPS = 40
CROWD = 8
"""How many requests write to one session at once, at least, in the histories that have a crowd."""
_MOST_IN_CROWD = 14
_AT_ONCE = 5
"""How many requests are under way at most."""
_MOST_EVENTS = 2_000
_MOST_HITS = 3
"""How often a history lets its fault meet its step."""
_ENDLESS = 86_400
_BACKUP_AGE = 30
"""How many ticks old a backup is at least, so that something is lost when it is restored."""

_USUAL = {
    "read": 14,
    "set": 14,
    "set two keys": 3,
    "delete": 4,
    "clear": 2,
    "incr": 10,
    "grow": 9,
    "shrink": 4,
    "set_quick": 6,
    "pop_quick": 1,
    "terminate": 3,
    "terminate and set": 2,
    "start": 2,
    "start large": 2,
    "start with an early end": 1,
    "regenerate_id": 4,
    "regenerate_id and set": 4,
    "regenerate_id and shrink": 2,
    "persist": 3,
    "slide": 3,
    "slide and set": 3,
    "fail": 2,
}
_WITH_LOGINS = {"log in": 12, "log in and grow": 5, "revoke": 4, "revoke the others": 3, "sessions_of": 3}
"""What there is besides in histories of sessions that are bound."""
assert {*_USUAL, *_WITH_LOGINS} == set(VERBS)
_OFTEN: dict[Step, dict[str, int]] = {
    Step.LOAD_BURY: {"terminate": 25, "read": 40},
    Step.REFILL: {"read": 30, "set": 40, "incr": 40},
    Step.INSERT: {"start large": 40},
    Step.PROMOTE: {"grow": 60, "persist": 30},
    Step.UPDATE: {"set": 30, "incr": 50},
    Step.LATE: {"read": 40},
    Step.LOOK: {"set": 60, "incr": 30},
    Step.MOVE_NEW: {"regenerate_id and set": 60},
    Step.MOVE_OLD: {"regenerate_id": 60},
    Step.MOVE_UNDO: {"regenerate_id": 100, "terminate": 40},
    Step.END: {"terminate and set": 40},
    Step.PUBLISH_LOOK: {"set": 80, "incr": 80},
    Step.TOMBSTONE: {"terminate and set": 40, "regenerate_id": 20},
    Step.QUICK_LOOK: {"set_quick": 80},
    Step.QUICK: {"set_quick": 80},
    Step.ASK: {"read": 30, "log in": 20, "revoke": 10},
    Step.LIST_LOOK: {"log in": 20, "sessions_of": 10},
    Step.ENTER: {"log in": 40},
    Step.LEAVE: {"log in": 30, "terminate": 20},
    Step.REVOKE: {"log in": 30, "revoke": 30, "revoke the others": 20},
}
_WAITS = (0.1, 1.0, 5.0, 25.0, 59.0, 61.0, 130.0)
_JUMPS = (-3600.0, -70.0, -20.0, -3.0, 3.0, 20.0, 70.0, 3600.0)
_STRIKES: tuple[tuple[Fault | str, int], ...] = (
    (Fault.FLUSH, 4),
    (Fault.RESTART, 2),
    (Fault.FAIL_OVER, 3),
    (Fault.FAIL_BACK, 3),
    ("the replica is brought up to date", 4),
    ("the cache is unreachable", 4),
    ("the cache is reachable", 5),
    ("the durable store is unreachable", 2),
    ("the durable store is reachable", 4),
    (Fault.EVICT, 8),
    (Fault.NEWER, 1),
    ("the newer version is taken back", 2),
    (Fault.ROTATE, 3),
)
_BEFORE: dict[Fault, str] = {
    Fault.PARTITION: "the cache is unreachable",
    Fault.OUTAGE: "the durable store is unreachable",
}


class History(NamedTuple):
    """What was chosen and what came of it."""

    seed: int
    config: Config
    events: list[Event]
    simulation: Simulation
    broken: str | None
    """Which promise was broken; None: all were kept."""


def aim(seed: int) -> Pair:
    """Return the fault and the step that the history of this seed aims to bring together."""
    return PAIRS[seed % len(PAIRS)]


def history(seed: int) -> History:
    """Choose and live one history."""
    return _Scheduler(seed).live()


def again(seed: int, config: Config, events: list[Event], *, story: list[str] | None = None) -> str | None:
    """Do events again; returns which promise is broken."""
    simulation = Simulation(config, seed, story=story)
    try:
        for event in events:
            simulation.do(event)
        simulation.conclude()
    except BrokenPromiseError as broken:
        return str(broken)
    return None


def short_of(simulation: Simulation) -> list[str]:
    """Return what a history should have had, and had not."""
    browsers = {request.owner for request in simulation.requests.values() if request.owner is not None}
    processes = {request.process for request in simulation.requests.values()}
    wanted = {
        f"{LEAST_STEPS} steps": simulation.commands >= LEAST_STEPS,
        "2 browsers": len(browsers) >= 2,
        "2 processes": len(processes) >= 2,
        "a fault": simulation.faults >= 1,
        "a promotion or a change of sid": simulation.promotions + simulation.new_sids >= 1,
    }
    return [what for what, is_there in wanted.items() if not is_there]


class _Scheduler:
    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.random = Random(seed)
        self.target = aim(seed)
        self.config = self._config()
        self.simulation = Simulation(self.config, seed)
        self.events: list[Event] = []
        self.rate = self.random.choice((0.0, 0.03, 0.1))
        weights = {**_USUAL, **(_WITH_LOGINS if self.config.has_logins else {})}
        for verb, weight in _OFTEN.get(self.target[1], {}).items():
            weights[verb] += weight
        if self.target[0] is Fault.RESTORE:
            weights["set"] += 30
            weights["incr"] += 20
        if self.random.random() < 0.3:  # a history of few habits goes deeper
            for verb in self.random.sample([*weights], 14):
                weights[verb] = 0
            weights["set"] += 5
        self.verbs, self.weights = [*weights], [*weights.values()]
        self.has_backups = self.target[0] is Fault.RESTORE or self.random.random() < 0.1
        self.has_jumps = self.target[0] is Fault.CLOCK or (any(self.config.offsets) and self.random.random() < 0.5)
        self.has_crowd = self.random.random() < 0.03
        self.hits = 0
        self.stalled = -1
        """The request that gets no further for a while, whatever the others do."""
        is_late_news = self.target[0] is Fault.RESTORE or self.target[1] is Step.REFILL
        self.by_id = self.random.choice((0.4, 0.4, 0.1) if is_late_news else (0.1, 0.1, 0.4))
        """How many of the requests are those of workers, that open a session by its id."""

    def _config(self) -> Config:
        random, (fault, step) = self.random, self.target
        needs_durable = fault in (Fault.RESTORE, Fault.NEWER, Fault.OUTAGE) or step in (
            Step.REFILL,
            Step.LOAD_CACHE,
            Step.LOAD_BURY,
            Step.PUBLISH,
            Step.PUBLISH_LOOK,
            Step.TOMBSTONE,
            Step.QUICK,
            Step.QUICK_LOOK,
            *OF_LISTS,
        )
        memory_only = not needs_durable and random.random() < 0.15
        if (fault is Fault.PARTITION and step not in CACHE_ONLY) or (
            fault is Fault.EVICT and step in (Step.MOVE_NEW, Step.MOVE_UNDO)
        ):
            # Only there has the cache records, or anything under a sid that nobody knows yet.
            memory_only = True
        has_logins = step in OF_LISTS or (not memory_only and random.random() < 0.1)
        processes = random.choice((2, 2, 2, 3))
        apart = random.random() < 0.2
        return Config(
            threshold=400 if step is Step.PROMOTE or random.random() < (0.2 if fault is Fault.RESTORE else 0.5) else 0,
            memory_only=memory_only,
            idle_timeout=600 if random.random() < 0.15 else None,
            offsets=tuple(random.choice((0.0, -3.0, 2.0, 40.0, 3600.0)) if apart else 0.0 for _ in range(processes)),
            drifts=tuple(random.choice((0.0, -0.01, 0.02)) if apart else 0.0 for _ in range(processes)),
            browsers=random.choice((2, 2, 3)),
            budget=random.choice((2, _ENDLESS)),
            has_logins=has_logins,
        )

    def live(self) -> History:
        broken = None
        try:
            self._live()
            self.simulation.conclude()
        except BrokenPromiseError as error:
            broken = str(error)
        return History(self.seed, self.config, self.events, self.simulation, broken)

    def _do(self, event: Event) -> None:
        self.events.append(event)
        self.simulation.do(event)

    def _live(self) -> None:
        random, simulation = self.random, self.simulation
        self._begin(0, "grow" if random.random() < 0.5 else "set")
        self._begin(1, "start")
        if self.has_crowd:
            self._crowd()
        steps = LEAST_STEPS + random.randrange(20) + (30 if self.target[0] is Fault.RESTORE else 0)
        while simulation.commands < steps:
            if len(self.events) > _MOST_EVENTS:
                break
            self._next()
        if not simulation.promotions + simulation.new_sids:
            for what in ("the cache is reachable", "the durable store is reachable"):
                self._do(Strike(what, 1))
            self._do(Strike("the newer version is taken back"))
            for verb in ("start", "regenerate_id"):
                self._whole(Begin(simulation.next_request(), 1, 1, verb))
        if not simulation.faults:
            self._do(Strike(Fault.FLUSH))

    def _crowd(self) -> None:
        """Let many requests write to one session at once; one of them gets no reply, and asks when all others are done.

        They are more than the write ids that a record keeps, most of the time.
        """
        random, simulation = self.random, self.simulation
        self._whole(Begin(simulation.next_request(), 1, 0, "start large"))
        first = simulation.next_request()
        writers = [*range(first, first + random.randint(CROWD, _MOST_IN_CROWD))]
        for number in writers:
            process, verb = random.randrange(len(self.config.offsets)), random.choice(("incr", "incr", "incr", "set"))
            self._do(Begin(number, 1, process, verb, random.randrange(4)))
            while number in simulation.work and Step.UPDATE not in simulation.work[number].steps:
                self._do(Go(number))
        random.shuffle(writers)
        self._do(Go(writers[-1], Fault.LOST))
        for number in writers:
            while number in simulation.work:
                self._do(Go(number))
        self._whole(Begin(simulation.next_request(), 1, 0, "read"))

    def _whole(self, begin: Begin) -> None:
        self._do(begin)
        while begin.request in self.simulation.work:
            self._do(Go(begin.request))
        self._do(Arrive(begin.request))

    def _next(self) -> None:
        random, simulation = self.random, self.simulation
        luck = random.random()
        work = simulation.work
        if work and luck < 0.6:
            self._go()
        elif luck < 0.78:
            if len(work) < _AT_ONCE:
                self._begin()
        elif luck < 0.92:
            if simulation.responses:
                request = random.choice([*simulation.responses])
                self._do(Arrive(request, lost=random.random() < 0.15))
        elif luck < 0.96:
            self._do(Wait(random.choice(_WAITS)))
        else:
            self._strike()

    def _begin(self, browser: int | None = None, verb: str | None = None) -> None:
        random, simulation = self.random, self.simulation
        process = random.randrange(len(self.config.offsets))
        late = ""
        if random.random() < (0.5 if self.target[1] is Step.LATE else 0.06):
            late = random.choice(LATE)
        verb = verb or random.choices(self.verbs, self.weights)[0]
        jar = -1
        if browser is None:
            browser = 0 if random.random() < 0.7 else random.randrange(self.config.browsers)
            luck = random.random()
            by_id = luck < self.by_id and verb in OF_WORKERS and simulation.ledger.lives
            if verb in OF_PRINCIPALS or by_id:
                browser = -1
            elif luck > 0.9 and simulation.browsers[browser].jars:
                jar = random.randrange(len(simulation.browsers[browser].jars))
        sid = random.randrange(1 << 16)
        self._do(Begin(simulation.next_request(), browser, process, verb, random.randrange(4), late, jar, sid))

    def _go(self) -> None:
        random, simulation = self.random, self.simulation
        fault, step = self.target
        if random.random() < 0.06:
            late, self.stalled = self.stalled, random.choice([*simulation.work]) if random.random() < 0.6 else -1
            if late in simulation.work:  # what waited so long is carried out at last
                self._do(Go(late))
                return
        number = random.choice([work for work in simulation.work if work != self.stalled] or [*simulation.work])
        chosen: Fault | None = None
        if self.hits < _MOST_HITS:
            for other, work in simulation.work.items():
                if step in work.steps and not work.slow_until and other != self.stalled and random.random() < 0.6:
                    if random.random() < 0.3:
                        self.stalled = other
                        break
                    number = other
                    chosen = self._aim(fault, other, work.request.process)
                    break
            else:
                self._prepare()
        if chosen is None and self.rate and random.random() < self.rate:
            chosen = random.choice(ON_COMMANDS)
        if chosen in (Fault.LOST, Fault.LATE) and random.random() < 0.5:
            self.stalled = number  # it waits for an answer in vain, and the others go on
        going = simulation.work.get(number)
        if going is not None and chosen is Fault.SLOW and Step.ASK in going.steps and not going.slow_until:
            self._hear_late(going)
        else:
            self._do(Go(number, chosen))

    def _hear_late(self, work: Work) -> None:
        """Let a request that asks whether its session was revoked hear of it when that is no longer news, or wrong."""
        self._do(Go(work.request.number, Fault.SLOW))
        if self.random.random() < 0.5:
            self._do(Wait(CHECK + 1))
        else:
            key = self.random.randrange(len(PRINCIPALS))
            self._whole(Begin(self.simulation.next_request(), -1, work.request.process, "revoke", key))

    def _aim(self, fault: Fault, number: int, process: int) -> Fault | None:
        """Let the fault that this history aims at meet the step that a request waits for."""
        self.hits += 1
        if fault in ON_COMMANDS:
            return fault
        if fault in _BEFORE:
            self._do(Strike(_BEFORE[fault], process))
        elif fault is Fault.CLOCK:
            self._do(Strike(fault, process, self.random.choice(_JUMPS)))
        elif fault is Fault.ROTATE:
            for other in range(len(self.config.offsets)):
                if other != process and not self.simulation.processes[other].keys:
                    self._do(Strike(fault, other))
            self._do(Strike(fault, process))
        elif fault in (Fault.EVICT, Fault.NEWER):
            self._do(Strike(fault, number))
        else:
            if fault is Fault.FAIL_BACK and not self.simulation.failed_over:
                self._do(Strike(Fault.FAIL_OVER))
            if fault is Fault.RESTORE:
                self._restore()
            else:
                self._do(Strike(fault))
        return None

    def _restore(self) -> None:
        """Restore a backup from a while ago, once, and often let a time pass that nobody trusts older caches after."""
        simulation = self.simulation
        if not simulation.backup_tick:
            self._do(Strike("a backup is made"))
        if simulation.ledger.tick - simulation.backup_tick < _BACKUP_AGE:
            self.hits -= 1
            return
        self._do(Strike(Fault.RESTORE))
        self.hits = _MOST_HITS
        if self.random.random() < 0.7:
            self._do(Wait(TRUST + 1))

    def _prepare(self) -> None:
        """Make it likelier that the step that this history aims at is asked for."""
        random, simulation, step = self.random, self.simulation, self.target[1]
        if step in (Step.REFILL, Step.QUICK_LOOK, Step.LOAD_HOME) and random.random() < 0.15:
            self._do(Strike(Fault.FLUSH))
        elif step is Step.MOVE_UNDO:
            moving = [number for number, work in simulation.work.items() if Step.MOVE_OLD in work.steps]
            if moving and random.random() < 0.9:
                self.stalled = moving[0]
        elif step is Step.LOAD_BURY:
            for number, work in simulation.work.items():
                if Step.TOMBSTONE in work.steps and not work.slow_until:
                    self._do(Go(number, Fault.REFUSED))
                    self._do(Wait(TRUST + 1))
                    break

    def _strike(self) -> None:
        random, simulation = self.random, self.simulation
        if self.has_jumps and random.random() < 0.3:
            process = random.randrange(len(self.config.offsets))
            self._do(Strike(Fault.CLOCK, process, random.choice(_JUMPS)))
            return
        if self.has_backups and random.random() < 0.4:
            self._do(Strike(random.choice(("a backup is made", Fault.RESTORE))))
            return
        what = random.choices([what for what, _ in _STRIKES], [weight for _, weight in _STRIKES])[0]
        if self.config.memory_only and what in (Fault.NEWER, "the durable store is unreachable"):
            return
        target = random.randrange(len(self.config.offsets))
        if what in (Fault.EVICT, Fault.NEWER):
            if not simulation.work:
                return
            target = random.choice([*simulation.work])
        self._do(Strike(what, target))
