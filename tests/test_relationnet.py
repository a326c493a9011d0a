"""RelationNet against the paper's formulas, pair by pair."""

import copy

import pytest
import torch
from torch import nn

import minimeta as mm
from minimeta import Conv4, MinimetaError, RelationModule, RelationNet
from minimeta.norm import statistics_from


def episode(pool, shots=2):
    return mm.tasks(pool, ways=3, shots=shots, queries=2).at(range(2)).to(torch.float64)


class Pair(nn.Module):
    """A relation module for vectors, not symmetric in its two halves."""

    def __init__(self):
        super().__init__()
        self.net = nn.Sequential(nn.Linear(8, 5), nn.Tanh(), nn.Linear(5, 1), nn.Sigmoid())

    def forward(self, x):
        return self.net(x)


@pytest.mark.parametrize("bn", ["batch", "support", "running", "averages"])
@pytest.mark.parametrize(("side", "padding"), [(5, 1), (7, 1), (10, 0)])
def test_relating_is_running_on_all_pairs(bn, side, padding):
    torch.manual_seed(0)
    mode = "running" if bn == "averages" else bn
    whole = (
        RelationModule((4, side, side), padding=padding, bn=mode).double().train(bn != "averages")
    )
    for block in whole.blocks:
        nn.init.normal_(block.norm.weight)  # of both signs
        nn.init.normal_(block.norm.bias)
    split = copy.deepcopy(whole)
    classes, queries = torch.randn(2, 3, 4, side, side), torch.randn(2, 5, 4, side, side)
    sets = [t.double().requires_grad_() for t in (classes, queries)]
    given = [t.unsqueeze(1 + i).expand(2, 5, 3, 4, side, side) for i, t in enumerate(sets)]
    with statistics_from(2 * 3 if bn == "support" else None):
        scores = split.relate(*sets)
        expected = whole(torch.cat(given, 3).flatten(1, 2))
    torch.testing.assert_close(scores, expected, rtol=1e-10, atol=1e-12)
    ours = torch.autograd.grad(scores.square().sum(), [*sets, *split.parameters()])
    theirs = torch.autograd.grad(expected.square().sum(), [*sets, *whole.parameters()])
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-8, atol=1e-12)
    for a, b in zip(split.buffers(), whole.buffers(), strict=True):  # the averages have moved alike
        torch.testing.assert_close(a, b)


@pytest.mark.parametrize("shots", ["sum", "mean"])
def test_it_is_the_papers_formula_pair_by_pair(vectors, shots):
    ep, relation = episode(vectors), Pair().double()
    scores = RelationNet(nn.Identity(), relation, shots=shots)(ep)
    loss = 0.0
    for t in range(2):
        for q in range(ep.query_x.shape[1]):
            for n in range(3):
                members = ep.support_x[t, ep.support_y[t] == n]
                pooled = members.sum(0) if shots == "sum" else members.mean(0)
                # Eq. (1): the class on top of the query
                r = relation(torch.cat([pooled, ep.query_x[t, q]]).unsqueeze(0))[0, 0]
                assert scores[t, q, n].item() == pytest.approx(r.item(), abs=1e-12)
                loss += (r.item() - float(ep.query_y[t, q] == n)) ** 2  # Eq. (2)
    pairs = 2 * ep.query_x.shape[1] * 3
    learner = RelationNet(nn.Identity(), relation, shots=shots)
    assert learner.loss(ep).item() == pytest.approx(loss / pairs, abs=1e-12)


def test_sum_and_mean_differ_by_the_number_of_shots(vectors):
    one, two = episode(vectors, shots=1), episode(vectors, shots=2)
    relation = Pair().double()
    for ep, same in ((one, True), (two, False)):
        pair = [RelationNet(nn.Identity(), relation, shots=s)(ep) for s in ("sum", "mean")]
        assert torch.allclose(*pair) == same


def test_scores_lie_between_0_and_1_and_start_as_the_authors_code_does():
    learner = RelationNet()
    assert torch.equal(learner.relation.first.bias, torch.ones(8))
    conv = learner.encoder.blocks[1].conv.weight
    assert conv.std().item() == pytest.approx((2 / (9 * 64)) ** 0.5, rel=0.02)
    explicit = RelationNet(Conv4(layout="maps")).encoder.blocks[1].conv.weight
    assert explicit.std().item() == pytest.approx((2 / (9 * 64)) ** 0.5, rel=0.02)
    scores = learner(mm.tasks("glyphs", split="test").at([0]))
    assert 0 <= scores.min() and scores.max() <= 1


def test_a_relation_module_fits_the_encoder_it_is_given():
    encoder = Conv4(layout="maps", channels=3, size=84)
    learner = RelationNet(encoder)
    assert learner.relation.config["padding"] == 0  # miniImageNet's 19x19 maps
    assert learner.relation.first.in_features == 64 * 3 * 3


@pytest.mark.parametrize(
    "make, message",
    [
        (lambda: RelationNet(shots="max"), "shots='max'"),
        (lambda: RelationNet(nn.Identity()), "no relation module was given"),
        (lambda: RelationNet(Conv4()), "no relation module was given"),
        (lambda: RelationNet()(mm.tasks("sinusoids").at([0])), "regression targets"),
        (lambda: RelationModule((64, 4, 4), padding=0), "padding=0; use larger images"),
    ],
)
def test_bad_input_gets_a_sentence(make, message):
    with pytest.raises(MinimetaError, match=message):
        make()


def test_a_relation_module_for_other_maps_gets_a_sentence(images):
    net = RelationNet(Conv4(layout="maps", size=16, filters=4), RelationModule((8, 5, 5)))
    with pytest.raises(MinimetaError, match=r"RelationModule\(encoder.maps\)"):
        net(mm.tasks(images, ways=3, shots=1, queries=1).at([0]))


def test_a_relation_module_with_a_hook_runs_on_pairs():
    net = RelationNet(Conv4(layout="maps", size=28, filters=4))
    ep = mm.tasks("glyphs", ways=3, shots=1, queries=1).at([0])
    plain, seen = net(ep), []
    net.relation.blocks[0].conv.register_forward_hook(lambda *_: seen.append(1))
    assert torch.allclose(net(ep), plain, atol=1e-6) and seen
