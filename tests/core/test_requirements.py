"""What docs/requirements.md asks of the core and no other test shows, each by its number."""

import inspect
import logging
import os
import re
import threading
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import ormsgpack
import pytest
from holdall import (
    Command,
    CookieOptions,
    Event,
    Finished,
    Get,
    HoldallError,
    Session,
    SessionManager,
    SessionUnavailable,
    Tier,
    run,
)
from holdall.cookies import find_values
from holdall.sealing import KeyRing
from holdall.session import parse_sid
from holdall.tiers import store_key
from pybase64 import urlsafe_b64decode, urlsafe_b64encode

from tests.core.support import KEY, OTHER_KEY, Browser, World, big, put

NAME = "__Host-session"
SIZES = pytest.mark.parametrize("extra", ["", big(6000)], ids=["cookie", "stored"])


def begun(extra: str = "", **options: Any) -> World:
    world = World(**options)
    world.request(lambda session: session.update(n=1, user="ada", extra=extra))
    return world


@pytest.mark.requirement(1)
@SIZES
def test_ids_are_random_and_nothing_else(extra: str) -> None:
    """1: a sid is 32 bytes of the random source as they are, which is the system's unless another is given."""
    drawn: list[bytes] = []

    def random(size: int) -> bytes:
        drawn.append(os.urandom(size))
        return drawn[-1]

    world = begun(extra, random=random)
    sid = world.request(lambda session: session.sid)
    assert parse_sid(sid) in drawn
    assert inspect.signature(SessionManager).parameters["random"].default is os.urandom


@pytest.mark.requirement(2)
@SIZES
def test_a_cookie_shows_only_its_length(extra: str) -> None:
    """2: nothing of id, user or time can be read in a cookie, and the same session never looks the same twice."""
    world = begun(extra)
    sid = world.request(lambda session: session.sid)
    (first,) = world.browser.cookies.values()
    world.request(lambda session: session.update(n=2))
    second = next(reversed(world.browser.cookies.values()))
    raw = urlsafe_b64decode(first)
    assert b"ada" not in raw
    assert sid not in first
    for moment in (int(world.clock()), int(world.clock() * 1000)):
        for size in (4, 8):
            if moment < 256**size:
                assert moment.to_bytes(size) not in raw
    assert len(first) == len(second)
    assert first[45:] != second[45:]


@pytest.mark.requirement(3)
def test_nothing_is_decoded_before_it_is_authenticated(monkeypatch: pytest.MonkeyPatch) -> None:
    """3: the decoder never sees a byte of a token that was changed anywhere."""
    world = begun()
    value = world.browser.cookies[NAME]
    seen: list[Any] = []

    def spy(data: bytes, **options: Any) -> Any:
        seen.append(data)
        return ormsgpack.unpackb(data, **options)

    monkeypatch.setattr("holdall.codec.unpackb", spy)
    for at in range(0, len(value), 3):
        changed = "A" if value[at] != "A" else "B"
        world.browser.cookies[NAME] = value[:at] + changed + value[at + 1 :]
        assert world.read() == {}
    assert seen == []
    world.browser.cookies[NAME] = value
    assert world.read()["n"] == 1
    assert seen


def bad_tokens(world: World) -> dict[str, str]:
    """One of every kind, each under the name it would be presented by."""
    value = world.browser.cookies[NAME]
    other = SessionManager("another-key-of-32-bytes-0123456789abcdef", clock=world.clock)
    exchange = other.open(None)
    exchange.session["n"] = 1
    (foreign,) = (v for k, v in run(exchange.commit(status=200, headers=[]), world.stores) if k == "Set-Cookie")
    return {
        "empty": "",
        "junk": "junk",
        "truncated": value[:-4],
        "longer": value + "AAAA",
        "flipped": ("A" if value[70] != "A" else "B").join((value[:70], value[71:])),
        "foreign key": foreign.partition("=")[2].partition(";")[0],
        "unknown version": "A" + ("g" if value[1] != "g" else "h") + value[2:],
        "padding": value[:-1] + "=",
        "other alphabet": value.replace("-", "+").replace("_", "/") + "+",
        "pieces": "2." + value,
        "not ascii": "\xff" * 80,
        "huge": "A" * 100_000,
    }


