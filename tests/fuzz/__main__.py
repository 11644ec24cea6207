"""Fuzzes what reads strangers' bytes, guided by coverage: `hatch run fuzz:run [target ...] [--seconds N] [--keep]`.

A target is a file here with a `check`, and starts from its corpus. What makes a check raise, hang or swell is saved in
the corpus, where every run of the tests replays it. `--keep`: what reached new code is added to the corpus, and what
others reach as well leaves it.
"""

import argparse
import logging
import os
import re
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha1
from pathlib import Path
from types import CodeType, FrameType
from typing import Any, TypeAlias

from tests.fuzz.test_corpora import CORPUS, TARGETS, load

_LIMITS = ("-timeout=10", "-rss_limit_mb=2048", "-max_len=4096", "-print_final_stats=1")
IS_FIND = re.compile("crash-|timeout-|oom-")
LIBRARY = re.compile(r"[/\\]holdall(_stores)?[/\\]")
Step: TypeAlias = tuple[CodeType, int, int]


def main() -> int:
    """Fuzz the targets that are named, or all, in a process per CPU; the number of finds is the exit code."""
    parser = argparse.ArgumentParser(prog="fuzz:run", description=__doc__.partition("\n")[0])
    parser.add_argument("targets", nargs="*", metavar="target", help=f"of {', '.join(TARGETS)}; all if none is named")
    parser.add_argument("--seconds", type=int, default=60, help="for each target (default: 60)")
    parser.add_argument("--keep", action="store_true", help="renew the corpus with what reached new code")
    arguments = parser.parse_args()
    if unknown := set(arguments.targets) - set(TARGETS):
        parser.error(f"no such target: {', '.join(sorted(unknown))}")
    with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:  # each waits for its process
        finds = pool.map(
            lambda target: fuzz(target, arguments.seconds, keep=arguments.keep), arguments.targets or TARGETS
        )
        return sum(finds)


def fuzz(target: str, seconds: int, *, keep: bool) -> int:
    """Fuzz one target; returns how many finds it saved."""
    corpus = CORPUS / target
    before = {*corpus.iterdir()}
    with tempfile.TemporaryDirectory() as folder:
        fresh = Path(folder, "fresh")
        fresh.mkdir()
        for seed in load(target).seeds():
            (fresh / sha1(seed, usedforsecurity=False).hexdigest()).write_bytes(seed)
        limits = (*_LIMITS, f"-max_total_time={seconds}", f"-artifact_prefix={corpus}/")
        run = subprocess.run(
            [sys.executable, "-m", "tests.fuzz.guided", target, *limits, fresh, corpus],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
        )
        finds = sorted({*corpus.iterdir()} - before)
        if keep and not finds:
            renew(target, corpus, fresh)
    print(f"{target}: {summary(run)}, {len(finds)} finds", flush=True)
    for find in finds:
        print(
            f"  {find.relative_to(Path.cwd())}; replay: hatch run test tests/fuzz -k {find.name}\n{run.stdout[-4000:]}"
        )
    if run.returncode and not finds:  # it did not even run
        print(run.stdout[-4000:])
    return len(finds) or run.returncode


def renew(target: str, corpus: Path, fresh: Path) -> None:
    """Make the corpus the few, small files that reach what it and the fresh ones reach; finds stay in any case."""
    logging.disable()
    check = load(target).check
    reached: set[tuple[Step, bool]] = set()
    old = {path for path in corpus.iterdir() if not IS_FIND.match(path.name)}
    kept = set()
    for path in sorted({*old, *fresh.iterdir()}, key=lambda path: (path.stat().st_size, path.name)):
        steps = traced(check, path.read_bytes())
        if not steps <= reached:
            reached |= steps
            kept.add(corpus / path.name[:12])
            (corpus / path.name[:12]).write_bytes(path.read_bytes())
    for path in old - kept:
        path.unlink()


def traced(check: Callable[[bytes], None], data: bytes) -> set[tuple[Step, bool]]:
    """Return the steps from line to line that our code takes in a check, each with whether it does so again."""
    steps: Counter[Step] = Counter()

    def enter(frame: FrameType, event: str, argument: object) -> Any:
        code, before = frame.f_code, 0
        if not LIBRARY.search(code.co_filename):
            return None

        def step(frame: FrameType, event: str, argument: object) -> Any:
            nonlocal before
            steps[code, before, before := frame.f_lineno] += 1
            return step

        return step

    sys.settrace(enter)
    try:
        check(data)
    finally:
        sys.settrace(None)
    return {(step, count > 1) for step, count in steps.items()}


def summary(run: "subprocess.CompletedProcess[str]") -> str:
    """Say how many inputs were tried, and how many branches reached."""
    tried = re.findall(r"stat::number_of_executed_units: +(\d+)", run.stdout)
    reached = re.findall(r"\bcov: (\d+)", run.stdout)
    return f"{int(tried[-1]):,} inputs, {reached[-1]} branches" if tried and reached else "did not run"


if __name__ == "__main__":
    sys.exit(main())
