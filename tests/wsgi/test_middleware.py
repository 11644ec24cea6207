"""`SessionMiddleware` by the letter of PEP 3333: whatever an application does with its response, its session is right.

In this process and fast. On real servers: `test_servers.py`; calls counted at real stores: `test_calls.py`.
"""

import ast
import inspect
import io
import logging
import queue
import sys
import threading
import time
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import nullcontext, suppress
from datetime import timedelta
from http import HTTPStatus
from pathlib import Path
from typing import Any
from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment
from wsgiref.util import FileWrapper
from wsgiref.validate import validator

import holdall
import holdall_stores
import holdall_wsgi.middleware
import pytest
from holdall import (
    CookieOptions,
    Session,
    SessionCommitted,
    SessionTooLarge,
    SessionUnavailable,
    Tier,
    UsageError,
    get_current_session,
    set_current_session,
)
from holdall.testing import FakeClock, RecordingStores
from holdall_stores import Memory, Stores
from holdall_wsgi import SessionMiddleware

from tests.core.support import KEY, Browser, big
from tests.wsgi.support import TEXT, Headers, Response, Site, environment, serve

OK = "200 OK"
REFERENCE = "__Host-session-ref"


class Body:
    """A body that is no list, counts how often it is closed, and may do something then."""

    def __init__(self, *chunks: bytes, on_close: Callable[[], object] = lambda: None) -> None:
        self.closed = 0
        self._chunks = iter(chunks)
        self._on_close = on_close

    def __iter__(self) -> Iterator[bytes]:
        return self._chunks

    def close(self) -> None:
        self.closed += 1
        self._on_close()


def count(session: Session) -> int:
    session["n"] = session.get("n", 0) + 1
    return int(session["n"])


