"""A site visits an application under test, and says who failed."""

from datetime import timedelta
from typing import Any

import pytest
from holdall import Tier
from holdall_conformance import Application, Browser, Site

from tests.conformance.broken_adapters import Sound


def test_visits_tell_all() -> None:
    """A visit has its results, its response and the commands that it took, and the browser keeps its cookies."""
    site = Site(Sound())
    visit = site.visit(("set", "data", "x" * 20_000), ("names",))
    assert visit.results == [None, ["data"]]
    assert [command.tier for command in visit.commands] == [Tier.DURABLE, Tier.CACHE]
    assert len(visit.set_cookies) == len(site.browser.cookies) == 1
    assert site.visit(("names",), browser=Browser()).results == [[]]
    site.close()


def test_revoke_elsewhere() -> None:
    """Another process of the application, with a memory of its own, ends the sessions of a principal."""
    site = Site(Sound())
    site.visit(("set", "n", 1), ("bind", "ada"))
    site.revoke_elsewhere("ada")
    assert site.visit(("names",)).results == [["n"]]
    site.clock.advance(61)
    assert site.visit(("names",)).results == [[]]


def test_options_reach_the_adapter() -> None:
    """Options are the adapter's, and `limit` that of its stores."""
    site = Site(Sound(), cookie_only_threshold=0, limit=10)
    assert site.visit(("set", "n", 1)).response.status == 500


def test_lifetime_is_always_said() -> None:
    """An adapter is told the lifetime, by default the core's, so that its framework's own does not count."""
    told: list[timedelta] = []

    class Listening(Sound):
        def build(self, application: Application, **options: Any) -> Any:
            told.append(options["lifetime"])
            return super().build(application, **options)

    Site(Listening())
    Site(Listening(), lifetime=timedelta(hours=1))
    assert told == [timedelta(days=7), timedelta(hours=1)]


def test_failures_name_the_adapter() -> None:
    """What is not so is said in words, with the adapter's name."""
    with pytest.raises(AssertionError, match=r"^Sound: the sky is green$"):
        Site(Sound()).check(False, "the sky is green")
