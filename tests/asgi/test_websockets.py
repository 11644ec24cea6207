"""Websockets by the letter of ASGI: sessions are read, cookies go with the accept, stored ones are saved at the end.

In this process; through Starlette's client and over a real socket: `test_starlette.py` and `test_servers.py`.
"""

import asyncio
from typing import Any

import pytest
from holdall import SessionCommitted, SessionUnavailable, Tier, UsageError, get_current_session
from holdall_asgi import SessionMiddleware, load_session

from tests.asgi.support import Message, Response, Site, messages, titled, websocket_scope, with_big_session, wrap
from tests.core.support import Browser, big

CONNECT: Message = {"type": "websocket.connect"}
ACCEPT: Message = {"type": "websocket.accept"}
CLOSE: Message = {"type": "websocket.close", "code": 1000}


async def connect(
    app: Any, browser: Browser | None = None, response: Response | None = None, *, denial: bool = True
) -> Response:
    """Open a websocket that says one thing and leaves; returns what the server was told."""
    response = response or Response()
    said = {"type": "websocket.receive", "text": "hello"}
    receive = messages(CONNECT, said, {"type": "websocket.disconnect", "code": 1000})
    await app(websocket_scope(browser, denial=denial), receive, response.send)
    first = response.messages[0]
    if browser is not None and "headers" in first:
        browser.receive(titled(response.headers))
    return response


def visit(app: Any, browser: Browser | None = None, *, denial: bool = True) -> Response:
    return asyncio.run(connect(app, browser, denial=denial))


class TestAccept:
    """The handshake is the response's start."""

    def test_a_session_is_read(self) -> None:
        """A websocket sees the session that requests have, in the cookie and in a store."""
        seen: list[int] = []

        async def app(scope: Any, receive: Any, send: Any) -> None:
            assert scope["session"] is get_current_session()
            seen.append(scope["session"]["n"])
            await send(ACCEPT)

        middleware, site = with_big_session(app)
        response = visit(middleware, site.browser)
        assert response.cookies == []
        site.request(lambda session: session.start())
        site.request(lambda session: session.update(n=2))
        visit(middleware, site.browser)
        assert seen == [1, 2]

    def test_an_untouched_session_costs_nothing(self) -> None:
        """The server gets the application's very accept."""
        accept = {**ACCEPT, "subprotocol": "chat"}

        async def app(scope: Any, receive: Any, send: Any) -> None:
            await send(accept)

        assert visit(wrap(app)).messages == [accept]
        assert accept == {"type": "websocket.accept", "subprotocol": "chat"}

    @pytest.mark.parametrize("size", [10, 20_000])
    def test_cookies_are_set(self, size: int) -> None:
        """What changes before the accept is saved, and the accept's own headers and subprotocol stay."""

        async def app(scope: Any, receive: Any, send: Any) -> None:
            get_current_session()["payload"] = "x" * size
            await send({**ACCEPT, "subprotocol": "chat", "headers": [(b"x-own", b"1"), (b"set-cookie", b"a=1")]})

        site = Site()
        response = visit(wrap(app, stores=site.stores, clock=site.clock), site.browser)
        assert response.messages[0]["subprotocol"] == "chat"
        assert response.all("x-own") == ["1"]
        assert [cookie.partition("=")[0] for cookie in response.cookies] == [
            "a",
            "__Host-session" if size == 10 else "__Host-session-ref",
        ]
        assert site.read() == {"payload": "x" * size}

    def test_a_refusal_sets_cookies_too(self) -> None:
        """A denial response (the extension websocket.http.response) is a response like any other."""

        async def app(scope: Any, receive: Any, send: Any) -> None:
            get_current_session()["refused"] = True
            await send({"type": "websocket.http.response.start", "status": 403, "headers": []})
            await send({"type": "websocket.http.response.body", "body": b"no"})

        site = Site()
        response = visit(wrap(app, clock=site.clock), site.browser)
        assert (response.status, response.body) == (403, b"no")
        assert site.read() == {"refused": True}

    def test_a_refusal_with_500_saves_nothing(self) -> None:
        """A status of 500 or above saves nothing, here as everywhere."""

        async def app(scope: Any, receive: Any, send: Any) -> None:
            get_current_session()["refused"] = True
            await send({"type": "websocket.http.response.start", "status": 500, "headers": []})
            await send({"type": "websocket.http.response.body", "body": b"no"})

        assert visit(wrap(app)).cookies == []

    @pytest.mark.parametrize("changes", [True, False])
    def test_closed_before_it_was_accepted(self, changes: bool, caplog: pytest.LogCaptureFixture) -> None:
        """A close in the place of an accept has no headers: nothing is saved, and a change is logged as lost."""

        async def app(scope: Any, receive: Any, send: Any) -> None:
            session = get_current_session()
            if changes:
                session["n"] = 2
            else:
                assert session["n"] == 1
            await send(CLOSE)

        middleware, site = with_big_session(app)
        assert visit(middleware, site.browser).messages == [CLOSE]
        assert ("closed before it was accepted" in caplog.text) is changes
        assert site.read()["n"] == 1

    def test_plain_websockets_are_warned_of(self, caplog: pytest.LogCaptureFixture) -> None:
        """A Secure cookie that goes out with an accept over ws is warned of as over http."""

        async def app(scope: Any, receive: Any, send: Any) -> None:
            scope["scheme"] = "ws"
            get_current_session()["n"] = 1
            await send(ACCEPT)

        visit(wrap(app))
        assert "over plain http" in caplog.text


