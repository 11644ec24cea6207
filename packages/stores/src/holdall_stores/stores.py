"""What a store is, and `Stores`: the two tiers of one application, which carry out what the core asks for.

Nothing is decided about sessions here, nothing is retried, and no client library is imported: each store has its own
file. How URLs are read is in `urls.py`.
"""

import os
import random
import time
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from holdall import (
    Answer,
    Command,
    Conflict,
    Deleted,
    Expect,
    Get,
    Missing,
    Put,
    Stored,
    StoreError,
    StoreTooLarge,
    Tier,
    UsageError,
)

from holdall_stores.breaker import Breaker
from holdall_stores.parts import InParts

MAX_SESSION_BYTES = 16_000_000
"""Bytes of a sealed session that `Stores` takes, unless it was told another limit."""

# Seconds: the longest pause before a `Conflict` is handed on. Of sixteen threads' changes to one session, Datastore's
# emulators have a tenth give up without it, and hardly one with it (measured).
_PAUSE = 0.05


class Store(Protocol):
    """Keeps values under keys: one tier, whatever the tier that a command names.

    Threads may share a store, and a forked child may go on using it. One that takes only small values has an attribute
    `max_value_bytes`, in bytes: `Stores` then keeps larger ones in parts, see `InParts`. If it also has `batch_bytes`
    and `execute_many`, as `Datastore` has, several parts go in one call.
    """

    def execute(self, command: Command, /) -> Answer:
        """Carry out one command within the store's deadline.

        A value whose `expires` has come counts as absent, though whoever has its version may still replace it.
        `Conflict` means that certainly no attempt of the `Put` was applied. Raises `StoreTooLarge` before anything is
        sent, `StoreUnavailable` when there is no certain answer, and no other error.
        """

    def close(self) -> None:
        """Let go of connections and files."""


