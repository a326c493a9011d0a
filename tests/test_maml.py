"""MAML against finite differences, its formulas, and other libraries' own code."""

import copy

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.func import functional_call

import minimeta as mm
from minimeta import MAML, Conv4, MinimetaError
from tests import oracles
from tests.conftest import make_pool


def network(kind):
    if kind == "mlp":
        return nn.Sequential(nn.Flatten(), mm.MLP(256, 3, hidden=(10, 10))).double()
    return Conv4(ways=3, filters=4, size=16, layout=kind).double()


def tiny_episode(tasks=2, queries=2, dtype=torch.float64):
    pool = make_pool(12, 8, (1, 16, 16))
    return mm.tasks(pool, ways=3, shots=2, queries=queries).at(range(tasks)).to(dtype)


def sinusoid_episode(tasks=3):
    return mm.tasks("sinusoids", shots=5, queries=4).at(range(tasks)).to(torch.float64)


def gradient(learner, episode):
    learner.zero_grad()
    learner.loss(episode).backward()
    return torch.cat([p.grad.flatten() for p in learner.parameters()])


def directional(learner, episode, direction, h):
    """Central difference of the outer loss along a direction in parameter space."""
    start = nn.utils.parameters_to_vector(learner.parameters()).detach()
    values = []
    for sign in (1, -1):
        nn.utils.vector_to_parameters(start + sign * h * direction, learner.parameters())
        values.append(learner.loss(episode).item())
    nn.utils.vector_to_parameters(start, learner.parameters())
    return (values[0] - values[1]) / (2 * h)


@pytest.mark.parametrize("steps", [1, 2, 5])
@pytest.mark.parametrize("kind", ["mlp", "strided", "pool", "sinusoid"])
def test_meta_gradients_equal_finite_differences(kind, steps):
    if kind == "sinusoid":
        learner, episode = (
            MAML(mm.MLP(1, 1).double(), inner_lr=0.05, inner_steps=steps),
            sinusoid_episode(),
        )
    else:
        learner, episode = MAML(network(kind), inner_lr=0.2, inner_steps=steps), tiny_episode()
    exact = gradient(learner, episode)
    g = torch.Generator().manual_seed(3)
    for direction in (
        exact / exact.norm(),
        torch.randn(exact.shape, generator=g, dtype=torch.float64),
    ):
        direction = direction / direction.norm()
        numeric = directional(learner, episode, direction, h=1e-7)
        assert (exact @ direction).item() == pytest.approx(numeric, rel=1e-6, abs=1e-7)


@pytest.mark.parametrize("kind", ["mlp", "strided"])
def test_first_order_is_the_stop_gradient_formula_and_differs_from_maml(kind):
    net, episode, lr, steps = network(kind), tiny_episode(tasks=1), 0.3, 3
    theta = {n: p.detach() for n, p in net.named_parameters()}
    for _ in range(steps):  # adapt without any graph, then differentiate at the adapted weights
        leaves = {n: p.clone().requires_grad_() for n, p in theta.items()}
        loss = F.cross_entropy(
            functional_call(net, leaves, (episode.support_x[0],)), episode.support_y[0]
        )
        grads = torch.autograd.grad(loss, list(leaves.values()))
        theta = {n: p - lr * g for (n, p), g in zip(theta.items(), grads, strict=True)}
    leaves = {n: p.clone().requires_grad_() for n, p in theta.items()}
    loss = F.cross_entropy(functional_call(net, leaves, (episode.query_x[0],)), episode.query_y[0])
    expected = torch.cat([g.flatten() for g in torch.autograd.grad(loss, list(leaves.values()))])

    first = gradient(MAML(net, inner_lr=lr, inner_steps=steps, first_order=True), episode)
    second = gradient(MAML(net, inner_lr=lr, inner_steps=steps), episode)
    assert torch.allclose(first, expected, atol=1e-12)
    assert (first - second).norm() > 0.01 * second.norm()


@pytest.mark.parametrize("peer", ["learn2learn", "higher"])
@pytest.mark.parametrize("first_order", [False, True])
@pytest.mark.parametrize("steps", [1, 5])
@pytest.mark.parametrize("kind", ["mlp", "strided", "pool"])
def test_other_libraries_own_code_agrees(peer, kind, steps, first_order):
    net, episode = network(kind), tiny_episode()
    theirs_loss, theirs = oracles.maml(peer, copy.deepcopy(net), episode, 0.2, steps, first_order)
    learner = MAML(net, inner_lr=0.2, inner_steps=steps, first_order=first_order)
    assert learner.loss(episode).item() == pytest.approx(theirs_loss, abs=1e-9)
    ours = gradient(learner, episode)
    assert (ours - theirs).norm() < 1e-9 * theirs.norm()


def test_zero_steps_is_the_plain_network():
    net, episode = network("strided"), tiny_episode()
    plain = torch.stack([net(x) for x in episode.query_x])
    assert torch.allclose(MAML(net, inner_lr=0.4, inner_steps=0)(episode), plain, atol=1e-12)


@pytest.mark.parametrize("first_order", [False, True])
@pytest.mark.parametrize("kind", ["mlp", "strided"])
def test_loop_vectorised_chunked_and_sharded_agree(kind, first_order):
    episode = tiny_episode(tasks=5)
    learner = MAML(network(kind), inner_lr=0.3, inner_steps=2, first_order=first_order)
    whole_out, whole = learner(episode), gradient(learner, episode)
    for size in (1, 2, 4):
        pieces = list(episode.split(size))
        assert torch.allclose(torch.cat([learner(p) for p in pieces]), whole_out, atol=1e-10)
        weighted = sum(len(p) / 5 * gradient(learner, p) for p in pieces)
        assert torch.allclose(weighted, whole, atol=1e-10)


