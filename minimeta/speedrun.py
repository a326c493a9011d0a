"""From nothing to the papers' accuracy: ``minimeta speedrun``, on the machine at hand.

The clock starts when the process does: imports, data and training count. Everything is on the device,
and on a GPU every step is one replayed graph. The test afterwards does not count; it is one test, and
nothing is chosen by it.
"""

import os
import time
from typing import Any

import torch

from minimeta.catalog import tasks
from minimeta.errors import MinimetaError, check_device, check_episodes, check_rate, check_seed
from minimeta.evaluate import meta_test
from minimeta.papertable import PAPER, RERUN
from minimeta.presets import PRESETS, start
from minimeta.reproduce import device_name
from minimeta.train import meta_train

IMPORTED = time.time()
# what to reach, 5-way 1-shot, in %: the paper's number for Prototypical Networks; for the others, whose papers
# tested on other characters or chose weights on the test's, the rerun's of the papers' table
RUNS = {
    "protonet": ("protonet-omniglot-1s-tuned", PAPER["protonet-5w1s"][0]),
    "relationnet": ("relationnet-omniglot-5w1s-tuned", RERUN["relationnet-5w1s"]),
    "maml": ("maml-omniglot-5w1s-tuned", RERUN["maml-5w1s"]),
}


def process_start() -> float:
    """When this process began, in seconds since 1970; where the system does not say, when this was imported."""
    try:
        with open("/proc/self/stat", encoding="utf8") as file:
            ticks = int(file.read().rpartition(")")[2].split()[19])
        with open("/proc/stat", encoding="utf8") as file:
            boot = next(int(line.split()[1]) for line in file if line.startswith("btime"))
    except (OSError, ValueError, IndexError, StopIteration):
        return IMPORTED
    return min(IMPORTED, boot + ticks / os.sysconf("SC_CLK_TCK"))


def run(
    method: str, *, device: str = "cpu", effort: float = 1.0, seed: int = 0, episodes: int = 1000,
    began: float | None = None,
) -> dict[str, Any]:  # fmt: skip
    """Train, stop the clock, test once; return the row of the table.

    Parameters
    ----------
    method
        ``"protonet"``, ``"relationnet"`` or ``"maml"``.
    effort
        The fraction of the preset's steps to take: less is faster, and less accurate.
    began
        When the clock started; None: with the process.
    """
    if method not in RUNS:
        raise MinimetaError(f"there is no speedrun of {method!r}; there is {', '.join(RUNS)}.")
    check_rate("effort", effort)
    check_episodes(episodes)
    check_device(device)
    check_seed("seed", seed)
    name, target = RUNS[method]
    preset = PRESETS[name]
    learner = start(preset, seed).to(device)
    steps = max(1, round(effort * preset.steps))
    optimizer, schedule = preset.optimizer(learner, steps)
    train = tasks(
        "omniglot", ways=preset.ways, shots=1, queries=preset.queries, device=device
    )  # fmt: skip
    meta_train(
        learner, train, steps=steps, meta_batch=preset.meta_batch, optimizer=optimizer,
        schedule=schedule, clip=preset.clip, seed=seed,
    )  # fmt: skip
    seconds = time.time() - (process_start() if began is None else began)
    test = tasks("omniglot", split="test", ways=5, shots=1, queries=15, device=device)
    result = meta_test(learner, test, episodes=episodes)
    return {
        "method": method, "preset": name, "machine": machine(device), "seconds": round(seconds, 1),
        "steps": steps, "target": target, "reached": 100 * result.mean >= target,
        **(result.to_json() | {"seed": seed, "test_seed": result.seed}),
    }  # fmt: skip


def machine(device: str) -> str:
    """Name the device that did the work."""
    threads = torch.get_num_threads()
    return device_name(device) if device != "cpu" else f"{threads} CPU thread{'s' * (threads > 1)}"


def report(row: dict[str, Any]) -> str:
    """Write a row as a sentence."""
    verdict = "reached" if row["reached"] else "not reached"
    return (
        f"{row['method']} on {row['machine']}: {100 * row['mean']:.2f} ± {100 * row['ci95']:.2f} % after "
        f"{row['seconds']:.0f} s ({row['steps']} steps); {row['target']} % {verdict} "
        f"({row['episodes']} episodes, bn={row['bn']})"
    )
