"""From Django's settings to a `SessionManager` and its stores: read when they are first needed, kept until they change.

Every refusal is an `ImproperlyConfigured` that names the setting. Nothing is decided about sessions here.
"""

import logging
import os
import sys
from dataclasses import dataclass
from datetime import timedelta
from threading import RLock
from typing import Any

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.core.signals import setting_changed
from holdall import CookieOptions, ManagerOptions, SessionManager, StoresLike, UsageError, stretch_key
from holdall_stores import Memory, Stores, default_stores, with_old_records

from holdall_django.moving import DjangoSessions

log = logging.getLogger("holdall.django")

ONE_COOKIE = 3800
"""The default `cookie_only_threshold`, in characters."""

# What Django's own settings say is said there, and only there.
_DJANGOS = {"lifetime": "SESSION_COOKIE_AGE", "cookie": "the SESSION_COOKIE_* settings"}
_STORES = {"cache", "durable", "stores"}
_OPTIONS = {"cookie_key", "no_datastore", "cookie_only_threshold", *ManagerOptions.__optional_keys__} - {*_DJANGOS}
_READ = {"HOLDALL", "SECRET_KEY", "SECRET_KEY_FALLBACKS", "DEBUG", "BASE_DIR"}

_backends: dict[bool, "Backend"] = {}
_stores: dict[tuple[object, ...], Stores] = {}
_lock = RLock()


@dataclass(frozen=True, slots=True)
class Backend:
    """What the settings come to."""

    manager: SessionManager
    stores: StoresLike
    reached: StoresLike
    """The same, and while sessions move in also where Django has kept them."""
    weak_keys: tuple[str, ...]
    """The settings whose keys would be refused outside of DEBUG and tests."""
    saves_every_request: bool
    """SESSION_SAVE_EVERY_REQUEST, at hand for every request."""


def backend() -> Backend:
    """Return the manager and the stores that the settings ask for; `ImproperlyConfigured` if they cannot work."""
    is_test = is_testing()
    found = _backends.get(is_test)
    if found is None:
        with _lock:
            found = _backends.get(is_test)
            if found is None:
                found = _backends[is_test] = build(is_test=is_test)
                for name in () if is_test else found.weak_keys:
                    log.warning("%s is too weak for sessions, and will be refused outside of DEBUG and tests", name)
    return found


def is_testing() -> bool:
    """Tell whether Django's test environment is set up (`django.test.utils.setup_test_environment`).

    All test runners for Django set it up, and nothing else does. Its mark is the one that Django itself goes by; a
    process that never imported the module cannot have set it, and pays one look into a dictionary.
    """
    utils = sys.modules.get("django.test.utils")
    return utils is not None and hasattr(utils._TestState, "saved_data")


def build(*, is_test: bool) -> Backend:
    """Make a new manager of the settings. Raises `ImproperlyConfigured`."""
    options = getattr(settings, "HOLDALL", {})
    if not isinstance(options, dict):
        raise ImproperlyConfigured("HOLDALL must be a dict such as {'durable': 'sqlite:////var/lib/app/sessions'}")
    options = dict(options)
    for name in options:
        if name in _DJANGOS:
            raise ImproperlyConfigured(f"HOLDALL[{name!r}]: use {_DJANGOS[name]} instead")
        if name not in _OPTIONS | _STORES:
            known = ", ".join(sorted(_OPTIONS | _STORES))
            raise ImproperlyConfigured(f"HOLDALL[{name!r}] is no option of Holdall: there are {known}")
    named = {name: options.pop(name) for name in _STORES & options.keys()}
    if is_test:
        # The test client and SessionStore(key) hand one cookie around, so no session may take several.
        options["cookie_only_threshold"] = min(options.get("cookie_only_threshold", ONE_COOKIE), ONE_COOKIE)
    keys, weak = _keys(options.pop("cookie_key", None), lenient=is_test or settings.DEBUG)
    no_datastore = options.get("no_datastore", False)
    try:
        if isinstance(options.get("moving_in"), dict):
            options["moving_in"] = DjangoSessions(**options["moving_in"])
        stores = _make_stores(named, no_datastore=no_datastore, is_test=is_test)
        cookie = CookieOptions(
            name=settings.SESSION_COOKIE_NAME,
            secure=bool(settings.SESSION_COOKIE_SECURE),
            http_only=bool(settings.SESSION_COOKIE_HTTPONLY),
            same_site=settings.SESSION_COOKIE_SAMESITE or None,
            path=settings.SESSION_COOKIE_PATH,
            domain=settings.SESSION_COOKIE_DOMAIN or None,
        )
        lifetime = timedelta(seconds=settings.SESSION_COOKIE_AGE)
        manager = SessionManager(keys, lifetime=lifetime, cookie=cookie, **options)
    except (UsageError, TypeError) as error:
        raise ImproperlyConfigured(f"Holdall cannot work with HOLDALL and the SESSION_* settings: {error}") from error
    reached = with_old_records(stores, manager.moving_in)
    return Backend(manager, stores, reached, weak, bool(settings.SESSION_SAVE_EVERY_REQUEST))


