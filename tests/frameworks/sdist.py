"""Fetches a framework's source distribution, which holds its own tests, from the package index.

Nothing of a framework is copied into this repository. How its tests are run is in `run_django.py` and `run_flask.py`.
"""

import subprocess
import sys
import tarfile
from pathlib import Path


def unpack(name: str, version: str, folder: Path) -> Path:
    """Download `name==version` as its source distribution into a folder, unpack it there, return the unpacked root."""
    pinned = f"{name}=={version}"
    options = ["--quiet", "--no-deps", "--no-binary", ":all:", "--disable-pip-version-check"]
    subprocess.run([sys.executable, "-m", "pip", "download", *options, "--dest", str(folder), pinned], check=True)
    (archive,) = folder.glob("*.tar.gz")
    with tarfile.open(archive) as source:
        source.extractall(folder, filter="data")
    (root,) = (path for path in folder.iterdir() if path.is_dir())
    return root
