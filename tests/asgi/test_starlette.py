"""Starlette: `request.session` as with its own middleware, in every kind of endpoint, and through its test client."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from typing import Any

import httpx
import pytest
from holdall import SessionUnavailable, Tier, UsageError
from holdall.testing import FakeClock, RecordingStores
from holdall_asgi import SessionMiddleware, get_current_session, load_session, set_current_session
from starlette.applications import Starlette
from starlette.background import BackgroundTask
from starlette.endpoints import HTTPEndpoint
from starlette.middleware import Middleware
from starlette.middleware.base import BaseHTTPMiddleware
from starlette.middleware.sessions import SessionMiddleware as StarlettesOwn
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, RedirectResponse, Response, StreamingResponse
from starlette.routing import BaseRoute, Mount, Route, WebSocketRoute
from starlette.websockets import WebSocket, WebSocketDisconnect

from tests.asgi.clients import TestClient, WebSocketDenialResponse
from tests.core.support import KEY, big

HTTPS = "https://testserver"


def count(request: Request) -> int:
    request.session["n"] = request.session.get("n", 0) + 1
    return int(request.session["n"])


async def count_async(request: Request) -> Response:
    return PlainTextResponse(str(count(request)))


def count_in_a_thread(request: Request) -> Response:
    assert get_current_session() is request.scope["session"]
    return PlainTextResponse(str(count(request)))


class CountingEndpoint(HTTPEndpoint):
    async def get(self, request: Request) -> Response:
        return PlainTextResponse(str(count(request)))


async def show(request: Request) -> Response:
    return JSONResponse(dict(request.session))


async def begin(request: Request) -> Response:
    """Begin a session of the size that the query asks for."""
    request.session.update(n=0, payload="x" * int(request.query_params["size"]))
    return Response(status_code=204)


class Application:
    """A Starlette application in the middleware, its stores, and a client that visits it."""

    def __init__(
        self,
        *routes: BaseRoute,
        outside: bool = False,
        before: list[Middleware] | None = None,
        inside: list[Middleware] | None = None,
        **options: Any,
    ) -> None:
        self.stores = RecordingStores(FakeClock())
        options = {"cookie_key": KEY, "stores": self.stores, "clock": self.stores._clock, **options}
        middleware = [*(before or ()), Middleware(SessionMiddleware, **options), *(inside or ())]
        app: Any = Starlette(
            routes=[*routes, Route("/show", show), Route("/begin", begin)],
            middleware=[] if outside else middleware,
        )
        self.app: Any = SessionMiddleware(app, **options) if outside else app
        self.client = TestClient(self.app, base_url=HTTPS, raise_server_exceptions=False)

    def begin(self, size: int = 20_000) -> None:
        assert self.client.get(f"/begin?size={size}").status_code == 204
        self.stores.commands.clear()

    def show(self) -> dict[str, Any]:
        return dict(self.client.get("/show").json())


class TestEndpoints:
    """Every kind of endpoint."""

    @pytest.mark.parametrize("endpoint", [count_async, count_in_a_thread, CountingEndpoint])
    @pytest.mark.parametrize("size", [10, 20_000])
    def test_counts(self, endpoint: Any, size: int) -> None:
        """In the cookie and in a store, an endpoint's changes are there in the next request."""
        application = Application(Route("/", endpoint))
        application.begin(size)
        assert [application.client.get("/").text for _ in range(3)] == ["1", "2", "3"]

    def test_mounted_applications_share_the_session(self) -> None:
        """An application mounted in another has the same session."""
        mounted = Starlette(routes=[Route("/", count_async)])
        application = Application(Mount("/sub", mounted), Route("/", count_async))
        assert [application.client.get(path).text for path in ("/", "/sub/", "/")] == ["1", "2", "3"]

    def test_behaves_as_starlettes_own(self) -> None:
        """The habits of Starlette's own sessions have the same results with ours."""

        async def act(request: Request) -> Response:
            session = request.session
            match request.query_params["do"]:
                case "login":
                    session["user"] = "anna"
                    session.setdefault("messages", []).append("hello")
                case "nested":
                    session["messages"] += ["again"]
                case "pop":
                    session.pop("messages", None)
                case "missing":
                    try:
                        session.pop("missing")
                    except KeyError as error:
                        return PlainTextResponse(repr(error))
                case "clear":
                    session.clear()
            return JSONResponse([dict(session), len(session), "user" in session, session.get("user", "nobody")])

        def story(middleware: Middleware) -> list[str]:
            app = Starlette(routes=[Route("/", act)], middleware=[middleware])
            client = TestClient(app, base_url=HTTPS)
            acts = ["nothing", "login", "nested", "missing", "pop", "nothing", "clear", "nothing"]
            return [client.get(f"/?do={each}").text for each in acts]

        theirs = story(Middleware(StarlettesOwn, secret_key=KEY))
        assert story(Middleware(SessionMiddleware, cookie_key=KEY, stores=RecordingStores(FakeClock()))) == theirs

    def test_redirects_and_own_cookies(self) -> None:
        """A redirect takes the session along, beside cookies that the endpoint sets itself."""

        async def login(request: Request) -> Response:
            request.session["user"] = "anna"
            response = RedirectResponse("/show", status_code=303)
            response.set_cookie("theme", "dark")
            response.set_cookie("language", "eo")
            return response

        application = Application(Route("/login", login))
        assert application.client.get("/login").json() == {"user": "anna"}
        assert set(application.client.cookies) == {"theme", "language", "__Host-session"}

    def test_untouched_responses_stay_as_they_are(self) -> None:
        """A page that leaves the session alone has neither Set-Cookie nor Vary."""

        async def page(request: Request) -> Response:
            return PlainTextResponse("hello")

        application = Application(Route("/", page))
        application.begin(10)
        response = application.client.get("/")
        assert {"set-cookie", "vary", "cache-control"}.isdisjoint(response.headers)

    def test_reading_says_so(self) -> None:
        """A page that only reads varies with the cookie, and sets none."""
        application = Application()
        application.begin(10)
        response = application.client.get("/show")
        assert response.headers["vary"] == "Cookie"
        assert "set-cookie" not in response.headers

    def test_an_endpoint_that_raises(self) -> None:
        """An error page is Starlette's, and nothing is saved, with the middleware inside or outside."""

        async def fail(request: Request) -> Response:
            request.session["n"] = 99
            raise LookupError

        for outside in (False, True):
            application = Application(Route("/", fail), outside=outside)
            application.begin()
            assert application.client.get("/").status_code == 500
            assert application.show()["n"] == 0

    def test_the_dependency_on_the_lifespan_stays(self) -> None:
        """A lifespan's state arrives in requests, beside the session."""

        @contextlib.asynccontextmanager
        async def lifespan(app: Starlette) -> AsyncIterator[dict[str, Any]]:
            yield {"db": "connected"}

        async def endpoint(request: Request) -> Response:
            request.session["db"] = request.state.db
            return JSONResponse(dict(request.session))

        app = Starlette(routes=[Route("/", endpoint)], lifespan=lifespan)
        app.add_middleware(SessionMiddleware, cookie_key=KEY, stores=RecordingStores(FakeClock()))
        with TestClient(app, base_url=HTTPS) as client:
            assert client.get("/").json() == {"db": "connected"}


