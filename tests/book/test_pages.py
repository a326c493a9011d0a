"""Every page of the built book, opened in a browser without a network."""

import pytest

from . import faults
from .conftest import ADDRESS, HTML, PAGES

VIEW = "application/vnd.jupyter.widget-view+json"
MOVING = [p for p in PAGES if (HTML / p).exists() and VIEW in (HTML / p).read_text("utf8")]


@pytest.mark.parametrize("path", PAGES)
def test_a_page_is_whole_and_has_no_barriers(tab, book, path):
    reader = tab(book)
    page = reader.open(path)
    found = [*faults.formulas(page), *faults.pictures(page), *faults.too_wide(page)]
    assert reader.faults + found + faults.barriers(page) == []


@pytest.mark.parametrize("path", PAGES)
def test_a_page_fits_a_phone_and_is_readable_in_the_dark(tab, book, path):
    reader = tab(book, width=390, color_scheme="dark")
    page = reader.open(path)
    assert page.evaluate("document.documentElement.dataset.theme") == "dark"
    dark = faults.barriers(page, "color-contrast", "scrollable-region-focusable")
    assert faults.too_wide(page) + dark == []


@pytest.mark.parametrize("path", MOVING or PAGES[:1])
def test_every_slider_moves_its_figure(tab, book, path):
    assert MOVING, "no page of the book has a slider"
    reader = tab(book)
    page = reader.open(path)
    assert faults.sliders(page) + reader.faults == []


def test_search_finds_a_word(tab, book):
    reader = tab(book)
    page = reader.open("book/intro.html")
    page.keyboard.press("Control+K")
    page.keyboard.type("prototype")
    page.keyboard.press("Enter")
    result = page.locator("#search-results li a").first
    result.wait_for()
    result.click()
    page.locator("article").wait_for()
    assert "prototype" in page.locator("article").inner_text().lower()
    assert reader.faults == []


def test_the_first_page_leads_to_the_book(tab, book):
    reader = tab(book)
    reader.page.goto(ADDRESS)
    reader.page.wait_for_url("**/book/intro.html")
    assert "Learning from a Few" in reader.page.title() and reader.faults == []


def test_the_book_can_be_read_from_a_disk(browser, book):
    """As ``make book`` says: without a server."""
    path = (MOVING or PAGES)[0]
    with browser.new_context(offline=True) as context:
        page, problems = context.new_page(), []
        page.on("pageerror", lambda e: problems.append(str(e)))
        page.on("console", lambda m: m.type == "error" and problems.append(m.text))
        page.goto((book / path).as_uri())
        if MOVING:
            page.locator(".jupyter-widgets").first.wait_for()
            assert faults.sliders(page) == []
        assert faults.formulas(page) + problems == []
