"""Laws that every learner keeps."""

import itertools

import pytest
import torch
from torch import nn

import minimeta as mm
from minimeta import (
    MAML,
    R2D2,
    Conv4,
    Episode,
    MatchingNet,
    MinimetaError,
    ProtoMAML,
    ProtoNet,
    RelationNet,
    Reptile,
    SetLearner,
)
from minimeta.learner import class_sums, task_losses
from tests.conftest import make_pool


def learners(bn="batch"):
    small = dict(filters=4, size=16, bn=bn)
    made = {
        "MAML": MAML(Conv4(ways=3, **small), inner_lr=0.3, inner_steps=2),
        "FOMAML": MAML(Conv4(ways=3, **small), inner_lr=0.3, inner_steps=2, first_order=True),
        "Reptile": Reptile(Conv4(ways=3, **small), inner_lr=0.3, inner_steps=2),
        "ProtoMAML": ProtoMAML(Conv4(**small), inner_lr=0.1, inner_steps=2),
        "MatchingNet": MatchingNet(Conv4(**small), scale=5.0),
        "SetLearner": SetLearner(Conv4(**small), width=16),
        "R2D2": R2D2(Conv4(**small)),
        "ProtoNet": ProtoNet(Conv4(**small)),
        "ProtoNet, two passes": ProtoNet(Conv4(**small), shared_pass=False),
        "RelationNet": RelationNet(Conv4(layout="maps", **(small | dict(size=24)))),
        "RelationNet, one pass": RelationNet(
            Conv4(layout="maps", **(small | dict(size=24))), shared_pass=True
        ),
    }

    # minimeta's layer inside somebody's own network, which knows nothing of support sets
    def own(outputs):
        return nn.Sequential(
            nn.Flatten(), nn.Linear(256, 8), mm.BatchNorm(8, bn), nn.Linear(8, outputs)
        )

    made["MAML, own network"] = MAML(own(3), inner_lr=0.3, inner_steps=2)
    made["R2D2, own network"] = R2D2(own(5))
    made["ProtoMAML, own network"] = ProtoMAML(own(5), inner_lr=0.1)
    made["ProtoNet, own network"] = ProtoNet(own(5))
    return {name: learner.double() for name, learner in made.items()}


NAMES = list(learners())
BATCH, INDUCTIVE = "batch", "support"


def draw(name, tasks=3, shots=2, queries=3):
    side = 24 if name.startswith("Relation") else 16
    pool = make_pool(12, 8, (1, side, side))
    return mm.tasks(pool, ways=3, shots=shots, queries=queries).at(range(tasks)).to(torch.float64)


@pytest.mark.parametrize("bn", [BATCH, INDUCTIVE])
@pytest.mark.parametrize("name", NAMES)
def test_loop_chunks_and_all_at_once_agree(name, bn):
    learner, episode = learners(bn)[name], draw(name)
    whole = learner(episode)
    for size in (1, 2):
        pieces = torch.cat([learner(piece) for piece in episode.split(size)])
        assert torch.allclose(pieces, whole, atol=1e-10)
    losses = [learner.loss(piece) for piece in episode.split(1)]
    assert learner.loss(episode).item() == pytest.approx(sum(losses).item() / 3, abs=1e-10)


@pytest.mark.parametrize("bn", [BATCH, INDUCTIVE])
@pytest.mark.parametrize("name", NAMES)
def test_permuting_queries_permutes_predictions(name, bn):
    learner, ep = learners(bn)[name], draw(name)
    order = torch.randperm(ep.query_x.shape[1])
    mixed = Episode(ep.support_x, ep.support_y, ep.query_x[:, order], ep.query_y[:, order])
    assert torch.allclose(learner(mixed), learner(ep)[:, order], atol=1e-10)


@pytest.mark.parametrize("bn", [BATCH, INDUCTIVE])
@pytest.mark.parametrize("name", NAMES)
def test_the_order_of_the_support_set_does_not_matter(name, bn):
    learner, ep = learners(bn)[name], draw(name)
    order = torch.randperm(ep.support_x.shape[1])
    mixed = Episode(ep.support_x[:, order], ep.support_y[:, order], ep.query_x, ep.query_y)
    assert torch.allclose(learner(mixed), learner(ep), atol=1e-10)


@pytest.mark.parametrize("name", NAMES)
def test_inductive_predictions_do_not_see_the_other_queries_and_transductive_ones_do(name):
    ep = draw(name)
    alone = Episode(ep.support_x, ep.support_y, ep.query_x[:, :1], ep.query_y[:, :1])
    other = ep.query_x.clone()
    other[:, 1:] = other[:, 1:].flip(1) * 0.3
    changed = Episode(ep.support_x, ep.support_y, other, ep.query_y)
    inductive, transductive = learners(INDUCTIVE)[name], learners(BATCH)[name]
    for episode in (alone, changed):
        assert torch.allclose(inductive(episode)[:, :1], inductive(ep)[:, :1], atol=1e-10)
        assert (transductive(episode)[:, :1] - transductive(ep)[:, :1]).abs().max() > 1e-6


