"""Any bytes at all as a cookie's value, and as what an authentic seal holds: no session, or one that can be used."""

from collections.abc import Iterator

from holdall import UsageError
from holdall import token as tokens
from holdall.cookies import to_text

from tests.core.support import World
from tests.fuzz.seeds import NOW, token_plaintexts

NAME = "__Host-session"
WORLD = World()
WORLD.clock.now = NOW
BOX = WORLD.manager._box
HEAD = BOX.seal(b"", b"", NOW)[:5]  # with it the cipher is reached


def seeds() -> Iterator[bytes]:
    """Yield what the seals of the vectors' cookies hold."""
    yield from token_plaintexts()


def check(data: bytes) -> None:
    """Raise if a value has an effect that it must not have, sealed or not."""
    for inline in (True, False):
        token = tokens.unpack(data, inline=inline)
        if token is not None:
            assert tokens.unpack(tokens.pack(token), inline=inline) == token
    assert BOX.open(data, b"__Host-session/1") is BOX.open(HEAD + data, b"__Host-session/1") is None
    plain = data[: len(data) // 3 * 3]
    text = to_text(HEAD + b"\0" + plain)
    assert read(f"{NAME}={text}; {NAME}-ref={data.decode('latin-1')}") == "{}"
    assert WORLD.stores.commands == []
    one, other = (f"{name}={to_text(BOX.seal(plain, f'{name}/1'.encode(), NOW))}" for name in (NAME, f"{NAME}-ref"))
    read(other)
    assert read(f"{one}; {other}") == read(f"{other}; {one}")  # order decides nothing
    del WORLD.stores.commands[:], WORLD.stores.answers[:]


def read(header: str) -> str:
    """Return what a request with this Cookie header reads: a dict, or the documented error."""
    try:
        return str(dict(WORLD.manager.open(header, drive=WORLD.drive).session))
    except UsageError as error:  # authentic, and not to be read by this version
        return str(error)
