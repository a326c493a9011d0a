"""What makes MAML fast, in one place; the derivation itself is in :mod:`minimeta.maml`.

A *plan* says how the gradients of the task losses are computed on a network, and how many tasks at a
time by how many threads. The first that fits is taken: :class:`MLPPlan`, :class:`Conv4Plan`, or
:class:`Plan`, which runs every module. All give the same numbers, up to rounding.
"""

import functools
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from minimeta.adapt import Params, Rates, per_task
from minimeta.episodes import Episode
from minimeta.errors import MinimetaError
from minimeta.fast.compiled import run_compiled
from minimeta.fast.conv4 import Conv4Plan
from minimeta.fast.mlp import MLPPlan
from minimeta.fast.plan import Plan, Product
from minimeta.learner import query_targets

__all__ = [
    "Conv4Plan",
    "Known",
    "MLPPlan",
    "Plan",
    "Product",
    "mean_gradient",
    "on_threads",
    "plan_for",
    "run_compiled",
]

A = TypeVar("A")
B = TypeVar("B")


def plan_for(network: nn.Module, ways: int | None, *, partial: bool) -> Plan:
    """Return the fastest plan that fits; ``partial``: only some of the parameters adapt."""
    kinds: list[type[Plan]] = [MLPPlan, Conv4Plan, Plan]
    kind = next(kind for kind in kinds if kind.fits(network, ways, partial))
    return kind(network, ways)


def mean_gradient(
    plan: Plan,
    differentiate: Callable[..., tuple[Tensor, Params, list[Params]]],
    episode: Episode,
    start: Params,
    rates: Sequence[Rates],
    *,
    at_once: bool = False,
) -> tuple[Tensor, Params, list[Params]]:
    """Return the mean over tasks of the loss, of its gradient at ``start``, and of that of the rates.

    ``differentiate`` is :func:`minimeta.maml.meta_gradient`, which sees as many tasks at a time as the
    plan wants, or all of them ``at_once``.
    """
    theta = plan.pack({n: p.detach() for n, p in start.items()})
    packed = [_packed(plan, rate) for rate in rates]

    def work(piece: Episode) -> tuple[Tensor, Params, list[Params]]:
        with torch.no_grad():  # a thread of its own starts with gradients on
            value, u, slopes = differentiate(
                plan.gradient, per_task(theta, len(piece)),
                (plan.prepare(piece.support_x), piece.support_y),
                (plan.prepare(piece.query_x), query_targets(piece)),
                rates=packed, recompute=plan.recompute(len(rates)),
            )  # fmt: skip
            total = {n: g.sum(0) for n, g in u.items()}
            return value.sum(), total, [_reduced(s, r) for s, r in zip(slopes, packed, strict=True)]

    chunk = (
        len(episode) if at_once else plan.chunk(len(episode), episode.support_x.device, len(rates))
    )
    pieces = list(episode.split(chunk))
    value, u, slopes = functools.reduce(_add, on_threads(work, pieces, plan.workers))
    mean = {n: g / len(episode) for n, g in plan.unpack(u).items()}
    return value / len(episode), mean, [
        {n: g / len(episode) for n, g in _unpacked(plan, s).items()} for s in slopes
    ]  # fmt: skip


def _add(a: Any, b: Any) -> Any:
    """Add two results of the same structure."""
    if isinstance(a, Tensor):
        return a + b
    if isinstance(a, dict):
        return {name: _add(a[name], b[name]) for name in a}
    return type(a)(_add(x, y) for x, y in zip(a, b, strict=True))


def _packed(plan: Plan, rates: Rates) -> Rates:
    """Bring rates that are given entry by entry into the plan's layout."""
    entries = {n: r.detach() for n, r in rates.items() if isinstance(r, Tensor)}
    shaped = plan.pack({n: r for n, r in entries.items() if r.ndim})
    return {**rates, **entries, **shaped}


def _unpacked(plan: Plan, slopes: Params) -> Params:
    return {**slopes, **plan.unpack({n: g for n, g in slopes.items() if g.ndim})}


def _reduced(slopes: Params, rates: Rates) -> Params:
    """Sum the gradients of the rates over tasks, and over a tensor's entries if they share one."""
    return {n: g.sum(0) if rates[n].ndim else g.sum() for n, g in slopes.items()}  # type: ignore[union-attr]


def on_threads(work: Callable[[A], B], pieces: Sequence[A], workers: int) -> list[B]:
    """Work on the pieces, in order, or on several at a time with one thread each.

    On a few cores, a thread for each piece beats several threads inside every operation: they never
    wait for each other. The results come in the order of the pieces, so sums are the same every time.
    """
    threads = torch.get_num_threads()
    workers = min(workers, threads, len(pieces))
    if workers == 0 and threads > 1:  # operations too small to be shared: waiting costs more
        torch.set_num_threads(1)
        try:
            return [work(piece) for piece in pieces]
        finally:
            torch.set_num_threads(threads)
    if workers < 2:
        return [work(piece) for piece in pieces]
    return list(_pool(workers, os.getpid()).map(work, pieces))


@functools.cache
def _pool(workers: int, process: int) -> ThreadPoolExecutor:
    """Threads that stay, with the memory they have warmed up; a forked process needs its own."""
    return ThreadPoolExecutor(workers, initializer=torch.set_num_threads, initargs=(1,))


class Known(torch.autograd.Function):
    """A loss whose gradient is known already: ``backward()`` hands it over."""

    @staticmethod
    def forward(ctx: Any, value: Tensor, gradients: list[Tensor], *parameters: Tensor) -> Tensor:
        ctx.gradients = gradients
        return value.clone()

    @staticmethod
    def backward(ctx: Any, upstream: Tensor) -> Any:
        if torch.is_grad_enabled():  # create_graph: the graph would lack all but this factor
            raise MinimetaError(
                "the gradient of MAML's loss was asked for with create_graph=True, but it is known as a number "
                "only; differentiate task_losses(learner(episode), episode.query_y).mean() twice instead."
            )
        return None, None, *(upstream * g for g in ctx.gradients)
