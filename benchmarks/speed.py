"""How fast, beside the peers, on the same weights and tasks: ``python -m benchmarks.speed``.

Every candidate of a row runs in turn, A B A B ..., in one process; a row reports medians, the best, and the
median over the rounds of the ratio to its base. Gradients are compared before anything is timed.
"""

import argparse
import copy
import statistics
import time
from collections.abc import Callable
from datetime import date
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

import minimeta as mm
from benchmarks import plain
from benchmarks.common import interleaved, processor, ratio, read, write
from benchmarks.plain import peers

Step = Callable[[], Any]
AIMS = {  # the least that each row must reach, as a ratio to its base
    "MAML, sinusoid MLP, 25 tasks, 1 step": 15, "MAML, sinusoid MLP, 25 tasks, 5 steps": 15,
    "MAML, any module, sinusoid MLP, 25 tasks, 1 step": 5,
    "MAML, any module, sinusoid MLP, 25 tasks, 5 steps": 5,
    "MAML, Conv4 strided, 32 tasks, 1 step": 1.8, "MAML, Conv4 strided, 32 tasks, 5 steps": 2.3,
    "MAML, Conv4 max-pool, 32 tasks, 1 step": 1.65,
    "ProtoNet, 60-way 5-shot 5-query, 1 task": 1.4,
    "RelationNet, 5-way 1-shot 15-query, 1 task": 1.8,
}  # fmt: skip


AIMS_COMPILED = {
    "MAML, sinusoid MLP, 25 tasks, 1 step": 25, "MAML, sinusoid MLP, 25 tasks, 5 steps": 40,
}  # fmt: skip


def gradient(network: nn.Module) -> Tensor:
    """Return what ``backward`` left, as one vector; convolutions' biases do nothing before a norm."""
    convolutions = {id(m.bias) for m in network.modules() if isinstance(m, nn.Conv2d)}
    kept = [p for p in network.parameters() if id(p) not in convolutions]
    return torch.cat([p.grad.flatten() for p in kept])  # type: ignore[union-attr]


def maml_row(
    network: nn.Module,
    ours: nn.Module,
    episode: mm.Episode,
    steps: int,
    first_order: bool,
    lr: float,
) -> dict[str, tuple[Step, nn.Module]]:
    """Return every library's step on its own copy of the same network."""
    candidates: dict[str, tuple[Step, nn.Module]] = {}
    for name, make in plain.PEERS.items():
        if not (name == "torchopt" and first_order):
            net = copy.deepcopy(network)
            candidates[name] = make(net, episode, lr, steps, first_order), net
    given = dict(inner_lr=lr, inner_steps=steps, first_order=first_order)
    candidates["minimeta"] = _step(mm.MAML(ours, **given), episode), ours  # type: ignore[arg-type]
    if isinstance(ours, mm.MLP):
        twin = copy.deepcopy(ours)
        learner = mm.MAML(twin, compiled=True, **given)  # type: ignore[arg-type]
        candidates["minimeta, compiled"] = _step(learner, episode), twin
    return candidates


def sinusoids(
    steps: int, first_order: bool, any_module: bool, dtype: torch.dtype
) -> dict[str, tuple[Step, nn.Module]]:
    """MAML on the paper's regression network, 25 tasks of 10 + 10 points."""
    torch.manual_seed(0)
    network = plain.mlp().to(dtype)
    ours = copy.deepcopy(network) if any_module else mm.MLP(1, 1).to(dtype)
    plain.same_weights(network, ours)
    episode = mm.tasks("sinusoids", shots=10, queries=10).at(range(25)).to(dtype)
    return maml_row(network, ours, episode, steps, first_order, 0.01)


def pictures(
    layout: str, steps: int, dtype: torch.dtype, tasks: int = 32, first_order: bool = False
) -> dict[str, tuple[Step, nn.Module]]:
    """MAML on Conv4 with 64 filters, 5-way 1-shot, 15 queries a class."""
    torch.manual_seed(0)
    network = plain.conv4(layout).to(dtype)
    ours = mm.Conv4(ways=5, layout=layout).to(dtype)  # type: ignore[arg-type]
    plain.same_weights(network, ours)
    episode = mm.tasks("glyphs", ways=5, shots=1, queries=15).at(range(tasks)).to(dtype)
    return maml_row(network, ours, episode, steps, first_order, 0.4)