class TestAfterTheHeaders:
    """Background tasks and streams."""

    def test_background_tasks(self) -> None:
        """A background task, in the loop or in a thread, changes a stored session, and the next request sees it."""

        def increment() -> None:
            get_current_session().incr("n")

        async def increment_too() -> None:
            increment()

        async def endpoint(request: Request) -> Response:
            task = increment if "thread" in request.query_params else increment_too
            return PlainTextResponse("", background=BackgroundTask(task))

        application = Application(Route("/", endpoint))
        application.begin()
        application.client.get("/?thread")
        application.client.get("/")
        assert application.show()["n"] == 2

    def test_streams(self) -> None:
        """What a stream changes in a stored session while it runs is saved."""

        async def endpoint(request: Request) -> Response:
            async def stream() -> AsyncIterator[str]:
                for letter in "abc":
                    get_current_session().incr("n")
                    yield letter

            return StreamingResponse(stream())

        application = Application(Route("/", endpoint))
        application.begin()
        assert application.client.get("/").text == "abc"
        assert application.show()["n"] == 3


class TestOtherMiddleware:
    """Beside Starlette's own kinds of middleware."""

    @pytest.mark.parametrize("place", ["before", "inside"])
    @pytest.mark.parametrize("size", [10, 20_000])
    def test_base_http_middleware(self, place: str, size: int) -> None:
        """A middleware that runs the endpoint in a task of its own, outside or inside of ours, shares the session."""

        async def dispatch(request: Request, call_next: Callable[[Request], Any]) -> Response:
            if place == "inside" and request.url.path == "/":
                request.session["seen"] = True
            response: Response = await call_next(request)
            if request.url.path == "/":
                assert request.session["n"] == 1
            return response

        around: dict[str, Any] = {place: [Middleware(BaseHTTPMiddleware, dispatch)]}
        application = Application(Route("/", count_async), **around)
        application.begin(size)
        assert application.client.get("/").text == "1"
        assert application.show().get("seen", False) is (place == "inside")

    def test_set_current_session_in_an_async_endpoint(self) -> None:
        """An async endpoint may put another session in the place of the request's."""

        async def switch(request: Request) -> Response:
            set_current_session(manager.open(None).session)
            get_current_session()["other"] = True
            return PlainTextResponse("")

        manager = SessionMiddleware(Starlette(), KEY, clock=FakeClock()).manager
        application = Application(Route("/", switch))
        application.begin(10)
        application.client.get("/")
        assert application.show() == {"other": True}

    def test_set_current_session_in_a_thread_stays_there(self) -> None:
        """As the documentation says, what a sync endpoint sets holds for itself alone."""

        def switch(request: Request) -> Response:
            set_current_session(manager.open(None).session)
            assert get_current_session() is not request.session
            return PlainTextResponse("")

        manager = SessionMiddleware(Starlette(), KEY, clock=FakeClock()).manager
        application = Application(Route("/", switch))
        application.begin(10)
        application.client.get("/")
        assert application.show()["n"] == 0


