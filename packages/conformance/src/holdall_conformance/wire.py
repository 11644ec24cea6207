"""The wire format as data: makes the vectors in `vectors/`, each one request with all that came in and went out.

`python -m holdall_conformance.wire` writes them anew, always the same: time and randomness are arguments. Any language
can read them; docs/wire-format.md describes the format, and its last part what stands where in a vector. This is the
only file of the package that looks into the core, for the layers in between.
"""

import json
import logging
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, date, datetime, time, timedelta, timezone, tzinfo
from decimal import Decimal
from fractions import Fraction
from hashlib import shake_256
from pathlib import Path
from typing import Any, TypeAlias
from uuid import UUID
from zoneinfo import ZoneInfo

from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.cmac import CMAC
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from holdall import (
    Answer,
    Command,
    Conflict,
    CookieOptions,
    Deleted,
    Expect,
    Found,
    Get,
    Missing,
    Put,
    Session,
    SessionManager,
    SessionUnavailable,
    Stored,
    StoreError,
    Tier,
    register_type,
    run,
)
from holdall import record as records
from holdall import token as tokens
from holdall.codec import Wire, decode, encode, pack_map, unpack_map
from holdall.cookies import from_text, read, to_text
from holdall.sealing import XAES256GCM, KeyRing

FOLDER = Path(__file__).with_name("vectors")
"""Where the vectors are."""

Json: TypeAlias = Any
Vector: TypeAlias = dict[str, Json]

_KEY = "0123456789abcdef-for-tests-only-0123456789abcdef"
_NEXT_KEY = "fedcba9876543210-another-key-for-tests-0123456789"
_WIDTH = 120  # characters of a line in the files
_START = 1_800_000_000_250  # milliseconds UTC since 1970: 2027-01-15T08:00:00.250Z
_SETTINGS: dict[str, Json] = {
    "cookie_key": [_KEY],
    "audience": "holdall",
    "lifetime": 7 * 24 * 3600,
    "idle_timeout": None,
    "cookie_only_threshold": 3800,
    "no_datastore": False,
    "cache_trust": 60,
    "cookie": {},
}


# -- one request -------------------------------------------------------------------------------------------------------


class _Source:
    """A random source that always gives the same for a label, and remembers what it gave."""

    def __init__(self, label: str) -> None:
        self._label = label
        self.given: list[str] = []

    def __call__(self, length: int) -> bytes:
        data = shake_256(f"{self._label}/{len(self.given)}".encode()).digest(length)
        self.given.append(data.hex())
        return data


class _Stores:
    """Both tiers as they stand in a vector; notes the commands."""

    def __init__(self, before: Json, now: float) -> None:
        self._tiers = {Tier(name): dict(before[name]) for name in ("cache", "durable")}
        self._last = before["last_version"]
        self._now = now
        self.commands: list[Json] = []

    def execute(self, commands: tuple[Command, ...], /) -> tuple[Answer | StoreError, ...]:
        return tuple([self._execute(command) for command in commands])

    def after(self) -> Json:
        return {"last_version": self._last, **{tier.value: held for tier, held in self._tiers.items()}}

    def _execute(self, command: Command) -> Answer:
        answer = self._answer(command)
        told: Json = {"kind": type(answer).__name__.lower()}
        if isinstance(answer, Found | Stored):
            told["version"] = answer.version
        noted: Json = {"kind": type(command).__name__.lower(), "tier": command.tier.value, "key": command.key}
        if isinstance(command, Put):
            expect = command.expect.value if isinstance(command.expect, Expect) else command.expect
            noted |= {"value": command.value.hex(), "expires": command.expires, "expect": expect}
        self.commands.append({**noted, "answer": told})
        return answer

    def _answer(self, command: Command) -> Answer:
        held = self._tiers[command.tier]
        there = held.get(command.key)
        if there is not None and there["expires"] <= self._now:
            there = None
        version: Json = Expect.ABSENT if there is None else there["version"]
        if isinstance(command, Get):
            return Missing() if there is None else Found(bytes.fromhex(there["value"]), version)
        if isinstance(command, Put):
            if command.expect not in (Expect.ANYTHING, version):
                return Conflict()
            self._last += 1
            held[command.key] = {
                "value": command.value.hex(),
                "version": self._last,
                "expires": command.expires,
            }
            return Stored(self._last if command.tier is Tier.DURABLE else None)
        held.pop(command.key, None)
        return Deleted()


