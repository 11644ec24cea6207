"""The demo's page, over a real socket: what it shows, what its forms do, what it refuses."""

import http.client
import re
import threading
import time
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path

import pytest
from holdall import generate_key

from examples.demo import page
from examples.demo.command import serve
from examples.demo.page import Labels
from examples.demo.serving import HOST, Servers, listen, serving
from examples.demo.tour import Visitor
from examples.demo.views import PAGES
from examples.demo.watch import INLINE, REFERENCE, Log, read_set_cookie, session_cookies


@pytest.fixture
def servers(tmp_path: Path) -> Servers:
    """What stands in for servers: memory, and SQLite."""
    return Servers("memory://", f"sqlite:///{tmp_path / 'demo.sqlite3'}", Labels("some memory", "a <file>"))


@pytest.fixture
def visitor(servers: Servers) -> Iterator[Visitor]:
    """A visitor of a running demo."""
    visitor = Visitor()
    with serving(servers, generate_key(), Log(), time.time) as port:
        visitor.port = port
        yield visitor


def fetch(visitor: Visitor, method: str, path: str, body: str | None = None) -> http.client.HTTPResponse:
    """Send any request without cookies; the response has been read."""
    connection = http.client.HTTPConnection(HOST, visitor.port, timeout=10)
    try:
        connection.request(method, path, body)
        response = connection.getresponse()
        response.read()
    finally:
        connection.close()
    return response


