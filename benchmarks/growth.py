"""How time and memory grow with the work: ``python -m benchmarks.growth``.

MAML, second order, Conv4 strided, one thing changed at a time; each cell is a process of its own, since the
peak of a process's memory never falls again. learn2learn is measured on the last curve.
"""

import json
import resource
import subprocess
import sys
import time
from typing import Any

import torch

import minimeta as mm
from benchmarks import plain
from benchmarks.common import write

BASE = dict(tasks=8, ways=5, shots=1, steps=1, size=28)
CURVES = {
    "tasks": (2, 4, 8, 16, 32), "ways": (2, 5, 10, 20), "shots": (1, 2, 5, 10),
    "steps": (1, 2, 5, 10), "size": (16, 28, 56, 84),
}  # fmt: skip
MEMORY = {"tasks": 32, "steps": 10}  # the issue of memory: many tasks and many inner steps


def cell(who: str, tasks: int, ways: int, shots: int, steps: int, size: int) -> dict[str, float]:
    """Time one meta-gradient and its peak of extra memory, in this process."""
    torch.set_num_threads(2)
    torch.manual_seed(0)
    items = torch.rand(ways * (shots + 15) * 2, 1, size, size)
    sizes = torch.full((2 * ways,), shots + 15)
    pool = mm.ClassPool(items, sizes, tuple(map(str, range(2 * ways))))
    source = mm.tasks(pool, ways=ways, shots=shots, queries=15)
    episode, small = source.at(range(tasks)), source.at([0])

    def make(ep: mm.Episode, filters: int) -> Any:
        if who == "learn2learn":
            network = plain.conv4("strided", ways, filters)
            return plain.learn2learn(network, ep, 0.4, steps, False)
        network = mm.Conv4(ways=ways, size=size, layout="strided", filters=filters)
        learner = mm.MAML(network, inner_lr=0.4, inner_steps=steps)

        def step() -> None:
            learner.zero_grad()
            learner.loss(ep).backward()

        return step

    # libraries and threads are up: by one task on few filters, whose own peak hides nothing
    make(small, 2)()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    step = make(episode, 64)
    step()
    peak = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    seconds = []
    for _ in range(3):
        start = time.perf_counter()
        step()
        seconds.append(time.perf_counter() - start)
    return {"ms": round(1e3 * min(seconds), 1), "extra_mib": round(peak, 1)}


def measure(who: str, **changed: int) -> dict[str, Any]:
    """Measure one cell in a process of its own."""
    work = BASE | changed
    run = subprocess.run(
        [sys.executable, "-m", "benchmarks.growth", who, json.dumps(work)],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    row = {"who": who, **work, **json.loads(run.stdout.splitlines()[-1])}
    print(row, flush=True)
    return row


def main() -> None:
    """Measure all curves and write ``results/growth.json``."""
    rows = [
        {"curve": name, **measure("minimeta", **{name: value})}
        for name, values in CURVES.items()
        for value in values
    ]
    rows += [
        {"curve": "memory", **measure(who, tasks=tasks, steps=MEMORY["steps"])}
        for who in ("minimeta", "learn2learn")
        for tasks in (4, 8, MEMORY["tasks"])
    ]
    write("growth", "python -m benchmarks.growth", rows)


if __name__ == "__main__":
    if len(sys.argv) > 2:
        print(json.dumps(cell(sys.argv[1], **json.loads(sys.argv[2]))))
    else:
        main()
