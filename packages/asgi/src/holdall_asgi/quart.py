"""Holdall for Quart: `quart.session` holds sessions of all sizes.

    from holdall_asgi.quart import Holdall
    Holdall(app)

The session's I/O is the ASGI middleware's, which is put around the application. Here are Quart's session interface,
what Quart's users may ask of a session, and which setting becomes which argument: an argument of `Holdall`, else its
`HOLDALL_*` setting, else Quart's own, else the default.
"""

import logging
from collections.abc import Mapping, Sequence
from datetime import timedelta
from functools import cached_property
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import holdall
from holdall import (
    AsyncStoresLike,
    BoundSession,
    CookieOptions,
    Exchange,
    ManagerOptions,
    StoresLike,
    UsageError,
    arun,
    register_type,
    stretch_key,
)
from holdall_stores import Stores
from markupsafe import Markup
from quart import Quart, current_app
from quart.sessions import SessionInterface, SessionMixin

from holdall_asgi.middleware import CommitOptions, SessionMiddleware
from holdall_asgi.session import Session

if TYPE_CHECKING:
    from typing import Unpack

    from quart import Response
    from quart.wrappers.base import BaseRequestWebsocket

log = logging.getLogger("holdall.asgi")


class Options(ManagerOptions, total=False):
    """The arguments of `SessionManager`, which `Holdall` takes as well."""

    cookie_key: bytes | str | Sequence[bytes | str]
    lifetime: timedelta
    no_datastore: bool
    cookie_only_threshold: int


_NO_SETTINGS = {"session_class", "on_receipt", "on_event", "clock", "random"}
SETTINGS: Mapping[str, str] = MappingProxyType(
    {name: f"HOLDALL_{name.upper()}" for name in sorted(Options.__optional_keys__ - _NO_SETTINGS)}
    | {"cookie_key": "HOLDALL_KEY"}
)
"""Each argument of `SessionManager` that is a setting, and the name of the setting."""

STORES = ("HOLDALL_CACHE", "HOLDALL_DURABLE")
"""The URLs of the stores, as `Stores.from_urls` takes them."""

_SPANS = ("lifetime", "idle_timeout", "cache_trust", "revocation_check", "store_budget")
_QUARTS_NAME = "session"  # the default of SESSION_COOKIE_NAME
_KEY_BYTES = 32

register_type(Markup, encode=str, decode=Markup)  # under the name that Holdall for Flask has for it


class QuartSession(Session, SessionMixin):
    """The session of one request: all of `holdall.Session`, and all that Quart documents of `quart.session`.

    What was changed in a nested value is noticed without `modified = True`.
    """

    exchange: Exchange | None = None
    """For the session interface: the exchange that opened this session where the middleware did not."""
    resend = False
    """For the session interface: the cookie is to be sent in any case."""
    _asked_for = False

    @property
    def new(self) -> bool:  # type: ignore[override]  # mypy does not take a property for an attribute
        """Whether the session began in this request."""
        return self.is_new()

    @property
    def modified(self) -> bool:
        """Whether there is something to be saved. Set to True, the cookie is sent although nothing changed."""
        return self.resend or self.is_modified()

    @modified.setter
    def modified(self, value: bool) -> None:
        self.resend = bool(value)
        self.is_active()  # whoever marks a session has touched it

    @property
    def accessed(self) -> bool:
        """Whether the session was touched in this request, be it only as `quart.session` (since Quart 0.23)."""
        return self._asked_for or self.is_accessed()

    @accessed.setter
    def accessed(self, value: bool) -> None:
        self._asked_for = value  # no touch: Quart itself asks for every session when the request is through


