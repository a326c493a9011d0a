"""Train, be killed at random moments, go on, and compare with the unbroken run: to the bit.

A program of its own, started by ``test_train.py``: it forks, which needs a process with one thread.
"""

import os
import random
import signal
import sys
import time
from pathlib import Path

import torch

import minimeta as mm

STEPS, KILLS = 800, 20


def train(folder: Path) -> None:
    """One call of meta_train, as a user would repeat it after a crash."""
    torch.manual_seed(1)
    learner = mm.MAML(mm.MLP(1, 1), inner_lr=0.01)
    train, val = (mm.tasks("sinusoids", split=s, shots=5, queries=5) for s in ("train", "val"))
    record = mm.meta_train(
        learner, train, steps=STEPS, meta_batch=2, val_tasks=val, val_every=50, val_episodes=4,
        checkpoint=folder / "run.pt", checkpoint_every=1,
    )  # fmt: skip
    torch.save({"weights": learner.state_dict(), "losses": record.losses}, folder / "end.pt")


def child(folder: Path) -> int:
    pid = os.fork()
    if pid == 0:
        train(folder)
        os._exit(0)
    return pid


def written(folder: Path) -> int:
    """When the checkpoint was last replaced."""
    path = folder / "run.pt"
    return path.stat().st_mtime_ns if path.exists() else 0


def main(folder: Path) -> None:
    torch.set_num_threads(1)
    rng = random.Random(0)
    whole, broken = folder / "whole", folder / "broken"
    whole.mkdir()
    broken.mkdir()
    os.waitpid(child(whole), 0)
    kills, reached = 0, []
    while kills < KILLS:
        before, pid = written(broken), child(broken)
        while written(broken) == before:  # a kill before any new step would prove nothing
            time.sleep(0.002)
        time.sleep(rng.uniform(0.0, 0.08))
        os.kill(pid, signal.SIGKILL)
        _, status = os.waitpid(pid, 0)
        assert os.WIFSIGNALED(status), "it finished before it could be killed: take more steps"
        kills += 1
        saved = torch.load(broken / "run.pt", weights_only=True)  # always readable
        reached.append(len(saved["record"]["losses"]))
    assert reached == sorted(set(reached)) and reached[0] > 0, reached
    os.waitpid(child(broken), 0)
    a, b = (torch.load(f / "end.pt", weights_only=True) for f in (whole, broken))
    same = all(torch.equal(a["weights"][k], b["weights"][k]) for k in a["weights"])
    left = sorted(p.name for p in broken.iterdir())
    print(
        f"{kills} kills; same weights: {same}; same losses: {a['losses'] == b['losses']}; files: {left}"
    )


if __name__ == "__main__":
    main(Path(sys.argv[1]))
