r"""Networks: the papers' Conv4 and the sinusoid MLP.

All of these take examples (B, \*item) like any module, or a batch of tasks (T, B, \*item). In both
forms each task's set is normalised by itself: a loop over tasks and one call for all of them give
the same numbers.
"""

from itertools import pairwise
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from minimeta.errors import MinimetaError, check_count
from minimeta.firstblock import first_block, images, moments
from minimeta.kernels import small_convolution
from minimeta.norm import BN, BatchNorm, checked, inside_transform

LAYOUTS = ("pool", "strided", "maps")


class ConvBlock(nn.Module):
    """3x3 convolution, normalisation, ReLU and perhaps a 2x2 max-pool: the block of all three papers.

    The convolution has no bias: the normalisation would subtract it again.
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        bn: BN,
        *,
        stride: int = 1,
        padding: int = 1,
        pool: bool = True,
    ) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, 3, stride, padding, bias=False)
        self.norm = BatchNorm(outputs, bn)
        self.pool = pool

    def forward(self, x: Tensor, *, tasks: int) -> Tensor:
        """(tasks·B, inputs, H, W) -> (tasks·B, outputs, H', W')."""
        if self._sees_images(x):
            return self._first(x, tasks)
        x = self.norm(
            small_convolution(x, self.conv.weight) if self._is_small(x) else self.conv(x),
            tasks=tasks,
        )
        # ReLU after the pool: the same values, for a quarter of the work
        return F.relu(F.max_pool2d(x, 2) if self.pool else x)

    def _sees_images(self, x: Tensor) -> bool:
        """Whether the block may be computed as :func:`minimeta.firstblock.first_block`: faster on a CPU."""
        return (
            self.pool and self.norm.mode in ("batch", "running") and x.shape[1] <= 3 and not x.requires_grad
            and x.device.type == "cpu" and not inside_transform() and not torch.is_autocast_enabled("cpu")
            and as_made(self.conv, nn.Conv2d) and as_made(self.norm, BatchNorm)
        )  # fmt: skip

    def _is_small(self, x: Tensor) -> bool:
        """Whether every place of a map sees every other: then one product is faster on a CPU."""
        return (
            x.device.type == "cpu" and max(x.shape[-2:]) <= 2
            and self.conv.stride == (1, 1) and self.conv.padding == (1, 1) and as_made(self.conv, nn.Conv2d)
        )  # fmt: skip

    def _first(self, x: Tensor, tasks: int) -> Tensor:
        stride, padding = self.conv.stride[0], int(self.conv.padding[0])
        known = images(x.unflatten(0, (tasks, -1)), stride, padding, pool=True)
        weight = self.conv.weight.permute(2, 3, 1, 0).flatten(0, 2)  # (9·inputs, outputs)
        norm = self.norm
        w, scale, shift = (p.expand(tasks, *p.shape) for p in (weight, norm.weight, norm.bias))
        statistics = moments(known, w)
        if norm.mode == "running":
            count = len(x) // tasks * known.places
            statistics = norm.averages(*statistics, count=count)
        out = first_block(known, w, scale, shift, norm.eps, statistics)
        return out.flatten(0, 1).permute(0, 3, 1, 2)


class TaskModule(nn.Module):
    r"""Base of the modules that take (T, B, \*item) as well as (B, \*item)."""

    item_ndim = 3

    def forward(self, x: Tensor) -> Tensor:
        """Run on every task's set."""
        lead = x.shape[: -self.item_ndim]
        if len(lead) not in (1, 2):
            raise MinimetaError(
                f"an input of shape {tuple(x.shape)} was given to a {type(self).__name__}; it takes "
                "(examples, channels, height, width), or that with a task axis before it: add the batch "
                "axis with x[None]."
            )
        tasks = lead[0] if len(lead) == 2 else 1
        out = self.run(x.reshape(-1, *x.shape[-self.item_ndim :]), tasks)
        return out.view(*lead, *out.shape[1:])

    def run(self, x: Tensor, tasks: int) -> Tensor:
        r"""Run on (tasks·B, \*item)."""
        raise NotImplementedError


