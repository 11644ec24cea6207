"""The mutants are what they say, and the explanations are of mutants that there are."""

import tomllib
from pathlib import Path

import holdall
import pytest

from tests.mutants.mutants import mutants

SOURCES = Path(holdall.__file__).parent
EXPLAINED = Path(__file__).with_name("explained.toml")
SOURCE = '''
"""Words."""
LIMIT: int = 3


def within(number: int, names: list[str]) -> bool:
    """Words."""
    if not names or number <= LIMIT:
        raise ValueError("words")
    names.clear()
    return names[1:] == [name for name in names if name]
'''


def test_each_changes_one_thing() -> None:
    """Comparisons, conditions, constants, calls, slices and results are changed, each alone; words are not."""
    assert [mutant.name for mutant in mutants(SOURCE, "example")] == [
        "module: LIMIT: int = 3 → LIMIT: int = 4",
        "within: if not names or number <= LIMIT → if not (not names or number <= LIMIT)",
        "within: not names or number <= LIMIT → not names and number <= LIMIT",
        "within: not names or number <= LIMIT → number <= LIMIT",
        "within: not names or number <= LIMIT → not names",
        "within: not names → names",
        "within: number <= LIMIT → number < LIMIT",
        "within: raise ValueError('words') → pass",
        "within: names.clear() → pass",
        "within: return names[1:] == [name for name in names if name] → return None",
        "within: names[1:] == [name for name in names if name] → names[1:] != [name for name in names if name]",
        "within: names[1:] → names[:]",
        "within: names[1:] → names[2:]",
        "within: for name in names if name → for name in names",
    ]


def test_a_mutant_is_code_that_differs() -> None:
    """A mutant runs as its name says."""
    code = {mutant.name: mutant.code for mutant in mutants(SOURCE, "example")}
    names: dict[str, object] = {}
    exec(code["module: LIMIT: int = 3 → LIMIT: int = 4"], names)
    assert names["LIMIT"] == 4


@pytest.mark.parametrize("module", tomllib.loads(EXPLAINED.read_text()))
def test_what_is_explained_is_a_mutant(module: str) -> None:
    """Every explanation is of a mutant that its module has."""
    path = SOURCES / f"{module}.py"
    names = [mutant.name for mutant in mutants(path.read_text(), str(path))]
    assert len(names) == len(set(names))
    assert set(tomllib.loads(EXPLAINED.read_text())[module]) <= set(names)
