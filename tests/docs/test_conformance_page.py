"""The page of holdall-conformance says what is true: its example is an adapter's suite, and that passes."""

import re
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest
from holdall_conformance import Adapter, AdapterConformance

from tests.docs.test_docs import ROOT, blocks

PAGE = "packages/conformance/README.md"


def test_example_is_a_suite_that_passes(tmp_path: Path) -> None:
    """The example, as a test module of its own, runs every test of the suite, and all pass without a warning."""
    (example,) = blocks(PAGE)
    suite, report = tmp_path / "test_mine.py", tmp_path / "report.xml"
    suite.write_text(example, encoding="utf-8")
    # The model takes as long as all others; that this adapter passes it, tests/wsgi shows.
    options = ["-q", "-W", "error", "-p", "no:cacheprovider", "-k", "not test_model", f"--junit-xml={report}"]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *options, f"--rootdir={tmp_path}", str(suite)],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == pytest.ExitCode.OK, done.stdout
    cases = list(ElementTree.parse(report).iter("testcase"))
    assert not [case.attrib["name"] for case in cases if len(case)]  # neither skipped nor failed
    duties = {name for name in vars(AdapterConformance) if name.startswith("test_")}
    assert {case.attrib["name"].partition("[")[0] for case in cases} == duties - {"test_model"}


def test_every_habit_is_named() -> None:
    """The page names every class attribute of `Adapter`, and nothing else, where it speaks of habits."""
    (listed,) = re.findall(r"class attributes of `Adapter` say so \(([^)]*)\)", (ROOT / PAGE).read_text("utf-8"))
    habits = [name for name, value in vars(Adapter).items() if type(value) is bool]
    assert re.findall(r"`(\w+)`", listed) == habits
