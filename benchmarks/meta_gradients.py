"""How far MAML's meta-gradients are from other libraries': ``python -m benchmarks.meta_gradients``.

float64, the same weights and tasks: relative difference of the whole gradient. The tests assert it;
this writes the numbers down.
"""

import copy
import itertools
import sys

import torch

import minimeta as mm
from benchmarks.common import write

sys.path.insert(0, "tools")
from tests import oracles


def main() -> None:
    """Compare and write ``results/meta_gradients.json``."""
    networks = {
        "MLP": lambda: torch.nn.Sequential(torch.nn.Flatten(), mm.MLP(784, 5)),
        "Conv4 strided, batch statistics": lambda: mm.Conv4(ways=5, layout="strided"),
        "Conv4 max-pool, batch statistics": lambda: mm.Conv4(ways=5),
    }
    episode = mm.tasks("glyphs", ways=5, shots=1, queries=3).at(range(4)).to(torch.float64)
    rows = []
    for name, steps, first_order in itertools.product(networks, (1, 5), (False, True)):
        torch.manual_seed(0)
        network = networks[name]().double()
        learner = mm.MAML(network, inner_lr=0.4, inner_steps=steps, first_order=first_order)
        learner.loss(episode).backward()
        ours = torch.cat([p.grad.flatten() for p in network.parameters()])
        for peer in ("learn2learn", "higher"):
            clean = copy.deepcopy(network)
            clean.zero_grad()
            _, theirs = oracles.maml(peer, clean, episode, 0.4, steps, first_order)
            error = float((ours - theirs).norm() / theirs.norm())
            rows.append(
                {
                    "network": name, "inner_steps": steps, "first_order": first_order, "peer": peer,
                    "relative_difference": error,
                }
            )  # fmt: skip
            order = "first" if first_order else "second"
            print(f"{name}, {steps} step(s), {order} order, {peer}: {error:.1e}", flush=True)
    write("meta_gradients", "python -m benchmarks.meta_gradients", rows)


if __name__ == "__main__":
    main()
