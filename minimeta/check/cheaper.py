"""Checks of the exercises in "Cheaper and simpler", with the exam of Part II."""

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call

from minimeta.check.verdict import (
    Hint,
    call,
    check,
    close,
    differentiate,
    expect,
    number,
    tensor,
    truth,
)
from minimeta.episodes import Episode
from minimeta.maml import MAML


@check
def reptile_pull(answer: Any) -> str:
    """Reptile's direction on a parabola after two steps, by hand.

    >>> reptile_pull(-6.0)
    Not yet: the direction is theta - phi, and phi is the smaller one: 4 - 1 is positive.
    """
    got = number(answer)
    expect(
        not close(got, -3.0),
        "the sign: the loss pulls theta to phi, so its gradient is theta - phi.",
    )
    expect(
        not close(got, -6.0),
        "the direction is theta - phi, and phi is the smaller one: 4 - 1 is positive.",
    )
    expect(not close(got, 1.0), "that is phi itself; the direction is theta - phi.")
    expect(not close(got, 2.0), "that is after one step; take a second one, from phi_1 = 2.")
    expect(not close(got, 4.0), "the second slope is taken at phi_1 = 2, not at theta again.")
    expect(
        not close(got, 6.0), "theta - phi is the sum of rate times slope; the rate 0.5 is missing."
    )
    expect(not close(got, 4.5), "that is the surrogate loss; its gradient is asked for.")
    expect(
        close(got, 3.0), f"{got:g} is not theta - phi after two steps; the first ends at phi_1 = 2."
    )
    return "4 -> 2 -> 1, so theta - phi = 3."


@check
def surrogate(answer: Callable[..., Any]) -> str:
    """Reptile's surrogate loss, whose gradient is theta - phi.

    >>> surrogate(lambda theta, phi: 0.5 * (theta - phi).square().sum())
    Not yet: the gradient flows into phi too; hold phi constant (detach).
    """
    for seed in (0, 1):
        generator = torch.Generator().manual_seed(seed)
        values = torch.randn(5, generator=generator, dtype=torch.float64)
        theta = values.clone().requires_grad_()
        phi = 0.5 * theta + 1  # a result of an inner loop: a function of theta
        loss = call(answer, theta, phi)
        expect(
            isinstance(loss, Tensor) and loss.ndim == 0,
            "return one number, as a tensor: half the squared distance.",
        )
        expect(loss.requires_grad, "the loss carries no gradient: theta must stay in the graph.")
        (got,) = differentiate(loss, theta, allow_unused=True)
        expect(got is not None, "theta must stay in the graph; only phi is a constant.")
        right = (theta - phi).detach()
        expect(
            not close(got, 0.5 * right),
            "the gradient flows into phi too; hold phi constant (detach).",
        )
        expect(
            not close(got, 2 * right),
            "the factor 1/2 is missing: this gradient is 2 (theta - phi).",
        )
        expect(
            not close(got, -right),
            "the sign is wrong; did the gradient reach phi instead of theta?",
        )
        expect(
            not close(got, -0.5 * right),
            "phi is in the graph and theta is not; it must be the other way round.",
        )
        expect(not close(got, 2 * right / 5), "sum over the parameters; that is a mean.")
        expect(not close(got, right / 5), "sum over the parameters; that is a mean.")
        expect(close(got, right), "the gradient by theta is not theta - phi.")
        expect(
            close(loss.detach(), 0.5 * right.square().sum()),
            "the gradient is right, but the value is not half the squared distance.",
        )
    return "its gradient is theta - phi, and phi is held constant."


