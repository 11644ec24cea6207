"""Moving in from Flask's own sessions: the signed cookie, read with Flask's own serializer and settings.

Only the reading of such a cookie is here. What becomes of it is the core's business.
"""

import sys
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from flask import current_app
from flask.sessions import SecureCookieSessionInterface
from holdall import CookieOptions, MovingIn, OldSession, find_values, pack_values
from itsdangerous import BadData
from itsdangerous.encoding import base64_decode

if TYPE_CHECKING:
    from datetime import datetime


class FlaskSessions(MovingIn):
    """Accepts Flask's own session cookies, as HOLDALL_MOVING_IN or `Holdall(app, moving_in=...)`.

    `until`, `keep`: see `holdall.MovingIn`. `interface`: what kept the sessions, if not Flask's default. It is asked
    for keys, salt, lifetime and the cookie's name, so SECRET_KEY, SECRET_KEY_FALLBACKS, PERMANENT_SESSION_LIFETIME and
    SESSION_COOKIE_* must still say what they said.
    """

    def __init__(
        self, *, until: "datetime", keep: bool = False, interface: SecureCookieSessionInterface | None = None
    ) -> None:
        super().__init__(until=until, keep=keep)
        self._interface = SecureCookieSessionInterface() if interface is None else interface

    @property
    def cookie(self) -> CookieOptions:
        """The name, path and domain that Flask's settings give the session cookie."""
        app, interface = current_app, self._interface
        partitioned = bool(interface.get_cookie_partitioned(app))
        return CookieOptions(
            name=interface.get_cookie_name(app),
            secure=partitioned or bool(interface.get_cookie_secure(app)),
            path=interface.get_cookie_path(app),
            domain=(interface.get_cookie_domain(app) or "").lstrip(".") or None,
            partitioned=partitioned,
        )

    def find(self, header: str, now: float) -> Iterable[OldSession]:
        """Return what the values of the session cookie say whose signature is good and not too old."""
        serializer = self._interface.get_signing_serializer(current_app)
        lifetime = int(current_app.permanent_session_lifetime.total_seconds())
        for text in find_values(header, self._interface.get_cookie_name(current_app)) if serializer else ():
            for signer in serializer.iter_unsigners() if serializer else ():
                try:
                    signed, when = signer.unsign(text, return_timestamp=True)
                    if signed.startswith(b"."):
                        self.inflate(base64_decode(signed[1:]))
                    values = serializer.load_payload(signed) if serializer else None
                except (BadData, ValueError):
                    continue
                issued = int(when.timestamp())
                if isinstance(values, dict) and 0 <= int(now) - issued <= lifetime:
                    # What was signed, without the signature, of which there are several spellings.
                    known = b"flask/" + text.rpartition(".")[0].encode("latin-1")
                    browser = not values.get("_permanent")
                    yield OldSession(known, pack_values(values), issued + lifetime + 1, browser, issued=issued)
                break

    def principal_of(self, values: Mapping[str, Any]) -> str | None:
        """Return the user's id, if Flask-Login has logged one in."""
        user = values.get("_user_id") if "flask_login" in sys.modules else None
        return None if user is None else str(user)
