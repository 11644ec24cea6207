"""Puts the demo together and serves it over a real socket, for a browser or for the tour.

What the demo is made of is said once, in `serving`. Arguments are read in `command`.
"""

import importlib
import logging
import secrets
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from typing import Any, NamedTuple

import uvicorn
from holdall import Event
from holdall_stores import Stores
from waitress.server import create_server
from waitress.wasyncore import close_all, loop

from .page import Labels
from .parts import Parts
from .provider import Provider
from .signin import GOOGLE, SignIn
from .views import Demo
from .watch import Log, WatchedASGI, WatchedStores, WatchedWSGI

HOST = "127.0.0.1"
FRAMEWORKS = {"wsgi": "WSGI", "flask": "Flask", "django": "Django", "asgi": "ASGI, with Starlette"}

# waitress warns of every request that waits for a thread, which is no news on a busy machine.
logging.getLogger("waitress.queue").setLevel(logging.ERROR)


class Servers(NamedTuple):
    """What serves the demo and where stored sessions go: the URLs of the two tiers, and what to call them."""

    cache: str
    durable: str
    labels: Labels
    framework: str = "wsgi"
    google: tuple[str, str] | None = None
    """The client id and secret to sign in with at Google; None for the provider that comes with the demo."""
    metrics: int | None = None
    """The port at which Prometheus may scrape metrics; None for no metrics."""


@contextmanager
def serving(
    servers: Servers, key: str, log: Log, clock: Callable[[], float], listening: socket.socket | None = None
) -> Iterator[int]:
    """Serve the demo in a thread, on any free port unless it is given a socket; the port is what it yields."""
    with listening or listen(0) as demo_socket, listen(0) as provider_socket:
        origin, issuer = _address(demo_socket), _address(provider_socket)
        redirect_uri = f"{origin}/signed-in"
        client = servers.google or ("holdall-demo", secrets.token_urlsafe(24))
        sign_in = SignIn(GOOGLE if servers.google else issuer, *client, redirect_uri)
        stores = Stores.from_urls(cache=servers.cache, durable=servers.durable)
        watched = WatchedStores(stores)
        demo = Demo(origin, log=log, stores=watched, clock=clock, sign_in=sign_in, labels=servers.labels)
        # Only what is asked for is imported: the others need not be installed.
        make = importlib.import_module(f".in_{servers.framework}", __package__).make
        try:
            with _metrics(servers.metrics) as on_event, _wsgi(Provider(issuer, *client, redirect_uri), provider_socket):
                made = make(Parts(demo, key, watched, clock, on_event))
                if servers.framework == "asgi":
                    with _asgi(WatchedASGI(made, log, demo.unavailable), demo_socket):
                        yield _port(demo_socket)
                else:
                    with _wsgi(WatchedWSGI(made, log, demo.unavailable), demo_socket):
                        yield _port(demo_socket)
        finally:
            stores.close()


@contextmanager
def _metrics(port: int | None) -> Iterator[Callable[[Event], None] | None]:
    """Serve metrics, if that is asked for; yields what is to be told of events."""
    if port is None:
        yield None
        return
    from holdall_stores.telemetry import PrometheusTelemetry

    with closing(PrometheusTelemetry(port)) as telemetry:
        yield telemetry


@contextmanager
def _wsgi(app: Any, listening: socket.socket) -> Iterator[None]:
    """Serve a WSGI application with waitress."""
    sockets: dict[int, object] = {}
    server = create_server(app, map=sockets, sockets=[listening])
    stopping = threading.Event()

    def work() -> None:
        while not stopping.is_set():
            loop(map=sockets, count=1)

    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield
    finally:
        stopping.set()
        server.pull_trigger()  # wakes the loop
        thread.join()
        server.task_dispatcher.shutdown()  # its threads pull the trigger too: nothing is closed before they end
        close_all(sockets)


@contextmanager
def _asgi(app: Any, listening: socket.socket) -> Iterator[None]:
    """Serve an ASGI application with uvicorn."""
    server = uvicorn.Server(uvicorn.Config(app, log_config=None, lifespan="off"))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
    thread.start()
    try:
        yield
    finally:
        server.should_exit = True
        thread.join()


def listen(*ports: int) -> socket.socket:
    """Return a listening socket on the first of these ports that is free; 0 stands for any.

    Raises `OSError` if none is.
    """
    *favourites, last = ports
    for port in favourites:
        with suppress(OSError):
            return socket.create_server((HOST, port))
    return socket.create_server((HOST, last))


def _port(listening: socket.socket) -> int:
    port: int = listening.getsockname()[1]
    return port


def _address(listening: socket.socket) -> str:
    return f"http://{HOST}:{_port(listening)}"