class Holdall:
    """Gives Quart applications sessions of all sizes: `quart.session`, and `get_current_session()` anywhere.

    `app`: the application, or None if `init_app` follows, for as many applications as you like. `stores`: where
    sessions too big for the cookie go, as `SessionMiddleware` takes it; None for what HOLDALL_CACHE and HOLDALL_DURABLE
    say. `options` are the arguments of `holdall.SessionManager`; each counts more than the HOLDALL_* setting of its
    name, and that more than Quart's own.

    The configuration is read when the application starts to serve, or when the first request comes: `UsageError`, which
    is a `ValueError`, is raised then for settings that cannot work.
    """

    def __init__(
        self,
        app: Quart | None = None,
        *,
        stores: StoresLike | AsyncStoresLike | None = None,
        **options: "Unpack[Options]",
    ) -> None:
        if not issubclass(options.setdefault("session_class", QuartSession), QuartSession):
            raise UsageError(f"session_class={options['session_class']!r} must be a subclass of QuartSession")
        self._stores = stores
        self._options = options
        if app is not None:
            self.init_app(app)

    def init_app(self, app: Quart) -> None:
        """Give an application its sessions. Raises `UsageError` if it has them from Holdall already."""
        if "holdall" in app.extensions:
            raise UsageError("this application has its Holdall already: call init_app once for each application")
        app.extensions["holdall"] = self
        interface = QuartSessionInterface(app, self._stores, self._options)
        app.session_interface = interface  # type: ignore[assignment]  # declared narrower than documented
        app.asgi_app = interface.serve  # type: ignore[method-assign]  # as Quart documents it
        app.before_serving(interface.check)

    async def revoke(self, principal: str, *, except_sid: str | None = None, only: str | None = None) -> None:
        """End sessions bound to a principal, now: all, all but one, or one; see `holdall.SessionManager.revoke`.

        Raises `UsageError` if the application whose context is active has no sessions from Holdall.
        """
        await self._middleware().revoke(principal, except_sid=except_sid, only=only)

    async def sessions_of(self, principal: str) -> list[BoundSession]:
        """Return the sessions bound to a principal; see `revoke`, and `holdall.SessionManager.sessions_of`."""
        return await self._middleware().sessions_of(principal)

    @staticmethod
    def _middleware() -> SessionMiddleware:
        interface: Any = current_app.session_interface
        if not isinstance(interface, QuartSessionInterface):
            raise UsageError("the sessions of this application are not kept by Holdall: call init_app for it")
        return interface.middleware


