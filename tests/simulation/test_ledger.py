"""Tests of the judge: every promise that a history can break is noticed, and nothing that is allowed is blamed."""

from typing import Any

import pytest

from tests.simulation.ledger import (
    NEVER,
    BrokenPromiseError,
    Ledger,
    Life,
    Reading,
    Refusal,
    Revocation,
    Status,
    Write,
)

TRUST = 60.0
CHECK = 30.0
END = 1_000_000.0


class Book:
    """A ledger, with what a history would tell it in few words. Every step takes a tick."""

    def __init__(self, *, memory_only: bool = False) -> None:
        self.ledger = Ledger(TRUST, CHECK, memory_only=memory_only)
        self.life = self.begin("sid")

    def tick(self, seconds: float = 0.0) -> int:
        self.ledger.tick += 1
        self.ledger.time += seconds
        return self.ledger.tick

    def begin(self, sid: str, *, of: Life | None = None, browser: int = 0) -> Life:
        self.tick()
        life = self.ledger.new_life(sid, END, of=of, browser=browser)
        life.announced = True
        return life

    def open(self, life: Life | None = None) -> Write:
        """Let a request begin that will write."""
        write = Write(len(self.ledger.authors), self.tick())
        self.ledger.belongs(write, life or self.life)
        return write

    def close(self, write: Write, *, revision: int = NEVER, durable: bool = True, stored: bool = True) -> None:
        """Let it be acknowledged, as stored or else as in the cookie."""
        self.tick()
        self.ledger.closed(write, Status.DONE)
        if stored:
            self.ledger.stored(write, revision, durable=durable)

    def set(self, key: str, life: Life | None = None, **how: Any) -> int:
        """Let a request give a key a value, and be acknowledged; returns the value."""
        write = self.open(life)
        number = write.effects[key] = self.ledger.new_value(write)
        self.close(write, **how)
        return number

    def count(self, status: Status = Status.DONE) -> None:
        write = self.open()
        write.added = 1
        if status is Status.DONE:
            self.close(write)
        else:
            self.ledger.closed(write, status)

    def end(self, life: Life | None = None) -> None:
        life = life or self.life
        life.enders += 1
        self.ledger.ended(life, self.tick())
        self.tick()

    def bind(self, sid: str, *, of: Life | None = None, principal: str = "ada") -> Life:
        """Let a session be bound to somebody, or carried to another id by one that is, and be acknowledged."""
        life = self.begin(sid, of=of)
        life.principal, life.carries = principal, of
        self.ledger.bound(life, self.tick())
        return life

    def refusal(self, memory: object = None) -> Refusal:
        return Refusal(self.tick(), (self.ledger.time,), memory)

    def revoke(self, keep: Life | None = None, *, memory: object = "revoker", done: bool = True) -> Revocation:
        """Let all sessions of somebody but one be revoked; that is acknowledged, or unknown."""
        self.tick()
        revocation = self.ledger.revokes("ada", keep)
        self.tick()
        if done:
            self.ledger.revoked(revocation, self.refusal(memory))
        revocation.end = self.ledger.tick
        return revocation

    def read(self, saw: dict[str, Any], sid: str | None = "sid", *, wait: float = 0.0, **how: Any) -> None:
        """Let a request find this."""
        reading = Reading(self.tick(wait), self.ledger.time, self.ledger.time, 0)
        life = self.ledger.lives.get(sid or "", self.life)
        reading.presented, reading.asked = frozenset((life.sid if life.principal else "sid",)), [life]
        for name, value in how.items():
            setattr(reading, name, value)
        self.ledger.read(reading, sid, saw)

    def breaks(self, promise: str, saw: dict[str, Any], sid: str | None = "sid", **how: Any) -> None:
        with pytest.raises(BrokenPromiseError, match=promise):
            self.read(saw, sid, **how)


@pytest.fixture
def book() -> Book:
    return Book()


class TestWhose:
    """Nobody sees another's data."""

    def test_a_session_that_nobody_began(self, book: Book) -> None:
        book.breaks("nobody began", {}, "other")

    def test_a_session_that_was_not_presented(self, book: Book) -> None:
        book.begin("other")
        book.breaks("did not present", {}, "other")

    def test_a_session_of_another_browser(self, book: Book) -> None:
        book.breaks("another browser's", {}, browser=1)

    def test_data_of_another_session(self, book: Book) -> None:
        other = book.begin("other", browser=1)
        book.breaks("what another session", {"k": book.set("k", other)})

    def test_data_under_another_key(self, book: Book) -> None:
        book.breaks("or key, was given", {"other": book.set("k")})

    def test_data_without_a_session(self, book: Book) -> None:
        book.breaks("data without a session", {"k": 0}, None)

    def test_what_was_not_to_be_saved(self, book: Book) -> None:
        write = book.open()
        number = write.effects["k"] = book.ledger.new_value(write)
        write.status = Status.NOT_SAVED
        book.breaks("not to be saved", {"k": number})


