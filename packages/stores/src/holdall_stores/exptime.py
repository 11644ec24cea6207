"""`exptime`: a time of expiry as memcached is told it, for every store that speaks to one. Knows no client."""

import math

# https://github.com/memcached/memcached/blob/master/doc/protocol.txt, "Expiration times": more than 30 days is taken as
# an absolute time.
_LONGEST_RELATIVE = 30 * 24 * 3600
# It is read into a signed 32-bit number: what is larger has been kept for ever (2**32) or not at all (10**12).
_LATEST_ABSOLUTE = 2**31 - 1
_LONG_AGO = _LONGEST_RELATIVE + 1


def exptime(expires: int, now: float) -> int:
    """Return an expiry in memcached's terms: relative where it can be, so that its clock is no matter.

    Both are in seconds UTC since 1970.
    """
    if expires <= now:
        return _LONG_AGO  # gone at once; the condition of an add or cas is checked all the same
    # memcached counts whole ticks of its own and may forget almost a second early: one more keeps it from that.
    seconds = math.ceil(expires - now) + 1
    if seconds > _LONGEST_RELATIVE and expires <= _LATEST_ABSOLUTE:
        return expires
    return min(seconds, _LONGEST_RELATIVE)  # after 2038 it can say no more; a cache may forget sooner
