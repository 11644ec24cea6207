"""The page: turns traces into HTML. The frame is in page.html, the looks are in demo.css.

Everything that comes from a session is escaped here, by `_text`. Nothing is measured and nothing is changed here.
"""

from collections.abc import Iterable, Sequence
from html import escape
from pathlib import Path
from string import Template
from typing import NamedTuple

from holdall import Tier

from .news import tell
from .watch import INLINE, REFERENCE, Place, Ran, Trace

THRESHOLD = 3_800

_FRAME = Template((Path(__file__).parent / "page.html").read_text(encoding="utf-8"))
_PLACES = {
    None: "left alone",
    Place.NOWHERE: "no session",
    Place.COOKIE: "in the cookie",
    Place.STORES: "in the stores",
}
_METER = 240


class Labels(NamedTuple):
    """What the two store tiers are, in words."""

    cache: str
    durable: str


def render(view: Trace, earlier: Sequence[Trace], labels: Labels, now: float) -> str:
    """Return the page that a request asked for, as far as that request got, after earlier ones, newest first.

    `now` is in seconds UTC since 1970.
    """
    action = earlier[0] if earlier and earlier[0].is_action else None
    shown = [action, view] if action else [view]
    commands = [ran for trace in shown for ran in trace.commands]
    stored = view.place is Place.STORES
    inline = view.place is Place.COOKIE
    if stored:
        states = (
            f"a reference of {_size(len(view.presented.get(REFERENCE, '')))}",
            "your session, a copy",
            "your session",
        )
    elif inline:
        states = "your session, all of it", "not needed", "not needed"
    else:
        states = "nothing", "nothing", "nothing"
    return _FRAME.substitute(
        title=_PLACES[view.place],
        news="<b>{}</b> {}".format(*tell(view, earlier)),
        threshold=f"{THRESHOLD:,}",
        cookie_lit=" lit" if inline else " half" if stored else "",
        cache_lit=" lit" if stored else "",
        durable_lit=" lit" if stored else "",
        cookie_current=_CURRENT if inline else "",
        cache_current=_CURRENT if stored else "",
        durable_current=_CURRENT if stored else "",
        cookie_state=states[0],
        cache_state=states[1],
        durable_state=states[2],
        cache_label=_text(labels.cache),
        durable_label=_text(labels.durable),
        cookie_body=_meter(len(view.presented.get(INLINE, "")) if inline else 0) + _cookie_events(action),
        cache_body=_commands(commands, Tier.CACHE),
        durable_body=_commands(commands, Tier.DURABLE),
        facts=_facts(view, action, commands, now),
        items=_items(view),
        timeline="".join(_row(trace, max(t.micros for t in (view, *earlier))) for trace in (view, *earlier)),
    )


def in_bytes(size: int) -> str:
    """Return a size for people, in ASCII: `412 B`, `20.4 KB`, `1.9 MB`."""
    if size < 1_000:
        return f"{size} B"
    return f"{size / 1_000:.1f} KB" if size < 1_000_000 else f"{size / 1_000_000:.1f} MB"


_CURRENT = ' aria-current="true"'


def _facts(view: Trace, action: Trace | None, commands: Sequence[Ran], now: float) -> str:
    sent = sum(ran.size for ran in commands if ran.verb == "Put")
    got = sum(ran.size for ran in commands if ran.verb == "Get")
    both = len(view.presented) > 1
    weight = "two of them, until the next write" if both else "with every request"
    facts = [
        ("Store commands", str(len(commands)), "last action and this view" if action else "this page view"),
        ("Store traffic", _size(sent + got), f"{_size(sent)} there, {_size(got)} back"),
        ("Your cookie weighs" if not both else "Your cookies weigh", _size(view.presented_bytes), weight),
        ("Session handling", _time((action or view).micros), "in the last action" if action else "in this page view"),
    ]
    if view.active:
        left = max(0, round(view.expires - now))
        ends = f'ends in <span data-seconds="{left}">{_span(left)}</span>'
        facts.append(("Its id", f"<code>{_text(view.fingerprint)}</code>", f"a hash of it; {ends}"))
    else:
        facts.append(("Its id", "none", "nothing to steal"))
    return "".join(f"<div><dt>{name}</dt><dd>{value} <small>{note}</small></dd></div>" for name, value, note in facts)


