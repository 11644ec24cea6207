"""Tests of `holdall_stores.memcached` with real servers: the behaviour of stores, and what only `Memcached` does."""

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from holdall import (
    Answer,
    Conflict,
    Delete,
    Deleted,
    Expect,
    Found,
    Get,
    Missing,
    Put,
    Stored,
    StoreTooLarge,
    StoreUnavailable,
    Tier,
    UsageError,
)
from holdall.testing import FakeClock
from holdall_conformance.stores import CacheConformance, UnavailableConformance
from holdall_stores import Memcached
from holdall_stores.memcached import DEFAULT_MAX_VALUE_BYTES

from tests import servers
from tests.servers import MemcachedServer

pytestmark = pytest.mark.memcached

HOUR = 3600
DAY = 24 * HOUR
PATIENT = 20.0  # seconds: a busy machine shall neither make a failure nor hide one


class MemcachedConformance(CacheConformance):
    oversize = DEFAULT_MAX_VALUE_BYTES + 1


class TestMemcached(MemcachedConformance):
    @pytest.fixture
    def store(self, memcached: MemcachedServer) -> Iterator[Memcached]:
        with opened(memcached.address) as store:
            yield store


class TestMemcachedOnAUnixSocket(MemcachedConformance):
    @pytest.fixture
    def store(self, unix_server: MemcachedServer) -> Iterator[Memcached]:
        with opened(unix_server.address) as store:
            yield store


class TestSeveralMemcached(MemcachedConformance):
    @pytest.fixture
    def store(self, three: list[MemcachedServer]) -> Iterator[Memcached]:
        with opened(*(server.address for server in three)) as store:
            yield store


class TestNobodyListens(UnavailableConformance):
    oversize = DEFAULT_MAX_VALUE_BYTES + 1

    @pytest.fixture
    def unavailable(self) -> Iterator[Memcached]:
        with socket.socket() as nobody:
            nobody.bind(("127.0.0.1", 0))
            with closing(Memcached(f"127.0.0.1:{nobody.getsockname()[1]}")) as store:
                yield store


class TestNobodyAnswers(UnavailableConformance):
    oversize = DEFAULT_MAX_VALUE_BYTES + 1

    @pytest.fixture
    def unavailable(self, mortal: MemcachedServer) -> Iterator[Memcached]:
        with closing(Memcached(mortal.address)) as store, mortal.stopped():
            yield store


@pytest.fixture(scope="module")
def unix_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MemcachedServer]:
    with servers.memcached(tmp_path_factory.mktemp("unix") / "socket") as server:
        yield server


@pytest.fixture(scope="module")
def three() -> Iterator[list[MemcachedServer]]:
    with ExitStack() as stack:
        yield [stack.enter_context(servers.memcached()) for _ in range(3)]


@pytest.fixture
def mortal() -> Iterator[MemcachedServer]:
    """A server that the test may stop or kill."""
    with servers.memcached() as server:
        yield server


@contextmanager
def opened(*addresses: str) -> Iterator[Memcached]:
    with closing(Memcached(addresses, connect_timeout=PATIENT, timeout=PATIENT)) as store:
        yield store


@pytest.fixture
def store(memcached: MemcachedServer) -> Iterator[Memcached]:
    with opened(memcached.address) as store:
        yield store


@pytest.fixture
def mortal_store(mortal: MemcachedServer) -> Iterator[Memcached]:
    with opened(mortal.address) as store:
        yield store


def put(store: Memcached, key: str, value: bytes = b"one", expect: int | Expect = Expect.ANYTHING) -> Answer:
    return store.execute(Put(Tier.CACHE, key, value, int(time.time()) + HOUR, expect))


def get(store: Memcached, key: str) -> Answer:
    return store.execute(Get(Tier.CACHE, key))


def commands(key: str = "k") -> list[Get | Put | Delete]:
    """One of each kind."""
    puts = [Put(Tier.CACHE, key, b"one", int(time.time()) + HOUR, expect) for expect in (1, *Expect)]
    return [Get(Tier.CACHE, key), *puts, Delete(Tier.CACHE, key)]


def described(command: Get | Put | Delete) -> str:
    return f"put {command.expect}" if isinstance(command, Put) else type(command).__name__.lower()


