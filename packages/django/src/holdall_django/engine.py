"""The session engine: `SessionStore`, which is `request.session` and what code outside of requests opens by its key.

Django's whole `SessionBase`, on top of a Holdall session in the place of its dictionary, and Holdall's own verbs
beside it. Cookies of requests and responses are in `middleware`, settings in `conf`. Nothing is decided about sessions
here: this runs the core's flows, and tells the core what Django's settings say about expiry.
"""

from collections.abc import Generator, Iterator, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from functools import cached_property
from typing import Any, TypeVar

from asgiref.sync import sync_to_async
from django.conf import settings
from django.contrib.auth.signals import user_logged_in
from django.contrib.sessions.backends.base import CreateError, SessionBase, UpdateError
from django.http import parse_cookie
from django.utils.asyncio import async_unsafe
from django.utils.module_loading import import_string
from holdall import (
    Exchange,
    Finished,
    Flow,
    Receipt,
    Session,
    SessionManager,
    SessionUnavailable,
    StoresLike,
    UsageError,
    current_session,
    run,
)
from holdall_stores import Stores, delete_expired_sessions

from holdall_django.conf import backend, is_testing
from holdall_django.principals import principal_of

T = TypeVar("T")
Steps = Generator[Any, Any, T]
Headers = list[tuple[str, str]]

_RAISE = object()
REFERENCE = "ref."
"""Begins the key of a session in a store; the rest is the value of its cookie."""

_moved: dict[str, str] = {}
"""In Django's test environment, by sid: the key after the last save outside of requests; "" where that ended the sid.

The test client keeps the cookie that it had before `client.session` was changed and saved, and a cookie with the whole
session in it would go on saying what it said. With this it follows. In production it stays empty.
"""


