"""The application that is watched: what each page shows and each button does, for every framework alike.

What it knows of sessions is the mapping and the verbs that each adapter gives it. That it is being watched shows where
it names its requests, and tells what it saw in the session.
"""

import http.client
import re
import secrets
import threading
from collections.abc import Callable
from http import HTTPStatus
from pathlib import Path
from typing import Any, NamedTuple

from holdall import SessionUnavailable, StoreError

from . import page
from .page import PARCEL, THING
from .signin import SignIn, SignInError
from .watch import Lap, Log, Place, Trace, WatchedStores, cookie_header, current_trace
from .web import Answer, Asked

HEAVIEST = 15_000_000
"""Bytes that a basket may weigh: a little less than the stores are told to take."""
LONGEST_NAME = 60
SECONDS_TO_LIVE = 5
SECONDS_TO_MEET = 5.0

PAGES = {
    "/": ("session.html", "See the session"),
    "/basket": ("basket.html", "See the basket"),
    "/sessions": ("sessions.html", "See my sessions"),
    "/break": ("break.html", "See what can break"),
    "/requests": ("requests.html", "See the requests"),
}
_ASSETS = {"/demo.css": "text/css", "/demo.js": "text/javascript"}
_BY_HAND = "by hand"
_GETS = {*PAGES, *_ASSETS, "/signed-in"}

Headers = list[tuple[str, str]]


class RefusedError(Exception):
    """A request that makes no sense, or that nobody may make. The message says what to do."""

    def __init__(self, status: HTTPStatus, message: str) -> None:
        super().__init__(message)
        self.status = status


class Action(NamedTuple):
    """Something that a button does."""

    label: str
    run: Callable[["Demo", Any, Asked], str | None]
    """Is handed the session; returns where the browser goes then, None for the page that it came from."""


