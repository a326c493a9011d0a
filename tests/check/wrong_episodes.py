"""Typical wrong answers to the exercises of "Tasks and episodes", and the hint each must get."""

import math

import torch


def replacing(C, M, N, K, Q, generator):
    classes = torch.randint(C, (N,), generator=generator)
    members = torch.stack([torch.randperm(M, generator=generator)[: K + Q] for _ in range(N)])
    return classes, members[:, :K], members[:, K:]


def overlapping(C, M, N, K, Q, generator):
    classes = torch.randperm(C, generator=generator)[:N]
    support = torch.stack([torch.randperm(M, generator=generator)[:K] for _ in range(N)])
    query = torch.stack([torch.randperm(M, generator=generator)[:Q] for _ in range(N)])
    return classes, support, query


def in_order(C, M, N, K, Q, generator):
    classes, support, query = distinct(C, M, N, K, Q, generator)
    return classes.sort().values, support, query


def distinct(C, M, N, K, Q, generator):
    classes = torch.randperm(C, generator=generator)[:N]
    members = torch.stack([torch.randperm(M, generator=generator)[: K + Q] for _ in range(N)])
    return classes, members[:, :K], members[:, K:]


def first_examples(C, M, N, K, Q, generator):
    classes = torch.randperm(C, generator=generator)[:N]
    members = torch.arange(K + Q).expand(N, -1)
    return classes, members[:, :K], members[:, K:]


def global_generator(C, M, N, K, Q, generator):
    return distinct(C, M, N, K, Q, None)


def one_order(C, M, N, K, Q, generator):
    members = torch.randperm(M, generator=generator)[: K + Q].expand(N, -1)
    return distinct(C, M, N, K, Q, generator)[0], members[:, :K], members[:, K:]


def neighbours(C, M, N, K, Q, generator):
    first = torch.randint(C, (1,), generator=generator)
    _, support, query = distinct(C, M, N, K, Q, generator)
    return (first + torch.arange(N)) % C, support, query


WRONG = {
    "count": [
        (20 * 12**3, "choose the classes in order"),
        (120 * 12, "chooses its own examples"),
        (120 * 24**3, "that the support set left over|has no order"),
        (12, "too few"),
    ],
    "best_accuracy": [
        (lambda C, N: math.prod(1 - i / C for i in range(N)), "count the different classes"),
        (lambda C, N: 1 - (1 - 1 / C) ** N, "one given class is drawn"),
        (lambda C, N: C * (1 - (1 - 1 / C) ** N), "divide by the N labels"),
        (lambda C, N: "much", "not one number"),
    ],
    "sampler": [
        (replacing, "the same class twice"),
        (overlapping, "support and query at once"),
        (in_order, "each label equally often"),
        (first_examples, "more often than others"),
        (one_order, "which another shows"),
        (neighbours, "come up together"),
        (global_generator, "pass the generator"),
        (lambda C, M: None, "cannot be called as the exercise says"),
    ],
    "mended": [(in_order, "each label equally often"), (replacing, "the same class twice")],
    "blind_accuracy": [
        (lambda answers, classes, N: 1 / N, "compute the mean"),
        (
            lambda answers, classes, N: (answers == classes).double().mean().item(),
            "accuracy of one labelling",
        ),
    ],
}
