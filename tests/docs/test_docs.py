"""What the pages say is true: examples run, links lead somewhere, tables name what there is."""

import ast
import inspect
import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
from holdall import SessionManager, generate_key

from tests.core.support import Browser, World, put

ROOT = Path(__file__).parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *ROOT.glob("packages/*/README.md")])


def blocks(page: str, language: str = "python") -> list[str]:
    """Return the examples of a page that are in a language."""
    return re.findall(rf"```{language}\n(.*?)```", (ROOT / page).read_text(encoding="utf-8"), re.DOTALL)


def execute(source: str, **names: Any) -> dict[str, Any]:
    exec(compile(source, "example", "exec"), names)  # the example is ours
    return names


def test_readme_example_counts_visits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The README's example, with a key in the place of the words for one, counts."""
    monkeypatch.chdir(tmp_path)
    example = re.sub(r'cookie_key="[^"]*"', f'cookie_key="{generate_key()}"', blocks("README.md")[0])
    application = execute(example)["application"]
    browser = Browser()
    for visit in (1, 2, 3):
        environ = {"REQUEST_METHOD": "GET", "HTTP_COOKIE": browser.header, "wsgi.url_scheme": "https"}
        body = application(environ, lambda status, headers, exc_info=None: browser.receive(headers))
        assert b"".join(body) == b"visit %d\n" % visit
    assert not list(tmp_path.iterdir())  # nothing was stored, so no file was made


def test_the_site_begins_with_the_same_example() -> None:
    """The page that says why shows what the README shows."""
    assert blocks("docs/index.md") == blocks("README.md")[:1]


def test_embedding_example_works(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The example of embedding the core runs as it stands."""
    monkeypatch.chdir(tmp_path)
    handle = execute(blocks("docs/how-it-works.md")[0], KEY=generate_key())["handle"]
    browser = Browser()
    for _ in range(3):
        headers, receipt = handle(browser.header)
        browser.receive(headers)
    assert receipt.cookie_bytes > 0


def test_registering_example_works() -> None:
    """The example's types are session values from then on."""
    names = execute(blocks("docs/how-it-works.md")[1], __name__="example")
    value = [names["Item"]("socks", 2), names["IPv4Address"]("127.0.0.1")]
    world = World()
    world.request(put(value=value))
    assert world.read() == {"value": value}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    """Every relative link of a page names a file that is there."""
    for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8")):
        assert (page.parent / target).exists(), f"{page.name} links to {target}"


def test_every_setting_is_documented() -> None:
    """The settings page has a row for every argument of SessionManager, and for nothing else."""
    page = (ROOT / "docs/settings.md").read_text(encoding="utf-8")
    table = page.partition("|---|---|---|\n")[2].partition("\n\n")[0]
    documented = set(re.findall(r"`([a-z_]+)`", "".join(row.split("|")[1] for row in table.splitlines())))
    assert documented == set(inspect.signature(SessionManager).parameters)


def test_every_command_exists() -> None:
    """Each `hatch run` command that a page names is in hatch.toml."""
    envs = tomllib.loads((ROOT / "hatch.toml").read_text())["envs"]
    known = set(envs["default"]["scripts"])
    for name, env in envs.items():
        known |= {f"{name}:{script}" for script in {**envs["default"]["scripts"], **env.get("scripts", {})}}
    for page in PAGES:
        for command in re.findall(r"hatch run ([a-z:-]+)", page.read_text(encoding="utf-8")):
            assert command in known, f"{page.name} names `hatch run {command}`"


def test_every_file_says_what_lives_there() -> None:
    """Every Python file has a docstring that says what lives in it."""
    for folder in ("packages", "tests", "examples", "bench"):
        for path in (ROOT / folder).rglob("*.py"):
            assert ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))), path


def test_each_module_has_its_tests() -> None:
    """Tests mirror the packages: one test_X per module X."""
    for package in (ROOT / "packages").iterdir():
        for path in package.glob("src/*/*.py"):
            if path.stem not in ("__init__", "testing", "errors", "commands"):
                homes = (package.name, "appengine")  # whose client has an environment of its own
                assert any((ROOT / "tests" / home / f"test_{path.stem}.py").exists() for home in homes), path
