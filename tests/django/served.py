"""A Django project for processes of its own: its settings. The environment says where it is and where sessions go.

HOLDALL_TEST_FOLDER is its BASE_DIR, with the database; HOLDALL_TEST_CACHE and HOLDALL_TEST_DURABLE are URLs; neither
means the default. The pages are in `served_urls.py`, how it is served in `serving.py`.
"""

import os
from pathlib import Path

BASE_DIR = Path(os.environ["HOLDALL_TEST_FOLDER"])
SECRET_KEY = os.environ.get("HOLDALL_TEST_KEY", "0123456789abcdef-for-tests-only-0123456789abcdef")
DEBUG = False
ALLOWED_HOSTS = ["127.0.0.1"]
USE_TZ = True
ROOT_URLCONF = "tests.django.served_urls"
INSTALLED_APPS = [
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "holdall_django",
]
MIDDLEWARE = [
    "holdall_django.middleware.SessionMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
]
SESSION_ENGINE = "holdall_django.engine"
HOLDALL = {
    name: url for name in ("cache", "durable") if (url := os.environ.get(f"HOLDALL_TEST_{name.upper()}")) is not None
}
MESSAGE_STORAGE = "django.contrib.messages.storage.session.SessionStorage"
CSRF_USE_SESSIONS = True
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
DATABASES = {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": BASE_DIR / "db.sqlite3"}}
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ]
        },
    }
]
STATIC_URL = "static/"
