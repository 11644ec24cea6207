"""The manager: what it shares between requests, and that threads may share it."""

import threading

import pytest
from holdall import Session, SessionManager, unpack_map

from tests.core.support import KEY, OTHER_KEY, Browser, World, big


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


def test_inspect() -> None:
    """Of every value under our names it is told what it says, or that it does not open, and which key it names."""
    world = World()
    world.request(lambda session: session.update(n=1))
    inline = world.browser.header
    world.request(lambda session: session.update(big=big()))
    reference_header = f"__Host-session-ref={world.browser.cookies['__Host-session-ref']}".encode()
    manager = SessionManager([OTHER_KEY, KEY])
    first, junk, reference = manager.inspect([f"theme=dark; {inline}; __Host-session=AAAA", reference_header])
    assert (first.name, first.pieces, first.key) == ("__Host-session", 1, 2)
    assert first.token is not None
    assert first.token.payload is not None
    assert unpack_map(first.token.payload) == {"n": 1}
    assert (junk.key, junk.token, junk.text) == (None, None, "AAAA")
    assert reference.name == "__Host-session-ref"
    assert reference.token is not None
    assert (reference.token.payload, reference.token.epoch) == (None, 1)
    assert SessionManager(KEY, audience="other").inspect(inline)[0][3:] == (1, None)
    assert SessionManager(OTHER_KEY).inspect(inline)[0][3:] == (None, None)
