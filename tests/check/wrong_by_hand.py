"""Typical wrong answers to the exercises of "MAML by hand", and the hint each must get."""

import torch


def start(weight, divide=True):
    def wrong(a, c, alpha, k):
        w = weight(a, alpha, k)
        return (w * c).sum() / (w.sum() if divide else 1)

    return wrong


def slope(weight, mean=True):
    def wrong(theta, a, c, alpha, k):
        each = weight(a, alpha, k) * (theta - c)
        return each.mean() if mean else each.sum()

    return wrong


def maml(a, alpha, k):
    return a * (1 - alpha * a) ** (2 * k)


def gradient(loss, theta, v=None):
    theta = theta.detach().requires_grad_()
    return torch.autograd.grad(loss(theta), theta)[0]


def whole(loss, theta, v):
    return torch.autograd.functional.hessian(loss, theta) @ v


def at_once(loss, theta, v):
    return torch.func.jacrev(torch.func.grad(loss))(theta) @ v


def batched(loss, theta, v):
    theta = theta.requires_grad_()
    (g,) = torch.autograd.grad(loss(theta), theta, create_graph=True)
    rows = torch.eye(len(theta), dtype=theta.dtype)
    return torch.autograd.grad(g, theta, rows, is_grads_batched=True)[0] @ v


def forgetful(loss, theta, v):
    return torch.autograd.grad(gradient(loss, theta) @ v, theta)[0]


def ones(loss, theta, v):
    return whole(loss, theta, torch.ones_like(v))


def diagonal(loss, theta, v):
    return torch.diagonal(torch.autograd.functional.hessian(loss, theta)) * v


def tester(*, eps=1e-5, relative=True, tolerance=1e-6, central=True, entries=5, by_size=False,
           allclose=False):  # fmt: skip
    def wrong(f, gradient, theta):
        expected = torch.zeros_like(theta)
        got = gradient(theta)
        for i in range(entries):
            step = torch.zeros_like(theta)
            step[i] = eps
            low = theta - step if central else theta
            expected[i] = (f(theta + step) - f(low)) / (eps * (2 if central else 1))
        if by_size:
            return bool((got.norm() - expected.norm()).abs() <= 1e-6 * expected.norm())
        got[entries:] = 0
        if allclose:  # its default atol
            return torch.allclose(got, expected, rtol=tolerance)
        scale = expected.norm() if relative else 1.0
        return bool((got - expected).norm() <= tolerance * scale)

    return wrong


WRONG = {
    "two_steps": [
        (-5.12, "FOMAML's gradient"),
        (3.2768, "the sign"),
        (-4.096, "there are four"),
        (-8, "before any step"),
        (-6.4, "after \\*one\\* step"),
        (-2.56, "the distance"),
        (-1.6384, "a times the distance"),
        (-3.28, "four decimals"),
        (1.0, "is not it"),
    ],
    "reptile_start": [
        (lambda a, c, alpha, k: c.mean(), "mean of the optima"),
        (start(lambda a, alpha, k: a), "joint training"),
        (start(lambda a, alpha, k: (1 - alpha * a) ** k), "what is \\*left\\*"),
        (start(maml), "MAML's start"),
        (start(lambda a, alpha, k: a * (1 - alpha * a) ** k), "that is FOMAML's"),
        (start(lambda a, alpha, k: 1 - (1 - alpha * a) ** k, divide=False), "divide by their sum"),
        (lambda a, c, alpha, k: 0.0, "was expected"),
    ],
    "quadratic_meta_gradient": [
        (slope(lambda a, alpha, k: a), "joint training"),
        (slope(lambda a, alpha, k: a * (1 - alpha * a) ** k), "FOMAML's gradient"),
        (slope(lambda a, alpha, k: maml(a, alpha, 1)), "one inner step only"),
        (slope(lambda a, alpha, k: -maml(a, alpha, k)), "the sign is wrong"),
        (slope(maml, mean=False), "take the mean"),
        (slope(lambda a, alpha, k: (1 - alpha * a) ** (2 * k)), "curvature a"),
        (lambda theta, a, c, alpha, k: 0.0, "was expected"),
    ],
    "exact": [
        ((True, True, True, True, False), "second derivative 1"),
        ((False, True, False, True, False), "loss 1 is a straight line"),
        ((True, False, False, True, False), "loss 2"),
        ((True, True, False, False, False), "loss 4"),
        ((True, True, False, True, True), "loss 5 bends"),
        ((1, 2, 4), "five booleans"),
    ],
    "hessian_vector": [
        (lambda loss, theta, v: v, "v itself"),
        (gradient, "that is the gradient;"),
        (lambda loss, theta, v: gradient(loss, theta) * v, "entry by entry"),
        (diagonal, "only the diagonal"),
        (ones, "v was not used"),
        (whole, "build the whole Hessian"),
        (at_once, "build the whole Hessian"),
        (lambda loss, theta, v: torch.func.hessian(loss)(theta) @ v, "build the whole Hessian"),
        (batched, "build the whole Hessian"),
        (forgetful, "must remember"),
        (lambda loss, theta, v: torch.autograd.grad(loss(theta), theta)[0], "must require"),
        (lambda loss, theta, v: -v, "not the Hessian times v"),
    ],
    "gradient_is_right": [
        (lambda f, gradient, theta: True, "FOMAML's gradient pass"),
        (tester(tolerance=1e-2), "off by a thousandth"),
        (tester(relative=False), "multiplied by 1e\\+06"),
        (tester(relative=False, tolerance=1.0), "FOMAML|twice"),
        (tester(central=False), "rejects a right gradient"),
        (tester(eps=1e-12), "rejects a right gradient"),
        (tester(allclose=True), "make the error relative"),
        (tester(entries=3), "off by a thousandth"),
        (tester(by_size=True), "wrong sign"),
        (lambda f, gradient, theta: "yes", "return True or False"),
    ],
}
