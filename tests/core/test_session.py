"""The mapping and the verbs, as docs/contract.md promises them (rows of "Kept" by their first words)."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from holdall import Session, SessionCommitted, SessionNotLoaded, UsageError, run
from hypothesis import given
from hypothesis import strategies as st

from tests.core.support import World, big, persist

SIZES = pytest.mark.parametrize("extra", ["", big(20_000)], ids=["cookie", "stored"])


def begun(extra: str, **options: Any) -> World:
    world = World(**options)
    world.request(lambda session: session.update({"n": 1, "list": [1, {"a": 2}], "extra": extra}))
    return world


class TestMapping:
    """Kept: mapping."""

    @pytest.mark.requirement(18)
    @pytest.mark.parametrize(
        "look",
        [
            lambda s: s.get("x"),
            lambda s: "x" in s,
            lambda s: s.pop("x"),
            lambda s: s.clear(),
            len,
            list,
            bool,
            dict,
            str,
            lambda s: s.is_active(),
            lambda s: s.pop_quick("x"),
            lambda s: s.terminate(),
            lambda s: s.regenerate_id(),
            lambda s: s.save(persist_even_if_using_cookie=True),
            lambda s: s.update({}),
            lambda s: s.sid,
            lambda s: s.get_expiration(),
        ],
    )
    def test_nothing_before_the_first_write(self, look: Callable[[Session], Any]) -> None:
        """Nothing but a write starts a session: no cookie, no command."""
        world = World()
        world.request(look)
        assert world.set_cookies() == []
        assert world.did == []

    @SIZES
    def test_reads(self, extra: str) -> None:
        """Everything a mapping offers for reading works, wherever the session is."""
        world = begun(extra)

        def act(session: Session) -> None:
            assert session["n"] == 1
            assert session.get("n") == 1
            assert session.get("none", 5) == 5
            assert "n" in session
            assert session.has_key("list")
            assert "none" not in session
            assert list(session) == ["n", "list", "extra"]
            assert len(session) == 3
            assert session
            assert dict(session.items()) == {"n": 1, "list": [1, {"a": 2}], "extra": extra}
            assert next(iter(session.values())) == 1
            with pytest.raises(KeyError):
                session["none"]

        world.request(act)
        assert world.set_cookies() == []

    @SIZES
    def test_writes(self, extra: str) -> None:
        """Everything a mapping offers for writing works, and is there in the next request."""
        world = begun(extra)

        def act(session: Session) -> None:
            session["a"] = 1
            del session["n"]
            assert "n" not in session
            assert session.pop("n") is None
            assert session.pop("n", 7) == 7
            assert session.pop("list") == [1, {"a": 2}]
            assert session.setdefault("a", 2) == 1
            assert session.setdefault("b", 2) == 2
            session.update(c=3)
            session |= {"d": 4}
            with pytest.raises(KeyError):
                del session["n"]
            with pytest.raises(KeyError):
                session["list"]
            assert list(session) == ["extra", "a", "b", "c", "d"]

        world.request(act)
        assert world.read() == {"extra": extra, "a": 1, "b": 2, "c": 3, "d": 4}

    @SIZES
    def test_popitem_and_clear(self, extra: str) -> None:
        """Popitem takes a pair out; clear empties and leaves the session active."""
        world = begun(extra)
        key, _ = world.request(Session.popitem)
        assert key not in world.read()
        world.request(Session.clear)
        assert world.read() == {}
        assert world.request(Session.is_active)

    @SIZES
    def test_deleted_and_assigned_again(self, extra: str) -> None:
        """The last thing done to a key is what counts."""
        world = begun(extra)

        def act(session: Session) -> None:
            del session["n"]
            session["n"] = 5
            session["x"] = 1
            del session["x"]
            session.clear()
            session["y"] = 1

        world.request(act)
        assert world.read() == {"y": 1}

    @SIZES
    @pytest.mark.parametrize(
        "same",
        [
            lambda s: s.update(n=1),
            lambda s: s.pop("none"),
            lambda s: s.update(list=[1, {"a": 2}]),
            lambda s: s["list"].append(s["list"].pop()),
            lambda s: s.incr("n", 0),
            lambda s: s.save(),
        ],
    )
    def test_what_changes_nothing_writes_nothing(self, extra: str, same: Callable[[Session], Any]) -> None:
        """Writes once, only when something changed: equal values and missing keys are neither sent nor stored."""
        world = begun(extra)
        world.request(same)
        assert world.set_cookies() == []
        assert [step for step in world.did if step.startswith("put")] == []

    @SIZES
    @pytest.mark.parametrize("value", [True, 1.0, "1"])
    def test_another_type_is_another_value(self, extra: str, value: Any) -> None:
        """1, True and 1.0 are different values, though Python calls them equal."""
        world = begun(extra)
        world.request(lambda session: session.update(n=value))
        assert type(world.read()["n"]) is type(value)

    @SIZES
    def test_changes_in_place_are_noticed(self, extra: str) -> None:
        """A list or dict that was handed out and changed is saved."""
        world = begun(extra)
        world.request(lambda session: session["list"][1].update(a=3))
        assert world.read()["list"] == [1, {"a": 3}]

    def test_one_object_per_key(self) -> None:
        """Within a request a key hands out one object, however often it is asked for."""
        world = begun("")
        assert world.request(lambda session: session["list"] is session["list"])

    def test_keys_are_str(self) -> None:
        """A key that is no str is refused by name where it is assigned."""
        with pytest.raises(UsageError, match="must be a str, not int"):
            World().request(lambda session: session.__setitem__(1, 1))  # type: ignore[index]

    def test_keys_are_well_formed(self) -> None:
        """A key with a lone surrogate is refused where it is assigned, and any other text is fine."""
        with pytest.raises(UsageError, match="surrogate"):
            World().request(lambda session: session.update({"\ud800": 1}))
        world = World()
        world.request(lambda session: session.update({"\U0001f9f3 ключ": 1}))
        assert world.read() == {"\U0001f9f3 ключ": 1}

    def test_what_cannot_be_kept_names_the_key(self) -> None:
        """A value that cannot be kept is refused with its key and type, and the session is as it was."""
        world = begun("")
        with pytest.raises(UsageError, match=r"session\['bad'\].*object"):
            world.request(lambda session: session.update(bad=[object()]))
        assert world.read()["n"] == 1

    @given(
        st.lists(st.tuples(st.sampled_from(["set", "del", "pop", "clear", "incr", "quick"]), st.sampled_from("abc"))),
        st.lists(st.tuples(st.sampled_from("abc"), st.integers()), max_size=3),
        st.booleans(),
    )
    def test_it_behaves_as_a_dict(
        self, actions: list[tuple[str, str]], start: list[tuple[str, int]], is_stored: bool
    ) -> None:
        """Any sequence of changes leaves what it would leave in a dict, in this request and in the next."""
        world = World(cookie_only_threshold=0 if is_stored else 3800)
        model: dict[str, Any] = dict(start)
        world.request(lambda session: session.update(model))

        def act(session: Session) -> None:
            for number, (action, key) in enumerate(actions):
                match action:
                    case "set":
                        session[key] = model[key] = number
                    case "quick":
                        session.set_quick(key, number)
                        model[key] = number
                    case "del" if key in model:
                        del session[key], model[key]
                    case "pop":
                        assert session.pop(key) == model.pop(key, None)
                    case "clear":
                        session.clear()
                        model.clear()
                    case "incr":
                        model[key] = model.get(key, 0) + 2
                        assert session.incr(key, 2) == model[key]
                assert dict(session) == model
                assert len(session) == len(model)

        world.request(act)
        assert world.read() == model


class TestVerbs:
    """Kept: start, terminate, regenerate_id, ssl_only, save, incr."""

    @SIZES
    def test_start_replaces(self, extra: str) -> None:
        """start() wipes the data and gives a new id; the old session has ended."""
        world = begun(extra)
        old = world.browser.copy()
        before = world.request(lambda session: session.sid)
        world.request(Session.start)
        assert world.read() == {}
        assert world.request(lambda session: session.is_active() and session.sid != before)
        if extra:
            assert world.read(old) == {}

    @pytest.mark.requirement(16)
    def test_start_browser_session(self) -> None:
        """Expiration 0 makes a cookie without Max-Age, which still ends on the server after the lifetime."""
        world = World()
        world.request(lambda session: session.start(0))
        (cookie,) = world.set_cookies()
        assert "Max-Age" not in cookie
        assert "Expires" not in cookie
        assert world.request(Session.get_expiration) == 0
        world.later(days=7, seconds=-1)
        assert world.request(Session.is_active)
        world.later(seconds=2)
        assert not world.request(Session.is_active)

    def test_start_in_the_past(self) -> None:
        """A past time is active in this request and gone in the next."""
        world = begun("")
        past = int(world.clock()) - 10

        def act(session: Session) -> None:
            session.start(past)
            session["n"] = 5
            assert session.is_active()
            assert session["n"] == 5

        world.request(act)
        assert not world.request(Session.is_active)
        assert world.browser.cookies == {}

    def test_start_refuses_nonsense(self) -> None:
        """An expiration that is no time is refused."""
        with pytest.raises(UsageError, match="expiration_ts"):
            World().request(lambda session: session.start(-5))

    @pytest.mark.requirement(14)
    @SIZES
    def test_terminate(self, extra: str) -> None:
        """After terminate() the session is gone and its cookies are deleted."""
        world = begun(extra)
        world.request(Session.terminate)
        assert world.browser.cookies == {}
        assert not world.request(Session.is_active)

    @SIZES
    def test_assigning_after_terminate_starts_anew(self, extra: str) -> None:
        """What is assigned after terminate() in the same request starts a new session, and that one wins."""
        world = begun(extra)
        before = world.request(lambda session: session.sid)

        def act(session: Session) -> None:
            session.terminate()
            assert not session.is_active()
            session["new"] = 1

        world.request(act)
        assert world.read() == {"new": 1}
        assert world.request(lambda session: session.sid) != before

    @pytest.mark.requirement(13, 16)
    @SIZES
    def test_regenerate_id(self, extra: str) -> None:
        """regenerate_id() gives a new id, carries the data over, and leaves the end where it was."""
        world = begun(extra)
        old = world.browser.copy()
        sid, ends = world.request(lambda session: (session.sid, session.get_expiration()))
        world.later(hours=1)

        def act(session: Session) -> None:
            session["user"] = "ada"
            session.regenerate_id()
            session["after"] = 1

        world.request(act)
        assert world.request(lambda session: session.sid) != sid
        assert world.request(Session.get_expiration) == ends
        assert {"n": 1, "user": "ada", "after": 1}.items() <= world.read().items()
        if extra:
            assert world.read(old) == {}

    def test_regenerate_id_on_nothing(self) -> None:
        """Without a session it does nothing, unless an expiration is given: then it starts one."""
        world = World()
        world.request(Session.regenerate_id)
        assert world.set_cookies() == []
        world.request(lambda session: session.regenerate_id(int(world.clock()) + 100))
        assert world.request(Session.get_expiration) == int(world.clock()) + 100

    @pytest.mark.requirement(16)
    @SIZES
    def test_regenerate_id_extends_on_demand(self, extra: str) -> None:
        """With an expiration the new id lives until then."""
        world = begun(extra)
        ends = int(world.clock()) + 86_400 * 30
        world.request(lambda session: session.regenerate_id(ends))
        world.later(days=20)
        assert world.read()["n"] == 1
        assert world.request(Session.get_expiration) == ends

    @SIZES
    def test_ssl_only(self, extra: str) -> None:
        """ssl_only puts Secure on the cookie, is recorded, and survives regenerate_id."""
        from holdall import CookieOptions

        world = World(cookie=CookieOptions(secure=False))

        def act(session: Session) -> None:
            session.start(ssl_only=True)
            session["extra"] = extra

        world.request(act)
        assert "; Secure" in world.set_cookies()[0]
        world.request(Session.regenerate_id)
        assert "; Secure" in world.set_cookies()[0]
        assert world.request(Session.is_ssl_only)

    @pytest.mark.requirement(16)
    @SIZES
    def test_absolute_lifetime(self, extra: str) -> None:
        """The end is exact and no write moves it."""
        world = begun(extra, lifetime=timedelta(hours=1))
        world.later(minutes=59)
        world.request(lambda session: session.update(n=2))
        assert world.read()["n"] == 2
        world.later(minutes=1)
        assert world.read() == {}
        assert world.browser.cookies == {}  # expired ones authenticate, and are deleted

    @pytest.mark.requirement(16)
    @SIZES
    def test_idle_timeout(self, extra: str) -> None:
        """Idle time ends a session after T and not before 0.9 T since the last touched request."""
        world = begun(extra, idle_timeout=timedelta(seconds=100))
        for _ in range(5):
            world.later(seconds=89)
            assert world.read()["n"] == 1
            assert [step for step in world.did if step.startswith("put durable")] == []
        world.later(seconds=101)
        assert world.read() == {}

    @pytest.mark.requirement(18)
    def test_idle_refresh_is_coarse(self) -> None:
        """The cookie is refreshed at most every tenth of the timeout."""
        world = begun("", idle_timeout=timedelta(seconds=100))
        world.later(seconds=9)
        world.read()
        assert world.set_cookies() == []
        world.later(seconds=1)
        world.read()
        assert len(world.set_cookies()) == 1

    @SIZES
    def test_idle_refresh_is_not_for_what_ends_meanwhile(self, extra: str) -> None:
        """A session that ends while its request is under way gets no new cookie."""
        world = begun(extra, lifetime=timedelta(hours=1), idle_timeout=timedelta(minutes=50))
        world.later(minutes=49)
        assert world.read()["n"] == 1
        world.later(minutes=10)
        exchange = world.open()
        assert exchange.session["n"] == 1
        world.later(minutes=2)
        assert world.close(exchange) == [("Vary", "Cookie")]

    def test_incr_refuses_what_is_no_number(self) -> None:
        """Incr on something else than a number is refused by name."""
        world = begun("")
        with pytest.raises(UsageError, match="list"):
            world.request(lambda session: session.incr("list"))

    @pytest.mark.requirement(11)
    def test_str_shows_neither_id_nor_data(self) -> None:
        """str() and repr() show a short hash, the tier and the number of keys."""
        world = World()

        def act(session: Session) -> str:
            session["secret"] = "value"
            return f"{session} {session!r} {session.sid}"

        shown, _, sid = world.request(act).rpartition(" ")
        assert "secret" not in shown
        assert "value" not in shown
        assert sid not in shown
        assert "1 keys" in shown


class TestBySid:
    """Kept: session by sid."""

    def test_lazy_and_active_until_looked_up(self) -> None:
        """It is lazy, active until looked up, inactive with no data when not found."""
        world = begun(big())
        sid = world.request(lambda session: session.sid)
        del world.stores.commands[:]
        session = world.manager.open_sid(sid, drive=world.drive).session
        assert session.is_active()
        assert world.stores.commands == []
        assert session["n"] == 1
        assert session.get_expiration() > 0
        other = world.manager.open_sid("A" * 43, drive=world.drive).session
        assert other.is_active()
        assert dict(other) == {}
        assert not other.is_active()

    @pytest.mark.parametrize("sid", ["", "x", "A" * 42 + "B", "=" * 43, "A" * 44, "ä" * 43])
    def test_what_is_no_sid_is_no_session(self, sid: str) -> None:
        """Text that no sid was ever written as finds nothing, and asks no store."""
        world = World()
        assert not world.manager.open_sid(sid, drive=world.drive).session.is_active()
        assert world.stores.commands == []

    def test_a_worker_writes(self) -> None:
        """Changes through open_sid are stored and seen by the browser's next request."""
        world = begun(big())
        sid = world.request(lambda session: session.sid)
        exchange = world.manager.open_sid(sid, drive=world.drive)
        exchange.session["worker"] = True
        run(exchange.commit(status=200, headers=[]), world.stores)
        assert world.read()["worker"] is True

    def test_small_writes_are_kept(self) -> None:
        """A stored session that is small is written by sid like any other."""
        world = World()
        sid = world.request(persist)
        exchange = world.manager.open_sid(sid, drive=world.drive)
        exchange.session["n"] = 2
        run(exchange.commit(status=200, headers=[]), world.stores)
        assert world.read()["n"] == 2

    def test_expired_is_not_loaded(self) -> None:
        """An expired session is not found by its sid."""
        world = begun(big(), lifetime=timedelta(hours=1))
        sid = world.request(lambda session: session.sid)
        world.later(hours=2)
        assert dict(world.manager.open_sid(sid, drive=world.drive).session) == {}


