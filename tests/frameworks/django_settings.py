"""The settings under which Django's own tests run with Holdall's sessions: two databases, and our two lines.

`runtests.py` sets MIDDLEWARE itself, to a list that has Django's session middleware by its name, and the tests import
it by that name as well. So the class is put there under Django's own name: what runs is ours wherever Django's is
meant.
"""

import django.contrib.sessions.middleware
from holdall_django.middleware import SessionMiddleware

django.contrib.sessions.middleware.SessionMiddleware = SessionMiddleware

DATABASES = {
    "default": {"ENGINE": "django.db.backends.sqlite3"},
    "other": {"ENGINE": "django.db.backends.sqlite3"},
}
SECRET_KEY = "django_tests_secret_key"
SESSION_ENGINE = "holdall_django.engine"
TEST_RUNNER = "tests.frameworks.django_runner.Runner"
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
DEFAULT_AUTO_FIELD = "django.db.models.AutoField"
USE_TZ = False
