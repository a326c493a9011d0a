"""Checks of the exercises in "MAML by hand"."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from minimeta.check.verdict import Hint, call, check, close, expect, number, tensor, truth


@check
def two_steps(answer: Any) -> str:
    """The meta-gradient of two inner steps on the chapter's first task.

    >>> two_steps(-5.12)
    Not yet: that is the slope at theta_2, FOMAML's gradient; two factors of the chain rule are missing.
    """
    got = number(answer)
    right = -3.2768
    expect(not close(got, -right, 1e-4), "the sign: the loss falls when theta grows towards 5.")
    expect(
        not close(got, -5.12, 1e-4),
        "that is the slope at theta_2, FOMAML's gradient; two factors of the chain rule are missing.",
    )
    expect(
        not close(got, -4.096, 1e-4),
        "three factors 0.8 are in it, and there are four: two from the path, two from the chain rule.",
    )
    expect(
        not close(got, -8.0, 1e-4), "that is the slope before any step; take two inner steps first."
    )
    expect(
        not close(got, -6.4, 1e-4), "that is the slope after *one* step, without the chain rule."
    )
    expect(
        not close(got, -2.56, 1e-4),
        "that is the distance theta_2 - 5; the slope there is a times it.",
    )
    expect(
        not close(got, -1.6384, 1e-4),
        "the chain rule's two factors are there; the last slope is a times the distance.",
    )
    expect(close(got, right, 1e-4) or not close(got, right, 3e-3), "give four decimals.")
    expect(close(got, right, 1e-4), f"{got:g} is not it; first find theta_1 and theta_2.")
    return "0.8 four times, and the slope -8."


def _tasks(seed: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    a = 0.25 + 2 * torch.rand(5, generator=generator, dtype=torch.float64)
    return a, 3 * torch.randn(5, generator=generator, dtype=torch.float64)


@check
def reptile_start(answer: Callable[..., Any]) -> str:
    """Reptile's start on quadratic tasks.

    >>> reptile_start(lambda a, c, alpha, k: c.mean())
    Not yet: that is the mean of the optima, Reptile's start only after very many steps.
    """
    for seed, (alpha, k) in enumerate([(0.2, 3), (0.1, 1), (0.4, 2), (0.3, 50)]):
        a, c = _tasks(seed)
        got = number(call(answer, a.clone(), c.clone(), alpha, k), "reptile_start(...)")
        right = _rest(1 - (1 - alpha * a) ** k, c)
        if close(got, right):
            continue
        expect(
            not close(got, c.mean()),
            "that is the mean of the optima, Reptile's start only after very many steps.",
        )
        expect(
            not close(got, _rest(a, c)),
            "that is joint training, Reptile's start for one step; k is missing, or cancels.",
        )
        expect(
            not close(got, _rest((1 - alpha * a) ** k, c)),
            "(1 - alpha a)^k is what is *left* of the distance; Reptile goes against what was covered.",
        )
        expect(not close(got, _rest(a * (1 - alpha * a) ** (2 * k), c)), "that is MAML's start.")
        expect(not close(got, _rest(a * (1 - alpha * a) ** k, c)), "that is FOMAML's start.")
        weights = 1 - (1 - alpha * a) ** k
        expect(
            not close(got, (weights * c).mean()) and not close(got, (weights * c).sum()),
            "the weights are right; divide by their sum.",
        )
        raise Hint(
            f"at alpha = {alpha:g}, k = {k} it gives {got:.4f}, and {float(right):.4f} was expected."
        )
    return "joint training at k = 1, the mean of the optima at the other end."


def _rest(w: Tensor, c: Tensor) -> Tensor:
    return (w * c).sum() / w.sum()


@check
def quadratic_meta_gradient(answer: Callable[..., Any]) -> str:
    """MAML's gradient on quadratic tasks.

    >>> quadratic_meta_gradient(lambda theta, a, c, alpha, k: (a * (theta - c)).mean())
    Not yet: that is joint training's gradient: no inner step is in it.
    """
    for seed, (theta, alpha, k) in enumerate([(1.0, 0.2, 3), (-2.0, 0.3, 1), (0.5, 0.6, 2)]):
        a, c = _tasks(seed)
        got = number(
            call(answer, theta, a.clone(), c.clone(), alpha, k), "quadratic_meta_gradient(...)"
        )

        def weighted(power: int, a: Tensor = a, c: Tensor = c, theta: float = theta,
                     alpha: float = alpha) -> Tensor:  # fmt: skip
            return (a * (1 - alpha * a) ** power * (theta - c)).mean()

        right = weighted(2 * k)
        if close(got, right):
            continue
        expect(
            not close(got, weighted(0)),
            "that is joint training's gradient: no inner step is in it.",
        )
        expect(
            not close(got, weighted(k)),
            "that is FOMAML's gradient: the chain rule's factor (1 - alpha a)^k is missing.",
        )
        expect(not close(got, weighted(2)), "that is right for one inner step only; k is missing.")
        expect(not close(got, -right), "the sign is wrong: this is the gradient, not the step.")
        expect(not close(got, len(a) * right), "that is the sum over the tasks; take the mean.")
        expect(
            not close(got, ((1 - alpha * a) ** (2 * k) * (theta - c)).mean()),
            "the curvature a of the last slope is missing.",
        )
        raise Hint(
            f"at theta = {theta:g}, alpha = {alpha:g}, k = {k} it gives {got:.4f}, and {float(right):.4f} "
            "was expected."
        )
    return "the factor enters twice: by the path, and by the chain rule."


@check
def exact(answer: Any) -> str:
    """For which of five losses first order is exact.

    >>> exact((True, True, True, True, False))
    Not yet: loss 3 has the second derivative 1, so the chain rule's factor is 1 - alpha.
    """
    answer = call(answer) if callable(answer) else answer
    expect(
        isinstance(answer, tuple | list)
        and len(answer) == 5
        and all(isinstance(x, bool) for x in answer),
        "give five booleans, such as (True, False, False, False, False).",
    )
    right = (True, True, False, True, False)
    hints = (
        "loss 1 is a straight line: its slope does not depend on theta, so the second derivative is 0.",
        "loss 2 is a straight line on each side of its kink, so its second derivative is 0.",
        "loss 3 has the second derivative 1, so the chain rule's factor is 1 - alpha.",
        "loss 4 is made of two straight lines, so its second derivative is 0 away from the kink.",
        "loss 5 bends everywhere: its second derivative is s (1 - s) with s the sigmoid of theta.",
    )
    for given, wanted, hint in zip(answer, right, hints, strict=True):
        expect(given is wanted, hint)
    return "first order is exact where the Hessian is zero all along the path."


@check
def hessian_vector(answer: Callable[..., Any]) -> str:
    """A Hessian-vector product by two backward passes.

    >>> hessian_vector(lambda loss, theta, v: v)
    Not yet: that is v itself; multiply by the Hessian.
    """
    generator = torch.Generator().manual_seed(0)
    for dim in (3, 40):
        m, theta, v = (
            torch.randn(*shape, generator=generator, dtype=torch.float64)
            for shape in ((dim, dim), (dim,), (dim,))
        )

        def loss(t: Tensor, m: Tensor = m) -> Tensor:
            return torch.tanh(m @ t.unsqueeze(1)).square().sum() + t.pow(3).sum() / 3

        h = torch.autograd.functional.hessian(loss, theta)
        counter = FlopCounterMode(display=False)
        try:
            with counter:
                result = call(answer, loss, theta.clone(), v.clone())
        except Hint as hint:
            expect(
                "does not require grad" not in str(hint),
                "autograd cannot differentiate it: theta must require a gradient, and the first gradient "
                "must remember how it depends on theta.",
            )
            raise
        got = tensor(result, (dim,))
        passes = counter.get_total_flops() / (2 * dim * dim)  # of the product m @ t
        right, point = h @ v, theta.clone().requires_grad_()
        slope = torch.autograd.grad(loss(point), point)[0]
        expect(not close(got, v), "that is v itself; multiply by the Hessian.")
        expect(not close(got, slope), "that is the gradient; differentiate it once more, along v.")
        expect(
            not close(got, slope * v),
            "that is the gradient times v, entry by entry; H v needs g @ v.",
        )
        expect(
            not close(got, torch.diagonal(h) * v),
            "that is only the diagonal of the Hessian times v.",
        )
        expect(
            not close(got, h.sum(1)),
            "that is the Hessian times a vector of ones: v was not used.",
        )
        expect(close(got, right, 1e-5), f"in {dim} dimensions it is not the Hessian times v.")
        expect(
            passes <= 16,
            f"the product is right, but it took the arithmetic of {passes:.0f} passes in {dim} dimensions: you "
            "build the whole Hessian.",
        )
    return "and the price does not grow with the number of parameters."


@check
def gradient_is_right(answer: Callable[..., Any]) -> str:
    """A finite-difference test, held against right and wrong gradients.

    >>> gradient_is_right(lambda f, gradient, theta: True)
    Not yet: it lets FOMAML's gradient pass.
    """
    generator = torch.Generator().manual_seed(0)
    m = torch.randn(8, 5, generator=generator, dtype=torch.float64)
    theta = torch.randn(5, generator=generator, dtype=torch.float64)

    def inner(t: Tensor, create_graph: bool = True) -> Tensor:
        (g,) = torch.autograd.grad(torch.tanh(m @ t).square().sum(), t, create_graph=create_graph)
        return t - 0.05 * g

    def maker(scale: float, follow: bool = True) -> tuple[Any, Any]:
        def value(t: Tensor) -> Tensor:
            t = t.detach().requires_grad_()
            return scale * torch.sin(inner(t, False)).sum().detach()

        def gradient(t: Tensor) -> Tensor:
            t = t.detach().clone().requires_grad_()
            return torch.autograd.grad(scale * torch.sin(inner(t, follow)).sum(), t)[0]

        return value, gradient

    one_wrong = torch.tensor([1, 1, 1, 1 + 1e-3, 1], dtype=torch.float64)
    cases: list[tuple[float, bool, Callable[[Tensor], Tensor], str]] = [
        (1.0, False, lambda g: g, "it lets FOMAML's gradient pass."),
        (1.0, True, lambda g: 2 * g, "it lets a gradient of twice the length pass."),
        (1.0, True, lambda g: -g, "it lets a gradient with the wrong sign pass."),
        (1.0, True, lambda g: one_wrong * g,
         "it lets a gradient pass of which one entry is off by a thousandth."),
        (1e-12, True, lambda g: 2 * g,
         "in units where the gradient is tiny it lets twice the gradient pass; make the error relative."),
    ]  # fmt: skip
    for scale in (1.0, 1e-12, 1e6):
        value, gradient = maker(scale)
        expect(
            truth(call(answer, value, gradient, theta.clone())),
            f"it rejects a right gradient when the loss is multiplied by {scale:g}; use central differences "
            "with a step near 1e-5, and a relative error.",
        )
    for scale, follow, spoil, hint in cases:
        value, gradient = maker(scale, follow)

        def wrong(t: Tensor, gradient: Any = gradient, spoil: Any = spoil) -> Tensor:
            return spoil(gradient(t))

        expect(not truth(call(answer, value, wrong, theta.clone())), hint)
    return "it accepts what is right and catches what is wrong, in any units."
