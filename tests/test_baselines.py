"""Baselines: from scratch is really from scratch, pre-training learns, SimpleShot is its formula."""

import copy

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import minimeta as mm
from minimeta import MinimetaError
from minimeta.baselines import FromScratch, SimpleShot, anew, feature_mean, pretrain
from tests.conftest import make_pool


def episode(tasks=3, shape=(4,), ways=3):
    pool = make_pool(12, 8, shape)
    return mm.tasks(pool, ways=ways, shots=2, queries=3).at(range(tasks)).to(torch.float64)


def network(kind="mlp", bn="batch"):
    if kind == "mlp":
        return mm.MLP(4, 3, hidden=(6,)).double()
    return mm.Conv4(ways=3, filters=4, size=16, bn=bn).double()


def same(a, b):
    return all(torch.equal(p, q) for p, q in zip(a.parameters(), b.parameters(), strict=True))


@pytest.mark.parametrize("optimizer", ["adam", "sgd"])
def test_each_task_is_trained_as_a_network_of_its_own_would_be(optimizer):
    ep, net = episode(), network()
    learner = FromScratch(net, steps=7, lr=0.05, optimizer=optimizer, seed=3)
    expected = []
    for t in range(len(ep)):
        own = anew(net, seed=3)
        kind = torch.optim.Adam if optimizer == "adam" else torch.optim.SGD
        optim = kind(own.parameters(), lr=0.05)
        for _ in range(7):
            optim.zero_grad()
            F.cross_entropy(own(ep.support_x[t]), ep.support_y[t]).backward()
            optim.step()
        expected.append(own(ep.query_x[t]))
    assert torch.allclose(learner(ep), torch.stack(expected), atol=1e-10)
    with torch.no_grad():
        assert torch.allclose(learner(ep), torch.stack(expected), atol=1e-10)


@pytest.mark.parametrize("kind, bn", [("mlp", "batch"), ("conv", "batch"), ("conv", "support")])
def test_loop_and_all_at_once_agree(kind, bn):
    ep = episode(shape=(4,) if kind == "mlp" else (1, 16, 16))
    learner = FromScratch(network(kind, bn), steps=3, lr=0.05)
    pieces = torch.cat([learner(piece) for piece in ep.split(1)])
    assert torch.allclose(learner(ep), pieces, atol=1e-10)


def test_what_the_network_had_learned_is_forgotten():
    # a baseline "from scratch" that starts from trained weights would be a leak
    net, trained = network("conv"), network("conv")
    with torch.no_grad():
        for p in trained.parameters():
            p.add_(1.0)
    before = copy.deepcopy(trained)
    a, b, c = (
        FromScratch(n, steps=1, lr=0.1, seed=seed) for n, seed in ((net, 0), (trained, 0), (net, 1))
    )
    assert same(a, b) and not same(a, c)
    assert same(trained, before)  # the network given stays as it is
    ep = episode(shape=(1, 16, 16))
    a(ep)
    assert same(a, b)  # and so does the start
    state = torch.random.get_rng_state()
    anew(net, seed=5)
    assert torch.equal(torch.random.get_rng_state(), state)


def test_it_fits_the_support_set_and_has_nothing_to_meta_train():
    pool = make_pool(12, 30, (4,))
    tasks = mm.tasks(pool, ways=3, shots=5, queries=5)
    learner = FromScratch(mm.MLP(4, 3), steps=100, lr=0.02)
    assert mm.meta_test(learner, tasks, episodes=20).mean > 0.6
    with pytest.raises(MinimetaError, match="no parameters to train"):
        mm.meta_train(learner, tasks, steps=1)
    sines = mm.tasks("sinusoids", shots=10, queries=10)
    few, many = (FromScratch(mm.MLP(1, 1), steps=n, lr=0.01) for n in (1, 200))
    few, many = (mm.meta_test(learner, sines, episodes=20) for learner in (few, many))
    assert many.mean < 0.7 * few.mean


def test_parts_that_cannot_start_anew_are_refused():
    class Own(nn.Module):
        def __init__(self):
            super().__init__()
            self.scale = nn.Parameter(torch.ones(1))

    with pytest.raises(MinimetaError, match=r"Own '1' has parameters .* no reset_parameters"):
        FromScratch(nn.Sequential(nn.Linear(4, 3), Own()), steps=1, lr=0.1)


@pytest.mark.parametrize("cosine", [False, True])
def test_pretraining_separates_the_training_classes_and_helps_on_new_ones(cosine):
    # classes differ in 2 of 20 numbers; the other 18 are noise that a raw distance drowns in
    g = torch.Generator().manual_seed(0)
    items = 2 * torch.randn(30 * 40, 20, generator=g)
    items[:, :2] = torch.randn(30, 2, generator=g).repeat_interleave(40, 0)
    items[:, :2] += 0.05 * torch.randn(30 * 40, 2, generator=g)
    whole = mm.ClassPool(items, torch.full((30,), 40), tuple(map(str, range(30))))
    train = mm.ClassPool(items[: 20 * 40], whole.sizes[:20], whole.names[:20])
    test = mm.ClassPool(items[20 * 40 :], whole.sizes[20:], whole.names[20:])
    encoder = pretrain(mm.MLP(20, 16, hidden=(32,)), train, steps=400, lr=0.01, cosine=cosine)
    tasks = mm.tasks(test, split="test", ways=5, shots=5, queries=10)
    raw = mm.meta_test(mm.ProtoNet(nn.Identity()), tasks, episodes=100)
    for learner in (
        mm.ProtoNet(encoder),
        SimpleShot(encoder, centre=feature_mean(encoder, train)),
    ):
        assert mm.meta_test(learner, tasks, episodes=100).mean > raw.mean + 0.1


