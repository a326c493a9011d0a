"""The ridge-regression head against the primal solution, scikit-learn and finite differences."""

import math

import pytest
import torch
import torch.nn.functional as F
from sklearn.linear_model import Ridge
from torch import nn

import minimeta as mm
from minimeta import Conv4, Episode, MinimetaError
from minimeta.ridge import R2D2, ridge


def data(support=6, dim=4, outputs=3, tasks=2):
    g = torch.Generator().manual_seed(0)
    sizes = (tasks, support, dim), (tasks, support, outputs)
    return [torch.randn(s, generator=g, dtype=torch.float64) for s in sizes]


def unequal(pool):
    """Shots of 3, 1 and 2."""
    ep = mm.tasks(pool, ways=3, shots=3, queries=2).at(range(2)).to(torch.float64)
    keep = torch.tensor([0, 1, 2, 3, 6, 8])
    return Episode(ep.support_x[:, keep], ep.support_y[:, keep], ep.query_x, ep.query_y)


@pytest.mark.parametrize("support, dim", [(3, 10), (10, 3), (5, 5)])
@pytest.mark.parametrize("penalty", [1e-3, 1.0, 100.0])
def test_woodbury_is_the_primal_solution(support, dim, penalty):
    x, y = data(support, dim)
    primal = torch.linalg.solve(x.mT @ x + penalty * torch.eye(dim, dtype=x.dtype), x.mT @ y)
    assert torch.allclose(ridge(x, y, penalty), primal, atol=1e-10)


def test_the_solution_minimises_the_penalised_squared_error():
    x, y = data()
    w = ridge(x, y, 0.7).requires_grad_()
    objective = (x @ w - y).square().sum() + 0.7 * w.square().sum()
    (slope,) = torch.autograd.grad(objective, w)
    assert slope.abs().max() < 1e-12


@pytest.mark.parametrize("intercept", [False, True])
def test_scikit_learn_agrees(vectors, intercept):
    ep, penalty = unequal(vectors), 0.3
    learner = R2D2(nn.Identity(), penalty=penalty, scale=2.5, intercept=intercept).double()
    learner.beta.data.fill_(-0.5)
    for t in range(2):
        x, q = ep.support_x[t].numpy(), ep.query_x[t].numpy()
        if intercept:  # a constant feature, penalised like the others
            x, q = (torch.cat([torch.tensor(v), torch.ones(6, 1)], 1).numpy() for v in (x, q))
        fit = Ridge(alpha=penalty, fit_intercept=False).fit(x, F.one_hot(ep.support_y[t]).numpy())
        expected = 2.5 * torch.tensor(fit.predict(q)) - 0.5
        # log and exp of the penalty start in float32
        assert torch.allclose(learner(ep)[t], expected, atol=1e-6)


def test_regression_targets_are_predicted_without_scale_and_bias():
    x, y = data(support=9, outputs=2)
    ep = Episode(x[:, :6], y[:, :6], x[:, 6:], y[:, 6:])
    learner = R2D2(nn.Identity(), scale=50.0, intercept=False).double()
    assert torch.allclose(learner(ep), x[:, 6:] @ ridge(x[:, :6], y[:, :6], 1.0), atol=1e-12)


def test_targets_that_are_linear_are_found_exactly():
    x, true = torch.randn(2, 12, 3, dtype=torch.float64), torch.randn(2, 3, 1, dtype=torch.float64)
    y = x @ true + 4.0
    ep = Episode(x[:, :8], y[:, :8], x[:, 8:], y[:, 8:])
    assert R2D2(nn.Identity(), penalty=1e-8).double().loss(ep) < 1e-12
    assert R2D2(nn.Identity(), penalty=1e-8, intercept=False).double().loss(ep) > 1


def test_a_large_penalty_makes_all_scores_zero(vectors):
    ep = unequal(vectors)
    sizes = [
        R2D2(nn.Identity(), penalty=p).double()(ep).abs().max().item() for p in (1.0, 1e4, 1e12)
    ]
    assert sizes[0] > 1 and sizes[1] < 1e-1 and sizes[2] < 1e-9


def test_gradients_equal_finite_differences():
    x, y = data(support=5, dim=3, outputs=2, tasks=2)
    leaves = [v.requires_grad_() for v in (x, y, torch.tensor(-0.3, dtype=torch.float64))]
    assert torch.autograd.gradcheck(lambda x, y, log: ridge(x, y, log.exp()), leaves)
    assert torch.autograd.gradgradcheck(lambda x, y, log: ridge(x, y, log.exp()), leaves)