def _keys(given: Any, *, lenient: bool) -> tuple[list[bytes | str], tuple[str, ...]]:
    """Return the keys, and the names of the settings that hold weak ones.

    HOLDALL["cookie_key"] is taken instead of SECRET_KEY, and is never weak: who writes it writes it for sessions.
    """
    if isinstance(given, (list, tuple)):
        named = [(f"HOLDALL['cookie_key'][{index}]", key) for index, key in enumerate(given)]
    elif given is not None:
        named = [("HOLDALL['cookie_key']", given)]
    else:
        named = [("SECRET_KEY", settings.SECRET_KEY)]
        named += [(f"SECRET_KEY_FALLBACKS[{i}]", key) for i, key in enumerate(settings.SECRET_KEY_FALLBACKS)]
    keys: list[bytes | str] = []
    weak = []
    for name, key in named:
        try:
            SessionManager(key)
        except UsageError as error:
            if given is not None or not lenient or not key:
                reason = str(error).removeprefix("cookie_key[0] ").removeprefix("cookie_key ")
                raise ImproperlyConfigured(f"{name} cannot seal sessions, it {reason}") from error
            # Nothing is worth stealing where DEBUG is on, and a project of five lines must run; a guessable key
            # stays guessable, which is why it is refused everywhere else.
            weak.append(name)
            key = stretch_key(key if isinstance(key, bytes) else str(key))
        keys.append(key)
    return keys, tuple(weak)


def _make_stores(named: dict[str, Any], *, no_datastore: bool, is_test: bool) -> StoresLike:
    if "stores" in named:
        if len(named) > 1:
            raise UsageError("HOLDALL['stores'] stands for both tiers: leave out 'cache' and 'durable'")
        stores: StoresLike = named["stores"]
    else:
        cache, durable = named.get("cache"), named.get("durable")
        folder = getattr(settings, "BASE_DIR", ".")
        sqlite = os.environ.get("HOLDALL_SQLITE")
        key = (cache, durable, str(folder), sqlite, is_test)
        if key not in _stores:
            if cache or durable:
                _stores[key] = Stores.from_urls(cache, durable)
            elif is_test and not sqlite:  # a test leaves nothing behind in the project's folder
                _stores[key] = Stores(durable=Memory())
            else:
                _stores[key] = default_stores(folder)
        stores = _stores[key]
    if isinstance(stores, Stores):
        if no_datastore and stores.cache is None:
            raise UsageError(
                "no_datastore=True keeps sessions in the cache alone, and there is no cache: name one, as in "
                "HOLDALL['cache'] = 'memcached://127.0.0.1:11211'"
            )
        if not no_datastore and stores.durable is None:
            raise UsageError(
                "there is a cache alone: name a HOLDALL['durable'] store as well, or set no_datastore=True and accept "
                "that sessions end when the cache loses them"
            )
    return stores


def _forget(*, setting: str, **_: Any) -> None:
    # Stores are kept: what they hold must outlive an override of some other setting.
    if setting in _READ or setting.startswith("SESSION_"):
        _backends.clear()


setting_changed.connect(_forget, dispatch_uid="holdall_django.conf")
