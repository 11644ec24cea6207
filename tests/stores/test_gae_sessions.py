"""Moving in from gae-sessions: cookies and records that the original made, see `gae_sessions/make.py2`."""

import base64
import logging
from collections.abc import Mapping
from typing import Any

import pytest
from google.cloud import ndb
from holdall import (
    Answer,
    Command,
    Expect,
    Found,
    Get,
    Put,
    Session,
    SessionUnavailable,
    StoreUnavailable,
    Tier,
    UsageError,
    run,
)
from holdall_stores import Memory
from holdall_stores.datastore import new_client
from holdall_stores.gae_sessions import GaeSessions

from tests.stores.conftest import Emulator
from tests.stores.original import BY_NAME, MADE, UNTIL, a_world, write

END = 4_102_444_800
PLAIN: dict[str, Any] = {
    "none": None,
    "true": True,
    "false": False,
    "zero": 0,
    "small": 200,
    "medium": 60_000,
    "negative": -5,
    "int": 2**31 - 1,
    "over": 2**31,
    "under": -(2**40),
    "long": 2**70,
    "minus_long": -(2**70),
    "long_zero": 0,
    "float": 1.5,
    "str": "text",
    "utf8": "gr\u00fc\u00dfe",
    "binary": b"\x00\xff\xfe",
    "unicode": "gr\u00fc\u00dfe \U0001f600",
    "long_str": "x" * 300,
    "long_unicode": "\u00fc" * 300,
    "empty": ["", "", [], {}, ()],
    "nested": [1, [2, (3, {"four": 5})], {"six": [7]}],
    "tuples": [(1,), (1, 2), (1, 2, 3), (1, 2, 3, 4)],
    "twice": [[1, 2], [1, 2]],
    "key": {(1, 2): "b", 1: "a", None: "c"},
}
STORED = {f"key{number}": number for number in range(300)} | {"user": "ada", "text": "y" * 11_000}


class Memcache(Memory):
    """memcache as the original filled it, in memory."""

    is_down = False

    def __init__(self, *names: str, value: bytes | None = None) -> None:
        super().__init__()
        for made in map(BY_NAME.__getitem__, names):
            stored = base64.b64decode(made["stored"]) if value is None else value
            self.execute(Put(Tier.CACHE, made["sid"], stored, END, Expect.ANYTHING))

    def execute(self, command: Command, /) -> Answer:
        if self.is_down:
            raise StoreUnavailable("memcache is down")
        return super().execute(command)

    def has(self, name: str) -> bool:
        return isinstance(self.execute(Get(Tier.CACHE, BY_NAME[name]["sid"])), Found)


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("plain", PLAIN),
        ("empty", {}),
        ("browser", {"user": "ada"}),
        ("ssl_only", {"user": "ada"}),
        ("several cookies", {"user": "ada", "text": "x" * 7000}),
    ],
)
def test_moves_in(name: str, values: dict[str, Any]) -> None:
    """A session in cookies of the original is read with its types, and its cookies go when it moves in."""
    world = a_world(name)

    assert repr(write(world, act=lambda session: sorted(session.items()))) == repr(sorted(values.items()))
    assert list(world.browser.cookies) == list(BY_NAME[name]["cookies"])
    write(world)
    assert len(world.browser.cookies) == 1
    assert write(world, act=dict) == {**values, "n": 1}


def test_what_the_id_says() -> None:
    """When a session ends, and that its cookie is Secure, are as the original had it."""
    assert write(a_world("plain"), act=Session.get_expiration) == END
    assert write(a_world("browser"), act=Session.get_expiration) == 0
    assert not write(a_world("plain"), act=Session.is_ssl_only)
    world = a_world("ssl_only")
    write(world)
    assert write(world, act=Session.is_ssl_only)
    assert write(world, act=Session.get_expiration) == END
    world = a_world("browser")
    write(world)
    assert "Max-Age=" not in world.headers[-1][1].partition("; Max-Age=0")[0]


@pytest.mark.requirement(39)
def test_ended() -> None:
    """A session past its end is none."""
    world = a_world("ended")

    assert write(world, act=dict) == {}


@pytest.mark.requirement(39)
@pytest.mark.parametrize("name", ["date", "set", "object", "model", "loop"])
def test_not_plain(name: str, caplog: pytest.LogCaptureFixture) -> None:
    """A session that holds more than plain values is not read, and the log says so without its content."""
    caplog.set_level(logging.WARNING)
    world = a_world(name)

    assert write(world, act=dict) == {}
    assert "a session of gae-sessions is not read" in caplog.text
    assert "ada" not in caplog.text


def test_logout_stays() -> None:
    """A logout holds before the move and after, for every copy of the session's cookies."""
    for moves_first in (False, True):
        world = a_world("plain")
        thief = world.browser.copy()
        if moves_first:
            write(world)
        write(world, act=Session.terminate)
        assert world.browser.cookies == {}
        world.clock.advance(61)
        assert write(world, thief, act=dict) == {}


def test_keep() -> None:
    """With `keep` the old cookies and the record stay until the session ends here."""
    memcache = Memcache("stored")
    world = a_world("stored", memcache=memcache, keep=True)
    write(world)
    assert set(world.browser.cookies) == {"DgU00", "__Host-session-ref"}
    assert memcache.has("stored")
    write(world, act=Session.terminate)
    assert world.browser.cookies == {}


