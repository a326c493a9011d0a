"""Votes, means and a black box on the glyphs, twenty times chapter 11: ``python -m benchmarks.reading``.

The networks, tasks and seeds of the chapter's own small run, 5-way 1-shot training, 3,000 outer steps
in place of 150, the rate falling to 0. Tested with one shot and with five.
"""

import argparse

import torch

import minimeta as mm
from benchmarks.common import write

LEARNERS = {
    "ProtoNet": lambda: mm.ProtoNet(mm.Conv4(filters=16)),
    "MatchingNet, scale 10": lambda: mm.MatchingNet(mm.Conv4(filters=16), scale=10.0),
    "MatchingNet, scale 1": lambda: mm.MatchingNet(mm.Conv4(filters=16)),
    "SetLearner": lambda: mm.SetLearner(mm.Conv4(filters=16), width=64),
}


def main(seeds: int = 3, steps: int = 3000, episodes: int = 600) -> None:
    """Train, test and write ``results/reading.json``."""
    train = mm.tasks("glyphs", split="train", ways=5, shots=1, queries=3)
    rows: list[dict[str, object]] = []
    for name, make in LEARNERS.items():
        for seed in range(seeds):
            torch.manual_seed(seed)
            learner = make()
            optimizer = torch.optim.Adam(learner.parameters(), lr=3e-3)
            record = mm.meta_train(
                learner, train, steps=steps, meta_batch=1, optimizer=optimizer,
                schedule=torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps), seed=seed,
                progress=False,
            )  # fmt: skip
            for shots in (1, 5):
                test = mm.tasks("glyphs", split="test", ways=5, shots=shots, queries=15)
                result = mm.meta_test(learner, test, episodes=episodes, name=name)
                rows.append(
                    {
                        "training_seed": seed, "training_s": round(record.seconds, 1),
                        "steps": len(record.losses), **result.to_json(),
                    }
                )  # fmt: skip
                print(f"seed {seed}, {record.seconds:.0f} s of training: {result}", flush=True)
    write("reading", "python -m benchmarks.reading", rows)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=3)
    main(parser.parse_args().seeds)