def test_penalty_scale_and_encoder_are_learned_and_beta_is_invisible_to_classes(vectors):
    ep, learner = unequal(vectors), R2D2(nn.Linear(4, 5)).double()
    assert learner.log_penalty.exp().item() == pytest.approx(1.0)
    learner.loss(ep).backward()
    for p in (learner.log_penalty, learner.alpha, learner.encoder.weight):
        assert p.grad.abs().max() > 1e-6
    assert abs(learner.beta.grad.item()) < 1e-12


def test_renaming_the_classes_renames_the_scores_and_order_changes_nothing(vectors):
    ep, learner = unequal(vectors), R2D2(nn.Identity()).double()
    new, order = torch.tensor([2, 0, 1]), torch.randperm(6)
    renamed = Episode(ep.support_x[:, order], new[ep.support_y][:, order], ep.query_x)
    assert torch.allclose(learner(renamed)[..., new], learner(ep), atol=1e-12)


def test_rotating_the_embeddings_changes_nothing(vectors):
    ep, learner = unequal(vectors), R2D2(nn.Identity()).double()
    q, _ = torch.linalg.qr(torch.randn(4, 4, dtype=torch.float64))
    assert torch.allclose(
        learner(Episode(ep.support_x @ q, ep.support_y, ep.query_x @ q)), learner(ep), atol=1e-12
    )


def test_numbers_too_large_to_square_give_no_foreign_error():
    x = torch.full((1, 2, 3), 1e30)
    out = R2D2(nn.Identity())(Episode(x, torch.tensor([[0, 1]]), x))
    assert not torch.isfinite(out).all()  # meta_test and meta_train say so in a sentence


def test_training_on_sinusoids_helps():
    learner = R2D2(mm.MLP(1, 40))
    test = mm.tasks("sinusoids", split="test", shots=10, queries=10)
    before = mm.meta_test(learner, test, episodes=100)
    train = mm.tasks("sinusoids", shots=10, queries=10)
    mm.meta_train(learner, train, steps=150, meta_batch=10, progress=False)
    after = mm.compare(mm.meta_test(learner, test, episodes=100), before)
    assert after.mean + after.ci95 < -0.5 * before.mean


@pytest.mark.parametrize(
    "make, message",
    [
        (lambda: R2D2(nn.Identity(), penalty=0), "penalty=0"),
        (lambda: R2D2(nn.Identity(), penalty=math.inf), "penalty=inf"),
        (lambda: R2D2(nn.Identity(), scale=-1), "scale=-1"),
        (
            lambda: R2D2(Conv4(layout="maps"))(mm.tasks("glyphs").at([0])),
            "needs vectors, so end the encoder",
        ),
    ],
)
def test_bad_input_gets_a_sentence(make, message):
    with pytest.raises(MinimetaError, match=message):
        make()


@pytest.mark.parametrize("support", [5, 200])
def test_few_digits_are_lost_in_single_precision(support):
    torch.manual_seed(0)
    x, y = 3 * torch.randn(2, support, 40), torch.randn(2, support, 3)
    exact = ridge(x.double(), y.double(), 1e-3)
    assert (ridge(x, y, 1e-3) - exact).norm() < 1e-5 * exact.norm()


def test_low_precision_and_large_repeated_examples_have_a_solution():
    episode = mm.tasks("glyphs", ways=3, shots=2, queries=2).at([0, 1])
    exact = R2D2(nn.Flatten()).double()(episode.to(torch.float64))
    for dtype in (torch.bfloat16, torch.float16):
        scores = R2D2(nn.Flatten()).to(dtype)(episode.to(dtype))
        assert scores.dtype == dtype and (scores.double() - exact).abs().max() < 0.2
    with torch.autocast("cpu", torch.bfloat16):
        assert (R2D2(nn.Flatten())(episode).double() - exact).abs().max() < 0.2
    row = 1e6 * torch.rand(1, 1, 50)
    w = ridge(row.expand(1, 4, 50), torch.ones(1, 4, 1), 1.0)
    assert torch.allclose(row @ w, torch.ones(1, 1, 1))  # each of four like rows is met
