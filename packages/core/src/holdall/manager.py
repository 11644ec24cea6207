"""The manager: knows the keys and the settings, and opens the session of a request.

One per process. What is done with a session once it is open is in `exchange`; which of several tokens is meant is in
`presented`; the checks of the settings are in `settings`.
"""

import os
import re
import time
from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import TypeVar

from holdall.codec import decode, unpack_map
from holdall.commands import Found, Get, Tier
from holdall.cookie_options import CookieOptions
from holdall.cookies import SetCookie, join_header, read
from holdall.drive import Finished, Flow, Steps
from holdall.errors import SessionUnavailable, StoreError, StoreUnavailable, UsageError
from holdall.events import Event, Tell, log
from holdall.exchange import CookieHeaders, Drive, Exchange, Receipt
from holdall.headers import Headers
from holdall.moving import MovingIn, OldSession, as_token
from holdall.observed import ObservedExchange, observed_load, tell_opened
from holdall.presented import NOTHING, Inspected, Presented, Reader, choose
from holdall.principals import BoundSession, Principals
from holdall.record import Ending
from holdall.sealing import KeyRing
from holdall.session import Session, parse_sid
from holdall.settings import ONE_COOKIE, Settings
from holdall.tiers import Gone, Held, Tiers, store_key
from holdall.token import Token, room

T = TypeVar("T")

_LOADED: Finished[None] = Finished(None)
_SUPERSEDED_MS = 60_000
_LOOPBACK = re.compile(r"(localhost|127\.0\.0\.1|\[::1\])(:\d*)?$", re.IGNORECASE)
_QUIET = 10.0  # seconds between two log lines about cookies that did not open