def is_unavailable(store: Memcached, command: Get | Put | Delete) -> bool:
    try:
        store.execute(command)
    except StoreUnavailable:
        return True
    return False


@pytest.mark.requirement(37)
@pytest.mark.parametrize("lifetime", [60, 30 * DAY - 1, 30 * DAY, 30 * DAY + 1, 60 * DAY])
def test_memcached_counts_down_the_lifetime(memcached: MemcachedServer, store: Memcached, lifetime: int) -> None:
    """A value is kept for the time that is left, also past the 30 days from which memcached reads absolute times."""
    store.execute(Put(Tier.CACHE, "k", b"one", int(time.time()) + lifetime, Expect.ABSENT))

    left = int(memcached.ask("mg k t").removeprefix("HD t"))
    assert lifetime - 2 <= left <= lifetime + 2


@pytest.mark.requirement(37)
def test_the_clock_is_ours(memcached: MemcachedServer) -> None:
    """A lifetime is counted from the clock of the store, so that memcached's own may differ."""
    clock = FakeClock(time.time() - DAY)
    with closing(Memcached(memcached.address, timeout=PATIENT, clock=clock)) as store:
        store.execute(Put(Tier.CACHE, "k", b"one", int(clock()) + 60, Expect.ABSENT))

        assert 59 <= int(memcached.ask("mg k t").removeprefix("HD t")) <= 62


@pytest.mark.requirement(37)
def test_past_2038_a_value_is_still_kept(memcached: MemcachedServer, store: Memcached) -> None:
    """An expiry that memcached cannot read is brought down to 30 days, not to nothing and not to for ever."""
    store.execute(Put(Tier.CACHE, "k", b"one", 2**32, Expect.ABSENT))

    assert 29 * DAY < int(memcached.ask("mg k t").removeprefix("HD t")) <= 30 * DAY


def test_the_largest_value_fits(store: Memcached) -> None:
    """By default, memcached really stores the largest value that is let through, under the longest key."""
    key, value = "k" * 250, b"x" * DEFAULT_MAX_VALUE_BYTES

    assert put(store, key, value, Expect.ABSENT) == Stored(None)
    found = get(store, key)
    assert isinstance(found, Found)
    assert put(store, key, value[::-1], found.version) == Stored(None)


def test_a_smaller_limit_can_be_set(memcached: MemcachedServer) -> None:
    """max_value_bytes counts the bytes of the value alone."""
    with closing(Memcached(memcached.address, timeout=PATIENT, max_value_bytes=100)) as store:
        assert put(store, "k", bytes(100)) == Stored(None)
        with pytest.raises(StoreTooLarge) as refused:
            put(store, "k", bytes(101))

    assert (refused.value.size, refused.value.limit) == (101, 100)


def test_a_server_with_a_lower_limit_is_unavailable() -> None:
    """A size that only the server refuses is no StoreTooLarge: it has removed the old value by then."""
    with (
        servers.memcached(None, "-I", "128k", "-o", "slab_chunk_max=64") as server,
        opened(server.address) as store,
    ):
        put(store, "k", b"one")
        with pytest.raises(StoreUnavailable, match="MemcacheServerError"):
            put(store, "k", bytes(200_000))

        assert get(store, "k") == Missing()


def test_nothing_listens() -> None:
    """A server that is not there is unavailable, for every command."""
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        with closing(Memcached(f"127.0.0.1:{nobody.getsockname()[1]}")) as store:
            assert all(is_unavailable(store, command) for command in commands())


def test_no_socket_is_there(tmp_path: Path) -> None:
    """A Unix socket that is not there is unavailable, for every command."""
    with closing(Memcached(f"unix://{tmp_path / 'socket'}")) as store:
        assert all(is_unavailable(store, command) for command in commands())


def test_any_address_of_a_name_will_do(memcached: MemcachedServer) -> None:
    """Where a name has several addresses, the one that memcached listens at is found."""
    address = memcached.address.replace("127.0.0.1", "localhost")
    with opened(address) as store:
        assert put(store, "k") == Stored(None)


