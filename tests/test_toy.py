"""Quadratic tasks: every formula against autograd, against gradient descent, against the package."""

import pytest
import torch
from torch import nn

import minimeta as mm
from minimeta import MinimetaError
from minimeta.toy import Quadratics

BOOK = Quadratics([0.5, 1.0, 2.0, 4.0], [-3.0, 0.0, 2.0, 5.0])
METHODS = ["mean", "joint", "maml", "fomaml", "reptile", "implicit"]
STEPS = [1, 2, 5]


def matrices(tasks=3, dim=3, seed=0):
    """Tasks of several parameters, whose Hessians share no eigenvectors."""
    g = torch.Generator().manual_seed(seed)
    root = torch.randn(tasks, dim, dim, generator=g, dtype=torch.float64)
    h = root @ root.mT / dim + 0.3 * torch.eye(dim, dtype=torch.float64)
    return Quadratics((h + h.mT) / 2, torch.randn(tasks, dim, generator=g, dtype=torch.float64))


FAMILIES = {"book": BOOK, "matrices": matrices()}


def by_autograd(tasks, method, theta, lr, steps):
    """What the method's outer step goes against, from its definition alone."""
    theta = theta.clone().requires_grad_()
    if method == "mean":
        return (theta - tasks.centre).mean(0).detach()
    if method == "joint":
        return torch.autograd.grad(tasks.loss(theta).mean(), theta)[0]
    total = torch.zeros_like(theta)
    for h, c in zip(tasks.curvature, tasks.centre, strict=True):
        phi = theta
        for _ in range(steps):
            if method == "implicit":  # the minimum of L(phi') + |phi' - phi|^2 / (2 lr), solved for
                system = h + torch.eye(len(c), dtype=torch.float64) / lr
                phi = torch.linalg.solve(system, h @ c + phi / lr)
                continue
            slope = h @ (phi - c)
            phi = phi - lr * (slope if method == "maml" else slope.detach())
        if method == "reptile":
            total += (theta - phi).detach()
            continue
        total += torch.autograd.grad((phi - c) @ h @ (phi - c) / 2, theta)[0]
    return total / len(tasks.centre)


@pytest.mark.parametrize("steps", STEPS)
@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("family", FAMILIES)
def test_meta_gradients_are_those_of_autograd(family, method, steps):
    tasks = FAMILIES[family]
    theta = torch.linspace(-1, 2, tasks.centre.shape[1], dtype=torch.float64)
    expected = by_autograd(tasks, method, theta, 0.2, steps)
    assert torch.allclose(tasks.meta_gradient(method, theta, lr=0.2, steps=steps), expected)


@pytest.mark.parametrize("steps", STEPS)
@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("family", FAMILIES)
def test_gradient_descent_ends_at_the_start_in_closed_form(family, method, steps):
    tasks = FAMILIES[family]
    theta = torch.zeros(tasks.centre.shape[1], dtype=torch.float64)
    # as fast as the steepest direction allows
    steepest = torch.linalg.eigvalsh(
        tasks.weights(method, lr=0.2, steps=steps).sum(0) / len(tasks.centre)
    )
    for _ in range(int(30 * steepest.max() / steepest.min())):
        theta = theta - by_autograd(tasks, method, theta, 0.2, steps) / steepest.max()
    assert torch.allclose(theta, tasks.start(method, lr=0.2, steps=steps), atol=1e-8)


def test_the_numbers_of_the_book():
    # misconception 3: MAML's start is not the mean of the optima
    starts = {m: BOOK.start(m, lr=0.24).item() for m in ("mean", "joint", "fomaml", "maml")}
    starts["reptile"] = BOOK.start("reptile", lr=0.24, steps=5).item()
    expected = {"mean": 1.00, "joint": 3.00, "fomaml": 0.65, "maml": -0.03, "reptile": 1.73}
    assert starts == pytest.approx(expected, abs=0.005)


@pytest.mark.parametrize("steps", STEPS)
@pytest.mark.parametrize("first_order", [False, True])
@pytest.mark.parametrize("family", FAMILIES)
def test_the_packages_maml_agrees(family, first_order, steps):
    tasks, method = FAMILIES[family], "fomaml" if first_order else "maml"
    net = nn.Linear(tasks.centre.shape[1], 1, bias=False).double()
    learner = mm.MAML(net, inner_lr=0.2, inner_steps=steps, first_order=first_order)
    theta = net.weight.detach()[0].clone()
    loss = learner.loss(tasks.episode())
    loss.backward()
    assert loss.item() == pytest.approx(tasks.meta_loss(theta, lr=0.2, steps=steps).item())
    expected = tasks.meta_gradient(method, theta, lr=0.2, steps=steps)
    assert torch.allclose(net.weight.grad[0], expected, atol=1e-12)
    adapted = learner.adapt(tasks.episode())["weight"].squeeze(1)
    assert torch.allclose(adapted, tasks.adapted(theta, lr=0.2, steps=steps), atol=1e-12)


