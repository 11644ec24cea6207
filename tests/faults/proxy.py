"""A TCP proxy on 127.0.0.1 that fails on demand: it stands between a store's client and the real server.

It knows nothing of what it carries. What must hold while it fails is said in the tests.
"""

import enum
import socket
import struct
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from itertools import count

HOST = "127.0.0.1"
_CHUNK = 65_536
_DELAY = 0.05  # seconds per chunk
_RESET = struct.pack("ii", 1, 0)  # SO_LINGER: on, 0 seconds: closing sends RST


class Mode(enum.Enum):
    """What happens to what is carried."""

    PASS = "pass"
    DELAY = "every chunk is late"
    STALL = "nothing comes through, nothing is refused; afterwards it arrives"
    RESET = "connections are reset, and new ones too"
    TRICKLE = "answers come byte by byte"
    CORRUPT = "one bit of every answer is wrong"
    LOSE = "requests arrive, their answers do not"


class Proxy:
    """Carries bytes to one server; `mode` may be set at any time, and counts for what is under way too."""

    def __init__(self, target: tuple[str, int], listener: socket.socket) -> None:
        self.mode = Mode.PASS
        self._damages = count()  # another bit each time: nothing comes damaged in the same way twice
        self.tried = 0
        """How many connections were tried."""
        self._target = target
        self._listener = listener
        self._open: set[socket.socket] = set()
        self._lock = threading.Lock()

    @property
    def address(self) -> str:
        """Where it listens, as host:port."""
        return f"{HOST}:{self._listener.getsockname()[1]}"

    def set(self, mode: Mode) -> None:
        """Fail like this from now on. What a stall has held back arrives late, after it."""
        was, self.mode = self.mode, mode
        if Mode.RESET in (was, mode) or was in (Mode.LOSE, Mode.CORRUPT):
            self.reset()

    def reset(self) -> None:
        """Reset every connection."""
        with self._lock:
            connections, self._open = self._open, set()
        for connection in connections:
            with suppress(OSError):
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
            _hang_up(connection)

    def serve(self) -> None:
        """Accept connections until the listener is closed."""
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            self.tried += 1
            if self.mode is Mode.RESET:
                client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
                client.close()
                continue
            try:
                server = socket.create_connection(self._target)
            except OSError:
                client.close()
                continue
            with self._lock:
                self._open |= {client, server}
            for source, sink, answers in ((client, server, False), (server, client, True)):
                threading.Thread(target=self._carry, args=(source, sink, answers), daemon=True).start()

    def _carry(self, source: socket.socket, sink: socket.socket, answers: bool) -> None:
        with suppress(OSError):
            while data := source.recv(_CHUNK):
                while self.mode is Mode.STALL:
                    time.sleep(0.01)
                self._send(data, sink, answers)
        with self._lock:
            self._open -= {source, sink}
        _hang_up(source)
        _hang_up(sink)

    def _send(self, data: bytes, sink: socket.socket, answers: bool) -> None:
        mode = self.mode
        if mode is Mode.DELAY:
            time.sleep(_DELAY)
        if not answers or mode in (Mode.PASS, Mode.DELAY, Mode.STALL, Mode.RESET):
            sink.sendall(data)
        elif mode is Mode.TRICKLE:
            while data and self.mode is Mode.TRICKLE:
                sink.sendall(data[:1])
                data = data[1:]
                time.sleep(0.001)
            sink.sendall(data)
        elif mode is Mode.CORRUPT:
            middle = len(data) // 2
            wrong = data[middle] ^ 1 << next(self._damages) % 8
            sink.sendall(data[:middle] + bytes([wrong]) + data[middle + 1 :])


def _hang_up(connection: socket.socket) -> None:
    with suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)  # wakes who reads it
    connection.close()


@contextmanager
def proxy(target: str) -> Iterator[Proxy]:
    """Run a proxy in front of a server at "host:port"."""
    host, _, port = target.rpartition(":")
    with socket.create_server((HOST, 0)) as listener:
        made = Proxy((host, int(port)), listener)
        thread = threading.Thread(target=made.serve, daemon=True)
        thread.start()
        try:
            yield made
        finally:
            with suppress(OSError):
                listener.shutdown(socket.SHUT_RDWR)  # wakes accept
            listener.close()
            thread.join(10)
            made.set(Mode.PASS)
            made.reset()
