"""The pages of the project in `served.py`: counting visits, the admin, messages, and bodies that stream."""

import os
import random
from collections.abc import AsyncIterator, Iterator
from typing import Any

from django.contrib import admin, messages
from django.http import HttpRequest, HttpResponse, JsonResponse, StreamingHttpResponse
from django.urls import path
from holdall_django import get_current_session


def _fill(request: HttpRequest, session: Any) -> JsonResponse:
    """Put `?size=` characters into a loaded session, which do not compress; say what it then holds."""
    if "size" in request.GET:
        session["payload"] = random.Random(session.get("n")).randbytes(int(request.GET["size"]) // 2).hex()
    payload = len(session.get("payload", ""))
    return JsonResponse({"n": session.get("n"), "payload": payload, "late": session.get("late"), "pid": os.getpid()})


def count(request: HttpRequest) -> HttpResponse:
    """Count a visit."""
    request.session["n"] = request.session.get("n", 0) + 1
    return _fill(request, request.session)


async def acount(request: HttpRequest) -> HttpResponse:
    """Count a visit, asynchronously."""
    await request.session.aset("n", await request.session.aget("n", 0) + 1)
    return _fill(request, request.session)


def incr(request: HttpRequest) -> HttpResponse:
    """Count a visit, whoever else does."""
    get_current_session().incr("n")
    return _fill(request, request.session)


def show(request: HttpRequest) -> HttpResponse:
    """Say what the session holds."""
    return _fill(request, request.session)


def stream(request: HttpRequest) -> HttpResponse:
    """Change the session while the body is sent."""
    request.session.get("n")

    def body() -> Iterator[bytes]:
        yield b"early "
        get_current_session()["late"] = "sync"
        yield b"late"

    return StreamingHttpResponse(body())


async def astream(request: HttpRequest) -> HttpResponse:
    """Change the session while the body is sent, asynchronously."""
    await request.session.aget("n")

    async def body() -> AsyncIterator[bytes]:
        yield b"early "
        get_current_session()["late"] = "async"
        yield b"late"

    return StreamingHttpResponse(body())


def say(request: HttpRequest) -> HttpResponse:
    """Leave a message for the next page."""
    messages.info(request, "hello")
    return HttpResponse()


def hear(request: HttpRequest) -> HttpResponse:
    """Show the messages."""
    return HttpResponse(",".join(str(each) for each in messages.get_messages(request)))


def post(request: HttpRequest) -> HttpResponse:
    """Take what a form with a token sends."""
    return HttpResponse(request.method)


urlpatterns = [
    path("admin/", admin.site.urls),
    *[path(view.__name__, view) for view in (count, acount, incr, show, stream, astream, say, hear, post)],
]
