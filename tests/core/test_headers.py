"""What `holdall.headers` promises: merged, never weaker than the application asked for, and nothing mutated."""

import pytest
from holdall.headers import Headers, with_cache_control, with_session_headers, with_vary_cookie, without_cookies
from hypothesis import given
from hypothesis import strategies as st

OURS: Headers = [("Set-Cookie", "__Host-session=abc; Path=/"), ("Set-Cookie", "__Host-session.1=; Max-Age=0")]
VARY = ("Vary", "Cookie")
CACHE_CONTROL = ("Cache-Control", 'private, no-cache="Set-Cookie"')

headers = st.lists(
    st.tuples(
        st.sampled_from(
            ["Content-Type", "vary", "Vary", "VARY", "cache-control", "Cache-Control", "Set-Cookie", "set-cookie"]
        ),
        st.one_of(
            st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=20),
            st.lists(
                st.sampled_from(
                    [
                        *(
                            "public",
                            "private",
                            "no-cache",
                            "no-store",
                            "max-age=60",
                            "s-maxage=5",
                            'no-cache="X-A, X-B"',
                        ),
                        *('private="X-A"', "*", "Cookie", "Accept", "a=b; Path=/", "__Host-session=x", ""),
                    ]
                )
            ).map(", ".join),
        ),
    )
)


def values(headers: Headers, name: str) -> list[str]:
    return [value for field, value in headers if field.lower() == name]


@pytest.mark.requirement(23)
class TestVary:
    @pytest.mark.parametrize(
        ("before", "after"),
        [
            ([], [VARY]),
            ([("Content-Type", "text/plain")], [("Content-Type", "text/plain"), VARY]),
            ([("Vary", "Accept")], [("Vary", "Accept, Cookie")]),
            ([("vary", "Accept-Encoding , Origin")], [("vary", "Accept-Encoding , Origin, Cookie")]),
            ([("VARY", "cookie")], [("VARY", "cookie")]),
            ([("Vary", "Accept, COOKIE")], [("Vary", "Accept, COOKIE")]),
            ([("Vary", "*")], [("Vary", "*")]),
            ([("Vary", "Accept, *")], [("Vary", "Accept, *")]),
            ([("Vary", "")], [("Vary", "Cookie")]),
            ([("Vary", "Accept,")], [("Vary", "Accept, Cookie")]),
            ([("Vary", "Set-Cookie")], [("Vary", "Set-Cookie, Cookie")]),
            (
                [("Vary", "Accept"), ("A", "b"), ("Vary", "Origin")],
                [("Vary", "Accept"), ("A", "b"), ("Vary", "Origin, Cookie")],
            ),
            ([("Vary", "Cookie"), ("Vary", "Origin")], [("Vary", "Cookie"), ("Vary", "Origin")]),
            ([("Vary", "Accept"), ("Vary", "*")], [("Vary", "Accept"), ("Vary", "*")]),
        ],
    )
    def test_merge(self, before: Headers, after: Headers) -> None:
        """Cookie is added once to what is there, in any case and over several headers, never to "*"."""
        assert after == with_vary_cookie(before)