class TestEnded:
    """What ended stays ended: at once where the cache was told, else after the trust, and never to be written."""

    def test_read_at_once(self, book: Book) -> None:
        book.end()
        book.breaks("had ended, and is readable", {})

    def test_read_within_the_trust_where_the_cache_was_not_told(self, book: Book) -> None:
        book.end()
        book.ledger.untell()
        book.read({}, wait=TRUST - 1)
        book.breaks("had ended, and is readable", {}, wait=1)

    def test_read_within_the_trust_with_clocks_apart(self, book: Book) -> None:
        book.ledger.spread = 10.0
        book.end()
        book.read({}, wait=TRUST + 9)
        book.breaks("had ended, and is readable", {}, wait=1)

    def test_read_by_a_request_that_had_begun(self, book: Book) -> None:
        begin = book.tick()
        book.end()
        book.read({}, begin=begin)

    def test_read_in_the_cache_alone(self) -> None:
        book = Book(memory_only=True)
        book.ledger.untell()
        book.end()
        book.breaks("had ended, and is readable", {})

    def test_written(self, book: Book) -> None:
        book.end()
        with pytest.raises(BrokenPromiseError, match="a write to it was acknowledged"):
            book.set("k")

    def test_written_by_a_request_that_had_begun(self, book: Book) -> None:
        write = book.open()
        book.end()
        book.close(write)

    def test_moved(self, book: Book) -> None:
        book.end()
        with pytest.raises(BrokenPromiseError, match="a new id carries it on"):
            book.ledger.moved(book.life, book.tick())

    def test_after_a_backup_was_restored(self, book: Book) -> None:
        book.end()
        book.ledger.roll_back(0, [book.life])
        book.read({}, wait=TRUST)

    def test_expired(self, book: Book) -> None:
        book.breaks("after its end", {}, clock=END)


class TestKept:
    """What was acknowledged as stored is read, unless it was overwritten."""

    def test_lost(self, book: Book) -> None:
        book.set("k")
        book.breaks("has lost 'k'", {})

    def test_lost_within_the_trust_where_the_cache_was_not_told(self, book: Book) -> None:
        book.set("k")
        book.ledger.untell()
        book.read({}, wait=TRUST - 1)
        book.breaks("has lost 'k'", {}, wait=1)

    def test_lost_by_a_browser_that_was_told(self, book: Book) -> None:
        book.set("k", revision=5)
        book.ledger.untell()
        book.read({}, floor=4)
        book.breaks("has lost 'k'", {}, floor=5)

    def test_overwritten_by_what_is_older(self, book: Book) -> None:
        old, new = book.set("k"), book.set("k")
        book.read({"k": new})
        book.breaks("changed it later", {"k": old})

    def test_of_two_that_overlap_either(self, book: Book) -> None:
        one, other = book.open(), book.open()
        values = []
        for write in (one, other):
            number = write.effects["k"] = book.ledger.new_value(write)
            values.append(number)
        book.close(one)
        book.close(other)
        for number in values:
            book.read({"k": number})

    def test_of_two_that_overlap_with_different_keys_both(self, book: Book) -> None:
        one, other = book.open(), book.open()
        a = one.effects["a"] = book.ledger.new_value(one)
        b = other.effects["b"] = book.ledger.new_value(other)
        book.close(one)
        book.close(other)
        book.read({"a": a, "b": b})
        book.breaks("has lost 'b'", {"a": a})
        book.breaks("has lost 'a'", {"b": b})

    def test_deleted(self, book: Book) -> None:
        number = book.set("k")
        write = book.open()
        write.effects["k"] = None
        book.close(write)
        book.read({})
        book.breaks("changed it later", {"k": number})

    def test_cleared(self, book: Book) -> None:
        number = book.set("k")
        write = book.open()
        write.cleared = True
        book.close(write)
        book.read({})
        book.breaks("changed it later", {"k": number})

    def test_under_a_new_id(self, book: Book) -> None:
        number = book.set("k")
        life = book.begin("new", of=book.life)
        life.parent = book.life
        presented = frozenset(("new",))
        book.read({"k": number}, "new", presented=presented)
        book.breaks("has lost 'k'", {}, "new", presented=presented)

    def test_what_was_read_stays(self, book: Book) -> None:
        write = book.open()
        number = write.effects["k"] = book.ledger.new_value(write)
        book.ledger.closed(write, Status.UNKNOWN)
        book.read({})
        book.read({"k": number})
        book.breaks("has lost 'k'", {}, wait=TRUST)

    def test_restored_from_a_backup(self, book: Book) -> None:
        book.set("k")
        book.ledger.roll_back(0, [book.life])
        book.read({}, wait=TRUST)

    def test_quick(self, book: Book) -> None:
        book.set("q", durable=False)
        book.breaks("has lost 'q'", {})

    def test_quick_after_a_loss_of_the_cache(self, book: Book) -> None:
        book.set("q", durable=False)
        book.ledger.unsound = book.tick()
        book.read({})

    def test_quick_before_a_regular_write_from_the_cookie(self, book: Book) -> None:
        book.set("q", durable=False)
        write = book.open()
        write.from_cookie = True
        number = write.effects["k"] = book.ledger.new_value(write)
        book.close(write)
        book.read({"k": number})

    def test_quick_before_a_regular_write_that_saw_it(self, book: Book) -> None:
        book.set("q", durable=False)
        number = book.set("k")
        book.breaks("has lost 'q'", {"k": number})

    def test_a_record_that_ended_while_its_cookie_went_on(self, book: Book) -> None:
        book.set("k")
        book.life.earliest_end = book.ledger.time + TRUST
        book.breaks("has lost 'k'", {}, wait=TRUST)
        book.life.inline_copies.append({})
        book.read({})


