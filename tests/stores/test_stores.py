"""Tests of `holdall_stores.stores` and `holdall_stores.urls`, and of what importing the package brings along."""

import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import holdall_stores
import pytest
from holdall import (
    Answer,
    Command,
    Conflict,
    Delete,
    Deleted,
    Expect,
    Found,
    Get,
    Missing,
    Put,
    Stored,
    StoreTooLarge,
    StoreUnavailable,
    Tier,
    UsageError,
)
from holdall_stores import Memcached, Memory, SQLite, Stores, default_stores

from tests.servers import MemcachedServer


def put(tier: Tier, value: bytes = b"one", expect: int | Expect = Expect.ABSENT) -> Put:
    return Put(tier, "k", value, int(time.time()) + 60, expect)


class Down:
    """A store that never answers, and counts."""

    def __init__(self) -> None:
        self.calls = 0
        self.closed = 0

    def execute(self, command: Command, /) -> Answer:
        self.calls += 1
        raise StoreUnavailable("down")

    def close(self) -> None:
        self.closed += 1


def test_commands_go_to_their_tiers() -> None:
    """Each tier keeps its own values, and the answers come in the order of the commands."""
    stores = Stores(cache=Memory(), durable=Memory())
    stores.execute((put(Tier.CACHE, b"cached"), put(Tier.DURABLE, b"durable")))

    answers = stores.execute((Get(Tier.DURABLE, "k"), Get(Tier.CACHE, "k"), Delete(Tier.CACHE, "k")))

    assert [answer.value for answer in answers if isinstance(answer, Found)] == [b"durable", b"cached"]
    assert answers[2] == Deleted()
    assert stores.execute((Get(Tier.CACHE, "k"), put(Tier.DURABLE))) == (Missing(), Conflict())


def test_the_stores_are_there_to_be_seen() -> None:
    """The stores that were given can be had back."""
    cache, durable = Memory(), Memory()
    stores = Stores(cache, durable)

    assert (stores.cache, stores.durable) == (cache, durable)


def test_an_error_stands_in_its_place() -> None:
    """A store's error is returned where its answer would be, and the other commands are carried out."""
    stores = Stores(cache=Down(), durable=Memory(max_bytes=10))

    down, stored, large = stores.execute(
        (Get(Tier.CACHE, "k"), put(Tier.DURABLE), put(Tier.DURABLE, bytes(11), Expect.ANYTHING))
    )

    assert isinstance(down, StoreUnavailable)
    assert isinstance(stored, Stored)
    assert isinstance(large, StoreTooLarge)


def test_nothing_to_do_is_done() -> None:
    """No commands have no answers."""
    assert Stores(cache=Memory()).execute(()) == ()


def test_a_store_that_is_down_is_left_alone() -> None:
    """A store that keeps failing is not asked for every command, and the other one is."""
    down = Down()
    stores = Stores(cache=down, durable=Memory())
    for _ in range(50):
        answers = stores.execute((Get(Tier.CACHE, "k"), Get(Tier.DURABLE, "k")))
        assert isinstance(answers[0], StoreUnavailable)
        assert answers[1] == Missing()

    assert down.calls < 10


def test_without_a_cache_nothing_is_cached() -> None:
    """Where there is no cache, commands for it are answered as by one that evicts at once."""
    stores = Stores(durable=Memory())

    commands = (put(Tier.CACHE), Get(Tier.CACHE, "k"), put(Tier.CACHE, expect=7), Delete(Tier.CACHE, "k"))
    assert stores.execute(commands) == (Stored(None), Missing(), Stored(None), Deleted())


@pytest.mark.parametrize("command", [Get(Tier.DURABLE, "k"), put(Tier.DURABLE), Delete(Tier.DURABLE, "k")])
def test_without_a_durable_store_the_remedy_is_named(command: Command) -> None:
    """Where there is no durable store, a command for it is a usage error that names both ways out."""
    with pytest.raises(UsageError, match=r"durable=.*no_datastore=True"):
        Stores(cache=Memory()).execute((command,))


def test_the_cookie_tier_is_in_no_store() -> None:
    """A command for the cookie tier is a usage error."""
    with pytest.raises(UsageError, match="cookie"):
        Stores(cache=Memory(), durable=Memory()).execute((Get(Tier.COOKIE, "k"),))


def test_no_store_at_all_is_refused() -> None:
    """Stores without any store is a usage error."""
    with pytest.raises(UsageError, match="cache=, durable="):
        Stores()


def test_close_closes_both() -> None:
    """Closing reaches the cache and the durable store."""
    cache, durable = Down(), Down()
    Stores(cache, durable).close()
    Stores(cache).close()

    assert (cache.closed, durable.closed) == (2, 1)