def carry_out(
    name: str, about: str, settings: Json, now_ms: int, cookie_in: str | None, store: Json, does: Json
) -> tuple[Vector, Json]:
    """Return the vector of a request, made from nothing but data, and the stores as it left them."""
    source, stores = _Source(name), _Stores(store, now_ms / 1000)
    manager = SessionManager(
        settings["cookie_key"],
        audience=settings["audience"],
        lifetime=timedelta(seconds=settings["lifetime"]),
        idle_timeout=None if settings["idle_timeout"] is None else timedelta(seconds=settings["idle_timeout"]),
        cookie_only_threshold=settings["cookie_only_threshold"],
        no_datastore=settings["no_datastore"],
        cache_trust=timedelta(seconds=settings["cache_trust"]),
        cookie=CookieOptions(**settings["cookie"]),
        clock=lambda: now_ms / 1000,
        random=source,
    )
    exchange = manager.open(cookie_in, drive=lambda flow: run(flow, stores))
    out: Json = {}
    try:
        for operation in does:
            if operation[0] == "revoke":
                run(manager.revoke(operation[1]), stores)
            else:
                _operate(exchange.session, operation, out)
        headers = run(exchange.commit(status=200, headers=[]), stores)
        receipt = run(exchange.finish(), stores)
        out |= {"headers": headers, "tier": receipt.tier and receipt.tier.value, "durable": receipt.durable}
    except SessionUnavailable:
        out["raises"] = "SessionUnavailable"
    cookie_name = manager.cookie.effective_name
    layers = _Layers(settings, cookie_name)
    sent = "; ".join(value.partition(";")[0] for field, value in out.get("headers", []) if field == "Set-Cookie")
    vector = {
        "name": name,
        "about": about,
        "settings": settings | {"cookie_name": cookie_name},
        "now_ms": now_ms,
        "random": source.given,
        "cookie_in": cookie_in,
        "store": store,
        "does": does,
        "out": {**out, "commands": stores.commands},
        "decoded": {
            "cookies_in": layers.cookies(cookie_in or ""),
            "cookies_out": layers.cookies(sent),
            "store": {
                tier: {key: layers.value(tier, key, held["value"]) for key, held in store[tier].items()}
                for tier in ("cache", "durable")
            },
            "commands": [
                layers.value(put["tier"], put["key"], put["value"]) if put["kind"] == "put" else None
                for put in stores.commands
            ],
        },
    }
    return vector, stores.after()


def _operate(session: Session, operation: Json, out: Json) -> None:
    """Do one thing that an application can do. "read" puts what the session holds into `out`."""
    verb, *arguments = operation
    match verb:
        case "read":
            values = dict(session)
            out["read"] = [[key, tagged(value)] for key, value in values.items()] if session.is_active() else None
        case "set":
            session[arguments[0]] = untagged(arguments[1])
        case "set_quick":
            session.set_quick(arguments[0], untagged(arguments[1]))
        case "delete":
            del session[arguments[0]]
        case "incr":
            session.incr(arguments[0], arguments[1])
        case "save":
            session.save(persist_even_if_using_cookie=True)
        case "start":
            session.start(**arguments[0])
        case "bind":
            session.bind(*arguments)
        case _:
            {"clear": session.clear, "terminate": session.terminate, "regenerate_id": session.regenerate_id}[verb]()


# -- the layers in between ---------------------------------------------------------------------------------------------


class _Layers:
    """Opens what is sealed, layer by layer."""

    def __init__(self, settings: Json, name: str) -> None:
        self._secrets = [key.encode() for key in settings["cookie_key"]]
        self._audience = settings["audience"]
        self._name = name

    def cookies(self, header: str) -> list[Json]:
        """Return every value under our names that opens."""
        found = []
        for name, inline in ((self._name, True), (f"{self._name}-ref", False)):
            for text, pieces in read(header, name):
                seal = self._open(from_text(text), "cookie", f"{name}/{pieces}")
                if seal is not None:
                    token = tokens.unpack(bytes.fromhex(seal["plaintext"]), inline=inline)
                    assert token is not None
                    found.append({"name": name, "pieces": pieces, "seal": seal, "token": _token(token)})
        return found

    def value(self, tier: str, key: str, value: str) -> Json:
        """Return what a store's value says; None if it does not open."""
        if key.startswith("p"):
            seal = self._open(bytes.fromhex(value), "principal", key)
            return seal and {"seal": seal, "sessions": _values(unpack_map(bytes.fromhex(seal["plaintext"])[1:]))}
        for purpose in ("entry", "record") if tier == "cache" else ("record",):
            seal = self._open(bytes.fromhex(value), purpose, key)
            if seal is not None:
                plain = bytes.fromhex(seal["plaintext"])
                if purpose == "record":
                    return {"seal": seal, "record": _record(plain)}
                version, confirmed, packed = records.split_note(plain)
                return {"seal": seal, "version": version, "confirmed": confirmed, "record": _record(packed)}
        return None

    def _open(self, sealed: bytes | None, kind: str, context: str) -> Json:
        purpose = f"{kind}/{self._audience}"
        for secret in self._secrets:
            if sealed is None or len(sealed) < 45 or sealed[:5] != b"\x01" + _sub_key(secret, "key id", 4):
                continue
            plain = KeyRing([secret], bytes).box(purpose).open(sealed, context.encode())
            if plain is None:
                continue
            sub_key, nonce = _sub_key(secret, purpose, 32), sealed[5:29]
            associated = sealed[:5] + len(purpose).to_bytes(4) + purpose.encode() + context.encode()
            assert XAES256GCM(sub_key).derive(nonce[:12]).decrypt(nonce[12:], sealed[29:], associated) == plain
            return {
                "sealed": sealed.hex(),
                "cookie_key": secret.decode(),
                "purpose": purpose,
                "context": context,
                "key_id": sealed[1:5].hex(),
                "sub_key": sub_key.hex(),
                "nonce": nonce.hex(),
                "derived_key": (_cmac(sub_key, 1, nonce) + _cmac(sub_key, 2, nonce)).hex(),
                "associated_data": associated.hex(),
                "ciphertext": sealed[29:-16].hex(),
                "tag": sealed[-16:].hex(),
                "plaintext": plain.hex(),
            }
        return None


