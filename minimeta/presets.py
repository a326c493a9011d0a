"""The settings of the three papers, as data: where each number comes from and where we differ.

A preset comes in two kinds: ``paper``, as published or as in the authors' code, and ``tuned``, where
shorter or better training was found. Rates of inner loops are for the *mean* loss over a support set:
the MAML code sums over classes, so its 0.4 / 0.1 / 0.01 are 2.0 / 2.0 / 0.05 at 5 / 20 / 5 ways.

>>> preset = PRESETS["protonet-omniglot-1s"]
>>> preset.ways, preset.shots, preset.queries, preset.steps
(60, 1, 5, 40000)
>>> type(preset.learner()).__name__
'ProtoNet'
"""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import torch
from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import CosineAnnealingLR, LRScheduler, StepLR

from minimeta.maml import MAML
from minimeta.networks import MLP, Conv4
from minimeta.optimizers import adam
from minimeta.protonet import ProtoNet
from minimeta.relationnet import RelationNet


@dataclass(frozen=True)
class Preset:
    """One training, and the tests it serves.

    Parameters
    ----------
    method, data, kind
        ``"protonet"``, ``"relationnet"`` or ``"maml"``; ``"omniglot"``, ``"miniimagenet"`` or
        ``"sinusoids"``; ``"paper"`` or ``"tuned"``.
    source
        Where the settings come from.
    deviations
        What is different here.
    ways, shots, queries, meta_batch
        The training tasks. ``ways`` is None for regression.
    steps, lr, schedule, clip
        The outer loop: Adam, its rate, and ``None``, ``"cosine"`` or the number of steps after which
        the rate is halved, again and again; ``clip`` is the largest gradient norm.
    network, options
        Arguments of the network and of the learner.
    test_ways
        Ways of the tests this training is for.
    """

    method: Literal["protonet", "relationnet", "maml"]
    data: Literal["omniglot", "miniimagenet", "sinusoids"]
    kind: Literal["paper", "tuned"]
    source: str
    deviations: tuple[str, ...]
    ways: int | None
    shots: int
    queries: int
    meta_batch: int
    steps: int
    lr: float
    test_ways: tuple[int, ...]
    schedule: Literal["cosine"] | int | None = None
    clip: float | None = None
    network: dict[str, Any] = field(default_factory=dict)
    options: dict[str, Any] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """Such as ``"maml-omniglot-5w1s"``; a tuned one ends in ``"-tuned"``."""
        ways = f"{self.ways}w" if self.ways and self.method != "protonet" else ""
        order = "-first-order" if self.options.get("first_order") else ""
        tuned = "-tuned" if self.kind == "tuned" else ""
        return f"{self.method}-{self.data}-{ways}{self.shots}s{order}{tuned}"

    def learner(self) -> nn.Module:
        """Make a fresh learner; ``torch.manual_seed`` decides its start."""
        if self.data == "sinusoids":
            return MAML(MLP(1, 1), **self.options)
        if self.method == "maml":
            return MAML(Conv4(ways=self.ways, **self.network), **self.options)
        if self.method == "protonet":
            return ProtoNet(Conv4(**self.network), **self.options)
        return RelationNet(Conv4(layout="maps", **self.network), **self.options)

    def optimizer(self, learner: nn.Module, steps: int) -> tuple[Optimizer, LRScheduler | None]:
        """Make Adam and its schedule for a training of so many steps."""
        optimizer = adam(learner, self.lr)
        if self.schedule is None:
            return optimizer, None
        if self.schedule == "cosine":
            return optimizer, CosineAnnealingLR(optimizer, max(1, steps))
        return optimizer, StepLR(optimizer, self.schedule, 0.5)


SNELL = "Snell et al. 2017, section 3.1 and appendix A, and the authors' code"
SUNG = "Sung et al. 2018, section 4, and the authors' code"
FINN = "Finn et al. 2017, section 5 and appendix A, and the authors' code"
ROTATED = (
    "classes are the Vinyals split's with their rotations, 4112 / 688 / 1692, and images are "
    "area-averaged to 28 x 28: the same data for all three methods",
    "selection on val classes only; one test on the 423 held-out characters",
)
NORMS = (
    "the normalisation also has a scale, and scale and shift adapt (the authors: a shift, which does not)",
    "weights start as PyTorch's layers do (the authors: Xavier, and a normal head)",
)
PADDING = ("strided convolutions pad on both sides (TensorFlow: at the end)", *NORMS)
ONE_CLIP = "one gradient-norm clip for both networks together"
MINI = ("needs the data, which may not be passed on: mm.tasks(Path(...))",)


