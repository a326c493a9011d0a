"""Typical wrong answers to the exercises of "Meta-training, ...", and the hint each must get."""

import torch
import torch.nn.functional as F
from torch import nn


def gradient(*, sign=1, factor=2, through=True, mean=True, swap=False, on="query"):
    def wrong(theta, alpha, support, query):
        y = support.mean(1)
        phi = (1 - alpha) * theta + alpha * y
        error = factor * (phi - (query if on == "query" else y))
        pair = sign * error * (1 - alpha if through else 1), sign * error * (y - theta)
        pair = tuple(p.mean() if mean else p.sum() for p in pair)
        return pair[::-1] if swap else pair

    return wrong


def wrong_alpha(theta, alpha, support, query):
    by_theta, by_alpha = gradient()(theta, alpha, support, query)
    return by_theta, -by_alpha


def tester(*, read_query=False, carry=False, adapt=True, score="query"):
    def wrong(theta, alpha, support, query):
        errors = []
        for s, q in zip(support, query, strict=True):
            known = torch.cat([s, q]) if read_query else s
            phi = theta - alpha * (theta - known.mean()) if adapt else theta
            errors.append((phi - (q if score == "query" else s)).square().mean())
            theta = phi if carry else theta
        return torch.stack(errors)

    return wrong


def learner(*, power=2, sign=-1, plain=False, other=False, grand=False, constant=False):
    class Wrong(nn.Module):
        def __init__(self, encoder, alpha=1.0):
            super().__init__()
            self.alpha = nn.Parameter(torch.tensor(float(alpha)))

        def forward(self, episode):
            member = F.one_hot(episode.support_y, episode.ways).float()
            c = member.mT @ episode.support_x / member.sum(1)[..., None]
            common = (episode.support_x if grand else c).mean(1, keepdim=True)
            a = self.alpha.item() if constant else self.alpha
            c = c if plain else common + (1 - a if other else a) * (c - common)
            squared = (episode.query_x[:, :, None] - c[:, None]).square().sum(3)
            return sign * squared ** (power / 2)

        def loss(self, episode):
            return F.cross_entropy(self(episode).mT, episode.query_y)

    return Wrong


class Summed(learner()):
    def loss(self, episode):
        return F.cross_entropy(self(episode).mT, episode.query_y, reduction="sum")


class NoLoss(nn.Module):
    def __init__(self, encoder, alpha=1.0):
        super().__init__()


WRONG = {
    "best_rate": [
        (lambda tau, sigma, K: tau / (tau + sigma / K), "balance is between their squares"),
        (lambda tau, sigma, K: tau**2 / (tau**2 + sigma**2), "right for one reading"),
        (lambda tau, sigma, K: (sigma**2 / K) / (tau**2 + sigma**2 / K), "weight of the start"),
        (lambda tau, sigma, K: tau**2 / (tau**2 + K * sigma**2), "wrong side"),
        (lambda tau, sigma, K: 1.0, "1/3 is best"),
        (lambda tau, sigma: 0.5, "cannot be called as the exercise says"),
        (lambda tau, sigma, K: 1 / 3, "was expected"),
    ],
    "shots_needed": [
        (18, "compare variances"),
        (37, "one tenth already"),
        (40, "not 4 / K"),
        (4, "still weighs 0.50"),
        (1, "weight of the \\*readings\\*"),
        (50, "smaller K is enough"),
        (0, "still weighs 1.00"),
    ],
    "meta_gradient": [
        (gradient(through=False), "lacks the factor 1 - alpha"),
        (gradient(mean=False), "take the mean"),
        (gradient(factor=1), "a factor 2 is missing"),
        (gradient(sign=-1), "the sign is wrong"),
        (gradient(swap=True), "in the other order"),
        (gradient(on="support"), "loss on the support set"),
        (wrong_alpha, "sign of the derivative by alpha"),
        (lambda theta, alpha, support, query: (0.0, 0.0), "does not agree with autograd"),
        (lambda theta, alpha, support, query: query.mean(), "return a pair"),
    ],
    "frozen": [
        (tester(read_query=True, carry=True), "too good, and they depend on the order"),
        (tester(read_query=True), "reads the queries that it is then scored on.$"),
        (tester(carry=True), "theta moves"),
        (tester(adapt=False), "nothing is adapted"),
        (tester(score="support"), "score the queries"),
        (lambda theta, alpha, support, query: query.mean(1), "the first task's error"),
    ],
    "shrunken": [
        (learner(sign=1), "minus sign"),
        (learner(power=1), "not squared distances"),
        (learner(plain=True), "still the plain prototypes"),
        (learner(other=True), "look at the axes|exchanged"),
        (learner(grand=True), "with equal shots it is right"),
        (learner(constant=True), "carries a gradient|never reached"),
        (Summed, "not the mean cross-entropy"),
        (NoLoss, "nn.Module with forward"),
    ],
}