@pytest.mark.requirement(36)
def test_a_server_that_says_nothing_is_unavailable(mortal: MemcachedServer) -> None:
    """A server that is stopped is not waited for for ever, with any command, and works again when it goes on."""
    with closing(Memcached(mortal.address)) as store, closing(Memcached(mortal.address, timeout=0.05)) as fresh:
        put(store, "k", b"one")
        with mortal.stopped():
            for tested in (store, fresh):
                for command in commands():
                    assert is_unavailable(tested, command)

    with opened(mortal.address) as store:
        # Under another key: what memcached was sent while it was stopped it may carry out even now.
        put(store, "other", b"two")
        found = get(store, "other")
        assert isinstance(found, Found)
        assert found.value == b"two"


@pytest.mark.requirement(35)
@pytest.mark.parametrize("command", commands(), ids=described)
def test_a_restart_costs_no_failure(
    mortal: MemcachedServer, mortal_store: Memcached, command: Get | Put | Delete
) -> None:
    """The connections that were idle when a server was restarted are replaced before they are used."""
    put(mortal_store, "k")
    mortal.kill()
    mortal.start()

    expected: dict[type, list[Answer]] = {
        Get: [Missing()],
        Put: [Stored(None), Conflict()],
        Delete: [Deleted()],
    }
    assert mortal_store.execute(command) in expected[type(command)]


def test_while_it_is_away_it_is_unavailable(mortal: MemcachedServer, mortal_store: Memcached) -> None:
    """A server that went away is unavailable until it is back, with nothing in it."""
    put(mortal_store, "k")
    mortal.kill()
    assert all(is_unavailable(mortal_store, command) for command in commands())
    mortal.start()

    assert get(mortal_store, "k") == Missing()
    assert put(mortal_store, "k", expect=Expect.ABSENT) == Stored(None)


@pytest.mark.requirement(35)
def test_the_keys_of_a_dead_server_go_to_no_other(mortal: MemcachedServer, memcached: MemcachedServer) -> None:
    """Of two servers one dies: its keys are unavailable, the others are there; it comes back: all is well."""
    keys = [f"k{n}" for n in range(50)]
    clock_has_moved = 1.1  # seconds, over the pause of a breaker
    with opened(mortal.address, memcached.address) as store:
        assert [put(store, key, expect=Expect.ABSENT) for key in keys] == [Stored(None)] * 50
        mortal.kill()
        dead = {key for key in keys if is_unavailable(store, Get(Tier.CACHE, key))}
        assert 0 < len(dead) < 50
        assert all(is_unavailable(store, command) for key in dead for command in commands(key))
        assert all(isinstance(get(store, key), Found) for key in keys if key not in dead)

        mortal.start()
        time.sleep(clock_has_moved)
        assert {key for key in keys if get(store, key) == Missing()} == dead


def test_the_order_of_the_servers_is_no_matter(three: list[MemcachedServer]) -> None:
    """Two processes that list the same servers in another order look for a key in the same place."""
    addresses = [server.address for server in three]
    keys = [f"order{n}" for n in range(50)]
    with opened(*addresses) as store:
        assert [put(store, key) for key in keys] == [Stored(None)] * 50
    with opened(*reversed(addresses)) as store:
        assert all(isinstance(get(store, key), Found) for key in keys)


def test_another_server_takes_its_share_only(three: list[MemcachedServer]) -> None:
    """A third server takes over about a third of the keys, and the others stay where they were."""
    addresses = [server.address for server in three]
    keys = [f"share{n}" for n in range(300)]
    with opened(*addresses[:2]) as store:
        for key in keys:
            put(store, key)
    with opened(*addresses) as store:
        moved = sum(get(store, key) == Missing() for key in keys)

    assert 30 < moved < 170


def test_threads_have_connections_of_their_own(mortal: MemcachedServer) -> None:
    """Threads never wait for a connection, no more than max_pool_size stay open, and none after close."""

    def connections() -> int:
        return int(mortal.stat("curr_connections"))

    before = connections()
    store = Memcached(mortal.address, connect_timeout=PATIENT, timeout=PATIENT, max_pool_size=2)
    together = threading.Barrier(6)

    def work() -> None:
        together.wait()
        for n in range(30):
            put(store, f"k{n}")

    threads = [threading.Thread(target=work) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    eventually(lambda: connections() <= before + 2)
    store.close()
    eventually(lambda: connections() <= before)


def eventually(holds: Callable[[], bool]) -> None:
    """Wait until the server has noticed."""
    end = time.monotonic() + PATIENT
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.01)


