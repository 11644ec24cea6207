"""A library that Holdall succeeds, for tests: its cookies say who they are and are believed.

What is asked of its sessions is in `test_moving`, and in `tests.simulation.moving`.
"""

import json
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

from holdall import CookieOptions, MovingIn, OldSession, find_values, pack_values

NAME = "old"
END = 1_800_000_000 + 30 * 86_400  # World's clock begins at 1,800,000,000
UNTIL = datetime.fromtimestamp(END, UTC)


class Plain(MovingIn):
    """Reads cookies such as `ok.7.{"n":1}`: an id and values, or an id alone, whose values are in a store."""

    def __init__(self, *, name: str = NAME, expires: int = 0, issued: int = 0, **options: Any) -> None:
        super().__init__(**{"until": UNTIL, **options})
        self._name = name
        self._expires = expires
        self._issued = issued

    @property
    def cookie(self) -> CookieOptions:
        return CookieOptions(name=self._name, secure=False)

    def find(self, header: str, now: float) -> Iterable[OldSession]:
        for value in find_values(header, self._name):
            mark, _, rest = value.partition(".")
            number, _, text = rest.partition(".")
            if mark != "ok":
                continue
            common = OldSession(f"plain/{number}".encode(), expires=self._expires, issued=self._issued)
            if text:
                yield common._replace(payload=pack_values(json.loads(text)))
            else:
                yield common._replace(record=number)

    def read(self, old: OldSession, value: bytes, now: float) -> OldSession | None:
        return old._replace(payload=pack_values(json.loads(value))) if value.startswith(b"{") else None

    def principal_of(self, values: Mapping[str, Any]) -> str | None:
        return values.get("user")
