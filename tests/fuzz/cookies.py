"""Any bytes at all as a Cookie header: what is found in it is what a plain reading of the rules finds."""

from collections.abc import Iterator

from holdall.cookie_options import CookieOptions
from holdall.cookies import SetCookie, find_values, from_text, join_header, observed_pieces, read, to_text

from tests.fuzz.seeds import cookie_headers

NAMES = ("__Host-session", "n")  # the short one is what a fuzzer hits often
WRITERS = {name: SetCookie(CookieOptions(), name) for name in NAMES}


def seeds() -> Iterator[bytes]:
    """Yield the headers of the vectors, and every rule of the splitting once."""
    for header in cookie_headers():
        yield header.encode("latin-1")
    yield b"n=3.a; n.1=x;n.1=b; n.2=c;n.2=y; n.64=z; n.01=z"
    yield b'\xa0n=1;\tn= 2 ; N=3;n;n =4;x=n=5; n="6"; n=7,n=8; n=' + b"x" * 4097
    yield b";".join(b"n=%d" % number for number in range(12))
    yield b"n=64.a;" + b";".join(b"n.%d=%d" % (number % 64, number) for number in range(130))


def check(data: bytes) -> None:
    """Raise if a header is read as the rules do not say."""
    header = data.decode("latin-1")
    assert join_header(data) == join_header([data]) == header
    for name in NAMES:
        firsts, pieces = plainly(header, name)
        if header.count(f"{name}=") < 1000:  # beyond, the rest of the header is not looked at
            assert find_values(header, name) == firsts[:8]
        texts = read(header, name)
        assert len(texts) <= 8
        for text, count in texts:
            assert 1 <= count <= 64
            sealed = from_text(text)
            assert sealed is None or to_text(sealed) == text
        if header.count(f"{name}.") < 500:
            assert observed_pieces(header, name) == sorted(pieces)
            expected = unmistakable(firsts[:8], pieces)
            assert expected is None or sorted(texts) == sorted(expected)
        check_neighbours(header, name)


def plainly(header: str, name: str) -> tuple[list[str], dict[int, list[str]]]:
    """Read a header by the letter: the values under a name, and the pieces by their numbers."""
    firsts: list[str] = []
    pieces: dict[int, list[str]] = {}
    for cookie in header.split(";"):
        key, equals, value = cookie.strip(" \t").partition("=")
        if not equals:
            continue
        stem, _, number = key.rpartition(".")
        if key == name and len(value) <= 4096:
            firsts.append(value)
        elif stem == name and number in map(str, range(1, 64)) and len(f"{number}={value}") <= 4096:
            pieces.setdefault(int(number), []).append(value)
    return firsts, pieces


def unmistakable(firsts: list[str], pieces: dict[int, list[str]]) -> list[tuple[str, int]] | None:
    """Return the texts of a header, where no piece is there twice and at most one text is split; else None."""
    whole = [(value, 1) for value in firsts if "." not in value]
    split = [value.partition(".") for value in firsts if "." in value]
    if len(split) > 1 or any(len(chunks) > 1 for chunks in pieces.values()):
        return None
    for count, _, chunk in split:
        numbers = range(1, int(count) if count in map(str, range(2, 65)) else 0)
        if numbers and all(number in pieces for number in numbers):
            whole.append((chunk + "".join(pieces[number][0] for number in numbers), len(numbers) + 1))
    return whole


def check_neighbours(header: str, name: str) -> None:
    """Raise if a cookie of ours is not found among these foreign ones, whole or split."""
    foreign = [cookie for cookie in header.split(";") if not cookie.strip(" \t").startswith((f"{name}=", f"{name}."))]
    text = "A" * (len(header) * 400 % 12_000 + 1)
    ours = [value.partition(";")[0] for _, value in WRITERS[name].write(text, None)]
    if ";".join(foreign).count(name) < 500:
        assert read(";".join([*foreign, *ours]), name) == [(text, len(ours))]
