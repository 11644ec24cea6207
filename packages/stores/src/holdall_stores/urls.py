"""Reads store URLs, whose form `Stores.from_urls` documents: `cache_from_url` and `durable_from_url`."""

from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import SplitResult, parse_qsl, unquote, urlsplit

from holdall import UsageError

import holdall_stores
from holdall_stores.stores import Store


def cache_from_url(url: str) -> Store:
    """Make the cache that a URL describes. Raises `UsageError`."""
    return _store("cache", url)


def durable_from_url(url: str) -> Store:
    """Make the durable store that a URL describes. Raises `UsageError`."""
    for name in ("memcached", "appengine-memcache"):
        if url.startswith(name):
            raise UsageError(f"durable: {name} forgets: give it as the cache, and here another store, or none")
    return _store("durable", url)


def _store(setting: str, url: str) -> Store:
    try:
        parts = urlsplit(url)
        make, readers = _SCHEMES[parts.scheme]
    except (ValueError, KeyError):
        # The URL itself is not repeated: what was meant to be another setting may be a secret.
        raise UsageError(f"{setting}: use a URL that begins with one of {_listed(_SCHEMES, '://')}") from None
    try:
        if parts.fragment:
            raise UsageError("there is a # in it; in a path write %23")
        return make(parts, _parameters(parts.query, readers))
    except UsageError as error:
        raise UsageError(f"{setting}, {parts.scheme}://: {error}") from error


def _parameters(query: str, readers: Mapping[str, Callable[[str], Any]]) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for name, text in parse_qsl(query, keep_blank_values=True):
        if name not in readers:
            raise UsageError(f"unknown parameter {name!r}, known are {_listed(readers)}")
        if name in values:
            raise UsageError(f"parameter {name!r} is there twice")
        try:
            values[name] = readers[name](text)
        except ValueError:
            raise UsageError(f"{name}={text!r} is not a number") from None
    return values


def _memcached(parts: SplitResult, parameters: dict[str, Any]) -> Store:
    if parts.path.strip("/"):
        raise UsageError("write memcached://host:port,host:port without a path, or memcached+unix:///path/to/socket")
    return holdall_stores.Memcached(parts.netloc.split(","), **parameters)


def _memcached_unix(parts: SplitResult, parameters: dict[str, Any]) -> Store:
    if parts.netloc:
        raise UsageError("write three slashes before the path: memcached+unix:///path/to/socket")
    return holdall_stores.Memcached(unquote(parts.path), **parameters)


def _appengine_memcache(parts: SplitResult, parameters: dict[str, Any]) -> Store:
    if parts.path:
        raise UsageError("write appengine-memcache:// or appengine-memcache://namespace")
    return holdall_stores.AppEngineMemcache(parts.netloc, **parameters)


def _sqlite(parts: SplitResult, parameters: dict[str, Any]) -> Store:
    if parts.netloc:
        raise UsageError("write sqlite:///relative/path or sqlite:////absolute/path")
    return holdall_stores.SQLite(unquote(parts.path.removeprefix("/")), **parameters)


def _memory(parts: SplitResult, parameters: dict[str, Any]) -> Store:
    if parts.netloc or parts.path:
        raise UsageError("write memory://, there is nothing to name")
    return holdall_stores.Memory(**parameters)


def _datastore(parts: SplitResult, parameters: dict[str, Any]) -> Store:
    namespace = unquote(parts.path.strip("/"))
    if not parts.netloc or "/" in namespace:
        raise UsageError("write datastore://project or datastore://project/namespace")
    return holdall_stores.Datastore.from_parts(parts.netloc, namespace=namespace or None, **parameters)


def _text(text: str) -> str | None:
    return text or None


_MEMCACHED = {"timeout": float, "connect_timeout": float, "max_pool_size": int, "max_value_bytes": int}

# Each scheme's maker, and how to read its parameters, which have the names that the maker knows them by.
_SCHEMES: dict[str, tuple[Callable[[SplitResult, dict[str, Any]], Store], Mapping[str, Callable[[str], Any]]]] = {
    "memcached": (_memcached, _MEMCACHED),
    "memcached+unix": (_memcached_unix, _MEMCACHED),
    "appengine-memcache": (_appengine_memcache, {"timeout": float}),
    "datastore": (_datastore, {"database": _text, "emulator": _text, "timeout": float}),
    "sqlite": (_sqlite, {"timeout": float}),
    "memory": (_memory, {"max_bytes": int}),
}


def _listed(names: Mapping[str, object], suffix: str = "") -> str:
    return ", ".join(name + suffix for name in names)