class TestAfterTheAccept:
    """As long as the socket is open."""

    def test_a_stored_session_is_saved_at_the_end(self) -> None:
        """What changes in a stored session while the socket is open is saved when the application returns."""

        async def app(scope: Any, receive: Any, send: Any) -> None:
            await send(ACCEPT)
            while (await receive())["type"] != "websocket.disconnect":
                get_current_session().incr("n")

        middleware, site = with_big_session(app)
        visit(middleware, site.browser)
        assert site.read()["n"] == 3  # connect, and what was said

    def test_changes_of_requests_meanwhile_are_kept(self) -> None:
        """A request that changes another key while the socket is open, and the socket's own change, both win."""
        accepted, visited = asyncio.Event(), asyncio.Event()

        async def app(scope: Any, receive: Any, send: Any) -> None:
            await send(ACCEPT)
            get_current_session()["socket"] = True
            accepted.set()
            await visited.wait()

        middleware, site = with_big_session(app)

        async def main() -> None:
            task = asyncio.ensure_future(connect(middleware, site.browser))
            await accepted.wait()
            await asyncio.to_thread(site.request, lambda session: session.update(request=True))
            visited.set()
            await task

        asyncio.run(main())
        kept = site.read()
        assert (kept["socket"], kept["request"]) == (True, True)

    def test_what_needs_a_cookie_is_refused(self) -> None:
        """After the accept, beginning, ending or changing a session in the cookie raises SessionCommitted."""

        async def app(scope: Any, receive: Any, send: Any) -> None:
            await send(ACCEPT)
            session = get_current_session()
            with pytest.raises(SessionCommitted):
                session["n"] = 1
            with pytest.raises(SessionCommitted):
                session.start()
            with pytest.raises(SessionCommitted):
                session.terminate()

        visit(wrap(app))

    def test_an_application_that_raises_saves_nothing_late(self) -> None:
        """What was changed after the accept is dropped when the application raises, as Starlette does uncaught."""

        async def app(scope: Any, receive: Any, send: Any) -> None:
            await send(ACCEPT)
            get_current_session()["n"] = 99
            raise LookupError

        middleware, site = with_big_session(app)
        with pytest.raises(LookupError):
            visit(middleware, site.browser)
        assert site.read()["n"] == 1

    def test_lazily_loaded(self) -> None:
        """With eager=False a websocket awaits load_session, before the accept or after it."""

        async def app(scope: Any, receive: Any, send: Any) -> None:
            if scope["test.first"]:
                await load_session(scope)
            await send(ACCEPT)
            (await load_session(scope)).incr("n")

        middleware, site = with_big_session(app, eager=False)
        for first in (True, False):

            async def main(first: bool = first) -> None:
                scope = {**websocket_scope(site.browser), "test.first": first}
                await middleware(scope, messages(CONNECT), Response().send)

            asyncio.run(main())
        assert site.read()["n"] == 3


class TestUnavailable:
    """The store does not answer."""

    def down(self, app: Any, **options: Any) -> tuple[SessionMiddleware, Site]:
        middleware, site = with_big_session(app, **options)
        site.stores.down = {Tier.CACHE, Tier.DURABLE}
        return middleware, site

    def test_refused_with_a_response(self) -> None:
        """A websocket whose session cannot be loaded gets 503 with Retry-After, where the server can answer so."""

        async def app(scope: Any, receive: Any, send: Any) -> None:
            raise AssertionError

        middleware, site = self.down(app)
        response = visit(middleware, site.browser)
        assert [each["type"] for each in response.messages] == [
            "websocket.http.response.start",
            "websocket.http.response.body",
        ]
        assert response.status == 503
        assert response.all("retry-after") == ["5"]

    @pytest.mark.parametrize("extensions", [False, None])
    def test_closed_where_the_server_cannot_answer(self, extensions: bool | None) -> None:
        """Without that extension it is closed with "try again later", which servers turn into 403."""

        async def app(scope: Any, receive: Any, send: Any) -> None:
            raise AssertionError

        middleware, site = self.down(app)
        scope = websocket_scope(site.browser, denial=False)
        if extensions is None:
            del scope["extensions"]
        response = Response()
        asyncio.run(middleware(scope, messages(CONNECT), response.send))
        assert response.messages == [{"type": "websocket.close", "code": 1013}]

    def test_not_accepted_when_it_cannot_be_saved(self) -> None:
        """A commit that fails raises out of the accept, so that the application does not go on, and refuses."""
        went_on: list[bool] = []

        async def app(scope: Any, receive: Any, send: Any) -> None:
            get_current_session()["n"] = 2
            await send(ACCEPT)
            went_on.append(True)

        middleware, site = with_big_session(app)
        site.stores.down = {Tier.DURABLE}
        response = visit(middleware, site.browser)
        assert response.status == 503
        assert went_on == []
        site.stores.down = set()
        assert site.read()["n"] == 1

    def test_after_the_accept_it_is_raised(self) -> None:
        """An accepted websocket whose session cannot be loaded is the server's to close."""

        async def app(scope: Any, receive: Any, send: Any) -> None:
            await send(ACCEPT)
            await load_session(scope)

        middleware, site = self.down(app, eager=False)
        response = Response()
        with pytest.raises(SessionUnavailable):
            asyncio.run(connect(middleware, site.browser, response))
        assert [each["type"] for each in response.messages] == ["websocket.accept"]


def test_gone_after_the_socket() -> None:
    """Once a websocket is over there is no current session."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send(ACCEPT)

    async def main() -> None:
        await connect(wrap(app))
        with pytest.raises(UsageError):
            get_current_session()

    asyncio.run(main())


def test_big_sessions_may_begin_in_a_websocket() -> None:
    """A session that begins with the accept and is too big for the cookie goes to the store."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        get_current_session()["big"] = big()
        await send(ACCEPT)
        get_current_session()["late"] = True

    site = Site()
    visit(wrap(app, stores=site.stores, clock=site.clock), site.browser)
    assert site.read() == {"big": big(), "late": True}
