"""The defects that `hatch run planted` plants: one at least for every requirement, and all of them fit the code."""

import pytest

from tests.planted.defects import DEFECTS, Defect
from tests.planted.traced import ROOT, is_marked, lines, marked


def test_every_line_has_a_defect() -> None:
    """Each requirement has a defect that its test must find."""
    assert {defect.line for defect in DEFECTS} == set(lines())


@pytest.mark.parametrize("defect", DEFECTS, ids=lambda defect: f"{defect.line}: {defect.words}")
def test_it_can_be_planted(defect: Defect) -> None:
    """What is to be replaced is in the source exactly once, the result is Python, and the test is marked."""
    for file, source in defect.planted(ROOT).items():
        assert source != (ROOT / file).read_text(encoding="utf-8")
        compile(source, file, "exec")
    assert is_marked(defect.test, marked()[defect.line])
