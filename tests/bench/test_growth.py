"""The stores really hold the sessions of others when growth is measured. No time is asserted."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from holdall_stores import delete_expired_sessions

from bench import growth
from bench.contestants import Places, holdall_wsgi, large
from bench.worker import Subject
from tests import servers


@pytest.fixture
def empty() -> Iterator[servers.MemcachedServer]:
    """A memcached that has never held anything: what was flushed still counts as an item."""
    with servers.memcached() as server:
        yield server


@pytest.mark.memcached
def test_every_store_is_filled(empty: servers.MemcachedServer, tmp_path: Path) -> None:
    """SQLite holds the others beside what is measured, a hundredth of them expired; memcached holds them all."""
    sqlite, cache = growth.places_to_fill(Places(tmp_path, empty.address), 1_000, 1_000)
    with closing(sqlite.stores), closing(cache.stores):
        for place in (sqlite, cache):
            subject = growth.subject_of(holdall_wsgi(place.stores, no_datastore=place is cache))
            assert isinstance(subject, Subject)
            subject.cookie(large(463))
            place.fill(0, 1_000)
        with closing(sqlite3.connect(tmp_path / "by-number.sqlite3")) as file:
            assert file.execute("SELECT count(*) FROM record").fetchone() == (1_001,)
            assert delete_expired_sessions(sqlite.stores)
            assert file.execute("SELECT count(*) FROM record").fetchone() == (991,)
        assert int(empty.stat("curr_items")) == 1_001


def test_growth_without_servers_is_told(tmp_path: Path) -> None:
    """A row for each size, one for each number in SQLite, and that the rest was not measured."""
    lines = list(growth.report(Places(tmp_path), quick=True))
    rows = [line for line in lines if line.startswith("| ")]
    assert [row.partition(" | ")[0] for row in rows if "not" not in row] == [
        *("| bytes", "| 100", "| 1,000", "| 10,000", "| 100,000", "| 1,000,000"),
        *("| store", "| SQLite", "| SQLite"),
    ]
    assert [row.partition(" | ")[0] for row in rows if "not measured" in row] == ["| memcached", "| datastore"]
