"""The report is complete, and goes where it belongs."""

import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

from bench.__main__ import CHART, PAGE
from bench.chart import bars
from bench.contestants import ACTIONS, DATA, Places
from bench.measuring import Costs, Pace, Spread
from bench.report import Measured, Outcome, aims, head, into, line, measured, notes
from bench.scenarios import ADAPTERS, PEERS, TABLES, at_most, faster, over_core
from bench.tables import TABLES as CONTESTANTS


@pytest.mark.parametrize("table", TABLES, ids=lambda table: table.name)
def test_every_scenario_can_be_asked_and_told(table: object) -> None:
    """Who competes exists, what is asked is known, each aim can be worked out, and each line has a cell per column."""
    assert isinstance(table, type(TABLES[0]))
    (_, _, headline, _) = "\n".join(head(table)).strip().split("\n")
    for scenario in table.scenarios:
        for contestant, options in scenario.jobs.values():
            assert contestant in CONTESTANTS[table.name]
            assert options["action"] in ACTIONS
            assert options["data"] in DATA
        costs = Costs({name: [1.0, 2.0] for name in scenario.jobs})
        assert all(aim.verdict(aim.measured(costs)) for aim in scenario.aims)
        assert line(table, Measured(scenario, costs, {})).count("|") == headline.count("|")
    assert len({row.title for row in table.scenarios}) == len(table.scenarios)


def test_aims_say_whether_they_are_reached() -> None:
    """At most means at most, at least means at least, and what the quartiles span cannot be told."""
    cases = [
        (at_most(2), Spread(1, 1.5, 2), "reached"),
        (at_most(2), Spread(1, 1.5, 2.1), "too noisy to tell"),
        (at_most(2), Spread(2.1, 2.2, 2.3), "**not reached**"),
        (faster(2, PEERS), Spread(2, 2.5, 3), "reached"),
        (faster(2, PEERS), Spread(1, 1.2, 1.9), "**not reached**"),
        (faster(2, PEERS), Spread(-1, 1.2, 1.9), "too noisy to tell"),
        (over_core("Holdall"), Spread(-0.5, 1, 4.9), "reached"),
        (over_core("Holdall"), Spread(-200, -100, -50), "too noisy to tell"),
    ]
    for aim, value, verdict in cases:
        assert aim.verdict(value) == verdict
        assert verdict in list(aims([Outcome("read", aim, value)]))[-1]


def test_the_fastest_peer_is_the_one_that_counts() -> None:
    """Of the peers that could do it at all."""
    costs = Costs({"Holdall": [2.0], "Starlette": [6.0], "Django": [8.0], "Flask": [30.0]})
    assert faster(3, PEERS).measured(costs).median == 3.0
    assert faster(1, ["Flask"], "Django").measured(costs).median == 3.75


def test_each_adapter_has_its_framework_in_the_table() -> None:
    """An adapter is measured beside the framework's own sessions."""
    for adapter, framework in ADAPTERS.items():
        assert {adapter, framework} <= set(CONTESTANTS["cookie"])


def test_noise_and_what_cannot_be_done_are_told() -> None:
    """A figure that scatters is marked, one that there cannot be is a dash, and the notes say so."""
    table = TABLES[0]
    scenario = table.scenarios[0]
    costs = Costs({"limit": [10.0, 10.0, 10.0], "core": [10.0, 20.0, 30.0]})
    row = Measured(scenario, costs, {"Pyramid": "too long"})
    cells = line(table, row).split(" | ")
    assert (cells[1], cells[3], cells[12]) == ("10.0", "20.0~", "—")
    told = list(notes({"cookie": [row]}))
    assert told[0] == "- untouched: not by Pyramid (too long)"
    assert told[1].startswith("- 1 of 2 figures are marked ~")


def test_a_table_is_measured_from_end_to_end(tmp_path: Path) -> None:
    """The contestants start, prove their work, and give a figure for each column of each row."""
    (table,) = (table for table in TABLES if table.name == "memory")
    rows = list(measured(table, Pace(rounds=2, seconds=0.0001), Places(tmp_path)))
    assert [row.scenario for row in rows] == list(table.scenarios)
    assert all(name in row.costs for row in rows for name in row.scenario.jobs)


def test_figures_go_between_their_markers(tmp_path: Path) -> None:
    """What was there is replaced, what is around it stays; a page without the place is refused."""
    page = tmp_path / "page.md"
    page.write_text("before\n<!-- figures: begin -->\nold\n<!-- figures: end -->\nafter\n")
    into(page, {"figures": "new\n"})
    into(page, {"figures": "newer\n"})
    assert page.read_text() == "before\n<!-- figures: begin -->\nnewer\n<!-- figures: end -->\nafter\n"
    with pytest.raises(ValueError, match="has no place for others"):
        into(page, {"others": "new"})


def test_the_chart_is_a_drawing_of_every_figure() -> None:
    """It is well-formed, has a bar for each figure, longer for more, and escapes what it is told."""
    root = ET.fromstring(bars("<title>", {"read": {"Holdall": 1.0, "Flask & Co": 100.0}}, "Holdall"))
    (_, ours, theirs) = root.findall("{http://www.w3.org/2000/svg}rect")
    assert float(ours.attrib["width"]) < float(theirs.attrib["width"])
    assert ours.attrib["fill"] != theirs.attrib["fill"]
    assert "Flask & Co" in [element.text for element in root.iter()]


def test_the_page_has_the_places_and_the_chart() -> None:
    """The documentation has a place for each report, and shows the chart that is there."""
    text = PAGE.read_text()
    for name in ("figures", "aims", "servers", "growth"):
        assert text.index(f"<!-- {name}: begin -->") < text.index(f"<!-- {name}: end -->")
    assert f"({CHART.name})" in text
    ET.parse(CHART)
