"""`FlaskSession`: all that Flask's users may ask of `flask.session`, in requests through the test client."""

from typing import Any

import flask
import pytest
from flask import flash, get_flashed_messages
from flask.sessions import SessionMixin
from holdall import Session, Tier, register_type
from holdall_flask import FlaskSession
from markupsafe import Markup

from tests.core.support import big, put
from tests.flask.support import Site, own_session, value_of

SIZES = [10, 20_000]


@pytest.fixture
def site() -> Site:
    return Site()


class Packed:
    """A type that tells when one of it is packed."""


def is_same(left: Any, right: Any) -> bool:
    return type(left) is type(right) and left == right


def test_is_both(site: Site) -> None:
    """`flask.session` is a Holdall session and a `SessionMixin`."""
    site.request(lambda session: None)
    with site.app.test_request_context():
        assert isinstance(own_session(), Session)
        assert isinstance(own_session(), SessionMixin)


class TestMapping:
    """The mapping behaves as a dict does."""

    def test_pop_without_default(self, site: Site) -> None:
        """`pop` of a missing key raises `KeyError` if it is given no default."""

        def act(session: FlaskSession) -> None:
            with pytest.raises(KeyError, match="missing"):
                session.pop("missing")

        site.request(act)
        assert site.cookies == []

    def test_pop_with_default(self, site: Site) -> None:
        """`pop` returns the value, or else the default, None included."""
        site.request(put(a=1, b=2))
        assert site.request(lambda session: (session.pop("a"), session.pop("a", None), session.pop("a", 7))) == (
            1,
            None,
            7,
        )
        assert site.read() == {"b": 2}

    def test_setdefault_keeps_the_object(self, site: Site) -> None:
        """What `setdefault` returns may be changed in place, as Flask's users do it with lists."""
        site.request(lambda session: session.setdefault("cart", []).append("socks"))
        site.request(lambda session: session.setdefault("cart", []).append("hat"))
        assert site.read() == {"cart": ["socks", "hat"]}

    def test_popitem_and_update(self, site: Site) -> None:
        """The rest of a mapping's methods works as well."""
        site.request(lambda session: session.update({"a": 1}, b=2))
        assert site.request(lambda session: session.popitem()) in (("a", 1), ("b", 2))
        site.request(lambda session: session.__ior__({"c": 3}))
        assert site.read()["c"] == 3

    def test_templates(self, site: Site) -> None:
        """A template reads values as attributes of `session`, and that touches the session."""
        site.request(put(name="Ada"))
        response = site.visit(lambda: flask.render_template_string("{{ session.name }}"))
        assert (response.text, response.headers["Vary"]) == ("Ada", "Cookie")
        assert "Vary" not in site.visit(lambda: flask.render_template_string("no session here")).headers


class TestMarkup:
    """Values that Flask's own sessions keep come back with their type."""

    @pytest.mark.parametrize("size", SIZES)
    def test_markup(self, site: Site, size: int) -> None:
        """Markup comes back as Markup, at the top and nested, in the cookie and in a store."""
        value = Markup("<b>") + big(size)
        site.request(put(text=value, nested=[("warning", value)]))
        assert site.request(lambda session: is_same(session["text"], value) and is_same(session["nested"][0][1], value))

    def test_flashes(self, site: Site) -> None:
        """Messages that are flashed in one request are shown in the next, once, Markup among them."""

        def act(session: FlaskSession) -> None:
            flash("saved")
            flash(Markup("<em>really</em>"), "warning")

        site.request(act)
        expected = [("message", "saved"), ("warning", Markup("<em>really</em>"))]
        assert site.request(lambda session: get_flashed_messages(with_categories=True)) == expected
        assert site.request(lambda session: get_flashed_messages()) == []


class TestModified:
    """`modified` may be read and set."""

    @pytest.mark.parametrize("size", SIZES)
    def test_nested(self, site: Site, size: int) -> None:
        """A change in a nested value is noticed and saved without `modified = True`."""
        site.request(put(items=[], pad=big(size)))
        seen = site.request(lambda session: (session.modified, session["items"].append(1), session.modified))
        assert seen == (False, None, True)
        assert site.read()["items"] == [1]

    def test_reading_is_no_modification(self, site: Site) -> None:
        """Reading, and assigning what is there, modifies nothing and sends nothing."""
        site.request(put(a=1))
        assert site.request(lambda session: (session["a"], session.update(a=1), session.modified)) == (1, None, False)
        assert site.cookies == []

    def test_containers_are_packed_twice(self, site: Site) -> None:
        """A value handed out is packed once for the response and once after it, to see whether it was changed."""
        packed: list[Packed] = []
        register_type(Packed, encode=lambda value: packed.append(value), decode=lambda _: Packed())
        site.request(put(items=[Packed()]))
        for act in (lambda session: session["items"], lambda session: session["items"].append(1)):
            packed.clear()
            site.request(act)
            assert len(packed) == 2

    def test_true_sends_the_cookie(self, site: Site) -> None:
        """`modified = True` sends the cookie again although nothing changed, and the data stays."""
        site.request(put(a=1))
        before = value_of(site.client, "session")
        site.request(lambda session: setattr(session, "modified", True))
        assert len(site.cookies) == 1
        assert value_of(site.client, "session") != before
        assert site.read() == {"a": 1}

    def test_true_without_a_session(self, site: Site) -> None:
        """`modified = True` begins no session."""
        site.request(lambda session: setattr(session, "modified", True))
        assert site.cookies == []

    @pytest.mark.parametrize("size", SIZES)
    def test_false_saves_nothing(self, site: Site, size: int) -> None:
        """`modified = False` discards what was changed before, as in Flask, and the response still varies."""
        site.request(put(a=1, pad=big(size)))

        def act(session: FlaskSession) -> None:
            session["a"] = 2
            session.modified = False
            assert not session.modified

        site.request(act)
        assert site.cookies == []
        assert not any(command.startswith("put") for command in site.did)
        assert site.response.headers["Vary"] == "Cookie"
        assert site.read()["a"] == 1

    def test_false_and_then_changed(self, site: Site) -> None:
        """What is changed after `modified = False` is saved, with all that was changed before, by any verb."""
        changes = [
            lambda session: session.update(b=1),
            lambda session: session.pop("a"),
            lambda session: session.incr("n"),
            lambda session: session.set_quick("q", 1),
            lambda session: session.regenerate_id(),
            lambda session: session.bind("ada"),
        ]
        for change in changes:
            site.request(put(a=1, early=False))

            def act(session: FlaskSession, change: Any = change) -> None:
                session["early"] = True
                session.modified = False
                change(session)
                assert session.modified

            site.request(act)
            assert site.read()["early"] is True

    def test_stays_after_the_response(self, site: Site) -> None:
        """In a test client's `with` block, `modified` and `new` still tell how the request went."""
        with site.client:
            site.request(put(a=1))
            assert (flask.session.modified, own_session().new) == (True, True)
            site.request(put(a=2))
            assert (flask.session.modified, own_session().new) == (True, False)
            site.request(dict)
            assert (flask.session.modified, own_session().new) == (False, False)
            assert flask.session["a"] == 2


