"""Moving in from gae-sessions whose bigger sessions are in the bundled memcache: with Google's own client and stub."""

import base64
from typing import Any

import pytest
from google.appengine.api import memcache, namespace_manager
from google.appengine.runtime import apiproxy_errors
from holdall import SessionUnavailable
from holdall_stores import AppEngineMemcache

from tests.appengine.bundled import stub
from tests.core.support import World
from tests.stores.original import BY_NAME, a_world, write

SID = BY_NAME["stored"]["sid"]
RECORD = base64.b64decode(BY_NAME["stored"]["stored"])
PATIENT = 20.0  # seconds: a busy machine shall not make a failure


class Called:
    """An object that does something when it is unpickled."""

    said = False

    def __reduce__(self) -> tuple[Any, ...]:
        return setattr, (Called, "said", True)


def moving() -> World:
    """Return a world whose browser has the cookie of a session that is in memcache."""
    return a_world("stored", memcache=AppEngineMemcache(timeout=PATIENT))


def test_moves_in() -> None:
    """A session is read where the original has it, in the default namespace, and deleted there when it has moved."""
    with stub():
        memcache.set(SID, RECORD, namespace="")
        namespace_manager.set_namespace("of-a-request")
        try:
            world = moving()
            assert write(world, act=dict)["user"] == "ada"
            assert memcache.get(SID, namespace="") == RECORD
            write(world)
            assert memcache.get(SID, namespace="") is None
            assert write(world, act=dict)["n"] == 1
        finally:
            namespace_manager.set_namespace("")


@pytest.mark.requirement(39)
def test_no_unpickler() -> None:
    """What memcache has as a pickle, which Google's client would unpickle, is no session, and calls nothing."""
    with stub():
        memcache.set(SID, Called())
        assert write(moving(), act=dict) == {}
        assert not Called.said
        memcache.get(SID)
        assert Called.said, "this pickle does nothing, and shows nothing"


def test_outage() -> None:
    """While memcache does not answer, which Google's client calls a miss, the session is unavailable, and stays."""
    with stub() as bundled:
        memcache.set(SID, RECORD)
        world = moving()
        bundled.SetError(apiproxy_errors.CapabilityDisabledError())
        with pytest.raises(SessionUnavailable):
            write(world, act=dict)
        bundled.SetError(None)
        assert write(world, act=dict)["user"] == "ada"
