"""Linear-Gaussian tasks: the posterior against Bayes' rule, risks against sampling, MAML as a prior."""

import pytest
import torch
from torch import nn

import minimeta as mm
from minimeta import MinimetaError
from minimeta.lineargaussian import LinearGaussian, PosteriorMean, gradient_gain


def law(dim=3, noise=0.6, seed=0):
    g = torch.Generator().manual_seed(seed)
    root = torch.randn(dim, dim, generator=g, dtype=torch.float64)
    c = root @ root.T / dim + 0.2 * torch.eye(dim, dtype=torch.float64)
    mean = torch.randn(dim, generator=g, dtype=torch.float64)
    return LinearGaussian(mean, (c + c.T) / 2, noise=noise)


def inputs(tasks=4, shots=5, dim=3, seed=1):
    g = torch.Generator().manual_seed(seed)
    return torch.randn(tasks, shots, dim, generator=g, dtype=torch.float64)


@pytest.mark.parametrize("shots", [2, 5])
def test_the_posterior_mean_is_bayes_rule_in_precisions(shots):
    task, x = law(), inputs(shots=shots)
    y = inputs(shots=shots, dim=1, seed=2)
    start = task.mean.unsqueeze(-1)
    ours = start + task.posterior_gain(x) @ (y - x @ start)
    precision = torch.linalg.inv(task.covariance) + x.mT @ x / task.noise**2
    shift = torch.linalg.inv(task.covariance) @ start + x.mT @ y / task.noise**2
    assert torch.allclose(ours, torch.linalg.solve(precision, shift))


def test_the_risk_is_the_mean_error_over_many_tasks():
    task = law()
    result = mm.meta_test(PosteriorMean(task), task.tasks(shots=4, queries=20), episodes=4000)
    x = task.tasks(shots=4, queries=20).at(range(4000)).support_x.double()
    expected = task.risk(x, task.posterior_gain(x)).mean().item()
    assert abs(result.mean - expected) < 4 * result.ci95 / 1.96


def test_the_risk_of_gradient_steps_is_mamls_mean_error():
    task, lr, steps = law(), 0.1, 3
    net = nn.Linear(3, 1, bias=False)
    learner = mm.MAML(net, inner_lr=lr, inner_steps=steps)
    tasks = task.tasks(shots=4, queries=20)
    result = mm.meta_test(learner, tasks, episodes=4000)
    x = tasks.at(range(4000)).support_x.double()
    gain = gradient_gain(x, lr=lr, steps=steps)
    expected = task.risk(x, gain, net.weight.detach()[0].double()).mean().item()
    assert abs(result.mean - expected) < 4 * result.ci95 / 1.96


def test_no_gain_and_no_start_beats_the_posterior_mean():
    task, x = law(), inputs()
    gain = task.posterior_gain(x)
    best = task.risk(x, gain)
    for seed in range(5):
        other = gain + 0.05 * torch.randn(gain.shape, dtype=torch.float64)
        assert (task.risk(x, other) > best).all()
        away = task.mean + 0.1 * inputs(1, 1, seed=seed)[0, 0]
        assert (task.risk(x, gain, away) > best).all()
        assert (task.risk(x, gradient_gain(x, lr=0.1, steps=seed)) > best).all()


def test_gradient_gain_is_gradient_descent():
    x, y = inputs(), inputs(dim=1, seed=2)
    net = nn.Linear(3, 1, bias=False).double()
    adapted = mm.MAML(net, inner_lr=0.07, inner_steps=4).adapt(mm.Episode(x, y, x, y))["weight"]
    start = net.weight.detach().T
    ours = start + gradient_gain(x, lr=0.07, steps=4) @ (y - x @ start)
    assert torch.allclose(ours.mT, adapted, atol=1e-12)


