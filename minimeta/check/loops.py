"""Checks of the exercises in "Meta-training, meta-testing, meta-optimisation"."""

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

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

SETTINGS = ((1.0, 2.0, 2), (3.0, 1.0, 1), (0.5, 2.0, 8), (2.0, 3.0, 5))


@check
def best_rate(answer: Callable[[float, float, int], float]) -> str:
    """The inner rate of the toy with the smallest expected query loss.

    >>> best_rate(lambda tau, sigma, K: 1.0)
    Not yet: at tau = 1, sigma = 2, K = 2 the readings are noisy, and 1.0000 came back; 1/3 is best.
    """
    for tau, sigma, k in SETTINGS:
        got = number(call(answer, tau, sigma, k), "best_rate(...)")
        exact = tau**2 / (tau**2 + sigma**2 / k)
        if close(got, exact):
            continue
        expect(
            not close(got, 1 - exact),
            "that is the weight of the start, 1 - alpha; alpha is the weight of the readings.",
        )
        expect(
            not close(got, tau / (tau + sigma / k))
            and not close(got, tau / (tau + sigma / k**0.5)),
            "tau and sigma are standard deviations; the balance is between their squares.",
        )
        expect(
            not close(got, tau**2 / (tau**2 + sigma**2)),
            "that is right for one reading; the mean of K readings has the variance sigma^2 / K.",
        )
        expect(
            not close(got, tau**2 / (tau**2 + k * sigma**2)),
            "K is on the wrong side: more readings make their mean more precise, not less.",
        )
        expect(
            (tau, sigma, k) != SETTINGS[0],
            f"at tau = 1, sigma = 2, K = 2 the readings are noisy, and {got:.4f} came back; 1/3 is best.",
        )
        raise Hint(
            f"best_rate({tau:g}, {sigma:g}, {k}) is {got:.4f}, and {exact:.4f} was expected."
        )
    return "the variance between tasks, over that plus the variance of the mean reading."


@check
def shots_needed(answer: Any) -> str:
    """The smallest K at which the start weighs at most a tenth, at tau = 1 and sigma = 2.

    >>> shots_needed(18)
    Not yet: compare variances, not standard deviations: sigma^2 = 4.
    """
    k = number(answer)
    expect(k != 18, "compare variances, not standard deviations: sigma^2 = 4.")
    expect(k != 37, "at K = 36 the weight is 4/40, which is one tenth already.")
    expect(k not in (40, 41), "the start's weight is 4 / (K + 4), not 4 / K.")
    expect(
        k not in (1, 0.4, 4 / 9, 0.5),
        "that makes the weight of the *readings* a tenth; ask for the weight of the start.",
    )
    expect(k == k, "that is not a number.")
    weight = 4 / (k + 4) if k > 0 else 1.0
    expect(k >= 36, f"at K = {k:g} the start still weighs {weight:.2f}.")
    expect(k == 36, f"at K = {k:g} it weighs {weight:.3f}, but a smaller K is enough.")
    return "4 / (36 + 4) is one tenth."


