"""Every fast way gives the gradient of the plain one."""

import copy
import threading

import pytest
import torch
from torch import nn
from torch.nn.utils import prune

import minimeta as mm
from minimeta import MinimetaError, fast
from tests.conftest import make_pool

SINUSOIDS = mm.tasks("sinusoids", shots=6, queries=4)
PICTURES = mm.tasks(make_pool(12, 8, (1, 16, 16)), ways=3, shots=2, queries=2)


class Net(nn.Module):
    """Somebody's network: layers that no plan knows, and a parameter that nothing uses."""

    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(nn.Flatten(), nn.Linear(256, 8), nn.Tanh())
        self.unused = nn.Parameter(torch.ones(3))
        self.head = nn.Linear(8, 3)

    def forward(self, x):
        return self.head(self.body(x))


NETWORKS = {
    "MLP": (lambda: mm.MLP(1, 1, hidden=(7, 5)), SINUSOIDS, fast.MLPPlan),
    "linear": (lambda: mm.MLP(1, 1, hidden=()), SINUSOIDS, fast.MLPPlan),
    "pool": (lambda: mm.Conv4(ways=3, filters=4, size=16), PICTURES, fast.Conv4Plan),
    "strided": (
        lambda: mm.Conv4(ways=3, filters=4, size=16, layout="strided"), PICTURES, fast.Conv4Plan,
    ),
    "any module": (Net, PICTURES, fast.Plan),
}  # fmt: skip


def made(name, **options):
    """A learner in float64 and an episode for it."""
    torch.manual_seed(1)
    network, tasks, _ = NETWORKS[name]
    options = dict(inner_lr=0.1, inner_steps=2) | options
    return mm.MAML(network().double(), **options), tasks.at(range(5)).to(torch.float64)


def gradients(learner, loss):
    learner.zero_grad()
    loss.backward()
    return [torch.zeros_like(p) if p.grad is None else p.grad.clone() for p in learner.parameters()]


def agree(learner, episode):
    """The loss and every gradient equal those of the plain graph, to rounding."""
    loss = learner.loss(episode)
    ours = gradients(learner, loss)
    plain = torch.cat([learner._graph_losses(piece) for piece in learner._pieces(episode)]).mean()
    theirs = gradients(learner, plain)
    assert torch.isclose(loss, plain, rtol=1e-10)
    scale = torch.cat([g.flatten() for g in theirs]).norm()
    for a, b in zip(ours, theirs, strict=True):
        assert (a - b).norm() <= 1e-10 * scale
    return ours


@pytest.mark.parametrize("name", NETWORKS)
def test_the_plan_is_the_one_made_for_the_network(name):
    learner, episode = made(name)
    plan = fast.plan_for(learner.network, episode.ways, partial=False)
    assert type(plan) is NETWORKS[name][2]


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("steps", [0, 1, 2, 7])
@pytest.mark.parametrize("first_order", [False, True])
def test_the_gradient_is_that_of_the_plain_graph(name, steps, first_order):
    agree(*made(name, inner_steps=steps, first_order=first_order))


@pytest.mark.parametrize("name", ["MLP", "pool", "strided", "any module"])
@pytest.mark.parametrize(
    "options",
    [
        dict(adapts="head"),
        dict(adapts="body"),
        dict(adapts="head", inner_steps=7),
        dict(adapts=lambda n: ".1." in n or n.startswith("1.")),
        dict(adapts=lambda n: n.endswith("bias")),
        dict(learn_lr="entry"),
        dict(learn_lr="tensor"),
        dict(learn_lr="entry", adapts="head", first_order=True),
    ],
    ids=[
        "head",
        "body",
        "head in many steps",
        "one layer",
        "biases",
        "entry",
        "tensor",
        "entries of the head",
    ],
)
def test_what_adapts_and_learned_rates_agree_too(name, options):
    agree(*made(name, **options))


@pytest.mark.parametrize("layout", ["pool", "strided"])
def test_a_part_that_adapts_has_the_plan_of_the_whole_and_a_frozen_part_has_not(layout):
    learner, episode = made(layout, adapts="head")
    plan = fast.plan_for(learner.network, episode.ways, partial=True)
    assert type(plan) is fast.Conv4Plan
    learner.network.blocks[1].requires_grad_(False)
    assert type(fast.plan_for(learner.network, episode.ways, partial=True)) is fast.Plan
    agree(learner, episode)


