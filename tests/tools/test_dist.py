"""Tests of `tools.dist`: it finds what it looks for. That there is nothing to find, `hatch run dist:check` shows."""

import zipfile
from pathlib import Path

import pytest

from tools.dist import ROOT, differing, lacking, versions

METADATA = """\
Metadata-Version: 2.4
Name: holdall
Version: {version}
Project-URL: Source, https://example.com
Project-URL: Changelog, https://example.com
License-Expression: Apache-2.0
Classifier: Typing :: Typed
Classifier: Programming Language :: Python :: 3.11

# holdall
"""


@pytest.fixture
def wheel(tmp_path: Path) -> Path:
    """A folder with what a sound wheel holds."""
    folder = tmp_path / "wheel"
    (folder / "holdall").mkdir(parents=True)
    (folder / "holdall/py.typed").touch()
    (folder / "holdall.dist-info/licenses").mkdir(parents=True)
    (folder / "holdall.dist-info/licenses/LICENSE").touch()
    (folder / "holdall.dist-info/METADATA").write_text(METADATA.format(version=next(iter(versions(ROOT)))))
    return folder


def packed(folder: Path) -> Path:
    path = folder.with_suffix(".whl")
    with zipfile.ZipFile(path, "w") as archive:
        for each in sorted(folder.rglob("*")):
            archive.write(each, each.relative_to(folder))
    return path


def test_a_sound_wheel_lacks_nothing(wheel: Path) -> None:
    """Nothing is said of a wheel that has all."""
    assert lacking(packed(wheel), ROOT) == []


@pytest.mark.parametrize(
    ("gone", "lacks"),
    [
        ("Project-URL: Source, https://example.com\n", "links"),
        ("Classifier: Typing :: Typed\n", "classifiers"),
        ("License-Expression: Apache-2.0\n", "the licence"),
        ("# holdall\n", "a readme"),
        ("Version: ", "the version of all others"),
    ],
)
def test_what_is_not_said_is_found(wheel: Path, gone: str, lacks: str) -> None:
    """A wheel that does not say one thing lacks that, and nothing else."""
    path = wheel / "holdall.dist-info/METADATA"
    path.write_text(path.read_text().replace(gone, "Version: 0.0." if gone == "Version: " else ""))
    assert lacking(packed(wheel), ROOT) == [f"wheel.whl lacks {lacks}"]


@pytest.mark.parametrize(
    ("gone", "lacks"), [("holdall/py.typed", "types"), ("holdall.dist-info/licenses/LICENSE", "the licence")]
)
def test_what_is_not_there_is_found(wheel: Path, gone: str, lacks: str) -> None:
    """A wheel without one file lacks what that stands for."""
    (wheel / gone).unlink()
    if lacks == "the licence":
        (wheel / gone).parent.rmdir()
    assert lacking(packed(wheel), ROOT) == [f"wheel.whl lacks {lacks}"]


def test_a_difference_is_found(tmp_path: Path) -> None:
    """Files with other bytes, and files that are in one folder alone, are named."""
    one, other = tmp_path / "one", tmp_path / "other"
    for folder in (one, other):
        folder.mkdir()
        (folder / "same").write_bytes(b"same")
        (folder / "changed").write_bytes(folder.name.encode())
    (other / "more").touch()
    assert differing(one, other) == ["changed", "more"]