class Outline(HTMLParser):
    """The elements of a page, in order, and whether all of them are closed."""

    void = frozenset({"meta", "link", "br", "input"})

    def __init__(self, markup: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.feed(markup)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in self.void:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def all(self, tag: str) -> list[dict[str, str | None]]:
        """The attributes of all elements of a kind."""
        return [attributes for name, attributes in self.elements if name == tag]


def test_first_visit(visitor: Visitor) -> None:
    """The first visit shows that there is no session, and starts none."""
    assert "There is no session." in visitor.look()
    assert visitor.cookies == {}


def test_small_things_ride_in_the_cookie(visitor: Visitor) -> None:
    """An apple rides in the cookie: it is lit up, the page says so, and no store is asked."""
    visitor.press("put", name="an apple", pieces="3")
    shown = visitor.follow(200)
    assert list(visitor.cookies) == [INLINE]
    assert "an apple" in shown
    assert 'class="tier cookie lit" aria-current="true"' in shown
    assert "A session began." in shown
    assert "Put durable" not in shown


def test_big_things_go_to_the_stores(visitor: Visitor) -> None:
    """With a parcel both stores are lit up, and the commands are shown in their order."""
    visitor.press("pack", kilobytes="20")
    shown = visitor.follow(200)
    assert list(visitor.cookies) == [REFERENCE]
    assert 'class="tier cache lit"' in shown
    assert 'class="tier durable lit"' in shown
    assert re.search(r"Put durable 20\.\d&nbsp;KB.*Put cache 20\.\d&nbsp;KB", shown, re.DOTALL)


Press = tuple[str, dict[str, str]]
PUT: Press = ("put", {"name": "apple", "pieces": "1"})
PACK: Press = ("pack", {"kilobytes": "20"})


@pytest.mark.parametrize(
    ("presses", "news"),
    [
        ([PUT, PUT], "Still small."),
        ([PACK, PUT], "It was written."),
        ([PUT, ("unpack", {})], "Nothing changed."),
        ([PACK, ("quick", {})], "A quick write."),
        ([PACK, ("flush", {})], "The cache lost everything."),
        ([PUT, PACK], "It moved to the stores."),
        ([PACK, ("sign-out", {})], "It ended."),
        ([PUT, ("expire", {})], "It has a new id."),
        ([PACK, ("expire", {})], "It is too big for the cookie"),
        ([PACK, ("unpack", {}), ("expire", {})], "It came back to the cookie."),
        ([("copy", {})], "There was nothing to copy."),
        ([PUT, ("copy", {}), ("replay", {})], "The copy opened the session."),
        ([PACK, ("copy", {}), ("sign-out", {}), ("replay", {})], "The copy opened nothing."),
    ],
)
def test_news(visitor: Visitor, presses: list[Press], news: str) -> None:
    """After every action the page says in words what became of the session."""
    for action, form in presses:
        visitor.press(action, 303, **form)
    assert news in visitor.follow(200)


def test_looking_again(visitor: Visitor) -> None:
    """A page view that follows no action says that nothing but looking was done."""
    visitor.press("put", name="apple", pieces="1")
    assert "You only looked." in visitor.look()


def test_taking_one_thing_out(visitor: Visitor) -> None:
    """The button beside a thing takes that one out, and leaves the others."""
    visitor.press("put", name="apple", pieces="1")
    visitor.press("put", name="pear", pieces="1")
    visitor.press("drop", key="thing apple")
    shown = visitor.look("/basket")
    assert "Take out apple" not in shown
    assert "Take out pear" in shown


@pytest.mark.parametrize(
    ("action", "form", "status"),
    [
        ("put", {"name": " ", "pieces": "1"}, 400),
        ("put", {"name": "apple", "pieces": "-1"}, 400),
        ("pack", {"kilobytes": "99999"}, 400),
        ("revoke", {}, 403),
        ("end", {"session": "0" * 16}, 403),
        ("explode", {}, 400),
    ],
)
def test_what_makes_no_sense(visitor: Visitor, action: str, form: dict[str, str], status: int) -> None:
    """A form that makes no sense, or that nobody may send now, is refused and changes nothing."""
    visitor.press(action, status, **form)
    assert visitor.cookies == {}


def test_a_basket_that_is_too_heavy(visitor: Visitor) -> None:
    """What would weigh more than the stores may take is refused before anything is written."""
    visitor.press("pack", kilobytes="15000")
    visitor.press("pack", 413, kilobytes="1")
    assert "parcel 2" not in visitor.look("/basket")


def test_forged_forms(visitor: Visitor) -> None:
    """A form without the session's token is refused, and so is one from another site."""
    visitor.press("put", name="apple", pieces="1")
    visitor.post({"action": "sign-out", "csrf": "guessed"}, 403)
    connection = http.client.HTTPConnection(HOST, visitor.port, timeout=60)
    connection.request("POST", "/do", "action=put&name=pear&pieces=1", {"Origin": "http://elsewhere.example"})
    assert connection.getresponse().status == 403
    connection.close()
    assert "apple" in visitor.look("/basket")


@pytest.mark.parametrize(
    "query", ["", "code=guessed", "state=guessed&code=guessed", "state=%C3%A9&error=access_denied"]
)
def test_forged_sign_ins(visitor: Visitor, query: str) -> None:
    """Whoever comes back with anything but what was begun in this browser is not signed in."""
    visitor.press("sign-in")
    visitor.location = f"/signed-in?{query}"
    visitor.follow(400)
    assert "Not signed in" in visitor.look()


def test_a_sign_in_counts_once(visitor: Visitor) -> None:
    """The address that signed somebody in signs nobody in when it is opened again, here or elsewhere."""
    visitor.press("sign-in")
    visitor.choose("ada")
    address = visitor.location
    visitor.follow()
    visitor.location = address
    visitor.follow(400)
    stranger = Visitor()
    stranger.port, stranger.location = visitor.port, address
    stranger.follow(400)
    assert "Not signed in" in stranger.look()


def test_values_are_escaped(visitor: Visitor) -> None:
    """Whatever a value says, it is text on the page and never markup."""
    visitor.press("put", name="</td><script>alert(1)</script>\"'&$title", pieces="1")
    for path in PAGES:
        shown = visitor.look(path)
        assert len(Outline(shown).all("script")) == 1  # the page's own
        assert "<script>alert" not in shown
    assert "&lt;/td&gt;&lt;script&gt;alert(1)&lt;/script&gt;&#34;&#39;&amp;$title" in visitor.look("/basket")
    assert "a &lt;file&gt;" in visitor.look()


def test_page_is_sound(visitor: Visitor) -> None:
    """Every element is closed, every field has a label, no id is used twice, and nothing is fetched from elsewhere."""
    visitor.press("pack", kilobytes="20")
    for path in PAGES:
        outline = Outline(visitor.look(path))
        assert outline.open == []
        ids = [attributes["id"] for _, attributes in outline.elements if "id" in attributes]
        assert len(ids) == len(set(ids))
        labelled = {attributes["for"] for attributes in outline.all("label")}
        assert {field["id"] for field in outline.all("input") if field.get("type") != "hidden"} <= labelled
        referred = {attributes["aria-labelledby"] for attributes in outline.all("section")}
        assert referred <= set(ids)
        assert {form["method"] for form in outline.all("form")} == {"post"}
        fetched = [link["href"] for link in outline.all("link")] + [script["src"] for script in outline.all("script")]
        assert all(address is not None and address.startswith(("/demo.", "data:")) for address in fetched)


def luminance(colour: str) -> float:
    """The relative luminance of `#rrggbb` (WCAG 2.2, "relative luminance")."""
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


@pytest.mark.parametrize("scheme", [0, 1], ids=["light", "dark"])
def test_contrast(scheme: int) -> None:
    """In both colour schemes every text stands out from what is behind it by at least 4.5 to 1 (WCAG 2.2, 1.4.3)."""
    css = (Path(page.__file__).parent / "demo.css").read_text(encoding="utf-8")
    blocks = re.findall(r":root \{(.*?)\}", css, re.DOTALL)
    colours = dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6});", blocks[scheme]))
    pairs = [(text, behind) for text in ("ink", "soft") for behind in ("paper", "card")]
    for tone in ("cookie", "cache", "durable"):
        tint = f"{tone}-tint"
        pairs += [(tone, tint), (tone, "card"), (tone, "paper"), ("card", tone), ("ink", tint), ("soft", tint)]
    pairs += [("on-press", "press")]
    for text, behind in pairs:
        low, high = sorted((luminance(colours[text]), luminance(colours[behind])))
        assert (high + 0.05) / (low + 0.05) >= 4.5, f"{text} on {behind}"