@pytest.mark.requirement(4, 7)
def test_every_bad_token_looks_the_same(caplog: pytest.LogCaptureFixture) -> None:
    """4 and 7: same headers, no store asked, same log line, whatever is wrong; and unknown versions are not deleted."""
    world = begun()
    outcomes = set()
    for value in bad_tokens(world).values():
        for name in (NAME, f"{NAME}-ref"):
            world.later(seconds=20)
            caplog.clear()
            browser = Browser()
            browser.cookies = {name: value}
            with caplog.at_level(logging.DEBUG):
                assert world.read(browser) == {}
            assert world.did == []
            outcomes.add((str(world.headers), browser.cookies == {name: value}))
            assert value[:20] not in caplog.text or len(value) < 8
    assert outcomes == {("[('Vary', 'Cookie')]", True)}


@pytest.mark.requirement(11)
@SIZES
def test_nothing_secret_in_logs_and_texts(extra: str, caplog: pytest.LogCaptureFixture) -> None:
    """11: neither token, sid nor value is in an event, a log line's text or fields, an exception or a repr."""
    events: list[Event] = []
    world = begun(extra, on_event=events.append)
    world.request(lambda session: session.update(user="lovelace"))  # which no hexadecimal hash happens to contain
    secrets = [world.request(lambda session: session.sid), "lovelace", *world.browser.cookies.values()]
    texts = []
    with caplog.at_level(logging.DEBUG):
        for down in ({Tier.CACHE}, {Tier.DURABLE}, {Tier.CACHE, Tier.DURABLE}):
            acts: list[Callable[[Session], Any]] = [
                lambda session: session.update(n=2, bad=1),
                Session.regenerate_id,
                Session.terminate,
                lambda session: session.update(bad=object()),
            ]
            for act in acts:
                world.stores.down = down
                exchange = world.open(world.browser.copy())
                try:
                    act(exchange.session)
                    run(exchange.commit(status=200, headers=[]), world.stores)
                except HoldallError as error:
                    texts.append(f"{error!r} {error}")
                texts.append(f"{exchange.session!r} {exchange!r} {world.manager!r}")
        world.stores.down.clear()
    texts += [f"{event!r} {event.fields()}" for event in events]
    shown = caplog.text + " ".join([*texts, *(str(vars(record)) for record in caplog.records)])
    for secret in secrets:
        assert secret not in shown


@pytest.mark.requirement(12)
def test_an_unknown_sid_is_never_adopted() -> None:
    """12: an authentic reference without a record, or a sid from outside, begins nothing under that sid."""
    world = begun(big(6000))
    sid = world.request(lambda session: session.sid)
    for tier in (Tier.CACHE, Tier.DURABLE):
        world.stores.flush(tier)
    world.request(lambda session: session.update(n=5))
    assert world.read() == {"n": 5}
    assert world.request(lambda session: session.sid) != sid
    exchange = world.manager.open_sid(sid, drive=world.drive)
    exchange.session["n"] = 6
    assert exchange.session.sid != sid


@pytest.mark.requirement(18)
def test_random_cookies_touch_nothing() -> None:
    """18: 10^4 requests with random cookies, half of them under our own version and key id, ask and set nothing."""
    world = begun()
    head = urlsafe_b64decode(world.browser.cookies[NAME])[:5]
    for number in range(10_000):
        browser = Browser()
        sealed = (head if number % 2 else b"") + os.urandom(100)
        browser.cookies = {name: urlsafe_b64encode(sealed[:102]).decode() for name in (NAME, f"{NAME}-ref")}
        assert world.read(browser) == {}
        assert world.did == []
        assert world.set_cookies() == []


@pytest.mark.requirement(19)
def test_what_is_in_a_store_opens_nothing() -> None:
    """19: no string of a dump of both tiers is a cookie or a sid, and nothing of the session is readable in it."""
    world = begun(big(6000))
    sid = world.request(lambda session: session.sid)
    for tier in (Tier.CACHE, Tier.DURABLE):
        for key, (value, _, _) in world.stores.snapshot(tier).items():
            assert b"ada" not in value
            assert sid not in key
            texts = [key, key[1:], value.hex(), urlsafe_b64encode(value).decode(), value.decode("latin-1")]
            for text in texts:
                for name in (NAME, f"{NAME}-ref"):
                    browser = Browser()
                    browser.cookies = {name: text}
                    assert world.read(browser) == {}
                assert dict(world.manager.open_sid(text, drive=world.drive).session) == {}


