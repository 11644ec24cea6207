"""`holdall doctor`: checks a configuration and the servers that it names, and says what to change.

Each check is one statement, and each finding ends with its remedy. The stores are asked through their public face;
only what they have no words for (memcached's settings and clock) is asked of the server directly.
"""

import math
import os
import socket
import stat
import statistics
import time
from collections import Counter
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import parse_qs, unquote, urlsplit

from holdall import (
    Command,
    CookieOptions,
    Delete,
    Expect,
    Found,
    Get,
    Put,
    SessionManager,
    StoreError,
    Tier,
    UsageError,
    generate_key,
    run,
)
from holdall_stores import Memory, Store, Stores

_ROUNDS = 20
_SKEW = 5.0  # seconds; memcached tells whole ones, and may be one behind
_OTHER_COOKIES = 1_024  # bytes that an application's other cookies may take
_COOKIE_BYTES = 4_096  # RFC 6265, 6.1
_ITEM_OVERHEAD = 310  # bytes of memcached's key and item header
_KEY_BITS = 128
_OLDEST_MEMCACHED = (1, 6)
_MANY_EXPIRED = 10_000
_PATIENCE = 2.0  # seconds
_REMOTE = ("nfs", "cifs", "smb", "9p", "fuse.sshfs")


class Configuration(NamedTuple):
    """What an application was told, as the arguments of the command have it."""

    key_file: Path | None = None
    audience: str = "holdall"
    cache: str | None = None
    durable: str | None = None
    no_datastore: bool = False
    threshold: int = 3800
    header_limit: int = 8190
    name: str | None = None
    domain: str | None = None
    path: str = "/"
    same_site: str = "Lax"
    secure: bool = True
    http_only: bool = True


class Findings:
    """Counts checks, and collects what is wrong and what was measured."""

    def __init__(self) -> None:
        self.checks = 0
        self.wrong: list[str] = []
        self.facts: list[str] = []

    def check(self, is_well: bool, finding: str) -> None:
        """Take note of one check; `finding` says what is wrong, and what to do."""
        self.checks += 1
        if not is_well:
            self.wrong.append(finding)


def report(
    configuration: Configuration,
    read_keys: Callable[[], list[str]],
    say: Callable[[str], None],
    *,
    verbose: bool = False,
    clock: Callable[[], float] = time.time,
) -> int:
    """Check everything and say what was found; returns 0 if all is well, 1 otherwise."""
    findings = Findings()
    _check_keys(findings, configuration, read_keys)
    _check_cookie(findings, configuration)
    _check_tiers(findings, configuration)
    if configuration.cache is not None:
        _check_cache(findings, configuration.cache, clock)
    if configuration.durable is not None and not configuration.no_datastore:
        _check_durable(findings, configuration.durable, clock)
    for fact in findings.facts if verbose or findings.wrong else ():
        say(f"measured  {fact}")
    for finding in findings.wrong:
        say(f"CHANGE    {finding}")
    well = f"{len(findings.wrong)} to change" if findings.wrong else "all well"
    say(f"{findings.checks} checks, {well}")
    return 1 if findings.wrong else 0


# -- the key and the cookie --------------------------------------------------------------------------------------------


def _check_keys(findings: Findings, configuration: Configuration, read_keys: Callable[[], list[str]]) -> None:
    try:
        keys = read_keys()
    except (UsageError, OSError) as error:
        findings.check(False, f"key: {error}")
        return
    findings.check(len(set(keys)) == len(keys), "key: one is there twice: remove one, or was another one meant?")
    for number, key in enumerate(keys, 1):
        try:
            SessionManager(key)
        except UsageError as error:
            findings.check(False, f"key {number}: {error}")
            continue
        findings.check(
            _bits(key) >= _KEY_BITS,
            f"key {number}: it repeats itself, and may be guessed: put a new one first, made with 'holdall keygen'",
        )
    if configuration.key_file is not None:
        mode = stat.S_IMODE(configuration.key_file.stat().st_mode)
        findings.check(
            not mode & 0o077,
            f"key: {configuration.key_file} has mode {mode:04o}, others may read it: chmod 600 it, and rotate the key",
        )


