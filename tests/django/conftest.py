"""Fixtures of the Django tests: settings of their own for each test, so that the process is as it was afterwards.

Django's settings are one per process. Here they are configured once, and overridden for one test at a time.
"""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import django
import pytest
from django.conf import settings
from holdall import generate_key

if not settings.configured:
    settings.configure(
        SECRET_KEY=generate_key(),
        ALLOWED_HOSTS=["*"],
        ROOT_URLCONF=type("urls", (), {"urlpatterns": []}),
        SESSION_ENGINE="django.contrib.sessions.backends.signed_cookies",
        MIDDLEWARE=[],
        DATABASES={},
    )
    django.setup()

from django.test.utils import (
    override_settings,
    setup_test_environment,
    teardown_test_environment,
)

from tests.django.support import Site, settings_of

MakeSite = Callable[..., Site]


@pytest.fixture
def make_site() -> Iterator[MakeSite]:
    """Make a site with further settings; the last one that was made is the one whose settings hold."""
    with ExitStack() as stack:

        def make(**changes: Any) -> Site:
            site = Site(**changes)
            stack.enter_context(override_settings(**site.settings))
            return site

        yield make


@pytest.fixture
def site(make_site: MakeSite) -> Site:
    """A site with the settings of `support.py`."""
    return make_site()


@pytest.fixture
def test_environment() -> Iterator[None]:
    """Django's test environment, as its test runner sets it up."""
    setup_test_environment()
    try:
        yield
    finally:
        teardown_test_environment()


@pytest.fixture(autouse=True)
def _own_settings() -> Iterator[None]:
    with override_settings(**settings_of()):
        yield
