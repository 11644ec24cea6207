"""The command `python examples/demo`: reads the arguments, then serves the demo or walks through it."""

import argparse
import logging
import os
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from holdall import UsageError, generate_key

from .page import Labels
from .serving import FRAMEWORKS, HOST, Servers, listen, serving
from .tour import walk
from .watch import Log

FAVOURITE_PORT = 8000


def choose_servers(arguments: argparse.Namespace, folder: Path) -> Servers:
    """Return the servers that the arguments name, and what stands in for those that they do not."""
    cache, cache_label = "memory://", "the memory of this process"
    if arguments.memcached:
        cache, cache_label = f"memcached://{arguments.memcached}", f"memcached at {arguments.memcached}"
    durable, durable_label = f"sqlite:///{folder / 'demo.sqlite3'}", "SQLite, in a temporary folder"
    if arguments.datastore:
        # An emulator takes its time for its first commit: `Parts.store_budget` knows it too.
        emulator = f"?emulator={arguments.emulator}&timeout=10" if arguments.emulator else ""
        durable = f"datastore://{arguments.datastore}/holdall-demo{emulator}"
        durable_label = f"Datastore, project {arguments.datastore}"
    labels = Labels(cache_label, durable_label, FRAMEWORKS[arguments.framework])
    client = os.environ.get("HOLDALL_DEMO_GOOGLE_ID"), os.environ.get("HOLDALL_DEMO_GOOGLE_SECRET")
    google = (client[0], client[1]) if client[0] and client[1] else None
    return Servers(cache, durable, labels, arguments.framework, google, arguments.metrics)


class Short(logging.Formatter):
    """Says what happened without a traceback: that a store is stopped is no riddle here."""

    def formatException(self, ei: object) -> str:  # noqa: ARG002, N802 (logging's signature)
        """Return nothing."""
        return ""


def serve(servers: Servers, port: int | None) -> None:
    """Serve the demo until Ctrl-C. Without a port it is 8000 or, if that is taken, any free one."""
    handler = logging.StreamHandler()
    handler.setFormatter(Short("%(name)s: %(message)s"))
    logging.getLogger().addHandler(handler)
    try:
        listening = listen(FAVOURITE_PORT, 0) if port is None else listen(port)
    except (OSError, OverflowError) as error:
        raise SystemExit(f"port {port} cannot be used: {error}") from error
    with suppress(KeyboardInterrupt), serving(servers, generate_key(), Log(), time.time, listening) as taken:
        print(f"Holdall's demo is at http://{HOST}:{taken}/  (Ctrl-C stops it)")
        print(f"  served by: {servers.labels.framework}")
        print(f"  cache:     {servers.labels.cache}")
        print(f"  durable:   {servers.labels.durable}")
        print(f"  sign-in:   {'Google' if servers.google else 'a provider on this machine'}", flush=True)
        threading.Event().wait()


def read_arguments(argv: Sequence[str]) -> argparse.Namespace:
    """Read the command line; exits with a message if it makes no sense."""
    parser = argparse.ArgumentParser(
        prog="hatch run demo", description="Watch a session while it grows, moves, is lost and ends."
    )
    parser.add_argument("--framework", choices=FRAMEWORKS, default="wsgi", help="what serves it (default: wsgi)")
    parser.add_argument("--port", type=int, help="the port on 127.0.0.1 (default: 8000 if free, else any)")
    parser.add_argument("--metrics", type=int, metavar="PORT", help="serve metrics for Prometheus there, too")
    parser.add_argument("--tour", action="store_true", help="walk through the story without a browser, and check it")
    parser.add_argument("--memcached", metavar="HOST:PORT", help="a memcached as cache (default: memory)")
    parser.add_argument("--datastore", metavar="PROJECT", help="Cloud Datastore as durable tier (default: SQLite)")
    parser.add_argument("--emulator", metavar="HOST:PORT", help="a Datastore emulator, with --datastore")
    arguments = parser.parse_args(argv)
    if arguments.emulator and not arguments.datastore:
        parser.error("--emulator needs --datastore PROJECT")
    return arguments


def main(argv: Sequence[str]) -> int:
    """Run the command; returns the exit status."""
    arguments = read_arguments(argv)
    try:
        return run(arguments)
    except UsageError as error:
        raise SystemExit(f"these servers cannot be used: {error}") from error


def run(arguments: argparse.Namespace) -> int:
    """Serve, or walk; returns the exit status."""
    with tempfile.TemporaryDirectory(prefix="holdall-demo-", ignore_cleanup_errors=True) as folder:
        servers = choose_servers(arguments, Path(folder))
        if arguments.tour:
            return walk(servers._replace(google=None))
        serve(servers, arguments.port)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
