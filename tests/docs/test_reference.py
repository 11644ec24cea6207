"""docs/reference.md has every public name of every package, as its docstring begins."""

from importlib import import_module
from pathlib import Path

import pytest

from tests.docs.reference import MODULES, PACKAGES, exports, page

ROOT = Path(__file__).parents[2]


def test_the_page_is_what_the_code_exports() -> None:
    """The page is what `python -m tests.docs.reference` prints."""
    assert page() == (ROOT / "docs/reference.md").read_text(encoding="utf-8")


def test_no_package_is_left_out() -> None:
    """Every package of the project is in the reference."""
    assert set(PACKAGES) == {path.parent.name for path in ROOT.glob("packages/*/src/*/__init__.py")}


@pytest.mark.parametrize("module", [*PACKAGES, *(name for name in MODULES if "django" not in name)])
def test_names_can_be_imported(module: str) -> None:
    """Each name of the reference is there at run time; `AppEngineMemcache` is where tests/appengine runs."""
    for name in exports(module).keys() - {"AppEngineMemcache"}:
        assert hasattr(import_module(module), name), name


@pytest.mark.parametrize("package", PACKAGES)
def test_nothing_public_is_left_out(package: str) -> None:
    """What a package defines and shows at run time is in the reference."""
    module = import_module(package)
    shown = {
        name
        for name, value in vars(module).items()
        if not name.startswith("_") and getattr(value, "__module__", "").partition(".")[0] == package
    }
    assert shown <= set(exports(package))
