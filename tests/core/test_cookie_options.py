"""What `holdall.cookie_options` promises: strict defaults, and no contradiction that browsers would punish silently."""

import dataclasses
from typing import Any

import pytest
from holdall.cookie_options import CookieOptions
from holdall.errors import UsageError
from hypothesis import given
from hypothesis import strategies as st


@pytest.mark.requirement(20)
def test_defaults_are_strict() -> None:
    """By default the cookie is host-bound, Secure, HttpOnly, SameSite=Lax and for the whole host."""
    options = CookieOptions()
    assert dataclasses.astuple(options) == (None, True, True, "Lax", "/", None, False)
    assert options.effective_name == "__Host-session"


def test_frozen() -> None:
    """Options cannot be changed after they were checked."""
    with pytest.raises(dataclasses.FrozenInstanceError):
        CookieOptions().secure = False  # type: ignore[misc]


@pytest.mark.parametrize(
    ("options", "name"),
    [
        ({}, "__Host-session"),
        ({"same_site": "None"}, "__Host-session"),
        ({"same_site": None, "http_only": False, "partitioned": True}, "__Host-session"),
        ({"secure": False}, "session"),
        ({"path": "/app"}, "session"),
        ({"domain": "example.com"}, "session"),
        ({"name": "sid", "secure": False}, "sid"),
        ({"name": "__Secure-sid", "domain": "example.com", "path": "/app"}, "__Secure-sid"),
        ({"name": "__Host-sid"}, "__Host-sid"),
    ],
)
def test_effective_name(options: dict[str, Any], name: str) -> None:
    """Without a name the cookie has the __Host- prefix where browsers accept it, else a plain name."""
    assert name == CookieOptions(**options).effective_name


@pytest.mark.requirement(20)
@pytest.mark.parametrize(
    ("options", "setting", "remedy"),
    [
        ({"name": "__Host-s", "domain": "example.com"}, "name='__Host-s'", "domain=None"),
        ({"name": "__Host-s", "path": "/app"}, "name='__Host-s'", 'path="/"'),
        ({"name": "__Host-s", "secure": False}, "name='__Host-s'", "secure=True"),
        ({"name": "__hOST-s", "secure": False}, "name='__hOST-s'", "secure=True"),
        ({"name": "__Secure-s", "secure": False}, "name='__Secure-s'", "secure=True"),
        ({"name": "__secure-s", "secure": False}, "name='__secure-s'", "secure=True"),
        ({"same_site": "None", "secure": False}, 'same_site="None"', "secure=True"),
        ({"partitioned": True, "secure": False}, "partitioned=True", "secure=True"),
        ({"same_site": "lax"}, "same_site='lax'", '"Lax"'),
        ({"same_site": False}, "same_site=False", '"Lax"'),
        ({"secure": 1}, "secure=1", "True or False"),
        ({"http_only": None}, "http_only=None", "True or False"),
        ({"partitioned": "yes"}, "partitioned='yes'", "True or False"),
        ({"name": ""}, "name=''", "A-Z"),
        ({"name": "x" * 257}, "name='xxx", "256"),
        ({"name": b"session"}, "name=b'session'", "A-Z"),
        ({"path": ""}, "path=''", 'begin with "/"'),
        ({"path": "app"}, "path='app'", 'begin with "/"'),
        ({"path": None}, "path=None", 'begin with "/"'),
        ({"path": "/" + "x" * 1024}, "path='/xxx", "path"),
        ({"domain": ""}, "domain=''", "host name"),
        ({"domain": "https://example.com"}, "domain='https:", "without scheme"),
        ({"domain": "example.com:8000"}, "domain='example.com:8000'", "port"),
        ({"domain": "bücher.example"}, "domain='bücher.example'", "punycode"),
        ({"domain": "example..com"}, "domain='example..com'", "host name"),
        ({"domain": "-example.com"}, "domain='-example.com'", "host name"),
        ({"domain": "example.com/"}, "domain='example.com/'", "host name"),
        ({"domain": ".".join(["x" * 63] * 4)}, "domain='xxx", "host name"),
        ({"domain": "x" * 64 + ".com"}, "domain='xxx", "host name"),
    ],
)
def test_refused(options: dict[str, Any], setting: str, remedy: str) -> None:
    """What browsers would refuse is refused at construction, by a message that names the setting and the remedy."""
    with pytest.raises(UsageError) as caught:
        CookieOptions(**options)
    assert setting in str(caught.value)
    assert remedy in str(caught.value)


@pytest.mark.requirement(20)
@given(st.sampled_from(["name", "domain", "path"]), st.data())
def test_nothing_breaks_out_of_the_header(option: str, data: st.DataObject) -> None:
    """No name, domain or path can hold a separator, a space, a control character or anything but ASCII."""
    junk = data.draw(
        st.one_of(
            st.sampled_from([*"\r\n;, \t\0\x7f\x1f\x85\xa0\u2028", "\r\nSet-Cookie: a=b"]),
            st.characters(min_codepoint=128),
            st.characters(max_codepoint=32),
        )
    )
    good = {"name": "session", "domain": "example.com", "path": "/app"}[option]
    at = data.draw(st.integers(0, len(good)))
    values: dict[str, Any] = {option: good[:at] + junk + good[at:]}
    with pytest.raises(UsageError, match=option):
        CookieOptions(**values)


@pytest.mark.parametrize("name", ["session", "a", "!#$%&'*+-.^_`|~09AZaz", "x" * 256])
def test_names(name: str) -> None:
    """Any token is a name."""
    assert name == CookieOptions(name).effective_name


@pytest.mark.parametrize(
    "domain", ["example.com", ".example.com", "a.b-c.example", "localhost", "xn--bcher-kva.example"]
)
def test_domains(domain: str) -> None:
    """Host names are domains, also with the leading dot that browsers ignore."""
    assert domain == CookieOptions(domain=domain).domain
