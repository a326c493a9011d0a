"""Checks of the exercises in "Relation Networks"."""

import math
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from minimeta.check.verdict import Hint, call, check, close, expect, number, tensor


@check
def know_nothing(answer: Callable[[int], Any]) -> str:
    """The best constant score of an N-way task, and its mean squared error.

    >>> know_nothing(lambda ways: (0.5, 0.25))
    Not yet: at 5 ways a score of 0.5 costs 0.2500; one pair in 5 matches, so a lower score is better.
    """
    for ways in (5, 2, 20):
        result = call(answer, ways)
        pair = isinstance(result, tuple | list) and len(result) == 2
        expect(pair, "return a pair: the score, then its mean squared error.")
        score, loss = (
            number(r, f"the {n}") for r, n in zip(result, ("score", "loss"), strict=True)
        )
        best, least = 1 / ways, (1 / ways) * (1 - 1 / ways)
        if close(score, best) and close(loss, least):
            continue
        expect(
            not (close(score, least) and close(loss, best)),
            "the two are right but in the other order: the score first.",
        )
        expect(
            not close(score, 1 - best), "that is the share of pairs that do *not* match; 1 - it."
        )
        expect(
            not (close(score, 0) and close(loss, best)),
            "a score of 0 costs 1/N; a constant between 0 and 1 is cheaper.",
        )
        if not close(score, best):
            expect(score == score, "the score is not a number.")
            cost = best * (score - 1) ** 2 + (1 - best) * score**2
            raise Hint(
                f"at {ways} ways a score of {score:g} costs {cost:.4f}; one pair in {ways} matches, so a "
                f"{'lower' if score > best else 'higher'} score is better."
            )
        expect(
            not close(loss, ways * least) and not close(loss, ways**2 * least),
            "that is a sum over the pairs; take their mean.",
        )
        expect(
            not close(loss, best**2),
            "that is the error of the pairs that do not match; the one that does errs by 1 - 1/N.",
        )
        raise Hint(
            f"the score is right, but at {ways} ways its mean squared error is {least:.4f}, and {loss:.4f} came back."
        )
    return "1/N, at a loss of (1/N)(1 - 1/N): 0.16 at five ways, 0.0475 at twenty."


@check
def enough_shots(answer: Any) -> str:
    """The smallest K that leaves fewer than 0.1 rivals among 1024 attributes.

    >>> enough_shots(8)
    Not yet: at K = 8 there are 0.16 rivals: too many.
    """
    k = number(answer)
    expect(k == k and 1 <= k <= 500, "the number of shots is a positive whole number.")
    expect(k == int(k), "the number of shots is a whole number.")
    rivals = 1023 * 2 / math.comb(2 * int(k), int(k))
    expect(
        k not in (5, 17, 18),
        "K counts the shots of *one* class: the binomial coefficient is that of 2K over K.",
    )
    expect(rivals < 0.1, f"at K = {k:g} there are {rivals:.2f} rivals: too many.")
    expect(k == 9, f"at K = {k:g} there are {rivals:.4f} rivals, but a smaller K is enough.")
    return "2046 / 48620 is 0.04, and with eight shots it is still 0.16."


@check
def weighted_score(answer: Callable[[float, float], float]) -> str:
    """The minimiser of w p (r - 1)^2 + (1 - p) r^2.

    >>> weighted_score(lambda p, w: p)
    Not yet: that is the posterior, right for w = 1 only.
    """
    for p, w in ((0.2, 4.0), (0.5, 3.0), (0.1, 1.0), (0.9, 0.5)):
        got = number(call(answer, p, w), "weighted_score(...)")
        right = w * p / (w * p + 1 - p)
        if close(got, right):
            continue
        expect(w == 1 or not close(got, p), "that is the posterior, right for w = 1 only.")
        expect(
            not close(got, w * p),
            "a score stays below 1: setting the derivative to zero gives a fraction, not a product.",
        )
        expect(
            not close(got, p / (p + w * (1 - p))),
            "there the weight is on the pairs that do not match.",
        )
        expect(
            not close(got, w * p / (1 - p)),
            "these are weighted odds; a score is odds / (1 + odds).",
        )
        raise Hint(f"weighted_score({p:g}, {w:g}) is {got:.4f}, and {right:.4f} was expected.")
    return "wp / (wp + 1 - p): it grows with p, so the same class wins, but it is no longer the probability."


def _relation() -> nn.Module:
    """A relation that is not symmetric, of pairs of vectors of three."""
    generator = torch.Generator().manual_seed(3)
    first, last = nn.Linear(6, 4).double(), nn.Linear(4, 1).double()
    for layer in (first, last):
        for parameter in layer.parameters():
            parameter.data = torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
    return nn.Sequential(first, nn.Tanh(), last, nn.Sigmoid())


