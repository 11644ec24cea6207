"""The durable tier in Google Cloud Datastore: one entity per key, one RPC per command or for several.

All that Holdall knows about Datastore is here: requests, error codes, limits, the index for sweeping. The raw
stub of an `ndb.Client` carries the calls, because a call through ndb costs a multiple and its retries have no
deadline. Nothing here knows what a session is; ndb.Model values are in `models.py`.

An entity has its key's name from the command and four properties, none of them indexed but `sweep`: `value`,
a blob; `expires`, a Timestamp to which a TTL policy may be attached; `write`, a random number of the write
that made it, with a checksum of the rest; and `sweep`, a string of a shard and the UTC hour of expiry, by which
`delete_expired` finds it.
The shards keep entities that are written at the same time apart, so that the index has no hot spot.
"""

import math
import os
import random
import secrets
import time
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlencode

import google.auth
import google.auth.credentials
import google.auth.exceptions
import grpc
from google.cloud import ndb
from google.cloud.datastore_v1 import types
from google.cloud.datastore_v1.services.datastore.transports import DatastoreGrpcTransport
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
    StoreError,
    StoreTooLarge,
    StoreUnavailable,
    UsageError,
)

from holdall_stores.models import register_models

MAX_VALUE = 1_048_576 - 4_096
"""Bytes. An entity may take 1,048,576 in all; the rest is for a key of 1,500, kind, namespace and properties.

https://cloud.google.com/datastore/docs/concepts/limits
"""

BATCH_BYTES = 4 * 2**20
"""Bytes of values in one RPC: four of the largest. A commit may have 10 MiB, and all of them have one deadline.

https://cloud.google.com/datastore/docs/concepts/limits
"""

# The messages themselves; the proto-plus wrappers around them would cost several times as much.
_Key: Any = types.Key.pb()
_Entity: Any = types.Entity.pb()
_Mutation: Any = types.Mutation.pb()
_LookupRequest: Any = types.LookupRequest.pb()
_CommitRequest: Any = types.CommitRequest.pb()
_RunQueryRequest: Any = types.RunQueryRequest.pb()
_FAIL = types.Mutation.ConflictResolutionStrategy.FAIL
_NOT_FINISHED = types.QueryResultBatch.MoreResultsType.NOT_FINISHED

_auth: Any = google.auth  # claims to be typed, but is not
_Code = grpc.StatusCode
_REFUSED = frozenset({_Code.FAILED_PRECONDITION, _Code.NOT_FOUND, _Code.ALREADY_EXISTS})
"""A conditional commit did not find what it expected, and was not applied."""
_PASSING = frozenset({_Code.ABORTED, _Code.UNAVAILABLE, _Code.INTERNAL, _Code.UNKNOWN, _Code.DEADLINE_EXCEEDED})
"""Worth another attempt. Of these only ABORTED says that the commit was not applied."""

_PAUSE = 0.05  # seconds: the longest pause before the second attempt; it doubles for each one after
_BATCH = 25  # entities in one transaction: with concurrency "optimistic with entity groups" Datastore takes no more
_CHECKSUM = 2**32 - 1
_DAMAGED = "Datastore: an entity was damaged, where it is or on its way"
_LAST = 253_402_300_799  # 9999-12-31T23:59:59Z, the last second that a Timestamp can hold

_CHANNEL = [
    ("grpc.max_send_message_length", -1),
    ("grpc.max_receive_message_length", -1),
    # gRPC would let an outage go on for up to two minutes after the server is back.
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 5_000),
    # Otherwise a channel made after a fork may find, in gRPC's memory, its parent's connection, and write into it.
    ("grpc.use_local_subchannel_pool", 1),
]


class _Refused(Exception):
    """The commit did not find what it expected; in doubt if an earlier attempt may have been applied."""

    def __init__(self, in_doubt: bool) -> None:
        self.in_doubt = in_doubt


