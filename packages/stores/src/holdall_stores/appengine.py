"""`AppEngineMemcache`: a cache on the memcache that comes with App Engine, by Google's own client.

That client is spoken to below its `memcache.Client`, which answers an outage as it answers a miss, keeps versions to
itself, and unpickles what it finds. Nothing is retried here and no failure is turned into a miss: what it means for a
session is the core's to say.
"""

import math
import time
from collections.abc import Callable
from concurrent.futures import wait
from typing import Any

from google.appengine.api import memcache, namespace_manager
from holdall import (
    Answer,
    Command,
    Conflict,
    Delete,
    Deleted,
    Expect,
    Found,
    Get,
    Missing,
    Put,
    Stored,
    StoreTooLarge,
    StoreUnavailable,
    UsageError,
)

from holdall_stores.exptime import exptime


class AppEngineMemcache:
    """A cache on the memcache that comes with App Engine, which all versions of an application share.

    It answers within requests to a WSGI application in `google.appengine.api.wrap_wsgi_app`, where app.yaml has
    `app_engine_apis: true`, and is unavailable anywhere else. `namespace` is memcache's, the default one if it is
    empty, and never the one that a request sets by `namespace_manager`. An operation takes at most `timeout` seconds.
    Values over 1,000,000 bytes are refused with `StoreTooLarge` before anything is sent, and `Stores` keeps them in
    parts. `clock` tells the time in seconds UTC since 1970.

    The version of a `Found` is memcache's cas id; `Stored` has none.
    """

    max_value_bytes: int = memcache.MAX_VALUE_SIZE

    def __init__(self, namespace: str = "", *, timeout: float = 0.2, clock: Callable[[], float] = time.time) -> None:
        if not 0 < timeout < math.inf:
            raise UsageError(f"timeout={timeout}: give the seconds that memcache may take, more than 0")
        try:
            namespace_manager.validate_namespace(namespace)
        except namespace_manager.BadValueError as error:
            raise UsageError(f"namespace={namespace!r}: use up to 100 letters, digits, dots, _ and -") from error
        self._namespace = namespace
        self._timeout = timeout
        self._clock = clock

    def execute(self, command: Command, /) -> Answer:
        """Carry out one command."""
        if isinstance(command, Put) and len(command.value) > self.max_value_bytes:
            raise StoreTooLarge(len(command.value), self.max_value_bytes)
        try:
            match command:
                case Get():
                    return self._get(command.key.encode())
                case Put():
                    return self._put(command)
                case Delete():
                    return self._delete(command.key.encode())
        except StoreUnavailable:
            raise
        except Exception as error:
            raise _unavailable(type(error).__name__) from error

    def close(self) -> None:
        """There is nothing to close: connections are Google's client's."""

    def _get(self, key: bytes) -> Found | Missing:
        request = memcache.MemcacheGetRequest(key=[key], for_cas=True)
        response = self._call("Get", request, memcache.MemcacheGetResponse())
        for item in response.item:
            return Found(item.value, item.cas_id)
        for status in response.get_status:  # which the service need not give
            if status != response.MISS:
                raise _unavailable(response.GetStatusCode.Name(status))
        return Missing()

    def _put(self, put: Put) -> Stored | Conflict:
        request = memcache.MemcacheSetRequest()
        item = request.item.add(
            key=put.key.encode(), value=put.value, expiration_time=exptime(put.expires, self._clock())
        )
        if put.expect is Expect.ABSENT:
            item.set_policy = request.ADD
        elif put.expect is not Expect.ANYTHING:
            item.set_policy, item.cas_id, item.for_cas = request.CAS, put.expect, True
        response = self._call("Set", request, memcache.MemcacheSetResponse())
        (status,) = response.set_status
        if status == response.STORED:
            return Stored(None)
        if put.expect is not Expect.ANYTHING and status in (response.NOT_STORED, response.EXISTS):
            return Conflict()
        raise _unavailable(response.SetStatusCode.Name(status))

    def _delete(self, key: bytes) -> Deleted:
        request = memcache.MemcacheDeleteRequest()
        request.item.add(key=key)
        response = self._call("Delete", request, memcache.MemcacheDeleteResponse())
        (status,) = response.delete_status
        if status not in (response.DELETED, response.NOT_FOUND):
            raise _unavailable(response.DeleteStatusCode.Name(status))
        return Deleted()

    def _call(self, method: str, request: Any, response: Any) -> Any:
        """Have the service fill in the response, and return it."""
        if self._namespace:
            request.name_space = self._namespace
        try:
            rpc = memcache.create_rpc(self._timeout)
            rpc.make_call(method, request, response)
        except Exception as error:
            raise _unavailable(
                f"{type(error).__name__}: it can be asked only within a request to an application in "
                "google.appengine.api.wrap_wsgi_app, with app_engine_apis: true in app.yaml"
            ) from error
        # The deadline is the service's; its client would wait for another second, and for a thread that a fork left
        # behind it would wait for ever.
        if rpc.future is not None and wait([rpc.future], self._timeout).not_done:
            rpc.future.cancel()  # if it still waits for a thread
            raise TimeoutError
        rpc.check_success()
        return response


def _unavailable(reason: str) -> StoreUnavailable:
    return StoreUnavailable(f"App Engine's memcache: {reason}")
