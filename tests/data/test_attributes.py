"""Attribute tasks: their law, the bound on squared distances with its proof step by step.

That a relation can be trained to pass the bound, and embeddings are not, chapter 10 asserts.
"""

import math

import pytest
import torch
from torch import nn

import minimeta as mm
from minimeta import MinimetaError
from minimeta.data import attributes
from minimeta.learner import class_sums
from minimeta.synthetic import AttributeTasks


def draw(tasks=200, count=16, shots=3, queries=4, **options):
    return AttributeTasks(attributes=count, shots=shots, queries=queries, **options).at(
        range(tasks)
    )


def folded(episode):
    """Agreement of every attribute with the labels, (tasks, examples, attributes), support and query."""
    sets = ((episode.support_x, episode.support_y), (episode.query_x, episode.query_y))
    return [x * (2 * y - 1).unsqueeze(-1) for x, y in sets]


def test_every_attribute_is_balanced_and_exactly_one_decides():
    ep = draw(count=64, shots=8, queries=8)
    for x in (ep.support_x, ep.query_x):
        assert (x.abs() == 1).all() and (x.sum(1) == 0).all()
    agreement = torch.cat(folded(ep), 1).sum(1).abs()  # 32 examples: one attribute agrees with all
    assert ((agreement == 32).sum(1) == 1).all()


def test_the_hidden_attribute_its_value_and_the_columns_are_uniform():
    ep = draw(tasks=8000, count=4, shots=3, queries=40)
    total = folded(ep)[1].sum(1)
    hidden = total.abs().argmax(1)
    counts = torch.bincount(hidden, minlength=4).double()
    assert ((counts - 2000) ** 2 / 2000).sum() < 17  # 3 degrees of freedom
    sign = total.gather(1, hidden.unsqueeze(1)).sign().mean()
    assert sign.abs() < 4 / 8000**0.5
    words = (ep.support_x > 0).long().mT @ 2 ** torch.arange(6)  # each column as a number
    counts = words.flatten().unique(return_counts=True)[1].double()
    expected = 8000 * 4 / 20
    assert len(counts) == math.comb(6, 3)
    assert ((counts - expected) ** 2 / expected).sum() < 50  # 19 degrees of freedom


def test_a_task_depends_on_seed_split_and_index_alone():
    tasks = AttributeTasks(attributes=5, shots=2, queries=1)
    both, second = tasks.at([4, 7], seed=1), tasks.at([7], seed=1)
    assert torch.equal(both.support_x[1:], second.support_x)
    assert torch.equal(both.query_y[1:], second.query_y)
    assert torch.equal(tasks.to("cpu").at([7], seed=1).support_x, second.support_x)
    test = AttributeTasks(attributes=64, shots=2, queries=1, split="test").at([7], seed=1)
    train = AttributeTasks(attributes=64, shots=2, queries=1).at([7], seed=1)
    assert not torch.equal(test.support_x, train.support_x)


def test_labels_come_in_any_order():
    assert len({tuple(y.tolist()) for y in draw(shots=3).support_y}) == math.comb(6, 3)


@pytest.mark.parametrize("embedding", ["raw", "random network"])
def test_nearest_mean_is_a_vote_whose_weights_are_blind_to_the_labels(embedding):
    # the first step of the proof
    f = nn.Identity() if embedding == "raw" else mm.MLP(16, 7).double()
    ep = draw(tasks=5).to(torch.float64)
    scores = mm.ProtoNet(f)(ep)
    z, q, shots = f(ep.support_x), f(ep.query_x), 3
    weights = 2 / shots * (q - z.mean(1, keepdim=True)) @ z.mT  # (T, R, S), no labels in it
    labels = (2 * ep.support_y - 1).double()
    vote = (weights @ labels.unsqueeze(-1)).squeeze(-1)
    assert torch.allclose(scores[..., 1] - scores[..., 0], vote, atol=1e-10)


@pytest.mark.parametrize("count, shots", [(40, 2), (100, 2), (60, 3)])
def test_no_weights_have_more_columns_on_their_side_than_the_bound(count, shots):
    # the second step: even weights chosen with all items in view, by search
    signs = folded(draw(tasks=40, count=count, shots=shots))[0]  # uniform balanced columns
    signs = signs * (torch.randint(2, (40, 1, count)) * 2 - 1)  # the query's values
    weights = torch.randn(40, 4000, 2 * shots)
    share = ((weights @ signs) > 0).float().mean(2).max(1).values.mean().item()
    assert 0.5 < share <= attributes.metric_bound(count, shots)


