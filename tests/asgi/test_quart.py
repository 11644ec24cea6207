"""Quart: `quart.session` is a Holdall session, with all that Quart's users are used to."""

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import timedelta
from typing import Any

import pytest
from holdall import SessionCommitted, SessionManager, Tier, UsageError, get_current_session, stretch_key
from holdall.testing import FakeClock, RecordingStores
from holdall_asgi import CookieOptions
from holdall_asgi.quart import SETTINGS, Holdall, QuartSession, QuartSessionInterface
from holdall_stores import Stores
from markupsafe import Markup
from quart import Quart, Response, after_this_request, flash, get_flashed_messages, session, websocket
from quart import stream_with_context as with_context
from quart.sessions import SessionMixin
from quart.testing import QuartClient
from quart.testing.connections import WebsocketResponseError

from tests.asgi.support import Response as ASGIResponse
from tests.asgi.support import messages, titled, websocket_scope
from tests.core.support import KEY, OTHER_KEY, Browser, big

DAY = 24 * 3600
Visit = Callable[[QuartClient], Awaitable[Any]]


class Site:
    """A Quart application with Holdall, its stores and its clock; each story visits it with one client."""

    def __init__(self, *, config: dict[str, Any] | None = None, **options: Any) -> None:
        clock = FakeClock()
        self.stores = RecordingStores(clock)
        self.clock = clock
        self.app = Quart(__name__)
        self.app.config.update({"SECRET_KEY": KEY, **(config or {})})
        options = {"stores": self.stores, "clock": self.clock, **options}
        self.holdall = Holdall(self.app, **options)
        self.responses: list[Any] = []

        @self.app.get("/act")
        async def act() -> Response:
            result = self._act()
            return Response(repr(await result if asyncio.iscoroutine(result) else result))

        @self.app.get("/act-in-a-thread")
        def act_in_a_thread() -> Response:
            return Response(repr(self._act()))

    def story(self, *acts: Callable[[], Any] | float, path: str = "/act") -> list[Any]:
        """Have one client visit the application once for each of these; returns what they returned.

        A number is so many seconds in between.
        """

        async def tell() -> list[Any]:
            client = self.app.test_client()
            results = []
            for act in acts:
                if not callable(act):
                    self.clock.advance(act)
                    continue
                self._act = act
                response = await client.get(path)
                self.responses.append(response)
                text = await response.get_data(as_text=True)
                results.append(eval(text) if response.status_code == 200 else response.status_code)
            return results

        return asyncio.run(tell())

    def run(self, visit: Visit) -> Any:
        """Have a coroutine visit the application as it likes."""
        return asyncio.run(visit(self.app.test_client()))  # type: ignore[arg-type]

    @property
    def cookies(self) -> list[str]:
        """The Set-Cookie values of the last response of a story."""
        return list(self.responses[-1].headers.getlist("Set-Cookie"))


def count() -> int:
    session["n"] = session.get("n", 0) + 1
    return int(session["n"])


def show() -> dict[str, Any]:
    return {key: value for key, value in session.items() if key != "big"}


def grow() -> None:
    session["big"] = big()


def read() -> Any:
    return session.get("n")


def nothing() -> None:
    pass