def _sub_key(secret: bytes, purpose: str, length: int) -> bytes:
    return HKDF(SHA256(), length, None, b"holdall/1/" + purpose.encode()).derive(secret)


def _cmac(key: bytes, number: int, nonce: bytes) -> bytes:
    mac = CMAC(AES(key))
    mac.update(bytes((0, number, 0x58, 0)) + nonce[:12])
    return mac.finalize()


def _token(token: tokens.Token) -> Json:
    payload = token.payload
    return {
        **token._asdict(),
        "sid": token.sid.hex(),
        "payload": None if payload is None else payload.hex(),
        "bond": token.bond.hex(),
        "values": None if payload is None else _values(unpack_map(payload)),
    }


def _record(plain: bytes) -> Json:
    stored = records.unpack(plain)
    if stored is None:
        return None
    if isinstance(stored, records.Marker):
        kind, time, expires, write_id = stored
        return {"kind": kind.name.lower(), "time": time, "expires": expires, "write_id": write_id.hex()}
    return {
        "kind": "data",
        **stored._asdict(),
        "writes": [write_id.hex() for write_id in stored.writes],
        "origin": None if stored.origin is None else stored.origin.hex(),
        "changed": None if stored.changed is None else sorted(stored.changed),
        "values": _values(stored.values),
        "bond": stored.bond.hex(),
    }


def _values(wires: dict[str, Wire]) -> Json:
    return [[key, tagged(decode(wire) if type(wire) is bytes else wire)] for key, wire in wires.items()]


# -- values as JSON ----------------------------------------------------------------------------------------------------


@dataclass
class Point:
    """A type of an application's own, for the vectors."""

    x: int
    y: tuple[int, ...]


_POINT = "holdall-vectors/Point"


def tagged(value: Any) -> Json:
    """Return a session value as JSON: a list of its type's name and what it takes to make it."""
    match value:
        case None:
            return ["none"]
        case bool():
            return ["bool", value]
        case int():
            return ["int", str(value)]
        case float():
            return ["float", repr(value)]
        case str():
            try:
                value.encode()
            except UnicodeEncodeError:
                return ["surrogates", value.encode("utf-8", "surrogatepass").hex()]
            return ["str", value]
        case bytes() | bytearray():
            return [type(value).__name__, value.hex()]
        case list() | tuple():
            return [type(value).__name__, [tagged(item) for item in value]]
        case set() | frozenset():
            return [type(value).__name__, sorted(map(tagged, value), key=json.dumps)]
        case dict():
            return ["dict", [[tagged(key), tagged(item)] for key, item in value.items()]]
        case complex():
            return ["complex", repr(value.real), repr(value.imag)]
        case Decimal():
            return ["decimal", str(value).upper()]
        case Fraction():
            return ["fraction", str(value.numerator), str(value.denominator)]
        case UUID():
            return ["uuid", value.hex]
        case datetime():
            parts = [value.year, value.month, value.day, value.hour, value.minute, value.second, value.microsecond]
            return ["datetime", [*parts, value.fold], _zone(value.tzinfo)]
        case date():
            return ["date", [value.year, value.month, value.day]]
        case time():
            parts = [value.hour, value.minute, value.second, value.microsecond, value.fold]
            return ["time", parts, _zone(value.tzinfo)]
        case timedelta():
            return ["timedelta", [value.days, value.seconds, value.microseconds]]
        case timezone() | ZoneInfo():
            return _zone(value)
        case Point():
            return ["object", _POINT, tagged(asdict(value))]
    raise TypeError(type(value).__name__)


