"""Typical wrong answers to the exercises of "Matching networks, ...", and the hint each must get."""

import math

import torch
from torch import nn

from minimeta import Episode


def gap(*, mean=True, sign=1, scaled=True, centre=False, power=2, stable=True):
    def wrong(query, examples, tau):
        d = (query - examples).square().sum(1) ** (power / 2)
        if stable:
            vote = torch.logsumexp(-d / tau, 0) - (math.log(len(d)) if mean else 0)
        else:
            vote = (-d / tau).exp().mean().log()
        other = (query - examples.mean(0)).square().sum() if centre else d.mean()
        return sign * (tau * vote + other) / (1 if scaled else tau)

    return wrong


def tester(*, labels=True, exact=False, orders="one"):
    g = torch.Generator().manual_seed(0)

    def wrong(learner, episode):
        size = episode.support_x.shape[1]
        order = torch.arange(size)
        if orders == "swap the first two":
            order[:2] = torch.tensor([1, 0])
        elif orders == "random":
            order = torch.randperm(size, generator=g)
        else:
            order = order.flip(0)
        y = episode.support_y[:, order] if labels else episode.support_y
        other = Episode(episode.support_x[:, order], y, episode.query_x)
        a, b = learner(episode), learner(other)
        return torch.equal(a, b) if exact else torch.allclose(a, b, atol=1e-5)

    return wrong


def weights(*, power=1, times=1, diagonal=True, penalised=True, transpose=False):
    def wrong(query, x, penalty):
        size = len(x)
        on = torch.eye(size, dtype=x.dtype) if diagonal else 1.0
        lam = times * penalty**power if penalised else 1e-12
        inner = x @ x.T + lam * (size if times != 1 else 1) * on
        result = torch.linalg.solve(inner, x @ query.T)
        return result if transpose else result.T

    return wrong


def reader(*, pool="mean", count=lambda x: 1 / x.shape[1], flip=False, cut=False):
    class Wrong(nn.Module):
        def __init__(self, h, g):
            super().__init__()
            self.h, self.g = h, g

        def forward(self, episode):
            x, y = episode.support_x, episode.support_y
            r = self.h(torch.cat([x, y], -1))
            r = r.detach() if cut else r
            if pool == "last":
                r = r[:, -1:]
            else:
                r = getattr(r, pool)(1, keepdim=True)
            r = torch.cat([r, torch.full_like(r[..., :1], count(x))], -1)
            r = r.expand(-1, episode.query_x.shape[1], -1)
            both = [r, episode.query_x] if flip else [episode.query_x, r]
            return self.g(torch.cat(both, -1))

        def loss(self, episode):
            return (self(episode) - episode.query_y).square().mean()

    return Wrong


class NoLoss(nn.Module):
    def __init__(self, h, g):
        super().__init__()


WRONG = {
    "fourth": [
        (2.2, "vote of the three"),
        (99 / 16, "divide by the sum of the weights"),
        (1, "nearest neighbour"),
        (4.375, "plain mean"),
        (7.5 / 2.25, "squared"),
        (2.5, "1/2, 1, 1/16 and 1/2"),
    ],
    "scale_for": [
        (lambda p, n: math.log(p * (n - 1) / (1 - p)), "half of it is enough"),
        (lambda p, n: -math.log(p * (n - 1) / (1 - p)) / 2, "sign is wrong"),
        (lambda p, n: math.log(p * n / (1 - p)) / 2, "ways - 1, not ways"),
        (lambda p, n: math.log(p / (1 - p)) / 2, "right for two ways"),
        (lambda p, n: p * (n - 1) / (1 - p), "take its logarithm"),
        (lambda p, n: 1.0, "was expected"),
    ],
    "jensen_gap": [
        (gap(mean=False), "subtract ln K"),
        (gap(sign=-1), "the sign is wrong"),
        (gap(scaled=False), "multiply the logarithm by tau"),
        (gap(centre=True), "leaves the spread out"),
        (gap(power=1), "squared distances"),
        (gap(stable=False), "underflow"),
        (lambda query, examples, tau: 1.0, "was expected"),
    ],
    "ignores_order": [
        (lambda learner, episode: True, "last example alone passes"),
        (lambda learner, episode: False, "an invariant learner fails"),
        (tester(labels=False), "move together"),
        (tester(exact=True), "up to rounding"),
        (tester(orders="swap the first two"), "last example alone passes"),
        (tester(orders="turned round"), "middle example alone passes"),
        (tester(orders="random"), "passes the test"),
        (lambda learner, episode: learner(episode), "return True or False"),
    ],
    "ridge_attention": [
        (lambda query, x, penalty: query @ x.T, "multiply by the inverse"),
        (lambda query, x, penalty: torch.softmax(query @ x.T, 1), "softmax weights"),
        (weights(power=2), "neither squared"),
        (weights(diagonal=False), "diagonal only"),
        (weights(penalised=False), "the penalty is missing"),
        (weights(transpose=True), "was expected"),
        (lambda query, x, penalty: query @ x.T / 2, "the first weight is"),
    ],
    "counting": [
        (reader(count=lambda x: x.shape[1]), "the last number is the count"),
        (reader(pool="sum"), "take the mean"),
        (reader(count=lambda x: 0.0), "always 0"),
        (reader(count=lambda x: 1 / len(x)), "counts the examples of a task"),
        (reader(pool="last"), "depends on the order"),
        (reader(flip=True), "g reads the query, the mean and 1 / S"),
        (reader(cut=True), "does not reach both"),
        (NoLoss, "nn.Module with forward"),
    ],
}
