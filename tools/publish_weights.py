"""Put trained learners, each with its card, where people find them.

    python tools/publish_weights.py runs/reproduce

Of all trainings of a preset that ``minimeta reproduce omniglot`` finished in that folder, the one with the
best score on *val* classes goes out: those for 5-way 1-shot into the package, the others to
``benchmarks/weights``.
"""

import json
import shutil
import sys
from pathlib import Path
from typing import Any

from minimeta import reproduce
from minimeta.presets import PRESETS

ROOT = Path(__file__).resolve().parent.parent
PACKAGE, BESIDE = ROOT / "minimeta" / "pretrained", ROOT / "benchmarks" / "weights"
CITATION = (
    "Lake, Salakhutdinov and Tenenbaum (2015), Human-level concept learning through probabilistic "
    "program induction; Omniglot, MIT licence"
)


def best(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Of every preset the training that scored best on val classes."""
    trainings: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        if row["method"] != "lake":
            trainings.setdefault(row["preset"], []).append(row)
    return [max(mine, key=_val_score) | {"compared": len(mine)} for mine in trainings.values()]


def _val_score(row: dict[str, Any]) -> float:
    return max((mean for _, mean in row["val"]), default=0.0)


def card(name: str, row: dict[str, Any]) -> dict[str, Any]:
    """Return what a user must know."""
    preset = PRESETS[row["preset"]]
    keys = ("ways", "shots", "queries", "episodes", "bn", "mean", "ci95")
    chosen = f", and of {row['compared']} trainings the best there" if row["compared"] > 1 else ""
    return {
        "name": name,
        "data": f"Omniglot, training classes of the Vinyals split, rotations as classes. {CITATION}",
        "training": {
            "preset": preset.name, "source": preset.source, "deviations": preset.deviations,
            "ways": preset.ways, "shots": preset.shots, "queries": preset.queries,
            **{k: row[k] for k in ("steps", "meta_batch", "effort", "seed", "seconds", "device", "threads", "torch")},
        },
        "selection": f"step {row['selected_step']}, the best on val classes{chosen}",
        "tests": [{k: test[k] for k in keys} for test in row["tests"]],
        "interval": "ci95 is over the test tasks, 1.96 standard errors",
        "limits": "28 x 28 pixels, one channel, ink = 1, paper = 0; drawn characters, not photographs",
        "licence": "MIT, as the package",
    }  # fmt: skip


def main(folder: Path) -> None:
    """Copy weights and write cards."""
    for row in best(reproduce.collect(folder)):
        preset = PRESETS[row["preset"]]
        ways = 5 if preset.method == "protonet" else preset.ways
        name = f"{preset.method}-omniglot-{ways}w{preset.shots}s"
        to = PACKAGE if (ways, preset.shots) == (5, 1) else BESIDE
        to.mkdir(parents=True, exist_ok=True)
        stem = f"{row['preset']}-seed{row['seed']}-effort{row['effort']:g}"
        shutil.copyfile(folder / f"{stem}.safetensors", to / f"{name}.safetensors")
        text = json.dumps(card(name, row), indent=1, ensure_ascii=False) + "\n"
        (to / f"{name}.json").write_text(text, encoding="utf8")
        print(f"{name}: {(to / name).relative_to(ROOT)}, seed {row['seed']}")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
