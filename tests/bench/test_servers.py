"""The real servers serve what they are measured with, and wrk is understood. No time is asserted."""

import urllib.request
from http.cookies import SimpleCookie

import pytest

from bench.served import fill_or_write
from bench.servers import CONTESTANTS, Load, parsed, serving

ANSWERED = """Running 1s test @ http://127.0.0.1:8000/
  Latency Distribution
     50%  807.00us
     75%    1.20ms
     90%    2.00ms
     99%    1.50s
  952 requests in 1.00s, 120.00KB read
Requests/sec:    952.41
Transfer/sec:    119.86KB
"""


def test_what_wrk_says_is_understood() -> None:
    """Requests per second and both percentiles, in milliseconds whatever the unit."""
    assert parsed(ANSWERED, 8) == Load(8, 952.41, 0.807, 1500.0)


@pytest.mark.parametrize("trouble", ["Non-2xx or 3xx responses: 3", "Socket errors: connect 0, read 1"])
def test_an_error_is_no_result(trouble: str) -> None:
    """A server that answers with errors is fast, and is not measured."""
    with pytest.raises(RuntimeError, match="not all went well"):
        parsed(ANSWERED + trouble, 8)
    with pytest.raises(RuntimeError, match="wrk says nothing"):
        parsed("unable to connect", 8)


def test_a_session_is_filled_and_then_changed() -> None:
    """The first request fills it, each further one changes it."""
    session: dict[str, object] = {}
    for n in (1, 2, 3):
        fill_or_write(session)
        assert session["n"] == n


@pytest.mark.parametrize(("application", "sessions"), CONTESTANTS, ids=str)
def test_each_server_serves_its_sessions(application: str, sessions: str | None) -> None:
    """With sessions a request with the cookie of the first one gets another; without, there is none; memory is told."""
    with serving(application, sessions) as server:
        assert bool(server.cookie) == (sessions is not None)
        request = urllib.request.Request(server.url, headers={"Cookie": server.cookie} if server.cookie else {})
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=60) as response:
            assert response.read() == b"x"
            jar = SimpleCookie(response.headers.get("Set-Cookie", ""))
        cookie = "; ".join(f"{name}={morsel.value}" for name, morsel in jar.items())
        assert (cookie != server.cookie) == (sessions is not None)
        assert 10 < server.memory() < 500
