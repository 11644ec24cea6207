"""Who competes where: the contestants of each table, by name, each of which gets a process of its own."""

from collections.abc import Callable
from typing import Any

from bench import peers
from bench.contestants import (
    Contestant,
    Lazy,
    Make,
    Places,
    Whole,
    core,
    holdall_asgi,
    holdall_django,
    holdall_flask,
    holdall_wsgi,
    limit,
)
from bench.stored import datastore_limit, memcached_limit, refill_limit, sqlite_limit

LIMIT = "limit"
LAZY = "lazy limit"
HOLDALL = "Holdall"
FLASK, DJANGO, ASGI = f"{HOLDALL} Flask", f"{HOLDALL} Django", f"{HOLDALL} ASGI"

Adapter = Callable[..., Make]


def _in_cookie(adapter: Adapter) -> Callable[[Places], Make]:
    return lambda places: adapter()


def _in_memory(places: Places) -> Make:
    from holdall_stores import Memory, Stores

    return holdall_wsgi(Stores(durable=Memory()))


def _in_memcached(adapter: Adapter) -> Callable[[Places], Make]:
    def opened(places: Places) -> Make:
        from holdall_stores import Memcached, Stores

        return adapter(Stores(cache=Memcached(places.memcached)), no_datastore=True)

    return opened


def _durable(*, cache: bool = False, datastore: bool = False) -> Callable[[Places], Make]:
    def opened(places: Places) -> Make:
        from holdall_stores import Datastore, Memcached, SQLite, Stores

        durable: Any
        if datastore:
            # The emulator takes a while when it is cold, and nothing is measured of a store that gives up.
            durable = Datastore.from_parts("test", emulator=places.datastore, timeout=10)
        else:
            durable = SQLite(places.folder / f"holdall-{'cached' if cache else 'alone'}.sqlite3")
        return holdall_wsgi(Stores(cache=Memcached(places.memcached) if cache else None, durable=durable))

    return opened


def _table(*contestants: Contestant) -> dict[str, Contestant]:
    return {contestant.name: contestant for contestant in contestants}


COOKIE = _table(
    Contestant(LIMIT, limit(Whole)),
    Contestant(LAZY, limit(Lazy)),
    Contestant("core", core),
    Contestant(HOLDALL, _in_cookie(holdall_wsgi)),
    Contestant(FLASK, _in_cookie(holdall_flask)),
    Contestant(DJANGO, _in_cookie(holdall_django)),
    Contestant(ASGI, _in_cookie(holdall_asgi), "asgi"),
    Contestant("Flask", peers.flask),
    Contestant("Django", peers.django_signed_cookies),
    Contestant("Starlette", peers.starlette, "asgi"),
    Contestant("starsessions", peers.starsessions, "asgi", package="starsessions"),
    Contestant("Pyramid", peers.pyramid, package="pyramid"),
    Contestant("Beaker", peers.beaker, package="beaker"),
)
MEMCACHED = _table(
    Contestant(LIMIT, memcached_limit(Whole)),
    Contestant(LAZY, memcached_limit(Lazy)),
    Contestant(HOLDALL, _in_memcached(holdall_wsgi)),
    Contestant(FLASK, _in_memcached(holdall_flask)),
    Contestant(DJANGO, _in_memcached(holdall_django)),
    Contestant(ASGI, _in_memcached(holdall_asgi), "asgi"),
    Contestant("Flask-Session", peers.flask_session, package="flask_session"),
    Contestant("Django cache, pymemcache", peers.django_cache("PyMemcacheCache")),
    Contestant("Django cache, pylibmc", peers.django_cache("PyLibMCCache"), package="pylibmc"),
)
REFILL = _table(
    Contestant(LIMIT, refill_limit),
    Contestant(HOLDALL, _durable(cache=True)),
    Contestant("Django cached_db", peers.django_cached_db(tuned=False)),
    Contestant("Django cached_db, tuned", peers.django_cached_db(tuned=True), package="pylibmc"),
)
SQLITE = _table(
    Contestant(LIMIT, sqlite_limit, is_whole=False),
    Contestant(HOLDALL, _durable()),
    Contestant(f"{HOLDALL}, memcached", _durable(cache=True)),
    Contestant("Django cached_db", peers.django_cached_db(tuned=False)),
    Contestant("Django cached_db, tuned", peers.django_cached_db(tuned=True), package="pylibmc"),
)
DATASTORE = _table(Contestant(LIMIT, datastore_limit, is_whole=False), Contestant(HOLDALL, _durable(datastore=True)))
MEMORY = _table(Contestant(HOLDALL, _in_memory))

TABLES: dict[str, dict[str, Contestant]] = {
    "cookie": COOKIE,
    "memcached": MEMCACHED,
    "refill": REFILL,
    "sqlite": SQLITE,
    "datastore": DATASTORE,
    "memory": MEMORY,
}
"""The contestants, by table and name."""
