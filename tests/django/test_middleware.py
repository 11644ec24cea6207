"""The middleware between Django's handlers and a browser, in synchronous and asynchronous stacks."""

import asyncio
import io
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any
from wsgiref.util import FileWrapper

import pytest
from django.http import FileResponse, HttpRequest, HttpResponse, StreamingHttpResponse
from django.template import Context, Engine
from django.test import RequestFactory, override_settings
from holdall import Session, SessionCommitted, Tier, UsageError, get_current_session, run, set_current_session
from holdall_django.conf import backend
from holdall_django.engine import SessionStore
from holdall_django.middleware import SessionMiddleware

from tests.core.support import OTHER_KEY, Browser
from tests.django.conftest import MakeSite
from tests.django.support import LARGE, MIDDLEWARE, SIZES, AsyncHandler, Site, agenerate, ask

SIZE = pytest.mark.parametrize("value", SIZES.values(), ids=SIZES)
STACK = pytest.mark.parametrize("send", [Site.request, Site.arequest], ids=["sync", "async"])
Send = Callable[..., Any]


def read(request: HttpRequest) -> Any:
    return request.session.get("v")


async def aread(request: HttpRequest) -> Any:
    return await request.session.aget("v")


def write(value: Any) -> Callable[[HttpRequest], None]:
    return lambda request: request.session.update(v=value)


# -- round trips -------------------------------------------------------------------------------------------------------


@SIZE
@STACK
def test_what_was_written_is_read(site: Site, send: Send, value: str) -> None:
    """A session of any size comes back in the next request, in either stack."""
    send(site, write(value))
    assert send(site, aread if send is Site.arequest else read) == value


@SIZE
def test_stacks_share_sessions(site: Site, value: str) -> None:
    """A session that was begun in a synchronous stack goes on in an asynchronous one, and back."""
    site.put(v=value)
    assert site.arequest(aread) == value

    async def add(request: HttpRequest) -> None:
        await request.session.aset("n", 1)

    site.arequest(add)
    assert site.read() == {"v": value, "n": 1}


def test_sync_view_in_async_stack(site: Site) -> None:
    """A synchronous view of an asynchronous stack reads a stored session like any other."""
    site.put(v=LARGE)
    assert site.arequest(read, path="/") == LARGE


@STACK
def test_untouched_costs_nothing(site: Site, send: Send) -> None:
    """A request that leaves its session alone asks no store and sends no header of ours."""
    site.put(v=LARGE)
    assert site.did
    send(site, lambda request: None)
    assert site.did == []
    assert site.response.cookies == []
    assert site.response.all("Vary") == []


@STACK
def test_nothing_before_the_first_write(site: Site, send: Send) -> None:
    """Reading where there is no session begins none, and says that the response varies."""
    assert send(site, lambda request: ("v" in request.session, request.session.get("v"))) == (False, None)
    assert site.did == []
    assert site.response.cookies == []
    assert site.response.all("Vary") == ["Cookie"]


@STACK
def test_flush_ends_the_session(site: Site, send: Send) -> None:
    """After flush() the cookie is gone, and a copy of it opens no stored session."""
    site.put(v=LARGE)
    copy = site.browser.copy()
    send(site, lambda request: request.session.flush())
    assert site.browser.cookies == {}
    assert site.read(copy) == {}


def test_status_500_saves_nothing(site: Site) -> None:
    """A response of 500 or above saves nothing and sets no cookie."""
    site.put(n=1)

    def fail(request: HttpRequest) -> HttpResponse:
        request.session["n"] = 2
        return HttpResponse(status=503)

    site.request(fail)
    assert site.response.code == 503
    assert site.response.cookies == []
    assert site.read() == {"n": 1}


def test_a_view_that_raises_saves_nothing(site: Site) -> None:
    """A view that raised saves nothing; what it raised is Django's to answer."""

    def fail(request: HttpRequest) -> None:
        request.session["n"] = 2
        raise RuntimeError

    site.request(fail)
    assert site.response.code == 500
    assert site.response.cookies == []


def test_unserializable_value_is_an_error(site: Site) -> None:
    """A value that no session can hold is an error of the request, and what was there before stays."""
    site.put(n=1)
    site.request(write(object()))
    assert site.response.code == 500
    assert site.read() == {"n": 1}


