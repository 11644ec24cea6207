"""Tests of `tools.site`: what becomes of the pages before they are HTML. The rest is `hatch run docs:build`."""

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest

from tests.docs.reference import MODULES, PACKAGES, exports
from tools.site import ELSEWHERE, ROOT, faults, stage


def write(root: Path, **pages: str) -> None:
    for name, text in pages.items():
        path = root / "docs" / f"{name}.md"
        path.parent.mkdir(exist_ok=True)
        path.write_text(text, encoding="utf-8")
    for name in ELSEWHERE:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("[here](docs/one.md)" if path.parent == root else "", encoding="utf-8")


@pytest.fixture
def staged(tmp_path: Path) -> Path:
    """The project's own pages, as the site gets them."""
    stage(ROOT, tmp_path)
    return tmp_path


def test_links_lead_to_where_pages_are(tmp_path: Path) -> None:
    """A link keeps its anchor and leads to where the page is on the site; code and what is elsewhere are left alone."""
    text = "[a](two.md#x) [b](../SECURITY.md) [c](https://example.com/a.md) [d](#here) `[e](f, g)`"
    write(tmp_path, one=text, two="")
    stage(tmp_path, tmp_path / "site")
    expected = text.replace("../SECURITY.md", "security.md")
    assert (tmp_path / "site/one.md").read_text() == expected
    assert (tmp_path / "site/security.md").read_text() == "[here](one.md)"


def test_a_link_to_nowhere_is_refused(tmp_path: Path) -> None:
    """A link to what is not there, or to a page that the site does not have, is an error that names both."""
    (tmp_path / "OTHER.md").touch()
    for name in ("LICENSE", "OTHER.md"):
        write(tmp_path, one=f"[a](../{name})")
        with pytest.raises(ValueError, match=rf"docs/one\.md links to {name}, which is no file, or a page"):
            stage(tmp_path, tmp_path / "site")


def test_files_are_shown(tmp_path: Path) -> None:
    """A file that a page links to is shown on the site as it is."""
    write(tmp_path, one="[a](../code/a.py)")
    (tmp_path / "code").mkdir()
    (tmp_path / "code/a.py").write_text("pass\n")
    stage(tmp_path, tmp_path / "site")
    assert (tmp_path / "site/one.md").read_text() == "[a](files/code/a.py.md)"
    assert (tmp_path / "site/files/code/a.py.md").read_text() == "# a.py\n\n````py\npass\n````\n"


def test_every_page_is_in_the_navigation(staged: Path) -> None:
    """Each page of the site can be reached from every other, and no entry leads nowhere."""

    def pages(entries: list[dict[str, Any]]) -> list[str]:
        values = [value for entry in entries for value in entry.values()]
        return [page for value in values for page in (pages(value) if isinstance(value, list) else [value])]

    nav = pages(tomllib.loads((ROOT / "zensical.toml").read_text())["project"]["nav"])
    there = {path.relative_to(staged).as_posix() for path in staged.rglob("*.md")}
    assert sorted(nav) == sorted(name for name in there if not name.startswith("files/"))


def test_every_public_name_is_documented(staged: Path) -> None:
    """Each public name is documented where it is defined, once, and linked from the page of all names."""
    overview = (staged / "reference.md").read_text()
    for module in (*PACKAGES, *MODULES):
        text = (staged / f"reference/{module}.md").read_text()
        homes = exports(module).items()
        own = [name for name, home in homes if home.partition(".")[0] == module.partition(".")[0]]
        assert re.findall(r"^::: (\S+)$", text, re.MULTILINE) == [module, *(f"{module}.{name}" for name in own)]
        for name, home in homes:
            page = module if name in own else home
            assert f"[`{name}`](reference/{page}.md#{page}.{name})" in overview


def test_what_is_wrong_with_a_site(tmp_path: Path) -> None:
    """A page that is left out, a name without an anchor and whatever is fetched from elsewhere are named."""
    source, site = tmp_path / "source", tmp_path / "site"
    (source / "reference").mkdir(parents=True)
    (source / "orphan.md").write_text("")
    (source / "reference/holdall.md").write_text("::: holdall\n\n::: holdall.Get\n\n::: holdall.Put\n")
    (site / "reference/holdall").mkdir(parents=True)
    (site / "reference/holdall/index.html").write_text(
        '<h2 id="holdall.Get"><a href="https://example.com">a link is not fetched</a><img src="/here.png">'
        '<link rel="canonical" href="https://example.com"><link rel="stylesheet" href="//fonts.example.com/a.css">'
        '<script src="https://cdn.example.com/a.js">'
    )
    (site / "a.css").write_text("a { background: url(b.png) } b { background: url('https://example.com/c.png') }")
    assert [fault.partition("'")[0] for fault in faults(site, source)] == [
        "orphan.md is not in the nav of zensical.toml",
        "holdall.Put is not in its reference",
        "reference/holdall/index.html fetches //fonts.example.com/a.css",
        "reference/holdall/index.html fetches https://cdn.example.com/a.js",
        "a.css fetches https://example.com/c.png",
    ]
