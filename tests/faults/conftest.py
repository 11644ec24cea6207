"""The Datastore emulators for all tests of faults."""

from collections.abc import Iterator

import pytest

from tests.emulators import OPTIMISTIC, PESSIMISTIC, EmulatorServer, emulator_server


@pytest.fixture(scope="session", params=[OPTIMISTIC, PESSIMISTIC])
def datastore(request: pytest.FixtureRequest) -> Iterator[EmulatorServer]:
    """Each emulator in turn."""
    with emulator_server(request.param) as running:
        yield running
