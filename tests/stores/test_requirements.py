"""What docs/requirements.md asks of sessions whose stores hold something hostile, on real servers."""

import marshal
import pickle
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from holdall import Expect, Found, Get, Put, Tier
from holdall.session import parse_sid
from holdall.tiers import store_key
from holdall_stores import Stores
from pybase64 import urlsafe_b64encode

from tests.core.support import Browser, put
from tests.servers import MemcachedServer
from tests.stores.conftest import Emulator
from tests.stores.test_sessions import Site

NAME = "__Host-session"
ROOT = Path(__file__).parents[2]
BOTH = (Tier.CACHE, Tier.DURABLE)
FOREVER = 2**31

pytestmark = [pytest.mark.memcached, pytest.mark.datastore]


class Opens:
    """Whoever unpickles it makes a file."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return open, (str(self._path), "w")


def hostile(path: Path) -> dict[str, bytes]:
    """Return bytes of which each would make the file, if what they are made for read them."""
    code = f"open({str(path)!r}, 'w')"
    return {
        "pickle 0": pickle.dumps(Opens(path), 0),
        "pickle 5": pickle.dumps(Opens(path), 5),
        "marshal": marshal.dumps(compile(code, "", "eval")),
        "yaml": f"!!python/object/apply:open [{str(path)!r}, w]".encode(),
        "source": code.encode(),
    }


@pytest.fixture
def urls(memcached: MemcachedServer, datastore_emulator: Emulator, namespace: str) -> list[str]:
    durable = f"datastore://test/{namespace}?emulator={datastore_emulator.address}&timeout=5"
    return [f"memcached://{memcached.address}", durable]


@pytest.fixture
def site(urls: list[str]) -> Iterator[Site]:
    stores = Stores.from_urls(*urls)
    yield Site(stores)
    stores.close()


def key_of(site: Site, browser: Browser | None = None) -> str:
    raw = parse_sid(str(site.request(lambda session: session.sid, browser)))
    assert raw is not None
    return store_key(raw)


def held(site: Site, key: str) -> dict[Tier, bytes]:
    answers = [site.stores.execute((Get(tier, key),))[0] for tier in BOTH]
    return {tier: answer.value for tier, answer in zip(BOTH, answers, strict=True) if isinstance(answer, Found)}


def plant(site: Site, key: str, values: dict[Tier, bytes]) -> None:
    for tier, value in values.items():
        site.stores.execute((Put(tier, key, value, FOREVER, Expect.ANYTHING),))


def read_what_is_hostile(site: Site, path: Path) -> None:
    """Plant every hostile value in memcached, in Datastore and in the cookie, and read and write such sessions."""
    for value in hostile(path).values():
        browser = Browser()
        site.request(put(n=1, big="x" * 20_000), browser)
        plant(site, key_of(site, browser), dict.fromkeys(BOTH, value))
        assert site.read(browser) == {}
        for text in (value.decode("latin-1"), urlsafe_b64encode(value + bytes(-len(value) % 3)).decode()):
            for name in (NAME, f"{NAME}-ref"):
                browser.cookies = {name: text}
                assert site.read(browser) == {}
        site.request(put(n=2), browser)
        assert site.read(browser) == {"n": 2}


SCRIPT = """
import sys
from pathlib import Path
from holdall_stores import Stores
from tests.stores.test_requirements import Site, read_what_is_hostile
site, path = Site(Stores.from_urls(*sys.argv[1:3])), Path(sys.argv[3])
read_what_is_hostile(site, path)  # whatever is imported on first use is imported now
seen = []
executing = ("pickle.", "marshal.load", "exec", "os.system", "subprocess.")
sys.addaudithook(lambda name, args: seen.append((name, args)) if name.startswith(executing) else None)
read_what_is_hostile(site, path)
assert not seen, seen
"""


@pytest.mark.requirement(6, 9)
def test_nothing_hostile_is_executed(urls: list[str], tmp_path: Path) -> None:
    """9: pickles, code, yaml and source in cookie, memcached and Datastore: under an audit hook nothing reads them."""
    made = tmp_path / "made"
    command = [sys.executable, "-W", "ignore", "-c", SCRIPT, *urls, str(made)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert not made.exists()


@pytest.mark.requirement(19)
def test_a_dump_opens_nothing(site: Site) -> None:
    """19: no string that memcached and Datastore hold of a session is a cookie or an id, nor shows its contents."""
    site.request(put(user="ada", big="x" * 20_000))
    key = key_of(site)
    values = held(site, key)
    assert set(values) == set(BOTH)
    for value in values.values():
        assert b"ada" not in value
        for text in (key, key[1:], value.hex(), urlsafe_b64encode(value).decode(), value.decode("latin-1")):
            for name in (NAME, f"{NAME}-ref"):
                browser = Browser()
                browser.cookies = {name: text}
                assert site.read(browser) == {}
            assert dict(site.manager.open_sid(text).session) == {}


@pytest.mark.requirement(19)
def test_records_that_were_tampered_with_are_no_session(site: Site) -> None:
    """19: swapped, moved, truncated, replaced and outdated values are no session, no error and nobody else's."""
    ada, bob = Browser(), Browser()
    site.request(put(user="ada", n=1, big="x" * 20_000), ada)
    site.request(put(user="bob", big="x" * 20_000), bob)
    key, other = held(site, key_of(site, ada)), held(site, key_of(site, bob))
    tampered = {
        "swapped": other,
        "in the other tier": {Tier.CACHE: key[Tier.DURABLE], Tier.DURABLE: key[Tier.CACHE]},
        "truncated": {tier: value[:-1] for tier, value in key.items()},
        "empty": dict.fromkeys(BOTH, b""),
        "garbage": dict.fromkeys(BOTH, b"\x01" * 100),
    }
    for values in tampered.values():
        plant(site, key_of(site, ada), values)
        assert site.read(ada) == {}
    plant(site, key_of(site, ada), key)
    assert site.read(ada)["n"] == 1
    site.request(put(n=2), ada)
    plant(site, key_of(site, ada), {Tier.CACHE: key[Tier.CACHE]})
    assert site.read(ada)["n"] == 2
    assert site.read(bob)["user"] == "bob"