@pytest.mark.parametrize("name", ["MLP", "strided"])
@pytest.mark.parametrize("learn_lr", [None, "tensor", "entry"])
@pytest.mark.parametrize("step", [0, 4, 7, 20])
def test_the_remedies_of_mamlpp_agree_too(name, learn_lr, step):
    plain, episode = made(name)
    learner = mm.MAMLPlusPlus(
        plain.network, inner_lr=0.1, inner_steps=3, learn_lr=learn_lr, multi_step=10,
        first_order_until=5,
    )  # fmt: skip
    learner.begin_step(step)
    agree(learner, episode)


def test_cross_entropy_of_vectors_is_written_out_right():
    pool = make_pool(12, 8, (4,))
    learner = mm.MAML(mm.MLP(4, 3, hidden=(6,)).double(), inner_lr=0.3, inner_steps=3)
    agree(learner, mm.tasks(pool, ways=3, shots=2, queries=3).at(range(4)).to(torch.float64))


@pytest.mark.parametrize("layout", ["pool", "strided"])
@pytest.mark.parametrize(("size", "channels", "queries"), [(17, 1, 2), (20, 3, 2), (28, 1, 5)])
def test_odd_sides_colours_and_both_kernels(layout, size, channels, queries):
    torch.manual_seed(0)
    network = mm.Conv4(ways=3, filters=4, size=size, channels=channels, layout=layout).double()
    pool = make_pool(6, 8, (channels, size, size))
    episode = mm.tasks(pool, ways=3, shots=1, queries=queries).at(range(3)).to(torch.float64)
    agree(mm.MAML(network, inner_lr=0.3, inner_steps=1), episode)


def test_threads_and_chunks_change_nothing(monkeypatch):
    learner, episode = made("pool")
    alone = agree(learner, episode)
    used = set()
    plain = fast.Conv4Plan.gradient

    def watched(self, *arguments, **options):
        used.add(threading.get_ident())
        return plain(self, *arguments, **options)

    monkeypatch.setattr(fast.Conv4Plan, "gradient", watched)
    monkeypatch.setattr(fast.Conv4Plan, "chunk", lambda *_: 1)
    torch.set_num_threads(2)
    try:
        together = gradients(learner, learner.loss(episode))
        again = gradients(learner, learner.loss(episode))
    finally:
        torch.set_num_threads(1)
    assert len(used) > 1
    for a, b, c in zip(alone, together, again, strict=True):
        assert torch.allclose(a, b, rtol=1e-10, atol=1e-12) and torch.equal(b, c)


def test_an_error_in_a_thread_is_raised_as_itself():
    torch.set_num_threads(2)
    try:
        with pytest.raises(ZeroDivisionError):
            fast.on_threads(lambda n: 1 / n, [1, 0, 2], workers=2)
    finally:
        torch.set_num_threads(1)


