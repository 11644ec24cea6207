"""Tests of `holdall_stores.stores`, and of what importing the package brings along."""

import subprocess
import sys
import time
from pathlib import Path

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
from holdall_stores import Memory, Stores, default_stores


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
