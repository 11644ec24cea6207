"""Tests of `holdall_asgi.session`: what users of `request.session` do with it, beside a dict."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from holdall_asgi import Session

from tests.core.support import World

HABITS: list[Callable[[Any], Any]] = [
    lambda it: it["a"],
    lambda it: it["missing"],
    lambda it: it.get("missing", 7),
    lambda it: it.pop("a"),
    lambda it: it.pop("missing"),
    lambda it: it.pop("missing", None),
    lambda it: it.pop("missing", default=5) if isinstance(it, Session) else 5,
    lambda it: it.popitem(),
    lambda it: (it.clear(), it.popitem()),
    lambda it: (it.popitem(), it.popitem()),
    lambda it: it.setdefault("a", 9),
    lambda it: it.setdefault("c", []).append(1),
    lambda it: it.update({"d": 1}, e=2),
    lambda it: it.update([("d", 1)]),
    lambda it: it.clear(),
    lambda it: it.copy(),
    lambda it: it | {"a": 3},
    lambda it: {"a": 3, "z": 4} | it,
    lambda it: it.__ior__({"a": 3}) is it,
    lambda it: it | [("a", 3)],
    lambda it: "a" in it,
    lambda it: list(it),
    lambda it: list(it.items()),
    lambda it: list(reversed(list(it.keys()))),
    lambda it: list(it.values()),
    lambda it: len(it),
    lambda it: bool(it),
    lambda it: it == {"a": 1, "b": [2]},
    lambda it: it != {"a": 1},
    lambda it: dict(it),
    lambda it: {**it},
    lambda it: json.dumps(dict(it)),
    lambda it: it["b"].append(3),
]


def outcome(habit: Callable[[Any], Any], it: Any) -> tuple[Any, Any]:
    """Return what a habit returned or raised, and what was in it then."""
    try:
        result = habit(it)
    except (KeyError, TypeError) as error:
        result = type(error)
    return result, dict(it)


@pytest.mark.parametrize("habit", HABITS, ids=range(len(HABITS)))
def test_a_session_is_used_as_a_dict_is(habit: Callable[[Any], Any]) -> None:
    """What is done to a session has the result and the effect that it has with a dict, also in the next request."""
    world = World(session_class=Session)
    world.request(lambda session: session.update(a=1, b=[2]))
    expected = outcome(habit, {"a": 1, "b": [2]})
    assert world.request(lambda session: outcome(habit, session)) == expected
    assert world.read() == expected[1]


def test_the_seeds_verbs_are_there() -> None:
    """Beside the habits of a dict, a session keeps what it can do more."""
    world = World(session_class=Session)
    world.request(lambda session: session.start())
    assert world.request(lambda session: (session.incr("n"), session.pop_quick("missing"), session.has_key("n"))) == (
        1,
        None,
        True,
    )
    world.request(lambda session: session.terminate())
    assert world.browser.cookies == {}


def test_copies_are_no_sessions() -> None:
    """What `copy` and `|` return is a dict, and changing it changes no session."""
    world = World(session_class=Session)
    world.request(lambda session: session.update(a=1))

    def act(session: Any) -> None:
        copies = [session.copy(), session | {}, {} | session]
        assert [type(each) for each in copies] == [dict] * 3
        for each in copies:
            each["a"] = 2

    world.request(act)
    assert world.read() == {"a": 1}
