"""docs/scaling.md and docs/app-engine.md are true: their examples run, on memcached and Datastore's emulator."""

import re
import uuid
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import pytest
from holdall import generate_key
from holdall_conformance import Browser, Request, call_wsgi
from holdall_stores import Datastore

from tests.docs.test_docs import ROOT, blocks, execute
from tests.emulators import OPTIMISTIC, emulator
from tests.servers import MemcachedServer, memcached

pytestmark = [pytest.mark.memcached, pytest.mark.datastore]


@pytest.fixture(scope="module")
def datastore() -> Iterator[str]:
    """The address of Datastore's emulator."""
    with emulator(OPTIMISTIC) as address:
        yield address


@pytest.fixture
def ring() -> Iterator[list[MemcachedServer]]:
    """Three memcached servers that only one test breaks."""
    with ExitStack() as stack:
        yield [stack.enter_context(memcached()) for _ in range(3)]


def visit(application: Any, browser: Browser) -> tuple[int, bytes]:
    response = call_wsgi(application, Request("/", (browser.header,) if browser.cookies else ()))
    browser.receive(response)
    return response.status, response.body


def local(source: str, datastore: str, servers: list[str]) -> str:
    """Return an example with servers of this machine in the place of those that it names."""
    hosts = re.findall(r"10\.0\.0\.\d:11211", source)
    assert len(hosts) == len(servers)
    for host, server in zip(hosts, servers, strict=True):
        source = source.replace(host, server)
    return source.replace("my-project/sessions", f"test/{uuid.uuid4().hex}?emulator={datastore}&timeout=20")


def test_scaling(datastore: str, ring: list[MemcachedServer]) -> None:
    """Sessions are counted on, whichever server of the ring is lost."""
    source = local(blocks("docs/scaling.md")[0], datastore, [server.address for server in ring])
    names = execute(source, KEY=generate_key())
    browsers = [Browser() for _ in range(9)]
    for n in (1, 2):
        for browser in browsers:
            assert visit(names["application"], browser) == (200, b"visit %d" % n)
    kept = [int(re.findall(r"\d+$", server.ask("stats"))[0]) for server in ring]
    assert all(kept)
    ring[0].kill()
    for browser in browsers:
        assert visit(names["application"], browser) == (200, b"visit 3")
    names["stores"].close()


def test_app_engine(datastore: str, ring: list[MemcachedServer], monkeypatch: pytest.MonkeyPatch) -> None:
    """The module keeps sessions, and its sweep is for cron alone."""
    namespace = uuid.uuid4().hex
    monkeypatch.setenv("SESSION_CACHE", f"memcached://{ring[0].address}")
    monkeypatch.setenv("SESSION_STORE", f"datastore://test/{namespace}?emulator={datastore}&timeout=20")
    monkeypatch.setenv("HOLDALL_KEY", generate_key())
    names = execute(blocks("docs/app-engine.md")[0])
    browser = Browser()
    assert [visit(names["application"], browser)[1] for _ in range(2)] == [b"visit 1", b"visit 2"]

    def sweep(**headers: str) -> str:
        statuses: list[str] = []
        environ = {"PATH_INFO": "/cron/sweep", **headers}
        assert not list(names["application"](environ, lambda status, headers: statuses.append(status)))
        return statuses[0]

    assert sweep().startswith("403")
    assert sweep(HTTP_X_APPENGINE_CRON="true").startswith("204")
    assert visit(names["application"], browser) == (200, b"visit 3")  # a live session is not swept
    names["stores"].close()


def test_kind_and_property() -> None:
    """The commands that set a TTL policy name the kind and the property that the store uses."""
    import inspect

    kind = inspect.signature(Datastore).parameters["kind"].default
    for page in ("docs/scaling.md", "docs/app-engine.md"):
        text = (ROOT / page).read_text(encoding="utf-8")
        assert f"ttls update expires --collection-group={kind} --enable-ttl" in text
