"""Holdall for Flask: `flask.session` holds sessions of all sizes.

    from holdall_flask import Holdall
    Holdall(app)

Re-exports what an application needs. The extension is in `extension`, Flask's session interface in `interface`, the
session in `session`, and which setting becomes which argument in `settings`.
"""

from holdall import CookieOptions as CookieOptions
from holdall import SessionUnavailable as SessionUnavailable
from holdall import generate_key as generate_key
from holdall import get_current_session as get_current_session
from holdall import set_current_session as set_current_session

from holdall_flask.extension import Holdall as Holdall
from holdall_flask.interface import HoldallInterface as HoldallInterface
from holdall_flask.moving import FlaskSessions as FlaskSessions
from holdall_flask.session import FlaskSession as FlaskSession