def _zone(zone: tzinfo | None) -> Json:
    if zone is None:
        return None
    if isinstance(zone, ZoneInfo):
        return ["zoneinfo", zone.key]
    offset = zone.utcoffset(None)
    assert offset is not None
    name = zone.tzname(None)
    return ["timezone", offset // timedelta(microseconds=1), None if name == timezone(offset).tzname(None) else name]


def untagged(json_: Json) -> Any:
    """Return the session value of `tagged`."""
    tag, *rest = json_
    return _MAKERS[tag](*rest)


def _each(items: Json) -> list[Any]:
    return [untagged(item) for item in items]


def _made_time(parts: Json, zone: Json) -> time:
    *clock, fold = parts
    return time(*clock).replace(tzinfo=None if zone is None else untagged(zone), fold=fold)


_MAKERS: dict[str, Callable[..., Any]] = {
    "none": lambda: None,
    "bool": bool,
    "int": int,
    "float": float,
    "str": str,
    "surrogates": lambda text: bytes.fromhex(text).decode("utf-8", "surrogatepass"),
    "bytes": bytes.fromhex,
    "bytearray": bytearray.fromhex,
    "list": _each,
    "tuple": lambda items: tuple(_each(items)),
    "set": lambda items: set(_each(items)),
    "frozenset": lambda items: frozenset(_each(items)),
    "dict": lambda items: {untagged(key): untagged(item) for key, item in items},
    "complex": lambda real, imaginary: complex(float(real), float(imaginary)),
    "decimal": Decimal,
    "fraction": lambda numerator, denominator: Fraction(int(numerator), int(denominator)),
    "uuid": UUID,
    "datetime": lambda parts, zone: datetime.combine(date(*parts[:3]), _made_time(parts[3:], zone)),
    "date": lambda parts: date(*parts),
    "time": lambda parts, zone: _made_time(parts, zone),
    "timedelta": lambda parts: timedelta(*parts),
    "timezone": lambda offset, name: timezone(timedelta(microseconds=offset), *([] if name is None else [name])),
    "zoneinfo": ZoneInfo,
    "object": lambda _, fields: Point(**untagged(fields)),
}


# -- the vectors -------------------------------------------------------------------------------------------------------


class _Story:
    """A browser and a store through several requests; each becomes a vector."""

    def __init__(self, name: str, **settings: Json) -> None:
        self._name = name
        self.settings = {**_SETTINGS, **settings}
        self.now_ms = _START
        self.cookies: dict[str, str] = {}
        self.store: Json = {"last_version": 0, "cache": {}, "durable": {}}
        self.vectors: list[Vector] = []

    @property
    def header(self) -> str | None:
        return "; ".join(f"{name}={value}" for name, value in self.cookies.items()) or None

    def request(self, name: str, about: str, *does: Json, settings: Json = None, seconds: float = 10) -> "_Story":
        """Do something with the session, `seconds` after the request before."""
        self.settings = {**self.settings, **(settings or {})}
        self.now_ms += int(seconds * 1000)
        name = f"{self._name}/{name}"
        vector, self.store = carry_out(name, about, self.settings, self.now_ms, self.header, self.store, list(does))
        self.vectors.append(vector)
        for field, value in vector["out"].get("headers", []):
            if field == "Set-Cookie":
                pair, *attributes = value.split("; ")
                cookie, _, text = pair.partition("=")
                if "Max-Age=0" in attributes:
                    self.cookies.pop(cookie, None)
                else:
                    self.cookies[cookie] = text
        return self

    def presents(self, name: str, about: str, header: str, *, settings: Json = None, store: Json = None) -> "_Story":
        """Read the session with another Cookie header, settings or store; the story goes on as if it had not."""
        name = f"{self._name}/{name}"
        settings = {**self.settings, **(settings or {})}
        vector, _ = carry_out(name, about, settings, self.now_ms, header, store or self.store, [["read"]])
        self.vectors.append(vector)
        return self


_LONG = ["str", "holdall " * 30]  # more than a cookie may take with the threshold of these vectors
_SMALL = 400  # characters


def inline() -> list[Vector]:
    """Sessions in the cookie."""
    first = (
        _Story("inline")
        .request("first", "The first write begins a session, and puts it into one cookie.", ["set", "n", ["int", "1"]])
        .request("read", "A session that is only read sets no cookie.", ["read"])
        .request("rewrite", "A change writes the cookie anew, with a higher revision.", ["read"], ["incr", "n", 1])
        .request(
            "rotated",
            "After a key was put in front of the old one, the old one opens and the new one seals.",
            ["read"],
            ["incr", "n", 1],
            settings={"cookie_key": [_NEXT_KEY, _KEY]},
        )
    )
    older = first.header
    first.request("newer", "A newer token of the same session.", ["set", "of", ["str", "the newer"]])
    first.presents(
        "two",
        "Of two tokens of the same session under one name the higher revision counts, whichever comes first.",
        f"{first.header}; {older}",
    )
    other = _Story("inline").request("other", "Another session.", ["set", "of", ["str", "another session"]])
    first.vectors += other.vectors
    first.presents(
        "different",
        "Of two tokens of different sessions under one name none counts.",
        f"{other.header}; {first.header}",
        settings={"cookie_key": [_NEXT_KEY, _KEY]},
    )
    idle = (
        _Story("inline", idle_timeout=1000)
        .request("idle", "With an idle timeout, last seen counts.", ["set", "n", ["int", "1"]])
        .request("idle-refreshed", "A tenth of the timeout later, a read moves last seen.", ["read"], seconds=100)
    )
    idle.now_ms += 1_001_000
    idle.presents("idle-out", "Later than the timeout the token is over.", str(idle.header))
    return [
        *first.vectors,
        *idle.vectors,
        *_Story("inline")
        .request(
            "browser",
            "A session that ends with the browser has no Max-Age, and ends after the lifetime all the same.",
            ["start", {"expiration_ts": 0}],
            ["set", "n", ["int", "1"]],
        )
        .vectors,
        *_Story("inline", cookie={"secure": False})
        .request(
            "ssl-only",
            "A session for https alone has Secure where the options have not; the name is another without Secure.",
            ["start", {"ssl_only": True, "expiration_ts": _START // 1000 + 100_000}],
            ["set", "n", ["int", "1"]],
        )
        .vectors,
        *_Story("inline", audience="another", cookie={"name": "sid", "path": "/app"})
        .request("named", "Another cookie name and another audience.", ["set", "n", ["int", "1"]])
        .vectors,
        *_Story("inline", cookie_only_threshold=20_000)
        .request(
            "split",
            "With a large threshold, what one cookie cannot take is split over several.",
            ["set", "n", ["int", "1"]],
            ["set", "long", ["str", "holdall " * 700]],
        )
        .request("split-read", "The pieces are put together again.", ["read"])
        .request("split-no-more", "When one cookie is enough again, the other pieces are deleted.", ["delete", "long"])
        .vectors,
    ]


def stored() -> list[Vector]:
    """Sessions in a store."""
    story = (
        _Story("stored", cookie_only_threshold=_SMALL)
        .request("small", "A session that the cookie can take.", ["set", "n", ["int", "1"]])
        .request(
            "promotion",
            "A session that grew is stored in the durable tier and the cache; a reference replaces the cookie.",
            ["set", "long", _LONG],
            ["set", "list", ["list", [["int", "1"], ["tuple", []]]]],
        )
        .request("cached", "It is read from the cache.", ["read"])
        .request("update", "A change replaces the record and the cache entry.", ["read"], ["incr", "n", 1])
        .request("quick", "A quick write replaces the cache entry alone.", ["set_quick", "seen", ["bool", True]])
        .request("quick-read", "The cache entry is found, with what only it has.", ["read"])
    )
    story.store = {**story.store, "cache": {}}
    story.request("missed", "After the cache lost it, it is read from the durable tier and put back.", ["read"])
    story.request("untrusted", "A cache entry that was confirmed too long ago is confirmed anew.", ["read"], seconds=61)
    story.request(
        "shrunk", "However small it becomes, it stays in the store.", ["clear"], ["set", "n", ["int", "3"]], seconds=1
    )
    return [
        *story.vectors,
        *_Story("stored", cookie_only_threshold=_SMALL)
        .request("inserted", "A session that is large from the beginning.", ["set", "long", _LONG])
        .vectors,
        *_Story("stored")
        .request(
            "persisted",
            "A small session that was asked to be stored.",
            ["set", "n", ["int", "1"]],
            ["save"],
        )
        .vectors,
        *_Story("stored", cookie_only_threshold=0)
        .request(
            "browser",
            "With a threshold of 0 nothing is small enough; this one ends with the browser.",
            ["start", {"expiration_ts": 0}],
            ["set", "n", ["int", "1"]],
        )
        .request(
            "ssl-only",
            "A new session for https alone takes its place.",
            ["start", {"ssl_only": True}],
            ["set", "n", ["int", "2"]],
        )
        .vectors,
        *_Story("stored", cookie_only_threshold=_SMALL, no_datastore=True)
        .request("memory", "Without a durable tier the record itself is in the cache.", ["set", "long", _LONG])
        .request("memory-update", "A change replaces it there.", ["read"], ["set", "n", ["int", "1"]])
        .request("memory-end", "A marker that it ended takes its place there.", ["terminate"])
        .vectors,
    ]


def ends() -> list[Vector]:
    """Sessions that end, or get a new id."""
    small = (
        _Story("ends", cookie_only_threshold=_SMALL)
        .request("small", "A session in the cookie.", ["set", "n", ["int", "1"]])
        .request(
            "small-regenerated",
            "A new id for a session in the cookie: a marker is kept under the old one.",
            ["regenerate_id"],
        )
        .request("small-ended", "A session in the cookie ends: a marker is kept.", ["terminate"])
    )
    large = _Story("ends", cookie_only_threshold=_SMALL).request(
        "large", "A session in the store.", ["set", "long", _LONG]
    )
    before = large.header
    large.request("large-regenerated", "A new id: a new record, and a marker under the old one.", ["regenerate_id"])
    large.presents("old-id", "The old id finds the marker, and no session.", str(before))
    moved = large.header
    large.request("large-ended", "A session in the store ends: a marker takes the record's place.", ["terminate"])
    large.presents("ended", "A reference to a session that ended finds its marker, and no session.", str(moved))
    back = (
        _Story("ends", cookie_only_threshold=_SMALL)
        .request("stored", "A session in the store.", ["set", "n", ["int", "1"]], ["save"])
        .request("back", "With a new id, a session that fits goes back to the cookie.", ["regenerate_id"])
    )
    over = _Story("ends", lifetime=100).request("brief", "A session of 100 seconds.", ["set", "n", ["int", "1"]])
    over.request("over", "When it is over its cookie, which is authentic, is deleted.", ["read"], seconds=100)
    again = (
        _Story("ends")
        .request("first", "A session.", ["set", "user", ["str", "first"]])
        .request(
            "begun-anew",
            "A new session takes its place: the old one ends.",
            ["start", {}],
            ["set", "user", ["str", "second"]],
        )
    )
    return [*small.vectors, *large.vectors, *back.vectors, *over.vectors, *again.vectors]


def bound() -> list[Vector]:
    """Sessions that are bound to somebody."""
    small = (
        _Story("bound", cookie_only_threshold=_SMALL)
        .request(
            "small",
            "A session in the cookie is bound: its principal's list begins, and its token says whose it is.",
            ["set", "n", ["int", "1"]],
            ["bind", "ada", "a browser"],
        )
        .request("small-read", "It is on the list.", ["read"])
    )
    before = small.header
    small.request(
        "small-regenerated",
        "A new id: the list has the new one, and the old one as ended.",
        ["regenerate_id"],
    )
    small.presents("small-old-id", "The old cookie opens, and is refused.", str(before))
    small.request("promotion", "Its record says whose it is.", ["set", "long", _LONG])
    small.request("stored-read", "Its record is read, and the list.", ["read"])
    stored = small.header
    small.request("stored-ended", "It ends: in the store, and on the list.", ["terminate"])
    small.presents("stored-refused", "The copied reference is refused.", str(stored))
    two = _Story("bound", cookie_only_threshold=_SMALL).request(
        "unbound", "A session in the store is nobody's.", ["set", "long", _LONG]
    )
    unbound = two.header
    two.request("stored", "It is bound, without a label.", ["bind", "ada"])
    two.presents("stored-by-its-record", "A cookie of before that finds whose it is in the record.", str(unbound))
    first, two.cookies = two.header, {}
    two.request("second", "A second session of the same principal.", ["set", "n", ["int", "2"]], ["bind", "ada"])
    two.request("revoked", "All sessions of the principal end, by one write.", ["revoke", "ada"], ["read"])
    two.presents("revoked-stored", "The other one is refused as well, though its record stands.", str(first))
    return [*small.vectors, *two.vectors]


def refusals() -> list[Vector]:
    """What does not open, and therefore is no session."""
    name = "__Host-session"
    story = _Story("refusals", cookie_only_threshold=_SMALL).request(
        "sound", "This one opens.", ["set", "n", ["int", "1"]]
    )
    good = story.cookies[name]
    sealed = from_text(good)
    assert sealed is not None
    last = sealed[-1] ^ 1
    for label, about, text in (
        ("tag", "One bit of the tag is different.", to_text(sealed[:-1] + bytes([last]))),
        ("ciphertext", "One bit of the ciphertext is different.", to_text(_flipped(sealed, 40))),
        ("nonce", "One bit of the nonce is different.", to_text(_flipped(sealed, 7))),
        ("version", "The version is 2, which nobody has defined.", to_text(b"\x02" + sealed[1:])),
        ("key-id", "The key id is of no key of ours.", to_text(_flipped(sealed, 1))),
        ("truncated", "The last four characters are missing.", good[:-4]),
        ("short", "Too short for version, key id, nonce and tag.", good[:56]),
        ("lengthened", "Four characters too many.", good + "AAAA"),
        ("one-more", "One character too many, which an indulgent decoder drops.", good + "A"),
        ("padding", "Padding.", good + "===="),
        ("other-alphabet", "The alphabet of plain base64.", good.replace("-", "+").replace("_", "/")),
        ("junk", "A character of no alphabet, which an indulgent decoder drops.", good[:8] + "!" + good[8:]),
        ("quoted", "In quotes, which are no part of the value that was set.", f'"{good}"'),
        ("no-set", "Presented as a piece of a set, whose second piece is missing.", f"2.{good}"),
        ("empty", "Nothing.", ""),
    ):
        story.presents(label, about, f"{name}={text}")
    assert good.replace("-", "+").replace("_", "/") != good
    story.presents("as-reference", "An inline token under the name for references.", f"{name}-ref={good}")
    story.presents("audience", "Of another audience.", str(story.header), settings={"audience": "another"})
    story.presents(
        "other-key", "Sealed with a key we do not have.", str(story.header), settings={"cookie_key": [_NEXT_KEY]}
    )
    story.presents("other-name", "Under another cookie name.", f"sid={good}", settings={"cookie": {"name": "sid"}})
    large = _Story("refusals", cookie_only_threshold=_SMALL).request("stored", "In a store.", ["set", "long", _LONG])
    reference = large.cookies[f"{name}-ref"]
    large.presents("as-inline", "A reference under the name for inline tokens.", f"{name}={reference}")
    ((key, entry),), ((_, record),) = large.store["cache"].items(), large.store["durable"].items()
    broken = _flipped(bytes.fromhex(record["value"]), 60).hex()
    swapped = {**large.store, "cache": {}, "durable": {key: {**record, "value": entry["value"]}}}
    tampered = {**large.store, "cache": {}, "durable": {key: {**record, "value": broken}}}
    large.presents("record", "A record that was changed in the store is no session.", str(large.header), store=tampered)
    large.presents("entry-as-record", "A cache entry is no record.", str(large.header), store=swapped)
    future = KeyRing(_KEY, _Source("future")).box("record/holdall").seal(b"\x02" + bytes(60), key.encode(), 0)
    newer = {**large.store, "cache": {}, "durable": {key: {**record, "value": future.hex()}}}
    large.presents("record-format", "A record of a newer format: no answer, 503.", str(large.header), store=newer)
    split = _Story("refusals", cookie_only_threshold=20_000).request(
        "split", "In three pieces.", ["set", "long", ["str", "holdall " * 1000]]
    )
    pieces = dict(split.cookies)
    swap = {**pieces, f"{name}.1": pieces[f"{name}.2"], f"{name}.2": pieces[f"{name}.1"]}
    fewer = {key: text for key, text in pieces.items() if key != f"{name}.1"}
    joined = pieces[name].partition(".")[2] + pieces[f"{name}.1"] + pieces[f"{name}.2"]
    for label, about, cookies in (
        ("pieces-swapped", "The second and third piece change places.", swap),
        ("piece-missing", "The second piece is missing.", fewer),
        ("pieces-joined", "The pieces as two: the number of pieces is authenticated too.", _halved(name, joined)),
    ):
        split.presents(label, about, "; ".join(f"{key}={text}" for key, text in cookies.items()))
    return [*story.vectors, *large.vectors, *split.vectors]


def _halved(name: str, text: str) -> dict[str, str]:
    return {name: f"2.{text[:4000]}", f"{name}.1": text[4000:]}


def _flipped(sealed: bytes, index: int) -> bytes:
    return sealed[:index] + bytes([sealed[index] ^ 1]) + sealed[index + 1 :]


_MOMENT = (2026, 10, 25, 2, 30, 59, 123456)
_BERLIN = ZoneInfo("Europe/Berlin")
_VALUES: dict[str, Any] = {
    "none": None,
    "true": True,
    "false": False,
    "int 0": 0,
    "int 127": 127,
    "int 128": 128,
    "int 256": 256,
    "int 65536": 65536,
    "int 2**32": 2**32,
    "int -1": -1,
    "int -33": -33,
    "int -129": -129,
    "int -32769": -32769,
    "int -2**31-1": -(2**31) - 1,
    "int, the least that stands for itself": -(2**63),
    "int, the greatest that stands for itself": 2**64 - 1,
    "int, too large": 2**64,
    "int, too small": -(2**63) - 1,
    "float": 1.5,
    "float -0.0": -0.0,
    "float nan": float("nan"),
    "float inf": float("-inf"),
    "str, empty": "",
    "str": "Schön, 日本 🎒",
    "str of 40": "x" * 40,
    "str of 300": "x" * 300,
    "str with a lone surrogate": "a\ud800b",
    "bytes, empty": b"",
    "bytes": bytes(range(256)) + b"more",
    "bytearray": bytearray(b"\0\xff"),
    "list": [1, "two", 3.0, None, [True], b"bytes"],
    "list of 20": list(range(20)),
    "list of tuples": [(1, "a"), (2, "b")],
    "list of a tuple and a list": [(1,), [2]],
    "dict": {"a": 1, "b": {"c": [2]}},
    "dict of 20": {f"key {number}": number for number in range(20)},
    "dict whose keys are not text": {1: "one", (2, 3): "tuple", None: "none", "text": 0.5},
    "tuple": (1, (2, [3]), ()),
    "set": {1, "two", (3,)},
    "set, empty": set(),
    "frozenset": frozenset({b"a", None}),
    "complex": complex(1.5, -0.0),
    "Decimal": Decimal("1.50"),
    "Decimal with an exponent": Decimal("-1E+3"),
    "Decimal, not a number": Decimal("NaN"),
    "Fraction": Fraction(-1, 3),
    "UUID": UUID("12345678-1234-5678-1234-567812345678"),
    "date": date(2026, 2, 28),
    "datetime, naive": datetime(*_MOMENT),  # noqa: DTZ001 (a session may hold one)
    "datetime, UTC": datetime(*_MOMENT, tzinfo=UTC),
    "datetime, an offset": datetime(*_MOMENT, tzinfo=timezone(timedelta(hours=-3, minutes=-30))),
    "datetime, the second of two": datetime(*_MOMENT, tzinfo=_BERLIN, fold=1),
    "time": time(23, 59, 59, 999999),
    "time, an offset with a name": time(1, 2, 3, tzinfo=timezone(timedelta(seconds=3723), "odd"), fold=1),
    "timedelta": timedelta(days=-2, seconds=3, microseconds=4),
    "timezone, UTC": UTC,
    "timezone": timezone(timedelta(hours=5, minutes=45)),
    "ZoneInfo": _BERLIN,
    "registered object": Point(1, (2, 3)),
    "objects in one another": {"points": [Point(0, ()), (Point(1, (2,)), {Decimal(1)})]},
}


def values() -> Json:
    """Every type that a session can hold."""
    table = []
    for name, value in _VALUES.items():
        wire = encode(value)
        table.append({"name": name, "value": tagged(value), "payload": pack_map({"value": wire}).hex()})
    does = [["set", name, tagged(value)] for name, value in _VALUES.items()]
    story = _Story("values", cookie_only_threshold=10_000)
    story.request("all", "All types in one session.", *does).request("read", "And back.", ["read"])
    return {"values": table, "vectors": story.vectors}


def generate() -> dict[str, str]:
    """Return the text of every file by its name."""
    register_type(Point, name=_POINT)
    files: dict[str, Json] = {
        "inline": {"vectors": inline()},
        "stored": {"vectors": stored()},
        "ends": {"vectors": ends()},
        "bound": {"vectors": bound()},
        "refusals": {"vectors": refusals()},
        "values": values(),
    }
    described = {
        name: {"format": "holdall wire format 1", "described in": "docs/wire-format.md", **content}
        for name, content in files.items()
    }
    return {f"{name}.json": _laid_out(content) + "\n" for name, content in described.items()}


def _laid_out(content: Json, indent: str = "") -> str:
    """Return JSON with what is short on one line."""
    line = json.dumps(content)
    if not isinstance(content, dict | list) or len(indent) + len(line) <= _WIDTH:
        return line
    deeper = indent + " "
    if isinstance(content, dict):
        items = [f"{json.dumps(key)}: {_laid_out(item, deeper)}" for key, item in content.items()]
    else:
        items = [_laid_out(item, deeper) for item in content]
    inside = f",\n{deeper}".join(items)
    begin, end = "{}" if isinstance(content, dict) else "[]"
    return f"{begin}\n{deeper}{inside}\n{indent}{end}"


def main(arguments: Sequence[str]) -> None:
    """Write all vectors into a folder: the first argument, or where they belong."""
    logging.getLogger("holdall").setLevel(logging.CRITICAL)  # what is refused is refused on purpose
    folder = Path(arguments[0]) if arguments else FOLDER
    for name, text in generate().items():
        (folder / name).write_text(text, encoding="ascii")


if __name__ == "__main__":
    main(sys.argv[1:])
