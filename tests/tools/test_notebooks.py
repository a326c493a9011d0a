"""From a chapter's text to its notebook and back."""

import json
import os
import subprocess
import sys

import nbformat
import notebooks  # tools/notebooks.py
import pytest

TEXT = """---
jupytext:
  text_representation:
    extension: .md
    format_name: myst
kernelspec:
  display_name: Python 3
  language: python
  name: python3
---

# A page

Half of it is {{half:.2f}}, all of it {{whole}}; a file says {{len(results("sampling"))}}.
A formula is left alone: $\\\\frac{a_{i}}{b}$.

```{code-cell}
:tags: [nbval-check-output]

whole, half = 1, 0.5
print(whole)
```

```{code-cell}
:tags: [exercise]

def double(x):
    # solution
    return 2 * x
    # end


check = print
check.__name__
```

The answer:

{{solution}}

```{code-cell}
:tags: [exercise]

# solution
answer = 4
# stub
answer = ...
# end
```
"""
SLIDER = """
```{code-cell}
import ipywidgets as w

slider, stack = w.IntSlider(), w.Stack([w.HTML("a"), w.HTML("b")])
w.jslink((slider, "value"), (stack, "selected_index"))
w.VBox([slider, stack])
```
"""


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "src").mkdir()
    (tmp_path / "src" / "page.md").write_text(TEXT + SLIDER, encoding="utf8")
    return tmp_path


@pytest.fixture(scope="session")
def made(tmp_path_factory):
    """The notebook of TEXT, made twice."""
    path = tmp_path_factory.mktemp("chapters") / "page.md"
    path.write_text(TEXT + SLIDER, encoding="utf8")
    return [notebooks.make(path)[0] for _ in range(2)]


def source(notebook, i):
    return nbformat.reads(notebook, 4).cells[i].source


def test_two_runs_give_the_same_bytes_widgets_included(made):
    assert made[0] == made[1] and "SliderModel" in made[0]


def test_prose_is_filled_with_what_the_cells_computed(made):
    text = source(made[0], 0)
    found = len(json.loads((notebooks.RESULTS / "sampling.json").read_text("utf8"))["results"])
    assert f"Half of it is 0.50, all of it 1; a file says {found}." in text
    assert "\\frac{a_{i}}{b}" in text


def test_the_reader_gets_the_stub_and_the_solution_is_told_below(made):
    assert "    ...  # your code here\n" in source(made[0], 2)
    assert "return 2 * x" not in source(made[0], 2)
    assert "```python\ndef double(x):\n    return 2 * x" in source(made[0], 3)
    assert "check" not in source(made[0], 3).split("```")[1].split("return")[0]
    assert source(made[0], 4) == "answer = ..."
    assert notebooks.solved("# solution\nanswer = 4\n# stub\nanswer = ...\n# end") == "answer = 4"


def test_check_finds_what_differs(folder, made):
    path, text = folder / "page.ipynb", folder / "src" / "page.md"
    assert "missing" in next(notebooks.problems("page", folder))
    path.write_text(made[0], encoding="utf8")
    assert list(notebooks.problems("page", folder)) == []

    nb = nbformat.reads(made[0], 4)
    nb.cells[0].source = nb.cells[0].source.replace("0.50", "0.51")  # a number mended by hand
    nbformat.write(nb, path)
    assert "is not what" in next(notebooks.problems("page", folder))

    nb = nbformat.reads(made[0], 4)
    nb.cells[1].execution_count = None
    nbformat.write(nb, path)
    assert "never executed" in next(notebooks.problems("page", folder))

    nb = nbformat.reads(made[0], 4)
    nb.cells[1].outputs.append(nbformat.v4.new_output("stream", name="stderr", text="careful"))
    nbformat.write(nb, path)
    assert "a warning" in next(notebooks.problems("page", folder))

    path.write_text(made[0], encoding="utf8")
    text.write_text(TEXT + SLIDER + "\n{{whole + 1}}\n", encoding="utf8")
    assert "other values" in next(notebooks.problems("page", folder))


def test_an_edit_made_in_jupyter_comes_back(folder, made):
    path, text = folder / "page.ipynb", folder / "src" / "page.md"
    nb = nbformat.reads(made[0], 4)
    nb.cells[1].source += "\nprint(half)"
    nbformat.write(nb, path)
    notebooks.pull("page", folder)
    new = text.read_text(encoding="utf8")
    assert "print(half)" in new
    assert "{{half:.2f}}" in new and "# solution" in new and "{{solution}}" in new


def test_an_edit_that_would_lose_a_placeholder_is_refused(folder, made):
    path, text = folder / "page.ipynb", folder / "src" / "page.md"
    nb = nbformat.reads(made[0], 4)
    nb.cells[0].source += "\nMore."
    nbformat.write(nb, path)
    with pytest.raises(SystemExit, match="edit them in"):
        notebooks.pull("page", folder)
    assert text.read_text(encoding="utf8") == TEXT + SLIDER


@pytest.mark.parametrize("what", ["the text has changed", "ids", "a cell", "emptied", "nothing"])
def test_a_pull_that_would_lose_anything_writes_nothing(folder, made, what):
    path, text = folder / "page.ipynb", folder / "src" / "page.md"
    nb = nbformat.reads(made[0], 4)
    if what == "the text has changed":
        text.write_text(text.read_text("utf8").replace("half:.2f}}", "half:.2f}} now"), "utf8")
    elif what == "ids":
        nb.nbformat_minor = 4
        for cell in nb.cells:
            del cell["id"]
    elif what == "a cell":
        del nb.cells[1]
    elif what == "emptied":
        nb.cells[0].source = ""
    path.write_text(json.dumps(nb), encoding="utf8")
    before = text.read_text(encoding="utf8")
    if what == "nothing":
        notebooks.pull("page", folder)
    else:
        with pytest.raises(SystemExit, match="nothing was written|edit them in"):
            notebooks.pull("page", folder)
    assert text.read_text(encoding="utf8") == before


def test_a_cell_that_fails_writes_nothing(folder):
    text = folder / "src" / "page.md"
    text.write_text(TEXT + "\n```{code-cell}\n1 / 0\n```\n", encoding="utf8")
    with pytest.raises(Exception, match="ZeroDivisionError"):
        notebooks.make(text)


def nbval(path):
    run = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-c", os.devnull, "-p", "no:cacheprovider", "--nbval-lax", path],
        capture_output=True, text=True, cwd=path.parent,
    )  # fmt: skip
    return run.returncode, run.stdout


def test_a_changed_output_is_seen(folder, made):
    path = folder / "page.ipynb"
    path.write_text(made[0], encoding="utf8")
    assert nbval(path)[0] == 0
    nb = nbformat.reads(made[0], 4)
    assert nb.cells[1].outputs[0].text == "1\n"
    nb.cells[1].outputs[0].text = "2\n"
    nbformat.write(nb, path)
    code, said = nbval(path)
    assert code == 1 and "failed" in said


def test_an_unknown_command_or_chapter_gets_a_sentence():
    with pytest.raises(SystemExit, match="build"):
        notebooks.main("make")
    with pytest.raises(SystemExit, match="no chapter 99_none"):
        notebooks.main("build", "99_none")
