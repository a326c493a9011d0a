"""Checks of the exercises in "MAML on sinusoids"."""

import itertools
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from minimeta.check.verdict import (
    Hint,
    call,
    check,
    close,
    differentiate,
    expect,
    number,
    tensor,
)
from minimeta.episodes import Episode

Params = dict[str, Tensor]


def _weights(sizes: list[int], seed: int, tasks: int | None = None) -> Params:
    """Weights and biases of an MLP, with a leading task axis if there are tasks."""
    generator = torch.Generator().manual_seed(seed)
    axis = [] if tasks is None else [tasks]
    params = {}
    for i, (a, b) in enumerate(itertools.pairwise(sizes)):
        for name, shape in (("weight", [b, a]), ("bias", [b])):
            noise = torch.randn(*axis, *shape, generator=generator, dtype=torch.float64)
            params[f"layers.{i}.{name}"] = noise
    return params


def _forward(params: Params, x: Tensor, *, last: bool = False, bias: bool = True) -> Tensor:
    """The MLP of one task or, with a task axis everywhere, of many."""
    depth = len(params) // 2
    for i in range(depth):
        x = x @ params[f"layers.{i}.weight"].mT
        if bias:
            x = x + params[f"layers.{i}.bias"].unsqueeze(-2)
        if last or i < depth - 1:
            x = torch.relu(x)
    return x


