"""The ASGI adapter passes the conformance suite: bare, loading when told to, in Starlette, Litestar and Quart.

Frameworks answer for their own errors here, as in production: a page that raises is their 500.
"""

from collections.abc import AsyncIterator, Iterator
from typing import Any

import litestar
import pytest
import quart
from holdall import StoresLike
from holdall_asgi import SessionMiddleware, load_session
from holdall_asgi.quart import Holdall
from holdall_conformance import Adapter, AdapterConformance, Application, Page, Request, Response, call_asgi
from litestar.middleware import DefineMiddleware
from litestar.response import Stream
from starlette import requests, responses
from starlette.applications import Starlette as StarletteApplication
from starlette.middleware import Middleware
from starlette.routing import Route


class ASGI(Adapter):
    """An application in the middleware; a subclass says which. What `build` returns is called with `call_asgi`."""

    pop_raises = True
    loads_first = True

    def send(self, built: Any, request: Request) -> Response:
        """Do what a server does."""
        return call_asgi(built, request)


class Bare(ASGI):
    """An ASGI application without a framework."""

    eager = True

    def build(self, application: Application, *, cookie_key: str, stores: StoresLike, **options: Any) -> Any:
        """Return the wrapped application."""

        async def view(scope: Any, receive: Any, send: Any) -> None:
            if not self.eager and application.touches(scope["path"]):
                await load_session(scope)
            page = await application.avisit(scope["path"], scope["session"])
            headers = [(name.lower().encode(), value.encode()) for name, value in page.headers]
            await send({"type": "http.response.start", "status": page.status, "headers": headers})
            for chunk in page.chunks:
                await send({"type": "http.response.body", "body": chunk, "more_body": True})
            await send({"type": "http.response.body"})

        return SessionMiddleware(view, cookie_key, stores=stores, eager=self.eager, **options)


class Lazy(Bare):
    """The same, loading a session only where a page touches it."""

    eager = False
    loads_first = False


class Starlette(ASGI):
    """A Starlette application of one endpoint, which is a coroutine."""

    def build(self, application: Application, *, cookie_key: str, stores: StoresLike, **options: Any) -> Any:
        """Return the Starlette application."""
        return StarletteApplication(
            routes=[Route("/{path}", self.endpoint(application))],
            middleware=[Middleware(SessionMiddleware, cookie_key=cookie_key, stores=stores, **options)],
        )

    def endpoint(self, application: Application) -> Any:
        """Return the endpoint."""

        async def endpoint(request: requests.Request) -> responses.Response:
            return respond(await application.avisit(request.url.path, request.session))

        return endpoint


class StarletteInThreads(Starlette):
    """The same with a function, which Starlette runs in a thread."""

    def endpoint(self, application: Application) -> Any:
        """Return the endpoint."""

        def endpoint(request: requests.Request) -> responses.Response:
            return respond(application.visit(request.url.path, request.session))

        return endpoint


def respond(page: Page) -> responses.Response:
    """Return a page as Starlette has it, which iterates over streams in threads."""
    response: responses.Response
    if page.streams:
        response = responses.StreamingResponse(page.chunks, page.status)
    else:
        response = responses.Response(b"".join(page.chunks), page.status)
    for name, value in page.headers:
        response.headers.append(name, value)
    return response


class Litestar(ASGI):
    """A Litestar application of one handler."""

    def build(self, application: Application, *, cookie_key: str, stores: StoresLike, **options: Any) -> Any:
        """Return the Litestar application."""

        @litestar.get("/{path:str}", media_type=litestar.MediaType.TEXT)
        async def handler(request: litestar.Request[Any, Any, Any]) -> litestar.Response[Any]:
            page = await application.avisit(request.scope["path"], request.session)
            answer: litestar.Response[Any]
            if page.streams:
                answer = Stream(page.chunks, status_code=page.status)
            else:
                answer = litestar.Response(b"".join(page.chunks), status_code=page.status)
            for name, value in page.headers:
                if name == "Set-Cookie":  # of other names there can be one
                    key, _, content = value.partition(";")[0].partition("=")
                    answer.set_cookie(key, content)
                else:
                    answer.headers[name] = value
            return answer

        middleware = DefineMiddleware(SessionMiddleware, cookie_key=cookie_key, stores=stores, **options)
        return litestar.Litestar([handler], middleware=[middleware], logging_config=None)


class Quart(ASGI):
    """A Quart application of one view."""

    empty_ends = True
    slides = True

    def build(self, application: Application, *, cookie_key: str, stores: StoresLike, **options: Any) -> Any:
        """Return the Quart application."""
        app = quart.Quart("conformance")
        app.config["SECRET_KEY"] = cookie_key

        @app.get("/<path>")
        async def view(path: str) -> quart.Response:
            page = await application.avisit(quart.request.path, quart.session)
            body = quart.stream_with_context(aiterate)(page.chunks) if page.streams else b"".join(page.chunks)
            response = quart.Response(body, page.status)
            response.headers.extend(page.headers)
            return response

        Holdall(app, stores=stores, **options)
        return app


async def aiterate(chunks: Iterator[bytes]) -> AsyncIterator[bytes]:
    """Yield chunks as Quart's streams have them."""
    for chunk in chunks:
        yield chunk


class TestBare(AdapterConformance):
    """The suite, without a framework."""

    @pytest.fixture
    def adapter(self) -> Adapter:
        """Return the adapter under test."""
        return Bare()


class TestLazy(AdapterConformance):
    """The suite, with `eager=False`."""

    @pytest.fixture
    def adapter(self) -> Adapter:
        """Return the adapter under test."""
        return Lazy()


class TestStarlette(AdapterConformance):
    """The suite, in Starlette."""

    @pytest.fixture
    def adapter(self) -> Adapter:
        """Return the adapter under test."""
        return Starlette()


class TestStarletteInThreads(AdapterConformance):
    """The suite, in Starlette, with endpoints and streams in threads."""

    @pytest.fixture
    def adapter(self) -> Adapter:
        """Return the adapter under test."""
        return StarletteInThreads()


class TestLitestar(AdapterConformance):
    """The suite, in Litestar."""

    @pytest.fixture
    def adapter(self) -> Adapter:
        """Return the adapter under test."""
        return Litestar()


class TestQuart(AdapterConformance):
    """The suite, in Quart."""

    @pytest.fixture
    def adapter(self) -> Adapter:
        """Return the adapter under test."""
        return Quart()