class SessionManager:
    """Knows the keys and the settings, and opens the session of a request.

    `cookie_key`: one secret or a list of them, each at least 32 bytes (a str counts as UTF-8); the first seals, all
    open. See `generate_key`. `lifetime`: from a session's start to its absolute end. `idle_timeout`: since the last
    touched request, exact to its last tenth; None for none. `cookie_only_threshold`: the most characters a session
    may take as a cookie value; beyond, it goes to the stores. `no_datastore`: keep stored sessions in the cache
    alone; they may be lost. `audience`: sessions are shared by applications with the same key, cookie name and
    audience. `cache_trust`: how long a cache entry is believed before the durable tier is asked again.
    `revocation_check`: how often a bound session asks whether it was revoked, see `Session.bind`; None: none is bound.
    `store_budget`: a request that has waited so long for its stores gives them no further command, as if they did not
    answer; a command that is under way then still has its store's own deadline.
    `save_on_error`: save although the status is 500 or above. `moving_in`: accepts sessions that users hold from
    another library, until a day; see `MovingIn`. `on_receipt` is called with the `Receipt` of every request that
    touched its session, when its body is through, `on_event` with every `Event` when it happens; what they raise is
    logged. `clock` returns seconds UTC since 1970, `random` that many random bytes.

    Raises `UsageError`, which is a `ValueError`, for settings that cannot work. Make one per process, and share it.
    """

    def __init__(
        self,
        cookie_key: bytes | str | Sequence[bytes | str],
        *,
        lifetime: timedelta = timedelta(days=7),
        idle_timeout: timedelta | None = None,
        cookie_only_threshold: int = ONE_COOKIE,
        no_datastore: bool = False,
        cookie: CookieOptions = CookieOptions(),  # noqa: B008 (frozen)
        audience: str = "holdall",
        cache_trust: timedelta = timedelta(seconds=60),
        revocation_check: timedelta | None = timedelta(seconds=60),
        store_budget: timedelta = timedelta(seconds=2),
        save_on_error: bool = False,
        moving_in: MovingIn | None = None,
        on_receipt: Callable[[Receipt], object] | None = None,
        on_event: Callable[[Event], object] | None = None,
        session_class: type[Session] = Session,
        clock: Callable[[], float] = time.time,
        random: Callable[[int], bytes] = os.urandom,
    ) -> None:
        self.settings = settings = Settings.checked(
            lifetime=lifetime,
            idle_timeout=idle_timeout,
            cookie_only_threshold=cookie_only_threshold,
            no_datastore=no_datastore,
            audience=audience,
            cache_trust=cache_trust,
            revocation_check=revocation_check,
            store_budget=store_budget,
            save_on_error=save_on_error,
        )
        if not isinstance(cookie, CookieOptions):
            raise UsageError(f"cookie={cookie!r} must be a CookieOptions")
        self.cookie = cookie
        self.clock = clock
        self.on_receipt = on_receipt
        self.on_event = on_event
        self._tell = Tell(on_event)
        self._exchange = Exchange if on_event is None else ObservedExchange
        self._random = random
        self._ring = KeyRing(cookie_key, random)
        self._box = self._ring.box(f"cookie/{settings.audience}")
        self._inline = Reader(cookie.effective_name, self._box, inline=True)
        self._reference = Reader(f"{cookie.effective_name}-ref", self._box, inline=False)
        self._set_inline = SetCookie(cookie, self._inline.name)
        self._set_reference = SetCookie(cookie, self._reference.name)
        self._inline_room = room(min(settings.cookie_only_threshold, self._set_inline.capacity(64)))
        if settings.cookie_only_threshold == ONE_COOKIE and self._set_inline.capacity(1) < ONE_COOKIE:
            raise UsageError(
                f"the cookie's name, domain and path leave no room for cookie_only_threshold={ONE_COOKIE} in one "
                f"cookie of 4096 bytes: shorten them, or set cookie_only_threshold={self._set_inline.capacity(1)}"
            )
        self._tiers = Tiers(
            records=self._ring.box(f"record/{settings.audience}"),
            entries=self._ring.box(f"entry/{settings.audience}"),
            no_datastore=settings.no_datastore,
            cache_trust=settings.cache_trust,
            clock=self._now,
            random=random,
            tell=self._tell,
        )
        self._principals: Principals | None = None
        if settings.revocation_check is not None and not no_datastore:
            self._principals = Principals(
                box=self._ring.box(f"principal/{settings.audience}"),
                audience=settings.audience,
                check=settings.revocation_check,
                clock=clock,
                random=random,
                tell=self._tell,
            )
        if moving_in is not None:
            self._check_moving_in(moving_in)
        self.moving_in = moving_in
        """For adapters, which give its `records` to the stores."""
        self._session_class = session_class
        self._complained = float("-inf")
        self._warned_of_http = False

    def __repr__(self) -> str:
        return f"<SessionManager {self.settings!r}>"

    def open(self, cookie_headers: CookieHeaders, *, drive: Drive | None = None) -> "Exchange":
        """Open the session of a request, which costs next to nothing until it is touched.

        `cookie_headers`: the raw values of the Cookie headers, None without any. `drive`: runs a flow to its end, such
        as `run` bound to stores; the session then loads itself when it is touched. None: touching a session that is in
        a store raises `SessionNotLoaded` until `Exchange.load` was driven.
        """
        return self._exchange(self, self._session_class(self, cookie_headers, drive))

    def open_sid(self, sid: str, *, drive: Drive | None = None) -> "Exchange":
        """Open a stored session by its id, without a cookie, as a worker or a socket needs it.

        What it reads may be as old as `cache_trust`. A sid that no store knows makes an inactive session.
        """
        session = self._session_class(self, None, drive)
        session._look()
        raw = parse_sid(sid)
        if raw is not None:
            session._opened = False
            session._token = Token(raw, 0, 0, 0, 0, 0, False, False, None)
        return self._exchange(self, session)

    def revoke(self, principal: str, *, except_sid: str | None = None, only: str | None = None) -> Flow[None]:
        """End the sessions bound to a principal, in every tier, by one atomic write; see `Session.bind`.

        Here it counts at once, in other processes within `revocation_check`. `except_sid`: the session that goes on,
        such as the one that asked. `only`: the `BoundSession.id` of the only one to end; nothing happens if it has
        ended. Drive it; it raises `SessionUnavailable` if they may not have ended.
        """
        keep = None if except_sid is None else parse_sid(except_sid)
        if keep is None and except_sid is not None:
            raise UsageError("except_sid is no session id: use session.sid")
        if only is not None and (type(only) is not str or not only or keep is not None):
            raise UsageError("only must be the id of a session in sessions_of(), without except_sid")
        moving_in = self.moving_in
        until = 0 if moving_in is None or only is not None or self.clock() >= moving_in.until else moving_in.remembered
        return self._bound_sessions().revoke(principal, keep, only, until)

    def sessions_of(self, principal: str) -> Flow[list[BoundSession]]:
        """Return the sessions bound to a principal that have not ended, the one seen last first. Drive it.

        Raises `SessionUnavailable` if that cannot be known now.
        """
        return self._bound_sessions().listed(principal)

    def inspect(self, cookie_headers: CookieHeaders) -> list[Inspected]:
        """Explain every value under our cookie names, whether it opens or not; for tools: no session is opened."""
        header, readers = join_header(cookie_headers), (self._inline, self._reference)
        return [reader.explain(*found) for reader in readers for found in read(header, reader.name)]

    def short_hash(self, sid: bytes) -> str:
        """Return what a log may say instead of a session id: 8 hex digits, keyed."""
        return self._ring.short_hash(sid)

    def warn_of_plain_http(self, host: str | None, headers: Headers) -> None:
        """For adapters: the response goes out over plain http to `host`, a Host header, with these headers.

        Warns once if they set a Secure cookie that a client on such a host does not send back.
        """
        if self._warned_of_http or _LOOPBACK.match(host or ""):
            return
        if any(field.lower() == "set-cookie" and "; Secure" in value for field, value in headers):
            self._warned_of_http = True
            log.warning(
                "a Secure session cookie was sent over plain http to a host that is not loopback: browsers will not "
                "send it back. Serve https; behind a proxy that does, have the server take the scheme from it; for "
                "tests or a plain http network, use CookieOptions(secure=False)"
            )

    def _check_moving_in(self, moving_in: MovingIn) -> None:
        if not isinstance(moving_in, MovingIn):
            raise UsageError(f"moving_in={moving_in!r} must be a MovingIn, such as StarletteSessions(...)")
        name = moving_in.cookie.effective_name
        if moving_in.keep and name in (self._inline.name, self._reference.name):
            raise UsageError(
                f"moving_in with keep=True leaves the old cookie {name!r} alone, and Holdall's has the same name: "
                "choose another name for Holdall's"
            )
        if moving_in.until <= self.clock():
            log.warning("the time of moving_in is over, and no old session is read any more: leave it out")

    # -- for Session -------------------------------------------------------------------------------------------------

    def _bound_sessions(self) -> Principals:
        if self._principals is None:
            raise UsageError("bound sessions need a durable tier: no revocation_check=None, and no no_datastore=True")
        return self._principals

    def _choose(self, session: Session) -> Presented:
        """Return what the cookies of a request say, which does not touch its session yet."""
        if session._chosen is None:
            session._headers = header = join_header(session._headers)  # an iterator has been used up by this
            now, idle = self.clock(), self.settings.idle_timeout
            session._chosen = choose(header, self._inline, self._reference, now, idle)
        return session._chosen

    def _read_cookies(self, session: Session) -> None:
        if not session._headers:
            session._headers = ""
            session._presented = NOTHING
            session._opened = True
            return
        session._presented = presented = self._choose(session)
        is_odd, token = presented.ignored, presented.token
        if self.moving_in is not None and not (presented.inline or presented.reference):
            now = self.clock()
            found = self.moving_in.presented(session._headers, now)
            session._old = old = found[0] if len(found) == 1 else None
            if old is not None:
                token = as_token(old, int(now), self.settings)
            is_odd = old is None and (is_odd or self.moving_in.is_presented(session._headers, now))
        if is_odd:
            quiet = -_QUIET < (now := self.clock()) - self._complained < _QUIET
            self._complained = self._complained if quiet else now
            self._tell("rejected", "invalid", quiet=quiet)
        session._token = token
        if token is None:
            session._opened = True
        elif session._old is None and token.payload is not None:  # an old one's markers are to be asked for
            refusal = self._refusal(token.bond, token.sid) if token.bond else None
            if refusal is not None or not (token.bond and self._is_to_ask(token.bond, token.sid)):
                self._show_inline(session, token, refusal)
        if self.on_event is not None:
            tell_opened(self._tell, session)

    def _load(self, session: Session) -> Flow[None]:
        if session._presented is None:
            # Where nothing is to be fetched and nobody to be asked, the session stays untouched.
            session._headers = join_header(session._headers)
            if self._reference.name not in session._headers:
                is_old = self.moving_in is not None and self.moving_in.is_presented(session._headers, self.clock())
                if not is_old and (self._principals is None or self._inline.name not in session._headers):
                    return _LOADED
                token = self._choose(session).token
                if not is_old if token is None else not self._is_to_ask(token.bond, token.sid):
                    return _LOADED
        if session._look() or session._token is None:
            return _LOADED
        load = self._load_stored if session._old is None else self._load_old
        flow = self._watch(session, load(session, session._token))
        return flow if self.on_event is None else observed_load(self, session, flow)

    def _watch(self, session: Session, flow: Steps[T]) -> Steps[T]:
        """Hand on the commands of a request's flow, while it may wait for its stores; note which had no answer."""
        budget = self.settings.store_budget
        try:
            step = next(flow)
            while True:
                try:
                    if session._waited >= budget:
                        raise StoreUnavailable(f"not asked, this request has waited {budget:g} s for its stores")
                    since = self.clock()
                    try:
                        answer = yield step
                    finally:
                        session._waited += max(0.0, self.clock() - since)  # the clock may have been set back
                except StoreError as error:
                    assert not isinstance(step, tuple)  # no flow of a request has commands that may run at once
                    session._failures.append(f"{type(step).__name__.lower()} {step.tier.value}: {error}")
                    step = flow.throw(error)
                else:
                    step = flow.send(answer)
        except StopIteration as stop:
            return stop.value  # type: ignore[no-any-return]

    def _load_stored(self, session: Session, token: Token) -> Steps[None]:
        result: Held | Gone | None = None
        now = self._now()
        try:
            if token.payload is None:
                result = yield from self._tiers.read(store_key(token.sid), token.revision, now)
        except SessionUnavailable as error:
            session._failure = error
            raise
        session._failure = None  # of an earlier attempt
        bond = (result.record.bond if isinstance(result, Held) else b"") or token.bond
        refusal = result if isinstance(result, Gone) else self._refusal(bond, token.sid)
        if self._principals is not None and self._is_to_ask(bond, token.sid) and refusal is None:
            refusal = yield from self._principals.check(bond, token.sid, now)
        if session._opened:  # begun anew, or loaded, while this load was under way
            return
        if result is None:
            self._show_inline(session, token, refusal)
            return
        session._opened = True
        session._gone = refusal
        if refusal is not None or isinstance(result, Gone):
            return
        record = result.record
        session._held = result
        session._loaded = session._base = record.values
        if bond != token.bond:  # bound by a request whose cookie did not arrive
            session._token = token = token._replace(bond=bond)
        if token.expires == 0:  # opened by its sid: what a cookie would have said
            session._token = token._replace(
                issued=record.issued, expires=record.expires, ssl_only=record.ssl_only, browser=record.browser
            )

    def _load_old(self, session: Session, token: Token) -> Steps[None]:
        """Load a session of another library, unless it has moved in or ended."""
        old, now = session._old, self._now()
        assert old is not None
        assert self.moving_in is not None
        session._failure = None  # of an earlier attempt
        if old.record is not None:
            try:
                answer = yield Get(Tier.OLD, old.record)
            except StoreError as error:
                session._failure = SessionUnavailable(f"a session of another library cannot be read: {error}")
                raise session._failure from error
            read = self.moving_in.read(old, answer.value, now / 1000) if isinstance(answer, Found) else None
            old = None if read is None or 0 < read.expires * 1000 <= now else read
        gone = yield from self._tiers.ending(store_key(token.sid), now)
        if old is None:
            gone = gone or Gone(None, 0)  # its record may just have been deleted, by a request that moved it in
        elif gone is None or self._is_moved(gone):
            gone = None  # requests that the browser sent together; what they change is dropped at the commit
            if self._principals is not None and (owner := self._owner_of(old)):
                session._login = owner, (token.sid, old.issued)
                gone = yield from self._principals.refused(*session._login)
        if session._opened:  # begun anew, or loaded, while this load was under way
            return
        if old is not None:
            session._old, session._token = old, as_token(old, now // 1000, self.settings)
        self._show_inline(session, session._token or token, gone)

    def _owner_of(self, old: OldSession) -> bytes:
        """Return whose login a session of another library is, in the sense of a bond; empty if it is nobody's."""
        values = {key: decode(wire) if type(wire) is bytes else wire for key, wire in unpack_map(old.payload).items()}
        principal = None if self.moving_in is None else self.moving_in.principal_of(values)
        return b"" if principal is None else self._bound_sessions().bond(principal)

    def _is_to_ask(self, bond: bytes, sid: bytes) -> bool:
        """Tell whether it is time to ask if a session was revoked."""
        return bool(bond) and self._principals is not None and self._principals.known(sid, self._now()) is None

    def _refusal(self, bond: bytes, sid: bytes) -> Gone | None:
        """Return how a bound session ended, by what was said last; None if it did not, or nobody could be asked."""
        known = self._principals.known(sid, self._now()) if bond and self._principals is not None else None
        return None if known is None else known.gone

    def _show_inline(self, session: Session, token: Token, refusal: Gone | None) -> None:
        session._opened = True
        session._gone = refusal
        if refusal is None and token.payload is not None:
            session._loaded = session._base = unpack_map(token.payload)

    def _new_token(self, session: Session, expiration_ts: float | None, *, ssl_only: bool) -> Token:
        now = self._now()
        expires, browser = self._end_of(expiration_ts, now // 1000)
        # Whatever the clock says, a new sid is newer than the one it replaces: both cookies may be presented together.
        issued = now if session._token is None else max(now, session._token.issued + 1)
        return Token(self._random(32), issued, expires, now // 1000, 0, 0, ssl_only, browser, b"")

    def _end_of(self, expiration_ts: float | None, now: int) -> tuple[int, bool]:
        """Return when a session ends, in seconds UTC since 1970, and whether its cookie ends with the browser."""
        if not expiration_ts:
            return now + self.settings.lifetime, expiration_ts == 0
        if not isinstance(expiration_ts, (int, float)) or not 0 < expiration_ts < 2**40:
            raise UsageError(
                f"expiration_ts={expiration_ts!r} must be in seconds UTC since 1970: 0 for a browser session"
            )
        return int(expiration_ts), False

    def _is_superseded(self, session: Session) -> bool:
        return session._gone is not None and self._is_moved(session._gone)

    def _is_moved(self, gone: Gone) -> bool:
        """Tell whether a session got a new id a moment ago."""
        return gone.ending is Ending.REGENERATED and self._is_recent(gone)

    def _is_recent(self, gone: Gone) -> bool:
        """Tell whether responses from before its end may still be under way (rule 10)."""
        return abs(self._now() - gone.time) < _SUPERSEDED_MS

    def _now(self) -> int:
        return max(0, int(self.clock() * 1000))
