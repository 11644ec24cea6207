"""What the packages need of others, extras included: `hatch run wheels:test` installs the oldest and the newest of it.

What they need of each other is left out.
"""

import re
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[1]

_BOUND = re.compile(r"([\w.-]+)(?:\[[\w,]+\])?>=([\w.]+)")


def needs(root: Path, *, lowest: bool) -> list[str]:
    """Return a requirement for each package that those of the project in `root` need: `flask==3.1.3` or `flask>=3.1.3`.

    Raises `ValueError` for one without a lower bound.
    """
    found: dict[str, str] = {}
    for path in sorted(root.glob("packages/*/pyproject.toml")):
        project = tomllib.loads(path.read_text(encoding="utf-8"))["project"]
        extras = project.get("optional-dependencies", {}).values()
        for needed in (*project["dependencies"], *(needed for extra in extras for needed in extra)):
            match = _BOUND.match(needed)
            if match is None:
                raise ValueError(f"{path}: {needed} has no lower bound such as >=1.2")
            if not match[1].startswith("holdall"):
                found[match[1]] = f"{match[1]}{'==' if lowest else '>='}{match[2]}"
    return sorted(found.values())


if __name__ == "__main__":
    sys.stdout.write("\n".join(needs(ROOT, lowest=sys.argv[1:] == ["lowest"])))
