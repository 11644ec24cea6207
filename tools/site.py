"""Builds the documentation site (`hatch run docs:build`), or shows it while it is written (`hatch run docs:serve`).

The pages are docs/*.md and a few from elsewhere, written so that they read well on a code host too. They are copied to
a folder of their own, with their links turned to where things are on the site; other files that they link to are shown
there; the API reference gets a page for each module that docs/reference.md names. Then zensical makes HTML of it all,
and every broken link is an error. At the end it is checked that each public name is there, and that no page fetches
anything from elsewhere.
"""

import os
import re
import shutil
import subprocess
import sys
import threading
import time
from html.parser import HTMLParser
from pathlib import Path

ROOT = Path(__file__).parents[1]
SOURCE = ROOT / "build" / "docs"
SITE = ROOT / "build" / "site"
CONFIG = ROOT / "zensical.toml"

ELSEWHERE = {
    "SECURITY.md": "security.md",
    "CHANGELOG.md": "changelog.md",
    "CONTRIBUTING.md": "contributing.md",
    "packages/conformance/README.md": "conformance.md",
}
"""Pages that are not in docs/, and where they are on the site."""

FILES = "files"
"""Where files are shown to which pages link, such as the examples."""

_LINK = re.compile(r"(?<=\]\()([^)#:\s]+)(?=[)#])")
_MODULE = re.compile(r"^## ([a-z_.]+)$", re.MULTILINE)
_ROW = re.compile(r"^\| `(\w+)` \| (.*) \|$", re.MULTILINE)


def stage(root: Path, target: Path) -> None:
    """Copy the pages of the project in `root` to `target`, as the site needs them.

    Raises `ValueError` for a link that leads nowhere on the site.
    """
    docs = root / "docs"
    pages = {path.relative_to(root).as_posix(): path.relative_to(docs).as_posix() for path in docs.rglob("*.*")}
    pages |= ELSEWHERE
    for source, page in pages.items():
        path = root / source
        if path.suffix == ".md":
            text, files = turned(path.read_text(encoding="utf-8"), source, page, pages)
            if page == "reference.md":
                text = reference(text, target)
            _write(target / page, text)
            for name in files:
                _write(target / FILES / f"{name}.md", listing(root, name, source))
        else:
            (target / page).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, target / page)


def turned(text: str, source: str, page: str, pages: dict[str, str]) -> tuple[str, list[str]]:
    """Return a page whose links lead to where things are on the site, and the files that it links to besides pages."""
    files: list[str] = []

    def turn(match: re.Match[str]) -> str:
        wanted = os.path.normpath(Path(source).parent / match[1])
        if wanted not in pages:
            files.append(wanted)
        return os.path.relpath(pages.get(wanted, f"{FILES}/{wanted}.md"), Path(page).parent)

    return _LINK.sub(turn, text), files


def listing(root: Path, name: str, source: str) -> str:
    """Return a page that shows a file as it is."""
    path = root / name
    if not path.is_file() or path.suffix == ".md":
        raise ValueError(f"{source} links to {name}, which is no file, or a page that is missing in ELSEWHERE")
    text = path.read_text(encoding="utf-8")
    return f"# {path.name}\n\n````{path.suffix.removeprefix('.')}\n{text}````\n"


def reference(text: str, target: Path) -> str:
    """Write a page for each module of the reference, and return the page of them all, with links to every name."""
    parts = _MODULE.split(text)
    linked = [parts[0]]
    for module, tables in zip(parts[1::2], parts[2::2], strict=True):
        names = [name for name, what in _ROW.findall(tables) if f"`{home_of(module, name, what)}`" != what]
        docstring = f"::: {module}\n    options:\n      members: false\n      show_root_heading: false\n"
        _write(
            target / "reference" / f"{module}.md",
            "\n".join([f"# {module}\n", docstring, *(f"::: {module}.{name}\n" for name in names)]),
        )
        linked.append(f"## {module}")
        linked.append(_ROW.sub(lambda row, module=module: _linked(row, module), tables))
    return "".join(linked)


