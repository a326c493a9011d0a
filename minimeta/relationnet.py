"""Relation Networks: learn the comparison instead of choosing a distance.

Sung et al., "Learning to compare: relation network for few-shot learning", CVPR 2018.

>>> import minimeta as mm
>>> scores = mm.RelationNet()(mm.tasks("glyphs", split="test").at([0]))
>>> scores.shape, bool((scores >= 0).all() and (scores <= 1).all())
(torch.Size([1, 75, 5]), True)
"""

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from minimeta.adapt import run
from minimeta.embedding import embed
from minimeta.episodes import Episode
from minimeta.errors import MinimetaError
from minimeta.learner import (
    Learner,
    class_sums,
    one_hot,
    query_targets,
    require_classes,
    require_match,
)
from minimeta.networks import Conv4, ConvBlock, TaskModule, as_made, channels_last
from minimeta.norm import BN, BatchNorm, needs_support, statistics_from, support_examples

POOLING = ("sum", "mean")


class RelationModule(TaskModule):
    """The relation module g of Sung et al. 2018: two pooled blocks, then 8 units, then a sigmoid.

    Parameters
    ----------
    maps
        Shape (C, h, w) of one encoder's maps; the input is two of them on top of each other.
    padding
        Of the convolutions: 1 on Omniglot's 5x5 maps, 0 on miniImageNet's 19x19 maps.
    hidden
        Units of the fully connected layer.

    Examples
    --------
    >>> RelationModule()(torch.zeros(3, 128, 5, 5)).shape       # 3 pairs, one score each
    torch.Size([3, 1])
    """

    def __init__(
        self, maps: tuple[int, int, int] = (64, 5, 5), *, padding: int = 1, hidden: int = 8,
        bn: BN = "batch",
    ) -> None:  # fmt: skip
        super().__init__()
        self.config = dict(maps=tuple(maps), padding=padding, hidden=hidden, bn=bn)
        filters, side, _ = maps
        self.blocks = nn.ModuleList(
            ConvBlock(inputs, filters, bn, padding=padding) for inputs in (2 * filters, filters)
        )
        for _ in self.blocks:
            side = (side + 2 * padding - 2) // 2
        if side < 1:
            raise MinimetaError(
                f"maps of {maps[1]}x{maps[2]} leave no pixel after two pooled blocks with padding="
                f"{padding}; use larger images or padding=1."
            )
        self.first, self.second = nn.Linear(filters * side * side, hidden), nn.Linear(hidden, 1)

    def run(self, x: Tensor, tasks: int) -> Tensor:
        """(tasks·B, 2C, h, w) -> (tasks·B, 1), each in [0, 1]."""
        first, second = self.blocks
        return self._score(second(first(x, tasks=tasks), tasks=tasks))

    def relate(self, classes: Tensor, queries: Tensor) -> Tensor:
        """Score every pair: classes (T, N, C, h, w), queries (T, R, C, h, w) -> (T, R·N, 1).

        The same as running on all pairs. A convolution of two maps on top of each other is the sum of one
        of each, so N + R maps are convolved and normalised instead of N·R pairs.
        """
        self._check(classes)
        tasks, _, filters = classes.shape[:3]
        first: ConvBlock = self.blocks[0]  # type: ignore[assignment]
        halves = first.conv.weight.split(filters, 1)
        above, below = (
            F.conv2d(channels_last(maps.flatten(0, 1)), half, padding=first.conv.padding)
            .permute(0, 2, 3, 1)
            .unflatten(0, (tasks, -1))
            for maps, half in zip((classes, queries), halves, strict=True)
        )
        scale, shift = _normalisation(first.norm, above.flatten(2, 3), below.flatten(2, 3))
        height, width = (n // 2 * 2 for n in above.shape[2:4])  # what the pool looks at
        above, below = (maps[:, :, :height, :width] * scale for maps in (above, below))
        pairs = (above + shift).unsqueeze(1) + below.unsqueeze(2)  # (T, R, N, height, width, C)
        x = F.relu(F.max_pool2d(pairs.flatten(0, 2).permute(0, 3, 1, 2), 2))
        return self._score(self.blocks[1](x, tasks=tasks)).unflatten(0, (tasks, -1))

    def _check(self, maps: Tensor) -> None:
        given, known = tuple(maps.shape[2:]), self.config["maps"]
        if given != known:
            raise MinimetaError(
                f"the encoder gave {given} for an example but the relation module was made for maps {known}; "
                "make it for the encoder's, as in RelationModule(encoder.maps)."
            )

    def _score(self, x: Tensor) -> Tensor:
        return torch.sigmoid(self.second(F.relu(self.first(x.flatten(1)))))


_KINDS = (RelationModule, nn.ModuleList, ConvBlock, nn.Conv2d, BatchNorm, nn.Linear)


def _normalisation(norm: BatchNorm, above: Tensor, below: Tensor) -> tuple[Tensor, Tensor]:
    """Scale and shift (T, 1, 1, 1, C) that normalise every sum of a map above and a map below.

    Maps are (T, N, places, C) and (T, R, places, C). Mean and variance of their N·R sums follow from those
    of the parts and from the parts' averages at each place, so the sums need not exist.
    """
    seen = support_examples() if norm.mode == "support" else None
    below = below if seen is None else below[:, : seen // above.shape[1]]
    averages = [maps.mean(1) for maps in (above, below)]  # (T, places, C)
    means = [average.mean(1) for average in averages]  # (T, C)
    apart = [a - m.unsqueeze(1) for a, m in zip(averages, means, strict=True)]
    variance = 2 * (apart[0] * apart[1]).mean(1)
    for maps, mean in zip((above, below), means, strict=True):
        variance = variance + (maps - mean[:, None, None]).square().flatten(1, 2).mean(1)
    mean = means[0] + means[1]
    if norm.mode == "running":
        count = above.shape[1] * below.shape[1] * above.shape[2]
        mean, variance = norm.averages(mean, variance, count=count)
    scale = norm.weight * torch.rsqrt(variance + norm.eps)
    shift = norm.bias - mean * scale
    return scale[:, None, None, None], shift[:, None, None, None]


class RelationNet(Learner):
    r"""Relation Network: a score in [0, 1] for every pair of class and query.

    Parameters
    ----------
    encoder
        Maps (B, \*item) to maps (B, C, h, w) or vectors (B, C). Default: the paper's for 28x28 images,
        ``Conv4(layout="maps")``.
    relation
        Maps a pair, class on top of query, (B, 2C, ...), to scores (B, 1). Default: the paper's
        :class:`RelationModule` for the encoder's maps.
    shots
        How a class with several shots becomes one map: the ``"sum"`` of the paper's section 3.2, or
        the ``"mean"`` of later code.
    shared_pass
        Whether support and query pass through the encoder together; the authors' code: separately.

    Notes
    -----
    Without ``relation``, both networks start with the weights' distribution of the authors' code.
    r = g(C(f(class), f(query))), Eq. (1); the loss is the mean squared error to 1 for the right class
    and 0 for the others, Eq. (2), a sum there, over all T·R·N pairs here. Under ``bn="support"`` the
    relation module's statistics come from the pairs (class, support example).
    """

    def __init__(
        self, encoder: nn.Module | None = None, relation: nn.Module | None = None, *,
        shots: Literal["sum", "mean"] = "sum", shared_pass: bool = False,
    ) -> None:  # fmt: skip
        super().__init__()
        if shots not in POOLING:
            raise MinimetaError(f"shots={shots!r} was given; it is one of {', '.join(POOLING)}.")
        encoder = Conv4(layout="maps") if encoder is None else encoder
        if relation is None:
            if not isinstance(encoder, Conv4) or encoder.layout != "maps":
                raise MinimetaError(
                    "no relation module was given and the encoder is not Conv4(layout='maps'); give "
                    "relation=, a module that maps pairs (B, 2C, ...) to scores (B, 1)."
                )
            padding = 1 if encoder.maps[1] < 10 else 0  # the paper's 5x5 and 19x19 maps
            relation = RelationModule(encoder.maps, padding=padding, bn=encoder.bn)
            for part in (encoder, relation):
                part.apply(_paper_start)
        self.config = dict(encoder=encoder, relation=relation, shots=shots, shared_pass=shared_pass)
        self.encoder, self.relation, self.shots = encoder, relation, shots
        self.shared_pass = shared_pass

    def forward(self, episode: Episode) -> Tensor:
        """Return the relation score of each query with each class, (T, R, N)."""
        ways = require_classes(episode, "RelationNet")
        require_match(self, episode)
        support, query = embed(self.encoder, episode, shared_pass=self.shared_pass)
        classes = class_sums(support, episode.support_y, ways)  # (T, N, C, ...)
        if self.shots == "mean":
            counts = class_sums(torch.ones_like(support), episode.support_y, ways)
            classes = classes / counts
        if not needs_support(self.relation):
            return self._relate(classes, query)
        known = support.shape[1]
        both = torch.cat([support, query], 1)
        return self._relate(classes, both, stats_from=known * ways)[:, known:]

    def _relate(self, classes: Tensor, query: Tensor, stats_from: int | None = None) -> Tensor:
        (tasks, ways), examples = classes.shape[:2], query.shape[1]
        if type(self.relation) is RelationModule and as_made(self.relation, *_KINDS):
            with statistics_from(stats_from):
                return self.relation.relate(classes, query).view(tasks, examples, ways)
        shape = (tasks, examples, ways, *query.shape[2:])
        pairs = torch.cat(
            [classes.unsqueeze(1).expand(shape), query.unsqueeze(2).expand(shape)], 3
        )  # (T, R, N, 2C, ...)
        scores = run(self.relation, pairs.flatten(1, 2), stats_from=stats_from)
        return scores.view(tasks, examples, ways)

    def loss(self, episode: Episode) -> Tensor:
        """Mean squared error of the scores to one-hot labels over the T·R·N pairs."""
        scores = self(episode)
        return F.mse_loss(
            scores, one_hot(query_targets(episode), scores.shape[-1]).to(scores.dtype)
        )


def _paper_start(module: nn.Module) -> None:
    """Start a layer as the authors' code does."""
    if isinstance(module, nn.Conv2d):
        fan_out = module.kernel_size[0] * module.kernel_size[1] * module.out_channels
        nn.init.normal_(module.weight, 0.0, (2.0 / fan_out) ** 0.5)
    elif isinstance(module, nn.Linear):
        nn.init.normal_(module.weight, 0.0, 0.01)
        nn.init.ones_(module.bias)
