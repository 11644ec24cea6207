"""The command line: keys, exit codes, what is refused, and revoking."""

import re
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

from holdall import SessionManager, generate_key

from tests.cli.support import Shell, application
from tests.core.support import OTHER_KEY, Browser


def test_keygen(shell: Shell) -> None:
    """Every key is new, and one that a manager takes."""
    keys = {shell("keygen").out.strip() for _ in range(3)}
    assert len(keys) == 3
    for key in keys:
        SessionManager(key)


def test_it_is_installed() -> None:
    """The console script runs, and its help names every command."""
    script = Path(sys.executable).with_name("holdall")
    done = subprocess.run([script, "--help"], capture_output=True, text=True, check=True)
    for command in ("keygen", "inspect", "sweep", "revoke", "doctor"):
        assert command in done.stdout


def test_no_key(shell: Shell, tmp_path: Path) -> None:
    """Without a key, or with one that cannot be safe, a command says what to do, and exits with 2."""
    shell.set_key()
    result = shell("inspect", stdin="x")
    assert (result.code, result.out) == (2, "")
    assert "there is no --key-file and no HOLDALL_COOKIE_KEY" in result.err
    (tmp_path / "empty").write_text("\n")
    assert "has no key" in shell("inspect", "--key-file", str(tmp_path / "empty"), stdin="x").err
    (tmp_path / "binary").write_bytes(b"\xff\xfe")
    assert "is not text" in shell("inspect", "--key-file", str(tmp_path / "binary"), stdin="x").err
    shell.set_key("hunter2")
    result = shell("inspect", stdin="x")
    assert result.code == 2
    assert "needs at least 32" in result.err
    assert "hunter2" not in result.err


def test_a_missing_file(shell: Shell) -> None:
    """A file that is not there exits with 1 and names it, without a traceback."""
    result = shell("inspect", "/nowhere/cookie")
    assert result.code == 1
    assert result.err.startswith("holdall inspect: ")
    assert "/nowhere/cookie" in result.err


def test_no_key_among_the_arguments(shell: Shell) -> None:
    """There is no argument that takes a key, and no abbreviation of one that does."""
    for option in ("--key", "--cookie-key"):
        assert shell("inspect", option, generate_key(), stdin="x").code == 2


def login(path: Path, *, label: str, audience: str = "holdall") -> Browser:
    """Return the browser of a bound session."""
    browser = Browser()
    with application(path, audience=audience) as app:
        app.act(browser, lambda session: session.bind("ada", label=label))
    return browser


def is_alive(path: Path, browser: Browser) -> bool:
    """Tell whether a process that begins now lets this session go on."""
    with application(path) as app:
        return app.act(browser, lambda session: session.ensure_data_loaded()).is_active()


def test_list_and_revoke(shell: Shell, tmp_path: Path) -> None:
    """Sessions are listed by public id and label, without ending any; then all end, copied cookies too."""
    path = tmp_path / "sessions.sqlite3"
    browsers = [login(path, label=label) for label in ("one", "two")]
    url = f"sqlite:///{path}"
    listed = shell("revoke", "ada", "--durable", url, "--list")
    assert listed.code == 0
    assert set(re.findall(r"^[0-9a-f]{16}  bound .*, seen .* UTC, '(\w+)'$", listed.out, re.MULTILINE)) == {
        "one",
        "two",
    }
    assert all(is_alive(path, browser.copy()) for browser in browsers)
    with application(path) as app:
        sids = [app.act(browser.copy(), lambda session: session.ensure_data_loaded()).sid for browser in browsers]
    assert not any(str(sid) in listed.out for sid in sids)
    revoked = shell("revoke", "ada", "--durable", url)
    assert revoked.code == 0
    assert "2 ended" in revoked.out
    assert not any(is_alive(path, browser) for browser in browsers)
    assert shell("revoke", "ada", "--durable", url, "--list").code == 1


def test_revoke_one(shell: Shell, tmp_path: Path) -> None:
    """`--only` ends the session of that public id and leaves the others; exit code 1 if none is listed under it."""
    path = tmp_path / "sessions.sqlite3"
    browsers = [login(path, label=label) for label in ("one", "two")]
    arguments = ["revoke", "ada", "--durable", f"sqlite:///{path}"]
    (two,) = re.findall(r"^([0-9a-f]{16}) .*'two'$", shell(*arguments, "--list").out, re.MULTILINE)
    result = shell(*arguments, "--only", two)
    assert (result.code, "1 ended" in result.out, "'one'" in result.out) == (0, True, False)
    assert [is_alive(path, browser) for browser in browsers] == [True, False]
    again = shell(*arguments, "--only", two)
    assert again.code == 1
    assert f"no session {two} is listed" in again.out


def test_revoke_finds_nobody(shell: Shell, tmp_path: Path) -> None:
    """Another principal, audience or key has no session to end: exit code 1, and what to look at."""
    path = tmp_path / "sessions.sqlite3"
    browser = login(path, label="one")
    url = f"sqlite:///{path}"
    for arguments in (["bob"], ["ada", "--audience", "other"]):
        result = shell("revoke", *arguments, "--durable", url)
        assert result.code == 1
        assert "check the principal, the key" in result.out
    shell.set_key(OTHER_KEY)
    assert shell("revoke", "ada", "--durable", url).code == 1
    assert is_alive(path, browser)


def test_revoke_while_the_store_is_busy(shell: Shell, tmp_path: Path) -> None:
    """A store that cannot be written exits with 1, and says so: nobody may think that the sessions ended."""
    path = tmp_path / "sessions.sqlite3"
    login(path, label="one")
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        result = shell("revoke", "ada", "--durable", f"sqlite:///{path}?timeout=0.1")
    assert (result.code, result.out) == (1, "")
    assert "cannot be written" in result.err


def test_a_wrong_url(shell: Shell) -> None:
    """A URL that is none exits with 2, and says which there are."""
    result = shell("revoke", "ada", "--durable", "mysql://x")
    assert result.code == 2
    assert "sqlite://" in result.err
