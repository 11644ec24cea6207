"""The page of holdall-conformance says what is true: its example is an adapter's suite, and that passes."""

import re
from pathlib import Path

from holdall_conformance import Adapter, AdapterConformance

from tests.docs.running import passes
from tests.docs.test_docs import ROOT, blocks

PAGE = "packages/conformance/README.md"


def test_example_is_a_suite_that_passes(tmp_path: Path) -> None:
    """The example, as a test module of its own, runs every test of the suite, and all pass without a warning."""
    (example,) = blocks(PAGE)
    duties = {name for name in vars(AdapterConformance) if name.startswith("test_")}
    assert passes(tmp_path, example) == duties - {"test_model"}


def test_every_habit_is_named() -> None:
    """The page names every class attribute of `Adapter`, and nothing else, where it speaks of habits."""
    (listed,) = re.findall(r"class attributes of `Adapter` say so \(([^)]*)\)", (ROOT / PAGE).read_text("utf-8"))
    habits = [name for name, value in vars(Adapter).items() if type(value) is bool]
    assert re.findall(r"`(\w+)`", listed) == habits
