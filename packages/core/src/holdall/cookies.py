"""Reads Cookie headers, writes Set-Cookie headers, splits long values over several cookies and joins them.

Only names and text live here, by the letter of RFC 6265bis; what a value means is in `sealing` and `token`.
Foreign cookies are never read, judged or touched, however malformed: the parser looks for our names,
byte-strict, in linear time.

A value that fits is one cookie, `name=value`. A longer one is N cookies: `name=N.chunk`, then `name.1=chunk` up
to `name.(N-1)=chunk`.
"""

from collections.abc import Iterable, Iterator
from itertools import islice, product

from pybase64 import b64decode, b64encode_as_string

from holdall.cookie_options import CookieOptions
from holdall.errors import SessionTooLarge

_COOKIE_BYTES = 4096  # "at least 4096 bytes" of name, value and attributes: RFC 6265, 6.1
_LONGEST_AGE = 400 * 24 * 3600  # RFC 6265bis, 5.5: the limit of every lifetime
_TRIED = 8  # values under one name
_PIECES = 64  # cookies of one value
_HITS = 1000  # cookies that hold our name's text; no browser keeps as many for one host, all of them together
_COUNTS = {str(count): count for count in range(2, _PIECES + 1)}
_NUMBERS = {str(number): number for number in range(1, _PIECES)}


def to_text(sealed: bytes) -> str:
    """Return bytes, whose number must be a multiple of 3, as base64url (RFC 4648, 5) without padding."""
    return b64encode_as_string(sealed, b"-_")


def from_text(text: str) -> bytes | None:
    """Return the bytes of `to_text`; None for any other spelling."""
    # The decoder takes "+" and "/" for "-" and "_" as well, and only padding makes room for bits that do not
    # count: without these three, each text is the only one for its bytes. Everything else that is not the
    # alphabet it refuses itself.
    if "=" in text or "+" in text or "/" in text:
        return None
    try:
        return b64decode(text, b"-_", True)
    except ValueError:
        return None


def join_header(cookie_headers: str | bytes | Iterable[str | bytes] | None) -> str:
    """Return Cookie headers as one (RFC 9113, 8.2.3) in latin-1, as PEP 3333 has it; "" for none."""
    if isinstance(cookie_headers, str):
        return cookie_headers
    if cookie_headers is None:
        return ""
    if isinstance(cookie_headers, bytes):
        return cookie_headers.decode("latin-1")
    return "; ".join([header if isinstance(header, str) else header.decode("latin-1") for header in cookie_headers])


def find_values(header: str, name: str) -> list[str]:
    """Return the values of the cookies with exactly this name in a Cookie header: the first 8, as they are.

    What is longer than a cookie can be is left out.
    """
    return _find(header, name + "=", _TRIED)


def read(header: str, name: str) -> list[tuple[str, int]]:
    """Return what a Cookie header presents under a name: at most 8 texts, each with its number of cookies.

    A text that was split is whole again, or left out where a piece is missing. Nothing here is authentic yet.
    """
    found = []
    split = []
    for value in find_values(header, name):
        if "." in value:
            split.append(value)
        else:
            found.append((value, 1))
    if split:
        found += _join(split, _find_pieces(header, name), _TRIED - len(found))
    return found


def find_only(header: str, start: str) -> str:
    """Return the value of the cookie that begins with `start`, `name=`, in a header that has the name only once.

    "" unless it stands there as browsers write it: then `read` has to look closer.
    """
    at = header.find(start)
    if at < 0 or (at and header[at - 2 : at] != "; "):
        return ""
    value = header[at + len(start) :].partition(";")[0]
    return value if len(value) <= _COOKIE_BYTES else ""


def observed_pieces(header: str, name: str) -> list[int]:
    """Return which numbers, of 1 to 63, the further cookies of split values in a Cookie header have."""
    return sorted(_find_pieces(header, name)) if name + "." in header else []


def _find(header: str, start: str, most: int) -> list[str]:
    """Return the rest of every cookie whose text begins with `start`, without the space and tabs around it.

    `str.find` runs over all foreign text at the speed of C; every character is looked at a fixed number of
    times, and the loop runs once per cookie that has `start` anywhere, a bounded number of times.
    """
    found: list[str] = []
    at = header.find(start)
    begin = 0
    for _ in range(_HITS):
        if at < 0 or len(found) == most:
            break
        end = header.find(";", at)
        if end < 0:
            end = len(header)
        begin = header.rfind(";", begin, at) + 1 or begin
        if begin == at or _is_blank(header[begin:at]):
            rest = header[at + len(start) : end]
            bare = rest.rstrip()
            if bare != rest and _is_blank(rest[len(bare) :]):
                rest = bare  # otherwise it ends in white space that is none here, and is not ours
            if len(rest) <= _COOKIE_BYTES:
                found.append(rest)
        begin = end + 1
        at = header.find(start, begin)
    return found


def _is_blank(text: str) -> bool:
    """Tell whether a text is nothing but space and tabs."""
    # `strip(" \t")` takes 10 ns for each, which makes 10 ms of a megabyte; counting takes less than 1.
    return text.count(" ") + text.count("\t") == len(text)