def test_pretraining_depends_on_its_seed_alone():
    pool = make_pool(12, 8, (4,))
    start = mm.MLP(4, 5)
    runs = []
    for seed in (0, 0, 1):
        torch.rand(3)  # the global generator moves on
        runs.append(pretrain(copy.deepcopy(start), pool, steps=5, seed=seed))
    assert same(runs[0], runs[1]) and not same(runs[0], runs[2])
    assert not same(runs[0], start)


def test_simpleshot_is_its_formula_and_without_transforms_protonet():
    ep, encoder = episode(), mm.MLP(4, 6).double()
    centre = torch.randn(6, dtype=torch.float64)
    z, q = (F.normalize(encoder(x) - centre, dim=-1) for x in (ep.support_x, ep.query_x))
    means = torch.stack(
        [torch.stack([z[t][ep.support_y[t] == n].mean(0) for n in range(3)]) for t in range(3)]
    )
    expected = -torch.cdist(q, means).square()
    assert torch.allclose(SimpleShot(encoder, centre=centre)(ep), expected, atol=1e-10)
    # on embeddings of length 1 there is nothing left to do
    unit = nn.Sequential(encoder, nn.Softmax(1))
    x = F.normalize(ep.support_x, dim=-1), F.normalize(ep.query_x, dim=-1)
    ready = mm.Episode(x[0], ep.support_y, x[1], ep.query_y)
    identity = nn.Identity()
    assert torch.allclose(SimpleShot(identity)(ready), mm.ProtoNet(identity)(ready), atol=1e-10)
    assert not torch.allclose(SimpleShot(unit)(ep), mm.ProtoNet(unit)(ep))


def test_the_feature_mean_is_that_of_all_examples():
    pool = make_pool(40, 10, (4,))
    encoder = mm.MLP(4, 6)
    assert torch.allclose(feature_mean(encoder, pool), encoder(pool.items).mean(0), atol=1e-5)
    running = mm.Conv4(filters=4, size=16, bn="running")
    images = make_pool(4, 5, (1, 16, 16))
    pretrain(running, images, steps=3, batch=8)
    state = copy.deepcopy(running.state_dict())
    feature_mean(running, images)
    assert all(torch.equal(state[k], v) for k, v in running.state_dict().items())


@pytest.mark.parametrize(
    "make, message",
    [
        (lambda: FromScratch(network(), steps=0, lr=0.1), "steps=0"),
        (lambda: FromScratch(network(), steps=1, lr=0.0), "lr=0.0"),
        (lambda: FromScratch(network(), steps=1, lr=0.1, optimizer="lbfgs"), "one of adam, sgd"),
        (lambda: FromScratch(mm.Conv4(ways=3, bn="running"), steps=1, lr=0.1), "bn='running'"),
        (lambda: pretrain(mm.MLP(4, 2), make_pool(3, 4, (4,)), steps=0), "steps=0"),
        (lambda: pretrain(mm.MLP(4, 2), make_pool(3, 4, (4,)), steps=1, lr=-1), "lr=-1"),
        (
            lambda: pretrain(
                mm.Conv4(layout="maps", size=24), make_pool(3, 4, (1, 24, 24)), steps=1
            ),
            r"shape \(64, 4, 4\).*nn.Flatten",
        ),
    ],
)
def test_bad_input_gets_a_sentence(make, message):
    with pytest.raises(MinimetaError, match=message):
        make()


def test_pretraining_takes_the_type_of_the_pool_and_refuses_another():
    pool = mm.ClassPool(torch.randn(6, 4).double(), torch.tensor([3, 3]), ("a", "b"))
    encoder = pretrain(nn.Linear(4, 8).double(), pool, steps=2, progress=False)
    assert encoder.weight.dtype == torch.float64
    with pytest.raises(
        mm.MinimetaError, match="torch.float32 on cpu and the examples torch.float64"
    ):
        pretrain(nn.Linear(4, 8), pool, steps=2)
    for call in (lambda p: pretrain(encoder, p, steps=1), lambda p: feature_mean(encoder, p)):
        with pytest.raises(mm.MinimetaError, match="pool=.* was given; give a ClassPool"):
            call(mm.tasks("glyphs"))


@pytest.mark.parametrize("centre", [torch.zeros(2, 4), [float("nan")] * 4, 0.0])
def test_a_centre_that_is_none_is_refused(centre):
    with pytest.raises(mm.MinimetaError, match="centre=.* was given; it is"):
        SimpleShot(nn.Identity(), centre=centre)


def test_a_centre_of_another_length_is_refused_not_broadcast():
    episode = mm.tasks("glyphs").at([0])
    for length in (1, 3):
        with pytest.raises(mm.MinimetaError, match=f"{length} numbers and the embeddings 784"):
            SimpleShot(nn.Flatten(), centre=[0.0] * length)(episode)


def test_from_scratch_trains_everything_and_so_does_its_file(tmp_path):
    network = mm.MLP(1, 1)
    network.layers[0].requires_grad_(False)
    learner = FromScratch(network, steps=5, lr=0.1)
    episode = mm.tasks("sinusoids", shots=5, queries=3).at([0])
    phi, theta = learner.adapt(episode), dict(learner.network.named_parameters())
    assert all(not torch.equal(phi[n][0], theta[n]) for n in theta)
    again = mm.load(mm.save(learner, tmp_path / "a.safetensors"))
    assert torch.equal(again(episode), learner.eval()(episode))
