"""Datastore against both of Google's emulators.

They differ, and the real service is like the one or the other: the Firestore emulator is pessimistic and
makes a write wait for a transaction that has read the entity, the Datastore emulator lets it through and
aborts the transaction later. An update of what is missing is NOT_FOUND here and FAILED_PRECONDITION there.
Versions are a counter here and the commit's microseconds there. The whole entity counts against the limit
there, here only the blob. A keys-only query tells versions there and none here. With the default conflict
strategy one ignores the expected version and overwrites. For all of this the store behaves the same, but for
the first: see `test_waits_for_a_transaction_no_longer_than_its_deadline`.
"""

import multiprocessing
import os
import socket
import threading
import time
from collections import defaultdict, deque
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, suppress
from typing import Any

import google.auth
import google.auth.credentials
import grpc
import pytest
from google.cloud.datastore_v1 import types
from google.cloud.datastore_v1.services.datastore.transports import DatastoreGrpcTransport
from holdall import (
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
    Tier,
    UsageError,
)
from holdall.testing import FakeClock
from holdall_conformance.stores import StoreConformance, UnavailableConformance
from holdall_stores import Store
from holdall_stores.datastore import MAX_VALUE, Datastore, new_client

from tests.emulators import OPTIMISTIC
from tests.stores.conftest import Emulator

pytestmark = pytest.mark.datastore

NOW = 1_800_000_000  # 2027-01-15T08:00:00Z, the beginning of an hour
HOUR = 3_600
LATER = NOW + 7 * 24 * HOUR

Code = grpc.StatusCode
Send = Callable[[], Any]
Fault = Callable[[Send], Any]


class SpoiltError(grpc.RpcError):  # type: ignore[misc]
    def __init__(self, code: grpc.StatusCode) -> None:
        self._code = code

    def code(self) -> grpc.StatusCode:
        return self._code

    def result(self) -> None:
        raise self


def refuse(code: grpc.StatusCode) -> Fault:
    """The RPC does not reach the server, or is refused there."""

    def fault(send: Send) -> Any:
        raise SpoiltError(code)

    return fault


def lose(then: Callable[[], object] = lambda: None) -> Fault:
    """The server carries the RPC out, but the reply is lost; `then` happens after."""

    def fault(send: Send) -> Any:
        send().result()
        then()
        raise SpoiltError(Code.UNAVAILABLE)

    return fault


class Reply:
    """An answered call."""

    def __init__(self, response: Any) -> None:
        self._response = response

    def result(self) -> Any:
        return self._response


def defer(send: Send) -> Reply:
    """The server looks up the first of the keys alone, and says so."""
    response = send().result()
    message: Any = types.LookupResponse.pb(response)
    message.deferred.extend(result.entity.key for result in [*message.found[1:], *message.missing])
    del message.found[1:], message.missing[:]
    return Reply(response)


def damage(change: Callable[[Any], object]) -> Fault:
    """The server carries the RPC out, and `change` happens to its reply on the way."""

    def fault(send: Send) -> Reply:
        response = send().result()
        change(type(response).pb(response))
        return Reply(response)

    return fault


def after(event: Callable[[], object]) -> Fault:
    """Something happens just before the RPC is sent."""

    def fault(send: Send) -> Any:
        event()
        return send()

    return fault


class Wire(grpc.UnaryUnaryClientInterceptor):  # type: ignore[misc]
    """Between a store and the real server: notes every RPC, and spoils those that a test has a fault for."""

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.timeouts: list[float | None] = []
        self.metadata: list[tuple[str, str]] = []
        self.faults: defaultdict[str, deque[Fault]] = defaultdict(deque)

    def intercept_unary_unary(self, continuation: Any, details: Any, request: Any) -> Any:
        rpc = details.method.rpartition("/")[2]
        self.calls.append(rpc)
        self.timeouts.append(details.timeout)
        self.metadata = list(details.metadata or ())

        def send() -> Any:
            return continuation(details, request)

        if self.faults[rpc]:
            return self.faults[rpc].popleft()(send)
        return send()


class Bench:
    """Stores on one emulator in one namespace, with a wire in between and a clock that stands still."""

    def __init__(self, emulator: Emulator, namespace: str) -> None:
        self.emulator = emulator
        self.namespace = namespace
        self.wire = Wire()
        self.clock = FakeClock(NOW)
        self._clients = ExitStack()

    def client(self, database: str | None = None) -> Any:
        client = new_client("test", namespace=self.namespace, database=database, emulator=self.emulator.address)
        self._clients.callback(client.stub.close)
        channel = grpc.intercept_channel(client.stub.grpc_channel, self.wire)
        client.stub = DatastoreGrpcTransport(host=client.host, channel=channel)
        return client

    def store(self, client: Any = None, **options: Any) -> Datastore:
        # Much more time than by default, so that a busy machine is not taken for a failing server.
        return Datastore(client or self.client(), **{"timeout": 20.0, "clock": self.clock, **options})

    def close(self) -> None:
        self._clients.close()


