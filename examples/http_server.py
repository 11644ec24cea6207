"""Holdall embedded in the standard library's `http.server`: `python examples/http_server.py [port]`.

What a view may do with its session is in the documentation; how a server calls the core is all there is to see here.
"""

import sys
from collections.abc import Callable, Iterable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TypeAlias

from holdall import Session, SessionManager, SessionUnavailable, StoresLike, current_session, generate_key, run
from holdall_stores import default_stores

Answer: TypeAlias = tuple[int, list[tuple[str, str]], Iterable[bytes]]
View: TypeAlias = Callable[[str, Session], Answer]


def make_server(view: View, manager: SessionManager, stores: StoresLike, port: int = 0) -> ThreadingHTTPServer:
    """Return a server on 127.0.0.1, not serving yet; port 0 is any free one."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            exchange = manager.open(self.headers.get_all("Cookie"), drive=lambda flow: run(flow, stores))
            token = current_session.set(exchange.session)
            try:
                status, headers, body = view(self.path, exchange.session)
                headers = run(exchange.commit(status=status, headers=headers), stores)
            except SessionUnavailable:
                status, headers, body = 503, [("Retry-After", "5")], [b"Please try again in a moment.\n"]
            try:
                self.respond(status, headers, body)
                run(exchange.finish(), stores)
            finally:
                current_session.reset(token)

        def respond(self, status: int, headers: list[tuple[str, str]], body: Iterable[bytes]) -> None:
            self.send_response(status)
            for name, value in headers:
                self.send_header(name, value)
            self.end_headers()  # HTTP/1.0: the body ends with the connection
            for chunk in body:
                self.wfile.write(chunk)

        def log_message(self, format: str, *args: object) -> None:
            pass

    return ThreadingHTTPServer(("127.0.0.1", port), Handler)


def count(path: str, session: Session) -> Answer:
    """Count visits to the front page."""
    if path != "/":
        return 404, [], [b"There is only the front page.\n"]
    session["n"] = session.get("n", 0) + 1
    return 200, [("Content-Type", "text/plain")], [f"visit {session['n']}\n".encode()]


if __name__ == "__main__":
    server = make_server(count, SessionManager(generate_key()), default_stores(), int((sys.argv[1:] or ["0"])[0]))
    print(f"http://127.0.0.1:{server.server_port}/", flush=True)
    server.serve_forever()
