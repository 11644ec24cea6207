"""The system checks: each misconfiguration has its message, and what is well says nothing."""

from typing import Any

import pytest
from django.test import override_settings
from holdall_django.checks import check_settings

from tests.django.support import ENGINE, MIDDLEWARE

DJANGOS = "django.contrib.sessions.middleware.SessionMiddleware"


def check(**settings: Any) -> list[tuple[str, str, str]]:
    """Return id, message and hint of what the checks say."""
    with override_settings(**settings):
        return [(each.id, each.msg, each.hint) for each in check_settings(None)]


def test_all_is_well() -> None:
    """Settings that work are passed over in silence, with and without Holdall."""
    assert check() == []
    assert check(MIDDLEWARE=[DJANGOS], SESSION_ENGINE="django.contrib.sessions.backends.db", SECRET_KEY="short") == []


def test_engine_is_missing() -> None:
    """A SESSION_ENGINE that cannot be imported is named."""
    ((name, message, hint),) = check(SESSION_ENGINE="holdall_django.motor")
    assert name == "holdall.E001"
    assert "holdall_django.motor" in message
    assert ENGINE in hint


def test_middleware_without_engine() -> None:
    """Our middleware with another engine is an error that names the setting."""
    ((name, message, hint),) = check(SESSION_ENGINE="django.contrib.sessions.backends.db")
    assert name == "holdall.E002"
    assert "django.contrib.sessions.backends.db" in message
    assert hint == f"Set SESSION_ENGINE = {ENGINE!r}."


@pytest.mark.parametrize("middleware", [[], [DJANGOS], ["missing.Middleware"]])
def test_engine_without_middleware(middleware: list[str]) -> None:
    """Our engine without our middleware is an error that says where to put it."""
    ((name, _, hint),) = check(MIDDLEWARE=middleware)
    assert name == "holdall.E003"
    assert MIDDLEWARE in hint
    assert (DJANGOS in hint) == (middleware == [DJANGOS])


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"SECRET_KEY": "short"}, "SECRET_KEY cannot seal sessions"),
        ({"SECRET_KEY": ""}, "SECRET_KEY"),
        ({"HOLDALL": {"durable": "http://127.0.0.1"}}, "durable: use a URL"),
        ({"HOLDALL": {"no_datastore": True}}, "there is no cache"),
        ({"HOLDALL": {"chache": ""}}, "HOLDALL['chache'] is no option"),
        ({"SESSION_COOKIE_SAMESITE": "None"}, "needs secure=True"),
    ],
)
def test_values_that_cannot_work(settings: dict[str, Any], expected: str) -> None:
    """What a manager refuses is an error with its message."""
    ((name, message, _),) = check(**settings)
    assert name == "holdall.E004"
    assert expected in message


def test_weak_key_in_debug() -> None:
    """A key that will be refused outside of DEBUG is a warning inside."""
    ((name, message, _),) = check(SECRET_KEY="short", DEBUG=True)
    assert name == "holdall.W001"
    assert message.startswith("SECRET_KEY is too weak for sessions")
