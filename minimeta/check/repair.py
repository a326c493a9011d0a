"""Checks of the exercises in "Repairing a broken MAML"."""

import math
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from minimeta.check.verdict import Hint, call, check, close, expect, number, tensor, truth
from minimeta.episodes import Episode
from minimeta.errors import shown
from minimeta.protonet import ProtoNet


@check
def chance_loss(answer: Any) -> str:
    """The cross-entropy of a guess over 20 classes.

    >>> chance_loss(0.05)
    Not yet: 1/20 is the accuracy of a guess; its loss is minus the logarithm of that.
    """
    loss = number(answer)
    exact = math.log(20)
    expect(
        not close(loss, 0.05, 1e-3),
        "1/20 is the accuracy of a guess; its loss is minus the logarithm of that.",
    )
    expect(not close(loss, -exact, 1e-2), "the sign: a loss is minus a log probability.")
    expect(
        not close(loss, math.log2(20), 1e-2), "cross-entropy uses the natural logarithm, not log2."
    )
    expect(not close(loss, math.log(5), 1e-2), "that is the value for 5 classes.")
    expect(abs(loss - exact) < 0.006, f"{loss:.4g} is not -ln(1/20).")
    return "ln 20, about 3.00."


def _quartic(theta: Tensor) -> Tensor:
    return (theta**4).sum() / 4 + theta.prod()


@check
def inner_step(answer: Callable[..., Any]) -> str:
    """One inner step that the outer loop can differentiate.

    >>> inner_step(lambda theta, alpha, loss: theta)
    Not yet: nothing moves: phi is theta.
    """
    start = torch.tensor([0.8, -1.3, 0.5], dtype=torch.float64)
    alpha, goal = 0.1, torch.tensor([1.0, 0.0, 2.0], dtype=torch.float64)
    theta = start.clone().requires_grad_()
    phi = call(answer, theta, alpha, _quartic)
    value = tensor(phi, (3,), "phi")
    expect(
        close(theta.detach(), start),
        "theta itself has changed: the step must make new numbers, not write into the shared ones.",
    )
    (slope,) = torch.autograd.grad(_quartic(theta), theta, create_graph=True)
    right = theta - alpha * slope
    expect(not close(value, start), "nothing moves: phi is theta.")
    expect(not close(value, start + alpha * slope.detach()), "the step goes uphill.")
    expect(close(value, right.detach()), "phi is not theta - alpha * the slope of the loss.")
    expect(
        phi.requires_grad,
        "phi carries no gradient at all, so nothing reaches theta: something is detached.",
    )
    try:
        (got,) = torch.autograd.grad((phi - goal).square().sum(), theta, allow_unused=True)
    except RuntimeError as error:
        raise Hint(f"differentiating through phi raised: {str(error).splitlines()[0]}") from error
    expect(got is not None, "phi has a graph, but theta is not in it.")
    (want,) = torch.autograd.grad((right - goal).square().sum(), theta)
    expect(
        not close(got, 2 * (value - goal)),
        "the value is right, but its gradient is the first-order one: the slope counts as a constant. create_graph "
        "keeps it a function of theta, unless something detaches it.",
    )
    expect(close(got, want), "the gradient through the step is not (I - alpha H) times the slope.")
    return "the step is right, and so is the gradient through it."


