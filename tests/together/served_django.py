"""The walk's application in Django: settings, URLs and views in one module. What its pages do is in `pages.py`."""

from collections.abc import Callable

from django.conf import settings
from django.core.handlers.wsgi import WSGIHandler
from django.core.wsgi import get_wsgi_application
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import path

from tests.together import pages

settings.configure(
    SECRET_KEY=pages.key(),
    ALLOWED_HOSTS=["127.0.0.1"],
    ROOT_URLCONF=__name__,
    MIDDLEWARE=["holdall_django.middleware.SessionMiddleware"],
    SESSION_ENGINE="holdall_django.engine",
    SESSION_COOKIE_NAME=pages.COOKIE,
    SESSION_COOKIE_SECURE=True,
    HOLDALL={"audience": pages.AUDIENCE, **pages.urls()},
)


def show(request: HttpRequest) -> None:
    pass


def visit(request: HttpRequest) -> None:
    request.session["n"] = request.session.get("n", 0) + 1


def incr(request: HttpRequest) -> None:
    request.session.incr("n")


def put(request: HttpRequest) -> None:
    request.session[request.GET["key"]] = pages.text(int(request.GET["size"]))


def fill(request: HttpRequest) -> None:
    request.session.update(pages.VALUES)


def login(request: HttpRequest) -> None:
    request.session.cycle_key()
    request.session.bind(pages.PRINCIPAL)


def logout(request: HttpRequest) -> None:
    request.session.flush()


def answered(view: Callable[[HttpRequest], None]) -> Callable[[HttpRequest], HttpResponse]:
    """Make a page of what a view does."""

    def handle(request: HttpRequest) -> HttpResponse:
        view(request)
        if "then" in request.GET:
            return HttpResponseRedirect(request.GET["then"])
        return HttpResponse(pages.page(request.session))

    return handle


urlpatterns = [path(view.__name__, answered(view)) for view in (show, visit, incr, put, fill, login, logout)]


def make_application() -> WSGIHandler:
    """Return the application."""
    return get_wsgi_application()