def _linear(params: Params, x: Tensor) -> Tensor:
    for i in range(len(params) // 2):
        x = x @ params[f"layers.{i}.weight"].mT + params[f"layers.{i}.bias"].unsqueeze(-2)
    return x


@check
def mlp(answer: Callable[[Params, Tensor], Tensor]) -> str:
    """The forward pass of an MLP with weights from a dictionary.

    >>> mlp(lambda params, x: x)
    Not yet: the result has shape (6, 1), and (6, 2) was expected.
    """
    for seed, sizes in enumerate(([1, 5, 5, 2], [3, 4, 1], [2, 2])):
        params = _weights(sizes, seed)
        generator = torch.Generator().manual_seed(9)
        x = torch.randn(6, sizes[0], generator=generator, dtype=torch.float64)
        got = tensor(call(answer, dict(params), x.clone()), (6, sizes[-1]))
        if close(got, _forward(params, x)):
            continue
        expect(
            not close(got, _forward(params, x, last=True)),
            "there is a ReLU after the last layer; it would forbid negative predictions.",
        )
        expect(not close(got, _linear(params, x)), "there is no ReLU between the layers.")
        expect(not close(got, _forward(params, x, bias=False)), "the biases are missing.")
        raise Hint(
            f"with layers {sizes} the output differs: x @ weight.T + bias, then a ReLU, for each layer "
            "but the last."
        )
    return "the same numbers as the network's own forward pass, for one, two and three layers."


@check
def mlp_tasks(answer: Callable[[Params, Tensor], Tensor]) -> str:
    """The forward pass of T networks on T sets of inputs.

    >>> mlp_tasks(lambda params, x: x)
    Not yet: the result has shape (4, 4, 1), and (4, 4, 2) was expected.
    """
    for inputs in (4, 7):  # as many inputs as tasks first: there a missing axis goes unnoticed
        params = _weights([1, 5, 5, 2], inputs, tasks=4)
        generator = torch.Generator().manual_seed(9)
        x = torch.randn(4, inputs, 1, generator=generator, dtype=torch.float64)
        got = tensor(call(answer, dict(params), x.clone()), (4, inputs, 2))
        if close(got, _forward(params, x)):
            continue
        first = {n: p[:1].expand_as(p) for n, p in params.items()}
        expect(
            not close(got, _forward(first, x)),
            "every task runs with the weights of the first; task t has params[...][t].",
        )
        swapped = x
        for i in range(3):
            swapped = swapped @ params[f"layers.{i}.weight"].mT
            if inputs == 4:
                swapped = swapped + params[f"layers.{i}.bias"]
            swapped = torch.relu(swapped) if i < 2 else swapped
        expect(
            inputs != 4 or not close(got, swapped),
            "with as many inputs as tasks, task t's bias is added to *input* t; a bias (T, out) needs an axis for "
            "the inputs.",
        )
        expect(
            not close(got, _forward(params, x, last=True)),
            "there is a ReLU after the last layer; it would forbid negative predictions.",
        )
        expect(not close(got, _linear(params, x)), "there is no ReLU between the layers.")
        expect(not close(got, _forward(params, x, bias=False)), "the biases are missing.")
        raise Hint("the output differs from a loop over the tasks; look at the axes, (T, B, out).")
    return "equal to a loop over the tasks."


@check
def joint_floor(answer: Callable[[float, float], float]) -> str:
    """The error of the best joint predictor, for phases over the whole circle.

    >>> joint_floor(lambda low, high: 0.0)
    Not yet: without adapting, nobody can know amplitude and phase; the error is not 0.
    """
    for low, high in ((0.1, 5.0), (1.0, 2.0), (0.0, 3.0)):
        got = number(call(answer, low, high), "joint_floor(...)")
        mean, square = (low + high) / 2, (high**3 - low**3) / (high - low) / 3
        if close(got, square / 2):
            continue
        expect(
            got != 0, "without adapting, nobody can know amplitude and phase; the error is not 0."
        )
        expect(not close(got, square), "that is E[A^2]; the mean of sin^2 over a circle is 1/2.")
        expect(
            not close(got, mean**2 / 2) and not close(got, mean**2),
            "the square of the mean amplitude is not the mean of its square.",
        )
        expect(
            not close(got, (square - mean**2) / 2) and not close(got, square - mean**2),
            "that is about the variance of A; the *curves'* mean is 0 here, so nothing is subtracted.",
        )
        expect(
            not close(got, square / 2 - 4 * mean**2 / torch.pi**2 / 2, 0.02),
            "over a whole circle the mean of sin(x - b) is 0, so the mean curve is flat.",
        )
        raise Hint(
            f"joint_floor({low:g}, {high:g}) is {got:.4f}, and {square / 2:.4f} was expected."
        )
    return "the mean curve is zero, and what remains is E[A^2] / 2."


def _curve_data(seed: int) -> tuple[Params, tuple[Tensor, ...]]:
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(9, 1, generator=generator, dtype=torch.float64)
    y = torch.sin(2 * x)
    return _weights([1, 6, 1], seed), (x[:4], y[:4], x[4:], y[4:])


def _curve(
    theta: Params, sets: tuple[Tensor, ...], alpha: float, steps: int, *, summed: bool = False,
    piled: bool = False,
) -> list[float]:  # fmt: skip
    x, y, new_x, new_y = sets
    params = {n: p.clone().requires_grad_() for n, p in theta.items()}
    errors, before = [], [torch.zeros_like(p) for p in theta.values()]
    for _ in range(steps + 1):
        errors.append(F.mse_loss(_forward(params, new_x), new_y).item())
        loss = F.mse_loss(_forward(params, x), y, reduction="sum" if summed else "mean")
        grads = torch.autograd.grad(loss, tuple(params.values()))
        if piled:  # as .grad does when nobody sets it to zero
            before = [g + b for g, b in zip(grads, before, strict=True)]
            grads = tuple(before)
        params = {
            n: (p - alpha * g).detach().requires_grad_()
            for (n, p), g in zip(params.items(), grads, strict=True)
        }
    return errors


@check
def error_curve(answer: Callable[..., Any]) -> str:
    """The query error after 0, 1, ..., k gradient steps.

    >>> error_curve(lambda forward, theta, x, y, new_x, new_y, alpha, steps: [0.0])
    Not yet: 1 number(s) came back for 3 steps; steps + 1 were expected, the first before any step.
    """
    for seed, alpha, steps in ((0, 0.05, 3), (1, 0.02, 5)):
        theta, sets = _curve_data(seed)
        kept = {n: p.clone() for n, p in theta.items()}
        given = dict(theta)
        result = call(answer, _forward, given, *(s.clone() for s in sets), alpha, steps)
        expect(isinstance(result, list | tuple), "return a list of numbers.")
        expect(
            len(result) == steps + 1,
            f"{len(result)} number(s) came back for {steps} steps; steps + 1 were expected, the first before any "
            "step.",
        )
        got = [number(r, "one of the errors") for r in result]
        same = given.keys() == kept.keys() and all(torch.equal(given[n], kept[n]) for n in kept)
        expect(same, "theta has changed; the next task must begin from the same start.")
        if close(got, _curve(theta, sets, alpha, steps)):
            continue
        x, y, new_x, new_y = sets
        expect(
            not close(got, _curve(theta, (x, y, x, y), alpha, steps)),
            "these are the errors on the support set; measure on (new_x, new_y).",
        )
        expect(
            not close(got, _curve(theta, (new_x, new_y, new_x, new_y), alpha, steps)),
            "the steps descend on the queries, which a learner must not see.",
        )
        expect(
            not close(got, _curve(theta, sets, alpha, steps, summed=True)),
            "the steps are taken on the sum of the squares; take the mean.",
        )
        expect(
            not close(got, _curve(theta, sets, alpha, steps, piled=True)),
            "each step also repeats the gradients of the steps before: .grad adds up until it is set to zero.",
        )
        expect(not close(got, [got[0]] * (steps + 1)), "the error never changes: nothing adapts.")
        expect(
            close(got[:2], _curve(theta, sets, alpha, 1)),
            "the error after one step differs; the step is theta - alpha * gradient of the mean squared error.",
        )
        raise Hint(
            "the first step is right, the later ones are not; each starts where the last one ended."
        )
    return "support for the steps, queries for the score, and theta as it was."


def _task_data(tasks: int) -> tuple[Params, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(tasks)
    x = torch.randn(tasks, 5, 1, generator=generator, dtype=torch.float64)
    theta = _weights([1, 4, 1], 0)
    params = {n: p.expand(tasks, *p.shape).clone().requires_grad_() for n, p in theta.items()}
    return params, x, torch.sin(x)


def _step(params: Params, x: Tensor, y: Tensor, alpha: Any, *, second: bool = True) -> Params:
    losses = (_forward(params, x) - y).square().mean((1, 2))
    grads = torch.autograd.grad(losses.sum(), tuple(params.values()), create_graph=second)
    rate = alpha if isinstance(alpha, dict) else dict.fromkeys(params, alpha)
    return {n: p - rate[n] * g for (n, p), g in zip(params.items(), grads, strict=True)}


@check
def adapt_tasks(answer: Callable[..., Any]) -> str:
    """One MAML step for T tasks, differentiable by the start.

    >>> adapt_tasks(lambda forward, params, x, y, alpha: params)
    Not yet: the parameters did not move.
    """
    faults = []
    params, x, y = _task_data(3)
    before = {n: p.detach().clone() for n, p in params.items()}
    result = call(answer, _forward, params, x.clone(), y.clone(), 0.1)
    expect(
        all(torch.equal(p, before[n]) for n, p in params.items()),
        "params were overwritten; they belong to the caller, so return new tensors.",
    )
    expect(
        isinstance(result, dict) and result.keys() == params.keys(),
        "return a dictionary with the names of params.",
    )
    got = {n: tensor(result[n], tuple(params[n].shape), n) for n in params}
    right = _step(params, x, y, 0.1)
    if not all(close(got[n], right[n]) for n in params):
        expect(
            not all(close(got[n], params[n].detach()) for n in params),
            "the parameters did not move.",
        )
        away = {n: p.detach() - (right[n] - p).detach() for n, p in params.items()}
        expect(not all(close(got[n], away[n]) for n in params), "the step goes uphill.")
        for factor, what in (
            (1 / 3, "the loss is a mean over the three tasks"),
            (5, "the loss is a sum over points"),
        ):
            scaled = {n: p.detach() + factor * (right[n] - p).detach() for n, p in params.items()}
            if all(close(got[n], scaled[n]) for n in params):
                faults.append(f"each step is {factor:.2g} times as long as it should be ({what})")
        expect(faults, "the adapted parameters differ from those of a loop over the tasks.")
    if not all(result[n].requires_grad for n in params):
        faults.append("the result does not depend on params any more (something cuts the graph)")
    else:
        wanted, have = _meta_gradients(params, x, right, result)
        if not faults and not close(have, wanted):
            plain = _meta_gradients(params, x, right, _step(params, x, y, 0.1, second=False))[1]
            if close(have, plain):
                faults.append("the meta-gradient is the first-order one")
            else:
                faults.append("the meta-gradient differs from the true one")
    expect(
        not faults,
        f"{faults[0] if faults else ''}.{' And there is more.' if len(faults) > 1 else ''}",
    )
    return "each task takes its own whole step, and the meta-gradient passes through it."


def _meta_gradients(params: Params, x: Tensor, right: Params, got: Params) -> tuple[Tensor, Tensor]:
    """The gradient of one loss of the adapted parameters by the start, by ours and by theirs."""
    both = []
    for adapted in (right, got):
        loss = (_forward(adapted, x + 0.5) - 1).square().sum()
        grads = differentiate(
            loss,
            tuple(params.values()),
            retain_graph=True,
            allow_unused=True,
            materialize_grads=True,
        )
        both.append(torch.cat([g.flatten() for g in grads]))
    return both[0], both[1]


def _rated_episode() -> Episode:
    generator = torch.Generator().manual_seed(4)
    x = torch.randn(3, 9, 1, generator=generator, dtype=torch.float64)
    y = torch.sin(x - torch.arange(3).view(3, 1, 1))
    return Episode(x[:, :5], y[:, :5], x[:, 5:], y[:, 5:])


@check
def rated_loss(answer: Callable[..., Any]) -> str:
    """The outer loss of Meta-SGD, with its gradients by the start and the rates.

    >>> rated_loss(lambda forward, theta, rates, episode: torch.zeros(2))
    Not yet: the loss has shape (2,), and () was expected.
    """
    episode = _rated_episode()
    theta = {n: p.requires_grad_() for n, p in _weights([1, 4, 1], 0).items()}
    noise = _weights([1, 4, 1], 1)
    rates = {n: (0.03 + 0.02 * noise[n]).requires_grad_() for n in theta}
    result = call(answer, _forward, theta, rates, episode)
    got = tensor(result, (), "the loss")
    params = {n: p.expand(3, *p.shape) for n, p in theta.items()}
    sets = episode.support_x, episode.support_y

    def outer(rates: Any, *, second: bool = True, on: str = "query") -> Tensor:
        adapted = _step(params, *sets, rates, second=second)
        x, y = (episode.query_x, episode.query_y) if on == "query" else sets
        assert y is not None
        return F.mse_loss(_forward(adapted, x), y)

    right = outer(rates)
    expect(
        not close(got, outer(rates, on="support").detach()),
        "that is the loss on the support set after the step; the outer loss reads the queries.",
    )
    before = F.mse_loss(_forward(params, episode.query_x), episode.query_y)  # type: ignore[arg-type]
    expect(not close(got, before.detach()), "that is the loss before the step.")
    smaller = outer({n: r / 3 for n, r in rates.items()})
    expect(
        not close(got, smaller.detach()),
        "the steps are a third of their length: the support loss is a mean over the three tasks.",
    )
    alike = _step(params, *sets, rates)
    alike = {n: theta[n] + len(episode) * (p - theta[n]).mean(0) for n, p in alike.items()}
    alike = {n: p.expand(len(episode), *p.shape) for n, p in alike.items()}
    shared = F.mse_loss(_forward(alike, episode.query_x), episode.query_y)  # type: ignore[arg-type]
    expect(
        not close(got, shared.detach()),
        "every task takes the same step: the gradient is by the shared theta, not by each task's own copy.",
    )
    uphill = outer({n: -r for n, r in rates.items()})
    expect(not close(got, uphill.detach()), "the step goes uphill.")
    expect(
        close(got, right.detach()),
        f"the loss is {float(got):.4f}, and {float(right.detach()):.4f} was expected.",
    )
    expect(result.requires_grad, "the loss carries no gradient.")
    for what, given in (("the rates", rates), ("theta", theta)):
        leaves = tuple(given.values())
        mine = torch.autograd.grad(right, leaves, retain_graph=True)
        theirs = differentiate(
            result, leaves, retain_graph=True, allow_unused=True, materialize_grads=True
        )
        if all(close(a, b) for a, b in zip(mine, theirs, strict=True)):
            continue
        first = torch.autograd.grad(outer(rates, second=False), leaves)
        expect(
            what == "the rates" or not all(close(a, b) for a, b in zip(first, theirs, strict=True)),
            "the loss is right, but its gradient by theta is the first-order one.",
        )
        raise Hint(f"the loss is right, but its gradient by {what} is not.")
    return "the loss, and its gradients by the start and by the rates."
