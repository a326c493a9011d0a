"""What having minimeta costs, beside the peers: ``python -m benchmarks.footprint``.

Import time and size of minimeta as it is here; and for it and each peer what ``pip install`` would bring
along beside torch and its needs, and what of it would have to be built from source. Asks the package index.
"""

import importlib.metadata as metadata
import json
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import minimeta
from benchmarks.common import write

ROOT = Path(__file__).resolve().parent.parent
PEERS = ("learn2learn", "higher", "torchopt", "easyfsl")


def import_seconds(module: str, rounds: int = 7) -> float:
    """Median over fresh processes of importing ``module``, less starting Python."""

    def once(code: str) -> float:
        start = time.perf_counter()
        subprocess.run([sys.executable, "-c", code], check=True)
        return time.perf_counter() - start

    return statistics.median(once(f"import {module}") - once("pass") for _ in range(rounds))


def needs(*names: str) -> dict[str, str]:
    """Ask pip what installing would bring: name -> the file it would come in."""
    run = subprocess.run(
        [
            sys.executable, "-m", "pip", "install", "--dry-run", "--ignore-installed", "--quiet",
            "--disable-pip-version-check", "--report", "-", *names,
        ],
        capture_output=True, text=True, cwd=ROOT,
    )  # fmt: skip
    if run.returncode:
        raise RuntimeError(run.stderr.strip().splitlines()[-1])
    items = json.loads(run.stdout)["install"]
    return {i["metadata"]["name"]: i["download_info"]["url"].rpartition("/")[2] for i in items}


def beside(name: str, torch: dict[str, str]) -> dict[str, Any]:
    """Count what comes with a package beside torch and its needs."""
    try:
        found = needs("." if name == "minimeta" else name)
    except RuntimeError as error:
        return {"package": name, "fails": str(error)}
    own = {n: file for n, file in found.items() if n.lower() not in {t.lower() for t in torch}}
    built = sorted(n for n, file in own.items() if not file.endswith(".whl") and n != "minimeta")
    return {"package": name, "packages": len(own), "built_from_source": built}


def main() -> None:
    """Measure and write ``results/footprint.json``."""
    package = Path(minimeta.__file__).parent
    files = [p for p in package.rglob("*") if p.is_file() and p.suffix != ".pyc"]
    code = [p for p in files if p.suffix == ".py"]
    requires = [r for r in metadata.requires("minimeta") or [] if "extra" not in r]
    torch = needs("torch")
    results = {
        "import_s": {m: round(import_seconds(m), 2) for m in ("torch", "minimeta")},
        "package_kib": round(sum(p.stat().st_size for p in files) / 1024),
        "code_kib": round(sum(p.stat().st_size for p in code) / 1024),
        "lines_of_code": sum(len(p.read_text(encoding="utf8").splitlines()) for p in code),
        "dependencies": len(requires),
        "beside_torch": [beside(name, torch) for name in ("minimeta", *PEERS)],
    }
    print(results)
    write("footprint", "python -m benchmarks.footprint", results)


if __name__ == "__main__":
    main()
