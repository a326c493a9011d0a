"""Running modules on many tasks at once, and the inner step."""

import copy
import warnings
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from torch import nn

from minimeta import MAML, MLP, Episode, MinimetaError, ProtoMAML, tasks
from minimeta.adapt import inner_loop, per_task, run, sgd_step


def episode(tasks=3, ways=2, item=(4,)):
    g = torch.Generator().manual_seed(1)
    labels = torch.arange(ways).repeat(tasks, 2)
    x = torch.randn(tasks, 2 * ways, *item, generator=g)
    return Episode(x, labels, torch.randn(tasks, 3, *item, generator=g), labels[:, :3])


def test_meta_gradient_of_a_cubic_matches_finite_differences():
    def outer(value, first_order=False):
        theta = {"t": torch.tensor([[value]], dtype=torch.float64, requires_grad=True)}
        adapted = sgd_step(theta, (theta["t"] ** 3).sum(1), lr=0.1, first_order=first_order)
        return theta["t"], adapted["t"].square().sum()

    def exact(first_order):
        t, loss = outer(0.7, first_order)
        return float(torch.autograd.grad(loss, t)[0])

    numeric = (outer(0.7 + 1e-6)[1].item() - outer(0.7 - 1e-6)[1].item()) / 2e-6
    assert abs(exact(first_order=False) - numeric) < 1e-8
    assert abs(exact(first_order=True) - numeric) > 0.1  # FOMAML is another gradient


def test_one_step_on_a_quadratic_with_the_newton_rate_lands_on_its_minimum():
    a, c = torch.tensor([[2.0], [5.0]]), torch.tensor([[1.0], [-3.0]])  # two tasks, a/2 (t - c)^2
    theta = per_task({"t": torch.zeros(1, requires_grad=True)}, 2)
    for task in range(2):
        losses = (a / 2 * (theta["t"] - c) ** 2).sum(1)
        stepped = sgd_step(theta, losses, lr=1 / a[task].item(), first_order=True)["t"]
        assert torch.allclose(stepped[task], c[task])


def test_tasks_do_not_touch_each_other():
    net = nn.Linear(4, 2)
    ep = episode()

    def adapted(e):
        theta = per_task(dict(net.named_parameters()), len(e))
        return inner_loop(
            lambda p, x: run(net, x, p),
            theta,
            e.support_x,
            e.support_y,
            lr=0.5,
            steps=3,
            first_order=True,
        )

    together = adapted(ep)
    for t in range(3):
        for name, value in adapted(ep[t : t + 1]).items():
            assert torch.allclose(value[0], together[name][t], atol=1e-6)


@pytest.mark.parametrize("module", [
    nn.Flatten(), nn.Sequential(nn.Conv1d(1, 3, 2), nn.ReLU(), nn.Flatten()),
    nn.Sequential(nn.Flatten(), nn.LayerNorm(4), nn.Linear(4, 2)),
])  # fmt: skip
def test_any_module_runs_on_all_tasks_like_one_after_another(module):
    x = torch.randn(3, 5, 1, 4)
    assert torch.allclose(run(module, x), torch.stack([module(task) for task in x]), atol=1e-6)


class Branching(nn.Module):
    """Control flow that depends on the data, which vmap cannot follow."""

    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(4, 2)

    def forward(self, x):
        return self.linear(x) if x.sum() > 0 else -self.linear(x)


@pytest.mark.parametrize("unsafe, reason", [
    (Branching, "vectorising over tasks failed"),
    (lambda: nn.Sequential(nn.Linear(4, 2), nn.BatchNorm1d(2, track_running_stats=False)), "BatchNorm1d"),
    (lambda: nn.Sequential(nn.Linear(4, 2), nn.Dropout(0.0)), "Dropout"),
])  # fmt: skip
def test_unsafe_modules_run_in_a_loop_and_say_so_once(unsafe, reason):
    module = unsafe()
    ep = episode()
    with pytest.warns(UserWarning, match=reason):
        together = run(module, ep.support_x)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        again = run(module, ep.support_x)
    expected = torch.stack([module(x) for x in ep.support_x])
    assert torch.equal(together, expected) and torch.equal(again, expected)


def test_an_unsafe_module_has_the_right_meta_gradient():
    net = nn.Sequential(
        nn.Linear(4, 3), nn.BatchNorm1d(3, track_running_stats=False), nn.Tanh(), nn.Linear(3, 2)
    ).double()  # fmt: skip
    ep = episode().to(torch.float64)
    learner = MAML(net, inner_lr=0.3, inner_steps=2)
    with pytest.warns(UserWarning, match="BatchNorm1d"):
        learner.loss(ep).backward()
    for p in net.parameters():
        for i in range(p.numel()):

            def at(h, p=p, i=i):
                with torch.no_grad():
                    p.view(-1)[i] += h
                    value = learner.loss(ep).item()
                    p.view(-1)[i] -= h
                return value

            numeric = (at(1e-6) - at(-1e-6)) / 2e-6
            assert abs(float(p.grad.view(-1)[i]) - numeric) < 1e-7


