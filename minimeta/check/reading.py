"""Checks of the exercises in "Matching networks, attention and black-box learners"."""

import math
from collections.abc import Callable
from typing import Any

import torch
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
    truth,
)
from minimeta.episodes import Episode


def _normal(seed: int, *shape: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=generator, dtype=torch.float64)


@check
def fourth(answer: Any) -> str:
    """The vote at x = 1 when a fourth example has arrived.

    >>> fourth(2.2)
    Not yet: that is the vote of the three; the fourth weighs 1/2.
    """
    got = number(answer)
    expect(not close(got, 2.2), "that is the vote of the three; the fourth weighs 1/2.")
    expect(
        not close(got, 99 / 16) and not close(got, 99 / 64),
        "divide by the sum of the weights, 33/16.",
    )
    expect(not close(got, 1.0), "that is the nearest neighbour; all four vote.")
    expect(not close(got, 4.375), "that is the plain mean; near examples weigh more.")
    expect(
        not close(got, 7.5 / 2.25),
        "the exponent is the *squared* distance: the example at 3 is 2 away and weighs 1/16.",
    )
    expect(close(got, 3.0), "the weights are 1/2, 1, 1/16 and 1/2; take the weighted mean.")
    return "99/33: the newcomer pulls the vote up from 2.2."


@check
def scale_for(answer: Callable[[float, int], float]) -> str:
    """The smallest scale with which a class can get a given probability.

    >>> scale_for(lambda p, ways: 1.0)
    Not yet: scale_for(0.9, 5) is 1.0000, and 1.7918 was expected.
    """
    for p, ways in ((0.9, 5), (0.99, 20), (0.6, 2)):
        got = number(call(answer, p, ways), "scale_for(...)")
        odds = p / (1 - p)
        right = math.log(odds * (ways - 1)) / 2
        if close(got, right):
            continue
        expect(
            not close(got, 2 * right),
            "that is the scale for cosines in [0, 1]; between -1 and 1 half of it is enough.",
        )
        expect(not close(got, -right), "the sign is wrong: a larger p needs a larger scale.")
        expect(
            not close(got, math.log(odds * ways) / 2),
            "the votes of the other classes are ways - 1, not ways.",
        )
        expect(
            not close(got, math.log(odds) / 2),
            "that is right for two ways; with more, there are ways - 1 votes against the class.",
        )
        expect(
            not close(got, math.exp(2 * right)),
            "that is e^(2 scale); take its logarithm and halve it.",
        )
        raise Hint(f"scale_for({p:g}, {ways}) is {got:.4f}, and {right:.4f} was expected.")
    return "the odds p / (1 - p) times the ways - 1 others, as half a logarithm."


def _gap(query: Tensor, examples: Tensor, tau: float) -> Tensor:
    d = (query - examples).square().sum(1)
    return tau * (torch.logsumexp(-d / tau, 0) - math.log(len(d))) + d.mean()


@check
def jensen_gap(answer: Callable[..., Any]) -> str:
    """What a class's vote has beyond the vote of its mean distance.

    >>> jensen_gap(lambda query, examples, tau: 0.0)
    Not yet: at tau = 2 the gap is 0.0000, and 1.3552 was expected.
    """
    query, examples = _normal(0, 3), _normal(1, 5, 3)
    d = (query - examples).square().sum(1)
    centre = (query - examples.mean(0)).square().sum()
    for tau in (2.0, 0.5, 0.001):
        result = call(answer, query.clone(), examples.clone(), tau)
        got, right = number(result, "the gap"), float(_gap(query, examples, tau))
        if close(got, right):
            continue
        expect(
            math.isfinite(got),
            f"at tau = {tau:g} it is {got}: all the votes underflow. Use torch.logsumexp, which takes "
            "the largest exponent out first.",
        )
        expect(not close(got, -right), "the sign is wrong: the gap is at least 0.")
        expect(
            not close(got, right + tau * math.log(len(d))),
            "that is the log of the *sum* of the votes; their mean is asked for: subtract ln K.",
        )
        expect(not close(got, right / tau), "multiply the logarithm by tau.")
        expect(
            not close(got, right - d.mean() + centre),
            "the distance to the class mean leaves the spread out; add the mean of the distances.",
        )
        plain = d.sqrt()
        unsquared = tau * (torch.logsumexp(-plain / tau, 0) - math.log(len(d))) + plain.mean()
        expect(not close(got, unsquared), "these are distances; the d_i are squared distances.")
        raise Hint(f"at tau = {tau:g} the gap is {got:.4f}, and {right:.4f} was expected.")
    return "it agrees, also where the plain exponentials underflow."


