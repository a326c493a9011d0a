"""Checks of the exercises in "Why few examples is a different game"."""

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from minimeta.check.verdict import Hint, call, check, close, expect, number, tensor


def _phi(z: float) -> float:
    """The standard normal distribution function."""
    return 0.5 * math.erfc(-z / math.sqrt(2))


@check
def threshold_error(answer: Any) -> str:
    """The error of the threshold learned from 0.2, 1.0, 1.8 against -0.5, -0.4, 0.6.

    >>> threshold_error(0.5)
    Not yet: compute the two class means first, then their midpoint, 0.45, then the error of that threshold.
    """
    got = number(answer)
    expect(0 < got < 1, f"an error lies between 0 and 1, and {got} does not.")
    right = (_phi(-(1 - 0.45)) + _phi(-(1 + 0.45))) / 2
    near = 5e-4  # three decimals read from a table will do
    expect(
        abs(got - 0.45) > near,
        "0.45 is the threshold; the answer is the error that it makes.",
    )
    expect(
        abs(got - _phi(-1)) > near,
        "that is the error of the best threshold, 0; the learned threshold is 0.45.",
    )
    expect(
        abs(got - 2 * right) > near,
        "that is the sum of both classes' errors; half of the queries come from each class, so take the mean.",
    )
    expect(
        min(abs(got - _phi(-0.55)), abs(got - _phi(-1.45))) > near,
        "that is the error on one class alone; the threshold moves one class's error up and the other's down, so "
        "take the mean of both.",
    )
    expect(
        abs(got - (1 - right)) > near,
        "that is the accuracy; the error is one minus it.",
    )
    expect(
        abs(got - right) < near,
        "compute the two class means first, then their midpoint, 0.45, then the error of that threshold.",
    )
    return "the threshold is off by 0.45, and that costs a little more than two points."


def _approximate(D: float, gap: float, K: float) -> float:
    variance = gap**2 * (1 + 1 / K) + (2 / K) * (1 + 1 / (2 * K)) * D
    return _phi(-(gap**2 / 2) / math.sqrt(variance))


@check
def approximate_error(answer: Callable[[int, float, int], float]) -> str:
    """The normal approximation of the error of the nearest mean.

    >>> approximate_error(lambda D, gap, K: 0.5)
    Not yet: approximate_error(1, 2.0, 1) is 0.5000, and 0.2732 was expected.
    """
    for D, gap, K in ((1, 2.0, 1), (100, 4.0, 5), (784, 4.0, 20), (7, 1.5, 3)):
        got = number(call(answer, D, gap, K), f"approximate_error({D}, {gap}, {K})")
        half = gap**2 / 2
        variance = gap**2 * (1 + 1 / K) + (2 / K) * (1 + 1 / (2 * K)) * D
        if close(got, _phi(-half / math.sqrt(variance))):
            continue
        mistakes = {
            _phi(
                half / math.sqrt(variance)
            ): "that is the accuracy: a query is wrong when its score is negative.",
            _phi(
                -half / variance
            ): "divide the mean by the standard deviation, not by the variance.",
            _phi(
                -(gap**2) / math.sqrt(variance)
            ): "the mean of the score is half of the squared gap.",
            _phi(-gap / 2): "that is the error of a rule that knows the means; K and D must enter.",
            _phi(-half / math.sqrt(variance - D / K**2)): (
                "the last term has a factor 1 + 1/(2K): the midpoint of the two means is noisy too."
            ),
            _phi(-half / math.sqrt(variance - gap**2 / K)): (
                "the noise along the line between the means is missing: the first term is gap² (1 + 1/K)."
            ),
        }
        for value, hint in mistakes.items():
            if close(got, value):
                raise Hint(hint)
        exact = _phi(-half / math.sqrt(variance))
        raise Hint(
            f"approximate_error({D}, {gap}, {K}) is {got:.4f}, and {exact:.4f} was expected."
        )
    return "mean over standard deviation, through the normal distribution function."