def test_running_statistics_in_the_inner_loop_are_refused():
    learner = MAML(nn.Sequential(nn.Linear(4, 2), nn.BatchNorm1d(2)), inner_lr=0.1)
    with pytest.raises(MinimetaError, match="BatchNorm1d '1' keeps running statistics"):
        learner(episode())
    assert learner.eval()(episode()).shape == (3, 3, 2)  # frozen statistics are fine


def test_a_true_fault_is_shown_as_itself():
    with pytest.raises(RuntimeError, match="mat1 and mat2 shapes"):
        run(nn.Linear(7, 2), episode().support_x)


def test_a_layer_that_thaws_adapts():
    network = MLP(1, 1, hidden=(4,))
    network.layers[1].requires_grad_(False)
    learner = MAML(network, inner_lr=0.1)
    episode = tasks("sinusoids", shots=5, queries=3).at([0])
    assert "layers.1.weight" not in learner.adapt(episode)
    network.layers[1].requires_grad_(True)
    moved = learner.adapt(episode)["layers.1.weight"][0]
    assert not torch.equal(moved, network.layers[1].weight)


class Ema(nn.Module):
    """Assigns a buffer at every call, as some networks do."""

    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(4, 3)
        self.register_buffer("mean", torch.zeros(3))

    def forward(self, x):
        z = self.linear(x)
        if self.training:
            self.mean = 0.9 * self.mean + 0.1 * z.mean(0).detach()
        return (z - self.mean).tanh()


def test_a_layer_used_twice_stays_itself():
    twice = nn.Linear(4, 4)
    network = nn.Sequential(twice, nn.Tanh(), twice, nn.Tanh(), nn.Linear(4, 2)).double()
    before = copy.deepcopy(network.state_dict())
    for count in (1, 3):
        ep = episode(count).to(torch.float64)
        learner = MAML(network, inner_lr=0.5, inner_steps=2)
        alone = torch.cat([learner(ep[t : t + 1]) for t in range(count)])
        assert torch.allclose(learner(ep), alone, atol=1e-12)
        learner.loss(ep).backward()
        assert all(isinstance(p, nn.Parameter) for p in network.parameters())
        assert all(torch.equal(p, before[n]) for n, p in network.state_dict().items())
    # the same weights in two layers get a part of the gradient each
    apart = nn.Sequential(*[copy.deepcopy(m) for m in network])
    x = episode(1).support_x.double()
    grads = []
    for net in (network, apart):
        net.zero_grad()
        run(net, x, per_task(dict(net.named_parameters()), 1)).square().sum().backward()
        grads.append(net[0].weight.grad)
    assert torch.allclose(grads[0], grads[1] + apart[2].weight.grad)


def test_an_assigned_buffer_is_that_of_the_loop_and_can_be_saved():
    torch.manual_seed(0)
    encoder = Ema()
    looped, ep = copy.deepcopy(encoder), episode(3)
    with pytest.warns(UserWarning, match="assigns a buffer"):
        out = run(encoder, ep.support_x)
    assert torch.equal(out, torch.stack([looped(x) for x in ep.support_x]))
    assert torch.equal(encoder.mean, looped.mean)
    encoder.eval()
    assert torch.allclose(run(encoder, ep.support_x).flip(0), run(encoder, ep.support_x.flip(0)))


@pytest.mark.parametrize("name", ["MAML", "ProtoMAML"])
def test_threads_may_share_a_learner(name):
    network = nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 2))
    kinds = {"MAML": MAML, "ProtoMAML": ProtoMAML}
    learner = kinds[name](network, inner_lr=0.1, inner_steps=3).eval()
    ep = episode(60)
    pieces = [ep[t : t + 3] for t in range(0, 60, 3)]

    def predict(piece):
        with torch.no_grad():
            return learner(piece)

    with ThreadPoolExecutor(
        4
    ) as pool:  # first, so that nothing is there yet for the threads to share
        together = list(pool.map(predict, pieces))
    one_by_one = [predict(piece) for piece in pieces]
    for a, b in zip(one_by_one, together, strict=True):
        assert torch.allclose(a, b)
    assert all(isinstance(p, nn.Parameter) for p in network.parameters())


def test_instance_norm_with_running_averages_is_refused():
    network = nn.Sequential(
        nn.Unflatten(1, (2, 2)), nn.InstanceNorm1d(2, track_running_stats=True), nn.Flatten()
    )
    network.append(nn.Linear(4, 2))
    with pytest.raises(MinimetaError, match="keeps running statistics"):
        MAML(network, inner_lr=0.1)(episode())


def test_lazy_layers_and_a_frozen_head_get_a_sentence():
    lazy = nn.Sequential(nn.LazyLinear(6), nn.Tanh(), nn.Linear(6, 2))
    with pytest.raises(MinimetaError, match="lazy layers"):
        MAML(lazy, inner_lr=0.1)
    lazy(episode().support_x[0])
    assert MAML(lazy, inner_lr=0.1)(episode()).shape == (3, 3, 2)
    lazy[-1].requires_grad_(False)
    with pytest.raises(MinimetaError, match="none of the parameters that the inner loop adapts"):
        MAML(lazy, inner_lr=0.1, adapts="head")(episode())
