"""What having minimeta costs: import time and installed size: ``python -m benchmarks.footprint``."""

import importlib.metadata as metadata
import statistics
import subprocess
import sys
import time
from pathlib import Path

import minimeta
from benchmarks.common import write


def import_seconds(module: str, rounds: int = 7) -> float:
    """Median over fresh processes of importing ``module``, less starting Python."""

    def once(code: str) -> float:
        start = time.perf_counter()
        subprocess.run([sys.executable, "-c", code], check=True)
        return time.perf_counter() - start

    return statistics.median(once(f"import {module}") - once("pass") for _ in range(rounds))


def main() -> None:
    """Measure and write ``results/footprint.json``."""
    package = Path(minimeta.__file__).parent
    files = [p for p in package.rglob("*") if p.is_file() and p.suffix != ".pyc"]
    code = [p for p in files if p.suffix == ".py"]
    needs = [r for r in metadata.requires("minimeta") or [] if "extra" not in r]
    results = {
        "import_s": {m: round(import_seconds(m), 2) for m in ("torch", "minimeta")},
        "package_kib": round(sum(p.stat().st_size for p in files) / 1024),
        "code_kib": round(sum(p.stat().st_size for p in code) / 1024),
        "lines_of_code": sum(len(p.read_text(encoding="utf8").splitlines()) for p in code),
        "dependencies": len(needs),
    }
    print(results)
    write("footprint", "python -m benchmarks.footprint", results)


if __name__ == "__main__":
    main()
