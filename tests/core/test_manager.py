"""The manager: what it shares between requests, and that threads may share it."""

import threading

import pytest
from holdall import Session, SessionManager

from tests.core.support import KEY, Browser, World


def test_open_does_nothing() -> None:
    """Opening a session reads neither cookie nor clock."""

    def clock() -> float:
        raise AssertionError("the clock was read")

    SessionManager(KEY, clock=clock).open("__Host-session=" + "A" * 400)


def test_own_session_class() -> None:
    """A subclass of Session may be used, with attributes of its own."""

    class MySession(Session):
        """Adds a property."""

        @property
        def user(self) -> str:
            return str(self.get("user", "nobody"))

    def user_of(session: Session) -> str:
        assert isinstance(session, MySession)
        return session.user

    world = World(session_class=MySession)
    assert world.request(user_of) == "nobody"
    world.request(lambda session: session.update(user="ada"))
    assert world.request(user_of) == "ada"


def test_threads_share_a_manager() -> None:
    """Many threads seal and open with one manager, each its own session."""
    world = World()
    failures = []

    def visit(number: int) -> None:
        browser = Browser()
        for visits in range(50):
            exchange = world.manager.open(browser.header)
            if exchange.session.get("n", (number, 0)) != (number, visits):
                failures.append(number)
            exchange.session["n"] = (number, visits + 1)
            flow = exchange.commit(status=200, headers=[])
            browser.receive(world.drive(flow))

    threads = [threading.Thread(target=visit, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures


@pytest.mark.requirement(11)
def test_short_hash_needs_the_key() -> None:
    """What logs say instead of an id is the same for one key, and says nothing to another."""
    sid = bytes(32)
    one, other = SessionManager(KEY), SessionManager("another key, which is long enough 0123456789")
    assert one.short_hash(sid) == SessionManager(KEY).short_hash(sid)
    assert one.short_hash(sid) != other.short_hash(sid)
    assert len(one.short_hash(sid)) == 8
