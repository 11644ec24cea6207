"""The seed's example as an application for real servers, and two servers to run it: the child's side of `serving.py`.

The environment says where sessions go: HOLDALL_TEST_KEYS, and HOLDALL_TEST_CACHE and HOLDALL_TEST_DURABLE, which are
URLs; neither means the default.
"""

import json
import os
import random
import socket
import sys
from collections.abc import Iterable
from urllib.parse import parse_qs
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer
from wsgiref.types import StartResponse, WSGIEnvironment

import waitress
from holdall_stores import Stores
from holdall_wsgi import SessionMiddleware, get_current_session


def example(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    """Count visits; `?size=` puts that many characters beside the count. Answers with what the session then holds."""
    session = get_current_session()
    match environ["PATH_INFO"]:
        case "/count":
            session["n"] = session.get("n", 0) + 1
        case "/incr":
            session.incr("n")
        case "/logout":
            session.terminate()
    query = parse_qs(environ["QUERY_STRING"])
    if "size" in query:
        session["payload"] = random.Random(session["n"]).randbytes(int(query["size"][0]) // 2).hex()
    payload = session.get("payload", "")
    start_response("200 OK", [("Content-Type", "application/json")])
    return [json.dumps({"n": session.get("n"), "payload": len(payload), "pid": os.getpid()}).encode()]


def untouched(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    """Leave the session alone."""
    start_response("200 OK", [("Content-Type", "application/json")])
    return [b"{}"]


def browsed(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    """Count a browser's visits and send it on to /shown, where a script writes down which cookies it can see."""
    session = get_current_session()
    session["n"] = session.get("n", 0) + 1
    if environ["PATH_INFO"] == "/browsed":
        session["payload"] = "x" * int(environ["QUERY_STRING"])
        start_response("303 See Other", [("Location", "/shown"), ("Set-Cookie", "visible=yes")])
        return []
    start_response("200 OK", [("Content-Type", "text/html")])
    script = "document.querySelector('p').textContent += document.cookie"
    return [f"<!doctype html><p>{session['n']} visits, a script sees: </p><script>{script}</script>".encode()]


_PAGES = {"/untouched": untouched, "/browsed": browsed, "/shown": browsed}


def site(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    """All of the above."""
    return _PAGES.get(environ["PATH_INFO"], example)(environ, start_response)


def make_application() -> SessionMiddleware:
    """Return the application as the environment wants it."""
    cache, durable = os.environ.get("HOLDALL_TEST_CACHE"), os.environ.get("HOLDALL_TEST_DURABLE")
    stores = Stores.from_urls(cache=cache, durable=durable) if cache or durable else None
    return SessionMiddleware(site, os.environ["HOLDALL_TEST_KEYS"].split(","), stores=stores)


def serve_with_wsgiref(listener: socket.socket) -> None:
    """Serve on a socket that listens already, with the standard library's server."""
    server = WSGIServer(listener.getsockname(), WSGIRequestHandler, bind_and_activate=False)
    server.socket.close()
    server.socket = listener
    server.server_name, server.server_port = listener.getsockname()
    server.setup_environ()
    server.set_app(make_application())
    server.serve_forever()


if __name__ == "__main__":
    listener = socket.socket(fileno=int(sys.argv[2]))
    if sys.argv[1] == "wsgiref":
        serve_with_wsgiref(listener)
    else:
        waitress.serve(make_application(), sockets=[listener], threads=8)
