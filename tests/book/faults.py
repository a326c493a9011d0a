"""What can be wrong with a page of the book. Each function returns sentences: none, if all is well."""

from functools import cache
from pathlib import Path
from urllib.parse import unquote, urldefrag, urlsplit

from axe_playwright_python.sync_playwright import Axe
from bs4 import BeautifulSoup
from playwright.sync_api import Page

LARGEST = 1_500_000  # bytes of a page with the frames of its sliders

# docutils lists the bibliography as role="list" around elements of another role
KNOWN = {"references.html": {"aria-required-children"}}

FORMULAS = r"""async () => {
  await window.MathJax?.startup?.promise;
  const faults = [];
  for (const e of document.querySelectorAll("article .math:not(:has(mjx-container))"))
    faults.push(`a formula was not typeset: ${e.textContent.slice(0, 80)}`);
  // MathJax sets a word it does not know in red, and says nothing
  for (const e of document.querySelectorAll("mjx-merror, mjx-container [style*='color: red']"))
    faults.push(`a formula has an error: ${e.dataset.mjxError ?? e.closest("mjx-container").textContent.slice(0, 80)}`);
  // on a screen as wide as a desk's, none in a line of text needs a scroll bar under it
  for (const e of document.querySelectorAll("article span.math"))
    if (/auto|scroll/.test(getComputedStyle(e).overflowX) && e.scrollWidth > e.clientWidth)
      faults.push(`a formula scrolls: ${e.textContent.slice(0, 80)}`);
  const walker = document.createTreeWalker(document.querySelector("article"), NodeFilter.SHOW_TEXT);
  for (let text; (text = walker.nextNode()); )
    if (/\$|\{\{/.test(text.data) && !text.parentElement.closest("code, pre, script, style, mjx-container"))
      faults.push(`this was meant as a formula or a value: ${text.data.trim().slice(0, 80)}`);
  return faults;
}"""

PICTURES = r"""async () => {
  const faults = [];
  for (const img of document.querySelectorAll("article img")) {
    const name = (img.getAttribute("src") ?? "").slice(0, 80);
    const alt = img.getAttribute("alt")?.trim();
    // where nobody wrote a description, myst-nb writes the name of the file
    if (!alt || /\.(png|svg|jpe?g|gif|webp)$/.test(alt)) faults.push(`a picture has no alt text: ${name}`);
    await img.decode().catch(() => {});
    if (img.naturalWidth < 10) { faults.push(`a picture has no pixels: ${name}`); continue; }
    const canvas = Object.assign(document.createElement("canvas"), { width: 64, height: 64 });
    const context = canvas.getContext("2d");
    context.drawImage(img, 0, 0, 64, 64);
    const pixels = new Uint32Array(context.getImageData(0, 0, 64, 64).data.buffer);
    if (pixels.every((p) => p === pixels[0])) faults.push(`a picture is of one colour: ${name}`);
  }
  return faults;
}"""

WIDE = r"""() => {
  const width = document.documentElement.clientWidth, faults = [];
  const what = (e) => `${e.tagName.toLowerCase()}.${[...e.classList].join(".")} "${e.textContent.trim().slice(0, 60)}"`;
  if (document.documentElement.scrollWidth > width) faults.push(`the page is ${document.documentElement.scrollWidth} px wide, the screen ${width}`);
  const scrolls = (e) => /auto|scroll/.test(getComputedStyle(e).overflowX);
  for (const e of document.querySelectorAll("article *")) {
    if (e.closest("mjx-container")?.contains(e.parentElement) || !e.checkVisibility()) continue;
    const style = getComputedStyle(e);
    if (/hidden|clip/.test(style.overflowX) && e.scrollWidth > e.clientWidth + 1 && e.clientWidth > 1)
      faults.push(`this is cut off: ${what(e)}`);
    if (e.getBoundingClientRect().right <= width + 1) continue;
    let parent = e.parentElement;
    while (parent && !scrolls(parent) && !/hidden|clip/.test(getComputedStyle(parent).overflowX)) parent = parent.parentElement;
    if (!parent) faults.push(`this is too wide for ${width} px: ${what(e)}`);
  }
  return faults.slice(0, 5);
}"""