def _bits(key: str) -> float:
    """Return an upper bound of what a guesser does not know: the entropy of its characters, repetition left out."""
    period = (key + key).find(key, 1)
    return period * sum(-n / len(key) * math.log2(n / len(key)) for n in Counter(key).values())


def _check_cookie(findings: Findings, configuration: Configuration) -> None:
    options: dict[str, Any] = {
        name: getattr(configuration, name) for name in ("name", "domain", "path", "same_site", "secure", "http_only")
    }
    if options["same_site"] not in ("Lax", "Strict", "None"):
        findings.check(False, f"cookie: same_site={options['same_site']!r} is unknown: use Lax")
        return
    try:
        cookie = CookieOptions(**options)
        manager = SessionManager(generate_key(), cookie=cookie, cookie_only_threshold=configuration.threshold)
    except UsageError as error:
        findings.check(False, f"cookie: {error}")
        return
    findings.check(cookie.secure, "cookie: without Secure it travels in the clear: serve https, and use secure=True")
    findings.check(cookie.http_only, "cookie: scripts can read it without HttpOnly: use http_only=True")
    findings.check(
        cookie.same_site != "None",
        "cookie: with SameSite=None every site's requests carry it: use Lax, or check every request's origin",
    )
    findings.check(
        cookie.domain is None,
        f"cookie: every host under {cookie.domain} gets it, and can set it: leave domain out if one host is enough",
    )
    name = cookie.effective_name
    findings.check(
        name.lower().startswith("__host-") or not cookie.secure or cookie.domain is not None,
        f"cookie: {name} can be set by other hosts of the domain: use a name with __Host-, or no name and no path",
    )
    _check_sizes(findings, configuration, manager)


def _check_sizes(findings: Findings, configuration: Configuration, manager: SessionManager) -> None:
    """Fill a session up to the threshold, and look at the cookies that come out."""
    cookies = _largest_cookies(manager, configuration.threshold)
    if not cookies:
        return
    threshold = f"cookie_only_threshold={configuration.threshold}"
    findings.check(
        len(cookies) == 1,
        f"cookie: {threshold} takes {len(cookies)} cookies of {_COOKIE_BYTES} bytes: "
        "use 3800, which is one; bigger sessions then go to the stores",
    )
    header = len("Cookie: ") + sum(len(cookie.partition(";")[0]) + 2 for cookie in cookies)
    findings.facts.append(f"the longest session cookie makes a Cookie header of {header:,} bytes")
    room = configuration.header_limit - header - _OTHER_COOKIES
    findings.check(
        room >= 0,
        f"cookie: with {threshold} the Cookie header has {header:,} bytes and {_OTHER_COOKIES:,} of other cookies, "
        f"and the server in front takes {configuration.header_limit:,}: lower the threshold by {-room:,}, or raise "
        "its limit (gunicorn --limit-request-field_size, nginx large_client_header_buffers)",
    )


def _largest_cookies(manager: SessionManager, threshold: int) -> list[str]:
    stores = Stores(durable=Memory())
    session_bytes = threshold // 4 * 3 - 140  # the seal and the head of a token, and a little of the map
    if session_bytes < 1:
        return []
    exchange = manager.open(None)
    exchange.session["x"] = "x" * session_bytes
    headers = run(exchange.commit(status=200, headers=[]), stores)
    return [value for name, value in headers if name == "Set-Cookie" and "-ref=" not in value.partition(";")[0]]


# -- the stores --------------------------------------------------------------------------------------------------------


def _check_tiers(findings: Findings, configuration: Configuration) -> None:
    cache, durable = configuration.cache, configuration.durable
    if configuration.no_datastore:
        findings.check(
            cache is not None, "stores: no_datastore=True keeps sessions in the cache, and there is none: give a cache"
        )
        findings.check(
            durable is None,
            "stores: with no_datastore=True the durable store is never used: leave one of them out",
        )
    else:
        findings.check(
            durable is not None,
            "stores: without a durable store, sessions over the threshold fail: give one, or say no_datastore=True",
        )
        findings.check(
            durable is None or not durable.startswith("memory:"),
            "stores: memory:// as the durable store ends with its process, and no other process sees it: use sqlite://",
        )
    findings.check(
        cache is None or not cache.startswith("memory:"),
        "stores: memory:// as the cache is another one in each process: use memcached://, or leave it out",
    )