@pytest.mark.requirement(19)
def test_an_entry_is_no_record_and_a_record_no_entry() -> None:
    """19: what is sealed for one tier does not open in the other."""
    world = begun(big(6000))
    cache, durable = world.stores.snapshot(Tier.CACHE), world.stores.snapshot(Tier.DURABLE)
    world.stores.restore(Tier.CACHE, durable)
    assert world.read()["n"] == 1
    world.stores.flush()
    world.stores.restore(Tier.DURABLE, cache)
    assert world.read() == {}


@pytest.mark.requirement(19)
@SIZES
def test_an_older_record_under_the_key_is_not_taken_for_the_newer(extra: str) -> None:
    """19: a cache entry put back to an older state is never served to a browser that has seen newer."""
    world = begun(extra, cookie_only_threshold=0)
    old = world.stores.snapshot(Tier.CACHE)
    world.request(lambda session: session.update(n=2))
    world.stores.restore(Tier.CACHE, old)
    assert world.read()["n"] == 2


@pytest.mark.requirement(27)
def test_threads_share_a_manager() -> None:
    """27: threads that share one manager each see their own session, in every tier."""
    world = World()
    failures: list[Any] = []

    def work(number: int) -> None:
        browser = Browser()
        for size in (0, 10, 6000, 10):
            exchange = world.manager.open(browser.header, drive=world.drive)
            if exchange.session.get("owner", number) != number:
                failures.append(number)
            exchange.session.update(owner=number, size="x" * size)
            browser.receive(run(exchange.commit(status=200, headers=[]), world.stores))

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []


@pytest.mark.requirement(27)
def test_interleaved_requests_share_nothing() -> None:
    """27: two exchanges of two users under way in one thread, one of them failing half-way, do not mix."""
    world = World()
    ada, bob = Browser(), Browser()
    world.request(lambda session: session.update(user="ada", extra=big(6000)), ada)
    world.request(lambda session: session.update(user="bob", extra=big(6000)), bob)
    first, second = world.open(ada), world.open(bob)
    loading, other = first.load(), second.load()
    assert not isinstance(loading, Finished)
    assert isinstance(next(loading), Get)
    run(other, world.stores)
    second.session["seen"] = 1
    loading.close()
    world.close(second, bob)
    assert world.read(ada)["user"] == "ada"
    assert world.read(bob)["user"] == "bob"


@pytest.mark.requirement(20, 21)
def test_secure_by_default() -> None:
    """20 and 21: the default cookie carries __Host-, Secure, HttpOnly, SameSite and Path=/, in its limits."""
    world = World()
    world.request(lambda session: session.start(int(world.clock()) + 86_400 * 3000))
    (cookie,) = world.set_cookies()
    assert cookie.startswith("__Host-session=")
    assert {"Secure", "HttpOnly", "SameSite=Lax", "Path=/"} <= set(cookie.split("; "))
    age = re.search(r"Max-Age=(\d+)", cookie)
    assert age is not None
    assert int(age[1]) <= 400 * 86_400
    assert len(cookie) <= 4096


@pytest.mark.requirement(21)
@pytest.mark.parametrize("threshold", [0, 100, 3800])
def test_no_cookie_is_ever_over_4096_bytes(threshold: int) -> None:
    """21: sizes around every limit give cookies that browsers keep, and a session that comes back whole."""
    options = CookieOptions(name="s" * 20, domain="a-rather-long-domain.example.com", path="/" + "p" * 30)
    for size in (0, 50, 2700, *range(2730, 2800, 7), 2900, 5000):
        world = World(cookie_only_threshold=min(threshold, 3700), cookie=options)
        text = "x" * size
        world.request(lambda session, text=text: session.update(x=text))  # type: ignore[misc]
        assert all(len(cookie) <= 4096 for cookie in world.set_cookies())
        assert world.read() == {"x": text}


