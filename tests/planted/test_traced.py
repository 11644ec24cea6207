"""Every line of docs/requirements.md is shown by a test, and the page that says which is what the marks say."""

from tests.planted.traced import PAGE, lines, marked, page


def test_every_line_is_shown() -> None:
    """No requirement is without a marked test, and no mark is without a requirement."""
    assert lines() == list(range(1, len(lines()) + 1)) == sorted(marked())


def test_the_page_says_so() -> None:
    """docs/traced.md is what `python -m tests.planted.traced` writes."""
    assert PAGE.read_text(encoding="utf-8") == page()
