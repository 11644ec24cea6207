"""Django's test client and management commands, in the project of `served.py`, each in a process of its own."""

import re
from pathlib import Path

from holdall.testing import FakeClock
from holdall_django.engine import SessionStore
from holdall_stores import SQLite, Stores

from tests.django.conftest import MakeSite
from tests.django.serving import command


def test_test_client(tmp_path: Path) -> None:
    """Django's test runner passes the tests of its client in `client_tests.py`, and leaves no session behind."""
    done = command(tmp_path, "test", "tests.django.client_tests")
    assert done.returncode == 0, done.stderr
    counted = re.search(r"Ran (\d+) tests", done.stderr)
    assert counted is not None
    assert int(counted[1]) >= 10
    assert [path for path in tmp_path.iterdir() if "holdall" in path.name] == []


def test_clearsessions(tmp_path: Path, make_site: MakeSite) -> None:
    """`manage.py clearsessions` removes what expired from the durable store, and nothing else."""
    path = tmp_path / "sessions.sqlite3"
    clock = FakeClock(1_600_000_000)
    durable = SQLite(path, clock=clock)
    make_site(HOLDALL={"clock": clock, "stores": Stores(durable=durable)})
    keys = []
    for years in (1, 100):
        store = SessionStore()
        store.set_expiry(years * 365 * 24 * 3600)
        store.save()
        keys.append(store.session_key)
    done = command(tmp_path, "clearsessions", durable=f"sqlite:///{path}")
    assert done.returncode == 0, done.stderr
    assert [SessionStore().exists(key) for key in keys] == [False, True]  # this clock would still show both
    durable.close()


def test_check(tmp_path: Path) -> None:
    """`manage.py check` passes a project that is set up well, and explains one that is not."""
    done = command(tmp_path, "check")
    assert done.returncode == 0, done.stderr
    done = command(tmp_path, "check", durable="http://127.0.0.1")
    assert done.returncode == 1
    assert "holdall.E004" in done.stderr
