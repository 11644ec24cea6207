"""Whose sessions there are: how a user of Django's is called, and ending or listing all of one's sessions.

Runs the core's flows over the stores of the settings, and nothing else. That `login()` binds is in `engine`.
"""

from typing import Any

from asgiref.sync import sync_to_async
from django.conf import settings
from django.utils.asyncio import async_unsafe
from holdall import BoundSession, run

from holdall_django.conf import backend


def principal_of(user: Any) -> str:
    """Return what the sessions of a user are bound to, such as "auth.User:7": AUTH_USER_MODEL and the primary key.

    So a proxy of the user model, or a child of it, is the same somebody. A str is returned as it is.
    """
    return user if isinstance(user, str) else f"{settings.AUTH_USER_MODEL}:{user.pk}"


@async_unsafe("this asks a store: use arevoke()")  # type: ignore[untyped-decorator]
def revoke(user: Any, *, except_sid: str | None = None, only: str | None = None) -> None:
    """End sessions bound to a user or principal: all, all but one, or one; see `holdall.SessionManager.revoke`."""
    made = backend()
    run(made.manager.revoke(principal_of(user), except_sid=except_sid, only=only), made.stores)


@async_unsafe("this asks a store: use asessions_of()")  # type: ignore[untyped-decorator]
def sessions_of(user: Any) -> list[BoundSession]:
    """Return the sessions bound to a user, or to a principal; see `holdall.SessionManager.sessions_of`."""
    made = backend()
    return run(made.manager.sessions_of(principal_of(user)), made.stores)


async def arevoke(user: Any, *, except_sid: str | None = None, only: str | None = None) -> None:
    """`revoke` off the event loop."""
    await sync_to_async(revoke)(user, except_sid=except_sid, only=only)


async def asessions_of(user: Any) -> list[BoundSession]:
    """`sessions_of` off the event loop."""
    sessions: list[BoundSession] = await sync_to_async(sessions_of)(user)
    return sessions
