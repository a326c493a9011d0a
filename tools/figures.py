"""Draw the figures of ``book/_static`` that show files of ``benchmarks/results``: python tools/figures.py."""

import matplotlib

matplotlib.use("svg")

import hashlib
import json
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt

from minimeta import viz
from minimeta.viz.charts import COLOURS

ROOT = Path(__file__).resolve().parent.parent
GROWS = {
    "tasks": "tasks", "ways": "ways", "shots": "shots", "steps": "inner steps", "size": "pixels a side",
}  # fmt: skip


def growth(rows: list[dict[str, Any]]) -> Any:
    """One column for what grows: time above, extra memory below."""
    figure, axes = plt.subplots(2, len(GROWS), figsize=(9, 3.8), sharey="row", layout="constrained")
    for column, (curve, label) in zip(axes.T, GROWS.items(), strict=True):
        mine = [r for r in rows if r["curve"] == curve]
        at = [r[curve] for r in mine]
        for axis, key in zip(column, ("ms", "extra_mib"), strict=True):
            axis.plot(at, [r[key] for r in mine], marker="o", color=viz.PALETTE["blue"])
            axis.set(xscale="log", yscale="log")
            axis.set_xticks(at, [str(a) for a in at])
            axis.set_yticks([30, 100, 300, 1000], ["30", "100", "300", "1000"])
            axis.minorticks_off()
        column[1].set_xlabel(label)
    axes[0, 0].set_ylabel("time, ms")
    axes[1, 0].set_ylabel("extra memory, MiB")
    return figure


def curves(rows: list[dict[str, Any]]) -> Any:
    """One chart for each K: error against gradient steps, a line for each start."""
    figure, axes = plt.subplots(1, 2, figsize=(7, 3), sharey=True, layout="constrained")
    for axis, shots in zip(axes, (5, 10), strict=True):
        methods = dict.fromkeys(r["method"] for r in rows)
        for method, colour in zip(methods, COLOURS, strict=False):
            mine = [r for r in rows if (r["shots"], r["method"]) == (shots, method)]
            at, mean = [r["inner_steps"] for r in mine], [r["mse"] for r in mine]
            axis.plot(at, mean, marker="o", color=colour, label=method)
            # an interval may reach below zero, which an error never is
            low = [max(r["mse"] - r["ci95_over_seeds"], 0.05) for r in mine]
            high = [r["mse"] + r["ci95_over_seeds"] for r in mine]
            axis.fill_between(at, low, high, color=colour, alpha=0.15, linewidth=0)
        axis.set(xlabel="gradient steps", title=f"K = {shots}", yscale="log", ylim=(0.08, 8))
        axis.set_yticks([0.1, 0.3, 1, 3], ["0.1", "0.3", "1", "3"])
        axis.minorticks_off()
    axes[0].set_ylabel("mean squared error")
    axes[0].legend(loc="lower left")
    return figure


FIGURES = {"growth": growth, "curves": curves}


def stamp(name: str) -> str:
    """Return what a figure must carry to be of the results there are now."""
    file = ROOT / "benchmarks" / "results" / f"{name}.json"
    return hashlib.sha256(file.read_bytes()).hexdigest()


def main() -> None:
    """Draw them all."""
    viz.use_style()
    for name, draw in FIGURES.items():
        file = ROOT / "benchmarks" / "results" / f"{name}.json"
        matplotlib.rcParams["svg.hashsalt"] = name  # the same bytes every time
        figure = draw(json.loads(file.read_text(encoding="utf8"))["results"])
        out = ROOT / "book" / "_static" / f"{name}.svg"
        figure.savefig(out, metadata={"Date": None, "Description": stamp(name)})


if __name__ == "__main__":
    main()
