"""What every adapter does, as a pytest class to be subclassed: `AdapterConformance`.

One fixture says which `Adapter` is meant. Each test is one duty, and its failure says in words what an application's
users would notice. What only one framework has belongs in its own adapter's tests, and nothing here knows any.
"""

import time
from collections.abc import Iterator
from contextlib import ExitStack, closing
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from holdall import CookieOptions, Get, Put, Receipt, Tier, UsageError, current_session, get_current_session

from holdall_conformance.clients import Browser
from holdall_conformance.model import check_against_model
from holdall_conformance.script import Operation, Script
from holdall_conformance.site import Adapter, Site, Visit

SIZES = {"200-bytes": 200, "2.6-kilobytes": 2_600, "20-kilobytes": 20_000, "200-kilobytes": 200_000}
TIERS = {"cookie": 200, "stored": 20_000}
_DAY = 86_400

sizes = pytest.mark.parametrize("size", SIZES.values(), ids=SIZES)
tiers = pytest.mark.parametrize("size", TIERS.values(), ids=TIERS)

LOOKS: tuple[Operation, ...] = (
    ("get", "n"),
    ("in", "n"),
    ("names",),
    ("iterate",),
    ("values",),
    ("items",),
    ("has_key", "n"),
    ("is_active",),
    ("sid",),
    ("get_expiration",),
)


def puts(visit: Visit, tier: Tier = Tier.DURABLE) -> int:
    """Count what was written to a tier."""
    return sum(isinstance(command, Put) and command.tier is tier for command in visit.commands)


def names(visit: Visit) -> list[str]:
    """Return which cookies a response set."""
    return [value.partition("=")[0] for value in visit.set_cookies]