@check
def prototype_head(answer: Callable[..., Any]) -> str:
    """Weight and bias of the linear layer that scores like squared distances to prototypes.

    >>> prototype_head(lambda c: (c, -(c * c).sum(1)))
    Not yet: the weight needs a factor 2: -|z - c|^2 = 2 c·z - |c|^2 - |z|^2.
    """
    generator = torch.Generator().manual_seed(0)
    for n, d in ((3, 4), (5, 2)):
        c = torch.randn(n, d, generator=generator, dtype=torch.float64)
        pair = call(answer, c.clone())
        expect(
            isinstance(pair, tuple | list) and len(pair) == 2, "return a pair: weight, then bias."
        )
        weight, bias = tensor(pair[0], (n, d), "the weight"), tensor(pair[1], (n,), "the bias")
        expect(
            not close(weight, c),
            "the weight needs a factor 2: -|z - c|^2 = 2 c·z - |c|^2 - |z|^2.",
        )
        expect(
            not close(weight, -2 * c),
            "the sign of the weight is wrong: the nearest class scores highest.",
        )
        expect(close(weight, 2 * c), "the weight is not 2 c.")
        square = c.square().sum(1)
        bias = bias - (bias + square).mean()  # a constant for all classes changes no softmax
        expect(
            not close(bias, square - 2 * square.mean()),
            "the sign of the bias is wrong: it is -|c|^2.",
        )
        for wrong, hint in (
            (-square.sqrt(), "the bias is minus the *squared* length of c."),
            (-2 * square, "the bias is -|c|^2, without the factor 2."),
        ):
            expect(not close(bias, wrong - (wrong + square).mean()), hint)
        expect(close(bias, -square), "the bias is not -|c|^2.")
    return "a linear layer, and the nearest prototype wins."


