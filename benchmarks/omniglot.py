"""The papers' Omniglot table: ``python -m benchmarks.omniglot``, with the options of ``minimeta reproduce``.

Without options it does one cell that a CPU can do: Prototypical Networks, one seed, half
of the steps. With ``--collect`` it only adds what is finished in the folder.
"""

import argparse
from pathlib import Path
from typing import Any

from benchmarks.common import read, write
from minimeta import papertable, reproduce

FOLDER = Path("runs/reproduce")


def merged(old: list[dict[str, Any]], new: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return all trainings, a new one in the place of an old one with its settings: nothing is lost.

    What the old one was tested on stays where the new one is the same weights.
    """
    trainings: dict[tuple[Any, ...], dict[str, Any]] = {}
    for row in old + new:
        key = tuple(row[k] for k in ("method", "preset", "seed", "effort"))
        before = trainings.get(key)
        trainings[key] = row
        if before and before.get("weights") == row["weights"]:
            done = {_test(test) for test in row["tests"]}
            kept = [test for test in before["tests"] if _test(test) not in done]
            trainings[key] = row | {"tests": [*row["tests"], *kept]}
    return [trainings[key] for key in sorted(trainings)]


def _test(test: dict[str, Any]) -> tuple[Any, ...]:
    return tuple(test[k] for k in ("ways", "shots", "bn"))


def main(
    cells: tuple[str, ...] = ("protonet-5w1s",), seeds: int = 1, effort: float = 0.5,
    device: str = "cpu", folder: Path = FOLDER, collect: bool = False,
) -> None:  # fmt: skip
    """Train, test and write ``results/omniglot.json``, beside the trainings that it holds already."""
    if not collect:
        reproduce.omniglot(folder, cells=cells, seeds=range(seeds), effort=effort, device=device)
    rows = merged(read("omniglot") or [], reproduce.collect(folder))
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
