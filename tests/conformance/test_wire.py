"""Tests of `holdall_conformance.wire`: the vectors are what the code makes, and docs/wire-format.md suffices for them.

The reader below was written from that page alone, and imports nothing of Holdall: where page and code part, it fails.
"""

import ast
import base64
import hashlib
import json
import re
import struct
import subprocess
import sys
from collections.abc import Callable, Iterator
from itertools import islice, product
from pathlib import Path
from typing import Any

import pytest
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.cmac import CMAC
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "packages/conformance/src/holdall_conformance/vectors"
FILES = {path.name: json.loads(path.read_text(encoding="ascii")) for path in sorted(FOLDER.glob("*.json"))}
VECTORS = [vector for content in FILES.values() for vector in content["vectors"]]
VALUES = FILES["values.json"]["values"]


# -- the reader: MessagePack and values --------------------------------------------------------------------------------


class Unpacker:
    """Reads MessagePack from bytes, each value as the vectors write it: a list that begins with its type's name."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.at = 0

    def whole(self) -> Any:
        value = self.value()
        assert self.at == len(self.data), "bytes are left over"
        return value

    def take(self, size: int) -> bytes:
        part = self.data[self.at : self.at + size]
        assert len(part) == size, "bytes are missing"
        self.at += size
        return part

    def number(self, size: int, *, signed: bool = False) -> int:
        return int.from_bytes(self.take(size), "big", signed=signed)

    def value(self) -> Any:
        first = self.number(1)
        if first < 0x80:
            return ["int", str(first)]
        if first >= 0xE0:
            return ["int", str(first - 0x100)]
        if first < 0x90:
            return self.map(first - 0x80)
        if first < 0xA0:
            return self.array(first - 0x90)
        if first < 0xC0:
            return self.text(first - 0xA0)
        match first:
            case 0xC0:
                return ["none"]
            case 0xC2 | 0xC3:
                return ["bool", first == 0xC3]
            case 0xC4 | 0xC5 | 0xC6:
                return ["bytes", self.take(self.number(1 << first - 0xC4)).hex()]
            case 0xC7 | 0xC8 | 0xC9:
                return self.extension(self.number(1 << first - 0xC7))
            case 0xCB:
                return ["float", repr(struct.unpack(">d", self.take(8))[0])]
            case 0xCC | 0xCD | 0xCE | 0xCF:
                return ["int", str(self.number(1 << first - 0xCC))]
            case 0xD0 | 0xD1 | 0xD2 | 0xD3:
                return ["int", str(self.number(1 << first - 0xD0, signed=True))]
            case 0xD4 | 0xD5 | 0xD6 | 0xD7 | 0xD8:
                return self.extension(1 << first - 0xD4)
            case 0xD9 | 0xDA | 0xDB:
                return self.text(self.number(1 << first - 0xD9))
            case 0xDC | 0xDD:
                return self.array(self.number(2 << first - 0xDC))
            case 0xDE | 0xDF:
                return self.map(self.number(2 << first - 0xDE))
        raise AssertionError(f"no MessagePack that a writer uses begins with {first:#x}")

    def text(self, size: int) -> Any:
        return ["str", self.take(size).decode()]

    def array(self, size: int) -> Any:
        return ["list", [self.value() for _ in range(size)]]

    def map(self, size: int) -> Any:
        return ["dict", [[self.value(), self.value()] for _ in range(size)]]

    def extension(self, size: int) -> Any:
        tag = self.number(1)
        SEEN.add(tag)
        return EXTENSIONS[tag](self.take(size))


SEEN: set[int] = set()
"""The extension types that were read."""


def packed(data: bytes) -> Any:
    return Unpacker(data).whole()


def elements(data: bytes) -> list[Any]:
    kind, items = packed(data)
    assert kind == "list"
    return items  # type: ignore[no-any-return]


def read_set(data: bytes) -> list[Any]:
    assert data[0] == 0xDD, "a set is an array 32"
    unpacker, parts, items = Unpacker(data[5:]), [], []
    for _ in range(int.from_bytes(data[1:5], "big")):
        start = unpacker.at
        items.append(unpacker.value())
        parts.append(unpacker.data[start : unpacker.at])
    assert unpacker.at == len(unpacker.data)
    assert parts == sorted(parts), "the elements of a set are in the order of their bytes"
    return sorted(items, key=json.dumps)


def read_map(data: bytes) -> Any:
    keys, values = elements(data)
    return ["dict", [list(pair) for pair in zip(keys[1], values[1], strict=True)]]


def read_object(data: bytes) -> Any:
    end = 2 + int.from_bytes(data[:2], "big")
    return ["object", data[2:end].decode(), packed(data[end:])]


def read_datetime(data: bytes) -> Any:
    *parts, last = struct.unpack(">HBBBBBI", data[:11])
    return ["datetime", [*parts, last & 0x7FFFFFFF, last >> 31], packed(data[11:]) if data[11:] else None]


def read_time(data: bytes) -> Any:
    *parts, last = struct.unpack(">BBBI", data[:7])
    return ["time", [*parts, last & 0x7FFFFFFF, last >> 31], packed(data[7:]) if data[7:] else None]


def read_timezone(data: bytes) -> Any:
    if not data:
        return ["timezone", 0, None]
    offset, *name = elements(data)
    return ["timezone", int(offset[1]), name[0][1] if name else None]


EXTENSIONS: dict[int, Callable[[bytes], Any]] = {
    1: lambda data: ["tuple", elements(data)],
    2: lambda data: ["list", [["tuple", items] for _, items in elements(data)]],
    3: read_map,
    4: lambda data: ["surrogates", data.hex()],
    5: read_object,
    16: lambda data: ["set", read_set(data)],
    17: lambda data: ["frozenset", read_set(data)],
    18: lambda data: ["bytearray", data.hex()],
    19: lambda data: ["int", str(int.from_bytes(data, "big", signed=True))],
    20: lambda data: ["complex", *map(repr, struct.unpack(">dd", data))],
    21: lambda data: ["decimal", data.decode()],
    22: lambda data: ["fraction", *(item[1] for item in elements(data))],
    23: lambda data: ["uuid", data.hex()],
    24: read_datetime,
    25: lambda data: ["date", list(struct.unpack(">HBB", data))],
    26: read_time,
    27: lambda data: ["timedelta", list(struct.unpack(">iII", data))],
    28: read_timezone,
    29: lambda data: ["zoneinfo", data.decode()],
}


def read_payload(data: bytes) -> list[Any]:
    """Return the keys and values of a session."""
    kind, pairs = packed(data)
    assert kind == "dict"
    return [[key[1], packed(bytes.fromhex(value[1])) if value[0] == "bytes" else value] for key, value in pairs]


# -- the reader: seals -------------------------------------------------------------------------------------------------


def derive(secret: bytes, info: str, size: int) -> bytes:
    return HKDF(SHA256(), size, None, b"holdall/1/" + info.encode()).derive(secret)


def cmac(key: bytes, data: bytes) -> bytes:
    mac = CMAC(AES(key))
    mac.update(data)
    return mac.finalize()


def open_seal(settings: Any, sealed: bytes, kind: str, context: str) -> Any:
    """Return the layers of a seal; None for what does not open."""
    purpose = f"{kind}/{settings['audience']}"
    for secret in settings["cookie_key"]:
        key_id = derive(secret.encode(), "key id", 4)
        if len(sealed) < 45 or sealed[0] != 1 or sealed[1:5] != key_id:
            continue
        sub_key = derive(secret.encode(), purpose, 32)
        nonce = sealed[5:29]
        derived = cmac(sub_key, b"\0\x01X\0" + nonce[:12]) + cmac(sub_key, b"\0\x02X\0" + nonce[:12])
        associated = sealed[:5] + struct.pack(">I", len(purpose)) + purpose.encode() + context.encode()
        try:
            plain = AESGCM(derived).decrypt(nonce[12:], sealed[29:], associated)
        except InvalidTag:
            continue
        return {
            "sealed": sealed.hex(),
            "cookie_key": secret,
            "purpose": purpose,
            "context": context,
            "key_id": key_id.hex(),
            "sub_key": sub_key.hex(),
            "nonce": nonce.hex(),
            "derived_key": derived.hex(),
            "associated_data": associated.hex(),
            "ciphertext": sealed[29:-16].hex(),
            "tag": sealed[-16:].hex(),
            "plaintext": plain.hex(),
        }
    return None


# -- the reader: cookies -----------------------------------------------------------------------------------------------


def read_header(header: str) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for cookie in header.split(";"):
        name, equals, value = cookie.strip(" \t").partition("=")
        if equals and len(value) <= 4096:
            found.setdefault(name, []).append(value)
    return found


def texts(header: str, name: str) -> Iterator[tuple[str, int]]:
    """Yield each text under a name, with its number of cookies."""
    cookies = read_header(header)
    for value in cookies.get(name, [])[:8]:
        count, dot, chunk = value.partition(".")
        if not dot:
            yield value, 1
        elif re.fullmatch("[1-9][0-9]?", count) and 2 <= int(count) <= 64:
            others = [cookies.get(f"{name}.{number}", []) for number in range(1, int(count))]
            for chunks in islice(product([chunk], *others), 8):
                yield "".join(chunks), int(count)


def from_base64url(text: str) -> bytes | None:
    if len(text) % 4 or not re.fullmatch("[A-Za-z0-9_-]*", text):
        return None
    return base64.urlsafe_b64decode(text)


def read_token(plain: bytes, *, inline: bool) -> Any:
    flags, sid, issued, expires, seen, epoch, revision = struct.unpack(">B32sQQQHI", plain[:63])
    start = 79 if flags & 16 else 63
    payload = plain[start : len(plain) - (flags & 3)] if inline else None
    return {
        "sid": sid.hex(),
        "issued": issued,
        "expires": expires,
        "seen": seen,
        "epoch": epoch,
        "revision": revision,
        "ssl_only": bool(flags & 4),
        "browser": bool(flags & 8),
        "payload": None if payload is None else payload.hex(),
        "bond": plain[63:start].hex(),
        "values": None if payload is None else read_payload(payload),
    }


def open_cookies(settings: Any, header: str) -> list[Any]:
    """Return every token in a Cookie header that opens."""
    found = []
    for name in (settings["cookie_name"], settings["cookie_name"] + "-ref"):
        for text, pieces in texts(header, name):
            sealed = from_base64url(text)
            seal = None if sealed is None else open_seal(settings, sealed, "cookie", f"{name}/{pieces}")
            if seal is not None:
                token = read_token(bytes.fromhex(seal["plaintext"]), inline=not name.endswith("-ref"))
                found.append({"name": name, "pieces": pieces, "seal": seal, "token": token})
    return found


# -- the reader: stores ------------------------------------------------------------------------------------------------


def read_record(plain: bytes) -> Any:
    """Return a record or a marker; None for what a newer version wrote."""
    if plain[0] != 1:
        return None
    if not plain[1] & 1:
        _, kind, time, expires, write_id = struct.unpack(">BBQQ8s", plain)
        kinds = {2: "ended", 4: "regenerated", 6: "ask"}
        return {"kind": kinds[kind], "time": time, "expires": expires, "write_id": write_id.hex()}
    _, flags, issued, expires, epoch, revision, changed_size, count = struct.unpack(">BBQQHIIB", plain[:29])
    rest = Unpacker(plain[29:])
    writes = [rest.take(8).hex() for _ in range(count)]
    origin = rest.take(16).hex() if flags & 8 else None
    changed = [key[1] for key, _ in packed(rest.take(changed_size))[1]] if changed_size else []
    bond = rest.take(16).hex() if flags & 32 else ""
    return {
        "kind": "data",
        "issued": issued,
        "expires": expires,
        "ssl_only": bool(flags & 2),
        "browser": bool(flags & 4),
        "epoch": epoch,
        "revision": revision,
        "writes": writes,
        "origin": origin,
        "changed": None if flags & 16 else changed,
        "values": read_payload(rest.data[rest.at :]),
        "bond": bond,
    }


def open_stored(settings: Any, tier: str, key: str, value: str) -> Any:
    """Return what a store's value says; None for what does not open."""
    if key.startswith("p"):
        return open_list(settings, key, value)
    kind = "entry" if tier == "cache" and not settings["no_datastore"] else "record"
    seal = open_seal(settings, bytes.fromhex(value), kind, key)
    if seal is None:
        return None
    plain = bytes.fromhex(seal["plaintext"])
    if kind == "record":
        return {"seal": seal, "record": read_record(plain)}
    version, confirmed = struct.unpack(">QQ", plain[:16])
    return {"seal": seal, "version": version, "confirmed": confirmed, "record": read_record(plain[16:])}


