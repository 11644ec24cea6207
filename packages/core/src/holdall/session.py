"""The mapping that applications use: `session["n"] = 1`, and the session verbs.

It loads itself at the first touch, keeps what was read beside what the application made of it, and does nothing else:
where the session is written is decided by `outcome`, how by `exchange` and `tiers`. Attributes with a leading
underscore are shared with `exchange`, and with nobody else.
"""

from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Iterator, MutableMapping
from typing import TYPE_CHECKING, Any

from holdall.changes import ASSIGNED, DELETED, NO_CHANGES, Changes, add, collect
from holdall.codec import Wire, decode
from holdall.errors import SessionCommitted, SessionNotLoaded, UsageError

if TYPE_CHECKING:
    from holdall.exchange import Drive
    from holdall.manager import SessionManager
    from holdall.moving import OldSession
    from holdall.presented import Presented
    from holdall.tiers import Gone, Held
    from holdall.token import Token

_EMPTY: dict[str, Wire] = {}


class Session(MutableMapping[str, Any]):
    """The session of one request: a mapping of str keys to values of any kind the codec knows.

    It begins by itself with the first assignment. Values may be changed in place. Nothing is written before the
    response starts, and then only if something changed. Every method that needs the data may raise
    `SessionUnavailable` (the store does not answer) or `SessionNotLoaded` (the adapter must load it first).

    You never need to make one: `SessionManager.open` does.
    """

    # Defaults live on the class, so that a request that never touches its session does not pay for them.
    _presented: "Presented | None" = None  # what the cookies said; None: not looked at yet
    _chosen: "Presented | None" = None  # the same, found out before the session was touched
    _token: "Token | None" = None  # the live session the request came with
    _old: "OldSession | None" = None  # what _token was made of, if the request came with another library's session
    _login: tuple[bytes, tuple[bytes, int] | None] = b"", None  # whose login that is, its sid and issue
    _opened: bool = False  # _loaded holds the data, or there is none
    _failure: Exception | None = None  # why loading failed: not tried again in this request
    _waited: float = 0.0  # seconds that this request has waited for its stores
    _held: "Held | None" = None  # the stored session as it was read
    _gone: "Gone | None" = None  # a reference whose session is there no more

    _new: "Token | None" = None  # the session that was begun, or that got a new sid, in this request
    _regenerated: bool = False  # _new carries on the data of _token
    _told_end: bool = False  # the application said in this request when the session ends
    _bond: bytes | None = None  # whom it was bound to in this request
    _label: str | None = None
    _terminated: bool = False
    _persist: bool = False
    _committed: bool = False  # the response's headers are gone
    _was_modified: bool = False  # and there was something to be saved then

    _loaded: dict[str, Wire] = _EMPTY  # what was read
    _base: dict[str, Wire] = _EMPTY  # what of it still shows: nothing after clear()
    _cleared: bool = False
    _regular: bool = False  # some change was not a quick one
    _collected: Changes = NO_CHANGES  # all changes, as the last commit found them

    def __init__(self, manager: "SessionManager", cookie_headers: Any, drive: "Drive | None") -> None:
        self._manager = manager
        self._headers = cookie_headers
        self._drive = drive

    # -- loading -----------------------------------------------------------------------------------------------------

    def _look(self) -> bool:
        """Read the cookie if that was not done yet, which is enough for all that needs no data.

        Tells whether the data is there.
        """
        if self._presented is None:
            self._live: dict[str, Any] = {}
            self._marks: dict[str, Any] = {}
            self._failures: list[str] = []  # which commands had no answer
            self._manager._read_cookies(self)
        return self._opened

    def _open(self) -> None:
        """Have the data there."""
        if self._opened or self._look():
            return
        if self._failure is not None:
            raise self._failure
        if self._drive is None:
            raise SessionNotLoaded(
                "this session needs a store and cannot load itself here: drive Exchange.load() before touching it"
            )
        self._drive(self._manager._load(self))

    def ensure_data_loaded(self) -> None:
        """Load the data now rather than at the first use."""
        self._open()

    # -- the mapping -------------------------------------------------------------------------------------------------

    def __getitem__(self, key: str) -> Any:
        if not self._opened:
            self._open()
        live = self._live
        if key in live:
            return live[key]
        if key in self._marks:  # not live, so it is the mark of a deletion
            raise KeyError(key)
        value = self._base[key]
        if type(value) is bytes:
            value = live[key] = decode(value)
        return value

    def __setitem__(self, key: str, value: Any) -> None:
        self._assign(key, value)
        self._regular = True

    def __delitem__(self, key: str) -> None:
        if key not in self:
            raise KeyError(key)
        self._delete(key)
        self._regular = True

    def __contains__(self, key: object) -> bool:
        if not self._opened:
            self._open()
        return key in self._live or (key in self._base and key not in self._marks)

    def __iter__(self) -> Iterator[str]:
        if not self._opened:
            self._open()
        marks = self._marks
        keys = [key for key in self._base if marks.get(key) is not DELETED]
        keys += [key for key in self._live if key not in self._base]
        return iter(keys)

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def get(self, key: str, default: Any = None) -> Any:
        """Return the value of a key, or the default if there is none."""
        try:
            return self[key]
        except KeyError:
            return default

    def pop(self, key: str, default: Any = None) -> Any:
        """Remove a key and return its value, or the default if there is none; never raises `KeyError`."""
        return self._pop(key, default, quick=False)

    def clear(self) -> None:
        """Remove all values; the session stays active."""
        if not self._is_there():
            return
        self._may_change()
        self._cleared = self._regular = True
        self._base = _EMPTY
        self._live.clear()
        self._marks.clear()

    def has_key(self, key: str) -> bool:
        """Tell whether a key is there."""
        return key in self

    def set_quick(self, key: str, value: Any) -> None:
        """Assign a value that may be lost: where the session is in a store, only the cache is written.

        Persisted all the same if anything else changes in the same request, in either order.
        """
        self._assign(key, value)

    def pop_quick(self, key: str, default: Any = None) -> Any:
        """Remove a key as `set_quick` assigns it; returns its value, or the default if there is none."""
        return self._pop(key, default, quick=True)

    def incr(self, key: str, amount: int | float = 1) -> int | float:
        """Add to a number, a missing one counting as 0, and return the sum.

        Of requests that overlap, every increment counts if the session is in a store. Raises `UsageError` if the value
        or the amount is not an int or a float.
        """
        total = add(self.get(key, 0), amount)
        if total is None:
            raise UsageError(f"incr adds numbers: session[{key!r}] and the amount must each be an int or a float")
        mark = self._marks.get(key)
        in_place = self._cleared or mark is ASSIGNED or mark is DELETED
        self._assign(key, total)
        if not in_place:
            self._marks[key] = (mark or 0) + amount
        self._regular = True
        return total

    def __ior__(self, other: Any) -> "Session":
        self.update(other)
        return self

    def __repr__(self) -> str:
        return str(self)

    def __str__(self) -> str:
        """Return a short keyed hash of the id, the tier and the number of keys; never the id, never data."""
        if self._presented is None:
            return "<Session, not looked at>"
        token = self._active_token()
        if token is None:
            return "<Session, none>"
        count = f"{len(self)} keys" if self._opened else "not loaded"
        where = "stored" if self._is_stored() else "in the cookie"
        return f"<Session {self._manager.short_hash(token.sid)}, {where}, {count}>"

    # -- the verbs ---------------------------------------------------------------------------------------------------

    @property
    def sid(self) -> str | None:
        """The session's id, 43 characters; None if there is no session. Keep it secret: it opens stored sessions."""
        self._look()
        token = self._active_token()
        return None if token is None else format_sid(token.sid)

    def is_active(self) -> bool:
        """Tell whether there is a session; one in a store counts until it was looked up and not found."""
        self._look()
        return self._active_token() is not None

    def is_accessed(self) -> bool:
        """Tell whether the session was touched in this request, in any way."""
        return self._presented is not None

    def is_modified(self) -> bool:
        """Tell whether there is something to be saved: the session began or ended, has a new id or changed values."""
        ended = self._terminated and self._token is not None
        return self._new is not None or ended or self._persist or self._bond is not None or bool(self._changes())

    def was_modified(self) -> bool:
        """Tell whether there was something to be saved when the response started."""
        return self._was_modified

    def is_as_read(self) -> bool:
        """Tell whether nothing was done in this request, not even a value handed out that may change in place.

        There is nothing to be saved then; where it is False, `is_modified` looks whether there is.
        """
        return self._presented is None or not (
            self._marks or self._live or self._cleared or self._new or self._terminated or self._bond or self._persist
        )

    def is_new(self) -> bool:
        """Tell whether the session began in this request."""
        return self._new is not None and not self._regenerated

    def is_ssl_only(self) -> bool:
        """Tell whether the session was started with `ssl_only`."""
        self._look()
        token = self._active_token()
        return token is not None and token.ssl_only

    def get_expiration(self) -> int:
        """Return when the session ends, in seconds UTC since 1970; 0 for none, or if it ends with the browser."""
        self._look()
        token = self._active_token()
        if token is not None and token.expires == 0:  # opened by its sid: only the record knows
            self._open()
            token = self._active_token()
        return 0 if token is None or token.browser else token.expires

    def start(self, expiration_ts: float | None = None, ssl_only: bool = False) -> None:
        """Begin a new, empty session with a new id; one that was there ends.

        `expiration_ts`: when it ends, in seconds UTC since 1970; None for the lifetime of the settings; 0 for a cookie
        that ends with the browser (on the server the session then ends after the lifetime). A time that is past makes
        a session that is gone with this request. `ssl_only`: the cookie gets Secure, whatever the options say.
        """
        self._look()
        self._may_begin()
        self._new = self._manager._new_token(self, expiration_ts, ssl_only=ssl_only)
        self._told_end = expiration_ts is not None
        self._regenerated = False
        self._forget()

    def terminate(self) -> None:
        """End the session: its data is gone from every tier, its cookies are deleted.

        What is assigned afterwards starts a new session.
        """
        self._look()
        self._may_begin()
        self._end()

    def regenerate_id(self, expiration_ts: float | None = None) -> None:
        """Carry the session over to a new id, as one should at login; the old id is dead.

        Its end stays as it is unless `expiration_ts` says otherwise (see `start`). Without a session nothing happens,
        unless `expiration_ts` is given: then one starts.
        """
        self._open()
        if self._is_superseded():
            return
        old = self._active_token()
        if old is None:
            if expiration_ts is not None:
                self.start(expiration_ts)
            return
        self._may_begin()
        new = self._manager._new_token(self, expiration_ts, ssl_only=old.ssl_only)
        if expiration_ts is None:
            new = new._replace(expires=old.expires, browser=old.browser)
        else:
            self._told_end = True
        new = new._replace(bond=old.bond)
        self._regenerated = self._regenerated or self._new is None
        self._new = new

    def bind(self, principal: str, label: str | None = None) -> None:
        """Say whose session it is, as one should at login; it begins if there is none.

        A bound session can be ended from elsewhere: `SessionManager.revoke` ends all of a principal's, in the cookie
        too, and `terminate` and `regenerate_id` end the old cookie of one even where it was copied, both within
        `revocation_check`. It stays bound through `regenerate_id`, until `terminate` or `start`. Binding asks the
        durable tier and writes to it; from then on the session asks it once per `revocation_check`.

        `principal`: whose, in the application's own terms, such as `str(user.id)`. `label`: up to 100 characters for
        `SessionManager.sessions_of`, such as the browser's name; None leaves what was said before.

        Raises `UsageError` where no session can be bound (`no_datastore`, `revocation_check=None`), and where it is
        bound to somebody else: call `regenerate_id` first, or `start`.
        """
        bond = self._manager._bound_sessions().bond(principal)
        if label is not None and (type(label) is not str or len(label) > 100):
            raise UsageError("label must be a str of up to 100 characters, or None")
        self._open()
        if self._is_superseded():
            return
        token = self._active_token()
        if token is not None and bond == token.bond and label is None:
            return
        if token is None:
            self.start()
        elif (self._bond or token.bond or bond) != bond and not self._regenerated:
            raise UsageError("the session is bound to somebody else: call regenerate_id() before bind(), or start()")
        self._may_begin()
        self._bond, self._label = bond, label

    def save(self, persist_even_if_using_cookie: bool = False) -> None:
        """Ask for a cookie-sized session to be stored, so that `open_sid` finds it; from then on it stays stored.

        You do not need it otherwise: what changed is saved by itself, once, when the response starts.
        """
        self._look()
        if persist_even_if_using_cookie and self._active_token() is not None:
            if not self._is_stored():
                self._may_begin()
                self._open()
            self._persist = True

    # -- what exchange asks ------------------------------------------------------------------------------------------

    def _active_token(self) -> "Token | None":
        return self._new or (None if self._terminated or self._gone is not None else self._token)

    def _is_stored(self) -> bool:
        return self._new is None and self._token is not None and self._token.payload is None

    def _is_superseded(self) -> bool:
        """Tell whether the session moved on so recently that this request must not begin another (rule 10)."""
        return self._new is None and not self._terminated and self._manager._is_superseded(self)

    def _changes(self) -> Changes:
        if not (self._opened and (self._marks or self._live or self._cleared)):
            return NO_CHANGES
        self._collected = changes = collect(
            self._loaded, cleared=self._cleared, live=self._live, marks=self._marks, quick=not self._regular
        )
        return changes

    def _settle(self, token: "Token", held: "Held | None", values: dict[str, Wire]) -> None:
        """Go on as the session that was written, also if another one of this request had ended before."""
        self._token, self._new, self._held = token, None, held
        self._gone, self._terminated = None, False
        self._rebase(values)

    def _rebase(self, values: dict[str, Wire]) -> None:
        """Take what was written for what was read, so that only later changes count as changes."""
        # An object in whose place others put something newer is handed out no more: it would look like a change.
        loaded, assigned, live = self._loaded, self._collected.assigned, self._live
        self._live = {}
        for key, value in live.items():
            wire = values.get(key)
            if type(wire) is bytes and wire == assigned.get(key, loaded.get(key)):
                self._live[key] = value
        self._loaded = self._base = values
        self._marks = {}
        self._cleared = self._regular = self._persist = False
        self._bond = self._label = None

    # -- how changes are noted ---------------------------------------------------------------------------------------

    def _is_there(self) -> bool:
        self._open()
        return self._active_token() is not None

    def _may_begin(self) -> None:
        if self._committed:
            raise SessionCommitted(
                "the response's headers are gone, and this change needs a cookie: make it before the response starts"
            )

    def _may_change(self) -> None:
        if self._committed and not self._is_stored():
            self._may_begin()

    def _assign(self, key: str, value: Any) -> None:
        if type(key) is not str:
            raise UsageError(f"a session key must be a str, not {type(key).__name__}: convert it, as in str(key)")
        if not key.isascii() and any("\ud800" <= character <= "\udfff" for character in key):
            raise UsageError("a session key holds a lone surrogate: use well-formed text")
        if not self._opened:
            self._open()
        if self._active_token() is None and not self._is_superseded():
            self.start()
        if self._committed:
            self._may_change()
        self._live[key] = value
        self._marks[key] = ASSIGNED

    def _delete(self, key: str) -> None:
        self._may_change()
        self._live.pop(key, None)
        if key in self._base:
            self._marks[key] = DELETED
        else:
            self._marks.pop(key, None)

    def _pop(self, key: str, default: Any, *, quick: bool) -> Any:
        if key not in self:
            return default
        value = self[key]
        self._delete(key)
        if not quick:
            self._regular = True
        return value

    def _end(self) -> None:
        self._terminated = True
        self._new = None
        self._regenerated = False
        self._forget()

    def _forget(self) -> None:
        """Show no data any more."""
        self._opened = True
        self._loaded = self._base = _EMPTY
        self._live = {}
        self._marks = {}
        self._cleared = self._persist = False
        self._bond = self._label = None
        self._regular = True


def format_sid(sid: bytes) -> str:
    """Write a session id as 43 characters of base64url."""
    return urlsafe_b64encode(sid).rstrip(b"=").decode()


def parse_sid(text: str) -> bytes | None:
    """Read what `format_sid` wrote; None for anything else."""
    try:
        sid = urlsafe_b64decode(text + "=")
    except ValueError:
        return None
    return sid if len(sid) == 32 and format_sid(sid) == text else None
