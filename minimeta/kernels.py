"""Convolution and pooling of T tasks' maps (T, B, H, W, C), for processors.

All can be differentiated twice, except :class:`Convolution`. Weights are (T, 9C, outputs).
"""

from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable


class Images(NamedTuple):
    """A set of images as the patches that the first convolution sees, with their statistics."""

    patches: Tensor  # (T, places, 9c)
    mean: Tensor  # (T, 9c)
    covariance: Tensor  # (T, 9c, 9c)
    shape: tuple[int, int, int]  # examples, height, width of the first convolution's map

    def task(self, t: int) -> "Images":
        """One task of them, with its task axis."""
        one = slice(t, t + 1)
        return Images(self.patches[one], self.mean[one], self.covariance[one], self.shape)


def images(x: Tensor, stride: int = 1, padding: int = 1) -> Images:
    """Cut (T, B, c, H, W) into 3x3 patches, with their mean and covariance over each task's places."""
    patches = cut(x.permute(0, 1, 3, 4, 2), stride, padding)
    mean = patches.mean(1)
    covariance = patches.mT @ patches / patches.shape[1] - mean.unsqueeze(2) * mean.unsqueeze(1)
    height, width = (_places(side, stride, padding) for side in x.shape[-2:])
    return Images(patches, mean, covariance, (x.shape[1], height, width))


def first_block(
    x: Images, weight: Tensor, scale: Tensor, shift: Tensor, eps: float, pool: bool, twice: bool
) -> Tensor:
    """Convolve, normalise and rectify images in one product: maps (T, B, h, w, outputs).

    A convolution of fixed images is linear in their patches, so its batch mean is ``mean @ w`` and its
    variance ``w' covariance w``: the normalisation folds into the weights.
    """
    variance = (weight * (x.covariance @ weight)).sum(1)
    factor = scale * torch.rsqrt(variance + eps)
    folded = weight * factor.unsqueeze(1)
    constant = shift - factor * (x.mean.unsqueeze(1) @ weight).squeeze(1)
    if not pool:
        h = torch.baddbmm(constant.unsqueeze(1), x.patches, folded)
        return h.relu_().unflatten(1, x.shape)
    h = max_pool((x.patches @ folded).unflatten(1, x.shape), twice)
    return F.relu(h + constant[:, None, None, None])


def max_pool(h: Tensor, twice: bool) -> Tensor:
    """2x2 max-pooling of (T, B, H, W, C): torch's kernel is faster, ours can be differentiated twice."""
    if twice:
        return MaxPool.apply(h)
    return (
        F.max_pool2d(h.flatten(0, 1).permute(0, 3, 1, 2), 2)
        .permute(0, 2, 3, 1)
        .unflatten(0, h.shape[:2])
    )


def _places(side: int, stride: int, padding: int = 1) -> int:
    return (side + 2 * padding - 3) // stride + 1


def cut(h: Tensor, stride: int, padding: int = 1) -> Tensor:
    """3x3 patches of (T, B, H, W, C): (T, places, 9C)."""
    T, B, H, W, C = h.shape
    rows, columns = _places(H, stride, padding), _places(W, stride, padding)
    padded = F.pad(h.reshape(T * B, H, W, C), (0, 0, *[padding] * 4))
    a, b, c, d = padded.stride()
    windows = padded.as_strided(
        (T * B, rows, columns, 3, 3, C), (a, b * stride, c * stride, b, c, d)
    )
    return windows.reshape(T, B * rows * columns, 9 * C)


def paste(patches: Tensor, shape: torch.Size, stride: int) -> Tensor:
    """The transpose of :func:`cut` with padding 1: add every patch back where it came from."""
    T, B, H, W, C = shape
    rows, columns = _places(H, stride), _places(W, stride)
    windows = patches.reshape(T * B, rows, columns, 3, 3, C)
    out = patches.new_zeros(T * B, H + 2, W + 2, C)
    for i in range(3):
        for j in range(3):
            last_row, last_column = i + stride * (rows - 1) + 1, j + stride * (columns - 1) + 1
            out[:, i:last_row:stride, j:last_column:stride] += windows[:, :, :, i, j]
    return out[:, 1 : H + 1, 1 : W + 1].reshape(shape)


