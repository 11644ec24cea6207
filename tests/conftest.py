"""Fixtures and settings for all tests: servers that are started once. How they are started is in `servers.py`."""

from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, settings

from tests import servers

# A slow machine is no failure. Everything else stays as it is, be it Hypothesis's default or its profile for CI.
settings.register_profile("any speed", settings(), deadline=None, suppress_health_check=(HealthCheck.too_slow,))
settings.load_profile("any speed")


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add what `hatch run screenshots` says."""
    parser.addoption("--screenshots", action="store_true", help="rewrite the pictures of the demo in docs/")


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