@pytest.mark.parametrize("shots", [2, 5])  # fewer and more than the weights
@pytest.mark.parametrize("steps", [1, 4])
def test_early_stopping_is_a_posterior_mean_under_the_implied_prior(steps, shots):
    # Grant et al. 2018, in the linear case: exact, with a prior that depends on the inputs
    task, x = law(), inputs(shots=shots)
    prior = task.implied_covariance(x, lr=0.05, steps=steps)
    assert torch.allclose(
        task.posterior_gain(x, prior), gradient_gain(x, lr=0.05, steps=steps), atol=1e-10
    )
    assert (torch.linalg.eigvalsh(prior) > 0).all()
    assert not torch.allclose(prior[0], prior[1], rtol=0.1)


def test_in_the_isotropic_case_one_step_is_the_exact_answer():
    tau2, sigma, shots, dim = 0.7, 0.5, 4, 4
    task = LinearGaussian(torch.zeros(dim), tau2 * torch.eye(dim), noise=sigma)
    q, _ = torch.linalg.qr(inputs(tasks=6, shots=shots, dim=dim))
    x = 1.3 * q  # orthogonal inputs: X'X = 1.3^2 I
    a = 2 * 1.3**2 / shots
    lr = 1 / (a + 2 * sigma**2 / (shots * tau2))
    assert torch.allclose(gradient_gain(x, lr=lr, steps=1), task.posterior_gain(x), atol=1e-12)
    prior = task.implied_covariance(x, lr=lr, steps=1)
    assert torch.allclose(prior, tau2 * torch.eye(dim, dtype=torch.float64), atol=1e-12)


def test_tasks_depend_on_seed_split_and_index_alone_and_have_the_laws_moments():
    task = law()
    tasks = task.tasks(shots=2, queries=3)
    both, second = tasks.at([4, 7], seed=1), tasks.at([7], seed=1)
    assert torch.equal(both.query_y[1:], second.query_y)
    assert torch.equal(tasks.to("cpu").at([7], seed=1).query_y, second.query_y)
    other = task.tasks(shots=2, queries=3, split="test").at([7], seed=1)
    assert not torch.equal(second.query_y, other.query_y)

    many = task.tasks(shots=6, queries=1).at(range(20_000))
    x, y = many.support_x.double(), many.support_y.double()
    w = torch.linalg.lstsq(x, y).solution.squeeze(-1)
    assert torch.allclose(w.mean(0), task.mean, atol=0.05)
    y_variance = (task.covariance + torch.outer(task.mean, task.mean)).trace() + task.noise**2
    assert y.square().mean().item() == pytest.approx(y_variance.item(), rel=0.03)
    assert x.mean().abs() < 0.01 and x.var().item() == pytest.approx(1, abs=0.01)


@pytest.mark.parametrize(
    "make, message",
    [
        (lambda: LinearGaussian(torch.zeros(2), torch.eye(2), noise=0.0), "noise=0.0"),
        (lambda: LinearGaussian(torch.zeros(2), -torch.eye(2), noise=1.0), "not positive definite"),
        (lambda: LinearGaussian(torch.zeros(2), torch.ones(2, 2).triu(), noise=1.0), "symmetric"),
        (lambda: law().implied_covariance(inputs(), lr=9.0, steps=1), "lr=9.0 overshoots.*rates below"),
        (lambda: law().tasks(shots=0, queries=1), "shots=0"),
        (lambda: LinearGaussian(torch.tensor([torch.nan]), torch.eye(1), noise=1.0), "not finite"),
        (lambda: law().implied_covariance(inputs(), lr=0.01, steps=10**5), "steps=100000"),
        (lambda: PosteriorMean(law())(mm.tasks("glyphs").at([0])), "labels and items of shape"),
        (lambda: PosteriorMean(law())(mm.tasks("sinusoids").at([0])), r"targets and items of shape \(1,\)"),
    ],
)  # fmt: skip
def test_bad_input_gets_a_sentence(make, message):
    with pytest.raises(MinimetaError, match=message):
        make()
