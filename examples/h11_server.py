"""Holdall embedded in an h11 loop on a raw socket: `python examples/h11_server.py [port]`.

One thread per connection, which it keeps open as long as the client wants.
"""

import socket
import sys
import threading
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import TypeAlias

import h11
from holdall import Session, SessionManager, SessionUnavailable, StoresLike, current_session, generate_key, run
from holdall_stores import default_stores

Answer: TypeAlias = tuple[int, list[tuple[str, str]], Iterable[bytes]]
View: TypeAlias = Callable[[str, Session], Answer]


def serve(view: View, manager: SessionManager, stores: StoresLike, listener: socket.socket) -> None:
    """Serve on a listening socket until it is closed."""
    with suppress(OSError):
        while True:
            client, _ = listener.accept()
            threading.Thread(target=talk, args=(view, manager, stores, client), daemon=True).start()


def talk(view: View, manager: SessionManager, stores: StoresLike, client: socket.socket) -> None:
    """Answer the requests of one connection."""
    connection = h11.Connection(h11.SERVER)
    with client:
        while connection.our_state not in (h11.MUST_CLOSE, h11.CLOSED, h11.ERROR):
            event = connection.next_event()
            if event is h11.NEED_DATA:
                connection.receive_data(client.recv(65536))
            elif isinstance(event, h11.Request):
                answer(view, manager, stores, event, lambda event: client.sendall(connection.send(event) or b""))
            elif isinstance(event, h11.ConnectionClosed):
                return
            if connection.our_state is connection.their_state is h11.DONE:
                connection.start_next_cycle()


def answer(
    view: View, manager: SessionManager, stores: StoresLike, request: h11.Request, send: Callable[[h11.Event], None]
) -> None:
    """Answer one request."""
    cookies = [value for name, value in request.headers if name == b"cookie"]
    exchange = manager.open(cookies, drive=lambda flow: run(flow, stores))
    token = current_session.set(exchange.session)
    try:
        status, headers, body = view(request.target.decode(), exchange.session)
        headers = run(exchange.commit(status=status, headers=headers), stores)
    except SessionUnavailable:
        status, headers, body = 503, [("Retry-After", "5")], [b"Please try again in a moment.\n"]
    try:
        send(h11.Response(status_code=status, headers=headers))
        for chunk in body:
            send(h11.Data(data=chunk))
        send(h11.EndOfMessage())
        run(exchange.finish(), stores)
    finally:
        current_session.reset(token)


def count(path: str, session: Session) -> Answer:
    """Count visits to the front page."""
    if path != "/":
        return 404, [], [b"There is only the front page.\n"]
    session["n"] = session.get("n", 0) + 1
    return 200, [("Content-Type", "text/plain")], [f"visit {session['n']}\n".encode()]


if __name__ == "__main__":
    listener = socket.create_server(("127.0.0.1", int((sys.argv[1:] or ["0"])[0])))
    print(f"http://127.0.0.1:{listener.getsockname()[1]}/", flush=True)
    serve(count, SessionManager(generate_key()), default_stores(), listener)
