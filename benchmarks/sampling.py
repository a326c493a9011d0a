"""Episodes a second beside learn2learn's sampler: ``python -m benchmarks.sampling``.

1,200 classes of 20 pictures 28x28 in memory, interleaved in one process, medians. learn2learn's
sampler is compiled from its source first (``python tools/peers.py --all``, which needs Cython).
"""

import random
import statistics
import sys
from collections.abc import Callable

import torch
from torch.utils.data import TensorDataset

import minimeta as mm
from benchmarks.common import interleaved, ratio, write

sys.path.insert(0, "tools")
import peers

CLASSES, EACH, BATCH = 1200, 20, 32
TURN = 8  # batches of ours a turn: a turn then takes milliseconds, not one
COUNTS = {"5-way 1-shot 15-query": (5, 1, 15), "20-way 5-shot 15-query": (20, 5, 15)}


def theirs(items: torch.Tensor, ways: int, shots: int, queries: int) -> Callable[[], None]:
    """Draw BATCH episodes by learn2learn's task transforms, split into support and query."""
    meta_dataset, task_dataset, transforms = peers.learn2learn(
        "data.meta_dataset", "data.task_dataset", "data.transforms"
    )
    # its sampler asks the package for this name
    sys.modules["learn2learn.data"].MetaDataset = meta_dataset.MetaDataset  # type: ignore[attr-defined]
    labels = torch.arange(CLASSES).repeat_interleave(EACH)
    data = meta_dataset.MetaDataset(
        TensorDataset(items, labels), indices_to_labels=dict(enumerate(labels.tolist()))
    )
    tasks = task_dataset.Taskset(
        data,
        task_transforms=[
            transforms.FusedNWaysKShots(data, n=ways, k=shots + queries),
            transforms.LoadData(data),
            transforms.RemapLabels(data),
            transforms.ConsecutiveLabels(data),
        ],
        num_tasks=-1,
    )
    support = torch.zeros(ways, shots + queries, dtype=torch.bool)
    support[:, :shots] = True
    support = support.flatten()

    def run() -> None:
        for _ in range(BATCH):
            x, y = tasks.sample()
            x[support], y[support], x[~support], y[~support]

    return run


def ours(tasks: mm.sources.Tasks) -> Callable[[], None]:
    """Draw TURN batches, each let go before the next, as in a training loop."""

    def run() -> None:
        for _ in range(TURN):
            tasks.sample(BATCH)

    return run


def main(rounds: int = 15) -> None:
    """Time both and write ``results/sampling.json``."""
    random.seed(0)
    peers.build()
    items = torch.rand(CLASSES * EACH, 1, 28, 28, generator=torch.Generator().manual_seed(0))
    sizes = torch.full((CLASSES,), EACH)
    pool = mm.ClassPool(items, sizes, tuple(map(str, range(CLASSES))))
    rows = []
    for name, (ways, shots, queries) in COUNTS.items():
        tasks = mm.tasks(pool, ways=ways, shots=shots, queries=queries)
        seconds = interleaved(
            {
                "learn2learn": theirs(items, ways, shots, queries),
                "minimeta": ours(tasks),
            },
            rounds=rounds,
        )
        seconds["minimeta"] = [s / TURN for s in seconds["minimeta"]]
        rates = {who: BATCH / statistics.median(s) for who, s in seconds.items()}
        factor = ratio(seconds["learn2learn"], seconds["minimeta"])
        print(f"{name}: {rates['minimeta']:.0f} episodes/s, {factor:.0f} x learn2learn", flush=True)
        rows.append({"tasks": name, "episodes_per_s": rates, "ratio": factor})
    write("sampling", "python -m benchmarks.sampling", rows)


if __name__ == "__main__":
    main()
