"""Holdall for Django: one line in MIDDLEWARE, one for SESSION_ENGINE, and `request.session` is of any size.

    MIDDLEWARE = [..., "holdall_django.middleware.SessionMiddleware", ...]  # in the place of Django's own
    SESSION_ENGINE = "holdall_django.engine"

Re-exports what an application needs. `engine` has the `SessionStore` that is `request.session`, `middleware` plugs it
into requests and responses, `principals` ends or lists a user's sessions, `conf` reads the settings, `checks` explains
them; nothing here needs settings yet.
"""

from holdall import get_current_session as get_current_session
from holdall import set_current_session as set_current_session

from holdall_django.principals import arevoke as arevoke
from holdall_django.principals import asessions_of as asessions_of
from holdall_django.principals import principal_of as principal_of
from holdall_django.principals import revoke as revoke
from holdall_django.principals import sessions_of as sessions_of
