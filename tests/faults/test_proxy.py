"""The proxy fails as it says."""

import socket
import threading
from collections.abc import Iterator
from contextlib import suppress

import pytest

from tests.faults.proxy import HOST, Mode, Proxy, proxy


class Upper:
    """A server that answers every line in upper case, and remembers it."""

    def __init__(self, listener: socket.socket) -> None:
        self.listener = listener
        self.heard: list[bytes] = []
        self.arrived = threading.Semaphore(0)

    def serve(self) -> None:
        while True:
            try:
                connection, _ = self.listener.accept()
            except OSError:
                return
            threading.Thread(target=self.answer, args=(connection,), daemon=True).start()

    def answer(self, connection: socket.socket) -> None:
        with suppress(OSError), connection, connection.makefile("rb") as lines:
            for line in lines:
                self.heard.append(line)
                self.arrived.release()
                connection.sendall(line.upper())


@pytest.fixture
def upper() -> Iterator[Upper]:
    with socket.create_server((HOST, 0)) as listener:
        made = Upper(listener)
        thread = threading.Thread(target=made.serve, daemon=True)
        thread.start()
        yield made
        with suppress(OSError):
            listener.shutdown(socket.SHUT_RDWR)
    thread.join(10)


@pytest.fixture
def between(upper: Upper) -> Iterator[Proxy]:
    with proxy(f"{HOST}:{upper.listener.getsockname()[1]}") as made:
        yield made


def ask(address: str, timeout: float = 10) -> bytes:
    host, port = address.split(":")
    with socket.create_connection((host, int(port)), timeout) as connection:
        connection.sendall(b"hello\n")
        with connection.makefile("rb") as reply:
            return reply.readline()


@pytest.mark.parametrize("mode", [Mode.PASS, Mode.DELAY, Mode.TRICKLE])
def test_what_comes_through(between: Proxy, mode: Mode) -> None:
    """Late or in drops, what is sent arrives as it is."""
    between.set(mode)
    assert ask(between.address) == b"HELLO\n"


def test_corrupt(between: Proxy) -> None:
    """One bit of an answer is wrong, and only in the answer."""
    between.set(Mode.CORRUPT)
    wrong = int.from_bytes(ask(between.address)) ^ int.from_bytes(b"HELLO\n")
    assert wrong.bit_count() == 1


def test_reset(between: Proxy, upper: Upper) -> None:
    """A connection is reset, or closed without a word, and nothing arrives."""
    between.set(Mode.RESET)
    with suppress(ConnectionError):
        assert ask(between.address) == b""
    assert upper.heard == []


def test_lose(between: Proxy, upper: Upper) -> None:
    """The server gets the request, and its answer goes nowhere."""
    between.set(Mode.LOSE)
    with pytest.raises(TimeoutError):
        ask(between.address, timeout=0.5)
    assert upper.arrived.acquire(timeout=10)
    assert upper.heard == [b"hello\n"]


def test_stall_and_recover(between: Proxy, upper: Upper) -> None:
    """Nothing comes through while it stalls; afterwards what was held back arrives late, and everything does again."""
    between.set(Mode.STALL)
    with pytest.raises(TimeoutError):
        ask(between.address, timeout=0.3)
    assert upper.heard == []
    between.set(Mode.PASS)
    assert upper.arrived.acquire(timeout=10)
    assert upper.heard == [b"hello\n"]
    assert ask(between.address) == b"HELLO\n"
    assert between.tried == 2
