r"""The honest baselines: no meta-learning, only ordinary training, before the test or during it.

- :class:`FromScratch`: a new network for every task, trained on its support set alone;
- :func:`pretrain`, then a new head for every task: nearest mean (``mm.ProtoNet(encoder)``, or
  :class:`SimpleShot`), or a linear one (:mod:`minimeta.linearhead`).

Chen et al., "A closer look at few-shot classification", ICLR 2019; Wang et al., "SimpleShot", 2019;
Tian et al., "Rethinking few-shot image classification: a good embedding is all you need?", ECCV 2020.

>>> import minimeta as mm
>>> from minimeta.data import glyphs
>>> encoder = pretrain(mm.Conv4(filters=8, bn="running"), glyphs.load("train"), steps=2)
>>> mm.meta_test(mm.ProtoNet(encoder), mm.tasks("glyphs", split="test"), episodes=20)
0... ± 0.0... accuracy (20 episodes, glyphs/test, 5-way 1-shot, 15 queries, bn=running, seed 0)
"""

import copy
import math
from typing import Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn
from tqdm import tqdm

from minimeta import hashing
from minimeta.adapt import Params, per_task, refuse_running_statistics
from minimeta.adapting import Adapting
from minimeta.data.pool import ClassPool
from minimeta.embedding import embed_vectors
from minimeta.episodes import Episode
from minimeta.errors import DivergedError, MinimetaError, check_count, check_rate, check_seed, shown
from minimeta.learner import (
    Learner,
    evaluating,
    require_classes,
    require_match,
    require_module,
    require_same,
    task_losses,
)
from minimeta.norm import BatchNorm, checked
from minimeta.protonet import prototypes, squared_distances

OPTIMIZERS = {"adam": torch.optim.Adam, "sgd": torch.optim.SGD}


class FromScratch(Adapting):
    r"""Train a new network on each support set: what the labels of one task alone can buy.

    Parameters
    ----------
    network
        Maps (B, \*item) to (B, outputs). It is copied, and the copy is *started anew*: whatever the
        given one has learned is forgotten, and all of it is trained.
    steps, lr, optimizer
        Steps of ``"adam"`` or ``"sgd"`` on all of the support set, and their rate. Both treat every number
        by itself, so tasks do not touch each other although they are trained together.
    seed
        Chooses the start, drawn as PyTorch's layers draw theirs; all tasks have the same.

    Examples
    --------
    >>> import minimeta as mm
    >>> learner = FromScratch(mm.MLP(1, 1), steps=100, lr=0.01)
    >>> learner(mm.tasks("sinusoids", shots=10, queries=4).at([0])).shape
    torch.Size([1, 4, 1])
    """

    def __init__(
        self, network: nn.Module, *, steps: int, lr: float,
        optimizer: Literal["adam", "sgd"] = "adam", seed: int = 0,
    ) -> None:  # fmt: skip
        check_rate("lr", lr)
        check_count("steps", steps)
        checked(optimizer, tuple(OPTIMIZERS), "optimizer")
        super().__init__(anew(network, seed), inner_lr=lr, inner_steps=steps)
        self.config = dict(network=network, steps=steps, lr=lr, optimizer=optimizer, seed=seed)
        self.steps, self.lr, self.optimizer, self.seed = steps, lr, optimizer, seed
        self.network.requires_grad_(False)  # nothing here is for an outer loop

    def adapt(self, episode: Episode) -> Params:
        r"""Return the parameters trained on each support set, name -> (T, \*shape)."""
        require_match(self, episode)
        refuse_running_statistics(self.network)
        start = per_task(dict(self.network.named_parameters()), len(episode))
        with torch.enable_grad():
            params = {n: p.clone().requires_grad_(n in self._chosen) for n, p in start.items()}
            moving = [p for p in params.values() if p.requires_grad]
            optimizer = OPTIMIZERS[self.optimizer](moving, lr=self.lr)
            for _ in range(self.steps):
                out = self._outputs(params, episode.support_x, episode.ways)
                optimizer.zero_grad()
                task_losses(out, episode.support_y).sum().backward(inputs=moving)
                optimizer.step()
        return {n: p.detach() for n, p in params.items()}


def anew(network: nn.Module, seed: int) -> nn.Module:
    """Copy a network and draw its start again, as its layers' ``reset_parameters`` do.

    >>> a, b = anew(nn.Linear(2, 2), seed=0), anew(nn.Linear(2, 2), seed=0)
    >>> torch.equal(a.weight, b.weight)
    True
    """
    require_module(network)
    copied = copy.deepcopy(network)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(check_seed("seed", seed))
        for name, part in copied.named_modules():
            if isinstance(part, BatchNorm):
                nn.init.ones_(part.weight)
                nn.init.zeros_(part.bias)
            elif callable(getattr(part, "reset_parameters", None)):
                part.reset_parameters()
            elif next(part.parameters(recurse=False), None) is not None:
                raise MinimetaError(
                    f"{type(part).__name__} {name!r} has parameters of its own but no reset_parameters(), "
                    "so it cannot be started anew; give it that method."
                )
    return copied


