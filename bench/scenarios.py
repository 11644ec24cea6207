"""What is measured, and what Holdall is to reach in it: the one table that the report and the documentation show.

Nothing is timed here.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from bench.measuring import Costs, Spread
from bench.tables import ASGI, COOKIE, DATASTORE, DJANGO, FLASK, HOLDALL, LAZY, LIMIT, MEMCACHED, REFILL, SQLITE
from bench.worker import LIVE

NOISY = "too noisy to tell"
PEERS = ("Flask", "Django", "Starlette", "starsessions", "Pyramid", "Beaker")
ADAPTERS = {FLASK: "Flask", DJANGO: "Django", ASGI: "Starlette"}
"""Each adapter for a framework, and the framework's own sessions."""


class Aim(NamedTuple):
    """One figure to reach."""

    what: str
    bound: float
    measured: Callable[[Costs], Spread]
    unit: str = "x"
    is_least: bool = False
    """The bound is the least that will do, not the most."""

    def verdict(self, value: Spread) -> str:
        """Tell whether a measured value will do: as a whole, not at all, or within the noise of the machine."""
        within = [self._will_do(figure) for figure in value]
        if value.low < (0 if self.unit == "x" else -self.bound):  # nothing costs less than nothing
            return NOISY
        if all(within):
            return "reached"
        return NOISY if any(within) else "**not reached**"

    def _will_do(self, figure: float) -> bool:
        return figure >= self.bound if self.is_least else figure <= self.bound


class Job(NamedTuple):
    """What a contestant is asked to do; see `worker.Subject.job`."""

    contestant: str
    options: dict[str, Any]


class Scenario(NamedTuple):
    """One row: who does what, by the name of the column, and the aims of it."""

    title: str
    jobs: dict[str, Job]
    aims: tuple[Aim, ...] = ()
    most_rounds: int = 1_000


class Table(NamedTuple):
    """Rows that the same contestants compete in."""

    name: str
    title: str
    columns: tuple[str, ...]
    proof: str
    """The data that the contestants prove their work with."""
    scenarios: tuple[Scenario, ...]
    needs: str = ""
    """The server without which there are no figures."""


def at_most(bound: float, of: str = LIMIT, who: str = HOLDALL) -> Aim:
    """Holdall costs at most so many times as much as another contestant."""
    what = f"of the {of}" if who == HOLDALL else f"{who}, of the {of}"
    return Aim(what, bound, lambda costs: costs.ratio(who, of))


def microseconds(bound: float) -> Aim:
    """Holdall costs at most so many microseconds."""
    return Aim("in all", bound, lambda costs: costs.of(HOLDALL), "µs")


def faster(bound: float, peers: Sequence[str], who: str = HOLDALL) -> Aim:
    """Each of the peers that there are costs at least so many times as much as Holdall."""
    what = f"faster than {peers[0]}" if len(peers) == 1 else "faster than the fastest peer"

    def measured(costs: Costs) -> Spread:
        return min((costs.ratio(peer, who) for peer in peers if peer in costs), key=lambda ratio: ratio.median)

    return Aim(what if who == HOLDALL else f"{who}, {what}", bound, measured, is_least=True)


def over_core(who: str) -> Aim:
    """An adapter costs at most 5 microseconds more than the core."""
    return Aim(f"{who}, over the core", 5, lambda costs: costs.excess(who, "core"), "µs")


_OVER_CORE = tuple(over_core(who) for who in (HOLDALL, *ADAPTERS))
_AHEAD = tuple(faster(1, [framework], who) for who, framework in ADAPTERS.items())


def _row(title: str, columns: Sequence[str], *aims: Aim, most_rounds: int = 1_000, **options: Any) -> Scenario:
    return Scenario(title, {name: Job(name, options) for name in columns}, aims, most_rounds)


def _beside(title: str, base: dict[str, Any], mine: dict[str, Any], bound: float | None) -> Scenario:
    jobs = {"base": Job(HOLDALL, base), HOLDALL: Job(HOLDALL, mine)}
    return Scenario(title, jobs, () if bound is None else (at_most(bound, "base"),))