@pytest.mark.requirement(38)
@pytest.mark.parametrize("plain", [b"", b"\x02" + bytes(100), b"\x01\x01" + bytes(40), b"\x01\x02" + bytes(25)])
def test_a_record_of_a_newer_version_is_refused_and_kept(plain: bytes) -> None:
    """38: a record of an unknown format is neither read, nor replaced, nor deleted; the cookie stays."""
    world = begun(big(6000))
    (key,) = world.stores.snapshot(Tier.DURABLE)
    raw = parse_sid(world.request(lambda session: session.sid))
    assert raw is not None
    assert key == store_key(raw)
    newer = world.manager._tiers._records.seal(plain, key.encode(), world.clock())
    world.stores.flush()
    world.stores.restore(Tier.DURABLE, {key: (newer, 10**6, 2**40)})
    for act in (dict, lambda session: session.update(n=2), Session.regenerate_id):
        with pytest.raises(SessionUnavailable):
            world.request(act)
    assert world.stores.snapshot(Tier.DURABLE)[key][0] == newer
    assert world.browser.cookies


@pytest.mark.requirement(6)
def test_a_cookie_of_an_old_key_is_sealed_anew_at_the_next_write() -> None:
    """6: what the second key opens is left alone while it is only read, and sealed by the first at the next write."""
    old = begun(key=OTHER_KEY)
    both, new = (World(key=key, clock=old.clock) for key in ([KEY, OTHER_KEY], KEY))
    assert both.read(old.browser)["n"] == 1
    assert both.set_cookies() == []
    assert new.read(old.browser) == {}
    both.request(put(n=2), old.browser)
    assert new.read(old.browser)["n"] == 2


