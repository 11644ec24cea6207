"""The tour of the demo: that it passes, and that it would tell if the story were not true."""

import io
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from examples.demo import tour
from examples.demo.page import Labels
from examples.demo.serving import FRAMEWORKS, Servers
from examples.demo.watch import Place
from tests.emulators import OPTIMISTIC, emulator
from tests.servers import MemcachedServer
from tests.strict import WARNINGS

DEMO = Path(__file__).parents[2] / "examples" / "demo"


@pytest.fixture
def servers(tmp_path: Path) -> Servers:
    """What stands in for servers: memory, and SQLite."""
    return Servers("memory://", f"sqlite:///{tmp_path / 'demo.sqlite3'}", Labels("memory", "SQLite"))


def take_tour(*arguments: str) -> "subprocess.CompletedProcess[str]":
    """Take the tour as a user does."""
    return subprocess.run(
        [sys.executable, str(DEMO), "--tour", *arguments],
        capture_output=True,
        encoding="utf-8",
        timeout=300,
        check=False,
        env=os.environ | {"PYTHONIOENCODING": "ascii:strict", "PYTHONWARNINGS": WARNINGS},
    )


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_everything_is_as_it_must_be(framework: str) -> None:
    """In each framework the tour exits with 0, says so in plain ASCII without colours, and writes nothing to stderr."""
    done = take_tour("--framework", framework)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "and every one went as it must." in done.stdout
    assert "\x1b" not in done.stdout
    assert done.stderr == ""


@pytest.mark.memcached
def test_memcached(memcached: MemcachedServer) -> None:
    """The tour goes the same way with a real memcached as the cache."""
    done = take_tour("--memcached", memcached.address)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.memcached
@pytest.mark.datastore
def test_memcached_and_datastore(memcached: MemcachedServer) -> None:
    """The tour goes the same way with memcached and Datastore, whose emulator is all that is not the real thing."""
    with emulator(OPTIMISTIC) as address:
        done = take_tour("--memcached", memcached.address, "--datastore", "test", "--emulator", address)
    assert done.returncode == 0, done.stdout + done.stderr


def test_memcached_that_is_not_there() -> None:
    """With a cache that does not answer the tour says what it missed, and fails without a traceback."""
    done = take_tour("--memcached", "127.0.0.1:1")
    assert done.returncode == 1
    assert "the log says: " in done.stdout
    assert "! commands: expected Get cache, was Get cache, Get durable" in done.stdout
    assert "! the demo answered 503: The cache does not answer." in done.stdout
    assert done.stderr == ""


def test_durable_store_that_is_not_there(tmp_path: Path) -> None:
    """Where the durable store cannot be used the tour ends with what the demo answered."""
    (tmp_path / "demo.sqlite3").write_bytes(b"no database" * 1_000)
    out = io.StringIO()
    servers = Servers("memory://", f"sqlite:///{tmp_path}/demo.sqlite3", Labels("memory", "nothing"))
    assert tour.walk(servers, out) == 1
    assert "! the demo answered 503" in out.getvalue()


def test_servers_that_cannot_be() -> None:
    """A server that is no server ends the demo with the message that says so."""
    done = take_tour("--memcached", "here:there")
    assert done.returncode == 1
    assert "here:there" in done.stderr
    assert "Traceback" not in done.stderr


def test_an_unmet_expectation_fails(servers: Servers, monkeypatch: pytest.MonkeyPatch) -> None:
    """A step that goes differently makes the exit status 1, and is told with what was expected and what was."""
    steps = tour.Tour.steps

    def story(self: tour.Tour) -> Any:
        for number, step in enumerate(steps(self)):
            wrong = step.expected._replace(place=Place.STORES, commands=(tour.GET_CACHE,))
            yield step._replace(expected=wrong) if number == 0 else step

    monkeypatch.setattr(tour.Tour, "steps", story)
    out = io.StringIO()
    assert tour.walk(servers, out) == 1
    told = out.getvalue()
    assert "! place: expected stores, was nowhere" in told
    assert "! commands: expected Get cache, was nothing" in told
    assert "1 of 39 steps went differently" in told


def test_differences_name_every_fact() -> None:
    """Each fact that differs is named, and equal ones are not."""
    fact = tour.Fact(Place.COOKIE, (), ("set data",), ("note",), "new")
    assert tour.differences(fact, fact) == []
    other = tour.Fact(Place.STORES, (tour.PUT_DURABLE,), (), ("draft",), "same")
    assert tour.differences(fact, other) == [
        "place: expected cookie, was stores",
        "commands: expected nothing, was Put durable",
        "cookies: expected set data, was nothing",
        "holds: expected note, was draft",
        "id: expected new, was same",
    ]


class Terminal(io.StringIO):
    """A stream with a person behind it."""

    def isatty(self) -> bool:
        return True


def test_colours_are_for_people_who_want_them(monkeypatch: pytest.MonkeyPatch) -> None:
    """A terminal gets colours, unless NO_COLOR is set; anything else gets none."""
    monkeypatch.delenv("NO_COLOR", raising=False)
    assert tour.Paint(Terminal())("31", "x") == "\x1b[31mx\x1b[0m"
    assert tour.Paint(io.StringIO())("31", "x") == "x"
    monkeypatch.setenv("NO_COLOR", "1")
    assert tour.Paint(Terminal())("31", "x") == "x"


@pytest.mark.parametrize("arguments", [["--emulator", "127.0.0.1:1"], ["--port", "many"]])
def test_arguments_that_make_no_sense(arguments: list[str]) -> None:
    """Arguments that make no sense are refused with the usage."""
    done = take_tour(*arguments)
    assert done.returncode == 2
    assert "usage: hatch run demo" in done.stderr
