"""Checks of the exercises in "Prototypical Networks"."""

import math
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from minimeta.check.verdict import Hint, call, check, close, expect, number, tensor


def _draw(*shape: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator, dtype=torch.float64)


def _squared(z: Tensor, c: Tensor) -> Tensor:
    return (z[:, None] - c).square().sum(2)


@check
def last_layer(answer: Callable[..., Any]) -> str:
    """The linear layer whose softmax is that of the squared distances.

    >>> last_layer(lambda c: c)
    Not yet: the result is a Tensor, not an nn.Linear.
    """
    for ways, dim in ((3, 2), (5, 4)):
        c, z = _draw(ways, dim, seed=ways), _draw(40, dim, seed=9)
        layer = call(answer, c.clone())
        expect(
            isinstance(layer, nn.Linear),
            f"the result is a {type(layer).__name__}, not an nn.Linear.",
        )
        expect(
            (layer.in_features, layer.out_features) == (dim, ways),
            f"the layer maps {layer.in_features} numbers to {layer.out_features}; from {ways} prototypes of {dim} "
            f"numbers it should map {dim} to {ways}.",
        )
        with torch.no_grad():
            w = layer.weight.double()
            b = (
                torch.zeros(ways, dtype=torch.float64)
                if layer.bias is None
                else layer.bias.double()
            )
        got = F.linear(z, w, b).softmax(1)
        if close(got, (-_squared(z, c)).softmax(1), 1e-4):
            continue
        norms = c.square().sum(1)
        expect(
            not close(got, (-_squared(z, c) / 2).softmax(1), 1e-4),
            "the nearest class is right, but every score is half of what it should be.",
        )
        expect(
            close(w - w[0], 2 * (c - c[0]), 1e-4) or not close(b - b[0], norms[0] - norms, 1e-4),
            "the bias is right; the weights come from the cross term of the square, with its factor.",
        )
        expect(not close(w, -2 * c, 1e-4), "the weights have the wrong sign.")
        expect(
            not close(b - b[0], norms - norms[0], 1e-4),
            "the bias has the wrong sign: a long prototype is farther from 0.",
        )
        expect(
            not close(b, 0 * b),
            "without a bias the long prototypes win; multiply the square out once more.",
        )
        expect(not close(b, -norms.sqrt(), 1e-4), "the bias takes the *squared* length.")
        raise Hint(
            "its probabilities are not those of the squared distances; multiply the square out, and leave away what is equal "
            "for all classes."
        )
    return "weights 2c and biases -|c|²: a classifier that is written down, not trained."


@check
def class_means(answer: Callable[..., Any]) -> str:
    """Prototypes with unequal shots and labels in any order.

    >>> class_means(lambda z, labels, ways: z)
    Not yet: the result has shape (6, 3), and (3, 3) was expected.
    """
    cases = (([0, 0, 1, 1, 2, 2], 3), ([2, 0, 1, 0, 1, 2], 3), ([1, 3, 1, 0, 2, 1, 3], 4))
    for which, (order, ways) in enumerate(cases):
        z, labels = _draw(len(order), 3, seed=which), torch.tensor(order)
        right = torch.stack([z[labels == n].mean(0) for n in range(ways)])
        got = tensor(call(answer, z.clone(), labels.clone(), ways), (ways, 3))
        if close(got, right):
            continue
        sums = torch.stack([z[labels == n].sum(0) for n in range(ways)])
        expect(not close(got, sums), "these are sums; divide each by the number of its examples.")
        expect(
            not close(got, sums * ways / len(order)),
            "every class was divided by the same number; each has a count of its own.",
        )
        expect(
            which == 0,
            "it is right for sorted labels only; which rows belong to a class is in `labels`."
            if which == 1
            else "it is right for equal shots, but not when classes have 1, 3, 1 and 2 examples.",
        )
        raise Hint(
            f"the first class mean begins with {float(got[0, 0]):.4f}, and {float(right[0, 0]):.4f} was expected."
        )
    return "each class is divided by its own count, in whatever order the labels come."


@check
def temperature(answer: Callable[..., Any]) -> str:
    """The factor of cosine scores at which the ceiling of the confidence is p.

    >>> temperature(lambda ways, p: 10.0)
    Not yet: for 5 ways and p = 0.99, tau = 10.0000 has the ceiling 1.0000.
    """
    for ways, p in ((5, 0.99), (2, 0.9), (100, 0.99), (20, 0.5)):
        tau = number(call(answer, ways, p), "temperature(...)")
        expect(math.isfinite(tau), "the result is not a finite number.")
        right = 0.5 * math.log((ways - 1) * p / (1 - p))
        if close(tau, right):
            continue
        expect(
            not close(tau, 2 * right), "the two cosines differ by 2, so the exponent holds 2 tau."
        )
        expect(
            not close(tau, 0.5 * math.log(p / (1 - p))),
            "it does not depend on the number of ways; every other class takes its share.",
        )
        expect(
            not close(tau, 0.5 * math.log(ways * p / (1 - p))),
            "only the N - 1 *other* classes have the cosine -1.",
        )
        expect(
            not close(tau, 0.5 * math.log(p / ((ways - 1) * (1 - p)))),
            "the N - 1 is on the wrong side: more classes need a larger factor.",
        )
        expect(not close(tau, 1 / right), "that is the temperature's inverse; give the factor tau.")
        reached = 1 / (1 + (ways - 1) * math.exp(min(700.0, -2 * tau)))
        raise Hint(f"for {ways} ways and p = {p:g}, tau = {tau:.4f} has the ceiling {reached:.4f}.")
    return "tau grows with the logarithm of the number of ways."


