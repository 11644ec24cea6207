"""Moving in from Django's own sessions, of any engine: read with Django's own `SessionStore` classes.

Only the reading of such a session is here. What becomes of it is the core's business, what of the settings says so is
in `conf`.
"""

import re
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from django.conf import settings
from django.contrib.auth import SESSION_KEY
from django.core import signing
from django.utils.module_loading import import_string
from holdall import CookieOptions, MovingIn, OldSession, UsageError, find_values, pack_values

if TYPE_CHECKING:
    from datetime import datetime

_SIGNED = "django.contrib.sessions.backends.signed_cookies"
_KEY = re.compile(r"[A-Za-z0-9]{8,128}")


class DjangoSessions(MovingIn):
    """Accepts the sessions of an engine of Django's, or of one of your own, as HOLDALL["moving_in"].

    `engine`: what SESSION_ENGINE was, such as "django.contrib.sessions.backends.db". `until`, `keep`: see
    `holdall.MovingIn`. `cookie_name`: what SESSION_COOKIE_NAME was, if that has changed. SECRET_KEY,
    SECRET_KEY_FALLBACKS, SESSION_COOKIE_AGE, SESSION_SERIALIZER, SESSION_CACHE_ALIAS and the like must still say what
    they said. Raises `UsageError` for an engine that cannot be used.
    """

    def __init__(self, engine: str, *, until: "datetime", keep: bool = False, cookie_name: str | None = None) -> None:
        super().__init__(until=until, keep=keep)
        try:
            self._store_class = store_class = import_string(f"{engine}.SessionStore")
            if hasattr(store_class, "get_model_class"):
                store_class.get_model_class()
        except (ImportError, RuntimeError) as error:
            raise UsageError(f"moving_in: engine={engine!r} cannot be used: {error}") from error
        if engine == "holdall_django.engine":
            raise UsageError(f"moving_in: engine={engine!r} is Holdall's own: name the one that was there before")
        self._cookie_name = cookie_name
        self._is_signed = issubclass(store_class, import_string(f"{_SIGNED}.SessionStore"))
        if not self._is_signed:
            self.records = _Records(store_class)

    @property
    def cookie(self) -> CookieOptions:
        """The old name, and the path and domain of Django's settings."""
        return CookieOptions(
            name=self._cookie_name or settings.SESSION_COOKIE_NAME,
            secure=bool(settings.SESSION_COOKIE_SECURE),
            path=settings.SESSION_COOKIE_PATH,
            domain=settings.SESSION_COOKIE_DOMAIN or None,
        )

    def find(self, header: str, now: float) -> Iterable[OldSession]:
        """Return what the values of the session cookie say: a signed session, or the key of one in a store."""
        for text in find_values(header, self.cookie.effective_name):
            if self._is_signed:
                yield from self._signed(text, now)
            elif _KEY.fullmatch(text):
                yield OldSession(b"django/" + text.encode(), record=text)

    def read(self, old: OldSession, value: bytes, now: float) -> OldSession | None:  # noqa: ARG002
        """Return the session with the values that Django's store had."""
        return old._replace(payload=value)

    def principal_of(self, values: Mapping[str, Any]) -> str | None:
        """Return the user that Django's `login` has put there, as `holdall_django.principal_of` calls it."""
        user = values.get(SESSION_KEY)
        return None if user is None else f"{settings.AUTH_USER_MODEL}:{user}"

    def _signed(self, text: str, now: float) -> Iterable[OldSession]:
        try:
            # The signature first, then the size, and only then Django's own reading of it.
            signed = signing.Signer(salt=_SIGNED).unsign(text)
            data, _, when = signed.rpartition(":")
            if data.startswith("."):
                self.inflate(signing.b64_decode(data[1:].encode()))
            issued = signing.b62_decode(when)
        except (signing.BadSignature, ValueError):
            return
        store = self._store_class(text)
        values = dict(store.items())
        if values and now < (expires := issued + store.get_session_cookie_age() + 1):
            known = b"django/" + signed.encode()
            browser = store.get_expire_at_browser_close()
            yield OldSession(known, pack_values(values), expires, browser, issued=issued)


class _Records:
    """Django's store of an engine, each of whose sessions is as good as it says itself."""

    def __init__(self, store_class: Any) -> None:
        self._store_class = store_class

    def get(self, key: str) -> bytes | None:
        values = dict(self._store_class(key).items())
        return pack_values(values) if values else None

    def delete(self, key: str) -> None:
        self._store_class().delete(key)
