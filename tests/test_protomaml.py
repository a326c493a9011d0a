"""ProtoMAML against ProtoNet, its formula task by task, and finite differences."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.func import functional_call

import minimeta as mm
from minimeta import Conv4, Episode, MinimetaError, ProtoNet
from minimeta.protomaml import ProtoMAML
from tests.conftest import make_pool


def encoder(kind):
    if kind == "mlp":
        return nn.Sequential(nn.Flatten(), nn.Linear(256, 6), nn.Tanh(), nn.Linear(6, 4)).double()
    return Conv4(filters=4, size=16, layout=kind).double()


def tiny(tasks=2, ways=3, shots=2, queries=2):
    source = mm.tasks(make_pool(12, 8, (1, 16, 16)), ways=ways, shots=shots, queries=queries)
    return source.at(range(tasks)).to(torch.float64)


def unequal():
    """Shots of 3, 1 and 2."""
    ep, keep = tiny(shots=3), torch.tensor([0, 1, 2, 3, 6, 8])
    return Episode(ep.support_x[:, keep], ep.support_y[:, keep], ep.query_x, ep.query_y)


def gradient(learner, ep):
    learner.zero_grad()
    learner.loss(ep).backward()
    return torch.cat([p.grad.flatten() for p in learner.parameters()])


def by_hand(net, ep, lr, steps, first_order):
    """Loss and meta-gradient, one task and one line of the algorithm at a time."""
    theta, total = dict(net.named_parameters()), 0.0
    for t in range(len(ep)):
        sx, sy, qx, qy = ep.support_x[t], ep.support_y[t], ep.query_x[t], ep.query_y[t]
        z = net(sx)
        c = torch.stack([z[sy == n].mean(0) for n in range(ep.ways)])
        w, b = 2 * c, -(c**2).sum(1)
        phi = {
            n: p + 0 for n, p in theta.items()
        }  # + 0: parameters of their own for the inner gradient
        for _ in range(steps):
            loss = F.cross_entropy(functional_call(net, phi, (sx,)) @ w.T + b, sy)
            *g, gw, gb = torch.autograd.grad(loss, [*phi.values(), w, b], create_graph=True)
            if first_order:
                g, gw, gb = [x.detach() for x in g], gw.detach(), gb.detach()
            phi = {n: p - lr * d for (n, p), d in zip(phi.items(), g, strict=True)}
            w, b = w - lr * gw, b - lr * gb
        total = total + F.cross_entropy(functional_call(net, phi, (qx,)) @ w.T + b, qy) / len(ep)
    grads = torch.autograd.grad(total, list(theta.values()))
    return total.item(), torch.cat([g.flatten() for g in grads])


@pytest.mark.parametrize("first_order", [False, True])
@pytest.mark.parametrize("steps", [1, 3])
@pytest.mark.parametrize("kind", ["mlp", "strided", "pool"])
def test_it_is_the_algorithm_written_out(kind, steps, first_order):
    net, ep = encoder(kind), unequal()
    learner = ProtoMAML(net, inner_lr=0.05, inner_steps=steps, first_order=first_order)
    loss, expected = by_hand(net, ep, 0.05, steps, first_order)
    assert learner.loss(ep).item() == pytest.approx(loss, abs=1e-10)
    assert (gradient(learner, ep) - expected).norm() < 1e-9 * expected.norm()


@pytest.mark.parametrize("steps", [1, 2, 5])
@pytest.mark.parametrize("kind", ["mlp", "strided"])
def test_meta_gradients_equal_finite_differences_and_first_order_does_not(kind, steps):
    net, ep, h = encoder(kind), tiny(), 1e-6
    learner = ProtoMAML(net, inner_lr=0.1, inner_steps=steps)
    exact = gradient(learner, ep)
    direction = exact / exact.norm()
    start = nn.utils.parameters_to_vector(net.parameters()).detach()
    values = []
    for sign in (1, -1):
        nn.utils.vector_to_parameters(start + sign * h * direction, net.parameters())
        values.append(learner.loss(ep).item())
    nn.utils.vector_to_parameters(start, net.parameters())
    numeric = (values[0] - values[1]) / (2 * h)
    assert (exact @ direction).item() == pytest.approx(numeric, rel=1e-6)
    first = gradient(ProtoMAML(net, inner_lr=0.1, inner_steps=steps, first_order=True), ep)
    assert (first - exact).norm() > 0.01 * exact.norm()


@pytest.mark.parametrize("make", [tiny, unequal])
def test_without_inner_steps_it_is_protonet(make):
    net, ep = encoder("strided"), make()
    proto = ProtoNet(net, shared_pass=False)(ep)
    scores = ProtoMAML(net, inner_lr=0.1, inner_steps=0)(ep)
    assert torch.allclose(scores.softmax(-1), proto.softmax(-1), atol=1e-12)
    assert not torch.allclose(scores, proto)  # they differ by |z|^2, which the softmax does not see


def test_renaming_the_classes_renames_the_scores():
    learner, ep = ProtoMAML(encoder("strided"), inner_lr=0.1, inner_steps=2), unequal()
    new = torch.tensor([2, 0, 1])
    renamed = Episode(ep.support_x, new[ep.support_y], ep.query_x, new[ep.query_y])
    assert torch.allclose(learner(renamed)[..., new], learner(ep), atol=1e-10)


@pytest.mark.parametrize("bn", ["batch", "support"])
def test_the_order_of_the_support_set_does_not_matter(bn):
    net = Conv4(filters=4, size=16, bn=bn).double()
    learner, ep = ProtoMAML(net, inner_lr=0.1, inner_steps=2), unequal()
    order = torch.randperm(6)
    mixed = Episode(ep.support_x[:, order], ep.support_y[:, order], ep.query_x, ep.query_y)
    assert torch.allclose(learner(mixed), learner(ep), atol=1e-10)


@pytest.mark.parametrize("ways", [2, 5])
def test_one_learner_takes_any_number_of_classes(ways):
    learner, ep = ProtoMAML(encoder("mlp"), inner_lr=0.1), tiny(ways=ways)
    assert learner(ep).shape == (2, 2 * ways, ways)


def test_adaptation_works_under_no_grad_and_without_a_trainable_encoder():
    learner, ep = ProtoMAML(encoder("strided"), inner_lr=0.1, inner_steps=2), tiny()
    expected = learner(ep)
    with torch.no_grad():
        out = learner(ep)
    assert not out.requires_grad and torch.allclose(out, expected, atol=1e-12)
    dim = Episode(ep.support_x / 16, ep.support_y, ep.query_x / 16)  # no saturated softmax
    pixels, still = (ProtoMAML(nn.Flatten(), inner_lr=0.1, inner_steps=k) for k in (2, 0))
    assert set(pixels.adapt(dim)) == {"head.weight", "head.bias"}
    assert (pixels(dim) - still(dim)).abs().max() > 1e-3


def test_evaluation_may_take_more_steps_and_frozen_parameters_stay():
    net, ep = encoder("mlp"), tiny()
    both = ProtoMAML(net, inner_lr=0.1, inner_steps=1, test_inner_steps=3)
    three = ProtoMAML(net, inner_lr=0.1, inner_steps=3)
    assert torch.equal(both.eval()(ep), three(ep)) and not torch.equal(both.train()(ep), three(ep))
    net[1].weight.requires_grad_(False)
    assert "encoder.1.weight" not in three.adapt(ep)


def test_adapting_helps_where_prototypes_alone_cannot():
    # classes differ in one coordinate only, and a far larger one that means nothing drowns it
    g = torch.Generator().manual_seed(0)
    y = torch.arange(2).repeat(20, 20)
    x = torch.randn(20, 40, 2, generator=g) * torch.tensor([0.3, 3.0])
    x[..., 0] += y * 2.0
    ep = Episode(x[:, :10], y[:, :10], x[:, 10:], y[:, 10:])
    right = {}
    for steps in (0, 100):
        learner = ProtoMAML(nn.Identity(), inner_lr=0.1, inner_steps=steps)
        right[steps] = (learner(ep).argmax(-1) == ep.query_y).float().mean().item()
    assert right[100] > right[0] + 0.1


def test_training_on_glyphs_helps():
    net = nn.Sequential(nn.Flatten(), mm.MLP(784, 32, hidden=(64,)))
    learner = ProtoMAML(net, inner_lr=0.01, first_order=True)
    test = mm.tasks("glyphs", split="test", shots=1, queries=5)
    before = mm.meta_test(learner, test, episodes=100)
    train = mm.tasks("glyphs", shots=1, queries=3)
    mm.meta_train(learner, train, steps=60, meta_batch=4, progress=False)
    after = mm.compare(mm.meta_test(learner, test, episodes=100), before)
    assert after.mean - after.ci95 > 0.1


@pytest.mark.parametrize(
    "make, message",
    [
        (lambda: ProtoMAML(Conv4(), inner_lr=-1), "inner_lr=-1"),
        (lambda: ProtoMAML(Conv4(), inner_lr=0.1, inner_steps=1.5), "inner_steps=1.5"),
        (lambda: ProtoMAML(Conv4(), inner_lr=0.1, test_inner_steps=-1), "test_inner_steps=-1"),
        (lambda: ProtoMAML(Conv4(bn="running"), inner_lr=0.1), "bn='running'"),
        (
            lambda: ProtoMAML(nn.Linear(1, 2), inner_lr=0.1)(mm.tasks("sinusoids").at([0])),
            "regression targets",
        ),
        (
            lambda: ProtoMAML(Conv4(layout="maps"), inner_lr=0.1)(mm.tasks("glyphs").at([0])),
            "needs vectors, so end the encoder",
        ),
    ],
)
def test_bad_input_gets_a_sentence(make, message):
    with pytest.raises(MinimetaError, match=message):
        make()