@check
def classify_or_reject(answer: Callable[..., Any]) -> str:
    """The nearest class, or -1 where even that is too far.

    >>> classify_or_reject(lambda z, c, limit: z)
    Not yet: the result has shape (60, 3), and (60,) was expected.
    """
    z, c = 1.5 * _draw(60, 3, seed=1), _draw(4, 3, seed=2)
    d2, nearest = _squared(z, c).min(1)
    for limit in (1e9, 2.5, 0.4):
        label = call(answer, z.clone(), c.clone(), limit)
        got = tensor(label, (60,))
        expect(
            not label.is_floating_point(), "labels are whole numbers (int64), not floating point."
        )
        right = torch.where(d2 > limit, -1, nearest)
        if close(got, right):
            continue
        expect(
            not close(got, _squared(z, c).argmax(1)),
            "that is the class that is farthest away.",
        )
        expect(not close(got, nearest), "nothing is rejected, but some queries lie beyond `limit`.")
        expect(
            not close(got, torch.where(d2.sqrt() > limit, -1, nearest)),
            "`limit` is for the *squared* distance.",
        )
        expect(
            not close(got, torch.where(d2 > limit, nearest, -1)),
            "the near ones are rejected and the far ones kept.",
        )
        raise Hint(
            f"with limit {limit:g}, {int((got == -1).sum())} of 60 queries are rejected, and {int((right == -1).sum())} "
            f"should be; {int((got != right).sum())} labels differ."
        )
    return "known queries get their class, and far ones are turned away."


@check
def bregman(answer: Callable[..., Any]) -> str:
    """The Bregman divergence of any convex function, through autograd.

    >>> bregman(lambda convex, z, c: convex(z) - convex(c))
    Not yet: the tangent is missing: subtract the gradient at c times (z - c).
    """

    def square(v: Tensor) -> Tensor:
        return v.square().sum(-1)

    def entropy(v: Tensor) -> Tensor:
        return (v * v.log()).sum(-1)

    def burg(v: Tensor) -> Tensor:
        return -v.log().sum(-1)

    z, c = _draw(8, 3, seed=3).exp(), _draw(3, seed=4).exp()
    cases = (
        ("the sum of squares", square, lambda a, b: (a - b).square().sum(-1)),
        ("the sum of z log z", entropy, lambda a, b: (a * (a / b).log() - a + b).sum(-1)),
        ("minus the sum of log z", burg, lambda a, b: (a / b - (a / b).log() - 1).sum(-1)),
    )
    for name, convex, right in cases:
        got = tensor(call(answer, convex, z.clone(), c.clone()), (8,))
        if close(got, right(z, c)):
            continue
        expect(
            not close(got, convex(z) - convex(c)),
            "the tangent is missing: subtract the gradient at c times (z - c).",
        )
        expect(
            not close(got, right(c, z)),
            "the arguments are exchanged: the tangent touches at the centre c, not at z.",
        )
        expect(not close(got, -right(z, c)), "the sign is wrong; a divergence is never negative.")
        expect(
            not close(got, convex(z) - convex(c) - right(z, c)),
            "that is the height of the tangent over F(c); the divergence is what lies between it and F(z).",
        )
        expect(
            name == "the sum of squares",
            f"it is right for the sum of squares, but not when F is {name}; take its gradient by autograd.",
        )
        raise Hint(
            f"for F = {name} the first divergence is {float(got[0]):.4f}, and {float(right(z, c)[0]):.4f} was expected."
        )
    return "squares, KL and Itakura-Saito all come out of one line."


def _left_out(z: Tensor, labels: Tensor, ways: int) -> Tensor:
    scores = torch.empty(len(z), ways, dtype=z.dtype)
    for i in range(len(z)):
        keep = torch.arange(len(z)) != i
        for n in range(ways):
            rows = keep & (labels == n)
            scores[i, n] = -(z[i] - z[rows].mean(0)).square().sum()
    return scores


@check
def leave_one_out(answer: Callable[..., Any]) -> str:
    """Scores of each support example against prototypes made without it.

    >>> leave_one_out(lambda z, labels, ways: z)
    Not yet: the result has shape (6, 4), and (6, 3) was expected.
    """
    for which, (order, ways) in enumerate((([0, 1, 2, 1, 0, 2], 3), ([1, 0, 0, 2, 1, 0, 2, 0], 3))):
        z, labels = _draw(len(order), 4, seed=5 + which), torch.tensor(order)
        right = _left_out(z, labels, ways)
        got = tensor(call(answer, z.clone(), labels.clone(), ways), (len(order), ways))
        if close(got, right):
            continue
        member = F.one_hot(labels, ways).double()
        count = member.sum(0)
        plain = -_squared(z, member.T @ z / count[:, None])
        k = count[labels][:, None]
        expect(not close(got, plain), "each example still sits in its own prototype; take it out.")
        expect(not close(got, -right), "the scores are distances; give them a minus sign.")
        once = torch.where(member.bool(), plain * k / (k - 1), plain)
        expect(
            not close(got, once),
            "the factor K / (K - 1) is for the difference; its square goes with the squared distance.",
        )
        everywhere = plain * (k / (k - 1)) ** 2
        expect(
            not close(got, everywhere),
            "the prototypes of the *other* classes stay as they are when an example is taken out.",
        )
        others = ~member.bool()
        expect(
            not close(got[others], right[others]),
            "right against other classes, but not against the own one"
            + (
                "; without z the mean is (K c - z) / (K - 1)."
                if which == 0
                else " when the numbers of shots differ: K is that of the example's own class."
            ),
        )
        raise Hint(
            f"the first example's scores begin with {float(got[0, 0]):.4f}, and {float(right[0, 0]):.4f} was expected."
        )
    return "the own prototype moves away from its example, and the others stay."
