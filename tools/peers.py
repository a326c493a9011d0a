"""Fetch the other libraries' own code that tests and benchmarks compare with, into ``.peers/``.

    python tools/peers.py            # learn2learn's source: what the tests need
    python tools/peers.py --all      # also torchopt and easyfsl, and learn2learn's sampler compiled
                                     # (that needs Cython and a C compiler): what the benchmarks need

learn2learn 0.2.0 does not install on current Pythons (its shipped C does not compile), so its source
archive is unpacked and only its pure-Python files are imported. easyfsl asks for torchvision and pandas,
which its methods do not use. Nothing of them is part of minimeta.
"""

import argparse
import importlib
import importlib.metadata as metadata
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


def others() -> None:
    """Install torchopt, higher's successor in use, and easyfsl beside learn2learn, without what they ask for."""
    wanted = {"torchopt": "0.7.3", "optree": "0.20.0", "graphviz": "0.21", "easyfsl": "1.5.0"}
    for name, version in wanted.items():
        if not any(PEERS.glob(f"site/{name}-{version}*")):
            subprocess.run(
                [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--target", str(PEERS / "site"),
                 "--upgrade", f"{name}=={version}"],
                check=True,
            )  # fmt: skip


def versions() -> dict[str, str]:
    """Say which version of each library is compared with."""
    installed = (
        metadata.distributions(name="higher"),
        metadata.distributions(path=[str(PEERS / "site")]),
    )
    found = {d.name: d.version for some in installed for d in some}
    wanted = ("higher", "torchopt", "easyfsl")
    return {"learn2learn": SOURCE.name.split("-")[1], **{name: found[name] for name in wanted}}


def easyfsl(method: str) -> ModuleType:
    """Import one method of easyfsl without its package files, which need torchvision."""
    stand_in = types.ModuleType("easyfsl.modules.predesigned_modules")
    stand_in.default_relation_module = None  # type: ignore[attr-defined]  # we give our own
    sys.modules.setdefault(stand_in.__name__, stand_in)
    return _module(
        "easyfsl", PEERS / "site" / "easyfsl", ("methods", "modules"), f"methods.{method}"
    )


def torchopt() -> ModuleType:
    """Import torchopt."""
    site = str(PEERS / "site")
    if site not in sys.path:
        sys.path.append(site)
    return importlib.import_module("torchopt")


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
    return [_module("learn2learn", root, ("algorithms", "data"), name) for name in modules]


def _module(package: str, root: Path, parts: tuple[str, ...], name: str) -> ModuleType:
    """Import ``package.name`` from the folder ``root``, with empty package files in its place."""
    for whole in (package, *(f"{package}.{part}" for part in parts)):
        if whole not in sys.modules:
            empty = types.ModuleType(whole)
            empty.__path__ = [str(root.joinpath(*whole.split(".")[1:]))]
            sys.modules[whole] = empty
            parent, _, child = whole.rpartition(".")
            if parent:
                setattr(sys.modules[parent], child, empty)
    return importlib.import_module(f"{package}.{name}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--all", action="store_true")
    if parser.parse_args().all:
        build()
        others()
    print(f"learn2learn's source is in {fetch().relative_to(PEERS.parent)}")
