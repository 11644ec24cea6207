"""Moving in from gae-sessions: its signed cookies, and its records in memcache and Datastore.

All that Holdall knows of the format of gae-sessions is here; its pickles are read by `plain_pickle`. It is with the
stores because every adapter has those, and gae-sessions was at home in any framework.
"""

import logging
import re
from base64 import b64decode, b64encode
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from hashlib import sha256
from hmac import compare_digest, digest
from itertools import takewhile
from typing import TYPE_CHECKING, Any

from holdall import CookieOptions, Delete, Found, Get, MovingIn, OldSession, Tier, UsageError, find_values, pack_values

from holdall_stores.plain_pickle import NotPlainError, loads
from holdall_stores.stores import Store

if TYPE_CHECKING:
    from google.cloud import ndb

log = logging.getLogger("holdall.stores")

_SIGNATURE = 44  # characters: HMAC-SHA256 in base64
_SID = re.compile(r"([0-9]{10})([_S])[0-9a-f]{32}")  # when it ends, whether it is ssl_only, and what is random
_SID_LENGTH = 43
_NUMBERS = range(100)  # it names its cookies with two digits


class GaeSessions(MovingIn):
    """Accepts the sessions of gae-sessions, as `moving_in=` of any adapter.

    `cookie_key`: the one that its middleware had, as bytes or ASCII. `until`, `keep`: see `holdall.MovingIn`. Where
    sessions too big for its cookies are: `datastore`, an `ndb.Client`, which needs the extra holdall-stores[datastore],
    and `memcache`, a store such as `AppEngineMemcache()`; without either they are not read.
    `principal_of`: given the values, returns whose login they are, so that it is bound when it moves in; see
    `holdall.Session.bind`. `prefix`, `path`: what its COOKIE_NAME_PREFIX and COOKIE_PATH were.

    A session that holds more than plain values is not read, and logged: dates, sets, objects and models are not plain.
    """

    def __init__(
        self,
        cookie_key: bytes | str,
        *,
        until: datetime,
        keep: bool = False,
        datastore: "ndb.Client | None" = None,
        memcache: Store | None = None,
        principal_of: Callable[[Mapping[str, Any]], str | None] = lambda values: None,  # noqa: ARG005 (its meaning)
        prefix: str = "DgU",
        path: str = "/",
    ) -> None:
        super().__init__(until=until, keep=keep)
        key = cookie_key.encode() if isinstance(cookie_key, str) and cookie_key.isascii() else cookie_key
        if not isinstance(key, bytes) or len(key) < 32:
            raise UsageError("moving_in: cookie_key must be that of gae-sessions: bytes or ASCII, of 32 or more")
        if not hasattr(memcache, "execute") and memcache is not None:
            raise UsageError("moving_in: memcache must be a store, such as AppEngineMemcache() or Memcached(servers)")
        self._key = key
        self._names = [f"{prefix}{number:02}" for number in _NUMBERS]
        self._cookie = CookieOptions(self._names[0], secure=False, path=path)
        self._principal_of = principal_of
        if datastore is not None or memcache is not None:
            self.records = _Records(datastore, memcache)

    @property
    def cookie(self) -> CookieOptions:
        """The first cookie's name, and the path of all of them."""
        return self._cookie

    def names(self, header: str) -> Sequence[str]:
        """Return the names of the cookies that are there, from the first until one is missing."""
        return [*takewhile(lambda name: find_values(header, name), self._names)]

    def find(self, header: str, now: float) -> Iterable[OldSession]:
        """Return what the cookies say, if their signature is good: data, or where it is."""
        pieces = []
        for name in self._names:
            values = set(find_values(header, name))
            if len(values) != 1:
                break
            pieces.append(values.pop().removeprefix('"').removesuffix('"'))
        text = "".join(pieces)
        signature, sid = text[:_SIGNATURE], text[_SIGNATURE : _SIGNATURE + _SID_LENGTH]
        try:
            pickled = b64decode(text[_SIGNATURE + _SID_LENGTH :].encode(), validate=True)
        except ValueError:
            return
        parts = _SID.fullmatch(sid)
        good = b64encode(digest(self._key + sid.encode("utf-8", "replace"), pickled, sha256))
        if parts is None or not compare_digest(signature.encode("utf-8", "replace"), good):
            return
        ends = int(parts[1])
        old = OldSession(b"gae-sessions/" + sid.encode(), expires=ends, browser=not ends, ssl_only=parts[2] == "S")
        if not pickled:
            if self.records is not None:
                yield old._replace(record=sid)
        elif (read := self.read(old, pickled, now)) is not None:
            yield read

    def read(self, old: OldSession, value: bytes, now: float) -> OldSession | None:  # noqa: ARG002
        """Return the session with the values of its pickle; None for one that holds more than plain values."""
        try:
            models, values = loads(value, self.most_bytes)
            if models or type(values) is not dict:
                raise NotPlainError("it holds models")
        except (NotPlainError, TypeError, ValueError) as error:
            log.warning("a session of gae-sessions is not read: %s", error)
            return None
        return old._replace(payload=pack_values(values))

    def principal_of(self, values: Mapping[str, Any]) -> str | None:
        """Return whose login these values are, as the application says."""
        return self._principal_of(values)


class _Records:
    """memcache, which may have newer quick writes, then Datastore, as gae-sessions asks them."""

    def __init__(self, datastore: "ndb.Client | None", memcache: Store | None) -> None:
        self._memcache = memcache
        self._datastore = None
        if datastore is not None:
            from holdall_stores import Datastore

            self._datastore = Datastore(datastore, kind="SessionModel")

    def get(self, sid: str) -> bytes | None:
        found = None if self._memcache is None else self._memcache.execute(Get(Tier.OLD, sid))
        if isinstance(found, Found):
            return found.value
        return None if self._datastore is None else self._datastore.get_blob(sid, "pdump")

    def delete(self, sid: str) -> None:
        for store in (self._memcache, self._datastore):
            if store is not None:
                store.execute(Delete(Tier.OLD, sid))
