"""Fixtures for all tests: servers that are started once. How they are started is in `servers.py`."""

from collections.abc import Iterator

import pytest

from tests import servers


@pytest.fixture(scope="session")
def memcached_server() -> Iterator[servers.MemcachedServer]:
    """A memcached for the whole session."""
    with servers.memcached() as server:
        yield server


@pytest.fixture
def memcached(memcached_server: servers.MemcachedServer) -> servers.MemcachedServer:
    """A memcached that holds nothing."""
    assert memcached_server.ask("flush_all") == "OK"
    return memcached_server