def _meter(characters: int) -> str:
    """How full the cookie is. An SVG, since the page's policy allows no style attributes."""
    width = min(_METER, round(_METER * characters / THRESHOLD))
    return (
        f'<svg class="meter" viewBox="0 0 {_METER} 8" preserveAspectRatio="none" aria-hidden="true">'
        f'<rect class="rail" width="{_METER}" height="8" rx="4"/><rect width="{width}" height="8" rx="4"/></svg>'
        f'<p class="filled">{characters:,} of {THRESHOLD:,} characters</p>'
    )


def _cookie_events(action: Trace | None) -> str:
    cookies = action.cookies if action else []
    lines = (
        f"<b>{'Deleted' if c.deleted else 'Set'}</b> {'data' if c.name == INLINE else 'reference'}"
        + ("" if c.deleted else f" <i>{_size(c.size)}</i>")
        for c in cookies
    )
    return _list(lines, "none sent back this time")


def _commands(commands: Sequence[Ran], tier: Tier) -> str:
    """The commands of one tier, each with its place in the order of all."""
    lines = (
        f'<span class="nth">{nth}</span> <b>{ran.verb}</b> {ran.answer.lower()}'
        f" <i>{_size(ran.size) + ' · ' if ran.size else ''}{_time(ran.micros)}</i>"
        for nth, ran in enumerate(commands, 1)
        if ran.tier is tier
    )
    return _list(lines, "not asked this time")


def _list(lines: Iterable[str], otherwise: str) -> str:
    text = "".join(f"<li>{line}</li>" for line in lines)
    return f'<ul class="events">{text}</ul>' if text else f'<p class="events idle">{otherwise}</p>'


def _items(view: Trace) -> str:
    if not view.items:
        return '<p class="empty">Nothing yet.</p>'
    rows = "".join(
        f'<tr><th scope="row"><code>{_text(item.key)}</code></th><td class="value">{_text(item.preview)}</td>'
        f'<td>{_text(item.type)}</td><td class="size">{_size(item.size)}</td>'
        f'<td><button class="out" name="key" value="{_text(item.key)}" aria-label="Take out {_text(item.key)}"'
        f' title="Take out {_text(item.key)}">&times;</button></td></tr>'
        for item in view.items
    )
    return (
        '<form method="post" action="/"><input type="hidden" name="action" value="drop">'
        '<table><thead><tr><th scope="col">Key</th><th scope="col">Value</th><th scope="col">Type</th>'
        f'<th scope="col" class="size">Size</th><td></td></tr></thead><tbody>{rows}</tbody></table></form>'
    )


def _row(trace: Trace, slowest: float) -> str:
    chips = "".join(
        f'<li class="chip {ran.tier.value}">{ran.verb} {ran.tier.value}'
        f"{' ' + _size(ran.size) if ran.size else ' ' + ran.answer.lower()}</li>"
        for ran in trace.commands
    )
    cookies = [cookie for cookie in trace.cookies if not cookie.deleted]
    if cookies:
        chips += f'<li class="chip cookie">set cookie {_size(sum(cookie.size for cookie in cookies))}</li>'
    elif trace.cookies:
        chips += '<li class="chip cookie">delete cookie</li>'
    chips = chips or '<li class="chip none">no command, no cookie</li>'
    number = f"#{trace.number}" if trace.number else "now"
    place = trace.place.value if trace.place else "alone"
    width = max(2, round(100 * trace.micros / slowest))
    return (
        f'<li class="{"action" if trace.is_action else "view"}"><span class="number">{number}</span>'
        f'<span class="label">{_text(trace.label)}</span>'
        f'<span class="place {place}">{_PLACES[trace.place]}</span><ul class="chips">{chips}</ul>'
        f'<span class="took">{_time(trace.micros)}'
        f'<svg viewBox="0 0 100 4" preserveAspectRatio="none" aria-hidden="true">'
        f'<rect class="rail" width="100" height="4" rx="2"/><rect width="{width}" height="4" rx="2"/></svg></span></li>'
    )


def _text(text: str) -> str:
    return escape(text, quote=True)


def _size(size: int) -> str:
    return in_bytes(size).replace(" ", "&nbsp;")


def _time(micros: float) -> str:
    return f"{micros:.0f}&nbsp;µs" if micros < 1_000 else f"{micros / 1_000:.1f}&nbsp;ms"


def _span(seconds: int) -> str:
    for unit, length in (("day", 86_400), ("hour", 3_600), ("minute", 60)):
        if seconds >= 2 * length - length // 2:
            count = round(seconds / length)
            return f"{count} {unit}{'s' if count > 1 else ''}"
    return f"{seconds} s"
