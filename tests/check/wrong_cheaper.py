"""Typical wrong answers to the exercises of "Cheaper and simpler", and the hint each must get."""

import torch

from minimeta.check.cheaper import _specimen
from minimeta.maml import MAML


def head(weight, bias):
    return lambda c: (weight * c, bias * c.square().sum(1))


def through(make):
    def wrong(H, g, penalty):
        return make(H, g, penalty, torch.eye(len(g), dtype=g.dtype))

    return wrong


def floor(make):
    return lambda Y, d: make(torch.linalg.svdvals(Y), d, Y.numel())


def judge(*, gradient=True, value=True, steps=2, exact=False):
    """A test that looks at the value only, or at the gradient's presence only."""

    def wrong(meta_loss):
        from minimeta.check.cheaper import _exam_episode, _Net

        network, episode = _Net(2, seed=0), _exam_episode(2, 2, seed=0)
        loss = meta_loss(network, episode, 0.5, steps)
        right = MAML(network, inner_lr=0.5, inner_steps=steps).loss(episode)
        same = not value or bool(torch.isclose(loss, right))
        if same and exact:
            weights = list(network.parameters())
            pairs = zip(*(torch.autograd.grad(out, weights) for out in (loss, right)), strict=True)
            same = all(torch.allclose(a, b) for a, b in pairs)
        return same and (not gradient or loss.requires_grad)

    return wrong


def in_place(network, episode, inner_lr, inner_steps):
    """Moves the network itself."""
    losses = []
    for sx, sy, qx, qy in zip(
        episode.support_x, episode.support_y, episode.query_x, episode.query_y, strict=True
    ):
        for _ in range(inner_steps):
            loss = torch.nn.functional.cross_entropy(network(sx), sy)
            grads = torch.autograd.grad(loss, list(network.parameters()))
            with torch.no_grad():
                for p, g in zip(network.parameters(), grads, strict=True):
                    p -= inner_lr * g
        losses.append(torch.nn.functional.cross_entropy(network(qx), qy))
    return torch.stack(losses).mean()


def backward(answer):
    def spent(*given):
        result = answer(*given)
        result.backward()
        return result

    return spent


WRONG = {
    "reptile_pull": [
        (-3, "the sign"), (1, "phi itself"), (2, "after one step"), (4, "at phi_1 = 2"),
        (6, "the rate 0.5 is missing"), (4.5, "surrogate loss"), (7, "is not theta - phi"),
    ],
    "surrogate": [
        (lambda t, p: 0.5 * (t - p).square().sum(), "flows into phi too"),
        (lambda t, p: (t - p.detach()).square().sum(), "1/2 is missing"),
        (lambda t, p: 0.5 * (t - p.detach()).square().mean(), "that is a mean"),
        (lambda t, p: 0.5 * (t.detach() - p).square().sum(), "other way round"),
        (lambda t, p: 0.5 * (t - p).detach().square().sum(), "no gradient"),
        (lambda t, p: (t * (t - p).detach()).sum(), "not half the squared distance"),
        (lambda t, p: t - p, "return one number"),
        (backward(lambda t, p: 0.5 * (t - p.detach()).square().sum()), "before any backward"),
    ],
    "prototype_head": [
        (head(1, -1), "a factor 2"), (head(-2, -1), "sign of the weight"), (head(2, 1), "sign of the bias"),
        (head(2, -2), "without the factor 2"), (head(3, -1), "not 2 c"), (head(2, -3), "bias is not"),
        (lambda c: (2 * c, -c.norm(dim=1)), "squared"), (lambda c: 2 * c, "return a pair"),
    ],
    "implicit_gradient": [
        (through(lambda H, g, p, one: g), "one to one"),
        (through(lambda H, g, p, one: g + H @ g / p), "its inverse"),
        (through(lambda H, g, p, one: g - H @ g / p), "solve the system"),
        (through(lambda H, g, p, one: torch.linalg.solve(one + H * p, g)), "divided by the penalty"),
        (through(lambda H, g, p, one: torch.linalg.solve(H + p * one, g)), "right-hand side"),
        (through(lambda H, g, p, one: torch.linalg.solve(one + H, g)), "penalty is missing"),
        (through(lambda H, g, p, one: 5 * g), "is not g"),
    ],
    "head_floor": [
        (lambda Y, d: 0.0, "cannot be 0"),
        (floor(lambda s, d, n: s[d:].square().sum()), "number of entries"),
        (floor(lambda s, d, n: s[d:].sum() / n), "square the singular values"),
        (floor(lambda s, d, n: s[:d].square().sum() / n), "ask for the rest"),
        (floor(lambda s, d, n: s[d + 1 :].square().sum() / n), "one singular value too few"),
        (lambda Y, d: 1.0, "came back"),
    ],
    "meta_loss": [
        (_specimen(order=1), "create_graph=True"),
        (_specimen(adapt=False), "nothing is adapted"),
        (_specimen(on="support"), "reads the support set"),
        (_specimen(total=True), "summed over the tasks"),
        (_specimen(one_step=True), "right for one inner step"),
        (in_place, "own parameters have changed"),
        (backward(_specimen()), "before any backward"),
        (_specimen(flip=True), "up the slope"),
        (_specimen(inner_sum=True), "inner loss is a sum"),
        (_specimen(restart=True), "each starts at theta"),
        (lambda *a: 2 * _specimen()(*a), "was expected"),
        (lambda *a: _specimen()(*a).detach(), "no gradient"),
    ],
    "is_second_order": [
        (lambda meta_loss: True, "passes first-order MAML"),
        (lambda meta_loss: False, "fails a right implementation"),
        (judge(), "passes first-order MAML"),
        (judge(value=False), "passes first-order MAML"),
        (judge(steps=1, exact=True), "takes one inner step"),
        (lambda meta_loss: "yes", "True or False"),
    ],
}  # fmt: skip