class SessionStore(SessionBase):  # type: ignore[misc]
    """One session: Django's methods, Holdall's verbs, and a mapping that notices changes inside of values by itself.

    `session_key`: a key from another `SessionStore`; None for no session yet. In a request the middleware makes it.
    Raises `ImproperlyConfigured` for settings that cannot work. Every method that needs the data may raise
    `SessionUnavailable` (the store does not answer: the middleware makes a 503 of it), and `SynchronousOnlyOperation`
    where it would block an event loop: use the twins whose names begin with "a" there.
    """

    def __init__(self, session_key: str | None = None) -> None:
        self._backend = backend()
        self.run = _Driver(self._backend.reached)
        """Drives a flow to its end in this thread."""
        self.accessed = False
        self.set_cookies: dict[str, str] = {}
        """What `save` has left for the response, if there is one: Set-Cookie values, by the cookie's name."""
        self._modified = self._renew = False
        self._received: dict[str, str] = {}  # Set-Cookie values by name, which the browser has by now
        self._is_over = False  # its end is past, so that it is gone with this request
        self._in_request = False
        self.is_committed = False
        """The response has started: what needs a cookie comes too late."""
        if session_key is None:
            self._given: str | None = None  # the key that was asked for
            self._came = ""
        else:
            self._session_key = session_key

    # -- where the session comes from, and where it goes -----------------------------------------------------------

    def open(self, cookies: str | None) -> None:
        """For the middleware: take the session of a request with this Cookie header, None without any."""
        self._in_request = True
        self._open(cookies or "")

    @property
    def is_untouched(self) -> bool:
        """For the middleware: whether a response has nothing to save and nothing to say."""
        return not (self._exchange.session.is_accessed() or self.set_cookies or self._is_renewed)

    async def ask_first(self) -> None:
        """For the middleware: have a session in the cookie ask now, if it is time, whether it was revoked.

        An event loop could not wait for the answer where the session is touched. One in a store is loaded by the view.
        """
        if f"{self._backend.manager.cookie.effective_name}-ref" not in self._header:
            await self.arun(self._exchange.load())

    def begin_commit(self, status: int, headers: Headers) -> Flow[Headers]:
        """For the middleware: begin to save what changed, when the response starts; see `holdall.Exchange.commit`."""
        self.is_committed = True
        if self._is_renewed and status < 500:
            load = self._exchange.load()
            if not isinstance(load, Finished):
                return self._load_and_commit(load, status, headers)
            self._exchange.session.ensure_data_loaded()  # where there is nothing to fetch, loading is no touch
        return self._commit(status, headers)

    @property
    def _is_renewed(self) -> bool:
        """Whether the session's end is to move though nothing has changed."""
        return self._renew or self._backend.saves_every_request

    def _load_and_commit(self, load: Steps[None], status: int, headers: Headers) -> Steps[Headers]:
        yield from load
        flow = self._commit(status, headers)
        return flow.value if isinstance(flow, Finished) else (yield from flow)

    def _commit(self, status: int, headers: Headers) -> Flow[Headers]:
        exchange, is_renewed = self._exchange, self._is_renewed
        session = exchange.session
        end = None
        # What is not loaded was not changed; start, flush and the like leave nothing to be loaded.
        may_be_saved = status < 500 and session.is_accessed() and (is_renewed or not session.is_as_read())
        if may_be_saved and isinstance(exchange.load(), Finished):
            end = self._get_end()
            now = self._backend.manager.clock()
            self._is_over = any(0 < each <= now for each in (end or 0, session.get_expiration()))
        return exchange.commit(status=status, headers=headers, expiration_ts=end, refresh=is_renewed)

    def end_commit(self, headers: Headers) -> dict[str, str]:
        """For the middleware: hold what the browser will hold, return our cookies. Raises `UpdateError` as `save`."""
        cookies = {value.partition("=")[0]: value for name, value in headers if name == "Set-Cookie"}
        if cookies:
            self._received |= cookies
        session = self._exchange.session
        is_lost = session.is_accessed() and not session.is_active() and not self._is_over
        if is_lost and self.run(self._exchange.finish()).conflicts:
            raise UpdateError
        return cookies

    def finish(self) -> Flow[Receipt]:
        """For the middleware: save what was changed after the response had started; see `holdall.Exchange.finish`."""
        return self._exchange.finish()

    def tell(self) -> None:
        """For the middleware: have `on_receipt` told where no body follows that could change the session."""
        if self._backend.manager.on_receipt is not None:
            self.run(self._exchange.finish())

    @property
    def can_be_bound(self) -> bool:
        """Whether the settings let sessions be bound to somebody."""
        kept = self._backend.manager.settings
        return kept.revocation_check is not None and not kept.no_datastore

    @property
    def failed(self) -> bool:
        """For the middleware: whether the store did not answer when the session was to be read or written."""
        return self.run.failed

    @property
    def current(self) -> Session:
        """For the middleware: the session that `get_current_session` returns, and that is saved."""
        return self._exchange.session

    @current.setter
    def current(self, session: Session) -> None:
        self._exchange.session = session

    async def arun(self, flow: Flow[T]) -> T:
        """Drive a flow to its end in a thread, if it needs a store at all."""
        if isinstance(flow, Finished):
            return flow.value
        return await sync_to_async(self.run)(flow)

    def _open(self, header: str) -> Session:
        self._came, self._received = header, {}
        self._exchange = self._backend.manager.open(header, drive=self.run)
        return self._exchange.session

    @cached_property
    def _exchange(self) -> Exchange:
        return self._backend.manager.open("", drive=self.run)  # until `open` or a key says otherwise

    @property
    def _header(self) -> str:
        """The Cookie header of a browser that has what the responses so far have set."""
        if self._received:
            jar = _ours(parse_cookie(self._came), self._backend.manager)
            for name, cookie in self._received.items():
                pair, _, attributes = cookie.partition("; ")
                jar[name] = "" if attributes.startswith("Max-Age=0;") else pair.partition("=")[2]
            self._came, self._received = _joined(jar), {}
        return self._came

    def _get_end(self) -> float | None:
        """Return when the session is to end if it is saved now: Django counts from the last time it was modified."""
        if not self._exchange.session.is_active():
            return None
        if self.get_expire_at_browser_close():
            return 0
        now = datetime.fromtimestamp(self._backend.manager.clock(), UTC)
        end: float = self.get_expiry_date(modification=now).timestamp()
        return max(1.0, end)

    # -- the mapping -----------------------------------------------------------------------------------------------

    def _get_session(self, no_load: bool = False) -> Session:  # noqa: ARG002 (Django's signature)
        """Return the session in the place of Django's dictionary, loaded."""
        self.accessed = True
        session = self._exchange.session
        session.ensure_data_loaded()
        return session

    async def _aget_session(self, no_load: bool = False) -> Session:  # noqa: ARG002 (Django's signature)
        """Return the same off the event loop: from here on nothing blocks."""
        self.accessed = True
        await self.arun(self._exchange.load())
        return self._exchange.session

    _session = property(_get_session)

    @property
    def modified(self) -> bool:
        """Whether something was assigned or removed. Set it to True to have the session's expiry counted anew."""
        return self._modified

    @modified.setter
    def modified(self, value: bool) -> None:
        self._modified = self._renew = value

    def _touched(self) -> Session:
        """Return the session for a change that needs none of its values."""
        self.accessed = self._modified = True
        return self._exchange.session

    # Django's own of these set `modified`. An equal value assigned is no reason to save; `modified = True` is.

    def __setitem__(self, key: str, value: Any) -> None:
        self._session[key] = value
        self._modified = True

    def __delitem__(self, key: str) -> None:
        del self._session[key]
        self._modified = True

    def update(self, dict_: Any = (), /, **values: Any) -> None:
        """Assign all values of a mapping, and those that are given by name."""
        self._session.update(dict_, **values)
        self._modified = True

    def pop(self, key: str, default: Any = _RAISE) -> Any:
        """Remove a key and return its value; without one, the default, or raise `KeyError` if none is given."""
        if key not in self:
            if default is _RAISE:
                raise KeyError(key)
            return default
        self._modified = True
        return self._session.pop(key)

    def clear(self) -> None:
        """Remove all values; the session and its id stay."""
        self._session.clear()
        self._modified = True

    async def aset(self, key: str, value: Any) -> None:
        """Assign a value, off the event loop."""
        await self._aget_session()
        self[key] = value

    async def aupdate(self, dict_: Any = (), /, **values: Any) -> None:
        """`update` off the event loop."""
        await self._aget_session()
        self.update(dict_, **values)

    async def apop(self, key: str, default: Any = _RAISE) -> Any:
        """`pop` off the event loop."""
        await self._aget_session()
        return self.pop(key, default)

    def __iter__(self) -> Iterator[str]:
        return iter(self._session)

    def __len__(self) -> int:
        return len(self._session)

    def __bool__(self) -> bool:
        return True  # as Django's, empty or not: its test client asks `if session`

    def __ior__(self, other: Any) -> "SessionStore":
        self.update(other)
        return self

    def __repr__(self) -> str:
        return str(self._exchange.session)

    def __getattr__(self, name: str) -> Any:
        """Holdall's further verbs: `sid`, `is_active`, `get_expiration` and so on, as `holdall.Session` has them."""
        if name.startswith("_"):
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
        self.accessed = True
        return getattr(self._exchange.session, name)

    # -- the key ---------------------------------------------------------------------------------------------------

    @property
    def session_key(self) -> str | None:
        """The current token, which opens this session elsewhere; None for no session, or one that was not saved yet.

        It is the value of the session's cookie, with "ref." before that of a session in a store, and good for as long
        as the session lives there; one in the cookie gets another at every save. A secret, like the cookie.
        """
        session = self._exchange.session
        if self._given is not None and not session.is_accessed():
            return self._given  # as Django: what was asked for, until somebody looks
        sid = session.sid
        if sid is None:
            return None
        for key in self._keys():
            if self._opened(key).session.sid == sid:
                return key
        return None

    def _keys(self) -> list[str]:
        """Return the keys that the cookies are of: at most two, either of which may be the session's."""
        name = self._backend.manager.cookie.effective_name
        jar = _ours(parse_cookie(self._header), self._backend.manager)
        keys = [REFERENCE + jar[f"{name}-ref"]] if f"{name}-ref" in jar else []
        if first := jar.get(name):
            numbers = range(1, len(jar)) if "." in first else ()
            keys.append(".".join([first, *(jar[piece] for i in numbers if (piece := f"{name}.{i}") in jar)]))
        return keys

    @property
    def _session_key(self) -> str | None:
        return self.session_key

    @_session_key.setter
    def _session_key(self, key: str | None) -> None:
        self._given = key if self._validate_session_key(key) else None
        self._open(self._header_of(self._given))

    def _opened(self, key: str | None) -> Exchange:
        return self._backend.manager.open(self._header_of(key), drive=self.run)

    def _header_of(self, key: str | None) -> str:
        """Return the Cookie header of a browser that has this key."""
        return _header_of_client(self._backend.manager, {self._backend.manager.cookie.effective_name: key or ""})

    def is_empty(self) -> bool:
        """Tell whether there is no session; one without values is one all the same."""
        return not self._exchange.session.is_active()

    # -- Django's verbs --------------------------------------------------------------------------------------------

    def exists(self, session_key: str | None) -> bool:
        """Tell whether this key opens a session."""
        session = self._opened(session_key).session
        session.ensure_data_loaded()
        return session.is_active()

    def load(self) -> dict[str, Any]:
        """Return the values as they were last saved."""
        exchange = self._exchange
        if isinstance(exchange.load(), Finished):  # this one may have changed since
            exchange = self._backend.manager.open(self._header, drive=self.run)
        self._given = None  # somebody has looked
        return dict(exchange.session)

    def create(self) -> None:
        """Begin a new, empty session, and save it, so that it has a key."""
        self.start()
        self.save()

    def save(self, must_create: bool = False, persist_even_if_using_cookie: bool = False) -> None:
        """Save the session now; there is one afterwards, empty or not. In a request the middleware does it in time.

        Outside of requests it goes to a store whatever its size, since there is no browser to take a cookie. Raises
        `UpdateError` if the session was ended elsewhere meanwhile, and `CreateError` with `must_create` if it is not
        new.
        """
        if self.is_committed:  # the response has started: a store is all that can still be reached
            if self.run(self._exchange.finish()).conflicts:
                raise UpdateError
            return
        session = self._session
        if not session.is_active():
            session.start()
        elif must_create and not session.is_new():
            raise CreateError
        if persist_even_if_using_cookie or not self._in_request:
            session.save(persist_even_if_using_cookie=True)
        self._renew = True
        self._save()

    async def asave(self, must_create: bool = False, persist_even_if_using_cookie: bool = False) -> None:
        """`save` off the event loop; what was stored is loaded again, so that nothing blocks from here on."""
        await sync_to_async(self.save)(must_create, persist_even_if_using_cookie)
        with suppress(SessionUnavailable):  # it is saved: who needs its values next meets the failure
            await self.arun(self._exchange.load())

    async def acreate(self) -> None:
        """`create` off the event loop."""
        self.start()
        await self.asave()

    def _save(self) -> None:
        session = self._exchange.session
        old = None if self._in_request or not is_testing() else self._backend.manager.open(self._header).session.sid
        try:
            self.set_cookies |= self.end_commit(self.run(self.begin_commit(200, [])))
        finally:
            self.is_committed = self._renew = False
            self._given = None
            is_current = current_session.get() is session
            session = self._open(self._header)
            if is_current:
                current_session.set(session)
        if not self._in_request:
            # As Django's store has it in its hands: what another ends meanwhile cannot be saved again.
            with suppress(SessionUnavailable):
                self.run(self._exchange.load())
        if old is not None:
            _moved[old] = self.session_key or "" if session.sid == old else ""

    def delete(self, session_key: str | None = None) -> None:
        """End the session of a key; None for this one."""
        if session_key is None:
            self.flush()
            return
        exchange = self._opened(session_key)
        sid = exchange.session.sid
        exchange.session.terminate()
        self.run(exchange.commit(status=200, headers=[]))
        if is_testing() and sid is not None:
            _moved[sid] = ""

    def flush(self) -> None:
        """End the session: its values are gone everywhere, its cookie is deleted."""
        self._touched().terminate()
        if not self._in_request:
            self._save()

    def cycle_key(self) -> None:
        """Carry the session over to a new id, as `login` does; the old one is dead."""
        self.regenerate_id()
        if not self._in_request:
            self.save()

    async def aflush(self) -> None:
        """`flush` off the event loop."""
        await sync_to_async(self.flush)()

    async def acycle_key(self) -> None:
        """`cycle_key` off the event loop."""
        await sync_to_async(self.cycle_key)()

    @cached_property
    def serializer(self) -> Any:
        """SESSION_SERIALIZER, for `encode` and `decode`; sessions are kept by Holdall's own codec."""
        return import_string(settings.SESSION_SERIALIZER)

    @classmethod
    def clear_expired(cls) -> None:
        """Delete what expired from the durable store, as `manage.py clearsessions` does."""
        stores = backend().stores
        if isinstance(stores, Stores) and hasattr(stores.durable, "delete_expired"):
            while not delete_expired_sessions(stores):
                pass

    # -- Holdall's verbs -------------------------------------------------------------------------------------------

    def start(self, expiration_ts: float | None = None, ssl_only: bool = False) -> None:
        """Begin a new, empty session; see `holdall.Session.start`. A given end is kept as `set_expiry` does."""
        self._touched().start(expiration_ts, ssl_only)
        self._keep_end(expiration_ts)

    def regenerate_id(self, expiration_ts: float | None = None) -> None:
        """Carry the session over to a new id; see `holdall.Session.regenerate_id`, and `start`."""
        self._touched().regenerate_id(expiration_ts)
        self._keep_end(expiration_ts)

    def bind(self, principal: str, label: str | None = None) -> None:
        """Say whose session it is, which `login()` does by itself; see `holdall.Session.bind`."""
        self._touched().bind(principal, label)

    def terminate(self) -> None:
        """End the session: `flush` under its other name."""
        self.flush()

    def set_quick(self, key: str, value: Any) -> None:
        """Assign a value that may be lost; see `holdall.Session.set_quick`."""
        self._touched().set_quick(key, value)

    def pop_quick(self, key: str, default: Any = None) -> Any:
        """Remove a key as `set_quick` assigns it; returns its value, or the default."""
        return self._touched().pop_quick(key, default)

    def incr(self, key: str, amount: int | float = 1) -> int | float:
        """Add to a number, and lose no increment of requests that overlap; see `holdall.Session.incr`."""
        return self._touched().incr(key, amount)

    def _keep_end(self, expiration_ts: float | None) -> None:
        """Django's sessions slide with every write: an end that is to stay is among the values, as Django has it."""
        if expiration_ts is not None:
            self.set_expiry(datetime.fromtimestamp(expiration_ts, UTC) if expiration_ts else 0)


