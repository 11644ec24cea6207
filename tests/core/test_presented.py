"""Which session a request presents: authentication decides, never order."""

import itertools
import logging
from datetime import timedelta

import pytest
from holdall import Session
from holdall.cookies import to_text
from holdall.presented import Reader, choose
from hypothesis import given
from hypothesis import strategies as st

from tests.core.support import OTHER_KEY, Browser, World, big, put

NAME = "__Host-session"


def small(world: World, n: int, browser: Browser | None = None) -> str:
    """Give a browser a session of its own in the cookie, and return the cookie's value."""
    browser = browser or Browser()
    world.request(lambda session: session.update(n=n), browser)
    return browser.cookies[NAME]


def stored(world: World, n: int) -> str:
    """Give a browser a session of its own in the stores, and return the value of its reference."""
    browser = Browser()
    world.request(lambda session: session.update(n=n, big=big()), browser)
    return browser.cookies[f"{NAME}-ref"]


def read(world: World, header: str) -> dict[str, object]:
    exchange = world.manager.open(header, drive=world.drive)
    return dict(exchange.session)


@pytest.mark.requirement(24)
def test_of_one_session_the_highest() -> None:
    """Several cookies of one session: the latest write counts, in any order."""
    world = World()
    browser = Browser()
    values = [small(world, n, browser) for n in (1, 2, 3)]
    for order in itertools.permutations(values):
        assert read(world, "; ".join(f"{NAME}={value}" for value in order)) == {"n": 3}


@pytest.mark.requirement(24)
def test_of_different_sessions_none() -> None:
    """Two valid cookies of different sessions: neither, in any order, so that planting one achieves nothing."""
    world = World()
    values = [small(world, n) for n in (1, 2)]
    for order in itertools.permutations(values):
        assert read(world, "; ".join(f"{NAME}={value}" for value in order)) == {}


@pytest.mark.requirement(24)
@pytest.mark.parametrize("junk", ["", "x", "AQ" * 80, '"quoted"', "a b", "=", "2.", "2.AAAA", "99.A", "é"])
def test_junk_under_our_name_is_ignored(junk: str) -> None:
    """A value that does not open changes nothing, before or after the one that does."""
    world = World()
    value = small(world, 1)
    assert read(world, f"{NAME}={junk}; {NAME}={value}") == {"n": 1}
    assert read(world, f"{NAME}={value}; {NAME}={junk}") == {"n": 1}


@pytest.mark.requirement(24)
@given(st.lists(st.text(st.characters(max_codepoint=255), max_size=20), max_size=6), st.integers(0, 6))
def test_neighbours_change_nothing(neighbours: list[str], at: int) -> None:
    """Foreign cookies, however malformed, neither hide our cookie nor are taken for it."""
    world = World()
    value = small(world, 1)
    parts = [part.replace(";", "") for part in neighbours]
    parts = [part for part in parts if NAME not in part]
    parts.insert(min(at, len(parts)), f" {NAME}={value} ")
    assert read(world, ";".join(parts)) == {"n": 1}


COOKIES = World()
GONE = World(lifetime=timedelta(seconds=1), clock=COOKIES.clock)
OURS = {
    NAME: [small(COOKIES, 1), small(COOKIES, 2), small(GONE, 3)],
    f"{NAME}-ref": [stored(COOKIES, 4), stored(COOKIES, 5), stored(GONE, 6)],
}
COOKIES.later(seconds=2)
WHOLE = st.sampled_from([f"{name}={value}" for name, values in OURS.items() for value in values])
ALMOST = st.builds(
    "".join,
    st.tuples(
        st.sampled_from(["", "x", '"', "__Host-", "a="]),
        WHOLE | st.sampled_from([*OURS, "a", f"{NAME}.1", f"{NAME}=", f"{NAME}=junk", f"{NAME}-ref=2.AA"]),
        st.sampled_from(["", '"', "=", "x", ",a=b", ".1", "\t"]),
    ),
)


class Thorough(Reader):
    """A reader without the short way."""

    def open_only(self, header: str) -> None:
        """Say nothing, so that the whole header is read."""


