"""`python examples/demo`: makes this folder importable as the package `demo`, and runs its command. Nothing else."""

import runpy
import sys
from pathlib import Path

sys.path[0] = str(Path(__file__).resolve().parents[1])
runpy.run_module("demo.command", run_name="__main__")
