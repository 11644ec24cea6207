"""The test runner that `run_django.py` has Django use: knows which tests do not apply to Holdall, and why.

A test that does not apply must fail; if it passes, or is not there, the run fails.
"""

from typing import Any
from unittest import TestSuite

import django
from django.test.runner import DiscoverRunner, iter_test_cases

_SAYS = "docs/topics/http/sessions.txt: "
_MIDDLEWARE_TESTS = "sessions_tests.tests.SessionMiddlewareTests."

NOT_APPLICABLE = {
    # The cookie is "abc", which no session ever was. What does not open is left alone until the next write, since it
    # may be a session sealed with a key that this process does not know yet. A session's own cookie is deleted.
    _MIDDLEWARE_TESTS + "test_session_delete_on_end": _SAYS
    + "flush(): Deletes the current session data from the session and deletes the session cookie.",
    _MIDDLEWARE_TESTS + "test_session_delete_on_end_with_custom_domain_and_path": _SAYS
    + "flush(): Deletes the current session data from the session and deletes the session cookie.",
    # It changes the session after its response was made, makes a second response for the same request, and looks for
    # the session in the database.
    _MIDDLEWARE_TESTS + "test_empty_session_saved": _SAYS
    + "By default, Django stores sessions in your database (using the model django.contrib.sessions.models.Session).",
}
if django.VERSION >= (6,):
    # It counts a query for the session beside one for the user.
    NOT_APPLICABLE[
        "auth_tests.test_middleware.TestLoginRequiredMiddleware.test_protected_view_logged_in_performance"
    ] = (
        _SAYS + "By default, Django stores sessions in your database (using the model "
        "django.contrib.sessions.models.Session)."
    )
"""Of each test that does not apply: the sentence of Django's documentation that it contradicts."""


class Runner(DiscoverRunner):  # type: ignore[misc]
    """Runs what applies, and expects what does not to fail."""

    def build_suite(self, *args: Any, **kwargs: Any) -> TestSuite:
        """Return Django's suite, with the tests that do not apply marked."""
        suite: TestSuite = super().build_suite(*args, **kwargs)
        there = {test.id(): test for test in iter_test_cases(suite)}
        for name in NOT_APPLICABLE:
            if name in there or not self.test_name_patterns:
                there[name].__unittest_expecting_failure__ = True
        return suite
