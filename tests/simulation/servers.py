"""A cache and a durable store in memory, with all that befalls real ones; what a browser keeps is in `simulator`.

They keep the contract of docs/stores.md, and pass the conformance suite of real stores. No fault is decided here.
"""

from collections.abc import Callable

from holdall import Answer, Command, Conflict, Delete, Deleted, Expect, Found, Get, Missing, Put, Stored

Kept = dict[str, tuple[bytes, int, int]]
"""key → (value, version, absolute end in seconds UTC since 1970)."""


class Server:
    """What the cache and the durable store have in common. `clock` returns seconds UTC since 1970."""

    tells_version = True

    def __init__(self, clock: Callable[[], float]) -> None:
        self.kept: Kept = {}
        self.version = 0
        self._clock = clock

    def execute(self, command: Command) -> Answer:
        """Carry out one command."""
        key = command.key
        there = self.kept.get(key)
        if there is not None and there[2] <= self._clock():
            del self.kept[key]
            there = None
        if type(command) is Get:
            return Missing() if there is None else Found(there[0], there[1])
        if type(command) is Put:
            expect = command.expect
            if expect is Expect.ABSENT:
                if there is not None:
                    return Conflict()
            elif expect is not Expect.ANYTHING and (there is None or there[1] != expect):
                return Conflict()
            self.version += 1
            self.kept[key] = (command.value, self.version, command.expires)
            return Stored(self.version if self.tells_version else None)
        assert type(command) is Delete
        self.kept.pop(key, None)
        return Deleted()

    def close(self) -> None:
        """Let go of nothing: there is nothing but memory."""


class Cache(Server):
    """As memcached: does not tell the version of what it stored, and counts anew after a restart."""

    tells_version = False

    def __init__(self, clock: Callable[[], float]) -> None:
        super().__init__(clock)
        self._replica: Kept = {}
        self._primary: Kept | None = None

    def flush(self) -> None:
        """Forget everything."""
        self.kept.clear()

    def restart(self) -> None:
        """Forget everything, the count of versions as well."""
        self.kept.clear()
        self.version = 0

    def replicate(self) -> None:
        """Let the replica, which is not asked for anything yet, be as this moment is."""
        self._replica = dict(self.kept)

    def fail_over(self) -> None:
        """Let the replica answer from now on, with whatever it has."""
        if self._primary is None:
            self._primary, self.kept = self.kept, self._replica

    def fail_back(self) -> None:
        """Let the primary answer again, with what it had when it failed."""
        if self._primary is not None:
            self.kept, self._replica = self._primary, self.kept
            self._primary = None


class Durable(Server):
    """As Datastore and SQLite: versions grow over the whole store and never repeat, not even after a restore.

    `newer`: the keys under which a newer version of the software wrote a record that this one does not know.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        super().__init__(clock)
        self.newer: set[str] = set()
        self._backup: tuple[Kept, frozenset[str]] = ({}, frozenset())

    def back_up(self) -> None:
        """Keep all that is there, to be restored."""
        self._backup = dict(self.kept), frozenset(self.newer)

    def restore(self) -> None:
        """Be as the last backup was."""
        kept, newer = self._backup
        self.kept, self.newer = dict(kept), set(newer)
