"""The command `python examples/demo`: reads the arguments, then serves the demo or walks through it."""

import argparse
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from holdall import UsageError, generate_key
from waitress.server import create_server

from .page import Labels
from .serving import HOST, Servers, build, listen
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
        # An emulator takes its time for the first commit of its life.
        emulator = f"?emulator={arguments.emulator}&timeout=10" if arguments.emulator else ""
        durable = f"datastore://{arguments.datastore}/holdall-demo{emulator}"
        durable_label = f"Datastore, project {arguments.datastore}"
    return Servers(cache, durable, Labels(cache_label, durable_label))


def serve(servers: Servers, port: int | None) -> None:
    """Serve the demo until Ctrl-C. Without a port it is 8000 or, if that is taken, any free one."""
    try:
        listening = listen(FAVOURITE_PORT, 0) if port is None else listen(port)
    except (OSError, OverflowError) as error:
        raise SystemExit(f"port {port} cannot be used: {error}") from error
    app, stores = build(servers, generate_key(), Log(), time.time)
    server = create_server(app, sockets=[listening])
    print(f"Holdall's demo is at http://{HOST}:{server.effective_port}/  (Ctrl-C stops it)")
    print(f"  cache:   {servers.labels.cache}")
    print(f"  durable: {servers.labels.durable}", flush=True)
    server.run()
    server.close()
    stores.close()


def read_arguments(argv: Sequence[str]) -> argparse.Namespace:
    """Read the command line; exits with a message if it makes no sense."""
    parser = argparse.ArgumentParser(
        prog="hatch run demo", description="Watch a session while it grows, moves, is lost and ends."
    )
    parser.add_argument("--port", type=int, help="the port on 127.0.0.1 (default: 8000 if free, else any)")
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
            return walk(servers)
        serve(servers, arguments.port)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
