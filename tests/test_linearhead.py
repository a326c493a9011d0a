"""Heads fitted to frozen embeddings: against scikit-learn, and against their own objective."""

import pytest
import torch
import torch.nn.functional as F
from sklearn.linear_model import LogisticRegression
from torch import nn

import minimeta as mm
from minimeta import MinimetaError
from minimeta.linearhead import CosineHead, LinearHead, fit_logistic
from tests.conftest import make_pool


def episode(ways=3, shots=4, dim=6, tasks=4, seed=0):
    pool = make_pool(12, shots + 3, (dim,), seed=seed)
    tasks_ = mm.tasks(pool, ways=ways, shots=shots, queries=3)
    return tasks_.at(range(tasks)).to(torch.float64)


@pytest.mark.parametrize("c", [0.1, 1.0, 100.0])
@pytest.mark.parametrize("dim", [2, 6, 40])  # fewer numbers than examples, and more
@pytest.mark.parametrize("ways", [2, 3, 5])
def test_it_is_scikit_learns_logistic_regression(ways, dim, c):
    ep = episode(ways, dim=dim)
    scores = LinearHead(nn.Identity(), c=c)(ep)
    for t in range(len(ep)):
        theirs = LogisticRegression(C=c if ways > 2 else 2 * c, tol=1e-10, max_iter=10_000)
        theirs.fit(ep.support_x[t].numpy(), ep.support_y[t].numpy())
        expected = torch.from_numpy(theirs.predict_proba(ep.query_x[t].numpy()))
        assert torch.allclose(F.softmax(scores[t], -1), expected, atol=1e-5)


@pytest.mark.parametrize("spread", [1.0, 1000.0])
@pytest.mark.parametrize("c", [1.0, 1e4])
def test_the_fit_is_a_stationary_point_however_far_apart_the_classes_are(c, spread):
    ep = episode(ways=5, tasks=60, shots=2, dim=7)
    z = spread * ep.support_x
    w, b = fit_logistic(z, ep.support_y, 5, c=c)
    w, b = w.requires_grad_(), b.requires_grad_()
    scores = z @ w.mT + b.unsqueeze(1)
    data = F.cross_entropy(scores.flatten(0, 1), ep.support_y.flatten(), reduction="sum")
    slopes = torch.autograd.grad(w.square().sum() / 2 + c * data, (w, b))
    # relative to what stands in balance there: the penalty's pull and the data's
    for slope in slopes:
        assert slope.abs().max() < 1e-7 * max(1.0, w.abs().max().item())


@pytest.mark.parametrize("make", [LinearHead, CosineHead])
def test_loop_chunks_and_all_at_once_agree_and_order_does_not_matter(make):
    ep, learner = episode(tasks=5), make(mm.MLP(6, 8).double())
    whole = learner(ep)
    for size in (1, 2):
        assert torch.allclose(torch.cat([learner(p) for p in ep.split(size)]), whole, atol=1e-9)
    order = torch.randperm(ep.support_x.shape[1])
    mixed = mm.Episode(ep.support_x[:, order], ep.support_y[:, order], ep.query_x, ep.query_y)
    assert torch.allclose(learner(mixed), whole, atol=1e-9)
    table = torch.tensor([2, 0, 1])
    renamed = mm.Episode(ep.support_x, table[ep.support_y], ep.query_x, table[ep.query_y])
    assert torch.allclose(learner(renamed)[..., table], whole, atol=1e-9)


def test_large_systems_are_fitted_in_groups_with_the_same_result(monkeypatch):
    ep = episode(ways=3, shots=4, dim=6, tasks=7)  # (3 · 7)^2 = 441 numbers a task
    calls = []

    def counted(z, *rest, **options):
        calls.append(len(z))
        return fit_logistic(z, *rest, **options)

    monkeypatch.setattr("minimeta.linearhead.fit_logistic", counted)
    monkeypatch.setattr("minimeta.linearhead.AT_ONCE", 1500)
    scores = LinearHead(nn.Identity())(ep)
    assert calls == [3, 3, 1]
    apart = torch.cat([LinearHead(nn.Identity())(p) for p in ep.split(1)])
    assert torch.allclose(scores, apart, atol=1e-9)


def test_normalised_embeddings_have_no_length():
    ep = episode()
    long = mm.Episode(7 * ep.support_x, ep.support_y, 0.1 * ep.query_x, ep.query_y)
    for learner in (LinearHead(nn.Identity(), normalise=True), CosineHead(nn.Identity())):
        assert torch.allclose(learner(long), learner(ep), atol=1e-9)


def test_without_steps_the_cosine_head_is_the_nearest_class_mean_by_angle():
    ep = episode()
    z, q = F.normalize(ep.support_x, dim=-1), F.normalize(ep.query_x, dim=-1)
    means = torch.stack(
        [torch.stack([z[t][ep.support_y[t] == n].mean(0) for n in range(3)]) for t in range(4)]
    )
    expected = 10 * F.cosine_similarity(q.unsqueeze(2), means.unsqueeze(1), dim=-1)
    start = CosineHead(nn.Identity(), steps=0)(ep)
    assert torch.allclose(start, expected, atol=1e-9)
    fitted = CosineHead(nn.Identity(), steps=100)
    fits = mm.Episode(ep.support_x, ep.support_y, ep.support_x, ep.support_y)
    plain = CosineHead(nn.Identity(), steps=0)
    assert fitted.eval().loss(fits) < plain.eval().loss(fits)


@pytest.mark.parametrize("make", [LinearHead, CosineHead])
def test_it_scores_in_the_embeddings_type_and_refuses_to_be_meta_trained(make):
    ep = episode().to(torch.float32)
    learner = make(mm.MLP(6, 8))
    assert learner(ep).dtype == torch.float32
    tasks = mm.tasks(make_pool(12, 9, (6,)), ways=3, shots=2, queries=3)
    assert mm.meta_test(learner, tasks, episodes=5).mean > 1 / 3
    with pytest.raises(MinimetaError, match="learns at test time only"):
        mm.meta_train(learner, tasks, steps=1)


@pytest.mark.parametrize(
    "make, message",
    [
        (lambda: LinearHead(nn.Identity(), c=0.0), "c=0.0"),
        (lambda: CosineHead(nn.Identity(), scale=-1.0), "scale=-1.0"),
        (lambda: CosineHead(nn.Identity(), steps=1.5), "steps=1.5"),
        (
            lambda: LinearHead(mm.MLP(1, 1))(mm.tasks("sinusoids").at([0])),
            "LinearHead was given regression targets",
        ),
    ],
)
def test_bad_input_gets_a_sentence(make, message):
    with pytest.raises(MinimetaError, match=message):
        make()