def counting_list(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    number = count(get_current_session())
    start_response(OK, [TEXT])
    return [b"%d" % number]


def counting_generator(environ: WSGIEnvironment, start_response: StartResponse) -> Iterator[bytes]:
    number = count(get_current_session())
    start_response(OK, [TEXT])
    yield b"%d" % number
    yield b"."


def counting_writer(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    number = count(get_current_session())
    write = start_response(OK, [TEXT])
    write(b"%d" % number)
    return []


def counting_in_silence(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    count(get_current_session())
    start_response(OK, [TEXT])
    return []


KINDS = [counting_list, counting_generator, counting_writer, counting_in_silence]


def wrap(app: Any, **options: Any) -> SessionMiddleware:
    clock = options.setdefault("clock", FakeClock())
    return SessionMiddleware(app, KEY, stores=options.pop("stores", None) or RecordingStores(clock), **options)


def with_big_session(app: Any, **options: Any) -> tuple[SessionMiddleware, RecordingStores, Browser]:
    """Return the application in the middleware, and a browser whose session is in the stores with n = 1."""
    site = Site(**options)
    site.request(lambda session: session.update(n=1, big=big()))
    return wrap(app, stores=site.stores, clock=site.clock), site.stores, site.browser


def session_of(middleware: SessionMiddleware, browser: Browser) -> dict[str, Any]:
    """Return what the browser's session holds, as the next request would see it."""
    return dict(middleware.manager.open(browser.header, drive=middleware._drive).session)


class TestConstruction:
    """How it is made."""

    def test_positional_parameters_are_those_of_the_seed(self) -> None:
        """app, cookie_key, lifetime, no_datastore, cookie_only_threshold, in this order; the rest is keyword-only."""
        parameters = list(inspect.signature(SessionMiddleware).parameters.values())
        positional = [each.name for each in parameters if each.kind is each.POSITIONAL_OR_KEYWORD]
        assert positional == ["app", "cookie_key", "lifetime", "no_datastore", "cookie_only_threshold"]
        stores = Stores(cache=Memory())
        middleware = SessionMiddleware(counting_list, KEY, timedelta(hours=1), True, 100, stores=stores)
        settings = middleware.manager.settings
        assert (settings.lifetime, settings.no_datastore, settings.cookie_only_threshold) == (3600, True, 100)

    def test_further_options_are_those_of_the_manager(self) -> None:
        """What the middleware does not know itself goes to SessionManager, which checks it."""
        cookie = CookieOptions(name="mine")
        assert wrap(counting_list, cookie=cookie).manager.cookie is cookie
        with pytest.raises(UsageError, match="idle_timeout"):
            wrap(counting_list, idle_timeout=5)
        with pytest.raises(TypeError, match="unheard_of"):
            wrap(counting_list, unheard_of=1)

    def test_application_is_needed(self) -> None:
        """Something that is no application is refused at start-up, as a UsageError that is a ValueError."""
        with pytest.raises(ValueError, match="app=None must be a WSGI application"):
            SessionMiddleware(None, KEY)  # type: ignore[arg-type]

    @pytest.mark.parametrize("key", ["", "short", [], None])
    def test_key_is_needed(self, key: Any) -> None:
        """A missing or short key is a ValueError, even where no data is ever put in a cookie."""
        with pytest.raises(ValueError, match="cookie_key"):
            SessionMiddleware(counting_list, key, cookie_only_threshold=0)

    @pytest.mark.parametrize("stores", [None, Stores(durable=Memory())])
    def test_no_datastore_needs_a_cache(self, stores: Stores | None) -> None:
        """no_datastore=True without a cache is refused, with the remedy."""
        with pytest.raises(UsageError, match=r"no_datastore=True .* pass\s+stores=Stores\.from_urls\(cache="):
            SessionMiddleware(counting_list, KEY, no_datastore=True, stores=stores)

    def test_cache_alone_needs_no_datastore(self) -> None:
        """A cache without a durable store is refused unless it is said that sessions may be lost."""
        with pytest.raises(UsageError, match="no_datastore=True"):
            SessionMiddleware(counting_list, KEY, stores=Stores(cache=Memory()))

    def test_uses_public_names_only(self) -> None:
        """The adapter imports public names of holdall and holdall_stores alone, from their top levels."""
        tree = ast.parse(Path(holdall_wsgi.middleware.__file__).read_text())
        public = {"holdall": vars(holdall), "holdall_stores": vars(holdall_stores)}
        own: set[str] = set()
        used: set[str] = set()
        for node in ast.walk(tree):
            if isinstance(node, ast.Import):
                assert not [each.name for each in node.names if each.name.startswith("holdall")]
            elif isinstance(node, ast.ImportFrom):
                assert node.module is not None
                if node.module.startswith("holdall"):
                    assert node.module in public
                    for alias in node.names:
                        assert not alias.name.startswith("_")
                        assert alias.name in public[node.module]
            elif isinstance(node, ast.Attribute) and node.attr.startswith("_"):
                used.add(node.attr)
                if isinstance(node.value, ast.Name) and node.value.id == "self":
                    own.add(node.attr)
        assert used == own


@pytest.mark.requirement(27)
class TestCurrentSession:
    """Which session is the current one, and for how long."""

    def test_environ_has_it_too(self) -> None:
        """environ["holdall.session"] is what get_current_session() returns."""
        seen: list[bool] = []

        def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
            seen.append(environ["holdall.session"] is get_current_session())
            start_response(OK, [TEXT])
            return []

        serve(wrap(app))
        assert seen == [True]

    @pytest.mark.parametrize("app", KINDS)
    def test_gone_after_the_request(self, app: WSGIApplication) -> None:
        """Once a request is over there is no current session, whichever way it was answered."""
        assert serve(wrap(app)).code == 200
        with pytest.raises(UsageError, match="no session here"):
            get_current_session()

    def test_gone_after_an_exception(self) -> None:
        """An application that raises leaves no session behind either."""

        def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
            raise LookupError

        with pytest.raises(LookupError):
            serve(wrap(app))
        with pytest.raises(UsageError):
            get_current_session()

    def test_gone_between_the_steps_of_a_generator_that_is_never_closed(self) -> None:
        """A body that the server abandons leaves no session in the worker."""
        body = wrap(counting_generator)(environment(), Response().start)
        assert next(iter(body)) == b"1"
        with pytest.raises(UsageError):
            get_current_session()

    def test_worker_is_reused(self) -> None:
        """One thread serves many users one after the other, and each sees only what is theirs."""
        app = wrap(counting_list)
        browsers = [Browser() for _ in range(3)]
        bodies = [serve(app, browser).body for _ in range(3) for browser in browsers]
        assert bodies == [b"1"] * 3 + [b"2"] * 3 + [b"3"] * 3

    def test_threads(self) -> None:
        """Requests that run at the same time in several threads each have their own session."""
        together = threading.Barrier(4)

        def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
            get_current_session()["who"] = environ["test.who"]
            together.wait(10)
            who = get_current_session()["who"]
            start_response(OK, [TEXT])
            together.wait(10)
            return [who.encode()]

        middleware = wrap(app)
        results: queue.Queue[tuple[str, bytes]] = queue.Queue()

        def visit(who: str) -> None:
            browser = Browser()
            answers = {serve(middleware, browser, extra={"test.who": who}).body for _ in range(5)}
            results.put((who, b"".join(answers)))
            assert session_of(middleware, browser) == {"who": who}

        threads = [threading.Thread(target=visit, args=(who,)) for who in "abcd"]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(30)
        assert sorted(results.get(timeout=1) for _ in threads) == [(who, who.encode()) for who in "abcd"]

    def test_interleaved_generators(self) -> None:
        """Bodies that are iterated in turns in one thread, as greenlets do it, each see their own session."""

        def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterator[bytes]:
            get_current_session()["who"] = environ["test.who"]
            start_response(OK, [TEXT])
            for _ in range(3):
                yield get_current_session()["who"].encode()

        middleware = wrap(app)
        responses = [Response(), Response()]
        bodies = [
            middleware(environment(extra={"test.who": who}), response.start)
            for who, response in zip("ab", responses, strict=True)
        ]
        for turn in zip(*bodies, strict=True):
            assert turn == (b"a", b"b")
        for who, response in zip("ab", responses, strict=True):
            browser = Browser()
            browser.receive(response.headers)
            assert session_of(middleware, browser) == {"who": who}

    def test_there_while_the_body_is_closed(self) -> None:
        """Code that runs when the body is closed still has its session."""
        seen: list[int] = []
        body = Body(b"x", on_close=lambda: seen.append(get_current_session()["n"]))

        def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
            count(get_current_session())
            start_response(OK, [TEXT])
            return body

        serve(wrap(app))
        assert seen == [1]

    @pytest.mark.parametrize("when", ["at once", "before write", "in the first step"])
    def test_the_one_that_is_set_is_the_one_that_is_saved(self, when: str) -> None:
        """After set_current_session the response saves the other session, and the first keeps what it had."""
        middleware: SessionMiddleware

        def switch() -> None:
            get_current_session()["n"] = 99
            set_current_session(middleware.manager.open(None).session)
            get_current_session()["other"] = True

        def at_once(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
            switch()
            start_response(OK, [TEXT])
            return [b"x"]

        def before_write(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
            switch()
            start_response(OK, [TEXT])(b"x")
            return []

        def in_the_first_step(environ: WSGIEnvironment, start_response: StartResponse) -> Iterator[bytes]:
            start_response(OK, [TEXT])
            switch()
            yield b"x"

        apps: dict[str, Any] = {
            "at once": at_once,
            "before write": before_write,
            "in the first step": in_the_first_step,
        }
        browser = Browser()
        serve(wrap(counting_list), browser)
        before = browser.copy()
        middleware = wrap(apps[when])
        serve(middleware, browser)
        assert session_of(middleware, browser) == {"other": True}
        assert session_of(middleware, before) == {"n": 1}


class TestStartResponse:
    """start_response once, twice, late, never; and write()."""

    @pytest.mark.requirement(22, 27)
    def test_the_applications_header_list_is_never_changed(self) -> None:
        """A header list that requests of two users share stays as it is, and neither gets the other's cookie."""
        shared: Headers = [TEXT, ("Vary", "Accept")]

        def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
            count(get_current_session())
            start_response(OK, shared)
            return []

        middleware = wrap(app)
        first, second = serve(middleware, Browser()), serve(middleware, Browser())
        assert shared == [TEXT, ("Vary", "Accept")]
        assert len(first.cookies) == len(second.cookies) == 1
        assert first.cookies != second.cookies

    @pytest.mark.parametrize("lazily", [False, True])
    def test_again_before_anything_was_sent(self, lazily: bool) -> None:
        """With exc_info, before the first bytes, the last call counts; a 500 then saves nothing."""

        def begin(start_response: StartResponse) -> None:
            count(get_current_session())
            start_response(OK, [TEXT])
            try:
                raise LookupError
            except LookupError:
                start_response("500 Oh No", [("Content-Type", "text/html")], sys.exc_info())

        def at_once(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
            begin(start_response)
            return [b"sorry"]

        def in_the_first_step(environ: WSGIEnvironment, start_response: StartResponse) -> Iterator[bytes]:
            begin(start_response)
            yield b"sorry"

        response = serve(wrap(in_the_first_step if lazily else at_once))
        assert (response.status, response.body) == ("500 Oh No", b"sorry")
        assert response.headers == [("Content-Type", "text/html"), ("Vary", "Cookie")]

    def test_again_after_the_first_bytes(self) -> None:
        """With exc_info, after the first bytes, the application's own exception is raised again."""

        def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterator[bytes]:
            start_response(OK, [TEXT])
            yield b"x"
            try:
                raise LookupError("mine")
            except LookupError:
                start_response("500 Oh No", [TEXT], sys.exc_info())

        response = Response()
        with pytest.raises(LookupError, match="mine"):
            serve(wrap(app), response=response)
        assert (response.status, response.body) == (OK, b"x")

    @pytest.mark.parametrize("later", [False, True])
    def test_again_without_exc_info(self, later: bool) -> None:
        """Without exc_info a second call is the application's mistake."""

        def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterator[bytes]:
            start_response(OK, [TEXT])
            if later:
                yield b"x"
            start_response(OK, [TEXT])
            yield b"y"

        with pytest.raises(AssertionError, match="twice"):
            serve(wrap(app))

    def test_never(self) -> None:
        """Where the application never starts its response the server gets to complain, and nothing is saved."""

        def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
            get_current_session()["n"] = big()
            return []

        stores = RecordingStores(FakeClock())
        for kind in (list, iter):
            with pytest.raises(AssertionError, match="never called"):
                serve(lambda environ, start, kind=kind: kind(wrap(app, stores=stores)(environ, start)))  # type: ignore[misc]
        assert stores.commands == []

    def test_late_in_a_generator(self) -> None:
        """A generator may start its response with its first bytes; what it did until then counts."""
        app = wrap(counting_generator)
        browser = Browser()
        assert serve(app, browser).body == b"1."
        assert serve(app, browser).body == b"2."

    def test_first_step_of_a_body_counts(self) -> None:
        """The response starts with the first bytes: what a body does before them is saved, in the cookie too."""

        def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
            start_response(OK, [TEXT])
            return (b"%d" % count(get_current_session()) for _ in range(1))

        middleware = wrap(app)
        browser = Browser()
        assert serve(middleware, browser).body == b"1"
        assert serve(middleware, browser).body == b"2"

    def test_write(self) -> None:
        """write() starts the response: what was done before it is saved, and write() and body come in order."""

        def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
            write = start_response(OK, [TEXT])
            number = count(get_current_session())
            write(b"%d" % number)
            write(b",")
            return [b"end"]

        middleware = wrap(app)
        browser = Browser()
        assert serve(middleware, browser).body == b"1,end"
        assert serve(middleware, browser).body == b"2,end"

    def test_an_empty_body_is_an_answer(self) -> None:
        """A response without a body carries its cookie all the same."""
        for app in (counting_in_silence, lambda *args: iter(counting_in_silence(*args))):
            assert len(serve(wrap(app)).cookies) == 1

    @pytest.mark.parametrize("app", KINDS)
    def test_conforms(self, app: WSGIApplication, capsys: pytest.CaptureFixture[str]) -> None:
        """The validator of wsgiref finds no fault inside nor outside the middleware."""
        validated = validator(wrap(validator(app)))
        browser = Browser()
        serve(validated, browser)
        assert serve(validated, browser).code == 200
        assert browser.cookies
        assert capsys.readouterr().err == ""  # where it complains of bodies that were not closed


class TestBodies:
    """What comes back for the server to send."""

    @pytest.mark.parametrize("body", [[b"x"], (b"x",)])
    def test_lists_come_back_unwrapped(self, body: Iterable[bytes]) -> None:
        """A list, in which no code of the application's can run, is what the server gets: its length stays known."""

        def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
            start_response(OK, [TEXT])
            return body

        assert wrap(app)(environment(), Response().start) is body

    def test_file_wrapper_comes_back_unwrapped(self) -> None:
        """The server recognises its own file wrapper, and the cookie is there."""

        def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
            count(get_current_session())
            start_response(OK, [TEXT])
            return environ["wsgi.file_wrapper"](io.BytesIO(b"file"))  # type: ignore[no-any-return]

        response = Response()
        body = wrap(app)(environment(extra={"wsgi.file_wrapper": FileWrapper}), response.start)
        assert type(body) is FileWrapper
        assert len(response.cookies) == 1

    def test_file_wrapper_that_is_a_function(self) -> None:
        """A server whose wsgi.file_wrapper is no class, as PEP 3333 allows, gets its body too."""
        extra = {"wsgi.file_wrapper": lambda file, size=8192: iter([file.read()])}
        assert serve(wrap(counting_generator), extra=extra).body == b"1."

    @pytest.mark.parametrize("outcome", ["read", "abandoned", "raising", "too large", "unavailable"])
    def test_close_is_called_once(self, outcome: str) -> None:
        """The body is closed exactly once, also if the commit fails or the server stops half-way."""
        body = Body(b"x", b"y")
        stores = RecordingStores(FakeClock(), limit=100_000)
        if outcome == "unavailable":
            stores.down = {Tier.DURABLE}

        def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
            if outcome in ("too large", "unavailable"):
                get_current_session()["big"] = big(200_000)
            start_response(OK, [TEXT])
            return body

        def server(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
            inner = wrap(app, stores=stores)(environ, start_response)
            return Body(next(iter(inner)), on_close=inner.close) if outcome == "abandoned" else inner  # type: ignore[attr-defined]

        with suppress(SessionTooLarge):
            serve(server)
        assert body.closed == 1

    @pytest.mark.parametrize("unavailable", [False, True])
    def test_close_is_called_once_for_a_file(self, unavailable: bool) -> None:
        """A file whose response cannot be saved is closed, once, because the server never sees it."""
        body = Body(b"file")

        def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
            get_current_session()["big"] = big(200_000)
            start_response(OK, [TEXT])
            return body

        stores = RecordingStores(FakeClock(), limit=100_000)
        stores.down = {Tier.DURABLE} if unavailable else set()
        with nullcontext() if unavailable else pytest.raises(SessionTooLarge):
            assert serve(wrap(app, stores=stores), extra={"wsgi.file_wrapper": Body}).code == 503
        assert body.closed == 1


class TestUnavailable:
    """What a visitor gets while a session can be neither read nor written."""

    @staticmethod
    def read_in_view(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        number = get_current_session()["n"]
        start_response(OK, [TEXT])
        return [b"%d" % number]

    @staticmethod
    def write_in_commit(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        get_current_session()
        start_response(OK, [TEXT])
        get_current_session()["m"] = 1
        return [b"saved"]

    @staticmethod
    def read_in_first_step(environ: WSGIEnvironment, start_response: StartResponse) -> Iterator[bytes]:
        start_response(OK, [TEXT])
        yield b"%d" % get_current_session()["n"]
        yield b"more"

    @staticmethod
    def read_in_body(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        start_response(OK, [TEXT])
        return (b"%d" % get_current_session()["n"] for _ in range(2))

    @staticmethod
    def write_with_generator(environ: WSGIEnvironment, start_response: StartResponse) -> Iterator[bytes]:
        get_current_session()["n"] = big()
        start_response(OK, [TEXT])
        yield b"saved"
        yield b"more"

    @staticmethod
    def write_with_write(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        get_current_session()["n"] = big()
        start_response(OK, [TEXT])(b"saved")
        return [b"more"]

    @pytest.mark.requirement(30)
    @pytest.mark.parametrize(
        "view",
        [
            "read_in_view",
            "write_in_commit",
            "read_in_first_step",
            "read_in_body",
            "write_with_generator",
            "write_with_write",
        ],
    )
    def test_answers_503_and_keeps_the_cookie(self, view: str) -> None:
        """Wherever the store is missed before the first bytes, the answer is a whole 503, and the cookie stays."""
        middleware, stores, browser = with_big_session(getattr(self, view))
        before = browser.copy()
        stores.down = {Tier.DURABLE} if view == "write_in_commit" else {Tier.CACHE, Tier.DURABLE}
        response = serve(middleware, browser)
        assert response.status == "503 Service Unavailable"
        assert response.all("Retry-After") == ["5"]
        assert response.all("Cache-Control") == ["no-store"]
        assert response.all("Content-Length") == [str(len(response.body))]
        assert b"saved" not in response.body
        assert b"more" not in response.body
        assert response.cookies == []
        assert browser.cookies == before.cookies
        stores.down.clear()
        assert session_of(middleware, browser)["n"] == 1

    @pytest.mark.parametrize(
        "view", ["read_in_view", "write_in_commit", "read_in_first_step", "write_with_generator", "write_with_write"]
    )
    def test_503_conforms(self, view: str, capsys: pytest.CaptureFixture[str]) -> None:
        """The 503 too is what wsgiref's validator asks of an application."""
        middleware, stores, browser = with_big_session(validator(getattr(self, view)))
        stores.down = {Tier.CACHE, Tier.DURABLE}
        assert serve(validator(middleware), browser).code == 503
        assert capsys.readouterr().err == ""

    def test_it_is_logged(self, caplog: pytest.LogCaptureFixture) -> None:
        """The 503 is logged as an error, with where it came from."""
        middleware, stores, browser = with_big_session(self.read_in_view)
        stores.down = {Tier.CACHE, Tier.DURABLE}
        serve(middleware, browser)
        (record,) = [record for record in caplog.records if record.name == "holdall.wsgi"]
        assert record.levelno == logging.ERROR
        assert record.exc_info is not None
        assert record.exc_info[0] is SessionUnavailable

    def test_an_application_may_answer_itself(self) -> None:
        """An application that handles SessionUnavailable gives its own answer."""

        def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
            try:
                get_current_session().get("n")
            except SessionUnavailable:
                start_response(OK, [TEXT])
                return [b"you may be logged in"]
            raise AssertionError

        middleware, stores, browser = with_big_session(app)
        stores.down = {Tier.CACHE, Tier.DURABLE}
        response = serve(middleware, browser)
        assert (response.code, response.body, response.cookies) == (200, b"you may be logged in", [])

    @pytest.mark.parametrize("written", [False, True])
    def test_not_when_the_headers_are_gone(self, written: bool) -> None:
        """After the first bytes there is no other answer: the server gets the exception, and ends the connection."""

        def writing(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
            start_response(OK, [TEXT])(b"x")
            return [b"%d" % get_current_session()["n"]]

        def generating(environ: WSGIEnvironment, start_response: StartResponse) -> Iterator[bytes]:
            start_response(OK, [TEXT])
            yield b"x"
            yield b"%d" % get_current_session()["n"]

        middleware, stores, browser = with_big_session(writing if written else generating)
        stores.down = {Tier.CACHE, Tier.DURABLE}
        response = Response()
        with pytest.raises(SessionUnavailable):
            serve(middleware, browser, response)
        assert (response.code, response.body) == (200, b"x")

    def test_late_change_that_cannot_be_saved(self) -> None:
        """A change while streaming that the store does not take is raised by close(), where the server logs it."""

        def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterator[bytes]:
            start_response(OK, [TEXT])
            yield b"x"
            get_current_session()["n"] = 2
            stores.down = {Tier.DURABLE}

        middleware, stores, browser = with_big_session(app)
        with pytest.raises(SessionUnavailable):
            serve(middleware, browser)
        stores.down.clear()
        assert session_of(middleware, browser)["n"] == 1


class TestRefusals:
    """What cannot be saved leaves the state before intact, and is no secret."""

    @pytest.mark.parametrize("kind", ["list", "generator", "write"])
    @pytest.mark.parametrize("cause", ["too large", "cannot be kept"])
    @pytest.mark.parametrize("stored", [False, True])
    def test_the_server_gets_the_exception(self, kind: str, cause: str, stored: bool) -> None:
        """An application that catches everything cannot hide it, and the session is what it was."""
        error = SessionTooLarge if cause == "too large" else UsageError
        value = big(200_000) if cause == "too large" else object()

        def change(start_response: StartResponse) -> Any:
            session = get_current_session()
            session["n"] = 2
            session["bad"] = value
            return start_response(OK, [TEXT])

        def as_list(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
            with suppress(Exception):
                change(start_response)
            return [b"saved"]

        def as_generator(environ: WSGIEnvironment, start_response: StartResponse) -> Iterator[bytes]:
            with suppress(Exception):
                change(start_response)
            try:
                yield b"saved"
            except Exception:
                yield b"never mind"

        def by_write(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
            with suppress(Exception):
                change(start_response)(b"saved")
            return [b"never mind"]

        site = Site(stores=RecordingStores(FakeClock(), limit=100_000))
        site.request(lambda session: session.update(n=1, big=big() if stored else ""))
        views: dict[str, Any] = {"list": as_list, "generator": as_generator, "write": by_write}
        middleware = wrap(views[kind], stores=site.stores, clock=site.clock)
        before = dict(site.browser.cookies)
        response = Response()
        with pytest.raises(error):
            serve(middleware, site.browser, response)
        assert response.status == ""
        assert site.browser.cookies == before
        assert site.read()["n"] == 1

    def test_a_value_that_cannot_be_kept_is_named(self) -> None:
        """The exception names the key."""
        with pytest.raises(UsageError, match=r"session\['basket'\]"):
            Site().request(lambda session: session.update(basket=object()))

    @pytest.mark.parametrize("stored", [False, True])
    def test_status_500_saves_nothing(self, stored: bool) -> None:
        """A response of status 500 or above saves nothing; one of 499 or below does."""
        site = Site()
        site.request(lambda session: session.update(n=1, big=big() if stored else ""))
        site.request(lambda session: session.update(n=2), status=HTTPStatus.INTERNAL_SERVER_ERROR)
        assert site.response.cookies == []
        assert site.read()["n"] == 1
        site.request(lambda session: session.update(n=3), status=HTTPStatus.IM_A_TEAPOT)
        assert site.read()["n"] == 3

    def test_save_on_error(self) -> None:
        """With save_on_error a response of status 500 saves."""
        site = Site(save_on_error=True)
        site.request(lambda session: session.update(n=1), status=HTTPStatus.INTERNAL_SERVER_ERROR)
        assert site.read() == {"n": 1}

    @pytest.mark.parametrize("where", ["view", "first step", "while streaming"])
    def test_an_application_that_raises_saves_nothing(self, where: str) -> None:
        """What an application changed before it raised is not saved, neither by the commit nor by close()."""

        def view(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
            start_response(OK, [TEXT])
            get_current_session()["n"] = 2
            raise LookupError

        def steps(environ: WSGIEnvironment, start_response: StartResponse) -> Iterator[bytes]:
            start_response(OK, [TEXT])
            if where == "while streaming":
                yield b"x"
            get_current_session()["n"] = 2
            yield get_current_session()["missing"]

        middleware, _, browser = with_big_session(view if where == "view" else steps)
        with pytest.raises(LookupError):
            serve(middleware, browser)
        assert session_of(middleware, browser)["n"] == 1


class TestStreaming:
    """Changes after the headers."""

    @staticmethod
    def streaming(change: Callable[[], object]) -> WSGIApplication:
        def app(environ: WSGIEnvironment, start_response: StartResponse) -> Generator[bytes, None, None]:
            get_current_session()
            start_response(OK, [TEXT])
            yield b"x"
            change()
            yield b"y"

        return app

    def test_stored_session(self) -> None:
        """A change to a stored session while the body is sent is saved when the body is closed."""
        middleware, _, browser = with_big_session(self.streaming(lambda: get_current_session().update(n=2)))
        response = serve(middleware, browser)
        assert response.cookies == []
        assert session_of(middleware, browser)["n"] == 2

    def test_stored_session_changed_by_close(self) -> None:
        """So is a change that is made by the body's own close()."""
        body = Body(b"x", on_close=lambda: get_current_session().update(n=2))

        def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
            start_response(OK, [TEXT])
            return body

        middleware, _, browser = with_big_session(app)
        serve(middleware, browser)
        assert session_of(middleware, browser)["n"] == 2

    def test_stored_session_changed_after_write(self) -> None:
        """So is a change that the view makes after write() has started the response."""

        def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
            start_response(OK, [TEXT])(b"x")
            get_current_session()["n"] = 2
            return [b"y"]

        middleware, _, browser = with_big_session(app)
        assert serve(middleware, browser).body == b"xy"
        assert session_of(middleware, browser)["n"] == 2

    def test_visitor_hangs_up(self) -> None:
        """What was changed before the visitor hung up is saved."""
        middleware, _, browser = with_big_session(self.streaming(lambda: get_current_session().update(n=2)))
        body = iter(middleware(environment(browser), Response().start))
        assert [next(body), next(body)] == [b"x", b"y"]
        body.close()  # type: ignore[attr-defined]
        assert session_of(middleware, browser)["n"] == 2

    @pytest.mark.parametrize("act", [lambda session: session.update(n=2), Session.terminate, Session.start])
    def test_session_in_the_cookie(self, act: Callable[[Session], object]) -> None:
        """A change that would need a cookie raises SessionCommitted where it is made."""
        refused: list[SessionCommitted] = []

        def change() -> None:
            try:
                act(get_current_session())
            except SessionCommitted as error:
                refused.append(error)

        browser = Browser()
        serve(wrap(counting_list), browser)
        middleware = wrap(self.streaming(change))
        assert serve(middleware, browser).body == b"xy"
        assert len(refused) == 1
        assert session_of(middleware, browser) == {"n": 1}


class TestHeaders:
    """What a session adds to the response's headers, and what it leaves alone."""

    @staticmethod
    def site(headers: Headers, act: Callable[[Session], object]) -> SessionMiddleware:
        def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
            act(get_current_session())
            start_response(OK, headers)
            return [b"x"]

        return wrap(app)

    @pytest.mark.parametrize("headers", [[TEXT], [TEXT, ("Vary", "Accept"), ("Set-Cookie", "a=b")]])
    def test_untouched(self, headers: Headers) -> None:
        """A session that was not touched costs nothing: the very list of the application's goes to the server."""
        browser = Browser()
        serve(wrap(counting_list), browser)
        copy = headers.copy()
        assert serve(self.site(headers, lambda session: None), browser).headers is headers
        assert headers == copy

    @pytest.mark.parametrize(
        "act",
        [
            lambda session: "n" in session,
            len,
            list,
            bool,
            lambda session: session.get("n"),
            Session.is_active,
            lambda session: session.sid,
            lambda session: session.pop("missing"),
        ],
    )
    def test_read(self, act: Callable[[Session], object]) -> None:
        """A session that was read in whatever way makes the response vary by cookie, and sets none."""
        browser = Browser()
        serve(wrap(counting_list), browser)
        for visitor in (browser, Browser()):
            assert serve(self.site([TEXT], act), visitor).headers == [TEXT, ("Vary", "Cookie")]

    def test_changed(self) -> None:
        """A session that was changed sets one cookie, hidden from scripts and shared caches."""
        response = serve(self.site([TEXT], count))
        *others, (name, cookie) = response.headers
        assert others == [TEXT, ("Vary", "Cookie"), ("Cache-Control", 'private, no-cache="Set-Cookie"')]
        assert name == "Set-Cookie"
        pair, *attributes = cookie.split("; ")
        assert pair.startswith("__Host-session=")
        assert attributes == ["Max-Age=604800", "Path=/", "Secure", "HttpOnly", "SameSite=Lax"]

    def test_merged_with_the_applications(self) -> None:
        """Vary is added to, a stricter Cache-Control stays, and so do the application's own cookies."""
        own = [TEXT, ("vary", "Accept"), ("Cache-Control", "no-store"), ("Set-Cookie", "a=1"), ("Set-Cookie", "b=2")]
        response = serve(self.site(own, count))
        assert response.all("Vary") == ["Accept, Cookie"]
        assert response.all("Cache-Control") == ["no-store"]
        assert response.cookies[:2] == ["a=1", "b=2"]
        assert len(response.cookies) == 3

    def test_vary_star(self) -> None:
        """`Vary: *` says it already."""
        assert serve(self.site([TEXT, ("Vary", "*")], count)).all("Vary") == ["*"]

    def test_nothing_to_save_sends_nothing(self) -> None:
        """Assigning what is there already sets no cookie."""
        browser = Browser()
        serve(wrap(counting_list), browser)
        assert serve(self.site([TEXT], lambda session: session.update(n=1)), browser).cookies == []

    @pytest.mark.parametrize(
        ("scheme", "host", "warnings"),
        [
            ("http", "example.com", 1),
            ("http", "example.com:8080", 1),
            ("https", "example.com", 0),
            ("http", "localhost", 0),
            ("http", "localhost:8080", 0),
            ("http", "127.0.0.1:8080", 0),
            ("http", "[::1]:8080", 0),
        ],
    )
    def test_plain_http(self, scheme: str, host: str, warnings: int, caplog: pytest.LogCaptureFixture) -> None:
        """A Secure cookie that will not come back is warned of once, with what to do."""
        app = wrap(counting_list)
        for _ in range(3):
            serve(app, extra={"wsgi.url_scheme": scheme, "HTTP_HOST": host})
        said = [record.getMessage() for record in caplog.records if "plain http" in record.getMessage()]
        assert len(said) == warnings
        assert all("CookieOptions(secure=False)" in message for message in said)

    def test_plain_http_without_secure(self, caplog: pytest.LogCaptureFixture) -> None:
        """Who says secure=False is not warned."""
        app = wrap(counting_list, cookie=CookieOptions(secure=False))
        assert serve(app, extra={"HTTP_HOST": "example.com"}).cookies[0].startswith("session=")
        assert caplog.records == []


class TestDefaultStores:
    """What stores=None means."""

    def test_a_file_at_the_first_stored_write(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """./holdall.sqlite3 comes to be when a session is first stored, not before."""
        monkeypatch.delenv("HOLDALL_SQLITE", raising=False)
        monkeypatch.chdir(tmp_path)
        self._grow(tmp_path / "holdall.sqlite3")

    def test_a_file_that_the_environment_names(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """HOLDALL_SQLITE says where instead."""
        monkeypatch.setenv("HOLDALL_SQLITE", str(tmp_path / "elsewhere.db"))
        monkeypatch.chdir(tmp_path)
        self._grow(tmp_path / "elsewhere.db")
        assert not (tmp_path / "holdall.sqlite3").exists()

    @staticmethod
    def _grow(path: Path) -> None:
        site = Site(stores=None, clock=time.time)
        site.request(lambda session: None)
        site.read()
        site.request(lambda session: session.update(n=1))
        assert site.read() == {"n": 1}
        assert list(path.parent.iterdir()) == []
        site.request(lambda session: session.update(big=big()))
        assert path.stat().st_mode & 0o777 == 0o600
        assert site.read()["big"] == big()
        site.app.stores.close()  # type: ignore[attr-defined]


def as_ada(label: str = "a browser", **values: Any) -> Callable[[holdall.Session], None]:
    """Return what a page does that assigns these values, and binds the session."""

    def act(session: holdall.Session) -> None:
        session.update(values)
        session.bind("ada", label)

    return act


@pytest.mark.parametrize("pad", ["", "x" * 20_000], ids=["cookie", "stored"])
def test_bound_sessions(pad: str) -> None:
    """`sessions_of` lists the sessions bound to somebody, and `revoke` ends one, all, or all but the one that asks."""
    site, other, lost = Site(), Browser(), Browser()
    for browser, label in ((site.browser, "a browser"), (other, "a browser"), (lost, "lost")):
        site.request(as_ada(label, pad=pad), browser)
    (one,) = (bound.id for bound in site.app.sessions_of("ada") if bound.label == "lost")
    site.app.revoke("ada", only=one)
    assert site.read(lost) == {}
    assert [bound.label for bound in site.app.sessions_of("ada")] == ["a browser"] * 2
    site.request(lambda session: site.app.revoke("ada", except_sid=session.sid))
    assert site.read() == {"pad": pad}
    assert site.read(other) == {}
    site.app.revoke("ada")
    assert site.app.sessions_of("ada") == []
    assert site.read() == {}
