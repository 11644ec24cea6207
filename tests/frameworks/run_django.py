"""Runs Django's own tests with Holdall's sessions: `python -m tests.frameworks.run_django`, from the repository's root.

The tests come from the source distribution of the Django that is installed. Exits with 1 if any fails that applies, or
if one of those passes that do not; which these are, and why, is in `django_runner.py`. Further arguments are
runtests.py's.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import django

from tests.frameworks.sdist import unpack

SUITES = ["sessions_tests", "csrf_tests", "messages_tests", "test_client", "test_client_regress", "auth_tests"]

_HERE = Path(__file__).parent


def main(arguments: list[str]) -> int:
    """Run them; returns what runtests.py exits with."""
    with TemporaryDirectory(prefix="holdall-django-") as folder:
        tests = unpack("Django", django.get_version(), Path(folder)) / "tests"
        shutil.copy(_HERE / "django_sessions.py", tests / "sessions_tests" / "test_holdall.py")
        path = os.pathsep.join([str(_HERE.parents[1]), *(each for each in sys.path if each)])
        options = ["--settings=tests.frameworks.django_settings", "--parallel=1", "--noinput"]
        command = [sys.executable, "runtests.py", *options, *SUITES, *arguments]
        environment = {**os.environ, "PYTHONPATH": path}
        return subprocess.run(command, cwd=tests, env=environment, check=False).returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