def open_list(settings: Any, key: str, value: str) -> Any:
    """Return the sessions on a principal's list; None for what does not open."""
    seal = open_seal(settings, bytes.fromhex(value), "principal", key)
    if seal is None:
        return None
    plain = bytes.fromhex(seal["plaintext"])
    assert plain[0] == 1
    return {"seal": seal, "sessions": read_payload(plain[1:])}


# -- the reader: a session ---------------------------------------------------------------------------------------------


class UnreadableError(Exception):
    """The session cannot be read now."""


def choose(settings: Any, header: str, now: float) -> Any:
    """Return the token that counts."""
    idle = settings["idle_timeout"]
    best = []
    for suffix in ("", "-ref"):
        live = [
            cookie["token"]
            for cookie in open_cookies(settings, header)
            if cookie["name"] == settings["cookie_name"] + suffix
            and now < cookie["token"]["expires"]
            and (idle is None or now - cookie["token"]["seen"] <= idle)
        ]
        if live and len({token["sid"] for token in live}) == 1:
            best.append(max(live, key=rank))
    if len(best) == 2 and rank(best[0]) == rank(best[1]) and best[0]["sid"] != best[1]["sid"]:
        return None
    return max(best, key=rank, default=None)


def rank(token: Any) -> tuple[int, int, int]:
    return token["issued"], token["epoch"], token["revision"]


