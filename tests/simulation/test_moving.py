"""Random histories of sessions that move in, and the proof that they find things: known mistakes, each put back."""

import pytest
from holdall import MovingIn, SessionManager
from holdall.exchange import Exchange
from holdall.principals import Principals
from holdall.tiers import Tiers

from tests.simulation.mistakes import Edit, Mistake, put_back
from tests.simulation.moving import broken

_HISTORIES = range(3_000)

MISTAKES = (
    Mistake(
        "what has moved in or ended is not asked",
        None,
        (
            Edit(
                SessionManager,
                "_load_old",
                "gone = yield from self._tiers.ending(store_key(token.sid), now)",
                "gone = None",
            ),
        ),
    ),
    Mistake(
        "an outage is taken for an end",
        None,
        (Edit(Tiers, "ending", "            return None\n", "            return Gone(Ending.ENDED, now)\n"),),
    ),
    Mistake(
        "of two requests that move a session in both do",
        None,
        (Edit(Tiers, "move", "marker, expires, expect, write_id", "marker, expires, Expect.ANYTHING, write_id"),),
    ),
    Mistake(
        "what was there before a move is read for ten minutes",
        None,
        (Edit(SessionManager, "_is_recent", "< _SUPERSEDED_MS", "< 10 * _SUPERSEDED_MS"),),
    ),
    Mistake(
        "a logout leaves what came along",
        None,
        (Edit(Exchange, "_end", "*self._came_along(now)", ""),),
    ),
    Mistake(
        "old sessions are read after the day",
        None,
        (Edit(MovingIn, "is_presented", "now < self.until and ", ""),),
    ),
    Mistake(
        "what was revoked before it moved in is not asked",
        None,
        (Edit(SessionManager, "_load_old", "gone = yield from self._principals.refused(*session._login)", "pass"),),
    ),
    Mistake(
        "what is revoked while it moves in goes on",
        None,
        (Edit(Exchange, "_enter", "login if is_moved and token.bond == owner else None", "None"),),
    ),
    Mistake(
        "a revocation ends what it is to spare",
        None,
        (Edit(Principals, "revoke", '_Entry(kept or "", before', '_Entry("", now'),),
    ),
    Mistake(
        "a revocation that spares a session takes an earlier one back",
        None,
        (Edit(Principals, "revoke", "last.created if last.public_id == kept else last.ended", "last.created"),),
    ),
)


def test_whoever_moves_in_keeps_one_session_and_what_ended_stays_ended() -> None:
    """In 3,000 histories of requests that overlap, logouts, revocations and faults, no promise is broken."""
    assert not broken(_HISTORIES)


@pytest.mark.parametrize("mistake", MISTAKES, ids=lambda mistake: mistake.name)
def test_a_known_mistake_is_found(mistake: Mistake) -> None:
    """With one known mistake put back into the core, some history breaks a promise."""
    with put_back(mistake):
        assert broken(_HISTORIES, most=1)
