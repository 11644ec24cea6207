"""Every public name and what it is, as its docstring begins: the tables of docs/reference.md.

`python -m tests.docs.reference` prints the page. The documentation site has the whole docstring of each name.
"""

import ast
import re
import sys
from importlib import import_module
from pathlib import Path
from types import ModuleType

INTRO = """\
# API reference

Every public name of every package, with the first sentence of its docstring; what is not here is not public, and may
change in any release. The documentation site (`hatch run docs:serve`) has a page for each module, with the signatures
and the docstrings in full.
"""

PACKAGES = (
    "holdall",
    "holdall_stores",
    "holdall_wsgi",
    "holdall_flask",
    "holdall_django",
    "holdall_asgi",
    "holdall_conformance",
    "holdall_cli",
)
"""All that these import `as` themselves is public."""

MODULES = {
    "holdall.testing": ("FakeClock", "RecordingStores"),
    "holdall_stores.gae_sessions": ("GaeSessions",),
    "holdall_stores.telemetry": ("PrometheusTelemetry", "Telemetry"),
    "holdall_django.engine": ("SessionStore",),
    "holdall_django.middleware": ("SessionMiddleware",),
    "holdall_asgi.fastapi": ("CurrentSession", "current_session"),
    "holdall_asgi.quart": ("Holdall", "QuartSession"),
    "holdall_asgi.starlette": ("StarletteSessions",),
}
"""Modules to import from, whose packages do not import them: Django's need settings, the others a framework."""


def page() -> str:
    """Return the page, as Markdown."""
    parts = [INTRO]
    for package in PACKAGES:
        for name in (package, *(module for module in MODULES if module.partition(".")[0] == package)):
            parts += [f"## {name}\n", f"{_first_sentence(ast.get_docstring(_tree(name)))}\n", _table(name)]
    return "\n".join(parts)


def exports(module: str) -> dict[str, str]:
    """Return the public names of a module, and the module that defines each."""
    if module in MODULES:
        return dict.fromkeys(MODULES[module], module)
    return {
        alias.name: node.module or ""
        for node in ast.walk(_tree(module))
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
        if alias.asname == alias.name
    }


def _table(module: str) -> str:
    lines = ["| name | is |", "|---|---|"]
    for name, home in exports(module).items():
        if home.partition(".")[0] != module.partition(".")[0]:
            lines.append(f"| `{name}` | `{home}.{name}` |")
        else:
            lines.append(f"| `{name}` | {_first_sentence(_docstring(home, name))} |")
    return "\n".join([*lines, ""])


def _docstring(module: str, name: str) -> str | None:
    """Return the docstring of a class or function, or the string that follows an assignment."""
    body = _tree(module).body
    for node, after in zip(body, [*body[1:], None], strict=True):
        if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) and node.name == name:
            return ast.get_docstring(node)
        targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
        if any(isinstance(target, ast.Name) and target.id == name for target in targets):
            match after:
                case ast.Expr(value=ast.Constant(value=str(text))):
                    return text
    return None


def _first_sentence(docstring: str | None) -> str:
    assert docstring, "a public name without a docstring"
    paragraph = " ".join(docstring.partition("\n\n")[0].split())
    return re.split(r"(?<=[.:]) (?=[A-Z`])", paragraph)[0].replace("|", "\\|").rstrip(":.") + "."


def _tree(module: str) -> ast.Module:
    package = import_module(module.partition(".")[0])
    return ast.parse(_path(package, module).read_text(encoding="utf-8"))


def _path(package: ModuleType, module: str) -> Path:
    assert package.__file__
    inner = module.partition(".")[2]
    return Path(package.__file__) if not inner else Path(package.__file__).with_name(f"{inner}.py")


if __name__ == "__main__":
    sys.stdout.write(page())
