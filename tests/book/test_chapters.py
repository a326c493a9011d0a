"""The chapters keep their own rules: checked equations, checked outputs, exercises, time."""

import ast
import json
import re

import nbformat
import notebooks  # tools/notebooks.py
import pytest

NAMES = notebooks.names()
PARTS = (
    "chapter-card", "Predict", "## What can go wrong", "## Exercises", "## Quiz", "## Take-away",
    "## Further reading",
)  # fmt: skip
EQUATION = re.compile(r"\$\$ \(([\w-]+)\)")
UNCHECKED = re.compile(r"<!-- unchecked ([\w-]+): (\S.*?) *-->")


def made(name):
    return nbformat.read(notebooks.CHAPTERS / f"{name}.ipynb", 4)


def meant(name):
    return notebooks.read_text(notebooks.CHAPTERS / "src" / f"{name}.md")


def tagged(nb, tag):
    return [c for c in nb.cells if tag in c.metadata.get("tags", [])]


def code(nb):
    return [c for c in nb.cells if c.cell_type == "code"]


def prose(nb):
    return "\n".join(c.source for c in nb.cells if c.cell_type == "markdown")


@pytest.fixture(params=NAMES)
def name(request):
    return request.param


def test_the_notebook_is_what_its_text_says(name):
    assert list(notebooks.problems(name)) == []


def test_every_equation_has_a_cell_that_checks_it_or_a_reason(name):
    nb = made(name)
    labels, excused = EQUATION.findall(prose(nb)), dict(UNCHECKED.findall(prose(nb)))
    assert labels and len(set(labels)) == len(labels)
    checked = set()
    for cell in code(nb)[1:]:  # the first installs the package, which is not plain Python
        mine = [t for t in cell.metadata.get("tags", []) if t.startswith("checks-")]
        checked |= {t.removeprefix("checks-") for t in mine}
        asserts = any(isinstance(n, ast.Assert) for n in ast.walk(ast.parse(cell.source)))
        assert asserts or not mine, f"this cell checks nothing:\n{cell.source}"
    assert checked | set(excused) == set(labels) and not checked & set(excused)


def test_five_outputs_are_compared_on_every_platform(name):
    cells = tagged(made(name), "nbval-check-output")
    assert len(cells) >= 5
    for cell in cells:
        parts = [o.get("text") or o.get("data", {}).get("text/plain", "") for o in cell.outputs]
        assert parts, f"nothing to compare in:\n{cell.source}"
        exact = re.search(r"0x[0-9a-f]{6}|\d\.\d{5}", "".join(parts))
        assert not exact, f"an address, or too many digits: {exact}"


def test_a_chapter_has_all_its_parts(name):
    nb, text = made(name), prose(made(name))
    first, second = code(nb)[:2]
    assert "install" in first.metadata.tags and second.metadata.tags == ["setup"]
    assert [part for part in PARTS if part not in text] == []
    assert any("viz.explore(" in c.source for c in code(nb))
    assert text.count("<summary>Answer</summary>") >= 4
    exercises = tagged(nb, "exercise")
    assert len(exercises) >= 4 and text.count(":::{exercise}") == len(exercises)
    assert text.count("<summary>Solution</summary>") == len(exercises)
    assert text.count("<details") == text.count("</details>")


def test_no_placeholder_is_left_and_no_machine_is_named(name):
    assert not notebooks.PLACEHOLDER.search(prose(made(name)))
    text = (notebooks.CHAPTERS / f"{name}.ipynb").read_text(encoding="utf8")
    assert not re.search(r"/(home|root|work|tmp|Users)/", text)


def run(source, space):
    """Run a cell, and return the value of its last expression."""
    *body, last = ast.parse(source).body
    assert isinstance(last, ast.Expr), "the last line of an exercise calls its check"
    exec(compile(ast.Module(body, []), "cell", "exec"), space)
    return eval(compile(ast.Expression(last.value), "cell", "eval"), space)


EXERCISES = [
    pytest.param(name, cell.source, id=f"{name}-{i + 1}")
    for name in NAMES
    for i, cell in enumerate(tagged(meant(name), "exercise"))
]


@pytest.mark.filterwarnings("default")
@pytest.mark.parametrize(("name", "source"), EXERCISES)
def test_the_solution_passes_and_the_stub_does_not(name, source):
    space: dict = {}
    for cell in tagged(meant(name), "setup"):
        exec(compile(cell.source, name, "exec"), space)
    assert run(notebooks.solved(source), dict(space)).passed is True
    assert run(notebooks.stub(source), dict(space)).passed is not True


def test_exercises_do_not_overwrite_what_the_chapter_defines(name):
    def defined(cells):
        nodes = (n for cell in cells for n in ast.walk(ast.parse(cell.source)))
        return [n.name for n in nodes if isinstance(n, ast.FunctionDef | ast.ClassDef)]

    exercises = tagged(made(name), "exercise")
    mine = defined(c for c in code(made(name))[1:] if c not in exercises)
    theirs = [
        n for n in defined(exercises) if not n.startswith("__") and n not in ("forward", "loss")
    ]
    assert not set(mine) & set(theirs) and len(theirs) == len(set(theirs))


def test_a_chapter_takes_a_minute_at_most_and_the_mean_is_35_seconds():
    path = notebooks.RESULTS / "chapters.json"
    times = json.loads(path.read_text(encoding="utf8"))["results"]
    assert set(times) == set(NAMES), "run python tools/notebooks.py build"
    for name in NAMES:
        assert len(times[name]["cells"]) == len(code(made(name))), f"{name} has changed; build it"
    seconds = [times[name]["seconds"] for name in NAMES]
    assert max(seconds) <= 60 and sum(seconds) / len(seconds) <= 35
