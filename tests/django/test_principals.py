"""Whose sessions there are: logins bind by Django's signal, and a user's sessions are listed and ended.

Whole logins, with users in a database, are in `client_tests.py`.
"""

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest
from django.contrib.auth.signals import user_logged_in
from django.core.exceptions import SynchronousOnlyOperation
from django.http import HttpRequest
from django.test import override_settings
from holdall import UsageError
from holdall_django import arevoke, asessions_of, principal_of, revoke, sessions_of
from holdall_django.engine import SessionStore

from tests.core.support import Browser
from tests.django.conftest import MakeSite
from tests.django.support import SIZES, Site

SIZE = pytest.mark.parametrize("value", SIZES.values(), ids=SIZES)
ADA = SimpleNamespace(pk=7)


def log_in(request: HttpRequest, user: Any = ADA) -> None:
    """Do what Django does at the end of `login()`."""
    user_logged_in.send(sender=type(user), request=request, user=user)


async def alog_in(request: HttpRequest, user: Any = ADA) -> None:
    """Do what Django does at the end of `alogin()`."""
    await user_logged_in.asend(sender=type(user), request=request, user=user)


def test_principals() -> None:
    """A user is called by AUTH_USER_MODEL and the primary key, whatever the object's own class; a str is as it is."""
    assert principal_of(ADA) == "auth.User:7"
    assert principal_of("auth.User:7") == "auth.User:7"
    with override_settings(AUTH_USER_MODEL="staff.Member"):
        assert principal_of(ADA) == "staff.Member:7"


@SIZE
@pytest.mark.parametrize("is_async", [False, True])
def test_login_binds(site: Site, value: str, is_async: bool) -> None:
    """A login binds the session of its request, in both stacks, and outside of requests that of its store."""
    site.put(v=value)
    if is_async:
        site.arequest(alog_in)
    else:
        site.request(log_in)
    assert len(sessions_of(ADA)) == 1
    store = SessionStore()
    store["v"] = value
    log_in(SimpleNamespace(session=store))
    store.save()
    assert len(sessions_of("auth.User:7")) == 2
    revoke(ADA)
    assert site.read() == {}
    assert dict(SessionStore(store.session_key).items()) == {}


@SIZE
def test_bound_to_another_principal(site: Site, value: str) -> None:
    """A session that another application bound in its own way gets a new id, and is the user's."""
    site.put(v=value)
    site.request(lambda request: request.session.bind("7", "elsewhere"))
    before = site.request(lambda request: request.session.sid)
    site.request(log_in)
    assert site.request(lambda request: request.session.sid) != before
    assert (sessions_of("7"), len(sessions_of(ADA))) == ([], 1)
    assert site.read() == {"v": value}


def test_logins_that_are_not_ours(make_site: MakeSite) -> None:
    """A request without a session, or with one of another engine, and settings without binding, bind nothing."""
    site = make_site(HOLDALL={"revocation_check": None})
    site.put(n=1)
    site.request(log_in)
    for request in (SimpleNamespace(), SimpleNamespace(session={})):
        log_in(request)
    assert site.read() == {"n": 1}
    with pytest.raises(UsageError, match="durable tier"):
        sessions_of(ADA)


def test_binding_is_a_change(site: Site) -> None:
    """A session that a view binds is accessed and modified, and has its label."""

    def act(request: HttpRequest) -> tuple[bool, bool]:
        request.session.bind("ada", label="a browser")
        return request.session.accessed, request.session.modified

    assert site.request(act) == (True, True)
    assert [bound.label for bound in sessions_of("ada")] == ["a browser"]


@SIZE
def test_revoke_spares_one(site: Site, value: str) -> None:
    """revoke() in a view spares the session that asked, and ends the others; or it ends the one that is named."""
    other = Browser()
    for browser in (site.browser, other):
        site.put(browser, v=value)
        site.request(log_in, browser)
    site.request(lambda request: revoke(ADA, except_sid=request.session.sid))
    assert site.read() == {"v": value}
    assert site.read(other) == {}
    (one,) = sessions_of(ADA)
    revoke(ADA, only="another")
    assert sessions_of(ADA) == [one]
    revoke(ADA, only=one.id)
    assert site.read() == {}


def test_off_the_event_loop(site: Site) -> None:
    """The asynchronous twins list and end off the event loop, where the others refuse to block it."""
    site.put(n=1)
    site.request(log_in)

    async def act(request: HttpRequest) -> int:
        for blocking in (revoke, sessions_of):
            with pytest.raises(SynchronousOnlyOperation, match=f"a{blocking.__name__}"):
                blocking(ADA)
        (one,) = await asessions_of(ADA)
        await arevoke(ADA, only="another")
        count = len(await asessions_of(ADA))
        await arevoke(ADA, only=one.id)
        assert await asessions_of(ADA) == []
        return count

    assert site.arequest(act) == 1
    assert asyncio.run(asessions_of(ADA)) == []
    assert site.read() == {}