class QuartSessionInterface(SessionInterface):
    """Hands the middleware's sessions to one application. Made by `Holdall`."""

    def __init__(self, app: Quart, stores: StoresLike | AsyncStoresLike | None, options: Options) -> None:
        self._app = app
        self._inner = app.asgi_app
        self._stores = stores
        self._options = options

    @cached_property
    def middleware(self) -> "_QuartMiddleware":
        """The middleware that the configuration asks for. Raises `UsageError`."""
        return _QuartMiddleware(self._app, self._inner, self._stores, self._arguments())

    async def serve(self, scope: Any, receive: Any, send: Any) -> None:
        """The application with the middleware around it."""
        await (self.middleware if scope["type"] != "lifespan" else self._inner)(scope, receive, send)

    async def check(self) -> None:
        """Have a configuration that cannot work refused when the server starts."""
        _ = self.middleware

    async def open_session(self, app: Quart, request: "BaseRequestWebsocket") -> QuartSession:  # noqa: ARG002
        """Return the session that the middleware opened.

        In `test_request_context()` and `session_transaction()` there is no middleware, and the session is opened here.
        """
        session = request.scope.get("session")
        if not isinstance(session, QuartSession):
            exchange = self.middleware.manager.open(request.headers.getlist("Cookie"))
            await arun(exchange.load(), self.middleware.stores)
            session = exchange.session
            assert isinstance(session, QuartSession)  # Holdall saw to it
            session.exchange = exchange
        return session

    async def save_session(self, app: Quart, session: Any, response: "Response | Any | None") -> None:  # noqa: ARG002
        """Commit a session that was opened here; the middleware commits its own when the response starts."""
        exchange, middleware = session.exchange, self.middleware
        if exchange is None or response is None:
            return
        options = middleware.commit_options(session)
        flow = exchange.commit(status=response.status_code, headers=list(response.headers), **options)
        response.headers[:] = await arun(flow, middleware.stores)

    def _arguments(self) -> dict[str, Any]:
        config = self._app.config
        known = {*SETTINGS.values(), *STORES}
        if unknown := sorted(name for name in config if name.startswith("HOLDALL_") and name not in known):
            raise UsageError(f"there is no setting {unknown[0]}: Holdall knows {', '.join(sorted(known))}")
        arguments = {name: config[setting] for name, setting in SETTINGS.items() if config.get(setting) is not None}
        if arguments.get("revocation_check") is False:  # None would be: not set
            arguments["revocation_check"] = None
        arguments.update(self._options)
        for name in _SPANS:
            if type(arguments.get(name)) in (int, float):  # seconds, as PERMANENT_SESSION_LIFETIME may be given
                arguments[name] = timedelta(seconds=arguments[name])
        arguments.setdefault("lifetime", self._app.permanent_session_lifetime)
        if "cookie_key" not in arguments:
            arguments["cookie_key"] = self._secret_keys()
        if "cookie" not in arguments:
            arguments["cookie"] = self._cookie()
        urls = [config.get(name) for name in STORES]
        arguments["stores"] = Stores.from_urls(*urls) if self._stores is None and any(urls) else self._stores
        return arguments

    def _secret_keys(self) -> list[bytes]:
        """Return Quart's keys: SECRET_KEY seals, and SECRET_KEY_FALLBACKS open as well."""
        app = self._app
        if not app.secret_key:
            raise UsageError(
                "there is no key: set SECRET_KEY, or HOLDALL_KEY, to something unique and secret of at least 32 bytes; "
                "holdall_asgi.generate_key() makes one"
            )
        fallbacks = app.config["SECRET_KEY_FALLBACKS"] or []
        keys = [app.secret_key, *([fallbacks] if isinstance(fallbacks, (str, bytes)) else fallbacks)]
        return [self._long_enough(key.encode() if isinstance(key, str) else key) for key in keys]

    def _long_enough(self, key: bytes) -> bytes:
        if len(key) >= _KEY_BYTES:
            return key
        short = f"SECRET_KEY, or one of its fallbacks, has {len(key)} bytes, and Holdall needs at least {_KEY_BYTES}"
        remedy = "make one with holdall_asgi.generate_key(), or give Holdall a key of its own in HOLDALL_KEY"
        if not (self._app.testing or self._app.debug):
            raise UsageError(f"{short}: {remedy}. (In testing and debug mode a warning would be logged instead.)")
        log.warning("%s: outside testing and debug mode it will be refused; %s", short, remedy)
        return stretch_key(key)

    def _cookie(self) -> CookieOptions:
        app = self._app
        name, partitioned = self.get_cookie_name(app), bool(self.get_cookie_partitioned(app))
        return CookieOptions(
            name=None if name == _QUARTS_NAME else name,
            secure=partitioned or bool(self.get_cookie_secure(app)),  # browsers refuse the one without the other
            http_only=bool(self.get_cookie_httponly(app)),
            same_site=self.get_cookie_samesite(app) or "Lax",  # type: ignore[arg-type]  # checked there
            path=self.get_cookie_path(app),
            domain=self.get_cookie_domain(app),
            partitioned=partitioned,
        )


class _QuartMiddleware(SessionMiddleware):
    """The ASGI middleware, with sessions that end when Quart says."""

    def __init__(
        self,
        app: Quart,
        inner: Any,
        stores: StoresLike | AsyncStoresLike | None,
        arguments: dict[str, Any],
    ) -> None:
        super().__init__(inner, **{"stores": stores, **arguments})
        self._quart = app

    def commit_options(self, session: holdall.Session) -> CommitOptions:
        if not session.is_accessed():
            return {}
        may_be_empty = not (session.is_as_read() or session.is_new()) and session.is_active()
        if may_be_empty and not session and session.is_modified():
            session.terminate()  # "If the session is modified to be empty, remove the cookie": quart.sessions
        resend = isinstance(session, QuartSession) and session.resend
        if session.get("_permanent", False):
            refresh = resend or bool(self._quart.config["SESSION_REFRESH_EACH_REQUEST"])
            return {"expiration_ts": self.manager.clock() + self.manager.settings.lifetime, "refresh": refresh}
        if session.is_new() or "_permanent" in session:
            return {"expiration_ts": 0, "refresh": resend}
        return {"expiration_ts": session.get_expiration(), "refresh": resend}
