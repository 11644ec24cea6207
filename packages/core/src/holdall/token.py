"""What a cookie says once it is open: inline data or a reference, whose, since when, until when.

Only the byte layout lives here. Sealing is in `sealing`, the choice between several tokens in `presented`, and nothing
here knows what a cookie is called.
"""

from struct import Struct
from typing import NamedTuple

_HEAD = Struct(">B32sQQQHI")  # flags, sid, issued, expires, seen, epoch, revision
_SIZE = _HEAD.size
_PADDING = (b"", b"\0", b"\0\0")
_SSL_ONLY = 0b100
_BROWSER = 0b1000
_BOUND = 0b10000
BOND_BYTES = 16
_FLAGS = [(f & 0b11, f & _SSL_ONLY != 0, f & _BROWSER != 0, BOND_BYTES * (f & _BOUND != 0)) for f in range(0b100000)]
"""What the first byte says: the bytes of padding, ssl_only, browser, and the bytes of the bond."""
_new = tuple.__new__  # makes a token in 0.2 µs; its own way takes 0.6
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
    sid, issued, expires, seen, epoch, revision, ssl_only, browser, payload, bond = token
    content = bond + (payload or b"")
    padding = -(_SIZE + len(content)) % 3
    flags = padding | _SSL_ONLY * ssl_only | _BROWSER * browser | _BOUND * (bond != b"")
    return _HEAD.pack(flags, sid, issued, expires, seen, epoch, revision) + content + _PADDING[padding]


def unpack(plain: bytes, *, inline: bool) -> Token | None:
    """Read the layout of `pack`; None for what this version does not write.

    The bytes were authenticated, as inline or as a reference, before they came here.
    """
    size = len(plain)
    if size < _SIZE or plain[0] >= len(_FLAGS):
        return None
    flags, sid, issued, expires, seen, epoch, revision = _HEAD.unpack_from(plain)
    padding, ssl_only, browser, bond_size = _FLAGS[flags]
    start, end = _SIZE + bond_size, size - padding
    if end < start:
        return None
    payload = plain[start:end] if inline else None
    return _new(Token, (sid, issued, expires, seen, epoch, revision, ssl_only, browser, payload, plain[_SIZE:start]))


def text_length(size: int) -> int:
    """How many characters the cookie value of a token takes that is laid out in so many bytes."""
    return (_SEAL_BYTES + size) // 3 * 4


def value_length(size: int) -> int:
    """How many characters a cookie value has whose bond and payload have so many bytes together."""
    return text_length(_SIZE + size + 2)


def room(length: int) -> int:
    """How many bytes a bond and a payload may have together, for a cookie value of at most so many characters."""
    return length // 4 * 3 - _SEAL_BYTES - _SIZE
