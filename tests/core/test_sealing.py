"""What `holdall.sealing` promises: published vectors, one outcome for all that is not authentic, no nonce twice."""

import hashlib
import hmac
import os
import random
import threading
from collections.abc import Callable, Iterator
from itertools import count, pairwise
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from holdall.errors import UsageError
from holdall.sealing import XAES256GCM, Box, KeyRing, generate_key, stretch_key, token_id
from hypothesis import given
from hypothesis import strategies as st

KEY = "0123456789abcdef-for-tests-only-0123456789abcdef"
OTHER_KEY = "fedcba9876543210-another-key-for-tests-0123456789"
CONTEXT = b"__Host-session/1"
SHORTEST = 1 + 4 + 24 + 16
PINNED = "017e03803d020202020202020202020202030303030303030303030303f4b28fb441c53d2c538e9f3dbe1dc4fcd73768a10df9ef"


def box(*keys: str | bytes, purpose: str = "cookie/tests") -> Box:
    return KeyRing(keys or KEY, os.urandom).box(purpose)


def read_vectors() -> Iterator[dict[str, bytes]]:
    text = Path(__file__).with_name("xaes_vectors.txt").read_text()
    for block in text.split("\n\n")[1:]:
        fields = (line.partition(" ") for line in block.splitlines())
        yield {name: bytes.fromhex(value.strip()) for name, _, value in fields}


VECTORS = list(read_vectors())


class Shake:
    """SHAKE-128 read as a stream."""

    def __init__(self, length: int) -> None:
        self._stream = hashlib.shake_128().digest(length)
        self._at = 0

    def read(self, length: int) -> bytes:
        self._at += length
        return self._stream[self._at - length : self._at]


@pytest.mark.requirement(8)
class TestCipher:
    @pytest.mark.parametrize("vector", VECTORS, ids=lambda vector: vector["key"].hex()[:2])
    def test_published_vectors(self, vector: dict[str, bytes]) -> None:
        """The published vectors come out, in both directions."""
        prefix, rest = vector["nonce"][:12], vector["nonce"][12:]
        cipher = XAES256GCM(vector["key"]).derive(prefix)
        assert vector["ciphertext"] == cipher.encrypt(rest, vector["plaintext"], vector["aad"])
        assert vector["plaintext"] == cipher.decrypt(rest, vector["ciphertext"], vector["aad"])

    @pytest.mark.parametrize("vector", VECTORS, ids=lambda vector: vector["key"].hex()[:2])
    def test_derived_keys(self, vector: dict[str, bytes]) -> None:
        """The first 12 bytes of a nonce derive the published AES-GCM key."""
        derived = XAES256GCM(vector["key"]).derive(vector["nonce"][:12])
        published = AESGCM(vector["derived"])
        assert published.encrypt(bytes(12), b"text", b"") == derived.encrypt(bytes(12), b"text", b"")

    def test_accumulated(self) -> None:
        """10,000 rounds over the specification's random stream accumulate to the published hash."""
        stream = Shake(10_000 * (32 + 24 + 2 * 256))
        assert hashlib.shake_128().hexdigest(16) == "7f9c2ba4e88f827d616045507605853e"
        total = hashlib.shake_128()
        for _ in range(10_000):
            cipher = XAES256GCM(stream.read(32)).derive(stream.read(12))
            nonce = stream.read(12)
            plaintext = stream.read(stream.read(1)[0])
            associated = stream.read(stream.read(1)[0])
            sealed = cipher.encrypt(nonce, plaintext, associated)
            assert plaintext == cipher.decrypt(nonce, sealed, associated)
            total.update(sealed)
        assert total.hexdigest(32) == "e6b9edf2df6cec60c8cbd864e2211b597fb69a529160cd040d56c0c210081939"


