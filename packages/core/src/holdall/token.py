"""What a cookie says once it is open: inline data or a reference, whose, since when, until when.

Only the byte layout lives here. Sealing is in `sealing`, the choice between several tokens in `presented`, and nothing
here knows what a cookie is called.
"""

from struct import Struct
from typing import NamedTuple

_HEAD = Struct(">B32sQQQHI")  # flags, sid, issued, expires, seen, epoch, revision
_PADDING = 0b11
_SSL_ONLY = 0b100
_BROWSER = 0b1000
_BOUND = 0b10000
_FLAGS = 0b11111
BOND_BYTES = 16
_SEAL_BYTES = 45  # version 1, key id 4, nonce 24, tag 16: a multiple of 3 itself


class Token(NamedTuple):
    """A session as the browser carries it.

    `payload` is the packed map of an inline session; None makes the token a reference to a stored record.
    """

    sid: bytes
    """32 random bytes."""
    issued: int
    """When this sid was issued, in milliseconds UTC since 1970."""
    expires: int
    """Absolute end of the session, in seconds UTC since 1970. Nothing but a new sid extends it."""
    seen: int
    """Last touched request as far as the cookie knows, in seconds UTC since 1970: what idle time counts from."""
    epoch: int
    """0 while inline; promotion adds one, so that a late inline response cannot hide a stored session."""
    revision: int
    """Counts the session's writes. For a reference it is the floor below which a cached record is too old."""
    ssl_only: bool
    """The cookie must carry Secure, whatever the options say."""
    browser: bool
    """A browser-session cookie: no Max-Age, though it ends at `expires` on the server all the same."""
    payload: bytes | None
    bond: bytes = b""
    """Whose session it is: the principal's key in 16 bytes, see `principals`; empty if it is bound to nobody."""

    def __repr__(self) -> str:
        return f"<Token of {'a reference' if self.payload is None else 'inline data'}, revision {self.revision}>"

    @property
    def rank(self) -> tuple[int, int, int]:
        """Orders tokens: of two authentic ones under different names, the higher is the session."""
        return self.issued, self.epoch, self.revision


def pack(token: Token) -> bytes:
    """Lay a token out as bytes, padded so that no other base64 spelling of the sealed token exists."""
    payload = token.bond + (token.payload or b"")
    padding = -(_HEAD.size + len(payload)) % 3
    flags = padding | _SSL_ONLY * token.ssl_only | _BROWSER * token.browser | _BOUND * bool(token.bond)
    head = _HEAD.pack(flags, token.sid, token.issued, token.expires, token.seen, token.epoch, token.revision)
    return head + payload + bytes(padding)


def unpack(plain: bytes, *, inline: bool) -> Token | None:
    """Read the layout of `pack`; None for what this version does not write.

    The bytes were authenticated, as inline or as a reference, before they came here.
    """
    if len(plain) < _HEAD.size or plain[0] > _FLAGS:
        return None
    flags, sid, issued, expires, seen, epoch, revision = _HEAD.unpack_from(plain)
    start = _HEAD.size + BOND_BYTES * (flags & _BOUND != 0)
    end = len(plain) - (flags & _PADDING)
    if end < start:
        return None
    payload = plain[start:end] if inline else None
    ssl_only, browser = flags & _SSL_ONLY != 0, flags & _BROWSER != 0
    return Token(sid, issued, expires, seen, epoch, revision, ssl_only, browser, payload, plain[_HEAD.size : start])


def text_length(payload_size: int) -> int:
    """How many characters the cookie value of a token takes, for a bond and a payload of so many bytes together."""
    return (_SEAL_BYTES + _HEAD.size + payload_size + 2) // 3 * 4


def room(length: int) -> int:
    """How many bytes a bond and a payload may have together, for a cookie value of at most so many characters."""
    return length // 4 * 3 - _SEAL_BYTES - _HEAD.size