@pytest.fixture
def bench(datastore_emulator: Emulator, namespace: str) -> Iterator[Bench]:
    with closing(Bench(datastore_emulator, namespace)) as bench:
        yield bench


@pytest.fixture
def store(bench: Bench) -> Datastore:
    return bench.store()


def get(key: str = "k") -> Get:
    return Get(Tier.DURABLE, key)


def put(expect: int | Expect = Expect.ABSENT, value: bytes = b"v", key: str = "k", expires: int = LATER) -> Put:
    return Put(Tier.DURABLE, key, value, expires, expect)


def delete(key: str = "k") -> Delete:
    return Delete(Tier.DURABLE, key)


def stored(store: Store, command: Put) -> int:
    """Carry out a `Put` that must succeed; returns the version."""
    answer = store.execute(command)
    assert isinstance(answer, Stored)
    assert answer.version is not None
    return answer.version


def there(bench: Bench, *keys: str) -> set[str]:
    """Which of the keys hold anything, expired or not."""
    store = bench.store(clock=lambda: 0)
    return {key for key in keys if isinstance(store.execute(get(key)), Found)}


class TestDatastore(StoreConformance):
    oversize = MAX_VALUE + 1
    rounds = 3

    @pytest.fixture
    def clock(self) -> FakeClock:
        return FakeClock()

    @pytest.fixture
    def store(self, bench: Bench, clock: FakeClock) -> Datastore:
        return bench.store(clock=clock)

    @pytest.fixture
    def forking_store(self, bench: Bench) -> Iterator[Datastore]:
        """One with a client of its own, which it makes anew after a fork."""
        emulator = bench.emulator.address
        with closing(Datastore.from_parts("test", namespace=bench.namespace, emulator=emulator, timeout=20)) as store:
            yield store


class TestNobodyListens(UnavailableConformance):
    tier = Tier.DURABLE
    oversize = MAX_VALUE + 1

    @pytest.fixture
    def unavailable(self) -> Iterator[Datastore]:
        with socket.socket() as unused:
            unused.bind(("127.0.0.1", 0))
            with closing(Datastore.from_parts("test", emulator=f"127.0.0.1:{unused.getsockname()[1]}")) as store:
                yield store


