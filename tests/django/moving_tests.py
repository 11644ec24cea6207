"""Tests for Django's own test runner: logins of every engine of Django's move in. See `test_moving.py`.

The project is that of `served.py`. Before the switch its settings are Django's own, and its sessions real ones.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from time import time
from typing import Any
from unittest.mock import patch

from django.conf import settings
from django.contrib.auth.models import User
from django.contrib.sessions.models import Session
from django.test import AsyncClient, Client, TransactionTestCase, override_settings
from holdall_django import revoke, sessions_of
from holdall_django.conf import backend
from holdall_stores import Memory, Stores

from tests.django.client_tests import PASSWORDS

BACKENDS = "django.contrib.sessions.backends."
ENGINES = [BACKENDS + name for name in ("signed_cookies", "cache", "db", "cached_db")]
DJANGOS = ["django.contrib.sessions.middleware.SessionMiddleware", *settings.MIDDLEWARE[1:]]


class MovingTests(TransactionTestCase):  # type: ignore[misc]
    """What becomes of who was logged in before the switch."""

    def setUp(self) -> None:
        self.user = User.objects.create_user("ada", password="secret", is_staff=True, is_superuser=True)

    @contextmanager
    def before(self, engine: str, *, keep: bool = False, cookie: str = "sessionid") -> Iterator[Client]:
        """Have somebody log in with an engine of Django's, make the switch, and hand out the browser."""
        with self.subTest(engine):
            with override_settings(SESSION_ENGINE=engine, MIDDLEWARE=DJANGOS):
                client = Client()
                assert client.login(username="ada", password="secret")
                assert client.get("/count?size=1000").json()["n"] == 1
            with switched(engine, keep=keep, SESSION_COOKIE_NAME=cookie):
                yield copy_of(client)

    def test_still_logged_in(self) -> None:
        """Who was logged in still is, with all data; the first write moves the session in, bound to its user."""
        for engine in ENGINES:
            with self.before(engine) as client:
                assert client.get("/show").json()["n"] == 1
                assert sessions_of(self.user) == []
                old = client.cookies["sessionid"].value
                shown = client.get("/count").json()
                assert (shown["n"], shown["payload"]) == (2, 1000)
                assert client.cookies["sessionid"].value != old
                assert len(sessions_of(self.user)) == 1
                assert client.get("/admin/").status_code == 200
                assert Session.objects.count() == 0

    def test_logout_stays(self) -> None:
        """A logout holds, before the move and a minute after, though somebody comes with a copy of the old cookie."""
        for moves_first in (False, True):
            for engine in ENGINES:
                with self.before(engine) as client:
                    thief = copy_of(client)
                    if moves_first:
                        client.get("/count")
                    client.logout()
                    assert client.get("/admin/").status_code == 302
                    with patch.object(backend().manager, "clock", lambda: time() + 61):
                        thief.get("/count")
                        assert thief.get("/admin/").status_code == 302

    def test_revoke(self) -> None:
        """revoke() ends logins, be they moved in or not."""
        for moves_first in (False, True):
            for engine in ENGINES:
                with self.before(engine) as client:
                    if moves_first:
                        client.get("/count")
                    revoke(self.user)
                    assert client.get("/admin/").status_code == 302

    def test_login_gives_a_new_id(self) -> None:
        """Who logs in again goes on under a new id, and what was copied before opens nothing."""
        for engine in ENGINES:
            with self.before(engine) as client:
                thief = copy_of(client)
                client.post("/admin/password_change/", PASSWORDS)
                assert client.get("/admin/").status_code == 200
                assert len(sessions_of(self.user)) == 1
                assert thief.get("/admin/").status_code == 302
                client.logout()

    def test_password_change_elsewhere(self) -> None:
        """A password that was changed ends old logins, as Django has it."""
        for engine in ENGINES:
            with self.before(engine) as client:
                self.user.set_password("other")
                self.user.save()
                assert client.get("/admin/").status_code == 302
                self.user.set_password("secret")
                self.user.save()

    def test_keep(self) -> None:
        """With `keep`, Django's own sessions still know the user after the move; a logout ends that too."""
        for engine in ENGINES:
            with self.before(engine, keep=True, cookie="holdall") as client:
                client.get("/count")
                assert {name for name, cookie in client.cookies.items() if cookie.value} == {"sessionid", "holdall"}
                with override_settings(SESSION_ENGINE=engine, MIDDLEWARE=DJANGOS, SESSION_COOKIE_NAME="sessionid"):
                    assert copy_of(client).get("/admin/").status_code == 200
                client.post("/admin/logout/")
                assert not client.cookies["sessionid"].value

    def test_database_down(self) -> None:
        """A database that does not answer is a 503, and no logout."""
        with self.before(BACKENDS + "db") as client, override_settings(MIDDLEWARE=settings.MIDDLEWARE[:1]):
            objects, Session.objects = Session.objects, None
            try:
                assert client.get("/show").status_code == 503
            finally:
                Session.objects = objects
            assert client.get("/show").json()["n"] == 1

    async def test_async(self) -> None:
        """In an asynchronous stack the same holds."""
        for engine in ENGINES:
            with override_settings(SESSION_ENGINE=engine, MIDDLEWARE=DJANGOS):
                client = AsyncClient()
                await client.aforce_login(self.user)
                assert (await client.get("/acount")).json()["n"] == 1
            with switched(engine):
                assert (await client.get("/show")).json()["n"] == 1
                assert (await client.get("/acount")).json()["n"] == 2
                assert (await client.get("/admin/")).status_code == 200


@contextmanager
def switched(engine: str, *, keep: bool = False, **changes: Any) -> Iterator[None]:
    moving_in = {"engine": engine, "until": datetime.now(UTC) + timedelta(days=9), "keep": keep}
    options = {"stores": Stores(durable=Memory()), "moving_in": {**moving_in, "cookie_name": "sessionid"}}
    with override_settings(HOLDALL=options, **changes):
        yield


def copy_of(client: Client) -> Client:
    other = Client()
    other.cookies.load(client.cookies.output(header="", attrs=[], sep=";"))
    return other