def _toy_batch(seed: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    z = torch.randn(6, 4, generator=generator, dtype=torch.float64)
    return 2 + z[:, :3], 1 + z[:, 3]


@check
def meta_gradient(answer: Callable[..., Any]) -> str:
    """The derivatives of the toy's mean query loss by theta and alpha.

    >>> meta_gradient(lambda theta, alpha, support, query: 0.0)
    Not yet: return a pair: the derivative by theta, then the one by alpha.
    """
    for seed, (theta, alpha) in enumerate([(0.0, 0.25), (3.0, 0.5), (-1.0, 0.8)]):
        support, query = _toy_batch(seed)
        result = call(answer, theta, alpha, support.clone(), query.clone())
        pair = isinstance(result, tuple | list) and len(result) == 2
        expect(pair, "return a pair: the derivative by theta, then the one by alpha.")
        by_theta, by_alpha = (
            number(r, f"the derivative by {n}")
            for r, n in zip(result, ("theta", "alpha"), strict=True)
        )
        mean = support.mean(1)
        phi = (1 - alpha) * theta + alpha * mean
        right = (
            (2 * (phi - query) * (1 - alpha)).mean(),
            (2 * (phi - query) * (mean - theta)).mean(),
        )
        if close(by_theta, right[0]) and close(by_alpha, right[1]):
            continue
        swapped = close(by_theta, right[1]) and close(by_alpha, right[0])
        expect(not swapped, "the two are right but in the other order: theta first.")
        many, half = len(query), 0.5
        for factor, hint in (
            (-1, "the sign is wrong: an outer step goes *against* this gradient."),
            (many, "that is the sum over the tasks; take the mean."),
            (half, "a factor 2 is missing: the derivative of a square."),
        ):
            both = close(by_theta, factor * right[0]) and close(by_alpha, factor * right[1])
            expect(not both, hint)
        expect(
            not close(by_theta, (2 * (phi - query)).mean()),
            "the derivative by theta lacks the factor 1 - alpha, which comes from the inner step: phi moves by only "
            "1 - alpha when theta moves by 1.",
        )
        expect(
            not close(by_alpha, (2 * (phi - query) * (theta - mean)).mean()),
            "the sign of the derivative by alpha is wrong: a larger alpha moves phi towards the readings' mean.",
        )
        on_support = 2 * (phi[:, None] - support).mean(1) * (1 - alpha)
        expect(
            not close(by_theta, on_support.mean()),
            "that is the gradient of the loss on the support set; the outer loss reads the query.",
        )
        which = "alpha" if close(by_theta, right[0]) else "theta"
        raise Hint(
            f"the derivative by {which} does not agree with autograd; at theta = {theta:g}, alpha = {alpha:g} the pair "
            f"should be {float(right[0]):.4f}, {float(right[1]):.4f}."
        )
    return "both agree with autograd through the inner step."


@check
def frozen(answer: Callable[..., Any]) -> str:
    """Meta-testing of the toy, with theta frozen and the queries out of the inner loop.

    >>> frozen(lambda theta, alpha, support, query: support)
    Not yet: the result has shape (6, 3), and (6,) was expected.
    """
    generator = torch.Generator().manual_seed(0)
    support = 2 + torch.randn(6, 3, generator=generator, dtype=torch.float64)
    query = 2 + torch.randn(6, 4, generator=generator, dtype=torch.float64)
    for theta, alpha in ((0.5, 0.4), (4.0, 0.9)):
        got = tensor(call(answer, theta, alpha, support.clone(), query.clone()), (6,))
        right = _errors(theta, alpha, support, query)
        if close(got, right):
            continue
        turned = call(answer, theta, alpha, support.flip(0), query.flip(0))
        moves = not close(got, tensor(turned, (6,)).flip(0))
        both = torch.cat([support, query], 1)
        first_reads = close(got[0], _errors(theta, alpha, both, query)[0])
        first_right = close(got[0], right[0])
        if moves and first_right:
            raise Hint(
                "the inner step is right now, but a task's score still depends on the tasks before it: theta moves. Give "
                "the adapted number another name."
            )
        if first_reads:
            if moves:  # both leaks are still there: name neither
                raise Hint("the scores are too good, and they depend on the order of the tasks.")
            raise Hint("the inner step reads the queries that it is then scored on.")
        expect(
            not moves, "the score of a task depends on the order of the tasks; keep theta frozen."
        )
        expect(
            not close(got, _errors(theta, 0.0, support, query)),
            "nothing is adapted: theta stays frozen, but each task still takes its own inner step to phi.",
        )
        expect(
            not close(got, _errors(theta, alpha, support, support)),
            "the error is measured on the support set; score the queries.",
        )
        raise Hint(
            f"the first task's error is {float(got[0]):.4f}, and {float(right[0]):.4f} was expected: one step from theta on "
            "its support set, then the mean squared error of its queries."
        )
    return "theta stays, each task adapts to its own support set, and the queries only judge."


def _errors(theta: float, alpha: float, read: Tensor, judged: Tensor) -> Tensor:
    phi = (1 - alpha) * theta + alpha * read.mean(1, keepdim=True)
    return (phi - judged).square().mean(1)


def _episode(shots: list[int], seed: int) -> Episode:
    """Three tasks of len(shots) classes in three dimensions, the labels in mixed order."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.tensor([n for n, k in enumerate(shots) for _ in range(k)])
    orders = [torch.randperm(len(labels), generator=generator) for _ in range(3)]
    support_y = torch.stack([labels[order] for order in orders])
    support_x = torch.randn(3, len(labels), 3, generator=generator)
    query_y = torch.randint(len(shots), (3, 7), generator=generator)
    return Episode(support_x, support_y, torch.randn(3, 7, 3, generator=generator), query_y)


def _scores(episode: Episode, alpha: float) -> Tensor:
    """What the learner of the exercise predicts with an encoder that changes nothing."""
    member = F.one_hot(episode.support_y, episode.ways or 1).to(episode.support_x.dtype)
    c = member.mT @ episode.support_x / member.sum(1)[..., None]
    common = c.mean(1, keepdim=True)
    c = common + alpha * (c - common)
    return -(episode.query_x[:, :, None] - c[:, None]).square().sum(3)


@check
def shrunken(answer: Callable[..., Any]) -> str:
    """A learner with prototypes pulled towards their mean, with the interface of the package.

    >>> shrunken(lambda encoder, alpha: encoder)
    Not yet: a learner is an nn.Module with forward(episode) and loss(episode).
    """
    even, odd = _episode([2, 2, 2], seed=0), _episode([1, 3, 2, 1], seed=1)
    for episode in (even, odd):
        ways = episode.ways or 1
        for alpha in (1.0, 0.4):
            learner = call(answer, nn.Identity(), alpha)
            expect(
                isinstance(learner, nn.Module) and hasattr(learner, "loss"),
                "a learner is an nn.Module with forward(episode) and loss(episode).",
            )
            got = tensor(call(learner, episode), (3, 7, ways), "forward's result").float()
            right = _scores(episode, alpha)
            if close(got, right, 1e-4):
                continue
            expect(
                not close(got, -right, 1e-4),
                "the scores are distances; the *largest* score wins, so give them a minus sign.",
            )
            expect(
                not close(got, -(-right).clamp_min(0).sqrt(), 1e-4),
                "these are distances, not squared distances.",
            )
            expect(
                alpha == 1.0 or not close(got, _scores(episode, 1.0), 1e-4),
                "at alpha = 0.4 these are still the plain prototypes; move them towards their mean.",
            )
            expect(
                alpha == 1.0 or not close(got, _scores(episode, 1 - alpha), 1e-4),
                "alpha and 1 - alpha are exchanged: at alpha = 1 the prototypes stay where they are.",
            )
            if episode is odd:
                raise Hint(
                    "with equal shots it is right, but not when classes have 1, 3, 2 and 1 shots: the common mean is that of "
                    "the prototypes, and each prototype is the mean of its own examples."
                )
            raise Hint(
                f"at alpha = {alpha:g} the scores differ from minus the squared distances to the prototypes; look at the axes, "
                "(T, R, N), and at which examples each mean takes (support_y is in mixed order)."
            )
    assert odd.query_y is not None
    hidden = Episode(odd.support_x, odd.support_y, odd.query_x, (odd.query_y + 1) % 4)
    learner = call(answer, nn.Identity(), 0.4)
    same = close(tensor(learner(odd), (3, 7, 4)), tensor(learner(hidden), (3, 7, 4)))
    expect(same, "forward gives other scores when only query_y changes; it must not look there.")
    loss = call(learner.loss, odd)
    expect(
        isinstance(loss, Tensor) and loss.ndim == 0 and loss.requires_grad,
        "loss(episode) must return one number that carries a gradient.",
    )
    expected = F.cross_entropy(_scores(odd, 0.4).mT, odd.query_y)
    expect(close(loss.detach(), expected, 1e-4), "the loss is not the mean cross-entropy.")
    learned = [p for p in learner.parameters() if p.requires_grad]
    grads = differentiate(loss, learned, allow_unused=True) if learned else ()
    reached = any(g is not None and bool(g.abs().sum() > 0) for g in grads)
    expect(reached, "alpha is never reached by the gradient, so the outer loop cannot learn it.")
    return (
        "forward reads the support set, loss reads the queries, and the outer loop can learn alpha."
    )