class TestSession:
    """`quart.session` is ours."""

    @pytest.mark.parametrize("path", ["/act", "/act-in-a-thread"])
    @pytest.mark.parametrize("size", [10, 20_000])
    def test_counts(self, path: str, size: int) -> None:
        """In the cookie and in a store, in async views and in threads, changes are there in the next request."""

        def begin() -> None:
            session["payload"] = "x" * size

        assert Site().story(begin, count, count, count, path=path) == [None, 1, 2, 3]

    def test_is_what_quart_asks_of_one(self) -> None:
        """It is a SessionMixin, and the session that get_current_session() returns."""

        def look() -> list[bool]:
            mine = session._get_current_object()  # type: ignore[attr-defined]
            return [isinstance(mine, SessionMixin), isinstance(mine, QuartSession), mine is get_current_session()]

        assert Site().story(look) == [[True, True, True]]

    def test_new_modified_accessed(self) -> None:
        """new, modified and accessed tell what happened in this request."""

        def look(act: Callable[[], Any] = nothing) -> tuple[bool, bool, bool]:
            act()
            return session.new, session.modified, session.accessed

        site = Site()
        # Since Quart 0.23, whoever asks has accessed it.
        assert site.story(lambda: look(count), lambda: look(show), lambda: look(count)) == [
            (True, True, True),
            (False, False, True),
            (False, True, True),
        ]

    def test_modified_may_be_set(self) -> None:
        """Setting modified to True sends the cookie again although nothing changed."""

        def show_again() -> None:
            session.modified = True

        site = Site()
        site.story(count, show)
        assert site.cookies == []
        site.story(count, show_again)
        assert len(site.cookies) == 1

    def test_nested_changes_need_no_mark(self) -> None:
        """What is changed inside a value is saved without modified = True."""
        site = Site()
        assert site.story(
            lambda: session.update(cart=[]), lambda: session["cart"].append("socks"), lambda: session["cart"]
        ) == [None, None, ["socks"]]

    def test_pop_is_a_dicts(self) -> None:
        """A pop without a default raises KeyError for what is not there."""

        def pop() -> str:
            with pytest.raises(KeyError):
                session.pop("missing")
            return str(session.pop("missing", "default"))

        assert Site().story(pop) == ["default"]

    def test_flashes(self) -> None:
        """Flashed messages are shown once, in the next request."""
        site = Site()
        flashes = lambda: get_flashed_messages(with_categories=True)  # noqa: E731
        assert site.story(lambda: flash("saved", "info"), flashes, flashes) == [None, [("info", "saved")], []]

    def test_markup_comes_back_as_markup(self) -> None:
        """Markup, as in flashed messages, keeps its type."""
        assert Site().story(
            lambda: session.update(text=Markup("<b>bold</b>")), lambda: type(session["text"]).__name__
        ) == [None, "Markup"]

    def test_emptied_it_ends(self) -> None:
        """A session that was emptied is deleted, as Quart does it, in the cookie and in a store."""
        for begin in (count, grow):
            site = Site()
            assert site.story(begin, lambda: session.clear(), show)[1:] == [None, {}]
            assert "Max-Age=0" in site.responses[1].headers["Set-Cookie"]

    def test_the_seeds_verbs(self) -> None:
        """regenerate_id, terminate and the others are there."""
        site = Site()
        answers = site.story(
            count,
            lambda: get_current_session().regenerate_id(),
            count,
            lambda: get_current_session().terminate(),
            show,
        )
        assert answers == [1, None, 2, None, {}]

    def test_changes_in_after_request_functions_count(self) -> None:
        """A function that runs after the request may still change the session."""

        def act() -> None:
            @after_this_request
            async def late(response: Any) -> Any:
                session["late"] = True
                return response

        assert Site().story(act, show) == [None, {"late": True}]

    def test_untouched_it_costs_nothing(self) -> None:
        """A view that leaves the session alone sends no header of ours and asks no store."""
        site = Site()
        site.story(count, nothing)
        assert "Vary" not in site.responses[-1].headers
        assert site.stores.commands == []

    def test_errors_save_nothing(self) -> None:
        """A view that raises becomes Quart's error page, and nothing is saved."""

        def fail() -> None:
            count()
            raise LookupError

        site = Site()
        assert site.story(count, fail, count) == [1, 500, 2]

    def test_streams(self) -> None:
        """What a stream changes in a stored session is saved when it has ended."""
        site = Site()

        @site.app.get("/stream")
        async def stream() -> Response:
            @with_context
            async def generate() -> AsyncIterator[str]:
                session["late"] = True
                yield "done"

            return Response(generate())

        async def visit(client: QuartClient) -> Any:
            site._act = grow
            await client.get("/act")
            assert await (await client.get("/stream")).get_data(as_text=True) == "done"
            site._act = show
            return await (await client.get("/act")).get_data(as_text=True)

        assert site.run(visit) == repr({"late": True})


