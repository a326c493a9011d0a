"""Reptile against its formula, closed forms on quadratics, and joint training."""

import copy

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.func import functional_call

import minimeta as mm
from minimeta import MAML, Conv4, Episode, MinimetaError
from minimeta.reptile import Reptile
from tests.conftest import make_pool


def images(tasks=2):
    pool = make_pool(12, 8, (1, 16, 16))
    return mm.tasks(pool, ways=3, shots=2, queries=2).at(range(tasks)).to(torch.float64)


def network(kind):
    if kind == "mlp":
        return nn.Sequential(nn.Flatten(), mm.MLP(256, 3, hidden=(10,))).double()
    return Conv4(ways=3, filters=4, size=16, layout="strided").double()


def gradient(learner, episode):
    learner.zero_grad()
    learner.loss(episode).backward()
    return torch.cat([p.grad.flatten() for p in learner.parameters()])


def trained(net, x, y, lr, steps):
    """Train a copy of the network on one set by plain torch, and return its parameters."""
    net = copy.deepcopy(net)
    optimizer = torch.optim.SGD(net.parameters(), lr=lr)
    for _ in range(steps):
        optimizer.zero_grad()
        F.cross_entropy(net(x), y).backward()
        optimizer.step()
    return nn.utils.parameters_to_vector(net.parameters()).detach()


@pytest.mark.parametrize("support_only", [False, True])
@pytest.mark.parametrize("kind", ["mlp", "strided"])
def test_the_gradient_is_the_start_minus_what_training_makes_of_it(kind, support_only):
    net, ep = network(kind), images(tasks=3)
    learner = Reptile(net, inner_lr=0.3, inner_steps=3, support_only=support_only)
    ends = []
    for t in range(3):
        x, y = ep.support_x[t], ep.support_y[t]
        if not support_only:
            x, y = torch.cat([x, ep.query_x[t]]), torch.cat([y, ep.query_y[t]])
        ends.append(trained(net, x, y, lr=0.3, steps=3))
    start = nn.utils.parameters_to_vector(net.parameters()).detach()
    ends = torch.stack(ends)
    assert torch.allclose(gradient(learner, ep), start - ends.mean(0), atol=1e-13)
    half = (start - ends).square().sum(1).mean() / 2
    assert learner.loss(ep).item() == pytest.approx(half.item(), rel=1e-12)


def test_one_step_is_joint_training():
    net, ep = network("mlp"), images()
    joint = sum(
        F.cross_entropy(
            net(torch.cat([ep.support_x[t], ep.query_x[t]])),
            torch.cat([ep.support_y[t], ep.query_y[t]]),
        )
        for t in range(2)
    )
    slope = torch.cat([g.flatten() for g in torch.autograd.grad(joint / 2, list(net.parameters()))])
    one = gradient(Reptile(net, inner_lr=0.3, inner_steps=1), ep)
    many = gradient(Reptile(net, inner_lr=0.3, inner_steps=5), ep)
    assert torch.allclose(one, 0.3 * slope, atol=1e-13)
    assert F.cosine_similarity(many, slope, dim=0) < 0.999  # more steps go another way


def quadratics(a, c):
    """Tasks with loss a/2 (w - c)^2 for the network w·x: one example x = sqrt(a/2), y = x·c."""
    x = (a / 2).sqrt().view(-1, 1, 1)
    y = x * c.view(-1, 1, 1)
    return Episode(x, y, x, y)


