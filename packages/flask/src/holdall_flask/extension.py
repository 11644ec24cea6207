"""`Holdall`, the Flask extension: gives an application its session interface, and answers 503 when a store is down.

Sessions themselves are none of its business: see `interface`.
"""

import logging
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from flask import Flask, Response, current_app
from holdall import BoundSession, SessionManager, SessionUnavailable, UsageError

from holdall_flask.interface import HoldallInterface, Made, leave
from holdall_flask.settings import Options, checked

if TYPE_CHECKING:
    from typing import Unpack

    from holdall import StoresLike

log = logging.getLogger("holdall.flask")

_UNAVAILABLE = "The session store does not answer. Please try again in a moment.\n"


class Holdall:
    """Gives Flask applications sessions of all sizes: `flask.session`, and `get_current_session()` anywhere.

    `app`: the application, or None if `init_app` follows, for as many applications as you like. `stores`: where
    sessions too big for the cookie go; None for what HOLDALL_CACHE and HOLDALL_DURABLE say, or SQLite in the
    application's instance folder (or the file that the environment variable HOLDALL_SQLITE names). `options` are the
    arguments of `holdall.SessionManager`; each counts more than the HOLDALL_* setting of its name, and that more than
    Flask's own.

    A session that cannot be read or written becomes a 503 with Retry-After, the cookie kept, unless the application has
    an error handler that takes `SessionUnavailable`. Raises `UsageError`, which is a `ValueError`, for arguments that
    there are not; what the configuration says is checked when a request comes.
    """

    def __init__(
        self, app: Flask | None = None, *, stores: "StoresLike | None" = None, **options: "Unpack[Options]"
    ) -> None:
        self._stores = stores
        self._options = checked(options)
        if app is not None:
            self.init_app(app)

    def init_app(self, app: Flask) -> None:
        """Give an application its sessions. Raises `UsageError` if it has them from Holdall already."""
        if not isinstance(app, Flask):
            raise UsageError(f"app={app!r} must be a flask.Flask")
        if "holdall" in app.extensions:
            raise UsageError("this application has its Holdall already: call init_app once for each application")
        app.extensions["holdall"] = self
        # The default that Flask's own documentation recommends. From here on None means: no attribute.
        if app.config["SESSION_COOKIE_SAMESITE"] is None:
            app.config["SESSION_COOKIE_SAMESITE"] = "Lax"
        app.session_interface = HoldallInterface(stores=self._stores, **self._options)
        app.teardown_request(leave)
        _refuse_when_unavailable(app)

    def revoke(self, principal: str, *, except_sid: str | None = None, only: str | None = None) -> None:
        """End sessions bound to a principal, now: all, all but one, or one; see `holdall.SessionManager.revoke`.

        Needs what `manager` needs. With Flask-Login the principal is what `get_id()` of the user returns, as a str.
        """
        _made().drive(self.manager.revoke(principal, except_sid=except_sid, only=only))

    def sessions_of(self, principal: str) -> list[BoundSession]:
        """Return the sessions bound to a principal; see `holdall.SessionManager.sessions_of`."""
        sessions: list[BoundSession] = _made().drive(self.manager.sessions_of(principal))
        return sessions

    @property
    def manager(self) -> SessionManager:
        """The manager of the application whose context is active, such as a worker needs for `open_sid`.

        Raises `UsageError` if there is no key, or if its sessions are not kept by Holdall.
        """
        manager = _made().manager
        if manager is None:
            raise UsageError("no key is set: set SECRET_KEY, or HOLDALL_KEY")
        return manager

    @property
    def stores(self) -> "StoresLike":
        """The stores of the application whose context is active, such as `delete_expired_sessions` needs."""
        return _made().stores()


def _made() -> Made:
    interface = current_app.session_interface
    if not isinstance(interface, HoldallInterface):
        raise UsageError("this application's session_interface is not Holdall's any more: let nothing replace it")
    return interface.made(current_app)


def _refuse_when_unavailable(app: Flask) -> None:
    """Have `SessionUnavailable` answered wherever it comes from.

    An error handler would not do: Flask asks none for what the commit raises, nor for what functions do that run after
    the request, such as Flask-Login's, which touches every session.
    """
    before: Callable[[Exception], Response] | None = vars(app).get("handle_exception")

    def handle_exception(error: Exception) -> Response:
        # Not the application from outside: it would refer to itself, and Flask takes care that none does.
        app: Flask = current_app._get_current_object()  # type: ignore[attr-defined]
        if not isinstance(error, SessionUnavailable):
            return before(error) if before is not None else type(app).handle_exception(app, error)
        answer: Any
        try:
            answer = app.handle_user_exception(error)
        except SessionUnavailable:  # there is no handler, or it touches the session as well
            log.error("answering 503: a session could be neither read nor written", exc_info=error)
            headers = {"Content-Type": "text/plain; charset=utf-8", "Retry-After": "5", "Cache-Control": "no-store"}
            answer = _UNAVAILABLE, 503, headers
        response = app.make_response(answer)
        response.vary.add("Cookie")
        return response

    vars(app)["handle_exception"] = handle_exception  # where wsgi_app looks for it
