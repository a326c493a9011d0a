"""Convolution and pooling of T tasks' maps (T, B, H, W, C), for processors.

All can be differentiated twice, except :class:`Convolution`. Weights are (T, 9C, outputs), but for
:func:`small_convolution`, which takes torch's layout.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

CORNERS = ((0, 0), (0, 1), (1, 0), (1, 1))  # of a 2x2 window


def max_pool(h: Tensor, twice: bool) -> Tensor:
    """2x2 max-pooling of (T, B, H, W, C): torch's kernel is faster, ours can be differentiated twice."""
    if twice:
        return MaxPool.apply(h)
    return (
        F.max_pool2d(h.flatten(0, 1).permute(0, 3, 1, 2), 2)
        .permute(0, 2, 3, 1)
        .unflatten(0, h.shape[:2])
    )


def places(side: int, stride: int, padding: int = 1) -> int:
    """How many places of a 3x3 kernel fit along a side."""
    return (side + 2 * padding - 3) // stride + 1


def cut(h: Tensor, stride: int, padding: int = 1) -> Tensor:
    """3x3 patches of (T, B, H, W, C): (T, places, 9C)."""
    T, B, H, W, C = h.shape
    rows, columns = places(H, stride, padding), places(W, stride, padding)
    padded = F.pad(h.reshape(T * B, H, W, C), (0, 0, *[padding] * 4))
    a, b, c, d = padded.stride()
    windows = padded.as_strided(
        (T * B, rows, columns, 3, 3, C), (a, b * stride, c * stride, b, c, d)
    )
    return windows.reshape(T, B * rows * columns, 9 * C)


def paste(patches: Tensor, shape: torch.Size, stride: int) -> Tensor:
    """The transpose of :func:`cut` with padding 1: add every patch back where it came from."""
    T, B, H, W, C = shape
    rows, columns = places(H, stride), places(W, stride)
    windows = patches.reshape(T * B, rows, columns, 3, 3, C)
    out = patches.new_zeros(T * B, H + 2, W + 2, C)
    for i in range(3):
        for j in range(3):
            last_row, last_column = i + stride * (rows - 1) + 1, j + stride * (columns - 1) + 1
            out[:, i:last_row:stride, j:last_column:stride] += windows[:, :, :, i, j]
    return out[:, 1 : H + 1, 1 : W + 1].reshape(shape)


def small_convolution(x: Tensor, weight: Tensor) -> Tensor:
    """3x3 convolution with padding 1 of maps of at most 2x2 pixels, (B, C, H, W) -> (B, outputs, H, W).

    In maps that small every place sees every other, so one product of H·W·C inputs does it. A convolution
    would mostly multiply its padding: 5 of 9 taps at 2x2 pixels, 8 of 9 at one.
    """
    H, W = x.shape[-2:]
    taps = weight.permute(2, 3, 1, 0)  # (3, 3, C, outputs)
    matrix = torch.stack(  # (H, W, C, H, W, outputs): from each input to each place of the output
        [
            torch.stack([taps[1 - i : 1 - i + H, 1 - j : 1 - j + W] for j in range(W)], 3)
            for i in range(H)
        ],
        3,
    )
    flat = x.permute(0, 2, 3, 1).flatten(1) @ matrix.flatten(3).flatten(0, 2)
    return flat.unflatten(1, (H, W, -1)).permute(0, 3, 1, 2)


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


class MaxPool(torch.autograd.Function):
    """2x2 max-pooling of (..., H, W, C), the first of equals as in torch, differentiable twice."""

    @staticmethod
    def forward(ctx: Any, z: Tensor) -> Tensor:
        H, W = z.shape[-3] // 2 * 2, z.shape[-2] // 2 * 2
        a, b, c, d = (z[..., i:H:2, j:W:2, :] for i, j in CORNERS)
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
        for part, (i, j) in zip((~lower ^ b, b, lower ^ d, d), CORNERS, strict=True):
            torch.mul(g, part, out=out[..., i:H:2, j:W:2, :])
        return out

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> Any:
        right_above, right_below, lower = ctx.saved_tensors
        H, W = g.shape[-3] // 2 * 2, g.shape[-2] // 2 * 2
        a, b, c, d = (g[..., i:H:2, j:W:2, :] for i, j in CORNERS)
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