def test_the_default_is_a_file_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The default stores keep values in holdall.sqlite3 in the working directory, made when there is one to keep."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("HOLDALL_SQLITE", raising=False)
    stores = default_stores()
    assert stores.cache is None
    assert list(tmp_path.iterdir()) == []

    stores.execute((put(Tier.DURABLE),))
    stores.close()
    assert [file.name for file in tmp_path.iterdir()] == ["holdall.sqlite3"]


def test_the_default_file_can_be_moved(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The folder of the default file can be given, and HOLDALL_SQLITE is the whole path."""
    monkeypatch.delenv("HOLDALL_SQLITE", raising=False)
    (tmp_path / "folder").mkdir()
    stores = default_stores(tmp_path / "folder")
    stores.execute((put(Tier.DURABLE),))
    stores.close()
    assert (tmp_path / "folder" / "holdall.sqlite3").is_file()

    monkeypatch.setenv("HOLDALL_SQLITE", str(tmp_path / "mine"))
    stores = default_stores(tmp_path / "folder")
    stores.execute((put(Tier.DURABLE),))
    stores.close()
    assert (tmp_path / "mine").is_file()


@pytest.mark.memcached
def test_urls_make_stores(tmp_path: Path, memcached: MemcachedServer) -> None:
    """memcached:// and sqlite:// with an absolute path make stores that work."""
    stores = Stores.from_urls(
        cache=f"memcached://{memcached.address}?timeout=5&connect_timeout=5&max_pool_size=3&max_value_bytes=10",
        durable=f"sqlite:///{tmp_path}/a%20b.sqlite3?timeout=5",
    )
    assert isinstance(stores.cache, Memcached)
    assert isinstance(stores.durable, SQLite)

    answers = stores.execute((put(Tier.CACHE), put(Tier.DURABLE), put(Tier.CACHE, bytes(11))))
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
        ({"cache": "memcached://h:1?timout=1"}, "cache, memcached://: .*'timout'.*timeout, connect_timeout"),
        ({"cache": "memcached://h:1?timeout=1&timeout=2"}, "'timeout' is there twice"),
        ({"cache": "memcached://h:1?timeout=soon"}, "timeout='soon'"),
        ({"cache": "memcached://h:1?timeout="}, "timeout=''"),
        ({"cache": "memcached://h:1?timeout=0"}, "timeout=0"),
        ({"cache": "memcached://h:1?timeout=nan"}, "timeout=nan"),
        ({"cache": "memcached://h:1?timeout=inf"}, "timeout=inf"),
        ({"durable": "sqlite:///x?timeout=inf"}, "timeout=inf"),
        ({"cache": "memcached://h:1?max_pool_size=1.5"}, "max_pool_size='1.5'"),
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
    ],
)
def test_urls_are_checked(urls: dict[str, str], message: str) -> None:
    """A URL that does not say what it should is a usage error that names the setting and what is known."""
    with pytest.raises(UsageError, match=message):
        Stores.from_urls(**urls)


def test_a_url_is_never_repeated() -> None:
    """What stands in the place of a URL may be a secret, and is in no message."""
    with pytest.raises(UsageError) as refused:
        Stores.from_urls(cache="s3cr3t-cookie-key")

    assert "s3cr3t" not in str(refused.value)


def run(code: str) -> None:
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_clients_are_imported_when_they_are_used() -> None:
    """Importing the package, and using Memory, imports no client of a server and not SQLite."""
    run(
        "import sys, holdall_stores; holdall_stores.Stores(holdall_stores.Memory());"
        "wrong = {'pymemcache', 'sqlite3', 'google.cloud', 'grpc', 'socket'} & set(sys.modules);"
        "assert not wrong, wrong"
    )


@pytest.mark.parametrize(
    ("client", "use", "extra"),
    [
        ("pymemcache", "holdall_stores.Memcached", "memcached"),
        ("pymemcache", "holdall_stores.Stores.from_urls(cache='memcached://h:1')", "memcached"),
        ("google.cloud.ndb", "holdall_stores.Datastore", "datastore"),
        ("google.cloud.ndb", "holdall_stores.Stores.from_urls(durable='datastore://p')", "datastore"),
    ],
)
def test_a_missing_extra_is_named(client: str, use: str, extra: str) -> None:
    """Where an extra is not installed, its store is a usage error that says how to install it."""
    run(
        f"import sys; sys.modules['{client}'] = None; import holdall, holdall_stores\n"
        f"try: {use}\n"
        f"except holdall.UsageError as error: assert \"pip install 'holdall-stores[{extra}]'\" in str(error)\n"
        "else: raise AssertionError"
    )


def test_an_unknown_name_is_an_attribute_error() -> None:
    """The package has no other names than its own."""
    with pytest.raises(AttributeError, match="Redis"):
        _ = holdall_stores.Redis
