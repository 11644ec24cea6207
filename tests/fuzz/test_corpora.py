"""What fuzzing found worth keeping, replayed; and that the checks notice a defect."""

import importlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Protocol, cast

import pytest

CORPUS = Path(__file__).with_name("corpus")
TARGETS = ("cookies", "codec", "token", "record", "plain_pickle")
FILES = [pytest.param(path, id=f"{path.parent.name}-{path.name}") for path in sorted(CORPUS.glob("*/*"))]


class Target(Protocol):
    """A file here that can be fuzzed."""

    def check(self, data: bytes) -> None: ...
    def seeds(self) -> Iterator[bytes]: ...


def load(target: str) -> Target:
    return cast("Target", importlib.import_module(f"tests.fuzz.{target}"))


@pytest.mark.parametrize("path", FILES)
def test_replay(path: Path) -> None:
    """An input that reached something of its own, or once broke something, is handled as its target says."""
    load(path.parent.name).check(path.read_bytes())


@pytest.mark.parametrize("target", TARGETS)
def test_seeds(target: str) -> None:
    """What the wire format's vectors hold is handled as the target says."""
    for seed in load(target).seeds():
        load(target).check(seed)


def refusing(error: type[Exception]) -> Callable[..., Any]:
    def refuse(*_: Any, **__: Any) -> Any:
        raise error

    return refuse


@pytest.mark.parametrize(
    ("target", "place", "defect"),
    [
        ("cookies", "holdall.cookies._TRIED", 9),
        ("cookies", "holdall.cookies._NUMBERS", {str(number): number for number in range(1, 66)}),
        ("codec", "holdall.codec._decode_again", refusing(KeyError)),
        ("codec", "holdall.codec._may_hold_raw", lambda _: False),
        ("token", "holdall.sealing._SHORTEST", 0),
        ("token", "holdall.token._PADDING", 1),
        ("record", "holdall.record._ENDINGS", frozenset(range(256))),
        ("record", "holdall.principals._LAYOUTS", {(int, int)}),
        ("plain_pickle", "holdall_stores.plain_pickle._measure", refusing(RecursionError)),
        ("plain_pickle", "holdall_stores.gae_sessions._SIGNATURE", 43),
    ],
)
def test_a_defect_is_noticed(target: str, place: str, defect: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a defect planted, something that the target starts from is not handled as it says."""
    inputs = [*load(target).seeds(), *(path.read_bytes() for path in sorted(CORPUS.joinpath(target).iterdir()))]
    monkeypatch.setattr(place, defect)
    with pytest.raises(Exception):  # noqa: B017, PT011 (whatever the defect raises)
        [*map(load(target).check, inputs)]
