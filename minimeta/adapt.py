r"""The inner loop: gradient steps on T tasks at once, each with its own parameters.

Parameters are dictionaries name -> tensor with a leading task axis, (T, \*shape). Tasks do not touch
each other, so one gradient of the summed task losses holds every task's own gradient.
"""

import threading
import warnings
import weakref
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext

import torch
from torch import Tensor, nn
from torch.func import functional_call, vmap
from torch.nn.modules.batchnorm import _BatchNorm, _NormBase
from torch.nn.modules.dropout import _DropoutNd

from minimeta.errors import MinimetaError, shown
from minimeta.learner import task_losses
from minimeta.networks import TaskModule
from minimeta.norm import statistics_from

Params = dict[str, Tensor]
Rates = Mapping[str, Tensor | float]  # a parameter without a rate does not adapt


def sgd_step(params: Params, losses: Tensor, *, lr: float | Rates, first_order: bool) -> Params:
    r"""Take one gradient step on every task: Finn et al. 2017, Algorithm 1, line 6.

    theta' = theta - lr * dL/dtheta. The one switch between MAML and FOMAML is here: with
    ``first_order`` the gradient is a constant, else it stays a function of theta
    (``create_graph``), which the outer loop differentiates again.

    Parameters
    ----------
    params
        Name -> (T, \*shape).
    losses
        (T,), the loss of each task.
    lr
        One rate for all, or name -> rate.

    Examples
    --------
    >>> theta = {"t": torch.tensor([[3.0]], requires_grad=True)}
    >>> sgd_step(theta, theta["t"].square().sum(1), lr=0.5, first_order=False)["t"].item()
    0.0
    """
    rates = lr if isinstance(lr, Mapping) else dict.fromkeys(params, lr)
    moving = [name for name in params if name in rates]
    grads = torch.autograd.grad(
        losses.sum(), [params[name] for name in moving], create_graph=not first_order,
        allow_unused=True, materialize_grads=True,
    )  # fmt: skip
    moved = {n: params[n] - rates[n] * g for n, g in zip(moving, grads, strict=True)}
    return params | moved


def inner_loop(
    predict: Callable[[Params, Tensor], Tensor],
    params: Params,
    support_x: Tensor,
    support_y: Tensor,
    *,
    lr: float,
    steps: int,
    first_order: bool,
) -> Params:
    """Adapt ``params`` to every task's support set by ``steps`` gradient steps."""
    rates = [dict.fromkeys(params, lr)] * steps
    return inner_path(predict, params, support_x, support_y, rates=rates, first_order=first_order)[
        -1
    ]


def inner_path(
    predict: Callable[[Params, Tensor], Tensor],
    params: Params,
    support_x: Tensor,
    support_y: Tensor,
    *,
    rates: Sequence[Rates],
    first_order: bool,
) -> list[Params]:
    """Return the parameters before the inner loop and after each of its steps."""
    path = [params]
    for rate in rates:
        losses = task_losses(predict(path[-1], support_x), support_y)
        path.append(sgd_step(path[-1], losses, lr=rate, first_order=first_order))
    return path


def per_task(params: Params, tasks: int) -> Params:
    r"""Give every task its own view of shared parameters: (\*shape) -> (T, \*shape)."""
    return {name: p.expand(tasks, *p.shape) for name, p in params.items()}


def run(
    module: nn.Module, x: Tensor, params: Params | None = None, *, stats_from: int | None = None
) -> Tensor:
    r"""Run ``module`` on every task's set: (T, B, \*item) -> (T, B, \*out).

    Parameters
    ----------
    module
        Any module that takes (B, \*item).
    params
        Name -> (T, \*shape), each task's own parameters; None: the module's own, shared.
    stats_from
        How many examples of each set are its support set, for ``bn="support"``; None: all.
    """
    with (
        statistics_from(stats_from),
        alone(module) if params or module in _LOCKS else nullcontext(),
    ):
        if params is None and isinstance(module, TaskModule):
            return module(x)
        return _each_task(module, {} if params is None else params, x)


_LOCKS: "weakref.WeakKeyDictionary[nn.Module, threading.RLock]" = weakref.WeakKeyDictionary()


def alone(module: nn.Module) -> threading.RLock:
    """Return the lock to hold while a module has, or must not have, a task's parameters in it.

    A call with parameters puts them into the module for as long as it lasts; threads may share a learner.
    """
    return _LOCKS.setdefault(module, threading.RLock())