def _cookie_rows() -> tuple[Scenario, ...]:
    own = [name for name in COOKIE if name not in (LIMIT, LAZY, "core")]
    return (
        _row("untouched", [*COOKIE], at_most(2.2), microseconds(1.2), *_OVER_CORE, action="untouched", data="200 B"),
        _row(
            "read 200 B",
            [*COOKIE],
            *(at_most(2.4), faster(3, PEERS), faster(12, ["Flask"]), *_OVER_CORE, *_AHEAD),
            action="read",
            data="200 B",
        ),
        _row(
            "write 200 B",
            [*COOKIE],
            *(at_most(2.4), faster(3.5, PEERS), faster(15, ["Flask"]), *_OVER_CORE, *_AHEAD),
            action="write",
            data="200 B",
        ),
        _row("read 2.6 KB, one small key", [*COOKIE], at_most(0.8), *_AHEAD, action="read", data="2.6 KB"),
        _row("write 2.6 KB, one small key", [*COOKIE], at_most(0.9), *_AHEAD, action="write", data="2.6 KB"),
        _row("read 2.6 KB, the big container", [*COOKIE], at_most(1.8), *_AHEAD, action="read_rows", data="2.6 KB"),
        _row("write 2.6 KB, the big container", [*COOKIE], at_most(1.6), *_AHEAD, action="write_rows", data="2.6 KB"),
        *(
            _row(
                f"read 200 B, {number} foreign cookie{'s' * (number > 1)}",
                own,
                action="read",
                data="200 B",
                foreign=number,
            )
            for number in (1, 10, 60)
        ),
        _row(
            "read 200 B, 1 MB of Cookie header",
            own,
            microseconds(5_000),
            action="read",
            data="200 B",
            foreign=20_000,
            most_rounds=5,
        ),
        *(
            _beside(
                f"read 200 B: {number} foreign cookies, base one",
                _FOREIGN | {"foreign": 1},
                _FOREIGN | {"foreign": number},
                bound,
            )
            for number, bound in ((10, None), (60, 1.3))
        ),
        _beside(f"read 200 B: {LIVE:,} browsers in turn, base one", _FOREIGN, _FOREIGN | {"browsers": True}, None),
    )


_FOREIGN: dict[str, Any] = {"action": "read", "data": "200 B"}


def _memcached_rows() -> tuple[Scenario, ...]:
    aims = {"20 KB": (0.5, 0.75, 1.7, 1.55), "200 KB": (0.2, 0.3, 1.65, 1.65)}
    verbs = (
        ("read {}, one small key", "read"),
        ("write {}, one small key", "write"),
        ("read {}, the big container", "read_rows"),
        ("write {}, the big container", "write_rows"),
    )
    return tuple(
        _row(
            f"memcached: {title.format(size)}",
            [*MEMCACHED],
            at_most(bound),
            *_STORED_AHEAD,
            action=action,
            data=size,
            most_rounds=21,
        )
        for size, bounds in aims.items()
        for (title, action), bound in zip(verbs, bounds, strict=True)
    )


_STORED_AHEAD = (
    faster(1, ["Flask-Session"], FLASK),
    faster(1, ["Django cache, pymemcache"], DJANGO),
    faster(1, ["Django cache, pylibmc"], DJANGO),
)


def _memory_rows() -> tuple[Scenario, ...]:
    return tuple(
        _beside(
            f"{verb} a thousand tuples, {where}; base lists",
            {"action": action, "data": f"a thousand lists{end}"},
            {"action": action, "data": f"a thousand tuples{end}"},
            3,
        )
        for where, end in (("a list of them", ""), ("among other values", " among others"))
        for verb, action in (("read", "read_rows_whole"), ("write", "swap_rows"))
    )


_20_KB: dict[str, Any] = {"action": "write", "data": "20 KB"}

TABLES = (
    Table("cookie", "Sessions in the cookie", tuple(COOKIE), "200 B", _cookie_rows()),
    Table("memcached", "Sessions in memcached alone", tuple(MEMCACHED), "20 KB", _memcached_rows(), "memcached"),
    Table(
        *("refill", "Sessions in SQLite, of which memcached has lost its copy", tuple(REFILL), "20 KB"),
        (
            _row("read 20 KB, one small key, memcached empty", [*REFILL], action="read", data="20 KB", lost=True),
            _row("read 200 KB, one small key, memcached empty", [*REFILL], action="read", data="200 KB", lost=True),
        ),
        "memcached",
    ),
    Table(
        *("sqlite", "A write that is durable when it is acknowledged: SQLite", tuple(SQLITE), "20 KB"),
        (_row("SQLite: durable write 20 KB, one small key", [*SQLITE], at_most(1.4), **_20_KB),),
        "memcached",
    ),
    Table(
        *("datastore", "The same: Datastore's emulator; the limit is one raw Commit", tuple(DATASTORE), "20 KB"),
        (_row("Datastore: durable write 20 KB, one small key", [*DATASTORE], at_most(1.4), **_20_KB),),
        "datastore",
    ),
    Table("memory", "Tuples, beside lists: in this process's memory", ("base", HOLDALL), "20 KB", _memory_rows()),
)
