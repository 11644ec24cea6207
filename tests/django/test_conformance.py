"""The Django adapter passes the conformance suite, behind Django's WSGI handler and behind its ASGI handler.

Django answers for its own errors here, as in production: a page that raises is its 500, an interrupted session its 400.
"""

from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import ExitStack
from typing import Any, ClassVar

import pytest
from django.conf import settings
from django.core.handlers.asgi import ASGIHandler
from django.core.handlers.wsgi import WSGIHandler
from django.http import HttpRequest, HttpResponse, StreamingHttpResponse
from django.http.response import HttpResponseBase
from django.test import override_settings
from django.urls import re_path
from holdall import StoresLike
from holdall_conformance import (
    Adapter,
    AdapterConformance,
    Application,
    Page,
    Request,
    Response,
    Site,
    call_asgi,
    call_wsgi,
    puts,
)

from tests.django.support import settings_of


class Django(Adapter):
    """A project of one view, whose settings are in force from `build` to `close`; a subclass says which handler.

    A process has one set of settings: the site that was built last is the only one to be visited.
    """

    pop_raises = True
    slides = True

    handler: ClassVar[type[Any]]
    """What a server is given."""

    def build(self, application: Application, *, cookie_key: str, stores: StoresLike, **options: Any) -> Any:
        """Put settings in force; returns the handler made under them, their ROOT_URLCONF, and what ends them."""
        urls = type("urls", (), {"urlpatterns": [re_path("", self.view(application))]})
        changes: dict[str, Any] = {"SECRET_KEY": cookie_key, "ROOT_URLCONF": urls}
        changes["SESSION_COOKIE_AGE"] = options.pop("lifetime").total_seconds()
        if (cookie := options.pop("cookie", None)) is not None:
            changes |= {
                "SESSION_COOKIE_NAME": cookie.effective_name,
                "SESSION_COOKIE_SECURE": cookie.secure,
                "SESSION_COOKIE_HTTPONLY": cookie.http_only,
                "SESSION_COOKIE_SAMESITE": cookie.same_site,
                "SESSION_COOKIE_PATH": cookie.path,
                "SESSION_COOKIE_DOMAIN": cookie.domain,
            }
        with ExitStack() as stack:
            stack.enter_context(override_settings(**settings_of(HOLDALL={"stores": stores, **options}, **changes)))
            return self.handler(), urls, stack.pop_all()

    def send(self, built: Any, request: Request) -> Response:
        """Do what a server does."""
        handler, urls, _ = built
        assert settings.ROOT_URLCONF is urls, "another site was built since: its settings hold"
        return self.call(handler, request)

    def close(self, built: Any) -> None:
        """Have the settings of before again."""
        _, _, stack = built
        stack.close()

    def call(self, handler: Any, request: Request) -> Response:
        """Have the handler answer."""
        raise NotImplementedError

    def view(self, application: Application) -> Callable[[HttpRequest], Any]:
        """Return the project's view."""
        raise NotImplementedError


class DjangoWSGI(Django):
    """A plain view behind the WSGI handler."""

    handler = WSGIHandler

    def call(self, handler: Any, request: Request) -> Response:
        """Do what a WSGI server does."""
        return call_wsgi(handler, request)

    def view(self, application: Application) -> Callable[[HttpRequest], Any]:
        """Return a function."""

        def view(request: HttpRequest) -> HttpResponseBase:
            page = application.visit(request.path, request.session)
            return respond(page, page.chunks)

        return view


class DjangoASGI(Django):
    """An asynchronous view behind the ASGI handler, which loads the session off the event loop before it is used."""

    handler = ASGIHandler
    asks_first = True

    def call(self, handler: Any, request: Request) -> Response:
        """Do what an ASGI server does."""
        return call_asgi(handler, request)

    def view(self, application: Application) -> Callable[[HttpRequest], Any]:
        """Return a coroutine function."""

        async def view(request: HttpRequest) -> HttpResponseBase:
            if application.touches(request.path):
                await request.session.ahas_key("n")
            page = await application.avisit(request.path, request.session)
            return respond(page, aiterate(page.chunks) if page.streams else page.chunks)

        return view


def respond(page: Page, chunks: Iterator[bytes] | AsyncIterator[bytes]) -> HttpResponseBase:
    """Return a page as Django has it: its cookies are not among the headers."""
    response = (StreamingHttpResponse if page.streams else HttpResponse)(chunks, status=page.status)
    for name, value in page.headers:
        if name == "Set-Cookie":
            response.cookies.load(value)
        else:
            response.headers[name] = value
    return response


async def aiterate(chunks: Iterator[bytes]) -> AsyncIterator[bytes]:
    """Yield chunks for Django's asynchronous responses, which take no others."""
    for chunk in chunks:
        yield chunk


class TestDjangoWSGI(AdapterConformance):
    """The suite, behind the WSGI handler."""

    @pytest.fixture
    def adapter(self) -> Adapter:
        """Return the adapter under test."""
        return DjangoWSGI()


class TestDjangoASGI(AdapterConformance):
    """The suite, behind the ASGI handler."""

    @pytest.fixture
    def adapter(self) -> Adapter:
        """Return the adapter under test."""
        return DjangoASGI()

    def test_persist(self, site: Site) -> None:
        """Django's `save()` saves at once, so an event loop refuses it and saves nothing; Holdall's own stores."""
        visit = site.visit(("set", "n", 1), ("persist",))
        site.check(visit.response.status == 500, f"save() in an event loop was answered with {visit.response.status}")
        site.check(not visit.commands and not visit.set_cookies, "save() in an event loop saved, and was refused")
        visit = site.visit(("set", "n", 1), ("current", "persist"))
        site.check(puts(visit) == 1, "a session that was to be persisted is in no store")
        site.check(site.visit(("get", "n")).results == [1], "a persisted session was not there again")
