"""System checks: what of the settings cannot work, or will not outside of DEBUG, in words at start-up.

They run with `manage.py check`, `runserver`, `test` and `migrate` when `holdall_django` is in INSTALLED_APPS. Which
settings there are, and what is wrong with a value, is in `conf`.
"""

from collections.abc import Sequence
from typing import Any

from django.conf import settings
from django.contrib.sessions.middleware import SessionMiddleware as DjangoSessionMiddleware
from django.core.checks import CheckMessage, Error, Warning  # noqa: A004 (Django's name)
from django.core.exceptions import ImproperlyConfigured
from django.utils.module_loading import import_string

from holdall_django.conf import build, is_testing
from holdall_django.engine import SessionStore
from holdall_django.middleware import SessionMiddleware

_ENGINE = "holdall_django.engine"
_MIDDLEWARE = "holdall_django.middleware.SessionMiddleware"


def check_settings(app_configs: Sequence[Any] | None = None, **kwargs: Any) -> list[CheckMessage]:  # noqa: ARG001
    """Return what is wrong with the settings, nothing where they are not about Holdall."""
    found = _session_middleware()
    is_middleware = any(issubclass(each, SessionMiddleware) for each in found)
    try:
        is_engine = issubclass(import_string(f"{settings.SESSION_ENGINE}.SessionStore"), SessionStore)
    except ImportError as error:
        return [Error(f"SESSION_ENGINE cannot be imported: {error}", hint=f"Set it to {_ENGINE!r}.", id="holdall.E001")]
    if is_engine and is_middleware:
        return _check_values()
    if is_middleware:
        return [
            Error(
                f"Holdall's middleware is in MIDDLEWARE, but SESSION_ENGINE is {settings.SESSION_ENGINE!r}: sessions "
                "are Django's, not Holdall's.",
                hint=f"Set SESSION_ENGINE = {_ENGINE!r}.",
                id="holdall.E002",
            )
        ]
    if is_engine:
        instead = " in the place of 'django.contrib.sessions.middleware.SessionMiddleware'" if found else ""
        return [
            Error(
                f"SESSION_ENGINE is {settings.SESSION_ENGINE!r}, but Holdall's middleware is not in MIDDLEWARE.",
                hint=f"Put {_MIDDLEWARE!r} there{instead}.",
                id="holdall.E003",
            )
        ]
    return []


def _check_values() -> list[CheckMessage]:
    """The settings make a manager and stores, with keys that are good enough for production."""
    try:
        made = build(is_test=is_testing())
    except ImproperlyConfigured as error:
        return [Error(str(error), hint="docs/django.md has a table of all settings.", id="holdall.E004")]
    moving_in, found = made.manager.moving_in, []
    if moving_in is not None and moving_in.until <= made.manager.clock():
        hint = "docs/moving-in.md says how to clean up."
        found = [Warning("HOLDALL['moving_in'] is over: no session of before is read.", hint=hint, id="holdall.W002")]
    return found + [
        Warning(
            f"{name} is too weak for sessions: it is stretched here, and refused outside of DEBUG and tests.",
            hint="Use 32 bytes or more, such as django.core.management.utils.get_random_secret_key() makes.",
            id="holdall.W001",
        )
        for name in made.weak_keys
    ]


def _session_middleware() -> list[type]:
    found = []
    for path in settings.MIDDLEWARE:
        try:
            each = import_string(path)
        except ImportError:
            continue  # Django says so itself when it loads them
        if isinstance(each, type) and issubclass(each, DjangoSessionMiddleware):
            found.append(each)
    return found
