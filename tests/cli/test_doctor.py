"""`holdall doctor` finds what is wrong with a configuration and says what to change, and nothing in a sound one."""

import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from urllib.parse import urlencode

import pytest
from holdall_cli.doctor import Configuration, report

from tests import servers
from tests.cli.support import Shell, application
from tests.cli.test_sweep import fill
from tests.core.support import KEY, Browser, big
from tests.servers import MemcachedServer

CALM = "timeout=20"  # a busy machine shall make no finding


@pytest.fixture(scope="module")
def odd_server() -> Iterator[MemcachedServer]:
    """A memcached that takes small items alone, and none when it is full."""
    with servers.memcached(None, "-M", "-I", "512k") as server:
        yield server


@pytest.fixture
def durable(tmp_path: Path) -> str:
    """A SQLite store as an application makes it, with a session in it."""
    path = tmp_path / "sessions.sqlite3"
    with application(path) as app:
        app.request(Browser(), big=big())
    return f"sqlite:///{path}?{CALM}"


def key_file(folder: Path, *keys: str, mode: int = 0o600) -> list[str]:
    path = folder / "keys"
    path.write_text("\n".join(keys))
    path.chmod(mode)
    return ["--key-file", str(path)]


@pytest.fixture
def empty() -> Iterator[MemcachedServer]:
    """A memcached that has never held anything: what was flushed still counts as an item."""
    with servers.memcached() as server:
        yield server


def cache(server: MemcachedServer) -> list[str]:
    return ["--cache", f"memcached://{server.address}?{CALM}"]


def test_sound(shell: Shell, empty: MemcachedServer, durable: str, tmp_path: Path) -> None:
    """Of a sound configuration one line says how much was checked, and nothing stays in the stores."""
    result = shell("doctor", *cache(empty), "--durable", durable, *key_file(tmp_path, KEY))
    assert result.err == ""
    assert result.out.endswith(" checks, all well\n")
    assert len(result.out.splitlines()) == 1
    assert int(result.out.split()[0]) >= 20
    assert result.code == 0
    with closing(sqlite3.connect(tmp_path / "sessions.sqlite3")) as connection:
        assert connection.execute("SELECT COUNT(*) FROM record").fetchone() == (1,)
    assert empty.stat("curr_items") == "0"


def test_what_was_measured(shell: Shell, memcached: MemcachedServer, durable: str) -> None:
    """With --verbose there are round trips and their spread, the version, and the clock's difference."""
    result = shell("doctor", *cache(memcached), "--durable", durable, "--verbose")
    assert result.code == 0
    assert f"memcached {memcached.address}: version 1." in result.out
    assert "clock " in result.out
    assert result.out.count("round trip ") == 2


@pytest.mark.datastore
def test_sound_on_datastore(shell: Shell, memcached: MemcachedServer, datastore_address: str) -> None:
    """Of a sound configuration with Datastore it has nothing to say either; its clock is compared, its limit tried."""
    url = f"datastore://test/doctor?{urlencode({'emulator': datastore_address})}&{CALM}"
    result = shell("doctor", *cache(memcached), "--durable", url, "--verbose")
    assert (result.code, result.err) == (0, "")
    assert "measured  datastore: clock " in result.out
    said: list[str] = []
    late = Configuration(durable=url)
    assert report(late, lambda: [KEY], said.append, clock=lambda: time.time() + 3_600) == 1
    assert any("datastore: its clock differs by -3,600 s" in line for line in said)


PLANTED = {
    "keys that are short": (["hunter2-hunter2"], [], "key 1: cookie_key has 15 bytes and needs at least 32"),
    "keys that are placeholders": (["changeme" * 5], [], "placeholder"),
    "keys that repeat themselves": (["abcdefghij" * 4], [], "key 1: it repeats itself"),
    "keys that are there twice": ([KEY, KEY], [], "key: one is there twice"),
    "no key": ([], [], "no HOLDALL_COOKIE_KEY"),
    "not Secure": ([KEY], ["--no-secure"], "without Secure it travels in the clear"),
    "not HttpOnly": ([KEY], ["--no-http-only"], "scripts can read it"),
    "SameSite=None": ([KEY], ["--same-site", "None"], "every site's requests carry it"),
    "SameSite misspelt": ([KEY], ["--same-site", "lax"], "same_site='lax' is unknown"),
    "a domain": ([KEY], ["--domain", "example.com"], "every host under example.com gets it"),
    "a name without the prefix": ([KEY], ["--name", "sid"], "sid can be set by other hosts"),
    "a contradiction": ([KEY], ["--name", "__Host-sid", "--domain", "example.com"], "needs secure=True, domain=None"),
    "several cookies": ([KEY], ["--threshold", "6000"], "cookie_only_threshold=6000 takes 2 cookies"),
    "over the header limit": ([KEY], ["--header-limit", "4096"], "lower the threshold by"),
    "ten kilobytes": ([KEY], ["--threshold", "10000"], "nginx large_client_header_buffers"),
    "no store": ([KEY], [], "without a durable store, sessions over the threshold fail"),
    "no cache": ([KEY], ["--no-datastore"], "no_datastore=True keeps sessions in the cache, and there is none"),
    "a store never used": ([KEY], ["--no-datastore", "--durable", "sqlite:///x"], "the durable store is never used"),
    "a durable store that forgets": ([KEY], ["--durable", "memory://"], "memory:// as the durable store"),
    "a cache per process": ([KEY], ["--cache", "memory://"], "memory:// as the cache"),
    "a cache as the durable store": ([KEY], ["--durable", "memcached://127.0.0.1:1"], "memcached forgets"),
    "an unknown parameter": ([KEY], ["--cache", "memcached://127.0.0.1:1?wait=1"], "unknown parameter 'wait'"),
    "a folder that is not there": ([KEY], ["--durable", "sqlite:////nowhere/x"], "make the folder"),
    "a memcached that is down": ([KEY], ["--cache", "memcached://127.0.0.1:1"], "no answer (ConnectionRefusedError)"),
}
TWO_FINDINGS = {"ten kilobytes", "a store never used"}
"""There the one mistake is two: several cookies and too long a header; no cache, and no use for the other store."""