@pytest.mark.requirement(24)
@given(st.lists(st.tuples(WHOLE | ALMOST, st.sampled_from(["; ", ";", " ; ", ";;", ", "])), max_size=5))
def test_the_short_way_says_what_the_long_one_says(cookies: list[tuple[str, str]]) -> None:
    """What is found at once in a header with one cookie of ours is what reading the whole header finds."""
    header = "".join(cookie + after for cookie, after in cookies).removesuffix("; ")
    inline, reference = COOKIES.manager._inline, COOKIES.manager._reference
    thorough = [Thorough(reader.name, reader._box, inline=reader._inline) for reader in (inline, reference)]
    now = COOKIES.clock()
    found = choose(header, inline, reference, now, None)
    assert found._replace(alone=False) == choose(header, thorough[0], thorough[1], now, None)
    assert not found.alone or (found.inline != found.reference and not found.ignored)


def test_header_as_bytes_or_several() -> None:
    """Cookie headers may come as str, bytes, or several of either."""
    world = World()
    value = small(world, 1)
    ours = f"{NAME}={value}"
    several: list[str | bytes] = ["a=b", ours.encode()]
    for headers in (ours.encode(), [ours], several):
        assert dict(world.manager.open(headers, drive=world.drive).session) == {"n": 1}


@pytest.mark.requirement(3)
@given(st.integers(0, 10_000), st.characters(min_codepoint=33, max_codepoint=126))
def test_any_changed_character_opens_nothing(at: int, character: str) -> None:
    """A cookie with any one character changed is no session, and the stores are not asked."""
    world = World()
    value = small(world, 1)
    at %= len(value)
    if value[at] == character:
        return
    assert read(world, f"{NAME}={value[:at]}{character}{value[at + 1 :]}") == {}
    assert world.stores.commands == []


@pytest.mark.requirement(5)
@pytest.mark.parametrize("options", [{"key": OTHER_KEY}, {"audience": "another"}], ids=["key", "audience"])
def test_token_of_another_is_junk(options: dict[str, str]) -> None:
    """A token of another key or audience opens nothing."""
    world = World()
    value = small(world, 1)
    assert read(World(clock=world.clock, **options), f"{NAME}={value}") == {}


@pytest.mark.requirement(5)
def test_inline_and_reference_are_not_each_other() -> None:
    """A token under the other of our two names opens nothing."""
    world = World()
    inline = small(world, 1)
    assert read(world, f"{NAME}-ref={inline}") == {}
    browser = Browser()
    world.request(lambda session: session.update(big=big()), browser)
    reference = browser.cookies[f"{NAME}-ref"]
    assert read(world, f"{NAME}={reference}") == {}


@pytest.mark.parametrize("plain", [b"", b"\0" * 60, b"\x20" + bytes(62), b"\x10" + bytes(62)])
def test_what_a_newer_version_sealed_is_ignored(plain: bytes) -> None:
    """An authentic value of another layout is no session and no error, and is left alone."""
    world = World()
    for name in (NAME, f"{NAME}-ref"):
        sealed = world.manager._box.seal(plain, f"{name}/1".encode(), world.clock())
        browser = Browser()
        browser.cookies = {name: to_text(sealed)}
        assert world.read(browser) == {}
        assert world.did == []
        assert world.set_cookies() == []


@pytest.mark.requirement(11)
def test_bad_cookie_is_logged_once_without_payload(caplog: pytest.LogCaptureFixture) -> None:
    """Bad cookies give one line per while, no payload in it, and no Set-Cookie."""
    world = World()
    world.browser.cookies[NAME] = "payload" * 20
    with caplog.at_level(logging.WARNING, "holdall"):
        for _ in range(5):
            assert world.read() == {}
    assert len(caplog.records) == 1
    assert "payload" not in caplog.text
    assert world.set_cookies() == []
    world.later(seconds=11)
    with caplog.at_level(logging.WARNING, "holdall"):
        world.read()
    assert len(caplog.records) == 2


@pytest.mark.requirement(4, 7)
def test_the_next_write_replaces_a_bad_cookie() -> None:
    """A value that does not open is left alone until the next write."""
    world = World()
    world.browser.cookies[NAME] = "junk"
    world.request(lambda session: session.update(n=1))
    assert world.read() == {"n": 1}


@pytest.mark.requirement(6)
def test_key_rotation() -> None:
    """Add as second, promote, remove: at each step two processes read each other's sessions."""
    clock = World().clock
    stages = [[OTHER_KEY], [OTHER_KEY, "n" * 8 + OTHER_KEY], ["n" * 8 + OTHER_KEY, OTHER_KEY], ["n" * 8 + OTHER_KEY]]
    for extra in ("", big()):
        for before, after in itertools.pairwise(stages):
            one, other = World(key=before, clock=clock), World(key=after, clock=clock)
            other.stores = one.stores
            browser = Browser()
            one.request(put(n=1, extra=extra), browser)
            assert other.read(browser)["n"] == 1
            other.request(lambda session: session.update(n=2), browser)
            assert one.read(browser)["n"] == 2 or after[0] not in before


