"""The command `holdall`: reads the arguments and the keys, and prints what the other modules find out.

No key, session id or token is ever printed, and keys are never taken from the arguments, which every user of the
machine can read.
"""

import argparse
import math
import os
import sys
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path

from holdall import CookieOptions, HoldallError, SessionManager, UsageError, generate_key, run
from holdall_stores import Stores

from holdall_cli import doctor, inspection
from holdall_cli.sweep import Progress, Sweep

DONE, FAILED, USAGE, NOT_FINISHED = 0, 1, 2, 75
"""Exit codes. 75 is EX_TEMPFAIL of sysexits.h: run it again."""

_KEY_VARIABLE = "HOLDALL_COOKIE_KEY"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit code."""
    parsed = _parser().parse_args(arguments)
    command: Callable[[argparse.Namespace], int] = parsed.run
    try:
        return command(parsed)
    except (HoldallError, OSError) as error:
        print(f"holdall {parsed.command}: {error}", file=sys.stderr)  # noqa: T201
        return USAGE if isinstance(error, UsageError) else FAILED
    except KeyboardInterrupt:
        return 130


def read_keys(key_file: Path | None) -> list[str]:
    """Return the cookie keys, one per line, of a file or of the environment. Raises `UsageError` without any."""
    if key_file is not None:
        try:
            text = key_file.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            raise UsageError(f"--key-file {key_file} is not text: write one key per line") from None
    else:
        text = os.environ.get(_KEY_VARIABLE, "")
    keys = [line.strip() for line in text.splitlines() if line.strip()]
    if not keys:
        where = f"--key-file {key_file} has no key" if key_file else f"there is no --key-file and no {_KEY_VARIABLE}"
        raise UsageError(f"{where}: give the application's cookie_key, several one per line, the one that seals first")
    return keys


def _keygen(_: argparse.Namespace) -> int:
    _say(generate_key())
    return DONE


def _inspect(parsed: argparse.Namespace) -> int:
    managers = inspection.managers(read_keys(parsed.key_file), parsed.name, parsed.audience)
    if parsed.cookie_file is None and sys.stdin.isatty():
        print("paste the cookie or the Cookie header, then Ctrl-D:", file=sys.stderr)  # noqa: T201
    text = sys.stdin.read() if parsed.cookie_file is None else parsed.cookie_file.read_text("latin-1")
    found = inspection.inspect(text, managers)
    now = time.time()
    for each in found:
        for line in inspection.describe(each, now, with_values=parsed.values):
            _say(line)
    if not found:
        names = " or ".join(manager.cookie.effective_name for manager in managers)
        _say(f"no cookie of ours is there, or pieces of it are missing: looked for {names}; --name tells another")
    return DONE if found and all(each.token is not None for each in found) else FAILED


def _sweep(parsed: argparse.Namespace) -> int:
    stores = Stores.from_urls(durable=parsed.url)
    try:
        sweep = Sweep(stores, per_second=parsed.per_second, seconds=parsed.seconds)
        total = sweep.total()
        if total is not None:
            print(f"{total:,} expired", file=sys.stderr)  # noqa: T201
        progress = Progress(sys.stderr, total)
        try:
            done = sweep.run(progress)
        finally:
            progress.close()
            _say(f"{sweep.deleted:,} deleted")
    finally:
        stores.close()
    if not done:
        print("the time is over, more is left: run it again", file=sys.stderr)  # noqa: T201
    return DONE if done else NOT_FINISHED


def _revoke(parsed: argparse.Namespace) -> int:
    manager = SessionManager(read_keys(parsed.key_file), audience=parsed.audience)
    stores = Stores.from_urls(durable=parsed.durable)
    try:
        listed = run(manager.sessions_of(parsed.principal), stores)
        if parsed.only is not None:
            listed = [each for each in listed if each.id == parsed.only]
        if not parsed.list:
            run(manager.revoke(parsed.principal, only=parsed.only), stores)
    finally:
        stores.close()
    for each in listed:
        times = [datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M") for seconds in each[1:3]]
        label = "" if each.label is None else f", {each.label!r}"
        _say(f"{each.id}  bound {times[0]}, seen {times[1]} UTC{label}")
    if not listed:
        which = "no session" if parsed.only is None else f"no session {parsed.only}"
        _say(f"{which} is listed: check the principal, the key, --audience and --durable if there should be one")
        return FAILED
    if not parsed.list:
        _say(f"{len(listed)} ended; processes that asked before refuse them within their revocation_check")
    return DONE


def _doctor(parsed: argparse.Namespace) -> int:
    told = {name: value for name, value in vars(parsed).items() if name in doctor.Configuration._fields}
    configuration = doctor.Configuration(**told)
    return doctor.report(configuration, lambda: read_keys(parsed.key_file), _say, verbose=parsed.verbose)


def _say(line: str) -> None:
    print(line)  # noqa: T201


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="holdall", description="Tools for Holdall sessions.", allow_abbrev=False)
    commands = parser.add_subparsers(dest="command", required=True)

    def add(name: str, run: Callable[[argparse.Namespace], int], text: str) -> argparse.ArgumentParser:
        command = commands.add_parser(name, help=text, description=text, allow_abbrev=False)
        command.set_defaults(run=run)
        return command

    def add_key(command: argparse.ArgumentParser) -> None:
        command.add_argument(
            "--key-file",
            type=Path,
            metavar="FILE",
            help=f"the cookie keys, one per line; without it they are in the environment variable {_KEY_VARIABLE}",
        )
        command.add_argument("--audience", default="holdall", help="the application's audience (default: %(default)s)")

    add("keygen", _keygen, "Print a new cookie key.")

    command = add("inspect", _inspect, "Explain a cookie: which key opens it, and what it says. Asks no store.")
    command.add_argument(
        "cookie_file", type=Path, nargs="?", help="a value or a Cookie header; default: standard input"
    )
    command.add_argument("--name", help="the cookie's name (default: __Host-session or session)")
    command.add_argument("--values", action="store_true", help="show the values too, which may be secret")
    add_key(command)

    command = add("sweep", _sweep, "Delete expired sessions and leftovers from a durable store.")
    command.add_argument("url", metavar="URL", help="sqlite:////var/lib/app/sessions.sqlite3, datastore://project")
    command.add_argument("--per-second", type=float, default=math.inf, help="delete at most so many per second")
    command.add_argument(
        "--seconds", type=float, default=math.inf, help=f"stop after these, with exit code {NOT_FINISHED}"
    )

    command = add("revoke", _revoke, "End the sessions that are bound to a principal, or list them.")
    command.add_argument("principal", help="as the application gave it to session.bind")
    command.add_argument("--durable", required=True, metavar="URL", help="the application's durable store")
    command.add_argument("--only", metavar="ID", help="the one that --list shows under this id, instead of all")
    command.add_argument("--list", action="store_true", help="list the sessions, and end none")
    add_key(command)

    command = add("doctor", _doctor, "Check a configuration against its servers, and say what to change.")
    command.add_argument("--cache", metavar="URL", help="as in Stores.from_urls")
    command.add_argument("--durable", metavar="URL", help="as in Stores.from_urls")
    command.add_argument("--no-datastore", action="store_true", help="the application says no_datastore=True")
    command.add_argument("--threshold", type=int, default=3800, help="its cookie_only_threshold (default: %(default)s)")
    command.add_argument(
        "--header-limit", type=int, default=8190, help="bytes of a header field that the servers in front take: "
        "gunicorn 8190, nginx 8192 (default: %(default)s)"
    )  # fmt: skip
    defaults = CookieOptions()
    command.add_argument("--name", help="the cookie's name (default: __Host-session)")
    command.add_argument("--domain", help="the cookie's Domain")
    command.add_argument("--path", default=defaults.path, help="the cookie's Path (default: %(default)s)")
    command.add_argument("--same-site", default=defaults.same_site, help="Lax, Strict or None (default: %(default)s)")
    command.add_argument("--no-secure", dest="secure", action="store_false", help="the cookie is not Secure")
    command.add_argument("--no-http-only", dest="http_only", action="store_false", help="the cookie is not HttpOnly")
    command.add_argument("--verbose", action="store_true", help="print what was measured, too")
    add_key(command)
    return parser