def test_training_the_packages_maml_finds_its_start_and_not_the_mean_of_the_optima():
    net = nn.Linear(1, 1, bias=False).double()
    learner, episode = mm.MAML(net, inner_lr=0.24), BOOK.episode()
    optimizer = torch.optim.SGD(learner.parameters(), lr=2.0)
    for _ in range(100):
        optimizer.zero_grad()
        learner.loss(episode).backward()
        optimizer.step()
    assert net.weight.item() == pytest.approx(BOOK.start("maml", lr=0.24).item(), abs=1e-9)
    assert abs(net.weight.item() - BOOK.start("mean").item()) > 1


def test_one_parameter_needs_only_the_table_of_weights():
    a, c, lr = BOOK.curvature.flatten(), BOOK.centre.flatten(), 0.24
    for k in STEPS:
        table = {
            "mean": a**0, "joint": a, "fomaml": a * (1 - lr * a) ** k,
            "maml": a * (1 - lr * a) ** (2 * k), "reptile": 1 - (1 - lr * a) ** k,
            "implicit": a / (1 + lr * a) ** (2 * k),
        }  # fmt: skip
        for method, w in table.items():
            start = (w * c).sum() / w.sum()
            assert BOOK.start(method, lr=lr, steps=k).item() == pytest.approx(start.item())


def test_small_rates_lead_to_joint_training_and_one_reptile_step_is_joint_training():
    joint = BOOK.start("joint")
    for method in ("maml", "fomaml", "implicit"):
        assert torch.allclose(BOOK.start(method, lr=1e-9), joint, atol=1e-6)
    assert torch.allclose(BOOK.start("reptile", lr=0.1, steps=1), joint)
    assert torch.allclose(BOOK.start("reptile", lr=0.2, steps=400), BOOK.start("mean"), atol=1e-6)


def test_equal_curvatures_make_all_starts_the_mean_of_the_optima():
    tasks = Quadratics([2.0, 2.0, 2.0], [0.0, 1.0, 5.0])
    for method in METHODS:
        assert tasks.start(method, lr=0.3, steps=2).item() == pytest.approx(2.0)


def test_the_maml_start_is_the_minimum_of_the_meta_loss():
    for tasks in FAMILIES.values():
        start = tasks.start("maml", lr=0.2, steps=2)
        best = tasks.meta_loss(start, lr=0.2, steps=2)
        around = start + 0.1 * torch.randn(50, len(start), dtype=torch.float64)
        assert (tasks.meta_loss(around, lr=0.2, steps=2) > best).all()


@pytest.mark.parametrize(
    "make, message",
    [
        (lambda: Quadratics([1.0, -1.0], [0.0, 0.0]), r"\(2, 1, 1\) and centres .* positive"),
        (lambda: Quadratics([1.0, 1.0], [0.0]), "centres of shape"),
        (lambda: BOOK.start("average"), "method='average'.*one of mean, joint"),
        (lambda: BOOK.start("maml", lr=-0.1), "lr=-0.1"),
        (lambda: BOOK.start("reptile", lr=0.1, steps=0), "no start to settle at"),
        # with every a_i = 1 / lr one step solves every task from anywhere
        (lambda: Quadratics([2.0, 2.0], [0.0, 1.0]).start("maml", lr=0.5), "smaller lr"),
        (lambda: BOOK.start("maml", lr=0.1, steps=1.5), "steps=1.5"),
        # a line of points is not one point of many parameters
        (lambda: BOOK.loss(torch.linspace(-1, 1, 5)), r"theta of shape \(5,\) .*theta.unsqueeze"),
        (lambda: BOOK.meta_gradient("maml", torch.zeros(5), lr=0.1), "theta of shape"),
        (lambda: Quadratics([1.0], [float("nan")]), "all finite"),
        (lambda: Quadratics([], []), "T at least 1"),
    ],
)
def test_bad_input_gets_a_sentence(make, message):
    with pytest.raises(MinimetaError, match=message):
        make()
