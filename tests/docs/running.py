"""Runs a page's examples that are tests, as a module of their own."""

import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest


def passes(folder: Path, source: str) -> set[str]:
    """Run a module of tests, all of which pass without a warning, and return their names.

    Of `AdapterConformance` all but the model is run, which takes as long as all others: adapters' own tests run it.
    """
    module, report = folder / "test_page.py", folder / "report.xml"
    module.write_text(source, encoding="utf-8")
    options = ["-q", "-W", "error", "-p", "no:cacheprovider", "-k", "not test_model", f"--junit-xml={report}"]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *options, f"--rootdir={folder}", str(module)],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == pytest.ExitCode.OK, done.stdout
    cases = list(ElementTree.parse(report).iter("testcase"))
    assert not [case.attrib["name"] for case in cases if len(case)]  # neither skipped nor failed
    return {case.attrib["name"].partition("[")[0] for case in cases}