class TestSealing:
    @given(st.binary(max_size=500), st.binary(max_size=50), st.floats())
    def test_pair(self, plaintext: bytes, context: bytes, now: float) -> None:
        """What was sealed opens, whatever it is, and at whatever time."""
        one = box()
        sealed = one.seal(plaintext, context, now)
        assert SHORTEST + len(plaintext) == len(sealed)
        assert plaintext == one.open(sealed, context)

    def test_layout_is_pinned(self) -> None:
        """Version 1 of the format does not change: version, key id, nonce, ciphertext, tag."""
        bytes_of = count(1)
        ring = KeyRing(KEY, lambda length: bytes([next(bytes_of)]) * length)
        sealed = ring.box("cookie/tests").seal(b"Holdall", CONTEXT, 1.0)
        assert sealed[:1] == b"\x01"
        assert sealed[5:29] == b"\x02" * 12 + b"\x03" * 12
        assert sealed.hex() == PINNED

    def test_layout_by_hand(self) -> None:
        """Sealed bytes can be opened by what the wire format says, without this module's keys and boxes."""

        def hkdf(info: bytes, length: int) -> bytes:
            extracted = hmac.digest(bytes(32), KEY.encode(), "sha256")
            return hmac.digest(extracted, info + b"\x01", "sha256")[:length]

        sealed = bytes.fromhex(PINNED)
        assert hkdf(b"holdall/1/key id", 4) == sealed[1:5]
        associated = sealed[:5] + b"\x00\x00\x00\x0ccookie/tests" + CONTEXT
        cipher = XAES256GCM(hkdf(b"holdall/1/cookie/tests", 32)).derive(sealed[5:17])
        assert cipher.decrypt(sealed[17:29], sealed[29:], associated) == b"Holdall"

    def test_a_sealed_value_of_old_still_opens(self) -> None:
        """A value sealed by an earlier release of version 1 opens."""
        assert box().open(bytes.fromhex(PINNED), CONTEXT) == b"Holdall"

    @pytest.mark.requirement(3)
    @given(st.data())
    def test_any_mutation_is_junk(self, data: st.DataObject) -> None:
        """Sealed bytes with any one bit changed, cut anywhere or made longer do not open."""
        one = box()
        sealed = one.seal(data.draw(st.binary(max_size=40)), CONTEXT, 1.0)
        bit = data.draw(st.integers(0, len(sealed) * 8 - 1))
        flipped = bytearray(sealed)
        flipped[bit // 8] ^= 1 << bit % 8
        cut = sealed[: data.draw(st.integers(0, len(sealed) - 1))]
        for junk in (bytes(flipped), cut, sealed + data.draw(st.binary(min_size=1))):
            assert one.open(junk, CONTEXT) is None

    @given(st.binary(max_size=200))
    def test_anything_else_is_junk(self, junk: bytes) -> None:
        """Bytes that were never sealed do not open, nor behind an authentic head."""
        one = box()
        assert one.open(junk, CONTEXT) is None
        assert one.open(one.seal(b"", CONTEXT, 1.0)[:17] + junk, CONTEXT) is None

    @pytest.mark.requirement(4)
    def test_every_version_but_one_is_refused(self) -> None:
        """The version is ours to choose, not the token's."""
        one = box()
        sealed = one.seal(b"text", CONTEXT, 1.0)
        opened = [version for version in range(256) if one.open(bytes([version]) + sealed[1:], CONTEXT) is not None]
        assert opened == [1]

    @pytest.mark.requirement(5)
    def test_bound_to_purpose_and_context(self) -> None:
        """The same key opens neither another purpose's seal nor another context's, however they run together."""
        ring = KeyRing(KEY, os.urandom)
        sealed = ring.box("cookie/a").seal(b"text", b"b/1", 1.0)
        assert ring.box("cookie/a").open(sealed, b"b/1") == b"text"
        assert ring.box("cookie/a").open(sealed, b"b/2") is None
        assert ring.box("cookie/ab").open(sealed, b"/1") is None
        assert ring.box("cookie/").open(sealed, b"ab/1") is None
        assert ring.box("record/a").open(sealed, b"b/1") is None

    def test_reserved_purposes(self) -> None:
        """No purpose can be given the key that is used for something else."""
        for purpose in ("key id", "short hash"):
            with pytest.raises(UsageError, match="purpose"):
                KeyRing(KEY, os.urandom).box(purpose)

    def test_long_purpose(self) -> None:
        """A purpose may be of any length."""
        one = box(purpose="cookie/" + "x" * 100_000)
        assert one.open(one.seal(b"text", CONTEXT, 1.0), CONTEXT) == b"text"


@pytest.mark.requirement(6)
class TestRotation:
    def test_first_seals_all_open(self) -> None:
        """Add as second, promote, remove: at every step both processes open what the other sealed."""
        steps = [box(KEY), box(KEY, OTHER_KEY), box(OTHER_KEY, KEY), box(OTHER_KEY)]
        for before, after in pairwise(steps):
            assert after.open(before.seal(b"text", CONTEXT, 1.0), CONTEXT) == b"text"
            assert before.open(after.seal(b"text", CONTEXT, 1.0), CONTEXT) == b"text"

    def test_a_removed_key_opens_nothing(self) -> None:
        """What only a removed key could open is junk."""
        assert box(OTHER_KEY).open(box(KEY).seal(b"text", CONTEXT, 1.0), CONTEXT) is None

    def test_position(self) -> None:
        """A ring tells which of its keys sealed bytes name, counted from 1."""
        sealed = box(OTHER_KEY).seal(b"text", CONTEXT, 1.0)
        rings = [box(OTHER_KEY), box(KEY, OTHER_KEY), box(KEY)]
        assert [ring.position(sealed) for ring in rings] == [1, 2, None]

    def test_str_and_bytes_are_the_same_key(self) -> None:
        """A str key counts as its UTF-8 bytes."""
        assert box("ключ" + KEY).open(box(("ключ" + KEY).encode()).seal(b"text", CONTEXT, 1.0), CONTEXT) == b"text"

    def test_the_same_key_twice(self) -> None:
        """A key that is given twice counts once."""
        assert repr(KeyRing([KEY, KEY.encode()], os.urandom)) == "<KeyRing of 1>"


@pytest.mark.requirement(8)
class TestNonces:
    def test_half_is_kept_for_1024_seals(self) -> None:
        """Half a nonce serves at most 1,024 seals."""
        one = box()
        halves = [one.seal(b"", CONTEXT, 9.0)[5:17] for _ in range(3000)]
        assert [halves.count(half) for half in dict.fromkeys(halves)] == [1024, 1024, 952]

    @pytest.mark.parametrize(
        ("later", "kept"), [(9.0, True), (9.99, True), (10.0, False), (8.99, False), (float("nan"), False)]
    )
    def test_half_is_kept_for_a_second(self, later: float, kept: bool) -> None:
        """Half a nonce serves for less than a second, and not after the clock stepped back."""
        one = box()
        first, second = (one.seal(b"", CONTEXT, now)[5:17] for now in (9.0, later))
        assert kept == (first == second)

    def test_unique_over_threads(self) -> None:
        """10^5 seals by 8 threads have 10^5 nonces, and none of the halves served more than 1,024 times."""
        one = box()
        sealed: list[list[bytes]] = [[] for _ in range(8)]

        def work(mine: list[bytes]) -> None:
            mine.extend(one.seal(b"", CONTEXT, 9.0)[5:29] for _ in range(12_500))

        threads = [threading.Thread(target=work, args=(mine,)) for mine in sealed]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        nonces = [nonce for mine in sealed for nonce in mine]
        assert len(set(nonces)) == 100_000
        served: dict[bytes, int] = {}
        for nonce in nonces:
            served[nonce[:12]] = served.get(nonce[:12], 0) + 1
        assert max(served.values()) <= 1024

    @pytest.mark.filterwarnings(
        "ignore:.*fork:DeprecationWarning"
    )  # other tests may have left threads; this child uses none
    def test_unique_over_fork(self) -> None:
        """A forked child shares no half of a nonce with its parent."""
        one = box()
        before = one.seal(b"", CONTEXT, 9.0)
        readable, writable = os.pipe()
        child = os.fork()
        if child == 0:
            os.write(writable, one.seal(b"", CONTEXT, 9.0))
            os._exit(0)
        os.close(writable)
        with os.fdopen(readable, "rb") as pipe:
            from_child = pipe.read()
        os.waitpid(child, 0)
        assert before[5:17] == one.seal(b"", CONTEXT, 9.0)[5:17] != from_child[5:17]
        assert one.open(from_child, CONTEXT) == b""

    def test_token_id(self) -> None:
        """The token id is the 12 bytes of the nonce that are fresh at every seal."""
        one = box()
        first, second = (one.seal(b"", CONTEXT, 9.0) for _ in range(2))
        assert first[17:29] == token_id(first) != token_id(second)


class TestDerivedKeys:
    def test_cache_is_bounded(self) -> None:
        """However many nonces are opened, 256 derived keys are kept, and everything still opens."""
        one, other = box(), box()
        sealed = [other.seal(b"text", CONTEXT, now * 10.0) for now in range(1000)]
        assert [one.open(each, CONTEXT) for each in sealed * 2] == [b"text"] * 2000
        assert len(one._derived) == 256

    def test_the_latest_are_kept(self) -> None:
        """What was opened longest ago makes room: the key that was derived last is there for the next request."""
        one, other = box(), box()
        prefixes = []
        for now in range(300):
            sealed = other.seal(b"text", CONTEXT, now * 10.0)
            assert one.open(sealed, CONTEXT) == b"text"
            prefixes.append(sealed[:17])
        assert list(one._derived) == prefixes[-256:]

    def test_one_for_half_a_nonce(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Seals that share half a nonce share one key, derived once, and what a box sealed itself needs no other."""
        one, other = box(), box()
        before = [*one._derived]
        sealed = [other.seal(b"text", CONTEXT, 1.0) for _ in range(5)]
        derived = []
        derive = XAES256GCM.derive

        def noting(key: XAES256GCM, half: bytes) -> AESGCM:
            derived.append(half)
            return derive(key, half)

        monkeypatch.setattr(XAES256GCM, "derive", noting)
        for each in sealed:
            assert one.open(each, CONTEXT) == other.open(each, CONTEXT) == b"text"
        assert derived == [sealed[0][5:17]]
        assert [*one._derived] == [*before, sealed[0][:17]]
        assert {each[:17] for each in sealed} <= {*other._derived}

    def test_junk_is_not_kept(self) -> None:
        """What is not authentic pushes no key out of the cache."""
        one = box()
        head = one.seal(b"", CONTEXT, 1.0)[:5]
        before = dict(one._derived)
        for _ in range(300):
            assert one.open(head + os.urandom(60), CONTEXT) is None
        assert before == dict(one._derived)

    def test_safe_under_threads(self) -> None:
        """Threads that open more nonces than are kept get what was sealed, and nothing else."""
        one, other = box(), box()
        sealed = [(other.seal(b"%d" % now, CONTEXT, now * 10.0), b"%d" % now) for now in range(600)]
        failed: list[object] = []

        def work() -> None:
            mine = random.sample(sealed, len(sealed))
            failed.extend(pair for pair in mine if one.open(pair[0], CONTEXT) != pair[1])

        threads = [threading.Thread(target=work) for _ in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert failed == []
        assert len(one._derived) <= 256 + len(threads)


@pytest.mark.requirement(6)
class TestKeys:
    @pytest.mark.parametrize(
        ("key", "complaint"),
        [
            (None, "cookie_key is missing"),
            ("", "cookie_key is empty"),
            (b"", "cookie_key is empty"),
            ([], "cookie_key is an empty list"),
            ((), "cookie_key is an empty tuple"),
            ([KEY, ""], r"cookie_key\[1\] is empty"),
            ("0123456789abcdefghijklmnopqrstu", "cookie_key has 31 bytes and needs at least 32"),
            ([KEY, b"0123456789"], r"cookie_key\[1\] has 10 bytes"),
            (list("0123456789abcdefghijklmnopqrstuvwxyz"), r"cookie_key\[0\] has 1 bytes"),
            (5, "cookie_key is of type int"),
            ({KEY}, "cookie_key is of type set"),
            (bytearray(40), "cookie_key is of type bytearray"),
            (memoryview(bytes(40)), "cookie_key is of type memoryview"),
            ([KEY, 5], r"cookie_key\[1\] is of type int"),
            ([KEY, None], r"cookie_key\[1\] is of type NoneType"),
            ([[KEY]], r"cookie_key\[0\] is of type list"),
            (b"k" * 64, "placeholder"),
            ("abababab" * 8, "placeholder"),
            ("1234567" * 8, "placeholder"),
            ("ChangeMe-ChangeMe-ChangeMe-ChangeMe-1", "placeholder"),
            ("please change_me before you deploy this", "placeholder"),
            ("your-secret-key-goes-here-your-secret-key", "placeholder"),
            ("REPLACE-ME-with-something-random-and-long", "placeholder"),
            ("this-is-not-a-secret-this-is-a-test-1234567", "placeholder"),
            ([KEY, "<the output of: python -c 'import holdall; print(holdall.generate_key())'>"], "placeholder"),
        ],
        ids=lambda value: type(value).__name__,
    )
    def test_refused(self, key: object, complaint: str) -> None:
        """A key that cannot be safe is refused at construction, and the message names the setting."""
        with pytest.raises(UsageError, match=complaint):
            KeyRing(key, os.urandom)  # type: ignore[arg-type]

    @pytest.mark.parametrize(
        "word",
        [
            *("changeme", "changethis", "replaceme", "replacethis", "secretkey", "yoursecret", "notasecret"),
            *("supersecret", "placeholder", "donotuse", "generatekey"),
        ],
    )
    def test_placeholders(self, word: str) -> None:
        """A key that holds the words of a placeholder, however spelled, is refused with the remedy."""
        for spelled in (word, word.upper(), "-".join(word)):
            with pytest.raises(UsageError, match="placeholder") as caught:
                KeyRing(f"0123456789-{spelled}-0123456789-0123456789", os.urandom)
            remedy = "make one with holdall.generate_key() and keep it out of the source code"
            assert str(caught.value).endswith(f": {remedy}")

    @pytest.mark.parametrize("key", [KEY[:32], "12345678" * 4, "\ud800" + KEY])
    def test_just_good_enough(self, key: str) -> None:
        """32 bytes are enough, and 8 different ones; any text is a key."""
        other = KeyRing(key.encode("utf-8", "surrogatepass"), os.urandom).box("cookie/tests")
        assert box(key).open(other.seal(b"text", CONTEXT, 1.0), CONTEXT) == b"text"

    @pytest.mark.requirement(11)
    def test_no_complaint_shows_the_key(self) -> None:
        """Messages and representations show no key, nor a part of one."""
        secret = "changeme-1f8e0b5c7d2a49365f1e"
        with pytest.raises(UsageError) as caught:
            KeyRing([secret], os.urandom)
        assert "1f8e" not in str(caught.value)
        ring = KeyRing(KEY, os.urandom)
        assert KEY[:8] not in repr(ring) + repr(ring.box("cookie/tests"))

    @pytest.mark.parametrize("make", [lambda: KEY, KEY.encode, lambda: [KEY], lambda: (KEY, OTHER_KEY.encode())])
    def test_accepted(self, make: Callable[[], str]) -> None:
        """A str, bytes, or a sequence of both will do."""
        assert box().open(KeyRing(make(), os.urandom).box("cookie/tests").seal(b"text", b"", 1.0), b"") == b"text"

    def test_generated(self) -> None:
        """A generated key is accepted, is 32 random bytes as hex, and is another one each time."""
        assert generate_key() != generate_key()
        assert len(generate_key()) == 64
        assert generate_key(lambda length: b"\x07" * length) == "07" * 32
        assert repr(KeyRing(generate_key(), os.urandom)) == "<KeyRing of 1>"

    def test_stretched(self) -> None:
        """A short key is stretched to one that is accepted, the same for text and its bytes, another for another."""
        assert stretch_key("dev") == stretch_key(b"dev")
        assert stretch_key("dev") != stretch_key("dev\0")
        assert KeyRing(stretch_key("dev"), os.urandom).short_hash(b"sid") == "8be3f14c"

    def test_short_hash(self) -> None:
        """A short hash is 8 hex digits, the same for the same data, another one under another key."""
        ring = KeyRing(KEY, os.urandom)
        assert ring.short_hash(b"sid") == "0f275964"
        assert ring.short_hash(b"sid") != ring.short_hash(b"dis")
        assert ring.short_hash(b"sid") != KeyRing(OTHER_KEY, os.urandom).short_hash(b"sid")

    def test_short_hash_follows_the_first_key(self) -> None:
        """A ring hashes with its first key, so that a promoted key changes the hashes of the logs."""
        first = KeyRing([KEY, OTHER_KEY], os.urandom).short_hash(b"sid")
        assert KeyRing(KEY, os.urandom).short_hash(b"sid") == first
