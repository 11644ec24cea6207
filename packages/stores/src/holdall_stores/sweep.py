"""`delete_expired_sessions`: what a cron job calls. How to find what expired is each store's own affair."""

from typing import Protocol, runtime_checkable

from holdall import UsageError

from holdall_stores.stores import Stores

MAX_LIMIT = 500


@runtime_checkable
class Sweepable(Protocol):
    """A store that keeps what expired until it is told to delete it."""

    def delete_expired(self, limit: int, /) -> int:
        """Delete up to `limit` expired values; returns how many. Raises `StoreUnavailable`."""


def delete_expired_sessions(durable: Sweepable | Stores, limit: int = MAX_LIMIT) -> bool:
    """Delete up to `limit` (1 to 500) expired sessions from a durable store, or from that of a `Stores`.

    Returns True when fewer than `limit` were found, that is, when nothing is left to do now; call it again otherwise.
    Needed only to save room: what expired is never read, whether it was deleted or not. Raises `StoreUnavailable`.
    """
    if not 1 <= limit <= MAX_LIMIT:
        raise UsageError(f"limit={limit}: use 1 to {MAX_LIMIT}, and call again while it returns False")
    return sweepable(durable).delete_expired(limit) < limit


def sweepable(durable: Sweepable | Stores) -> Sweepable:
    """Return what can be swept of stores: the durable one. Raises `UsageError` if there is none that can."""
    store: object = durable.durable if isinstance(durable, Stores) else durable
    if not isinstance(store, Sweepable):
        raise UsageError(f"{type(store).__name__} has nothing to sweep: give the durable store, SQLite or Datastore")
    return store
