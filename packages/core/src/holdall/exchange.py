"""One request and its response: from what the application did to its session to Set-Cookie headers.

What happens is decided in `outcome`, and how the stores are brought to it is in `tiers`; here the decision becomes
commands and cookies. Sessions are opened, and loaded, by `manager`.
"""

from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

from holdall import token as tokens
from holdall.changes import NO_CHANGES, Changes
from holdall.codec import Wire, pack_map
from holdall.commands import Delete, Tier
from holdall.cookies import observed_pieces, to_text
from holdall.drive import Finished, Flow, Steps
from holdall.errors import SessionConflict, SessionUnavailable, StoreError
from holdall.events import REASONS, log
from holdall.headers import Headers, with_session_headers, with_vary_cookie
from holdall.moving import OldSession, as_token
from holdall.outcome import Cookie, Home, Outcome, Wish, Write, decide
from holdall.presented import NOTHING, Presented
from holdall.record import ORDER_BYTES, Ending, Record
from holdall.sealing import token_id
from holdall.session import Session
from holdall.tiers import Gone, Held, Inline, Written, store_key
from holdall.token import Token

if TYPE_CHECKING:
    from holdall.manager import SessionManager

CookieHeaders: TypeAlias = str | bytes | Iterable[str | bytes] | None
Drive: TypeAlias = Callable[[Flow[None]], None]

# What a small write looks at: Python 3.11 takes 0.1 µs to look up a member of an Enum, as long as a call.
_IN_COOKIE, _NOTHING, _CHANGE, _NO_WRITE, _INLINE = Home.COOKIE, Wish.NOTHING, Wish.CHANGE, Write.NOTHING, Cookie.INLINE


class Receipt(NamedTuple):
    """What became of the session in this request."""

    tier: Tier | None
    """Where the session is now; None if there is none."""
    revision: int | None
    """Which of its writes that is, counted from 1; None if there is none, or it was opened by its id and not loaded."""
    durable: bool
    """What the application last wrote is in the durable tier or with the browser: no cache can lose it.

    False too if nothing may have been saved: a load or commit that failed, or a status of 500 or above.
    """
    cookie_bytes: int
    """The bytes of all Set-Cookie values of ours in this response."""
    conflicts: tuple[SessionConflict, ...]
    """What was dropped because the session had ended or changed meanwhile."""
    failures: tuple[str, ...]
    """Which commands had no answer, in order: the command, its tier and the store's error. No key and no value."""


