"""Tests of `holdall_stores.threads`: synchronous stores off the event loop, with tasks and threads held by events."""

import asyncio
import os
import subprocess
import sys
import threading
from collections.abc import Callable
from contextvars import ContextVar
from pathlib import Path
from typing import Any

import pytest
from holdall import Answer, Command, Expect, Found, Get, Missing, Put, Stored, StoreError, Tier, UsageError, arun
from holdall.testing import FakeClock, RecordingStores
from holdall_stores import SQLite, Stores, in_threads

from tests.core.support import World, big, put

GET = Get(Tier.DURABLE, "key")
LATER = 2**33  # seconds UTC since 1970
PATIENCE = 60  # seconds until a test gives up; it decides nothing


def put_command(key: str, value: bytes = b"value") -> Put:
    return Put(Tier.DURABLE, key, value, LATER, Expect.ABSENT)


class Gate:
    """Stores whose commands wait until the test opens the gate, and which tell who is in."""

    def __init__(self) -> None:
        self.opened = threading.Event()
        self.entered = threading.Semaphore(0)
        self.threads: set[threading.Thread] = set()
        self.done: list[Command] = []
        self.inside = self.most = 0
        self._lock = threading.Lock()

    def execute(self, commands: tuple[Command, ...], /) -> tuple[Answer | StoreError, ...]:
        with self._lock:
            self.threads.add(threading.current_thread())
            self.inside += 1
            self.most = max(self.most, self.inside)
        self.entered.release()
        assert self.opened.wait(PATIENCE)
        with self._lock:
            self.inside -= 1
            self.done += commands
        return tuple(Missing() for _ in commands)


class Asking:
    """Stores that ask a function for every command."""

    def __init__(self, ask: Callable[[Command], Any]) -> None:
        self._ask = ask

    def execute(self, commands: tuple[Command, ...], /) -> tuple[Answer | StoreError, ...]:
        return tuple(self._ask(command) for command in commands)


async def entered(gate: Gate, times: int = 1) -> None:
    """Wait until so many commands are in, without stopping the event loop."""
    for _ in range(times):
        assert await asyncio.to_thread(gate.entered.acquire, timeout=PATIENCE)


class TestExecute:
    """What it answers, and where."""

    def test_answers_are_those_of_the_stores(self) -> None:
        """Answers and errors come in the order of the commands, as from the stores themselves."""
        stores = RecordingStores(FakeClock())
        stores.down = {Tier.CACHE}
        threaded = in_threads(stores)

        async def main() -> tuple[Answer | StoreError, ...]:
            await threaded.execute((put_command("key"),))
            return await threaded.execute((Get(Tier.CACHE, "key"), GET, Get(Tier.DURABLE, "other")))

        failed, found, missing = asyncio.run(main())
        assert isinstance(failed, StoreError)
        assert (found, missing) == (Found(b"value", 1), Missing())
        threaded.close()

    def test_the_event_loop_goes_on(self) -> None:
        """While a command waits for its store, the loop runs other tasks, in another thread."""
        gate = Gate()

        async def main() -> None:
            task = asyncio.ensure_future(in_threads(gate).execute((GET,)))
            await entered(gate)  # which this loop could not tell if it were stopped
            assert not task.done()
            gate.opened.set()
            assert await task == (Missing(),)

        asyncio.run(main())
        assert threading.current_thread() not in gate.threads

    def test_flows_run_through(self) -> None:
        """Whole flows of the core, driven by arun, leave what they leave with synchronous stores."""
        world = World()
        threaded = in_threads(world.stores)

        async def visit(act: Callable[[Any], Any]) -> Any:
            exchange = world.manager.open(world.browser.header)
            await arun(exchange.load(), threaded)
            result = act(exchange.session)
            world.browser.receive(await arun(exchange.commit(status=200, headers=[]), threaded))
            await arun(exchange.finish(), threaded)
            return result

        asyncio.run(visit(put(big=big(), n=1)))
        assert asyncio.run(visit(lambda session: session.incr("n"))) == 2
        assert world.read() == {"big": big(), "n": 2}

    def test_context_variables_are_kept(self) -> None:
        """A store sees the context variables of the task that asks, and cannot change them there."""
        who: ContextVar[str] = ContextVar("who", default="nobody")
        seen: list[str] = []

        def ask(command: Command) -> Missing:
            seen.append(who.get())
            who.set("the store")
            return Missing()

        async def one(threaded: Any, name: str) -> None:
            who.set(name)
            await threaded.execute((GET,))
            assert who.get() == name

        async def main() -> None:
            threaded = in_threads(Asking(ask), 2)
            await asyncio.gather(*(one(threaded, name) for name in "abcd"))

        asyncio.run(main())
        assert sorted(seen) == ["a", "b", "c", "d"]

    def test_usage_errors_reach_the_caller(self) -> None:
        """What the stores raise is raised where it was awaited, and the thread lives on."""
        threaded = in_threads(RecordingStores(FakeClock()))

        async def main() -> Any:
            with pytest.raises(AttributeError):
                await threaded.execute((None,))  # type: ignore[arg-type]
            return await threaded.execute((GET,))

        assert asyncio.run(main()) == (Missing(),)


