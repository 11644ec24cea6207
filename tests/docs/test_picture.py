"""docs/how-it-works.svg shows what the code does."""

from pathlib import Path
from xml.etree import ElementTree

from holdall.outcome import TABLE, Write

from tests.docs.picture import costs, picture, transitions

PAGE = Path(__file__).parents[2] / "docs/how-it-works.svg"


def test_the_picture_is_what_the_code_does() -> None:
    """The picture is what `python -m tests.docs.picture` draws."""
    assert PAGE.read_text(encoding="utf-8") == picture()


def test_everything_is_in_it() -> None:
    """Each row of the table is on one arrow, and each thing that happens in the stores is said."""
    arrows = transitions()
    rows = [
        (start, wish, fits) for (start, _), wishes in arrows.items() for wish, both in wishes.items() for fits in both
    ]
    assert len(rows) == len(set(rows))
    homes = {start for start, _ in arrows}
    assert set(rows) == {row for row in TABLE if row[0] in homes}
    text = " ".join(each.text or "" for each in ElementTree.fromstring(picture()).iter())
    for write in {outcome.write for outcome in TABLE.values()} - {Write.NOTHING, Write.MOVE}:
        assert write.value in text
    for lines in costs().values():
        assert lines[0] in text