@check
def symmetrised(answer: Callable[..., Any]) -> str:
    """A relation that gives both orders of a pair the same score, their mean.

    >>> symmetrised(lambda relation: relation)
    Not yet: the pairs [a, b] and [b, a] still get different scores.
    """
    relation = _relation()
    pairs = torch.randn(7, 6, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    a, b = pairs.chunk(2, 1)
    swapped = torch.cat([b, a], 1)
    score = call(answer, relation)
    got = tensor(call(score, pairs.clone()), (7, 1), "the scores")
    other = tensor(call(score, swapped.clone()), (7, 1), "the scores of the exchanged pairs")
    forth, back = (relation(x).detach() for x in (pairs, swapped))
    right = (forth + back) / 2
    if close(got, right) and close(other, right):
        return "both orders, one score, and it still lies between 0 and 1."
    expect(
        not close(got, (forth + relation(pairs.flip(1)).detach()) / 2),
        "flip turns the coordinates inside each vector round as well; exchange the two halves.",
    )
    expect(not close(got, forth + back), "that is the sum, which may exceed 1; take the mean.")
    expect(
        not close(got, back) or close(got, other),
        "that is the score of [b, a] alone; average both orders.",
    )
    expect(close(got, other), "the pairs [a, b] and [b, a] still get different scores.")
    raise Hint(
        "both orders get the same score, but it is not the mean of the relation's two scores."
    )


def _pairs(weight: Tensor, s: Tensor, zq: Tensor) -> Tensor:
    """The convolution of every pair, the long way: (R, N, F, h, w)."""
    rows, ways = len(zq), len(s)
    shape = (rows, ways, *s.shape[1:])
    pairs = torch.cat([s.unsqueeze(0).expand(shape), zq.unsqueeze(1).expand(shape)], 2)
    return F.conv2d(pairs.flatten(0, 1), weight, padding=1).unflatten(0, (rows, ways))


@check
def first_convolution(answer: Callable[..., Any]) -> str:
    """The first convolution of all pairs, from N + R maps.

    >>> first_convolution(lambda weight, s, zq: zq)
    Not yet: the result has shape (4, 2, 5, 5), and (4, 3, 6, 5, 5) was expected.
    """
    generator = torch.Generator().manual_seed(0)
    weight, s, zq = (
        torch.randn(shape, generator=generator, dtype=torch.float64)
        for shape in ((6, 4, 3, 3), (3, 2, 5, 5), (4, 2, 5, 5))
    )
    right = _pairs(weight, s, zq)
    result = call(answer, weight.clone(), s.clone(), zq.clone())
    if isinstance(result, Tensor) and result.shape == (3, 4, 6, 5, 5):
        raise Hint("the axes are (N, R, ...); queries come first: (R, N, F, h, w).")
    got = tensor(result, (4, 3, 6, 5, 5))
    if not close(got, right):
        upper, lower = weight.chunk(2, 1)
        expect(
            not close(got, _pairs(torch.cat([lower, upper], 1), s, zq)),
            "the halves are exchanged: the *first* C input channels belong to the class.",
        )
        only = F.conv2d(s, upper, padding=1).unsqueeze(0).expand_as(right)
        expect(not close(got, only), "the queries' half is missing.")
        raise Hint(
            "the values differ from the convolution of the pairs; split the weight along its input channels, axis 1, and use "
            "padding=1."
        )
    seen: list[int] = []
    plain = torch.conv2d

    def counting(input: Tensor, *arguments: Any, **named: Any) -> Tensor:
        seen.append(1 if input.ndim == 3 else len(input))
        return plain(input, *arguments, **named)

    functional, torch.conv2d, F.conv2d = F.conv2d, counting, counting
    try:
        call(answer, weight.clone(), s.clone(), zq.clone())
    finally:
        torch.conv2d, F.conv2d = plain, functional
    expect(
        sum(seen) <= 7,
        "the values are right, but every pair is convolved; convolve the N + R maps, then add.",
    )
    return "equal to the convolution of all pairs, from N + R maps."


@check
def other_ways(answer: Callable[..., float]) -> str:
    """A posterior moved to another base rate.

    >>> other_ways(lambda r, trained, tested: r * trained / tested)
    Not yet: scaling the probability can leave [0, 1]; scale the *odds* r / (1 - r).
    """
    for r, trained, tested in ((0.4, 5, 20), (0.9, 20, 5), (0.3, 5, 5), (0.2, 5, 2)):
        got = number(call(answer, r, trained, tested), "other_ways(...)")
        odds = r / (1 - r) * (trained - 1) / (tested - 1)
        right = odds / (1 + odds)
        if close(got, right):
            continue
        for wrong, hint in (
            (
                r * trained / tested,
                "scaling the probability can leave [0, 1]; scale the *odds* r / (1 - r).",
            ),
            (odds, "these are the odds; the probability is odds / (1 + odds)."),
            (
                _moved(r, tested - 1, trained - 1),
                "trained and tested are exchanged: among more classes a match is less likely.",
            ),
            (
                _moved(r, trained, tested),
                "the prior odds of a match are 1 to N - 1, not 1 to N.",
            ),
            (r, "the number of ways must change the score: it changes the prior odds."),
        ):
            expect(not close(got, wrong), hint)
        raise Hint(
            f"other_ways({r:g}, {trained}, {tested}) is {got:.4f}, and {right:.4f} was expected."
        )
    return "the evidence of the pair stays, and the prior odds change."


def _moved(r: float, old: float, new: float) -> float:
    odds = r / (1 - r) * old / new
    return odds / (1 + odds)
