"""Django's tests of a session backend, for Holdall's. Copied beside Django's sessions_tests when they are run."""

from django.test import SimpleTestCase
from holdall_django.engine import SessionStore
from sessions_tests.tests import SessionTestsMixin  # type: ignore[import-not-found]


class HoldallSessionTests(SessionTestsMixin, SimpleTestCase):  # type: ignore[misc]
    """What Django asks of every backend."""

    backend = SessionStore