def read_session(settings: Any, header: str | None, now_ms: int, store: Any) -> Any:
    """Return what a session holds; None if there is none."""
    token = choose(settings, header or "", now_ms / 1000)
    if token is None:
        return None
    key = "s" + hashlib.sha256(b"holdall/sid" + bytes.fromhex(token["sid"])).hexdigest()
    found = token if token["values"] is not None else read_stored(settings, token, key, now_ms, store)
    if found is None or is_refused(settings, found["bond"] or token["bond"], key, now_ms, store):
        return None
    return found["values"]


def is_refused(settings: Any, bond: str, key: str, now_ms: int, store: Any) -> bool:
    """Tell whether a session is bound to somebody whose list does not have it, or has it as ended."""
    if not bond or settings["no_datastore"]:
        return False
    principal = look_up(settings, store, "durable", f"p{bond}", now_ms)
    sessions = {} if principal is None else dict(principal["sessions"])
    if key[:33] not in sessions:
        return True
    _, (_, _, _, _, _, ended, _) = sessions[key[:33]]
    return bool(ended != ["int", "0"])


def read_stored(settings: Any, token: Any, key: str, now_ms: int, store: Any) -> Any:
    """Return the record that a reference counts for; None if there is none."""
    if not settings["no_datastore"]:
        entry = look_up(settings, store, "cache", key, now_ms)
        if entry is not None and entry["record"] is not None and entry["record"]["kind"] == "data":
            record, age, trust = entry["record"], now_ms - entry["confirmed"], settings["cache_trust"] * 1000
            is_trusted = -min(5000, trust) <= age < trust
            if is_trusted and record["revision"] >= token["revision"] and now_ms < record["expires"] * 1000:
                return record
    found = look_up(settings, store, "cache" if settings["no_datastore"] else "durable", key, now_ms)
    if found is None:
        return None
    record = found["record"]
    if record is None:
        raise UnreadableError
    if record["kind"] != "data" or now_ms >= record["expires"] * 1000:
        return None
    return None if settings["no_datastore"] and record["revision"] < token["revision"] else record


