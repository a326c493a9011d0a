"""The commands that repeat the papers' experiments: ``minimeta reproduce`` and ``minimeta speedrun``."""

import argparse
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from minimeta import curves, papertable, reproduce, speedrun
from minimeta.errors import MinimetaError, check_count
from minimeta.papertable import CELLS, cell_name

REPRODUCE = """Everything is saved in --out as it is done, so the same command goes on after a stop.
A cell that has not run says so. On a GPU give --device cuda; on a CPU a cell takes from ten minutes to
hours, and --effort 0.25 takes a quarter of the steps and says so in the results."""


def add_commands(commands: Any) -> None:
    """Add both commands to the parser."""
    shape = argparse.ArgumentDefaultsHelpFormatter
    one = commands.add_parser(
        "reproduce", help="fill the papers' tables, cell by cell", description=REPRODUCE,
        formatter_class=shape,
    )  # fmt: skip
    one.add_argument("what", choices=sorted(EXPERIMENTS), help="which experiment")
    one.add_argument(
        "--cells", default="", metavar="CELL,CELL",
        help=f"omniglot: which of {', '.join(cell_name(*c) for c in CELLS)}; left out: all",
    )  # fmt: skip
    one.add_argument(
        "--kind", choices=("tuned", "paper"), default="tuned", help="omniglot: whose settings"
    )
    one.add_argument("--seeds", type=int, default=3, help="training seeds: 0, 1, ...")
    _common(one)
    one.add_argument(
        "--out", type=Path, default=Path("runs/reproduce"), help="folder for what is done so far"
    )
    one.add_argument("--report", action="store_true", help="omniglot: only show what is done")
    one.set_defaults(run=_reproduce)

    one = commands.add_parser(
        "speedrun", help="time from nothing to the paper's 5-way 1-shot accuracy", formatter_class=shape
    )  # fmt: skip
    one.add_argument("method", choices=sorted(speedrun.RUNS), help="which learner")
    one.add_argument("--seed", type=int, default=0, help="of the start and the tasks")
    _common(one)
    one.set_defaults(run=_speedrun)


def _common(one: argparse.ArgumentParser) -> None:
    one.add_argument("--effort", type=float, default=1.0, help="fraction of the training steps")
    one.add_argument("--episodes", type=int, help="test tasks, if not 1000")
    one.add_argument("--device", help="cpu, cuda or cuda:1, if not cpu")
    one.add_argument("--json", action="store_true", help="print the outcome as JSON")


def _omniglot(given: argparse.Namespace, say: Callable[[str], object]) -> tuple[Any, str]:
    cells = reproduce.known_cells(c.strip() for c in given.cells.split(",") if c.strip())
    if given.report:
        rows = reproduce.collect(given.out)
    else:
        rows = reproduce.omniglot(
            given.out, cells=cells, kind=given.kind, seeds=range(given.seeds), effort=given.effort,
            episodes=_episodes(given), device=given.device or "cpu", say=say,
        )  # fmt: skip
    rows = [row for row in rows if row["kind"] == given.kind]  # the folder may hold both
    return rows, papertable.report(rows, cells)


def _lake(given: argparse.Namespace, say: Callable[[str], object]) -> tuple[Any, str]:
    _refuse(given, "episodes")  # there are 20 runs, no more and no less
    rows = reproduce.lake(
        given.out, seeds=range(given.seeds), effort=given.effort, device=given.device or "cpu", say=say
    )  # fmt: skip
    return rows, papertable.lake_report(rows)


def _sinusoids(given: argparse.Namespace, say: Callable[[str], object]) -> tuple[Any, str]:
    _refuse(given, "device")  # networks this small are faster on a processor
    rows = curves.sinusoids(
        given.out, seeds=range(given.seeds), effort=given.effort, episodes=_episodes(given), say=say
    )  # fmt: skip
    return rows, curves.report(rows)


def _episodes(given: argparse.Namespace) -> int:
    return 1000 if given.episodes is None else int(given.episodes)


def _refuse(given: argparse.Namespace, option: str) -> None:
    if getattr(given, option) is not None:
        raise MinimetaError(f"--{option} is not for {given.what}; leave it out.")


EXPERIMENTS = {"omniglot": _omniglot, "lake": _lake, "sinusoids": _sinusoids}


def _reproduce(given: argparse.Namespace) -> None:
    check_count("--seeds", given.seeds)
    if (given.cells or given.report or given.kind != "tuned") and given.what != "omniglot":
        raise MinimetaError(f"--cells, --kind and --report are for omniglot, not for {given.what}.")
    say = (lambda text: None) if given.json else print
    rows, text = EXPERIMENTS[given.what](given, say)
    print(json.dumps(rows) if given.json else text)


def _speedrun(given: argparse.Namespace) -> None:
    row = speedrun.run(
        given.method, device=given.device or "cpu", effort=given.effort, seed=given.seed,
        episodes=_episodes(given),
    )  # fmt: skip
    print(json.dumps(row) if given.json else speedrun.report(row))