def test_vectorised_convolutions_agree_with_the_loop(monkeypatch):
    # on a CPU convolutions run in a loop because it is faster; on a GPU they are vectorised
    episode, learner = tiny_episode(tasks=3), MAML(network("pool"), inner_lr=0.3, inner_steps=2)
    loop_out, loop = learner(episode), gradient(learner, episode)
    for module in ("minimeta.adapting", "minimeta.adapt", "minimeta.fast.plan"):
        monkeypatch.setattr(f"{module}.vectorises", lambda *_: True)
    monkeypatch.setattr("minimeta.fast.Conv4Plan.fits", lambda *_: False)
    assert torch.allclose(learner(episode), loop_out, atol=1e-10)
    assert torch.allclose(gradient(learner, episode), loop, atol=1e-10)


@pytest.mark.parametrize("grad", [True, False])
def test_adaptation_works_with_and_without_outer_gradients(grad):
    learner, episode = MAML(network("strided"), inner_lr=0.3, inner_steps=2), tiny_episode()
    expected = learner(episode).detach()
    with torch.set_grad_enabled(grad):
        out = learner(episode)
    assert out.requires_grad == grad and torch.allclose(out, expected, atol=1e-12)


def test_evaluation_may_take_more_steps_than_training():
    net, episode = network("mlp"), tiny_episode()
    both = MAML(net, inner_lr=0.3, inner_steps=1, test_inner_steps=4)
    four = MAML(net, inner_lr=0.3, inner_steps=4)
    one = MAML(net, inner_lr=0.3, inner_steps=1)
    assert torch.equal(both(episode), one(episode))
    assert torch.equal(both.eval()(episode), four.eval()(episode))


def test_fewer_classes_than_outputs_use_the_first_ones():
    wide, episode = mm.MLP(256, 5, hidden=()).double(), tiny_episode()
    narrow = mm.MLP(256, 3, hidden=()).double()
    narrow.load_state_dict({k: v[:3] for k, v in wide.state_dict().items()})
    a = MAML(nn.Sequential(nn.Flatten(), wide), inner_lr=0.3, inner_steps=2)(episode)
    b = MAML(nn.Sequential(nn.Flatten(), narrow), inner_lr=0.3, inner_steps=2)(episode)
    assert torch.allclose(a, b, atol=1e-12)


def test_a_rate_for_the_authors_summed_loss_is_ways_times_ours():
    # their inner loss sums over the N*K support examples and divides by K: N times the mean
    net, episode, ways, shots = network("mlp"), tiny_episode(tasks=1), 3, 2
    theta = dict(net.named_parameters())
    loss = (
        F.cross_entropy(
            functional_call(net, theta, (episode.support_x[0],)),
            episode.support_y[0],
            reduction="sum",
        )
        / shots
    )
    grads = torch.autograd.grad(loss, list(theta.values()))
    adapted = MAML(net, inner_lr=0.1 * ways, inner_steps=1).adapt(episode)
    for (name, p), g in zip(theta.items(), grads, strict=True):
        assert torch.allclose(adapted[name][0], p - 0.1 * g, atol=1e-12)


def test_frozen_and_unused_parameters_are_left_alone():
    net = nn.Sequential(nn.Flatten(), mm.MLP(256, 3, hidden=(6,))).double()
    net.unused = nn.Parameter(torch.zeros(3, dtype=torch.float64))
    net[1].layers[0].weight.requires_grad_(False)
    learner, episode = MAML(net, inner_lr=0.3, inner_steps=2), tiny_episode()
    adapted = learner.adapt(episode)
    assert "1.layers.0.weight" not in adapted
    assert torch.equal(adapted["unused"], torch.zeros(2, 3, dtype=torch.float64))
    learner.loss(episode).backward()
    assert net[1].layers[0].weight.grad is None and net[1].layers[1].weight.grad.norm() > 0


@pytest.mark.parametrize(
    "make, message",
    [
        (lambda: MAML(Conv4(ways=5), inner_lr=-1), "inner_lr=-1"),
        (lambda: MAML(Conv4(ways=5), inner_lr=float("nan")), "inner_lr=nan"),
        (lambda: MAML(Conv4(ways=5), inner_lr=0.1, inner_steps=-1), "inner_steps=-1"),
        (lambda: MAML(Conv4(ways=5), inner_lr=0.1, inner_steps=1.5), "inner_steps=1.5"),
        (lambda: MAML(Conv4(ways=5), inner_lr="0.1"), "inner_lr='0.1'"),
        (lambda: MAML(Conv4(), inner_lr=0.1), r"without a head.*Conv4\(ways=5\)"),
        (
            lambda: MAML(nn.Flatten(), inner_lr=0.1)(tiny_episode(dtype=torch.float32)),
            "nothing for MAML to adapt",
        ),
        (lambda: MAML(Conv4(ways=5, bn="running"), inner_lr=0.1), "bn='running'"),
        (
            lambda: MAML(nn.Sequential(nn.Flatten(), nn.Linear(256, 2)), inner_lr=0.1)(
                tiny_episode(dtype=torch.float32)
            ),
            "3 classes but MAML's network has 2 outputs",
        ),
    ],
)
def test_bad_input_gets_a_sentence(make, message):
    with pytest.raises(MinimetaError, match=message):
        make()
