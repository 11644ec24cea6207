"""Plants each defect of `defects` in a copy of the code, and checks that the test it names fails; before, it must pass.

`hatch run planted`, or `hatch run planted 8 24` for some lines of docs/requirements.md only. Nothing is ever changed in
the working tree. The copies come first on the path, for child processes too, which is checked.
"""

import argparse
import itertools
import os
import queue
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from shutil import copytree, ignore_patterns
from typing import NamedTuple
from xml.etree import ElementTree

from tests.planted.defects import DEFECTS, Defect, DefectError
from tests.planted.traced import ROOT

_AT_ONCE = 2
_SLIPS = ("NameError", "ImportError", "ModuleNotFoundError", "SyntaxError", "UnboundLocalError")
"""A test that fails for such a reason found a slip of whoever wrote the defect, and not the defect."""


class Run(NamedTuple):
    """What became of some tests."""

    passed: int
    failed: list[str]
    """The first line of each failure."""
    others: int
    """Errors outside of a test, and skipped tests."""


class Tree:
    """A copy of the code to plant in."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        copytree(ROOT, folder, ignore=ignore_patterns(".*", "__pycache__", "dist"))
        sources = sorted(folder.glob("packages/*/src"))
        self._environment = {
            **os.environ,
            "PYTHONPATH": os.pathsep.join(map(str, sources)),
            "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",  # a third of the time; what the settings need is named below
        }
        self._times = itertools.count(1_000_000_000)
        names = [path.parent.name for source in sources for path in source.glob("*/__init__.py")]
        script = "import importlib, sys\nfor name in sys.argv[1:]: print(importlib.import_module(name).__file__)"
        done = subprocess.run(
            [sys.executable, "-c", script, *names],
            cwd=folder,
            env=self._environment,
            capture_output=True,
            text=True,
            check=True,
        )
        for file in done.stdout.splitlines():
            assert Path(file).is_relative_to(folder), f"{file} is imported, and not the copy"

    def run(self, tests: list[str], *options: str) -> Run:
        """Run tests on the copy as it is now."""
        report = self._folder / "report.xml"
        report.unlink(missing_ok=True)
        command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "pytest_timeout", *options]
        subprocess.run(
            [*command, f"--junitxml={report}", *(f"tests/{test}" for test in tests)],
            cwd=self._folder,
            env=self._environment,
            capture_output=True,
            check=False,
        )
        cases = list(ElementTree.parse(report).iter("testcase"))
        failed = [failure.get("message", "").partition("\n")[0] for case in cases for failure in case.iter("failure")]
        others = sum(1 for case in cases for tag in ("error", "skipped") if case.find(tag) is not None)
        return Run(len(cases) - len(failed) - others, failed, others)

    def plant(self, defect: Defect) -> Run:
        """Run a defect's test with the defect, and take it out again."""
        planted = defect.planted(self._folder)
        originals = {file: (self._folder / file).read_bytes() for file in planted}
        try:
            for file, source in planted.items():
                self._write(file, source.encode())
            return self.run([defect.test], "--exitfirst")
        finally:
            for file, original in originals.items():
                self._write(file, original)

    def _write(self, file: str, source: bytes) -> None:
        path = self._folder / file
        path.write_bytes(source)
        # Bytecode is told from stale bytecode by the second in which its source was changed, and its size.
        second = next(self._times)
        os.utime(path, (second, second))


def main() -> int:
    """Plant what the lines of the command line have, or all; return how many were not caught."""
    parser = argparse.ArgumentParser(prog="hatch run planted", description=__doc__)
    lines = {defect.line for defect in DEFECTS}
    parser.add_argument("lines", nargs="*", type=int, metavar="LINE", help="of docs/requirements.md; without any, all")
    chosen = parser.parse_args().lines
    if unknown := set(chosen) - lines:
        parser.error(f"no defect is planted for {sorted(unknown)}: there are {sorted(lines)}")
    defects = [defect for defect in DEFECTS if not chosen or defect.line in chosen]
    with tempfile.TemporaryDirectory(prefix="holdall-planted-") as folder:
        trees: queue.Queue[Tree] = queue.Queue()
        for number in range(_AT_ONCE):
            trees.put(Tree(Path(folder).resolve() / str(number)))

        def plant(defect: Defect) -> tuple[bool, str, float]:
            tree = trees.get()
            started = time.monotonic()
            try:
                run = tree.plant(defect)
            except DefectError as error:
                return False, str(error), 0.0
            finally:
                trees.put(tree)
            return *_judged(run), time.monotonic() - started

        tests = list(dict.fromkeys(defect.test for defect in defects))
        tree = trees.get()
        healthy = tree.run(tests)
        trees.put(tree)
        if healthy.failed or healthy.others or not healthy.passed:
            sys.stdout.write(f"without a defect: {healthy.others} errors or skipped, failed: {healthy.failed}\n")
            return 1
        sys.stdout.write(f"{healthy.passed} tests pass without a defect\n\n")
        survived = 0
        with ThreadPoolExecutor(_AT_ONCE) as pool:
            for defect, (caught, said, seconds) in zip(defects, pool.map(plant, defects), strict=True):
                survived += not caught
                result = "caught" if caught else f"SURVIVED ({said})"
                sys.stdout.write(f"{defect.line:>2}  {result}  {seconds:5.1f} s  {defect.words}  [{defect.test}]\n")
                sys.stdout.flush()
    sys.stdout.write(f"\n{len(defects) - survived} of {len(defects)} defects caught\n")
    return survived


def _judged(run: Run) -> tuple[bool, str]:
    if run.others or not run.failed:
        return False, f"{run.passed} passed, {run.others} errors or skipped"
    if slips := [reason for reason in run.failed if reason.startswith(_SLIPS)]:
        return False, slips[0]
    return True, run.failed[0]


if __name__ == "__main__":
    sys.exit(min(main(), 1))
