"""What a request and a response are to the demo, whichever framework serves it. Nothing is decided here."""

from collections.abc import Callable
from typing import Any, NamedTuple, Protocol, TypeAlias
from urllib.parse import parse_qsl

from holdall import BoundSession

Form: TypeAlias = dict[str, str]

LONGEST_FORM = 50_000


class People(Protocol):
    """What every adapter can tell of somebody's sessions."""

    def sessions_of(self, principal: str, /) -> list[BoundSession]:
        """Return the sessions that are bound to somebody."""

    def revoke(self, principal: str, /, *, except_sid: str | None = None, only: str | None = None) -> None:
        """End all of somebody's sessions, or all but one, or one."""


class Asked(NamedTuple):
    """A request."""

    method: str
    path: str
    query: Form
    form: Form
    origin: str | None
    """The Origin header; None if there is none."""
    agent: str
    """The User-Agent header."""
    get_session: Callable[[], Any]
    """Returns the framework's own session object: a mapping with Holdall's verbs. Not called, it costs nothing."""
    people: People


class Answer(NamedTuple):
    """A response, complete but for its Content-Length and cookies."""

    status: int
    headers: list[tuple[str, str]]
    body: str


def read_form(text: bytes | str) -> Form:
    """Read a query, or the body of a form: the last field of a name counts."""
    decoded = text if isinstance(text, str) else text[:LONGEST_FORM].decode("utf-8", "replace")
    return dict(parse_qsl(decoded, keep_blank_values=True))
