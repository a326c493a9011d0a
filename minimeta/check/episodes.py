"""Checks of the exercises in "Tasks and episodes"."""

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from minimeta.check.verdict import Hint, call, check, close, expect, number, tensor

SETTING = dict(C=6, M=5, N=3, K=1, Q=2)


@check
def count(answer: Any) -> str:
    """How many 3-way 1-shot 2-query episodes 6 classes of 4 examples hold.

    >>> count(10)
    Not yet: that is too few: 120 ordered choices of classes alone are more.
    """
    n = number(answer)
    per_class = 4 * math.comb(3, 2)
    expect(
        n != math.comb(6, 3) * per_class**3, "the labelling counts: choose the classes in order."
    )
    expect(
        n not in (120 * per_class, 20 * per_class),
        "each of the three classes chooses its own examples, so their numbers multiply.",
    )
    expect(
        n != 120 * (4 * 6) ** 3,
        "the queries come from the 3 examples that the support set left over, not from all 4.",
    )
    expect(
        n != 120 * (4 * 3 * 2) ** 3,
        "a query *set* has no order: choose 2 of the 3 examples that are left.",
    )
    expect(n >= 120, "that is too few: 120 ordered choices of classes alone are more.")
    expect(
        n == 120 * per_class**3, "multiply the ordered choices of classes by each class's choices."
    )
    return "ordered classes, times the choices of support and query in each class."


@check
def best_accuracy(answer: Callable[[int, int], float]) -> str:
    """The best accuracy when N of C classes are drawn with replacement.

    >>> best_accuracy(lambda C, N: 1.0)
    Not yet: with C = 2 and N = 2, half of the tasks show one class twice, and then half is right at best.
    """
    for c, n in ((2, 2), (10, 5), (26, 20), (1, 4)):
        got = number(call(answer, c, n), f"best_accuracy({c}, {n})")
        exact = c / n * (1 - (1 - 1 / c) ** n)
        if close(got, exact):
            continue
        if close(got, math.prod(1 - i / c for i in range(n))):
            raise Hint(
                "that is the probability of a task without any repeat; a task with a repeat is not lost "
                "altogether: count the different classes."
            )
        if close(got, 1 - (1 - 1 / c) ** n):
            raise Hint(
                "that is the probability that one given class is drawn; C of them make the expected number of "
                "different classes, out of N labels."
            )
        if close(got, c * (1 - (1 - 1 / c) ** n)):
            raise Hint(
                "that is the expected number of different classes; divide by the N labels of a task."
            )
        expect(
            (c, n) != (2, 2),
            "with C = 2 and N = 2, half of the tasks show one class twice, and then half is right at best.",
        )
        raise Hint(f"best_accuracy({c}, {n}) is {got:.4f}, and {exact:.4f} was expected.")
    return "a perfect recogniser gets one label of each different class right."


