"""Every cryptographic call of Holdall, and next to each the reason why it is safe.

Keys, key rotation, sealing and opening live here; what is inside a seal does not. Nothing here does I/O or
reads a clock; randomness is an argument. Sealed bytes are
`version 1 | key id 4 | nonce 24 | ciphertext | tag 16`.
"""

import hashlib
import hmac
import os
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from itertools import count

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import ECB
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from holdall.errors import UsageError

_VERSION = b"\x01"
_HEAD = 5  # version 1, key id 4
_PREFIX = _HEAD + 12  # and the first half of the nonce: names one derived key
_NONCE = _HEAD + 24
_SHORTEST = _NONCE + 16

_KEPT_SECONDS = 1
_KEPT_SEALS = 1024
_KEPT_OPENED = 256

_KEY_BYTES = 32
_DISTINCT_BYTES = 8
_KEY_ID = "key id"
_SHORT_HASH = "short hash"
_PLACEHOLDERS = (
    *("changeme", "changethis", "replaceme", "replacethis", "secretkey", "yoursecret", "notasecret"),
    *("supersecret", "placeholder", "donotuse", "generatekey"),
)
_REMEDY = "make one with holdall.generate_key() and keep it out of the source code"


class XAES256GCM:
    """XAES-256-GCM of C2SP: AES-256-GCM with a 24-byte nonce. `key` is 32 bytes, nonces are 24.

    Random nonces are safe for 2^80 messages under one key, where AES-GCM must stop at 2^32.
    """

    __slots__ = ("_cipher", "_k1")

    def __init__(self, key: bytes) -> None:
        # ECB is what the specification asks for, on single blocks that never repeat: here it is the plain
        # block cipher, used as a pseudo-random function, and no data ever goes through it. A Cipher holds no
        # state and may be shared.
        self._cipher = Cipher(AES(key), ECB())  # noqa: S305
        top = int.from_bytes(self._cipher.encryptor().update(bytes(16)))
        # The doubling of CMAC (NIST SP 800-38B, 6.1); it needs to run once per key only.
        self._k1 = (top << 1) % (1 << 128) ^ (0x87 if top >> 127 else 0)

    def derive(self, prefix: bytes) -> AESGCM:
        """Return the AES-256-GCM key of the first 12 bytes of a nonce, whose other 12 bytes are that key's nonce.

        It may be kept and shared. A whole nonce must not be used twice.
        """
        # CMAC of 00 01 58 00 | prefix, and of 00 02 58 00 | prefix, the counter mode of NIST SP 800-108.
        mask = self._k1 ^ int.from_bytes(prefix)
        first = mask ^ 0x00015800 << 96
        second = mask ^ 0x00025800 << 96
        # An encryptor of its own for every call, because one that is kept could not be shared between
        # threads.
        return AESGCM(self._cipher.encryptor().update(first.to_bytes(16) + second.to_bytes(16)))


class Box:
    """Seals and opens bytes for one purpose. Made by `KeyRing.box`; threads and forks may share it."""

    __slots__ = ("_derived", "_first", "_head", "_kept", "_keys", "_random")

    def __init__(self, keys: dict[bytes, XAES256GCM], purpose: str, random: Callable[[int], bytes]) -> None:
        """`keys` by key id, the first of them seals."""
        name = purpose.encode()
        # Everything that tells what sealed bytes are for is authenticated with them, and the purpose carries
        # its length, so that no purpose and context run together into the bytes of another pair. The key
        # differs by purpose as well.
        label = len(name).to_bytes(4) + name
        self._keys = {_VERSION + key_id: (key, _VERSION + key_id + label) for key_id, key in keys.items()}
        self._head = next(iter(self._keys))
        self._first = self._keys[self._head]
        self._random = random
        self._derived: OrderedDict[bytes, tuple[AESGCM, bytes]] = OrderedDict()
        self._kept = self._renew(0.0)

    def _renew(self, now: float) -> tuple[AESGCM, bytes, bytes, int, float, Iterator[int]]:
        """Choose a new first half of the nonce, and keep the key that is derived from it."""
        half = self._random(12)
        key, label = self._first
        derived, prefix = key.derive(half), self._head + half
        self._keep_derived(prefix, (derived, label))
        self._kept = kept = (derived, label, prefix, os.getpid(), now, count())
        return kept

    def _derive(self, prefix: bytes) -> tuple[AESGCM, bytes] | None:
        # Version and key are looked up among our own, never taken from the sealed bytes: what is unknown is not
        # tried.
        known = self._keys.get(prefix[:_HEAD])
        return None if known is None else (known[0].derive(prefix[_HEAD:]), known[1])

    def _keep_derived(self, prefix: bytes, derived: tuple[AESGCM, bytes]) -> None:
        # Every step is one atomic operation: at worst, threads that race derive the same key twice.
        if len(self._derived) >= _KEPT_OPENED:
            self._derived.popitem(last=False)
        self._derived[prefix] = derived

    def seal(self, plaintext: bytes, context: bytes, now: float) -> bytes:
        """Return the plaintext sealed with the first key, 45 bytes longer; only the same `context` opens it.

        `now`, in seconds UTC since 1970, does nothing but limit how long half a nonce is kept.
        """
        derived, label, prefix, pid, since, seals = self._kept
        # Half of the nonce is kept for a moment, because deriving a key costs more than all the rest. The
        # other half is 96 fresh random bits at every seal, so within one derived key this is AES-GCM as NIST
        # allows it for 2^32 messages (SP 800-38D, 8.3), and it seals at most 1,024 per process. A forked
        # child starts anew, as does a clock that steps back. The counter's `next` is atomic, so threads
        # cannot overshoot.
        if not (0 <= now - since < _KEPT_SECONDS and pid == os.getpid() and next(seals) < _KEPT_SEALS):
            derived, label, prefix, _, _, seals = self._renew(now)
            next(seals)
        nonce = self._random(12)
        return prefix + nonce + derived.encrypt(nonce, plaintext, label + context)

    def open(self, sealed: bytes, context: bytes) -> bytes | None:
        """Return what was sealed with this context by any key of the ring; None for anything else at all."""
        if len(sealed) < _SHORTEST:
            return None
        prefix = sealed[:_PREFIX]
        kept = self._derived.get(prefix)
        known = kept or self._derive(prefix)
        if known is None:
            return None
        derived, label = known
        try:
            plaintext = derived.decrypt(sealed[_PREFIX:_NONCE], sealed[_NONCE:], label + context)
        except InvalidTag:
            return None
        if kept is None:  # Only now: what was not authentic must not push out what is.
            self._keep_derived(prefix, known)
        return plaintext

    def position(self, sealed: bytes) -> int | None:
        """Return which key of the ring sealed bytes name, counted from 1; None if it is none of them."""
        return next((number for number, head in enumerate(self._keys, 1) if sealed.startswith(head)), None)