def protonet(dtype: torch.dtype) -> dict[str, tuple[Step, nn.Module]]:
    """One training step of the paper's 60-way 5-shot episode; easyfsl's distance is not squared."""
    torch.manual_seed(0)
    network, ours = plain.conv4("pool", ways=None).to(dtype), mm.Conv4().to(dtype)
    plain.same_weights(network, ours)
    episode = mm.tasks("glyphs", ways=60, shots=5, queries=5).at([0]).to(dtype)
    theirs = peers.easyfsl("prototypical_networks").PrototypicalNetworks(network)
    ((sx, sy, qx, qy),) = plain.sets(episode)
    learner = mm.ProtoNet(ours, distance="euclidean", shared_pass=False)

    def easyfsl() -> None:
        network.zero_grad()
        theirs.process_support_set(sx, sy)
        F.cross_entropy(theirs(qx), qy).backward()

    return {"easyfsl": (easyfsl, network), "minimeta": (_step(learner, episode), ours)}


def relationnet(dtype: torch.dtype) -> dict[str, tuple[Step, nn.Module]]:
    """One training step of 5-way 1-shot with 15 queries a class, the paper's networks."""
    torch.manual_seed(0)
    ours = mm.RelationNet().to(dtype)
    encoder, relation = (net.to(dtype) for net in plain_relation(ours))
    episode = mm.tasks("glyphs", ways=5, shots=1, queries=15).at([0]).to(dtype)
    theirs = peers.easyfsl("relation_networks").RelationNetworks(
        encoder, feature_dimension=64, relation_module=relation
    )
    ((sx, sy, qx, qy),) = plain.sets(episode)

    def easyfsl() -> None:
        theirs.zero_grad()
        theirs.process_support_set(sx, sy)
        F.mse_loss(theirs(qx), F.one_hot(qy, 5).to(dtype)).backward()

    return {"easyfsl": (easyfsl, theirs), "minimeta": (_step(ours, episode), ours)}


def plain_relation(learner: mm.RelationNet) -> tuple[nn.Module, nn.Module]:
    """Return RelationNet's networks in torch's own layers, with the same weights."""

    def block(conv: nn.Conv2d, pool: bool) -> list[nn.Module]:
        twin = nn.Conv2d(conv.in_channels, conv.out_channels, 3, padding=conv.padding)
        twin.weight.data.copy_(conv.weight)
        norm = nn.BatchNorm2d(conv.out_channels, track_running_stats=False)
        return [twin, norm, nn.ReLU()] + [nn.MaxPool2d(2)] * pool

    encoder, relation = learner.encoder, learner.relation
    layers = [layer for b in encoder.blocks for layer in block(b.conv, b.pool)]
    head = [layer for b in relation.blocks for layer in block(b.conv, b.pool)]
    linear = [nn.Flatten(), relation.first, nn.ReLU(), relation.second, nn.Sigmoid()]
    return nn.Sequential(*layers), nn.Sequential(*head, *copy.deepcopy(linear))


def _step(learner: nn.Module, episode: mm.Episode) -> Step:
    def step() -> None:
        learner.zero_grad()
        learner.loss(episode).backward()

    return step


def rows() -> dict[str, Callable[[torch.dtype], dict[str, tuple[Step, nn.Module]]]]:
    """Name -> how to make the candidates of a row; the first candidate is the base."""
    made: dict[str, Callable[[torch.dtype], dict[str, tuple[Step, nn.Module]]]] = {}
    for steps in (1, 5):
        word = f"{steps} step" + "s" * (steps > 1)
        for first_order in (False, True):
            order = ", first order" if first_order else ""
            for any_module in (False, True):
                kind = "any module, " if any_module else ""
                made[f"MAML, {kind}sinusoid MLP, 25 tasks, {word}{order}"] = (
                    lambda dtype, s=steps, f=first_order, a=any_module: sinusoids(s, f, a, dtype)
                )
        made[f"MAML, Conv4 strided, 32 tasks, {word}"] = lambda dtype, s=steps: pictures(
            "strided", s, dtype
        )
        made[f"MAML, Conv4 max-pool, 32 tasks, {word}"] = lambda dtype, s=steps: pictures(
            "pool", s, dtype
        )
    made["ProtoNet, 60-way 5-shot 5-query, 1 task"] = protonet
    made["RelationNet, 5-way 1-shot 15-query, 1 task"] = relationnet
    return made


