"""ProtoNet on Omniglot, ten minutes of training at most: ``python -m benchmarks.omniglot``.

Vinyals split with rotations as classes, 5-way 1-shot, 600 episodes of 15 queries, weights selected
on val classes.
"""

import torch

import minimeta as mm
from benchmarks.common import write

STEPS, WAYS, QUERIES, LR = 3000, 30, 3, 2e-3


def main(seed: int = 0) -> None:
    """Train, test and write ``results/omniglot_protonet.json``."""
    train = mm.tasks("omniglot", split="train", ways=WAYS, shots=1, queries=QUERIES)
    val = mm.tasks("omniglot", split="val", ways=5, shots=1, queries=15)
    test = mm.tasks("omniglot", split="test", ways=5, shots=1, queries=15)
    torch.manual_seed(seed)
    learner = mm.ProtoNet(mm.Conv4())
    optimizer = torch.optim.Adam(learner.parameters(), lr=LR)
    record = mm.meta_train(
        learner, train, steps=STEPS, meta_batch=1, optimizer=optimizer,
        schedule=torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, STEPS),
        val_tasks=val, val_every=500, val_episodes=200, seed=seed,
    )  # fmt: skip
    print(record)
    rows = []
    for bn in ("batch", "support"):
        result = mm.meta_test(learner, test, episodes=600, bn=bn)
        print(result, flush=True)
        rows.append(
            {"training_s": round(record.seconds, 1), "training_seed": seed, **result.to_json()}
        )
    write("omniglot_protonet", "python -m benchmarks.omniglot", rows)


if __name__ == "__main__":
    main()
