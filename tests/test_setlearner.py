"""The set learner: symmetries, its two definitions written out, and what it can learn."""

import pytest
import torch
from torch import nn

import minimeta as mm
from minimeta import Conv4, Episode, MinimetaError
from minimeta.setlearner import SetLearner


def unequal(pool):
    """Shots of 3, 1 and 2."""
    ep = mm.tasks(pool, ways=3, shots=3, queries=2).at(range(2)).to(torch.float64)
    keep = torch.tensor([0, 1, 2, 3, 6, 8])
    return Episode(ep.support_x[:, keep], ep.support_y[:, keep], ep.query_x, ep.query_y)


def sinusoids():
    return mm.tasks("sinusoids", shots=5, queries=4).at(range(3)).to(torch.float64)


def learner_and_episode(kind, pool, width=8):
    if kind == "classes":
        return SetLearner(nn.Identity(), features=4, width=width).double(), unequal(pool)
    return SetLearner(nn.Identity(), features=1, outputs=1, width=width).double(), sinusoids()


KINDS = pytest.mark.parametrize("kind", ["classes", "targets"])


def test_class_scores_are_the_definition_written_out(vectors):
    learner, ep = learner_and_episode("classes", vectors)
    for t in range(2):
        h = learner.h(ep.support_x[t])
        r = torch.stack([h[ep.support_y[t] == n].mean(0) for n in range(3)])
        for q, x in enumerate(ep.query_x[t]):
            for n in range(3):
                score = learner.g(torch.cat([x, r[n], r.mean(0)])).squeeze()
                assert torch.allclose(learner(ep)[t, q, n], score, atol=1e-12)


def test_predictions_are_a_conditional_neural_process_written_out():
    learner, ep = learner_and_episode("targets", None)
    for t in range(3):
        r = (
            sum(learner.h(torch.cat([ep.support_x[t, i], ep.support_y[t, i]])) for i in range(5))
            / 5
        )
        for q, x in enumerate(ep.query_x[t]):
            assert torch.allclose(learner(ep)[t, q], learner.g(torch.cat([x, r])), atol=1e-12)


@KINDS
def test_the_order_of_the_support_set_does_not_matter(kind, vectors):
    learner, ep = learner_and_episode(kind, vectors)
    order = torch.randperm(ep.support_x.shape[1])
    mixed = Episode(ep.support_x[:, order], ep.support_y[:, order], ep.query_x, ep.query_y)
    assert torch.allclose(learner(mixed), learner(ep), atol=1e-12)


@KINDS
def test_the_whole_support_set_twice_is_the_support_set_once(kind, vectors):
    learner, ep = learner_and_episode(kind, vectors)
    twice = torch.cat([ep.support_x] * 2, 1), torch.cat([ep.support_y] * 2, 1)
    assert torch.allclose(learner(Episode(*twice, ep.query_x)), learner(ep), atol=1e-12)


@KINDS
def test_a_prediction_does_not_see_the_other_queries(kind, vectors):
    learner, ep = learner_and_episode(kind, vectors)
    alone = Episode(ep.support_x, ep.support_y, ep.query_x[:, 1:2])
    assert torch.allclose(learner(alone), learner(ep)[:, 1:2], atol=1e-12)


@KINDS
def test_every_support_example_counts(kind, vectors):
    learner, ep = learner_and_episode(
        kind, vectors, width=64
    )  # few units may all be dead somewhere
    x = ep.support_x.clone().requires_grad_()
    learner(Episode(x, ep.support_y, ep.query_x)).square().sum().backward()
    assert (x.grad.abs().sum(-1) > 0).all()


def test_renaming_the_classes_renames_the_scores(vectors):
    learner, ep = learner_and_episode("classes", vectors)
    new = torch.tensor([2, 0, 1])
    renamed = Episode(ep.support_x, new[ep.support_y], ep.query_x)
    assert torch.allclose(learner(renamed)[..., new], learner(ep), atol=1e-12)


@pytest.mark.parametrize("ways", [2, 5])
def test_one_learner_takes_any_number_of_classes(ways, vectors):
    learner = SetLearner(nn.Identity(), features=4)
    ep = mm.tasks(vectors, ways=ways, shots=2, queries=3).at([0])
    assert learner(ep).shape == (1, 3 * ways, ways)


def test_several_target_outputs_work():
    x, y = torch.randn(2, 5, 3), torch.randn(2, 5, 2)
    learner = SetLearner(nn.Identity(), features=3, outputs=2)
    assert learner(Episode(x, y, x[:, :4], y[:, :4])).shape == (2, 4, 2)


def test_it_learns_sinusoids():
    learner = SetLearner(nn.Identity(), features=1, outputs=1, width=64)
    test = mm.tasks("sinusoids", split="test", shots=10, queries=10)
    before = mm.meta_test(learner, test, episodes=100)
    train = mm.tasks("sinusoids", shots=10, queries=10)
    mm.meta_train(learner, train, steps=200, meta_batch=25, progress=False)
    after = mm.compare(mm.meta_test(learner, test, episodes=100), before)
    assert after.mean + after.ci95 < -0.2 * before.mean


def test_it_learns_to_compare_classes(vectors):
    learner = SetLearner(nn.Identity(), features=4, width=64)
    tasks = mm.tasks(vectors, ways=3, shots=2, queries=5)
    before = mm.meta_test(learner, tasks, episodes=100)
    mm.meta_train(learner, tasks, steps=120, meta_batch=8, lr=3e-3, progress=False)
    after = mm.compare(mm.meta_test(learner, tasks, episodes=100), before)
    assert after.mean - after.ci95 > 0.4


@pytest.mark.parametrize(
    "make, message",
    [
        (lambda: SetLearner(nn.Identity()), "no features was given and a Identity"),
        (lambda: SetLearner(nn.Identity(), features=0), "features=0"),
        (lambda: SetLearner(nn.Identity(), features=2, width=1.5), "width=1.5"),
        (lambda: SetLearner(nn.Identity(), features=2, outputs=-1), "outputs=-1"),
        (lambda: SetLearner(Conv4())(mm.tasks("sinusoids").at([0])), "1 target outputs.*outputs=1"),
        (
            lambda: SetLearner(nn.Flatten(), features=3, outputs=1)(mm.tasks("glyphs").at([0])),
            "has classes but .* outputs=None",
        ),
        (
            lambda: SetLearner(nn.Flatten(), features=3)(mm.tasks("glyphs").at([0])),
            "length 784 but .* features=784",
        ),
    ],
)
def test_bad_input_gets_a_sentence(make, message):
    with pytest.raises(MinimetaError, match=message):
        make()
