"""Moving in: what Holdall asks of a reader of the sessions that users already hold, from another library.

To the rest of the core an old session is a session in the cookie whose id is a hash of its old one: it can be read, its
first write carries it over to a new id as `regenerate_id` does, and what marks an id as ended marks it. The readers
are with the adapters, each with what it knows of its library; no format of another library belongs here.
"""

import hashlib
import logging
import zlib
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple

from holdall.codec import encode, pack_map
from holdall.cookie_options import CookieOptions
from holdall.cookies import SetCookie, find_values
from holdall.errors import UsageError
from holdall.headers import Headers
from holdall.settings import Settings
from holdall.token import Token

log = logging.getLogger("holdall")


class OldSession(NamedTuple):
    """A session of another library, as its reader found it; what authenticates it was checked."""

    id: bytes
    """What tells it from all others: the library's name, and its id there if it has one; else its cookie's value."""
    payload: bytes = b""
    """Its values, see `pack_values`."""
    expires: int = 0
    """When it ends, in seconds UTC since 1970; 0 if only its browser knows: then after the lifetime of the settings."""
    browser: bool = False
    """It ends with the browser."""
    ssl_only: bool = False
    issued: int = 0
    """When its cookie was written, in seconds UTC since 1970; 0 if nobody knows."""
    record: str | None = None
    """Where its values are, if they are not in the cookie: the key of a `Get` from `Tier.OLD`."""

    def __repr__(self) -> str:
        return f"<OldSession {'in the cookie' if self.record is None else 'in a store'}>"


class MovingIn(ABC):
    """Accepts the sessions of another library, which users already hold, until a day.

    Base of all readers. `until`: from then on nothing is read; a datetime with a time zone. `keep`: leave an old cookie
    and an old record alone when their session moves in, so that the old application still knows it, as it was. They go
    when the session ends here. It needs a cookie name of Holdall's own. Raises `UsageError` for what cannot work.
    """

    most_bytes = 1_000_000
    """Nothing larger is read, compressed or not: as much as any of those libraries keeps in a session."""
    records: Any = None
    """For adapters: the store of the library's own, if it has one, see `holdall_stores.OldRecords`."""

    def __init__(self, *, until: datetime, keep: bool = False) -> None:
        if not isinstance(until, datetime) or until.tzinfo is None:
            raise UsageError(
                f"until={until!r} must be a datetime with a time zone, such as datetime(2030, 1, 31, tzinfo=UTC)"
            )
        if type(keep) is not bool:
            raise UsageError(f"keep={keep!r} must be True or False")
        self.until = int(until.timestamp())
        """In seconds UTC since 1970."""
        self.remembered = self.until + 86_400
        """Until when it must be known what has moved in or ended: a day more, for servers whose clocks are behind."""
        self.keep = keep

    @property
    @abstractmethod
    def cookie(self) -> CookieOptions:
        """The name and attributes of the old cookie."""

    @abstractmethod
    def find(self, header: str, now: float) -> Iterable[OldSession]:
        """Return what the old cookies in a Cookie header say, without any I/O: nothing that does not authenticate.

        `now` is in seconds UTC since 1970. Whatever strangers send, it raises nothing, and takes time in proportion.
        """

    def read(self, old: OldSession, value: bytes, now: float) -> OldSession | None:  # noqa: ARG002
        """Return a session with the values that were under its `record`; None if they cannot be read."""
        return None

    def principal_of(self, values: Mapping[str, Any]) -> str | None:  # noqa: ARG002
        """Return whose login a session is, in the sense of `Session.bind`; None if it is nobody's."""
        return None

    def names(self, header: str) -> Sequence[str]:
        """Return the names of the old cookies in a Cookie header."""
        name = self.cookie.effective_name
        return [name] if find_values(header, name) else []

    def inflate(self, data: bytes) -> bytes:
        """Return what was compressed by zlib. Raises `ValueError` for what was not, or is over `most_bytes`."""
        inflater = zlib.decompressobj()
        try:
            plain = inflater.decompress(data, self.most_bytes)
        except zlib.error as error:
            raise ValueError("not compressed by zlib") from error
        if not inflater.eof:
            raise ValueError("compressed data is cut off, or too large")
        return plain

    # -- for the core --------------------------------------------------------------------------------------------------

    def is_presented(self, header: str, now: float) -> bool:
        """Tell whether there may be something to be read."""
        return now < self.until and bool(self.names(header))

    def presented(self, header: str, now: float) -> list[OldSession]:
        """Return the sessions that the old cookies present, each once. Of several none is meant: order cannot steer."""
        if not self.is_presented(header, now):
            return []
        return [*{old.id: old for old in self.find(header, now) if not 0 < old.expires <= now}.values()]

    def delete(self, header: str) -> Headers:
        """Return the headers that delete the old cookies of a Cookie header."""
        return [field for name in self.names(header) for field in SetCookie(self.cookie, name).delete([0])]


def as_token(old: OldSession, now: int, settings: Settings) -> Token:
    """Return an old session as a session in the cookie. `now` is in seconds."""
    audience = settings.audience.encode()
    # Applications of other audiences cannot read each other's markers, and may have the same old cookies.
    sid = hashlib.sha256(b"holdall/moving-in" + len(audience).to_bytes(4) + audience + old.id).digest()
    return Token(sid, 0, old.expires or now + settings.lifetime, now, 0, 0, old.ssl_only, old.browser, old.payload)


def pack_values(values: Mapping[Any, Any]) -> bytes:
    """Return a session's values as the bytes that hold them, for readers of old sessions.

    A value that cannot be kept, or whose key is not text, is left behind, and an error logged that names its key.
    """
    wires = {}
    for key, value in values.items():
        try:
            if type(key) is not str:
                raise UsageError("its key is not a str")
            wire = encode(value)
            pack_map({key: wire})
        except UsageError as error:
            log.error("a value of an old session is left behind: session[%r]: %s", key, error)
        else:
            wires[key] = wire
    return pack_map(wires)
