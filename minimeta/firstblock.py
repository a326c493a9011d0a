"""The first convolution block of images, computed as one product of their patches, for processors.

Images do not change while parameters do. So the first convolution, its normalisation and the pool can be
written as a product of fixed patches with folded weights, and the largest maps of a network are never
stored. Any order of derivative by the weights is right; there is none by the images.
"""

from collections.abc import Iterator
from typing import Any, NamedTuple

import torch
from torch import Tensor

from minimeta.kernels import CORNERS, cut, places

_PIECE = 2**17  # numbers of one place that are worked on at a time


class Images(NamedTuple):
    """A set of images as the patches that the first convolution sees, with their statistics."""

    # (T, 1, places, 9c); with a pool (T, 4, windows, 9c): the four places of each 2x2 window
    patches: Tensor
    mean: Tensor  # (T, 9c), over all places
    covariance: Tensor  # (T, 9c, 9c)
    shape: tuple[int, int, int]  # examples, height, width of the block's map
    places: int  # of the convolution in one image

    def task(self, t: int) -> "Images":
        """One task of them, with its task axis."""
        one = slice(t, t + 1)
        return self._replace(
            patches=self.patches[one], mean=self.mean[one], covariance=self.covariance[one]
        )


def images(x: Tensor, stride: int = 1, padding: int = 1, *, pool: bool = False) -> Images:
    """Cut (T, B, c, H, W) into 3x3 patches, with their mean and covariance over each task's places."""
    patches = cut(x.permute(0, 1, 3, 4, 2), stride, padding)
    mean = patches.mean(1)
    centred = patches - mean.unsqueeze(1)
    covariance = centred.mT @ centred / patches.shape[1]
    examples, (height, width) = x.shape[1], (places(n, stride, padding) for n in x.shape[-2:])
    if not pool:
        shape = (examples, height, width)
        return Images(patches.unsqueeze(1), mean, covariance, shape, height * width)
    grid = patches.unflatten(1, (examples, height, width))
    H, W = height // 2 * 2, width // 2 * 2
    corners = [grid[:, :, i:H:2, j:W:2].flatten(1, 3) for i, j in CORNERS]
    shape = (examples, height // 2, width // 2)
    return Images(torch.stack(corners, 1), mean, covariance, shape, height * width)


def moments(x: Images, weight: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and variance (T, outputs) of the convolution over each task's places: ``mean @ w``, ``w' cov w``."""
    mean = (x.mean.unsqueeze(1) @ weight).squeeze(1)
    return mean, (weight * (x.covariance @ weight)).sum(1)


def first_block(
    x: Images,
    weight: Tensor,
    scale: Tensor,
    shift: Tensor,
    eps: float,
    statistics: tuple[Tensor, Tensor] | None = None,
) -> Tensor:
    """Convolve, normalise, rectify and perhaps pool images in one product: maps (T, B, h, w, outputs).

    A convolution of fixed images is linear in their patches, so :func:`moments` are known beforehand and
    the normalisation folds into the weights; ``statistics`` replaces them. The maps before the pool, the
    largest of the network, are never stored.
    """
    mean, variance = moments(x, weight) if statistics is None else statistics
    factor = scale * torch.rsqrt(variance + eps)
    folded = weight * factor.unsqueeze(1)
    constant = (shift - factor * mean).unsqueeze(1)
    if x.patches.shape[1] == 1:
        h = torch.baddbmm(constant, x.patches.squeeze(1), folded).relu_()
    else:
        h = PooledProduct.apply(x.patches, folded, constant)
    return h.unflatten(1, x.shape)


class PooledProduct(torch.autograd.Function):
    """Largest over the four places of ``patches @ weight``, plus a constant, rectified.

    (T, 4, windows, 9c), (T, 9c, outputs), (T, 1, outputs) -> (T, windows, outputs). Where each value comes
    from does not change with small changes of the weights, so the derivative is a linear map,
    :class:`_Chosen`, and its transpose :class:`_Gathered`; they are each other's derivatives. Which
    place won is computed again where it is needed: the product is cheaper than remembering it.
    """

    @staticmethod
    def forward(ctx: Any, patches: Tensor, weight: Tensor, constant: Tensor) -> Tensor:
        out = patches.new_empty(len(patches), patches.shape[2], weight.shape[2])
        for (t, rows), (room, _) in _pieces(out):
            a, b, c, d = torch.matmul(patches[t, :, rows], weight[t], out=room)
            above, below = torch.maximum(a, b, out=a), torch.maximum(c, d, out=c)
            h = torch.maximum(above, below, out=a).add_(constant[t])
            torch.clamp_min(h, 0, out=out[t, rows])
        ctx.save_for_backward(patches, weight, out)
        return out

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> Any:
        return None, *_Gathered.apply(g, *ctx.saved_tensors)


def _leads(room: Tensor, spare: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """By how much the right place leads above and below, and the lower ones; of equals the first wins."""
    a, b, c, d = room
    above, below = torch.maximum(a, b, out=spare[0]), torch.maximum(c, d, out=spare[1])
    return b.sub_(a), d.sub_(c), torch.sub(below, above, out=a)


class _Gathered(torch.autograd.Function):
    """Gradients of the weight and the constant, from that of the pooled maps."""

    @staticmethod
    def forward(
        ctx: Any, g: Tensor, patches: Tensor, weight: Tensor, out: Tensor
    ) -> tuple[Tensor, Tensor]:
        ctx.save_for_backward(patches, weight, out)
        to_weight, to_constant = torch.zeros_like(weight), g.new_zeros(len(g), 1, g.shape[2])
        keep = torch.ops.aten.threshold_backward.grad_input
        for (t, rows), (room, parts) in _pieces(g):
            torch.matmul(patches[t, :, rows], weight[t], out=room)
            right_above, right_below, lower = _leads(room, parts)
            a, b, c, d = parts
            keep(g[t, rows], out[t, rows], 0, grad_input=a)
            to_constant[t] += a.sum(0)
            a -= keep(a, lower, 0, grad_input=c)
            a -= keep(a, right_above, 0, grad_input=b)
            c -= keep(c, right_below, 0, grad_input=d)
            to_weight[t] += (patches[t, :, rows].mT @ parts).sum(0)
        return to_weight, to_constant

    @staticmethod
    def backward(ctx: Any, weight: Tensor, constant: Tensor) -> Any:
        return _Chosen.apply(weight, constant, *ctx.saved_tensors), None, None, None


class _Chosen(torch.autograd.Function):
    """How the pooled maps change along a direction of the weight and the constant."""

    @staticmethod
    def forward(
        ctx: Any, along: Tensor, constant: Tensor, patches: Tensor, weight: Tensor, out: Tensor
    ) -> Tensor:
        ctx.save_for_backward(patches, weight, out)
        result = torch.empty_like(out)
        for (t, rows), (room, moves) in _pieces(out):
            torch.matmul(patches[t, :, rows], weight[t], out=room)
            right_above, right_below, lower = (gap > 0 for gap in _leads(room, moves))
            a, b, c, d = torch.matmul(patches[t, :, rows], along[t], out=moves)
            above, below = torch.where(right_above, b, a), torch.where(right_below, d, c)
            chosen = torch.where(lower, below, above).add_(constant[t])
            torch.mul(chosen, out[t, rows] > 0, out=result[t, rows])
        return result

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> Any:
        return *_Gathered.apply(g, *ctx.saved_tensors), None, None, None


def _pieces(maps: Tensor) -> Iterator[tuple[tuple[int, slice], Tensor]]:
    """Go through (T, windows, outputs) in pieces small enough for the cache, with room to work in.

    The room, twice the four places of a piece, is the same for all: fresh memory costs more than arithmetic.
    """
    tasks, windows, outputs = maps.shape
    size = max(1, min(windows, max(64, _PIECE // outputs)))
    room = maps.new_empty(2, 4, size, outputs)
    for t in range(tasks):
        for first in range(0, windows, size):
            last = min(first + size, windows)
            yield (t, slice(first, last)), room[:, :, : last - first]
