"""The drivers: answers are sent, errors thrown in, tuples answered at once, results returned."""

import asyncio
from collections.abc import Callable, Generator
from typing import Any

import pytest
from holdall import (
    Answer,
    Command,
    Finished,
    Flow,
    Get,
    Missing,
    StoreError,
    StoreUnavailable,
    Tier,
    arun,
    run,
)

COMMAND = Get(Tier.CACHE, "k")


class Stores:
    """Answers Missing, or an error for a key "bad"."""

    def execute(self, commands: tuple[Command, ...]) -> tuple[Answer | StoreError, ...]:
        return tuple(StoreUnavailable("no") if command.key == "bad" else Missing() for command in commands)


class AsyncStores:
    """The same, awaitable."""

    async def execute(self, commands: tuple[Command, ...]) -> tuple[Answer | StoreError, ...]:
        await asyncio.sleep(0)
        return Stores().execute(commands)


def drive_sync(flow: Flow[Any]) -> Any:
    return run(flow, Stores())


def drive_async(flow: Flow[Any]) -> Any:
    return asyncio.run(arun(flow, AsyncStores()))


@pytest.mark.parametrize("drive", [drive_sync, drive_async])
def test_drivers(drive: Callable[[Flow[Any]], Any]) -> None:
    """Both drivers send answers, throw errors in, answer tuples whole, and return what the flow returns."""

    def flow() -> Generator[Any, Any, list[Any]]:
        seen = [(yield COMMAND)]
        try:
            yield Get(Tier.CACHE, "bad")
        except StoreError as error:
            seen.append(str(error))
        first, second = yield (COMMAND, Get(Tier.CACHE, "bad"))
        return [*seen, first, type(second)]

    assert drive(flow()) == [Missing(), "no", Missing(), StoreUnavailable]
    assert drive(Finished(5)) == 5


@pytest.mark.parametrize("drive", [drive_sync, drive_async])
def test_what_a_flow_raises_comes_out(drive: Callable[[Flow[Any]], Any]) -> None:
    """An error that the flow does not handle reaches the caller."""

    def flow() -> Generator[Any, Any, None]:
        yield Get(Tier.CACHE, "bad")

    with pytest.raises(StoreUnavailable):
        drive(flow())