def look_up(settings: Any, store: Any, tier: str, key: str, now_ms: int) -> Any:
    held = store[tier].get(key)
    if held is None or held["expires"] * 1000 <= now_ms:
        return None
    return open_stored(settings, tier, key, held["value"])


# -- the tests ---------------------------------------------------------------------------------------------------------

each_vector = pytest.mark.parametrize("vector", VECTORS, ids=lambda vector: vector["name"])


def test_the_files_are_what_the_code_makes(tmp_path: Path) -> None:
    """The vectors on the disk are those that `python -m holdall_conformance.wire` writes, to the byte."""
    subprocess.run([sys.executable, "-m", "holdall_conformance.wire", str(tmp_path)], check=True, timeout=60)

    made = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    assert made == {path.name: path.read_bytes() for path in FOLDER.iterdir()}


def test_the_reader_knows_the_page_alone() -> None:
    """Nothing of Holdall is imported here."""
    tree = ast.parse(Path(__file__).read_text(encoding="utf-8"))
    imported = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    imported |= {node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}

    assert not [name for name in imported if name.startswith(("holdall", "ormsgpack", "tests"))]


@each_vector
def test_cookies_open(vector: Any) -> None:
    """From the page alone all cookies that come and go open, layer by layer, to what is recorded; no other does."""
    settings, out = vector["settings"], vector["out"]
    sent = "; ".join(value.partition(";")[0] for name, value in out.get("headers", []) if name == "Set-Cookie")

    assert open_cookies(settings, vector["cookie_in"] or "") == vector["decoded"]["cookies_in"]
    assert open_cookies(settings, sent) == vector["decoded"]["cookies_out"]


