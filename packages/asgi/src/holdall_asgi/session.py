"""`request.session`: a Holdall session with the habits of the dict that ASGI frameworks have there.

Only what a dict does and a `holdall.Session` does not, or otherwise. Nothing here knows of requests.
"""

from collections.abc import Mapping
from typing import Any

import holdall

_REQUIRED: Any = object()


class Session(holdall.Session):
    """The session of one request: all of `holdall.Session`, and what users of `request.session` are used to.

    It is no `dict`: where one is needed, as `json.dumps` does, write `dict(request.session)`.
    """

    def pop(self, key: str, default: Any = _REQUIRED) -> Any:
        """Remove a key and return its value, or the default; raises `KeyError` if there is neither, as a dict does."""
        if default is _REQUIRED and key not in self:
            raise KeyError(key)
        return super().pop(key, default)

    def popitem(self) -> tuple[str, Any]:
        """Remove the key that came last and return it with its value; raises `KeyError` if there is none."""
        keys = list(self)
        if not keys:
            raise KeyError("popitem(): the session is empty")
        return keys[-1], self.pop(keys[-1])

    def copy(self) -> dict[str, Any]:
        """Return what is in the session as a dict."""
        return dict(self)

    def __or__(self, other: Mapping[str, Any]) -> dict[str, Any]:
        return dict(self) | dict(other) if isinstance(other, Mapping) else NotImplemented

    def __ror__(self, other: Mapping[str, Any]) -> dict[str, Any]:
        return dict(other) | dict(self) if isinstance(other, Mapping) else NotImplemented
