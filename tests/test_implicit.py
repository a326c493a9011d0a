"""Implicit MAML against dense algebra, closed forms and the unrolled proximal problem."""

import copy
import itertools

import pytest
import torch
from torch import nn
from torch.func import functional_call

import minimeta as mm
from minimeta import MinimetaError
from minimeta.implicit import ImplicitMAML, conjugate_gradients
from minimeta.learner import task_losses
from minimeta.lineargaussian import LinearGaussian, PosteriorMean
from minimeta.toy import Quadratics
from tests.conftest import make_pool
from tests.test_maml import gradient, tiny_episode


def smooth(outputs=3):
    """A network with curvature everywhere."""
    return nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, outputs)).double()


def vector_episode(tasks=2):
    pool = make_pool(12, 8, (4,))
    return mm.tasks(pool, ways=3, shots=2, queries=2).at(range(tasks)).to(torch.float64)


def regression_episode(tasks=3):
    x, y = torch.randn(2, tasks, 6, 4, dtype=torch.float64)
    y = y[..., :1]
    return mm.Episode(x[:, :3], y[:, :3], x[:, 3:], y[:, 3:])


def unrolled(net, episode, *, penalty, lr, steps, moving=lambda name: True):
    """The query loss after so many steps on the inner problem, as one graph: MAML on it."""
    total, theta = 0.0, dict(net.named_parameters())
    for t in range(len(episode)):
        phi = dict(theta)
        for _ in range(steps):
            out = functional_call(net, phi, (episode.support_x[t],))
            inner = task_losses(out[None], episode.support_y[t : t + 1]).sum()
            inner = inner + penalty / 2 * sum((phi[n] - p).square().sum() for n, p in theta.items())
            names = [n for n in phi if moving(n)]
            slopes = torch.autograd.grad(inner, [phi[n] for n in names], create_graph=True)
            phi |= {n: phi[n] - lr * g for n, g in zip(names, slopes, strict=True)}
        out = functional_call(net, phi, (episode.query_x[t],))
        total = total + task_losses(out[None], episode.query_y[t : t + 1]).sum()
    return total / len(episode)


def unrolled_gradient(net, episode, **settings):
    loss = unrolled(net, episode, **settings)
    grads = torch.autograd.grad(loss, list(net.parameters()))
    return loss.item(), torch.cat([g.flatten() for g in grads])


@pytest.mark.parametrize("dim", [1, 3])
def test_on_quadratics_it_is_the_closed_form(dim):
    if dim == 1:
        tasks = Quadratics([0.5, 1.0, 2.0, 4.0], [-3.0, 0.0, 2.0, 5.0])
    else:
        root = torch.randn(4, dim, dim, dtype=torch.float64)
        h = root @ root.mT + torch.eye(dim, dtype=torch.float64)
        tasks = Quadratics((h + h.mT) / 2, torch.randn(4, dim, dtype=torch.float64))
    penalty, net = 2.0, nn.Linear(dim, 1, bias=False).double()
    rate = 1 / (penalty + float(torch.linalg.eigvalsh(tasks.curvature).max()))
    learner = ImplicitMAML(
        net, penalty=penalty, inner_lr=rate, inner_steps=200, cg_steps=dim
    )  # CG: exact in as many steps as there are unknowns
    theta, episode = net.weight.detach()[0].clone(), tasks.episode()
    phi = tasks.adapted(theta, lr=1 / penalty, implicit=True)
    assert torch.allclose(learner.adapt(episode)["weight"].squeeze(1), phi, atol=1e-10)
    loss = learner.loss(episode)
    loss.backward()
    expected = tasks.meta_loss(theta, lr=1 / penalty, implicit=True).item()
    assert loss.item() == pytest.approx(expected, rel=1e-9)
    exact = tasks.meta_gradient("implicit", theta, lr=1 / penalty)
    assert torch.allclose(net.weight.grad[0], exact, atol=1e-9)


@pytest.mark.parametrize("adapts", ["all", "head", "body"])
def test_unrolling_more_and_more_steps_converges_to_it(adapts):
    net, episode, penalty, lr = smooth(), vector_episode(), 2.0, 0.15
    learner = ImplicitMAML(
        net, penalty=penalty, inner_lr=lr, inner_steps=120, cg_steps=60, adapts=adapts
    )
    ours, chosen = gradient(learner, episode), set(learner._chosen)
    errors = []
    for steps in (3, 10, 30, 90):
        _, theirs = unrolled_gradient(
            net, episode, penalty=penalty, lr=lr, steps=steps, moving=lambda n: n in chosen
        )
        errors.append(((ours - theirs).norm() / theirs.norm()).item())
    assert errors == sorted(errors, reverse=True) and errors[0] > 1e-2 and errors[-1] < 1e-9