class Patches(torch.autograd.Function):
    """:func:`cut` and :func:`paste` are linear and each other's transpose: any order of derivative."""

    @staticmethod
    def forward(ctx: Any, h: Tensor, stride: int) -> Tensor:
        ctx.given = h.shape, stride
        return cut(h, stride)

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> Any:
        return _Pasted.apply(g, *ctx.given), None


class _Pasted(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, patches: Tensor, shape: torch.Size, stride: int) -> Tensor:
        ctx.stride = stride
        return paste(patches, shape, stride)

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> Any:
        return Patches.apply(g, ctx.stride), None, None


_CORNERS = ((0, 0), (0, 1), (1, 0), (1, 1))  # of a 2x2 window


class MaxPool(torch.autograd.Function):
    """2x2 max-pooling of (..., H, W, C), the first of equals as in torch, differentiable twice."""

    @staticmethod
    def forward(ctx: Any, z: Tensor) -> Tensor:
        H, W = z.shape[-3] // 2 * 2, z.shape[-2] // 2 * 2
        a, b, c, d = (z[..., i:H:2, j:W:2, :] for i, j in _CORNERS)
        right_above, right_below = b > a, d > c
        above, below = torch.maximum(a, b), torch.maximum(c, d)
        lower = below > above
        ctx.save_for_backward(right_above, right_below, lower)
        ctx.shape = z.shape
        return torch.maximum(above, below)

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> Any:
        return _Unpool.apply(g, ctx.shape, *ctx.saved_tensors)


class _Unpool(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, g: Tensor, shape: torch.Size, *where: Tensor) -> Tensor:
        right_above, right_below, lower = where
        ctx.save_for_backward(*where)
        H, W = shape[-3] // 2 * 2, shape[-2] // 2 * 2
        whole = (H, W) == tuple(shape[-3:-1])
        out = g.new_empty(shape) if whole else g.new_zeros(shape)
        b, d = right_above & ~lower, right_below & lower
        for part, (i, j) in zip((~lower ^ b, b, lower ^ d, d), _CORNERS, strict=True):
            torch.mul(g, part, out=out[..., i:H:2, j:W:2, :])
        return out

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> Any:
        right_above, right_below, lower = ctx.saved_tensors
        H, W = g.shape[-3] // 2 * 2, g.shape[-2] // 2 * 2
        a, b, c, d = (g[..., i:H:2, j:W:2, :] for i, j in _CORNERS)
        above, below = torch.where(right_above, b, a), torch.where(right_below, d, c)
        return torch.where(lower, below, above), None, None, None, None


class Convolution(torch.autograd.Function):
    """One task's convolution by torch's kernel, (1, B, H, W, C), differentiable once."""

    @staticmethod
    def forward(ctx: Any, h: Tensor, weight: Tensor, stride: int) -> Tensor:
        kernel = weight[0].unflatten(0, (3, 3, h.shape[-1])).permute(3, 2, 0, 1)
        kernel = kernel.contiguous(memory_format=torch.channels_last)
        ctx.save_for_backward(h, kernel)
        ctx.stride = stride
        return F.conv2d(h[0].permute(0, 3, 1, 2), kernel, None, stride, 1).permute(0, 2, 3, 1)[None]

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, g: Tensor) -> Any:
        h, kernel = ctx.saved_tensors
        step, one = [ctx.stride] * 2, [1, 1]
        to_maps, to_kernel, _ = torch.ops.aten.convolution_backward(
            g[0].permute(0, 3, 1, 2), h[0].permute(0, 3, 1, 2), kernel, None, step, one, one, False,
            [0, 0], 1, [True, True, False],
        )  # fmt: skip
        weight = to_kernel.permute(2, 3, 1, 0).flatten(0, 2)
        return to_maps.permute(0, 2, 3, 1)[None], weight[None], None