class TestAfterTheHeaders:
    """Rule 15 of docs/consistency.md."""

    def test_stored_session_is_saved_late(self) -> None:
        """A change made after the headers, to a session in a store, is saved by finish()."""
        world = begun(big())
        exchange = world.open()
        world.browser.receive(run(exchange.commit(status=200, headers=[]), world.stores))
        exchange.session["late"] = 1
        run(exchange.finish(), world.stores)
        assert world.read()["late"] == 1

    def test_late_after_an_early_write(self) -> None:
        """Both the change before and the change after the headers are there."""
        for no_datastore in (False, True):
            world = begun(big(), no_datastore=no_datastore)
            exchange = world.open()
            exchange.session["early"] = 1
            world.browser.receive(run(exchange.commit(status=200, headers=[]), world.stores))
            exchange.session["late"] = 1
            run(exchange.finish(), world.stores)
            assert {"early": 1, "late": 1}.items() <= world.read().items()

    @pytest.mark.parametrize(
        "change",
        [
            lambda s: s.__setitem__("late", 1),
            lambda s: s.pop("n"),
            lambda s: s.clear(),
            lambda s: s.start(),
            lambda s: s.terminate(),
            lambda s: s.regenerate_id(),
            lambda s: s.save(persist_even_if_using_cookie=True),
        ],
    )
    def test_inline_session_says_so(self, change: Callable[[Session], Any]) -> None:
        """A change that would need a cookie raises where it is made."""
        world = begun("")
        exchange = world.open()
        run(exchange.commit(status=200, headers=[]), world.stores)
        with pytest.raises(SessionCommitted):
            change(exchange.session)

    def test_in_place_change_is_reported(self) -> None:
        """An in-place change of an inline session after the headers is not lost in silence."""
        world = begun("")
        exchange = world.open()
        value = exchange.session["list"]
        run(exchange.commit(status=200, headers=[]), world.stores)
        value.append(5)
        receipt = run(exchange.finish(), world.stores)
        assert [conflict.keys for conflict in receipt.conflicts] == [("list",)]

    @pytest.mark.parametrize(("save_on_error", "kept"), [(False, 1), (True, 2)])
    def test_status_500_saves_nothing(self, save_on_error: bool, kept: int) -> None:
        """An error response saves nothing, unless save_on_error."""
        world = begun("", save_on_error=save_on_error)
        world.request(lambda session: session.update(n=2), status=500)
        assert world.read()["n"] == kept


def test_touching_without_a_drive_says_what_to_do() -> None:
    """A stored session that cannot load itself raises SessionNotLoaded until load() was driven."""
    world = begun(big())
    exchange = world.manager.open(world.browser.header)
    with pytest.raises(SessionNotLoaded):
        exchange.session["n"]
    assert exchange.session.is_active()
    run(exchange.load(), world.stores)
    assert exchange.session["n"] == 1