def _each_task(module: nn.Module, params: Params, x: Tensor) -> Tensor:
    # every name of a parameter that layers share; a layer that is used twice has one here, since torch
    # would not put back what it replaced under the second
    names = {id(p): n for n, p in module.named_parameters()} if params else {}
    every = {
        f"{prefix}.{own}".lstrip("."): names[id(p)]
        for prefix, part in (module.named_modules() if params else ())
        for own, p in part._parameters.items() if p is not None
    }  # fmt: skip

    def one(params: Params, x: Tensor) -> Tensor:
        given = {n: params[first] for n, first in every.items() if first in params}
        return functional_call(module, given, (x,), tie_weights=False)

    if len(x) == 1:
        return one({name: p[0] for name, p in params.items()}, x[0]).unsqueeze(0)
    if vectorises(module, x.device):
        buffers = [(part, dict(part._buffers)) for part in module.modules() if part._buffers]
        try:
            out = vmap(one)(params, x)
            kept = all(part._buffers[n] is b for part, own in buffers for n, b in own.items())
            reason = "" if kept else "a call assigns a buffer"
        except RuntimeError as error:
            # flow that depends on the data; a true fault shows up again, as itself, in the loop
            reason = str(error).splitlines()[0]
        if not reason:
            return out
        for part, own in buffers:
            part._buffers.update(own)
        out = _loop(one, params, x)
        _say_once(module, f"vectorising over tasks failed ({reason})")
        return out
    return _loop(one, params, x)


def _loop(one: Callable[[Params, Tensor], Tensor], params: Params, x: Tensor) -> Tensor:
    # unbind, since the backward pass of p[t] for every t costs T^2
    columns = {name: p.unbind(0) for name, p in params.items()}
    return torch.stack([one({n: c[t] for n, c in columns.items()}, x[t]) for t in range(len(x))])


def used_outputs(out: Tensor, ways: int | None) -> Tensor:
    """Return the outputs that a task with so many classes uses: the first ones."""
    if ways is None:
        return out
    if ways > out.shape[-1]:
        raise MinimetaError(
            f"the episode has {ways} classes but MAML's network has {out.shape[-1]} outputs; make "
            f"the network with ways={ways} or draw tasks with at most {out.shape[-1]} ways."
        )
    return out[..., :ways]


def vectorises(module: nn.Module, device: torch.device) -> bool:
    """Say whether one vectorised call for all tasks is safe, and on this device faster than a loop.

    torch refuses dropout under ``vmap``, and its batch normalisation has given wrong second-order
    gradients there: both run in the loop. On a CPU, convolutions with a weight per task become grouped
    convolutions, which measured up to twice as slow as the plain loop.
    """
    for m in module.modules():
        if isinstance(m, _BatchNorm | _DropoutNd) and m.training:
            _say_once(module, f"{type(m).__name__} is not safe to vectorise over tasks")
            return False
    convolves = any(isinstance(m, nn.modules.conv._ConvNd) for m in module.modules())
    return not (convolves and device.type == "cpu")


def choose(network: nn.Module, adapts: str | Callable[[str], bool]) -> list[str]:
    """Return the names of the parameters that the inner loop changes; see :class:`minimeta.MAML`."""
    names = [n for n, _ in network.named_parameters()]  # frozen ones too: they may thaw
    last = names[-1].rpartition(".")[0] if names else ""
    head = [n for n in names if n.rpartition(".")[0] == last]
    if callable(adapts):
        chosen = [n for n in names if adapts(n)]
    elif adapts in ("all", "head", "body"):
        chosen = {"all": names, "head": head, "body": [n for n in names if n not in head]}[adapts]
    else:
        raise MinimetaError(
            f"adapts={shown(adapts)} was given; it is 'all', 'head', 'body' or a function of a parameter's name."
        )
    if names and not chosen:
        raise MinimetaError(
            f"adapts={shown(adapts)} chooses none of the network's parameters ({', '.join(names[:4])}, ...); "
            "let it choose some."
        )
    return chosen


def refuse_running_statistics(module: nn.Module) -> None:
    """Refuse a module whose running statistics the inner loop would update."""
    for name, m in module.named_modules():
        if isinstance(m, _NormBase) and m.training and m.track_running_stats:
            raise MinimetaError(
                f"{type(m).__name__} {name!r} keeps running statistics, which every inner step of every "
                "task would update; make it with track_running_stats=False, or use minimeta's BatchNorm."
            )


_TOLD: "weakref.WeakSet[nn.Module]" = weakref.WeakSet()


def _say_once(module: nn.Module, reason: str) -> None:
    if module not in _TOLD:
        _TOLD.add(module)
        warnings.warn(
            f"{reason}, so tasks run one after another: the same numbers, only slower.",
            stacklevel=4,
        )
