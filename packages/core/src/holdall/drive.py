"""The two drivers that carry out a flow: `run` and `arun`, and what a flow is.

A flow asks for commands and is sent answers; whoever drives it does the I/O. Nothing is decided here, no error is
swallowed, nothing is retried.
"""

from collections.abc import Awaitable, Generator
from typing import Any, Generic, Protocol, TypeAlias, TypeVar

from holdall.commands import Answer, Command
from holdall.errors import StoreError

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)


class Finished(Generic[T_co]):
    """A flow that needs no command: its result is already there, and costs no generator."""

    __slots__ = ("value",)

    def __init__(self, value: T_co) -> None:
        self.value = value


Step: TypeAlias = Command | tuple[Command, ...]
"""What a flow yields: one command, or a tuple of commands that are independent and may run at once."""

Steps: TypeAlias = Generator[Step, Any, T]
"""A flow under way."""

Flow: TypeAlias = Steps[T] | Finished[T]
"""Yields steps, is sent their answers, returns a `T`.

For one command it is sent the answer, or the store's error is thrown in; for a tuple it is sent the tuple of answers
and errors.
"""


class StoresLike(Protocol):
    """What `run` needs: carries out commands, answers in order, and puts a store's error where its answer would be."""

    def execute(self, commands: tuple[Command, ...], /) -> tuple[Answer | StoreError, ...]:
        """Carry out all commands; never raises a `StoreError`."""


class AsyncStoresLike(Protocol):
    """What `arun` needs: the same as `StoresLike`, awaitable."""

    def execute(self, commands: tuple[Command, ...], /) -> Awaitable[tuple[Answer | StoreError, ...]]:
        """Carry out all commands; never raises a `StoreError`."""


def run(flow: Flow[T], stores: StoresLike) -> T:
    """Drive a flow to its end with synchronous stores; returns its result, raises what it raises."""
    if isinstance(flow, Finished):
        return flow.value
    try:
        step = next(flow)
        while True:
            if isinstance(step, tuple):
                step = flow.send(stores.execute(step))
                continue
            (answer,) = stores.execute((step,))
            step = flow.throw(answer) if isinstance(answer, StoreError) else flow.send(answer)
    except StopIteration as stop:
        return stop.value  # type: ignore[no-any-return]


async def arun(flow: Flow[T], stores: AsyncStoresLike) -> T:
    """Drive a flow to its end with asynchronous stores; returns its result, raises what it raises."""
    if isinstance(flow, Finished):
        return flow.value
    try:
        step = next(flow)
        while True:
            if isinstance(step, tuple):
                step = flow.send(await stores.execute(step))
                continue
            (answer,) = await stores.execute((step,))
            step = flow.throw(answer) if isinstance(answer, StoreError) else flow.send(answer)
    except StopIteration as stop:
        return stop.value  # type: ignore[no-any-return]