class Conv4(TaskModule):
    """Four convolution blocks, as in Vinyals et al. 2016 and in all three papers of this package.

    Parameters
    ----------
    ways
        Add a linear head with this many outputs (MAML). None: an embedding.
    channels, size
        Colour channels and side of the square input, in pixels.
    filters
        Filters a block: 64, or 32 for MAML on miniImageNet.
    layout
        ``"pool"``: every block ends in a 2x2 max-pool, and the maps are flattened (ProtoNet; MAML on
        miniImageNet with ``filters=32``). ``"strided"``: stride-2 convolutions instead, then the mean
        over the map (MAML on Omniglot). ``"maps"``: two pooled blocks, the first two without padding
        and the last two with, whose maps are the output (RelationNet's encoder).
    bn
        Mode of the normalisation; see :class:`BatchNorm`.

    Notes
    -----
    Where this differs from the authors' code: TensorFlow pads a strided convolution on an even side
    at the end only, PyTorch on both sides; the MAML code's normalisation has a shift but no scale, and
    does not adapt it; weights start as PyTorch's layers do (MAML: Xavier, the Omniglot head N(0, 1)).

    Examples
    --------
    >>> Conv4()(torch.zeros(2, 1, 28, 28)).shape, Conv4(ways=5)(torch.zeros(3, 2, 1, 28, 28)).shape
    (torch.Size([2, 64]), torch.Size([3, 2, 5]))
    """

    def __init__(
        self, ways: int | None = None, *, channels: int = 1, filters: int = 64, size: int = 28,
        layout: Literal["pool", "strided", "maps"] = "pool", bn: BN = "batch",
    ) -> None:  # fmt: skip
        super().__init__()
        for word, value in (("channels", channels), ("filters", filters), ("size", size)):
            check_count(word, value)
        if ways is not None:
            check_count("ways", ways)
        self.config = dict(
            ways=ways, channels=channels, filters=filters, size=size, layout=layout, bn=bn
        )
        self.layout, self.bn = checked(layout, LAYOUTS, "layout"), bn
        blocks: dict[str, list[dict[str, Any]]] = {
            "pool": [{}] * 4,
            "strided": [{"stride": 2, "pool": False}] * 4,
            "maps": [{"padding": 0}] * 2 + [{"pool": False}] * 2,
        }
        self.blocks = nn.ModuleList(
            ConvBlock(filters if i else channels, filters, bn, **block)
            for i, block in enumerate(blocks[layout])
        )
        self.channels, self.size = channels, size
        self.maps = self._map_shape(filters)
        features = filters if layout == "strided" else filters * self.maps[1] * self.maps[2]
        self.head = None if ways is None else nn.Linear(features, ways)
        self.features = features

    def _map_shape(self, filters: int) -> tuple[int, int, int]:
        side = self.size
        for block in self.blocks:
            conv: nn.Conv2d = block.conv  # type: ignore[assignment]
            side = (side + 2 * int(conv.padding[0]) - 3) // conv.stride[0] + 1
            side = side // 2 if block.pool else side
        if side < 1:
            raise MinimetaError(
                f"size={self.size} leaves no pixel after four blocks of the {self.layout!r} layout; "
                "enlarge the images (16 pixels or more) or use layout='strided'."
            )
        return filters, side, side

    def run(self, x: Tensor, tasks: int) -> Tensor:
        """(tasks·B, channels, size, size) -> (tasks·B, features), (.., ways) or (.., filters, h, w)."""
        self.check(x)
        x = channels_last(x)
        for block in self.blocks:
            x = block(x, tasks=tasks)
        if self.layout == "strided":
            x = x.mean((2, 3))
        if self.head is None:
            return x if self.layout == "maps" else x.flatten(1)
        return self.head(x.flatten(1))

    def check(self, x: Tensor) -> None:
        """Refuse images of another shape."""
        given = tuple(x.shape[-3:])
        if given != (self.channels, self.size, self.size):
            raise MinimetaError(
                f"images of shape {given} were given to a Conv4 made for "
                f"{(self.channels, self.size, self.size)}; make it with channels={given[0]} and "
                f"size={given[-1]} (square images)."
            )


def as_made(module: nn.Module, *kinds: type[nn.Module]) -> bool:
    """Say whether the parts of a module are of these kinds only, share no weights, and have no hooks.

    Otherwise its weights alone do not say what it computes: a layer was replaced, say, or pruned.
    """
    parts = list(module.modules())
    own = sum(p is not None for m in parts for p in m._parameters.values())
    return own == sum(1 for _ in module.parameters()) and all(
        type(m) in kinds and not (
            m._forward_hooks or m._forward_pre_hooks or m._backward_hooks or m._backward_pre_hooks
        ) for m in parts
    )  # fmt: skip


def channels_last(x: Tensor) -> Tensor:
    """Lay the channels of each pixel side by side: on a CPU, convolving and pooling are faster so."""
    if x.device.type != "cpu":
        return x
    if x.shape[1] == 1:  # the same memory either way, but torch must see it in the strides
        return x.reshape(len(x), *x.shape[2:], 1).permute(0, 3, 1, 2)
    return x.contiguous(memory_format=torch.channels_last)


class MLP(TaskModule):
    """Linear layers with ReLU between them; the MAML paper's sinusoid network is ``MLP(1, 1)``.

    It has no normalisation and starts as PyTorch's layers do (MAML's code: truncated N(0, 0.01)).

    >>> MLP(1, 1)(torch.zeros(25, 10, 1)).shape
    torch.Size([25, 10, 1])
    """

    def __init__(self, inputs: int, outputs: int, hidden: tuple[int, ...] = (40, 40)) -> None:
        super().__init__()
        self.config = dict(inputs=inputs, outputs=outputs, hidden=tuple(hidden))
        sizes = [check_count("MLP layer size", n) for n in (inputs, *hidden, outputs)]
        self.layers = nn.ModuleList(nn.Linear(a, b) for a, b in pairwise(sizes))

    def forward(self, x: Tensor) -> Tensor:
        """(..., inputs) -> (..., outputs)."""
        self.check(x)
        *hidden, last = self.layers
        for layer in hidden:
            x = F.relu(layer(x))
        return last(x)

    def check(self, x: Tensor) -> None:
        """Refuse inputs of another length."""
        if x.shape[-1] != self.config["inputs"]:
            raise MinimetaError(
                f"an input of shape {tuple(x.shape)} was given to an MLP of {self.config['inputs']} inputs; "
                "its last axis must be as long, so make the MLP for it, or flatten pictures first."
            )