# -- headers -----------------------------------------------------------------------------------------------------------


def test_settings_make_the_cookie(make_site: MakeSite) -> None:
    """Name, lifetime and attributes of the cookie are those of SESSION_COOKIE_*, in deletions too."""
    site = make_site(
        SESSION_COOKIE_NAME="s",
        SESSION_COOKIE_AGE=600,
        SESSION_COOKIE_DOMAIN="example.com",
        SESSION_COOKIE_PATH="/app",
        SESSION_COOKIE_SECURE=True,
        SESSION_COOKIE_HTTPONLY=False,
        SESSION_COOKIE_SAMESITE="Strict",
    )
    site.put(n=1)
    (cookie,) = site.response.cookies
    assert cookie.startswith("s=")
    assert set(cookie.split("; ")[1:]) == {
        "Max-Age=600",
        "Domain=example.com",
        "Path=/app",
        "Secure",
        "SameSite=Strict",
    }
    site.request(lambda request: request.session.flush())
    assert {"Max-Age=0", "Domain=example.com", "Path=/app", "Secure", "SameSite=Strict"} <= {
        attribute for cookie in site.response.cookies for attribute in cookie.split("; ")
    }
    assert site.browser.cookies == {}


def test_session_of_the_browser(make_site: MakeSite) -> None:
    """With SESSION_EXPIRE_AT_BROWSER_CLOSE the cookie has no lifetime of its own."""
    site = make_site(SESSION_EXPIRE_AT_BROWSER_CLOSE=True)
    site.put(n=1)
    (cookie,) = site.response.cookies
    assert "Max-Age" not in cookie
    assert "expires" not in cookie.lower()


@STACK
def test_defect_19_several_set_cookie_headers(site: Site, send: Send) -> None:
    """The view's cookies and headers stay, and ours are merged with them."""

    def act(request: HttpRequest) -> HttpResponse:
        request.session["n"] = 1
        response = HttpResponse(headers={"Vary": "Accept", "Cache-Control": "public, max-age=60", "X-Own": "yes"})
        response.set_cookie("own", "a b")
        return response

    send(site, act)
    assert sorted(cookie.partition("=")[0] for cookie in site.response.cookies) == ["own", "sessionid"]
    assert site.response.all("Vary") == ["Accept, Cookie"]
    assert site.response.all("Cache-Control") == ['max-age=60, private, no-cache="Set-Cookie"']
    assert site.response.all("X-Own") == ["yes"]


def test_several_cookies(make_site: MakeSite) -> None:
    """A session that is split over several cookies arrives whole, and so do the deletions of its pieces."""
    site = make_site(HOLDALL={"cookie_only_threshold": 10_000})
    site.put(v="x" * 6_000)
    assert len(site.browser.cookies) > 1
    assert site.read() == {"v": "x" * 6_000}
    site.put(v="x")
    assert list(site.browser.cookies) == ["sessionid"]
    assert site.read() == {"v": "x"}


def test_plain_http_is_warned_of(make_site: MakeSite, caplog: pytest.LogCaptureFixture) -> None:
    """A Secure cookie over plain http to a host that is not loopback is logged, once."""
    site = make_site(SESSION_COOKIE_SECURE=True)
    for _ in range(2):
        site.request(write(1), Browser(), extra={"HTTP_HOST": "example.com"})
    assert len([record for record in caplog.records if "plain http" in record.message]) == 1


# -- which session is current ------------------------------------------------------------------------------------------


@STACK
def test_current_session(site: Site, send: Send) -> None:
    """get_current_session() is the session of the request, and gone after it."""

    def act(request: HttpRequest) -> None:
        get_current_session()["n"] = 1
        assert request.session["n"] == 1

    send(site, act)
    assert site.read() == {"n": 1}
    with pytest.raises(UsageError):
        get_current_session()


def test_current_session_after_an_explicit_save(site: Site) -> None:
    """After request.session.save() the current session is still that of the request."""

    def act(request: HttpRequest) -> None:
        request.session["n"] = 1
        request.session.save()
        get_current_session()["m"] = 2

    site.request(act)
    assert site.read() == {"n": 1, "m": 2}