class TestUnavailable:
    """The store does not answer."""

    @pytest.mark.parametrize("outside", [False, True])
    @pytest.mark.parametrize("eager", [True, False])
    @pytest.mark.parametrize("tiers", [{Tier.CACHE, Tier.DURABLE}, {Tier.DURABLE}])
    def test_503(self, outside: bool, eager: bool, tiers: set[Tier]) -> None:
        """Reading and writing, eagerly and lazily, the middleware inside or around: 503, and the cookie is kept."""

        async def endpoint(request: Request) -> Response:
            (await load_session(request)).incr("n")
            return PlainTextResponse("done")

        application = Application(Route("/", endpoint), outside=outside, eager=eager)
        application.begin()
        cookies = dict(application.client.cookies)
        application.stores.down = tiers
        response = application.client.get("/")
        assert (response.status_code, response.headers["retry-after"]) == (503, "5")
        assert dict(application.client.cookies) == cookies
        application.stores.down = set()
        assert application.client.get("/").text == "done"

    def test_an_error_handler_of_ones_own(self) -> None:
        """A Starlette exception handler for SessionUnavailable answers in the endpoint's place."""

        async def endpoint(request: Request) -> Response:
            await load_session(request)
            return PlainTextResponse("never")

        def sorry(request: Request, error: Exception) -> Response:
            return PlainTextResponse("sorry", status_code=503, headers={"retry-after": "60"})

        application = Application(Route("/", endpoint), eager=False)
        application.app.add_exception_handler(SessionUnavailable, sorry)
        application.begin()
        application.stores.down = {Tier.CACHE, Tier.DURABLE}
        response = application.client.get("/")
        assert (response.text, response.headers["retry-after"]) == ("sorry", "60")