class Datastore:
    """A store that keeps values in Google Cloud Datastore, or in Firestore in Datastore mode.

    `client`: its project, namespace, database and stub are used; no ndb context is needed or touched. `kind`
    is the kind of the entities. Each command ends within `timeout` seconds, at most `attempts` attempts and
    the pauses between them included; a retry follows a failure that came early, and the first attempt gets
    all the time there is. `shards`, 1 to 100: how many parts the sweep index has; entities of a shard that is
    left out later are not swept any more. `clock` tells the time in seconds UTC; `random`, 0 to 1, and
    `sleep`, in seconds, serve the pauses.

    Threads may share a store. After a fork, the child of a process that made it with `from_parts` gets its
    own connection by itself; a `client` of your own has to be made after the fork, like any gRPC channel.

    Making one also lets sessions hold ndb.Model and ndb.Key values: see `models.register_models`.
    """

    max_value_bytes = MAX_VALUE
    """Larger values are refused; `Stores` keeps them in parts of so many bytes."""
    batch_bytes = BATCH_BYTES
    """So many bytes of values may go through one `execute_many`."""

    def __init__(
        self,
        client: ndb.Client,
        *,
        kind: str = "HoldallSession",
        timeout: float = 1.0,
        attempts: int = 2,
        shards: int = 64,
        clock: Callable[[], float] = time.time,
        random: Callable[[], float] = random.random,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        if not timeout > 0:
            raise UsageError(f"timeout={timeout}: give the seconds that a command may take, more than 0")
        if attempts < 1:
            raise UsageError(f"attempts={attempts}: at least one is needed")
        if not 1 <= shards <= 100:
            raise UsageError(f"shards={shards}: use 1 to 100; 64 suit any load")
        self._kind = kind
        self._timeout = timeout
        self._attempts = attempts
        self._shards = shards
        self._clock = clock
        self._random = random
        self._sleep = sleep
        self._connect: Callable[[], ndb.Client] | None = None
        self._closed = False
        self._project = client.project
        self._database = client.database or ""
        self._key = _Key(path=[{"kind": kind}])
        self._key.partition_id.project_id = self._project
        self._key.partition_id.database_id = self._database
        self._key.partition_id.namespace_id = client.namespace or ""
        # https://google.aip.dev/client-libraries/4222: a database with a name is not found without it
        routing = {"project_id": self._project, "database_id": self._database}
        named = {name: value for name, value in routing.items() if value}
        self._metadata = (("x-goog-request-params", urlencode(named)),)
        self._client = client
        self._pid = os.getpid()
        self._inherited: list[ndb.Client] = []
        register_models(client)

    @classmethod
    def from_parts(
        cls,
        project: str,
        *,
        namespace: str | None = None,
        database: str | None = None,
        emulator: str | None = None,
        timeout: float = 1.0,
    ) -> "Datastore":
        """A store on a client of its own: see `new_client` for the parts, and the class for the rest."""

        def connect() -> ndb.Client:
            return new_client(project, namespace=namespace, database=database, emulator=emulator)

        store = cls(connect(), timeout=timeout)
        store._connect = connect
        return store

    def execute(self, command: Command) -> Answer:
        """Carry out one command, whatever its tier.

        Raises `StoreTooLarge` for values over `max_value_bytes` bytes, before anything is sent, and
        `StoreUnavailable` where there is no certain answer in time. `Conflict` means that no attempt of the
        `Put` was applied.
        """
        deadline = time.monotonic() + self._timeout
        with _understood():
            match command:
                case Get():
                    return self._get(command, deadline)
                case Put():
                    return self._put(command, deadline)
                case Delete():
                    self._commit([_Mutation(delete=self._named(command.key))], deadline)
                    return Deleted()

    def execute_many(self, commands: Sequence[Command]) -> list[Answer]:
        """Carry out up to 500 commands for different keys in one RPC: `Get` alone, or `Delete` and `Put` alone.

        A `Put` must expect anything. Raises `StoreUnavailable` as `execute` does, and within the same time: then some
        may be written, and others not.
        """
        deadline = time.monotonic() + self._timeout
        gets = [command for command in commands if isinstance(command, Get)]
        with _understood():
            return self._get_many(gets, deadline) if gets else self._write_many(commands, deadline)

    def get_blob(self, key: str, name: str) -> bytes | None:
        """Return a blob of an entity that another library wrote, None if there is none. Raises `StoreUnavailable`."""
        with _understood():
            entity, _ = self._lookup(key, time.monotonic() + self._timeout)
            return None if entity is None else entity.properties[name].blob_value or None

    def delete_expired(self, limit: int = 500) -> int:
        """Delete up to `limit` entities that expired before the current UTC hour began; returns how many.

        Fewer than `limit` means that no more were found. An entity that is replaced meanwhile is left alone.
        Costs a keys-only query per shard, at least, and two RPCs for every 25 entities, each within
        `timeout`. Raises `StoreUnavailable` as `execute` does; what was deleted until then stays deleted.
        """
        keys: list[Any] = []
        # Not always the same first, so that a limit that is too small for all does not starve the last shards.
        first = int(self._random() * self._shards)
        for shard in range(first, first + self._shards):
            keys += self._expired_keys(shard % self._shards, limit - len(keys))
            if len(keys) >= limit:
                break
        return sum(self._delete_batch(keys[start : start + _BATCH]) for start in range(0, len(keys), _BATCH))

    def server_time(self) -> float | None:
        """Return what the server's clock says, in seconds UTC since 1970; None where it does not tell.

        Costs the read of an entity that is not there. Raises `StoreUnavailable`.
        """
        read = self._look_up([self._named("server_time")], time.monotonic() + self._timeout, ()).read_time
        return read.seconds + read.nanos / 1e9 if read.seconds else None

    def close(self) -> None:
        """End the connection of a store from `from_parts`; your own client stays open. No command works then."""
        self._closed = True
        if self._connect is not None and self._pid == os.getpid():
            self._client.stub.close()

    def _get(self, command: Get, deadline: float) -> Answer:
        entity, version = self._lookup(command.key, deadline)
        if entity is not None and not _is_whole(entity):
            # What is damaged on its way comes in another way the next time. What lies there like this stays so, and is
            # for the core to refuse: it is nobody's session.
            again, version = self._lookup(command.key, deadline)
            if again is not None and not _is_whole(again) and again != entity:
                raise StoreUnavailable(_DAMAGED)
            entity = again
        return Missing() if entity is None else self._answer(entity, version)

    def _get_many(self, commands: list[Get], deadline: float) -> list[Answer]:
        answers: dict[str, Answer] = {}
        keys = [self._named(command.key) for command in commands]
        while keys:
            response = self._look_up(keys, deadline, ())
            for result in response.found:
                if _is_whole(result.entity):
                    answers[result.entity.key.path[0].name] = self._answer(result.entity, result.version)
            answers.update((result.entity.key.path[0].name, Missing()) for result in response.missing)
            keys = list(response.deferred)  # what would have made too large a reply
        # What was damaged is looked up once more, alone.
        return [answers.get(command.key) or self._get(command, deadline) for command in commands]

    def _answer(self, entity: Any, version: int) -> Found | Missing:
        return Missing() if self._expired(entity) else Found(entity.properties["value"].blob_value, version)

    def _write_many(self, commands: Sequence[Command], deadline: float) -> list[Answer]:
        mutations = [
            _Mutation(upsert=self._entity(command))
            if isinstance(command, Put)
            else _Mutation(delete=self._named(command.key))
            for command in commands
        ]
        results = self._commit(mutations, deadline).mutation_results
        return [
            Stored(result.version) if isinstance(command, Put) else Deleted()
            for command, result in zip(commands, results, strict=True)
        ]

    def _put(self, command: Put, deadline: float) -> Answer:
        if len(command.value) > self.max_value_bytes:
            raise StoreTooLarge(len(command.value), self.max_value_bytes)
        entity = self._entity(command)
        answer = self._write(entity, command.expect, deadline)
        if command.expect is Expect.ABSENT and isinstance(answer, Conflict):
            there, version = self._lookup(command.key, deadline, mask=("expires",))
            if there is not None and self._expired(there):
                answer = self._write(entity, version, deadline)
        return answer

    def _write(self, entity: Any, expect: int | Expect, deadline: float) -> Stored | Conflict:
        if expect is Expect.ANYTHING:
            mutation = _Mutation(upsert=entity)
        elif expect is Expect.ABSENT:
            mutation = _Mutation(insert=entity)
        else:
            # The default strategy is not to fail but to keep the other value or, on one emulator, to overwrite it.
            mutation = _Mutation(update=entity, base_version=expect, conflict_resolution_strategy=_FAIL)
        conditional = expect is not Expect.ANYTHING
        try:
            response = self._commit([mutation], deadline, conditional=conditional)
            return Stored(response.mutation_results[0].version)
        except _Refused as refused:
            if not refused.in_doubt:
                return Conflict()
            there, version = self._lookup(entity.key.path[0].name, deadline, mask=("write",))
            if there is not None and _write_of(there) == _write_of(entity):
                return Stored(version)
            raise StoreUnavailable("Datastore lost a reply, and whether the write was applied") from refused

    def _lookup(self, name: str, deadline: float, mask: tuple[str, ...] = ()) -> tuple[Any | None, int]:
        """The entity of that key and its version, or None and 0. A strong read: the default of Datastore."""
        response = self._look_up([self._named(name)], deadline, mask)
        if response.found:
            return response.found[0].entity, response.found[0].version
        if response.missing:
            return None, 0
        raise StoreUnavailable("Datastore deferred the read")

    def _look_up(self, keys: list[Any], deadline: float, mask: tuple[str, ...]) -> Any:
        request = _LookupRequest(project_id=self._project, database_id=self._database, keys=keys)
        if mask:
            request.property_mask.paths.extend(mask)
        return types.LookupResponse.pb(self._call("lookup", request, deadline))

    def _commit(self, mutations: list[Any], deadline: float, *, conditional: bool = False) -> Any:
        """Apply these mutations; if they are conditional all or none, and then it may raise `_Refused`."""
        request = _CommitRequest(project_id=self._project, database_id=self._database, mutations=mutations)
        if conditional and len(mutations) > 1:
            request.mode = types.CommitRequest.Mode.TRANSACTIONAL
            request.single_use_transaction.read_write.SetInParent()
        else:
            request.mode = types.CommitRequest.Mode.NON_TRANSACTIONAL
        return types.CommitResponse.pb(self._call("commit", request, deadline, conditional=conditional))

    def _call(self, rpc: str, request: Any, deadline: float, *, conditional: bool = False) -> Any:
        in_doubt = False
        pauses = [_PAUSE * 2**retry for retry in range(self._attempts - 1)]
        while True:
            try:
                remaining = max(0.0, deadline - time.monotonic())
                return getattr(self._stub(), rpc)(request, timeout=remaining, metadata=self._metadata)
            except grpc.RpcError as error:
                code = error.code()
                pause = self._random() * pauses.pop(0) if pauses else math.inf
                over = time.monotonic() + pause >= deadline
                if conditional and (code in _REFUSED or (code is _Code.ABORTED and over)):
                    raise _Refused(in_doubt) from error
                if over or code not in _PASSING:
                    raise StoreUnavailable(f"Datastore: {code.name}") from error
                in_doubt = in_doubt or code is not _Code.ABORTED
            self._sleep(pause)

    def _stub(self) -> Any:
        if self._closed:
            raise StoreUnavailable("this Datastore store was closed")
        if self._connect is not None and self._pid != os.getpid():
            # Kept, because collecting it would shut down the connection that the parent still uses.
            self._inherited.append(self._client)
            self._client = self._connect()
            self._pid = os.getpid()
        return self._client.stub

    def _named(self, name: str) -> Any:
        key = _Key()
        key.CopyFrom(self._key)
        key.path[0].name = name
        return key

    def _entity(self, command: Put) -> Any:
        expires = max(0, min(command.expires, _LAST))
        shard = zlib.crc32(command.key.encode()) % self._shards
        entity = _Entity(key=self._named(command.key))
        value = entity.properties["value"]
        value.blob_value = command.value
        value.exclude_from_indexes = True
        timestamp = entity.properties["expires"]
        timestamp.timestamp_value.seconds = expires
        timestamp.exclude_from_indexes = True
        # Datastore keeps the version if a write changes nothing; and after a lost reply this tells whose
        # write is there.
        write = entity.properties["write"]
        write.integer_value = secrets.randbits(31) << 32 | _checksum(entity)
        write.exclude_from_indexes = True
        entity.properties["sweep"].string_value = _sweep(shard, _hour(expires))
        return entity

    def _expired(self, entity: Any) -> bool:
        return bool(entity.properties["expires"].timestamp_value.seconds <= self._clock())

    def _expired_keys(self, shard: int, limit: int) -> Iterator[Any]:
        request = _RunQueryRequest(
            project_id=self._project, database_id=self._database, partition_id=self._key.partition_id
        )
        query = request.query
        query.kind.add().name = self._kind
        query.projection.add().property.name = "__key__"
        query.filter.composite_filter.op = types.CompositeFilter.Operator.AND
        bounds = (
            (types.PropertyFilter.Operator.GREATER_THAN_OR_EQUAL, ""),
            (types.PropertyFilter.Operator.LESS_THAN, _hour(self._clock())),
        )
        for operator, hour in bounds:
            bound = query.filter.composite_filter.filters.add().property_filter
            bound.property.name = "sweep"
            bound.op = operator
            bound.value.string_value = _sweep(shard, hour)
        more = True
        while more and limit > 0:
            query.limit.value = limit
            deadline = time.monotonic() + self._timeout
            batch = types.RunQueryResponse.pb(self._call("run_query", request, deadline)).batch
            yield from (result.entity.key for result in batch.entity_results)
            limit -= len(batch.entity_results)
            query.start_cursor = batch.end_cursor
            more = batch.more_results == _NOT_FINISHED

    def _delete_batch(self, keys: list[Any]) -> int:
        for _ in range(self._attempts):
            # A keys-only query tells no versions, and without them a session that is replaced now would be
            # deleted.
            response = self._look_up(keys, time.monotonic() + self._timeout, ("expires",))
            mutations = [
                _Mutation(
                    delete=result.entity.key,
                    base_version=result.version,
                    conflict_resolution_strategy=_FAIL,
                )
                for result in response.found
                if self._expired(result.entity)
            ]
            if not mutations:
                return 0
            try:
                self._commit(mutations, time.monotonic() + self._timeout, conditional=True)
            except _Refused:
                continue
            return len(mutations)
        return 0


def new_client(
    project: str,
    *,
    namespace: str | None = None,
    database: str | None = None,
    emulator: str | None = None,
) -> ndb.Client:
    """An `ndb.Client` whose channel survives outages and forks well.

    `namespace` and `database`: None means the default ones. `emulator` is "host:port", without encryption or
    credentials; None means the environment's DATASTORE_EMULATOR_HOST, and without that the real service with
    the environment's credentials. Raises `UsageError` if there are none.
    """
    emulator = emulator or os.environ.get("DATASTORE_EMULATOR_HOST")
    if emulator:
        credentials = _auth.credentials.AnonymousCredentials()
        options = {"api_endpoint": emulator}
        channel = grpc.insecure_channel(emulator, options=[*_CHANNEL, ("grpc.enable_http_proxy", 0)])
    else:
        try:
            credentials, _ = _auth.default(scopes=ndb.Client.SCOPE)
        except google.auth.exceptions.DefaultCredentialsError as error:
            raise UsageError(
                "Datastore needs credentials: set GOOGLE_APPLICATION_CREDENTIALS, or run "
                "'gcloud auth application-default login', or name an emulator"
            ) from error
        options = None
        channel = DatastoreGrpcTransport.create_channel(credentials=credentials, options=_CHANNEL)
    client = ndb.Client(
        project=project,
        namespace=namespace,
        database=database,
        credentials=credentials,
        client_options=options,
    )
    # ndb offers no way to give it a channel, and reads the emulator from the environment of the whole
    # process.
    client.stub.close()
    client.stub = DatastoreGrpcTransport(host=client.host, channel=channel)
    return client


@contextmanager
def _understood() -> Iterator[None]:
    """Have whatever a reply makes no sense with be no answer; without its text, which may quote the reply."""
    try:
        yield
    except StoreError:
        raise
    except Exception as error:
        raise StoreUnavailable(f"Datastore: a reply that makes no sense ({type(error).__name__})") from error


def _is_whole(entity: Any) -> bool:
    """Tell whether an entity is as it was written: else one that cannot be read would look like one that is gone."""
    return _write_of(entity) & _CHECKSUM == _checksum(entity)


def _checksum(entity: Any) -> int:
    """Of name, expiry and value: an unencrypted line, as an emulator's, has none that would notice a wrong bit."""
    properties = entity.properties
    name_and_expiry = f"{entity.key.path[0].name} {properties['expires'].timestamp_value.seconds}".encode()
    return zlib.crc32(properties["value"].blob_value, zlib.crc32(name_and_expiry))


def _write_of(entity: Any) -> int:
    return int(entity.properties["write"].integer_value)


def _hour(seconds: float) -> str:
    """The UTC hour, so that strings sort like times."""
    return time.strftime("%Y%m%d%H", time.gmtime(seconds))


def _sweep(shard: int, hour: str) -> str:
    return f"{shard:02d}-{hour}"
