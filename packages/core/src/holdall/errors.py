"""Every error that Holdall raises, by whose fault it is: yours, the moment's, or the store's.

A bad cookie is normal input and therefore no error at all. Nothing but error classes belongs here, and no message ever
holds a token, a session id or a session value.
"""


class HoldallError(Exception):
    """The base of every error that Holdall raises."""


class UsageError(HoldallError, ValueError):
    """Yours: a setting or a value that cannot work. The message names it and the remedy."""


class SessionNotLoaded(HoldallError):
    """Yours: the session lives in a store, was not loaded yet, and cannot load itself here. Load it first."""


class SessionCommitted(HoldallError):
    """Yours: a change that needs a cookie was made after the response's headers had been sent."""


class SessionTooLarge(HoldallError):
    """Yours: the session is larger than its tier can hold. Nothing was written, the previous state is intact.

    `size` and `limit` are in bytes.
    """

    def __init__(self, size: int, limit: int, reason: str = "") -> None:
        because = f" ({reason})" if reason else ""
        super().__init__(f"the session takes {size} bytes where at most {limit} fit{because}: keep less in it")
        self.size = size
        self.limit = limit


class SessionConflict(HoldallError):
    """The moment's: changes were dropped because the session they were for had ended or changed meanwhile.

    Reported in a `Receipt` and logged, not raised. `keys` are the session keys that were concerned.
    """

    def __init__(self, reason: str, keys: tuple[str, ...] = ()) -> None:
        super().__init__(reason)
        self.reason = reason
        self.keys = keys


class SessionUnavailable(HoldallError):
    """The store's: the session can be neither read nor written now. The cookie is kept; answer 503 and retry later.

    Never means that the session does not exist. A write that raises it may or may not have been applied, as a whole.
    """


class StoreError(HoldallError):
    """The store's, as a store raises it to the core: the command has no answer."""


class StoreUnavailable(StoreError):
    """No answer in time, or none at all. A `Put` or `Delete` may or may not have been applied."""


class StoreTooLarge(StoreError):
    """The value is larger than this store can hold; nothing was sent to it. `size` and `limit` are in bytes."""

    def __init__(self, size: int, limit: int) -> None:
        super().__init__(f"a value of {size} bytes is over this store's limit of {limit} bytes")
        self.size = size
        self.limit = limit