class TestWebsockets:
    """Through Starlette's test client."""

    def test_cookies_come_with_the_accept(self) -> None:
        """A session that begins in a websocket is there in the next request."""

        async def endpoint(websocket: WebSocket) -> None:
            websocket.session["n"] = 7
            await websocket.accept(headers=[(b"x-own", b"1")])
            await websocket.send_json(dict(websocket.session))
            await websocket.close()

        application = Application(WebSocketRoute("/", endpoint))
        with application.client.websocket_connect("wss://testserver/") as socket:
            assert socket.receive_json() == {"n": 7}
            headers = httpx.Headers(socket.extra_headers)
            name, _, value = headers["set-cookie"].partition(";")[0].partition("=")
        assert headers["x-own"] == "1"
        application.client.cookies.set(name, value)
        assert application.show() == {"n": 7}

    def test_late_changes_of_a_stored_session(self) -> None:
        """What a websocket counts in a stored session is there when it was closed, which the server does."""

        async def endpoint(websocket: WebSocket) -> None:
            await websocket.accept()
            while await websocket.receive_text() != "bye":
                websocket.session["n"] += 1
            await websocket.close()

        application = Application(WebSocketRoute("/", endpoint))
        application.begin()
        with application.client.websocket_connect("wss://testserver/") as socket:
            for text in ("one", "two", "bye"):
                socket.send_text(text)
            with pytest.raises(WebSocketDisconnect):
                socket.receive_text()
        assert application.show()["n"] == 2

    def test_refused_when_the_store_is_down(self) -> None:
        """A websocket whose session cannot be loaded is answered with 503 before it is accepted."""

        async def endpoint(websocket: WebSocket) -> None:
            await websocket.accept()

        application = Application(WebSocketRoute("/", endpoint))
        application.begin()
        application.stores.down = {Tier.CACHE, Tier.DURABLE}
        with (
            pytest.raises(WebSocketDenialResponse) as caught,
            application.client.websocket_connect("wss://testserver/"),
        ):
            pass
        assert (caught.value.status_code, caught.value.headers["retry-after"]) == (503, "5")


def test_many_requests_in_one_loop() -> None:
    """Clients of one loop, all of them in the endpoint before the first one answers, each get their own number."""
    number = 12
    arrived: list[str] = []

    async def endpoint(request: Request) -> Response:
        request.session["who"] = request.query_params["who"]
        arrived.append(request.query_params["who"])
        if len(arrived) % number == 0:
            everybody.set()
        await everybody.wait()
        return PlainTextResponse(get_current_session()["who"])

    application = Application(Route("/", endpoint))
    everybody = asyncio.Event()

    async def visit(who: str) -> list[Any]:
        transport = httpx.ASGITransport(app=application.app)
        async with httpx.AsyncClient(transport=transport, base_url=HTTPS) as client:
            return [(await client.get("/", params={"who": who})).text, (await client.get("/show")).json()]

    async def main() -> list[list[Any]]:
        answers = await asyncio.gather(*(visit(str(each)) for each in range(number)))
        with pytest.raises(UsageError):
            get_current_session()
        return answers

    assert asyncio.run(main()) == [[str(each), {"who": str(each)}] for each in range(number)]


def test_a_session_outgrows_the_cookie_and_ends() -> None:
    """The whole life: begun, grown out of the cookie, a new id, ended; and a copied cookie is worth nothing then."""

    async def act(request: Request) -> Response:
        session = get_current_session()
        match request.path_params["verb"]:
            case "login":
                session["user"] = "anna"
                session.regenerate_id()
            case "grow":
                session["big"] = big()
            case "logout":
                session.terminate()
        return JSONResponse(sorted(session))

    application = Application(Route("/{verb}", act))
    client = application.client
    assert client.get("/login").json() == ["user"]
    assert client.get("/grow").json() == ["big", "user"]
    stolen = dict(client.cookies)
    assert "__Host-session-ref" in stolen
    assert client.get("/logout").json() == []
    assert dict(client.cookies) == {}
    client.cookies.update(stolen)
    assert client.get("/any").json() == []
