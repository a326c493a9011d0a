"""MAML against a jointly trained network on sinusoids: ``python -m benchmarks.sinusoids``.

K = 10, one gradient step at test. Both see the same tasks in the same order, with the same network,
optimiser and number of steps. The joint network is fitted to all 20 points of every task, without an
inner loop, and the rate of its one step at test is the best of a grid on val tasks.
"""

import argparse

import torch

import minimeta as mm
from benchmarks.common import check_seeds, write
from minimeta.curves import RATES, Joint


def trained(kind: type[mm.MAML], seed: int, steps: int) -> mm.MAML:
    """Meta-train the paper's network, with its inner rate."""
    torch.manual_seed(seed)
    learner = kind(mm.MLP(1, 1), inner_lr=0.01)
    optimizer = torch.optim.Adam(learner.parameters(), lr=3e-3)
    tasks = mm.tasks("sinusoids", shots=10, queries=10)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    record = mm.meta_train(
        learner,
        tasks,
        steps=steps,
        meta_batch=25,
        optimizer=optimizer,
        schedule=schedule,
        seed=seed,
    )
    print(f"seed {seed}, {kind.__name__}: {record}", flush=True)
    return learner


def main(seeds: int = 5, steps: int = 12_000, episodes: int = 2000) -> None:
    """Train both, compare and write ``results/sinusoids.json``."""
    check_seeds(seeds)
    val, test = (mm.tasks("sinusoids", split=s, shots=10, queries=10) for s in ("val", "test"))
    rows, ratios = [], []
    for seed in range(seeds):
        maml = mm.meta_test(trained(mm.MAML, seed, steps), test, episodes=episodes)
        learner = trained(Joint, seed, steps)
        scores = {}
        for learner.inner_lr in RATES:
            scores[learner.inner_lr] = mm.meta_test(learner, val, episodes=episodes).mean
        learner.inner_lr = min(scores, key=scores.__getitem__)
        joint = mm.meta_test(learner, test, episodes=episodes)
        ratios.append(joint.mean / maml.mean)
        print(
            f"MAML  {maml}\njoint {joint}, rate {learner.inner_lr}\nratio {ratios[-1]:.2f}",
            flush=True,
        )
        rows.append(
            {
                "training_seed": seed, "steps": steps, "maml": maml.to_json(), "joint": joint.to_json(),
                "joint_rate": learner.inner_lr, "joint_val": scores, "ratio": ratios[-1],
            }
        )  # fmt: skip
    mean, spread = sum(ratios) / seeds, mm.half_width(ratios, over="seeds")
    options = "" if (seeds, steps) == (5, 12_000) else f" --seeds {seeds} --steps {steps}"
    print(f"the joint network's error is {mean:.2f} ± {spread:.2f} times MAML's ({seeds} seeds)")
    write(
        "sinusoids", f"python -m benchmarks.sinusoids{options}",
        {"ratio_mean": mean, "ratio_ci95_over_seeds": spread, "seeds": rows},
    )  # fmt: skip


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=12_000)
    given = parser.parse_args()
    main(given.seeds, given.steps)
