"""The walk's application on the embedded core of `examples/http_server.py`. What its pages do is in `pages.py`.

The first argument of the program is the file descriptor of a socket that listens.
"""

import socket
import sys
from urllib.parse import parse_qsl, urlsplit

from holdall import Session, SessionManager

from examples.http_server import Answer, make_server
from tests.together import pages


def view(path: str, session: Session) -> Answer:
    """All pages."""
    parts = urlsplit(path)
    query = dict(parse_qsl(parts.query))
    match parts.path:
        case "/visit":
            session["n"] = session.get("n", 0) + 1
        case "/incr":
            session.incr("n")
        case "/put":
            session[query["key"]] = pages.text(int(query["size"]))
        case "/fill":
            session.update(pages.VALUES)
        case "/login":
            session.regenerate_id()
            session.bind(pages.PRINCIPAL)
        case "/logout":
            session.terminate()
    if "then" in query:
        return 303, [("Location", query["then"])], []
    return 200, [("Content-Type", "text/html")], [pages.page(session).encode()]


if __name__ == "__main__":
    options = pages.options()
    stores = options.pop("stores")
    server = make_server(view, SessionManager(**options), stores)
    server.socket.close()  # that of a port of its own
    server.socket = socket.socket(fileno=int(sys.argv[1]))
    server.serve_forever()
