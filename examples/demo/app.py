"""The application that is watched: an ordinary WSGI application that keeps things in its session.

Everything it knows about sessions is `get_current_session()` and the mapping it returns. That it is being watched shows
in two places only: it gives each request a name, and tells what it saw in the session.
"""

import hashlib
import secrets
from collections.abc import Callable, Iterable
from http import HTTPStatus
from pathlib import Path
from typing import NamedTuple
from urllib.parse import parse_qs

from holdall import Session, StoreError, get_current_session

from . import page
from .watch import Environ, Item, Log, StartResponse, Trace, WatchedStores, current_trace

LONGEST_NOTE = 2_000
LONGEST_FORM = 50_000
SECONDS_TO_LIVE = 5

_ASSETS = {"/demo.css": "text/css", "/demo.js": "text/javascript"}
_POLICY = (
    "default-src 'none'; style-src 'self'; script-src 'self'; img-src data:; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)

Headers = list[tuple[str, str]]
Form = dict[str, str]


class Action(NamedTuple):
    """Something that a button does."""

    label: str
    run: Callable[[Session, Form], object]


class Demo:
    """The application.

    `stores` are asked for one thing only: to have the cache lose what it holds. `clock` returns seconds UTC since 1970.
    """

    def __init__(self, log: Log, stores: WatchedStores, clock: Callable[[], float], labels: page.Labels) -> None:
        self._log = log
        self._clock = clock
        self._labels = labels
        self._stores = stores
        self._actions = {
            "note": Action("Keep a note", self._note),
            "count": Action("Count one more", lambda session, _: session.incr("count")),
            "draft": Action("Put in 20 KB", lambda session, _: _put_text(session, "draft", 20_000)),
            "album": Action("Put in 900 KB", lambda session, _: _put_text(session, "album", 900_000)),
            "film": Action("Put in 5 MB", lambda session, _: _put_text(session, "film", 5_000_000)),
            "unpack": Action("Take the big things out", _unpack),
            "quick": Action("Quick write", lambda session, _: session.set_quick("scroll", secrets.randbelow(9_000))),
            "drop": Action("Take one thing out", lambda session, form: session.pop(form.get("key", ""))),
            "login": Action("Log in", _log_in),
            "logout": Action("Log out", lambda session, _: session.terminate()),
            "expire": Action(f"End in {SECONDS_TO_LIVE} seconds", self._expire),
        }

    def __call__(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        """Handle a request."""
        trace = current_trace.get()
        path = environ["PATH_INFO"] or "/"
        method = environ["REQUEST_METHOD"]
        if path not in ("/", *_ASSETS):
            return _respond(start_response, HTTPStatus.NOT_FOUND, "There is nothing here.")
        allowed = ("GET", "HEAD", "POST") if path == "/" else ("GET", "HEAD")
        if method not in allowed:
            allow = [("Allow", ", ".join(allowed))]
            return _respond(start_response, HTTPStatus.METHOD_NOT_ALLOWED, "Not like this.", allow)
        if path in _ASSETS:
            # It passes through the session middleware like everything else. Untouched, the session costs nothing.
            text = (Path(__file__).parent / path[1:]).read_text(encoding="utf-8")
            return _respond(start_response, HTTPStatus.OK, text, content_type=_ASSETS[path])
        if method == "POST":
            return self._act(trace, environ, start_response)
        trace.label = "Look at the page"
        _look(trace, get_current_session())
        with trace.aside():
            text = page.render(trace, self._log.latest(), self._labels, self._clock())
        headers = [("Cache-Control", "no-store"), ("Content-Security-Policy", _POLICY)]
        return _respond(start_response, HTTPStatus.OK, text, headers, content_type="text/html")

    def _act(self, trace: Trace, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        """Change something, then have the browser look at the page.

        Whatever changes something is a POST. The session cookie is SameSite=Lax, so that another site's form comes
        without it and cannot touch this session; an application with more at stake adds a CSRF token.
        """
        with trace.aside():
            form = _read_form(environ)
        name = form.get("action", "")
        if name == "forget":
            trace.label = "The cache forgets"
            try:
                with trace.aside():
                    self._stores.forget_cached()
            except StoreError:
                return _respond(start_response, HTTPStatus.SERVICE_UNAVAILABLE, "The cache does not answer.")
        elif name in self._actions:
            action = self._actions[name]
            trace.label = action.label
            session = get_current_session()
            action.run(session, form)
            _look(trace, session)
        else:
            return _respond(start_response, HTTPStatus.BAD_REQUEST, "There is no such action.")
        return _respond(start_response, HTTPStatus.SEE_OTHER, "", [("Location", "/")])

    def _note(self, session: Session, form: Form) -> None:
        session["note"] = form.get("text", "")[:LONGEST_NOTE]

    def _expire(self, session: Session, _: Form) -> None:
        session.regenerate_id(expiration_ts=self._clock() + SECONDS_TO_LIVE)


def _put_text(session: Session, key: str, size: int) -> None:
    with current_trace.get().aside():
        text = secrets.token_urlsafe(size)[:size]
    session[key] = text


def _unpack(session: Session, _: Form) -> None:
    for key in ("draft", "album", "film"):
        session.pop(key)


def _log_in(session: Session, _: Form) -> None:
    session["user"] = "ada"
    session.regenerate_id()  # whoever knew the id before the login knows nothing now
    session.bind("ada")  # so that after the logout no copy of the cookie opens anything, however small the session


def _look(trace: Trace, session: Session) -> None:
    items = [_describe(key, session[key]) for key in session]
    trace.items = items
    trace.active = session.is_active()
    trace.expires = session.get_expiration()
    trace.fingerprint = hashlib.sha256((session.sid or "").encode()).hexdigest()[:6] if trace.active else ""


def _describe(key: str, value: object) -> Item:
    text = value if isinstance(value, str) else repr(value)
    size = len(text) if text.isascii() else len(text.encode("utf-8", "surrogatepass"))
    preview = text if len(text) <= 48 else text[:45] + "…"
    return Item(key, type(value).__name__, size, preview)


def _read_form(environ: Environ) -> Form:
    length = environ.get("CONTENT_LENGTH") or "0"
    body = environ["wsgi.input"].read(min(int(length), LONGEST_FORM)) if length.isdecimal() else b""
    fields = parse_qs(body.decode("ascii", "replace"), keep_blank_values=True)
    return {name: values[0] for name, values in fields.items()}


def _respond(
    start_response: StartResponse,
    status: HTTPStatus,
    text: str,
    headers: Iterable[tuple[str, str]] = (),
    *,
    content_type: str = "text/plain",
) -> list[bytes]:
    body = text.encode()
    fixed: Headers = [
        ("Content-Type", f"{content_type}; charset=utf-8"),
        ("Content-Length", str(len(body))),
        ("X-Content-Type-Options", "nosniff"),
    ]
    start_response(f"{status.value} {status.phrase}", [*fixed, *headers])
    return [body]