@each_vector
def test_stored_values_open(vector: Any) -> None:
    """From the page alone all that stands in the stores, and all that is put there, opens to what is recorded."""
    settings, decoded = vector["settings"], vector["decoded"]
    for tier in ("cache", "durable"):
        held = vector["store"][tier].items()
        assert {key: open_stored(settings, tier, key, there["value"]) for key, there in held} == decoded["store"][tier]
    for command, layers in zip(vector["out"]["commands"], decoded["commands"], strict=True):
        if command["kind"] == "put":
            assert layers is not None
            assert open_stored(settings, command["tier"], command["key"], command["value"]) == layers


@pytest.mark.parametrize(
    "vector", [vector for vector in VECTORS if vector["does"][0] == ["read"]], ids=lambda vector: vector["name"]
)
def test_the_session_is_found(vector: Any) -> None:
    """From the page alone the session is found that the application read, or none where it found none."""
    arguments = vector["settings"], vector["cookie_in"], vector["now_ms"], vector["store"]
    if "raises" in vector["out"]:
        with pytest.raises(UnreadableError):
            read_session(*arguments)
    else:
        assert read_session(*arguments) == vector["out"]["read"]


@pytest.mark.parametrize("value", VALUES, ids=lambda value: value["name"])
def test_every_value_is_read(value: Any) -> None:
    """From the page alone each kind of value is read from a payload."""
    assert read_payload(bytes.fromhex(value["payload"])) == [["value", value["value"]]]


def test_every_extension_type_occurs() -> None:
    """The vectors hold every extension type that the page names, and the reader knows no other."""
    SEEN.clear()
    for value in VALUES:
        read_payload(bytes.fromhex(value["payload"]))
    page = (ROOT / "docs/wire-format.md").read_text(encoding="utf-8").partition("\n## Values")[2].partition("\n## ")[0]
    named = {int(tag) for tag in re.findall(r"^\| (\d+) \|", page, re.MULTILINE)}

    assert set(EXTENSIONS) == named == SEEN


