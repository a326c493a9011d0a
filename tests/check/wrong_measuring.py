"""Typical wrong answers to the exercises of "Measuring honestly", and the hint each must get."""

import math

import torch


def evaluator(*, shared=False, seen=False, choice="val", report="test"):
    """The listing of the exercise, with some of its leaks."""

    def evaluate(checkpoints, val, test, trained_on, episodes=200, seed=0):
        def accuracy(embed, classes):
            generator = torch.Generator().manual_seed(seed)
            names, right = sorted(classes), []
            for _ in range(episodes):
                drawn = torch.randperm(len(names), generator=generator)[:3].tolist()
                z = [embed(classes[names[i]]) for i in drawn]
                z = [x[torch.randperm(len(x), generator=generator)] for x in z]
                support = torch.stack([x[0] for x in z])
                query = torch.cat([x[:4] if shared else x[1:5] for x in z])
                said = torch.cdist(query, support).argmin(1)
                right.append((said == torch.arange(3).repeat_interleave(4)).double().mean())
            return torch.stack(right).mean().item()

        new = {k: v for k, v in test.items() if seen or k not in trained_on}
        on = {"val": val, "test": new}
        if choice == "mean":
            return sum(accuracy(embed, new) for embed in checkpoints) / len(checkpoints)
        best = max(checkpoints, key=lambda embed: accuracy(embed, on[choice]))
        return accuracy(best, on[report])

    return evaluate


def unpaired(a, b):
    return (a - b).mean(), 1.96 * math.sqrt((a.var() + b.var()) / len(a))


def variances(seed=True, split=True, correction=1, order=1, root=False):
    def variance_split(scores):
        n, s = scores.shape[2], scores.shape[1]
        within = scores.var(2, correction=correction).mean()
        means = scores.mean(2)
        cells = means.var(1).mean()
        result = (
            means.mean(1).var()
            - (cells / s if split is True else split * (cells - within / n) / s),
            cells - seed * within / n,
            within,
        )[::order]
        return [math.sqrt(v) for v in result] if root else result

    return variance_split


def needed(a, b, r, target, factor=1.96, sign=-1, use=1, power=1):
    return math.ceil(
        (factor**2 * (a * a + b * b + sign * 2 * use * r * a * b) / target**2) ** power
    )


WRONG = {
    "seed_interval": [
        (0.0113, "Student's 4.30"),
        (torch.tensor(0.043), "the mean of three has"),
        (0.0203, "one degree of freedom"),
        (0.0497, "half of it"),
        (2.484, "fractions of 1"),
        (0.01, "sd over seeds"),
        (0.5, "the deviations from the mean"),
    ],
    "paired": [
        (unpaired, "the same ones: take the sd of the differences"),
        (lambda a, b: ((b - a).mean(), 0.1), "that is b - a"),
        (lambda a, b: ((a - b).mean(), 1.96 * (a - b).std()), "divide by √n"),
        (
            lambda a, b: ((a - b).mean(), 1.96 * (a - b).std(correction=0) / len(a) ** 0.5),
            "divide by n - 1",
        ),
        (lambda a, b: ((a - b).mean(), 2 * 1.96 * (a - b).std() / len(a) ** 0.5), "half of it"),
        (lambda a, b: 1.96 * (a - b).std() / len(a) ** 0.5, "2 numbers in this order"),
        (lambda a, b: ((a - b).mean(), 0.5), "the half-width"),
    ],
    "episodes_needed": [
        (lambda a, b, r, target: needed(a, b, r, target, use=0), "covariance is missing"),
        (lambda a, b, r, target: needed(a, b, r, target, sign=1), "you added it"),
        (lambda a, b, r, target: needed(a, b, r, target, power=0.5), "must be squared"),
        (lambda a, b, r, target: needed(a, b, r, target, factor=1), "1.96 is missing"),
        (lambda a, b, r, target: needed(a, b, r, target, factor=3.92), "not the whole width"),
        (lambda a, b, r, target: needed(a, b, r, target) - 1, "round up"),
        (lambda a, b, r, target: 1.96**2 * (a * a + b * b - 2 * r * a * b) / target**2, "whole"),
    ],
    "best_of_two": [
        (0.0, "above 0 more often"),
        (1.177, "the bound"),
        (torch.tensor(1.128), "half of it"),
        (0.798, "has sd √2"),
        (0.399, "has sd √2"),
        (3, "write the maximum"),
    ],
    "variance_split": [
        (variances(seed=False), "divided by n"),
        (variances(split=0), "divided by the number of seeds"),
        (variances(split=1), "episodes' share included"),
        (variances(correction=0), "n - 1"),
        (variances(order=-1), "the order"),
        (variances(root=True), "variances add up"),
        (lambda x: (x.mean((1, 2)).var(), x.mean(2).var(), x.var()), "within one learner"),
    ],
    "evaluate": [
        (evaluator(shared=True, seen=True, choice="test"), "what can it know of a query"),
        (evaluator(seen=True), "trained_on"),
        (evaluator(choice="test"), "must not look at the test"),
        (evaluator(choice="mean"), "must not look at the test"),
        (evaluator(report="val"), "its score on test classes"),
        (lambda *a, **k: 1.0, "can only guess"),
    ],
    "claims": [
        ({"a", "b"}, "about methods"),
        (["a", "c", "d"], "proof of equality"),
        ("a", "3 points"),
        ({"d"}, "these two learners"),
        ({"e"}, "give the letters"),
    ],
}