def test_set_current_session(site: Site) -> None:
    """The session that is made the current one is the one that is saved."""

    def act(request: HttpRequest) -> Session:
        request.session["n"] = 1
        other = backend().manager.open(None).session
        other["m"] = 2
        set_current_session(other)
        return other

    site.request(act)
    assert site.read() == {"m": 2}


def test_replaced_session_is_saved(site: Site) -> None:
    """A SessionStore that takes the place of request.session is the one that is saved."""

    def act(request: HttpRequest) -> None:
        request.session = SessionStore()
        request.session["m"] = 2

    site.request(act)
    assert site.read() == {"m": 2}


def test_defect_19_overlapping_requests(site: Site) -> None:
    """Requests that overlap in one event loop each have their own current session, and keep it."""
    ada, bob = Browser(), Browser()
    site.put(ada, name="ada")
    site.put(bob, name="bob")
    met = asyncio.Barrier(2)

    async def act(request: HttpRequest) -> HttpResponse:
        seen = [get_current_session()["name"]]
        await met.wait()
        seen += [get_current_session()["name"], await request.session.aget("name")]
        return HttpResponse(" ".join(seen))

    async def both() -> list[bytes]:
        app = AsyncHandler()
        return [answer.body for answer in await asyncio.gather(ask(app, ada, "/async"), ask(app, bob, "/async"))]

    with site._doing(act):
        assert asyncio.run(both()) == [b"ada ada ada", b"bob bob bob"]


# -- stores off the event loop -----------------------------------------------------------------------------------------


def test_stores_run_off_the_event_loop(site: Site) -> None:
    """In an asynchronous stack no store is asked in the event loop's thread, to load, to save, or at last."""
    site.put(v=LARGE)
    threads: set[int] = set()
    site.stores.before = lambda command: threads.add(threading.get_ident())

    async def act(request: HttpRequest) -> StreamingHttpResponse:
        await request.session.aset("n", 1)

        async def body() -> AsyncIterator[bytes]:
            yield b"late"
            request.session["late"] = 1

        return StreamingHttpResponse(body())

    loop_threads: set[int] = set()

    async def note(request: HttpRequest) -> StreamingHttpResponse:
        loop_threads.add(threading.get_ident())
        return await act(request)

    site.arequest(note)
    assert len(site.did) >= 6  # loaded, saved, saved again
    assert threads.isdisjoint(loop_threads)
    site.stores.before = None
    assert site.read() == {"v": LARGE, "n": 1, "late": 1}


# -- streaming ---------------------------------------------------------------------------------------------------------


def sync_body(request: HttpRequest, error: Exception | None = None) -> StreamingHttpResponse:
    request.session["n"] = 1

    def body() -> Iterator[bytes]:
        yield b"early"
        get_current_session()["late"] = 1
        if error is not None:
            raise error
        yield b"late"

    return StreamingHttpResponse(body())


def async_body(request: HttpRequest, error: Exception | None = None) -> StreamingHttpResponse:
    request.session["n"] = 1

    async def body() -> AsyncIterator[bytes]:
        yield b"early"
        get_current_session()["late"] = 1
        if error is not None:
            raise error
        yield b"late"

    return StreamingHttpResponse(body())


BODY = pytest.mark.parametrize(("send", "body"), [(Site.request, sync_body), (Site.arequest, async_body)])


async def aload(request: HttpRequest, then: Callable[..., Any]) -> Any:
    await request.session.aget("v")
    return then(request)


@BODY
def test_late_writes_reach_the_store(site: Site, send: Send, body: Callable[..., Any]) -> None:
    """What a streaming body changes in a stored session after the headers is saved when it ends."""
    site.put(v=LARGE)
    send(site, body if send is Site.request else lambda request: aload(request, body))
    assert site.response.body == b"earlylate"
    assert site.read() == {"v": LARGE, "n": 1, "late": 1}


@BODY
def test_late_writes_that_need_a_cookie_raise(site: Site, send: Send, body: Callable[..., Any]) -> None:
    """What would need a cookie after the headers raises where it is made."""
    site.put(v="x")
    with pytest.raises(SessionCommitted):
        send(site, body)
    assert site.read() == {"v": "x"}  # the browser of this test never took the broken response


