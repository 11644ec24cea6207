"""Builds every package twice and checks what would be published: `hatch run dist:check`. The files are in dist/.

The second build is of a copy in another folder, whose files have other times: equal bytes then mean that a build
depends on nothing but what is in the files.
"""

import email
import os
import shutil
import subprocess
import sys
import tempfile
import tomllib
import zipfile
from importlib.metadata import version
from pathlib import Path

ROOT = Path(__file__).parents[1]
DIST = ROOT / "dist"


def build(root: Path, target: Path) -> None:
    """Build the wheel and the sdist of each package of the project in `root`."""
    for package in sorted(path.parent for path in root.glob("packages/*/pyproject.toml")):
        command = [sys.executable, "-m", "hatchling", "build", "-d", str(target)]
        done = subprocess.run(command, cwd=package, capture_output=True, text=True, check=False)
        if done.returncode:
            raise SystemExit(f"{package} cannot be built:\n{done.stdout}{done.stderr}")


def differing(one: Path, other: Path) -> list[str]:
    """Return the names of files that are not, byte for byte, in both folders."""
    names = {path.name for folder in (one, other) for path in folder.iterdir()}
    return sorted(
        name
        for name in names
        if not ((one / name).exists() and (other / name).exists())
        or (one / name).read_bytes() != (other / name).read_bytes()
    )


def lacking(wheel: Path, root: Path) -> list[str]:
    """Return what a wheel lacks to be published."""
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        (path,) = (name for name in names if name.endswith(".dist-info/METADATA"))
        metadata = email.message_from_bytes(archive.read(path))
    wanted = {
        "types": any(name.endswith("/py.typed") for name in names),
        "the licence": any("/licenses/" in name for name in names) and metadata["License-Expression"] == "Apache-2.0",
        "a readme": bool(str(metadata.get_payload()).strip()),
        "links": len(metadata.get_all("Project-URL", [])) > 1,
        "classifiers": len(metadata.get_all("Classifier", [])) > 1,
        "the version of all others": {metadata["Version"]} == versions(root),
    }
    return [f"{wheel.name} lacks {what}" for what, is_there in wanted.items() if not is_there]


def versions(root: Path) -> set[str]:
    """Return the versions of all packages: one, if they are in step."""
    return {
        tomllib.loads(path.read_text(encoding="utf-8"))["project"]["version"]
        for path in root.glob("packages/*/pyproject.toml")
    }


def main() -> int:
    """Build, check, and say what is wrong; returns the exit code."""
    shutil.rmtree(DIST, ignore_errors=True)
    build(ROOT, DIST)
    with tempfile.TemporaryDirectory() as folder:
        copy, again = Path(folder, "copy"), Path(folder, "again")
        shutil.copytree(ROOT / "packages", copy / "packages", ignore=shutil.ignore_patterns("__pycache__"))
        shutil.copy(ROOT / ".gitignore", copy)
        for path in copy.rglob("*"):
            os.utime(path, (1_000_000_000, 1_000_000_000))
        build(copy, again)
        wrong = [f"{name} is not reproducible" for name in differing(DIST, again)]
    wrong += [fault for wheel in sorted(DIST.glob("*.whl")) for fault in lacking(wheel, ROOT)]
    files = sorted(str(path) for path in DIST.iterdir())
    wrong += (
        ["twine refuses it"] if subprocess.run(["twine", "check", "--strict", *files], check=False).returncode else []
    )
    said = [*wrong, f"{len(files)} files, hatchling {version('hatchling')}: {'wrong' if wrong else 'good'}"]
    sys.stdout.write("\n".join([*said, ""]))
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
