"""Typical wrong answers to the exercises of "Repairing a broken MAML", and the hint each must get."""

import math

import torch
from torch.autograd import grad


def step(*, create_graph=True, detach=False, sign=-1, scale=1.0, from_copy=False, write=False):
    def wrong(theta, alpha, loss):
        at = theta.detach().clone().requires_grad_() if from_copy else theta
        (slope,) = grad(loss(at), at, create_graph=create_graph)
        phi = at + sign * scale * alpha * (slope.detach() if detach else slope)
        if write:
            theta.data = phi.detach()
        return phi

    return wrong


def in_place(theta, alpha, slopes):
    for p, g in zip(theta, slopes, strict=True):
        p -= alpha * g
    return list(theta)


def same_list(theta, alpha, slopes):
    phi = theta
    for i, g in enumerate(slopes):
        phi[i] = phi[i] - alpha * g
    return phi


def queries(*, spread=False, shuffle_x=True, shuffle_y=True, turn=False):
    def wrong(drawings, order):
        ways, count = drawings.shape[:2]
        x, y = drawings.flatten(0, 1), torch.arange(ways)
        y = y.repeat(count) if spread else y.repeat_interleave(count)
        order = order.argsort() if turn else order
        return x[order] if shuffle_x else x, y[order] if shuffle_y else y

    return wrong


def differences(*, h=1e-5, relative=1e-5, absolute=0.0, signed=True, entry=None, write=False):
    def wrong(loss, gradient, theta):
        v = torch.randn(len(theta), generator=torch.Generator().manual_seed(0)).double()
        if entry is not None:
            v = torch.eye(len(theta)).double()[entry]
        measured = (loss(theta + h * v) - loss(theta - h * v)) / (2 * h)
        claimed = gradient(theta) @ v
        if not signed:
            measured, claimed = abs(measured), abs(claimed)
        if write:
            theta += 1.0
        return bool(abs(claimed - measured) <= relative * abs(measured) + absolute)

    return wrong


def cosine(loss, gradient, theta):
    g, h = gradient(theta), 1e-5
    rows = torch.eye(len(theta)).double()
    d = torch.stack([(loss(theta + h * v) - loss(theta - h * v)) / (2 * h) for v in rows])
    return bool(torch.cosine_similarity(g, d, dim=0) > 1 - 1e-8)


def positions(*, query=True, support=True, labels=True, back=True, tolerance=1e-4):
    def wrong(learner, episode):
        g = torch.Generator().manual_seed(1)
        q = torch.randperm(episode.query_x.shape[1], generator=g)
        s = torch.randperm(episode.support_x.shape[1], generator=g)
        q = q if query else torch.arange(len(q))
        s = s if support else torch.arange(len(s))
        moved = type(episode)(
            episode.support_x[:, s], episode.support_y[:, s] if labels else episode.support_y,
            episode.query_x[:, q], episode.query_y[:, q],
        )  # fmt: skip
        old = learner(episode)
        old = old[:, q] if back else old
        return not torch.allclose(learner(moved), old, atol=tolerance, rtol=tolerance)

    return wrong


WRONG = {
    "chance_loss": [
        (0.05, "accuracy of a guess"),
        (math.log2(20), "not log2"),
        (math.log(5), "5 classes"),
        (-math.log(20), "the sign"),
        (20, "is not -ln"),
    ],
    "inner_step": [
        (step(create_graph=False), "first-order one"),
        (step(detach=True), "first-order one"),
        (step(sign=1), "uphill"),
        (step(scale=2.0), "not theta - alpha"),
        (step(from_copy=True), "theta is not in it"),
        (step(write=True), "theta itself has changed"),
        (lambda theta, alpha, loss: step()(theta, alpha, loss).detach(), "no gradient at all"),
        (lambda theta, alpha, loss: theta, "nothing moves"),
    ],
    "separate": [
        (same_list, "no longer what it was"),
        (in_place, "no longer what it was"),
        (lambda theta, alpha, slopes: theta, "theta itself"),
        (lambda theta, alpha, slopes: list(theta), "nothing has moved"),
        (
            lambda theta, alpha, slopes: [p - g for p, g in zip(theta, slopes, strict=True)],
            "not p - alpha",
        ),
        (lambda theta, alpha, slopes: theta[:1], "for 2 parameters"),
    ],
    "labelled": [
        (queries(spread=True), "label of another class"),
        (queries(shuffle_y=False), "label of another class"),
        (queries(shuffle_x=False), "old order"),
        (queries(shuffle_x=False, shuffle_y=False), "old order"),
        (queries(turn=True), "not by order"),
        (lambda drawings, order: drawings, "return a pair"),
        (lambda drawings, order: (0 * drawings.flatten(0, 1), order), "each once"),
    ],
    "gradient_test": [
        (lambda loss, gradient, theta: True, "first-order"),
        (lambda loss, gradient, theta: False, "fails a right gradient"),
        (differences(h=1e-5, relative=0.0, absolute=1e-6), "small|large"),
        (differences(h=1e-14), "fails a right gradient"),
        (differences(relative=2.0), "first-order"),
        (differences(entry=0), "last entry"),
        (differences(signed=False), "wrong sign"),
        (differences(write=True), "changes theta"),
        (cosine, "twice as long"),
        (lambda loss, gradient, theta: 1.0, "True or False"),
    ],
    "position_test": [
        (lambda learner, episode: False, "position of the query"),
        (lambda learner, episode: True, "accuses a Prototypical"),
        (positions(support=False), "support rows to be sorted"),
        (positions(query=False), "position of the query"),
        (positions(back=False), "accuses a Prototypical"),
        (positions(labels=False), "accuses a Prototypical"),
        (positions(tolerance=0.0), "allow for rounding"),
        (lambda learner, episode: learner(episode), "True or False"),
    ],
}
