"""Every contestant of the bench does the work that it is measured for. No time is asserted."""

from collections.abc import Callable

import pytest

from bench.contestants import (
    CONTESTANTS,
    Action,
    Contestant,
    large,
    read,
    read_rows,
    small,
    untouched,
    write,
)
from bench.scenarios import cookie_of
from tests.bench.support import three_requests

EACH = pytest.mark.parametrize("make", CONTESTANTS, ids=lambda make: make.__name__)


@EACH
def test_a_change_arrives_in_the_next_request(make: Callable[[Action], Contestant]) -> None:
    """What was written is read, three requests long."""
    assert three_requests(make, large()) == [(2, 1), (3, 2), (4, 3)]


@EACH
@pytest.mark.parametrize("action", [read, read_rows])
def test_reading_really_opens_the_session(make: Callable[[Action], Contestant], action: Action) -> None:
    """A read without the cookie fails: so the value comes from the cookie."""
    contestant = make(action)
    contestant.request(cookie_of(make, large()))
    with pytest.raises((KeyError, AssertionError)):
        contestant.request("")


@EACH
def test_untouched_sends_nothing(make: Callable[[Action], Contestant]) -> None:
    """A session that is left alone sets no cookie."""
    contestant = make(untouched)
    contestant.request(cookie_of(make, small()))
    assert contestant.cookies() == ""


@EACH
def test_the_bare_application_has_no_session(make: Callable[[Action], Contestant]) -> None:
    """What is subtracted sets no cookie."""
    contestant = make(write)
    contestant.bare("")
    assert contestant.cookies() == ""
