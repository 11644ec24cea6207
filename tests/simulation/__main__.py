"""`hatch run simulate`: live many histories, say which faults met which steps, and fail if a promise is broken."""

import argparse
import os
import sys
import time
from itertools import chain

from tests.simulation import moving
from tests.simulation.runs import ENOUGH, failures, live_all, report, spread, tell


def main() -> int:
    """Run, and return the exit status."""
    parser = argparse.ArgumentParser(prog="hatch run simulate", description=__doc__)
    parser.add_argument("--histories", type=int, default=20_000, help=f"from {ENOUGH} on, all pairs must be met")
    parser.add_argument("--seed", type=int, default=0, help="of the first; with --histories 1 its story is told")
    parser.add_argument("--processes", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--moving-in", action="store_true", help="of sessions that come from another library")
    options = parser.parse_args()
    if min(options.histories, options.processes) < 1 or options.seed < 0:
        parser.error("give at least one history, one process, and a seed from 0 on")
    start = time.monotonic()
    last = options.seed + options.histories - 1
    if options.moving_in:
        stories = [*chain(*spread(moving.broken, options.seed, options.histories, options.processes))]
        span = f"seeds {options.seed:,} to {last:,}, in {time.monotonic() - start:,.0f} s"
        sys.stdout.write("\n\n".join([span, *(f"FAILED: {story}" for story in stories), ""]))
        return 1 if stories else 0
    result = live_all(options.seed, options.histories, options.processes)
    seconds = time.monotonic() - start
    why = failures(result)
    if options.histories == 1 and not result.broken:
        said = [tell(options.seed)]
    else:
        said = [f"{report(result)}\nseeds {options.seed:,} to {last:,}, in {seconds:,.0f} s"]
    sys.stdout.write("\n\n".join([*said, *(f"FAILED: {reason}" for reason in why), ""]))
    return 1 if why else 0


if __name__ == "__main__":
    sys.exit(main())