class TestCommands:
    def test_gives_back_what_was_put(self, store: Datastore) -> None:
        """A value comes back byte for byte, with the version that its write reported."""
        value = bytes(range(256))
        version = stored(store, put(value=value))
        assert store.execute(get()) == Found(value, version)

    def test_every_write_gets_a_higher_version(self, store: Datastore) -> None:
        """Even a write of the same bytes changes the version, so that no two writers believe they came first."""
        first = stored(store, put())
        second = stored(store, put(first))
        assert second > first
        assert store.execute(put(first)) == Conflict()

    def test_absent_means_absent(self, store: Datastore) -> None:
        """An insert conflicts with what is there, and leaves it alone."""
        version = stored(store, put(value=b"old"))
        assert store.execute(put(value=b"new")) == Conflict()
        assert store.execute(get()) == Found(b"old", version)

    def test_a_version_is_not_found_where_nothing_is(self, store: Datastore) -> None:
        """A write that expects a version conflicts if there never was anything, or nothing any more."""
        assert store.execute(put(5)) == Conflict()
        version = stored(store, put())
        store.execute(delete())
        assert store.execute(put(version)) == Conflict()
        assert store.execute(get()) == Missing()

    def test_anything_is_replaced(self, store: Datastore) -> None:
        """A write that expects anything is stored over nothing, over something and over what has expired."""
        stored(store, put(Expect.ANYTHING, b"1"))
        stored(store, put(Expect.ANYTHING, b"2", expires=NOW))
        version = stored(store, put(Expect.ANYTHING, b"3"))
        assert store.execute(get()) == Found(b"3", version)

    def test_deletes_what_is_there_or_not(self, store: Datastore) -> None:
        """Deleting twice is as good as deleting once."""
        stored(store, put())
        assert store.execute(delete()) == Deleted()
        assert store.execute(delete()) == Deleted()
        assert store.execute(get()) == Missing()

    def test_expired_is_missing(self, bench: Bench, store: Datastore) -> None:
        """From the very second of its expiry a value is missing, and an insert may take its place."""
        old = stored(store, put(value=b"old", expires=NOW + 10))
        bench.clock.now += 9.9
        assert store.execute(get()) == Found(b"old", old)
        assert store.execute(put()) == Conflict()
        bench.clock.now += 0.1
        assert store.execute(get()) == Missing()
        new = stored(store, put(value=b"new"))
        assert store.execute(get()) == Found(b"new", new)

    def test_one_of_many_wins(self, store: Datastore) -> None:
        """Of writers that expect the same, in threads that share a store, exactly one is told that it stored."""
        expect: int | Expect
        with ThreadPoolExecutor(8) as threads:
            expect = Expect.ABSENT
            for _ in range(3):
                command = put(expect)
                answers = list(threads.map(lambda _, command=command: store.execute(command), range(8)))
                (winner,) = (answer for answer in answers if isinstance(answer, Stored))
                assert answers.count(Conflict()) == 7
                assert winner.version is not None
                expect = winner.version

    def test_takes_as_much_as_it_says(self, bench: Bench, store: Datastore) -> None:
        """A value of the limit fits under the longest key; one byte more is refused before anything is sent."""
        key = "k" * 1500
        version = stored(store, put(value=b"v" * MAX_VALUE, key=key))
        assert store.execute(get(key)) == Found(b"v" * MAX_VALUE, version)
        bench.wire.calls.clear()
        with pytest.raises(StoreTooLarge) as caught:
            store.execute(put(version, b"v" * (MAX_VALUE + 1), key))
        assert (caught.value.size, caught.value.limit) == (MAX_VALUE + 1, MAX_VALUE)
        assert bench.wire.calls == []

    def test_one_rpc_each(self, bench: Bench, store: Datastore) -> None:
        """Every command that meets what it expects costs one RPC."""
        version = stored(store, put())
        for command in (get(), put(version), put(Expect.ANYTHING), delete(), get()):
            store.execute(command)
        assert bench.wire.calls == ["Commit", "Lookup", "Commit", "Commit", "Commit", "Lookup"]

    def test_far_times(self, store: Datastore) -> None:
        """Times that a Timestamp cannot hold mean its last second, and 1970."""
        stored(store, put(key="far", expires=2**62))
        stored(store, put(key="past", expires=-5))
        assert isinstance(store.execute(get("far")), Found)
        assert store.execute(get("past")) == Missing()


class TestMany:
    def test_many_in_one_rpc(self, bench: Bench, store: Datastore) -> None:
        """Many commands are one RPC, answered in their order."""
        answers = store.execute_many([put(Expect.ANYTHING, b"%d" % number, f"k{number}") for number in range(100)])
        versions = [answer.version for answer in answers if isinstance(answer, Stored)]
        assert all(isinstance(version, int) for version in versions)
        found = [Found(b"%d" % number, version) for number, version in enumerate(versions) if version is not None]
        stored(store, put(key="expired", expires=NOW))
        bench.wire.calls.clear()

        gets = [get(f"k{number}") for number in reversed(range(100))]
        assert store.execute_many([get("other"), *gets, get("expired")]) == [Missing(), *reversed(found), Missing()]
        assert (
            store.execute_many([delete("k1"), put(Expect.ANYTHING, key="k2"), delete("other")])[::2] == [Deleted()] * 2
        )
        assert bench.wire.calls == ["Lookup", "Commit"]
        assert there(bench, "k1", "k2", "k3") == {"k2", "k3"}

    def test_as_many_bytes_as_it_says(self, bench: Bench, store: Datastore) -> None:
        """The values of one call may have `batch_bytes` together: both emulators take them, and give them back."""
        count = store.batch_bytes // store.max_value_bytes
        values = {f"k{number}": bytes([number]) * store.max_value_bytes for number in range(count)}
        store.execute_many([put(Expect.ANYTHING, value, key) for key, value in values.items()])
        answers = store.execute_many([get(key) for key in values])
        assert [answer.value for answer in answers if isinstance(answer, Found)] == list(values.values())

    def test_what_was_deferred_is_asked_for_again(self, bench: Bench, store: Datastore) -> None:
        """Keys that Datastore did not look up, because the reply would be too large, are looked up in another RPC."""
        for key in "abc":
            stored(store, put(key=key, value=key.encode()))
        bench.wire.faults["Lookup"].append(defer)
        bench.wire.calls.clear()
        answers = store.execute_many([get(key) for key in "abcd"])
        assert [answer.value for answer in answers[:3] if isinstance(answer, Found)] == [b"a", b"b", b"c"]
        assert answers[3] == Missing()
        assert bench.wire.calls == ["Lookup", "Lookup"]

    def test_failures(self, bench: Bench, store: Datastore) -> None:
        """A failure that passes is tried again, one that lasts is unavailable, and a lost reply is no conflict."""
        writes = [put(Expect.ANYTHING, key=key) for key in "ab"]
        bench.wire.faults["Commit"].append(lose())
        assert [type(answer) for answer in store.execute_many(writes)] == [Stored, Stored]
        bench.wire.faults["Commit"] += [refuse(Code.ABORTED), refuse(Code.ABORTED)]
        with pytest.raises(StoreUnavailable):
            store.execute_many(writes)
        bench.wire.faults["Lookup"].append(refuse(Code.UNAVAILABLE))
        assert [type(answer) for answer in store.execute_many([get("a"), get("b")])] == [Found, Found]
        bench.wire.faults["Lookup"].append(refuse(Code.PERMISSION_DENIED))
        with pytest.raises(StoreUnavailable):
            store.execute_many([get("a"), get("b")])


