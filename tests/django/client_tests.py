"""Tests for Django's own test runner, with its test client, in the project of `served.py`; see `test_client.py`."""

from typing import Any

from django.contrib.auth.models import User
from django.test import AsyncClient, Client, TestCase
from holdall import UsageError
from holdall_django import arevoke, asessions_of, revoke, sessions_of
from holdall_django.engine import SessionStore
from holdall_stores import Memory, Stores

SIZES = (10, 20_000)
PASSWORDS = {"old_password": "secret", "new_password1": "secret", "new_password2": "secret"}


def copy_of(client: Client) -> Client:
    """Return another client with a copy of the cookies."""
    thief = Client()
    thief.cookies.load(client.cookies.output(header="", attrs=[], sep=";"))
    return thief


class ClientTests(TestCase):  # type: ignore[misc]
    """What Django's documentation promises of `client.session` and logins, with sessions of any size."""

    @classmethod
    def setUpTestData(cls) -> None:
        cls.user = User.objects.create_user("ada", password="secret", is_staff=True, is_superuser=True)

    def setUp(self) -> None:
        self.each = [(size, Client(), AsyncClient()) for size in SIZES]

    def test_session_shows_what_views_stored(self) -> None:
        """client.session shows what a view has put there."""
        for size, client, _ in self.each:
            client.get(f"/count?size={size}")
            client.get("/count")
            assert client.session["n"] == 2
            assert len(client.session["payload"]) == size

    def test_views_see_what_tests_stored(self) -> None:
        """What a test saves in client.session is what the next view sees, before its first request and after."""
        for size, client, _ in self.each:
            session = client.session
            session["n"] = 5
            session.save()
            assert client.get(f"/count?size={size}").json()["n"] == 6
            session = client.session
            session["n"] = 10
            session.save()
            assert client.get("/count").json() == client.get("/show").json()
            assert client.session["n"] == 11
            assert len(client.session["payload"]) == size

    def test_login(self) -> None:
        """client.login() and force_login() log in, the session lives on with another key, and logout() ends it."""
        for size, client, _ in self.each:
            for is_forced in (False, True):
                client.get(f"/count?size={size}")
                before = client.session.session_key
                if is_forced:
                    client.force_login(self.user)
                else:
                    client.login(username="ada", password="secret")
                assert client.session.session_key != before
                assert not SessionStore().exists(before)
                assert client.get("/admin/").status_code == 200
                assert client.get("/show").json()["payload"] == size
                key = client.session.session_key
                client.logout()
                assert client.get("/admin/").status_code == 302
                assert not SessionStore().exists(key)

    def test_login_binds(self) -> None:
        """A login binds the session to its user; a copied cookie opens nothing after the logout, or a new id."""
        for size, client, _ in self.each:
            for is_form in (False, True):
                client.get(f"/count?size={size}")
                self.log_in(client, is_form=is_form)
                assert len(sessions_of(self.user)) == 1
                thief = copy_of(client)
                assert thief.get("/admin/").status_code == 200
                client.post("/admin/password_change/", PASSWORDS)  # which gives the session a new id
                self.user.refresh_from_db()
                assert len(sessions_of(self.user)) == 1
                assert client.get("/admin/").status_code == 200
                assert thief.get("/admin/").status_code == 302
                thief = copy_of(client)
                assert thief.get("/admin/").status_code == 200
                if is_form:
                    client.post("/admin/logout/")
                else:
                    client.logout()
                assert sessions_of(self.user) == []
                assert thief.get("/admin/").status_code == 302

    def test_revoke(self) -> None:
        """revoke() ends all sessions of a user but the one that is spared, and the user can log in again."""
        (size, one, _), (_, other, _) = self.each
        for client in (one, other):
            client.get(f"/count?size={size}")
            self.log_in(client, is_form=True)
        revoke(self.user, except_sid=one.session.sid)
        assert [client.get("/admin/").status_code for client in (one, other)] == [200, 302]
        assert len(sessions_of(self.user)) == 1
        revoke(self.user)
        assert [client.get("/admin/").status_code for client in (one, other)] == [302, 302]
        self.log_in(other, is_form=False)
        assert other.get("/admin/").status_code == 200

    def test_another_user_over_the_first(self) -> None:
        """Another user's login over the first's ends the session of the first, whoever has its cookie."""
        bob = User.objects.create_user("bob", is_staff=True)
        for size, client, _ in self.each:
            client.get(f"/count?size={size}")
            self.log_in(client, is_form=True)
            thief = copy_of(client)
            client.force_login(bob)
            assert sessions_of(self.user) == []
            assert thief.get("/admin/").status_code == 302
            assert client.get("/admin/").status_code == 200
            client.logout()

    def test_where_nothing_is_bound(self) -> None:
        """With revocation_check None, or without a durable store, users log in and out, and nothing is bound."""
        for options in ({"revocation_check": None}, {"no_datastore": True, "stores": Stores(cache=Memory())}):
            with self.settings(HOLDALL=options):
                for _, client, _ in self.each:
                    self.log_in(client, is_form=True)
                    assert client.get("/admin/").status_code == 200
                    client.post("/admin/logout/")
                    assert client.get("/admin/").status_code == 302
                with self.assertRaisesMessage(UsageError, "durable tier"):
                    sessions_of(self.user)

    def log_in(self, client: Client, *, is_form: bool) -> None:
        if is_form:
            assert client.post("/admin/login/", {"username": "ada", "password": "secret"}).status_code == 302
        else:
            client.force_login(self.user)

    def test_wrong_password(self) -> None:
        """client.login() with a wrong password is False."""
        assert not self.client.login(username="ada", password="wrong")

    def test_login_view(self) -> None:
        """A login through a form and a logout through a form work like client.login()."""
        for size, client, _ in self.each:
            client.get(f"/count?size={size}")
            form = {"username": "ada", "password": "secret"}
            assert client.post("/admin/login/", form).status_code == 302
            assert int(client.session["_auth_user_id"]) == self.user.pk
            assert client.get("/show").json()["payload"] == size
            assert client.post("/admin/logout/").status_code == 200
            assert "_auth_user_id" not in client.session
            assert client.get("/show").json()["payload"] == 0

    def test_two_clients(self) -> None:
        """Clients have sessions of their own."""
        (_, one, _), (_, other, _) = self.each
        one.get("/count")
        assert other.get("/show").json()["n"] is None

    def test_messages(self) -> None:
        """Messages that are kept in the session are shown once."""
        for size, client, _ in self.each:
            client.get(f"/count?size={size}")
            client.get("/say")
            assert client.get("/hear").content == b"hello"
            assert client.get("/hear").content == b""

    def test_csrf_in_sessions(self) -> None:
        """With CSRF_USE_SESSIONS the token of a form is in the session, and must come with what is posted."""
        for size in SIZES:
            client = Client(enforce_csrf_checks=True)
            client.get(f"/count?size={size}")
            token = client.get("/admin/login/").context["csrf_token"]
            assert client.post("/post").status_code == 403
            assert client.post("/post", {"csrfmiddlewaretoken": str(token)}).content == b"POST"

    def test_late_save(self) -> None:
        """A session object that a test saves after another request is seen all the same."""
        for size, client, _ in self.each:
            client.get(f"/count?size={size}")
            session = client.session
            client.get("/count")
            session["more"] = 1
            session.save()
            assert client.session["more"] == 1

    async def test_async_client(self) -> None:
        """The same holds for the asynchronous client and its logins."""
        for size, _, client in self.each:
            await client.get(f"/acount?size={size}")
            session: Any = await client.asession()
            assert await session.aget("n") == 1
            await session.aset("n", 5)
            await session.asave()
            assert (await client.get("/acount")).json()["n"] == 6
            await client.aforce_login(self.user)
            assert len(await asessions_of(self.user)) == 1
            assert (await client.get("/admin/")).status_code == 200
            assert (await client.get("/acount")).json()["payload"] == size
            await client.alogout()
            assert (await client.get("/admin/")).status_code == 302
            assert await asessions_of(self.user) == []
            assert await client.alogin(username="ada", password="secret")
            assert (await client.get("/admin/")).status_code == 200
            await arevoke(self.user)
            assert (await client.get("/admin/")).status_code == 302
