"""Which tests show which line of docs/requirements.md: read from the marks in their source, as a page.

`python -m tests.planted.traced` writes docs/traced.md.
"""

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from tests.planted.defects import DEFECTS

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs/traced.md"

_HEAD = """# Which test shows which line

What [requirements.md](requirements.md) asks for, line by line: the tests in `tests/` that carry its number as a mark,
and the defects that `hatch run planted` plants in a copy of the code to see them fail. Written by
`python -m tests.planted.traced`.

| line | shown by | fails when |
|---|---|---|
"""


def lines() -> list[int]:
    """Return the numbers of the requirements, in their order."""
    text = (ROOT / "docs/requirements.md").read_text(encoding="utf-8")
    return [int(number) for number in re.findall(r"^(\d+)\. ", text, re.MULTILINE)]


@cache
def marked() -> dict[int, list[str]]:
    """Return the tests, functions or classes, that are marked with each number, as pytest names them below tests/."""
    found: dict[int, list[str]] = {}
    for path in sorted((ROOT / "tests").rglob("test_*.py")):
        source = path.read_text(encoding="utf-8")
        if "mark.requirement(" not in source:
            continue
        for name, numbers in _marks(ast.parse(source).body, path.relative_to(ROOT / "tests").as_posix()):
            for number in numbers:
                found.setdefault(number, []).append(name)
    return found


def _marks(body: list[ast.stmt], prefix: str) -> Iterator[tuple[str, list[int]]]:
    for node in body:
        if not isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        name = f"{prefix}::{node.name}"
        for decorator in node.decorator_list:
            if isinstance(decorator, ast.Call) and ast.unparse(decorator.func) == "pytest.mark.requirement":
                yield name, [ast.literal_eval(argument) for argument in decorator.args]
        if isinstance(node, ast.ClassDef):
            yield from _marks(node.body, name)


def is_marked(test: str, names: list[str]) -> bool:
    """Tell whether a test, or one of its parameters, is among these or in a class that is."""
    return any(f"{test.partition('[')[0]}::".startswith(f"{name}::") for name in names)


def page() -> str:
    """Return docs/traced.md."""
    rows = []
    for line, names in sorted(marked().items()):
        tests = "<br>".join(f"`{name}`" for name in names)
        defects = "<br>".join(defect.words for defect in DEFECTS if defect.line == line)
        rows.append(f"| {line} | {tests} | {defects} |\n")
    return _HEAD + "".join(rows)


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