class _Rule(nn.Module):
    """A learner made of a function of (support inputs, support targets, queries)."""

    def __init__(self, rule: Callable[[Tensor, Tensor, Tensor], Tensor]) -> None:
        super().__init__()
        self.rule = rule

    def forward(self, episode: Episode) -> Tensor:
        return self.rule(episode.support_x, episode.support_y, episode.query_x)


def _votes(x: Tensor, y: Tensor, query: Tensor) -> Tensor:
    return torch.softmax(query @ x.mT, -1) @ y


def _last(x: Tensor, y: Tensor, query: Tensor) -> Tensor:
    return _votes(x[:, -1:], y[:, -1:], query)


def _fading(x: Tensor, y: Tensor, query: Tensor) -> Tensor:
    weight = 0.5 ** torch.arange(x.shape[1], dtype=x.dtype)
    return _votes(x, y * weight[:, None], query)


def _first_half(x: Tensor, y: Tensor, query: Tensor) -> Tensor:
    half = x.shape[1] // 2
    return _votes(x[:, :half], y[:, :half], query)


def _middle(x: Tensor, y: Tensor, query: Tensor) -> Tensor:
    at = x.shape[1] // 2
    return _votes(x[:, at : at + 1], y[:, at : at + 1], query)


@check
def ignores_order(answer: Callable[..., Any]) -> str:
    """A test of invariance, tried on learners that are invariant and on some that are not.

    >>> ignores_order(lambda learner, episode: True)
    Not yet: a learner that reads the last example alone passes the test.
    """
    cases = (
        (_votes, True, "one that lets all examples vote"),
        (lambda x, y, query: query.sum(-1, keepdim=True), True, "one that ignores the support set"),
        (_last, False, "a learner that reads the last example alone"),
        (_first_half, False, "a learner that reads only the first half"),
        (_middle, False, "a learner that reads the middle example alone"),
        (_fading, False, "a learner that trusts later examples less"),
    )
    for seed in range(30):  # one random order keeps the last example in its place one time in seven
        for rule, invariant, what in cases:
            # float32, so that another order rounds differently
            x, y, query = (_normal(seed + i, 2, n, 3).float() for i, n in enumerate((7, 7, 4)))
            learner = _Rule(rule)
            got = truth(call(answer, learner, Episode(x, y, query, query)))
            if invariant:
                expect(
                    got,
                    f"an invariant learner fails the test, {what}. Do inputs and labels move together, and "
                    "is the comparison up to rounding?",
                )
            else:
                expect(not got, f"{what} passes the test.")
    return "honest learners pass, and whoever looks at places is caught."


@check
def ridge_attention(answer: Callable[..., Any]) -> str:
    """The weights with which ridge regression votes.

    >>> ridge_attention(lambda query, x, penalty: query @ x.T)
    Not yet: these are the products of query and inputs; multiply by the inverse of X X' + penalty I.
    """
    for size, dim, penalty in ((4, 9, 0.5), (6, 2, 2.0)):
        query, x = _normal(size, 5, dim), _normal(dim, size, dim)
        result = call(answer, query.clone(), x.clone(), penalty)
        got = tensor(result, (5, size))
        eye, gram, scores = torch.eye(size, dtype=x.dtype), x @ x.T, query @ x.T
        right = torch.linalg.solve(gram + penalty * eye, scores.T).T
        if close(got, right):
            continue
        expect(
            not close(got, scores),
            "these are the products of query and inputs; multiply by the inverse of X X' + penalty I.",
        )
        expect(
            not close(got, torch.softmax(scores, 1)),
            "these are softmax weights; ridge regression has none.",
        )
        expect(
            not close(got, torch.linalg.solve(gram + penalty**2 * eye, scores.T).T)
            and not close(got, torch.linalg.solve(gram + size * penalty * eye, scores.T).T),
            "the penalty enters as it is: neither squared nor times the number of examples.",
        )
        expect(
            not close(got, torch.linalg.solve(gram + penalty, scores.T).T),
            "the penalty belongs on the diagonal only: penalty times the identity matrix.",
        )
        without = torch.linalg.lstsq(x.T, query.T).solution.T
        expect(not close(got, without, 1e-4), "the penalty is missing.")
        raise Hint(
            f"with {size} examples in {dim} dimensions the first weight is {float(got[0, 0]):.4f}, and "
            f"{float(right[0, 0]):.4f} was expected."
        )
    return "ridge regression, as a vote of the support examples."


