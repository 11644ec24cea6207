"""The attributes of our cookies, checked once, at start-up. How they are written is in `cookies`."""

import re
from dataclasses import dataclass
from typing import Literal

from holdall.errors import UsageError

_NAME = r"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,256}"  # a token of RFC 9110, 5.6.2
# RFC 6265bis, 4.1.1, without space and comma; browsers ignore an attribute over 1024 bytes (5.6).
_PATH = r"/[!-+\x2d-:<-~]{0,1023}"
# RFC 1034, 3.5; browsers ignore a leading dot (RFC 6265bis, 5.6.3).
_LABEL = r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
_DOMAIN = rf"(?=.{{1,253}}\Z)\.?{_LABEL}(?:\.{_LABEL})*"


@dataclass(frozen=True, slots=True)
class CookieOptions:
    """The name and the attributes of the session cookie. The defaults are the strictest that work everywhere.

    `name`: None for `__Host-session`, or `session` where the prefix is not allowed: with `secure=False`, a
    `domain` or a `path`. `secure`: sent over https only, and to localhost. `http_only`: invisible to scripts.
    `same_site`: "Lax", "Strict", "None", or None to leave the attribute out. `domain`: None for this host
    only. `partitioned`: a jar per top-level site (CHIPS). Raises `UsageError` for what browsers would refuse
    or what could break out of the header.
    """

    name: str | None = None
    secure: bool = True
    http_only: bool = True
    same_site: Literal["Lax", "Strict", "None"] | None = "Lax"
    path: str = "/"
    domain: str | None = None
    partitioned: bool = False

    def __post_init__(self) -> None:
        self._check_values()
        self._check_contradictions()

    @property
    def effective_name(self) -> str:
        """The cookie's name, also where `name` is None."""
        if self.name is not None:
            return self.name
        return "__Host-session" if self.secure and self.domain is None and self.path == "/" else "session"

    def _check_values(self) -> None:
        for option in ("secure", "http_only", "partitioned"):
            if type(getattr(self, option)) is not bool:
                raise UsageError(f"{option}={getattr(self, option)!r} must be True or False")
        if self.same_site not in ("Lax", "Strict", "None", None):
            raise UsageError(f'same_site={self.same_site!r} must be "Lax", "Strict", "None", or None for no attribute')
        if self.name is not None and not _matches(_NAME, self.name):
            raise UsageError(f"name={self.name!r} must be a token: up to 256 of A-Z a-z 0-9 and !#$%&'*+.^_`|~-")
        if not _matches(_PATH, self.path):
            raise UsageError(
                f'path={self.path!r} must begin with "/" and hold no space, semicolon, comma, control or '
                "non-ASCII character: write those as %XX"
            )
        if self.domain is not None and not _matches(_DOMAIN, self.domain):
            raise UsageError(
                f"domain={self.domain!r} must be a host name such as example.com, without scheme and port, "
                "in punycode if it is not ASCII"
            )

    def _check_contradictions(self) -> None:
        # Browsers compare the prefixes without regard to case (RFC 6265bis, 5.7).
        name = self.effective_name.lower()
        if name.startswith("__host-") and not (self.secure and self.domain is None and self.path == "/"):
            raise UsageError(
                f'name={self.name!r} needs secure=True, domain=None and path="/": set them so, or choose a '
                "name without the __Host- prefix"
            )
        if name.startswith("__secure-") and not self.secure:
            raise UsageError(f"name={self.name!r} needs secure=True: set it so, or choose a name without __Secure-")
        if self.same_site == "None" and not self.secure:
            raise UsageError('same_site="None" needs secure=True: set it so, or use same_site="Lax"')
        if self.partitioned and not self.secure:
            raise UsageError("partitioned=True needs secure=True: set it so, or leave partitioned out")


def _matches(pattern: str, value: object) -> bool:
    return isinstance(value, str) and re.fullmatch(pattern, value) is not None
