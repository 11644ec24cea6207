"""Puts the demo together and serves it over a real socket, for a browser or for the tour.

What the demo is made of is said once, in `build`. Arguments are read in `command`.
"""

import logging
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import NamedTuple

from holdall_stores import Stores
from holdall_wsgi import SessionMiddleware
from waitress.server import create_server
from waitress.wasyncore import close_all, loop

from .app import Demo
from .page import Labels
from .watch import Log, Watched, WatchedStores

HOST = "127.0.0.1"

# waitress warns of every request that waits for a thread, which is no news on a busy machine.
logging.getLogger("waitress.queue").setLevel(logging.ERROR)


class Servers(NamedTuple):
    """Where stored sessions go: the URLs of the two tiers, and what to call them."""

    cache: str
    durable: str
    labels: Labels


def build(servers: Servers, key: str, log: Log, clock: Callable[[], float]) -> tuple[Watched, Stores]:
    """Put the demo together; whoever serves it closes the stores afterwards."""
    stores = Stores.from_urls(cache=servers.cache, durable=servers.durable)
    watched = WatchedStores(stores)
    demo = Demo(log, watched, clock, servers.labels)
    return Watched(SessionMiddleware(demo, key, stores=watched, clock=clock), log), stores


@contextmanager
def serving(servers: Servers, key: str, log: Log, clock: Callable[[], float]) -> Iterator[int]:
    """Serve the demo in a thread, on any free port, which is what it yields."""
    app, stores = build(servers, key, log, clock)
    sockets: dict[int, object] = {}
    server = create_server(app, map=sockets, sockets=[listen(0)])
    stopping = threading.Event()

    def work() -> None:
        while not stopping.is_set():
            loop(map=sockets, count=1)

    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield server.effective_port
    finally:
        stopping.set()
        server.pull_trigger()  # wakes the loop
        thread.join()
        server.task_dispatcher.shutdown()  # its threads pull the trigger too: nothing is closed before they end
        close_all(sockets)
        stores.close()


def listen(*ports: int) -> socket.socket:
    """Return a listening socket on the first of these ports that is free; 0 stands for any.

    Raises `OSError` if none is.
    """
    *favourites, last = ports
    for port in favourites:
        with suppress(OSError):
            return socket.create_server((HOST, port))
    return socket.create_server((HOST, last))
