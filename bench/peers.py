"""The peers: applications of their frameworks, with the framework's own sessions or those of a well-known package.

Each runs in a process of its own, because Django knows one configuration per process; so its package is imported
when it is opened. Where a peer has a documented setting that makes it faster, it has it here.
"""

from collections.abc import Callable
from typing import Any

from bench.contestants import HEADERS, KEY, READS, Action, Make, Places, bare_application, untouched

_WEEK = 604_800


def flask_application(action: Action | None, sessions: Callable[[Any], None]) -> Any:
    """Return a Flask application whose sessions were set up by a function; of None, one without sessions."""
    import flask
    from flask.sessions import SecureCookieSession, SessionInterface

    class NoSessions(SessionInterface):
        """What the same application costs without sessions."""

        def open_session(self, app: Any, request: Any) -> SecureCookieSession:
            return no_session

        def save_session(self, app: Any, session: Any, response: Any) -> None:
            pass

    no_session = SecureCookieSession()
    app = flask.Flask("bench")
    if action is None:
        app.session_interface = NoSessions()
    else:
        app.config["PROPAGATE_EXCEPTIONS"] = True  # what goes wrong is raised to the bench, and not logged
        app.secret_key = KEY
        sessions(app)

    @app.route("/")
    def view() -> str:
        if action is not None:
            action(flask.session)
        return "x"

    return app


def flask(places: Places) -> Make:
    """Flask's own session: signed with itsdangerous."""
    return lambda action: flask_application(action, lambda app: None)


def flask_session(places: Places) -> Make:
    """Flask-Session on memcached, with pylibmc as it prefers it, told not to set a cookie for every request."""
    import pylibmc
    from flask_session.memcached import MemcachedSessionInterface

    client = pylibmc.Client([places.memcached], behaviors={"tcp_nodelay": True})

    def sessions(app: Any) -> None:
        app.session_interface = MemcachedSessionInterface(app, client, permanent=False)

    return lambda action: flask_application(action, sessions)


def django_applications(middleware: str, *, database: dict[str, Any] | None = None, **settings: Any) -> Make:
    """Configure this process's Django, and return what makes applications with this session middleware."""
    import django
    from django.conf import settings as configuration
    from django.core.handlers.wsgi import WSGIHandler
    from django.http import HttpRequest, HttpResponse
    from django.urls import path

    configuration.configure(
        SECRET_KEY=KEY,
        ALLOWED_HOSTS=["*"],
        ROOT_URLCONF=type("urls", (), {"urlpatterns": []}),
        INSTALLED_APPS=["django.contrib.sessions"],
        MIDDLEWARE=[],
        DATABASES={} if database is None else {"default": database},
        **settings,
    )
    django.setup()
    if database is not None:
        from django.core.management import call_command

        call_command("migrate", verbosity=0)

    def make(action: Action | None) -> Any:
        def view(request: HttpRequest) -> HttpResponse:
            if action is not None:
                action(request.session)
            return HttpResponse(b"x", content_type="text/plain")

        urls = type("urls", (), {"urlpatterns": [path("", view)]})
        configuration.MIDDLEWARE = [middleware] if action is not None else []
        handler = WSGIHandler()
        get_response = handler.get_response

        def with_urls(request: Any) -> Any:
            request.urlconf = urls
            return get_response(request)

        handler.get_response = with_urls
        return handler

    return make


_DJANGOS = "django.contrib.sessions.middleware.SessionMiddleware"


def django_signed_cookies(places: Places) -> Make:
    """Django's engine that keeps sessions in signed cookies."""
    return django_applications(_DJANGOS, SESSION_ENGINE="django.contrib.sessions.backends.signed_cookies")


def django_cache(backend: str) -> Callable[[Places], Make]:
    """Django's engine that keeps sessions in its cache: memcached, by the client that `backend` names."""

    def opened(places: Places) -> Make:
        engine = "django.contrib.sessions.backends.cache"
        return django_applications(_DJANGOS, SESSION_ENGINE=engine, CACHES=_caches(places, backend))

    return opened