class TestLifetime:
    """Permanent sessions, and those that end with the browser."""

    def permanent(self) -> None:
        session.permanent = True
        count()

    def test_by_default_it_ends_with_the_browser(self) -> None:
        """A session that is not permanent has a cookie without Max-Age, and ends on the server after the lifetime."""
        site = Site(config={"PERMANENT_SESSION_LIFETIME": timedelta(days=2)})
        site.story(count)
        (cookie,) = site.cookies
        assert "Max-Age" not in cookie
        assert site.story(count, 1.5 * DAY, count, 1.5 * DAY, count) == [1, 2, 3]
        assert site.story(count, 2.5 * DAY, count) == [1, 1]

    @pytest.mark.parametrize("lifetime", [timedelta(days=2), 2 * DAY])
    @pytest.mark.parametrize("begin", [nothing, grow])
    def test_a_permanent_one_slides(self, lifetime: Any, begin: Callable[[], Any]) -> None:
        """A permanent session lives PERMANENT_SESSION_LIFETIME after the last request that touched it."""
        site = Site(config={"PERMANENT_SESSION_LIFETIME": lifetime})

        def begin_permanent() -> None:
            begin()
            self.permanent()

        day_and_a_half = 1.5 * DAY
        assert site.story(begin_permanent, day_and_a_half, read, day_and_a_half, read, day_and_a_half, read) == [
            None,
            1,
            1,
            1,
        ]
        assert f"Max-Age={2 * DAY}" in site.cookies[0]
        assert "Expires" not in site.cookies[0]

    def test_without_refresh_it_does_not(self) -> None:
        """With SESSION_REFRESH_EACH_REQUEST=False only a change moves a permanent session's end."""
        site = Site(config={"PERMANENT_SESSION_LIFETIME": 2 * DAY, "SESSION_REFRESH_EACH_REQUEST": False})
        assert site.story(self.permanent, 1.5 * DAY, read, 1.5 * DAY, read) == [None, 1, None]
        assert site.story(self.permanent, 1.5 * DAY, count, 1.5 * DAY, read) == [None, 2, 2]

    def test_an_end_of_its_own_stays(self) -> None:
        """A session that was started with an end keeps it through later changes."""
        site = Site()
        end = int(site.clock()) + 5 * DAY

        def start() -> None:
            get_current_session().start(end)
            count()

        assert site.story(start, count, lambda: get_current_session().get_expiration()) == [None, 2, end]

    def test_permanent_taken_back(self) -> None:
        """Setting permanent to False makes it end with the browser again."""

        def take_back() -> None:
            session.permanent = False

        site = Site()
        site.story(self.permanent, take_back)
        assert "Max-Age" not in site.cookies[0]


class TestUnavailable:
    """The store does not answer."""

    @pytest.mark.parametrize("tiers", [{Tier.CACHE, Tier.DURABLE}, {Tier.DURABLE}])
    def test_503(self, tiers: set[Tier]) -> None:
        """Loading and saving fail with 503 and Retry-After, and the cookie is kept."""
        site = Site()

        async def visit(client: QuartClient) -> None:
            site._act = grow
            await client.get("/act")
            site.stores.down = tiers
            site._act = count
            response = await client.get("/act")
            assert (response.status_code, response.headers["Retry-After"]) == (503, "5")
            assert "Set-Cookie" not in response.headers
            site.stores.down = set()
            assert await (await client.get("/act")).get_data(as_text=True) == "1"

        site.run(visit)


