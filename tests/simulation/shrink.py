"""Makes the history that broke a promise as short as it can be, and tells it as a story."""

import re
from collections.abc import Callable, Sequence

from tests.simulation.scheduler import History, again
from tests.simulation.simulator import Begin, Config, Event, Go, Wait

_MOST_TRIES = 3_000


def shrink(history: History) -> list[Event]:
    """Return the fewest events that still break the same promise: whatever can be left out is left out."""
    assert history.broken is not None
    kind = _kind(history.broken)
    tries = iter(range(_MOST_TRIES))

    def is_broken(events: Sequence[Event]) -> bool:
        if next(tries, None) is None:
            return False
        broken = again(history.seed, history.config, [*events])
        return broken is not None and _kind(broken) == kind

    events = list(history.events)
    while True:
        before = len(events)
        events = _without_requests(events, is_broken)
        events = _without_chunks(events, is_broken)
        events = _simpler(events, is_broken)
        if len(events) == before:
            return events


def story(seed: int, config: Config, events: Sequence[Event]) -> str:
    """Tell what happens, line by line, and which promise is broken in the end."""
    lines: list[str] = []
    broken = again(seed, config, [*events], story=lines)
    home = "the cache alone" if config.memory_only else "a durable store behind the cache"
    inline = "sessions begin in the cookie" if config.threshold else "no session in the cookie"
    clocks = ", ".join(f"{offset:+g} s" for offset in config.offsets)
    head = [f"seed {seed}: {home}; {inline}; clocks {clocks}"]
    if any(config.drifts):
        head.append("clocks drift by " + ", ".join(f"{drift:+g} s in a second" for drift in config.drifts))
    if config.idle_timeout is not None:
        head.append(f"idle timeout {config.idle_timeout} s")
    return "\n".join([*head, *(f"  {number:>3}. {line}" for number, line in enumerate(lines, 1)), f"  {broken}"])


def _kind(broken: str) -> str:
    return re.sub(r"\{.*?\}|'\w+'|\d+", "#", broken)


def _without_requests(events: list[Event], is_broken: Callable[[Sequence[Event]], bool]) -> list[Event]:
    for begin in [event for event in events if type(event) is Begin]:
        fewer = [event for event in events if getattr(event, "request", None) != begin.request]
        if is_broken(fewer):
            events = fewer
    return events


def _without_chunks(events: list[Event], is_broken: Callable[[Sequence[Event]], bool]) -> list[Event]:
    size = max(1, len(events) // 2)
    while True:
        at = 0
        while at < len(events):
            fewer = events[:at] + events[at + size :]
            if is_broken(fewer):
                events = fewer
            else:
                at += size
        if size == 1:
            return events
        size //= 2


def _simpler(events: list[Event], is_broken: Callable[[Sequence[Event]], bool]) -> list[Event]:
    for at, event in enumerate(events):
        for simple in _simpler_than(event):
            fewer = [*events[:at], simple, *events[at + 1 :]]
            if is_broken(fewer):
                events = fewer
                break
    return events


def _simpler_than(event: Event) -> list[Event]:
    if type(event) is Go and event.fault is not None:
        return [event._replace(fault=None)]
    if type(event) is Begin:
        simple: list[Event] = []
        if event.late:
            simple.append(event._replace(late=""))
        if event.verb not in ("read", "set"):
            simple += [event._replace(verb="read"), event._replace(verb="set")]
        return simple
    if type(event) is Wait and event.seconds > 1:
        return [event._replace(seconds=1.0)]
    return []