def agree(name: str, candidates: dict[str, tuple[Step, nn.Module]]) -> None:
    """Refuse to time candidates that do not compute the same gradient, in double precision."""
    base = next(iter(candidates))
    candidates[base][0]()
    expected = gradient(candidates[base][1])
    for who, (step, network) in candidates.items():
        if who != "minimeta, compiled":  # a test compares it; compiling twice takes a minute
            step()
            error = float((gradient(network) - expected).norm() / expected.norm())
            if not error < 1e-6:
                raise AssertionError(f"{name}: {who}'s gradient differs by {error:.1e}")


def gflop(step: Step) -> float:
    """Count the arithmetic of a step's products and convolutions, multiply-adds twice, in 10^9."""
    with FlopCounterMode(display=False) as counter:
        step()
    return counter.get_total_flops() / 1e9


def measure(name: str, make: Callable[[torch.dtype], Any], rounds: int) -> dict[str, Any]:
    """Compare gradients, time the candidates in turn, and return the row."""
    agree(name, make(torch.float64))
    candidates = make(torch.float32)
    base = next(iter(candidates))
    steps = {who: step for who, (step, _) in candidates.items()}
    work = gflop(steps[base])
    rounds = max(rounds, affordable(steps))
    seconds = interleaved(steps, rounds=rounds)
    peers = [who for who in seconds if not who.startswith("minimeta")]
    fastest = min(peers, key=lambda who: statistics.median(seconds[who]))
    cells = {
        who: {
            "median_ms": round(1e3 * statistics.median(s), 3), "best_ms": round(1e3 * min(s), 3),
            "ratio": round(ratio(seconds[base], s), 2),
            "quartiles": [round(q, 2) for q in quartiles(seconds[base], s)],
            "ratio_to_fastest": round(ratio(seconds[fastest], s), 2),
            "ratio_of_best": round(min(seconds[base]) / min(s), 2),
        }
        for who, s in seconds.items()
    }  # fmt: skip
    print(
        f"{name}: "
        + ", ".join(f"{w} {c['median_ms']} ms ({c['ratio']}x)" for w, c in cells.items()),
        flush=True,
    )
    return {
        "row": name, "base": base, "fastest": fastest, "rounds": rounds, "gflop": round(work, 4), "aim": AIMS.get(name),
        "aim_compiled": AIMS_COMPILED.get(name), "candidates": cells,
    }  # fmt: skip


def affordable(steps: dict[str, Step], within: float = 30.0, most: int = 51) -> int:
    """Return how many rounds take about half a minute: short work is the more disturbed, and cheap to repeat."""
    for _ in range(2):  # the first time something may be compiled
        begin = time.perf_counter()
        for step in steps.values():
            step()
        seconds = time.perf_counter() - begin
    return min(most, int(within / seconds))


def quartiles(slow: list[float], fast: list[float]) -> list[float]:
    """Return the first and the third quartile, over the rounds, of how many times faster ``fast`` was."""
    first, _, third = statistics.quantiles([a / b for a, b in zip(slow, fast, strict=True)])
    return [first, third]


def earlier(row: dict[str, Any] | None) -> list[float]:
    """Return the ratios of the last measurements before this one: the machine is not always the same."""
    if row is None:
        return []
    return [*row.get("earlier", []), row["candidates"]["minimeta"]["ratio"]][-3:]


def matmul_rate() -> float:
    """Return the machine's measured limit, float32 multiply-adds counted twice, GFLOP/s."""
    a = torch.randn(2048, 2048)
    seconds = interleaved({"matmul": lambda: a @ a}, rounds=7)["matmul"]
    return 2 * 2048**3 / min(seconds) / 1e9


def main(only: str = "", rounds: int = 9) -> None:
    """Measure the rows whose name holds ``only``; the others stay as they are."""
    torch.set_num_threads(2)
    old = {row["row"]: row for row in (read("speed") or {"rows": []})["rows"]}
    # the machine as it is now; a row that stays keeps the day, the processor and the limit it was measured with
    now = {
        "date": date.today().isoformat(), "processor": processor(),
        "matmul_gflops": round(matmul_rate(), 1),
    }  # fmt: skip
    found = {
        name: measure(name, make, rounds) | now | {"earlier": earlier(old.get(name))}
        if only in name else old.get(name)
        for name, make in rows().items()
    }  # fmt: skip
    results = {"versions": peers.versions(), "rows": [row for row in found.values() if row]}
    write("speed", "python -m benchmarks.speed", results)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", default="", help="measure only the rows whose name holds this")
    parser.add_argument("--rounds", type=int, default=9, help="at least; short rows get more")
    given = parser.parse_args()
    main(given.only, given.rounds)