@pytest.mark.requirement(8)
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")  # other tests may have left threads
def test_a_million_seals_have_a_million_nonces() -> None:
    """8: of 10^6 seals, by four threads and by two children of a fork, no two have the same nonce."""
    box = KeyRing(KEY, os.urandom).box("cookie")

    def nonces(count: int) -> bytes:
        return b"".join([box.seal(b"", b"", 9.0)[5:29] for _ in range(count)])

    found: list[bytes] = []
    threads = [threading.Thread(target=lambda: found.append(nonces(200_000))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    found += in_forks(2, lambda _: nonces(100_000))
    every = b"".join(found)
    assert len({every[at : at + 24] for at in range(0, len(every), 24)}) == 1_000_000


def in_forks(count: int, work: Callable[[int], bytes]) -> list[bytes]:
    """Return what children that are forked from here, and live at the same time, make of their numbers."""
    pipes = []
    for number in range(count):
        readable, writable = os.pipe()
        child = os.fork()
        if child == 0:
            try:
                with os.fdopen(writable, "wb") as pipe:
                    pipe.write(work(number))
            finally:
                os._exit(0)
        os.close(writable)
        pipes.append((child, readable))
    results = []
    for child, readable in pipes:
        with os.fdopen(readable, "rb") as pipe:
            results.append(pipe.read())
        os.waitpid(child, 0)
    return results


@pytest.mark.requirement(10)
def test_length_is_checked_before_any_work(monkeypatch: pytest.MonkeyPatch) -> None:
    """10: a value that is longer than a cookie can be is not decoded."""
    world, browser = World(), Browser()
    decoded: list[int] = []
    monkeypatch.setattr("holdall.presented.from_text", lambda text: decoded.append(len(text)))
    for size in (4096, 4097, 1_000_000):
        browser.cookies = {NAME: "A" * size}
        assert world.read(browser) == {}
    assert set(decoded) == {4096}


@pytest.mark.requirement(13)
def test_a_copied_cookie_of_an_unbound_session_lives_until_its_end() -> None:
    """13: the old cookie of a session that is bound to nobody opens until its absolute end; SECURITY.md says so."""
    world = begun(lifetime=timedelta(hours=1))
    copy = world.browser.copy()
    world.request(Session.regenerate_id)
    world.later(seconds=3599)
    assert world.read(copy.copy())["n"] == 1
    world.later(seconds=1)
    assert world.read(copy) == {}
    page = Path(__file__).parents[2] / "SECURITY.md"
    assert "until the session's absolute e" in page.read_text(encoding="utf-8")


@pytest.mark.requirement(17)
@pytest.mark.parametrize("threshold", [0, 3800], ids=["stored", "cookie"])
def test_a_read_only_request_brings_nothing_back(threshold: int) -> None:
    """17: a request that only reads and answers after the logout, idle refresh and all, leaves the session ended."""
    world = World(cookie_only_threshold=threshold, idle_timeout=timedelta(seconds=100))

    def login(session: Session) -> None:
        session["n"] = 1
        if threshold:
            session.bind("ada")  # who is bound to nobody may go on with a copied cookie

    world.request(login)
    world.later(seconds=50)
    world.stores.flush()
    slow = world.open()
    assert slow.session["n"] == 1
    world.request(Session.terminate, world.browser.copy())
    assert any(name == "Set-Cookie" for name, _ in world.close(slow))
    for _ in range(2):
        assert world.read() == {}
        world.later(seconds=40)


@pytest.mark.requirement(26)
@pytest.mark.parametrize("no_datastore", [False, True], ids=["durable", "cache only"])
def test_overlapping_requests(no_datastore: bool) -> None:
    """26: different keys both survive, the same key holds one of the two values, and every increment counts."""
    world = World(cookie_only_threshold=0, no_datastore=no_datastore)
    world.request(put(n=0, same=0))
    exchanges = {name: world.open() for name in ("first", "second")}
    for name, exchange in exchanges.items():
        exchange.session.update({name: name, "same": name})
        exchange.session.incr("n")
    for exchange in reversed(exchanges.values()):
        world.close(exchange)
    found = world.read()
    assert found.pop("same") in exchanges
    assert found == {"n": 2, "first": "first", "second": "second"}


@pytest.mark.requirement(27)
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")  # other tests may have left threads
def test_forks_share_nothing_of_a_session() -> None:
    """27: children of a process that was in the middle of a request each have their own user, and no other's id."""
    world = World()
    ada = Browser()
    world.request(put(user="ada"), ada)
    under_way = world.open(ada)
    assert under_way.session["user"] == "ada"

    def serve(number: int) -> bytes:
        browser = Browser()
        sid = world.request(lambda session: session.update(user=number) or session.sid, browser)
        return f"{sid} {browser.header}".encode()

    answers = [answer.decode().partition(" ") for answer in in_forks(3, serve)]
    assert len({sid for sid, _, _ in answers} | {under_way.session.sid}) == 4
    for number, (_, _, header) in enumerate(answers):
        assert dict(world.manager.open(header).session) == {"user": number}
    world.close(under_way, ada)
    assert world.read(ada) == {"user": "ada"}


@pytest.mark.requirement(28)
@pytest.mark.parametrize("no_datastore", [False, True], ids=["durable", "cache only"])
def test_no_lock_is_held_over_a_request(no_datastore: bool) -> None:
    """28: between any two commands of a request, and while one never ends, others of the same session are served."""
    world = World(cookie_only_threshold=0, no_datastore=no_datastore)
    world.request(put(n=0))
    world.open().session.update(never="saved")
    counts: list[int] = []

    def serve_others(_: Command) -> None:
        world.stores.before = None
        if len(counts) < 3:
            world.request(lambda session: session.incr("n"), world.browser.copy())
        counts.append(world.read(world.browser.copy())["n"])
        world.stores.before = serve_others

    slow = world.open()
    world.stores.before = serve_others
    slow.session.incr("n")
    world.close(slow, world.browser.copy())
    world.stores.before = None
    assert counts[:3] == [1, 2, 3]
    assert world.read() == {"n": 4}


class Searched(str):
    """A header that counts how often it is searched."""

    searches = 0

    def find(self, *args: Any) -> int:
        self.searches += 1
        return super().find(*args)

    def rfind(self, *args: Any) -> int:
        self.searches += 1
        return super().rfind(*args)


@pytest.mark.requirement(24)
def test_a_megabyte_is_searched_a_bounded_number_of_times() -> None:
    """24: however often our name is in a Cookie header, the parser looks for it and its neighbours 3,000 times."""
    header = Searched(f"x={NAME}=;" * 50_000)
    assert find_values(header, NAME) == []
    assert 1_000 < header.searches < 3_010
