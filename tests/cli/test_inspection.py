"""`holdall inspect` says what a cookie says, or why it does not open, and shows no secret unasked."""

import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from holdall import CookieOptions, Session, SessionManager

from tests.cli.support import Result, Shell, application
from tests.core.support import KEY, OTHER_KEY, Browser, World, big


@pytest.fixture
def browser() -> Browser:
    """A browser with a small session."""
    world = World()
    world.request(lambda s: s.update(user="Ada Lovelace", n=1, basket=[1, 2, 3]))
    return world.browser


def rows(result: Result) -> dict[str, str]:
    """Return what a result says, by the name at the beginning of each line."""
    found = re.findall(r"^  (\S.*?)  +(.*)$", result.out, re.MULTILINE)
    return dict(found)


def value(browser: Browser) -> str:
    (text,) = browser.cookies.values()
    return text


def test_inline(shell: Shell, browser: Browser) -> None:
    """A cookie with data: key, kind, clocks, epoch, revision, flags, bond, and names, types and sizes of its values."""
    result = shell("inspect", stdin=f"Cookie: theme=dark; {browser.header}\r\n")
    said = rows(result)
    assert result.code == 0
    assert f"__Host-session: {len(value(browser))} characters in 1 cookie" in result.out
    assert said["opened by"] == "key 1 of the ring"
    assert said["kind"] == "inline data"
    assert said["issued"].startswith("2027-01-15 08:00:00 UTC, ")  # FakeClock's
    assert said["expires"].startswith("2027-01-22 08:00:00 UTC, ")
    assert said["last seen"].startswith("2027-01-15 08:00:00 UTC, ")
    assert (said["epoch"], said["revision"], said["flags"], said["bound"]) == ("0", "1", "none", "to nobody")
    assert "'user': str, 12 bytes\n" in result.out
    assert "'n': int, 1 bytes\n" in result.out
    assert "'basket': list, 4 bytes\n" in result.out
    assert "Ada" not in result.out


def test_values_when_asked(shell: Shell, browser: Browser) -> None:
    """Values are shown with --values alone."""
    assert "'user': str, 12 bytes = 'Ada Lovelace'" in shell("inspect", "--values", stdin=browser.header).out


def test_a_bare_value_from_a_file(shell: Shell, browser: Browser, tmp_path: Path) -> None:
    """A value without its name opens, from a file too, whichever of the two names it was under."""
    path = tmp_path / "cookie"
    path.write_text(value(browser) + "\n")
    assert rows(shell("inspect", str(path)))["kind"] == "inline data"
    stored = World()
    stored.request(lambda s: s.update(big=big()))
    said = rows(shell("inspect", stdin=value(stored.browser)))
    assert said["kind"] == "reference: the data is in the stores"
    assert said["epoch"] == "1"
    assert "keys" not in said


def test_a_set_cookie_header(shell: Shell) -> None:
    """A Set-Cookie header opens as it stands."""
    world = World()
    world.request(lambda s: s.update(n=1))
    assert rows(shell("inspect", stdin=f"Set-Cookie: {world.set_cookies()[0]}"))["revision"] == "1"


def test_split_and_without_a_prefix(shell: Shell) -> None:
    """A session over several cookies is put together, under the default names unasked, under any other by --name."""
    for options, arguments in (
        (CookieOptions(secure=False), []),
        (CookieOptions(name="mine"), ["--name", "mine"]),
        (CookieOptions(name="__Secure-mine"), ["--name", "__Secure-mine"]),
    ):
        world = World(cookie=options, cookie_only_threshold=20_000)
        world.request(lambda s: s.update(big=big(9_000)))
        result = shell("inspect", *arguments, stdin=world.browser.header)
        assert "characters in 4 cookies" in result.out
        assert rows(result)["kind"] == "inline data"


def test_which_key(shell: Shell, browser: Browser, tmp_path: Path) -> None:
    """The position in the ring tells whether a rotation is through; keys come from a file, one per line."""
    path = tmp_path / "keys"
    path.write_text(f"{OTHER_KEY}\n\n{KEY}\n")
    shell.set_key()
    result = shell("inspect", "--key-file", str(path), stdin=browser.header)
    assert rows(result)["opened by"] == "key 2 of the ring"
    assert KEY not in result.out