def token_id(sealed: bytes) -> bytes:
    """Return 12 bytes that tell one seal from every other: the half of its nonce that is fresh at each."""
    return sealed[_PREFIX:_NONCE]


class KeyRing:
    """The secrets of an application: the first seals, all open.

    `cookie_key` is one secret or a sequence of them, each at least 32 bytes (a str counts as UTF-8). `random`
    returns so many bytes of the system's quality. Raises `UsageError` for keys that cannot be safe.
    """

    __slots__ = ("_random", "_secrets", "_short_hash_key")

    def __init__(self, cookie_key: bytes | str | Sequence[bytes | str], random: Callable[[int], bytes]) -> None:
        secrets = _checked(cookie_key)
        self._secrets: dict[bytes, bytes] = {}
        for secret in secrets:
            self._secrets.setdefault(_sub_key(secret, _KEY_ID, 4), secret)
        self._short_hash_key = _sub_key(secrets[0], _SHORT_HASH, 32)
        self._random = random

    def __repr__(self) -> str:
        return f"<KeyRing of {len(self._secrets)}>"

    def box(self, purpose: str) -> Box:
        """Return the box of one purpose. No box opens what was sealed for another purpose."""
        if purpose in (_KEY_ID, _SHORT_HASH):
            raise UsageError(f"purpose={purpose!r} is taken: choose another")
        return Box(
            {key_id: XAES256GCM(_sub_key(secret, purpose, 32)) for key_id, secret in self._secrets.items()},
            purpose,
            self._random,
        )

    def short_hash(self, data: bytes) -> str:
        """Return 8 hex digits that tell ids apart in a log and, without the key, tell nothing about them."""
        # HMAC is a pseudo-random function under a key of its own. 32 bits are enough to follow a session
        # through a log.
        return hmac.digest(self._short_hash_key, data, "sha256").hex()[:8]


def generate_key(random: Callable[[int], bytes] = os.urandom) -> str:
    """Return a new `cookie_key`: 64 hex digits that stand for 32 random bytes."""
    return random(32).hex()


def stretch_key(short: str | bytes) -> bytes:
    """Return a `cookie_key` made of a framework's own key that is too short, for its testing and debug modes alone.

    It is as easily guessed as what it is made of, and the same in every framework, so that they share sessions.
    """
    raw = short.encode() if isinstance(short, str) else short
    return hashlib.sha256(b"holdall: a short key, stretched for tests\0" + raw).digest()


def _sub_key(secret: bytes, purpose: str, length: int) -> bytes:
    # HKDF (RFC 5869): sub-keys of different `info` are independent, so a purpose's key tells nothing about
    # another's, and the public key id nothing about any. The secret is checked to be long; without a salt
    # HKDF is safe for such (3.1).
    return HKDF(SHA256(), length, None, b"holdall/1/" + purpose.encode()).derive(secret)


def _checked(cookie_key: object) -> list[bytes]:
    if isinstance(cookie_key, (str, bytes)):  # one key, never a sequence of its letters
        return [_checked_key("cookie_key", cookie_key)]
    if cookie_key is None:
        raise UsageError(f"cookie_key is missing: {_REMEDY}")
    if not isinstance(cookie_key, Sequence) or isinstance(cookie_key, (bytearray, memoryview)):
        raise UsageError(f"cookie_key is of type {type(cookie_key).__name__}: give bytes, a str, or a list of them")
    if not cookie_key:
        raise UsageError(f"cookie_key is an empty {type(cookie_key).__name__}: {_REMEDY}")
    return [_checked_key(f"cookie_key[{i}]", key) for i, key in enumerate(cookie_key)]


def _checked_key(name: str, key: object) -> bytes:
    if isinstance(key, str):
        key = key.encode("utf-8", "surrogatepass")
    if not isinstance(key, bytes):
        raise UsageError(f"{name} is of type {type(key).__name__}: give bytes or a str, {_KEY_BYTES} bytes or longer")
    if not key:
        raise UsageError(f"{name} is empty: {_REMEDY}")
    if len(key) < _KEY_BYTES:
        raise UsageError(f"{name} has {len(key)} bytes and needs at least {_KEY_BYTES}: {_REMEDY}")
    letters = bytes(byte for byte in key.lower() if chr(byte).isalnum()).decode("latin-1")
    if len(set(key)) < _DISTINCT_BYTES or any(placeholder in letters for placeholder in _PLACEHOLDERS):
        raise UsageError(f"{name} is a placeholder, or as easy to guess as one: {_REMEDY}")
    return key