@pytest.mark.parametrize("steps", [1, 2, 5])
def test_quadratics_are_weighed_as_the_closed_form_says(steps):
    a = torch.tensor([0.5, 1.0, 2.0, 4.0], dtype=torch.float64)
    c = torch.tensor([-3.0, 0.0, 2.0, 5.0], dtype=torch.float64)
    learner = Reptile(nn.Linear(1, 1, bias=False).double(), inner_lr=0.24, inner_steps=steps)
    weights = 1 - (1 - 0.24 * a) ** steps
    w = learner.network.weight.detach().squeeze()
    expected = (weights * (w - c)).mean()
    assert gradient(learner, quadratics(a, c)).item() == pytest.approx(expected.item(), abs=1e-13)
    best = (weights * c).sum() / weights.sum()
    if steps == 5:
        assert best.item() == pytest.approx(1.73, abs=0.005)  # the book's number
    learner.network.weight.data.fill_(best)
    assert abs(gradient(learner, quadratics(a, c)).item()) < 1e-13


@pytest.mark.parametrize("kind", ["mlp", "strided"])
def test_loop_chunks_and_all_at_once_agree(kind):
    ep, learner = images(tasks=3), Reptile(network(kind), inner_lr=0.3, inner_steps=2)
    whole = gradient(learner, ep)
    pieces = sum(len(p) / 3 * gradient(learner, p) for p in ep.split(2))
    assert torch.allclose(pieces, whole, atol=1e-12)


def test_it_predicts_as_maml_does_from_the_same_start():
    net, ep = network("strided"), images()
    reptile = Reptile(net, inner_lr=0.3, inner_steps=2, test_inner_steps=4)
    assert torch.equal(reptile(ep), MAML(net, inner_lr=0.3, inner_steps=2)(ep))
    maml = MAML(net, inner_lr=0.3, inner_steps=4)
    assert torch.allclose(reptile.eval()(ep), maml(ep), atol=1e-12)


def test_the_query_labels_are_needed_unless_training_is_on_the_support_set():
    net, ep = network("mlp"), images()
    unknown = Episode(ep.support_x, ep.support_y, ep.query_x)
    with pytest.raises(MinimetaError, match="no query_y"):
        Reptile(net, inner_lr=0.3).loss(unknown)
    alone = Reptile(net, inner_lr=0.3, support_only=True)
    assert torch.equal(alone.loss(unknown), alone.loss(ep))


def test_frozen_parameters_stay_and_the_graph_holds_no_inner_loop():
    net, ep = network("mlp"), images()
    net[1].layers[0].weight.requires_grad_(False)
    learner = Reptile(net, inner_lr=0.3, inner_steps=2)
    learner.loss(ep).backward()
    assert net[1].layers[0].weight.grad is None and net[1].layers[1].weight.grad.norm() > 0
    adapted = functional_call(
        net, {n: p[0] for n, p in learner.adapt(ep).items()}, (ep.query_x[0],)
    )
    assert torch.allclose(learner(ep)[0], adapted, atol=1e-12)


def test_training_on_sinusoids_helps():
    learner = Reptile(mm.MLP(1, 1), inner_lr=0.02, inner_steps=5, test_inner_steps=10)
    test = mm.tasks("sinusoids", split="test", shots=10, queries=10)
    before = mm.meta_test(learner, test, episodes=100)
    train = mm.tasks("sinusoids", shots=10, queries=10)
    outer = torch.optim.SGD(learner.parameters(), lr=1.0)  # epsilon: the paper's own outer step
    mm.meta_train(learner, train, steps=100, meta_batch=10, optimizer=outer, progress=False)
    after = mm.compare(mm.meta_test(learner, test, episodes=100), before)
    assert after.mean + after.ci95 < -0.3 * before.mean


@pytest.mark.parametrize(
    "make, message",
    [
        (lambda: Reptile(Conv4(ways=5), inner_lr=0.1, inner_steps=0), "inner_steps=0"),
        (lambda: Reptile(Conv4(ways=5), inner_lr=-1), "inner_lr=-1"),
        (lambda: Reptile(Conv4(), inner_lr=0.1), r"without a head.*Conv4\(ways=5\)"),
        (lambda: Reptile(Conv4(ways=5, bn="running"), inner_lr=0.1), "bn='running'"),
    ],
)
def test_bad_input_gets_a_sentence(make, message):
    with pytest.raises(MinimetaError, match=message):
        make()