@pytest.mark.requirement(25)
class TestSplit:
    """Sessions over several cookies, where the threshold allows it."""

    def test_grows_and_shrinks(self) -> None:
        """A split session is read whole; when it shrinks, the pieces that were observed are cleared."""
        world = World(cookie_only_threshold=100_000)
        world.request(lambda session: session.update(big=big(20_000)))
        assert world.did == []
        assert len(world.browser.cookies) > 4
        assert world.read() == {"big": big(20_000)}
        world.request(lambda session: session.update(big=big(5_000)))
        assert len(world.browser.cookies) == 2
        world.request(lambda session: session.update(big="small"))
        assert list(world.browser.cookies) == [NAME]
        assert world.read() == {"big": "small"}

    def test_more_than_ten_pieces_keep_their_order(self) -> None:
        """Pieces are joined by number, not as text, whatever order the browser sends them in."""
        world = World(cookie_only_threshold=100_000)
        text = "".join(chr(97 + number % 26) for number in range(45_000))
        world.request(lambda session: session.update(big=text))
        assert len(world.browser.cookies) > 11
        world.browser.cookies = dict(sorted(world.browser.cookies.items(), reverse=True))
        assert world.read() == {"big": text}

    def test_missing_or_stale_piece_is_no_session(self) -> None:
        """A set that is not whole, or of two sets, opens nothing and does not fail."""
        world = World(cookie_only_threshold=100_000)
        world.request(lambda session: session.update(big=big(20_000)))
        stale = world.browser.copy()
        world.request(lambda session: session.update(big=big(20_000, "y")))
        mixed = world.browser.copy()
        mixed.cookies[f"{NAME}.2"] = stale.cookies[f"{NAME}.2"]
        assert world.read(mixed) == {}
        del mixed.cookies[f"{NAME}.2"]
        assert world.read(mixed) == {}

    def test_another_count_opens_nothing(self) -> None:
        """The whole text in another number of pieces is not what was sent."""
        world = World(cookie_only_threshold=100_000)
        world.request(lambda session: session.update(big=big(8_000)))
        other, last = world.browser.copy(), len(world.browser.cookies) - 1
        name = f"{NAME}.{last}"
        other.cookies[name], other.cookies[f"{NAME}.{last + 1}"] = other.cookies[name][:9], other.cookies[name][9:]
        other.cookies[NAME] = other.cookies[NAME].replace(f"{last + 1}.", f"{last + 2}.", 1)
        assert world.read(other) == {}
        assert world.read() == {"big": big(8_000)}

    def test_terminate_clears_every_piece(self) -> None:
        """Logging out deletes all pieces."""
        world = World(cookie_only_threshold=100_000)
        world.request(lambda session: session.update(big=big(20_000)))
        world.request(Session.terminate)
        assert world.browser.cookies == {}

    def test_beyond_what_cookies_hold_it_goes_to_the_store(self) -> None:
        """A threshold larger than 64 cookies still moves larger sessions to a store."""
        world = World(cookie_only_threshold=10**9)
        world.request(lambda session: session.update(big=big(400_000)))
        assert world.did == ["put durable", "put cache"]
        assert world.read() == {"big": big(400_000)}


@pytest.mark.requirement(21)
def test_threshold_zero_never_puts_data_into_the_cookie() -> None:
    """cookie_only_threshold=0: a reference even for the smallest session."""
    world = World(cookie_only_threshold=0)
    world.request(lambda session: session.update(n=1))
    assert list(world.browser.cookies) == [f"{NAME}-ref"]
    assert world.read() == {"n": 1}


def test_both_presented_the_other_is_deleted_at_the_next_write() -> None:
    """After a promotion the stale inline cookie goes with the first write that was presented both."""
    world = World()
    world.request(lambda session: session.update(n=1))
    world.request(lambda session: session.update(big=big()))
    assert set(world.browser.cookies) == {NAME, f"{NAME}-ref"}
    world.request(lambda session: session.update(n=2))
    assert set(world.browser.cookies) == {f"{NAME}-ref"}
