"""Sinusoids: the regression tasks of the MAML paper (Finn et al. 2017, section 5.1).

A task is one function, y = A sin(x - b): amplitude A uniform in [0.1, 5], phase b uniform in
[0, pi], inputs x uniform in [-5, 5]. There is nothing to download and no noise.
"""

import math

import torch
from torch import Tensor

from minimeta import hashing

AMPLITUDE = (0.1, 5.0)
PHASE = (0.0, math.pi)
INPUT = (-5.0, 5.0)


def wave(x: Tensor, amplitude: Tensor, phase: Tensor) -> Tensor:
    """Return A sin(x - b).

    >>> wave(torch.tensor(math.pi / 2), torch.tensor(2.0), torch.tensor(0.0))
    tensor(2.)
    """
    return amplitude * torch.sin(x - phase)


def parameters(key: Tensor) -> tuple[Tensor, Tensor]:
    """Amplitude and phase, each (T, 1, 1) float64, of the task of each key (T,)."""
    a, b = hashing.uniform(hashing.fold(key, 0), 2).unbind(-1)
    amplitude = AMPLITUDE[0] + (AMPLITUDE[1] - AMPLITUDE[0]) * a
    phase = PHASE[0] + (PHASE[1] - PHASE[0]) * b
    return amplitude.view(-1, 1, 1), phase.view(-1, 1, 1)


def draw(key: Tensor, points: int) -> tuple[Tensor, Tensor]:
    """Draw ``points`` inputs and targets for the task of each key.

    Parameters
    ----------
    key
        int64, (T,).
    points
        Points a task.

    Returns
    -------
    tuple
        x and y, both float32, (T, points, 1). Computed in float64 and rounded once, so that devices
        whose sine differs in the last bit still agree.

    Examples
    --------
    >>> x, y = draw(hashing.fold(hashing.start(0), torch.arange(3)), points=10)
    >>> x.shape, bool(y.abs().max() <= 5)
    (torch.Size([3, 10, 1]), True)
    """
    amplitude, phase = parameters(key)
    x = INPUT[0] + (INPUT[1] - INPUT[0]) * hashing.uniform(hashing.fold(key, 1), points)
    x = x.unsqueeze(-1)
    return x.float(), wave(x, amplitude, phase).float()
