"""Moving in from Starlette's own sessions: its signed cookie, read as `starlette.middleware.sessions` reads it.

Only the reading of such a cookie is here, and it needs nothing but itsdangerous. Starlette itself needs no module: the
middleware is the same as for every ASGI application.
"""

import json
from base64 import b64decode
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from typing import Any

from holdall import CookieOptions, MovingIn, OldSession, UsageError, find_values, pack_values
from itsdangerous import BadSignature, TimestampSigner


class StarletteSessions(MovingIn):
    """Accepts the cookies of `starlette.middleware.sessions.SessionMiddleware`, as `moving_in=`.

    `secret_key`, `session_cookie`, `max_age`, `path`, `domain` and `partitioned`: what that middleware was given.
    `until`, `keep`: see `holdall.MovingIn`. `principal_of`: given the values, returns whose login they are, so that it
    is bound when it moves in; see `holdall.Session.bind`. None for nobody's.
    """

    def __init__(
        self,
        secret_key: Any,
        session_cookie: str = "session",
        max_age: int | None = 14 * 24 * 60 * 60,
        path: str = "/",
        domain: str | None = None,
        partitioned: bool = False,
        *,
        until: datetime,
        keep: bool = False,
        principal_of: Callable[[Mapping[str, Any]], str | None] = lambda values: None,  # noqa: ARG005 (its meaning)
    ) -> None:
        super().__init__(until=until, keep=keep)
        if not str(secret_key):
            raise UsageError("moving_in: secret_key is empty: give the one that Starlette's SessionMiddleware had")
        self._signer = TimestampSigner(str(secret_key))
        self._max_age = max_age
        self._principal_of = principal_of
        # Browsers take a deletion without Secure too, but where the name or Partitioned asks for it.
        secure = partitioned or session_cookie.lower().startswith(("__host-", "__secure-"))
        self._cookie = CookieOptions(session_cookie, secure=secure, path=path, domain=domain, partitioned=partitioned)

    @property
    def cookie(self) -> CookieOptions:
        """The name, path and domain that the cookie had."""
        return self._cookie

    def find(self, header: str, now: float) -> Iterable[OldSession]:
        """Return what the values of the session cookie say whose signature is good and not too old."""
        for text in find_values(header, self._cookie.effective_name):
            try:
                signed, when = self._signer.unsign(text, return_timestamp=True)
                values = json.loads(b64decode(signed))
            except (BadSignature, ValueError):
                continue
            issued = int(when.timestamp())
            age = int(now) - issued
            if isinstance(values, dict) and age >= 0 and (self._max_age is None or age <= self._max_age):
                # What was signed, without the signature, of which there are several spellings.
                known = b"starlette/" + text.rpartition(".")[0].encode("latin-1")
                expires = 0 if self._max_age is None else issued + self._max_age + 1
                yield OldSession(known, pack_values(values), expires, browser=self._max_age is None, issued=issued)

    def principal_of(self, values: Mapping[str, Any]) -> str | None:
        """Return whose login these values are, as the application says."""
        return self._principal_of(values)