class _Interrupt(BaseException):
    """As gevent's and the keyboard's: no Exception."""


def test_an_interrupted_command_leaves_no_reply_behind(mortal: MemcachedServer, mortal_store: Memcached) -> None:
    """The reply to a command that was interrupted is not taken for that to the next one."""

    def interrupt(*_: object) -> None:
        raise _Interrupt

    put(mortal_store, "a", b"one")
    put(mortal_store, "b", b"two")
    before = signal.signal(signal.SIGALRM, interrupt)
    try:
        with mortal.stopped():
            signal.setitimer(signal.ITIMER_REAL, 0.03)
            with pytest.raises(_Interrupt):
                get(mortal_store, "a")
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)

    found = get(mortal_store, "b")
    assert isinstance(found, Found)
    assert found.value == b"two"


@contextmanager
def answering(*pieces: bytes, pause: float = 0.0) -> Iterator[str]:
    """Run a faulty server, which answers whatever it is asked with these pieces, and hangs up; yields its address."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            with suppress(OSError):
                while True:
                    connection, _ = listener.accept()
                    with connection, suppress(OSError):
                        connection.recv(65_536)
                        for piece in pieces:
                            connection.sendall(piece)
                            time.sleep(pause)

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield f"127.0.0.1:{listener.getsockname()[1]}"
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            thread.join()


@pytest.mark.parametrize(
    "reply",
    [
        b"",
        b"\r\n",
        b"HTTP/1.1 400 Bad Request\r\n\r\n",
        b"ERROR\r\n",
        b"CLIENT_ERROR bad data chunk\r\n",
        b"SERVER_ERROR out of memory storing object\r\n",
        b"VALUE other 0 1 7\r\nx\r\nEND\r\n",
        b"VALUE k 0 x 7\r\nx\r\nEND\r\n",
        b"VALUE k 0 1 x\r\nx\r\nEND\r\n",
        b"VALUE k 0 1\r\nx\r\nEND\r\n",
        b"VALUE k 0 10 7\r\nx",
        b"VALUE k 0 1 7\r\nx\r\nEND\r\nEND\r\n",
        b"VALUE k 0 -7 7\r\n\r\nEND\r\n",
        b"VALUE k 0 1 7\r\nx\r\nEN",
        b"VALUE k",
    ],
)
def test_a_faulty_reply_is_unavailable(reply: bytes) -> None:
    """A reply that is no answer to a read is an error of the store, never a miss and never another error."""
    with answering(reply) as address, closing(Memcached(address, connect_timeout=PATIENT)) as store:
        assert is_unavailable(store, Get(Tier.CACHE, "k"))


@pytest.mark.parametrize("reply", [b"", b"HELLO\r\n", b"SERVER_ERROR out of memory storing object\r\n", b"STO"])
@pytest.mark.parametrize("command", commands()[1:], ids=described)
def test_a_faulty_reply_is_no_conflict(reply: bytes, command: Put | Delete) -> None:
    """A reply that is no answer to a write is an error of the store: it may have been applied."""
    with answering(reply) as address, closing(Memcached(address, connect_timeout=PATIENT)) as store:
        assert is_unavailable(store, command)


@pytest.mark.requirement(36)
def test_a_reply_in_drops_is_unavailable() -> None:
    """A reply that comes byte by byte does not stretch the deadline, though all of it would come in the end."""
    drops = [bytes([byte]) for byte in b"VALUE k 0 100 7\r\n" + bytes(100) + b"\r\nEND\r\n"]
    with answering(*drops, pause=0.02) as address, closing(Memcached(address, timeout=0.1)) as store:
        assert is_unavailable(store, Get(Tier.CACHE, "k"))


@contextmanager
def answering_late() -> Iterator[str]:
    """Run a server that answers the first read of "late" only when the next command comes on the same connection."""
    with socket.create_server(("127.0.0.1", 0)) as listener, ThreadPoolExecutor(2) as threads:

        def answer(connection: socket.socket) -> None:
            late = b""
            with connection, suppress(OSError):
                while command := connection.recv(1_000):
                    reply = b"VALUE %b 0 1 7\r\nx\r\nEND\r\n" % command.split()[1]
                    if b"late" in command:
                        late = reply
                    else:
                        connection.sendall(late + reply)

        def serve() -> None:
            with suppress(OSError):
                for _ in range(2):
                    threads.submit(answer, listener.accept()[0])

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield f"127.0.0.1:{listener.getsockname()[1]}"
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            thread.join()


@pytest.mark.requirement(27)
def test_a_reply_that_comes_too_late_is_nobodys() -> None:
    """A connection whose reply did not come in time is never used again: the next command has one of its own."""
    with answering_late() as address, closing(Memcached(address, timeout=1.0)) as store:
        assert is_unavailable(store, Get(Tier.CACHE, "late"))
        assert get(store, "k") == Found(b"x", 7)


_HELLO = b"VALUE k 0 5 7\r\nhello\r\nEND\r\n"


@pytest.mark.parametrize("cut", range(1, len(_HELLO)))
def test_a_reply_may_come_in_pieces(cut: int) -> None:
    """Wherever the network cuts a reply, it is the same reply."""
    pieces = _HELLO[:cut], _HELLO[cut : cut + 3], _HELLO[cut + 3 :]
    with (
        answering(*pieces, pause=0.003) as address,
        closing(Memcached(address, connect_timeout=PATIENT, timeout=PATIENT)) as store,
    ):
        assert get(store, "k") == Found(b"hello", 7)


_FORK = """
import os, socket, sys, time
from holdall import Expect, Get, Put, Tier
from holdall_stores import Memcached

