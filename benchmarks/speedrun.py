"""From nothing to the papers' accuracy, each method in a fresh process: ``python -m benchmarks.speedrun``.

On a GPU all three methods take all their steps. On a processor that takes hours, so one method takes a
quarter of its steps: the row says how far that leads.
"""

import argparse
import json
import subprocess
import sys
from typing import Any

import torch

from benchmarks.common import processor, read, write
from minimeta.speedrun import RUNS

CLI = "import sys; from minimeta.cli import main; sys.exit(main())"


def main(methods: tuple[str, ...] = (), effort: float | None = None, device: str = "") -> None:
    """Run the methods and write ``results/speedrun.json``, beside the rows of other machines."""
    device = device or ("cuda" if torch.cuda.is_available() else "cpu")
    methods = methods or (("protonet",) if device == "cpu" else tuple(RUNS))
    effort = effort or (0.25 if device == "cpu" else 1.0)
    rows = {_key(row): row for row in read("speedrun") or []}
    for method in methods:
        command = ["speedrun", method, "--device", device, "--effort", str(effort), "--json"]
        done = subprocess.run(
            [sys.executable, "-c", CLI, *command], stdout=subprocess.PIPE, text=True, check=True
        )
        row = json.loads(done.stdout.splitlines()[-1]) | {"processor": processor()}
        rows[_key(row)] = row
        print(f"{method}: {100 * row['mean']:.2f} % after {row['seconds']} s", flush=True)
    write("speedrun", "python -m benchmarks.speedrun", list(rows.values()))


def _key(row: dict[str, Any]) -> tuple[Any, ...]:
    return tuple(row[k] for k in ("method", "processor", "machine", "steps", "seed"))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--methods", default="", help="names, with commas between")
    parser.add_argument("--effort", type=float, help="fraction of the preset's steps")
    parser.add_argument("--device", default="")
    given = parser.parse_args()
    main(tuple(m for m in given.methods.split(",") if m), given.effort, given.device)