class TestWebsockets:
    """Quart's websockets."""

    def test_cookies_come_with_the_accept(self) -> None:
        """A session that begins before the accept is there in the next request; a stored one is saved at the end."""
        site = Site()

        @site.app.websocket("/socket")
        async def socket() -> None:
            session["n"] = 7
            grow()
            await websocket.accept()
            session["late"] = await websocket.receive()
            await websocket.send("done")

        browser = Browser()
        response = ASGIResponse()

        async def talk() -> None:
            closed = asyncio.Event()
            receive = messages(
                {"type": "websocket.connect"}, {"type": "websocket.receive", "text": "hello"}, until=closed
            )

            async def send(message: Any) -> None:
                await response.send(message)
                if message["type"] == "websocket.close":
                    closed.set()

            await site.app({**websocket_scope(), "path": "/socket"}, receive, send)  # type: ignore[arg-type]

        asyncio.run(talk())
        assert [each["type"] for each in response.messages][:2] == ["websocket.accept", "websocket.send"]
        browser.receive(titled(response.headers))

        async def visit(client: QuartClient) -> Any:
            site._act = show
            return await (await client.get("/act", headers={"Cookie": browser.header})).get_data(as_text=True)

        assert site.run(visit) == repr({"n": 7, "late": "hello"})

    def test_after_the_accept_a_cookie_is_too_late(self) -> None:
        """A change that needs a cookie raises where it is made, instead of being logged as lost."""
        site = Site()
        seen: list[type[BaseException]] = []

        @site.app.websocket("/socket")
        async def socket() -> None:
            await websocket.accept()
            try:
                session["n"] = 1
            except SessionCommitted as error:
                seen.append(type(error))
            await websocket.send("done")

        async def visit(client: QuartClient) -> None:
            async with client.websocket("/socket") as connection:
                assert await connection.receive() == "done"

        site.run(visit)
        assert seen == [SessionCommitted]

    def test_refused(self) -> None:
        """A websocket that Quart answers with a response takes the session's cookies along."""
        site = Site()

        @site.app.websocket("/socket")
        async def socket() -> tuple[str, int]:
            session["n"] = 7
            return "no", 403

        async def visit(client: QuartClient) -> Any:
            with pytest.raises(WebsocketResponseError) as caught:
                async with client.websocket("/socket") as connection:
                    await connection.receive()
            return caught.value.response

        response = site.run(visit)
        assert response.status_code == 403
        assert "Set-Cookie" in response.headers


class TestTesting:
    """What Quart offers for tests."""

    @pytest.mark.parametrize("begin", [nothing, grow])
    def test_session_transaction(self, begin: Callable[[], Any]) -> None:
        """session_transaction() changes what the next request sees, in the cookie and in a store."""
        site = Site()

        async def visit(client: QuartClient) -> Any:
            site._act = begin
            await client.get("/act")
            async with client.session_transaction() as transaction:
                transaction["user"] = "anna"
            async with client.session_transaction() as transaction:
                assert transaction["user"] == "anna"
                transaction["seen"] = True
            site._act = show
            return await (await client.get("/act")).get_data(as_text=True)

        assert site.run(visit) == repr({"user": "anna", "seen": True})

    def test_request_context(self) -> None:
        """There is a session to work with in a test's request context."""
        site = Site()

        async def work(client: QuartClient) -> int:
            async with site.app.test_request_context("/"):
                return count() + count()

        assert site.run(work) == 3


