"""A state machine: random visits of several browsers beside plain dictionaries that say what they must find.

Where the promise leaves room (overlapping requests of a session in the cookie: the last response to arrive wins), the
model knows every state that is allowed, until the next visit shows which it is.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

from holdall import Get, Tier
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, rule, run_state_machine_as_test

from holdall_conformance.clients import Browser
from holdall_conformance.script import Operation
from holdall_conformance.site import Adapter, Site

_BROWSERS = 3
_DAY = 86_400

_KEYS = ("a", "b", "c")
_SMALL = st.one_of(st.integers(), st.text(max_size=20), st.none(), st.booleans(), st.lists(st.integers(), max_size=3))
_BIG = st.sampled_from((5_000, 20_000)).map("x".__mul__)
_SETS = st.tuples(st.just("set"), st.sampled_from(_KEYS), st.one_of(_SMALL, _SMALL, _BIG))
_CHANGES = st.one_of(
    _SETS,
    st.tuples(st.just("pop"), st.sampled_from(_KEYS), st.none()),
    st.tuples(st.just("incr"), st.just("n"), st.integers(1, 9)),
)
_VERBS = st.sampled_from((("terminate",), ("regenerate_id",), ("start",), ("clear",)))
_SCRIPTS = st.lists(st.one_of(_CHANGES, _CHANGES, _VERBS), min_size=1, max_size=4)
_WHO = st.integers(0, _BROWSERS - 1)

State = dict[str, Any]


class Found(NamedTuple):
    """What a browser finds at a visit."""

    state: State
    active: bool
    """There is a session."""
    stored: bool
    """It is in a store."""


def _apply(state: State, operations: list[Operation]) -> State:
    """Do to a dictionary what a page does to its session."""
    state = dict(state)
    for name, *arguments in operations:
        if name == "set":
            state[arguments[0]] = arguments[1]
        elif name == "pop":
            state.pop(arguments[0], None)
        elif name == "incr":
            state["n"] = state.get("n", 0) + arguments[1]
        elif name != "regenerate_id":
            state.clear()
    return state


def check_against_model(adapter: Adapter, *, examples: int = 25, steps: int = 20) -> None:
    """Run the state machine against an adapter: so many times, of so many steps each."""

    class Machine(RuleBasedStateMachine):
        def __init__(self) -> None:
            super().__init__()
            self.site = Site(adapter)
            self.browsers = [Browser() for _ in range(_BROWSERS)]
            self.allowed: list[list[State]] = [[{}] for _ in range(_BROWSERS)]

        def teardown(self) -> None:
            self.site.close()

        @rule(who=_WHO, operations=_SCRIPTS)
        def visit(self, who: int, operations: list[Operation]) -> None:
            before = self.read(who).state
            self.site.visit(*operations, browser=self.browsers[who])
            self.allowed[who] = [_apply(before, operations)]

        @rule(who=_WHO, slow=st.lists(_CHANGES, max_size=3), fast=st.lists(_CHANGES, min_size=1, max_size=3))
        def overlap(self, who: int, slow: list[Operation], fast: list[Operation]) -> None:
            """A request begins, another of the same browser runs from end to end, and the first one goes on."""
            before, _, stored = self.read(who)
            browser = self.browsers[who]
            slow = [operation for operation in slow if operation[0] == "incr" or operation[1] == "a"]
            fast = [operation for operation in fast if operation[0] == "incr" or operation[1] != "a"]
            self.site.visit(
                ("get", "a"), ("meanwhile", lambda: self.site.visit(*fast, browser=browser)), *slow, browser=browser
            )
            merged = _apply(_apply(before, fast), slow)
            either = [] if stored else [_apply(before, slow), _apply(before, fast)]
            self.allowed[who] = [merged, *either]

        @rule(who=_WHO, operations=st.lists(_CHANGES, min_size=1, max_size=3))
        def logged_out_meanwhile(self, who: int, operations: list[Operation]) -> None:
            """A slow request's session is terminated by another of the same browser."""
            before, active, stored = self.read(who)
            browser = self.browsers[who]
            self.site.visit(
                ("get", "a"),
                ("meanwhile", lambda: self.site.visit(("terminate",), browser=browser)),
                *operations,
                browser=browser,
            )
            changed = _apply(before, operations)
            self.allowed[who] = [changed] if not active else [{}] if stored else [{}, changed]
            if active and not stored:  # brought back in its cookie, it can never be stored: the browser is done with it
                self.read(who)
                self.browsers[who], self.allowed[who] = Browser(), [{}]

        @rule(who=_WHO, other=_WHO, operations=st.lists(_CHANGES, min_size=1, max_size=3))
        def somebody_else_meanwhile(self, who: int, other: int, operations: list[Operation]) -> None:
            """While one browser's request runs, another's runs too."""
            if who == other:
                return
            mine, theirs = self.read(who).state, self.read(other).state
            self.site.visit(
                ("get", "a"),
                ("meanwhile", lambda: self.site.visit(*operations, browser=self.browsers[other])),
                *operations,
                browser=self.browsers[who],
            )
            self.allowed[who] = [_apply(mine, operations)]
            self.allowed[other] = [_apply(theirs, operations)]

        @rule()
        def lose_the_cache(self) -> None:
            self.site.stores.flush(Tier.CACHE)

        @rule(seconds=st.sampled_from((1, 59, 61, 300)))
        def wait(self, seconds: int) -> None:
            self.site.clock.advance(seconds)

        @rule()
        def wait_until_all_is_over(self) -> None:
            self.site.clock.advance(8 * _DAY)
            self.allowed = [[{}] for _ in range(_BROWSERS)]

        @rule(who=_WHO)
        def look(self, who: int) -> None:
            self.read(who)

        def read(self, who: int) -> Found:
            """Find out what a browser's session holds, which must be allowed."""
            visit = self.site.visit(("names",), ("is_active",), browser=self.browsers[who])
            names, active = visit.results
            values = self.site.visit(*[("get", name) for name in names], browser=self.browsers[who]).results
            state = dict(zip(names, values, strict=True))
            allowed = self.allowed[who]
            self.site.check(
                state in allowed,
                f"browser {who} found {_shown(state)} where it must find {' or '.join(map(_shown, allowed))}",
            )
            self.allowed[who] = [state]
            stored = active and any(isinstance(command, Get) for command in visit.commands)
            return Found(state, active, stored)

    run_state_machine_as_test(
        Machine,
        settings=settings(
            max_examples=examples,
            stateful_step_count=steps,
            deadline=None,
            database=None,
            derandomize=True,
            suppress_health_check=list(HealthCheck),
        ),
    )


def _shown(state: Mapping[str, Any]) -> str:
    return "{" + ", ".join(f"{key!r}: {str(value)[:20]!r}" for key, value in sorted(state.items())) + "}"
