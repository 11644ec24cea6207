"""How it works, as a picture: docs/how-it-works.svg, drawn from the table of decisions and from what requests did.

`python -m tests.docs.picture` prints it. The arrows are `holdall.outcome.TABLE`; what a tier costs is what the commands
of a request to it were. Nothing here is written by hand but the words around them.
"""

import sys
from html import escape
from textwrap import wrap
from typing import Any

from holdall import Session, Tier
from holdall.outcome import TABLE, Cookie, Home, Wish, Write

from tests.core.support import World, big

WIDTH, MARGIN, LINE, BOX = 880, 20, 18, 270
INK, FAINT, PAPER = "#1b2733", "#5d6b78", "#ffffff"
TITLES = {Home.NOWHERE: "no session", Home.COOKIE: "in the cookie", Home.STORE: "in a store"}
COLOURS = {Home.NOWHERE: "#8a97a3", Home.COOKIE: "#b26a00", Home.STORE: "#1f6fb2"}
COLUMNS = {Home.NOWHERE: 150, Home.COOKIE: 440, Home.STORE: 730}


def transitions() -> dict[tuple[Home, Home], dict[Wish, set[bool]]]:
    """Return from where to where a session moves: by which wishes, and whether the data fits the cookie."""
    moves: dict[tuple[Home, Home], dict[Wish, set[bool]]] = {}
    for (home, wish, fits), outcome in TABLE.items():
        start = Home.NOWHERE if home is Home.GONE else home
        end = {
            Cookie.KEEP: start,
            Cookie.INLINE: Home.COOKIE,
            Cookie.REFERENCE: Home.STORE,
            Cookie.DELETE: Home.NOWHERE,
        }[outcome.cookie]
        moves.setdefault((start, end), {}).setdefault(wish, set()).add(fits)
    # Both have one column: whoever comes with a reference to a session that is gone goes where one without goes.
    for wish in Wish:
        for fits in (True, False):
            gone, none = (TABLE[home, wish, fits] for home in (Home.GONE, Home.NOWHERE))
            assert gone == none or (wish is Wish.END and gone.cookie is Cookie.DELETE)
    return moves


def costs() -> dict[Home, list[str]]:
    """Return what a request asks of the stores, by where its session is: counted, not told."""

    def did(world: World, act: Any) -> str:
        world.request(act)
        return ", ".join(world.did) or "nothing"

    def change(session: Session) -> None:
        session["n"] = session.get("n", 0) + 1

    nowhere, inline, stored = World(), World(), World()
    inline.request(change)
    stored.request(lambda session: session.update(n=1, big=big()))
    lines = {
        Home.NOWHERE: [f"read: {did(nowhere, dict)}"],
        Home.COOKIE: [f"read: {did(inline, dict)}", f"change: {did(inline, change)}"],
        Home.STORE: [f"read: {did(stored, dict)}", f"change: {did(stored, change)}"],
    }
    stored.stores.flush(Tier.CACHE)
    lines[Home.STORE].append(f"read, cache lost it: {did(stored, dict)}")
    return lines


def said(start: Home, wishes: dict[Wish, set[bool]]) -> list[tuple[str, str]]:
    """Return what is said of an arrow: when a session goes this way, and what happens in the stores then."""
    groups: dict[tuple[str, str], list[str]] = {}
    for wish, fits in wishes.items():
        when = "" if len(fits) == 2 else " (fits)" if True in fits else " (too big)"
        outcome = TABLE[start, wish, True in fits]
        stores = [] if outcome.write is Write.NOTHING else [outcome.write.value]
        if outcome.ends_old and outcome.write is not Write.MOVE:
            stores.append("mark the old record as ended")
        groups.setdefault((when, "; ".join(stores)), []).append(wish.value)
    return [(f"{'; '.join(wishes)}{when}", stores) for (when, stores), wishes in groups.items()]


def picture() -> str:
    """Return the SVG."""
    top = MARGIN + 6 * LINE + 14
    y = top + MARGIN
    arrows: list[str] = []
    order = [*COLUMNS]
    for (start, end), wishes in sorted(transitions().items(), key=lambda move: [order.index(home) for home in move[0]]):
        x1, x2 = COLUMNS[start], COLUMNS[end]
        middle, is_wide = (x1 + x2) / 2, abs(x1 - x2) > 400
        for when, stores in said(start, wishes):
            for text, size, fill, room in ((when, 13, INK, 42), (stores, 11, FAINT, 50)):
                for line in wrap(text, 2 * room if is_wide else room):
                    arrows.append(_text(middle, y, line, size=size, fill=fill))
                    y += LINE - 2
        y += 2
        if start is end:
            loop = f"M{x1 - 11} {y - 4}v5a11 11 0 0 0 22 0v-5"
            arrows.append(f'<path d="{loop}" fill="none" stroke="{INK}" stroke-width="1.5" marker-end="url(#tip)"/>')
        else:
            tip = x2 - 4 if x2 > x1 else x2 + 4
            arrows.append(f'<path d="M{x1} {y}H{tip}" stroke="{INK}" stroke-width="1.5" marker-end="url(#tip)"/>')
            arrows.append(f'<circle cx="{x1}" cy="{y}" r="4" fill="{COLOURS[start]}"/>')
        y += 2 * LINE
    height = y + LINE
    boxes: list[str] = []
    for home, lines in costs().items():
        x, colour = COLUMNS[home], COLOURS[home]
        boxes.append(f'<path d="M{x} {top}V{y - LINE}" stroke="{colour}" stroke-width="2" stroke-dasharray="2 4"/>')
        boxes.append(
            f'<rect x="{x - BOX // 2}" y="{MARGIN}" width="{BOX}" height="{top - MARGIN}" rx="6" '
            f'fill="{colour}" fill-opacity=".1" stroke="{colour}" stroke-width="2"/>'
        )
        boxes.append(_text(x, MARGIN + LINE + 6, TITLES[home], weight=700, size=16))
        texts = [line for text in lines for line in wrap(text, 43)]
        boxes += [_text(x, MARGIN + (n + 2) * LINE + 10, line, size=12) for n, line in enumerate(texts)]
    note = (
        "fits: the sealed data takes at most cookie_only_threshold characters, and the application did not ask to "
        "persist it · a session whose stored record is gone is no session"
    )
    head = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" role="img" '
        'font-family="system-ui, sans-serif">',
        "<title>Where a session is kept, and what takes it from one place to another</title>",
        f'<rect width="{WIDTH}" height="{height}" rx="8" fill="{PAPER}"/>',
        '<defs><marker id="tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="8" markerHeight="8" orient="auto">'
        f'<path d="M0 0L8 4L0 8z" fill="{INK}"/></marker></defs>',
    ]
    return "\n".join([*head, *boxes, *arrows, _text(WIDTH / 2, y, note, size=11, fill=FAINT), "</svg>", ""])


def _text(x: float, y: float, text: str, *, size: int = 13, weight: int = 400, fill: str = INK) -> str:
    return (
        f'<text x="{x:g}" y="{y:g}" text-anchor="middle" font-size="{size}" font-weight="{weight}" fill="{fill}" '
        f'stroke="{PAPER}" stroke-width="4" paint-order="stroke">{escape(text)}</text>'
    )


if __name__ == "__main__":
    sys.stdout.write(picture())
