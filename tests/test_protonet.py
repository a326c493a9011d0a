"""ProtoNet against the paper's formulas, its symmetries, and a linear classifier."""

import pytest
import torch
from torch import nn

import minimeta as mm
from minimeta import Conv4, Episode, MinimetaError, ProtoNet
from minimeta.protonet import prototypes, squared_distances


def episode(pool, ways=3, shots=2, queries=3, tasks=2):
    source = mm.tasks(pool, ways=ways, shots=shots, queries=queries)
    return source.at(range(tasks)).to(torch.float64)


def paper(encoder, ep, t, distance=2):
    """Snell et al. 2017, Eqs. (1) and (2), written out for one task: log-probabilities (R, N)."""
    rows = []
    for q in range(ep.query_x.shape[1]):
        scores = []
        for n in range(ep.ways):
            members = [s for s in range(ep.support_x.shape[1]) if ep.support_y[t, s] == n]
            c = sum(encoder(ep.support_x[t, s : s + 1])[0] for s in members) / len(members)
            difference = encoder(ep.query_x[t, q : q + 1])[0] - c
            scores.append(-(difference.norm() ** distance))
        rows.append(torch.stack(scores).log_softmax(0))
    return torch.stack(rows)


@pytest.mark.parametrize("distance, power", [("squared", 2), ("euclidean", 1)])
def test_it_is_the_papers_formula(vectors, distance, power):
    ep, encoder = episode(vectors), nn.Sequential(nn.Linear(4, 6), nn.Tanh()).double()
    learner = ProtoNet(encoder, distance=distance)
    expected = torch.stack([paper(encoder, ep, t, power) for t in range(2)])
    assert torch.allclose(learner(ep).log_softmax(-1), expected, atol=1e-6 if power == 1 else 1e-10)
    picked = -expected.gather(-1, ep.query_y.unsqueeze(-1))
    assert learner.loss(ep).item() == pytest.approx(picked.mean().item(), abs=1e-6)


def test_unequal_shots_average_what_is_there(vectors):
    z = torch.randn(1, 6, 4, dtype=torch.float64)
    labels = torch.tensor([[2, 0, 1, 0, 0, 1]])
    c = prototypes(z, labels, ways=3)
    for n in range(3):
        assert torch.allclose(c[0, n], z[0, labels[0] == n].mean(0))
    ep = Episode(z, labels, z, labels)
    expected = paper(nn.Identity(), ep, 0)
    assert torch.allclose(ProtoNet(nn.Identity())(ep)[0].log_softmax(-1), expected, atol=1e-10)


def test_softmax_of_squared_distances_is_a_linear_classifier(vectors):
    # section 2.4 of the paper: weights 2 c_n, bias -|c_n|^2
    ep = episode(vectors)
    c = prototypes(ep.support_x, ep.support_y, ep.ways)
    linear = ep.query_x @ (2 * c).mT - c.square().sum(-1).unsqueeze(1)
    scores = ProtoNet(nn.Identity())(ep)
    assert torch.allclose(scores.softmax(-1), linear.softmax(-1), atol=1e-12)


def test_one_shot_is_the_nearest_neighbour(vectors):
    ep = episode(vectors, shots=1)
    nearest = torch.cdist(ep.query_x, ep.support_x).argmin(-1)
    labels = ep.support_y.gather(1, nearest)
    assert torch.equal(ProtoNet(nn.Identity())(ep).argmax(-1), labels)


def test_moving_all_embeddings_changes_nothing_and_far_away_is_still_exact():
    g = torch.Generator().manual_seed(0)
    a, b = torch.rand(1, 7, 3, generator=g), torch.rand(1, 4, 3, generator=g)
    exact = torch.cdist(a.double(), b.double()) ** 2
    assert torch.allclose(squared_distances(a, b).double(), exact, atol=1e-5)
    # float32 near 1000 keeps 4 digits of a unit; |a|^2 - 2ab + |b|^2 uncentred would lose them all
    assert torch.allclose(squared_distances(a + 1000, b + 1000).double(), exact, atol=2e-3)


def test_the_gradient_of_the_plain_distance_is_finite_at_zero():
    x = torch.zeros(1, 2, 3, requires_grad=True)
    ep = Episode(x, torch.tensor([[0, 1]]), x, torch.tensor([[0, 1]]))
    ProtoNet(nn.Identity(), distance="euclidean").loss(ep).backward()
    assert torch.isfinite(x.grad).all()


@pytest.mark.parametrize(
    "make, message",
    [
        (lambda: ProtoNet(nn.Identity(), distance="cosine"), "distance='cosine'"),
        (lambda: ProtoNet(nn.Identity())(mm.tasks("sinusoids").at([0])), "regression targets"),
        (lambda: ProtoNet(Conv4(layout="maps"))(mm.tasks("glyphs").at([0])), "end the encoder"),
    ],
)
def test_bad_input_gets_a_sentence(make, message):
    with pytest.raises(MinimetaError, match=message):
        make()