class AdapterConformance:
    """The duties of an adapter. A subclass says which, with the fixture `adapter`."""

    @pytest.fixture
    def adapter(self) -> Adapter:
        """Return the adapter under test."""
        raise NotImplementedError("define the fixture `adapter` in your subclass of AdapterConformance")

    @pytest.fixture
    def make(self, adapter: Adapter) -> Iterator[Any]:
        """Make sites with options, which are closed after the test, the latest first."""
        current_session.set(None)  # whatever an adapter left behind in an earlier test
        with ExitStack() as sites:
            yield lambda **options: sites.enter_context(closing(Site(adapter, **options)))

    @pytest.fixture
    def site(self, make: Any) -> Site:
        """Make a site with the default settings."""
        made: Site = make()
        return made

    # -- what users of gae-sessions are used to ----------------------------------------------------------------------

    @sizes
    def test_session_is_there_again_at_the_next_request(self, site: Site, size: int) -> None:
        """What a request assigned, of any size, the browser's next request reads."""
        site.visit(("set", "data", "x" * size), ("set", "n", 1))
        read = site.visit(("get", "n"), ("get", "data"))
        site.check(read.results == [1, "x" * size], f"a session of {size} bytes was not there at the next request")

    def test_status_headers_and_body_arrive(self, site: Site) -> None:
        """A response's status, headers and body arrive as the application made them."""
        for status in (200, 404):
            visit = site.visit(("set", "n", status), status=status, headers=[("X-Mine", "yes")])
            got = (visit.response.status, visit.response.values("X-Mine"), visit.response.body)
            site.check(got == (status, ["yes"], b"whole"), f"the response arrived as {got}")
        site.check(site.visit(("get", "n")).results == [404], "a page with status 404 did not save its session")

    def test_nothing_happens_before_the_first_write(self, site: Site) -> None:
        """Reading, `in`, `pop` and `clear` where there is no session start none: no cookie, no command."""
        visit = site.visit(*LOOKS, ("pop", "n", None), ("clear",), ("is_active",))
        site.check(visit.results[-1] is False, "looking at a session that is not there started one")
        site.check(not visit.set_cookies, f"looking at a session that is not there set {visit.set_cookies}")
        site.check(not visit.commands, f"looking at a session that is not there asked a store: {visit.commands}")

    @tiers
    def test_untouched_costs_nothing(self, site: Site, size: int) -> None:
        """A request that does not touch its session asks no store, and its response stays as it was, cacheable."""
        site.visit(("set", "data", "x" * size))
        visit = site.visit()
        if site.adapter.loads_first and size == TIERS["stored"]:  # the one exemption
            site.check(len(visit.commands) == 1 and not visit.set_cookies, f"loading did {visit.commands}")
            return
        site.check(not visit.commands, f"an untouched request asked a store: {visit.commands}")
        site.check(not visit.set_cookies, "the response of an untouched request set a cookie")
        site.check(not visit.response.values("Vary"), "the response of an untouched request says Vary")

    def test_stored_session_is_fetched_once(self, site: Site) -> None:
        """However often a stored session is touched in a request, its store is asked once."""
        site.visit(("set", "data", "x" * 20_000))
        visit = site.visit(*LOOKS, ("get", "data"), ("get", "data"))
        reads = sum(isinstance(command, Get) for command in visit.commands)
        site.check(reads == 1, f"one request read its session {reads} times from the stores")

    @tiers
    def test_written_once(self, site: Site, size: int) -> None:
        """However much changes in a request, it is written once."""
        site.visit(("set", "data", "x" * size))
        visit = site.visit(*[("set", f"k{n}", n) for n in range(5)], ("incr", "n"), ("pop", "k0"))
        expected = 0 if size == TIERS["cookie"] else 1
        site.check(puts(visit) == expected, f"one request wrote {puts(visit)} times to the durable store")
        site.check(len(visit.set_cookies) == 1, f"one request set the cookies {names(visit)}")

    @tiers
    def test_nothing_changed_nothing_sent(self, site: Site, size: int) -> None:
        """A request that only reads, or assigns what is there already, writes nothing and sets no cookie."""
        site.visit(("set", "data", "x" * size), ("set", "n", 1))
        for operations in (LOOKS, (("set", "n", 1),), (("pop", "missing", None),)):
            visit = site.visit(*operations)
            site.check(not visit.set_cookies and not puts(visit), f"{operations} changed nothing, and was written")

    def test_mapping(self, site: Site) -> None:
        """The session is a mapping: with every method of one, and `has_key`."""
        visit = site.visit(
            *(("set", "a", 1), ("update", {"b": 2}), ("setdefault", "c", 3), ("setdefault", "c", 4), ("names",)),
            *(("item", "a"), ("in", "b"), ("in", "z"), ("has_key", "c"), ("get", "z"), ("get", "z", 7)),
            *(("delete", "a"), ("pop", "b"), ("pop", "z", 8), ("try", "item", "a"), ("iterate",)),
        )
        expected = [None, None, 3, 3, ["a", "b", "c"], 1, True, False, True, None, 7, None, 2, 8, "KeyError", ["c"]]
        site.check(visit.results == expected, f"as a mapping it answered {visit.results}, not {expected}")

    def test_pop_of_what_is_missing(self, site: Site) -> None:
        """`pop` without a default does what the framework's users expect: None, or KeyError."""
        site.visit(("set", "n", 1))
        expected = "KeyError" if site.adapter.pop_raises else None
        got = site.visit(("try", "pop", "missing")).results
        site.check(got == [expected], f"pop of a missing key gave {got[0]!r}, not {expected!r}")

    @tiers
    def test_clear(self, site: Site, size: int) -> None:
        """`clear` empties the session; it stays active, unless the framework's habit is otherwise."""
        site.visit(("set", "data", "x" * size))
        site.visit(("clear",))
        read = site.visit(("is_active",), ("names",))
        site.check(read.results == [not site.adapter.empty_ends, []], f"after clear() the session was {read.results}")

    @tiers
    def test_change_in_place(self, site: Site, size: int) -> None:
        """A change inside a nested value is noticed and saved."""
        site.visit(("set", "data", "x" * size), ("set", "list", [1]))
        site.visit(("append", "list", 2))
        read = site.visit(("get", "list"))
        site.check(read.results == [[1, 2]], f"after append the list was {read.results[0]}")

    def test_values_keep_their_types(self, site: Site) -> None:
        """Tuples, sets, bytes, decimals and times come back as they went in."""
        values = {"a": (1, (2,)), "b": {1, 2}, "c": b"\x00\xff", "d": Decimal("1.10"), "e": timedelta(seconds=3)}
        site.visit(("update", values))
        read = site.visit(*[("get", key) for key in values], *[("type", key) for key in values])
        expected = [*values.values(), *[type(value).__name__ for value in values.values()]]
        site.check(read.results == expected, f"values came back as {read.results}")

    @tiers
    def test_start(self, site: Site, size: int) -> None:
        """`start` replaces the session by an empty one with a new id, and the old one is gone for good."""
        sid = site.visit(("set", "data", "x" * size), ("sid",)).results[1]
        old = site.browser.copy()
        visit = site.visit(("start",), ("names",), ("sid",), ("set", "n", 1))
        site.check(visit.results[1] == [] and visit.results[2] != sid, "start() kept the old session's data or id")
        site.check(site.visit(("names",)).results == [["n"]], "start() did not leave the new session alone")
        if size == TIERS["stored"]:
            site.check(site.visit(("names",), browser=old).results == [[]], "the session that start() ended lives on")

    def test_browser_session(self, site: Site) -> None:
        """`start(0)` makes a cookie that ends with the browser: no Max-Age, no Expires."""
        visit = site.visit(("start", 0), ("set", "n", 1))
        attributes = visit.set_cookies[0].lower()
        site.check("max-age" not in attributes and "expires" not in attributes, f"start(0) set {visit.set_cookies[0]}")
        site.check(site.visit(("get", "n"), ("get_expiration",)).results == [1, 0], "its session was not there")

    @tiers
    def test_given_end_is_exact(self, site: Site, size: int) -> None:
        """A session begun with an end is there until a second before, and gone at it, in every tier."""
        site.visit(("start", site.clock() + 100), ("set", "data", "x" * size))
        site.clock.advance(99)
        site.check(site.visit(("names",)).results == [["data"]], "the session ended before its time")
        site.clock.advance(1)
        site.check(site.visit(("names",)).results == [[]], "the session did not end at its time")

    def test_end_that_is_past(self, site: Site) -> None:
        """A session begun with an end that is past is active in its request, and gone in the next."""
        visit = site.visit(("start", 1), ("set", "n", 1), ("get", "n"), ("is_active",))
        site.check(visit.results[2:] == [1, True], "a session that ends at once was not active in its own request")
        site.check(site.visit(("is_active",)).results == [False], "a session that ended at once was there again")

    @tiers
    def test_ssl_only(self, site: Site, size: int) -> None:
        """`ssl_only` is kept with the session, also over `regenerate_id`, and its cookie is Secure."""
        visit = site.visit(("start", None, True), ("set", "data", "x" * size))
        site.check("; secure" in visit.set_cookies[0].lower(), "the cookie of an ssl_only session is not Secure")
        visit = site.visit(("regenerate_id",), ("is_ssl_only",))
        site.check(
            visit.results[1] is True and "; secure" in visit.set_cookies[0].lower(), "regenerate_id lost ssl_only"
        )

    @tiers
    def test_terminate(self, site: Site, size: int) -> None:
        """`terminate` deletes the cookies, with their attributes, and a copied reference finds nothing any more."""
        site.visit(("set", "data", "x" * size))
        copied = site.browser.copy()
        visit = site.visit(("terminate",), ("is_active",))
        site.check(visit.results[1] is False, "the session was active after terminate()")
        site.check(not site.browser.cookies, f"after terminate() the browser still has {list(site.browser.cookies)}")
        for deletion in visit.set_cookies:
            site.check("path=/" in deletion.lower(), f"a browser may keep the cookie: {deletion} repeats no attributes")
        if size == TIERS["stored"]:
            site.check(site.visit(("names",), browser=copied).results == [[]], "a terminated session was read again")

    @tiers
    def test_assigning_after_terminate_starts_anew(self, site: Site, size: int) -> None:
        """What is assigned after `terminate`, in the same request, is a new session, and that one wins."""
        site.visit(("set", "data", "x" * size))
        site.visit(("terminate",), ("set", "n", 1))
        got = site.visit(("names",)).results[0]
        site.check(got == ["n"], f"a session with {got} was there, not the one that began after terminate()")

    @tiers
    def test_regenerate_id(self, site: Site, size: int) -> None:
        """`regenerate_id` carries the data over to a new id; the old id of a stored session is dead."""
        sid = site.visit(("set", "data", "x" * size), ("sid",)).results[1]
        old = site.browser.copy()
        new = site.visit(("regenerate_id",), ("sid",)).results[1]
        site.check(new != sid, "regenerate_id() kept the id")
        site.check(site.visit(("names",), ("sid",)).results == [["data"], new], "regenerate_id() lost the session")
        if size == TIERS["stored"]:
            site.check(
                site.visit(("names",), browser=old).results == [[]], "the old id was alive after regenerate_id()"
            )

    def test_quick_writes(self, site: Site) -> None:
        """Quick writes to a stored session go to the cache alone, and with it back to the last regular one."""
        site.visit(("set", "data", "x" * 20_000), ("set", "n", 1))
        visit = site.visit(("set_quick", "n", 2))
        site.check(puts(visit) == 0 and puts(visit, Tier.CACHE) == 1, "a quick write did not go to the cache alone")
        site.check(site.visit(("get", "n")).results == [2], "a quick write was not read back")
        site.stores.flush()
        site.check(site.visit(("get", "n")).results == [1], "after the cache was lost, the regular write was not there")

    def test_no_datastore(self, make: Any) -> None:
        """With `no_datastore` the durable tier is never asked, and a lost cache ends the session."""
        site = make(no_datastore=True)
        written = site.visit(("set", "data", "x" * 20_000))
        site.check(site.visit(("names",)).results == [["data"]], "a session in memory alone was not there again")
        site.stores.flush()
        lost = site.visit(("names",))
        site.check(lost.results == [[]], "a session in memory alone outlived its memory")
        asked = {command.tier for command in (*written.commands, *lost.commands)}
        site.check(asked == {Tier.CACHE}, f"with no_datastore the tiers {asked} were asked")

    def test_cookie_only_threshold(self, make: Any) -> None:
        """With a threshold of 0 no data is ever in the cookie; with a large one it is split over several cookies."""
        stored = make(cookie_only_threshold=0)
        visit = stored.visit(("set", "n", 1))
        stored.check(puts(visit) == 1, "with cookie_only_threshold=0 a session was not stored")
        stored.check(stored.visit(("get", "n")).results == [1], "with cookie_only_threshold=0 it was not read back")
        split = make(cookie_only_threshold=20_000)
        visit = split.visit(("set", "data", "x" * 10_000))
        split.check(not visit.commands and len(visit.set_cookies) > 1, f"a large cookie was sent as {names(visit)}")
        split.check(split.visit(("names",)).results == [["data"]], "a session in several cookies was not read back")
        split.visit(("set", "data", 1))
        split.check(len(split.browser.cookies) == 1, "cookies that a shrunk session needs no more were not deleted")

    def test_persist(self, site: Site) -> None:
        """`save(persist_even_if_using_cookie=True)` stores a small session, and it is there again."""
        visit = site.visit(("set", "n", 1), ("persist",))
        site.check(puts(visit) == 1, "a session that was to be persisted is in no store")
        site.check(site.visit(("get", "n")).results == [1], "a persisted session was not there again")

    @tiers
    def test_lifetime(self, make: Any, size: int) -> None:
        """A session ends after its lifetime; writing extends it only where that is the framework's habit."""
        site = make(lifetime=timedelta(days=2))
        site.visit(("set", "data", "x" * size))
        site.clock.advance(1.5 * _DAY)
        site.visit(("set", "n", 1))
        site.clock.advance(1.5 * _DAY)
        got = site.visit(("get", "n")).results
        expected = [1 if site.adapter.slides else None]
        site.check(got == expected, f"three days on, a session of two days written in between read {got}")
        site.clock.advance(3 * _DAY)
        site.check(site.visit(("get", "n")).results == [None], "a session outlived its lifetime")

    @tiers
    def test_current_session(self, site: Site, size: int) -> None:
        """`get_current_session()` is the request's session, wherever it is called."""
        site.visit(("set", "data", "x" * size))
        visit = site.visit(("current", "set", "n", 1), ("get", "n"), ("set", "m", 2), ("current", "get", "m"))
        site.check(visit.results == [None, 1, None, 2], "get_current_session() is not the session of the request")

    # -- sessions that are bound to somebody -------------------------------------------------------------------------

    @tiers
    @pytest.mark.parametrize("end", ["terminate", "regenerate_id", "start"])
    def test_copied_cookie_of_bound_session_is_refused(self, site: Site, size: int, end: str) -> None:
        """After a bound session ended, or got a new id, a copy of its cookie opens nothing, whatever its tier."""
        site.visit(("set", "data", "x" * size), ("bind", "ada"))
        copied = site.browser.copy()
        read = site.visit(("names",), browser=copied).results
        site.check(read == [["data"]], f"a bound session read {read[0]}")
        site.visit((end,))
        read = site.visit(("names",), ("is_active",), browser=copied).results
        site.check(read == [[], False], f"after {end}() a copied cookie of a bound session opened {read[0]}")

    @tiers
    def test_bound_session_keeps_its_principal(self, site: Site, size: int) -> None:
        """A bound session stays bound to the same principal when it gets a new id, and nobody else's ends with it."""
        other = Browser()
        site.visit(("set", "data", "x" * size), ("bind", "ada"))
        site.visit(("set", "data", "x" * size), ("bind", "bob"), browser=other)
        for browser in (site.browser, other):
            site.visit(("regenerate_id",), browser=browser)
        site.revoke_elsewhere("ada")
        site.clock.advance(61)
        site.check(site.visit(("names",)).results == [[]], "with a new id the session was nobody's")
        read = site.visit(("names",), browser=other).results
        site.check(read == [["data"]], "somebody else's session ended")

    @tiers
    def test_revoked_elsewhere(self, make: Any, size: int) -> None:
        """A session that another process revoked is refused when `revocation_check` has passed, and can begin anew."""
        site = make(revocation_check=timedelta(seconds=20))
        site.visit(("set", "data", "x" * size), ("bind", "ada"))
        site.check(site.visit(("names",)).results == [["data"]], "a bound session was not there at the next request")
        site.revoke_elsewhere("ada")
        site.clock.advance(21)
        read = site.visit(("names",), ("is_active",)).results
        site.check(read == [[], False], f"21 seconds after it was revoked elsewhere a session had {read[0]}")
        site.visit(("set", "n", 1), ("bind", "ada"))
        site.check(site.visit(("names",)).results == [["n"]], "after it was revoked no session could begin anew")

    def test_bound_session_asks_once_per_interval(self, site: Site) -> None:
        """A bound session in the cookie asks the durable store once per `revocation_check`, however often read."""
        site.visit(("set", "n", 0), ("bind", "ada"))
        asked = []
        for _ in range(3):
            asked.append(sum(len(site.visit(*LOOKS, ("incr", "n")).commands) for _ in range(3)))
            site.clock.advance(61)
        site.check(asked == [0, 1, 1], f"of three visits in each of three minutes a store was asked {asked} times")

    def test_untouched_bound_session_costs_nothing(self, site: Site) -> None:
        """A request that does not touch a bound session asks nothing, and its response stays as it was, cacheable."""
        site.visit(("set", "n", 1), ("bind", "ada"))
        self._check_untouched(site)
        site.clock.advance(61)
        if site.adapter.asks_first or site.adapter.loads_first:  # the one exemption
            visit = site.visit()
            site.check(len(visit.commands) == 1 and not visit.set_cookies, f"asking first did {visit.commands}")
        self._check_untouched(site)

    def _check_untouched(self, site: Site) -> None:
        visit = site.visit()
        site.check(not visit.commands, f"with a bound session an untouched request asked a store: {visit.commands}")
        said = visit.set_cookies + visit.response.values("Vary")
        site.check(not said, f"with a bound session the response of an untouched request says {said}")

    def test_outage_is_no_logout_of_bound_sessions(self, site: Site) -> None:
        """A bound session in the cookie goes on while no store answers, and asks when one does again."""
        site.visit(("set", "n", 1), ("bind", "ada"))
        site.revoke_elsewhere("ada")
        site.clock.advance(61)
        site.stores.down = {Tier.CACHE, Tier.DURABLE}
        visit = site.visit(("get", "n"))
        site.check(
            (visit.response.status, visit.results) == (200, [1]),
            f"while it could not be asked whether it was revoked, a session was a {visit.response.status} with "
            f"{visit.results}",
        )
        site.stores.down = set()
        site.check(site.visit(("get", "n")).results == [None], "after the outage a revoked session went on")

    def test_unheard_logout_is_503(self, site: Site) -> None:
        """A bound session that ends while nobody can be told is a 503 with the cookie kept, never "logged out"."""
        site.visit(("set", "n", 1), ("bind", "ada"))
        site.stores.down = {Tier.CACHE, Tier.DURABLE}
        visit = site.visit(("terminate",))
        site.check(visit.response.status == 503, f"a logout that nobody heard of was a {visit.response.status}")
        site.check(not visit.set_cookies, f"a logout that nobody heard of set {names(visit)}")
        site.stores.down = set()
        site.check(site.visit(("get", "n")).results == [1], "a logout that nobody heard of logged out all the same")

    # -- HTTP manners ------------------------------------------------------------------------------------------------

    @tiers
    @pytest.mark.parametrize("look", LOOKS, ids=lambda look: look[0])
    def test_vary_on_any_access(self, site: Site, size: int, look: Operation) -> None:
        """Whatever was asked of the session, the response says `Vary: Cookie`, so that no cache mixes users up."""
        site.visit(("set", "data", "x" * size))
        vary = site.visit(look).response.values("Vary")
        members = [member.strip().lower() for value in vary for member in value.split(",")]
        site.check("cookie" in members, f"after {look} the response says Vary: {vary}")

    def test_vary_is_merged(self, site: Site) -> None:
        """What the application says in Vary stays, and a "*" is not replaced."""
        for given, expected in (("Accept-Language", {"accept-language", "cookie"}), ("*", {"*"})):
            vary = site.visit(("set", "n", given), headers=[("Vary", given)]).response.values("Vary")
            members = {member.strip().lower() for value in vary for member in value.split(",")}
            site.check(members >= expected, f"the application's Vary: {given} became {vary}")

    def test_responses_with_cookies_are_not_shared(self, site: Site) -> None:
        """A response that sets the session's cookie is not to be kept by shared caches, whatever was said before."""
        for given in ([], [("Cache-Control", "public, max-age=60")]):
            visit = site.visit(("incr", "n"), headers=given)
            control = ", ".join(visit.response.values("Cache-Control")).lower()
            site.check(
                "private" in control and "public" not in control, f"a cookie is set with Cache-Control: {control}"
            )

    def test_cookie_options(self, make: Any) -> None:
        """The cookie has the name and the attributes of the settings."""
        options = CookieOptions(name="mine", secure=True, http_only=False, same_site="Strict", path="/", domain=None)
        site = make(cookie=options)
        (cookie,) = site.visit(("set", "n", 1)).set_cookies
        pair, *attributes = [part.strip().lower() for part in cookie.split(";")]
        attributes = sorted(part for part in attributes if not part.startswith(("max-age", "expires")))
        site.check(pair.startswith("mine="), f"the cookie is called {pair.partition('=')[0]!r}, not 'mine'")
        site.check(attributes == ["path=/", "samesite=strict", "secure"], f"the cookie's attributes are {attributes}")

    def test_application_cookies_survive(self, site: Site) -> None:
        """The application's own cookies arrive, each in a header of its own, beside the session's."""
        given = [("Set-Cookie", "one=1; Path=/"), ("Set-Cookie", "two=2; Path=/")]
        visit = site.visit(("set", "n", 1), headers=given)
        site.check({"one", "two"} <= set(names(visit)), f"of the application's cookies one and two came {names(visit)}")

    def test_one_header_per_name(self, site: Site) -> None:
        """No cookie name is set twice by one response."""
        site.visit(("set", "data", "x" * 200))
        for operations in ((("set", "data", "x" * 20_000),), (("regenerate_id",), ("set", "n", 1)), (("terminate",),)):
            found = names(site.visit(*operations))
            site.check(len(found) == len(set(found)), f"a response sets {found}")

    def test_application_headers_are_not_changed(self, site: Site) -> None:
        """The list of headers that the application keeps stays its own: no user gets another's cookie."""
        headers = [("X-Mine", "yes")]
        path = site.application.add(Script((("incr", "n"),), headers=headers))
        site.again(path)
        site.check(headers == [("X-Mine", "yes")], f"the application's own list of headers became {headers}")

    def test_foreign_cookies_change_nothing(self, site: Site) -> None:
        """Malformed, quoted, nameless and non-ASCII cookies of others hide no session, and are not deleted."""
        site.visit(("set", "n", 1))
        path = site.application.add(Script((("get", "n"),)))
        for foreign in (
            'a="x;y',
            "$Version=1",
            "=nameless",
            "lonely",
            'q="\\073"',
            "bad[]=1,2",
            "caf\xe9=\xff",
            "a b=c",
        ):
            for header in (f"{foreign}; {site.browser.header}", f"{site.browser.header}; {foreign}"):
                visit = site.again(path, cookies=(header,))
                site.check(visit.results == [1], f"with the foreign cookie {foreign!r} the session was not found")
                set_too = set(names(visit)) - set(site.browser.cookies)
                site.check(not set_too, f"with the foreign cookie {foreign!r} the response sets {set_too}")

    def test_every_cookie_header_counts(self, site: Site) -> None:
        """A session is found in whichever of several Cookie headers it comes."""
        site.visit(("set", "n", 1))
        path = site.application.add(Script((("get", "n"),)))
        for cookies in ((site.browser.header, "other=1"), ("other=1", site.browser.header)):
            found = site.again(path, cookies=cookies).results
            site.check(found == [1], "a session was not found in one of two Cookie headers")

    def test_bad_cookies_are_no_session(self, site: Site) -> None:
        """Damaged and made-up cookies are no session and no error; the next write begins a new one."""
        site.visit(("set", "n", 1))
        ((name, value),) = site.browser.cookies.items()
        for bad in (value[:-4], value[:-1] + ("A" if value[-1] != "A" else "B"), "junk", "", "x" * 4000):
            site.browser.cookies = {name: bad}
            visit = site.visit(("get", "n"), ("is_active",))
            site.check(visit.results == [None, False], "a damaged cookie made a session")
            site.check(not visit.set_cookies and not visit.commands, "a damaged cookie was answered with a cookie")
            site.visit(("set", "n", 2))
            site.check(site.visit(("get", "n")).results == [2], "after a damaged cookie no session could begin")

    # -- failures ----------------------------------------------------------------------------------------------------

    def test_unreadable_session_is_503(self, site: Site) -> None:
        """A session that cannot be read because its store is down is a 503 with Retry-After."""
        site.visit(("set", "data", "x" * 20_000))
        site.stores.down = {Tier.CACHE, Tier.DURABLE}
        response = site.visit(("get", "data")).response
        site.check(response.status == 503, f"a store that does not answer was a {response.status}, not a 503")
        site.check(response.values("Retry-After"), "the 503 has no Retry-After")

    def test_outage_is_no_logout(self, site: Site) -> None:
        """While stores are down no cookie is deleted, and afterwards the session is there as it was."""
        site.visit(("set", "data", "x" * 20_000))
        site.stores.down = {Tier.CACHE, Tier.DURABLE}
        visit = site.visit(("get", "data"))
        site.check(not visit.set_cookies, f"during an outage the response set {names(visit)}")
        site.stores.down = set()
        site.check(site.visit(("names",)).results == [["data"]], "after an outage the session was gone")

    def test_unsaved_session_is_503(self, site: Site) -> None:
        """A session that cannot be written because its store is down is a 503, never "saved"."""
        site.stores.down = {Tier.CACHE, Tier.DURABLE}
        response = site.visit(("set", "data", "x" * 20_000)).response
        site.check(response.status == 503, f"a session that could not be stored was answered with {response.status}")

    def test_cookie_sessions_need_no_store(self, site: Site) -> None:
        """With every store down, sessions in the cookie work."""
        site.stores.down = {Tier.CACHE, Tier.DURABLE}
        site.visit(("set", "n", 1))
        site.check(site.visit(("get", "n")).results == [1], "a session in the cookie did not work without stores")

    def test_cache_is_not_needed(self, site: Site) -> None:
        """With the cache down, stored sessions are read and written all the same."""
        site.stores.down = {Tier.CACHE}
        site.visit(("set", "data", "x" * 20_000))
        site.visit(("set", "n", 1))
        site.check(site.visit(("names",)).results == [["data", "n"]], "without the cache a stored session did not work")

    @tiers
    def test_error_status_saves_nothing(self, site: Site, size: int) -> None:
        """A response with a status of 500 saves nothing."""
        site.visit(("set", "data", "x" * size))
        visit = site.visit(("set", "n", 1), status=500)
        site.check(visit.response.status == 500, f"a response with status 500 arrived as {visit.response.status}")
        site.check(site.visit(("get", "n")).results == [None], "what a failing response did was saved")

    def test_save_on_error(self, make: Any) -> None:
        """With `save_on_error` a response with a status of 500 saves as any other."""
        site = make(save_on_error=True)
        site.visit(("set", "n", 1), status=500)
        site.check(site.visit(("get", "n")).results == [1], "with save_on_error a response of 500 saved nothing")

    @tiers
    def test_exception_saves_nothing(self, site: Site, size: int) -> None:
        """A page that raises saves nothing."""
        site.visit(("set", "data", "x" * size))
        response = site.visit(("set", "n", 1), ("raise",)).response
        site.check(response.status == 500, f"a page that raised was answered with {response.status}")
        site.check(site.visit(("get", "n")).results == [None], "what a page did before it raised was saved")

    def test_too_large_leaves_the_old_state(self, make: Any) -> None:
        """A session too large for its stores is an error, and what was there before stays readable."""
        site = make(limit=50_000)
        site.visit(("set", "data", "x" * 20_000))
        response = site.visit(("set", "data", "x" * 200_000)).response
        site.check(response.status == 500, f"a session that is too large was answered with {response.status}")
        read = site.visit(("get", "data")).results
        site.check(read == ["x" * 20_000], "a write that was too large damaged what was there before")

    # -- requests that overlap ---------------------------------------------------------------------------------------

    def test_overlapping_requests_keep_both_changes(self, site: Site) -> None:
        """Two requests of one browser change different keys of a stored session at the same time: both survive."""
        site.visit(("set", "data", "x" * 20_000))
        site.visit(("get", "data"), ("meanwhile", lambda: site.visit(("set", "fast", 1))), ("set", "slow", 1))
        got = site.visit(("names",)).results[0]
        site.check(got == ["data", "fast", "slow"], f"of two overlapping requests' changes {got} was left")

    def test_overlapping_increments_all_count(self, site: Site) -> None:
        """No increment of a stored session is lost to another that overlaps."""
        site.visit(("set", "data", "x" * 20_000))
        site.visit(("incr", "n"), ("meanwhile", lambda: site.visit(("incr", "n", 10))), ("incr", "n"))
        site.check(site.visit(("get", "n")).results == [12], "an increment was lost")

    def test_slow_request_resurrects_nothing(self, site: Site) -> None:
        """A slow request whose session was terminated meanwhile does not bring it back."""
        site.visit(("set", "data", "x" * 20_000))
        copied = site.browser.copy()
        site.visit(("get", "data"), ("meanwhile", lambda: site.visit(("terminate",))), ("set", "n", 1))
        for browser in (site.browser, copied):
            site.check(site.visit(("names",), browser=browser).results == [[]], "a session lives on after its logout")

    @tiers
    def test_users_never_see_each_other(self, site: Site, size: int) -> None:
        """While one user's request pauses another's runs, and each sees its own session, before and after."""
        other = Browser()
        site.visit(("set", "who", "one"), ("set", "data", "x" * size))
        site.visit(("set", "who", "other"), ("set", "data", "x" * size), browser=other)
        seen: list[Any] = []
        visit = site.visit(
            ("get", "who"),
            ("meanwhile", lambda: seen.extend(site.visit(("current", "get", "who"), browser=other).results)),
            ("current", "get", "who"),
            ("current", "set", "mine", 1),
        )
        site.check(visit.results[:2] == ["one", "one"] and seen == ["other"], "a user saw another user's session")
        site.check(site.visit(("get", "mine")).results == [1], "a user's change did not reach that user's session")
        site.check(site.visit(("get", "mine"), browser=other).results == [None], "a change reached another user")

    def test_nothing_is_left_after_a_request(self, site: Site) -> None:
        """After the response there is no current session, be it a page, a stream or an error."""
        for script in ({}, {"late": (("get", "n"),)}, {"status": 500}):
            site.visit(("set", "n", 1), **script)
            with pytest.raises(UsageError):
                site.check(get_current_session() is None, "after a request its session was still the current one")
        site.visit(("set", "n", 2), ("raise",))
        with pytest.raises(UsageError):
            site.check(get_current_session() is None, "after a page that raised its session was still the current one")

    # -- after the headers -------------------------------------------------------------------------------------------

    def test_stream_arrives_with_its_session(self, site: Site) -> None:
        """A streamed body arrives whole, and what was changed before it began is saved."""
        visit = site.visit(("set", "n", 1), late=())
        site.check(visit.response.body == b"begun, ended", f"a streamed body arrived as {visit.response.body!r}")
        site.check(site.visit(("get", "n")).results == [1], "what was changed before the body was not saved")

    def test_late_change_is_stored(self, site: Site) -> None:
        """What changes in a stored session while its body is streamed is saved."""
        site.visit(("set", "data", "x" * 20_000))
        site.visit(("get", "data"), late=(("set", "late", 1),))
        site.check(site.visit(("get", "late")).results == [1], "what changed while the body was streamed was lost")

    def test_receipts(self, make: Any) -> None:
        """`on_receipt` is told once of each request: which tier has which revision, what is durable, what failed."""
        receipts: list[Receipt] = []
        site: Site = make(on_receipt=receipts.append)

        def told(*operations: Operation, **script: Any) -> tuple[Visit, Receipt]:
            del receipts[:]
            visit = site.visit(*operations, **script)
            for _ in range(300):  # a server may finish after its client has the whole body
                if receipts:
                    break
                time.sleep(0.01)
            site.check(len(receipts) == 1, f"of one request with {operations} there were {len(receipts)} receipts")
            return visit, receipts[0]

        for operations, script, expected in (
            ((("set", "n", 1),), {}, (Tier.COOKIE, 1, True)),
            ((("get", "n"),), {}, (Tier.COOKIE, 1, True)),
            ((("set", "data", "x" * 20_000),), {}, (Tier.DURABLE, 2, True)),
            ((("get", "n"),), {"late": (("set", "n", 2),)}, (Tier.DURABLE, 3, True)),
        ):
            _, receipt = told(*operations, **script)
            got = receipt[:3]
            site.check(got == expected and not receipt.failures, f"{operations}, {script} had the receipt {receipt}")
        site.stores.down = {Tier.CACHE}
        _, receipt = told(("set", "n", 4))
        site.check(receipt.durable and receipt.failures, f"while the cache was down, the receipt was {receipt}")
        visit, _ = told(("get", "n"))
        site.check(visit.results == [4], "what a receipt called durable was not")
        site.stores.down = {Tier.DURABLE}
        for operations in ((("set", "n", 5),), (("get", "n"),)):
            site.stores.flush()
            _, receipt = told(*operations)
            is_told = receipt.failures and not receipt.durable
            site.check(is_told, f"while the durable store was down, the receipt was {receipt}")

    def test_late_change_that_needs_a_cookie_is_refused(self, site: Site) -> None:
        """What would need a cookie after the headers are gone raises `SessionCommitted` where it is made."""
        site.visit(("set", "n", 1))
        visit = site.visit(("get", "n"), late=(("try", "set", "n", 2),))
        site.check(visit.results == [1, "SessionCommitted"], f"a change that came too late was {visit.results[-1]!r}")

    # -- everything at once ------------------------------------------------------------------------------------------

    def test_model(self, adapter: Adapter) -> None:
        """Random visits of several browsers, overlapping, with lost caches and passing time, do what a dict would."""
        check_against_model(adapter)
