"""What `holdall.cookies` promises: one spelling, linear time, and neighbours that change nothing."""

import email.message
import http.cookiejar
import random
import string
import sys
import urllib.request
from collections.abc import Callable
from types import FrameType
from typing import Any

import pytest
from holdall.cookie_options import CookieOptions
from holdall.cookies import SetCookie, find_only, find_values, from_text, join_header, observed_pieces, read, to_text
from holdall.errors import SessionTooLarge
from hypothesis import example, given
from hypothesis import strategies as st

NAME = "__Host-session"
ALPHABET = string.ascii_letters + string.digits + "-_"
WRITER = SetCookie(CookieOptions(), NAME)

sealed = st.integers(0, 100).flatmap(lambda thirds: st.binary(min_size=thirds * 3, max_size=thirds * 3))
latin = st.text(st.characters(max_codepoint=255))
# A foreign cookie is anything between two semicolons that does not begin with our name and an equals sign.
foreign = st.one_of(
    latin.map(lambda text: text.replace(";", "")),
    st.sampled_from(
        [
            *(
                'a="b c',
                'quoted="a\\"b',
                "$Version=1",
                "$Path=/",
                "a=1, b=2",
                "a=\0",
                "a\0=1",
                "\x85",
                "\xa0",
                "",
                " ",
                "=",
            ),
            *("=value", "name", "name=", "==", NAME, f"{NAME}-ref=x", f"x{NAME}=x", f"x={NAME}=x", f"{NAME.lower()}=x"),
            *(
                f"{NAME} =x",
                f"\xa0{NAME}=x",
                f"\x85{NAME}=x",
                f"\x0b{NAME}=x",
                f"x {NAME}=x",
                f"{NAME}.0=x",
                f"{NAME}.01=x",
            ),
            *(
                f"{NAME}.64=x",
                f"{NAME}.x=x",
                f"{NAME}.1",
                f"{NAME}.-1=x",
                f"{NAME}.\xb2=x",
                f"{NAME}.=x",
                f'"{NAME}=x"',
            ),
        ]
    ),
).filter(lambda text: not text.strip(" \t").startswith(f"{NAME}="))


def as_sent(headers: list[tuple[str, str]]) -> list[str]:
    """Return what a browser sends back: name and value of every Set-Cookie."""
    return [value.partition(";")[0] for _, value in headers]