class Stores:
    """The tiers of an application: a cache that may forget, a durable store, or both.

    Without a cache, every read goes to the durable store. Without a durable store, sessions must be made with
    `no_datastore=True`, and end when the cache loses them. A store that keeps failing is left alone for a while: see
    `Breaker`. Raises `UsageError` if there is neither.

    `max_session_bytes`: a sealed session that is larger is `StoreTooLarge` before anything is sent, whatever the stores
    could hold. What is larger than a store takes in one value is kept in parts: see `InParts`.

    Whoever gets a `Conflict` from the durable store, or from the cache where there is none, will try again on what is
    there by then. It is handed on after a pause of up to 50 milliseconds, at random, so that those who met do not meet
    again at once. `random`, 0 to 1, and `sleep`, in seconds, serve that pause.
    """

    def __init__(
        self,
        cache: Store | None = None,
        durable: Store | None = None,
        *,
        max_session_bytes: int = MAX_SESSION_BYTES,
        random: Callable[[], float] = random.random,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        if cache is None and durable is None:
            raise UsageError("Stores needs cache=, durable= or both")
        if type(max_session_bytes) is not int or max_session_bytes < 1:
            raise UsageError(
                f"max_session_bytes={max_session_bytes!r} must be a number of bytes, such as {MAX_SESSION_BYTES}"
            )
        self.cache = cache
        self.durable = durable
        self.max_session_bytes = max_session_bytes
        self._tiers: dict[Tier, Store] = {Tier.CACHE: _Forgetful() if cache is None else _guarded(cache, forgets=True)}
        self._home = Tier.CACHE if durable is None else Tier.DURABLE
        self._random = random
        self._sleep = sleep
        if durable is not None:
            self._tiers[Tier.DURABLE] = _guarded(durable, forgets=False)

    @classmethod
    def from_urls(
        cls,
        cache: str | None = None,
        durable: str | None = None,
        *,
        max_session_bytes: int = MAX_SESSION_BYTES,
    ) -> "Stores":
        """Make the stores that URLs describe, and connect to nothing yet. Times in seconds, sizes in bytes.

        - `memcached://host:port,host:port`, `?timeout=&connect_timeout=&max_pool_size=&max_value_bytes=`; a cache only
        - `memcached+unix:///path/to/socket`, with the same parameters
        - `appengine-memcache://` or `appengine-memcache://namespace`, `?timeout=`; a cache only
        - `datastore://project/namespace?database=&emulator=host:port&timeout=`
        - `sqlite:///relative/path` or `sqlite:////absolute/path`, `?timeout=`
        - `memory://?max_bytes=`, for this process alone

        `max_session_bytes` is that of the class; `max_value_bytes` is what one item of memcached may have. Raises
        `UsageError` for anything else, and where the extra that brings the store's client is not installed.
        """
        from holdall_stores.urls import cache_from_url, durable_from_url

        return cls(
            cache=None if cache is None else cache_from_url(cache),
            durable=None if durable is None else durable_from_url(durable),
            max_session_bytes=max_session_bytes,
        )

    def execute(self, commands: tuple[Command, ...], /) -> tuple[Answer | StoreError, ...]:
        """Carry out commands one by one; answers in their order, with an error in the place of its answer.

        Raises `UsageError` for a command whose tier is not there.
        """
        return tuple([self._answer(command) for command in commands])

    def close(self) -> None:
        """Close both stores."""
        for store in (self.cache, self.durable):
            if store is not None:
                store.close()

    def _too_large(self, size: int) -> StoreTooLarge:
        error = StoreTooLarge(size, self.max_session_bytes)
        error.args = (f"{size} bytes are over max_session_bytes={self.max_session_bytes}, an argument of Stores",)
        return error

    def _answer(self, command: Command) -> Answer | StoreError:
        store = self._tiers.get(command.tier)
        if store is None:
            raise UsageError(
                "there is no durable store: give Stores a durable=, or sessions no_datastore=True"
                if command.tier is Tier.DURABLE
                else f"no store keeps the {command.tier.value} tier: it is in the browser"
            )
        if isinstance(command, Put) and len(command.value) > self.max_session_bytes:
            return self._too_large(len(command.value))
        try:
            answer = store.execute(command)
        except StoreError as error:
            return error
        if isinstance(answer, Conflict) and command.tier is self._home:
            self._sleep(self._random() * _PAUSE)
        return answer


def default_stores(folder: str | os.PathLike[str] = ".") -> Stores:
    """Return what an application gets that names no stores: SQLite in `holdall.sqlite3` in that folder.

    The environment variable HOLDALL_SQLITE, if it is set, is the path instead.
    """
    from holdall_stores.sqlite import SQLite

    return Stores(durable=SQLite(os.environ.get("HOLDALL_SQLITE") or Path(folder, "holdall.sqlite3")))


def is_expected(expect: int | Expect, version: int | None) -> bool:
    """Tell whether a `Put` with this `expect` may replace what is there: a version, or None for nothing."""
    if expect is Expect.ANYTHING:
        return True
    return version is None if expect is Expect.ABSENT else version == expect


def next_version(last: int, now: float) -> int:
    """Return a version above `last`, and above all that were given before a restore brought an older `last`.

    `now` is in seconds UTC since 1970. No store keeps up a million writes per second, so the microseconds since 1970
    are ahead of any version that was given earlier; `last` carries on where the clock was set back.
    """
    return max(last + 1, int(now * 1_000_000))


def _guarded(store: Store, *, forgets: bool) -> Store:
    """Return a store that is left alone when it fails, and keeps in parts what it cannot take whole."""
    breaker = Breaker(store)
    part_bytes: int | None = getattr(store, "max_value_bytes", None)
    if part_bytes is None:
        return breaker
    # The breaker is inside: a session that lost a part says nothing about the server.
    return InParts(breaker, part_bytes, forgets=forgets, batch_bytes=getattr(store, "batch_bytes", 0))


class _Forgetful:
    """The cache of an application without one: it says so, and evicts at once, as a legal cache may."""

    def execute(self, command: Command, /) -> Answer:
        if isinstance(command, Get):
            return Missing(forever=True)
        return Stored(None) if isinstance(command, Put) else Deleted()

    def close(self) -> None:
        pass
