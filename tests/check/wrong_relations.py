"""Typical wrong answers to the exercises of "Relation Networks", and the hint each must get."""

import torch
import torch.nn.functional as F


def order(*, kind):
    def wrong(relation):
        def score(pairs):
            a, b = pairs.chunk(2, 1)
            swapped = relation(torch.cat([b, a], 1))
            return {
                "flip": lambda: (relation(pairs) + relation(pairs.flip(1))) / 2,
                "sum": lambda: relation(pairs) + swapped,
                "plain": lambda: relation(pairs),
                "other": lambda: swapped,
                "largest": lambda: torch.maximum(relation(pairs), swapped),
                "shape": lambda: (relation(pairs) + swapped)[:, 0],
            }[kind]()

        return score

    return wrong


def convolution(*, exchange=False, turned=False, padding=1, all_pairs=False, only=False):
    def wrong(weight, s, zq):
        if all_pairs:
            shape = (len(zq), *s.shape)
            pairs = torch.cat([s[None].expand(shape), zq[:, None].expand(shape)], 2)
            out = F.conv2d(pairs.flatten(0, 1), weight, padding=1)
            return out.unflatten(0, (len(zq), len(s)))
        upper, lower = weight.chunk(2, 1)
        if exchange:
            upper, lower = lower, upper
        classes = F.conv2d(s, upper, padding=padding)
        queries = F.conv2d(zq, lower, padding=padding) * (0 if only else 1)
        if turned:
            return classes[:, None] + queries[None]
        return classes[None] + queries[:, None]

    return wrong


def doubled(weight, s, zq):
    return 2 * convolution()(weight, s, zq)


def moved(r, old, new):
    odds = r / (1 - r) * old / new
    return odds / (1 + odds)


WRONG = {
    "know_nothing": [
        (lambda ways: (0.5, 0.25), "a lower score is better"),
        (lambda ways: (0.1, 0.17), "a higher score is better"),
        (lambda ways: (0.0, 1 / ways), "a score of 0 costs 1/N"),
        (lambda ways: ((1 - 1 / ways) / ways, 1 / ways), "in the other order"),
        (lambda ways: (1 - 1 / ways, 0.2), "do \\*not\\* match"),
        (lambda ways: (1 / ways, 1 - 1 / ways), "take their mean"),
        (lambda ways: (1 / ways, 1 / ways**2), "the one that does errs"),
        (lambda ways: (1 / ways, 0.1), "the score is right, but"),
        (lambda ways: 1 / ways, "return a pair"),
    ],
    "enough_shots": [
        (8, "0.16 rivals"),
        (10, "a smaller K is enough"),
        (18, "\\*one\\* class"),
        (8.5, "whole number"),
        (0, "positive whole number"),
    ],
    "weighted_score": [
        (lambda p, w: p, "right for w = 1 only"),
        (lambda p, w: w * p, "a fraction, not a product"),
        (lambda p, w: p / (p + w * (1 - p)), "on the pairs that do not match"),
        (lambda p, w: w * p / (1 - p), "weighted odds"),
        (lambda p, w: 0.3, "was expected"),
    ],
    "symmetrised": [
        (order(kind="flip"), "exchange the two halves"),
        (order(kind="sum"), "take the mean"),
        (order(kind="plain"), "still get different scores"),
        (order(kind="other"), "average both orders"),
        (order(kind="largest"), "not the mean"),
        (order(kind="shape"), "shape \\(7,\\)"),
    ],
    "first_convolution": [
        (convolution(exchange=True), "halves are exchanged"),
        (convolution(turned=True), "queries come first"),
        (convolution(padding=0), "shape \\(4, 3, 6, 3, 3\\)"),
        (convolution(all_pairs=True), "every pair is convolved"),
        (convolution(only=True), "queries' half is missing"),
        (doubled, "split the weight"),
    ],
    "other_ways": [
        (lambda r, trained, tested: r * trained / tested, "scale the \\*odds\\*"),
        (lambda r, trained, tested: r, "changes the prior odds"),
        (
            lambda r, trained, tested: r / (1 - r) * (trained - 1) / (tested - 1),
            "these are the odds",
        ),
        (lambda r, trained, tested: moved(r, tested - 1, trained - 1), "exchanged"),
        (lambda r, trained, tested: moved(r, trained, tested), "not 1 to N"),
        (lambda r, trained, tested: 0.5, "was expected"),
    ],
}