def django_cached_db(*, tuned: bool) -> Callable[[Places], Make]:
    """Django's engine that writes through memcached to SQLite: as it comes, or set up as its documentation advises."""

    def opened(places: Places) -> Make:
        database: dict[str, Any] = {
            "ENGINE": "django.db.backends.sqlite3",
            "NAME": places.folder / f"django-{'tuned' if tuned else 'default'}.sqlite3",
        }
        if tuned:
            database["CONN_MAX_AGE"] = None
            database["OPTIONS"] = {
                "transaction_mode": "IMMEDIATE",
                "init_command": "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL",
            }
        return django_applications(
            _DJANGOS,
            database=database,
            SESSION_ENGINE="django.contrib.sessions.backends.cached_db",
            CACHES=_caches(places, "PyLibMCCache" if tuned else "PyMemcacheCache"),
        )

    return opened


def _caches(places: Places, backend: str) -> dict[str, Any]:
    options = {"tcp_nodelay": True} if backend == "PyLibMCCache" else {}
    cache = {
        "BACKEND": f"django.core.cache.backends.memcached.{backend}",
        "LOCATION": places.memcached,
        "OPTIONS": {"behaviors": options} if options else {"no_delay": True},
    }
    return {"default": cache}


def asgi_applications(sessions: Callable[[Any], Any], load: Callable[[Any], Any] | None = None) -> Make:
    """Return what makes ASGI applications with the sessions of a middleware; `load` loads one where it is touched."""

    async def bare(scope: Any, receive: Any, send: Any) -> None:
        start = {"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/plain")]}
        await send(start)
        await send({"type": "http.response.body", "body": b"x"})

    def make(action: Action | None) -> Any:
        if action is None:
            return bare

        async def application(scope: Any, receive: Any, send: Any) -> None:
            if load is not None and action is not untouched:
                await load(scope)
            action(scope["session"])
            await bare(scope, receive, send)

        return sessions(application)

    return make


def starlette(places: Places) -> Make:
    """Starlette's SessionMiddleware: signed with itsdangerous."""
    from starlette.middleware.sessions import SessionMiddleware

    return asgi_applications(lambda app: SessionMiddleware(app, KEY, https_only=True))


def starsessions(places: Places) -> Make:
    """The package starsessions, with its store in the cookie: signed with itsdangerous, loaded where it is touched."""
    from starlette.requests import HTTPConnection
    from starsessions import CookieStore, SessionMiddleware, load_session

    async def load(scope: Any) -> None:
        await load_session(HTTPConnection(scope))

    store = CookieStore(KEY)
    return asgi_applications(lambda app: SessionMiddleware(app, store, lifetime=_WEEK), load)


def pyramid(places: Places) -> Make:
    """Pyramid's SignedCookieSessionFactory, told not to set a cookie for reading."""
    from pyramid.config import Configurator
    from pyramid.response import Response
    from pyramid.session import SignedCookieSessionFactory

    factory = SignedCookieSessionFactory(KEY, secure=True, httponly=True, timeout=_WEEK, reissue_time=_WEEK)

    def make(action: Action | None) -> Any:
        def view(request: Any) -> Any:
            if action is not None and action is not untouched:  # which it makes at the first look
                action(request.session)
            return Response(b"x", content_type="text/plain")

        with Configurator() as configurator:
            if action is not None:
                configurator.set_session_factory(factory)
            configurator.add_route("page", "/")
            configurator.add_view(view, route_name="page")
        return configurator.make_wsgi_app()

    return make


def beaker(places: Places) -> Make:
    """Beaker with its sessions in a signed cookie of JSON, told not to set a cookie for reading."""
    from beaker.middleware import SessionMiddleware

    options = {
        "session.type": "cookie",
        "session.validate_key": KEY,
        "session.data_serializer": "json",
        "session.secure": True,
        "session.httponly": True,
        "session.save_accessed_time": False,
    }

    def make(action: Action | None) -> Any:
        if action is None:
            return bare_application
        writes = action not in READS

        def application(environ: Any, start_response: Any) -> list[bytes]:
            session = environ["beaker.session"]
            action(session)
            if writes:
                session.save()
            start_response("200 OK", HEADERS.copy())
            return [b"x"]

        return SessionMiddleware(application, options)

    return make
