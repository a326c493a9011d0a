"""Turn the text of a chapter into an executed notebook: the same bytes on every run on one machine.

    python tools/notebooks.py build [NAME ...]   # execute, write chapters/NAME.ipynb, time each cell
    python tools/notebooks.py check              # execute nothing: is each notebook what its text says?
    python tools/notebooks.py format [NAME ...]  # lay out the code in the text as ruff does
    python tools/notebooks.py pull NAME          # bring an edit made in Jupyter or Colab back to the text

People edit ``chapters/src/NAME.md``, MyST Markdown as jupytext reads it. Three things go beyond it:

- ``{{expression}}`` or ``{{expression:.1f}}`` in prose becomes the value that the expression has after
  the notebook's last cell. ``results("glyphs")`` is ``benchmarks/results/glyphs.json`` there.
- In a cell tagged ``exercise`` the lines between ``# solution`` and ``# end`` are the solution. The
  notebook gets the stub: the lines after ``# stub`` if there are any, else ``...``.
- ``{{solution}}`` in prose becomes the whole solution of the exercise before it.
"""

import hashlib
import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jupytext
import nbformat
from nbclient import NotebookClient
from nbformat import NotebookNode

ROOT = Path(__file__).resolve().parent.parent
CHAPTERS = ROOT / "chapters"
RESULTS = ROOT / "benchmarks" / "results"
WIDGETS = "application/vnd.jupyter.widget-state+json"
KERNEL = {
    "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
    "language_info": {"name": "python"},
}
PLACEHOLDER = re.compile(r"\{\{([\w(\[-][^{}]*)\}\}")
FORMAT = re.compile(r"(?P<value>.+?)(?::(?P<format>[<>^+]?[\d,]*(?:\.\d+)?[a-z%]?))?")
CELL = re.compile(
    r"^(?P<head>```\{code-cell\}\n(?:---\n.*?^---\n|(?::[^\n]*\n)+)?\n?)(?P<code>.*?)^```$",
    re.DOTALL | re.MULTILINE,
)
SOLUTION = re.compile(
    r"^(?P<indent> *)# solution\n(?P<solution>.*?)(?:^ *# stub\n(?P<stub>.*?))?^ *# end\n",
    re.DOTALL | re.MULTILINE,
)


def names() -> list[str]:
    """Return the chapters, in order."""
    return sorted(path.stem for path in (CHAPTERS / "src").glob("*.md"))


def read_text(path: Path) -> NotebookNode:
    """Read a chapter's text as a notebook whose cell ids come from the cells' own words."""
    nb = jupytext.read(path, fmt="md:myst")
    nb.metadata = nbformat.from_dict(KERNEL)
    nb.nbformat, nb.nbformat_minor = 4, 5
    seen: dict[str, int] = {}
    for cell in nb.cells:
        digest = hashlib.sha256(f"{cell.cell_type}{cell.source}".encode()).hexdigest()[:12]
        n = seen[digest] = seen.get(digest, 0) + 1
        cell["id"] = digest if n == 1 else f"{digest}-{n}"
    return nb


def is_exercise(cell: NotebookNode) -> bool:
    """Say whether a cell holds an exercise with its solution."""
    return "exercise" in cell.metadata.get("tags", [])


def solved(source: str) -> str:
    """Return an exercise's cell with the solution in it."""
    return _close_up(SOLUTION.sub(lambda m: m["solution"], source + "\n"))


def stub(source: str) -> str:
    """Return an exercise's cell as the reader gets it."""
    blank = SOLUTION.sub(
        lambda m: m["stub"] or f"{m['indent']}...  # your code here\n", source + "\n"
    )
    return _close_up(blank)


def _close_up(source: str) -> str:
    """Leave at most two empty lines where a marker stood."""
    return re.sub(r"\n{4,}", "\n\n\n", source).strip("\n")


def expressions(nb: NotebookNode) -> list[str]:
    """Return what the prose asks the notebook for."""
    found = (PLACEHOLDER.findall(c.source) for c in nb.cells if c.cell_type == "markdown")
    return [e for e in dict.fromkeys(e for some in found for e in some) if e != "solution"]


def fill(nb: NotebookNode, values: dict[str, str]) -> None:
    """Put values, stubs and solutions where the text asks for them."""
    answer = ""
    for cell in nb.cells:
        if is_exercise(cell):
            # all of it but the call of the checker, which stands in the stub already
            answer = re.sub(r"\ncheck\.[^\n]*$", "", solved(cell.source)).strip()
            cell.source = stub(cell.source)
        elif cell.cell_type == "markdown":
            known = {**values, "solution": f"```python\n{answer}\n```"}
            cell.source = PLACEHOLDER.sub(lambda m, known=known: known[m[1]], cell.source)


