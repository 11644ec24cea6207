"""SECURITY.md: every claim of the threat model names what shows it, which is there; its example erases a person."""

import ast
import re
from datetime import timedelta
from pathlib import Path
from textwrap import dedent

import pytest
from holdall import Tier

from tests.core.support import World
from tests.docs.test_docs import blocks, execute

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "SECURITY.md").read_text(encoding="utf-8")
REQUIREMENTS = (ROOT / "docs" / "requirements.md").read_text(encoding="utf-8")
MODEL = PAGE.partition("## The threat model")[2].partition("\n## ")[0]
CLAIMS = [
    " ".join(claim.split()) for claim in re.split(r"\n- |\n\n", MODEL) if claim and not claim.startswith(("#", "With"))
]
TESTS = sorted(set(re.findall(r"test_\w+(?:::\w+)+", PAGE)))


@pytest.mark.parametrize("claim", [claim for claim in CLAIMS if claim.strip("#\n ")], ids=lambda claim: claim[:40])
def test_every_claim_names_what_shows_it(claim: str) -> None:
    """A claim of the threat model cites a line of the requirements, or a test."""
    assert re.search(r"requirements? \d|`test_\w+::", claim), claim


@pytest.mark.parametrize("name", TESTS)
def test_every_test_is_there(name: str) -> None:
    """A test that the page names is there."""
    file, *path = name.split("::")
    body = ast.parse((ROOT / "tests" / "core" / f"{file}.py").read_text(encoding="utf-8")).body
    for part in path:
        named = [node for node in body if isinstance(node, ast.ClassDef | ast.FunctionDef) and node.name == part]
        assert named, f"{part} of {name}"
        body = named[0].body


def test_every_requirement_is_there() -> None:
    """A line of the requirements that the page names by its number is there."""
    cited = {
        int(number) for some in re.findall(r"requirements? ([\d, ]+)", PAGE) for number in re.findall(r"\d+", some)
    }
    assert cited <= {int(number) for number in re.findall(r"^(\d+)\. ", REQUIREMENTS, re.MULTILINE)}


def test_the_example_erases_a_person() -> None:
    """The example removes a principal's list, with its labels, and whoever was on it is refused."""
    world = World(revocation_check=timedelta(0), audience="äpp")
    world.request(lambda session: session.bind("ada", "a browser"))
    execute(dedent(blocks("SECURITY.md")[0]), stores=world.stores, audience="äpp", principal="ada")
    assert not [key for key in world.stores.snapshot(Tier.DURABLE) if key.startswith("p")]
    assert world.read() == {}
    assert world.drive(world.manager.sessions_of("ada")) == []
