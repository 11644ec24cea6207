"""The demo as a Django project in one file: settings, a view, one address. `request.session` is the session.

Django has one project in a process: what is made last counts.
"""

from typing import TYPE_CHECKING

import django
import holdall_django
from django.conf import settings
from django.core.handlers.wsgi import WSGIHandler
from django.core.signals import setting_changed
from django.http import HttpRequest, HttpResponse
from django.urls import re_path

from .parts import Parts
from .web import Asked

if TYPE_CHECKING:
    from wsgiref.types import WSGIApplication

SETTINGS = {
    "ALLOWED_HOSTS": ["127.0.0.1"],
    "ROOT_URLCONF": __name__,
    "MIDDLEWARE": ["holdall_django.middleware.SessionMiddleware"],
    "SESSION_ENGINE": "holdall_django.engine",
    "SESSION_COOKIE_NAME": "__Host-session",
    "SESSION_COOKIE_SECURE": True,
    "USE_TZ": True,
}


def make(parts: Parts) -> "WSGIApplication":
    """Make the application."""
    global _parts
    _parts = parts
    options = {
        "cookie_key": parts.key,
        "stores": parts.stores,
        "clock": parts.clock,
        "on_event": parts.on_event,
        "on_receipt": parts.on_receipt,
        "store_budget": parts.store_budget,
    }
    if not settings.configured:
        settings.configure(**SETTINGS, SECRET_KEY=parts.key)
        django.setup()
    settings.HOLDALL = options
    setting_changed.send(sender=None, setting="HOLDALL", value=options, enter=True)
    application: WSGIApplication = WSGIHandler()
    return application


def show(request: HttpRequest) -> HttpResponse:
    """Answer every request: the one view."""
    asked = Asked(
        method=request.method,
        path=request.path,
        query=request.GET.dict(),
        form=request.POST.dict(),
        origin=request.headers.get("Origin"),
        agent=request.headers.get("User-Agent", ""),
        get_session=lambda: request.session,
        people=holdall_django,
    )
    status, headers, body = _parts.demo(asked)
    return HttpResponse(body, status=status, headers=dict(headers))


_parts: Parts
urlpatterns = [re_path("", show)]
