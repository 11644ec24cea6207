"""The Flask adapter passes the conformance suite, with plain views and with asynchronous ones.

The applications are production's: not in testing mode, so that a page that raises is Flask's 500.
"""

from collections.abc import Callable
from typing import Any

import pytest
from flask import Flask, Response, request, session, stream_with_context
from holdall import StoresLike
from holdall_conformance import Adapter, AdapterConformance, Application, Page, Request, call_wsgi
from holdall_conformance import Response as Answer
from holdall_flask import Holdall


class Plain(Adapter):
    """An application of one view, which is a function."""

    pop_raises = True
    empty_ends = True
    slides = True

    def build(self, application: Application, *, cookie_key: str, stores: StoresLike, **options: Any) -> Any:
        """Return the Flask application."""
        app = Flask("conformance")
        app.config["SECRET_KEY"] = cookie_key
        app.add_url_rule("/<path>", view_func=self.view(application))
        Holdall(app, stores=stores, **options)
        return app

    def send(self, built: Any, request: Request) -> Answer:
        """Do what a server does."""
        return call_wsgi(built, request)

    def view(self, application: Application) -> Callable[[str], Any]:
        """Return the view."""
        return lambda path: respond(application.visit(request.path, session))


class Asynchronous(Plain):
    """The same with a coroutine, which Flask runs in an event loop of its own."""

    def view(self, application: Application) -> Callable[[str], Any]:
        """Return the view."""

        async def view(path: str) -> Response:
            return respond(await application.avisit(request.path, session))

        return view


def respond(page: Page) -> Response:
    """Return a page as Flask has it; a stream keeps its request, as Flask documents it."""
    chunks = stream_with_context(page.chunks) if page.streams else b"".join(page.chunks)
    return Response(chunks, page.status, page.headers)


class TestPlain(AdapterConformance):
    """The suite, with a plain view."""

    @pytest.fixture
    def adapter(self) -> Adapter:
        """Return the adapter under test."""
        return Plain()


class TestAsynchronous(AdapterConformance):
    """The suite, with an asynchronous view."""

    @pytest.fixture
    def adapter(self) -> Adapter:
        """Return the adapter under test."""
        return Asynchronous()
