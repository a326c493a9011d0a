"""Typical wrong answers to the exercises of "Why few examples is a different game"."""

import math

import torch


def phi(z):
    return 0.5 * math.erfc(-z / math.sqrt(2))


def variance(D, gap, K):
    return gap**2 * (1 + 1 / K) + (2 / K) * (1 + 1 / (2 * K)) * D


def error(D, gap, K):
    return phi(-(gap**2 / 2) / math.sqrt(variance(D, gap, K)))


def halve_the_error(D, gap):
    K = 1
    while error(D, gap, K) > error(D, gap, 1) / 2:
        K += 1
    return K


def blobs(n, generator):
    return (torch.randn(n, 2, generator=generator) + 4, torch.randn(n, 2, generator=generator) - 4)


def one_cloud(n, generator):
    return torch.randn(n, 2, generator=generator), torch.randn(n, 2, generator=generator)


def nearly(n, generator):
    side = 4 * torch.randint(2, (n, 1), generator=generator) - 2
    a = torch.randn(n, 2, generator=generator) + side * torch.tensor([[1.0, 0.0]])
    return a, torch.randn(n, 2, generator=generator) + torch.tensor([[0.0, 2.0]])


WRONG = {
    "threshold_error": [
        (0.45, "0.45 is the threshold"),
        (phi(-1), "best threshold"),
        (phi(-0.55) + phi(-1.45), "take the mean"),
        (phi(-0.55), "one class alone"),
        (1 - (phi(-0.55) + phi(-1.45)) / 2, "accuracy"),
        (torch.tensor(0.3), "compute the two class means"),
    ],
    "approximate_error": [
        (lambda D, gap, K: 1 - error(D, gap, K), "accuracy"),
        (lambda D, gap, K: phi(-(gap**2 / 2) / variance(D, gap, K)), "standard deviation"),
        (lambda D, gap, K: phi(-(gap**2) / math.sqrt(variance(D, gap, K))), "half"),
        (lambda D, gap, K: phi(-gap / 2), "must enter"),
        (
            lambda D, gap, K: phi(-(gap**2 / 2) / math.sqrt(gap**2 * (1 + 1 / K) + 2 / K * D)),
            "midpoint",
        ),
        (
            lambda D, gap, K: phi(-(gap**2 / 2) / math.sqrt(variance(D, gap, K) - gap**2 / K)),
            "along the line",
        ),
        (lambda D, gap, K: 0.25, "was expected"),
    ],
    "labels_to_halve": [
        (lambda D, gap: 2, "still leaves"),
        (lambda D, gap: 1000, "more than needed"),
        (halve_the_error, "halves the error itself"),
        (lambda D, gap: 3.5, "whole number"),
    ],
    "linear_scores": [
        (lambda query, means: query @ means.T, "own constant"),
        (lambda query, means: -(torch.cdist(query, means) ** 2), "not linear"),
        (lambda query, means: 2 * query @ means.T + means.square().sum(1), "sign"),
        (lambda query, means: query @ means.T - means.square().sum(1), "twice"),
        (lambda query, means: means.square().sum(1) - 2 * query @ means.T, "largest"),
        (lambda query, means: 2 * means @ query.T, "shape"),
    ],
    "shrink": [
        (lambda means, tau2, K: means, "pure noise"),
        (lambda means, tau2, K: tau2 / (tau2 + 1) * means, "not 1"),
        (lambda means, tau2, K: tau2 / (tau2 + K) * means, "shrink less"),
        (lambda means, tau2, K: means / (1 + K * tau2), "changed places"),
        (lambda means, tau2, K: tau2.sqrt() / (tau2.sqrt() + 1 / K) * means, "not their roots"),
        (lambda means, tau2, K: (tau2 > 0) * means / 2, "weigh each feature"),
    ],
    "beats_the_mean": [
        (blobs, "round cloud"),
        (one_cloud, "overlap"),
        (nearly, "closer together"),
        (lambda n, generator: torch.zeros(n, 2), "two tensors"),
    ],
}