@check
def labels_to_halve(answer: Callable[[int, float], int]) -> str:
    """The shots with which the excess error is at most half of what it is with one shot.

    >>> labels_to_halve(lambda D, gap: 2)
    Not yet: for D = 10 and gap = 3.0, K = 2 still leaves 64 % of the excess error of K = 1.
    """
    for D, gap in ((10, 3.0), (100, 4.0), (784, 6.0)):
        got = number(call(answer, D, gap), f"labels_to_halve({D}, {gap})")
        what = f"for D = {D} and gap = {gap}"
        expect(
            math.isfinite(got) and got == round(got) and got >= 1,
            f"{what}, {got} came back; the number of shots is a whole number of at least 1.",
        )
        bayes = _phi(-gap / 2)
        one = _approximate(D, gap, 1)

        def left(K: float, D: int = D, gap: float = gap) -> float:
            bayes = _phi(-gap / 2)
            return (_approximate(D, gap, K) - bayes) / (_approximate(D, gap, 1) - bayes)

        if left(got) > 0.5:
            raise Hint(
                f"{what}, K = {got:.0f} still leaves {100 * left(got):.0f} % of the excess error of K = 1."
            )
        if got > 1 and left(got - 1) > 0.5:
            continue
        if _approximate(D, gap, got) <= one / 2 < _approximate(D, gap, got - 1):
            raise Hint(
                f"{what}, K = {got:.0f} halves the error itself; halve what it exceeds {bayes:.4f} by, the error "
                "that no number of labels removes."
            )
        raise Hint(
            f"{what}, K = {got:.0f} is more than needed: a smaller K halves the excess already."
        )
    return "at first the excess falls more slowly than 1/K: below K* the argument of Phi grows like a root."


@check
def linear_scores(answer: Callable[[Tensor, Tensor], Tensor]) -> str:
    """Scores (R, N), linear in the query, whose largest is at the nearest mean.

    >>> linear_scores(lambda query, means: query @ means.T)
    Not yet: long means win too often: each class needs its own constant.
    """
    generator = torch.Generator().manual_seed(0)
    for R, N, D in ((200, 5, 3), (100, 2, 6), (50, 4, 1)):
        means = 2 * torch.randn(N, D, generator=generator, dtype=torch.float64)
        query = 2 * torch.randn(R, D, generator=generator, dtype=torch.float64)
        got = tensor(call(answer, query, means), (R, N))
        expect(torch.isfinite(got).all(), "some scores are not finite numbers.")
        zero = tensor(call(answer, torch.zeros_like(query), means), (R, N))
        twice = tensor(call(answer, 2 * query, means), (R, N))
        expect(
            close(twice - zero, 2 * (got - zero), 1e-4),
            "the scores are not linear in the query. Write the squared distance out: the query's own square is the same "
            "for every class and can go.",
        )
        near = torch.cdist(query, means).argmin(1)
        if bool((got.argmax(1) == near).all()):
            continue
        dots, squares = query @ means.T, means.square().sum(1)
        found = got.argmax(1)
        if bool((found == (2 * dots + squares).argmax(1)).all()):
            raise Hint("the sign of the constant is wrong: a longer mean must lose, not gain.")
        if bool((found == (dots - squares).argmax(1)).all()):
            raise Hint(
                "the constant is twice too large beside the product: -|x - m|² holds 2 x·m and -|m|²."
            )
        if bool((got.argmin(1) == near).all()):
            raise Hint("the nearest mean has the smallest score; scores are to be largest there.")
        raise Hint("long means win too often: each class needs its own constant.")
    return "2 x·m - |m|²: the nearest mean is a linear classifier, weights and bias read off the means."