def test_the_solution_is_a_stationary_point_of_the_inner_problem():
    net, episode = smooth(outputs=1), regression_episode()
    learner = ImplicitMAML(net, penalty=3.0, inner_lr=0.05, inner_steps=300)
    phi = {n: p.detach().requires_grad_() for n, p in learner.adapt(episode).items()}
    out = torch.stack([
        functional_call(net, {n: p[t] for n, p in phi.items()}, (episode.support_x[t],))
        for t in range(len(episode))
    ])  # fmt: skip
    slopes = torch.autograd.grad(task_losses(out, episode.support_y).sum(), list(phi.values()))
    for (name, p), slope in zip(phi.items(), slopes, strict=True):
        start = dict(net.named_parameters())[name]
        assert torch.allclose(slope + 3.0 * (p - start), torch.zeros_like(p), atol=1e-9)


def test_a_dense_solve_gives_the_same_gradient():
    net, episode = smooth(outputs=1), regression_episode(tasks=1)
    learner = ImplicitMAML(net, penalty=1.5, inner_lr=0.1, inner_steps=60, cg_steps=40)
    flat = torch.cat([p.detach().flatten() for p in learner.adapt(episode).values()])
    shapes = [p.shape for p in net.parameters()]

    def loss(vector, x, y):
        pieces = vector.split([s.numel() for s in shapes])
        params = {
            n: v.view(s)
            for (n, _), v, s in zip(net.named_parameters(), pieces, shapes, strict=True)
        }
        return task_losses(functional_call(net, params, (x[0],))[None], y).sum()

    h = torch.autograd.functional.hessian(
        lambda v: loss(v, episode.support_x, episode.support_y), flat
    )
    leaf = flat.clone().requires_grad_()
    (g,) = torch.autograd.grad(loss(leaf, episode.query_x, episode.query_y), leaf)
    dense = torch.linalg.solve(torch.eye(len(flat), dtype=torch.float64) + h / 1.5, g)
    assert torch.allclose(gradient(learner, episode), dense, atol=1e-8)


def test_conjugate_gradients_solve_every_tasks_own_system():
    root = torch.randn(5, 6, 6, dtype=torch.float64)
    a = root @ root.mT + 0.1 * torch.eye(6, dtype=torch.float64)
    b = {
        "x": torch.randn(5, 2, 2, dtype=torch.float64),
        "y": torch.randn(5, 2, dtype=torch.float64),
    }
    b["y"][2], b["x"][2] = 0.0, 0.0  # a task with nothing to solve

    def product(v):
        flat = (a @ torch.cat([v["x"].flatten(1), v["y"]], 1).unsqueeze(-1)).squeeze(-1)
        return {"x": flat[:, :4].view(5, 2, 2), "y": flat[:, 4:]}

    got = conjugate_gradients(product, b, steps=12)
    flat = torch.cat([b["x"].flatten(1), b["y"]], 1)
    expected = torch.linalg.solve(a, flat.unsqueeze(-1)).squeeze(-1)
    assert torch.allclose(torch.cat([got["x"].flatten(1), got["y"]], 1), expected, atol=1e-7)
    assert (got["x"][2] == 0).all()


def test_without_curvature_it_is_first_order_and_with_it_it_is_not():
    net, episode, settings = smooth(), vector_episode(), dict(penalty=2.0, inner_lr=0.15)
    first = gradient(ImplicitMAML(net, cg_steps=0, **settings), episode)
    learner = ImplicitMAML(net, cg_steps=40, **settings)
    phi = learner.adapt(episode)
    leaves = {n: p.detach().requires_grad_() for n, p in phi.items()}
    out = learner._predict(episode, leaves)
    loss = task_losses(out, episode.query_y).mean()
    expected = torch.autograd.grad(loss, list(leaves.values()))
    assert torch.allclose(first, torch.cat([g.sum(0).flatten() for g in expected]), atol=1e-12)
    second = gradient(learner, episode)
    assert (first - second).norm() > 0.01 * second.norm()


def test_a_strong_penalty_is_joint_training():
    net, episode = smooth(), vector_episode()
    learner = ImplicitMAML(net, penalty=1e8, inner_lr=1e-9, inner_steps=20)
    plain = torch.stack([net(x) for x in episode.query_x])
    expected = torch.autograd.grad(
        task_losses(plain, episode.query_y).mean(), list(net.parameters())
    )
    expected = torch.cat([g.flatten() for g in expected])
    assert torch.allclose(gradient(learner, episode), expected, atol=1e-6)


@pytest.mark.parametrize("kind", ["mlp", "conv", "support"])
def test_loop_and_all_at_once_agree(kind):
    episode = vector_episode(tasks=3) if kind == "mlp" else tiny_episode(tasks=3)
    bn = "support" if kind == "support" else "batch"
    net = smooth() if kind == "mlp" else mm.Conv4(ways=3, filters=4, size=16, bn=bn).double()
    learner = ImplicitMAML(net, penalty=1.0, inner_lr=0.1, inner_steps=3)
    whole_out, whole = learner(episode), gradient(learner, episode)
    pieces = list(episode.split(1))
    assert torch.allclose(torch.cat([learner(p) for p in pieces]), whole_out, atol=1e-10)
    mean = sum(gradient(learner, p) for p in pieces) / 3
    assert torch.allclose(mean, whole, atol=1e-10)
    with torch.no_grad():
        assert torch.allclose(learner(episode), whole_out, atol=1e-12)


