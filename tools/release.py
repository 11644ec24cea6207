"""Raises the version of all packages in step: `hatch run release 1.2.0`. docs/releasing.md has what else is to be done.

The version is in each package's pyproject.toml, in what the packages need of each other, and on top of CHANGELOG.md.
"""

import datetime
import re
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
NOWHERE = "https://holdall.example"

_VERSION = re.compile(r"(\d+)\.(\d+)\.(\d+)(rc\d+)?")
_OWN = re.compile(r'^version = ".*"$', re.MULTILINE)
_NEEDS = re.compile(r'"(holdall(?:-\w+)?)>=[^"]*"')
_UNRELEASED = re.compile(r"^## \S+ \(unreleased\)$", re.MULTILINE)


def release(root: Path, version: str, today: datetime.date) -> None:
    """Write a version into all packages of the project in `root`, and into its changelog.

    Writes nothing and raises `ValueError` if the version is none, or something is missing. A release candidate leaves
    the changelog's section unreleased.
    """
    match = _VERSION.fullmatch(version)
    if match is None:
        raise ValueError(f"{version} is no version: use one such as 1.2.0, or 1.2.0rc1")
    major, minor = int(match[1]), int(match[2])
    # Before 1.0 a minor version may change names, afterwards a major one.
    bound = f">={version if match[4] else f'{major}.{minor}'},<{f'{major + 1}' if major else f'0.{minor + 1}'}"
    changed: dict[Path, str] = {}
    for path in sorted(root.glob("packages/*/pyproject.toml")):
        text, count = _OWN.subn(f'version = "{version}"', path.read_text(encoding="utf-8"))
        if count != 1:
            raise ValueError(f"{path} needs one line: version = …")
        if NOWHERE in text:
            raise ValueError(f"{path}: the links lead to {NOWHERE}, which is nowhere; see docs/releasing.md")
        changed[path] = _NEEDS.sub(rf'"\1{bound}"', text)
    changelog = root / "CHANGELOG.md"
    heading = f"## {version.removesuffix(match[4] or '')} ({'unreleased' if match[4] else today.isoformat()})"
    changed[changelog], count = _UNRELEASED.subn(heading, changelog.read_text(encoding="utf-8"))
    if count != 1:
        raise ValueError(f"{changelog} needs one section for what is new: ## {version} (unreleased)")
    for path, text in changed.items():
        path.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: hatch run release VERSION")
    try:
        release(ROOT, sys.argv[1], datetime.datetime.now(datetime.UTC).date())
    except ValueError as error:
        sys.exit(str(error))
