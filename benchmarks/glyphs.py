"""Three learners on the embedded letters, a minute of training each: ``python -m benchmarks.glyphs``.

5-way 1-shot on the test scripts, the settings of ``minimeta demo``, several training seeds, each
normalisation mode that the networks allow.
"""

import argparse
from collections.abc import Sequence

from torch import nn

import minimeta as mm
from benchmarks.common import read, write
from minimeta import demo


def main(
    seeds: int = 3, episodes: int = 600, learners: Sequence[str] = tuple(demo.SETTINGS)
) -> None:
    """Train, test and write ``results/glyphs.json``; rows of other learners stay as they are."""
    test = mm.tasks("glyphs", split="test", ways=5, shots=1, queries=15)
    pixels = mm.meta_test(
        mm.ProtoNet(nn.Flatten()), test, episodes=episodes, name="nearest mean, pixels"
    )
    print(f"pixels: {pixels}", flush=True)
    rows: list[dict[str, object]] = [{"training_s": 0.0, **pixels.to_json()}]
    rows += [
        row for row in read("glyphs") or [] if row["learner"] in set(demo.SETTINGS) - set(learners)
    ]
    for name in learners:
        means = []
        for seed in range(seeds):
            learner, record = demo.train(name, seed=seed)
            for bn in ("batch", "support"):
                result = mm.meta_test(learner, test, episodes=episodes, bn=bn)
                rows.append(
                    {
                        "training_seed": seed, "training_s": round(record.seconds, 1),
                        "steps": len(record.losses), **result.to_json(),
                    }
                )  # fmt: skip
                print(f"seed {seed}, {record.seconds:.0f} s of training: {result}", flush=True)
                means += [result.mean] * (bn == "batch")
        if seeds > 1:
            spread = mm.half_width(means, over="seeds")
            print(f"{name}, bn=batch: {sum(means) / seeds:.3f} ± {spread:.3f} over {seeds} seeds")
    write("glyphs", "python -m benchmarks.glyphs", rows)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument(
        "--learners", nargs="+", choices=list(demo.SETTINGS), default=list(demo.SETTINGS)
    )
    given = parser.parse_args()
    main(given.seeds, learners=given.learners)
