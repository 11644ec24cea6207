"""One request and its response: headers, receipts, and the session that is set."""

import pytest
from holdall import CookieOptions, Session, SessionManager, Tier, run

from tests.core.support import KEY, World, big, put


def commit(world: World, headers: list[tuple[str, str]], n: int = 1) -> list[tuple[str, str]]:
    exchange = world.open()
    exchange.session["n"] = n
    return run(exchange.commit(status=200, headers=headers), world.stores)


class TestHeaders:
    """DESIGN of responses: docs/requirements.md 20 to 23."""

    def test_set_cookie(self) -> None:
        """A write sets one cookie with all attributes, and says that the response must not be shared."""
        world = World()
        headers = dict(commit(world, []))
        value, *attributes = headers["Set-Cookie"].split("; ")
        assert value.startswith("__Host-session=")
        assert attributes == ["Max-Age=604800", "Path=/", "Secure", "HttpOnly", "SameSite=Lax"]
        assert headers["Vary"] == "Cookie"
        assert headers["Cache-Control"] == 'private, no-cache="Set-Cookie"'
        assert len(headers["Set-Cookie"]) <= 4096

    def test_given_headers_stay_as_they_are(self) -> None:
        """The application's list is not changed, and its own cookies survive."""
        world = World()
        given = [("Set-Cookie", "mine=1"), ("X", "y")]
        before = list(given)
        complete = commit(world, given)
        assert given == before
        assert complete[:2] == before
        assert len([1 for field, _ in complete if field == "Set-Cookie"]) == 2

    @pytest.mark.parametrize(
        "look", [len, list, bool, dict, lambda s: "x" in s, lambda s: s.get("x"), Session.is_active]
    )
    def test_vary_on_any_access(self, look: object) -> None:
        """Whatever was asked of the session, the response varies by cookie."""
        world = World()
        world.request(look)  # type: ignore[arg-type]
        assert world.headers == [("Vary", "Cookie")]

    def test_untouched_is_handed_back(self) -> None:
        """Without a touch the very list comes back."""
        world = World()
        headers = [("X", "y")]
        assert run(world.open().commit(status=200, headers=headers), world.stores) is headers

    def test_writing_again_sets_the_same_name_once(self) -> None:
        """One Set-Cookie per name and response."""
        world = World()
        world.browser.receive(commit(world, []))
        world.request(lambda session: session.update(big=big()))
        names = [value.partition("=")[0] for value in world.set_cookies()]
        assert len(names) == len(set(names))

    def test_largest_inline_session_is_within_4096_bytes(self) -> None:
        """Whatever still rides in the cookie does so within 4096 bytes, attributes included."""
        world = World()
        for size in range(2_600, 2_800, 7):
            world.browser.cookies.clear()
            world.request(put(data=big(size)))
            assert all(len(value) <= 4096 for value in world.set_cookies())

    def test_options(self) -> None:
        """The cookie says what the options say."""
        world = World(cookie=CookieOptions(name="sid", secure=False, same_site="Strict", domain="example.org"))
        world.request(lambda session: session.update(n=1))
        (cookie,) = world.set_cookies()
        assert cookie.startswith("sid=")
        assert cookie.endswith("; Path=/; Domain=example.org; HttpOnly; SameSite=Strict")
        world.request(Session.terminate)
        assert all("Domain=example.org" in value and "Max-Age=0" in value for value in world.set_cookies())


class TestReceipt:
    """What finish() tells."""

    def test_tiers(self) -> None:
        """The receipt tells where the session is, and what the cookies weigh."""
        world = World()
        world.request(lambda session: session.update(n=1))
        assert world.receipt is not None
        assert (world.receipt.tier, world.receipt.durable) == (Tier.COOKIE, True)
        assert world.receipt.cookie_bytes == len(world.set_cookies()[0])
        world.request(lambda session: session.update(big=big()))
        assert (world.receipt.tier, world.receipt.durable) == (Tier.DURABLE, True)
        world.request(lambda session: session.set_quick("q", 1))
        assert (world.receipt.tier, world.receipt.durable) == (Tier.DURABLE, False)
        world.request(Session.terminate)
        assert world.receipt.tier is None

    def test_memory_only(self) -> None:
        """Without a durable tier nothing is durable."""
        world = World(no_datastore=True)
        world.request(lambda session: session.update(big=big()))
        assert world.receipt is not None
        assert (world.receipt.tier, world.receipt.durable) == (Tier.CACHE, False)


def test_another_session_may_be_set() -> None:
    """The session that is set is the one that is saved."""
    world = World()
    world.request(lambda session: session.update(n=1, big=big()))
    sid = world.request(lambda session: session.sid)
    exchange = world.manager.open("", drive=world.drive)
    exchange.session["ignored"] = 1
    exchange.session = world.manager.open_sid(sid, drive=world.drive).session
    exchange.session["n"] = 2
    headers = run(exchange.commit(status=200, headers=[]), world.stores)
    assert "-ref=" in dict(headers)["Set-Cookie"]
    assert world.read()["n"] == 2
    assert "ignored" not in world.read()


def test_managers_share_sessions_by_key_name_and_audience() -> None:
    """Two managers with the same key, cookie name and audience are one application to a browser."""
    world = World()
    world.request(lambda session: session.update(n=1))
    other = SessionManager(KEY, clock=world.clock)
    assert dict(other.open(world.browser.header).session) == {"n": 1}


@pytest.mark.parametrize(
    ("host", "warned"),
    [("localhost:8000", False), ("127.0.0.1", False), ("[::1]:80", False), ("[::1]", False), ("example.org", True)],
)
def test_plain_http_is_warned_of_once(host: str, warned: bool, caplog: pytest.LogCaptureFixture) -> None:
    """A Secure cookie over plain http to a host that is not loopback gives one warning that says what to do."""
    world = World()
    headers = commit(world, [])
    for _ in range(3):
        world.manager.warn_of_plain_http(host, headers)
    assert len(caplog.records) == int(warned)
    assert ("secure=False" in caplog.text) == warned