class TestSettings:
    """Which setting counts."""

    def manager(self, config: dict[str, Any] | None = None, **options: Any) -> Any:
        interface: Any = Site(config=config, **options).app.session_interface
        assert isinstance(interface, QuartSessionInterface)
        return interface.middleware.manager

    def test_quarts_own(self) -> None:
        """SESSION_COOKIE_* and PERMANENT_SESSION_LIFETIME mean what they mean in Quart."""
        manager = self.manager(
            {
                "SESSION_COOKIE_NAME": "mine",
                "SESSION_COOKIE_DOMAIN": "example.com",
                "SESSION_COOKIE_PATH": "/app",
                "SESSION_COOKIE_HTTPONLY": False,
                "SESSION_COOKIE_SECURE": True,
                "SESSION_COOKIE_SAMESITE": "Strict",
                "SESSION_COOKIE_PARTITIONED": True,
                "PERMANENT_SESSION_LIFETIME": timedelta(days=3),
            }
        )
        assert manager.cookie == CookieOptions("mine", True, False, "Strict", "/app", "example.com", True)
        assert manager.settings.lifetime == 3 * DAY

    def test_quarts_defaults(self) -> None:
        """Without settings the cookie is as Quart's, but for SameSite, which is Lax; and the lifetime is 31 days."""
        manager = self.manager()
        assert manager.cookie == CookieOptions(secure=False)
        assert manager.cookie.effective_name == "session"
        assert manager.settings.lifetime == 31 * DAY
        assert self.manager({"SESSION_COOKIE_PARTITIONED": True}).cookie.secure is True
        assert self.manager({"SESSION_COOKIE_SECURE": True}).cookie.effective_name == "__Host-session"

    def test_ours_count_more_than_quarts(self) -> None:
        """A HOLDALL_* setting counts more than Quart's own, and an argument more than both."""
        config = {
            "HOLDALL_LIFETIME": 60,
            "HOLDALL_IDLE_TIMEOUT": timedelta(seconds=30),
            "HOLDALL_COOKIE_ONLY_THRESHOLD": 100,
            "HOLDALL_COOKIE": CookieOptions(name="ours"),
            "HOLDALL_AUDIENCE": "ours",
            "HOLDALL_CACHE_TRUST": 5,
            "HOLDALL_STORE_BUDGET": 6,
            "HOLDALL_SAVE_ON_ERROR": True,
            "SESSION_COOKIE_NAME": "mine",
        }
        settings = self.manager(config).settings
        assert (settings.lifetime, settings.idle_timeout, settings.cookie_only_threshold) == (60, 30, 100)
        assert (settings.audience, settings.cache_trust, settings.save_on_error) == ("ours", 5000, True)
        assert settings.store_budget == 6
        assert self.manager(config).cookie.effective_name == "ours"
        assert self.manager(config, lifetime=timedelta(minutes=2), audience="x").settings.lifetime == 120

    def test_revocation_check(self) -> None:
        """HOLDALL_REVOCATION_CHECK may be seconds; False, or the argument None, binds no session; None is 60."""
        for given, expected in ((None, 60_000), (5, 5000), (timedelta(seconds=6), 6000), (0, 0), (False, None)):
            assert self.manager({"HOLDALL_REVOCATION_CHECK": given}).settings.revocation_check == expected
        both = self.manager({"HOLDALL_REVOCATION_CHECK": 5}, revocation_check=None)
        assert both.settings.revocation_check is None

    def test_every_setting_is_an_argument(self) -> None:
        """The settings' names are those of the arguments."""
        assert {name.removeprefix("HOLDALL_").lower() for name in SETTINGS.values()} == {
            "key" if name == "cookie_key" else name for name in SETTINGS
        }

    def test_stores_from_urls(self) -> None:
        """HOLDALL_CACHE and HOLDALL_DURABLE are the URLs of the stores."""
        app = Quart(__name__)
        app.config.update(SECRET_KEY=KEY, HOLDALL_CACHE="memory://", HOLDALL_DURABLE="memory://")
        Holdall(app)
        interface: Any = app.session_interface
        stores = interface.middleware.stores.stores
        assert isinstance(stores, Stores)
        assert None not in (stores.cache, stores.durable)

    def test_fallback_keys_open(self) -> None:
        """SECRET_KEY seals, and SECRET_KEY_FALLBACKS open what was sealed with them."""
        old, new = Site(), Site(config={"SECRET_KEY": OTHER_KEY, "SECRET_KEY_FALLBACKS": [KEY]})
        old.story(count)
        cookie = {"Cookie": old.cookies[0].partition(";")[0]}

        async def visit(client: QuartClient) -> Any:
            new._act = count
            return await (await client.get("/act", headers=cookie)).get_data(as_text=True)

        assert new.run(visit) == "2"

    def test_a_key_of_its_own(self) -> None:
        """HOLDALL_KEY counts more than SECRET_KEY, which may then be short."""
        assert Site(config={"SECRET_KEY": "short", "HOLDALL_KEY": KEY}).story(count, count) == [1, 2]

    @pytest.mark.parametrize("mode", ["TESTING", "DEBUG"])
    def test_a_short_key_in_testing(self, mode: str, caplog: pytest.LogCaptureFixture) -> None:
        """In testing and debug mode a short SECRET_KEY is warned of, and works, as the key that others make of it."""
        site = Site(config={"SECRET_KEY": "dev", mode: True})
        assert site.story(count, count) == [1, 2]
        other = SessionManager(stretch_key("dev"), cookie=CookieOptions(secure=False), clock=site.clock)
        assert other.open(site.cookies[0].partition(";")[0]).session["n"] == 2
        assert "has 3 bytes" in caplog.text
        assert "dev" not in caplog.text.replace("device", "")

    @pytest.mark.parametrize(
        ("config", "message"),
        [
            ({"SECRET_KEY": None}, "there is no key: set SECRET_KEY, or HOLDALL_KEY"),
            ({"SECRET_KEY": "short"}, "has 5 bytes, and Holdall needs at least 32"),
            ({"SECRET_KEY_FALLBACKS": ["short"]}, "one of its fallbacks, has 5 bytes"),
            ({"HOLDALL_LIFETME": 5}, "there is no setting HOLDALL_LIFETME"),
            ({"HOLDALL_NO_DATASTORE": "yes"}, "no_datastore"),
            ({"SESSION_COOKIE_SAMESITE": "None"}, "needs secure=True"),
        ],
    )
    def test_what_cannot_work_is_refused_at_start_up(self, config: dict[str, Any], message: str) -> None:
        """A configuration that cannot work stops the server's start with an error that names the remedy."""
        app = Site(config=config).app

        async def main() -> None:
            with pytest.raises(UsageError, match=message):
                await app.startup()

        logging.getLogger(app.name).disabled = True  # Quart logs it as well
        asyncio.run(main())

    def test_one_holdall_for_one_application(self) -> None:
        """Two of them around one application are refused."""
        with pytest.raises(UsageError, match="already"):
            Holdall(Site().app)

    def test_a_session_class_must_be_quarts(self) -> None:
        """A session class of one's own inherits from QuartSession."""
        with pytest.raises(UsageError, match="QuartSession"):
            Holdall(session_class=dict)  # type: ignore[arg-type]

    def test_several_applications(self) -> None:
        """One extension serves several applications, each with its own configuration."""
        extension = Holdall(stores=RecordingStores(FakeClock()))
        names = []
        for name in ("one", "two"):
            app = Quart(name)
            app.config.update(SECRET_KEY=KEY, SESSION_COOKIE_NAME=name)
            extension.init_app(app)
            interface: Any = app.session_interface
            names.append(interface.middleware.manager.cookie.effective_name)
        assert names == ["one", "two"]


