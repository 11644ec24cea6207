"""`holdall inspect`: says in words what the core's `SessionManager.inspect` found out about a cookie."""

import re
from base64 import urlsafe_b64decode
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

from holdall import CookieOptions, Inspected, SessionManager, UsageError, decode, unpack_map

_VERSION = 1
_STEPS = ((86_400, "d"), (3_600, "h"), (60, "min"), (1, "s"))


def inspect(text: str, managers: list[SessionManager]) -> list[Inspected]:
    """Explain a Cookie header, a Set-Cookie header, or the bare value of a cookie, by managers of several names.

    A bare value does not say which of our cookies it was: both names are tried, and what opens counts.
    """
    text = text.strip()
    for field in ("cookie:", "set-cookie:"):
        if text.lower().startswith(field):
            text = text[len(field) :].strip()
    if "=" in text or "." in text:
        return [each for manager in managers for each in manager.inspect(text)]
    tried = [
        each
        for manager in managers
        for suffix in ("", "-ref")
        for each in manager.inspect(f"{manager.cookie.effective_name}{suffix}={text}")
    ]
    return [each for each in tried if each.token is not None] or tried[:1]


def managers(keys: list[str], name: str | None, audience: str) -> list[SessionManager]:
    """Return a manager for the name, or for each of the default names if there is none."""
    if name is None:
        options = [CookieOptions(), CookieOptions(secure=False)]
    else:
        options = [CookieOptions(name=name, secure=name.lower().startswith(("__host-", "__secure-")))]
    return [SessionManager(keys, cookie=cookie, audience=audience) for cookie in options]


def describe(each: Inspected, now: float, *, with_values: bool) -> Iterator[str]:
    """Yield lines about one value. `now` is in seconds UTC since 1970."""
    cookies = "1 cookie" if each.pieces == 1 else f"{each.pieces} cookies"
    yield f"{each.name}: {len(each.text):,} characters in {cookies}"
    token = each.token
    if token is None:
        yield f"  does not open  {why_not(each)}"
        return
    flags = [name for name, is_set in (("ssl_only", token.ssl_only), ("browser session", token.browser)) if is_set]
    yield f"  opened by      key {each.key} of the ring"
    yield f"  kind           {'reference: the data is in the stores' if token.payload is None else 'inline data'}"
    yield f"  issued         {_time(token.issued / 1000, now)}"
    yield f"  expires        {_time(token.expires, now)}"
    yield f"  last seen      {_time(token.seen, now)}"
    yield f"  epoch          {token.epoch}"
    yield f"  revision       {token.revision}"
    yield f"  flags          {', '.join(flags) or 'none'}"
    yield f"  bound          {'to a principal' if token.bond else 'to nobody'}"
    if token.payload is not None:
        data = unpack_map(token.payload)
        yield f"  keys           {len(data)}"
        for key, wire in data.items():
            yield f"    {key!r}: {_value(wire, with_values=with_values)}"


def why_not(each: Inspected) -> str:
    """Return why a value does not open, as far as that can be known."""
    if not re.fullmatch("[A-Za-z0-9_-]+", each.text) or len(each.text) % 4:
        return "not base64url of whole bytes: it was cut off or changed on its way, or is no session cookie"
    version = urlsafe_b64decode(each.text)[0]
    if version != _VERSION:
        return f"unknown version {version}: written by another version of Holdall, or no session cookie"
    if each.key is None:
        return "unknown key id: sealed with a key that is not in this ring"
    return f"key {each.key} sealed it, but not with this name and audience, or it was changed"


def _value(wire: Any, *, with_values: bool) -> str:
    size = f"{_size(wire):,} bytes"
    try:
        value = decode(wire) if isinstance(wire, bytes) else wire
    except UsageError as error:
        return f"{size}, which cannot be read here: {error}"
    return f"{type(value).__name__}, {size}" + (f" = {value!r}" if with_values else "")


def _size(wire: Any) -> int:
    """Return the bytes that the value takes: text and numbers as MessagePack has them, its head left out."""
    if isinstance(wire, bytes):
        return len(wire)
    if isinstance(wire, str):
        return len(wire.encode())
    return 8 if isinstance(wire, float) else 1 if wire is None else (wire.bit_length() + 7) // 8 or 1


def _time(seconds: float, now: float) -> str:
    """Return a time in UTC, and how far away it is."""
    moment = datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    span = _span(abs(seconds - now))
    return f"{moment}, {f'in {span}' if seconds > now else f'{span} ago'}"


def _span(seconds: float) -> str:
    """Return a span in its two largest units."""
    left = int(seconds)
    parts: list[str] = []
    for size, unit in _STEPS:
        if left >= size and len(parts) < 2:
            parts.append(f"{left // size} {unit}")
            left %= size
    return " ".join(parts) or "0 s"
