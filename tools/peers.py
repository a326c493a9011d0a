"""Fetch the other libraries' own code that tests and benchmarks compare with, into ``.peers/``.

    python tools/peers.py            # learn2learn's source: what the tests need
    python tools/peers.py --build    # also compile its sampler (needs Cython and a C compiler)

learn2learn 0.2.0 does not install on current Pythons (its shipped C does not compile), so its source
archive is unpacked and only its pure-Python files are imported. Nothing of it is part of minimeta.
"""

import argparse
import importlib
import subprocess
import sys
import tarfile
import tempfile
import types
from pathlib import Path
from types import ModuleType

PEERS = Path(__file__).resolve().parent.parent / ".peers"
SOURCE = PEERS / "learn2learn-0.2.0"


def fetch() -> Path:
    """Download and unpack learn2learn's source archive once."""
    if not SOURCE.exists():
        PEERS.mkdir(exist_ok=True)
        with tempfile.TemporaryDirectory(dir=PEERS) as folder:
            subprocess.run(
                [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "--no-binary", ":all:",
                 "learn2learn==0.2.0", "-d", folder],
                check=True,
            )  # fmt: skip
            with tarfile.open(Path(folder) / "learn2learn-0.2.0.tar.gz") as archive:
                archive.extractall(folder, filter="data")
            (Path(folder) / SOURCE.name).rename(SOURCE)
    return SOURCE


def build() -> None:
    """Compile learn2learn's Cython sampler in place, from its .pyx files."""
    data = fetch() / "learn2learn" / "data"
    if any(data.glob("transforms.*.so")) or any(data.glob("transforms.*.pyd")):
        return
    for stale in data.glob("*.c*"):
        if stale.suffix in (".c", ".cpp"):
            stale.unlink()
    sources = [str(path) for path in sorted(data.glob("*.pyx"))]
    subprocess.run([sys.executable, "-m", "Cython.Build.Cythonize", "-i", *sources], check=True)


def learn2learn(*modules: str) -> list[ModuleType]:
    """Import single modules of learn2learn without running its package file, which needs far more."""
    root = SOURCE / "learn2learn"
    for name in ("learn2learn", "learn2learn.algorithms", "learn2learn.data"):
        if name not in sys.modules:
            package = types.ModuleType(name)
            package.__path__ = [str(root.joinpath(*name.split(".")[1:]))]
            sys.modules[name] = package
            parent, _, child = name.rpartition(".")
            if parent:
                setattr(sys.modules[parent], child, package)
    return [importlib.import_module(f"learn2learn.{name}") for name in modules]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--build", action="store_true")
    if parser.parse_args().build:
        build()
    print(f"learn2learn's source is in {fetch().relative_to(PEERS.parent)}")