class TestLimit:
    """How many threads there are."""

    def test_no_more_threads_than_the_limit(self) -> None:
        """With a limit of 3, twelve commands at once have three threads, and all are carried out."""
        gate = Gate()

        async def main() -> None:
            threaded = in_threads(gate, limit=3)
            tasks = [asyncio.ensure_future(threaded.execute((GET,))) for _ in range(12)]
            await entered(gate, 3)
            gate.opened.set()
            await asyncio.gather(*tasks)

        asyncio.run(main())
        assert (gate.most, len(gate.done)) == (3, 12)

    @pytest.mark.parametrize("limit", [0, -1, 1.5, None, True])
    def test_a_limit_that_is_none_is_refused(self, limit: Any) -> None:
        """A limit must be a number of at least 1."""
        with pytest.raises(UsageError, match="limit="):
            in_threads(RecordingStores(FakeClock()), limit)

    def test_asynchronous_stores_are_refused(self) -> None:
        """Stores that are asynchronous already say so at start-up, not with the first session."""
        threaded = in_threads(RecordingStores(FakeClock()))
        with pytest.raises(UsageError, match="asynchronous already"):
            in_threads(threaded)  # type: ignore[arg-type]

    def test_no_thread_before_the_first_command(self) -> None:
        """An application whose sessions all fit the cookie starts no thread."""
        before = threading.active_count()
        in_threads(RecordingStores(FakeClock()))
        assert threading.active_count() == before


class TestCancellation:
    """The task that waits is cancelled."""

    def test_a_running_command_is_completed(self) -> None:
        """The waiter is let go at once, the thread carries its command out, and takes the next one."""
        gate = Gate()

        async def main() -> None:
            threaded = in_threads(gate, limit=1)
            task = asyncio.ensure_future(threaded.execute((put_command("first"),)))
            await entered(gate)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert gate.done == []
            gate.opened.set()
            await threaded.execute((put_command("second"),))

        asyncio.run(main())
        assert [command.key for command in gate.done] == ["first", "second"]

    def test_a_waiting_command_is_dropped(self) -> None:
        """A command that had no thread yet when its waiter was cancelled is never carried out."""
        gate = Gate()

        async def main() -> None:
            threaded = in_threads(gate, limit=1)
            first = asyncio.ensure_future(threaded.execute((put_command("first"),)))
            await entered(gate)
            second = asyncio.ensure_future(threaded.execute((put_command("second"),)))
            await asyncio.sleep(0)  # now it waits for the thread
            second.cancel()
            with pytest.raises(asyncio.CancelledError):
                await second
            gate.opened.set()
            await first
            threaded.close()

        asyncio.run(main())
        assert [command.key for command in gate.done] == ["first"]

    def test_nothing_is_left_locked(self, tmp_path: Path) -> None:
        """SQLite is free for the next writer although the waiter of the last one was cancelled in the middle."""
        stores = Stores(durable=SQLite(tmp_path / "sessions.sqlite3"))
        stores.execute((put_command("before"),))
        inside, opened = threading.Event(), threading.Event()

        class Slow:
            def execute(self, commands: tuple[Command, ...], /) -> tuple[Answer | StoreError, ...]:
                inside.set()
                assert opened.wait(PATIENCE)
                return stores.execute(commands)

        async def main() -> tuple[Answer | StoreError, ...]:
            threaded = in_threads(Slow(), limit=2)
            task = asyncio.ensure_future(threaded.execute((put_command("first"),)))
            assert await asyncio.to_thread(inside.wait, PATIENCE)
            task.cancel()
            opened.set()
            (stored,) = await threaded.execute((put_command("second"),))
            assert isinstance(stored, Stored)
            threaded.close()
            return stores.execute((Get(Tier.DURABLE, "first"), Get(Tier.DURABLE, "second")))

        assert all(isinstance(answer, Found) for answer in asyncio.run(main()))
        stores.close()


