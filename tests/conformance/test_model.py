"""The model notices what no single duty is about."""

from typing import Any

import pytest
from holdall_conformance import Request, Response
from holdall_conformance.model import check_against_model

from tests.conformance.broken_adapters import Sound


class LosesUsers(Sound):
    """Sees no cookie in every seventh request."""

    def send(self, built: Any, request: Request) -> Response:
        """Lose it, by the number of the page: the same with every run."""
        lost = int(request.path.rpartition("-")[2]) % 7 == 0
        return super().send(built, Request(request.path, () if lost else request.cookies, request.host))


def test_lost_sessions_are_found() -> None:
    """A session that is not there now and then is found, and told in words."""
    with pytest.raises(AssertionError, match=r"LosesUsers: browser . found"):
        check_against_model(LosesUsers())
