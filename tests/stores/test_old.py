"""The store of another library, beside our own: asked for what it is to be asked, and its failures are outages."""

import asyncio
from collections.abc import Iterable
from datetime import UTC, datetime

import pytest
from holdall import (
    CookieOptions,
    Delete,
    Deleted,
    Expect,
    Found,
    Get,
    Missing,
    MovingIn,
    OldSession,
    Put,
    SessionUnavailable,
    StoreUnavailable,
    Tier,
    UsageError,
    arun,
    pack_values,
)
from holdall_stores import Memory, Stores, in_threads, with_old_records

from tests.core.support import World

END = 4_102_444_800


class Records:
    """A store of another library, in memory."""

    def __init__(self) -> None:
        self.values: dict[str, bytes] = {"7": pack_values({"user": "ada"})}
        self.is_down = False

    def get(self, key: str) -> bytes | None:
        if self.is_down:
            raise ConnectionError("not to be told")
        return self.values.get(key)

    def delete(self, key: str) -> None:
        self.values.pop(key, None)


class Keyed(MovingIn):
    """Reads cookies that hold the key of a record."""

    def __init__(self, records: Records | None) -> None:
        super().__init__(until=datetime(2090, 1, 1, tzinfo=UTC))
        self.records = records

    @property
    def cookie(self) -> CookieOptions:
        return CookieOptions("old", secure=False)

    def find(self, header: str, now: float) -> Iterable[OldSession]:
        return [OldSession(b"old/7", record="7")]

    def read(self, old: OldSession, value: bytes, now: float) -> OldSession | None:
        return old._replace(payload=value)


def test_commands() -> None:
    """What is for the old store goes there, all else to our own; nothing is written to the old one."""
    records = Records()
    stores = with_old_records(Stores(durable=Memory()), Keyed(records))

    assert stores.execute((Get(Tier.OLD, "7"),)) == (Found(records.values["7"], 0),)
    assert stores.execute((Get(Tier.DURABLE, "7"),)) == (Missing(),)
    assert stores.execute((Delete(Tier.OLD, "7"),)) == (Deleted(),)
    assert stores.execute((Get(Tier.OLD, "7"),)) == (Missing(),)
    with pytest.raises(UsageError):
        stores.execute((Put(Tier.OLD, "7", b"", END, Expect.ANYTHING),))


def test_failures() -> None:
    """Whatever the old store's client raises is an outage, which tells the kind of error and nothing more."""
    records = Records()
    records.is_down = True

    (answer,) = with_old_records(Stores(durable=Memory()), Keyed(records)).execute((Get(Tier.OLD, "7"),))
    assert isinstance(answer, StoreUnavailable)
    assert str(answer) == "the old sessions' store failed: ConnectionError"


def test_nothing_to_add() -> None:
    """Without a reader, or one without a store of its own, the stores are the same."""
    stores = Stores(durable=Memory())

    assert with_old_records(stores, None) is stores
    assert with_old_records(stores, Keyed(None)) is stores


def test_asynchronous_stores() -> None:
    """Beside asynchronous stores the old one is asked in a thread; the session moves in as with synchronous ones."""
    records = Records()
    world = World(moving_in=Keyed(records))
    world.browser.cookies = {"old": "7"}
    stores = with_old_records(in_threads(world.stores), world.manager.moving_in)

    async def request(number: int) -> dict[str, object]:
        exchange = world.manager.open(world.browser.header)
        await arun(exchange.load(), stores)
        exchange.session["n"] = number
        world.browser.receive(await arun(exchange.commit(status=200, headers=[]), stores))
        return dict(exchange.session)

    records.is_down = True
    with pytest.raises(SessionUnavailable):
        asyncio.run(request(1))
    records.is_down = False
    assert asyncio.run(request(1)) == {"user": "ada", "n": 1}
    assert records.values == {}
    assert asyncio.run(request(2)) == {"user": "ada", "n": 2}
