"""HTTP manners: what a session asks of a response's headers besides its cookies.

Lists of (name, value) come in, new lists go out; what came in is never changed, since an application may keep
and share it. Which cookies there are is not decided here.
"""

import re
from collections.abc import Collection
from typing import TypeAlias

Headers: TypeAlias = list[tuple[str, str]]

_VARY = ("Vary", "Cookie")
_CACHE_CONTROL = ("Cache-Control", 'private, no-cache="Set-Cookie"')
_MERGED = {"vary", "cache-control", "set-cookie"}
# A directive of RFC 9111, 5.2: a token, perhaps with a quoted or a plain argument. Anything else counts up to
# the next comma.
_DIRECTIVE = re.compile(r'([^,="\s]+)(?:\s*=\s*("(?:[^"\\]|\\.)*"|[^,]*))?[^,]*')


def with_session_headers(headers: Headers, cookies: Headers) -> Headers:
    """Return a response's headers with our Set-Cookie headers and all that has to go with them.

    The application's own cookies stay, except under the names that `cookies` sets: one Set-Cookie per name
    (RFC 6265bis, 4.1.1).
    """
    for name, _ in headers:
        if name.lower() in _MERGED:
            own = without_cookies(headers, {_cookie_name(value) for _, value in cookies})
            return [*with_cache_control(with_vary_cookie(own)), *cookies]
    return [*headers, _VARY, _CACHE_CONTROL, *cookies]


def with_vary_cookie(headers: Headers) -> Headers:
    """Return the headers with Cookie in Vary (RFC 9110, 12.5.5), unless "*" says it already."""
    last = None
    for index, (name, value) in enumerate(headers):
        if len(name) == 4 and name.lower() == "vary":
            last = index
            if any(member.strip(" \t").lower() in ("cookie", "*") for member in value.split(",")):
                return headers.copy()
    if last is None:
        return [*headers, _VARY]
    name, value = headers[last]
    value = value.strip(" \t,")
    return [*headers[:last], (name, f"{value}, Cookie" if value else "Cookie"), *headers[last + 1 :]]


def with_cache_control(headers: Headers) -> Headers:
    """Return the headers so that no shared cache keeps the response, and no cache its cookies (RFC 9111, 7.3).

    Where the application said something stricter (no-store, private, or no-cache for all of it) that is left
    as it is, but for directives that would let shared caches have it after all.
    """
    values = [value for name, value in headers if name.lower() == "cache-control"]
    if not values:
        return [*headers, _CACHE_CONTROL]
    directives = [
        (match[1].lower(), match[2], match[0].strip(" \t")) for value in values for match in _DIRECTIVE.finditer(value)
    ]
    plain = {name for name, argument, _ in directives if argument is None}
    if "no-store" in plain:
        return headers.copy()
    is_strict = not plain.isdisjoint(("private", "no-cache"))
    if is_strict and not any(name in ("public", "s-maxage") for name, _, _ in directives):
        return headers.copy()
    dropped = {"public", "s-maxage"} if is_strict else {"public", "s-maxage", "private", "no-cache"}
    merged = [text for name, _, text in directives if name not in dropped]
    if not is_strict:
        fields = [argument.strip('" \t') for name, argument, _ in directives if name == "no-cache" and argument]
        merged += ["private", f'no-cache="{", ".join([*fields, "Set-Cookie"])}"']
    first = next(index for index, (name, _) in enumerate(headers) if name.lower() == "cache-control")
    return [
        (name, ", ".join(merged)) if index == first else (name, value)
        for index, (name, value) in enumerate(headers)
        if index == first or name.lower() != "cache-control"
    ]


def without_cookies(headers: Headers, names: Collection[str]) -> Headers:
    """Return the headers without the Set-Cookie headers of cookies with exactly these names."""
    return [
        (name, value) for name, value in headers if name.lower() != "set-cookie" or _cookie_name(value) not in names
    ]


def _cookie_name(set_cookie: str) -> str:
    """Return which cookie a Set-Cookie value sets, as browsers read it (RFC 6265bis, 5.6)."""
    name, equals, _ = set_cookie.partition(";")[0].partition("=")
    return name.strip(" \t") if equals else ""