def test_flags_and_bond(shell: Shell, tmp_path: Path) -> None:
    """ssl_only, a browser session and a bond are told; to whom it is bound is not."""

    def act(session: Session) -> None:
        session.start(expiration_ts=0, ssl_only=True)
        session.bind("ada@example.com")

    with application(tmp_path / "sessions.sqlite3") as app:
        browser = Browser()
        sid = app.act(browser, act).sid
    result = shell("inspect", "--values", stdin=browser.header)
    assert rows(result)["flags"] == "ssl_only, browser session"
    assert rows(result)["bound"] == "to a principal"
    assert sid is not None
    assert sid not in result.out
    assert "ada" not in result.out


def test_an_unknown_type(shell: Shell) -> None:
    """A value whose type is registered in the application alone is told by its name and size."""
    script = """
from holdall import register_type
from tests.core.support import World
class Basket: pass
register_type(Basket, name="shop.Basket", encode=lambda _: 1, decode=lambda _: Basket())
world = World()
world.request(lambda s: s.update(basket=Basket()))
print(world.browser.header)
"""
    header = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout
    result = shell("inspect", stdin=header)
    assert result.code == 0
    assert "which cannot be read here: the session holds a 'shop.Basket'" in result.out


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (lambda text: text[:-1], "not base64url"),
        (lambda text: "+" + text[1:], "not base64url"),
        (lambda text: "_" + text[1:], "unknown version 253"),
        (lambda text: text[:2] + ("A" if text[2] != "A" else "B") + text[3:], "unknown key id"),
        (lambda text: text[:60] + ("A" if text[60] != "A" else "B") + text[61:], "key 1 sealed it, but not with this"),
    ],
)
def test_why_it_does_not_open(shell: Shell, browser: Browser, spoil: Callable[[str], str], reason: str) -> None:
    """What does not open exits with 1, and says the reason that can be known, without the value."""
    spoiled = spoil(value(browser))
    for stdin in (spoiled, f"__Host-session={spoiled}"):
        result = shell("inspect", stdin=stdin)
        assert result.code == 1
        assert f"does not open  {reason}" in result.out
        assert spoiled not in result.out + result.err


def test_another_audience(shell: Shell, browser: Browser) -> None:
    """A cookie of another audience names a key of the ring, and does not open but with its own audience."""
    assert "not with this name and audience" in shell("inspect", "--audience", "other", stdin=browser.header).out
    world = World(audience="other")
    world.request(lambda s: s.update(n=1))
    assert shell("inspect", "--audience", "other", stdin=world.browser.header).code == 0


def test_another_key(shell: Shell, browser: Browser) -> None:
    """A cookie of a key that is not in the ring says so."""
    shell.set_key(OTHER_KEY)
    assert "unknown key id" in shell("inspect", stdin=browser.header).out


def test_nothing_there(shell: Shell) -> None:
    """A header without our cookies exits with 1, and says what was looked for."""
    result = shell("inspect", stdin="Cookie: theme=dark")
    assert result.code == 1
    assert "looked for __Host-session or session" in result.out


def test_expired(shell: Shell) -> None:
    """An expired cookie opens, and says how long ago it ended."""
    world = World()
    world.clock.now = 1_000_000_000
    world.request(lambda s: s.update(n=1))
    assert re.fullmatch(
        r"2001-09-16 01:46:40 UTC, \d+ d( \d+ h)? ago", rows(shell("inspect", stdin=world.browser.header))["expires"]
    )


def test_the_core_tells_no_secret_in_passing() -> None:
    """What `SessionManager.inspect` returns shows neither token nor sid nor data where it is logged."""
    world = World()
    world.request(lambda s: s.update(user="Ada"))
    (found,) = SessionManager(KEY).inspect([world.browser.header.encode()])
    assert repr(found) == "<Inspected __Host-session: <Token of inline data, revision 1>>"