class TestCacheControl:
    @pytest.mark.parametrize(
        ("before", "after"),
        [
            ([], [CACHE_CONTROL[1]]),
            (["no-store"], ["no-store"]),
            (["public, no-store"], ["public, no-store"]),
            (["private"], ["private"]),
            (["PRIVATE, max-age=60"], ["PRIVATE, max-age=60"]),
            (["no-cache"], ["no-cache"]),
            (["No-Cache, must-revalidate"], ["No-Cache, must-revalidate"]),
            (["public"], ['private, no-cache="Set-Cookie"']),
            (["public, max-age=60"], ['max-age=60, private, no-cache="Set-Cookie"']),
            (["max-age=60"], ['max-age=60, private, no-cache="Set-Cookie"']),
            (["s-maxage=60, max-age=5"], ['max-age=5, private, no-cache="Set-Cookie"']),
            (["Public, S-MaxAge = 60"], ['private, no-cache="Set-Cookie"']),
            (["public, private"], ["private"]),
            (["no-cache, s-maxage=60"], ["no-cache"]),
            (['private="X-A, X-B", max-age=5'], ['max-age=5, private, no-cache="Set-Cookie"']),
            (['no-cache="X-A, private"'], ['private, no-cache="X-A, private, Set-Cookie"']),
            (['ext="no-store, private"'], ['ext="no-store, private", private, no-cache="Set-Cookie"']),
            (['ext="a\\", no-store"'], ['ext="a\\", no-store", private, no-cache="Set-Cookie"']),
            (["max-age=60", "public"], ['max-age=60, private, no-cache="Set-Cookie"']),
            (["max-age=60", "private"], ["max-age=60", "private"]),
            ([""], ['private, no-cache="Set-Cookie"']),
            ([", ,"], ['private, no-cache="Set-Cookie"']),
        ],
    )
    def test_merge(self, before: list[str], after: list[str]) -> None:
        """What is stricter stays, what is looser is merged, and quoted arguments are arguments."""
        assert after == values(with_cache_control([("cache-control", value) for value in before]), "cache-control")

    def test_place(self) -> None:
        """A merged header keeps the name and the place of the first."""
        before = [("A", "b"), ("cache-control", "public"), ("C", "d"), ("Cache-Control", "max-age=1")]
        after = [("A", "b"), ("cache-control", 'max-age=1, private, no-cache="Set-Cookie"'), ("C", "d")]
        assert after == with_cache_control(before)


class TestCookies:
    @pytest.mark.parametrize(
        "value", ["session=x", "session=", " session = x; Path=/", "session\t=x", "session=a=b", 'session="x"; Secure']
    )
    def test_removed(self, value: str) -> None:
        """An application's Set-Cookie under exactly our name, as browsers read it, is removed."""
        assert without_cookies([("set-cookie", value)], {"session"}) == []

    @pytest.mark.parametrize(
        "value",
        [
            "Session=x",
            "session.1=x",
            "session-ref=x",
            "x=session=y",
            "session",
            "x; session=y",
            "",
            "=session",
            '"session"=x',
        ],
    )
    def test_kept(self, value: str) -> None:
        """Any other cookie of the application survives."""
        assert [("Set-Cookie", value)] == without_cookies([("Set-Cookie", value)], {"session"})

    def test_only_set_cookie(self) -> None:
        """Other headers are not looked into."""
        assert without_cookies([("X-Cookie", "session=x")], {"session"}) == [("X-Cookie", "session=x")]


@pytest.mark.requirement(22)
class TestSession:
    def test_plain_response(self) -> None:
        """A response without headers of this kind gets all of ours at its end."""
        before = [("Content-Type", "text/plain")]
        assert [*before, VARY, CACHE_CONTROL, *OURS] == with_session_headers(before, OURS)

    def test_application_cookies_survive(self) -> None:
        """The application's own cookies stay in order, but not under a name that is set by us."""
        own = [("Set-Cookie", "a=1"), ("set-cookie", "__Host-session=2"), ("Set-Cookie", "b=3")]
        assert ["a=1", "b=3", *(value for _, value in OURS)] == values(with_session_headers(own, OURS), "set-cookie")

    @given(headers)
    def test_manners(self, before: Headers) -> None:
        """Whatever the application sends: Vary says Cookie, no shared cache keeps it, our cookies are set once."""
        copy = before.copy()
        after = with_session_headers(before, OURS)
        assert copy == before
        assert after is not before
        assert after[-2:] == OURS
        names = [value.partition(";")[0].partition("=")[0].strip(" \t") for value in values(after, "set-cookie")]
        assert names.count("__Host-session") == 1
        members = [member.strip(" \t").lower() for value in values(after, "vary") for member in value.split(",")]
        assert members.count("cookie") or members.count("*")
        assert any(word in value.lower() for value in values(after, "cache-control") for word in ("private", "no-"))
        assert [value for name, value in before if name == "Content-Type"] == values(after, "content-type")

    @given(headers)
    def test_idempotent(self, before: Headers) -> None:
        """What has been merged is not merged again."""
        for merge in (with_vary_cookie, with_cache_control):
            once = merge(before)
            assert once is not before
            assert once == merge(once)