def test_new(site: Site) -> None:
    """A session is new in the request in which it began, and in no other."""
    assert site.request(lambda session: (session.new, session.update(a=1), session.new)) == (False, None, True)
    assert site.request(lambda session: (session["a"], session.new)) == (1, False)
    site.request(lambda session: session.regenerate_id())
    with site.client:
        site.request(lambda session: session.regenerate_id())
        assert not own_session().new


def test_accessed(site: Site) -> None:
    """`accessed` tells whether the session was touched, also where `flask.session` was merely looked up."""
    site.request(put(a=1))
    with site.client:
        response = site.visit()
        assert "Vary" not in response.headers
        assert not flask.globals.request_ctx._session.accessed  # type: ignore[union-attr]
        assert flask.session.accessed
    site.request(lambda session: None)
    assert site.response.headers["Vary"] == "Cookie"
    assert site.cookies == []


class TestPermanent:
    """`permanent`, as `SessionMixin` has it."""

    def test_remembered(self, site: Site) -> None:
        """A session is permanent from the request that says so until one that takes it back."""
        assert site.request(lambda session: session.permanent) is False
        assert site.cookies == []
        site.request(lambda session: setattr(session, "permanent", True))
        assert site.request(lambda session: session.permanent) is True
        site.request(lambda session: setattr(session, "permanent", False))
        assert site.request(lambda session: session.permanent) is False

    def test_clear_forgets(self, site: Site) -> None:
        """What is put into a session after `clear` is in a session that is not permanent."""
        site.request(put(_permanent=True, a=1))
        assert "Max-Age" in site.cookies[0]

        def act(session: FlaskSession) -> None:
            session.clear()
            session["a"] = 2

        site.request(act)
        assert "Max-Age" not in site.cookies[0]
        assert site.read() == {"a": 2}
        assert site.cookies == []


class TestVerbs:
    """The verbs of Holdall are there too."""

    def test_start_alone(self, site: Site) -> None:
        """A session that the application began with `start` stays, even with nothing in it."""
        site.request(lambda session: session.start())
        assert len(site.cookies) == 1
        assert site.request(lambda session: (session.is_active(), len(session))) == (True, 0)

    def test_all(self, site: Site) -> None:
        """`incr`, `set_quick`, `regenerate_id`, `terminate` and `open_sid` by `sid` work on `flask.session`."""
        site.request(put(n=1, pad=big()))
        assert site.request(lambda session: session.incr("n")) == 2
        site.request(lambda session: session.set_quick("seen", True))
        assert site.did == ["get cache", "put cache"]
        old = site.request(lambda session: session.sid)
        site.request(lambda session: session.regenerate_id())
        new = site.request(lambda session: session.sid)
        assert new != old
        with site.app.app_context():
            drive = site.app.session_interface.made(site.app).drive  # type: ignore[attr-defined]
            assert site.holdall.manager.open_sid(new, drive=drive).session["n"] == 2
            assert "n" not in site.holdall.manager.open_sid(old, drive=drive).session
        site.request(lambda session: session.terminate())
        assert site.read() == {}
        assert [command.tier for command in site.stores.commands] == []

    def test_key_must_be_str(self, site: Site) -> None:
        """A key that is no str is refused, where Flask would quietly have made it one."""

        def act(session: FlaskSession) -> None:
            with pytest.raises(ValueError, match="must be a str"):
                session[1] = "one"  # type: ignore[index]

        site.request(act)

    def test_large_goes_to_the_store(self, site: Site) -> None:
        """A session grows out of the cookie by itself."""
        site.request(put(a=1))
        assert site.stores.snapshot(Tier.DURABLE) == {}
        site.request(put(pad=big()))
        assert len(site.stores.snapshot(Tier.DURABLE)) == 1
        assert site.cookies[0].startswith("session-ref=")
