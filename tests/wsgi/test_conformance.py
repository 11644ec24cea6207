"""The WSGI adapter passes the conformance suite."""

from collections.abc import Iterable
from typing import Any
from wsgiref.types import StartResponse, WSGIEnvironment

import pytest
from holdall import StoresLike
from holdall_conformance import Adapter, AdapterConformance, Application, Request, Response, call_wsgi
from holdall_wsgi import SessionMiddleware


class WSGI(Adapter):
    """A bare WSGI application behind the middleware."""

    middleware: type[SessionMiddleware] = SessionMiddleware

    def build(self, application: Application, *, cookie_key: str, stores: StoresLike, **options: Any) -> Any:
        """Return the wrapped application."""

        def view(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
            page = application.visit(environ["PATH_INFO"], environ["holdall.session"])
            start_response(f"{page.status} Whatever", page.headers)
            return page.chunks if page.streams else [*page.chunks]

        return self.middleware(view, cookie_key, stores=stores, **options)

    def send(self, built: Any, request: Request) -> Response:
        """Do what a server does."""
        return call_wsgi(built, request)


@pytest.mark.requirement(7, 14, 22, 23, 24, 27, 30, 31)
class TestWSGI(AdapterConformance):
    """The suite."""

    @pytest.fixture
    def adapter(self) -> Adapter:
        """Return the adapter under test."""
        return WSGI()
