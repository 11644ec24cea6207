"""The demo in a real browser: the story in every framework, and in one of them every page at every width and scheme.

The pictures of the documentation are made here too: `hatch run screenshots` rewrites them.
"""

import os
import re
import shutil
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, expect, sync_playwright

from examples.demo.page import Labels, in_bytes
from examples.demo.serving import FRAMEWORKS, HOST, Servers
from examples.demo.views import PAGES
from examples.demo.watch import Log, Place
from tests.demo.support import running

CHROMIUM = shutil.which("chromium")
PATIENCE = 60_000  # milliseconds
DOCS = Path(__file__).parents[2] / "docs"

if CHROMIUM is None and not os.environ.get("CI"):
    pytest.skip("no chromium: apt-get install chromium", allow_module_level=True)

expect.set_options(timeout=PATIENCE)


class Running:
    """A demo that is being served, and a browser to look at it."""

    def __init__(self, browser: Browser, port: int, log: Log) -> None:
        self.browser = browser
        self.address = f"http://{HOST}:{port}"
        self.log = log

    def open(self, *, narrow: bool = False, dark: bool = False) -> Page:
        """Open a window that has no cookies yet."""
        context = self.browser.new_context(
            viewport={"width": 360, "height": 740} if narrow else {"width": 1280, "height": 900},
            color_scheme="dark" if dark else "light",
            base_url=self.address,
        )
        context.set_default_timeout(PATIENCE)
        page = context.new_page()
        page.goto("/")
        return page


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """One Chromium for all, the one that is installed."""
    assert CHROMIUM, "no chromium: apt-get install chromium"
    with sync_playwright() as playwright:
        arguments = ["--no-sandbox", "--disable-dev-shm-usage", "--no-proxy-server"]
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=arguments, timeout=PATIENCE)
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def demos(browser: Browser, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Running]]:
    """The demo in every framework."""
    with ExitStack() as stack:
        demos = {}
        for framework, name in FRAMEWORKS.items():
            durable = f"sqlite:///{tmp_path_factory.mktemp(framework) / 'demo.sqlite3'}"
            labels = Labels("the memory of this process", "SQLite, in a temporary folder", name)
            log = Log()
            servers = Servers("memory://", durable, labels, framework)
            port = stack.enter_context(running(servers, log, time.time))
            demos[framework] = Running(browser, port, log)
        yield demos


def go(page: Page, name: str) -> None:
    """Go to a page by the navigation."""
    page.get_by_role("navigation").get_by_role("link", name=name, exact=True).click()
    expect(page.get_by_role("link", name=name, exact=True).first).to_have_attribute("aria-current", "page")


def press(page: Page, name: str) -> None:
    """Press a button, by how its words begin."""
    page.get_by_role("button", name=re.compile("^" + re.escape(name))).first.click()


def says(page: Page, words: str) -> None:
    """Wait until the page says what happened."""
    expect(page.get_by_role("status")).to_contain_text(words)


def put(page: Page, what: str) -> None:
    """Put something into the basket."""
    go(page, "Basket")
    page.get_by_label("What", exact=True).fill(what)
    page.get_by_role("button", name="Put in").first.click()


def pack(page: Page, kilobytes: int) -> None:
    """Put a parcel into the basket."""
    go(page, "Basket")
    page.get_by_label("Its weight in KB").fill(str(kilobytes))
    page.get_by_role("button", name="Put in").last.click()


def sign_in(page: Page, person: str) -> None:
    """Sign in at the provider, and come back."""
    press(page, "Sign in")
    press(page, person)
    expect(page.get_by_text(f"Signed in as {person}")).to_be_visible()


def check_numbers(page: Page, log: Log) -> None:
    """Compare what the page of all requests tells with what the receipts say."""
    go(page, "Requests")
    shown = page.locator(".full > li").evaluate_all(
        """rows => rows.map(row => [row.dataset.request, Object.fromEntries(
            [...row.querySelectorAll("[data-fact]")].map(fact => [fact.dataset.fact, fact.textContent]))])"""
    )
    assert len(shown) > 3
    compared = 0
    for number, facts in shown[:-1]:  # the page itself, once it was made, may have taken the place of the oldest
        trace = log.find(int(number))
        assert trace is not None
        assert facts["presented"] == f"{trace.presented_bytes:,} bytes"
        assert facts["set"] == f"{trace.set_bytes:,} bytes"
        if trace.receipt is not None:
            assert facts["tier"] == (trace.receipt.tier.value if trace.receipt.tier else "none")
            assert facts["cookie_bytes"] == f"{trace.receipt.cookie_bytes:,}"
            compared += 1
    assert compared


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_story(demos: dict[str, Running], framework: str) -> None:
    """A session begins, moves, is signed in, survives what breaks, and ends; each number is its receipt's."""
    demo = demos[framework]
    page = demo.open()
    expect(page.get_by_text(f"here in {FRAMEWORKS[framework]}")).to_be_visible()
    says(page, "There is no session.")
    put(page, "apple")
    says(page, "A session began.")
    go(page, "Break things")
    press(page, "Race two tabs")
    says(page, "One tab lost.")
    pack(page, 1_500)
    says(page, "It moved to the stores.")
    go(page, "Break things")
    press(page, "Race two tabs")
    says(page, "Both tabs won.")
    press(page, "Flush the cache")
    says(page, "The cache lost everything.")
    press(page, "Copy the cookie")
    says(page, "The cookie is copied.")
    press(page, "Stop the durable store")
    says(page, "The durable store is stopped.")
    put(page, "pear")
    says(page, "503, try again later.")
    press(page, "Start the durable store again")
    sign_in(page, "Ada Lovelace")
    go(page, "Break things")
    press(page, "Replay the copy")
    says(page, "The copy opened nothing.")
    other = demo.open()
    sign_in(other, "Ada Lovelace")
    for button, told in (("End Chrom", " ended."), ("End all other sessions", "All others ended.")):
        expect(other.locator(".mine tbody tr")).to_have_count(2)
        press(other, button)
        says(other, told)
        expect(other.locator(".mine tbody tr")).to_have_count(1)
        page.goto("/")
        says(page, "Your cookie opens nothing any more.")
        expect(page.get_by_text("Not signed in")).to_be_visible()
        sign_in(page, "Ada Lovelace")
        other.reload()
    check_numbers(other, demo.log)
    press(other, "Sign out")
    expect(other.get_by_text("Not signed in")).to_be_visible()
    page.context.close()
    other.context.close()


