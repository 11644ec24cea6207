"""The stores of Holdall: the only code that talks to a network or a disk.

    stores = Stores.from_urls(cache="memcached://10.0.0.5:11211", durable="datastore://my-project")

`Stores` carries out the commands of the core on a cache, a durable store or both. `Memory`, `SQLite`, `Memcached`,
`Datastore` and `AppEngineMemcache` are stores; anything with the two methods of `Store` is one too. All but `Memory`,
and the clients they need, are imported when they are first used, as is `in_threads`, which makes stores awaitable.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from holdall import UsageError

from holdall_stores.memory import Memory as Memory
from holdall_stores.old import OldRecords as OldRecords
from holdall_stores.old import with_old_records as with_old_records
from holdall_stores.stores import Store as Store
from holdall_stores.stores import Stores as Stores
from holdall_stores.stores import default_stores as default_stores
from holdall_stores.sweep import Sweepable as Sweepable
from holdall_stores.sweep import delete_expired_sessions as delete_expired_sessions
from holdall_stores.sweep import sweepable as sweepable

if TYPE_CHECKING:
    from holdall_stores.appengine import AppEngineMemcache as AppEngineMemcache
    from holdall_stores.datastore import Datastore as Datastore
    from holdall_stores.memcached import Memcached as Memcached
    from holdall_stores.sqlite import SQLite as SQLite
    from holdall_stores.threads import in_threads as in_threads

_LAZY = {
    "AppEngineMemcache": ("holdall_stores.appengine", "pip install 'holdall-stores[appengine]'"),
    "Datastore": ("holdall_stores.datastore", "pip install 'holdall-stores[datastore]'"),
    "Memcached": ("holdall_stores.memcached", "pip install 'holdall-stores[memcached]'"),
    "SQLite": ("holdall_stores.sqlite", "use a Python that was built with sqlite3"),
    "in_threads": ("holdall_stores.threads", "use a Python that has asyncio"),
}


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module, remedy = _LAZY[name]
    try:
        store = getattr(import_module(module), name)
    except ImportError as error:
        raise UsageError(f"{name} needs a client that cannot be imported ({error}): {remedy}") from error
    globals()[name] = store
    return store
