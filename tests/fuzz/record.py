"""Any bytes at all in the stores, and as what their authentic seals hold: no session, a usable one, or a refusal."""

from collections.abc import Iterator

from holdall import SessionUnavailable, Tier, UsageError, run
from holdall import record as records
from holdall.codec import encode, pack_map
from holdall.sealing import Box
from holdall.session import parse_sid
from holdall.tiers import store_key

from tests.core.support import World, persist
from tests.fuzz.seeds import NOW, record_plaintexts

FAR = 2**40
PRINCIPAL = "ada"


def begun(*, bound: bool = False) -> tuple[World, str]:
    """Return a world whose browser has the reference of a stored session, and the key of its record."""
    world = World()
    world.clock.now = NOW
    sid = world.request(persist)
    if bound:
        world.request(lambda session: session.bind(PRINCIPAL))
    raw = parse_sid(sid)
    assert raw is not None
    return world, store_key(raw)


WORLD, KEY = begun()
TIERS = WORLD.manager._tiers
BOUND, _ = begun(bound=True)
assert BOUND.manager._principals is not None
PRINCIPALS = BOUND.manager._principals
(LIST_KEY,) = (key for key in BOUND.stores.snapshot(Tier.DURABLE) if key.startswith("p"))
RECORDS = BOUND.stores.snapshot(Tier.DURABLE)


def seeds() -> Iterator[bytes]:
    """Yield what the seals of the vectors' stored values hold (records, markers, entries, lists), and unknown kinds."""
    yield from record_plaintexts()
    yield bytes((1, 8)) + bytes(24)
    yield b"\1" + pack_map({"s": encode((1, 2))})


def check(data: bytes) -> None:
    """Raise if a stored value has an effect that it must not have, sealed or not."""
    stored = records.unpack(data)
    if stored is not None:
        packed = records.pack(stored)
        again = records.unpack(packed)
        assert again is not None
        assert records.pack(again) == packed
    head = TIERS._records.seal(b"", b"", NOW)[:5]
    assert read(cache=data, durable=head + data) == {}
    assert listed(head + data) == []
    read(durable=sealed(TIERS._records, KEY, data))
    read(cache=sealed(TIERS._entries, KEY, data))
    listed(sealed(PRINCIPALS._box, LIST_KEY, data))
    for stores in (WORLD.stores, BOUND.stores):
        del stores.commands[:], stores.answers[:]


def sealed(box: Box, key: str, plain: bytes) -> bytes:
    """Return a value as its tier would have it."""
    return box.seal(plain, key.encode(), NOW)


def read(cache: bytes | None = None, durable: bytes | None = None) -> object:
    """Return what a request reads while the tiers hold these values: a dict, or the documented error."""
    for tier, value in ((Tier.CACHE, cache), (Tier.DURABLE, durable)):
        WORLD.stores.restore(tier, {} if value is None else {KEY: (value, 1, FAR)})
    try:
        return dict(WORLD.open().session)
    except (SessionUnavailable, UsageError) as error:  # written by a newer version; a value of an unknown type
        return error


def listed(value: bytes) -> object:
    """Return a principal's sessions while this is the list, or the documented error; a bound session reads it too."""
    BOUND.stores.restore(Tier.DURABLE, {**RECORDS, LIST_KEY: (value, 1, FAR)})
    PRINCIPALS._known.clear()
    dict(BOUND.open().session)
    try:
        return run(BOUND.manager.sessions_of(PRINCIPAL), BOUND.stores)
    except SessionUnavailable as error:
        return error
