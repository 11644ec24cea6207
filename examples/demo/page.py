"""The pages: hands traces to the templates in pages/, which decide how they look, with demo.css.

Everything that comes from a session is escaped there, by Jinja. Nothing is measured and nothing is changed here.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

from holdall import BoundSession, Tier
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from .news import tell
from .watch import INLINE, REFERENCE, Item, Place, Trace

THRESHOLD = 3_800
THING, PARCEL = "thing ", "parcel "
"""How the session's keys of what is in the basket begin."""
NAV = {
    "/": "Session",
    "/basket": "Basket",
    "/sessions": "My sessions",
    "/break": "Break things",
    "/requests": "Requests",
}
_LONGEST_PREVIEW = 48


class Labels(NamedTuple):
    """What serves the demo and what the two store tiers are, in words."""

    cache: str
    durable: str
    framework: str = "WSGI"


@dataclass(frozen=True, slots=True)
class View:
    """All that a page may tell."""

    path: str
    trace: Trace
    """The request that asks for the page, as far as it got."""
    after: Trace | None
    """The action that it follows."""
    race: Sequence[Trace]
    """The tabs of a race that it follows."""
    latest: Sequence[Trace]
    """Earlier requests, newest first."""
    labels: Labels
    now: float
    """Seconds UTC since 1970."""
    user: dict[str, str] | None
    csrf: str
    mark: str
    """Ends the label of this very session in `mine`."""
    mine: Sequence[BoundSession]
    is_stopped: bool
    is_copied: bool
    issuer: str

    @property
    def things(self) -> list[Item]:
        """What is in the basket."""
        return [item for item in self.trace.items if item.key.startswith((THING, PARCEL))]

    @property
    def shown(self) -> list[Trace]:
        """The requests that this page is about, newest first."""
        before = self.race or ([self.after] if self.after else [])
        return [self.trace, *before]


def show(template: str, view: View) -> str:
    """Return a page."""
    return render(
        template,
        title=NAV[view.path],
        view=view,
        news=tell(view.trace, view.after, view.race),
        nav=NAV,
    )


def render(template: str, **values: Any) -> str:
    """Return what a template makes of the values."""
    return _PAGES.get_template(template).render(values)


def in_bytes(size: int) -> str:
    """Return a size for people, in ASCII: `412 B`, `20.4 KB`, `1.9 MB`."""
    if size < 1_000:
        return f"{size} B"
    return f"{size / 1_000:.1f} KB" if size < 1_000_000 else f"{size / 1_000_000:.1f} MB"


def _size(size: int) -> Markup:
    return Markup(in_bytes(size).replace(" ", "&nbsp;"))


def _time(micros: float) -> Markup:
    return Markup(f"{micros:.0f}&nbsp;µs" if micros < 1_000 else f"{micros / 1_000:.1f}&nbsp;ms")


def _span(seconds: float) -> str:
    seconds = max(0, round(seconds))
    for unit, length in (("day", 86_400), ("hour", 3_600), ("minute", 60)):
        if seconds >= 2 * length - length // 2:
            count = round(seconds / length)
            return f"{count} {unit}{'s' if count > 1 else ''}"
    return f"{seconds} s"


def _clock(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def _preview(value: object) -> str:
    text = value if isinstance(value, str) else repr(value)
    return text if len(text) <= _LONGEST_PREVIEW else text[: _LONGEST_PREVIEW - 3] + "…"


_PAGES = Environment(
    loader=FileSystemLoader(Path(__file__).parent / "pages"),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)
_PAGES.filters |= {"size": _size, "time": _time, "span": _span, "clock": _clock, "preview": _preview}
_PAGES.globals |= {
    "INLINE": INLINE,
    "REFERENCE": REFERENCE,
    "THRESHOLD": THRESHOLD,
    "Place": Place,
    "Tier": Tier,
    "PLACES": {
        None: "left alone",
        Place.NOWHERE: "no session",
        Place.COOKIE: "in the cookie",
        Place.STORES: "in the stores",
    },
}
