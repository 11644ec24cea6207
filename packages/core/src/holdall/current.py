"""The session of the request that is being handled here and now, for code that is handed no request.

One context variable, and nothing else: adapters set it around every piece of application code they run, and reset it
afterwards, so that threads, tasks and interleaved generators each see their own.
"""

from contextvars import ContextVar

from holdall.errors import UsageError
from holdall.session import Session

current_session: ContextVar[Session | None] = ContextVar("holdall.current_session", default=None)
"""For adapters: set it while application code runs. None: no request is being handled here."""


def get_current_session() -> Session:
    """Return the session of the request that is being handled in this context.

    Raises `UsageError` outside a request.
    """
    session = current_session.get()
    if session is None:
        raise UsageError(
            "no session here: get_current_session() works while a request is handled by an application that "
            "is wrapped in Holdall's middleware; elsewhere use SessionManager.open_sid()"
        )
    return session


def set_current_session(session: Session) -> None:
    """Make another session the current one: it is the one that is saved when the response starts."""
    current_session.set(session)