def formulas(page: Page) -> list[str]:
    """Formulas that are not typeset, or wrongly, and source text that shows."""
    return page.evaluate(FORMULAS)


def pictures(page: Page) -> list[str]:
    """Pictures that nobody sees, or that say nothing to those who do not see."""
    return page.evaluate(PICTURES)


def too_wide(page: Page) -> list[str]:
    """What does not fit the width of the screen, and neither shrinks nor scrolls inside itself."""
    return page.evaluate(WIDE)


def barriers(page: Page, *rules: str) -> list[str]:
    """Serious faults that axe finds in the article; only those against ``rules``, if given."""
    tags = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa"]
    only = {"type": "rule", "values": rules} if rules else {"type": "tag", "values": tags}
    options = {"runOnly": only, "resultTypes": ["violations"]}
    # a chapter's code has the colours of other pages' code, and thousands of words
    where = {"include": [["article"]], "exclude": [[".cell .highlight pre"]]}
    found = Axe().run(page, where, options).response["violations"]
    known = KNOWN.get(page.url.rpartition("/")[2], set())
    return [
        f"{v['id']}: {node['html'][:200]}: {node['failureSummary']}"
        for v in found
        for node in v["nodes"][:3]
        if v["impact"] in ("serious", "critical") and v["id"] not in known
    ]


def sliders(page: Page) -> list[str]:
    """Sliders that cannot be moved with the keyboard, or whose figure does not follow."""
    faults = []
    for box in page.locator(".widget-vbox:has(> .widget-slider)").all():
        handle, figure = box.locator(".noUi-handle"), box.locator("img:visible")
        label = handle.get_attribute("aria-label")
        if not label:
            faults.append("a slider has no name")
        before = [figure.get_attribute(a) for a in ("alt", "src")]
        last = handle.get_attribute("aria-valuenow") == handle.get_attribute("aria-valuemax")
        handle.focus()
        page.keyboard.press("ArrowLeft" if last else "ArrowRight")
        if handle.evaluate("(e) => getComputedStyle(e).outlineStyle") == "none":
            faults.append(f"the slider {label} does not show that the keyboard is on it")
        page.wait_for_timeout(100)
        after = [figure.get_attribute(a) for a in ("alt", "src")]
        faults += [
            f"the slider {label} moves, its figure keeps its {what}"
            for what, old, new in zip(("alt text", "pixels"), before, after, strict=True)
            if old == new
        ]
    return faults


@cache
def soup(path: Path) -> BeautifulSoup:
    """Return a page as a tree."""
    return BeautifulSoup(path.read_text(encoding="utf8"), "html.parser")


@cache
def ids(path: Path) -> set[str]:
    """Return the anchors of a page."""
    return {tag["id"] for tag in soup(path).find_all(id=True)}


def links(path: Path) -> list[str]:
    """Links of a page to files or anchors that are not there, and files it would load from elsewhere."""
    faults = []
    for tag in soup(path).find_all(["a", "img", "script", "link", "iframe", "source"]):
        url = tag.get("href") or tag.get("src")
        if not url or url == "#":
            continue
        if urlsplit(url).scheme or url.startswith("//"):
            loads = tag.name != "a" and tag.get("rel") not in (["canonical"], ["author"])
            if loads and not url.startswith("data:"):
                faults.append(f"loads {url}")
            continue
        name, anchor = urldefrag(unquote(url))
        name = name.partition("?")[0]
        target = (path.parent / name).resolve() if name else path
        if not target.is_file():
            faults.append(f"no such file: {url}")
        elif anchor and target.suffix == ".html" and anchor not in ids(target):
            faults.append(f"no such anchor: {url}")
    return faults


def size(path: Path) -> list[str]:
    """Say if a page, with the frames of its sliders, takes long to load."""
    n = path.stat().st_size
    return [f"{n / 1e6:.2f} MB, more than {LARGEST / 1e6} MB"] if n > LARGEST else []
