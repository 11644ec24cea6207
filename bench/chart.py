"""Draws bars as a plain SVG: no library, and nothing in it but rectangles and text."""

from collections.abc import Mapping
from html import escape
from math import log10

_ROW, _LABEL, _WIDTH, _GAP = 18, 190, 420, 34
_COLOURS = {True: "#2f6f4f", False: "#9aa5b1"}


def bars(title: str, groups: Mapping[str, Mapping[str, float]], ours: str) -> str:
    """Return a chart of groups of bars, each a number of microseconds, on a logarithmic scale from 0.1.

    `ours`: what the names of the bars that stand out begin with.
    """
    most = max(value for group in groups.values() for value in group.values())
    decades = max(1.0, log10(max(most, 1.0)) + 1)
    lines: list[str] = []
    y = 44
    for name, group in groups.items():
        lines.append(f'<text x="8" y="{y}" font-weight="bold">{escape(name)}</text>')
        y += 8
        for label, value in group.items():
            length = max(1.0, (log10(max(value, 0.1)) + 1) / decades * _WIDTH)
            colour = _COLOURS[label.startswith(ours)]
            lines.append(f'<text x="{_LABEL - 8}" y="{y + 12}" text-anchor="end">{escape(label)}</text>')
            lines.append(f'<rect x="{_LABEL}" y="{y + 2}" width="{length:.1f}" height="{_ROW - 5}" fill="{colour}"/>')
            lines.append(f'<text x="{_LABEL + length + 6:.1f}" y="{y + 12}">{value:.3g}</text>')
            y += _ROW
        y += _GAP - 8
    width = _LABEL + _WIDTH + 70
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {y}"',
            ' font-family="sans-serif" font-size="12">',
            f"<title>{escape(title)}</title>",
            f'<rect width="{width}" height="{y}" fill="#ffffff"/>',
            f'<text x="8" y="20" font-size="14">{escape(title)}</text>',
            *lines,
            "</svg>\n",
        ]
    )