class TestLoopsAndProcesses:
    """Several event loops, forks, and the end."""

    def test_several_event_loops_one_after_the_other(self) -> None:
        """A loop that ended takes nothing along that the next one needs."""
        threaded = in_threads(RecordingStores(FakeClock()))
        answers = [asyncio.run(threaded.execute((put_command(str(number)),))) for number in range(3)]
        assert answers == [(Stored(1),), (Stored(2),), (Stored(3),)]

    def test_several_event_loops_at_once(self) -> None:
        """Loops in several threads share one pool, and each gets its own answers."""
        threaded = in_threads(RecordingStores(FakeClock()), limit=2)
        together = threading.Barrier(4)
        found: dict[str, list[Answer | StoreError]] = {}

        async def visit(name: str) -> None:
            together.wait(PATIENCE)
            await threaded.execute((put_command(name, name.encode()),))
            found[name] = [(await threaded.execute((Get(Tier.DURABLE, name),)))[0] for _ in range(20)]

        threads = [threading.Thread(target=lambda name: asyncio.run(visit(name)), args=(name,)) for name in "abcd"]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(PATIENCE)
        values = {name: [answer.value for answer in each if isinstance(answer, Found)] for name, each in found.items()}
        assert values == {name: [name.encode()] * 20 for name in "abcd"}

    @pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
    @pytest.mark.filterwarnings("ignore:.*use of fork:DeprecationWarning")
    def test_works_on_after_a_fork(self, tmp_path: Path) -> None:
        """A child of a process whose threads were busy has threads of its own, and the parent keeps its own."""
        threaded = in_threads(Stores(durable=SQLite(tmp_path / "sessions.sqlite3")))
        asyncio.run(threaded.execute((put_command("parent"),)))
        if (child := os.fork()) == 0:
            code = 1
            try:
                answers = asyncio.run(threaded.execute((Get(Tier.DURABLE, "parent"), put_command("child"))))
                threaded.close()
                code = 0 if isinstance(answers[0], Found) and isinstance(answers[1], Stored) else 2
            finally:
                os._exit(code)
        assert os.waitpid(child, 0)[1] == 0
        (found,) = asyncio.run(threaded.execute((Get(Tier.DURABLE, "child"),)))
        assert isinstance(found, Found)
        threaded.close()

    def test_close_waits_and_ends_the_threads(self) -> None:
        """Close returns when what was under way is done, the threads are gone, and the stores were closed."""
        closed: list[list[Command]] = []

        class Closing(Gate):
            def close(self) -> None:
                closed.append(list(self.done))

        gate = Closing()
        threaded = in_threads(gate)

        async def main() -> None:
            task = asyncio.ensure_future(threaded.execute((GET,)))
            await entered(gate)
            task.cancel()

        asyncio.run(main())
        threading.Timer(0.01, gate.opened.set).start()  # while close waits, or before
        threaded.close()
        assert closed == [[GET]]
        assert [thread.is_alive() for thread in gate.threads] == [False]

    def test_works_on_after_close(self) -> None:
        """A command after close starts a thread anew, as the stores open their connections anew."""
        threaded = in_threads(RecordingStores(FakeClock()))
        asyncio.run(threaded.execute((GET,)))
        threaded.close()
        assert asyncio.run(threaded.execute((GET,))) == (Missing(),)
        threaded.close()

    def test_the_process_ends_by_itself(self) -> None:
        """A program that never closes anything ends all the same, without a word."""
        script = (
            "import asyncio; from holdall import Get, Tier; from holdall.testing import FakeClock, RecordingStores;"
            "from holdall_stores import in_threads;"
            "asyncio.run(in_threads(RecordingStores(FakeClock())).execute((Get(Tier.DURABLE, 'key'),)))"
        )
        ended = subprocess.run([sys.executable, "-W", "error", "-c", script], capture_output=True, timeout=PATIENCE)
        assert (ended.returncode, ended.stdout, ended.stderr) == (0, b"", b"")

    def test_imported_when_used(self) -> None:
        """A program without an event loop does not pay for asyncio."""
        script = "import sys, holdall_stores; sys.exit('asyncio' in sys.modules or 'concurrent.futures' in sys.modules)"
        assert subprocess.run([sys.executable, "-c", script], timeout=PATIENCE).returncode == 0