def probe(wanted: list[str]) -> str:
    """Return code that prints the values the prose asks for."""
    parts = [(e, FORMAT.fullmatch(e)) for e in wanted]
    items = ", ".join(f"{e!r}: format({m['value']}, {m['format'] or ''!r})" for e, m in parts if m)
    return (
        "import json, pathlib\n"
        "def results(name):\n"
        f"    text = (pathlib.Path({str(RESULTS)!r}) / f'{{name}}.json').read_text('utf8')\n"
        "    return json.loads(text)['results']\n"
        f"print(json.dumps({{{items}}}))"
    )


def settle(nb: NotebookNode, name: str) -> str:
    """Write the notebook as text, with widgets numbered in the order in which they are met."""
    nb.metadata["language_info"] = KERNEL["language_info"]
    state = nb.metadata.get("widgets", {}).get(WIDGETS, {}).get("state", {})
    new: dict[str, str] = {}

    def rename(text: str) -> str:
        return re.sub("|".join(new), lambda m: new[m[0]], text) if new else text

    def visit(key: str) -> None:
        if key in state and key not in new:
            new[key] = hashlib.sha256(f"{name}/{len(new)}".encode()).hexdigest()[:32]
            for child in re.findall(
                "IPY_MODEL_([0-9a-f]+)", json.dumps(state[key], sort_keys=True)
            ):
                visit(child)

    for key in re.findall('"model_id": "([0-9a-f]+)"', json.dumps(nb.cells)):
        visit(key)  # from the views in the cells down to their parts
    # links hang on no view: take them in the order of what they join
    for key in sorted(
        set(state) - set(new), key=lambda k: rename(json.dumps(state[k], sort_keys=True))
    ):
        visit(key)
    text = rename(json.dumps(nb, ensure_ascii=False))
    return json.dumps(json.loads(text), indent=1, ensure_ascii=False, sort_keys=True) + "\n"


