"""The core embedded in three servers passes the conformance suite, over real sockets."""

import asyncio
import socket
import threading
from collections.abc import Callable
from typing import Any

import pytest
from holdall import Session, SessionManager, StoresLike
from holdall_conformance import Adapter, AdapterConformance, Application, Request, Response, fetch
from holdall_stores import in_threads

from examples import asyncio_server, h11_server, http_server

Answer = tuple[int, list[tuple[str, str]], Any]


class Embedded(Adapter):
    """A server in this process; a subclass says how it starts. What `build` returns is its port, and how it stops."""

    def build(self, application: Application, *, cookie_key: str, stores: StoresLike, **options: Any) -> Any:
        """Start the server."""
        return self.start(application, SessionManager(cookie_key, **options), stores)

    def start(
        self, application: Application, manager: SessionManager, stores: StoresLike
    ) -> tuple[int, Callable[[], None]]:
        """Start the server; returns its port, and what stops it."""
        raise NotImplementedError

    def send(self, built: Any, request: Request) -> Response:
        """Fetch over a socket."""
        return fetch(("127.0.0.1", built[0]), request)

    def close(self, built: Any) -> None:
        """Stop the server."""
        built[1]()


def in_thread(serve: Callable[[], object], stop: Callable[[], object]) -> Callable[[], None]:
    """Serve in a thread; returns what stops it and waits for it."""
    thread = threading.Thread(target=serve)
    thread.start()

    def end() -> None:
        stop()
        thread.join()

    return end


class HttpServer(Embedded):
    """The standard library's http.server."""

    def start(
        self, application: Application, manager: SessionManager, stores: StoresLike
    ) -> tuple[int, Callable[[], None]]:
        """Start the server."""

        def view(path: str, session: Session) -> Answer:
            page = application.visit(path, session)
            return page.status, page.headers, page.chunks

        server = http_server.make_server(view, manager, stores)
        server.handle_error = lambda *_: None  # type: ignore[method-assign]  # it prints what pages raise
        end = in_thread(lambda: server.serve_forever(poll_interval=0.005), server.shutdown)

        def stop() -> None:
            end()
            server.server_close()

        return server.server_port, stop


class H11Server(Embedded):
    """An h11 loop on a raw socket."""

    def start(
        self, application: Application, manager: SessionManager, stores: StoresLike
    ) -> tuple[int, Callable[[], None]]:
        """Start the server."""

        def view(path: str, session: Session) -> Answer:
            page = application.visit(path, session)
            return page.status, page.headers, page.chunks

        listener = socket.create_server(("127.0.0.1", 0))

        def stop() -> None:
            listener.shutdown(socket.SHUT_RDWR)  # wakes accept(), which close() alone does not
            listener.close()

        return listener.getsockname()[1], in_thread(lambda: h11_server.serve(view, manager, stores, listener), stop)


class AsyncioServer(Embedded):
    """Asyncio streams."""

    loads_first = True

    def start(
        self, application: Application, manager: SessionManager, stores: StoresLike
    ) -> tuple[int, Callable[[], None]]:
        """Start the server, in an event loop of its own."""

        async def view(path: str, session: Session) -> Answer:
            page = await application.avisit(path, session)
            return page.status, page.headers, page.chunks

        loop = asyncio.new_event_loop()
        threads = in_threads(stores)
        server = loop.run_until_complete(asyncio_server.start(view, manager, threads))

        async def leave() -> None:
            server.close()
            await server.wait_closed()
            loop.stop()

        end = in_thread(loop.run_forever, lambda: asyncio.run_coroutine_threadsafe(leave(), loop))

        def stop() -> None:
            end()
            loop.run_until_complete(loop.shutdown_asyncgens())
            loop.close()

        return server.sockets[0].getsockname()[1], stop


class TestHttpServer(AdapterConformance):
    """The suite."""

    @pytest.fixture
    def adapter(self) -> Adapter:
        """Return the server under test."""
        return HttpServer()


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")  # what pages raise
class TestH11Server(AdapterConformance):
    """The suite."""

    @pytest.fixture
    def adapter(self) -> Adapter:
        """Return the server under test."""
        return H11Server()


class TestAsyncioServer(AdapterConformance):
    """The suite."""

    @pytest.fixture
    def adapter(self) -> Adapter:
        """Return the server under test."""
        return AsyncioServer()
