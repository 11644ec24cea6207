"""Says in words what became of the session since the page was last seen.

It only compares traces; the page decides how the words look.
"""

from collections.abc import Sequence

from holdall import Tier

from .watch import Place, Trace


def tell(view: Trace, earlier: Sequence[Trace]) -> tuple[str, str]:
    """Return what happened, and what that means. `earlier`: the requests before this page view, newest first."""
    if earlier and earlier[0].is_action:
        return _tell_of_action(earlier[0], next((trace for trace in earlier[1:] if trace.place), None), view)
    if view.place is Place.NOWHERE:
        if earlier and earlier[0].place is not Place.NOWHERE:
            return "Its time was over.", "The end is sealed into the cookie, so no store was asked."
        return "There is no session.", "No cookie, no command, nothing. It begins with the first thing you put in."
    if view.commands:
        return "You only looked.", "The cookie said which session it is, and the stores had it. Nothing was written."
    return "You only looked.", "All of it came with the cookie. No store was asked, and no cookie goes back."


def _tell_of_action(action: Trace, previous: Trace | None, view: Trace) -> tuple[str, str]:
    before, after = previous.place if previous else Place.NOWHERE, view.place
    wrote = {ran.tier for ran in action.commands if ran.verb == "Put"}
    if action.status >= 500:
        return "A store did not answer.", "Nothing was lost, and nothing was made up: the request got a 503."
    if not wrote and not action.cookies:
        if any(ran.verb == "Put" for ran in view.commands):
            return "The cache lost it.", "The durable store still had it, and this page view filled the cache again."
        if after is Place.NOWHERE:
            return "There is no session.", "That started none, and cost nothing."
        return "Nothing changed.", "So nothing was written."
    if after is Place.NOWHERE:
        return "It ended.", "Its cookies are deleted, and a mark in the durable store says so to any copy of them."
    if before is Place.NOWHERE and after is Place.COOKIE:
        asked = "The durable store only noted whose it is." if wrote else "No store was asked."
        return "A session began.", f"It is small, so all of it rides in one encrypted cookie. {asked}"
    if before is Place.STORES and after is Place.COOKIE:
        return "It came back to the cookie.", "With a new id a small session may; the old id is dead."
    if before is not Place.STORES and after is Place.STORES:
        return "It moved to the stores.", "Durable first, then the cache; the cookie is only a reference now."
    if previous and previous.fingerprint and previous.fingerprint != view.fingerprint:
        if after is Place.COOKIE:
            return (
                "It has a new id.",
                "It is still in the cookie; the stores only noted that the old id is dead, and whose.",
            )
        return "It has a new id.", "It is too big for the cookie, so a new record was written; the old id is dead."
    if after is Place.COOKIE:
        return "Still small.", "All of it went back into the cookie. No store was asked."
    if Tier.DURABLE in wrote:
        return "It was written.", "The durable store first, then the cache, then a reference that knows of it."
    return "A quick write.", "The cache alone was told, and no cookie was sent. It may be lost, as you said."
