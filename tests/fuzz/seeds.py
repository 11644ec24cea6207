"""What fuzzing starts from: the layers of the wire format's vectors, and what Python 2 pickled."""

import json
from base64 import b64decode
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from holdall.codec import unpack_map
from holdall_conformance.wire import FOLDER

NOW = 1_800_000_010.25
"""The time of most vectors, in seconds UTC since 1970."""
OLD = Path(__file__).parents[1] / "stores" / "gae_sessions"


def vectors() -> Iterator[dict[str, Any]]:
    """Yield every vector, the refusals too."""
    for path in sorted(FOLDER.glob("*.json")):
        yield from json.loads(path.read_text())["vectors"]


def cookie_headers() -> Iterator[str]:
    """Yield the Cookie headers of the vectors."""
    for vector in vectors():
        if vector["cookie_in"] is not None:
            yield vector["cookie_in"]


def token_plaintexts() -> Iterator[bytes]:
    """Yield what is sealed in cookies."""
    for vector in vectors():
        for cookie in vector["decoded"]["cookies_in"] + vector["decoded"]["cookies_out"]:
            yield bytes.fromhex(cookie["seal"]["plaintext"])


def record_plaintexts() -> Iterator[bytes]:
    """Yield what is sealed in stores."""
    for vector in vectors():
        decoded = vector["decoded"]
        tiers = decoded["store"].values()
        for value in [*decoded["commands"], *(value for tier in tiers for value in tier.values())]:
            if value is not None:
                yield bytes.fromhex(value["seal"]["plaintext"])


def payloads() -> Iterator[bytes]:
    """Yield the maps of sessions in cookies."""
    for vector in vectors():
        for cookie in vector["decoded"]["cookies_out"]:
            if cookie["token"]["payload"] is not None:
                yield bytes.fromhex(cookie["token"]["payload"])


def packed_values() -> Iterator[bytes]:
    """Yield every value of the vectors that does not stand for itself, packed."""
    for each in json.loads((FOLDER / "values.json").read_text())["values"]:
        for wire in unpack_map(bytes.fromhex(each["payload"])).values():
            if type(wire) is bytes:
                yield wire


def pickles() -> Iterator[bytes]:
    """Yield what Python 2.7 wrote of many values, and of the sessions of gae-sessions."""
    for each in json.loads((OLD / "pickles.json").read_text()):
        yield b64decode(each["pickle"])
    for session in json.loads((OLD / "cookies.json").read_text())["sessions"]:
        text = "".join(piece.strip('"') for piece in session["cookies"].values())
        yield b64decode(session.get("stored", text[87:]))  # after the signature and the id
