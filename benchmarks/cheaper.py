"""MAML and its cheaper relatives side by side: ``python -m benchmarks.cheaper``.

Accuracy on the embedded letters, 5-way 1-shot, after equal outer steps, over several training seeds; the
time of an outer step, measured in turns on one batch; and the peak of extra memory, each in a process
of its own, since the peak of a process's memory never falls again. Inner rates are not tuned for each.
"""

import argparse
import json
import resource
import statistics
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import torch
from torch import nn

import minimeta as mm
from benchmarks.common import interleaved, write

STEPS, META_BATCH, INNER = 300, 4, 3


def classifier() -> mm.Conv4:
    """Return the network that all methods with a head share."""
    return mm.Conv4(ways=5, filters=16, layout="strided")


def encoder() -> mm.Conv4:
    """Return the same network without its head."""
    return mm.Conv4(filters=16, layout="strided")


METHODS: dict[str, Callable[[], nn.Module]] = {
    "MAML": lambda: mm.MAML(classifier(), inner_lr=0.4, inner_steps=INNER),
    "FOMAML": lambda: mm.MAML(classifier(), inner_lr=0.4, inner_steps=INNER, first_order=True),
    "Reptile": lambda: mm.Reptile(classifier(), inner_lr=0.2, inner_steps=INNER),
    "ANIL": lambda: mm.MAML(classifier(), inner_lr=0.4, inner_steps=INNER, adapts="head"),
    "ProtoMAML": lambda: mm.ProtoMAML(encoder(), inner_lr=0.05, inner_steps=INNER),
    "implicit MAML": lambda: mm.ImplicitMAML(
        classifier(), penalty=0.5, inner_lr=0.4, inner_steps=5, cg_steps=3
    ),
    "ProtoNet": lambda: mm.ProtoNet(encoder()),
}


def make(name: str, seed: int) -> nn.Module:
    """Return a fresh learner; the same network for the same seed, where the methods share one."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return METHODS[name]()


def stepper(learner: nn.Module, episode: mm.Episode) -> Callable[[], None]:
    """Return a function that computes the learner's meta-gradient once."""

    def step() -> None:
        learner.zero_grad()
        learner.loss(episode).backward()  # type: ignore[operator]

    return step


def memory(name: str, tasks: int) -> float:
    """Return the peak of extra memory of one meta-gradient, MiB, in this process."""
    torch.set_num_threads(1)
    # noise instead of letters: reading those has a peak of its own, which would hide a smaller one
    items, sizes = torch.rand(10 * 16, 1, 28, 28), torch.full((10,), 16)
    pool = mm.ClassPool(items, sizes, tuple(map(str, range(10))))
    source = mm.tasks(pool, ways=5, shots=1, queries=15)
    small, episode = source.at([0]), source.at(range(tasks))
    learner = make(name, 0)
    stepper(learner, small)()  # libraries are up, on one task
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    stepper(learner, episode)()
    return (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024


def peak(name: str, tasks: int = 32) -> float:
    """Measure ``memory`` in a process of its own."""
    run = subprocess.run(
        [sys.executable, "-m", "benchmarks.cheaper", "--memory", name, str(tasks)],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    return float(json.loads(run.stdout.splitlines()[-1]))


def main(seeds: int = 3, steps: int = STEPS, episodes: int = 300) -> None:
    """Measure all methods and write ``results/cheaper.json``."""
    # first, while this process is small: a child's peak begins at its parent's size
    peaks = {name: peak(name) for name in METHODS}
    print(peaks, flush=True)
    train = mm.tasks("glyphs", split="train", ways=5, shots=1, queries=5)
    test = mm.tasks("glyphs", split="test", ways=5, shots=1, queries=15)
    batch = train.at(range(META_BATCH), seed=1)
    seconds = interleaved({n: stepper(make(n, 0), batch) for n in METHODS}, rounds=15)
    rows = []
    for name in METHODS:
        means = []
        for seed in range(seeds):
            learner = make(name, seed)
            mm.meta_train(
                learner, train, steps=steps, meta_batch=META_BATCH, lr=3e-3, seed=seed,
                progress=False,
            )  # fmt: skip
            means.append(mm.meta_test(learner, test, episodes=episodes).mean)
        row: dict[str, Any] = {
            "method": name, "means": [round(m, 4) for m in means], "mean": sum(means) / seeds,
            "ci95_seeds": mm.half_width(means, over="seeds"), "steps": steps,
            "meta_batch": META_BATCH, "episodes": episodes,
            "step_ms": round(1e3 * statistics.median(seconds[name]), 1),
            "extra_mib": round(peaks[name], 1), "memory_tasks": 32,
        }  # fmt: skip
        rows.append(row)
        print(row, flush=True)
    pixels = mm.meta_test(mm.ProtoNet(nn.Flatten()), test, episodes=episodes)
    rows.append({"method": "pixels", "mean": pixels.mean, "ci95": pixels.ci95})
    usual = (seeds, steps, episodes) == (3, STEPS, 300)
    options = "" if usual else f" --seeds {seeds} --steps {steps} --episodes {episodes}"
    write("cheaper", f"python -m benchmarks.cheaper{options}", rows)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=STEPS)
    parser.add_argument("--episodes", type=int, default=300)
    parser.add_argument("--memory", nargs=2, metavar=("METHOD", "TASKS"))
    given = parser.parse_args()
    if given.memory:
        print(json.dumps(memory(given.memory[0], int(given.memory[1]))))
    else:
        main(given.seeds, given.steps, given.episodes)