def test_forms_lead_back_to_the_page(visitor: Visitor) -> None:
    """A form is answered by 303 to the page that it is on, so that reloading does not send it again."""
    visitor.press("put", name="apple", pieces="1", page="/basket")
    assert visitor.location.startswith("/basket?after=")
    visitor.press("put", name="apple", pieces="1", page="http://elsewhere.example/")
    assert visitor.location.startswith("/?after=")


def test_looking_changes_nothing(visitor: Visitor) -> None:
    """An action in the address of a GET does nothing: whatever changes something is a POST."""
    response = fetch(visitor, "GET", "/?action=put&name=apple&pieces=1")
    assert response.status == 200
    assert response.headers["Set-Cookie"] is None


def test_assets_leave_the_session_alone(visitor: Visitor) -> None:
    """Stylesheet and script come without Vary: they pass through the session middleware untouched."""
    for path, kind in (("/demo.css", "text/css"), ("/demo.js", "text/javascript")):
        response = fetch(visitor, "GET", path)
        assert response.status == 200
        assert response.headers["Content-Type"] == f"{kind}; charset=utf-8"
        assert response.headers["Vary"] is None


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("GET", "/nowhere", None, 404),
        ("GET", "/../command.py", None, 404),
        ("DELETE", "/", None, 405),
        ("POST", "/demo.css", "", 405),
        ("POST", "/", "", 405),
        ("POST", "/do", "action=put&name=apple&pieces=1", 403),
        ("POST", "/do", "", 400),
    ],
)
def test_what_is_refused(visitor: Visitor, method: str, path: str, body: str | None, status: int) -> None:
    """What makes no sense is refused, and starts no session."""
    response = fetch(visitor, method, path, body)
    assert response.status == status
    assert response.headers["Set-Cookie"] is None


def test_only_the_sessions_cookies_are_weighed() -> None:
    """Other cookies of the browser's are none of the demo's business."""
    assert session_cookies(f"a=1; {INLINE}=x=y;{REFERENCE}=z; {INLINE}2=no") == {INLINE: "x=y", REFERENCE: "z"}
    assert read_set_cookie(f"{INLINE}=; Path=/; Max-Age=0; Secure").deleted


def test_a_taken_port_is_an_error_only_if_it_was_asked_for(servers: Servers) -> None:
    """`--port` with a port that is taken ends with a message that names it."""
    with listen(0) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(SystemExit, match=f"port {port} cannot be used"):
            serve(servers, port)
        with listen(port, 0) as other:
            assert other.getsockname()[1] != port


def test_serving_leaves_no_thread_behind(servers: Servers) -> None:
    """After the demo no thread of its own is running."""
    before = threading.active_count()
    with serving(servers, generate_key(), Log(), time.time):
        pass
    assert threading.active_count() == before