def _stores(findings: Findings, *, cache: str | None = None, durable: str | None = None) -> Stores | None:
    try:
        return Stores.from_urls(cache, durable)
    except UsageError as error:
        findings.check(False, f"stores: {error}")
        return None


def _check_cache(findings: Findings, url: str, clock: Callable[[], float]) -> None:
    if (stores := _stores(findings, cache=url)) is None:
        return
    with closing(stores):
        parts = urlsplit(url)
        servers = [unquote(parts.path)] if parts.scheme == "memcached+unix" else parts.netloc.split(",")
        if parts.scheme == "appengine-memcache":
            findings.facts.append("appengine-memcache: answers within App Engine's requests only, and was not asked")
        if not url.startswith("memcached"):
            return
        most = getattr(stores.cache, "max_value_bytes", 0)
        for server in servers:
            try:
                with closing(_Memcached(server)) as asked:
                    _check_memcached(findings, f"memcached {server}", asked, most, clock)
            except (OSError, ValueError, KeyError) as error:
                findings.check(
                    False, f"memcached {server}: no answer ({type(error).__name__}): start it, or mend the address"
                )


def _check_memcached(
    findings: Findings, where: str, asked: "_Memcached", most: int, clock: Callable[[], float]
) -> None:
    settings = asked.statistics("stats settings")
    started = clock()
    told = asked.statistics("stats")
    skew = int(told["time"]) - (started + clock()) / 2
    version = told["version"]
    findings.facts.append(f"{where}: version {version}, clock {skew:+.0f} s, {_times(lambda: asked.ask('version'))}")
    numbers = tuple(int(number) for number in version.split(".")[:2])
    findings.check(numbers >= _OLDEST_MEMCACHED, f"{where}: version {version} is too old: use 1.6 or newer")
    findings.check(abs(skew) <= _SKEW, f"{where}: its clock differs by {skew:+,.0f} s: have both machines use NTP")
    largest = int(settings["item_size_max"])
    findings.check(
        most + _ITEM_OVERHEAD <= largest,
        f"{where}: items may have {largest:,} bytes and values {most:,}: start it with -I {most // 2**20 + 1}m, "
        f"or add max_value_bytes={largest - _ITEM_OVERHEAD} to the URL",
    )
    findings.check(
        settings["evictions"] == "on",
        f"{where}: when it is full it refuses to store (-M): start it without, so that it forgets the oldest",
    )


def _check_durable(findings: Findings, url: str, clock: Callable[[], float]) -> None:
    scheme = urlsplit(url).scheme
    if (stores := _stores(findings, durable=url)) is None:
        return
    with closing(stores):
        store = stores.durable
        if store is None or scheme == "memory":
            return
        if scheme == "sqlite" and not _check_file(findings, Path(unquote(urlsplit(url).path.removeprefix("/")))):
            return
        try:
            _check_values(findings, scheme, store, url, clock)
        except StoreError as error:
            findings.check(False, f"{scheme}: {error}: start the server, or mend the URL and its credentials")


def _check_file(findings: Findings, path: Path) -> bool:
    """Check the file of SQLite; False if there is none yet, which is no error, and none is made."""
    findings.check(
        os.access(path.parent, os.W_OK), f"sqlite: {path.parent} is not writable: give it to the application"
    )
    kind = _file_system(path.parent.resolve())
    findings.check(
        not kind.startswith(_REMOTE), f"sqlite: {path.parent} is on a network file system ({kind}): use a local disk"
    )
    if not path.exists():
        return False
    mode = stat.S_IMODE(path.stat().st_mode)
    findings.check(not mode & 0o077, f"sqlite: {path} has mode {mode:04o}: chmod 600 it, as Holdall makes it")
    return True


