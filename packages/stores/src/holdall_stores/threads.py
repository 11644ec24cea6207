"""`in_threads`: the async face of synchronous stores, for `arun`.

The stores' commands run in a few threads, off the event loop. Nothing is decided here, and nothing is retried: what a
command may take is the stores' own deadline.
"""

import asyncio
import inspect
import os
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context

from holdall import Answer, AsyncStoresLike, Command, StoreError, StoresLike, UsageError

# A commit over the network takes about 10 ms, so that 16 threads carry out some 1,600 per second: more than one event
# loop has requests for. More do harm: SQLite writes one at a time, and with 32 threads, which then wait for each other,
# half as much gets through as with 16 (measured).
_LIMIT = 16


def in_threads(stores: StoresLike, limit: int = _LIMIT) -> "ThreadedStores":
    """Return what `arun` needs, made of synchronous stores, which run in at most `limit` threads. For asyncio.

    What has to wait for a thread is carried out in its turn. Raises `UsageError` if `limit` is not at least 1, or if
    the stores are asynchronous already.
    """
    return ThreadedStores(stores, limit)


class ThreadedStores(AsyncStoresLike):
    """Synchronous stores in threads of their own. Made by `in_threads`.

    Several event loops may share it, and a forked child may go on using it: it gets threads of its own.
    """

    def __init__(self, stores: StoresLike, limit: int) -> None:
        if type(limit) is not int or limit < 1:
            raise UsageError(f"limit={limit!r} must be a number of threads, at least 1")
        if inspect.iscoroutinefunction(stores.execute):
            raise UsageError(f"stores={stores!r} are asynchronous already: use them as they are")
        self.stores = stores
        self.limit = limit
        # By process id: a forked child inherits the pool, but none of its threads.
        self._pools: dict[int, ThreadPoolExecutor] = {}

    async def execute(self, commands: tuple[Command, ...], /) -> tuple[Answer | StoreError, ...]:
        """Carry out commands in a thread, with the caller's context variables.

        A caller that is cancelled is let go at once. A command that a thread is at is then carried out all the same,
        and its answer dropped; one that still waits for a thread is not carried out.
        """
        pool = self._pools.get(os.getpid()) or self._make_pool()
        return await asyncio.get_running_loop().run_in_executor(pool, copy_context().run, self.stores.execute, commands)

    def close(self) -> None:
        """Wait for what this process has under way, end its threads, then close the stores if they can be closed."""
        if (pool := self._pools.pop(os.getpid(), None)) is not None:
            pool.shutdown()
        if (close := getattr(self.stores, "close", None)) is not None:
            close()

    def _make_pool(self) -> ThreadPoolExecutor:
        # No lock, which a fork could leave locked: where two event loops come at once, one pool is used and the other
        # dropped, and a pool starts its threads when they are needed.
        made = ThreadPoolExecutor(self.limit, thread_name_prefix="holdall-stores")
        return self._pools.setdefault(os.getpid(), made)