def test_what_is_refused_had_opened() -> None:
    """Nothing of what refusals.json presents is a session, though each was made from something that was one."""
    sound = {"refusals/sound", "refusals/stored", "refusals/split"}
    for vector in FILES["refusals.json"]["vectors"]:
        if vector["name"] in sound:
            assert len(vector["decoded"]["cookies_out"]) == 1
        else:
            assert vector["out"].get("read") is None
            assert not [name for name, _ in vector["out"].get("headers", []) if name == "Set-Cookie"]


def test_whom_a_session_is_bound_to() -> None:
    """From the page alone a principal's list is found by the principal, and has what was said of each session."""
    binding = [(vector, does) for vector in VECTORS for does in vector["does"] if does[0] == "bind"]
    assert len(binding) == 3
    for vector, (_, principal, *label) in binding:
        audience = vector["settings"]["audience"].encode()
        named = b"holdall/principal" + struct.pack(">I", len(audience)) + audience + principal.encode()
        bond = hashlib.sha256(named).digest()[:16].hex()
        (cookie,) = vector["decoded"]["cookies_out"]
        key = "s" + hashlib.sha256(b"holdall/sid" + bytes.fromhex(cookie["token"]["sid"])).hexdigest()
        (listed,) = [layers for layers in vector["decoded"]["commands"] if layers and "sessions" in layers]
        now = ["int", str(vector["now_ms"] // 1000)]
        kind, (public_id, created, seen, expires, said, *ended) = dict(listed["sessions"])[key[:33]]

        assert cookie["token"]["bond"] == bond
        assert [put["key"] for put in vector["out"]["commands"] if put["key"].startswith("p")] == [f"p{bond}"] * 2
        assert (kind, public_id[0], created, seen) == ("tuple", "str", now, now)
        assert int(expires[1]) >= cookie["token"]["expires"]
        assert said == (["str", label[0]] if label else ["none"])
        assert ended == [["int", "0"], ["int", "0"]]


def test_everything_of_the_format_occurs() -> None:
    """The vectors hold every kind of token, record and marker, with every flag set and not set."""
    cookies, held = [], []
    for vector in VECTORS:
        cookies += [*vector["decoded"]["cookies_in"], *vector["decoded"]["cookies_out"]]
        held += [layers for layers in vector["decoded"]["commands"] if layers]
    tokens = [cookie["token"] for cookie in cookies]
    records = [layers["record"] for layers in held if "record" in layers]
    lists = [session for layers in held for _, (_, session) in layers.get("sessions", ())]
    data = [record for record in records if record["kind"] == "data"]

    assert {(token["ssl_only"], token["browser"]) for token in tokens} >= {(False, False), (True, False), (False, True)}
    assert {token["payload"] is None for token in tokens} == {True, False}
    assert {int(cookie["seal"]["plaintext"][:2], 16) & 3 for cookie in cookies} == {0, 1, 2}
    assert {cookie["pieces"] for cookie in cookies} >= {1, 2, 3}
    assert {record["kind"] for record in records} == {"data", "ended", "regenerated", "ask"}
    assert {"version" in layers for layers in held} == {True, False}
    assert {record["origin"] is None for record in data} == {True, False}
    assert {record["changed"] is None for record in data} == {True, False}
    assert {len(record["writes"]) for record in data} >= {1, 2}
    assert {bool(each["bond"]) for each in tokens} == {bool(each["bond"]) for each in data} == {True, False}
    assert {session[-1][1] for session in lists} == {"0", "2", "4"}
    assert {session[4][0] for session in lists} == {"none", "str"}
    assert {(record["ssl_only"], record["browser"]) for record in data} >= {
        (False, False),
        (True, False),
        (False, True),
    }
