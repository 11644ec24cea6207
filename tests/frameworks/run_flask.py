"""`python -m tests.frameworks.run_flask`: runs all of Flask's own tests with Holdall's sessions in every application.

They come from the source distribution of the Flask that is installed. Only keys are changed: Flask's are shorter than
Holdall takes outside of testing mode. What fails with Flask's own sessions too, in this environment, says nothing about
Holdall: so the tests are run twice. How Holdall is installed is in `flask_plugin.py`.
"""

import os
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TypeAlias
from xml.etree import ElementTree

from tests.frameworks.sdist import unpack

Outcomes: TypeAlias = dict[str, str]
"""What became of each test: "passed", "failed" or "skipped"."""

LONG_KEY = "a key for Flask's tests, of more than thirty-two bytes"
KEYS = {
    "conftest.py": ('SECRET_KEY="test key"', f'SECRET_KEY="{LONG_KEY}"'),
    "test_reqctx.py": ('secret_key = "secret_key"', f'secret_key = "{LONG_KEY}"'),
}
"""The file, what it says, and what it says instead."""

NOT_APPLICABLE = {
    "tests.test_basic::test_session_using_samesite_attribute": (
        "modified: True if the session object detected a modification.",
        "It assigns the value that is there already, under other cookie settings, and expects a cookie. To Holdall "
        "that is no modification, and what changed nothing sends nothing.",
    ),
    "tests.test_basic::test_session_expiration": (
        "If session.permanent is true, the cookie's expiration will be set this number of seconds in the future.",
        "It looks for Expires. Holdall says the same with Max-Age, which does not need the browser's clock to be right "
        "and takes precedence in every browser (RFC 6265bis, 4.1.2.2).",
    ),
    "tests.test_basic::test_session_refresh_vary": (
        "Control whether the cookie is sent with every response when session.permanent is true.",
        "It expects a cookie from a view that leaves the session alone. Holdall refreshes it with every response of a "
        "request that touched its session; untouched responses stay cacheable.",
    ),
}
"""The tests that cannot pass: the sentence of Flask's documentation each is about, and how Holdall differs."""


def run(root: Path, *, plain: bool) -> Outcomes:
    """Run Flask's tests with its own sessions, or with Holdall's; returns what became of each."""
    report = root / "report.xml"
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parent), "PYTEST_ADDOPTS": ""}
    if plain:
        environment["HOLDALL_TEST_PLAIN"] = "1"
    options = ["-q", "--tb=short", "-p", "flask_plugin", "-p", "no:cacheprovider", f"--junitxml={report}"]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *options, "tests"],
        cwd=root,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    if done.returncode not in (0, 1):  # 1: some tests failed
        sys.exit(f"pytest did not run Flask's tests:\n{done.stdout}")
    if not plain:
        print(done.stdout)  # noqa: T201
    outcomes = {}
    for case in ElementTree.parse(report).iter("testcase"):
        kinds = {child.tag for child in case}
        failed = not kinds.isdisjoint({"failure", "error"})
        name = f"{case.get('classname')}::{case.get('name')}"
        outcomes[name] = "failed" if failed else "skipped" if "skipped" in kinds else "passed"
    return outcomes


def judge(plain: Outcomes, ours: Outcomes) -> list[str]:
    """Return what is wrong: a line for each test that does not go with Holdall as it goes without."""
    wrong = []
    for name in sorted({*plain, *ours, *NOT_APPLICABLE}):
        before, now = plain.get(name, "missing"), ours.get(name, "missing")
        if name in NOT_APPLICABLE:
            if (before, now) != ("passed", "failed"):
                wrong.append(f"{name} is said not to apply, and is {now} ({before} with Flask's own sessions)")
        elif now != before:
            wrong.append(f"{name} is {now} ({before} with Flask's own sessions)")
    return wrong


def main() -> int:
    """Run them; returns the exit code."""
    flask = version("flask")
    with TemporaryDirectory() as folder:
        root = unpack("flask", flask, Path(folder))
        for name, (key, longer) in KEYS.items():
            path = root / "tests" / name
            text = path.read_text(encoding="utf-8")
            if key not in text:
                sys.exit(f"Flask {flask}: {name} does not say {key} any more; see KEYS")
            path.write_text(text.replace(key, longer), encoding="utf-8")
        plain, ours = run(root, plain=True), run(root, plain=False)
    passed = sum(outcome == "passed" for outcome in ours.values())
    theirs = sorted(name for name, outcome in plain.items() if outcome == "failed")
    print(f"Flask {flask}: {passed} of {len(ours)} tests pass with Holdall's sessions")  # noqa: T201
    for name in theirs:
        print(f"  {name} fails with Flask's own sessions, too")  # noqa: T201
    for name, (sentence, difference) in NOT_APPLICABLE.items():
        print(f"  {name} does not apply. Flask: {sentence!r} {difference}")  # noqa: T201
    wrong = judge(plain, ours)
    for line in wrong:
        print(f"WRONG: {line}")  # noqa: T201
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