host, port = sys.argv[1].split(":")

def connections():
    with socket.create_connection((host, port)) as connection:
        connection.sendall(b"stats\\r\\n")
        told = b""
        while b"END\\r\\n" not in told:
            told += connection.recv(65536)
    return int(told.split(b"STAT total_connections ")[1].split()[0])

def check(store, name, times):
    for n in range(times):
        store.execute(Put(Tier.CACHE, name, f"{name}{n}".encode(), int(time.time()) + 60, Expect.ANYTHING))
        assert store.execute(Get(Tier.CACHE, name)).value == f"{name}{n}".encode()

store = Memcached(sys.argv[1], connect_timeout=5, timeout=5)
check(store, "before", 1)
before = connections()
ready, said = os.pipe()
child = os.fork()
if child == 0:
    check(store, "child", 1)
    assert connections() - before == 2, "the child asks on its own connection, and for this number"
    os.write(said, b"!")
    check(store, "child", 200)
    os._exit(0)
os.close(said)
os.read(ready, 1)
check(store, "parent", 200)
assert os.waitpid(child, 0)[1] == 0
store.close()
"""


@pytest.mark.requirement(27)
@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
def test_forked_children_have_connections_of_their_own(mortal: MemcachedServer) -> None:
    """Parent and child of a fork that use the store at the same time never get each other's replies."""
    subprocess.run([sys.executable, "-c", _FORK, mortal.address], check=True, timeout=60)


@pytest.mark.parametrize(
    "servers",
    [
        [],
        "",
        "localhost",
        "localhost:",
        "localhost:0",
        "localhost:99999",
        "localhost:http",
        "user@localhost:11211",
        "localhost:11211/0",
        "http://localhost:11211",
        ["localhost:11211", "localhost:11211"],
    ],
)
def test_servers_are_checked(servers: str | list[str]) -> None:
    """What is no server, or a server twice, is a usage error that names the setting."""
    with pytest.raises(UsageError, match="servers"):
        Memcached(servers)


@pytest.mark.parametrize("name", ["connect_timeout", "timeout", "max_pool_size", "max_value_bytes"])
def test_settings_are_checked(name: str) -> None:
    """A deadline or a size of nothing is a usage error that names the setting."""
    settings: dict[str, Any] = {name: 0}
    with pytest.raises(UsageError, match=f"{name}=0"):
        Memcached("localhost:11211", **settings)
