"""Error against gradient steps on sinusoids: ``python -m benchmarks.curves``."""

from pathlib import Path

from benchmarks.common import write
from benchmarks.omniglot import FOLDER
from minimeta import curves


def main(seeds: int = 3, effort: float = 1.0, folder: Path = FOLDER) -> None:
    """Measure ``minimeta reproduce sinusoids`` and write ``results/curves.json``."""
    rows = curves.sinusoids(folder, seeds=range(seeds), effort=effort)
    print(curves.report(rows))
    write("curves", "minimeta reproduce sinusoids", rows)


if __name__ == "__main__":
    main()
