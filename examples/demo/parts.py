"""What the application is put together from, the same for every framework. Nothing is made here."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta

from holdall import Event, Receipt

from .views import Demo
from .watch import WatchedStores, take_receipt


@dataclass(frozen=True, slots=True)
class Parts:
    """Handed to each framework's `make`."""

    demo: Demo
    key: str
    stores: WatchedStores
    clock: Callable[[], float]
    """Returns seconds UTC since 1970."""
    on_event: Callable[[Event], None] | None
    """Is told of every event; None for nobody."""
    on_receipt: Callable[[Receipt], None] = take_receipt
    store_budget: timedelta = timedelta(seconds=20)
    """Ample, for an emulator takes its time for the first commit of its life."""