class Exchange:
    """One request and its response. Made by `SessionManager.open`.

    `session` may be replaced by another session of the same manager before the commit: the one that is set is the one
    that is saved.
    """

    # Defaults live on the class, so that a request that never touches its session does not pay for them.
    _cookies: Headers = []  # noqa: RUF012 (replaced, never changed)
    _conflicts: tuple[SessionConflict, ...] = ()
    _discarded = False  # nothing of this request is to be saved any more
    _told = False  # on_receipt, of this request
    _quick = False  # what was written last is in the cache alone
    _keeps_old = False  # the session of another library may go on beside ours
    _decided: tuple[Home, Wish, bool, int] | None = None  # for who listens: what was decided on, and the bytes of data

    def __init__(self, manager: "SessionManager", session: Session) -> None:
        self._manager = manager
        self.session = self._opened = session

    def load(self) -> Flow[None]:
        """Fetch the session's data if it is in a store; finished at once, and no touch, otherwise.

        Raises `SessionUnavailable` if the store does not answer.
        """
        return self._manager._load(self.session)

    def commit(
        self, *, status: int, headers: Headers, expiration_ts: float | None = None, refresh: bool = False
    ) -> Flow[Headers]:
        """Save what changed; returns the response's headers, complete. The given list is not changed.

        Drive it once, when the response starts. A status of 500 or above saves nothing, unless `save_on_error`. Raises
        `SessionTooLarge` or `UsageError` with the previous state intact, `SessionUnavailable` if nothing may be stored.

        `expiration_ts` is for frameworks whose sessions slide: when the session is to end if it is written now, in the
        sense of `Session.start`; None leaves its end as it is. An end that the application itself gave in this request
        counts more. `refresh`: the end moves although nothing else changed, in the cookie every time, in a store
        when a tenth of the new time is to be won; only for a session that was touched.
        """
        session = self.session
        session._committed = True
        if session._presented is None:
            return Finished(headers)
        manager = self._manager
        if status >= 500 and not manager.settings.save_on_error:
            self._discarded = True
            return Finished(with_vary_cookie(headers))
        changes, wish, until, came = NO_CHANGES, _NOTHING, None, b""
        if expiration_ts is not None or not session.is_as_read():
            self._discarded = True  # until it is known what is to be saved
            came = b"" if session._token is None else session._token.bond
            changes = session._changes()
            if session._bond is not None:
                changes = self._bound(changes, session._bond)
            wish = self._wish(changes)
            session._was_modified = wish is not _NOTHING
            until = None if expiration_ts is None else self._until(expiration_ts, wish, refresh=refresh)
            if until is not None:
                changes = changes.with_end(until)
                wish = self._wish(changes)
        if wish is _NOTHING:
            self._discarded = False
            if session._cleared:  # there was nothing to clear, and what others have put there since is to stay
                session._rebase(session._loaded)
            return Finished(self._respond(headers, self._refresh()))
        now = manager._now()
        home = self._home()
        if session._old is not None and wish not in (Wish.BEGIN, Wish.END):
            wish = self._move_in(session)
        new = session._new
        given = session._token if new is None and until else new
        if given is not None and given.expires * 1000 <= now:
            wish = Wish.END  # active in this request, gone in the next
            session._end()
        self._keeps_old = (
            manager.moving_in is not None and manager.moving_in.keep and wish not in (Wish.BEGIN, Wish.END)
        )
        token = session._active_token()
        values: dict[str, Wire] = {}
        payload = b""
        fits = False
        if new is not None or home is _IN_COOKIE:
            values, _ = changes.apply(session._loaded)  # incr refused what is no number
            payload = pack_map(values)
            fits = self._fits(payload, token)
        outcome = decide(home, wish, fits=fits)
        if manager.on_event is not None:
            self._decided = home, wish, fits, len(payload)
        enter = None
        if token is not None and token.bond and wish is not Wish.END:
            enter = self._enter(token, came, until, now)
        if outcome.write is _NO_WRITE and not outcome.ends_old and enter is None:
            return Finished(self._ride(outcome, values, payload, now, headers))
        return manager._watch(session, self._store(outcome, changes, values, payload, now, headers, enter))

    def finish(self) -> Flow[Receipt]:
        """Save what was changed after the headers, where a store is enough for that; returns what became of it all.

        Drive it after the body, or after a commit that failed. What would have needed a cookie is dropped, logged and
        reported.
        """
        session = self.session
        if session._committed and not self._discarded and session._presented is not None:
            changes = session._changes()
            if changes and session._is_stored() and session._held is not None:
                return self._manager._watch(session, self._store_late(session._held, changes))
            if changes:
                self._report("late", changes.keys)
        return Finished(self._receipt())

    def is_complete(self) -> bool:
        """Tell whether `finish` has nothing to save and nobody to tell: who needs no receipt may leave it out then."""
        session, manager = self.session, self._manager
        nobody = manager.on_receipt is None and manager.on_event is None
        return session._presented is None or (nobody and session.is_as_read())

    # -- what is wished ----------------------------------------------------------------------------------------------

    def _wish(self, changes: Changes) -> Wish:
        session = self.session
        if session._new is not None:
            return Wish.REGENERATE if session._regenerated else Wish.BEGIN
        if session._terminated:
            return Wish.END
        if session._gone is not None:
            if changes:
                self._report("superseded", changes.keys)
                session._rebase(session._loaded)  # they are not to be reported again, as late
            return Wish.NOTHING
        persist = session._persist and not session._is_stored()
        if not changes and not persist:
            return Wish.NOTHING
        return Wish.QUICK if changes.quick and not persist else _CHANGE

    def _until(self, expiration_ts: float, wish: Wish, *, refresh: bool) -> tuple[int, bool] | None:
        """Return the end that the session gets with this commit, as `Changes.until` has it; None: it stays as it is."""
        session, manager = self.session, self._manager
        token = session._active_token()
        idle = wish is Wish.NOTHING
        if token is None or session._told_end or wish is Wish.QUICK or (idle and not refresh):
            return None
        now = manager._now() // 1000
        expires, browser = manager._end_of(expiration_ts, now)
        if idle and not session._opened:
            return None  # its data was not looked at, so that it cannot be written either
        if idle and token.payload is None:  # reading writes no store (rule 14), but for one time in ten
            is_due = browser is not token.browser or abs(expires - token.expires) * 10 >= expires - now
            if session._held is None or not is_due:
                return None
        token = token._replace(expires=expires, browser=browser)
        if session._new is None:
            session._token = token
        else:
            session._new = token
        return expires, browser

    def _bound(self, changes: Changes, bond: bytes) -> Changes:
        """Have the session bound to whom the application said in this request."""
        session = self.session
        if (token := session._active_token()) is None:
            return changes
        token = token._replace(bond=bond)
        if session._new is not None:
            session._new = token
            return changes
        session._token = token
        return replace(changes, bond=bond, quick=False)

    def _enter(self, token: Token, came: bytes, until: tuple[int, bool] | None, now: int) -> Steps[Gone | None] | None:
        """Return what lists a session among its principal's, if that is to be done; `came`: whose it was so far."""
        session, principals = self.session, self._manager._principals
        old = session._token
        if principals is None:
            return None
        goes_on = session._new is None or session._regenerated
        is_moved = session._new is not None and session._regenerated
        if session._bond is None and not is_moved and not (until and principals.is_short(token)):
            return None
        carried = old.sid if old is not None and goes_on and came == token.bond else None
        owner, login = session._login
        unmoved = login if is_moved and token.bond == owner else None
        return principals.enter(token, carried, session._label, unmoved, now)

    def _move_in(self, session: Session) -> Wish:
        """Have a session of another library go on under a new id, bound to whose login it is."""
        manager, token = self._manager, session._active_token()
        assert token is not None
        assert session._token is not None
        assert manager.moving_in is not None
        if session._new is None:
            new = manager._new_token(session, None, ssl_only=token.ssl_only)
            token = new._replace(expires=token.expires, browser=token.browser, bond=token.bond)
            session._token = session._token._replace(bond=b"")  # nobody has listed its old id
        if not token.bond and manager._principals is not None:
            principal = manager.moving_in.principal_of(session)
            token = token if principal is None else token._replace(bond=manager._principals.bond(principal))
        session._new, session._regenerated = token, True
        return Wish.REGENERATE

    @property
    def _stored_in(self) -> Tier:
        return Tier.CACHE if self._manager.settings.no_datastore else Tier.DURABLE

    def _home(self) -> Home:
        session = self.session
        if session._token is None:
            return Home.NOWHERE
        if session._gone is not None:
            return Home.GONE
        return Home.STORE if session._token.payload is None else _IN_COOKIE

    # -- carrying it out ---------------------------------------------------------------------------------------------

    def _store(
        self,
        outcome: Outcome,
        changes: Changes,
        values: dict[str, Wire],
        payload: bytes,
        now: int,
        headers: Headers,
        enter: Steps[Gone | None] | None,
    ) -> Steps[Headers]:
        session, tiers = self.session, self._manager._tiers
        old, new = session._token, session._new
        base: Held | Inline | None = session._held
        if base is None and old is not None and old.payload is not None:
            base = self._inline_base(old)
        result: Written | Gone | dict[str, Wire] | None = None
        if outcome.write is Write.CACHE_ONLY and isinstance(base, Held) and old is not None:
            quick = yield from tiers.update_quickly(store_key(old.sid), base, changes)
            if quick is not None:
                session._held = quick
                session._rebase(quick.record.values)
                self._discarded, self._quick = False, True
                return self._respond(headers, self._refresh())
            outcome = decide(Home.STORE, Wish.CHANGE, fits=False)
        if enter is not None:
            result = yield from enter
        if isinstance(result, Gone):
            pass  # revoked meanwhile
        elif outcome.write is Write.INSERT and new is not None:
            result = yield from tiers.insert(store_key(new.sid), _template(new, values), now)
        elif outcome.write is Write.MOVE and new is not None and old is not None and base is not None:
            old_key, new_key = store_key(old.sid), store_key(new.sid)
            result = yield from tiers.move(old_key, base, new_key, _template(new, {}), changes, self._fits_packed, now)
            if isinstance(result, Gone):
                yield from self._leave(new, now)  # it is listed, and nobody gets it
            else:
                yield from self._leave(old, now)
                if session._old is not None and not self._keeps_old:
                    yield from self._delete_record(session._old)
        elif base is not None and old is not None and outcome.write in (Write.PROMOTE, Write.UPDATE):
            result = yield from tiers.update(store_key(old.sid), base, changes, old.revision, now)
        if outcome.ends_old and outcome.write is not Write.MOVE and old is not None:
            yield from self._end(old, now)
        if isinstance(result, Gone):
            if session._old is None or changes.keys != ():  # requests that were sent together all move an end along
                self._report("ended", changes.keys)
            session._gone, session._new, session._regenerated = result, None, False
            # A cookie that still comes long after its session ended was brought back by a slow response, and while it
            # is there nothing could be stored. Earlier, it may be the next session's by now (rule 10). Where nothing
            # says that it ended, the next write is stored.
            has_ended = result.ending is not None and not self._manager._is_recent(result)
            stale = has_ended and old is not None and old.payload is not None
            return self._respond(headers, self._delete(both=False) if stale else [])
        if isinstance(result, Written):
            self._report_dropped(result)
            return self._refer(result.held, now, headers)
        if result is not None:  # moved to a new sid, and back to the cookie
            values, payload = result, pack_map(result)
        return self._ride(outcome, values, payload, now, headers)

    def _store_late(self, held: Held, changes: Changes) -> Steps[Receipt]:
        session, manager = self.session, self._manager
        assert session._token is not None
        result = yield from manager._tiers.update(
            store_key(session._token.sid), held, changes, held.record.revision, manager._now()
        )
        if isinstance(result, Gone):
            self._report("ended", changes.keys)
            session._gone = result
        else:
            self._report_dropped(result)
            session._held = result.held
            session._rebase(result.held.record.values)
            self._quick = False
        return self._receipt()

    def _end(self, old: Token, now: int) -> Steps[None]:
        manager = self._manager
        expires = old.expires
        if not expires:  # opened by its sid and not loaded: only the record knows for how long its end must be known
            found = yield from manager._tiers.read(store_key(old.sid), 0, now)
            if isinstance(found, Gone):
                return
            expires = found.record.expires
        if old.payload is not None:
            expires = self._last_inline(old, now)
        for token, last, library in [(old, expires, self.session._old), *self._came_along(now)]:
            try:
                yield from manager._tiers.end(store_key(token.sid), last, now)
            except SessionUnavailable as error:
                if token.payload is None:
                    raise
                # The cookie goes all the same; only a slow request could still bring this session back.
                manager._tell("degraded", "end", error, tier=self._stored_in)
            if library is not None:
                yield from self._delete_record(library)
        if old.bond and manager._principals is not None:
            yield from manager._principals.leave(old, Ending.ENDED, now)

    def _came_along(self, now: int) -> list[tuple[Token, int, OldSession]]:
        """Return what else ends with a session of ours: those of another library whose cookies came too."""
        session, moving_in = self.session, self._manager.moving_in
        if moving_in is None or session._old is not None or not session._headers:
            return []
        found = moving_in.presented(session._headers, now / 1000)
        tokens = [(as_token(old, now // 1000, self._manager.settings), old) for old in found]
        return [(token, max(token.expires, moving_in.remembered), old) for token, old in tokens]

    def _delete_record(self, old: OldSession) -> Steps[None]:
        """Delete what another library has of a session that moved in or ended; its marker holds without that."""
        if old.record is None:
            return
        try:
            yield Delete(Tier.OLD, old.record)
        except StoreError as error:
            self._manager._tell("degraded", "old_leftover", error, tier=Tier.OLD)

    def _leave(self, old: Token, now: int) -> Steps[None]:
        """Have a sid that was moved away from refused, where only its cookie says that it is bound."""
        principals = self._manager._principals
        if not old.bond or principals is None:
            return
        try:
            yield from principals.leave(old, Ending.REGENERATED, now)
        except SessionUnavailable as error:
            self._manager._tell("degraded", "leave", error, tier=Tier.DURABLE)

    def _inline_base(self, token: Token) -> Inline:
        session = self.session
        presented = session._presented
        assert presented is not None
        origin = token.revision.to_bytes(ORDER_BYTES) + token_id(presented.sealed)
        template = _template(token, {})._replace(epoch=token.epoch + 1, revision=token.revision, origin=origin)
        last = self._last_inline(token, self._manager._now())
        return Inline(template._replace(changed=frozenset()), session._loaded, last)

    def _last_inline(self, token: Token, now: int) -> int:
        """Until when a cookie of an inline session may be presented, in seconds UTC since 1970 (rule 3).

        A response that is under way may have moved its end, by the lifetime of the settings as a rule.
        """
        manager = self._manager
        until = 0 if manager.moving_in is None or self.session._old is None else manager.moving_in.remembered
        return max(token.expires, now // 1000 + manager.settings.lifetime, until)

    def _fits_packed(self, values: dict[str, Wire]) -> bool:
        return self._fits(pack_map(values), self.session._active_token())

    def _fits(self, payload: bytes, token: Token | None) -> bool:
        size = len(payload) + (0 if token is None else len(token.bond))
        return not self.session._persist and size <= self._manager._inline_room

    # -- cookies -----------------------------------------------------------------------------------------------------

    def _ride(self, outcome: Outcome, values: dict[str, Wire], payload: bytes, now: int, headers: Headers) -> Headers:
        """The session is in the cookie, or nowhere."""
        session = self.session
        self._discarded = False
        if outcome.cookie is not _INLINE:
            if outcome.cookie is Cookie.KEEP:
                return self._respond(headers, self._refresh())
            secure = session._token is not None and session._token.ssl_only
            session._token = session._new = None
            return self._respond(headers, self._delete(both=True, secure=secure))
        token = session._new or session._token
        assert token is not None
        sid, issued, expires, _, epoch, revision, ssl_only, browser, _, bond = token
        token = tuple.__new__(
            Token, (sid, issued, expires, now // 1000, epoch, revision + 1, ssl_only, browser, payload, bond)
        )
        session._settle(token, None, values)
        return self._respond(headers, self._set(token, now))

    def _refer(self, held: Held, now: int, headers: Headers) -> Headers:
        """The session is in a store: the browser gets a reference, with the floor that it may rely on."""
        session = self.session
        self._discarded = False
        token = session._new or session._token
        assert token is not None
        _, expires, ssl_only, browser, epoch, revision, *_, bond = held.record
        token = Token(token.sid, token.issued, expires, now // 1000, epoch, revision, ssl_only, browser, None, bond)
        session._settle(token, held, held.record.values)
        return self._respond(headers, self._set(token, now))

    def _refresh(self) -> Headers:
        """Cookies of a response that changed nothing: mostly none."""
        session = self.session
        presented = session._presented
        assert presented is not None
        if presented.expired and session._active_token() is None:
            return self._delete(both=False)
        idle = self._manager.settings.idle_timeout
        if idle is None or not presented.sealed or (token := session._active_token()) is None:
            return []
        now = self._manager._now()
        if now < token.seen * 1000 + idle * 100:  # a tenth
            return []
        session._token = token = token._replace(seen=now // 1000)
        return self._set(token, now, clears=False)

    def _set(self, token: Token, now: int, *, clears: bool = True) -> Headers:
        """Set-Cookie headers for a token, and for what of the request's cookies it replaces."""
        if token.expires * 1000 <= now:  # it ended while the request waited: by now another one may be in its place
            return []
        manager = self._manager
        inline = token.payload is not None
        reader = manager._inline if inline else manager._reference
        writer = manager._set_inline if inline else manager._set_reference
        plain = tokens.pack(token)
        pieces = writer.pieces(tokens.text_length(len(plain)))
        context = reader.context if pieces == 1 else reader.context_of(pieces)
        sealed = manager._box.seal(plain, context, now / 1000)
        max_age = None if token.browser else token.expires - now // 1000
        cookies: Headers = writer.write(to_text(sealed), max_age, secure=token.ssl_only)
        if clears and self._opened._headers:
            cookies += self._delete_old(is_inline=inline)
            if not (presented := self._presented()).alone:
                if observed := self._pieces():
                    first = pieces if inline else 1
                    stale = [number for number in observed if number >= first]
                    cookies += manager._set_inline.delete(stale, secure=token.ssl_only)
                if presented.inline and presented.reference:
                    other = manager._set_reference if inline else manager._set_inline
                    cookies += other.delete([0], secure=token.ssl_only)
        return cookies

    def _delete(self, *, both: bool, secure: bool = False) -> Headers:
        manager = self._manager
        presented = self._presented()
        cookies: Headers = []
        if both or presented.inline:
            cookies += manager._set_inline.delete([0, *self._pieces()], secure=secure)
        if both or presented.reference:
            cookies += manager._set_reference.delete([0], secure=secure)
        return cookies + self._delete_old(is_inline=True) if both else cookies

    def _delete_old(self, *, is_inline: bool) -> Headers:
        """Delete what the request presented of another library, but for a cookie in whose place our inline one is."""
        manager = self._manager
        if (moving := manager.moving_in) is None or self._keeps_old or not self._opened._headers:
            return []
        old, ours = moving.cookie, manager.cookie
        same = (old.effective_name, old.path, old.domain) == (manager._inline.name, ours.path, ours.domain)
        # Under a name that both have there may be a session of ours, and by now that of a login (rule 10).
        return [] if same and (is_inline or self._presented().inline) else moving.delete(self._opened._headers)

    def _pieces(self) -> list[int]:
        """The further cookies of a split value that the request presented."""
        return observed_pieces(self._opened._headers, self._manager._inline.name)

    def _presented(self) -> Presented:
        """What the request presented, whichever session is to be saved."""
        if self._opened._presented is None:
            self._opened._look()
        return self._opened._presented or NOTHING

    def _respond(self, headers: Headers, cookies: Headers) -> Headers:
        self._cookies = cookies
        return with_session_headers(headers, cookies) if cookies else with_vary_cookie(headers)

    # -- reporting ---------------------------------------------------------------------------------------------------

    def _report_dropped(self, written: Written) -> None:
        if written.dropped:
            self._report("no_number", written.dropped)

    def _report(self, reason: str, keys: tuple[str, ...] | None) -> None:
        self._conflicts += (SessionConflict(REASONS["dropped"][reason][1], keys or ()),)
        self._manager._tell("dropped", reason)

    def _receipt(self) -> Receipt:
        session = self.session
        token = session._active_token() if session._presented is not None else None
        tier, revision = None, None
        if token is not None:
            tier = self._stored_in if token.payload is None else Tier.COOKIE
            # A late write is in the record, and in no cookie.
            held = session._held if tier is not Tier.COOKIE and session._new is None else None
            revision = max(token.revision, 0 if held is None else held.record.revision) or None
        cookie_bytes = sum(len(value) for _, value in self._cookies)
        is_lost = self._discarded or session._failure is not None
        is_durable = tier is not Tier.CACHE and not self._quick and not is_lost
        failures = () if session._presented is None else tuple(session._failures)
        receipt = Receipt(tier, revision, is_durable, cookie_bytes, self._conflicts, failures)
        if (tell := self._manager.on_receipt) is not None and session._presented is not None and not self._told:
            self._told = True
            try:
                tell(receipt)
            except Exception:
                log.exception("on_receipt raised: the response is out, and goes on")
        return receipt


def _template(token: Token, values: dict[str, Wire]) -> Record:
    """The first record of a session that was never inline under this sid."""
    return Record(token.issued, token.expires, token.ssl_only, token.browser, 1, 1, (), None, None, values, token.bond)
