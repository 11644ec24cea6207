"""The stores and the servers of the walk, each started once. How they are started is in `serving.py`."""

from collections.abc import Iterator

import pytest

from tests.emulators import OPTIMISTIC, emulator
from tests.servers import MemcachedServer, memcached
from tests.together.serving import Addresses, Browser, all_frameworks
from tests.wsgi.test_browser import chromium as chromium  # a fixture here too

_PATIENCE = 20  # seconds: what a busy machine makes slow is no fault


@pytest.fixture(scope="module")
def own_memcached() -> Iterator[MemcachedServer]:
    """A memcached that no other tests clear, stop or break."""
    with memcached() as server:
        yield server


@pytest.fixture(scope="module")
def addresses(own_memcached: MemcachedServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Addresses]:
    """The applications of all frameworks, over memcached and Datastore."""
    cache = f"memcached://{own_memcached.address}?timeout={_PATIENCE}&connect_timeout={_PATIENCE}"
    with emulator(OPTIMISTIC) as datastore:
        durable = f"datastore://test/walk?emulator={datastore}&timeout={_PATIENCE}"
        with all_frameworks(tmp_path_factory.mktemp("walk"), cache, durable) as served:
            yield served


@pytest.fixture
def browser(addresses: Addresses) -> Browser:
    """A browser without a past."""
    return Browser(addresses)
