"""What happens to sessions, as data: for `SessionManager(on_event=…)` and for the log.

Every sentence that a request of the core logs is here, under the name that does not change when the sentence does.
When something happens is known elsewhere; here it is said. No event holds a token, an id or a value of a
session.
"""

import logging
from collections.abc import Callable
from typing import Any, NamedTuple

from holdall.commands import Tier

log = logging.getLogger("holdall")
trace = logging.getLogger("holdall.trace")

_SILENT, _WARNING, _ERROR = logging.NOTSET, logging.WARNING, logging.ERROR

REASONS: dict[str, dict[str, tuple[int, str]]] = {
    "rejected": {
        "invalid": (_WARNING, "a session cookie does not open (forged, damaged, or of another key): it is ignored"),
        "expired": (_SILENT, "the session of the cookie has expired"),
        "ambiguous": (_SILENT, "the cookies of several sessions came, and nothing tells which one is meant"),
        "missing": (_SILENT, "no store knows the session of the cookie"),
        "ended": (_SILENT, "the session of the cookie has ended"),
        "regenerated": (_SILENT, "the session of the cookie goes on under a new id"),
        "record": (_ERROR, "a stored record does not authenticate: it is ignored"),
        "list": (_ERROR, "the list of a principal's sessions does not authenticate: it is ignored"),
    },
    "loaded": {
        "cookie": (_SILENT, "from the cookie"),
        "old": (_SILENT, "a session of another library, which moves in at the next write"),
        "cache": (_SILENT, "from the cache"),
        "durable": (_SILENT, "from the durable tier"),
    },
    "merged": {
        "conflict": (_SILENT, "another request was faster: the changes were made to what it left"),
    },
    "dropped": {
        "superseded": (_WARNING, "the session got a new id a moment ago: this request's changes are dropped"),
        "ended": (_WARNING, "the session ended while this request changed it: its changes are dropped"),
        "late": (_WARNING, "changed in place after the response's headers, which would have needed a cookie"),
        "no_number": (_WARNING, "an increment found no number to be added to"),
    },
    "degraded": {
        "cache_read": (_WARNING, "the cache cannot be read, asking the durable tier"),
        "cache_write": (_WARNING, "the cache could not be written"),
        "cache_commit": (_WARNING, "the cache was not told of a write"),
        "cache_end": (_WARNING, "the cache was not told that a session ended"),
        "no_reply": (_WARNING, "a write has no answer, looking whether it was applied"),
        "leftover": (_WARNING, "a record that nothing refers to was left behind"),
        "old_leftover": (_WARNING, "a record of another library was left behind"),
        "old_ending": (_ERROR, "whether an old session has moved in or ended cannot be asked, it goes on"),
        "restored": (_ERROR, "a durable record is older than what its browser has seen: restored from a backup?"),
        "end": (_ERROR, "the end of a session in the cookie could not be recorded"),
        "move": (_ERROR, "the old id of a session in the cookie could not be marked as regenerated"),
        "leave": (_ERROR, "the old id of a bound session in a copied cookie may go on"),
        "revocation": (_ERROR, "whether a session was revoked cannot be asked, it goes on"),
    },
    "committed": {
        "untouched": (_SILENT, "no Set-Cookie: not touched"),
        "clean": (_SILENT, "no Set-Cookie: clean"),
        "refreshed": (_SILENT, "Set-Cookie: its idle time begins anew"),
        "forgotten": (_SILENT, "Set-Cookie: what has expired is deleted"),
        "discarded": (_SILENT, "nothing is saved"),
        "dropped": (_SILENT, "nothing is saved: the session ended meanwhile"),
        "inline": (_SILENT, "kept in the cookie"),
        "insert": (_SILENT, "begun in the store"),
        "promote": (_SILENT, "moved to store"),
        "update": (_SILENT, "kept in the store: within one id it only moves up"),
        "cache_only": (_SILENT, "written to the cache alone: only quick writes"),
        "move": (_SILENT, "moved to a new id"),
        "end": (_SILENT, "ended"),
    },
    "late": {
        "stored": (_SILENT, "changed after the response's headers, and stored"),
        "dropped": (_SILENT, "changed after the response's headers, and dropped"),
    },
    "failed": {
        "unavailable": (_SILENT, "the session can be neither read nor written now"),
        "too_large": (_SILENT, "the session is too large to be kept"),
        "usage": (_SILENT, "the application made of the session what cannot be"),
    },
    "command": {
        "found": (_SILENT, "a store has what was asked for"),
        "missing": (_SILENT, "a store has nothing"),
        "stored": (_SILENT, "a store stored it"),
        "conflict": (_SILENT, "a store holds something else"),
        "deleted": (_SILENT, "a store deleted it"),
        "failed": (_SILENT, "a store does not answer"),
    },
}
"""By name and reason: the level at which `holdall` logs it, NOTSET for not at all, and the sentence."""


class Event(NamedTuple):
    """Something that happened to the session of a request. It holds no token, no id and no value of a session.

    Which fields an event of a name has is in docs/observability.md; the others are None.
    """

    name: str
    """What happened: "rejected", "loaded", "merged", "dropped", "degraded", "committed", "late", "failed", …."""
    reason: str
    """Why, or how: one of few words for each name."""
    text: str
    """The same as a sentence, for people; it may change in any release."""
    tier: Tier | None = None
    """Where: the tier that a session came from, went to, or that was asked."""
    step: str | None = None
    """What this ended: "load", "commit" or "finish"; None: it happened in between."""
    command: str | None = None
    """What a store was asked: "get", "put" or "delete"."""
    error: str | None = None
    """What a store said instead of an answer, or why a step failed."""
    commands: int | None = None
    """How many commands the step gave to stores."""
    record_bytes: int | None = None
    """How many bytes of sealed records it got from them and gave to them."""
    seconds: float | None = None
    """How long it took, by the manager's clock."""
    size: int | None = None
    """How many characters the session takes, or would take, as a cookie value; None: that was not asked."""
    limit: int | None = None
    """How many it may take."""
    cookie_bytes: int | None = None
    """The bytes of all Set-Cookie values of ours in the response."""

    def fields(self) -> dict[str, Any]:
        """Return the fields of its log line: what is not None, as plain values under documented names."""
        plain = self._asdict() | {"text": None, "name": None, "event": self.name, "tier": self.tier and self.tier.value}
        return {f"holdall_{name}": value for name, value in plain.items() if value is not None}

    def __str__(self) -> str:
        return f"{self.name}: {self.text}"


def log_event(event: Event) -> None:
    """Log an event at level DEBUG of the logger `holdall.trace`: for `SessionManager(on_event=log_event)`."""
    if trace.isEnabledFor(logging.DEBUG):
        trace.debug("%s", event, extra=event.fields())


class Tell:
    """Tells events: to the log, where they have a level, and to the listener, if there is one."""

    def __init__(self, listener: Callable[[Event], object] | None) -> None:
        self.listener = listener

    def __call__(self, name: str, reason: str, because: object = None, *, quiet: bool = False, **fields: Any) -> None:
        """Tell an event of `REASONS`; what a listener raises is logged, and the request goes on.

        `because`: what the sentence ends with, such as an error. `quiet`: the log has heard of the like a moment ago.
        """
        level, text = REASONS[name][reason]
        if because is not None:
            text = f"{text}: {because}"
        if isinstance(because, Exception):
            fields["error"] = str(because)
        event = Event(name, reason, text, **fields)
        if level and not quiet:
            log.log(level, "%s", text, extra=event.fields())
        if self.listener is not None:
            try:
                self.listener(event)
            except Exception:
                log.exception("on_event raised: the request goes on")
