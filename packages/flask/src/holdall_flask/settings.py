"""What `app.config` and the arguments of `Holdall` say, as arguments of `SessionManager`.

Which setting counts is decided here, once: an argument of `Holdall`, else its `HOLDALL_*` setting, else Flask's own,
else the default. What the settings mean is the core's business, and it refuses those that cannot work.
"""

import logging
from collections.abc import Mapping, Sequence
from datetime import timedelta
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from flask.sessions import SessionInterface
from holdall import CookieOptions, ManagerOptions, SessionManager, UsageError, stretch_key

from holdall_flask.session import FlaskSession

if TYPE_CHECKING:
    from flask import Flask

log = logging.getLogger("holdall.flask")

KEY_BYTES = 32


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

FLASK: Mapping[str, str] = MappingProxyType(
    {
        "name": "SESSION_COOKIE_NAME",
        "domain": "SESSION_COOKIE_DOMAIN",
        "path": "SESSION_COOKIE_PATH",
        "http_only": "SESSION_COOKIE_HTTPONLY",
        "secure": "SESSION_COOKIE_SECURE",
        "same_site": "SESSION_COOKIE_SAMESITE",
        "partitioned": "SESSION_COOKIE_PARTITIONED",
        "lifetime": "PERMANENT_SESSION_LIFETIME",
        "cookie_key": "SECRET_KEY",
    }
)
"""Each argument of `SessionManager` or `CookieOptions` that Flask has a setting for, and the name of the setting."""

_WATCHED = (
    *SETTINGS.values(),
    *STORES,
    *FLASK.values(),
    *("SECRET_KEY_FALLBACKS", "APPLICATION_ROOT", "TESTING", "DEBUG"),
)
_SPANS = ("lifetime", "idle_timeout", "cache_trust", "revocation_check", "store_budget")
_FLASKS_NAME = "session"  # the default of SESSION_COOKIE_NAME
_REMEDY = "make one with holdall_flask.generate_key() and keep it out of the source code"


def checked(options: Options) -> Options:
    """Return the arguments that `Holdall` was given; raises `UsageError` for one that there is not."""
    for name in options:
        if name not in Options.__optional_keys__:
            raise UsageError(f"Holdall has no argument {name!r}: it takes app, stores and those of SessionManager")
    session_class = options.get("session_class", FlaskSession)
    if not issubclass(session_class, FlaskSession):
        raise UsageError(f"session_class={session_class!r} must be a subclass of holdall_flask.FlaskSession")
    return options


def snapshot(app: "Flask", interface: SessionInterface) -> tuple[Any, ...]:
    """Return all that a manager depends on, so that a change of the configuration is noticed, as Flask's tests do it.

    The name of the cookie may depend on the request: Flask documents `get_cookie_name` for that.
    """
    return (interface.get_cookie_name(app), *map(app.config.get, _WATCHED))


def kept(seen: tuple[Any, ...]) -> tuple[Any, ...]:
    """Return a snapshot to compare later ones with, which does not change with a list of the configuration."""
    return tuple([value.copy() if type(value) is list else value for value in seen])


def make_manager(app: "Flask", interface: SessionInterface, options: Options) -> SessionManager | None:
    """Return the manager that the configuration asks for now; None if there is no key.

    Raises `UsageError` for settings that cannot work, with their names.
    """
    config = app.config
    known = {*SETTINGS.values(), *STORES}
    if unknown := sorted(name for name in config if name.startswith("HOLDALL_") and name not in known):
        raise UsageError(f"there is no setting {unknown[0]}: Holdall knows {', '.join(sorted(known))}")
    arguments: dict[str, Any] = {
        name: config[setting] for name, setting in SETTINGS.items() if config.get(setting) is not None
    }
    if arguments.get("revocation_check") is False:  # None would be: not set
        arguments["revocation_check"] = None
    arguments.update(options)
    for name in _SPANS:
        if type(arguments.get(name)) in (int, float):  # seconds, as PERMANENT_SESSION_LIFETIME may be given
            arguments[name] = timedelta(seconds=arguments[name])
    arguments.setdefault("session_class", FlaskSession)
    arguments.setdefault("lifetime", app.permanent_session_lifetime)
    if "cookie_key" not in arguments:
        arguments["cookie_key"] = secret_keys(app)
    if not arguments["cookie_key"]:
        return None
    try:
        if "cookie" not in arguments:
            arguments["cookie"] = _cookie(app, interface)
        return SessionManager(**arguments)
    except UsageError as error:
        raise _named(error, options) from error


def secret_keys(app: "Flask") -> list[bytes]:
    """Return Flask's keys: SECRET_KEY seals, and SECRET_KEY_FALLBACKS open as well; none without a SECRET_KEY.

    Raises `UsageError` for one of fewer than 32 bytes, unless the application is in testing or debug mode: there such a
    key is stretched, which makes it no better, and a warning is logged.
    """
    if not app.secret_key:
        return []
    fallbacks = app.config.get("SECRET_KEY_FALLBACKS") or []
    if isinstance(fallbacks, (str, bytes)):
        fallbacks = [fallbacks]  # or each of its letters would be a key
    named = [("SECRET_KEY", app.secret_key)]
    named += [(f"SECRET_KEY_FALLBACKS[{index}]", key) for index, key in enumerate(fallbacks)]
    return [_long_enough(app, name, key) for name, key in named]


def _long_enough(app: "Flask", name: str, key: str | bytes) -> bytes:
    if not isinstance(key, (str, bytes)):
        raise UsageError(f"{name} must be a str or bytes, not {type(key).__name__}: {_REMEDY}")
    raw = key.encode() if isinstance(key, str) else key
    if len(raw) >= KEY_BYTES:
        return raw
    short = f"{name} has {len(raw)} bytes, and Holdall needs at least {KEY_BYTES}"
    if not (app.testing or app.debug):
        raise UsageError(
            f"{short}: {_REMEDY}; where others need {name} as it is, give Holdall a key of its own in HOLDALL_KEY. "
            "(In testing and debug mode a warning would be logged instead.)"
        )
    log.warning("%s: outside testing and debug mode it will be refused; %s", short, _REMEDY)
    return stretch_key(raw)


def _cookie(app: "Flask", interface: SessionInterface) -> CookieOptions:
    name = interface.get_cookie_name(app)
    partitioned = bool(interface.get_cookie_partitioned(app))
    return CookieOptions(
        name=None if name == _FLASKS_NAME else name,
        secure=partitioned or bool(interface.get_cookie_secure(app)),  # as Flask documents it: "implicitly"
        http_only=bool(interface.get_cookie_httponly(app)),
        same_site=interface.get_cookie_samesite(app),  # type: ignore[arg-type]  # checked there
        path=interface.get_cookie_path(app),
        domain=(interface.get_cookie_domain(app) or "").lstrip(".") or None,  # as Flask writes it
        partitioned=partitioned,
    )


def _named(error: UsageError, options: Options) -> UsageError:
    """Say in a refusal of the core which setting it is about."""
    argument = str(error).partition("=")[0].partition("[")[0].partition(" ")[0]
    settings = [] if argument in options else [each[argument] for each in (SETTINGS, FLASK) if argument in each]
    return UsageError(f"{' or '.join(settings)}: {error}") if settings else error
