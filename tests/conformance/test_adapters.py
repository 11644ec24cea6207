"""The suite for adapters notices what it is for: every broken adapter fails its own test, and no other one."""

import os
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from holdall_conformance import Adapter, AdapterConformance, Application

from tests.conformance.broken_adapters import BROKEN, Sound

_ROOT = Path(__file__).parents[2]

_SUITE = """
import pytest
from holdall_conformance import AdapterConformance
from tests.conformance.broken_adapters import BROKEN, Sound

{classes}
"""
_CLASS = """
class Test{number}(AdapterConformance):
    @pytest.fixture
    def adapter(self):
        return {adapter}()
"""


@pytest.fixture(scope="module")
def failures(tmp_path_factory: pytest.TempPathFactory) -> dict[str, set[str]]:
    """Run the suite against all of them at once; returns the names of the tests that failed for each."""
    folder = tmp_path_factory.mktemp("broken")
    adapters = ["Sound", *[f"BROKEN[{number}][1]" for number in range(len(BROKEN))]]
    classes = [_CLASS.format(number=number, adapter=adapter) for number, adapter in enumerate(adapters)]
    suite, report = Path(folder, "test_broken.py"), Path(folder, "report.xml")
    suite.write_text(_SUITE.format(classes="".join(classes)))
    # The model sees everything at once, so it fails for many duties: it is nobody's own test.
    options = ["-q", "-p", "no:cacheprovider", "-k", "not test_model", f"--junit-xml={report}", f"--rootdir={folder}"]
    path = os.pathsep.join([str(_ROOT), *(each for each in sys.path if each)])
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *options, str(suite)],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == pytest.ExitCode.TESTS_FAILED, done.stdout
    found: defaultdict[str, set[str]] = defaultdict(set)
    for case in ElementTree.parse(report).iter("testcase"):
        if case.find("failure") is not None or case.find("error") is not None:
            found[case.attrib["classname"].rpartition(".")[2]].add(case.attrib["name"].partition("[")[0])
    return found


def test_sound_adapter_fails_nothing(failures: dict[str, set[str]]) -> None:
    """The adapter that the broken ones are made of passes."""
    assert failures.get("Test0", set()) == set()


@pytest.mark.parametrize("number", range(len(BROKEN)), ids=[what for what, *_ in BROKEN])
def test_broken_adapter_fails_its_own_test(failures: dict[str, set[str]], number: int) -> None:
    """A broken adapter fails the test of the duty that it breaks, and no other."""
    assert failures.get(f"Test{number + 1}", set()) == BROKEN[number][2]


class Noting(Sound):
    """Notes what was built, and what was closed."""

    def __init__(self) -> None:
        self.built: list[Any] = []
        self.closed: list[Any] = []

    def build(self, application: Application, **options: Any) -> Any:
        self.built.append(super().build(application, **options))
        return self.built[-1]

    def close(self, built: Any) -> None:
        self.closed.append(built)


class TestMake:
    """The suite's fixture `make`, without its tests."""

    make = AdapterConformance.make

    @pytest.fixture
    def adapter(self) -> Iterator[Adapter]:
        adapter = Noting()
        yield adapter
        assert len(adapter.built) == 3
        assert adapter.closed == adapter.built[::-1]

    def test_sites_are_closed_the_latest_first(self, make: Any) -> None:
        """Sites are closed after the test in the reverse order of their making, as settings and servers nest."""
        sites = [make(), make(), make()]
        assert not any(site.adapter.closed for site in sites)
