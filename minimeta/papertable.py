"""The papers' Omniglot table beside ours: twelve cells, with intervals, modes and time.

>>> len(CELLS), cell_name("maml", 5, 1)
(12, 'maml-5w1s')
"""

import statistics
from collections.abc import Iterable, Sequence
from typing import Any

from minimeta.evaluate import half_width

CELLS = [(m, n, k) for m in ("protonet", "relationnet", "maml") for n in (5, 20) for k in (1, 5)]
# accuracy in % and its interval: the papers, and the better of two reruns by others that report most
# cells (oscarknagg's and PaddleFSL's published results); None where there is none
PAPER: dict[str, tuple[float, float | None]] = {
    "protonet-5w1s": (98.8, None), "protonet-5w5s": (99.7, None), "protonet-20w1s": (96.0, None),
    "protonet-20w5s": (98.9, None), "relationnet-5w1s": (99.6, 0.2), "relationnet-5w5s": (99.8, 0.1),
    "relationnet-20w1s": (97.6, 0.2), "relationnet-20w5s": (99.1, 0.1), "maml-5w1s": (98.7, 0.4),
    "maml-5w5s": (99.9, 0.1), "maml-20w1s": (95.8, 0.3), "maml-20w5s": (98.9, 0.2),
}  # fmt: skip
RERUN: dict[str, float] = {
    "protonet-5w1s": 98.3, "protonet-5w5s": 99.4, "protonet-20w1s": 95.8, "protonet-20w5s": 98.6,
    "relationnet-5w1s": 98.0, "relationnet-5w5s": 99.3, "maml-5w1s": 98.1, "maml-5w5s": 99.8,
    "maml-20w1s": 91.6, "maml-20w5s": 95.9,
}  # fmt: skip
# what a run here should reach at least, in %: the paper less 0.3 for Prototypical Networks, and that
# rerun for the others, whose papers tested on other characters or chose weights on the test's
FLOOR = {
    cell: paper - 0.3 if cell.startswith("protonet") else RERUN.get(cell)
    for cell, (paper, _) in PAPER.items()
}
SEEDS = 3  # trainings that an interval over seeds should have at least


def cell_name(method: str, ways: int, shots: int) -> str:
    """Name a column of the table."""
    return f"{method}-{ways}w{shots}s"


def tasks_seen(row: dict[str, Any]) -> int:
    """Count the training tasks of a training."""
    return int(row["steps"] * row["meta_batch"])


def cell_rows(
    rows: Iterable[dict[str, Any]], cell: str, bn: str | None = None, *, every: bool = False
) -> list[Any]:
    """Return (training, test) of a cell, one for each seed, all of one preset and one length.

    Parameters
    ----------
    bn
        Which test; None: the one in the network's own mode.
    every
        Where a cell was trained for several lengths: all of them, shortest first. Otherwise only one:
        a length with three seeds before those with fewer, then the longest, whatever they scored, so
        that nothing is chosen on test classes.
    """
    groups: dict[tuple[Any, ...], dict[int, dict[str, Any]]] = {}
    for row in rows:
        if own := [t for t in _tests(row, cell) if t["own"]]:
            key = (tasks_seen(row), row["preset"], row["steps"], own[0]["episodes"])
            groups.setdefault(key, {}).setdefault(row["seed"], row)
    keys = sorted(groups)
    if not every:
        keys = sorted(keys, key=lambda key: len(groups[key]) >= SEEDS)[-1:]
    chosen = [(k, groups[k][seed]) for k in keys for seed in sorted(groups[k])]
    return [
        (row, test)
        for key, row in chosen for test in _tests(row, cell)
        if test["episodes"] == key[-1] and (test["own"] if bn is None else test["bn"] == bn)
    ]  # fmt: skip


def _tests(row: dict[str, Any], cell: str) -> list[dict[str, Any]]:
    return [t for t in row["tests"] if cell_name(row["method"], t["ways"], t["shots"]) == cell]