def text_of(length: int, seed: int = 1) -> str:
    return to_text(random.Random(seed).randbytes(length // 4 * 3 + 3))[:length]


class Watched(str):
    """A header that counts how many of its characters are looked at or copied, however fast each of them is."""

    looked_at = 0

    def find(self, sub: str, start: Any = 0, end: Any = None, /) -> int:
        at = super().find(sub, start, end)
        self.looked_at += (len(self) if at < 0 else at + len(sub)) - start
        return at

    def rfind(self, sub: str, start: Any = 0, end: Any = None, /) -> int:
        at = super().rfind(sub, start, end)
        self.looked_at += (len(self) if end is None else end) - (start if at < 0 else at)
        return at

    def __contains__(self, sub: str, /) -> bool:  # type: ignore[override]
        return self.find(sub) >= 0

    def __getitem__(self, key: Any, /) -> str:
        part = super().__getitem__(key)
        self.looked_at += len(part)
        return part


def calls_of(action: Callable[[], object]) -> int:
    """Return how many functions an action calls, C's included."""
    calls = 0

    def count(frame: FrameType, event: str, argument: object) -> None:
        nonlocal calls
        calls += event in ("call", "c_call")

    before = sys.getprofile()
    sys.setprofile(count)
    try:
        action()
    finally:
        sys.setprofile(before)
    return calls


@pytest.mark.requirement(10)
class TestText:
    @given(sealed)
    def test_pair(self, raw: bytes) -> None:
        """Bytes come back from their text, which holds nothing but base64url's alphabet."""
        text = to_text(raw)
        assert raw == from_text(text)
        assert set(text) <= set(ALPHABET)
        assert len(raw) // 3 * 4 == len(text)

    @given(st.one_of(st.text(), latin, st.text(ALPHABET + "+/= \n", max_size=12), st.text(ALPHABET)))
    @example("AA==")
    @example("AAA=")
    @example("AAB=")
    @example("AAB")
    @example("AA+/")
    @example("AAAA\n")
    @example(" AAA")
    @example("AAAA====")
    @example("ÄAAA")
    @example("AAA\ud800")
    @example("AAAAA")
    def test_one_spelling(self, text: str) -> None:
        """Whatever is read as bytes is the very text that those bytes are written as."""
        raw = from_text(text)
        assert raw is None or to_text(raw) == text

    def test_every_foreign_character_is_refused(self) -> None:
        """At no position is any character accepted but the 64, padding and the standard alphabet's included."""
        for at in range(4):
            read = {chr(i) for i in range(300) if from_text("AAAA"[:at] + chr(i) + "AAAA"[at + 1 :]) is not None}
            assert set(ALPHABET) == read


class TestFindOnly:
    @pytest.mark.parametrize("before", ["", "a=b; ", f"x{NAME}; "])
    @pytest.mark.parametrize("after", ["", "; a=b", ";"])
    def test_as_browsers_write_it(self, before: str, after: str) -> None:
        """Its value is found at once, between cookies of others too."""
        assert find_only(f"{before}{NAME}=abc{after}", f"{NAME}=") == "abc"

    @pytest.mark.parametrize("before", [";", "a=b;", " ", "x", "; x", "a=b, ", f"a={'b' * 99}; c"])
    def test_otherwise_it_is_left_to_read(self, before: str) -> None:
        """Where it does not begin a cookie after a semicolon and a space, nothing is said, and neither without it."""
        assert find_only(f"{before}{NAME}=abc", f"{NAME}=") == ""
        assert find_only(before, f"{NAME}=") == ""

    def test_longest(self) -> None:
        """A value that is longer than a cookie can be is none."""
        assert find_only(f"{NAME}={'a' * 4096}", f"{NAME}=") == "a" * 4096
        assert find_only(f"{NAME}={'a' * 4097}", f"{NAME}=") == ""


@pytest.mark.requirement(24)
class TestFind:
    @pytest.mark.parametrize(
        ("header", "values"),
        [
            ("", []),
            (f"{NAME}=abc", ["abc"]),
            (f"{NAME}=abc\xa0; {NAME}=abc\r", ["abc\xa0", "abc\r"]),
            (f"{NAME}=abc \xa0; {NAME}=abc\r\t", ["abc \xa0", "abc\r\t"]),
            (f"a=b; {NAME}=abc", ["abc"]),
            (f"a=b;{NAME}=abc;c=d", ["abc"]),
            (f" \t {NAME}=abc \t ; c=d", ["abc"]),
            (f"a;\t\t{NAME}=abc", ["abc"]),
            (f"{NAME}=", [""]),
            (f"{NAME}=a=b", ["a=b"]),
            (f'{NAME}="abc"', ['"abc"']),
            (f"{NAME}= abc", [" abc"]),
            (f"{NAME}=a, {NAME}=b", [f"a, {NAME}=b"]),
            (f"{NAME}=1; {NAME}=2;{NAME}=1", ["1", "2", "1"]),
            (f"x{NAME}=abc", []),
            (f"x {NAME}=abc", []),
            (f"{NAME}x=abc", []),
            (f"{NAME}", []),
            (f"{NAME} =abc", []),
            (f"\xa0{NAME}=abc", []),
            (f"\r{NAME}=abc", []),
            (f"{NAME.upper()}=abc", []),
            (f"a={NAME}=abc", []),
            (f'a="; {NAME}=abc"', ['abc"']),
            (f"{NAME}=" + "x" * 4096, ["x" * 4096]),
            (f"{NAME}=" + "x" * 4097, []),
        ],
    )
    def test_find(self, header: str, values: list[str]) -> None:
        """Only a semicolon separates, only space and tab are white space, and names are exact."""
        assert values == find_values(header, NAME)

    def test_eight_at_most(self) -> None:
        """Of many values under our name the first 8 count."""
        header = "; ".join(f"{NAME}={number}" for number in range(100))
        assert [str(number) for number in range(8)] == find_values(header, NAME)

    def test_a_thousand_are_looked_at(self) -> None:
        """Behind 999 cookies that hold our name's text ours is found, behind 1,000 it is not looked for any more."""
        for decoys, found in ((999, ["abc"]), (1000, [])):
            assert find_values(f"x{NAME}=;" * decoys + f"{NAME}=abc", NAME) == found

    @given(st.lists(foreign), st.lists(foreign), st.sampled_from([";", "; ", " ;\t"]))
    def test_neighbours_change_nothing(self, before: list[str], after: list[str], separator: str) -> None:
        """Our cookie is found among any neighbours, however malformed, and only it."""
        header = separator.join([*before, f"{NAME}=abc", *after])
        assert find_values(header, NAME) == ["abc"]
        assert read(header, NAME) == [("abc", 1)]

    @given(
        st.one_of(st.text(), latin, st.lists(st.sampled_from([NAME, "=", ";", ".", " ", "1", "2.", "x"])).map("".join))
    )
    def test_junk_never_raises(self, header: str) -> None:
        """Any text at all is read without an exception, into texts that were in it."""
        for value in find_values(header, NAME):
            assert f"{NAME}={value}" in header
        for text, count in read(header, NAME):
            assert 1 <= count <= 64
            from_text(text)
        observed_pieces(header, NAME)

    @pytest.mark.parametrize(
        "unit",
        [
            *(
                "x",
                ";",
                " ",
                "=",
                "_",
                '"',
                "\xa0",
                "_Host-session=",
                NAME,
                f"{NAME}=",
                f"{NAME}=;",
                f"x{NAME}=;",
                f"x {NAME}=;",
            ),
            *(
                f"{' ' * 500}{NAME}=x;",
                f"{NAME}=x{' ' * 500};",
                f"{NAME}.1=x;",
                f"{NAME}=64.x;{NAME}.1=x;",
                f"{NAME}=64.x;{NAME}.1=x{' ' * 1950};",
                f"{NAME}.",
                "; ",
            ),
            *(
                f"x{' ' * 500}{NAME}=;",
                f"{NAME}=64.{'x' * 4000};" + "".join(f"{NAME}.{i}={'y' * 4000};" for i in range(1, 64)),
            ),
        ],
        ids=lambda unit: f"{len(unit)}-{unit[:20]!r}",
    )
    def test_a_megabyte_takes_little_work(self, unit: str) -> None:
        """Of 1 MB of hostile Cookie header every character is looked at a few times, in a bounded number of calls."""
        header = (unit * (1_000_000 // len(unit) + 1))[:1_000_000]
        watched = Watched(header)

        def work(header: str) -> None:
            for text, _ in read(header, NAME):
                from_text(text)
            observed_pieces(header, NAME)

        work(watched)
        assert watched.looked_at <= 6 * len(header)
        assert calls_of(lambda: work(header)) <= 20_000

    def test_found_behind_a_megabyte(self) -> None:
        """A megabyte of neighbours does not hide our cookie."""
        for neighbour in ("a=" + "x" * 1_000_000, "a=b; " * 200_000, ";" * 1_000_000, f"x={NAME}=" * 66_666):
            assert find_values(f"{neighbour}; {NAME}=abc", NAME) == ["abc"]


class TestJoin:
    @pytest.mark.parametrize(
        ("headers", "joined"),
        [
            (None, ""),
            ("a=b", "a=b"),
            (b"a=\xe9", "a=\xe9"),
            ([], ""),
            (["a=b"], "a=b"),
            ([b"a=b", "c=d", b"e=\xff"], "a=b; c=d; e=\xff"),
            (iter(["a=b", "c=d"]), "a=b; c=d"),
        ],
    )
    def test_join(self, headers: Any, joined: str) -> None:
        """Whatever a server hands over becomes one header, in latin-1."""
        assert joined == join_header(headers)


@pytest.mark.requirement(25)
class TestSplit:
    @given(st.one_of(st.integers(1, 9000), st.integers(1, 64 * 4000)), st.lists(foreign, max_size=10), st.randoms())
    def test_pair(self, length: int, neighbours: list[str], order: random.Random) -> None:
        """A text of any length comes back from its cookies in any order, whatever is between them."""
        text = text_of(length)
        cookies = as_sent(WRITER.write(text, 3600))
        sent = cookies + neighbours
        order.shuffle(sent)
        assert [(text, len(cookies))] == read("; ".join(sent), NAME)
        assert len(cookies) == WRITER.pieces(length)
        assert list(range(1, len(cookies))) == [
            number for number in observed_pieces("; ".join(cookies), NAME) if number < len(cookies)
        ]

    @pytest.mark.requirement(21)
    @pytest.mark.parametrize("pieces", [1, 2, 3, 10, 11, 63, 64])
    def test_capacity(self, pieces: int) -> None:
        """So many cookies hold just as many characters as `capacity` says, none over 4096 bytes, and not one more."""
        for options in (
            CookieOptions(),
            CookieOptions(
                name="x" * 256, secure=False, domain="example.com", path="/" + "x" * 1023, same_site="Strict"
            ),
            CookieOptions(same_site="None", partitioned=True),
        ):
            writer = SetCookie(options, options.effective_name)
            room = writer.capacity(pieces)
            headers = writer.write("x" * room, 10**9, secure=True)
            assert pieces == len(headers) == writer.pieces(room)
            assert all(len(value) <= 4096 for _, value in headers)
            assert len(headers[0][1]) + (pieces > 1) * (pieces < 10) == 4096
            if pieces < 64:
                assert pieces + 1 == writer.pieces(room + 1) == len(writer.write("x" * (room + 1), 10**9))

    def test_more_than_64(self) -> None:
        """What 64 cookies cannot hold is refused before anything is written."""
        room = WRITER.capacity(64)
        with pytest.raises(SessionTooLarge) as caught:
            WRITER.write("x" * (room + 1), None)
        assert (room + 1, room) == (caught.value.size, caught.value.limit)

    @pytest.mark.parametrize("missing", range(4))
    def test_missing_piece(self, missing: int) -> None:
        """Without any one of its pieces a split text is not there."""
        cookies = as_sent(WRITER.write(text_of(15_000), None))
        assert len(cookies) == 4
        del cookies[missing]
        assert read("; ".join(cookies), NAME) == []

    @pytest.mark.parametrize("count", ["", "0", "1", "02", "+2", "2 ", "65", "-2", "\xb2", "2.2", "1e1", "99999999999"])
    def test_strange_counts(self, count: str) -> None:
        """Only the canonical decimals 2 to 64 are counts."""
        texts = read(f"{NAME}={count}.aa; {NAME}.1=bb", NAME)
        assert ([("2.aabb", 2)] if count == "2.2" else []) == texts

    def test_stale_pieces(self) -> None:
        """Pieces beyond the count change nothing."""
        cookies = as_sent(WRITER.write(text_of(8_000), None))
        stale = as_sent(WRITER.write(text_of(20_000, seed=2), None))[len(cookies) :]
        assert stale
        assert [(text_of(8_000), len(cookies))] == read("; ".join(stale + cookies), NAME)
        assert read("; ".join([*stale, f"{NAME}=abc"]), NAME) == [("abc", 1)]

    @given(st.lists(st.integers(4_000, 12_000), min_size=1, max_size=8))
    def test_whole_sets_in_one_order(self, lengths: list[int]) -> None:
        """Several whole sets, sent in the order of their paths as browsers do, are all found."""
        sets = [as_sent(WRITER.write(text_of(length, seed), None)) for seed, length in enumerate(lengths)]
        found = read("; ".join(cookie for cookies in sets for cookie in cookies), NAME)
        texts = {(text_of(length, seed), len(sets[seed])) for seed, length in enumerate(lengths)}
        assert texts == set(found[: len(sets)])
        assert len(found) <= 8

    def test_stale_pieces_in_front(self) -> None:
        """Stale pieces that are sent before ours, of every number, do not hide ours."""
        cookies = as_sent(WRITER.write(text_of(40_000), None))
        stale = as_sent(WRITER.write(text_of(40_000, seed=2), None))[1:]
        assert (text_of(40_000), len(cookies)) in read("; ".join(stale + cookies), NAME)

    def test_duplicates_in_any_order(self) -> None:
        """Of duplicated pieces other combinations are tried too, but never more than 8 in all."""
        assert ("abc", 3) in read(f"{NAME}=3.a; {NAME}.1=x; {NAME}.1=b; {NAME}.2=c; {NAME}.2=y", NAME)
        many = "; ".join(f"{NAME}.{number}={value}" for number in range(1, 64) for value in range(8))
        assert len(read(f"{NAME}=64.a; {many}", NAME)) == 8
        firsts = "; ".join(f"{NAME}=64.{value}" for value in range(20))
        assert len(read(f"{firsts}; {many}", NAME)) == 8
        assert len(read(f"{NAME}=whole; {NAME}=64.a; {many}", NAME)) == 8

    @given(st.lists(st.integers(-5, 70)))
    def test_observed(self, numbers: list[int]) -> None:
        """Which further cookies of ours a browser presents is known by their numbers, 1 to 63, each once."""
        header = "; ".join(f"{NAME}.{number}=x" for number in numbers)
        assert sorted({number for number in numbers if 1 <= number <= 63}) == observed_pieces(header, NAME)

    @given(foreign)
    @example(f"{NAME}.1")
    def test_foreign_pieces_are_not_observed(self, cookie: str) -> None:
        """Cookies that only look like pieces are foreign, and will not be deleted."""
        ours = [f"{NAME}.{number}=" for number in range(1, 64)]
        if not cookie.strip(" \t").startswith(tuple(ours)):
            assert observed_pieces(cookie, NAME) == []


class TestWrite:
    @pytest.mark.parametrize(
        ("options", "written"),
        [
            (CookieOptions(), "n=v; Max-Age=60; Path=/; Secure; HttpOnly; SameSite=Lax"),
            (
                CookieOptions("n", secure=True, http_only=False, same_site="None", path="/a", domain="example.com"),
                "n=v; Max-Age=60; Path=/a; Domain=example.com; Secure; SameSite=None",
            ),
            (CookieOptions(secure=False, same_site=None), "n=v; Max-Age=60; Path=/; HttpOnly"),
            (
                CookieOptions(same_site="Strict", partitioned=True),
                "n=v; Max-Age=60; Path=/; Secure; HttpOnly; SameSite=Strict; Partitioned",
            ),
        ],
    )
    def test_attributes(self, options: CookieOptions, written: str) -> None:
        """Every option becomes the attribute that RFC 6265bis names, and deleting repeats each."""
        writer = SetCookie(options, "n")
        assert [("Set-Cookie", written)] == writer.write("v", 60)
        deleted = written.replace("n=v; Max-Age=60", "n=; Max-Age=0; Expires=Thu, 01 Jan 1970 00:00:00 GMT")
        assert [("Set-Cookie", deleted)] == writer.delete([0])

    @pytest.mark.requirement(21)
    @pytest.mark.parametrize(
        ("max_age", "written"),
        [
            (None, "n=v; Path=/"),
            (0, "n=v; Max-Age=0; Path=/"),
            (-5, "n=v; Max-Age=0; Path=/"),
            (34_560_000, "n=v; Max-Age=34560000; Path=/"),
            (34_560_001, "n=v; Max-Age=34560000; Path=/"),
            (10**12, "n=v; Max-Age=34560000; Path=/"),
        ],
    )
    def test_max_age(self, max_age: int | None, written: str) -> None:
        """Max-Age is at most 400 days, never negative, and left out for a browser session."""
        options = CookieOptions(secure=False, http_only=False, same_site=None)
        assert [("Set-Cookie", written)] == SetCookie(options, "n").write("v", max_age)

    def test_secure_on_demand(self) -> None:
        """Secure can be added to a cookie whose options lack it, and is never there twice."""
        for options in (CookieOptions(secure=False), CookieOptions()):
            writer = SetCookie(options, "n")
            for value in ("v", "v" * 5000):
                for _, header in writer.write(value, 60, secure=True) + writer.delete([0, 1], secure=True):
                    assert header.count("; Secure") == 1

    def test_pieces(self) -> None:
        """The first cookie of a split text tells their number; the others count from 1."""
        headers = WRITER.write("x" * 9000, 60)
        assert [f"{NAME}=3.x", f"{NAME}.1=x", f"{NAME}.2=x"] == [
            cookie[: cookie.index("x") + 1] for cookie in as_sent(headers)
        ]
        assert all(value.endswith("; Max-Age=60; Path=/; Secure; HttpOnly; SameSite=Lax") for _, value in headers)

    def test_deletes_just_what_is_named(self) -> None:
        """0 is the first or only cookie, other numbers are pieces, and nothing else is deleted."""
        assert [f"{NAME}=", f"{NAME}.2=", f"{NAME}.63="] == as_sent(WRITER.delete([0, 2, 63]))
        assert WRITER.delete([]) == []

    @pytest.mark.parametrize("length", [10, 9000])
    def test_a_cookie_jar_agrees(self, length: int) -> None:
        """The standard library's cookie jar keeps what is written, sends it back, and forgets what is deleted."""
        jar = http.cookiejar.CookieJar()

        class Response:
            def __init__(self, headers: list[tuple[str, str]]) -> None:
                self._message = email.message.Message()
                for name, value in headers:
                    self._message[name] = value

            def info(self) -> email.message.Message:
                return self._message

        def exchange(headers: list[tuple[str, str]]) -> str:
            request = urllib.request.Request("https://example.com/")
            jar.extract_cookies(Response(headers), request)  # type: ignore[arg-type]
            again = urllib.request.Request("https://example.com/")
            jar.add_cookie_header(again)
            return again.get_header("Cookie") or ""

        sent = exchange(WRITER.write(text_of(length), 60))
        assert [(text_of(length), WRITER.pieces(length))] == read(sent, NAME)
        assert exchange(WRITER.delete([0, *observed_pieces(sent, NAME)])) == ""