def _file_system(folder: Path) -> str:
    mounts = Path("/proc/mounts")
    if not mounts.exists():
        return "unknown"
    rows = [line.split() for line in mounts.read_text().splitlines()]
    above = [(len(row[1]), row[2]) for row in rows if folder.is_relative_to(row[1])]
    return max(above)[1] if above else "unknown"


def _check_values(findings: Findings, scheme: str, store: Store, url: str, clock: Callable[[], float]) -> None:
    """Write, read and delete a value of the largest size, and see how long things take."""
    key = f"doctor-{generate_key()[:16]}"
    largest = getattr(store, "max_value_bytes", 2**20)
    try:
        store.execute(Put(Tier.DURABLE, key, bytes(largest), int(time.time()) + 300, Expect.ABSENT))
        found = store.execute(Get(Tier.DURABLE, key))
        findings.check(
            isinstance(found, Found) and len(found.value) == largest,
            f"{scheme}: a value of {largest:,} bytes was written and did not come back: see the server's own log",
        )
    finally:
        store.execute(Delete(Tier.DURABLE, key))
    deadline = float(parse_qs(urlsplit(url).query).get("timeout", ["1.0"])[0])
    command: Command = Get(Tier.DURABLE, key)
    times = [_time(lambda: store.execute(command)) for _ in range(_ROUNDS)]
    findings.check(
        statistics.median(times) <= deadline / 2,
        f"{scheme}: a read takes {statistics.median(times) * 1000:,.0f} ms of the {deadline * 1000:,.0f} it may: "
        "move closer to it, or raise timeout= in the URL",
    )
    skew = None
    if (server_time := getattr(store, "server_time", None)) is not None:
        started = clock()
        told = server_time()
        skew = None if told is None else told - (started + clock()) / 2
        findings.check(
            skew is None or abs(skew) <= _SKEW,
            f"{scheme}: its clock differs by {skew or 0:+,.0f} s: have this machine use NTP",
        )
    if (count := getattr(store, "count_expired", None)) is not None:
        expired = count()
        findings.check(
            expired < _MANY_EXPIRED, f"{scheme}: {expired:,} expired sessions: run 'holdall sweep' from cron"
        )
    clock_fact = "" if skew is None else f"clock {skew:+.1f} s, "
    findings.facts.append(f"{scheme}: {clock_fact}{_spread(times)}")


# -- measuring ---------------------------------------------------------------------------------------------------------


def _time(act: Callable[[], object]) -> float:
    started = time.perf_counter()
    act()
    return time.perf_counter() - started


def _times(act: Callable[[], object]) -> str:
    return _spread([_time(act) for _ in range(_ROUNDS)])


def _spread(times: list[float]) -> str:
    shortest, middle, longest = (each(times) * 1000 for each in (min, statistics.median, max))
    return f"round trip {middle:.2f} ms ({shortest:.2f} to {longest:.2f})"


class _Memcached:
    """A connection to one memcached, for questions that the store has no use for."""

    def __init__(self, server: str) -> None:
        if server.startswith("/"):
            self._socket = socket.socket(socket.AF_UNIX)
            self._socket.settimeout(_PATIENCE)
            self._socket.connect(server)
        else:
            host, _, port = server.rpartition(":")
            self._socket = socket.create_connection((host.strip("[]"), int(port)), _PATIENCE)
        self._reply = self._socket.makefile("rb")

    def ask(self, command: str) -> str:
        """Return the first line of the answer."""
        self._socket.sendall(command.encode() + b"\r\n")
        return self._line()

    def statistics(self, command: str) -> dict[str, str]:
        """Return the answer to a `stats` command."""
        found: dict[str, str] = {}
        line = self.ask(command)
        while line != "END":
            _, name, *value = line.split(" ", 2)
            found[name] = value[0] if value else ""
            line = self._line()
        return found

    def close(self) -> None:
        self._reply.close()
        self._socket.close()

    def _line(self) -> str:
        line = self._reply.readline()
        if not line:
            raise ConnectionResetError
        return line.decode("latin-1").rstrip("\r\n")
