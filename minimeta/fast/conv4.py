"""Conv4 with a weight of its own for every task, for processors.

What makes it fast, each exact: the first block folded into one matrix product (:func:`minimeta.firstblock.first_block`);
convolutions of the small support sets as one batched product for several tasks at once; those of the
larger query sets task by task with torch's kernels, since they are differentiated once only; ReLU after the
pool; and two threads, each with tasks of its own, instead of two threads inside every operation.

Maps are held as (T, B, H, W, C), weights as (T, 9C, outputs).
"""

from collections.abc import Collection, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from minimeta.adapt import Params
from minimeta.fast.plan import Plan, Product
from minimeta.firstblock import Images, first_block, images
from minimeta.kernels import Convolution, Patches, max_pool
from minimeta.networks import Conv4, ConvBlock, as_made
from minimeta.norm import BatchNorm


class Conv4Plan(Plan):
    """For ``Conv4`` with batch statistics and a head, all of its parameters trained, on a CPU."""

    workers = 2

    @staticmethod
    def fits(network: object, ways: int | None, partial: bool) -> bool:
        """Say whether this plan can run ``network``."""
        return (
            type(network) is Conv4 and network.layout in ("pool", "strided")
            and all(p.requires_grad for p in network.parameters())
            and type(network.head) is nn.Linear and ways == network.head.out_features
            and all(block.norm.mode == "batch" for block in network.blocks)
            and next(network.parameters()).device.type == "cpu"
            and as_made(network, Conv4, nn.ModuleList, ConvBlock, nn.Conv2d, BatchNorm, nn.Linear)
            and sum(1 for _ in network.parameters()) == 14
        )  # fmt: skip

    def __init__(self, network: Conv4, ways: int | None) -> None:
        super().__init__(network, ways)
        self.stride = 2 if network.layout == "strided" else 1
        self.eps = float(network.blocks[0].norm.eps)  # type: ignore[arg-type,union-attr]
        self.maps = network.maps if network.layout == "pool" else (network.maps[0], 1, 1)

    def recompute(self, steps: int) -> bool:
        """Keep memory from growing with the steps, for about a third more time."""
        return steps > 5

    def chunk(self, tasks: int, device: torch.device, steps: int) -> int:
        """How many tasks to work on at a time: more fall out of the cache; fewer where memory is dear."""
        workers = min(self.workers, torch.get_num_threads())
        return max(1, min(3 if self.recompute(steps) else 4, tasks // workers))

    def pack(self, params: Params) -> Params:
        """Lay weights out for matrix products, the channels of a pixel side by side."""
        return {
            n: self._pack(p) if n.endswith(("conv.weight", "head.weight")) else p
            for n, p in params.items()
        }

    def unpack(self, grads: Params) -> Params:
        """Undo :meth:`pack`."""
        like = dict(self.network.named_parameters())
        return {
            n: self._unpack(g, like[n]) if n.endswith(("conv.weight", "head.weight")) else g
            for n, g in grads.items()
        }

    def _pack(self, w: Tensor) -> Tensor:
        if w.shape[-2:] == (3, 3):  # (outputs, C, 3, 3) -> (9C, outputs)
            return w.movedim((-2, -1, -3), (-4, -3, -2)).flatten(-4, -2).contiguous()
        w = w.unflatten(-1, self.maps)  # (N, C, h, w) -> (h w C, N)
        return w.movedim((-2, -1, -3), (-4, -3, -2)).flatten(-4, -2).contiguous()

    def _unpack(self, g: Tensor, like: Tensor) -> Tensor:
        inner = like.shape[1:] if like.ndim == 4 else self.maps  # (C, h, w)
        g = g.unflatten(-2, (inner[1], inner[2], inner[0]))
        return g.movedim((-4, -3, -2), (-2, -1, -3)).reshape(*g.shape[:-4], *like.shape)

    def prepare(self, x: Tensor) -> Images:  # type: ignore[override]
        """Cut images (T, B, c, H, W) into patches; these do not change while parameters do."""
        self.network.check(x)  # type: ignore[operator]
        return images(x, self.stride, pool=self.stride == 1)

    def gradient(
        self, params: Params, x: Any, y: Tensor, *, twice: bool,
        moving: Collection[str] | None = None,
    ) -> tuple[Tensor, Params, Product | None]:  # fmt: skip
        """As in :class:`Plan`; task by task where the blocks are differentiated once only."""
        blocks_twice = twice and (moving is None or any(n.startswith("blocks") for n in moving))
        if blocks_twice or len(y) == 1:
            return super().gradient(params, x, y, twice=twice, moving=moving)
        parts = [
            super(Conv4Plan, self).gradient(
                _task(params, t), x.task(t), y[t : t + 1], twice=twice, moving=moving
            )
            for t in range(len(y))
        ]
        losses, grads, products = zip(*parts, strict=True)

        def product(v: Params) -> Params:
            return _joined([of_task(_task(v, t)) for t, of_task in enumerate(products)])

        return torch.cat(losses), _joined(grads), product if twice else None

    def outputs(self, params: Params, x: Any, twice: Collection[str]) -> Tensor:
        """Scores (T, B, N)."""
        p = list(params.values())
        pool = self.stride == 1
        # a gradient flows back as far as the first parameter it is wanted for, and no further
        first = next((i for i, name in enumerate(params) if name in twice), len(p))
        h = first_block(x, p[0], p[1], p[2], self.eps)
        for i in (3, 6, 9):
            h = _convolve(h, p[i], self.stride, first <= i)
            h = _normalise(h, p[i + 1], p[i + 2], self.eps, first <= i + 2)
            h = F.relu(max_pool(h, first <= i + 2) if pool else h)
        h = h.flatten(2) if pool else h.mean((2, 3))
        return torch.baddbmm(p[-1].unsqueeze(1), h, p[-2])


def _task(params: Params, t: int) -> Params:
    """One task's parameters, with their task axis."""
    return {n: p[t : t + 1] for n, p in params.items()}


def _joined(tasks: Sequence[Params]) -> Params:
    return {n: torch.cat([p[n] for p in tasks]) for n in tasks[0]}


def _normalise(y: Tensor, scale: Tensor, shift: Tensor, eps: float, twice: bool) -> Tensor:
    """Batch normalisation of each task's maps, of few operations so that two derivatives stay cheap."""
    if not twice and len(y) == 1:  # torch's kernel, to be differentiated once
        rows = y.flatten(0, 3)
        out = torch.batch_norm(rows, scale[0], shift[0], None, None, True, 0.0, eps, False)
        return out.view_as(y)
    variance, mean = torch.var_mean(y, (1, 2, 3), correction=0)  # (T, C)
    factor = scale * torch.rsqrt(variance + eps)
    constant = shift - mean * factor
    return y * factor[:, None, None, None] + constant[:, None, None, None]


def _convolve(h: Tensor, weight: Tensor, stride: int, twice: bool) -> Tensor:
    examples, height, width = h.shape[1:4]
    out = (examples, (height + stride - 1) // stride, (width + stride - 1) // stride)
    if not twice and len(h) == 1:  # torch's kernel, to be differentiated once
        return Convolution.apply(h, weight, stride)
    return (Patches.apply(h, stride) @ weight).unflatten(1, out)