class CosineLinear(nn.Module):
    """Scores scale · cos(w_n, z), with a learned scale: the classifier of Chen et al.'s Baseline++."""

    def __init__(self, features: int, classes: int, scale: float = 10.0) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(classes, features) / math.sqrt(features))
        self.scale = nn.Parameter(torch.tensor(scale))

    def forward(self, z: Tensor) -> Tensor:
        """(B, features) -> (B, classes)."""
        return self.scale * F.normalize(z, dim=-1) @ F.normalize(self.weight, dim=-1).mT


def pretrain(
    encoder: nn.Module, pool: ClassPool, *, steps: int, batch: int = 64, lr: float = 1e-3,
    seed: int = 0, cosine: bool = False, progress: bool = True,
) -> nn.Module:  # fmt: skip
    r"""Train an encoder to tell all classes of a pool apart; its weights change in place.

    Parameters
    ----------
    encoder
        Maps (B, \*item) to (B, dim). Batches mix many classes, which an episode does not: where it has a
        :class:`minimeta.BatchNorm`, ``mode="running"`` keeps their averages for the test.
    pool
        The training classes, such as ``glyphs.load("train")``, on the encoder's device.
    steps, batch, lr
        Adam steps on so many random examples each; the rate falls to 0 along half a cosine.
    seed
        Of the head's start and of the batches.
    cosine
        Train with ``CosineLinear`` instead of a linear layer (Baseline++).

    Returns
    -------
    nn.Module
        The encoder; the head over the training classes is thrown away.

    Notes
    -----
    The first stage of Chen et al. 2019 and of Wang et al. 2019, without their image augmentation.
    """
    check_count("batch", batch)
    check_rate("lr", lr)
    _check_pool(encoder, pool)
    device = pool.items.device
    classes = torch.repeat_interleave(torch.arange(len(pool), device=device), pool.sizes)
    with torch.no_grad(), evaluating(encoder):
        z = encoder(pool.items[:2])
    if z.ndim != 2:
        raise MinimetaError(
            f"the encoder gave embeddings of shape {tuple(z.shape[1:])}; a linear head needs vectors, so "
            "end the encoder with nn.Flatten()."
        )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(check_seed("seed", seed))
        head = (CosineLinear if cosine else nn.Linear)(z.shape[1], len(pool)).to(z)
    optimizer = torch.optim.Adam([*encoder.parameters(), *head.parameters()], lr=lr)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, check_count("steps", steps))
    encoder.train()
    for step in tqdm(range(steps), disable=None if progress else True, unit="step"):
        key = hashing.fold(hashing.start(seed, device), step)
        rows = hashing.draw(key, batch) % len(classes)
        loss = F.cross_entropy(head(encoder(pool.items[rows])), classes[rows])
        if not bool(torch.isfinite(loss)):
            raise DivergedError(
                f"the loss became {loss.item()} at step {step + 1}; try a smaller lr than {lr}, and look "
                "for NaN in the data."
            )
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    return encoder


@torch.no_grad()
def feature_mean(encoder: nn.Module, pool: ClassPool) -> Float[Tensor, " dim"]:
    """Mean embedding of all examples of a pool, for :class:`SimpleShot`; 256 examples pass at a time."""
    _check_pool(encoder, pool)
    with evaluating(encoder):
        return sum(encoder(x).sum(0) for x in pool.items.split(256)) / len(pool.items)


def _check_pool(encoder: nn.Module, pool: ClassPool) -> None:
    if not isinstance(pool, ClassPool):
        raise MinimetaError(
            f"pool={shown(pool)} was given; give a ClassPool, as glyphs.load() does."
        )
    require_same(encoder, pool.items)


class SimpleShot(Learner):
    r"""Nearest class mean of centred embeddings of length 1: CL2N of Wang et al. 2019.

    Parameters
    ----------
    encoder
        Maps (B, \*item) to (B, dim); usually pre-trained.
    centre
        What to subtract first, (dim,), the paper's mean of the *training* classes'
        (``feature_mean``). None: nothing, the paper's L2N.
    """

    base_mean: Tensor | None

    def __init__(self, encoder: nn.Module, *, centre: Tensor | list[float] | None = None) -> None:
        super().__init__()
        mean = None if centre is None else torch.as_tensor(centre)
        if mean is not None and (mean.ndim != 1 or not bool(mean.isfinite().all())):
            raise MinimetaError(f"centre={shown(centre)} was given; it is (dim,) finite numbers.")
        self.config = dict(encoder=encoder, centre=None if mean is None else mean.tolist())
        self.encoder = encoder
        self.register_buffer("base_mean", mean)

    def forward(self, episode: Episode) -> Tensor:
        """Return minus the squared distance of each query to each class mean, (T, R, N)."""
        ways = require_classes(episode, "SimpleShot")
        require_match(self, episode)
        support, query = embed_vectors(self.encoder, episode, shared_pass=True)
        if self.base_mean is not None:
            mean = self.base_mean.to(support.dtype)
            if mean.shape != support.shape[2:]:
                raise MinimetaError(
                    f"the centre has {len(mean)} numbers and the embeddings {support.shape[2]}; give "
                    "feature_mean(encoder, pool) of this encoder."
                )
            support, query = support - mean, query - mean
        support, query = (F.normalize(z, dim=-1) for z in (support, query))
        return -squared_distances(query, prototypes(support, episode.support_y, ways))
