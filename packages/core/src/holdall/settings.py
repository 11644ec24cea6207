"""The settings of a `SessionManager`: frozen, and checked once, at start-up.

Every refusal names the setting and says what to do. The cookie's own options are in `cookie_options`, the keys in
`sealing`.
"""

from collections.abc import Callable
from datetime import timedelta
from typing import TYPE_CHECKING, Any, NamedTuple, TypedDict

from holdall.errors import UsageError

if TYPE_CHECKING:
    from holdall.cookie_options import CookieOptions
    from holdall.events import Event
    from holdall.exchange import Receipt
    from holdall.moving import MovingIn
    from holdall.session import Session

ONE_COOKIE = 3800
"""The default `cookie_only_threshold`: characters that fit one cookie of 4096 bytes, with its name and attributes."""

_LONGEST = timedelta(days=3650)


class ManagerOptions(TypedDict, total=False):
    """The arguments of `SessionManager` that an adapter hands on as they are."""

    idle_timeout: timedelta | None
    cookie: "CookieOptions"
    audience: str
    cache_trust: timedelta
    revocation_check: timedelta | None
    store_budget: timedelta
    save_on_error: bool
    moving_in: "MovingIn | None"
    on_receipt: "Callable[[Receipt], object] | None"
    on_event: "Callable[[Event], object] | None"
    session_class: "type[Session]"
    clock: Callable[[], float]
    random: Callable[[int], bytes]


class Settings(NamedTuple):
    """What a `SessionManager` was told, in plain numbers."""

    lifetime: int
    """Seconds from the start of a session to its absolute end."""
    idle_timeout: int | None
    """Seconds after the last touched request; None: a session does not idle out."""
    cookie_only_threshold: int
    """The most characters that a session may take as a cookie value."""
    no_datastore: bool
    audience: str
    cache_trust: int
    """Milliseconds that a cache entry is trusted after the durable tier confirmed it."""
    revocation_check: int | None
    """Milliseconds between two questions whether a bound session was revoked; None: sessions cannot be bound."""
    store_budget: float
    """Seconds that a request waits for its stores before it gives them no further command."""
    save_on_error: bool

    @classmethod
    def checked(
        cls,
        *,
        lifetime: Any,
        idle_timeout: Any,
        cookie_only_threshold: Any,
        no_datastore: Any,
        audience: Any,
        cache_trust: Any,
        revocation_check: Any,
        store_budget: Any,
        save_on_error: Any,
    ) -> "Settings":
        """Return the settings, or raise `UsageError` for the first that cannot work."""
        life = _span("lifetime", lifetime, least=timedelta(seconds=1))
        idle = None if idle_timeout is None else _span("idle_timeout", idle_timeout, least=timedelta(seconds=10))
        if idle is not None and idle > life:
            raise UsageError(
                f"idle_timeout={idle_timeout!r} is longer than lifetime={lifetime!r} and would never be reached: "
                "make it shorter, or None"
            )
        check = revocation_check
        if check is not None:
            check = _span("revocation_check", check, least=timedelta(0))
        if type(cookie_only_threshold) is not int or cookie_only_threshold < 0:
            raise UsageError(
                f"cookie_only_threshold={cookie_only_threshold!r} must be a number of characters: 0 for never any data "
                f"in the cookie, {ONE_COOKIE} (the default) for one cookie that every browser and server accepts"
            )
        if type(audience) is not str or not audience:
            raise UsageError(
                f"audience={audience!r} must be a non-empty str: applications share sessions if they share it"
            )
        for name, value in (("no_datastore", no_datastore), ("save_on_error", save_on_error)):
            if type(value) is not bool:
                raise UsageError(f"{name}={value!r} must be True or False")
        return cls(
            lifetime=int(life.total_seconds()),
            idle_timeout=None if idle is None else int(idle.total_seconds()),
            cookie_only_threshold=cookie_only_threshold,
            no_datastore=no_datastore,
            audience=audience,
            cache_trust=int(_span("cache_trust", cache_trust, least=timedelta(0)).total_seconds() * 1000),
            revocation_check=None if check is None else int(check.total_seconds() * 1000),
            store_budget=_span("store_budget", store_budget, least=timedelta(milliseconds=1)).total_seconds(),
            save_on_error=save_on_error,
        )


def _span(name: str, value: Any, *, least: timedelta) -> timedelta:
    if not isinstance(value, timedelta):
        raise UsageError(f"{name}={value!r} must be a datetime.timedelta, such as timedelta(days=7)")
    if not least <= value <= _LONGEST:
        raise UsageError(f"{name}={value!r} must be between {least} and {_LONGEST.days} days")
    return value