def _drawn(answer: Callable[..., Any], generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
    """One task from the reader's sampler, with the shapes and the ranges it must have."""
    result = call(answer, *SETTING.values(), generator)
    expect(
        isinstance(result, tuple | list) and len(result) == 3,
        "return three tensors: classes, support examples and query examples.",
    )
    C, M, N, K, Q = SETTING.values()
    shapes = {"classes": (N,), "support": (N, K), "query": (N, Q)}
    parts = [tensor(r, s, name) for r, (name, s) in zip(result, shapes.items(), strict=True)]
    for part, most, name in zip(parts, (C, M, M), shapes, strict=True):
        whole = bool((part == part.round()).all()) and bool(
            (part >= 0).all() and (part < most).all()
        )
        expect(whole, f"{name} holds numbers that are not whole numbers from 0 to {most - 1}.")
    return parts[0].long(), parts[1].long(), parts[2].long()


def _uniform(counts: Tensor) -> bool:
    """Pearson's statistic within five standard deviations of its mean."""
    expected = counts.double().mean()
    statistic = float(((counts - expected) ** 2 / expected).sum())
    freedom = counts.numel() - 1
    return statistic < freedom + 5 * math.sqrt(2 * freedom)


def _check_sampler(answer: Callable[..., Any]) -> None:
    generator = torch.Generator().manual_seed(0)
    C, M, N, _, _ = SETTING.values()
    labelled, together, linked = torch.zeros(C, N), torch.zeros(C, C), torch.zeros(M, M)
    roles = torch.zeros(M, 2)  # how often each example is support, and query
    for _ in range(1500):
        classes, support, query = _drawn(answer, generator)
        expect(
            len(classes.unique()) == N,
            f"a task has the classes {classes.tolist()}: the same class twice, under two labels.",
        )
        for n in range(N):
            both = torch.cat([support[n], query[n]]).tolist()
            overlap = set(support[n].tolist()) & set(query[n].tolist())
            expect(
                not overlap,
                f"example {min(overlap, default=0)} of a class is support and query at once.",
            )
            expect(
                len(set(both)) == len(both),
                "an example appears twice among the queries of a class.",
            )
        labelled[classes, torch.arange(N)] += 1
        together[classes[0], classes[1]] += 1
        linked[support[0, 0], support[1, 0]] += 1
        roles[:, 0] += torch.bincount(support.flatten(), minlength=M)
        roles[:, 1] += torch.bincount(query.flatten(), minlength=M)
    never_random = bool((labelled.max(0).values == 1500).any())
    expect(not never_random, "the same classes come up every time; draw them from the generator.")
    expect(_uniform(labelled.sum(1)), "some classes are drawn more often than others.")
    expect(
        _uniform(labelled.flatten()),
        "classes do not get each label equally often: low class numbers get low labels, say. The class alone then "
        "tells something about its label.",
    )
    expect(
        _uniform(linked.flatten()) or not _uniform(linked.sum(1)),
        "which example one class shows tells which another shows; draw the examples of each class for itself.",
    )
    expect(
        _uniform(roles[:, 0]) and _uniform(roles[:, 1]),
        "some examples are drawn for support, or for query, more often than others.",
    )
    expect(
        _uniform(together[~torch.eye(C, dtype=torch.bool)]),
        "some pairs of classes come up together more often than others; draw every class from all that are left.",
    )
    state = torch.Generator().manual_seed(1)
    a = _drawn(answer, state)
    b = _drawn(answer, torch.Generator().manual_seed(1))
    expect(
        all(torch.equal(x, y) for x, y in zip(a, b, strict=True)),
        "two generators with the same seed gave different tasks; pass the generator to every random call.",
    )


@check
def sampler(answer: Callable[..., Any]) -> str:
    """A sampler of N-way K-shot tasks: different classes, disjoint sets, random labels, uniform.

    >>> sampler(lambda C, M, N, K, Q, generator: torch.zeros(N))
    Not yet: return three tensors: classes, support examples and query examples.
    """
    _check_sampler(answer)
    return "different classes, disjoint sets, and every labelling equally often in 1,500 tasks."


@check
def mended(answer: Callable[..., Any]) -> str:
    """The sampler that handed out labels in class order, mended.

    >>> mended(...)
    Not filled in yet: replace the dots by your answer.
    """
    _check_sampler(answer)
    return "the class alone no longer says anything about its label."


@check
def blind_accuracy(answer: Callable[..., Any]) -> str:
    """Mean accuracy over all labellings of answers given without a support set.

    >>> blind_accuracy(lambda answers, classes, N: 1 / N)
    Not yet: answers that are no label at all can never be right, but 0.25 came back; compute the mean.
    """
    generator = torch.Generator().manual_seed(0)
    for n, r in ((2, 6), (3, 9), (4, 8)):
        answers = torch.randint(n, (r,), generator=generator)
        classes = torch.arange(n).repeat_interleave(r // n)
        got = number(call(answer, answers, classes, n), "blind_accuracy")
        one = float((answers == classes).double().mean())
        if close(got, one) and not close(got, 1 / n):
            raise Hint(
                f"{got:.3f} is the accuracy of one labelling; take the mean over all {n}! of them."
            )
        expect(close(got, 1 / n), f"with {n} classes the mean is 1/{n}, and {got:.3f} came back.")
    impossible = torch.full((8,), 9)
    got = number(call(answer, impossible, torch.arange(4).repeat(2), 4), "blind_accuracy")
    expect(
        close(got, 0),
        f"answers that are no label at all can never be right, but {got:.2f} came back; compute the mean.",
    )
    fixed = torch.tensor([0, 9, 9, 9])
    got = number(call(answer, fixed, torch.arange(4), 4), "blind_accuracy")
    expect(close(got, 1 / 16), "an answer that is no label is wrong under every labelling.")
    return "exactly 1/N, whatever the answers are."
