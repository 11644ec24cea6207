"""The table of failures in the documentation is what happens."""

from pathlib import Path

from tests.docs.failures import table

PAGE = Path(__file__).parents[2] / "docs/consistency.md"


def test_the_table_is_what_happens() -> None:
    """The page has the very table that having the stores fail gives."""
    assert "\n".join(table()) in PAGE.read_text(encoding="utf-8")
