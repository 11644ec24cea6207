"""Holdall for any WSGI application: wrap it, and `get_current_session()` is there.

    from holdall_wsgi import SessionMiddleware
    application = SessionMiddleware(application, cookie_key=KEY)

Re-exports what an application needs; the adapter itself is in `middleware`.
"""

from holdall import CookieOptions as CookieOptions
from holdall import Session as Session
from holdall import generate_key as generate_key
from holdall import get_current_session as get_current_session
from holdall import set_current_session as set_current_session

from holdall_wsgi.middleware import SessionMiddleware as SessionMiddleware