def test_running_statistics_are_inductive_in_evaluation():
    learner, ep = ProtoNet(Conv4(filters=4, size=16, bn="running")).double(), draw("ProtoNet")
    learner.loss(ep)  # moves the averages
    learner.eval()
    alone = Episode(ep.support_x, ep.support_y, ep.query_x[:, :1], ep.query_y[:, :1])
    assert torch.allclose(learner(alone), learner(ep)[:, :1], atol=1e-10)


@pytest.mark.parametrize("name", NAMES)
def test_query_labels_are_never_looked_at(name):
    learner, ep = learners()[name], draw(name)
    unknown = Episode(ep.support_x, ep.support_y, ep.query_x)
    assert torch.equal(learner(unknown), learner(ep))
    with pytest.raises(MinimetaError, match="no query_y"):
        learner.loss(unknown)


def relabelled(ep, permutation):
    table = torch.tensor(permutation)
    return Episode(ep.support_x, table[ep.support_y], ep.query_x, table[ep.query_y])


@pytest.mark.parametrize("name", NAMES)
def test_another_type_than_the_weights_is_refused(name):
    learner, ep = learners()[name], draw(name)
    with pytest.raises(MinimetaError, match=r"weights are torch.float64 .* examples torch.float32"):
        learner(ep.to(torch.float32))


@pytest.mark.parametrize(
    "name", [n for n in NAMES if not n.startswith(("MAML", "FOMAML", "Reptile"))]
)
def test_relabelling_the_classes_relabels_the_scores_of_metric_learners(name):
    learner, ep = learners()[name], draw(name)
    permutation = [2, 0, 1]
    out = learner(relabelled(ep, permutation))
    assert torch.allclose(out[..., permutation], learner(ep), atol=1e-10)


def test_without_inner_steps_maml_is_at_chance_over_all_label_assignments():
    # no label leaks: averaged over the N! assignments the accuracy is 1/N exactly
    learner, ep = (
        MAML(Conv4(ways=3, filters=4, size=16).double(), inner_lr=0.3, inner_steps=0),
        draw("MAML"),
    )
    right = 0.0
    for permutation in itertools.permutations(range(3)):
        ep_ = relabelled(ep, permutation)
        right += float((learner(ep_).argmax(-1) == ep_.query_y).double().mean())
    assert right / 6 == pytest.approx(1 / 3, abs=1e-12)


@pytest.mark.parametrize("name", NAMES)
def test_unequal_shots_are_welcome(name):
    learner, ep = learners()[name], draw(name, shots=3)
    keep = torch.tensor([0, 1, 2, 3, 6, 8])  # 3, 1 and 2 shots
    fewer = Episode(ep.support_x[:, keep], ep.support_y[:, keep], ep.query_x, ep.query_y)
    assert torch.bincount(fewer.support_y[0]).tolist() == [3, 1, 2]
    learner.loss(fewer).backward()
    assert all(torch.isfinite(p.grad).all() for p in learner.parameters())


def test_losses_are_means_over_tasks_and_queries():
    scores = torch.randn(2, 6, 3)
    labels = torch.randint(3, (2, 6))
    expected = nn.functional.cross_entropy(scores.flatten(0, 1), labels.flatten())
    assert torch.allclose(task_losses(scores, labels).mean(), expected)
    targets = torch.randn(2, 6, 3)
    assert torch.allclose(
        task_losses(scores, targets).mean(), nn.functional.mse_loss(scores, targets)
    )


def test_class_sums_equal_the_loop():
    values, labels = torch.randn(2, 5, 3, 2), torch.tensor([[0, 2, 1, 2, 2], [1, 1, 0, 2, 0]])
    sums = class_sums(values, labels, 3)
    for t in range(2):
        for n in range(3):
            assert torch.allclose(sums[t, n], values[t, labels[t] == n].sum(0))


@pytest.mark.parametrize("bad", [mm.Conv4, len, None, "conv4"])
@pytest.mark.parametrize(
    "make",
    [
        mm.ProtoNet, mm.MatchingNet, mm.R2D2, mm.LinearHead, mm.CosineHead, mm.SimpleShot,
        lambda n: mm.MAML(n, inner_lr=0.1), lambda n: mm.MAMLPlusPlus(n, inner_lr=0.1),
        lambda n: mm.ProtoMAML(n, inner_lr=0.1), lambda n: mm.Reptile(n, inner_lr=0.1),
        lambda n: mm.ImplicitMAML(n, inner_lr=0.1, penalty=1.0),
        lambda n: mm.FromScratch(n, steps=1, lr=0.1),
    ],
)  # fmt: skip
def test_a_network_that_is_no_module_is_refused_in_a_sentence(make, bad):
    with pytest.raises(mm.MinimetaError, match="was given as the network; it is an nn.Module"):
        make(bad)(mm.tasks("glyphs", ways=5, shots=1).at([0]))


@pytest.mark.parametrize("name", NAMES)
def test_inference_mode_predicts_as_no_grad_does(name):
    learner = learners()[name].eval()
    side = 24 if "Relation" in name else 16
    pool = make_pool(6, 6, (1, side, side))
    draw = mm.tasks(pool, ways=3, shots=1, queries=2)
    with torch.inference_mode():
        fast = learner(draw.at([0, 1]).to(torch.float64))
    with torch.no_grad():
        assert torch.equal(fast, learner(draw.at([0, 1]).to(torch.float64)))