@pytest.mark.requirement(39)
def test_forged() -> None:
    """Whatever is not signed with the key, or not as the original writes it, is no session and asks no store."""
    memcache = Memcache("stored")
    good = BY_NAME["browser"]["cookies"]["DgU00"].strip('"')
    signature, sid, data = good[:44], good[44:87], good[87:]
    stored = BY_NAME["stored"]["cookies"]["DgU00"].strip('"')
    later = str(int(sid[:10]) + 1).rjust(10, "0") + sid[10:]
    forged = [
        "",
        "x",
        signature,
        signature + sid,
        signature + later + data,
        signature + sid + data[:-4],
        signature + sid + data + "!",
        signature + sid + "!" + data,
        signature + sid + "\n" + data,
        signature[:-1] + sid + data,
        "\u00e9" * 44 + sid + data,
        signature + "\u00e9" * 43 + data,
        stored[:44] + stored[44:55].replace("_", "S") + stored[55:],
        stored[:-1],
        stored + data,
    ]
    for value in forged:
        world = a_world("browser", memcache=memcache)
        world.browser.cookies = {"DgU00": value}
        assert write(world, act=dict) == {}, value
    world = a_world("browser", cookie_key="another key of the application, 32 bytes")
    assert write(world, act=dict) == {}


def test_pieces() -> None:
    """Of a session in several cookies all must be there, once each; more of them are deleted with the rest."""
    cookies = BY_NAME["several cookies"]["cookies"]
    first, *others = cookies
    assert others
    for name in cookies:
        world = a_world("several cookies")
        del world.browser.cookies[name]
        assert write(world, act=dict) == {}
    world = a_world("several cookies")
    exchange = world.manager.open(f"{world.browser.header}; {first}=other", drive=world.drive)
    assert dict(exchange.session) == {}
    world = a_world("several cookies")
    world.browser.cookies = {name: value.strip('"') for name, value in reversed(cookies.items())}
    assert write(world, act=dict)["user"] == "ada"


def test_stored() -> None:
    """What is in memcache is read there, moved, and deleted there; without a store such a session is none."""
    memcache = Memcache("stored")
    world = a_world("stored", memcache=memcache)

    assert write(world, act=dict) == STORED
    assert memcache.has("stored")
    write(world)
    assert not memcache.has("stored")
    assert write(world, act=dict) == {**STORED, "n": 1}
    assert write(a_world("stored"), act=dict) == {}


def test_stored_and_down() -> None:
    """While memcache does not answer, that is an outage, and no logout."""
    memcache = Memcache("stored")
    world = a_world("stored", memcache=memcache)
    memcache.is_down = True

    with pytest.raises(SessionUnavailable):
        write(world, act=dict)
    memcache.is_down = False
    assert write(world, act=dict) == STORED


@pytest.mark.requirement(39)
@pytest.mark.parametrize("record", [b"", b"garbage", b"\x80\x02cos\nsystem\n.", b"\x80\x02}}\x86.", b"\x80\x02N."])
def test_damaged_records(record: bytes) -> None:
    """A record that is damaged, or hostile, is no session."""
    world = a_world("stored", memcache=Memcache("stored", value=record))

    assert write(world, act=dict) == {}


@pytest.mark.datastore
def test_datastore(datastore_emulator: Emulator, namespace: str) -> None:
    """What memcache has lost is read from Datastore, and deleted there when it has moved."""
    client = new_client("test", namespace=namespace, emulator=datastore_emulator.address)
    made = BY_NAME["stored"]

    class SessionModel(ndb.Model):  # type: ignore[misc]  # as the original declares it
        pdump = ndb.BlobProperty()

    def there() -> bool:
        with client.context():
            return SessionModel.get_by_id(made["sid"], use_cache=False) is not None

    with client.context():
        SessionModel(id=made["sid"], pdump=base64.b64decode(made["stored"])).put()
    world = a_world("stored", memcache=Memcache(), datastore=client)
    assert write(world, act=dict) == STORED
    assert there()
    write(world)
    assert not there()
    assert write(world, act=dict) == {**STORED, "n": 1}
    world = a_world("stored", datastore=client)
    assert write(world, act=dict) == {}


def test_binding() -> None:
    """The application says whose login a session is, and it is bound when it moves in."""

    def principal_of(values: Mapping[str, Any]) -> str | None:
        return values.get("user")

    world = a_world("browser", principal_of=principal_of)
    write(world)
    assert len(run(world.manager.sessions_of("ada"), world.stores)) == 1


@pytest.mark.parametrize("key", ["short", "\u00e9" * 40, None, b"x" * 31])
def test_refused_key(key: Any) -> None:
    """A key that the original would not have taken, or whose bytes nobody knows, is refused."""
    with pytest.raises(UsageError, match="cookie_key"):
        GaeSessions(key, until=UNTIL)


def test_refused_memcache() -> None:
    """What is no store, such as a client of memcache, is refused by a message that names stores."""
    with pytest.raises(UsageError, match=r"memcache must be a store, such as AppEngineMemcache\(\)"):
        GaeSessions(MADE["key"], until=UNTIL, memcache=object())  # type: ignore[arg-type]


def test_other_names() -> None:
    """An application that had another prefix or path names them."""
    world = a_world("browser", prefix="Own", path="/app")
    world.browser.cookies = {"Own00": BY_NAME["browser"]["cookies"]["DgU00"]}
    write(world)

    assert "Own00=; Max-Age=0; Expires=Thu, 01 Jan 1970 00:00:00 GMT; Path=/app; HttpOnly; SameSite=Lax" in [
        value for _, value in world.headers
    ]