def home_of(module: str, name: str, what: str) -> str:
    """Return the full name under which a name is documented: another module's, where the reference says so."""
    return what.strip("`") if re.fullmatch(rf"`[a-z_.]+\.{name}`", what) else f"{module}.{name}"


def _linked(row: re.Match[str], module: str) -> str:
    name, what = row.groups()
    home = home_of(module, name, what)
    return f"| [`{name}`](reference/{home.rpartition('.')[0]}.md#{home}) | {what} |"


def faults(site: Path, source: Path) -> list[str]:
    """Return what is wrong with a built site: names without an anchor, pages left out, and what is fetched."""
    found = []
    nav = CONFIG.read_text(encoding="utf-8")
    for page in sorted(source.rglob("*.md")):
        name = page.relative_to(source).as_posix()
        if f'"{name}"' not in nav and not name.startswith(FILES):
            found.append(f"{name} is not in the nav of {CONFIG.name}")
    for directive in sorted(source.glob("reference/*.md")):
        html = (site / "reference" / directive.stem / "index.html").read_text(encoding="utf-8")
        names = re.findall(r"^::: (\S+)$", directive.read_text(encoding="utf-8"), re.MULTILINE)[1:]
        found += [f"{name} is not in its reference" for name in names if f'id="{name}"' not in html]
    for path in sorted(site.rglob("*.html")):
        fetches = _Fetches()
        fetches.feed(path.read_text(encoding="utf-8"))
        found += [f"{path.relative_to(site)} fetches {url}" for url in fetches.urls]
    for path in sorted(site.rglob("*.css")):
        found += [
            f"{path.relative_to(site)} fetches {url}"
            for url in re.findall(r"url\(\s*[\"']?((?:https?:)?//[^)]+)", path.read_text(encoding="utf-8"))
        ]
    return found


class _Fetches(HTMLParser):
    """Collects what a page has its browser fetch from elsewhere."""

    def __init__(self) -> None:
        super().__init__()
        self.urls: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        url = values.get("src") or (values.get("href") if tag == "link" else None) or ""
        if re.match(r"(https?:)?//", url) and values.get("rel") != "canonical":
            self.urls.append(url)


def build() -> int:
    """Build the site, strictly; returns the exit code."""
    _clear()
    stage(ROOT, SOURCE)
    command = [sys.executable, "-m", "zensical", "build", "--strict", "--clean", "-f", str(CONFIG)]
    done = subprocess.run(command, cwd=ROOT, env={**os.environ, "NO_COLOR": "1"}, check=False)
    found = faults(SITE, SOURCE) if done.returncode == 0 else []
    sys.stderr.writelines(f"{fault}\n" for fault in found)
    return done.returncode or int(bool(found))


def serve(arguments: list[str]) -> int:
    """Show the site on 127.0.0.1, and what is changed as it is changed; returns the exit code."""
    _clear()
    stage(ROOT, SOURCE)
    threading.Thread(target=_follow, daemon=True).start()
    command = [sys.executable, "-m", "zensical", "serve", "-f", str(CONFIG), *arguments]
    return subprocess.run(command, cwd=ROOT, check=False).returncode


def _follow() -> None:
    last = _newest()
    while True:
        time.sleep(0.5)
        newest = _newest()
        if newest != last:
            last = newest
            try:
                stage(ROOT, SOURCE)
            except ValueError as error:
                sys.stderr.write(f"{error}\n")


def _newest() -> float:
    paths = [*ROOT.glob("docs/**/*"), *(ROOT / name for name in ELSEWHERE)]
    return max(path.stat().st_mtime for path in paths)


def _clear() -> None:
    for folder in (SOURCE, SITE):
        shutil.rmtree(folder, ignore_errors=True)


def _write(path: Path, text: str) -> None:
    if not path.exists() or path.read_text(encoding="utf-8") != text:  # or what shows the site would build it anew
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    sys.exit(serve(sys.argv[2:]) if sys.argv[1:2] == ["serve"] else build())
