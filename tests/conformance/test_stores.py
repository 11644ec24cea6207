"""Tests of `holdall_conformance.stores`: each broken store fails the test of its duty and no other, a sound one none.

The broken stores, and what must fail for each, are in `broken_stores.py`; that our own stores pass is in
`tests/stores`.
"""

import subprocess
import sys
from collections import defaultdict
from pathlib import Path
from xml.etree import ElementTree

import pytest
from holdall_conformance.stores import CacheConformance, StoreConformance, UnavailableConformance

from tests.conformance.broken_stores import VERDICTS, Verdict, class_name

HERE = Path(__file__).parent
Outcomes = dict[str, dict[str, str]]
"""Of a class: a failed or skipped test's name → what it said."""


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Outcomes]:
    """What one run of pytest says of all stores: "failure", "error", "skipped" or "passed" → outcomes by class."""
    path = tmp_path_factory.mktemp("broken") / "report.xml"
    options = ["-q", "-p", "no:cacheprovider", "-o", "python_files=broken_stores.py", f"--junit-xml={path}"]
    run = subprocess.run(
        [sys.executable, "-m", "pytest", *options, str(HERE / "broken_stores.py")],
        cwd=HERE.parents[1],
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert run.returncode == 1, run.stdout + run.stderr  # some tests failed, and nothing else went wrong
    found: dict[str, Outcomes] = defaultdict(lambda: defaultdict(dict))
    for case in ElementTree.parse(path).iter("testcase"):
        name, _, _ = case.attrib["name"].partition("[")
        outcome = next((child for child in case if child.tag in ("failure", "error", "skipped")), None)
        kind, said = ("passed", "") if outcome is None else (outcome.tag, f"{outcome.get('message')}\n{outcome.text}")
        found[kind][case.attrib["classname"].rpartition(".")[2]][name] = said
    return found


@pytest.mark.parametrize("verdict", VERDICTS, ids=class_name)
def test_a_store_fails_for_its_own_defect(report: dict[str, Outcomes], verdict: Verdict) -> None:
    """The one test fails whose duty the store does not do; for a sound store none does, and none is skipped."""
    name = class_name(verdict)

    assert set(report["failure"][name]) == ({verdict.fails} if verdict.fails else set())
    assert report["error"][name] == {}
    if verdict.fails is None:
        assert report["skipped"][name] == {}
        assert set(report["passed"][name]) == duties(verdict.suite)


@pytest.mark.parametrize("verdict", [verdict for verdict in VERDICTS if verdict.fails], ids=class_name)
def test_a_failure_says_what_and_why(report: dict[str, Outcomes], verdict: Verdict) -> None:
    """A failure names the store, what it did, and which promise to whom breaks."""
    (said,) = report["failure"][class_name(verdict)].values()

    assert f"AssertionError: {verdict.store.__name__}: " in said
    assert "Why it matters: " in said


def test_what_was_not_judged_says_what_it_waits_for(report: dict[str, Outcomes]) -> None:
    """A test that is skipped because it builds on what fails names that."""
    for verdict in VERDICTS:
        for said in report["skipped"][class_name(verdict)].values():
            assert f"not judged before {verdict.fails} passes" in said


def test_every_duty_has_its_broken_store() -> None:
    """For each test of the suites there is a store that fails it."""
    suites = (CacheConformance, StoreConformance, UnavailableConformance)

    assert {verdict.fails for verdict in VERDICTS} - {None} == set().union(*map(duties, suites))


def duties(suite: type[object]) -> set[str]:
    return {name for name in dir(suite) if name.startswith("test_")}


@pytest.mark.parametrize("suite", [StoreConformance, CacheConformance, UnavailableConformance])
def test_what_is_missing_is_named(suite: type[object], tmp_path: Path) -> None:
    """A subclass without its fixture, or without its size, is told what it needs."""
    needed = "unavailable" if suite is UnavailableConformance else "store"
    (tmp_path / "test_mine.py").write_text(
        f"from holdall_conformance.stores import {suite.__name__}\n"
        "from holdall_stores import Memory\nimport pytest\n\n"
        f"class TestNoFixture({suite.__name__}):\n    oversize = 1\n\n"
        f"class TestNoSize({suite.__name__}):\n"
        f"    @pytest.fixture\n    def {needed}(self):\n        return Memory()\n"
    )
    run = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-k", "large or judged", "test_mine.py"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert f"TestNoFixture needs a fixture `{needed}`" in run.stdout
    assert "TestNoSize needs a class attribute `oversize`" in run.stdout