class Demo:
    """The application, at `origin`. `clock` returns seconds UTC since 1970; `stores` are there to be broken."""

    def __init__(
        self,
        origin: str,
        *,
        log: Log,
        stores: WatchedStores,
        clock: Callable[[], float],
        sign_in: SignIn,
        labels: page.Labels,
    ) -> None:
        self._origin = origin
        self._log = log
        self._stores = stores
        self._clock = clock
        self._sign_in = sign_in
        self._labels = labels
        self._copied: dict[str, str] = {}
        self._waiting: dict[str, threading.Event] = {}
        self._lock = threading.Lock()
        sent_to = "/".join(sign_in.issuer.split("/")[:3])
        self._policy = (
            "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; img-src data:; "
            f"form-action 'self' {sent_to}; base-uri 'none'; frame-ancestors 'none'"
        )

    def __call__(self, asked: Asked) -> Answer:
        """Answer a request."""
        trace = current_trace.get()
        try:
            if asked.method == "POST" and asked.path == "/do":
                return self._act(trace, asked)
            if asked.path not in _GETS:
                raise RefusedError(HTTPStatus.NOT_FOUND, "There is nothing here.")
            if asked.method not in ("GET", "HEAD"):
                raise RefusedError(HTTPStatus.METHOD_NOT_ALLOWED, "This address can only be looked at.")
            if asked.path in _ASSETS:
                # It passes through the session middleware like everything else. Untouched, the session costs nothing.
                text = (Path(__file__).parent / asked.path[1:]).read_text(encoding="utf-8")
                return _answer(HTTPStatus.OK, text, _ASSETS[asked.path])
            if asked.path == "/signed-in":
                return self._signed_in(trace, asked)
            return self._show(trace, asked)
        except RefusedError as error:
            with trace.aside():
                text = page.render("refused.html", title="Refused", words=str(error))
            allow = [("Allow", "GET, HEAD")] if error.status is HTTPStatus.METHOD_NOT_ALLOWED else []
            return self._html(error.status, text, allow)
        except SessionUnavailable:
            headers = [("Retry-After", "5")]
            return self._html(HTTPStatus.SERVICE_UNAVAILABLE, self.unavailable(trace), headers)

    def unavailable(self, trace: Trace) -> str:
        """Return the page for a request whose session could be neither read nor written."""
        with trace.aside():
            return page.render("unavailable.html", title="No answer", trace=trace, is_stopped=self._stores.is_stopped)

    # -- pages -------------------------------------------------------------------------------------------------------

    def _show(self, trace: Trace, asked: Asked) -> Answer:
        template, label = PAGES[asked.path]
        self._log.name(trace, label)
        session = asked.get_session()
        trace.look(session)
        user = session.get("user")
        mine = asked.people.sessions_of(user["sub"]) if asked.path == "/sessions" and user else []
        number = asked.query.get("after", "")
        with trace.aside():
            after = self._log.find(int(number)) if number.isdecimal() else None
            latest = self._log.latest()
            text = page.show(
                template,
                page.View(
                    path=asked.path,
                    trace=trace,
                    after=after,
                    race=[each for each in latest if each.lap and each.lap.race == asked.query.get("race")],
                    latest=latest,
                    labels=self._labels,
                    now=self._clock(),
                    user=user,
                    csrf=session.get("csrf", ""),
                    mark=session.get("mark", ""),
                    mine=mine,
                    is_stopped=self._stores.is_stopped,
                    is_copied=bool(self._copied),
                    issuer=self._sign_in.issuer,
                ),
            )
        return self._html(HTTPStatus.OK, text)

    def _html(self, status: HTTPStatus, text: str, headers: Headers | None = None) -> Answer:
        fixed = [
            ("Cache-Control", "no-store"),
            ("Content-Security-Policy", self._policy),
            ("Referrer-Policy", "same-origin"),
        ]
        return _answer(status, text, "text/html", [*fixed, *(headers or [])])

    # -- what buttons do ---------------------------------------------------------------------------------------------

    def _act(self, trace: Trace, asked: Asked) -> Answer:
        """Change something, then have the browser look at the page that it came from."""
        action = _ACTIONS.get(asked.form.get("action", ""))
        if action is None:
            raise RefusedError(HTTPStatus.BAD_REQUEST, "There is no such button.")
        self._log.name(trace, action.label)
        # Another site's form comes with that site's origin, and without our cookie, which is SameSite=Lax.
        if asked.origin != self._origin:
            raise RefusedError(HTTPStatus.FORBIDDEN, "This form is not from the demo's own pages: it was refused.")
        # This one must work while no session can be read, so it asks for none.
        if action is _START:
            action.run(self, None, asked)
            return self._see(trace, asked)
        session = asked.get_session()
        trace.look(session)
        if not secrets.compare_digest(session.get("csrf", "").encode(), asked.form.get("csrf", "").encode()):
            raise RefusedError(
                HTTPStatus.FORBIDDEN,
                "This form is older than your session, or not from the demo's own pages: it was refused. Open the "
                "page again, and repeat what you did.",
            )
        target = action.run(self, session, asked)
        if session.is_active() and "csrf" not in session:
            session["csrf"] = secrets.token_urlsafe(16)
        trace.look(session)
        return self._see(trace, asked, target)

    def _see(self, trace: Trace, asked: Asked, target: str | None = None) -> Answer:
        """Send the browser to a page: the one that it came from, if no other is given."""
        where = asked.form.get("page", "/")
        target = target or f"{where if where in PAGES else '/'}?after={trace.number}"
        return _answer(HTTPStatus.SEE_OTHER, "", headers=[("Location", target)])

    def _put(self, session: Any, asked: Asked) -> str | None:
        name = " ".join(asked.form.get("name", "").split())[:LONGEST_NAME]
        if not name:
            raise RefusedError(HTTPStatus.BAD_REQUEST, "What is it that you want to put in? Give it a name.")
        session.incr(THING + name, _number(asked, "pieces", 1_000))
        return None

    def _pack(self, session: Any, asked: Asked) -> str | None:
        size = 1_000 * _number(asked, "kilobytes", HEAVIEST // 1_000)
        packed = sum(len(session[key]) for key in session if key.startswith(PARCEL))
        if size + packed > HEAVIEST:
            raise RefusedError(
                HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
                f"With that the basket would weigh {page.in_bytes(size + packed)}, and {page.in_bytes(HEAVIEST)} is "
                "all that it may. Nothing was changed.",
            )
        with current_trace.get().aside():
            content = secrets.token_urlsafe(size)[:size]
        session[f"{PARCEL}{1 + sum(key.startswith(PARCEL) for key in session)}"] = content
        return None

    def _unpack(self, session: Any, _: Asked) -> str | None:
        for key in [key for key in session if key.startswith(PARCEL)]:
            del session[key]
        return None

    def _drop(self, session: Any, asked: Asked) -> str | None:
        key = asked.form.get("key", "")
        if key.startswith((THING, PARCEL)):
            session.pop(key, None)
        return None

    def _remember(self, session: Any, _: Asked) -> str | None:
        session.set_quick("scroll", secrets.randbelow(9_000))
        return None

    def _expire(self, session: Any, _: Asked) -> str | None:
        session.regenerate_id(expiration_ts=self._clock() + SECONDS_TO_LIVE)
        return None

    # -- who it is ---------------------------------------------------------------------------------------------------

    def _begin(self, session: Any, _: Asked) -> str | None:
        try:
            return self._sign_in.begin(session)
        except SignInError as error:
            raise RefusedError(HTTPStatus.BAD_GATEWAY, str(error)) from error

    def _signed_in(self, trace: Trace, asked: Asked) -> Answer:
        """Somebody came back from the provider."""
        self._log.name(trace, "Come back from the provider")
        session = asked.get_session()
        trace.look(session)
        trace.is_action = True
        try:
            with trace.aside():
                person = self._sign_in.finish(session, asked.query)
        except SignInError as error:
            # What waited in the session is used up all the same.
            raise RefusedError(HTTPStatus.BAD_REQUEST, f"{error} Nobody was signed in.") from error
        mark = secrets.token_hex(2)
        session["user"] = {"sub": person.sub, "name": person.name}
        session["mark"] = mark
        session["csrf"] = secrets.token_urlsafe(16)  # whoever knew the old one knows nothing now
        session.regenerate_id()  # nor who knew the old id
        session.bind(person.sub, label=f"{_browser(asked.agent)}, {mark}")
        trace.look(session)
        return self._see(trace, asked, f"/sessions?after={trace.number}")

    def _sign_out(self, session: Any, _: Asked) -> str | None:
        session.terminate()
        return None

    def _revoke(self, session: Any, asked: Asked) -> str | None:
        user = _signed_in(session)
        ended = len(asked.people.sessions_of(user["sub"])) - 1
        asked.people.revoke(user["sub"], except_sid=session.sid)
        _say(
            "All others ended.",
            f"There {'was one' if ended == 1 else f'were {ended}'}. One atomic write to the list of {user['name']}'s "
            "sessions did it; their cookies open nothing now.",
        )
        return None

    def _end(self, session: Any, asked: Asked) -> str | None:
        user = _signed_in(session)
        listed = {bound.id: bound.label for bound in asked.people.sessions_of(user["sub"])}
        public_id = asked.form.get("session", "")
        if public_id not in listed:
            raise RefusedError(HTTPStatus.NOT_FOUND, "This session has ended already.")
        asked.people.revoke(user["sub"], only=public_id)
        _say(f"{listed[public_id]} ended.", "One atomic write took it from the list, and its cookie opens nothing now.")
        return None

    # -- what breaks things ------------------------------------------------------------------------------------------

    def _flush(self, _: Any, __: Asked) -> str | None:
        try:
            with current_trace.get().aside():
                self._stores.forget_cached()
        except StoreError as error:
            raise RefusedError(HTTPStatus.SERVICE_UNAVAILABLE, "The cache does not answer.") from error
        _say("The cache lost everything.", "The durable store has what it lost, and the next page view fills it again.")
        return None

    def _stop(self, _: Any, __: Asked) -> str | None:
        self._stores.is_stopped = True
        _say(
            "The durable store is stopped.",
            "No command to it gets an answer. What is in a cookie goes on; what is in the cache can be read for a "
            "minute; what would have to be written is refused, and your cookie kept.",
        )
        return None

    def _start(self, _: Any, __: Asked) -> str | None:
        self._stores.is_stopped = False
        _say("The durable store answers again.", "Nothing that it had acknowledged is lost.")
        return None

    def _copy(self, _: Any, __: Asked) -> str | None:
        self._copied = dict(current_trace.get().presented)
        if self._copied:
            _say("The cookie is copied.", "A thief has what your browser just presented. Go on, then replay the copy.")
        else:
            _say("There was nothing to copy.", "Your browser presented no session cookie.")
        return None

    def _replay(self, _: Any, __: Asked) -> str | None:
        """Have a thief look at the session with the copied cookie: a request of its own, from nowhere."""
        with current_trace.get().aside():
            thief = http.client.HTTPConnection(self._origin.removeprefix("http://"), timeout=30)
            try:
                thief.request("GET", "/", headers={"Cookie": cookie_header(self._copied)})
                response = thief.getresponse()
                response.read()
            finally:
                thief.close()
            seen = self._log.find(int(response.headers.get("Demo-Request", "0")))
        if seen is None or seen.status != HTTPStatus.OK:
            _say("The copy was refused.", "It could not be asked whether that session goes on.")
        elif seen.place is Place.NOWHERE:
            asked = f"{len(seen.commands)} questions to the stores" if seen.commands else "no store"
            _say("The copy opened nothing.", f"That session has ended, or has another id. To know it took {asked}.")
        else:
            _say(
                "The copy opened the session.",
                f"The thief saw {len(seen.items)} values, as you would. Sign in, or out, and the copy is worth nothing."
                if seen.id == current_trace.get().before_id
                else f"The thief saw {len(seen.items)} values of a session that yours has left behind, or that another "
                "browser has. One that is bound to nobody and rides in its cookie ends with its time, and no sooner.",
            )
        return None

    def _race(self, session: Any, asked: Asked) -> str | None:
        """Change the session only when another tab has come this far too: neither has seen the other's change."""
        trace = current_trace.get()
        race = asked.form.get("race") or _BY_HAND
        with trace.aside(), self._lock:
            other = self._waiting.pop(race, None)
            if other is None:
                mine = self._waiting[race] = threading.Event()
            else:
                other.set()
        if other is None:
            with trace.aside():
                met = mine.wait(SECONDS_TO_MEET)
                with self._lock:
                    self._waiting.pop(race, None)
            if not met:
                _say("No other tab came.", f"Within {SECONDS_TO_MEET:.0f} seconds press the button in another tab too.")
        key = f"{THING}{'red' if other is None else 'blue'} marble"
        trace.lap = Lap(race, key, session.incr(key))
        return f"/break?race={race}" if race != _BY_HAND else None


def _say(title: str, text: str) -> None:
    current_trace.get().words = title, text


def _number(asked: Asked, name: str, most: int) -> int:
    text = asked.form.get(name, "")
    if not (text.isascii() and text.isdecimal() and len(text) < 9 and 1 <= int(text) <= most):
        raise RefusedError(HTTPStatus.BAD_REQUEST, f"Give the {name} as a number from 1 to {most:,}.")
    return int(text)


def _browser(agent: str) -> str:
    """Return a browser's name in a few words, as far as its User-Agent tells."""
    browsers = {"Edg/": "Edge", "Firefox/": "Firefox", "Chrome/": "Chromium", "Safari/": "Safari"}
    systems = ["Windows", "Android", "iPhone", "iPad", "Mac", "Linux"]
    browser = next((name for sign, name in browsers.items() if sign in agent), "A browser")
    system = next((system for system in systems if re.search(rf"\b{system}", agent)), "an unknown system")
    return f"{browser} on {system}"


def _signed_in(session: Any) -> Any:
    user = session.get("user")
    if user is None:
        raise RefusedError(HTTPStatus.FORBIDDEN, "Nobody is signed in here.")
    return user


def _answer(status: HTTPStatus, text: str, kind: str = "text/plain", headers: Headers | None = None) -> Answer:
    fixed = [("Content-Type", f"{kind}; charset=utf-8"), ("X-Content-Type-Options", "nosniff")]
    return Answer(status.value, [*fixed, *(headers or [])], text)


_START = Action("Start the durable store", Demo._start)
_ACTIONS = {
    "put": Action("Put something in", Demo._put),
    "pack": Action("Put a parcel in", Demo._pack),
    "unpack": Action("Take the parcels out", Demo._unpack),
    "drop": Action("Take one thing out", Demo._drop),
    "quick": Action("Quick write", Demo._remember),
    "expire": Action(f"End in {SECONDS_TO_LIVE} seconds", Demo._expire),
    "sign-in": Action("Begin to sign in", Demo._begin),
    "sign-out": Action("Sign out", Demo._sign_out),
    "revoke": Action("End all other sessions", Demo._revoke),
    "end": Action("End one session", Demo._end),
    "flush": Action("Flush the cache", Demo._flush),
    "stop": Action("Stop the durable store", Demo._stop),
    "start": _START,
    "copy": Action("Copy the cookie", Demo._copy),
    "replay": Action("Replay the copied cookie", Demo._replay),
    "race": Action("Race in two tabs", Demo._race),
}
