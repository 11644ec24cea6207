"""Tests of `holdall_stores.stores`, and of what importing the package brings along."""

import subprocess
import sys
import time
from dataclasses import replace
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
from holdall_stores import Memory, Store, Stores, default_stores
from holdall_stores.parts import Head


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


@pytest.mark.requirement(34)
@pytest.mark.parametrize("tier", [Tier.CACHE, Tier.DURABLE])
def test_one_limit_for_all(tier: Tier) -> None:
    """A value over max_session_bytes is refused before its store is asked, and the error names the setting."""
    stores = Stores(cache=Memory(), durable=Memory(), max_session_bytes=100)
    without = Stores(durable=Down(), max_session_bytes=100)

    stored, large = stores.execute((put(tier, bytes(100)), put(tier, bytes(101), Expect.ANYTHING)))
    (unasked,) = without.execute((put(tier, bytes(101), Expect.ANYTHING),))
    assert isinstance(stored, Stored)
    for refused in (large, unasked):
        assert type(refused) is StoreTooLarge
        assert (refused.size, refused.limit) == (101, 100)
        assert "max_session_bytes=100" in str(refused)
    assert isinstance(stores.execute((Get(tier, "k"),))[0], Found)


def test_the_usual_limit_is_16_mb() -> None:
    """Unless it is told otherwise, Stores takes 16,000,000 bytes and not one more."""
    stores = Stores(durable=Memory())
    fits, large = (put(Tier.DURABLE, bytes(size), Expect.ANYTHING) for size in (16_000_000, 16_000_001))

    assert [type(answer) for answer in stores.execute((fits, large))] == [Stored, StoreTooLarge]


class Small(Memory):
    """A store of small values."""

    max_value_bytes = 1_024

    def execute(self, command: Command, /) -> Answer:
        assert not isinstance(command, Put) or len(command.value) <= self.max_value_bytes
        return super().execute(command)


def test_what_a_store_does_not_take_is_kept_in_parts() -> None:
    """A store that says how much it takes is given larger values in parts; in a cache a lost one is a miss."""
    stores = Stores(cache=Small(), durable=Small())
    value = bytes(range(256)) * 100
    for tier in (Tier.CACHE, Tier.DURABLE):
        stores.execute((put(tier, value),))
        (found,) = stores.execute((Get(tier, "k"),))
        assert isinstance(found, Found)
        assert found.value == value

    assert lose_a_part(stores.cache, Tier.CACHE)
    assert lose_a_part(stores.durable, Tier.DURABLE)
    missing, unavailable = stores.execute((Get(Tier.CACHE, "k"), Get(Tier.DURABLE, "k")))
    assert missing == Missing()
    assert isinstance(unavailable, StoreUnavailable)


def test_a_value_that_lost_a_part_says_nothing_about_its_store() -> None:
    """However often a value is asked for that lost a part, the store is asked for the others."""
    stores = Stores(durable=Small())
    stores.execute((put(Tier.DURABLE, bytes(5_000)), replace(put(Tier.DURABLE), key="other")))
    lose_a_part(stores.durable, Tier.DURABLE)
    for _ in range(20):
        (answer,) = stores.execute((Get(Tier.DURABLE, "k"),))
        assert isinstance(answer, StoreUnavailable)

    assert isinstance(stores.execute((Get(Tier.DURABLE, "other"),))[0], Found)


def lose_a_part(store: Store | None, tier: Tier) -> bool:
    """Have one part of the value vanish; tells whether it was there."""
    assert store is not None
    found = store.execute(Get(tier, "k"))
    assert isinstance(found, Found)
    head = Head.unpack(found.value)
    assert head is not None
    part = head.generation.part_keys()[0]
    was_there = isinstance(store.execute(Get(tier, part)), Found)
    store.execute(Delete(tier, part))
    return was_there


@pytest.mark.parametrize("limit", [0, -1, 1.5, "16000000", True])
def test_the_limit_is_checked(limit: Any) -> None:
    """A limit that is no number of bytes is a usage error that names the setting."""
    with pytest.raises(UsageError, match="max_session_bytes="):
        Stores(durable=Memory(), max_session_bytes=limit)


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


@pytest.mark.parametrize(
    ("stores", "home"), [((Memory(), Memory()), Tier.DURABLE), ((Memory(), None), Tier.CACHE)], ids=["both", "cache"]
)
def test_who_was_beaten_waits_a_little(stores: tuple[Store, Store | None], home: Tier) -> None:
    """A conflict where a session is at home is handed on after a pause of random length, and nothing else is."""
    pauses: list[float] = []
    both = Stores(*stores, random=iter([0.0, 0.5, 1.0]).__next__, sleep=pauses.append)
    both.execute((put(home), put(home, expect=Expect.ANYTHING), Get(home, "k"), Delete(home, "other")))
    assert pauses == []
    assert both.execute((put(home), put(home), put(home))) == (Conflict(),) * 3
    assert pauses == [0.0, 0.025, 0.05]


def test_a_copy_that_was_beaten_waits_for_nothing() -> None:
    """A conflict in a cache before a durable store is handed on at once: nothing is tried again there."""
    stores = Stores(Memory(), Memory(), sleep=lambda seconds: pytest.fail("it waited"))
    assert stores.execute((put(Tier.CACHE), put(Tier.CACHE)))[1] == Conflict()


def test_without_a_cache_nothing_is_cached() -> None:
    """Where there is no cache, commands for it are answered as by one that evicts at once, and reads say so."""
    stores = Stores(durable=Memory())

    commands = (put(Tier.CACHE), Get(Tier.CACHE, "k"), put(Tier.CACHE, expect=7), Delete(Tier.CACHE, "k"))
    assert stores.execute(commands) == (Stored(None), Missing(forever=True), Stored(None), Deleted())


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
        "wrong = {'pymemcache', 'sqlite3', 'google.cloud', 'google.appengine', 'grpc', 'socket'} & set(sys.modules);"
        "assert not wrong, wrong"
    )


@pytest.mark.parametrize(
    ("client", "use", "extra"),
    [
        ("pymemcache", "holdall_stores.Memcached", "memcached"),
        ("pymemcache", "holdall_stores.Stores.from_urls(cache='memcached://h:1')", "memcached"),
        ("google.appengine", "holdall_stores.AppEngineMemcache", "appengine"),
        ("google.appengine", "holdall_stores.Stores.from_urls(cache='appengine-memcache://')", "appengine"),
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
