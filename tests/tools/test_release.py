"""Tests of `tools.release`, on a copy of the packages."""

import datetime
import tomllib
from pathlib import Path

import pytest

from tools.release import NOWHERE, ROOT, release

TODAY = datetime.date(2027, 1, 31)


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """The packages' settings and the changelog, with links that lead somewhere and something unreleased."""
    for path in ROOT.glob("packages/*/pyproject.toml"):
        target = tmp_path / path.relative_to(ROOT)
        target.parent.mkdir(parents=True)
        target.write_text(path.read_text().replace(NOWHERE, "https://somewhere.example"))
    (tmp_path / "CHANGELOG.md").write_text("# Changelog\n\n## 0.9.0 (unreleased)\n\nNew.\n\n## 0.1.0 (2026-12-01)\n")
    return tmp_path


def projects(root: Path) -> dict[str, str]:
    """Return each package's version, and what it needs of the others."""
    found = {}
    for path in root.glob("packages/*/pyproject.toml"):
        project = tomllib.loads(path.read_text())["project"]
        needs = [need for need in project["dependencies"] if need.startswith("holdall")]
        found[project["name"]] = " ".join([project["version"], *needs])
    return found


def test_all_packages_are_raised_in_step(copy: Path) -> None:
    """Every package has the version, and needs the same minor version of the others; the changelog has the date."""
    release(copy, "0.2.3", TODAY)
    found = projects(copy)
    assert {text.partition(" ")[0] for text in found.values()} == {"0.2.3"}
    assert found["holdall-flask"] == "0.2.3 holdall>=0.2,<0.3 holdall-stores>=0.2,<0.3"
    assert found["holdall"] == "0.2.3"
    headings = [line for line in (copy / "CHANGELOG.md").read_text().splitlines() if line.startswith("## ")]
    assert headings == ["## 0.2.3 (2027-01-31)", "## 0.1.0 (2026-12-01)"]


def test_nothing_else_is_changed(copy: Path) -> None:
    """What a package needs of others, and the rest of its settings, stay as they were."""
    before = {path: path.read_text() for path in copy.glob("packages/*/pyproject.toml")}
    release(copy, "0.2.0", TODAY)
    for path, text in before.items():
        assert path.read_text() == text.replace('"0.1.0"', '"0.2.0"').replace(">=0.1,<0.2", ">=0.2,<0.3")


@pytest.mark.parametrize(
    ("version", "bound"), [("1.0.0", ">=1.0,<2"), ("1.4.2", ">=1.4,<2"), ("0.3.0rc2", ">=0.3.0rc2,<0.4")]
)
def test_bounds(copy: Path, version: str, bound: str) -> None:
    """From 1.0 on a minor version goes with those before it; a candidate needs candidates."""
    release(copy, version, TODAY)
    assert projects(copy)["holdall-stores"] == f"{version} holdall{bound}"


def test_a_candidate_is_not_released(copy: Path) -> None:
    """The changelog's section stays open, and the release itself closes it."""
    release(copy, "0.3.0rc1", TODAY)
    assert "## 0.3.0 (unreleased)" in (copy / "CHANGELOG.md").read_text()
    release(copy, "0.3.0", TODAY)
    assert "## 0.3.0 (2027-01-31)" in (copy / "CHANGELOG.md").read_text()


def refuse(copy: Path, version: str, reason: str) -> None:
    before = {path: path.read_bytes() for path in copy.rglob("*.*") if path.is_file()}
    with pytest.raises(ValueError, match=reason):
        release(copy, version, TODAY)
    assert before == {path: path.read_bytes() for path in before}


@pytest.mark.parametrize("version", ["", "1.2", "v1.2.0", "1.2.0-beta", "1.2.0\n", "latest"])
def test_what_is_no_version_is_refused(copy: Path, version: str) -> None:
    """A version has three numbers, and nothing is written otherwise."""
    refuse(copy, version, "is no version")


def test_nothing_new_is_refused(copy: Path) -> None:
    """Without a section on what is new nothing is released."""
    (copy / "CHANGELOG.md").write_text("# Changelog\n\n## 0.1.0 (2026-12-01)\n")
    refuse(copy, "0.2.0", "needs one section")


def test_links_to_nowhere_are_refused(copy: Path) -> None:
    """Nothing is released whose links lead nowhere."""
    path = copy / "packages/wsgi/pyproject.toml"
    path.write_text(path.read_text().replace("https://somewhere.example", NOWHERE))
    refuse(copy, "0.2.0", "the links lead to")


def test_every_package_has_its_settings_here() -> None:
    """The project's own packages are in step now."""
    assert len({text.partition(" ")[0] for text in projects(ROOT).values()}) == 1
