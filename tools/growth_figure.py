"""Draw ``book/_static/growth.svg`` from ``benchmarks/results/growth.json``: python tools/growth_figure.py."""

import matplotlib

matplotlib.use("svg")

from pathlib import Path

import matplotlib.pyplot as plt
from sync import read

from minimeta import viz

OUT = Path(__file__).resolve().parent.parent / "book" / "_static" / "growth.svg"
NAMES = {
    "tasks": "tasks", "ways": "ways", "shots": "shots", "steps": "inner steps", "size": "pixels a side",
}  # fmt: skip


def main() -> None:
    """One column a curve: time above, extra memory below."""
    rows = read("growth")
    viz.use_style()
    matplotlib.rcParams["svg.hashsalt"] = "growth"  # the same bytes every time
    figure, axes = plt.subplots(2, len(NAMES), figsize=(9, 3.8), sharey="row", layout="constrained")
    for column, (curve, label) in zip(axes.T, NAMES.items(), strict=True):
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
    figure.savefig(OUT, metadata={"Date": None})


if __name__ == "__main__":
    main()