@pytest.mark.parametrize("pad", ["", big()], ids=["cookie", "stored"])
def test_bound_sessions(pad: str) -> None:
    """`sessions_of` lists the sessions bound to somebody, and `revoke` ends all but the one that asked, or one."""
    site = Site()

    def log_in() -> None:
        session["pad"] = pad
        own: Any = session
        own.bind("ada", "a browser")

    async def log_out_the_others() -> list[str | None]:
        own: Any = session
        labels = [bound.label for bound in await site.holdall.sessions_of("ada")]
        await site.holdall.revoke("ada", except_sid=own.sid)
        return labels

    async def log_out() -> int:
        (one,) = await site.holdall.sessions_of("ada")
        await site.holdall.revoke("ada", only="another")
        count = len(await site.holdall.sessions_of("ada"))
        await site.holdall.revoke("ada", only=one.id)
        return count

    def look() -> bool:
        return "pad" in session

    site.story(log_in)
    assert site.story(log_in, log_out_the_others, look, log_out, look) == [
        None,
        ["a browser"] * 2,
        True,
        1,
        False,
    ]


def test_bound_sessions_of_others() -> None:
    """An application whose sessions are not Holdall's has none to list or to end, and that is said."""

    async def main() -> None:
        async with Quart(__name__).app_context():
            for flow in (Holdall().revoke("ada"), Holdall().sessions_of("ada")):
                with pytest.raises(UsageError, match="init_app"):
                    await flow

    asyncio.run(main())
