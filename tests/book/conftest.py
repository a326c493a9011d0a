"""A browser without a network that opens pages from a folder."""

import os
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import needs
import pytest
from playwright.sync_api import Browser, BrowserContext, Page, Route, sync_playwright

HTML = Path(__file__).resolve().parents[2] / "_build" / "html"
ADDRESS = "http://localhost/"  # no server listens there: the browser's requests end in Tab.answer
CHROMIUM = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
QUIET = [
    "--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update",
    "--disable-sync", "--no-first-run",
]  # fmt: skip


def pages() -> list[str]:
    """Return the pages with an article, all but the copies of the package's code in ``_modules``."""
    found = (path.relative_to(HTML) for path in HTML.rglob("*.html"))
    names = (path.as_posix() for path in found if not path.parts[0].startswith("_"))
    return sorted(set(names) - {"index.html", "search.html"})  # these have tests of their own


PAGES = pages() or ["index.html"]  # where no book is built, one test each says so


@pytest.fixture(scope="session")
def book() -> Path:
    """The built book."""
    if not (HTML / "index.html").exists():
        needs.skip("the pages of the book are not built: say make book")
    return HTML


# for this package alone: while it is open, no other test of the process can run an event loop
@pytest.fixture(scope="package")
def browser() -> Iterator[Browser]:
    chromium = os.environ.get("CHROMIUM") or next(filter(None, map(shutil.which, CHROMIUM)), None)
    if not chromium:
        needs.skip("the pages are read in Chromium, which is not installed: apt install chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=QUIET)
        yield browser
        browser.close()


class Tab:
    """A tab that gets its pages from a folder and nothing from elsewhere, and notes what goes wrong."""

    def __init__(self, context: BrowserContext, folder: Path) -> None:
        self.folder = folder
        self.faults: list[str] = []
        context.set_default_timeout(15_000)
        context.route(re.compile("^https?:"), self.answer)
        self.page = context.new_page()
        self.page.on("console", lambda m: m.type == "error" and self.faults.append(m.text))
        self.page.on("pageerror", lambda e: self.faults.append(str(e)))

    def answer(self, route: Route) -> None:
        url = route.request.url
        path = self.folder / (url.removeprefix(ADDRESS).partition("?")[0] or "index.html")
        if not url.startswith(ADDRESS):
            self.faults.append(f"asks for {url}")
            route.abort()
        elif path.is_file():
            route.fulfill(path=path)
        else:
            self.faults.append(f"asks for {url}, which is not there")
            route.fulfill(status=404)

    def open(self, path: str) -> Page:
        """Open a page, unfold its solutions, and wait for its formulas and widgets."""
        self.page.goto(ADDRESS + path)
        self.page.evaluate("document.querySelectorAll('details').forEach((d) => (d.open = true))")
        self.page.evaluate("async () => { await window.MathJax?.startup?.promise; }")
        if self.page.locator('script[type="application/vnd.jupyter.widget-view+json"]').count():
            self.page.locator(".jupyter-widgets").first.wait_for()
        return self.page


@pytest.fixture
def tab(browser: Browser) -> Iterator[Callable[..., Tab]]:
    """Open a tab on a folder; ``options`` are those of a Playwright context."""
    contexts = []

    def open_tab(folder: Path, width: int = 1280, **options: object) -> Tab:
        contexts.append(browser.new_context(viewport={"width": width, "height": 900}, **options))
        return Tab(contexts[-1], folder)

    yield open_tab
    for context in contexts:
        context.close()
