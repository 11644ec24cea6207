"""Commands and answers are values: frozen, equal by kind and content, and short to look at."""

from dataclasses import FrozenInstanceError

import pytest
from holdall import Conflict, Delete, Deleted, Expect, Found, Get, Missing, Put, Stored, Tier


def test_equal_by_kind_and_content() -> None:
    """Two of one kind and content are equal and hash alike; of different kinds they never are."""
    assert Get(Tier.CACHE, "k") == Get(Tier.CACHE, "k") != Get(Tier.DURABLE, "k")
    assert len({Get(Tier.CACHE, "k"), Get(Tier.CACHE, "k"), Delete(Tier.CACHE, "k")}) == 2
    assert len({Missing(), Conflict(), Deleted(), Missing()}) == 3


def test_frozen() -> None:
    """Nothing can be set on one that was made, neither a field nor anything else."""
    with pytest.raises(FrozenInstanceError):
        Stored(1).version = 2  # type: ignore[misc]
    with pytest.raises((AttributeError, TypeError)):
        Missing().note = "late"  # type: ignore[attr-defined]


def test_shown_without_their_bytes() -> None:
    """A command shows itself as its call, and a value by its size alone."""
    put = Put(Tier.DURABLE, "k", b"secret" * 100, 7, Expect.ABSENT)
    assert str(put) == (
        "Put(tier=<Tier.DURABLE: 'durable'>, key='k', value=<600 bytes>, expires=7, expect=<Expect.ABSENT: 'absent'>)"
    )
    assert repr(Found(b"x", 3)) == "Found(value=<1 bytes>, version=3)"
    assert repr(Missing()) == "Missing(forever=False)"
