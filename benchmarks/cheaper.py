"""MAML and its cheaper relatives side by side: ``python -m benchmarks.cheaper``.

On the embedded letters, 5-way 1-shot, over several training seeds, after equal outer steps: accuracy on
val classes at five looks along the way, and on test classes of the weights that scored best at these; the
time and the peak of extra memory of a meta-gradient, as the package computes it and as one plain graph
(the same code for all methods); what is left of the accuracy when only a part may adapt at test time.
Inner rates are not tuned for each method. Memory is measured in a process for each figure, since the peak
of a process never falls again.
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
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call

import minimeta as mm
from benchmarks.common import check_seeds, interleaved, write

STEPS, META_BATCH, INNER, EPISODES, LOOKS = 200, 4, 3, 200, 5
PENALTY, IMPLICIT_LR = 0.5, 0.1  # of implicit MAML


def classifier(filters: int) -> mm.Conv4:
    """Return the network that all methods with a head share."""
    return mm.Conv4(ways=5, filters=filters, layout="strided")


def encoder(filters: int) -> mm.Conv4:
    """Return the same network without its head."""
    return mm.Conv4(filters=filters, layout="strided")


METHODS: dict[str, Callable[..., nn.Module]] = {
    "MAML": lambda f, k=INNER: mm.MAML(classifier(f), inner_lr=0.4, inner_steps=k),
    "FOMAML": lambda f, k=INNER: mm.MAML(
        classifier(f), inner_lr=0.4, inner_steps=k, first_order=True
    ),
    "Reptile": lambda f, k=INNER: mm.Reptile(classifier(f), inner_lr=0.2, inner_steps=k),
    "ANIL": lambda f, k=INNER: mm.MAML(classifier(f), inner_lr=0.4, inner_steps=k, adapts="head"),
    "ProtoMAML": lambda f, k=INNER: mm.ProtoMAML(encoder(f), inner_lr=0.05, inner_steps=k),
    "implicit MAML": lambda f, k=16: mm.ImplicitMAML(
        classifier(f), penalty=PENALTY, inner_lr=IMPLICIT_LR, inner_steps=k, cg_steps=5
    ),
    "ProtoNet": lambda f: mm.ProtoNet(encoder(f)),
}
GROWING = ("MAML", "FOMAML", "implicit MAML")  # whose memory is measured against the inner steps
# what may move in the inner loop of a trained MAML, by name
PARTS: dict[str, Callable[[str], bool]] = {
    "all": lambda name: True,
    "body": lambda name: not name.startswith("head"),
    "block 4": lambda name: name.startswith("blocks.3"),
    "blocks 1-3": lambda name: name.startswith(("blocks.0", "blocks.1", "blocks.2")),
    "head": lambda name: name.startswith("head"),
    "nothing": lambda name: False,
}


def make(name: str, seed: int, *inner_steps: int, filters: int = 16) -> nn.Module:
    """Return a fresh learner; the same network for the same seed, where the methods share one."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return METHODS[name](filters, *inner_steps)


def plain_loss(learner: nn.Module, episode: mm.Episode) -> Tensor:
    """Return the training loss as one plain graph, for those that train on the loss of their scores."""
    if isinstance(learner, mm.Reptile | mm.ImplicitMAML):
        return learner.loss(episode)
    return F.cross_entropy(learner(episode).mT, episode.query_y)


def stepper(learner: nn.Module, episode: mm.Episode, *, plain: bool) -> Callable[[], None]:
    """Return a function that computes the learner's meta-gradient once."""

    def step() -> None:
        learner.zero_grad()
        loss = plain_loss(learner, episode) if plain else learner.loss(episode)  # type: ignore[operator]
        loss.backward()

    return step


