"""What a cookie says: the byte layout of tokens."""

import pytest
from holdall import token as tokens
from holdall.cookies import to_text
from holdall.sealing import KeyRing
from holdall.token import Token
from hypothesis import example, given
from hypothesis import strategies as st

ids = st.binary(min_size=32, max_size=32)
times = st.integers(0, 2**63)
TOKENS = st.builds(
    Token,
    sid=ids,
    issued=times,
    expires=times,
    seen=times,
    epoch=st.integers(0, 2**16 - 1),
    revision=st.integers(0, 2**32 - 1),
    ssl_only=st.booleans(),
    browser=st.booleans(),
    payload=st.one_of(st.none(), st.binary(max_size=100)),
    bond=st.one_of(st.just(b""), st.binary(min_size=16, max_size=16)),
)


@given(TOKENS)
def test_round_trip(token: Token) -> None:
    """Every token comes back as it went in."""
    assert tokens.unpack(tokens.pack(token), inline=token.payload is not None) == token


@pytest.mark.requirement(10)
@given(TOKENS)
def test_length_leaves_no_other_spelling(token: Token) -> None:
    """A packed token's length is a multiple of 3, so that base64 has no spare bits."""
    assert len(tokens.pack(token)) % 3 == 0


@given(st.integers(200, 250_000))
def test_room_is_all_that_fits(length: int) -> None:
    """So many bytes take at most so many characters, and one byte more takes more."""
    box = KeyRing(bytes(range(32)), bytes).box("test")

    def characters(size: int) -> int:
        plain = tokens.pack(Token(bytes(32), 0, 0, 0, 0, 0, False, False, bytes(size)))
        text = to_text(box.seal(plain, b"", 0.0))
        assert tokens.text_length(len(plain)) == len(text)
        assert tokens.value_length(size) == len(text)
        return len(text)

    assert characters(tokens.room(length)) <= length < characters(tokens.room(length) + 1)


@given(TOKENS, TOKENS)
def test_rank_orders_by_issue_then_epoch_then_revision(one: Token, other: Token) -> None:
    """A newer sid wins over an older one, a promoted session over its inline copy, a later write over an earlier."""
    assert (one.rank < other.rank) == (
        (one.issued, one.epoch, one.revision) < (other.issued, other.epoch, other.revision)
    )


def test_layout_is_pinned() -> None:
    """The layout of docs/wire-format.md does not change: flags, sid, times, epoch, revision, bond, payload, padding."""
    token = Token(b"S" * 32, 1, 2, 3, 4, 5, ssl_only=True, browser=False, payload=b"data", bond=b"B" * 16)
    times = bytes(7) + b"\1" + bytes(7) + b"\2" + bytes(7) + b"\3"
    plain = b"\x15" + b"S" * 32 + times + b"\0\4" + b"\0\0\0\5" + b"B" * 16 + b"data" + b"\0"
    assert tokens.pack(token) == plain
    assert tokens.unpack(plain, inline=True) == token
    reference = b"\x16" + plain[1:-5] + bytes(2)  # 79 bytes and no data
    assert tokens.pack(token._replace(payload=None)) == reference


@given(st.integers(0, 255), st.integers(0, 100))
@example(32, 100)
def test_what_was_never_written_is_no_token(flags: int, size: int) -> None:
    """Bytes too short for what their flags say, or with flags that this version does not know, are no token."""
    plain = bytes([flags]) + bytes(size)
    needed = 63 + 16 * bool(flags & 16) + (flags & 3)
    for inline in (True, False):
        assert (tokens.unpack(plain, inline=inline) is None) == (flags > 31 or len(plain) < needed)


@pytest.mark.parametrize(("flags", "size"), [(0, 63), (31, 82)])
def test_the_shortest_tokens(flags: int, size: int) -> None:
    """A token needs its head, its bond and its padding, and no more."""
    plain = bytes([flags]) + bytes(size - 1)
    token = tokens.unpack(plain, inline=True)
    assert token is not None
    assert token.payload == b""
    assert tokens.unpack(plain[:-1], inline=True) is None


@given(TOKENS)
def test_repr_shows_no_secret(token: Token) -> None:
    """What a log shows of a token is its kind and its revision."""
    kind = "a reference" if token.payload is None else "inline data"
    assert repr(token) == f"<Token of {kind}, revision {token.revision}>"