@BODY
def test_a_body_that_raises_saves_nothing_late(site: Site, send: Send, body: Callable[..., Any]) -> None:
    """What a body changed before it raised is not saved."""
    site.put(v=LARGE)

    def act(request: HttpRequest) -> Any:
        return body(request, RuntimeError("broken"))

    with pytest.raises(RuntimeError, match="broken"):
        send(site, act if send is Site.request else lambda request: aload(request, act))
    assert site.read() == {"v": LARGE, "n": 1}


def test_late_save(site: Site) -> None:
    """An explicit save() in a streaming body saves at once what a store can take."""
    site.put(v=LARGE)

    def act(request: HttpRequest) -> StreamingHttpResponse:
        request.session["n"] = 1

        def body() -> Iterator[bytes]:
            request.session["late"] = 1
            request.session.save()
            yield str(site.read(site.browser.copy()).get("late")).encode()

        return StreamingHttpResponse(body())

    site.request(act)
    assert site.response.body == b"1"


def test_files_keep_their_wrapper(site: Site) -> None:
    """A FileResponse goes out the server's own way."""
    site.request(
        lambda request: (request.session.update(n=1), FileResponse(io.BytesIO(b"file")))[1],
        extra={"wsgi.file_wrapper": FileWrapper},
    )
    assert site.response.body == b"file"
    assert site.read() == {"n": 1}


def test_untouched_stream(site: Site) -> None:
    """A streaming response that leaves its session alone costs nothing either."""
    site.put(v=LARGE)
    assert site.did
    site.arequest(lambda request: StreamingHttpResponse(agenerate(b"a", b"b")))
    assert site.response.body == b"ab"
    assert site.did == []
    assert site.response.all("Vary") == []


@STACK
def test_changes_after_the_response_raise(make_site: MakeSite, send: Send) -> None:
    """A middleware further out that begins a session once the response was made is told so, and not ignored."""
    site = make_site(MIDDLEWARE=["tests.django.test_middleware.writing_late", MIDDLEWARE])
    send(site, lambda request: None, path="/") if send is Site.arequest else send(site, lambda request: None)
    assert site.response.all("X-Late") == ["SessionCommitted"]


def writing_late(get_response: Callable[[HttpRequest], Any]) -> Callable[[HttpRequest], Any]:
    def respond(request: HttpRequest) -> Any:
        response = get_response(request)
        try:
            request.session["n"] = 1
        except SessionCommitted as error:
            response.headers["X-Late"] = type(error).__name__
        return response

    return respond


# -- faults ------------------------------------------------------------------------------------------------------------


def assert_refused(site: Site) -> None:
    assert site.response.code == 503
    assert site.response.all("Retry-After") == ["5"]
    assert site.response.all("Cache-Control") == ["no-store"]
    assert site.response.cookies == []


@STACK
def test_unreadable_session_is_a_503(site: Site, send: Send) -> None:
    """Where a view cannot read its session, the answer is 503 with Retry-After, and the cookie is kept."""
    site.put(v=LARGE)
    site.stores.down = {Tier.CACHE, Tier.DURABLE}
    send(site, aread if send is Site.arequest else read)
    assert_refused(site)
    site.stores.down = set()
    assert site.read() == {"v": LARGE}


@STACK
def test_unwritable_session_is_a_503(site: Site, send: Send) -> None:
    """Where a session cannot be saved, the answer is 503 whatever the view said."""
    site.stores.down = {Tier.CACHE, Tier.DURABLE}
    send(site, write(LARGE))
    assert_refused(site)


@STACK
def test_unreadable_session_behind_the_view_is_a_503(make_site: MakeSite, send: Send) -> None:
    """The same holds where another middleware reads the session and Django answers its error with 500."""
    site = make_site(MIDDLEWARE=[MIDDLEWARE, "tests.django.test_middleware.reading_middleware"])
    site.put(v=LARGE)
    site.stores.down = {Tier.CACHE, Tier.DURABLE}
    send(site, lambda request: None, path="/") if send is Site.arequest else send(site, lambda request: None)
    assert_refused(site)


