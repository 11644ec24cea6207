"""What the applications of the walk have in common: the settings that make their sessions one, and their pages.

Each application is in `served_*.py`, in its framework's own idiom. They have the same pages: `/show`; `/visit` counts;
`/incr` counts so that requests that overlap all count; `/put?key=&size=` assigns text of that many characters; `/fill`
assigns a value of every type; `/login` gives the session a new id and binds it; `/logout` ends it. Each says what the
session then holds, or sends the browser on to the address in `?then=`.

The environment has the key in HOLDALL_TEST_KEY and the URLs of the stores in HOLDALL_TEST_CACHE and
HOLDALL_TEST_DURABLE.
"""

import html
import json
import os
import random
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from enum import Enum
from fractions import Fraction
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

from holdall import CookieOptions, register_type
from holdall_stores import Stores
from markupsafe import Markup

COOKIE = "walk"
AUDIENCE = "together"
PRINCIPAL = "ada"
"""Whose session it is after a login."""


def key() -> str:
    """Return the key of all applications."""
    return os.environ["HOLDALL_TEST_KEY"]


def urls() -> dict[str, str]:
    """Return the URLs of the stores of all applications, as `Stores.from_urls` takes them."""
    return {"cache": os.environ["HOLDALL_TEST_CACHE"], "durable": os.environ["HOLDALL_TEST_DURABLE"]}


def options() -> dict[str, Any]:
    """Return the arguments of all applications that take those of `SessionManager`, and `stores`."""
    given = urls()
    return {
        "cookie_key": key(),
        "cookie": CookieOptions(name=COOKIE),
        "audience": AUDIENCE,
        "stores": Stores.from_urls(cache=given["cache"], durable=given["durable"]),
    }


class Colour(Enum):
    RED = 1


@dataclass
class Item:
    sku: str
    price: Decimal


register_type(Colour)
register_type(Item)
register_type(Markup, encode=str, decode=Markup)  # as Flask's and Quart's sessions do; the other applications need it

VALUES: dict[str, Any] = {
    "None": None,
    "bool": True,
    "int": -7,
    "big int": 2**70,
    "float": -0.0,
    "nan": float("nan"),
    "complex": 1 - 2j,
    "str": "Schön, 日本 🎒 <&\"'>",
    "surrogate": "\udcff",
    "bytes": b"\x00\xff",
    "bytearray": bytearray(b"\x00"),
    "list": [1, [2.5, None], ("a",)],
    "tuple": (1, (2,), []),
    "tuples": [(1, 2), (3, 4)],
    "set": {1},
    "frozenset": frozenset({(1, "a")}),
    "dict": {"a": {"b": (1,)}},
    "keyed": {1: "a", (2,): "b", None: "c"},
    "Decimal": Decimal("1.10"),
    "Fraction": Fraction(1, 3),
    "UUID": UUID(int=7),
    "naive": datetime(2024, 2, 29, 12, 30),
    "aware": datetime(2024, 10, 27, 2, 30, tzinfo=ZoneInfo("Europe/Berlin"), fold=1),
    "UTC": datetime(2024, 2, 29, 12, 30, 0, 7, UTC),
    "date": date(2024, 2, 29),
    "time": time(23, 59, 59, 7),
    "timedelta": timedelta(days=-1, microseconds=1),
    "timezone": timezone(timedelta(hours=2), "here"),
    "ZoneInfo": ZoneInfo("Asia/Kathmandu"),
    "Enum": Colour.RED,
    "dataclass": [Item("pen", Decimal("2.50"))],
    "Markup": Markup("<b>bold</b>"),
}
"""A value of every type that a session keeps, whose `repr` tells its type and those of what is in it."""


def text(size: int) -> str:
    """Return so many characters, an even number, always the same."""
    return random.Random(size).randbytes(size // 2).hex()


def held(values: Mapping[str, Any]) -> dict[str, str]:
    """Return a session's values as the pages say them."""
    return {name: repr(value) for name, value in values.items()}


def page(session: Mapping[str, Any]) -> str:
    """Return the page that says what a session holds; `read` reads it."""
    return f"<!doctype html><meta charset=utf-8><p>{html.escape(json.dumps(held(session)), quote=False)}</p>"


def read(paragraph: str) -> dict[str, str]:
    """Return what a page's paragraph says that the session holds."""
    return dict(json.loads(html.unescape(paragraph)))