@check
def separate(answer: Callable[..., Any]) -> str:
    """An inner step on a list of parameters that leaves the shared list alone.

    >>> separate(lambda theta, alpha, slopes: theta)
    Not yet: the list that came back is theta itself; make a new one.
    """
    start = [torch.tensor([1.0, 2.0]), torch.tensor([[3.0]])]
    slopes = [torch.tensor([10.0, -10.0]), torch.tensor([[5.0]])]
    theta = [p.clone() for p in start]
    first = call(answer, theta, 0.1, slopes)
    expect(isinstance(first, list | tuple), f"a list was expected, and {shown(first)} came back.")
    moved = len(theta) != 2 or any(not close(p, s) for p, s in zip(theta, start, strict=True))
    if moved:
        raise Hint(
            "after adapting to one task, theta is no longer what it was, so the next task starts from this one's end. "
            "Is the list the same object, or are its tensors written in place?"
        )
    expect(first is not theta, "the list that came back is theta itself; make a new one.")
    expect(len(first) == 2, f"{len(first)} tensors came back for 2 parameters.")
    for p, s, g in zip(first, start, slopes, strict=True):
        got = tensor(p, tuple(s.shape), "an adapted parameter")
        expect(not close(got, s), "the list is new, but nothing has moved.")
        expect(close(got, s - 0.1 * g), "an adapted parameter is not p - alpha * g.")
    again = call(answer, theta, 0.1, slopes)
    expect(
        all(close(a, b) for a, b in zip(first, again, strict=True)),
        "a second task with the same slopes gets another result.",
    )
    return "each task starts from the same theta."


@check
def labelled(answer: Callable[..., Any]) -> str:
    """A shuffled query set in which every drawing keeps its own label.

    >>> labelled(lambda drawings, order: (drawings.flatten(0, 1)[order], order % 3))
    Not yet: drawing and label part: ... of 12 rows carry the label of another class.
    """
    ways, queries = 3, 4
    drawings = torch.arange(ways * queries * 2.0).view(ways, queries, 2)
    true = torch.arange(ways).repeat_interleave(queries)
    flat = drawings.flatten(0, 1)
    for seed in (1, 2):
        order = torch.randperm(ways * queries, generator=torch.Generator().manual_seed(seed))
        result = call(answer, drawings.clone(), order.clone())
        expect(isinstance(result, tuple | list) and len(result) == 2, "return a pair: x, then y.")
        x = tensor(result[0], (ways * queries, 2), "x")
        y = tensor(result[1], (ways * queries,), "y")
        owner = (x[:, None] == flat.double()).all(2)  # (R, R): which drawing each row is
        expect(
            bool((owner.sum(0) == 1).all()),
            "the rows of x are not the drawings, each once.",
        )
        expect(not close(x, flat), "the drawings are in their old order; shuffle them by order.")
        wrong = int((y != true[owner.double().argmax(1)]).sum())
        expect(
            wrong == 0,
            f"drawing and label part: {wrong} of {ways * queries} rows carry the label of another class.",
        )
        expect(
            close(x, flat[order].double()), "shuffled, but not by order: row i is drawing order[i]."
        )
    return "every drawing keeps its label."


def _maml_case() -> tuple[Callable[[Tensor], Tensor], ...]:
    """A loss after one inner step, its gradient, and the first-order one."""
    goal = torch.tensor([1.0, 0.0, 2.0], dtype=torch.float64)

    def adapted(theta: Tensor, *, first_order: bool) -> Tensor:
        (slope,) = torch.autograd.grad(_quartic(theta), theta, create_graph=not first_order)
        return theta - 0.1 * slope

    def loss(theta: Tensor) -> Tensor:
        theta = theta.detach().requires_grad_()
        return (adapted(theta, first_order=True) - goal).square().sum().detach()

    def gradient(theta: Tensor, *, first_order: bool = False) -> Tensor:
        theta = theta.detach().requires_grad_()
        outer = (adapted(theta, first_order=first_order) - goal).square().sum()
        return torch.autograd.grad(outer, theta)[0]

    return loss, gradient, lambda theta: gradient(theta, first_order=True)


