"""What the Flask tests share: an application whose only view does with its session whatever a test brings along."""

from collections.abc import Callable
from typing import Any

from flask import Flask, Response, session
from flask.testing import FlaskClient
from holdall.testing import FakeClock, RecordingStores
from holdall_flask import FlaskSession, Holdall
from werkzeug.test import TestResponse

from tests.core.support import KEY

__all__ = ["KEY", "Site", "cookies_of", "make_app", "own_session", "value_of"]


def make_app(**config: Any) -> Flask:
    """Return an application without sessions yet, with a key, in testing mode, with this configuration."""
    app = Flask("site")
    app.config.update({"TESTING": True, "SECRET_KEY": KEY, **config})
    return app


def own_session() -> FlaskSession:
    """Return the session that `flask.session` stands for."""
    real = session._get_current_object()  # type: ignore[attr-defined]
    assert isinstance(real, FlaskSession)
    return real


def cookies_of(response: TestResponse) -> list[str]:
    """Return the Set-Cookie headers of a response, in order."""
    return response.headers.getlist("Set-Cookie")


def value_of(client: FlaskClient, name: str) -> str | None:
    """Return the value of a client's cookie, whatever its path."""
    cookie = client.get_cookie(name)
    return None if cookie is None else cookie.value


class Site:
    """An application with Holdall, its stores, its clock, and a client that visits it.

    `config` is in the application's configuration before `Holdall` gets it; `options` are arguments of `Holdall`.
    """

    def __init__(self, config: dict[str, Any] | None = None, *, app: Flask | None = None, **options: Any) -> None:
        self.clock: FakeClock = options.setdefault("clock", FakeClock())
        self.stores: RecordingStores = options.setdefault("stores", RecordingStores(self.clock))
        self.app = make_app() if app is None else app
        self.app.config.update(config or {})
        self.holdall = Holdall(self.app, **options)
        self.app.add_url_rule("/", view_func=self._view)
        self.app.add_url_rule("/page", "page", lambda: self.page())
        self.page: Callable[[], Any] = lambda: "untouched"
        self.client = self.app.test_client()
        self._act: Callable[[FlaskSession], Any] = dict
        self._status = 200
        self._result: Any = None

    def _view(self) -> Response | Any:
        self._result = self._act(own_session())
        if isinstance(self._result, Response):
            return self._result
        return Response("done", status=self._status)

    def request(
        self,
        act: Callable[[FlaskSession], Any],
        client: FlaskClient | None = None,
        *,
        status: int = 200,
        base_url: str = "http://localhost",
    ) -> Any:
        """Handle one request whole, and return what `act` made of the session; `response` then is the response."""
        self._act, self._status, self._result = act, status, None
        del self.stores.commands[:]
        self.response = (client or self.client).get("/", base_url=base_url, buffered=True)
        return self._result

    def read(self, client: FlaskClient | None = None) -> dict[str, Any]:
        """Return what the next request finds in the session."""
        return self.request(dict, client)  # type: ignore[no-any-return]

    def visit(self, page: Callable[[], Any] | None = None, client: FlaskClient | None = None) -> TestResponse:
        """Handle one request with a view of the test's own, by default one that leaves the session alone."""
        self.page = page or (lambda: "untouched")
        del self.stores.commands[:]
        self.response = (client or self.client).get("/page", buffered=True)
        return self.response

    @property
    def did(self) -> list[str]:
        """The commands of the last request, such as "get cache"."""
        return [f"{type(command).__name__.lower()} {command.tier.value}" for command in self.stores.commands]

    @property
    def cookies(self) -> list[str]:
        """The Set-Cookie headers of the last response."""
        return cookies_of(self.response)