def _matrix(seed: int, dim: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    a = torch.randn(dim, dim, generator=generator, dtype=torch.float64)
    return a @ a.mT / dim, torch.randn(dim, generator=generator, dtype=torch.float64)


@check
def implicit_gradient(answer: Callable[..., Any]) -> str:
    """The gradient through a regularised inner problem's solution.

    >>> implicit_gradient(lambda H, g, penalty: g)
    Not yet: that is g, as if phi moved with theta one to one; the support loss holds it back.
    """
    for seed, (dim, penalty) in enumerate([(3, 2.0), (5, 0.5)]):
        h, g = _matrix(seed, dim)
        one = torch.eye(dim, dtype=torch.float64)
        got = tensor(call(answer, h.clone(), g.clone(), penalty), (dim,))
        right = torch.linalg.solve(one + h / penalty, g)
        if close(got, right):
            continue
        for wrong, hint in (
            (g, "that is g, as if phi moved with theta one to one; the support loss holds it back."),
            (g + h @ g / penalty, "the matrix is multiplied; its inverse is needed: solve, don't multiply."),
            (g - h @ g / penalty, "that is the first term of a series, one explicit step; solve the system."),
            (torch.linalg.solve(one + h * penalty, g), "H is divided by the penalty, not multiplied."),
            (torch.linalg.solve(h + penalty * one, g), "the factor lambda on the right-hand side is missing."),
            (torch.linalg.solve(one + h, g), "the penalty is missing."),
        ):  # fmt: skip
            expect(not close(got, wrong), hint)
        raise Hint("(I + H / penalty) times your answer is not g.")
    return "(I + H / lambda) v = g holds."


@check
def head_floor(answer: Callable[..., Any]) -> str:
    """What no head over d fixed features can fit: the tail of the spectrum.

    >>> head_floor(lambda Y, d: 0.0)
    Not yet: with d = 1 no space of one dimension holds all three functions, so it cannot be 0.
    """
    generator = torch.Generator().manual_seed(3)
    first = torch.tensor([[3.0, 0, 0, 0], [0, 2, 0, 0], [0, 0, 1, 0]], dtype=torch.float64)
    other = torch.randn(6, 8, generator=generator, dtype=torch.float64)
    first, other = (y - y.mean(1, keepdim=True) for y in (first, other))
    for values, d in ((first, 1), (first, 2), (other, 3), (other, 6)):
        got = number(call(answer, values.clone(), d), "head_floor(...)")
        s = torch.linalg.svdvals(values)
        right, n = float(s[d:].square().sum()) / values.numel(), values.numel()
        if close(got, right):
            continue
        expect(
            (values is not first) or d != 1 or abs(got) > 1e-12,
            "with d = 1 no space of one dimension holds all three functions, so it cannot be 0.",
        )
        for wrong, hint in (
            (right * n, "that is the sum of squares; divide by the number of entries."),
            (float(s[d:].sum()) / n, "square the singular values."),
            (
                float(s[:d].square().sum()) / n,
                "that is what the d directions hold; ask for the rest.",
            ),
            (
                float(s[d + 1 :].square().sum()) / n,
                "one singular value too few: d of them are taken away.",
            ),
            (float(s[d:].square().mean()) if d < len(s) else -1.0, "divide by all entries of Y."),
        ):
            expect(not close(got, wrong), hint)
        raise Hint(f"at d = {d} it should be {right:.4f}, and {got:.4f} came back.")
    return "the squared singular values after the d-th, over the number of entries."


class _Net(nn.Module):
    """Two layers with a bend."""

    def __init__(self, outputs: int, seed: int) -> None:
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.first, self.last = nn.Linear(3, 6), nn.Linear(6, outputs)
        self.double()

    def forward(self, x: Tensor) -> Tensor:
        return self.last(torch.tanh(self.first(x)))


def _deeper(outputs: int, seed: int) -> nn.Module:
    """Another network, with other names: a meta-loss must not know the first one's."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        layers = nn.Linear(3, 4, bias=False), nn.Tanh(), nn.Linear(4, 4), nn.Tanh()
        return nn.Sequential(*layers, nn.Linear(4, outputs)).double()


def _exam_episode(tasks: int, ways: int, seed: int) -> Episode:
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(tasks, 2 * ways + 7, 3, generator=generator, dtype=torch.float64)
    support_y = torch.arange(ways).repeat(tasks, 2)
    query_y = torch.randint(ways, (tasks, 7), generator=generator)
    query_y[:, :ways] = torch.arange(ways)
    return Episode(x[:, : 2 * ways], support_y, x[:, 2 * ways :], query_y)


def _specimen(
    *, order: int = 2, adapt: bool = True, on: str = "query", total: bool = False,
    one_step: bool = False, flip: bool = False, inner_sum: bool = False, restart: bool = False,
) -> Callable[..., Tensor]:  # fmt: skip
    """A right meta-loss, or one with a fault."""

    def meta_loss(
        network: nn.Module, episode: Episode, inner_lr: float, inner_steps: int
    ) -> Tensor:
        losses = []
        assert episode.query_y is not None
        theta: dict[str, Tensor] = dict(network.named_parameters())
        sets = zip(
            episode.support_x, episode.support_y, episode.query_x, episode.query_y, strict=True
        )
        phi = theta
        for sx, sy, qx, qy in sets:
            phi = phi if restart else theta
            for _ in range((1 if one_step else inner_steps) if adapt else 0):
                out = functional_call(network, phi, (sx,))
                loss = F.cross_entropy(out, sy, reduction="sum" if inner_sum else "mean")
                grads = torch.autograd.grad(loss, list(phi.values()), create_graph=order == 2)
                rate = -inner_lr if flip else inner_lr
                phi = {n: p - rate * g for (n, p), g in zip(phi.items(), grads, strict=True)}
            x, y = (qx, qy) if on == "query" else (sx, sy)
            losses.append(F.cross_entropy(functional_call(network, phi, (x,)), y))
        stacked = torch.stack(losses)
        return stacked.sum() if total else stacked.mean()

    return meta_loss


SPECIMENS: tuple[tuple[str, dict[str, Any]], ...] = (
    ("first-order MAML (no create_graph)", {"order": 1}),
    ("one that adapts nothing", {"adapt": False}),
    ("one that takes one inner step, whatever was asked for", {"one_step": True}),
    ("one that starts a task where the one before it ended", {"restart": True}),
    ("one that scores the support set", {"on": "support"}),
    ("one that sums over the tasks", {"total": True}),
)


def _value_and_gradient(loss: Any, network: nn.Module) -> tuple[Tensor, Tensor]:
    expect(
        isinstance(loss, Tensor) and loss.ndim == 0,
        "return one number, as a tensor: the mean over tasks.",
    )
    expect(loss.requires_grad, "the loss carries no gradient; do not detach it.")
    grads = differentiate(loss, list(network.parameters()), allow_unused=True)
    expect(
        any(g is not None for g in grads), "the loss does not depend on the network's parameters."
    )
    flat = [
        (torch.zeros_like(p) if g is None else g).flatten()
        for p, g in zip(network.parameters(), grads, strict=True)
    ]
    return loss.detach(), torch.cat(flat)


@check
def meta_loss(answer: Callable[..., Any]) -> str:
    """Second-order MAML, held against the package's gradients in float64.

    >>> meta_loss(_specimen(order=1))
    Not yet: the value is right and the gradient is first order: the inner gradient needs create_graph=True.
    """
    settings = (
        (_Net, 3, 2, 1, 0.5),
        (_Net, 2, 3, 3, 0.3),
        (_Net, 1, 2, 0, 0.5),
        (_deeper, 2, 2, 2, 0.5),
    )
    for make, tasks, ways, steps, lr in settings:
        network, episode = make(ways, seed=steps), _exam_episode(tasks, ways, seed=ways)
        before = [p.detach().clone() for p in network.parameters()]
        result = call(answer, network, episode, lr, steps)
        same = all(torch.equal(a, b) for a, b in zip(before, network.parameters(), strict=True))
        expect(
            same, "the network's own parameters have changed; phi must live outside the network."
        )
        value, got = _value_and_gradient(result, network)
        reference = MAML(network, inner_lr=lr, inner_steps=steps)
        right_value, right = _value_and_gradient(reference.loss(episode), network)
        if close(value, right_value, 1e-9) and close(got, right, 1e-9):
            continue

        def like(
            fault: dict[str, Any], work: Any = (network, episode, lr, steps),
            value: Tensor = value, got: Tensor = got,
        ) -> bool:  # fmt: skip
            wrong, grad = _value_and_gradient(_specimen(**fault)(*work), work[0])
            return close(value, wrong, 1e-9) and close(got, grad, 1e-9)

        expect(
            not like({"order": 1}),
            "the value is right and the gradient is first order: the inner gradient needs create_graph=True.",
        )
        for fault, hint in (
            ({"adapt": False}, "nothing is adapted: the query loss is taken at theta."),
            (
                {"on": "support"},
                "the outer loss reads the support set; it must read the query set.",
            ),
            ({"total": True}, "the outer loss is summed over the tasks; take the mean."),
            ({"one_step": True}, "it is right for one inner step; use inner_steps of them."),
            ({"flip": True}, "the inner step goes up the slope; subtract."),
            ({"inner_sum": True}, "the inner loss is a sum over the support set; take the mean."),
            (
                {"restart": True},
                "a task starts where the one before it ended; each starts at theta.",
            ),
        ):
            expect(not like(fault), hint)
        if close(value, right_value, 1e-9):
            raise Hint(
                "the value is right, but the gradient is not that of MAML: is something detached?"
            )
        raise Hint(
            f"with {tasks} task(s) and {steps} inner step(s) the loss is {float(value):.4f}, and {float(right_value):.4f} was "
            "expected."
        )
    return "values and gradients are those of mm.MAML, on two networks, for 0 to 3 inner steps."


@check
def is_second_order(answer: Callable[..., Any]) -> str:
    """A test for second-order MAML, tried on a right implementation and on wrong ones.

    >>> is_second_order(lambda meta_loss: True)
    Not yet: your test passes first-order MAML (no create_graph).
    """
    expect(
        truth(call(answer, _specimen())),
        "your test fails a right implementation; in float32, or with too small a tolerance?",
    )
    for name, fault in SPECIMENS:
        expect(not truth(call(answer, _specimen(**fault))), f"your test passes {name}.")
    return "it passes the right one and fails each of the six wrong ones."
