"""`flask.session`: a Holdall session that is also what Flask asks of one, a `flask.sessions.SessionMixin`.

What Flask's users may ask of a session and the core does not tell by itself is noted here; what follows from it is in
`interface`. Whether and where the session is written is decided by the core.
"""

from collections.abc import Callable
from functools import wraps
from typing import Any

from flask.sessions import SessionMixin
from holdall import Exchange, Flow, Session, SessionManager, register_type
from markupsafe import Markup

register_type(Markup, encode=str, decode=Markup)

_REQUIRED: Any = object()


class FlaskSession(Session, SessionMixin):
    """The session of one request: all of `holdall.Session`, and all that Flask documents of `flask.session`.

    What was changed in a nested value is noticed without `modified = True`. Keys are str.
    """

    flask_opened: "tuple[Exchange, SessionManager, Callable[[Flow[Any]], Any]]"
    """For the session interface: how this session was opened, and what drives its flows."""
    flask_said: bool | None = None
    """For the session interface: what `modified` was set to, unless something was changed since; None: nothing."""
    flask_removed: bool = False
    """For the session interface: something was done that may have left it empty."""
    flask_began: bool = False
    """For the session interface: the application began it with `start`, and wants it even if it stays empty."""
    flask_freed: bool = False
    """For the session interface: it was permanent, and `clear` made it forget that."""
    _flask_accessed: bool = False
    _flask_new: bool = False

    @property
    def new(self) -> bool:  # type: ignore[override]  # read-only: what an application says would not be true
        """Whether the session began in this request, with `start` or its first assignment."""
        return self._flask_new or self.is_new()

    @property
    def modified(self) -> bool:
        """Whether the session changed in this request.

        Set to True, the cookie is sent again although nothing changed. Set to False, nothing that was changed is
        saved, unless something is changed after that.
        """
        return self.was_modified() or self.is_modified() if self.flask_said is None else self.flask_said

    @modified.setter
    def modified(self, value: bool) -> None:
        self.flask_said = bool(value)

    @property
    def accessed(self) -> bool:
        """Whether the session was touched in this request, be it only as `flask.session`; `Vary` then says so."""
        return self._flask_accessed or self.is_accessed()

    @accessed.setter
    def accessed(self, value: bool) -> None:
        self._flask_accessed = value

    def pop(self, key: str, default: Any = _REQUIRED) -> Any:
        """Remove a key and return its value, or the default; raises `KeyError` if there is neither, as a dict does."""
        if default is _REQUIRED and key not in self:
            raise KeyError(key)
        return super().pop(key, default)

    def clear(self) -> None:
        """Remove all values, and with them `permanent`."""
        self.flask_freed = self.flask_freed or self.permanent
        super().clear()

    def start(self, expiration_ts: float | None = None, ssl_only: bool = False) -> None:
        """Begin a new, empty session, as `holdall.Session.start` does; it stays even if nothing is put in it."""
        super().start(expiration_ts, ssl_only)
        self.flask_began = True

    def forsake(self) -> None:
        """For the session interface: have the values go on in a new session, bound to nobody; the old one ends."""
        values, began = dict(self), self.flask_began
        until = None if self.permanent else self.get_expiration() or None  # an end that the application gave
        self.start(until, self.is_ssl_only())
        self.update(values)
        self.flask_began = began

    def settle(self) -> None:
        """For the session interface: keep what `new` says, although it is about to be saved."""
        self._flask_new = self.new


def _noting(method: Callable[..., Any], *, assigns: bool) -> Callable[..., Any]:
    """Wrap a method that changes a session, so that a `modified = False` from before counts no more."""

    @wraps(method)
    def note(self: FlaskSession, *args: Any, **kwargs: Any) -> Any:
        began = self.flask_began
        result = method(self, *args, **kwargs)
        if self.flask_said is False:
            self.flask_said = None
        if assigns:
            self.flask_began = began  # what begins by itself is not wanted for its own sake
        else:
            self.flask_removed = True
        return result

    return note


for _name in ("__setitem__", "set_quick", "incr"):
    setattr(FlaskSession, _name, _noting(getattr(FlaskSession, _name), assigns=True))
for _name in ("__delitem__", "clear", "pop", "pop_quick", "start", "terminate", "regenerate_id", "bind", "save"):
    setattr(FlaskSession, _name, _noting(getattr(FlaskSession, _name), assigns=False))
