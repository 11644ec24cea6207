"""Tests of `holdall_stores.urls`: stores from URLs, and the messages for those that are wrong."""

import time
from pathlib import Path
from typing import Any

import holdall_stores
import pytest
from holdall import (
    Expect,
    Put,
    Stored,
    StoreTooLarge,
    Tier,
    UsageError,
)
from holdall_stores import Memcached, Memory, SQLite, Stores

from tests.servers import MemcachedServer


def put(tier: Tier, value: bytes = b"one", expect: int | Expect = Expect.ABSENT) -> Put:
    return Put(tier, "k", value, int(time.time()) + 60, expect)


@pytest.mark.memcached
def test_urls_make_stores(tmp_path: Path, memcached: MemcachedServer) -> None:
    """memcached:// and sqlite:// with an absolute path make stores that work."""
    stores = Stores.from_urls(
        cache=f"memcached://{memcached.address}?timeout=5&connect_timeout=5&max_pool_size=3&max_value_bytes=2000",
        durable=f"sqlite:///{tmp_path}/a%20b.sqlite3?timeout=5",
        max_session_bytes=5000,
    )
    assert isinstance(stores.cache, Memcached)
    assert (stores.cache.max_value_bytes, stores.max_session_bytes) == (2000, 5000)
    assert isinstance(stores.durable, SQLite)

    answers = stores.execute((put(Tier.CACHE), put(Tier.DURABLE), put(Tier.CACHE, bytes(5001))))
    stores.close()
    assert [type(answer) for answer in answers] == [Stored, Stored, StoreTooLarge]
    assert (tmp_path / "a b.sqlite3").is_file()


@pytest.mark.memcached
def test_a_url_of_several_servers(memcached: MemcachedServer) -> None:
    """memcached:// takes several servers, separated by commas."""
    both = f"{memcached.address},{memcached.address.replace('127.0.0.1', 'localhost')}"
    stores = Stores.from_urls(cache=f"memcached://{both}?timeout=5")
    commands = [Put(Tier.CACHE, f"k{n}", b"one", int(time.time()) + 60, Expect.ABSENT) for n in range(20)]
    answers = stores.execute(tuple(commands))
    stores.close()

    assert list(answers) == [Stored(None)] * 20


def test_a_relative_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """sqlite:/// with three slashes is relative to the working directory."""
    monkeypatch.chdir(tmp_path)
    stores = Stores.from_urls(durable="sqlite:///sessions.sqlite3")
    stores.execute((put(Tier.DURABLE),))
    stores.close()

    assert (tmp_path / "sessions.sqlite3").is_file()


def test_memory_urls() -> None:
    """memory:// will do for either, each with its own values and size."""
    stores = Stores.from_urls(cache="memory://?max_bytes=5", durable="memory://")
    answers = stores.execute((put(Tier.DURABLE), put(Tier.CACHE), put(Tier.CACHE, bytes(5))))

    assert [type(answer) for answer in answers] == [Stored, Stored, StoreTooLarge]


@pytest.mark.parametrize(
    ("url", "parts"),
    [
        ("datastore://shop", ("shop", {"namespace": None})),
        ("datastore://shop/eu", ("shop", {"namespace": "eu"})),
        (
            "datastore://shop/eu?database=other&emulator=127.0.0.1:8081&timeout=0.5",
            ("shop", {"namespace": "eu", "database": "other", "emulator": "127.0.0.1:8081", "timeout": 0.5}),
        ),
        ("datastore://shop?database=&emulator=", ("shop", {"namespace": None, "database": None, "emulator": None})),
    ],
)
def test_datastore_urls(url: str, parts: tuple[Any, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    """datastore:// hands its parts to Datastore, and what is empty is not given."""
    given: list[Any] = []

    def from_parts(project: str, **others: Any) -> Memory:
        given.extend([project, others])
        return Memory()

    monkeypatch.setattr(holdall_stores.Datastore, "from_parts", from_parts)
    Stores.from_urls(durable=url)

    assert given == list(parts)


@pytest.mark.parametrize(
    ("urls", "message"),
    [
        ({}, "cache=, durable="),
        ({"cache": "redis://h:1"}, "cache: .*memcached://, .*sqlite://.*memory://"),
        ({"cache": "localhost:11211"}, "cache: .*memcached://"),
        ({"durable": ""}, "durable: .*datastore://"),
        ({"durable": "sqlite://[x/"}, "durable: .*sqlite://"),
        ({"durable": "memcached://h:1"}, "durable: memcached forgets"),
        ({"durable": "appengine-memcache://"}, "durable: appengine-memcache forgets"),
        ({"cache": "memcached://h:1?timout=1"}, "cache, memcached://: .*'timout'.*timeout, connect_timeout"),
        ({"cache": "memcached://h:1?timeout=1&timeout=2"}, "'timeout' is there twice"),
        ({"cache": "memcached://h:1?timeout=soon"}, "timeout='soon'"),
        ({"cache": "memcached://h:1?timeout="}, "timeout=''"),
        ({"cache": "memcached://h:1?timeout=0"}, "timeout=0"),
        ({"cache": "memcached://h:1?timeout=nan"}, "timeout=nan"),
        ({"cache": "memcached://h:1?timeout=inf"}, "timeout=inf"),
        ({"durable": "sqlite:///x?timeout=inf"}, "timeout=inf"),
        ({"cache": "memcached://h:1?max_pool_size=1.5"}, "max_pool_size='1.5'"),
        ({"cache": "memcached://h:1?max_value_bytes=1023"}, "max_value_bytes=1023.*1024"),
        ({"cache": "memcached://"}, "host:port"),
        ({"cache": "memcached://h"}, "host:port"),
        ({"cache": "memcached://h:1,"}, "host:port"),
        ({"cache": "memcached://h:1/0"}, "host:port"),
        ({"cache": "memcached+unix://var/run/socket"}, "three slashes"),
        ({"cache": "memcached+unix://"}, "unix:///path"),
        ({"durable": "sqlite://sessions.sqlite3"}, "sqlite:///relative"),
        ({"durable": "sqlite:///"}, "needs a file"),
        ({"durable": "sqlite:///:memory:"}, r"Memory\(\)"),
        ({"durable": "sqlite:///x?mode=ro"}, "'mode'"),
        ({"durable": "memory://x"}, "memory://"),
        ({"durable": "memory://?max_bytes=0"}, "max_bytes=0"),
        ({"durable": "datastore://"}, "datastore://project"),
        ({"durable": "datastore://project/a/b"}, "datastore://project"),
        ({"durable": "datastore://project?emulater=x"}, "'emulater'"),
        ({"durable": "sqlite:///#1"}, "%23"),
        ({"durable": "memory://", "max_session_bytes": 0}, "max_session_bytes=0"),
        ({"durable": "memory://", "max_session_bytes": "16 MB"}, "max_session_bytes='16 MB'"),
    ],
)
def test_urls_are_checked(urls: dict[str, Any], message: str) -> None:
    """A URL that does not say what it should is a usage error that names the setting and what is known."""
    with pytest.raises(UsageError, match=message):
        Stores.from_urls(**urls)


def test_a_url_is_never_repeated() -> None:
    """What stands in the place of a URL may be a secret, and is in no message."""
    with pytest.raises(UsageError) as refused:
        Stores.from_urls(cache="s3cr3t-cookie-key")

    assert "s3cr3t" not in str(refused.value)