def test_weight_on_the_page(demos: dict[str, Running]) -> None:
    """The weight of the cookie on the page is what the browser really keeps, to the byte."""
    demo = demos["wsgi"]
    page = demo.open()
    put(page, "pear")
    says(page, "A session began.")
    go(page, "Session")
    kept = sum(len(cookie["name"]) + 1 + len(cookie["value"]) for cookie in page.context.cookies())
    assert demo.log.latest()[0].place is Place.COOKIE
    expect(page.locator("[data-fact=weight]")).to_contain_text(in_bytes(kept).replace(" ", "\u00a0"))
    page.context.close()


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("narrow", [False, True], ids=["wide", "narrow"])
def test_every_page_is_accessible(demos: dict[str, Running], *, narrow: bool, dark: bool) -> None:
    """In wide and narrow windows, light and dark, axe-core finds nothing on any page, and none scrolls sideways."""
    page = demos["wsgi"].open(narrow=narrow, dark=dark)
    put(page, "a very long name of something that one may carry with oneself")
    pack(page, 20)
    press(page, "Sign in")
    check_page(page)  # the provider
    press(page, "Grace Hopper")
    for path in PAGES:
        page.goto(path)
        check_page(page)
    page.goto("/nowhere")
    check_page(page)
    page.context.close()


def check_page(page: Page) -> None:
    """Check the page as it is."""
    expect(page.get_by_role("heading", level=1)).to_be_visible()
    found = Axe().run(page)
    assert found.violations_count == 0, found.generate_report()
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), page.url


def test_by_keyboard_alone(demos: dict[str, Running]) -> None:
    """Everything is reached with Tab, in an order that makes sense, shows where the focus is, and works with Enter."""
    page = demos["wsgi"].open()
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Skip to the content")).to_be_focused()
    page.keyboard.press("Tab")
    expect(page.get_by_role("button", name="Sign in")).to_be_focused()
    page.keyboard.press("Tab")
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Basket").first).to_be_focused()
    assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name="Your basket")).to_be_visible()
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    expect(page.locator("main")).to_be_focused()
    page.keyboard.press("Tab")
    expect(page.get_by_label("What", exact=True)).to_be_focused()
    page.keyboard.type("pear")
    page.keyboard.press("Enter")
    says(page, "A session began.")
    for name, heading in (("Sign in", "Who are you?"), ("Grace", "My sessions"), ("Break things", "Break things")):
        tab_to(page, name)
        page.keyboard.press("Enter")
        expect(page.get_by_role("heading", level=1)).to_have_text(heading)
    tab_to(page, "Copy the cookie")
    page.keyboard.press("Space")
    says(page, "The cookie is copied.")
    tab_to(page, "Sign out")
    page.keyboard.press("Enter")
    expect(page.get_by_text("Not signed in")).to_be_visible()
    page.context.close()


def tab_to(page: Page, name: str) -> None:
    """Press Tab until an element whose words begin so has the focus, which is seen wherever it is on the way."""
    for _ in range(60):
        page.keyboard.press("Tab")
        words, outline = page.evaluate(
            "[document.activeElement.textContent.trim(), getComputedStyle(document.activeElement).outlineStyle]"
        )
        assert outline != "none", f"nobody sees that {words!r} has the focus"
        if words.startswith(name):
            return
    raise AssertionError(f"Tab never came to {name!r}")


def test_pictures(demos: dict[str, Running], tmp_path: Path, request: pytest.FixtureRequest) -> None:
    """The documentation's pictures are of the demo as it is: `hatch run screenshots` has this test write them there."""
    folder = DOCS if request.config.getoption("screenshots") else tmp_path
    page = demos["flask"].open()
    put(page, "a pair of boots")
    pack(page, 20)
    sign_in(page, "Ada Lovelace")
    put(page, "a tent")
    pack(page, 20)
    go(page, "Session")
    page.screenshot(path=folder / "demo.png")
    go(page, "Break things")
    press(page, "Race two tabs")
    says(page, "Both tabs won.")
    page.screenshot(path=folder / "demo-race.png")
    dark = demos["flask"].open(narrow=True, dark=True)
    put(dark, "a pair of boots")
    go(dark, "Session")
    dark.screenshot(path=folder / "demo-narrow.png")
    page.context.close()
    dark.context.close()