@check
def shrink(answer: Callable[[Tensor, Tensor, int], Tensor]) -> str:
    """The posterior mean of class means with known spreads, from K shots of unit noise.

    >>> shrink(lambda means, tau2, K: means)
    Not yet: a feature in which classes do not differ (tau2 = 0) is pure noise, and its mean must shrink to 0.
    """
    generator = torch.Generator().manual_seed(0)
    for N, K in ((2, 1), (5, 4)):
        tau2 = torch.tensor([0.0, 0.25, 1.0, 9.0], dtype=torch.float64)
        means = torch.randn(N, 4, generator=generator, dtype=torch.float64)
        got = tensor(call(answer, means, tau2, K), (N, 4))
        weight = tau2 / (tau2 + 1 / K)
        if close(got, weight * means):
            continue
        expect(torch.isfinite(got).all(), "some numbers are not finite.")
        mistakes = [
            (means / (1 + tau2 * K), "that shrinks the useful features and keeps the noise: the two weights changed places."),
            (tau2.sqrt() / (tau2.sqrt() + 1 / K) * means, "the weights hold variances, tau2, not their roots."),
            (tau2 / (tau2 + 1) * means, "K shots have a noise variance of 1/K in their mean, not 1."),
            (tau2 / (tau2 + K) * means, "more shots must shrink less: the noise variance of a mean is 1/K, not K."),
            (tau2 / (tau2 + 1 / math.sqrt(K)) * means, "the *variance* of a mean of K shots is 1/K."),
        ]  # fmt: skip
        for value, hint in mistakes:
            if not close(value, weight * means) and close(got, value):
                raise Hint(hint)
        expect(
            close(got[:, 0], torch.zeros(N)),
            "a feature in which classes do not differ (tau2 = 0) is pure noise, and its mean must shrink to 0.",
        )
        raise Hint("weigh each feature by its prior variance over prior plus noise variance.")
    return "each feature keeps the share of its variance that is not noise."


def _both_rules(pairs: list[tuple[Tensor, Tensor]], K: int) -> tuple[float, float]:
    """Accuracies of nearest mean and nearest neighbour; the first K rows of each class are the support."""
    mean, neighbour = [], []
    for a, b in pairs:
        query = torch.cat([a[K:], b[K:]])
        label = torch.arange(2).repeat_interleave(len(a) - K)
        to_means = torch.cdist(query, torch.stack([a[:K].mean(0), b[:K].mean(0)]))
        to_shots = torch.stack([torch.cdist(query, s).amin(1) for s in (a[:K], b[:K])], 1)
        mean.append((to_means.argmin(1) == label).double().mean())
        neighbour.append((to_shots.argmin(1) == label).double().mean())
    return float(torch.stack(mean).mean()), float(torch.stack(neighbour).mean())


@check
def beats_the_mean(answer: Callable[[int, torch.Generator], Any]) -> str:
    """Two classes on which nearest neighbour beats nearest mean by 20 points at 10 shots.

    >>> beats_the_mean(lambda n, generator: (torch.zeros(n, 2), torch.ones(n, 2)))
    Not yet: nearest mean is right on 100 % and nearest neighbour on 100 %: one round cloud a class is what the mean is made for.
    """
    generator, pairs = torch.Generator().manual_seed(0), []
    for _ in range(20):
        result = call(answer, 60, generator)
        expect(
            isinstance(result, tuple | list) and len(result) == 2,
            "return two tensors, the examples of class 0 and those of class 1.",
        )
        width = result[0].shape[-1] if isinstance(result[0], Tensor) and result[0].ndim == 2 else 2
        a, b = (tensor(r, (60, width), f"class {i}") for i, r in enumerate(result))
        expect(torch.isfinite(a).all() and torch.isfinite(b).all(), "some examples are not finite.")
        pairs.append((a, b))
    mean, neighbour = _both_rules(pairs, K=10)
    said = f"nearest mean is right on {100 * mean:.0f} % and nearest neighbour on {100 * neighbour:.0f} %"
    if neighbour >= mean + 0.2:
        return f"{said}."
    expect(
        mean < 0.9,
        f"{said}: one round cloud a class is what the mean is made for.",
    )
    expect(
        neighbour > 0.6,
        f"{said}: the classes overlap so much that no rule can do well; make them easy, but not round.",
    )
    raise Hint(
        f"{said}: move the two means closer together, and each class's groups further apart."
    )