class TestEntity:
    def test_indexes_only_sweep(self, bench: Bench, store: Datastore) -> None:
        """The entity has four properties; only the string of shard and UTC hour is indexed."""
        stored(store, put(expires=NOW + 2 * HOUR + 59))
        key = types.Key(
            partition_id={"project_id": "test", "namespace_id": bench.namespace},
            path=[{"kind": "HoldallSession", "name": "k"}],
        )
        (found,) = bench.client().stub.lookup(types.LookupRequest(project_id="test", keys=[key])).found
        properties = dict(found.entity.properties)
        assert sorted(properties) == ["expires", "sweep", "value", "write"]
        assert [name for name, value in properties.items() if not value.exclude_from_indexes] == ["sweep"]
        assert properties["expires"].timestamp_value.timestamp() == NOW + 2 * HOUR + 59
        shard, hour = properties["sweep"].string_value.split("-")
        assert 0 <= int(shard) < 64
        assert hour == "2027011510"

    def test_kinds_namespaces_and_databases_are_apart(self, bench: Bench, store: Datastore) -> None:
        """The same key in another kind, namespace or database is another value."""
        others = [
            bench.store(kind="Other"),
            bench.store(bench.client(database="other")),
            Datastore.from_parts("test", namespace=bench.namespace + "x", emulator=bench.emulator.address),
        ]
        version = stored(store, put())
        for other in others:
            assert other.execute(get()) == Missing()
            other.execute(put(value=b"other"))
        assert store.execute(get()) == Found(b"v", version)

    def test_sends_the_routing_header(self, bench: Bench) -> None:
        """Each request names project and database in the header by which Google finds a named database."""
        bench.store(bench.client(database="other")).execute(get())
        assert ("x-goog-request-params", "project_id=test&database_id=other") in bench.wire.metadata