def peak_saved(make_loss):
    """Largest number of bytes that autograd holds at any moment of forward and backward."""
    held = peak = 0

    class Kept:
        def __init__(self, tensor):
            nonlocal held, peak
            self.tensor, self.bytes = tensor, tensor.numel() * tensor.element_size()
            held += self.bytes
            peak = max(peak, held)

        def __del__(self):
            nonlocal held
            held -= self.bytes

    with torch.autograd.graph.saved_tensors_hooks(Kept, lambda kept: kept.tensor):
        make_loss().backward()
    return peak


def test_memory_does_not_grow_with_the_inner_steps():
    net, episode = smooth(), vector_episode()

    def peak(steps):
        learner = ImplicitMAML(copy.deepcopy(net), penalty=2.0, inner_lr=0.1, inner_steps=steps)
        return peak_saved(lambda: learner.loss(episode))

    assert peak(2) == peak(40) > 0

    def unrolled_peak(steps):
        return peak_saved(lambda: unrolled(net, episode, penalty=2.0, lr=0.1, steps=steps))

    assert unrolled_peak(40) > 10 * unrolled_peak(2)


def test_with_the_right_penalty_it_is_bayes_rule_and_it_learns_the_prior_mean():
    # ridge regression around the start is the posterior mean under an isotropic prior
    sigma, tau, shots = 1.0, 0.8, 4
    mean = torch.tensor([1.0, -2.0, 0.5])
    law = LinearGaussian(mean, tau**2 * torch.eye(3), noise=sigma)
    tasks, net = law.tasks(shots=shots, queries=10), nn.Linear(3, 1, bias=False)
    settings = dict(penalty=2 * sigma**2 / (shots * tau**2), inner_lr=0.1, cg_steps=3)
    away = (net.weight.detach()[0] - mean).norm()
    learner = ImplicitMAML(net, inner_steps=30, **settings)
    mm.meta_train(learner, tasks, steps=25, meta_batch=40, lr=0.3)
    assert (net.weight.detach()[0] - mean).norm() < 0.3 * away
    net.weight.data = mean[None]
    exact = ImplicitMAML(net.double(), inner_steps=200, **settings)
    episode = tasks.at(range(20)).to(torch.float64)
    assert torch.allclose(exact(episode), PosteriorMean(law)(episode), atol=1e-5)


@pytest.mark.parametrize(
    "options, message",
    [
        (dict(penalty=0.0), "penalty=0.0"),
        (dict(cg_steps=-1), "cg_steps=-1"),
        (dict(inner_lr=-1.0), "inner_lr=-1.0"),
        (dict(inner_steps=1.5), "inner_steps=1.5"),
    ],
)
def test_bad_input_gets_a_sentence(options, message):
    with pytest.raises(MinimetaError, match=message):
        ImplicitMAML(smooth(), **(dict(penalty=1.0, inner_lr=0.1) | options))


def matrix_product(matrices):
    return lambda v: {"a": (matrices @ v["a"].unsqueeze(-1)).squeeze(-1)}


def test_a_task_whose_matrix_is_not_positive_stops_there_and_stays():
    torch.manual_seed(0)
    a = torch.randn(200, 4, 4, dtype=torch.float64)
    a = a + a.mT
    b = {"a": torch.randn(200, 4, dtype=torch.float64)}
    found = [conjugate_gradients(matrix_product(a), b, steps=k)["a"] for k in range(1, 5)]
    # one that has met a direction without curvature no longer moves, whatever its later directions are
    residual = direction = b["a"]
    stopped = torch.zeros(200, dtype=torch.bool)
    for now, then in itertools.pairwise(found):
        ahead = matrix_product(a)({"a": direction})["a"]
        stopped |= (direction * ahead).sum(1) <= 0
        assert torch.equal(now[stopped], then[stopped])
        step = (residual.square().sum(1) / (direction * ahead).sum(1)).unsqueeze(1)
        left = residual - step * ahead
        shrunk = (left.square().sum(1) / residual.square().sum(1)).unsqueeze(1)
        residual, direction = left, left + shrunk * direction
    assert 0.3 < stopped.double().mean() < 1


def test_a_first_direction_without_curvature_leaves_the_target():
    matrices = torch.diag_embed(torch.tensor([[-1.0, -2.0], [2.0, 4.0]], dtype=torch.float64))
    target = {"a": torch.tensor([[1.0, 1.0], [2.0, 4.0]], dtype=torch.float64)}
    for steps in (1, 2, 5):
        v = conjugate_gradients(matrix_product(matrices), target, steps=steps)["a"]
        assert torch.equal(v[0], target["a"][0])
    assert torch.allclose(v[1], torch.ones(2).double())


def test_no_inner_step_is_refused_there_is_no_solution_then():
    with pytest.raises(MinimetaError, match="inner_steps=0 was given"):
        ImplicitMAML(smooth(), penalty=1.0, inner_lr=0.1, inner_steps=0)