@STACK
def test_unreadable_token_is_a_503(make_site: MakeSite, send: Send) -> None:
    """With CSRF_USE_SESSIONS, where even Django's page for an error reads the session, the answer is 503 as well."""
    site = make_site(MIDDLEWARE=[MIDDLEWARE, "django.middleware.csrf.CsrfViewMiddleware"], CSRF_USE_SESSIONS=True)
    site.put(v=LARGE)
    site.stores.down = {Tier.CACHE, Tier.DURABLE}
    send(site, lambda request: None, path="/") if send is Site.arequest else send(site, lambda request: None)
    assert_refused(site)


def reading_middleware(get_response: Callable[[HttpRequest], Any]) -> Callable[[HttpRequest], Any]:
    def respond(request: HttpRequest) -> Any:
        request.session.get("v")
        return get_response(request)

    return respond


def test_handled_failure_is_the_views_own(site: Site) -> None:
    """A view that handles the failure answers as it likes."""
    site.put(v=LARGE)
    site.stores.down = {Tier.CACHE, Tier.DURABLE}

    def act(request: HttpRequest) -> HttpResponse:
        try:
            request.session["v"]
        except Exception:
            return HttpResponse("sorry")
        raise AssertionError

    site.request(act)
    assert (site.response.code, site.response.body) == (200, b"sorry")


@STACK
def test_session_ended_meanwhile(site: Site, send: Send) -> None:
    """Changes to a session that another request ends meanwhile are a 400, as in Django, and never acknowledged."""
    site.put(v=LARGE)
    other = site.browser.copy()

    def logout() -> None:
        exchange = backend().manager.open(other.header)
        exchange.session.terminate()
        run(exchange.commit(status=200, headers=[]), site.stores)

    def act(request: HttpRequest) -> None:
        request.session["n"] = 1
        logout()

    async def act_async(request: HttpRequest) -> None:
        await request.session.aset("n", 1)
        logout()

    send(site, act_async if send is Site.arequest else act)
    assert site.response.code == 400
    assert site.response.cookies == []
    assert site.read() == {}


def test_cookie_of_before_a_login(site: Site) -> None:
    """A change that comes with a stored session's cookie of before a login is a 400, and ends nobody's login."""
    site.put(v=LARGE)
    before = site.browser.copy()
    site.request(lambda request: request.session.cycle_key())
    site.put(before, n=1)
    assert site.response.code == 400
    assert site.response.cookies == []
    assert site.read() == {"v": LARGE}


# -- explicit saves in a request ---------------------------------------------------------------------------------------


@SIZE
def test_save_in_a_view(site: Site, value: str) -> None:
    """save() in a view saves at once, gives the session its key, and later changes are saved with the response."""

    def act(request: HttpRequest) -> Any:
        request.session["v"] = value
        assert request.session.session_key is None
        request.session.save()
        key = request.session.session_key
        request.session["n"] = 1
        return SessionStore(key).get("v")

    assert site.request(act) == value
    assert site.read() == {"v": value, "n": 1}
    assert len(site.response.all("Vary")) == 1


@SIZE
def test_save_alone_sets_the_cookie(site: Site, value: str) -> None:
    """A view that changes nothing after save() has its cookie all the same, kept from shared caches."""

    def act(request: HttpRequest) -> HttpResponse:
        request.session["v"] = value
        request.session.save()
        return HttpResponse(headers={"Cache-Control": "public, max-age=60"})

    site.request(act)
    assert "private" in site.response.all("Cache-Control")[0]
    assert "public" not in site.response.all("Cache-Control")[0]
    assert site.response.all("Vary") == ["Cookie"]
    assert site.read() == {"v": value}


@SIZE
def test_cycle_key_and_save_before_a_500(site: Site, value: str) -> None:
    """What was saved explicitly is the browser's though the view fails afterwards: nobody is logged out by it."""
    site.put(v=value)

    def act(request: HttpRequest) -> None:
        request.session.cycle_key()
        request.session.save()
        raise RuntimeError

    site.request(act)
    assert site.response.code == 500
    assert site.read() == {"v": value}


def test_save_that_promotes_and_flush_after(site: Site) -> None:
    """flush() after a save() that moved the session to a store leaves neither cookie nor record."""
    site.put(v="x")

    def act(request: HttpRequest) -> None:
        request.session["v"] = LARGE
        request.session.save()
        request.session.flush()

    site.request(act)
    assert site.browser.cookies == {}
    assert site.read() == {}


