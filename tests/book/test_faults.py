"""The tests of the pages can fail: tiny broken pages, each caught by the function that looks for it."""

from pathlib import Path

import pytest

from . import faults

SVG = "<svg xmlns='http://www.w3.org/2000/svg' width='64' height='64'>{}</svg>"
PICTURE = "data:image/svg+xml," + SVG
DRAWN = PICTURE.format("<circle cx='32' cy='32' r='9'/>")
MATHJAX = '<script defer src="_static/vendor/mathjax/tex-chtml.js"></script>'
SLIDER = """
<div class="widget-vbox"><div class="widget-slider">
<div class="noUi-handle" tabindex="0" role="slider" aria-label="{label}" aria-valuenow="0" {attributes}></div>
</div><img alt="before" src="{picture}"></div>"""
MOVE = "i=document.querySelector('img');"
STYLE = "<style>.noUi-handle:focus-visible { outline: 3px solid red; }</style>"


def write(folder: Path, article: str, head: str = "") -> str:
    """Write a page that has this article and is otherwise in order."""
    text = f"""<!doctype html><html lang="en"><head><title>A page</title>
<meta name="viewport" content="width=device-width"><link rel="icon" href="data:,">{head}</head>
<body><article><h1 id="top">A page</h1>{article}</article></body></html>"""
    (folder / "page.html").write_text(text, encoding="utf8")
    return "page.html"


@pytest.fixture
def read(tab, tmp_path):
    def read(article: str, head: str = "", **options: object):
        reader = tab(tmp_path, **options)
        page = reader.open(write(tmp_path, article, head))
        page.wait_for_timeout(100)  # for what the page does after it has loaded
        return reader, page

    return read


def test_a_page_in_order_has_no_faults(read, book, tmp_path):
    (tmp_path / "_static").symlink_to(book / "_static")
    slider = SLIDER.format(
        label="step",
        picture=DRAWN,
        attributes=f"""onkeydown="{MOVE}i.alt='after';i.src+=' '" """,
    )
    article = r'<p>The square of <span class="math">\(x\)</span>.</p><a href="#top">Up</a>' + slider
    reader, page = read(article, MATHJAX + STYLE)
    looked = [faults.formulas, faults.pictures, faults.too_wide, faults.sliders, faults.barriers]
    assert [fault for look in looked for fault in look(page)] + reader.faults == []
    assert faults.links(tmp_path / "page.html") + faults.size(tmp_path / "page.html") == []


@pytest.mark.parametrize(
    ("article", "fault"),
    [
        ("<script>missing()</script>", "missing is not defined"),
        ("<script>console.error('broken')</script>", "broken"),
        ('<script src="https://cdn.example.org/x.js"></script>', "asks for https://cdn.example"),
        ("<script>fetch('http://example.org/count')</script>", "asks for http://example.org/"),
        ('<script src="gone.js"></script>', "gone.js, which is not there"),
    ],
)
def test_requests_and_errors_are_noted(read, article, fault):
    reader, _ = read(article)
    assert any(fault in found for found in reader.faults)


@pytest.mark.parametrize(
    ("article", "fault"),
    [
        (r'<span class="math">\(\frac{1}\)</span>', "has an error: Missing argument"),
        (r'<span class="math">\(\unknown x\)</span>', r"has an error: \unknown"),
        ("<p>costs $x$ in all</p>", "meant as a formula"),
        ("<p>in {{seconds}} s</p>", "meant as a formula or a value"),
    ],
)
def test_a_formula_with_a_mistake_is_found(read, book, tmp_path, article, fault):
    (tmp_path / "_static").symlink_to(book / "_static")
    _, page = read(article, MATHJAX)
    (found,) = faults.formulas(page)
    assert fault in found


def test_a_formula_with_a_needless_scroll_bar_is_found(read, book, tmp_path):
    (tmp_path / "_static").symlink_to(book / "_static")
    scrolls = "<style>span.math { display: inline-flex; overflow: auto hidden; position: relative }</style>"
    _, page = read(r'<p>Of <span class="math">\(c_n\)</span> one.</p>', MATHJAX + scrolls)
    assert [f for f in faults.formulas(page) if "scrolls" in f]


def test_a_formula_without_mathjax_is_found(read):
    _, page = read(r'<span class="math">\(x\)</span>')
    assert faults.formulas(page) == [r"a formula was not typeset: \(x\)"]


@pytest.mark.parametrize(
    ("picture", "fault"),
    [
        (f'<img src="{DRAWN}">', "no alt text"),
        (f'<img alt="../_images/0f2d.png" src="{DRAWN}">', "no alt text"),
        ('<img alt="gone" src="data:image/png;base64,">', "no pixels"),
        (f'<img alt="blank" src="{PICTURE.format("")}">', "of one colour"),
    ],
)
def test_a_picture_that_shows_nothing_is_found(read, picture, fault):
    (found,) = faults.pictures(read(picture)[1])
    assert fault in found


@pytest.mark.parametrize(
    ("article", "fault"),
    [
        ("<div style='width: 600px'>wide</div>", "the page is"),
        ("<pre>" + "wide " * 50 + "</pre>", "the page is"),
        ("<table><td>" + "wide" * 50 + "</table>", "too wide for 390 px: table"),
        ("<p style='overflow: hidden'>" + "wide" * 50 + "</p>", "this is cut off: p"),
    ],
)
def test_what_is_too_wide_for_a_phone_is_found(read, article, fault):
    _, page = read(article, width=390)
    assert any(fault in found for found in faults.too_wide(page))


def test_what_scrolls_inside_itself_fits(read):
    article = "<pre style='overflow: auto' tabindex='0'>" + "wide " * 50 + "</pre>"
    assert faults.too_wide(read(article, width=390)[1]) == []


@pytest.mark.parametrize(
    ("article", "rule"),
    [
        ("<button></button>", "button-name"),
        ("<p style='color: #bbb; background: #fff'>pale</p>", "color-contrast"),
        ("<details><summary>Solution</summary><p style='color: #bbb'>pale</p></details>", "color"),
    ],
)
def test_a_barrier_is_found(read, article, rule):
    (found,) = faults.barriers(read(article)[1])
    assert found.startswith(rule)


@pytest.mark.parametrize(
    ("label", "attributes", "fault"),
    [
        ("step", "", "its figure keeps its alt text"),
        ("step", f"""onkeydown="{MOVE}i.alt='after'" """, "its figure keeps its pixels"),
        ("step", "style='outline: none'", "does not show that the keyboard is on it"),
        ("", "", "a slider has no name"),
    ],
)
def test_a_dead_slider_is_found(read, label, attributes, fault):
    _, page = read(SLIDER.format(label=label, attributes=attributes, picture=DRAWN), STYLE)
    assert any(fault in found for found in faults.sliders(page))


@pytest.mark.parametrize(
    ("article", "fault"),
    [
        ('<a href="gone.html">gone</a>', "no such file: gone.html"),
        ('<a href="#gone">gone</a>', "no such anchor: #gone"),
        ('<a href="page.html#gone">gone</a>', "no such anchor: page.html#gone"),
        ('<img alt="gone" src="gone.png">', "no such file: gone.png"),
        ('<script src="//cdn.example.org/x.js"></script>', "loads //cdn.example.org/x.js"),
    ],
)
def test_a_dead_link_is_found(tmp_path, article, fault):
    assert faults.links(tmp_path / write(tmp_path, article)) == [fault]


def test_a_heavy_page_is_found(tmp_path):
    (found,) = faults.size(tmp_path / write(tmp_path, "x" * faults.LARGEST))
    assert "more than 1.5 MB" in found