def test_recomputing_changes_nothing(monkeypatch):
    learner, episode = made("strided", inner_steps=3)
    stored = gradients(learner, learner.loss(episode))
    monkeypatch.setattr(fast.Conv4Plan, "recompute", lambda *_: True)
    again = gradients(learner, learner.loss(episode))
    for a, b in zip(stored, again, strict=True):
        assert torch.allclose(a, b, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("name", ["MLP", "strided", "any module"])
def test_a_program_traced_once_gives_the_same_gradient(name, monkeypatch):
    # what is traced is the risk; the compiler itself takes half a minute, so it is left out here
    monkeypatch.setattr(torch, "compile", lambda graph: graph)
    learner, episode = made(name, compiled=True, learn_lr="tensor")
    agree(learner, episode)
    with torch.no_grad():
        for p in learner.parameters():
            p.add_(0.1 * torch.randn_like(p))
    agree(learner, NETWORKS[name][1].at(range(5, 10)).to(torch.float64))  # the same program
    if name == "MLP":  # tracing the others again takes seconds and tells nothing more
        agree(learner, episode[:3])  # another one


def test_no_program_is_made_while_the_weights_of_a_loss_change(monkeypatch):
    made_programs = []
    monkeypatch.setattr(torch, "compile", lambda graph: made_programs.append(graph) or graph)
    source = mm.tasks("sinusoids", shots=5, queries=5)
    learner = mm.MAMLPlusPlus(
        mm.MLP(1, 1), inner_lr=0.01, inner_steps=2, compiled=True, multi_step=5, learn_lr=None
    )
    mm.meta_train(learner, source, steps=5, progress=False)
    assert not made_programs
    mm.meta_train(learner, source, steps=9, progress=False)
    assert len(made_programs) == 1


def test_a_factor_on_the_loss_reaches_the_gradient():
    learner, episode = made("MLP")
    one = gradients(learner, learner.loss(episode))
    three = gradients(learner, 3 * learner.loss(episode) + 1)
    for a, b in zip(one, three, strict=True):
        assert torch.allclose(3 * a, b, rtol=1e-12)


def test_differentiating_twice_is_refused_not_wrong():
    learner, episode = made("MLP")
    p = learner.network.layers[0].weight
    with pytest.raises(MinimetaError, match="create_graph=True, but it is known as a number"):
        torch.autograd.grad(learner.loss(episode), p, create_graph=True)


def test_the_loss_inside_a_torch_func_transform_is_the_plain_one():
    learner, episode = made("MLP")
    ours = gradients(learner, learner.loss(episode))
    named = dict(learner.named_parameters())

    def loss(parameters):
        return torch.func.functional_call(_Loss(learner), parameters, (episode,))

    theirs = torch.func.grad(loss)({f"learner.{n}": p.detach() for n, p in named.items()})
    for (n, _), g in zip(named.items(), ours, strict=True):
        assert torch.allclose(theirs[f"learner.{n}"], g, rtol=1e-10, atol=1e-12)


class _Loss(nn.Module):
    def __init__(self, learner):
        super().__init__()
        self.learner = learner

    def forward(self, episode):
        return self.learner.loss(episode)


def replaced(layers, i, new):
    layers[i] = new.double()


def hooked(layer):
    layer.register_forward_hook(lambda module, args, out: 2 * out)


def shared(layers):
    layers[1] = layers[2]


CHANGES = {
    "a bend more": lambda m: replaced(m.layers, 0, nn.Sequential(nn.Linear(1, 7), nn.Tanh())),
    "no weights": lambda m: replaced(m.layers, 1, nn.Tanh()),
    "no bias": lambda m: replaced(m.layers, -1, nn.Linear(7, 1, bias=False)),
    "a hook": lambda m: hooked(m.layers[1]),
    "weight norm": lambda m: nn.utils.parametrizations.weight_norm(m.layers[1]),
    "pruned": lambda m: prune.l1_unstructured(m.layers[1], "weight", 0.5),
    "a shared layer": lambda m: shared(m.layers),
    "shared weights": lambda m: setattr(m.layers[1], "weight", m.layers[2].weight),
}


@pytest.mark.filterwarnings("ignore:There is a performance drop")
@pytest.mark.parametrize("change", CHANGES)
def test_an_mlp_that_was_changed_inside_is_run_as_it_is(change):
    network = mm.MLP(1, 1, hidden=(7, 7, 7)).double()
    CHANGES[change](network)
    episode = SINUSOIDS.at(range(3)).to(torch.float64)
    agree(mm.MAML(network, inner_lr=0.1, inner_steps=2), episode)


@pytest.mark.parametrize("change", ["head", "hook", "pruned", "bias"])
def test_a_conv4_that_was_changed_inside_is_run_as_it_is(change):
    learner, episode = made("pool")
    network, block = learner.network, learner.network.blocks[1]
    if change == "head":
        network.head = nn.Sequential(nn.Linear(4, 3), nn.Tanh()).double()
    elif change == "hook":
        hooked(block.norm)
    elif change == "pruned":
        prune.l1_unstructured(block.conv, "weight", 0.5)
    else:
        block.conv = nn.Conv2d(4, 4, 3, padding=1).double()
    agree(mm.MAML(network, inner_lr=0.1, inner_steps=2), episode)


@pytest.mark.parametrize("name", ["MLP", "pool", "any module"])
def test_the_examples_get_their_gradient_too(name):
    learner, episode = made(name)
    leaves = [episode.support_x.requires_grad_(), episode.query_x.requires_grad_()]
    ours = torch.autograd.grad(learner.loss(episode), leaves)
    plain = mm.learner.task_losses(learner(episode), episode.query_y).mean()
    for a, b in zip(ours, torch.autograd.grad(plain, leaves), strict=True):
        assert b.abs().max() > 0 and torch.allclose(a, b, rtol=1e-10)


@pytest.mark.parametrize(
    ("network", "item"),
    [
        (mm.MLP(4, 3), (5,)),
        (mm.Conv4(3, size=16), (1, 20, 20)),
        (mm.Conv4(3, size=16), (1, 16, 20)),
        (mm.Conv4(3, size=16), (3, 16, 16)),
        (mm.Conv4(3, size=16, layout="strided"), (1, 15, 15)),
    ],
)
def test_examples_of_another_shape_get_the_sentence_of_the_network(network, item):
    learner = mm.MAML(network, inner_lr=0.1)
    episode = mm.tasks(make_pool(5, 4, item), ways=3, shots=1, queries=1).at([0])
    for call in (learner, learner.loss):
        with pytest.raises(MinimetaError, match="shape"):
            call(episode)


def test_examples_that_are_no_vectors_get_a_sentence():
    episode = mm.tasks(make_pool(5, 4, (2, 4)), ways=3, shots=1, queries=1).at([0])
    with pytest.raises(MinimetaError, match="shape"):
        mm.MAML(mm.MLP(4, 3), inner_lr=0.1).loss(episode)


def test_targets_of_another_length_or_type():
    episode = SINUSOIDS.at([0, 1])
    with pytest.raises(MinimetaError, match="predictions of shape"):
        mm.MAML(mm.MLP(1, 2), inner_lr=0.1).loss(episode)
    double = mm.Episode(
        episode.support_x, episode.support_y.double(), episode.query_x, episode.query_y.double()
    )
    learner = mm.MAML(mm.MLP(1, 1), inner_lr=0.1)
    assert torch.isclose(learner.loss(double).float(), learner.loss(episode))


@pytest.mark.filterwarnings("ignore:BatchNorm1d is not safe to vectorise")
@pytest.mark.parametrize("what", ["freeze", "mode", "buffer"])
def test_a_program_is_not_used_for_a_network_that_has_changed_since(what, monkeypatch):
    monkeypatch.setattr(torch, "compile", lambda graph: graph)
    norm = nn.BatchNorm1d(8).eval()
    network = nn.Sequential(nn.Flatten(), nn.Linear(256, 8), norm, nn.Linear(8, 3)).double()
    learner = mm.MAML(network, inner_lr=0.1, compiled=True)
    learner.eval()
    episode = PICTURES.at([0]).to(torch.float64)
    agree(learner, episode)
    if what == "freeze":
        network[1].requires_grad_(False)
    elif what == "mode":
        norm.track_running_stats = False
        norm.running_mean, norm.running_var = None, None
        norm.train()
    else:
        norm.running_mean = norm.running_mean + 1
    agree(learner, episode)


def test_frozen_parameters_stay_out():
    learner, episode = made("pool")
    frozen = copy.deepcopy(learner)
    for p in frozen.network.blocks.parameters():
        p.requires_grad_(False)
    frozen = mm.MAML(frozen.network, inner_lr=0.1, inner_steps=2)
    agree(frozen, episode)
    assert all(p.grad is None for p in frozen.network.blocks.parameters())


def test_too_few_outputs_get_the_sentence_here_too():
    learner, _ = made("pool")
    many = mm.tasks(make_pool(12, 8, (1, 16, 16)), ways=4, shots=1, queries=1).at([0, 1])
    with pytest.raises(MinimetaError, match="4 classes but MAML's network has 3 outputs"):
        learner.loss(many.to(torch.float64))
