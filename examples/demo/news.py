"""Says in words what became of the session: in an action, in a page view, in a race of two tabs.

It only reads traces; the pages decide how the words look.
"""

from collections.abc import Sequence

from holdall import Tier

from .watch import Place, Trace

Words = tuple[str, str]


def tell(view: Trace, after: Trace | None, race: Sequence[Trace]) -> Words:
    """Return what happened, and what that means: in a race, or in the action that a page view follows, or in it."""
    if race:
        return _tell_of_race(view, race)
    if after is not None:
        return _tell_of_action(after, view)
    if view.place is Place.NOWHERE:
        if view.presented:
            asked = "A store had to be asked for that." if view.commands else "No store had to be asked for that."
            return "Your cookie opens nothing any more.", f"Its session ended, by its time or by somebody. {asked}"
        return "There is no session.", "No cookie, no command, nothing. It begins with the first thing you put in."
    if view.place is Place.STORES:
        return "You only looked.", "The cookie said which session it is, and the stores had it. Nothing was written."
    return "You only looked.", "All of it came with the cookie, and no cookie goes back."


def _tell_of_action(action: Trace, view: Trace) -> Words:
    before, after = action.before or Place.NOWHERE, action.place
    wrote = {ran.tier for ran in action.commands if ran.verb == "Put"}
    if action.status >= 500:
        return "A store did not answer.", "Nothing was made up: the request got a 503, and your cookie was kept."
    if action.words is not None:
        return action.words
    if not wrote and not action.cookies:
        if any(ran.verb == "Put" for ran in view.commands):
            return "Nothing changed.", "But the cache had lost the session, and this page view filled it again."
        return "Nothing changed.", "So nothing was written."
    if after is Place.NOWHERE:
        return "It ended.", "Its cookies are deleted, and a mark in the durable store says so to any copy of them."
    if before is Place.NOWHERE and after is Place.COOKIE:
        return "A session began.", "It is small, so all of it rides in one encrypted cookie. No store was asked."
    if before is Place.STORES and after is Place.COOKIE:
        return "It came back to the cookie.", "With a new id a small session may; the old id is dead."
    if before is not Place.STORES and after is Place.STORES:
        return "It moved to the stores.", "Durable first, then the cache; the cookie is only a reference now."
    if action.before_id != action.id:
        if after is Place.COOKIE:
            return "It has a new id.", "It is still in the cookie; the stores only noted that the old id is dead."
        return "It has a new id.", "It is too big for the cookie, so a new record was written; the old id is dead."
    if after is Place.COOKIE:
        return "Still small.", "All of it went back into the cookie. No store was asked."
    if Tier.DURABLE in wrote:
        return "It was written.", "The durable store first, then the cache, then a reference that knows of it."
    return "A quick write.", "The cache alone was told, and no cookie was sent. It may be lost, as you said."


def _tell_of_race(view: Trace, race: Sequence[Trace]) -> Words:
    if any(trace.status >= 500 for trace in race):
        return "A store did not answer.", "At least one of the tabs got a 503, and changed nothing that you see here."
    if len(race) < 2:
        return race[0].words or ("One tab ran alone.", "The other one did not come.")
    there = {item.key: item.value for item in view.items}
    kept = sum(there.get(trace.lap.key, 0) >= trace.lap.reached for trace in race if trace.lap)
    if kept == len(race):
        again = sum(trace.conflicts for trace in race)
        how = (
            "The later one found that the other had been quicker, and replayed its change on what was there by then."
            if again
            else "Neither got into the other's way."
        )
        return "Both tabs won.", f"Both marbles are in the basket. {how}"
    return (
        "One tab lost.",
        "The whole session rides in the cookie, and the browser keeps the one that arrived last: the other tab's "
        "marble is gone. In the stores both would be there. Put a parcel in, and race again.",
    )