def cookies_of_client(cookies: Mapping[str, str]) -> str:
    """For the middleware, in Django's test environment: return the Cookie header that these cookies stand for.

    The test client knows one session cookie only, and puts any kind of `session_key` there.
    """
    manager = backend().manager
    return _header_of_client(manager, _ours(cookies, manager))


def _bind(*, request: Any, user: Any, **_: Any) -> None:
    """When `login()` or `alogin()` has logged a user in: the session is that user's."""
    session = getattr(request, "session", None)
    if not isinstance(session, SessionStore) or not session.can_be_bound:
        return
    principal = principal_of(user)
    try:
        session.bind(principal)
    except UsageError:  # bound otherwise by another application, with which it is shared: `login()` gave no new id
        session.regenerate_id()
        session.bind(principal)


# Here, since whoever has sessions of ours imports this, and holdall_django need not be in INSTALLED_APPS.
user_logged_in.connect(_bind, dispatch_uid="holdall_django.engine")


class _Driver:
    """Runs flows. By itself, so that a session does not refer to the `SessionStore` that refers to it."""

    __slots__ = ("failed", "stores")

    def __init__(self, stores: StoresLike) -> None:
        self.stores = stores
        self.failed = False

    def __call__(self, flow: Flow[T]) -> T:
        if isinstance(flow, Finished):
            return flow.value
        try:
            return _run(flow, self.stores)  # type: ignore[no-any-return]
        except SessionUnavailable:
            self.failed = True
            raise