class TestMayHaveEnded:
    """A cookie that comes long after its session may have ended may be deleted."""

    def test_by_nothing(self, book: Book) -> None:
        assert not book.ledger.may_have_ended_by(book.life, END)

    def test_by_a_request(self, book: Book) -> None:
        book.life.enders, book.life.first_end = 1, 50.0
        assert book.ledger.may_have_ended_by(book.life, 50.0)
        assert not book.ledger.may_have_ended_by(book.life, 49.0)

    def test_by_a_revocation(self, book: Book) -> None:
        book.tick(50.0)
        life = book.bind("bound")
        book.revoke()
        assert book.ledger.may_have_ended_by(life, 50.0)
        assert not book.ledger.may_have_ended_by(life, 49.0)
        assert not book.ledger.may_have_ended_by(book.life, 50.0)

    def test_by_a_backup(self, book: Book) -> None:
        book.ledger.roll_back(0, [book.life])
        assert book.ledger.may_have_ended_by(book.life, 0.0)


class TestCounted:
    """A counter ends between what was acknowledged and that plus what is unknown."""

    def test_too_few(self, book: Book) -> None:
        book.count()
        book.count()
        book.read({"n": 2})
        book.breaks("counts 1, which should be between 2 and 2", {"n": 1})

    def test_too_many(self, book: Book) -> None:
        book.count()
        book.count(Status.UNKNOWN)
        book.read({"n": 1})
        book.read({"n": 2})
        book.breaks("counts 3, which should be between 1 and 2", {"n": 3})

    def test_cleared(self, book: Book) -> None:
        book.count()
        write = book.open()
        write.cleared = True
        book.close(write)
        book.count()
        book.breaks("counts 2, which should be between 1 and 1", {"n": 2})


class TestThere:
    """A session that is there is not taken for none."""

    def test_stored(self, book: Book) -> None:
        book.set("k")
        book.breaks("was told that there is no session", {}, None)

    def test_in_the_cookie(self, book: Book) -> None:
        book.breaks("was told that there is no session", {}, None, inline=True)

    def test_stored_only_after_the_request_began(self, book: Book) -> None:
        begin = book.tick()
        book.set("k")
        book.read({}, None, begin=begin)

    def test_ended(self, book: Book) -> None:
        book.set("k")
        book.end()
        book.read({}, None)

    def test_not_what_its_cookie_held(self, book: Book) -> None:
        number = book.set("k", stored=False)
        book.read({"k": number}, inline=True, content={"k": number})
        book.breaks("not what its cookie held", {}, inline=True, content={"k": number})

    def test_hidden_by_an_older_cookie(self, book: Book) -> None:
        book.breaks("an older cookie hides it", {}, inline=True, content={}, hides=book.life)