@check
def gradient_test(answer: Callable[..., Any]) -> str:
    """A finite-difference test: it must pass right gradients and fail wrong ones.

    >>> gradient_test(lambda loss, gradient, theta: True)
    Not yet: it passes the first-order gradient of a second-order loss.
    """
    theta = torch.tensor([0.8, -1.3, 0.5], dtype=torch.float64)
    loss, right, first_order = _maml_case()
    one = torch.tensor([0.0, 0.0, 1.0], dtype=torch.float64)
    cases: list[tuple[Any, Any, bool, str]] = [
        (loss, right, True, "it fails a right gradient; is h near 1e-5, and the tolerance not too tight?"),
        (loss, first_order, False, "it passes the first-order gradient of a second-order loss."),
        (loss, lambda t: -right(t), False, "it passes a gradient of the wrong sign."),
        (loss, lambda t: 2 * right(t), False, "it passes a gradient twice as long as it should be."),
        (loss, lambda t: right(t) + one, False, "it passes a gradient that is wrong in the last entry only; probe a "
         "random direction, or every entry."),
        (lambda t: 1e-8 * loss(t), lambda t: 2e-8 * right(t), False, "it passes a wrong gradient of a loss that is "
         "small; compare relative to the size of the numbers."),
        (lambda t: 1e4 * loss(t), lambda t: 1e4 * right(t), True, "it fails a right gradient of a loss that is large; "
         "compare relative to the size of the numbers."),
        (lambda t: loss(t) + 1e3 * t[0], lambda t: right(t) + 1e3 * torch.eye(3).double()[0], True,
         "it fails the right gradient of a steep loss."),
    ]  # fmt: skip
    for f, g, passes, hint in cases:
        at = theta.clone()
        expect(truth(call(answer, f, g, at)) == passes, hint)
        expect(close(at, theta), "it changes theta, which belongs to the caller.")
    return "right gradients pass and wrong ones do not, whatever the size of the loss."


def _places(episode: Episode) -> Tensor:
    """Score queries by where they stand: the rows come sorted by class."""
    rows, ways = episode.query_x.shape[1], int(episode.ways or 1)
    guess = torch.arange(rows) * ways // rows
    return F.one_hot(guess, ways).float().expand(len(episode), -1, -1)


def _support_places(episode: Episode) -> Tensor:
    """Read the queries, but take the support rows to be in order of their labels."""
    sort = torch.sort(episode.support_y, 1).values
    other = Episode(episode.support_x, sort, episode.query_x, episode.query_y)
    return ProtoNet(nn.Identity())(other)


def _hash(x: Tensor, ways: int) -> Tensor:
    """Score a query by its own content alone: no position anywhere."""
    return torch.stack([(x.sum(-1) * (n + 1)).sin() for n in range(ways)], -1)


@check
def position_test(answer: Callable[..., Any]) -> str:
    """A test that finds the learners which read where a row stands.

    >>> position_test(lambda learner, episode: False)
    Not yet: it lets the learner through that answers by the position of the query.
    """
    g = torch.Generator().manual_seed(3)
    shots = 5  # so many that their sum depends, by rounding, on their order
    labels = torch.arange(3).repeat_interleave(shots).expand(4, -1)
    centre = 3 * torch.randn(4, 3, 5, generator=g).repeat_interleave(shots, 1)
    sets = [centre + torch.randn(4, 3 * shots, 5, generator=g) for _ in range(2)]
    episode = Episode(sets[0], labels, sets[1], labels.clone())
    cases: list[tuple[Any, bool, str]] = [
        (ProtoNet(nn.Identity()), False, "it accuses a Prototypical Network, which reads no positions. Permute "
         "examples together with their labels, move the expected scores in the same way, and allow for rounding."),
        (lambda e: _hash(e.query_x, 3), False, "it accuses a learner that looks at the query alone. That is another "
         "fault; no position is read."),
        (_places, True, "it lets the learner through that answers by the position of the query."),
        (_support_places, True, "it lets a learner through that takes the support rows to be sorted by class; permute "
         "the support set as well."),
    ]  # fmt: skip
    for learner, guilty, hint in cases:
        result = call(answer, learner, episode)
        expect(truth(result) == guilty, hint)
    return "it finds both kinds of position reader, and accuses nobody else."
