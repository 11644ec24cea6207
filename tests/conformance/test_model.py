"""The model notices what no single duty is about, and lets what is sound pass, however long it runs."""

from collections.abc import Iterator
from typing import Any

import pytest
from holdall import Answer, Command, Put, StoreError, Tier
from holdall_conformance import Application, Request, Response
from holdall_conformance.model import check_against_model
from hypothesis import Phase, settings

from tests.conformance.broken_adapters import Sound


class LosesUsers(Sound):
    """Sees no cookie in every seventh request."""

    def send(self, built: Any, request: Request) -> Response:
        """Lose it, by the number of the page: the same with every run."""
        lost = int(request.path.rpartition("-")[2]) % 7 == 0
        return super().send(built, Request(request.path, () if lost else request.cookies, request.host))


class ForgetsUpdates(Sound):
    """Has stores that acknowledge every second update of a durable record without keeping it."""

    def build(self, application: Application, *, cookie_key: str, stores: Any, **options: Any) -> Any:
        """Put the forgetting in front of the suite's own stores."""
        return super().build(application, cookie_key=cookie_key, stores=Forgetting(stores), **options)


class Forgetting:
    """In front of `RecordingStores`: carries out what it is asked, and takes every second update back."""

    def __init__(self, stores: Any) -> None:
        self.stores = stores
        self.updates = 0

    def execute(self, commands: tuple[Command, ...], /) -> tuple[Answer | StoreError, ...]:
        """Answer as if nothing were wrong."""
        before = self.stores.snapshot(Tier.DURABLE)
        answers: tuple[Answer | StoreError, ...] = self.stores.execute(commands)
        for command in commands:
            if isinstance(command, Put) and command.tier is Tier.DURABLE and isinstance(command.expect, int):
                self.updates += 1
                if self.updates % 2 == 0:
                    self.stores.restore(Tier.DURABLE, before)
        return answers


@pytest.fixture
def _unshrunk() -> Iterator[None]:
    """Do without the shortest example, which takes longer to find than all the rest."""
    settings.register_profile("before", parent=settings.default)
    settings.register_profile("unshrunk", phases=(Phase.generate,))
    settings.load_profile("unshrunk")
    yield
    settings.load_profile("before")


@pytest.mark.usefixtures("_unshrunk")
@pytest.mark.parametrize("adapter", [LosesUsers(), ForgetsUpdates()], ids=lambda adapter: type(adapter).__name__)
def test_what_is_lost_is_found(adapter: Sound) -> None:
    """What is lost now and then, a session or an acknowledged write, is found and told in words."""
    with pytest.raises(AssertionError, match=rf"{type(adapter).__name__}: browser . found"):
        check_against_model(adapter, examples=250)


def test_long_runs_find_nothing_in_a_sound_adapter() -> None:
    """Ten times more than the suite does, and longer: no state is found that is not allowed."""
    check_against_model(Sound(), examples=250, steps=40)
