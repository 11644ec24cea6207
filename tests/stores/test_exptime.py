"""Tests of `holdall_stores.exptime`; what servers make of it is in the tests of the stores."""

import pytest
from holdall_stores.exptime import exptime

NOW = 1_800_000_000.25
DAY = 24 * 3600


@pytest.mark.parametrize(
    ("expires", "told"),
    [
        (1_800_000_001, 2),  # the part of a second counts as a whole one, and there is one more
        (1_800_000_060, 61),
        (1_800_000_000 + 30 * DAY - 1, 30 * DAY),
        (1_800_000_000 + 30 * DAY, 1_800_000_000 + 30 * DAY),
        (2**31 - 1, 2**31 - 1),
        (2**31, 30 * DAY),
        (2**40 - 1, 30 * DAY),
    ],
)
def test_what_is_to_come(expires: int, told: int) -> None:
    """A time is relative where it can be, absolute from 30 days on, and 30 days where memcached cannot read it."""
    assert exptime(expires, NOW) == told


@pytest.mark.parametrize("expires", [0, 1, 1_799_999_999, 1_800_000_000])
def test_what_is_over(expires: int) -> None:
    """What has expired is told as an absolute time that has, and never as 0, which is for ever."""
    assert 30 * DAY < exptime(expires, NOW) < 1_800_000_000
