"""The current session: of this context, and of no other."""

import threading
from contextvars import copy_context

import pytest
from holdall import UsageError, get_current_session, set_current_session

from tests.core.support import World


def test_outside_a_request_the_error_says_what_to_do() -> None:
    """Without a request there is no session, and the error names the remedy."""
    with pytest.raises(UsageError, match="open_sid"):
        copy_context().run(get_current_session)


@pytest.mark.requirement(27)
def test_each_context_has_its_own() -> None:
    """What is set in one context or thread is seen in no other."""
    session = World().open().session

    def set_it() -> None:
        set_current_session(session)
        assert get_current_session() is session

    copy_context().run(set_it)
    thread = threading.Thread(target=set_it)
    thread.start()
    thread.join()
    with pytest.raises(UsageError):
        copy_context().run(get_current_session)