def memory(name: str, plain: bool, *inner_steps: int) -> float:
    """Return the peak of extra memory of one meta-gradient of 32 tasks, MiB, in this process."""
    torch.set_num_threads(1)
    # noise instead of letters: reading those has a peak of its own, which would hide a smaller one
    items, sizes = torch.rand(10 * 16, 1, 28, 28), torch.full((10,), 16)
    pool = mm.ClassPool(items, sizes, tuple(map(str, range(10))))
    source = mm.tasks(pool, ways=5, shots=1, queries=5)
    small, episode = source.at([0]), source.at(range(32))
    # libraries are up: by one task on few filters, whose own peak hides nothing
    stepper(make(name, 0, *inner_steps, filters=2), small, plain=plain)()
    learner = make(name, 0, *inner_steps)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    stepper(learner, episode, plain=plain)()
    return (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024


def peak(name: str, plain: bool, *inner_steps: int) -> float:
    """Measure ``memory`` in a process of its own."""
    what = [name, str(int(plain)), *map(str, inner_steps)]
    run = subprocess.run(
        [sys.executable, "-m", "benchmarks.cheaper", "--memory", *what],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    return float(json.loads(run.stdout.splitlines()[-1]))


def unsolved(learner: mm.ImplicitMAML, episode: mm.Episode) -> float:
    """Return how much of the inner problem's slope is left at the end of the inner loop: 0 is solved."""
    theta = {n: p.detach() for n, p in learner.network.named_parameters()}
    phi = {n: p.detach() for n, p in learner.adapt(episode).items()}

    def slope(at: dict[str, Tensor], x: Tensor, y: Tensor) -> Tensor:
        at = {n: p.clone().requires_grad_() for n, p in at.items()}
        loss = F.cross_entropy(functional_call(learner.network, at, (x,)), y)
        pull = sum(((p - theta[n]) ** 2).sum() for n, p in at.items())
        grads = torch.autograd.grad(loss + learner.penalty / 2 * pull, list(at.values()))
        return torch.cat([g.flatten() for g in grads]).norm()

    shares = []
    for t in range(len(episode)):
        s = (episode.support_x[t], episode.support_y[t])
        shares.append(slope({n: p[t] for n, p in phi.items()}, *s) / slope(theta, *s))
    return float(torch.stack(shares).mean())


def parts(networks: list[nn.Module], test: Any, episodes: int) -> list[dict[str, Any]]:
    """Return the accuracy of trained MAML networks when only a part adapts at test time."""
    rows = []
    for part, moves in PARTS.items():
        limited = (
            {"inner_steps": 0} if part == "nothing" else {"inner_steps": INNER, "adapts": moves}
        )
        learners = [mm.MAML(net, inner_lr=0.4, **limited) for net in networks]
        means = [mm.meta_test(learner, test, episodes=episodes).mean for learner in learners]
        spread = mm.half_width(means, over="seeds") if len(means) > 1 else None
        rows.append({"part": part, "mean": sum(means) / len(means), "ci95_seeds": spread})
        print(rows[-1], flush=True)
    return rows


def main(seeds: int = 3, steps: int = STEPS, episodes: int = EPISODES) -> None:
    """Measure all methods and write ``results/cheaper.json``."""
    check_seeds(seeds)
    # first, while this process is small: a child's peak begins at its parent's size
    peaks = {(name, plain): peak(name, plain) for name in METHODS for plain in (False, True)}
    growth = [
        {"method": name, "inner_steps": k, "plain_mib": round(peak(name, True, k), 1)}
        for name in GROWING for k in (1, 2, 4, 8, 16)
    ]  # fmt: skip
    print(peaks, growth, flush=True)
    train, val, test = (
        mm.tasks("glyphs", split=split, ways=5, shots=1, queries=queries)
        for split, queries in (("train", 5), ("val", 15), ("test", 15))
    )
    batch = train.at(range(META_BATCH), seed=1)
    seconds = interleaved(
        {(n, plain): stepper(make(n, 0), batch, plain=plain) for n in METHODS for plain in (False, True)},
        rounds=15,
    )  # fmt: skip
    rows, networks, left = [], [], []
    for name in METHODS:
        means, looks = [], []
        for seed in range(seeds):
            learner = make(name, seed)
            record = mm.meta_train(
                learner, train, steps=steps, meta_batch=META_BATCH, lr=3e-3, seed=seed,
                val_tasks=val, val_every=-(-steps // LOOKS), val_episodes=100, progress=False,
            )  # fmt: skip
            means.append(mm.meta_test(learner, test, episodes=episodes).mean)
            looks.append([[step, round(result.mean, 4)] for step, result in record.val])
            if name == "MAML":
                networks.append(learner.network)
            if isinstance(learner, mm.ImplicitMAML):
                left.append(unsolved(learner, val.at(range(20))))
        row: dict[str, Any] = {
            "method": name, "means": [round(m, 4) for m in means], "mean": sum(means) / seeds,
            "ci95_seeds": mm.half_width(means, over="seeds"), "looks": looks, "steps": steps,
            "meta_batch": META_BATCH, "episodes": episodes, "memory_tasks": 32,
        }  # fmt: skip
        for plain, word in ((False, "package"), (True, "plain")):
            row[f"{word}_ms"] = round(1e3 * statistics.median(seconds[name, plain]), 1)
            row[f"{word}_mib"] = round(peaks[name, plain], 1)
        rows.append(row)
        print(row, flush=True)
    pixels = mm.meta_test(mm.ProtoNet(nn.Flatten()), test, episodes=episodes)
    rows.append({"method": "pixels", "mean": pixels.mean, "ci95": pixels.ci95})
    usual = (seeds, steps, episodes) == (3, STEPS, EPISODES)
    options = "" if usual else f" --seeds {seeds} --steps {steps} --episodes {episodes}"
    results = {
        "methods": rows, "growth": growth, "parts": parts(networks, test, episodes),
        "unsolved": sum(left) / len(left),
        "implicit": {"inner_lr": IMPLICIT_LR, "penalty": PENALTY, "inner_steps": 16},
    }  # fmt: skip
    write("cheaper", f"python -m benchmarks.cheaper{options}", results)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=STEPS)
    parser.add_argument("--episodes", type=int, default=EPISODES)
    parser.add_argument("--memory", nargs="+", metavar="METHOD PLAIN INNER_STEPS")
    given = parser.parse_args()
    if given.memory:
        name, plain, *inner_steps = given.memory
        print(json.dumps(memory(name, plain == "1", *map(int, inner_steps))))
    else:
        main(given.seeds, given.steps, given.episodes)