@pytest.mark.parametrize("planted", PLANTED)
def test_planted(shell: Shell, durable: str, planted: str) -> None:
    """Each misconfiguration is found, alone among what is otherwise sound, and the exit code is 1."""
    keys, arguments, finding = PLANTED[planted]
    shell.set_key(*keys)
    if planted not in ("no store", "no cache") and "--durable" not in arguments:
        arguments = [*arguments, "--durable", durable]
    result = shell("doctor", *arguments)
    changes = [line for line in result.out.splitlines() if line.startswith("CHANGE")]
    assert result.code == 1
    assert any(finding in change for change in changes), result.out
    assert len(changes) == (2 if planted in TWO_FINDINGS else 1)
    for key in keys:
        assert key not in result.out


def test_planted_in_files(shell: Shell, durable: str, tmp_path: Path) -> None:
    """A key file and a SQLite file that others may read are found, and ten thousand expired sessions."""
    path = tmp_path / "sessions.sqlite3"
    path.chmod(0o644)
    result = shell("doctor", "--durable", durable, *key_file(tmp_path, KEY, mode=0o640))
    assert "has mode 0640, others may read it" in result.out
    assert f"sqlite: {path} has mode 0644" in result.out
    assert "2 to change" in result.out
    old = tmp_path / "old.sqlite3"
    fill(old, 10_000)
    result = shell("doctor", "--durable", f"sqlite:///{old}?{CALM}")
    assert "sqlite: 10,000 expired sessions: run 'holdall sweep' from cron" in result.out
    assert result.code == 1


def test_planted_in_memcached(shell: Shell, odd_server: MemcachedServer, durable: str) -> None:
    """A memcached that takes smaller items than it is sent, refuses when full, or tells another time is found."""
    result = shell("doctor", *cache(odd_server), "--durable", durable)
    assert "items may have 524,288 bytes and values 1,048,000" in result.out
    assert "when it is full it refuses to store (-M)" in result.out
    assert "2 to change" in result.out
    advised = f"memcached://{odd_server.address}?max_value_bytes={524_288 - 310}"
    assert "items may have" not in shell("doctor", "--cache", advised, "--durable", durable).out
    said: list[str] = []
    configuration = Configuration(cache=f"memcached://{odd_server.address}", no_datastore=True)
    report(configuration, lambda: [KEY], said.append, clock=lambda: time.time() - 3_600)
    assert any("its clock differs by +3,600 s" in line or "its clock differs by +3,599 s" in line for line in said)


def test_a_socket(shell: Shell, durable: str, tmp_path: Path) -> None:
    """A memcached on a Unix socket is asked as well."""
    with servers.memcached(tmp_path / "socket") as server:
        url = f"memcached+unix://{server.address.removeprefix('unix://')}"
        result = shell("doctor", "--cache", url, "--durable", durable, "--verbose")
    assert result.code == 0, result.out
    assert "version 1." in result.out


def test_a_durable_store_that_is_down(shell: Shell, tmp_path: Path, durable: str) -> None:
    """A store that cannot be written is found, with the error that it gives."""
    with closing(sqlite3.connect(tmp_path / "sessions.sqlite3", isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        result = shell("doctor", "--durable", durable.replace("timeout=20", "timeout=0.05"))
    assert result.code == 1
    assert "database is locked" in result.out


def test_no_file_is_made(shell: Shell, tmp_path: Path) -> None:
    """Where the application has stored nothing yet, doctor makes no file that would then be its own."""
    assert shell("doctor", "--durable", f"sqlite:///{tmp_path}/new.sqlite3").code == 0
    assert not list(tmp_path.iterdir())