def _protonet() -> Iterator[Preset]:
    for shots in (1, 5):
        omniglot = Preset(
            "protonet", "omniglot", "paper", SNELL,
            (
                *ROTATED,
                "a fixed number of steps instead of early stopping with a patience of 200 epochs",
                "the weights chosen on val are tested; the authors train again on train and val together",
            ),
            ways=60, shots=shots, queries=5, meta_batch=1, steps=40_000, lr=1e-3, schedule=2000,
            test_ways=(5, 20), network={"bn": "running"}, options={"shared_pass": True},
        )  # fmt: skip
        yield omniglot
        yield replace(
            omniglot, kind="tuned", steps=6000 if shots == 1 else 4000, lr=3e-3, schedule="cosine",
            deviations=(
                *ROTATED,
                "Adam from 0.003 on a cosine, for fewer steps",
                "the weights chosen on val are tested, without training again on train and val together",
            ),
        )  # fmt: skip
        yield Preset(
            "protonet", "miniimagenet", "paper", SNELL, MINI, ways=30 if shots == 1 else 20,
            shots=shots, queries=15, meta_batch=1, steps=40_000, lr=1e-3, schedule=2000,
            test_ways=(5,), network={"channels": 3, "size": 84, "bn": "running"},
            options={"shared_pass": True},
        )  # fmt: skip


def _relationnet() -> Iterator[Preset]:
    queries = {(5, 1): 19, (5, 5): 15, (20, 1): 10, (20, 5): 5}
    for (ways, shots), q in queries.items():
        omniglot = Preset(
            "relationnet", "omniglot", "paper", SUNG,
            (*ROTATED, ONE_CLIP),
            ways=ways, shots=shots, queries=q, meta_batch=1, steps=1_000_000, lr=1e-3,
            schedule=100_000, clip=0.5, test_ways=(ways,),
        )  # fmt: skip
        yield omniglot
        yield replace(
            omniglot, kind="tuned", meta_batch=4 if ways == 5 else 1, steps=16_000, schedule="cosine",
            queries=min(q, 10),
            deviations=(
                *ROTATED, ONE_CLIP, "a cosine, fewer steps",
                *(("four tasks a step", "10 queries a class") if ways == 5 else ()),
            ),
        )  # fmt: skip
    for shots in (1, 5):
        yield Preset(
            "relationnet", "miniimagenet", "paper", SUNG, MINI, ways=5, shots=shots,
            queries=15 if shots == 1 else 10, meta_batch=1, steps=500_000, lr=1e-3,
            schedule=100_000, clip=0.5, test_ways=(5,), network={"channels": 3, "size": 84},
        )  # fmt: skip


def _maml() -> Iterator[Preset]:
    for ways in (5, 20):
        for shots in (1, 5):
            inner = {"inner_lr": 2.0, "inner_steps": 1, "test_inner_steps": 3}
            if ways == 20:
                inner = {"inner_lr": 2.0, "inner_steps": 5, "test_inner_steps": 5}
            omniglot = Preset(
                "maml", "omniglot", "paper", FINN, (*ROTATED, *PADDING), ways=ways, shots=shots,
                queries=shots, meta_batch=32 if ways == 5 else 16, steps=60_000, lr=1e-3,
                test_ways=(ways,), network={"layout": "strided"}, options=inner,
            )  # fmt: skip
            yield omniglot
            if (ways, shots) == (5, 1):
                yield replace(omniglot, options={**inner, "first_order": True})
            yield replace(
                omniglot, kind="tuned", steps=16_000, meta_batch=4, lr=3e-3, schedule="cosine",
                queries=5, clip=10.0, network={"layout": "pool", "filters": 32},
                options={**inner, "inner_lr": 0.4},
                deviations=(
                    *ROTATED, *NORMS,
                    "the max-pool network with 32 filters, as the paper has it for miniImageNet",
                    "inner rate 0.4 on the mean loss, 4 tasks a step, 5 queries a class",
                    "Adam from 0.003 on a cosine, gradient norms clipped at 10, fewer steps",
                ),
            )  # fmt: skip
    for shots in (1, 5):
        yield Preset(
            "maml", "miniimagenet", "paper", FINN,
            (*MINI, *NORMS, "the authors clip each entry of the gradient at 10; here nothing is clipped"),
            ways=5, shots=shots, queries=15, meta_batch=4 if shots == 1 else 2, steps=60_000,
            lr=1e-3, test_ways=(5,), network={"channels": 3, "size": 84, "filters": 32},
            options={"inner_lr": 0.05, "inner_steps": 5, "test_inner_steps": 10},
        )  # fmt: skip
    for shots in (5, 10):
        same = ("weights start as PyTorch's layers do", "10 queries whatever K")
        sinusoids = Preset(
            "maml", "sinusoids", "paper", FINN, same, ways=None, shots=shots, queries=10,
            meta_batch=25, steps=70_000, lr=1e-3, test_ways=(), options={"inner_lr": 0.01},
        )  # fmt: skip
        yield sinusoids
        yield replace(
            sinusoids, kind="tuned", steps=12_000, lr=3e-3, schedule="cosine",
            deviations=(*same, "Adam from 0.003 on a cosine, 12,000 steps of 70,000"),
        )  # fmt: skip


PRESETS = {p.name: p for family in (_protonet, _relationnet, _maml) for p in family()}


def start(preset: Preset, seed: int) -> nn.Module:
    """Make the preset's learner with the start that ``seed`` gives, and leave other randomness alone."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return preset.learner()