@pytest.mark.parametrize("count, shots", [(2, 3), (16, 1), (64, 5), (256, 7)])
def test_the_formula_for_raw_vectors_is_what_protonet_scores(count, shots):
    tasks = AttributeTasks(attributes=count, shots=shots, queries=5)
    result = mm.meta_test(mm.ProtoNet(nn.Identity()), tasks, episodes=1500)
    expected = attributes.nearest_mean_accuracy(count, shots)
    assert abs(result.mean - expected) < 4 * result.ci95 / 1.96


class Fitting(nn.Module):
    """The best guess: the majority among the attributes that agree with all support labels."""

    def forward(self, episode):
        agreement = folded(episode)[0].sum(1)  # (T, D)
        fits = agreement.sign() * (agreement.abs() == episode.support_x.shape[1])
        vote = (episode.query_x @ fits.unsqueeze(-1)).squeeze(-1)
        vote = vote + 0.1 * torch.randn(vote.shape).sign()  # a tie is a coin
        return torch.stack([-vote, vote], -1)


@pytest.mark.parametrize("count, shots", [(16, 3), (64, 5), (1024, 8)])
def test_the_formula_for_the_best_guess_is_what_it_scores(count, shots):
    tasks = AttributeTasks(attributes=count, shots=shots, queries=5)
    result = mm.meta_test(Fitting(), tasks, episodes=600)
    assert abs(result.mean - attributes.best_accuracy(count, shots)) < 4 * result.ci95 / 1.96


@pytest.mark.parametrize("count, shots", [(64, 5), (1024, 7), (300, 2)])
def test_a_fixed_metric_of_a_high_power_makes_the_best_guess(count, shots):
    # the bound is on squared distances alone
    ep = draw(tasks=300, count=count, shots=shots).to(torch.float64)
    power = math.ceil(math.log(count) / math.log(shots / (shots - 1)))
    means = [(ep.support_x * (ep.support_y == n)[..., None]).sum(1) / shots for n in (0, 1)]
    far, near = (((ep.query_x - m[:, None]).abs() ** power).sum(2) for m in means)
    agreement = folded(ep)[0].sum(1)
    fits = agreement.sign() * (agreement.abs() == 2 * shots)
    majority = (ep.query_x @ fits.unsqueeze(-1)).squeeze(-1)
    clear = majority != 0
    assert clear.any() and torch.equal((far - near).sign()[clear], majority.sign()[clear])


def test_when_nearest_mean_is_the_best_guess():
    best, nearest = attributes.best_accuracy, attributes.nearest_mean_accuracy
    for count, shots in [(1, 3), (2, 1), (2, 6), (9, 1), (300, 1), (9, 2), (300, 2)]:
        assert nearest(count, shots) == pytest.approx(best(count, shots), abs=1e-9)
    for count, shots in [(3, 4), (64, 3), (64, 7)]:
        assert nearest(count, shots) < best(count, shots) - 0.005


def test_the_three_accuracies_are_in_order_and_the_bound_falls_to_chance():
    for count in (16, 64, 256, 1024):
        for shots in (1, 2, 4, 8):
            nearest = attributes.nearest_mean_accuracy(count, shots)
            assert nearest <= attributes.best_accuracy(count, shots) + 1e-12
            assert nearest <= attributes.metric_bound(count, shots)
    # K = log2(D): the bound goes to 1/2, the best guess to 1
    path = [(2**k, k) for k in (8, 12, 16)]
    bounds = [attributes.metric_bound(*at) for at in path]
    assert bounds == sorted(bounds, reverse=True) and bounds[-1] < 0.55
    bests = [attributes.best_accuracy(*at) for at in path]
    assert bests == sorted(bests) and bests[-1] > 0.999


@pytest.mark.parametrize("word", ["attributes", "shots", "queries"])
def test_bad_input_gets_a_sentence(word):
    with pytest.raises(MinimetaError, match=f"{word}=0"):
        AttributeTasks(**{word: 0})


def test_class_sums_show_the_hidden_attribute():
    # what the relation module can look for: at K or -K in both classes
    ep = draw(shots=3)
    sums = class_sums(ep.support_x, ep.support_y, 2)
    hidden = torch.cat(folded(ep), 1).sum(1).abs().argmax(1)
    at = sums.gather(2, hidden.view(-1, 1, 1).expand(-1, 2, 1)).squeeze(-1)
    assert (at.abs() == 3).all() and (at.sum(1) == 0).all()
