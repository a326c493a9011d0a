"""Matching Networks against the paper's formula, vote by vote, and its symmetries."""

import pytest
import torch
from torch import nn

import minimeta as mm
from minimeta import Conv4, Episode, MinimetaError
from minimeta.matchingnet import MatchingNet, class_votes, cosines


def episode(pool, shots=2):
    return mm.tasks(pool, ways=3, shots=shots, queries=2).at(range(2)).to(torch.float64)


def unequal(pool):
    """Shots of 3, 1 and 2."""
    ep, keep = episode(pool, shots=3), torch.tensor([0, 1, 2, 3, 6, 8])
    return Episode(ep.support_x[:, keep], ep.support_y[:, keep], ep.query_x, ep.query_y)


def paper(encoder, ep, t, scale):
    """Vinyals et al. 2016, Eq. (1), written out for one task: probabilities (R, N)."""
    rows = []
    for x in ep.query_x[t]:
        f = encoder(x.unsqueeze(0))[0]
        votes = []
        for s in ep.support_x[t]:
            g = encoder(s.unsqueeze(0))[0]
            votes.append(torch.exp(scale * (f @ g) / (f.norm() * g.norm())))
        total = sum(votes)
        row = [torch.zeros((), dtype=torch.float64)] * ep.ways
        for vote, label in zip(votes, ep.support_y[t].tolist(), strict=True):
            row[label] = row[label] + vote / total
        rows.append(torch.stack(row))
    return torch.stack(rows)


@pytest.mark.parametrize("scale", [1.0, 10.0])
@pytest.mark.parametrize("make", [episode, unequal])
def test_it_is_the_papers_formula_vote_by_vote(vectors, make, scale):
    ep, encoder = make(vectors), nn.Sequential(nn.Linear(4, 6), nn.Tanh()).double()
    learner = MatchingNet(encoder, scale=scale)
    expected = torch.stack([paper(encoder, ep, t, scale) for t in range(2)])
    assert torch.allclose(learner(ep).exp(), expected, atol=1e-12)
    picked = -expected.gather(-1, ep.query_y.unsqueeze(-1)).log()  # the paper's likelihood
    assert learner.loss(ep).item() == pytest.approx(picked.mean().item(), abs=1e-12)


@pytest.mark.parametrize("scale", [1.0, 100.0, 1000.0])
def test_probabilities_sum_to_one_and_stay_finite_at_any_scale(vectors, scale):
    ep = unequal(vectors).to(torch.float32)
    x = ep.query_x.clone().requires_grad_()
    far = Episode(ep.support_x, ep.support_y, -x, ep.query_y)  # cosines near -1: votes underflow
    learner = MatchingNet(nn.Identity(), scale=scale)
    scores = learner(far)
    assert torch.allclose(scores.exp().sum(-1), torch.ones(scores.shape[:2]), atol=1e-5)
    learner.loss(far).backward()
    assert torch.isfinite(scores).all() and torch.isfinite(x.grad).all()


def test_one_shot_is_the_softmax_of_cosines(vectors):
    ep = episode(vectors, shots=1)
    cos = nn.functional.cosine_similarity(
        ep.query_x.unsqueeze(2), ep.support_x.unsqueeze(1), dim=-1
    )
    order = ep.support_y.argsort(-1).unsqueeze(1).expand_as(cos)
    expected = (7.0 * cos).softmax(-1).gather(-1, order)
    assert torch.allclose(MatchingNet(nn.Identity(), scale=7.0)(ep).exp(), expected, atol=1e-12)


def test_the_order_of_the_support_set_and_the_length_of_a_vector_change_nothing(vectors):
    ep, learner = unequal(vectors), MatchingNet(nn.Identity(), scale=5.0)
    order = torch.randperm(6)
    longer = torch.rand(2, 6, 1, dtype=torch.float64) + 0.5
    mixed = Episode(ep.support_x[:, order] * longer, ep.support_y[:, order], ep.query_x * 3)
    assert torch.allclose(learner(mixed), learner(ep), atol=1e-12)


def test_renaming_the_classes_renames_the_scores(vectors):
    ep, learner = unequal(vectors), MatchingNet(nn.Identity())
    new = torch.tensor([2, 0, 1])
    renamed = Episode(ep.support_x, new[ep.support_y], ep.query_x)
    assert torch.allclose(learner(renamed)[..., new], learner(ep), atol=1e-12)


def test_repeating_a_class_gives_it_more_votes(vectors):
    ep, learner = episode(vectors, shots=1), MatchingNet(nn.Identity())
    twice = Episode(ep.support_x.repeat(1, 2, 1), ep.support_y.repeat(1, 2), ep.query_x)
    assert torch.allclose(learner(twice), learner(ep), atol=1e-12)  # every class: nothing changes
    first = ep.support_x[:, :1], ep.support_y[:, :1]
    more = Episode(
        torch.cat([ep.support_x, first[0]], 1), torch.cat([ep.support_y, first[1]], 1), ep.query_x
    )
    gain = (learner(more) - learner(ep)).gather(-1, first[1].unsqueeze(1).expand(-1, 6, 1))
    assert (gain > 0).all()


def test_at_a_large_scale_the_nearest_example_decides(vectors):
    ep = unequal(vectors)
    nearest = ep.support_y.gather(1, cosines(ep.query_x, ep.support_x).argmax(-1))
    assert torch.equal(MatchingNet(nn.Identity(), scale=1e4)(ep).argmax(-1), nearest)


def test_vectors_of_length_zero_have_cosine_zero_and_a_finite_gradient():
    x = torch.zeros(1, 2, 3, requires_grad=True)
    assert torch.equal(cosines(x, x), torch.zeros(1, 2, 2))
    labels = torch.tensor([[0, 1]])
    MatchingNet(nn.Identity()).loss(Episode(x, labels, x, labels)).backward()
    assert torch.isfinite(x.grad).all()


def test_gradients_equal_finite_differences(vectors):
    ep = unequal(vectors)

    def scores(support, query):
        return class_votes((5 * cosines(query, support)).log_softmax(-1), ep.support_y, 3)

    leaves = [z[..., :2].clone().requires_grad_() for z in (ep.support_x, ep.query_x[:, :2])]
    assert torch.autograd.gradcheck(scores, leaves)


def test_training_on_glyphs_helps():
    net = nn.Sequential(nn.Flatten(), mm.MLP(784, 32, hidden=(64,)))
    learner = MatchingNet(net, scale=10.0)
    test = mm.tasks("glyphs", split="test", shots=1, queries=5)
    before = mm.meta_test(learner, test, episodes=100)
    train = mm.tasks("glyphs", shots=1, queries=3)
    mm.meta_train(learner, train, steps=60, meta_batch=8, progress=False)
    after = mm.compare(mm.meta_test(learner, test, episodes=100), before)
    assert after.mean - after.ci95 > 0.15


@pytest.mark.parametrize(
    "make, message",
    [
        (lambda: MatchingNet(nn.Identity(), scale=0), "scale=0"),
        (lambda: MatchingNet(nn.Identity(), scale="big"), "scale='big'"),
        (lambda: MatchingNet(nn.Identity())(mm.tasks("sinusoids").at([0])), "regression targets"),
        (
            lambda: MatchingNet(Conv4(layout="maps"))(mm.tasks("glyphs").at([0])),
            r"shape \(64, 5, 5\); this learner needs vectors",
        ),
    ],
)
def test_bad_input_gets_a_sentence(make, message):
    with pytest.raises(MinimetaError, match=message):
        make()
