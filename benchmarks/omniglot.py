"""The papers' Omniglot table: ``python -m benchmarks.omniglot``, with the options of ``minimeta reproduce``.

Without options it does one cell that a CPU can do: Prototypical Networks, one seed, half
of the steps. With ``--collect`` it only writes down what is finished in the folder.
"""

import argparse
from pathlib import Path

from benchmarks.common import write
from minimeta import papertable, reproduce

FOLDER = Path("runs/reproduce")


def main(
    cells: tuple[str, ...] = ("protonet-5w1s",), seeds: int = 1, effort: float = 0.5,
    device: str = "cpu", folder: Path = FOLDER, collect: bool = False,
) -> None:  # fmt: skip
    """Train, test and write ``results/omniglot.json``: what this run and the runs before it finished."""
    if not collect:
        reproduce.omniglot(folder, cells=cells, seeds=range(seeds), effort=effort, device=device)
    rows = reproduce.collect(folder)
    print(papertable.report(rows))
    write("omniglot", "minimeta reproduce omniglot", rows)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cells", default="protonet-5w1s", help="names, with commas between")
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--effort", type=float, default=0.5)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--folder", type=Path, default=FOLDER)
    parser.add_argument("--collect", action="store_true")
    given = parser.parse_args()
    cells = tuple(c for c in given.cells.split(",") if c)
    main(cells, given.seeds, given.effort, given.device, given.folder, given.collect)
