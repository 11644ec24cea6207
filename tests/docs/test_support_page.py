"""docs/support.md says what the packages say of themselves."""

import re
import tomllib
from typing import Any

import pytest

from tests.docs.test_docs import ROOT

PAGE = (ROOT / "docs/support.md").read_text(encoding="utf-8")
PACKAGES: list[dict[str, Any]] = [
    tomllib.loads(path.read_text(encoding="utf-8"))["project"] for path in ROOT.glob("packages/*/pyproject.toml")
]


@pytest.mark.parametrize("package", PACKAGES, ids=lambda package: package["name"])
def test_the_table_has_what_a_package_needs(package: dict[str, Any]) -> None:
    """A package's row has all that it needs but Holdall itself, and its extras."""
    (row,) = re.findall(rf"^\| {package['name']} \|(.*)\|(.*)\|$", PAGE, re.MULTILINE)
    others = [name for name in package["dependencies"] if not name.startswith("holdall")]
    assert re.findall(r"`([^`]+)`", row[0]) == others
    extras = [[f"[{extra}]", *needs] for extra, needs in package.get("optional-dependencies", {}).items()]
    assert re.findall(r"`([^`]+)`", row[1]) == [name for extra in extras for name in extra]


def test_pythons() -> None:
    """The Pythons of the page are those that are tested, and that the packages name."""
    (sentence,) = re.findall(r"\*\*Python\*\* (.*), CPython", PAGE)
    named = re.findall(r"3\.\d+", sentence)
    matrix = tomllib.loads((ROOT / "hatch.toml").read_text())["envs"]["matrix"]["matrix"][0]["python"]
    assert named == matrix
    for package in PACKAGES:
        versions = [name.rpartition(" ")[2] for name in package["classifiers"] if re.search(r":: 3\.\d+$", name)]
        assert versions == named
        assert package["requires-python"] == f">={named[0]}"