def execute(nb: NotebookNode, folder: Path) -> list[float]:
    """Run every cell on one thread; return the seconds that each code cell took."""
    for variable in ("OMP_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ[variable] = "1"
    os.environ["PYTHONHASHSEED"] = "0"
    started: dict[int, float] = {}
    seconds: dict[int, float] = {}

    def start(cell: NotebookNode, cell_index: int) -> None:
        started[cell_index] = time.perf_counter()

    def end(cell: NotebookNode, cell_index: int, **_: Any) -> None:
        seconds[cell_index] = time.perf_counter() - started[cell_index]

    NotebookClient(
        nb, timeout=300, kernel_name="python3", record_timing=False, store_widget_state=True,
        coalesce_streams=True, resources={"metadata": {"path": str(folder)}},
        on_cell_execute=start, on_cell_executed=end,
    ).execute()  # fmt: skip
    return [seconds[i] for i in sorted(seconds)]


def make(text: Path) -> tuple[str, list[float]]:
    """Return the notebook of a chapter's text, and its cells' seconds."""
    nb = read_text(text)
    wanted = expressions(nb)
    fill(nb, {e: f"{{{{{e}}}}}" for e in wanted})
    nb.cells.append(nbformat.v4.new_code_cell(probe(wanted)))
    seconds = execute(nb, text.parent)
    values = json.loads(nb.cells.pop().outputs[0].text)
    fill(nb, values)
    nb.metadata["minimeta"] = {"values": values}
    return settle(nb, text.stem), seconds[:-1]


def build(name: str) -> None:
    """Write a chapter's notebook, and its times into ``benchmarks/results/chapters.json``."""
    text, seconds = make(CHAPTERS / "src" / f"{name}.md")
    path = CHAPTERS / f"{name}.ipynb"
    path.with_suffix(".part").write_text(text, encoding="utf8")
    path.with_suffix(".part").replace(path)
    sys.path.insert(0, str(ROOT))
    from benchmarks import common  # here: it imports torch

    times = {k: v for k, v in (common.read("chapters") or {}).items() if k in names()}
    times[name] = {
        "seconds": round(sum(seconds), 1), "threads": 1, "cells": [round(s, 2) for s in seconds]
    }  # fmt: skip
    common.write("chapters", "python tools/notebooks.py build", dict(sorted(times.items())))
    slowest = max(range(len(seconds)), key=seconds.__getitem__)
    print(
        f"{name}: {sum(seconds):.1f} s, the slowest is code cell {slowest + 1}, {seconds[slowest]:.1f} s"
    )


def problems(name: str, folder: Path = CHAPTERS) -> Iterator[str]:
    """Say what is wrong with a notebook, executing nothing."""
    path = folder / f"{name}.ipynb"
    if not path.exists():
        yield f"{name}: chapters/{name}.ipynb is missing; run python tools/notebooks.py build {name}"
        return
    made, meant = nbformat.read(path, 4), read_text(folder / "src" / f"{name}.md")
    values = made.metadata.get("minimeta", {}).get("values", {})
    if set(values) != set(expressions(meant)):
        yield f"{name}: the text asks for other values than the notebook recorded; run build"
        return
    fill(meant, values)

    def view(nb: NotebookNode) -> list[tuple[Any, ...]]:
        return [(c.cell_type, c.source, c.metadata, c.id) for c in nb.cells]

    if view(made) != view(meant):
        yield f"{name}: the notebook is not what chapters/src/{name}.md says; run build"
    for i, cell in enumerate(c for c in made.cells if c.cell_type == "code"):
        if cell.source and not cell.execution_count:
            yield f"{name}: code cell {i + 1} was never executed; run build"
        for output in cell.outputs:
            if output.output_type == "error" or output.get("name") == "stderr":
                yield f"{name}: code cell {i + 1} shows an error or a warning; mend it and run build"


def formatted(text: str) -> str:
    """Return a chapter's text with its code laid out."""

    def lay_out(match: re.Match[str]) -> str:
        if "%pip" in match["code"]:
            return match[0]
        ruff = [sys.executable, "-m", "ruff", "format", "--quiet", "--stdin-filename=cell.py", "-"]
        run = subprocess.run(
            ruff, input=match["code"], capture_output=True, text=True, cwd=CHAPTERS
        )
        if run.returncode:
            sys.exit(f"this cell is not Python that ruff can read:\n{match['code']}\n{run.stderr}")
        return f"{match['head']}{run.stdout}```"

    return CELL.sub(lay_out, text)


def pull(name: str, folder: Path = CHAPTERS) -> None:
    """Take the cells that were edited in a notebook back into its text.

    Cells are known by their ids, so the text must be the one that the notebook was built from.
    """
    path = folder / "src" / f"{name}.md"
    made, text, rendered = (
        nbformat.read(folder / f"{name}.ipynb", 4),
        read_text(path),
        read_text(path),
    )
    fill(rendered, made.metadata.get("minimeta", {}).get("values", {}))
    ids = {cell.get("id") for cell in made.cells}
    if any(cell.id not in ids for cell in text.cells):
        sys.exit(
            f"chapters/src/{name}.md has cells that the notebook has not: the text has changed since the build, a "
            "cell was deleted, or a program that saved the notebook dropped its ids; nothing was written."
        )
    before = {new.id: (old, new) for old, new in zip(text.cells, rendered.cells, strict=True)}
    cells, lost = [], []
    for cell in made.cells:
        old, new = before.get(cell.id, (cell, cell))
        if cell.source == new.source:
            cells.append(nbformat.from_dict({**old, "metadata": cell.metadata}))
            continue
        if (
            old.source != new.source
        ):  # it holds placeholders or a solution, which an edit cannot keep
            lost.append((cell.source.splitlines() or ["an emptied cell"])[0])
        cells.append(cell)
    if lost:
        sys.exit(
            "these cells are filled in by tools/notebooks.py, so edit them in "
            f"chapters/src/{name}.md: {'; '.join(lost)}"
        )
    if [c.source for c in cells] == [c.source for c in text.cells]:
        return
    text.cells = cells
    jupytext.write(text, path, fmt="md:myst")


def main(command: str = "", *chosen: str) -> None:
    """Run one command from the command line."""
    if unknown := set(chosen) - set(names()):
        sys.exit(
            f"there is no chapter {', '.join(sorted(unknown))}; the chapters are {', '.join(names())}"
        )
    if command == "build":
        for name in chosen or names():
            build(name)
    elif command == "format":
        for name in chosen or names():
            path = CHAPTERS / "src" / f"{name}.md"
            path.write_text(formatted(path.read_text(encoding="utf8")), encoding="utf8")
    elif command == "check":
        sys.exit("\n".join(p for name in names() for p in problems(name)) or 0)
    elif command == "pull" and chosen:
        for name in chosen:
            pull(name)
    else:
        sys.exit(__doc__)


if __name__ == "__main__":
    main(*sys.argv[1:])
