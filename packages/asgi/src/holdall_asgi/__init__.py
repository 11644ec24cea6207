"""Holdall for any ASGI application: wrap it, and `request.session` is there.

    from holdall_asgi import SessionMiddleware
    app = SessionMiddleware(app, cookie_key=KEY)

Re-exports what an application needs; the adapter itself is in `middleware`, the session's dict habits in `session`.
`fastapi` has a typed dependency and `quart` Quart's session interface; each is imported only by those who use it.
"""

from holdall import CookieOptions as CookieOptions
from holdall import SessionUnavailable as SessionUnavailable
from holdall import generate_key as generate_key
from holdall import get_current_session as get_current_session
from holdall import set_current_session as set_current_session

from holdall_asgi.middleware import SessionMiddleware as SessionMiddleware
from holdall_asgi.middleware import load_session as load_session
from holdall_asgi.middleware import revoke as revoke
from holdall_asgi.middleware import sessions_of as sessions_of
from holdall_asgi.session import Session as Session
