"""The Datastore emulators for the tests of stores, and a namespace of its own for each test."""

import uuid
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from tests.emulators import OPTIMISTIC, PESSIMISTIC, emulator


@dataclass(frozen=True)
class Emulator:
    """A running emulator: where it listens, and whether its transactions are optimistic or pessimistic."""

    address: str
    concurrency: str


@pytest.fixture(scope="session", params=[OPTIMISTIC, PESSIMISTIC])
def datastore_emulator(request: pytest.FixtureRequest) -> Iterator[Emulator]:
    """Both emulators in turn, each started once, when the first test asks for it."""
    with emulator(request.param) as address:
        yield Emulator(address, request.param)


@pytest.fixture
def namespace() -> str:
    """A namespace that no other test has seen."""
    return uuid.uuid4().hex
