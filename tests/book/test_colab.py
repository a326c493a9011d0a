"""A notebook alone on a machine like Colab: its first cell brings minimeta, and changes nothing else."""

import hashlib
import os
import re
import shutil
import subprocess
import sys
import tomllib
import venv
from pathlib import Path

import nbformat
import needs
import pytest

ROOT = Path(__file__).resolve().parents[2]
# one of them in every run; with MINIMETA_ALONE=all each of them, which takes ten minutes
EVERY = os.environ.get("MINIMETA_ALONE") == "all"
NOTEBOOKS = sorted((ROOT / "chapters").glob("*.ipynb" if EVERY else "02_*.ipynb"))
MACHINE = ROOT / ".colab"  # kept between runs: it takes a minute to set up

# what Colab has of what a notebook needs; torch is the one this book is tested with
COLAB = """
numpy==2.1.3 matplotlib==3.10.0 ipywidgets==7.7.1 ipython==7.34.0 ipykernel==6.17.1
scipy scikit-learn pillow requests tqdm filelock nbclient nbformat
""".split()

EXECUTE = """
import nbclient, nbformat
nb = nbformat.read("notebook.ipynb", 4)
nbclient.NotebookClient(nb, timeout=300, kernel_name="python3").execute()
"""


def python(*arguments: object, **options: object) -> subprocess.CompletedProcess:
    """Run the Python of that machine, which sees nothing of this one's settings."""
    hidden = ("PYTHON", "MINIMETA", "VIRTUAL_ENV", "JUPYTER", "PYTEST", "COV")
    environment = {k: v for k, v in os.environ.items() if not k.startswith(hidden)}
    environment |= {"OMP_NUM_THREADS": "1", "PIP_DISABLE_PIP_VERSION_CHECK": "1"}
    command = [MACHINE / "bin" / "python", *map(str, arguments)]
    return subprocess.run(command, env=environment, capture_output=True, text=True, **options)


def packages() -> dict[str, str]:
    """What is installed on that machine, and in which version."""
    lines = python("-m", "pip", "list", "--format=freeze", check=True).stdout.split()
    return dict(line.split("==") for line in lines)


def set_up() -> dict[str, str]:
    """Make the machine, or take the one of the last run if it is as it was; return its packages."""
    torch = re.search(r"^torch==.*$", (ROOT / "requirements.txt").read_text("utf8"), re.MULTILINE)
    wanted = [torch[0], *COLAB]
    stamp = MACHINE / hashlib.sha256(f"{wanted} {sys.version}".encode()).hexdigest()
    if stamp.exists() and str(packages()) == stamp.read_text("utf8"):
        return packages()
    shutil.rmtree(MACHINE, ignore_errors=True)
    venv.create(MACHINE, with_pip=True)
    run = python("-m", "pip", "install", "--quiet", *wanted)
    assert run.returncode == 0, run.stderr
    stamp.write_text(str(packages()), encoding="utf8")
    return packages()


def needs_package_index(folder: Path) -> None:
    pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--retries=0"]
    if subprocess.run([*pip, "wadler_lindig", "-d", folder], capture_output=True).returncode:
        needs.skip(
            "a notebook alone installs minimeta with pip, which reaches no package index here"
        )


def wheel(folder: Path) -> Path:
    """Build minimeta as a reader gets it."""
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    subprocess.run(build, cwd=ROOT, check=True, capture_output=True)
    (path,) = folder.glob("*.whl")
    return path


@pytest.mark.slow
@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_alone_installs_minimeta_and_changes_nothing_else(notebook, tmp_path):
    needs_package_index(tmp_path / "index")
    nb = nbformat.read(notebook, 4)
    install = next(cell for cell in nb.cells if cell.cell_type == "code")
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf8"))["project"]
    address = f"minimeta[viz] @ git+{project['urls']['Repository']}"
    assert f'%pip install -q "{address}"' in install.source

    # the same cell, but the wheel of this checkout in place of what the address holds
    file = wheel(tmp_path / "wheel").as_uri()
    install.source = install.source.replace(address, f"minimeta[viz] @ {file}")
    alone = tmp_path / "alone"
    alone.mkdir()
    nbformat.write(nb, alone / "notebook.ipynb")

    before = set_up()
    assert "minimeta" not in before
    try:
        run = python("-c", EXECUTE, cwd=alone)
        after = packages()
    finally:
        new = [name for name in packages() if name not in before]
        python("-m", "pip", "uninstall", "--quiet", "--yes", *new)
    assert run.returncode == 0, run.stderr[-3000:]
    assert "minimeta" in after
    assert {name: after.get(name) for name in before} == before
