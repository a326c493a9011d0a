"""``minimeta doctor``: what is installed, what this machine has, where the data are."""

import importlib.metadata
import platform
from typing import Any

import torch

import minimeta
from minimeta.data import omniglot
from minimeta.data.download import data_dirs
from minimeta.data.omniglot_archives import ARCHIVES
from minimeta.errors import MinimetaError

PACKAGES = (
    "torch",
    "numpy",
    "scipy",
    "scikit-learn",
    "safetensors",
    "pooch",
    "pillow",
    "matplotlib",
)


def examine() -> dict[str, Any]:
    """Return what ``minimeta doctor`` prints, as plain values.

    >>> sorted(examine())
    ['data', 'devices', 'versions']
    """
    return {"versions": _versions(), "devices": _devices(), "data": _data()}


def report() -> str:
    """Return the findings as text, a line each."""
    lines = []
    for title, findings in examine().items():
        lines.append(f"{title}:")
        lines += [f"  {name:<14}{value}" for name, value in findings.items()]
    return "\n".join(lines)


def _versions() -> dict[str, str]:
    found = {"minimeta": minimeta.__version__, "python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            found[package] = "not installed"
    return found


def _devices() -> dict[str, str]:
    found = {"cpu": f"{torch.get_num_threads()} threads"}
    for i in range(torch.cuda.device_count()):
        memory = torch.cuda.get_device_properties(i).total_memory / 2**30
        found[f"cuda:{i}"] = f"{torch.cuda.get_device_name(i)}, {memory:.0f} GiB"
    if torch.backends.mps.is_available():
        found["mps"] = "Apple GPU"
    return found


def _data() -> dict[str, str]:
    found = {"glyphs": "in the package", "sinusoids": "made on the fly"}
    try:
        where = omniglot.available()
        found["looked in"] = ", ".join(map(str, data_dirs()))
        urls = " and ".join(ARCHIVES)
        found["omniglot"] = str(
            where or f"not here; `minimeta data get omniglot` would fetch {urls}"
        )
    except MinimetaError as error:
        found["omniglot"] = str(error)
    return found