def _find_pieces(header: str, name: str) -> dict[int, list[str]]:
    pieces: dict[int, list[str]] = {}
    for rest in _find(header, name + ".", _TRIED * _PIECES):
        digits, equals, chunk = rest.partition("=")
        number = _NUMBERS.get(digits)  # "1", never "01" or "+1": what we did not write is not ours
        if equals and number is not None:
            pieces.setdefault(number, []).append(chunk)
    return pieces


def _join(firsts: list[str], pieces: dict[int, list[str]], most: int) -> list[tuple[str, int]]:
    """Return what can be put together of pieces, of which there may be several under one name."""
    sets = []
    for first in firsts:
        digits, _, chunk = first.partition(".")
        columns = [[chunk], *(pieces.get(number, []) for number in range(1, _COUNTS.get(digits, 0)))]
        if len(columns) > 1 and all(columns):
            sets.append(columns)
    different = dict.fromkeys(islice(_combine(sets), _TRIED * _TRIED))
    return [("".join(row), len(row)) for row in islice(different, most)]


def _combine(sets: list[list[list[str]]]) -> Iterator[tuple[str, ...]]:
    """Yield one chunk of each column: the likeliest first, some of them twice."""
    # Browsers send cookies of the same name in the same order (RFC 6265bis, 5.8.3): when each set takes its chunks
    # in turn, whole sets come out. Stale chunks in front push them along, often all by as many.
    for pushed in range(_TRIED):
        turns = [pushed] * _PIECES
        for columns in sets:
            yield tuple(column[turns[number] % len(column)] for number, column in enumerate(columns))
            for number in range(len(columns)):
                turns[number] += 1
    for columns in sets:
        yield from product(*columns)


class SetCookie:
    """Writes the Set-Cookie headers of one cookie name: values that it keeps, and deletions."""

    __slots__ = ("_chunk", "_name", "_secure_tail", "_single", "_tail")

    def __init__(self, options: CookieOptions, name: str) -> None:
        self._name = name
        self._tail = _tail(options, secure=options.secure)
        self._secure_tail = _tail(options, secure=True)
        # The longest that can surround a value, so that it depends on nothing that is known later. A cookie
        # of several begins with "name=64." or "name.63=", which is 3 characters more than one cookie alone.
        surround = f"{name}=; Max-Age={_LONGEST_AGE}{self._secure_tail}"
        self._single = _COOKIE_BYTES - len(surround)
        self._chunk = self._single - 3

    def capacity(self, pieces: int) -> int:
        """Return how many characters of a value fit into so many cookies, 1 to 64."""
        return self._single if pieces == 1 else pieces * self._chunk

    def pieces(self, length: int) -> int:
        """Return how many cookies a value of so many characters takes; `SessionTooLarge` if over 64."""
        if length <= self._single:
            return 1
        pieces = -(-length // self._chunk)
        if pieces > _PIECES:
            raise SessionTooLarge(length, self.capacity(_PIECES))
        return pieces

    def write(self, value: str, max_age: int | None, *, secure: bool = False) -> list[tuple[str, str]]:
        """Return the headers that keep a value, as many as `pieces` says.

        `max_age` is in seconds, None for until the browser is closed. `secure` adds Secure where the options
        have not. Without Expires: every browser in use reads Max-Age, which needs no clock of theirs to be
        right.
        """
        tail = self._secure_tail if secure else self._tail
        if max_age is not None:
            tail = f"; Max-Age={min(max(max_age, 0), _LONGEST_AGE)}{tail}"
        if len(value) <= self._single:
            return [("Set-Cookie", f"{self._name}={value}{tail}")]
        pieces, size = self.pieces(len(value)), self._chunk
        return [
            ("Set-Cookie", f"{self._name}={pieces}.{value[:size]}{tail}"),
            *(
                ("Set-Cookie", f"{self._name}.{number}={value[number * size : (number + 1) * size]}{tail}")
                for number in range(1, pieces)
            ),
        ]

    def delete(self, numbers: Iterable[int], *, secure: bool = False) -> list[tuple[str, str]]:
        """Return the headers that delete cookies: 0 for the first or only one, 1 to 63 for further pieces.

        Every attribute is repeated, because a browser that does not find the same again may keep the cookie.
        """
        tail = self._secure_tail if secure else self._tail
        gone = f"=; Max-Age=0; Expires=Thu, 01 Jan 1970 00:00:00 GMT{tail}"
        return [("Set-Cookie", f"{self._name}.{number}{gone}" if number else self._name + gone) for number in numbers]


def _tail(options: CookieOptions, *, secure: bool) -> str:
    """Return the attributes that are the same in all cookies, as RFC 6265bis, 4.1.1 spells them."""
    return "".join(
        (
            f"; Path={options.path}",
            f"; Domain={options.domain}" if options.domain is not None else "",
            "; Secure" if secure else "",
            "; HttpOnly" if options.http_only else "",
            f"; SameSite={options.same_site}" if options.same_site is not None else "",
            "; Partitioned" if options.partitioned else "",
        )
    )
