"""Tells whether the core's tests notice every mutant of the modules that guard: `hatch run mutants [module ...]`.

A mutant that no test notices is either explained in `explained.toml`, because it behaves as the original in every way
that was promised, or it makes this command fail, and is killed by a better test. So does an explanation of what is no
survivor. `--name TEXT` tries only the mutants whose names hold a text.
"""

import argparse
import importlib.abc
import importlib.util
import os
import resource
import sys
import time
import tomllib
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import CodeType, ModuleType
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, settings

from tests.mutants.mutants import Mutant, mutants

# Imported here, once, for all children; `holdall` must not be.
for preloaded in ("cryptography.hazmat.primitives.ciphers.aead", "ormsgpack", "pybase64", "hypothesis.strategies"):
    importlib.import_module(preloaded)

ROOT = Path(__file__).parents[2]
SOURCES = ROOT / "packages" / "core" / "src" / "holdall"
MODULES = ("sealing", "token", "cookies", "outcome", "changes")
EXPLAINED = Path(__file__).with_name("explained.toml")
_TESTS = ROOT / "tests" / "core"
# What looks at files, types and speed rather than at what these modules do, and takes most of the time.
_OTHER_TESTS = frozenset({"test_architecture.py", "test_codec.py"})
_AT_ONCE = 2
_CPU_SECONDS = 120
for profile, examples in (("own", 60), ("others", 10)):
    settings.register_profile(
        profile,
        max_examples=examples,
        derandomize=True,  # the same examples every time
        database=None,
        deadline=None,
        phases=(Phase.explicit, Phase.generate),  # no patience for shrinking them
        suppress_health_check=list(HealthCheck),
    )


class Mutated(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Has a module imported from code that is given."""

    def __init__(self, name: str, path: Path, code: CodeType) -> None:
        self._name, self._path, self._code = name, path, code

    def find_spec(self, name: str, path: Any, target: ModuleType | None = None) -> ModuleSpec | None:
        """Answer for the one module."""
        if name != self._name:
            return None
        return importlib.util.spec_from_file_location(name, self._path, loader=self)

    def exec_module(self, module: ModuleType) -> None:
        """Run the code that was given."""
        exec(self._code, vars(module))


def run_tests(module: str, code: CodeType) -> int:
    """Run the core's tests against a mutant, in this process; 0 if they pass."""
    resource.setrlimit(resource.RLIMIT_CPU, (_CPU_SECONDS, _CPU_SECONDS))
    silence = os.open(os.devnull, os.O_WRONLY)
    os.dup2(silence, 1)
    os.dup2(silence, 2)
    sys.meta_path.insert(0, Mutated(f"holdall.{module}", SOURCES / f"{module}.py", code))
    own = _TESTS / f"test_{module}.py"
    others = sorted(path for path in _TESTS.glob("test_*.py") if path != own and path.name not in _OTHER_TESTS)
    options = ["-x", "-q", "--assert=plain", "-p", "no:cacheprovider", "-o", "timeout=60", "-k", "not milliseconds"]
    settings.load_profile("own")
    if failed := pytest.main([*options, str(own)]):
        return failed
    settings.load_profile("others")
    return pytest.main([*options, *map(str, others)])


def survivors(work: list[tuple[str, Mutant]]) -> list[tuple[str, str]]:
    """Try mutants of modules, two at a time; returns those that no test noticed."""
    running: dict[int, tuple[str, str]] = {}
    survived = []
    started = time.monotonic()
    for number, (module, mutant) in enumerate(work, 1):
        pid = os.fork()
        if pid == 0:
            os._exit(int(run_tests(module, mutant.code)))
        running[pid] = module, mutant.name
        while len(running) >= _AT_ONCE or (running and number == len(work)):
            done, status = os.wait()
            name = running.pop(done)
            if status == 0:
                survived.append(name)
        if number % 50 == 0:
            print(f"{number} of {len(work)}, {time.monotonic() - started:.0f} s, {len(survived)} survived", flush=True)
    return survived


def main() -> int:
    """Try all mutants, or those that are meant; 0 if every survivor is explained, and nothing else is."""
    parser = argparse.ArgumentParser(prog="mutants", description=__doc__.partition("\n")[0])
    parser.add_argument("modules", nargs="*", metavar="module", help=f"of {', '.join(MODULES)}; all if none is named")
    parser.add_argument("--name", default="", help="only the mutants whose names hold this")
    arguments = parser.parse_args()
    os.chdir(ROOT)
    explained = tomllib.loads(EXPLAINED.read_text())
    failed = False
    for module in arguments.modules or MODULES:
        path = SOURCES / f"{module}.py"
        source = path.read_text()
        if survivors([(module, Mutant("unchanged", compile(source, path, "exec")))]) == []:
            print("the tests fail without any mutant")
            return 1
        work = [mutant for mutant in mutants(source, str(path)) if arguments.name in mutant.name]
        survived = {name for _, name in survivors([(module, mutant) for mutant in work])}
        reasons = {name for name in explained.get(module, {}) if arguments.name in name}
        unexplained, stale = survived - reasons, reasons - survived
        print(f"{module}: {len(work)} mutants, {len(work) - len(survived)} killed, {len(survived & reasons)} explained")
        for what, names in (("not explained", unexplained), ("explained, but no survivor", stale)):
            for name in sorted(names):
                print(f"  {what}: {name}")
        failed = failed or bool(unexplained or stale)
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