def table(rows: Sequence[dict[str, Any]], cells: Sequence[str] = ()) -> list[dict[str, str]]:
    """Lay the papers' numbers beside ours, in %; a cell that has not run says so."""
    lines = []
    for cell in cells or [cell_name(*cell) for cell in CELLS]:
        paper, interval = PAPER[cell]
        line = {
            "cell": cell, "paper": f"{paper:.1f}" + (f" ± {interval}" if interval else ""),
            "rerun": f"{RERUN[cell]:.1f}" if cell in RERUN else "",
        }  # fmt: skip
        own, inductive = cell_rows(rows, cell), cell_rows(rows, cell, "support")
        line["here"] = _written(own) or "not run"
        line["support"] = _written(inductive) or ("not run" if own else "")
        if 0 < len(inductive) < len(own):
            line["support"] += f" ({seeds(len(inductive))})"
        line["bn"] = ", ".join(dict.fromkeys(t["bn"] for _, t in own))
        line["seeds"] = str(len(own)) if own else ""
        line["effort"] = ", ".join(dict.fromkeys(f"{row['effort']:g}" for row, _ in own))
        seconds = [row["seconds"] for row, _ in own]
        line["minutes"] = f"{statistics.mean(seconds) / 60:.1f}" if seconds else ""
        line["steps"] = ", ".join(
            dict.fromkeys(f"{r['steps']:,} x {r['meta_batch']}" for r, _ in own)
        )
        line["device"] = ", ".join(dict.fromkeys(_where(row) for row, _ in own))
        lines.append(line)
    return lines


def _where(row: dict[str, Any]) -> str:
    threads = "1 thread" if row["threads"] == 1 else f"{row['threads']} threads"
    return f"CPU ({threads})" if row["device"] == "cpu" else str(row["device"])


def score(tests: Sequence[dict[str, Any]]) -> tuple[float, float]:
    """Mean in % and half its 95 % interval: over test tasks for one seed, else Student's t over seeds.

    >>> score([{"mean": 0.98, "ci95": 0.01}])
    (98.0, 1.0)
    """
    means = [test["mean"] for test in tests]
    half = tests[0]["ci95"] if len(tests) == 1 else half_width(means, over="seeds")
    return 100 * statistics.mean(means), 100 * half


def _written(found: Sequence[tuple[dict[str, Any], dict[str, Any]]]) -> str:
    return "{:.2f} ± {:.2f}".format(*score([test for _, test in found])) if found else ""


def report(rows: Sequence[dict[str, Any]], cells: Sequence[str] = ()) -> str:
    """Write the table as text: these cells, or all."""
    lines = table(rows, cells)
    heads = {
        "cell": "cell", "paper": "paper, %", "rerun": "rerun, %", "here": "here, %", "bn": "bn",
        "support": "bn=support, %", "seeds": "seeds", "steps": "steps x tasks", "effort": "effort",
        "minutes": "minutes",
    }  # fmt: skip
    width = {k: max(len(h), *(len(line[k]) for line in lines)) for k, h in heads.items()}
    shown = ["  ".join(line[k].ljust(width[k]) for k in heads).rstrip() for line in [heads, *lines]]
    return "\n".join(
        [*shown, "± over test tasks where there is one seed, else over seeds (Student's t)"]
    )


def lake_table(rows: Sequence[dict[str, Any]]) -> list[dict[str, str]]:
    """Lay out the error rates on Lake's 20 runs, in %: of the longest training, a line for each mode."""
    longest = max((row["steps"] for row in rows), default=0)
    rows = [row for row in rows if row["steps"] == longest]
    lines = []
    for bn in dict.fromkeys(t["bn"] for row in rows for t in row["tests"]):
        tests = [t for row in rows for t in row["tests"] if t["bn"] == bn]
        mean, half = score(tests)
        error = f"{100 - mean:.2f} ± {half:.2f}" + (" (runs)" if len(tests) == 1 else "")
        lines.append({"bn": bn, "error": error, "seeds": seeds(len(tests)), "steps": str(longest)})
    return lines


def seeds(number: int) -> str:
    """Count training seeds in words.

    >>> seeds(1), seeds(3)
    ('1 seed', '3 seeds')
    """
    return "1 seed" if number == 1 else f"{number} seeds"


def lake_report(rows: Sequence[dict[str, Any]]) -> str:
    """Write the error rates on Lake's 20 runs as text."""
    return "\n".join(
        f"bn={line['bn']}: error {line['error']} % ({line['seeds']}, 20 runs of 20 characters)"
        for line in lake_table(rows)
    )