class TestFaults:
    @pytest.mark.requirement(32)
    @pytest.mark.parametrize("expect", [Expect.ABSENT, "version", Expect.ANYTHING])
    def test_a_lost_reply_is_applied_once(self, bench: Bench, store: Datastore, expect: Expect | str) -> None:
        """If the reply of a write is lost, the retry finds out that it was applied, and reports its version."""
        base = stored(store, put(value=b"base")) if expect == "version" else expect
        bench.wire.faults["Commit"].append(lose())
        version = stored(store, put(base, b"mine"))  # type: ignore[arg-type]
        assert store.execute(get()) == Found(b"mine", version)

    def test_a_lost_reply_of_a_delete(self, bench: Bench, store: Datastore) -> None:
        """If the reply of a delete is lost, it is deleted all the same."""
        stored(store, put())
        bench.wire.faults["Commit"].append(lose())
        assert store.execute(delete()) == Deleted()
        assert store.execute(get()) == Missing()

    @pytest.mark.requirement(32)
    def test_no_conflict_unless_it_is_certain(self, bench: Bench, store: Datastore) -> None:
        """If a reply is lost and somebody else writes before the retry, the outcome is unknown, no `Conflict`."""
        base = stored(store, put())
        other = bench.store()
        bench.wire.faults["Commit"].append(lose(then=lambda: other.execute(put(Expect.ANYTHING, b"other"))))
        with pytest.raises(StoreUnavailable):
            store.execute(put(base, b"mine"))

    def test_no_conflict_while_it_cannot_be_checked(self, bench: Bench, store: Datastore) -> None:
        """If a reply is lost and the read that should clear it up fails, the outcome is unknown."""
        bench.wire.faults["Commit"].append(lose())
        bench.wire.faults["Lookup"] += [refuse(Code.UNAVAILABLE)] * 2
        with pytest.raises(StoreUnavailable):
            store.execute(put())

    @pytest.mark.parametrize("code", [Code.UNAVAILABLE, Code.INTERNAL, Code.ABORTED])
    def test_a_passing_failure_is_tried_again(self, bench: Bench, store: Datastore, code: grpc.StatusCode) -> None:
        """Reads and writes survive one failure that passes."""
        for rpc in ("Commit", "Lookup"):
            bench.wire.faults[rpc].append(refuse(code))
        version = stored(store, put())
        assert store.execute(get()) == Found(b"v", version)

    @pytest.mark.requirement(36)
    @pytest.mark.parametrize("code", [Code.UNAVAILABLE, Code.DEADLINE_EXCEEDED, Code.ABORTED])
    def test_gives_up(self, bench: Bench, store: Datastore, code: grpc.StatusCode) -> None:
        """After its attempts the store says that it is unavailable, and not that anything is missing."""
        for rpc in ("Commit", "Lookup"):
            bench.wire.faults[rpc] += [refuse(code)] * 10
        for command in (get(), put(Expect.ANYTHING), delete()):
            bench.wire.calls.clear()
            with pytest.raises(StoreUnavailable):
                store.execute(command)
            assert len(bench.wire.calls) == 2

    @pytest.mark.requirement(30)
    @pytest.mark.parametrize(
        "change",
        [
            lambda entity: setattr(entity.properties["value"], "blob_value", b"w"),
            lambda entity: setattr(entity.properties["expires"].timestamp_value, "seconds", NOW - 1),
            lambda entity: setattr(entity.properties["write"], "integer_value", 0),
            lambda entity: setattr(entity.key.path[0], "name", "l"),
            lambda entity: entity.properties.clear(),
        ],
        ids=["value", "expiry", "checksum", "name", "all"],
    )
    def test_a_damaged_reply_is_no_answer(
        self, bench: Bench, store: Datastore, change: Callable[[Any], object]
    ) -> None:
        """An entity that is not as it was written is looked up again; while it changes there is no answer."""
        version = stored(store, put())
        stored(store, put(key="o"))
        damaged = damage(lambda reply: change(reply.found[0].entity))
        otherwise = damage(lambda reply: setattr(reply.found[0].entity.properties["value"], "blob_value", b"x"))
        bench.wire.faults["Lookup"].append(damaged)
        assert store.execute(get()) == Found(b"v", version)
        bench.wire.faults["Lookup"] += [damaged, otherwise]
        with pytest.raises(StoreUnavailable, match="damaged"):
            store.execute(get())
        bench.wire.faults["Lookup"].append(damaged)
        assert [type(answer) for answer in store.execute_many([get(), get("o"), get("m")])] == [Found, Found, Missing]
        bench.wire.faults["Lookup"] += [damaged, damaged, otherwise]
        with pytest.raises(StoreUnavailable, match="damaged"):
            store.execute_many([get(), get("o")])
        assert store.execute(get()) == Found(b"v", version)

    @pytest.mark.requirement(19)
    def test_garbage_is_an_answer(self, bench: Bench, store: Datastore) -> None:
        """19: what somebody else wrote in the place of an entity is found as it is, for the core to refuse."""
        version = stored(store, put())
        garbage = damage(lambda reply: setattr(reply.found[0].entity.properties["value"], "blob_value", b"garbage"))
        bench.wire.faults["Lookup"] += [garbage] * 2
        assert store.execute(get()) == Found(b"garbage", version)
        bench.wire.faults["Lookup"] += [garbage] * 3
        assert store.execute_many([get()]) == [Found(b"garbage", version)]

    def test_a_reply_that_makes_no_sense_is_no_answer(self, bench: Bench, store: Datastore) -> None:
        """A commit whose reply says nothing of it may have been applied: the store is unavailable."""
        bench.wire.faults["Commit"] += [damage(lambda reply: reply.Clear())] * 2
        with pytest.raises(StoreUnavailable, match="makes no sense"):
            store.execute(put())
        with pytest.raises(StoreUnavailable, match="makes no sense"):
            store.execute_many([put(Expect.ANYTHING)])
        assert isinstance(store.execute(get()), Found)

    def test_only_contention_is_a_conflict(self, bench: Bench, store: Datastore) -> None:
        """A conditional write that is aborted again and again was not applied: that is a `Conflict`."""
        base = stored(store, put())
        bench.wire.faults["Commit"] += [refuse(Code.ABORTED)] * 2
        assert store.execute(put(base)) == Conflict()
        bench.wire.faults["Commit"] += [refuse(Code.UNAVAILABLE), refuse(Code.ABORTED)]
        with pytest.raises(StoreUnavailable):
            store.execute(put(base))

    @pytest.mark.parametrize("code", [Code.PERMISSION_DENIED, Code.INVALID_ARGUMENT, Code.NOT_FOUND])
    def test_a_lasting_failure_is_not_tried_again(self, bench: Bench, store: Datastore, code: grpc.StatusCode) -> None:
        """What another attempt cannot change, a missing database for instance, is reported at once."""
        bench.wire.faults["Lookup"].append(refuse(code))
        with pytest.raises(StoreUnavailable):
            store.execute(get())
        assert bench.wire.calls == ["Lookup"]

    @pytest.mark.requirement(36)
    def test_pauses_grow_and_are_jittered(self, bench: Bench) -> None:
        """Between attempts there is a random part of a pause that doubles."""
        pauses: list[float] = []
        store = bench.store(attempts=4, random=lambda: 0.5, sleep=pauses.append)
        bench.wire.faults["Lookup"] += [refuse(Code.UNAVAILABLE)] * 3
        store.execute(get())
        assert pauses == [0.025, 0.05, 0.1]

    def test_no_pause_beyond_the_deadline(self, bench: Bench) -> None:
        """An attempt that would come too late is not waited for."""
        pauses: list[float] = []
        store = bench.store(timeout=0.04, random=lambda: 1.0, sleep=pauses.append)
        bench.wire.faults["Lookup"].append(refuse(Code.UNAVAILABLE))
        with pytest.raises(StoreUnavailable):
            store.execute(get())
        assert pauses == []

    def test_waits_for_a_transaction_no_longer_than_its_deadline(self, bench: Bench) -> None:
        """A transaction of somebody else that has read the entity delays a write at most to its deadline."""
        store = bench.store(timeout=0.6)
        base = stored(bench.store(), put())
        client = bench.client()
        options = types.TransactionOptions(read_write={})
        begin = types.BeginTransactionRequest(project_id="test", transaction_options=options)
        reading = {"transaction": client.stub.begin_transaction(begin).transaction}
        key = types.Key(
            partition_id={"project_id": "test", "namespace_id": bench.namespace},
            path=[{"kind": "HoldallSession", "name": "k"}],
        )
        client.stub.lookup(types.LookupRequest(project_id="test", keys=[key], read_options=reading))
        del bench.wire.timeouts[:]
        if bench.emulator.concurrency == "optimistic":
            stored(store, put(base))
        else:
            with pytest.raises(StoreUnavailable):
                store.execute(put(base))
        assert bench.wire.timeouts
        assert all(timeout is not None and 0 < timeout <= 0.6 for timeout in bench.wire.timeouts)
        client.stub.rollback(types.RollbackRequest(project_id="test", **reading))