@SIZE
def test_replaced_and_saved(site: Site, value: str) -> None:
    """A SessionStore that takes the place of request.session and is saved by the view reaches the browser too."""
    site.put(n=1)

    def act(request: HttpRequest) -> None:
        request.session = SessionStore()
        request.session["v"] = value
        request.session.save()

    site.request(act)
    assert site.read() == {"v": value}


def test_create_in_a_view(site: Site) -> None:
    """create() gives a new visitor a session with a key at once."""

    def act(request: HttpRequest) -> Any:
        request.session.create()
        return request.session.session_key

    key = site.request(act)
    assert key == site.browser.cookies["sessionid"]


# -- beside Django's own -----------------------------------------------------------------------------------------------


def test_another_engine_is_djangos_business(make_site: MakeSite, caplog: pytest.LogCaptureFixture) -> None:
    """With another SESSION_ENGINE the middleware is Django's, in both stacks, and says so."""
    site = make_site(SESSION_ENGINE="django.contrib.sessions.backends.signed_cookies")
    site.put(n=1)
    assert site.arequest(lambda request: request.session["n"]) == 1
    assert "SESSION_ENGINE is django.contrib.sessions.backends.signed_cookies" in caplog.text


def test_listed_twice(make_site: MakeSite) -> None:
    """A middleware that is listed twice saves once."""
    site = make_site(MIDDLEWARE=[MIDDLEWARE, MIDDLEWARE])
    site.put(n=1)
    assert len(site.response.cookies) == 1
    assert site.read() == {"n": 1}


def test_response_without_a_session(site: Site) -> None:
    """A request that never got a session has its response handed on, as by Django's middleware."""
    response = HttpResponse()
    assert SessionMiddleware(lambda request: response).process_response(HttpRequest(), response) is response


def test_decorated_by_hand(site: Site) -> None:
    """process_request and process_response work by themselves, for decorators made of middleware."""
    middleware = SessionMiddleware(lambda request: HttpResponse())
    request = RequestFactory().get("/")
    middleware.process_request(request)
    request.session["n"] = 1
    response = middleware.process_response(request, HttpResponse())
    assert response.cookies["sessionid"]["max-age"] == 14 * 24 * 3600
    assert response.cookies["sessionid"]["httponly"] is True


def test_templates_read_sessions(site: Site) -> None:
    """A template reads values by their keys, and what is not there is nothing."""
    site.put(n=1)
    template = Engine().from_string("{{ request.session.n }}{{ request.session.missing }}")
    assert site.request(lambda request: template.render(Context({"request": request}))) == "1"


def test_key_rotation(make_site: MakeSite) -> None:
    """SECRET_KEY_FALLBACKS open sessions, which the next write seals with SECRET_KEY."""
    site = make_site()
    site.put(n=1)
    with override_settings(SECRET_KEY=OTHER_KEY, SECRET_KEY_FALLBACKS=[site.settings["SECRET_KEY"]]):
        site.put(n=2)
    with override_settings(SECRET_KEY=OTHER_KEY):
        assert site.read() == {"n": 2}


# -- Django's test client ----------------------------------------------------------------------------------------------


def test_production_takes_no_reference_for_a_session_cookie(site: Site) -> None:
    """Outside of tests the cookie SESSION_COOKIE_NAME opens inline data only."""
    site.put(v=LARGE)
    browser = Browser()
    for value in (site.browser.cookies["sessionid-ref"], "ref." + site.browser.cookies["sessionid-ref"]):
        browser.cookies = {"sessionid": value}
        assert site.read(browser) == {}


@pytest.mark.usefixtures("test_environment")
@SIZE
def test_test_environment_shows_the_key(site: Site, value: str) -> None:
    """In Django's test environment the session cookie holds what opens the session, whatever its size."""
    site.put(v=value)
    assert SessionStore(site.browser.cookies["sessionid"])["v"] == value
    alone = Browser()
    alone.cookies = {"sessionid": site.browser.cookies["sessionid"]}
    assert site.read(alone) == {"v": value}
    site.request(lambda request: request.session.flush(), alone)
    assert alone.cookies == {}
