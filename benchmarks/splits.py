"""The published weights on the characters they were trained on: ``python -m benchmarks.splits``.

A learner that falls short on new characters has learned too little, which shows on its training characters
too, or has learned these by heart, which shows in the distance between them and the new ones.
"""

import json
from pathlib import Path

import minimeta as mm
from benchmarks.common import write
from minimeta.weights import PRETRAINED

SPLITS, QUERIES = ("train", "val", "test"), 15
FOLDERS = (PRETRAINED, Path(__file__).parent / "weights")


def main(episodes: int = 500) -> None:
    """Test every published learner on tasks of all three splits and write ``results/splits.json``."""
    rows = []
    for path in sorted(p for folder in FOLDERS for p in folder.glob("*.safetensors")):
        learner = mm.load(path)
        card = json.loads(path.with_suffix(".json").read_text(encoding="utf8"))
        ways, shots = (card["tests"][0][word] for word in ("ways", "shots"))
        for split in SPLITS:
            source = mm.tasks("omniglot", split=split, ways=ways, shots=shots, queries=QUERIES)
            result = mm.meta_test(learner, source, episodes=episodes)
            print(f"{path.stem}: {result}", flush=True)
            row = {"name": path.stem, "split": split, "mean": result.mean, "ci95": result.ci95}
            rows.append(row | {"episodes": episodes, "bn": result.bn, "ways": ways, "shots": shots})
    write("splits", "python -m benchmarks.splits", rows)


if __name__ == "__main__":
    main()