@async_unsafe(  # type: ignore[untyped-decorator]
    "this session is in a store, and asking it here would block the event loop: use the methods of the session that "
    "begin with an 'a', such as `await request.session.aget(key)`; once one of them has loaded it, its values are at "
    "hand for all others too"
)
def _run(flow: Flow[T], stores: StoresLike) -> T:
    return run(flow, stores)


def _header_of_client(manager: SessionManager, jar: dict[str, str]) -> str:
    """Return a Cookie header with these cookies, of which that of the session's name may hold any kind of key."""
    name = manager.cookie.effective_name
    header = _joined(jar | _cookies_of(jar.get(name, ""), name))
    if _moved and (sid := manager.open(header).session.sid) in _moved:
        return _joined(_cookies_of(_moved[sid], name))
    return header


def _cookies_of(key: str, name: str) -> dict[str, str]:
    """Return the cookies of a key: one, but for a session that is split over several."""
    if key.startswith(REFERENCE):
        return {name: "", f"{name}-ref": key.removeprefix(REFERENCE)}
    count, *pieces = key.split(".")
    if not pieces:
        return {name: key}
    further = {f"{name}.{number}": piece for number, piece in enumerate(pieces[1:], start=1)}
    return {name: f"{count}.{pieces[0]}", **further}


def _ours(cookies: Mapping[str, str], manager: SessionManager) -> dict[str, str]:
    """Return the cookies that may hold a session: our own, and those of sessions that are to move in."""
    name, old = manager.cookie.effective_name, manager.moving_in
    names = () if old is None else old.names(_joined(cookies))
    return {each: value for each, value in cookies.items() if each.startswith(name) or each in names}


def _joined(jar: Mapping[str, str]) -> str:
    return "; ".join([f"{name}={value}" for name, value in jar.items() if value])