def test_server_time(store: Datastore, datastore_emulator: Emulator) -> None:
    """The server's clock is told where the server tells it: one of the emulators does, and runs on this machine."""
    told = store.server_time()
    if datastore_emulator.concurrency == OPTIMISTIC:
        assert told is None
    else:
        assert told is not None
        assert abs(told - time.time()) < 60


class TestDeleteExpired:
    def test_deletes_whole_hours_only(self, bench: Bench, store: Datastore) -> None:
        """What expired in an hour that is over is deleted; what expired in this hour, or lives, is not."""
        bench.clock.now = NOW + HOUR / 2
        for key, expires in {
            "year": NOW - 365 * 24 * HOUR,
            "hour": NOW - 1,
            "now": NOW,
            "live": NOW + HOUR,
        }.items():
            stored(store, put(key=key, expires=expires))
        assert store.delete_expired() == 2
        assert there(bench, "year", "hour", "now", "live") == {"now", "live"}
        assert store.delete_expired() == 0

    def test_at_most_the_limit(self, bench: Bench) -> None:
        """No call deletes more than its limit, and calls that follow delete the rest, whatever their shard."""
        store = bench.store(shards=4)
        keys = [f"k{number}" for number in range(10)]
        for key in keys:
            stored(store, put(key=key, expires=NOW - 1))
        assert [store.delete_expired(4) for _ in range(4)] == [4, 4, 2, 0]
        assert there(bench, *keys) == set()

    def test_many(self, bench: Bench) -> None:
        """More than may be in one transaction are deleted by one call."""
        store = bench.store(shards=1)
        store.execute_many([put(Expect.ANYTHING, key=f"k{number}", expires=NOW - 1) for number in range(60)])
        assert store.delete_expired() == 60
        assert store.delete_expired() == 0

    def test_starts_anywhere(self, bench: Bench) -> None:
        """The shards are visited from a random one on, each once."""
        keys = [f"k{number}" for number in range(6)]
        for start in (0.0, 0.999):
            store = bench.store(shards=3, random=lambda start=start: start)
            for key in keys:
                stored(store, put(key=key, expires=NOW - 1))
            assert store.delete_expired() == len(keys)

    def test_bounded_number_of_rpcs(self, bench: Bench) -> None:
        """A query per shard, one read and one commit."""
        store = bench.store(shards=5)
        for number in range(8):
            stored(store, put(key=f"k{number}", expires=NOW - 1))
        bench.wire.calls.clear()
        assert store.delete_expired() == 8
        assert bench.wire.calls == ["RunQuery"] * 5 + ["Lookup", "Commit"]

    @pytest.mark.parametrize("step", ["Lookup", "Commit"])
    def test_never_deletes_what_was_replaced_meanwhile(self, bench: Bench, step: str) -> None:
        """A session that is stored again after the query, or even after the read, survives; the others go."""
        store = bench.store(shards=2)
        other = bench.store()
        for key in ("a", "b", "c"):
            stored(store, put(key=key, expires=NOW - 1))
        bench.wire.faults[step].append(after(lambda: other.execute(put(Expect.ANYTHING, key="b"))))
        assert store.delete_expired() == 2
        assert there(bench, "a", "b", "c") == {"b"}

    def test_failure(self, bench: Bench, store: Datastore) -> None:
        """A server that fails is reported."""
        bench.wire.faults["RunQuery"] += [refuse(Code.UNAVAILABLE)] * 2
        with pytest.raises(StoreUnavailable):
            store.delete_expired()


