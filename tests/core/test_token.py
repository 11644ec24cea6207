"""What a cookie says: the byte layout of tokens."""

from holdall import token as tokens
from holdall.token import Token
from hypothesis import given
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


@given(TOKENS)
def test_length_leaves_no_other_spelling(token: Token) -> None:
    """A packed token's length is a multiple of 3, so that base64 has no spare bits; and it is known beforehand."""
    size = len(tokens.pack(token))
    assert size % 3 == 0
    assert tokens.text_length(len(token.bond) + len(token.payload or b"")) == (size + 45) // 3 * 4


@given(st.integers(200, 250_000))
def test_room_is_all_that_fits(length: int) -> None:
    """So many bytes take at most so many characters, and one byte more takes more."""
    assert tokens.text_length(tokens.room(length)) <= length < tokens.text_length(tokens.room(length) + 1)


@given(TOKENS, TOKENS)
def test_rank_orders_by_issue_then_epoch_then_revision(one: Token, other: Token) -> None:
    """A newer sid wins over an older one, a promoted session over its inline copy, a later write over an earlier."""
    assert (one.rank < other.rank) == (
        (one.issued, one.epoch, one.revision) < (other.issued, other.epoch, other.revision)
    )


@given(TOKENS)
def test_repr_shows_no_secret(token: Token) -> None:
    """What a log shows of a token is its kind and its revision."""
    kind = "a reference" if token.payload is None else "inline data"
    assert repr(token) == f"<Token of {kind}, revision {token.revision}>"
