"""The middleware: gives a request its session, and the response the cookies and headers that come of it.

Plumbing only: nothing is decided about sessions here, and nothing is used of the core but its public names. It is
Django's own middleware to everybody who asks, and behaves as that with another SESSION_ENGINE. What a session can do
is in `engine`.
"""

import logging
import sys
from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterable, Iterator
from http.cookies import Morsel
from typing import Any

from asgiref.sync import sync_to_async
from django.conf import settings
from django.contrib.sessions.backends.base import UpdateError
from django.contrib.sessions.exceptions import SessionInterrupted
from django.contrib.sessions.middleware import SessionMiddleware as DjangoSessionMiddleware
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.utils.cache import patch_cache_control, patch_vary_headers
from holdall import SessionUnavailable, current_session

from holdall_django.conf import backend, is_testing
from holdall_django.engine import REFERENCE, Headers, SessionStore, cookies_of_client

log = logging.getLogger("holdall.django")

_UNAVAILABLE = "The session store does not answer. Please try again in a moment.\n"


class SessionMiddleware(DjangoSessionMiddleware):  # type: ignore[misc]
    """Put `"holdall_django.middleware.SessionMiddleware"` into MIDDLEWARE, in the place of Django's own.

    A session that can be neither read nor written becomes a 503 with Retry-After, the cookie kept. A session that was
    ended by another request while this one changed it raises `SessionInterrupted`, as Django does: 400, and no change
    that is lost is ever acknowledged. Raises `ImproperlyConfigured` at start-up for settings that cannot work.
    """

    def __init__(self, get_response: Callable[[HttpRequest], Any]) -> None:
        super().__init__(get_response)
        self._is_ours = issubclass(self.SessionStore, SessionStore)
        if self._is_ours:
            backend()
        elif not is_testing():
            log.warning("SESSION_ENGINE is %s: sessions are Django's, not Holdall's", settings.SESSION_ENGINE)

    def __call__(self, request: HttpRequest) -> Any:
        """Handle one request; with an asynchronous stack, return what is to be awaited."""
        if self.async_mode or not self._is_ours:
            return super().__call__(request)
        self.process_request(request)
        try:
            with _current(request.session):
                response = self.get_response(request)
        except SessionUnavailable as error:  # even Django's page for errors may read it, with CSRF_USE_SESSIONS
            if (answer := self.process_exception(request, error)) is None:
                raise
            return answer
        return self.process_response(request, response)

    async def __acall__(self, request: HttpRequest) -> HttpResponseBase:
        """Handle one request of an asynchronous stack: a thread is used to ask a store, and for nothing else."""
        if not self._is_ours:
            return await super().__acall__(request)
        self.process_request(request)
        await request.session.ask_first()
        try:
            with _current(request.session):
                response = await self.get_response(request)
        except SessionUnavailable as error:
            if (answer := self.process_exception(request, error)) is None:
                raise
            return answer
        session = getattr(request, "session", None)
        if not isinstance(session, SessionStore):
            return await sync_to_async(super().process_response)(request, response)
        if (answer := _answer_without_saving(session, response)) is not None:
            return answer
        headers = list(response.headers.items())
        try:
            complete = await session.arun(session.begin_commit(response.status_code, headers))
        except SessionUnavailable:
            return _refuse(session)
        return _respond(request, response, headers, complete)

    def process_request(self, request: HttpRequest) -> None:
        """Give the request its session, which costs next to nothing until it is touched."""
        if not self._is_ours:
            super().process_request(request)
            return
        request.session = session = self.SessionStore()
        session.open(cookies_of_client(request.COOKIES) if is_testing() else _cookie_header(request))

    def process_response(self, request: HttpRequest, response: HttpResponseBase) -> HttpResponseBase:
        """Save what changed, and let the response tell the browser."""
        session = getattr(request, "session", None)
        if not isinstance(session, SessionStore):
            return super().process_response(request, response)
        if (answer := _answer_without_saving(session, response)) is not None:
            return answer
        headers = list(response.headers.items())
        try:
            complete = session.run(session.begin_commit(response.status_code, headers))
        except SessionUnavailable:
            return _refuse(session)
        return _respond(request, response, headers, complete)

    def process_exception(self, request: HttpRequest, exception: Exception) -> HttpResponseBase | None:
        """Answer for a view, or for what stands before it, whose session could not be read."""
        is_ours = isinstance(exception, SessionUnavailable) and isinstance(request.session, SessionStore)
        return _refuse(request.session) if is_ours else None


def _cookie_header(request: HttpRequest) -> str | None:
    """Return the request's Cookie header, None without any.

    HTTP/2 allows several (RFC 9113, 8.2.3). Django 5.2 puts a comma between those of ASGI, where our cookie would hide.
    """
    header: str | None = request.META.get("HTTP_COOKIE")
    if header is not None and "," in header and (scope := getattr(request, "scope", None)) is not None:
        several = [value.decode("latin-1") for name, value in scope["headers"] if name == b"cookie"]
        return "; ".join(several) if len(several) > 1 else header
    return header


