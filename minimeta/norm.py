"""Batch normalisation by task, and the three sets its statistics can come from.

Statistics are always those of one task, never pooled over a batch of tasks. Which examples of the
task give them decides what a prediction may depend on, and moves accuracies by points; so the mode
is an argument of the network and of ``meta_test``, and stands in every result.
"""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Literal

import torch
from torch import Tensor, nn

from minimeta.errors import MinimetaError

BN = Literal["batch", "support", "running"]
BN_MODES = ("batch", "support", "running")
# how many examples at the start of each task's set are its support set; None: all of them
_SUPPORT: ContextVar[int | None] = ContextVar("support", default=None)


class BatchNorm(nn.Module):
    """Batch normalisation over one task's set at a time (Ioffe & Szegedy 2015), never pooled over tasks.

    Parameters
    ----------
    features
        Channels C.
    mode
        ``"batch"``: the set that passes gives its own mean and variance, so a query sees its
        companions (transductive). ``"support"``: only the support set gives them (inductive); learners
        say which examples that are by :func:`minimeta.norm.statistics_from`. ``"running"``: batch statistics in meta-training, whose running averages
        are used in evaluation (inductive there).
    eps, momentum
        As in ``torch.nn.BatchNorm2d``.

    Notes
    -----
    ``torch.func.vmap`` over ``torch.batch_norm`` in training mode gives wrong second-order gradients
    without a word when the gradient is taken inside it (pytorch/functorch#534). Inside any such
    transform, and for ``"support"``, the same formula is written out from means; elsewhere torch's
    kernel is called once a task, which is faster.

    Examples
    --------
    >>> BatchNorm(2)(torch.tensor([[1.0, 5.0], [3.0, 9.0]])).round().tolist()
    [[-1.0, -1.0], [1.0, 1.0]]
    """

    running_mean: Tensor | None
    running_var: Tensor | None

    def __init__(
        self, features: int, mode: BN = "batch", *, eps: float = 1e-5, momentum: float = 0.1
    ) -> None:
        super().__init__()
        self.mode, self.eps, self.momentum = checked(mode, BN_MODES, "bn"), eps, momentum
        self.weight, self.bias = (
            nn.Parameter(torch.ones(features)),
            nn.Parameter(torch.zeros(features)),
        )
        running = mode == "running"
        self.register_buffer("running_mean", torch.zeros(features) if running else None)
        self.register_buffer("running_var", torch.ones(features) if running else None)

    @property
    def has_running(self) -> bool:
        """Whether the layer keeps running averages."""
        return self.running_mean is not None

    def forward(self, x: Tensor, *, tasks: int = 1) -> Tensor:
        r"""Normalise ``x`` (tasks·B, C, \*spatial), each task's B examples by themselves."""
        if self.mode == "support" or (self.mode == "batch" and inside_transform()):
            return self._written_out(x, tasks, _SUPPORT.get() if self.mode == "support" else None)
        own = self.training or self.mode == "batch"  # its own statistics, or the averages
        mean, var = (
            (self.running_mean, self.running_var) if self.mode == "running" else (None, None)
        )
        if own and mean is not None:
            _require_spread(x.numel() // (tasks * x.shape[1]))
        out = [
            torch.batch_norm(
                task, self.weight, self.bias, mean, var, own, self.momentum, self.eps, True
            )
            for task in (x.chunk(tasks) if own else [x])
        ]
        return out[0] if len(out) == 1 else torch.cat(out)

    def averages(self, mean: Tensor, variance: Tensor, *, count: int) -> tuple[Tensor, Tensor]:
        """For ``"running"``: what to normalise with, given each task's own statistics (T, C).

        In training these themselves, which the running averages then follow; in evaluation the averages.
        """
        assert self.running_mean is not None and self.running_var is not None
        if not self.training:
            return self.running_mean.expand_as(mean), self.running_var.expand_as(variance)
        _require_spread(count)
        with torch.no_grad():
            for m, v in zip(mean, variance, strict=True):
                self.running_mean.lerp_(m, self.momentum)
                self.running_var.lerp_(v * (count / (count - 1)), self.momentum)
        return mean, variance

    def _written_out(self, x: Tensor, tasks: int, first: int | None) -> Tensor:
        sets = x.reshape(tasks, -1, x.shape[1], math.prod(x.shape[2:]))  # (T, B, C, places)
        # a constant shift changes no output, and near zero E[x^2] - E[x]^2 loses no digits
        sets = sets - sets[:, :1].mean(3, keepdim=True).detach()
        seen = sets[:, :first]
        count = seen.shape[1] * seen.shape[3]
        # places first, then examples: several times faster than one reduction over both on a CPU
        mean, square = ((v.sum(3).sum(1) / count)[:, None, :, None] for v in (seen, seen * seen))
        variance = square - mean * mean
        scale = self.weight.view(1, 1, -1, 1) * torch.rsqrt(variance + self.eps)
        return (sets * scale + (self.bias.view(1, 1, -1, 1) - mean * scale)).view(x.shape)

    def extra_repr(self) -> str:
        """Show the size and the mode."""
        return f"{len(self.weight)}, mode={self.mode!r}"


def _require_spread(count: int) -> None:
    if count < 2:
        raise MinimetaError(
            "a task's set has one value in each channel, which says nothing of their variance, so the running "
            "averages cannot follow; train on larger sets, or normalise with bn='batch'."
        )


def inside_transform() -> bool:
    """Say whether this call is traced by ``torch.func``; if torch cannot tell, assume so."""
    active = getattr(torch._C, "_are_functorch_transforms_active", lambda: True)
    return bool(active())


def support_examples() -> int | None:
    """How many examples of each set are its support set, as :func:`statistics_from` says; None: all."""
    return _SUPPORT.get()


@contextmanager
def statistics_from(examples: int | None) -> Iterator[None]:
    """Within the block, the first ``examples`` of each set are its support set, for ``"support"``."""
    token = _SUPPORT.set(examples)
    try:
        yield
    finally:
        _SUPPORT.reset(token)


def bn_mode(module: nn.Module) -> str:
    """Say how a module normalises: of BN_MODES and ``"torch"`` those it has, or ``"none"``.

    >>> bn_mode(nn.Sequential(BatchNorm(1), nn.BatchNorm1d(1))), bn_mode(nn.Linear(1, 1))
    ('batch+torch', 'none')
    """
    modes = {m.mode for m in module.modules() if isinstance(m, BatchNorm)}
    if any(isinstance(m, nn.modules.batchnorm._BatchNorm) for m in module.modules()):
        modes.add("torch")
    return "+".join(sorted(modes)) or "none"


def needs_support(module: nn.Module) -> bool:
    """Say whether queries must pass together with the support set that normalises them."""
    return any(isinstance(m, BatchNorm) and m.mode == "support" for m in module.modules())


@contextmanager
def normalised(module: nn.Module, bn: BN | None) -> Iterator[None]:
    """Set the mode of every :class:`BatchNorm` inside ``module`` for a while; None changes nothing."""
    layers = [m for m in module.modules() if isinstance(m, BatchNorm)]
    if bn is not None:
        checked(bn, BN_MODES, "bn")
        if not layers:
            raise MinimetaError(
                f"bn={bn!r} was asked for but this learner has no minimeta BatchNorm layer "
                f"(its normalisation: {bn_mode(module)}); leave bn out."
            )
        if bn == "running" and not all(layer.has_running for layer in layers):
            raise MinimetaError(
                "bn='running' was asked for but the network kept no running averages; evaluate with "
                "'batch' or 'support', or (not for MAML) train with bn='running'."
            )
    before = [layer.mode for layer in layers]
    try:
        for layer in layers:
            layer.mode = bn or layer.mode
        yield
    finally:
        for layer, mode in zip(layers, before, strict=True):
            layer.mode = mode


def checked(value: str, allowed: tuple[str, ...], word: str) -> str:
    """Return an option's value if it is one of those allowed."""
    if value not in allowed:
        raise MinimetaError(f"{word}={value!r} was given; it is one of {', '.join(allowed)}.")
    return value