@check
def counting(answer: Callable[..., Any]) -> str:
    """A reader whose answer depends on how much it has read, but not on the order.

    >>> counting(lambda h, g: h)
    Not yet: a learner is an nn.Module with forward(episode) and loss(episode).
    """
    generator = torch.Generator().manual_seed(0)

    def net(inputs: int, outputs: int) -> nn.Linear:
        layer = nn.Linear(inputs, outputs).double()
        for p in layer.parameters():
            p.data = torch.randn(p.shape, generator=generator, dtype=p.dtype)
        return layer

    for size in (1, 6):
        h, g = nn.Sequential(net(3, 4), nn.Tanh()), net(7, 1)
        learner = call(answer, h, g)
        expect(
            isinstance(learner, nn.Module) and hasattr(learner, "loss"),
            "a learner is an nn.Module with forward(episode) and loss(episode).",
        )
        x, y = _normal(1, 3, size, 2), _normal(2, 3, size, 1)
        query, targets = _normal(3, 3, 5, 2), _normal(4, 3, 5, 1)
        episode = Episode(x, y, query, targets)
        got = tensor(call(learner, episode), (3, 5, 1), "forward's result")

        def expected(r: Tensor, count: float, query: Tensor = query, g: nn.Module = g) -> Tensor:
            known = torch.cat([r, torch.full_like(r[..., :1], count)], -1)
            result: Tensor = g(torch.cat([query, known.expand(-1, 5, -1)], -1)).detach()
            return result

        pairs = h(torch.cat([x, y], -1))
        mean, total = pairs.mean(1, keepdim=True), pairs.sum(1, keepdim=True)
        if not close(got, expected(mean, 1 / size)):
            expect(
                not close(got, expected(mean, size)),
                "the last number is the count; 1 / S is asked for, which stays in one range.",
            )
            expect(
                not close(got, expected(total, 1 / size)),
                "that is the sum of h over the support set; take the mean.",
            )
            expect(
                not close(got, expected(mean, 0.0)),
                "the last number is always 0; put 1 / S there.",
            )
            expect(
                not close(got, expected(mean, 1 / 3)),
                "1 / S counts the examples of a task, on axis 1, not the tasks on axis 0.",
            )
            turned = _turned(episode)
            expect(
                close(got, tensor(call(learner, turned), (3, 5, 1), "forward's result")),
                "the prediction depends on the order of the support set.",
            )
            raise Hint(
                f"with {size} support example{'s' * (size > 1)} the first prediction is {float(got[0, 0, 0]):.4f}, and "
                f"{float(expected(mean, 1 / size)[0, 0, 0]):.4f} was expected; g reads the query, the mean and 1 / S."
            )
        loss = call(learner.loss, episode)
        expect(isinstance(loss, Tensor) and loss.requires_grad, "loss must carry a gradient.")
        weights = [*h.parameters(), *g.parameters()]
        grads = differentiate(loss, weights, allow_unused=True)
        expect(
            all(v is not None and bool(v.abs().sum() > 0) for v in grads),
            "the gradient does not reach both networks.",
        )
    return "it ignores the order and knows how much it has read."


def _turned(episode: Episode) -> Episode:
    """Return the episode with its support set turned round."""
    x, y = episode.support_x.flip(1), episode.support_y.flip(1)
    return Episode(x, y, episode.query_x, episode.query_y)
