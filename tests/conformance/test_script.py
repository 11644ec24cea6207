"""The neutral application does what scripts say, and tells what came of it."""

import asyncio

import pytest
from holdall import Session
from holdall_conformance import Application
from holdall_conformance.script import OPERATIONS, PageFailedError, Script

from tests.core.support import World


def visit(script: Script) -> list[object]:
    application = Application()
    path = application.add(script)
    World().request(lambda session: b"".join(application.visit(path, session).chunks))
    return application.results[path]


def test_results_are_in_order() -> None:
    """Every operation leaves its result, and what is caught its error's name."""
    script = Script((("set", "a", 1), ("incr", "a", 2), ("try", "item", "b"), ("names",), ("pop", "a")))
    assert visit(script) == [None, 3, "KeyError", ["a"], 3]


def test_every_operation_can_be_done() -> None:
    """There is no operation that a session does not have."""
    first: tuple[tuple[str, str, object], ...] = (("set", "list", []), ("set", "n", 1), ("set", "key", 1))
    arguments = {
        **dict.fromkeys(("get", "item", "delete", "in", "pop", "has_key", "pop_quick", "type"), ("key",)),
        **dict.fromkeys(("set", "setdefault", "set_quick"), ("key", 1)),
        **dict.fromkeys(("update", "merge"), ({"key": 1},)),
        "append": ("list", 1),
        "bind": ("ada",),
        "incr": ("n",),
    }
    for name in OPERATIONS:
        assert len(visit(Script((*first, (name, *arguments.get(name, ())))))) == 4


def test_late_operations_wait_for_the_body() -> None:
    """What is to happen late happens between the first chunk and the last."""
    application = Application()
    path = application.add(Script((("set", "n", 1),), late=(("get", "n"),)))

    def view(session: Session) -> None:
        page = application.visit(path, session)
        assert page.streams
        assert next(page.chunks) == b"begun, "
        assert application.results[path] == [None]
        assert [*page.chunks] == [b"ended"]
        assert application.results[path] == [None, 1]

    World().request(view)


def test_pauses_of_coroutines_do_not_block() -> None:
    """While a page that is a coroutine pauses, its event loop goes on."""
    application = Application()
    loop_runs: list[bool] = []

    async def main() -> None:
        loop = asyncio.get_running_loop()

        def pause() -> None:
            asyncio.run_coroutine_threadsafe(note(), loop).result(60)

        async def note() -> None:
            loop_runs.append(True)

        await application.avisit(application.add(Script((("meanwhile", pause),))), None)

    asyncio.run(main())
    assert loop_runs == [True]


def test_page_that_fails() -> None:
    """A script may have its page raise."""
    with pytest.raises(PageFailedError):
        visit(Script((("raise",),)))


def test_touches() -> None:
    """An application can be asked whether a page touches its session."""
    application = Application()
    assert not application.touches(application.add(Script((("meanwhile", len),))))
    assert application.touches(application.add(Script(late=(("get", "n"),))))