def fork_and_get(store: Datastore, key: str) -> object:
    """What a forked child of this process gets from the store."""
    ours, theirs = multiprocessing.Pipe()
    child = os.fork()
    if child == 0:
        try:
            theirs.send(store.execute(get(key)))
        finally:
            os._exit(0)
    try:
        return ours.recv() if ours.poll(20) else "no answer"
    finally:
        os.waitpid(child, 0)
        ours.close()
        theirs.close()


class TestConnection:
    def test_from_parts(self, bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
        """A store from parts uses the emulator it is given, or else that of the environment."""
        parts: dict[str, Any] = {"namespace": bench.namespace, "timeout": 20.0}
        with closing(Datastore.from_parts("test", emulator=bench.emulator.address, **parts)) as store:
            version = stored(store, put(expires=int(time.time()) + 60))
        monkeypatch.setenv("DATASTORE_EMULATOR_HOST", bench.emulator.address)
        with closing(Datastore.from_parts("test", **parts)) as store:
            assert store.execute(get()) == Found(b"v", version)

    # From 3.12 on Python warns of a fork with threads, and gRPC has some; to fork all the same is the point
    # here.
    @pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
    def test_a_forked_child_has_its_own_connection(self, bench: Bench) -> None:
        """After a fork child and parent both go on, children made before and after the first command."""
        store = Datastore.from_parts("test", namespace=bench.namespace, emulator=bench.emulator.address, timeout=20)
        with closing(store):
            found = Found(b"v", stored(bench.store(), put()))
            assert fork_and_get(store, "k") == found
            assert store.execute(get()) == found
            assert fork_and_get(store, "k") == found
            assert store.execute(get()) == found

    def test_closed(self, bench: Bench, store: Datastore) -> None:
        """A closed store is unavailable; it leaves a client that it was given open."""
        client = bench.client()
        bench.store(client).close()
        assert bench.store(client).execute(get()) == Missing()
        own = Datastore.from_parts("test", emulator=bench.emulator.address)
        own.close()
        with pytest.raises(StoreUnavailable):
            own.execute(get())

    def test_comes_back_after_an_outage(self, bench: Bench) -> None:
        """Cut connections cost a retry; a server that was away is used again soon after it is back."""
        between = Forwarder(bench.emulator.address)
        client = new_client("test", namespace=bench.namespace, emulator=between.address)
        with closing(client.stub):
            store = bench.store(client, attempts=3)
            version = stored(store, put())
            between.cut()
            assert store.execute(get()) == Found(b"v", version)
            between.close()
            with pytest.raises(StoreUnavailable):
                store.execute(get())
            between.listen()
            with closing(between):
                deadline = time.monotonic() + 15
                while (answer := attempt(store, get())) is None and time.monotonic() < deadline:
                    time.sleep(0.02)
                assert answer == Found(b"v", version)


@pytest.mark.requirement(36)
class TestNoServer:
    def test_nobody_listens(self) -> None:
        """Where nobody listens, the store is unavailable long before its deadline, which is none here."""
        with socket.socket() as unused:
            unused.bind(("127.0.0.1", 0))
            assert is_unavailable(unused.getsockname()[1], timeout=10_000)

    def test_nobody_answers(self) -> None:
        """A server that accepts and says nothing is not waited for for ever, but until the deadline."""
        with socket.create_server(("127.0.0.1", 0)) as silent:
            assert is_unavailable(silent.getsockname()[1], timeout=0.1)

    @pytest.mark.parametrize(
        "options", [{"timeout": 0}, {"attempts": 0}, {"shards": 0}, {"shards": 101}, {"timeout": -1}]
    )
    def test_settings_that_cannot_work(self, options: dict[str, Any]) -> None:
        """A setting that cannot work is refused by its name."""
        (name,) = options
        client = new_client("test", emulator="127.0.0.1:1")
        with closing(client.stub), pytest.raises(UsageError, match=name):
            Datastore(client, **options)

    def test_no_credentials(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
        """Without credentials and without an emulator the error says what to do."""
        for name in ("GOOGLE_APPLICATION_CREDENTIALS", "DATASTORE_EMULATOR_HOST"):
            monkeypatch.delenv(name, raising=False)
        monkeypatch.setenv("NO_GCE_CHECK", "true")
        monkeypatch.setenv("CLOUDSDK_CONFIG", str(tmp_path))
        with pytest.raises(UsageError, match="GOOGLE_APPLICATION_CREDENTIALS"):
            Datastore.from_parts("test")

    def test_the_real_service(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Without an emulator the client is one of the real service, with the credentials of the environment."""
        monkeypatch.delenv("DATASTORE_EMULATOR_HOST", raising=False)
        credentials = google.auth.credentials.AnonymousCredentials()  # type: ignore[no-untyped-call]
        monkeypatch.setattr(google.auth, "default", lambda scopes: (credentials, "somewhere"))
        client = new_client("test", database="other")
        with closing(client.stub):
            assert (client.host, client.secure) == ("datastore.googleapis.com", True)
            assert (client.project, client.database) == ("test", "other")


def attempt(store: Datastore, command: Get) -> object:
    try:
        return store.execute(command)
    except StoreUnavailable:
        return None


def is_unavailable(port: int, timeout: float) -> bool:
    """Tell whether a store that has never been connected says that it is unavailable."""
    client = new_client("test", emulator=f"127.0.0.1:{port}")
    with closing(client.stub):
        try:
            Datastore(client, timeout=timeout).execute(get())
        except StoreUnavailable:
            return True
        return False


class Forwarder:
    """A TCP port that forwards to a server, until its connections are cut or it is closed."""

    def __init__(self, target: str) -> None:
        host, _, port = target.rpartition(":")
        self._target = (host, int(port))
        self._port = 0
        self._clients: list[socket.socket] = []
        self.listen()

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self._port}"

    def listen(self) -> None:
        self._server = socket.create_server(("127.0.0.1", self._port))
        self._port = self._server.getsockname()[1]
        self._threads = [threading.Thread(target=self._accept)]
        self._threads[0].start()

    def cut(self) -> None:
        while self._clients:
            shut(self._clients.pop())

    def close(self) -> None:
        shut(self._server)
        self._threads.pop(0).join()
        self.cut()
        for thread in self._threads:
            thread.join()

    def _accept(self) -> None:
        with self._server as server:
            while True:
                try:
                    client, _ = server.accept()
                except OSError:
                    return
                self._clients.append(client)
                self._threads.append(threading.Thread(target=self._serve, args=(client,)))
                self._threads[-1].start()

    def _serve(self, client: socket.socket) -> None:
        with client, socket.create_connection(self._target) as upstream:
            back = threading.Thread(target=pump, args=(upstream, client))
            back.start()
            pump(client, upstream)
            back.join()


def pump(source: socket.socket, sink: socket.socket) -> None:
    with suppress(OSError):
        while data := source.recv(65536):
            sink.sendall(data)
    shut(source)
    shut(sink)


def shut(connection: socket.socket) -> None:
    """End it for both sides; what is blocked on it wakes up."""
    with suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)
