"""``minimeta demo``: three learners on letters of alphabets they never saw, in under four minutes.

The settings below are also what ``benchmarks/glyphs.py`` measures: about a minute of training each
on two CPU cores, with batch statistics (``bn="batch"``).
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from minimeta.catalog import tasks
from minimeta.errors import MinimetaError, check_seed
from minimeta.evaluate import Result, meta_test
from minimeta.learner import evaluating
from minimeta.maml import MAML
from minimeta.networks import Conv4
from minimeta.norm import BN, bn_mode, normalised
from minimeta.protonet import ProtoNet
from minimeta.relationnet import RelationNet
from minimeta.rows import opened
from minimeta.train import Training, meta_train


@dataclass(frozen=True)
class Setting:
    """How one learner is trained on 1-shot glyph tasks."""

    make: Callable[[], nn.Module]
    ways: int
    queries: int
    meta_batch: int
    steps: int
    lr: float


SETTINGS = {
    "MAML": Setting(
        lambda: MAML(Conv4(ways=5, filters=32), inner_lr=0.4, test_inner_steps=3), ways=5, queries=5,
        meta_batch=2, steps=1150, lr=3e-3,
    ),
    "ProtoNet": Setting(
        lambda: ProtoNet(Conv4()), ways=20, queries=3, meta_batch=1, steps=1250, lr=3e-3
    ),
    "RelationNet": Setting(RelationNet, ways=5, queries=10, meta_batch=1, steps=1250, lr=2e-3),
}  # fmt: skip


def train(name: str, *, seed: int = 0, effort: float = 1.0) -> tuple[nn.Module, Training]:
    """Train one learner of SETTINGS; ``effort`` is the fraction of its steps to take."""
    setting = SETTINGS[name]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(check_seed("seed", seed))
        learner = setting.make()
    steps = max(1, round(effort * setting.steps))
    optimizer = torch.optim.Adam(learner.parameters(), lr=setting.lr)
    record = meta_train(
        learner,
        tasks("glyphs", split="train", ways=setting.ways, shots=1, queries=setting.queries),
        steps=steps,
        meta_batch=setting.meta_batch,
        optimizer=optimizer,
        schedule=torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps),
        clip=10.0,
        seed=seed,
    )
    return learner, record


def run(picture: Path, *, effort: float = 1.0, seed: int = 0, episodes: int = 600) -> list[Result]:
    """Train the three learners, print a table beside the pixel baseline, save a picture of a task."""
    test = tasks("glyphs", split="test", ways=5, shots=1, queries=15)
    print(
        "Task: five letters of Greek or Georgian, one drawing of each; which of the five is a new drawing?\n"
        f"The learners train on Latin and Cyrillic. Score: accuracy over {episodes} test tasks of 75 "
        "queries,\nwith the 95 % interval over tasks; guessing gives 0.200.\n"
    )
    print(f"{'learner':<22}{'training':>10}{'accuracy':>20}   normalisation")
    results = []
    learner: nn.Module = ProtoNet(nn.Flatten())
    best = learner, -1.0
    for name in ("nearest mean, pixels", *SETTINGS):
        seconds = "none"
        if name in SETTINGS:
            learner, record = train(name, seed=seed, effort=effort)
            seconds = f"{record.seconds:.0f} s"
        result = meta_test(learner, test, episodes=episodes, seed=seed, name=name)
        print(
            f"{name:<22}{seconds:>10}{result.mean:>12.3f} ± {result.ci95:.3f}   bn={result.bn}",
            flush=True,
        )
        results.append(result)
        best = max(best, (learner, result.mean), key=lambda pair: pair[1])
    print(f"\nOne seed of training; protocol: {results[0].protocol()}")
    _save_picture(best[0], picture)
    return results


def picture(path: Path) -> Path:
    """Return where the picture can be drawn, or refuse ``path`` before anything is trained."""
    path = path if path.suffix else path.with_suffix(".png")
    if path.suffix not in (".png", ".svg", ".pdf"):
        raise MinimetaError(f"--out {path} was given; a picture is a .png, .svg or .pdf.")
    opened(path.parent)
    return path


def _save_picture(learner: nn.Module, path: Path) -> None:
    from minimeta.viz import show_episode  # here: only the picture needs matplotlib

    episode = tasks("glyphs", split="test", ways=5, shots=1, queries=8).at([0])
    # inductive, so that each query is judged by the support set alone, as the picture suggests
    mode: BN | None = "support" if bn_mode(learner) == "batch" else None
    with torch.no_grad(), evaluating(learner), normalised(learner, mode):
        scores = learner(episode)
    try:
        figure = show_episode(
            episode, scores, queries=8, title=f"One test task: its support set (left), and what {type(learner).__name__} makes of queries"
        )  # fmt: skip
    except MinimetaError as error:
        print(f"No picture: {error}")
        return
    figure.savefig(path, dpi=150, bbox_inches="tight")
    print(f"A task and its predictions are drawn in {path}")
