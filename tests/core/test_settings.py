"""Settings refuse nonsense with a sentence that names the setting."""

from datetime import timedelta
from typing import Any

import pytest
from holdall import CookieOptions, SessionManager, UsageError

from tests.core.support import KEY


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("lifetime", 3600),
        ("lifetime", timedelta(0)),
        ("lifetime", timedelta(days=-1)),
        ("lifetime", timedelta(days=40_000)),
        ("idle_timeout", 60),
        ("idle_timeout", timedelta(seconds=1)),
        ("idle_timeout", timedelta(days=8)),
        ("cookie_only_threshold", -1),
        ("cookie_only_threshold", "3800"),
        ("cookie_only_threshold", True),
        ("audience", ""),
        ("audience", None),
        ("no_datastore", 1),
        ("save_on_error", None),
        ("cache_trust", 60),
        ("cache_trust", timedelta(seconds=-1)),
        ("store_budget", 2),
        ("store_budget", timedelta(0)),
        ("cookie", {"secure": False}),
    ],
)
def test_nonsense_is_refused_by_name(name: str, value: Any) -> None:
    """A setting that cannot work raises a ValueError that names it."""
    with pytest.raises(UsageError, match=name) as caught:
        SessionManager(KEY, **{name: value})
    assert isinstance(caught.value, ValueError)


@pytest.mark.parametrize("key", [None, "", b"", [], "short", b"x" * 31, ["x" * 31], "x" * 64, 5])
def test_bad_keys_are_refused(key: Any) -> None:
    """A key is required, of at least 32 bytes, and no placeholder."""
    with pytest.raises(UsageError):
        SessionManager(key)


def test_key_is_required_even_if_no_data_rides_in_the_cookie() -> None:
    """cookie_only_threshold=0 needs a key all the same."""
    with pytest.raises(UsageError):
        SessionManager("short", cookie_only_threshold=0)


def test_default_threshold_leaves_one_cookie() -> None:
    """A cookie path that leaves no room for the default threshold in one cookie is refused with the number to set."""
    with pytest.raises(UsageError, match="cookie_only_threshold"):
        SessionManager(KEY, cookie=CookieOptions(path="/" + "p" * 300))


def test_repr_shows_no_key() -> None:
    """A manager's repr shows settings and no secret."""
    assert KEY not in repr(SessionManager(KEY))