def _answer_without_saving(session: SessionStore, response: HttpResponseBase) -> HttpResponseBase | None:
    """Return the response where there is nothing to be saved any more; None where there may be."""
    if session.is_committed:
        return response  # by a decorator or the same middleware further in
    if response.status_code == 500 and session.failed:
        return _refuse(session)  # the store's failure, met by a template or a middleware, and answered by Django
    if session.is_untouched and not response.streaming:
        session.begin_commit(response.status_code, [])  # which has nothing to do but to end the time for changes
        return response
    return None


def _respond(request: HttpRequest, response: HttpResponseBase, headers: Headers, complete: Headers) -> HttpResponseBase:
    """Bring what a commit and explicit saves before it have to tell the browser to the response."""
    session: SessionStore = request.session
    try:
        cookies = session.end_commit(complete)
    except UpdateError as error:
        raise SessionInterrupted(
            "The request's session was deleted before the request completed. The user may have logged out in a "
            "concurrent request, for example."
        ) from error
    for name, value in complete if complete is not headers else ():
        if name != "Set-Cookie" and (name, value) not in headers:  # a header takes a microsecond to set
            response.headers[name] = value
    _set_cookies(response, session.set_cookies | cookies)
    if session.set_cookies:
        patch_cache_control(response, private=True)
        patch_vary_headers(response, ["Cookie"])
    if cookies and not request.is_secure() and not is_testing():
        backend().manager.warn_of_plain_http(request.META.get("HTTP_HOST"), complete)
    # A file has nothing to say to its session, and would lose the server's own way to send it.
    if response.streaming and getattr(response, "file_to_stream", None) is None:
        carry: Any = _carry_async if response.is_async else _carry
        response.streaming_content = carry(session, response.streaming_content)
    else:
        session.tell()
    return response


def _refuse(session: SessionStore) -> HttpResponse:
    """Answer that the session's store does not answer, whatever the view was about to say. The cookie is kept."""
    log.error("answering 503: a session could be neither read nor written", exc_info=sys.exc_info()[1] is not None)
    session.is_committed = True
    session.tell()
    headers = {"Retry-After": "5", "Cache-Control": "no-store"}
    response = HttpResponse(_UNAVAILABLE, status=503, content_type="text/plain; charset=utf-8", headers=headers)
    _set_cookies(response, session.set_cookies)
    return response


def _set_cookies(response: HttpResponseBase, cookies: dict[str, str]) -> None:
    for name, cookie in cookies.items():
        pair, *attributes = cookie.split("; ")
        value = pair.partition("=")[2]
        morsel: Morsel[str] = Morsel()
        morsel.set(name, value, value)
        for attribute in attributes:
            key, equals, text = attribute.partition("=")
            morsel[key] = int(text) if key == "Max-Age" else text if equals else True
        response.cookies[name] = morsel
    if cookies and is_testing():
        _show_to_client(response)


def _show_to_client(response: HttpResponseBase) -> None:
    """In Django's test environment: have the reference to a stored session under the one name that its client knows.

    `client.session`, `client.login` and the like read and write the cookie SESSION_COOKIE_NAME alone, and what they
    find there they hand to `SessionStore`. So the key of a stored session is shown under that name too, and
    `cookies_of_client` makes of it what a browser would have sent. No production process ever comes here.
    """
    name = settings.SESSION_COOKIE_NAME
    reference = response.cookies.get(f"{name}-ref")
    if reference is not None and (reference.value or name not in response.cookies):
        shown: Morsel[str] = reference.copy()
        key = REFERENCE + reference.value if reference.value else ""
        shown.set(name, key, key)
        response.cookies[name] = shown


class _current:  # noqa: N801 (reads as the context manager that it is)
    """Has `get_current_session` return this session, and the one saved that `set_current_session` was given."""

    __slots__ = ("opened", "session", "token")

    def __init__(self, session: SessionStore) -> None:
        self.session = session

    def __enter__(self) -> None:
        self.opened = self.session.current
        self.token = current_session.set(self.opened)

    def __exit__(self, *_: object) -> None:
        now = current_session.get()
        current_session.reset(self.token)
        if now is not None and now is not self.opened:
            self.session.current = now


def _carry(session: SessionStore, content: Iterable[bytes]) -> Iterator[bytes]:
    """Hand on the chunks of a body, made with its session current, and save what it changed, unless it raised."""
    iterator = iter(content)
    is_broken = False
    try:
        while True:
            with _current(session):
                chunk = next(iterator, None)
            if chunk is None:
                break
            yield chunk
    except Exception:
        is_broken = True
        raise
    finally:  # also where the client has gone
        if not is_broken:
            session.run(session.finish())


async def _carry_async(session: SessionStore, content: AsyncIterable[bytes]) -> AsyncIterator[bytes]:
    """Do the same for an asynchronous body."""
    iterator = aiter(content)
    is_broken = False
    try:
        while True:
            with _current(session):
                chunk = await anext(iterator, None)
            if chunk is None:
                break
            yield chunk
    except Exception:
        is_broken = True
        raise
    finally:
        if not is_broken:
            await session.arun(session.finish())