class TestBound:
    """A bound session that ended or was revoked is refused: at once, or `CHECK` seconds later by the reader's clock."""

    @pytest.mark.parametrize("inline", [True, False])
    def test_revoked(self, book: Book, inline: bool) -> None:
        book.bind("a")
        book.revoke()
        book.read({}, "a", inline=inline, content={}, wait=CHECK - 1)
        book.breaks("was revoked, and is live", {}, "a", inline=inline, content={}, wait=1)

    def test_revoked_here(self, book: Book) -> None:
        book.bind("a")
        book.revoke(memory="here")
        book.breaks("was revoked, and is live", {}, "a", memory="here")

    def test_ended(self, book: Book) -> None:
        life = book.bind("a")
        life.left = book.refusal()
        book.breaks("had ended, and is live", {}, "a", inline=True, content={}, wait=CHECK)

    def test_read_while_nobody_answers(self, book: Book) -> None:
        book.bind("a")
        book.revoke()
        book.read({}, "a", wait=CHECK, unanswered=True)

    def test_read_by_a_request_that_had_begun(self, book: Book) -> None:
        book.bind("a")
        begin = book.tick()
        book.revoke(memory="here")
        book.read({}, "a", memory="here", begin=begin)

    def test_spared(self, book: Book) -> None:
        book.revoke(book.bind("a"))
        book.read({}, "a", wait=CHECK)
        book.breaks("was told that there is no session", {}, None, asked=[book.ledger.lives["a"]], inline=True)

    def test_of_somebody_else(self, book: Book) -> None:
        bob = book.bind("b", principal="bob")
        book.revoke()
        book.read({}, "b", wait=CHECK)
        for life in (bob, book.life):
            book.breaks("was told that there is no session", {}, None, asked=[life], inline=True)

    def test_unknown_whether_revoked(self, book: Book) -> None:
        life = book.bind("a")
        book.revoke(done=False)
        book.read({}, "a", wait=CHECK)
        book.read({}, None, asked=[life], inline=True)

    def test_bound_afterwards(self, book: Book) -> None:
        book.revoke()
        life = book.bind("a")
        book.read({}, "a", wait=CHECK)
        book.breaks("was told that there is no session", {}, None, asked=[life], inline=True)

    def test_under_a_new_id(self, book: Book) -> None:
        old = book.bind("a")
        book.revoke()
        with pytest.raises(BrokenPromiseError, match="carries on what was revoked"):
            book.bind("b", of=old)

    def test_under_a_new_id_meanwhile(self, book: Book) -> None:
        old = book.bind("a")
        begin = book.tick()
        book.revoke()
        life = book.begin("b", of=old)
        life.principal, life.carries = "ada", old
        book.ledger.bound(life, begin)
        book.breaks("was revoked, and is live", {}, "b", wait=CHECK)

    def test_taken_from_the_list_by_a_backup(self, book: Book) -> None:
        life = book.bind("a")
        book.ledger.roll_back(life.bound_at, [life])
        book.revoke(memory="here")
        book.read({}, "a", memory="here", wait=CHECK - 1)
        book.breaks("was revoked, and is live", {}, "a", memory="here", wait=1)

    def test_after_a_backup_was_restored(self, book: Book) -> None:
        life = book.bind("a")
        life.left = book.refusal()
        book.revoke()
        book.ledger.roll_back(0, [life])
        book.bind("b", of=life)
        book.read({}, "a", wait=CHECK)


class TestListed:
    """A principal's list has those of their sessions that are live, and no other."""

    def listed(self, book: Book, *labels: str, principal: str = "ada") -> None:
        book.ledger.listed(principal, {*labels}, book.tick(), book.ledger.time)

    def test_bound(self, book: Book) -> None:
        book.bind("a").label = "1"
        self.listed(book, "1")
        with pytest.raises(BrokenPromiseError, match="is bound, and not on the list"):
            self.listed(book)

    def test_of_somebody_else(self, book: Book) -> None:
        book.bind("b", principal="bob").label = "1"
        self.listed(book)
        with pytest.raises(BrokenPromiseError, match="is not ada's is on their list"):
            self.listed(book, "1")

    def test_revoked(self, book: Book) -> None:
        book.bind("a").label = "1"
        book.revoke()
        self.listed(book)
        with pytest.raises(BrokenPromiseError, match="had ended, and is on the list"):
            self.listed(book, "1")

    def test_under_a_new_id(self, book: Book) -> None:
        old = book.bind("a")
        old.label, old.enders, old.left = "1", 1, book.refusal()
        new = book.bind("b", of=old)
        new.label = "1"
        self.listed(book, "1")
        new.left = book.refusal()
        with pytest.raises(BrokenPromiseError, match="had ended, and is on the list"):
            self.listed(book, "1")

    def test_unknown_whether_revoked(self, book: Book) -> None:
        book.bind("a").label = "1"
        book.revoke(done=False)
        self.listed(book)
        self.listed(book, "1")
