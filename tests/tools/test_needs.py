"""Tests of `tools.needs`."""

from pathlib import Path

import pytest

from tools.needs import ROOT, needs


def test_every_need_is_pinned_to_its_lower_bound() -> None:
    """The oldest of each package is what its lower bound says, extras included; the newest has no upper bound."""
    lowest = needs(ROOT, lowest=True)
    assert "flask==3.1.3" in lowest
    assert {"pymemcache", "google-cloud-ndb", "cryptography"} <= {line.partition("==")[0] for line in lowest}
    assert [line.replace("==", ">=") for line in lowest] == needs(ROOT, lowest=False)
    assert not any(line.startswith("holdall") for line in lowest)


def test_need_without_a_lower_bound_is_refused(tmp_path: Path) -> None:
    """A package that is needed in any version is an error that names it."""
    (tmp_path / "packages/core").mkdir(parents=True)
    (tmp_path / "packages/core/pyproject.toml").write_text('[project]\ndependencies = ["cryptography"]\n')
    with pytest.raises(ValueError, match="cryptography has no lower bound"):
        needs(tmp_path, lowest=True)
