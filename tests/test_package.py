"""The package as a whole: its face, its dependencies, its weight."""

import ast
import subprocess
import sys
from pathlib import Path

import minimeta as mm

PACKAGE = Path(mm.__file__).parent
# each may import those before it (house rule: nothing imports upwards)
LAYERS = [
    {"errors", "files", "hashing"},
    {"data"},
    {"episodes", "sources", "synthetic", "catalog"},
    {
        "norm",
        "kernels",
        "firstblock",
        "learner",
        "networks",
        "adapt",
        "fast",
        "adapting",
        "embedding",
        "toy",
    }
    | {"maml", "mamlpp", "reptile", "implicit", "protomaml", "lineargaussian"}
    | {"protonet", "relationnet", "matchingnet", "setlearner", "ridge", "linearhead", "baselines"},
    {"description", "evaluate", "checkpoint", "optimizers", "train", "weights"},
    {"rows", "presets", "curves", "papertable", "reproduce", "speedrun"},
    {"inputs", "classifier"},
    {"check", "viz", "demo", "doctor", "experiments", "cli"},
]


def imports(path):
    for node in ast.walk(ast.parse(path.read_text(encoding="utf8"))):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("minimeta"):
            parts = node.module.split(".")
            yield from [parts[1]] if len(parts) > 1 else [a.name for a in node.names]


def test_dependencies_point_one_way():
    level = {name: i for i, layer in enumerate(LAYERS) for name in layer}
    for path in PACKAGE.rglob("*.py"):
        room = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
        if room == "__init__":
            continue
        for used in imports(path):
            assert level[used] <= level[room], f"{path.name} imports {used}"


def test_every_public_name_is_there_and_documented():
    for name in mm.__all__:
        assert getattr(mm, name).__doc__, name
    assert not any(name.startswith("_") for name in mm.__all__)


def test_importing_it_does_not_import_what_only_some_need():
    code = "import sys, minimeta; print([m for m in sys.argv[1:] if m in sys.modules])"
    heavy = ["matplotlib", "scipy.stats", "sklearn", "PIL", "pooch", "IPython"]
    run = subprocess.run(
        [sys.executable, "-c", code, *heavy], capture_output=True, text=True, check=True
    )
    assert run.stdout.strip() == "[]"


def test_files_stay_short_enough_to_read():
    lengths = {
        p.name: len(p.read_text(encoding="utf8").splitlines())
        for p in PACKAGE.rglob("*.py")
        if p.parent.name != "check"  # lists of small checks, one after another
    }
    assert max(lengths.values()) <= 255, max(lengths, key=lengths.get)
