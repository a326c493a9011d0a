"""Normalisation by task: torch's numbers, every mode's law, and the second order."""

import pytest
import torch
from torch import nn
from torch.func import functional_call, vmap

from minimeta import BatchNorm, Conv4, MinimetaError
from minimeta.norm import bn_mode, normalised
from tests.conftest import with_support


def random_norm(features, mode="batch"):
    norm = BatchNorm(features, mode).double()
    nn.init.normal_(norm.weight), nn.init.normal_(norm.bias)
    return norm


@pytest.mark.parametrize("shape", [(6, 3), (6, 3, 4, 5)])
def test_one_task_equals_torch(shape):
    x, norm = torch.randn(shape, dtype=torch.float64) * 3 + 1, random_norm(3)
    expected = nn.functional.batch_norm(x, None, None, norm.weight, norm.bias, training=True)
    assert torch.allclose(norm(x), expected, atol=1e-12)


def test_statistics_far_from_zero_stay_accurate():
    # float32: the variance as E[x^2] - E[x]^2 would be wrong by far more here
    x = torch.randn(50, 3, 8, 8) + 1000
    exact = BatchNorm(3).double()(x.double())
    for norm in (BatchNorm(3), BatchNorm(3, "support")):  # torch's kernel, and the one written out
        assert (norm(x) - exact).abs().max() < 1e-2


def test_each_task_is_normalised_by_itself():
    x, norm = torch.randn(4, 6, 3, 2, 2, dtype=torch.float64), random_norm(3)
    together = norm(x.flatten(0, 1), tasks=4).view_as(x)
    assert torch.allclose(together, torch.stack([norm(task) for task in x]), atol=1e-12)


def test_support_mode_lets_only_the_support_set_give_statistics():
    x, norm = torch.randn(8, 3, 2, 2, dtype=torch.float64), random_norm(3, "support")
    out = with_support(5, norm, x)
    assert torch.allclose(out[:5], random_like(norm, "batch")(x[:5]), atol=1e-12)
    x[6] = 100.0  # a query changes; the other queries do not notice
    assert torch.equal(with_support(5, norm, x)[[5, 7]], out[[5, 7]])


def random_like(norm, mode):
    other = BatchNorm(len(norm.weight), mode).double()
    other.load_state_dict(norm.state_dict())
    return other


def test_running_averages_equal_torchs_and_move_in_training_only():
    ours, torchs = BatchNorm(3, "running"), nn.BatchNorm2d(3)
    for _ in range(3):
        x = torch.randn(6, 3, 4, 4) * 2 + 1
        assert torch.allclose(ours(x), torchs(x), atol=1e-5)
    assert torch.allclose(ours.running_var, torchs.running_var, atol=1e-6)
    ours.eval(), torchs.eval()
    x = torch.randn(6, 3, 4, 4)
    assert torch.allclose(ours(x), torchs(x), atol=1e-5)
    assert torch.equal(ours(x)[:1], ours(x[:1]))  # inductive: companions do not matter


def test_running_averages_do_not_depend_on_how_many_tasks_pass_at_a_time():
    x = torch.randn(6, 5, 3, 2, 2, dtype=torch.float64)
    layers = [BatchNorm(3, "running").double() for _ in range(3)]
    for layer, size in zip(layers, (1, 2, 6), strict=True):
        for piece in x.split(size):
            layer(piece.flatten(0, 1), tasks=size)
    for other in layers[1:]:
        assert torch.allclose(other.running_var, layers[0].running_var, atol=1e-12)
        assert torch.allclose(other.running_mean, layers[0].running_mean, atol=1e-12)


def test_the_kernel_and_the_written_out_formula_agree():
    x, norm = torch.randn(8, 3, 2, 5, dtype=torch.float64) + 7, random_norm(3)
    inside = vmap(lambda task: norm(task))(x.view(2, 4, 3, 2, 5))
    assert torch.allclose(inside.flatten(0, 1), norm(x, tasks=2), atol=1e-12)
    support = random_like(norm, "support")  # statistics of all examples are batch statistics
    assert torch.allclose(with_support(8, support, x), norm(x), atol=1e-12)


def second_order(norm_of, tasks=2, vectorised=True):
    """Meta-gradient, inside torch.func throughout, of one linear layer and a norm."""
    g = torch.Generator().manual_seed(0)
    x, y = (torch.randn(tasks, 6, n, generator=g, dtype=torch.float64) for n in (3, 4))
    p = tuple(torch.randn(*s, generator=g, dtype=torch.float64) for s in ((3, 4), (4,), (4,)))

    def inner(p, x, y):
        return (torch.tanh(norm_of(x @ p[0], p[1], p[2])) - y).square().mean()

    def task(p, x, y):
        grads = torch.func.grad(inner)(p, x, y)
        return inner(tuple(a - 0.5 * b for a, b in zip(p, grads, strict=True)), x, y)

    def outer(p):
        if vectorised:
            return vmap(task, (None, 0, 0))(p, x, y).mean()
        return torch.stack([task(p, x[t], y[t]) for t in range(tasks)]).mean()

    return torch.cat([grad.flatten() for grad in torch.func.grad(outer)(p)])


def test_ours_is_right_at_second_order_under_vmap_where_torchs_was_not(record_property):
    norm = BatchNorm(4).double()

    def ours(z, weight, bias):
        return functional_call(norm, {"weight": weight, "bias": bias}, (z,))

    def torchs(z, weight, bias):
        return nn.functional.batch_norm(z, None, None, weight, bias, training=True)

    loop = second_order(torchs, vectorised=False)
    assert torch.allclose(second_order(ours, vectorised=False), loop, atol=1e-12)
    assert torch.allclose(second_order(ours), loop, atol=1e-12)
    error = float((second_order(torchs) - loop).norm() / loop.norm())
    record_property("relative error of vmap over torch's batch_norm", error)  # recorded, not judged


def test_the_mode_can_be_changed_for_a_while():
    net = Conv4()
    with normalised(net, "support"):
        assert bn_mode(net) == "support"
    assert bn_mode(net) == "batch"
    with normalised(net, None):
        assert bn_mode(net) == "batch"


def test_how_a_module_normalises_is_told():
    assert bn_mode(nn.Linear(1, 1)) == "none"
    assert bn_mode(nn.BatchNorm1d(1)) == "torch"
    assert bn_mode(nn.Sequential(BatchNorm(1), BatchNorm(1, "support"))) == "batch+support"
    assert bn_mode(nn.Sequential(BatchNorm(1), nn.BatchNorm1d(1))) == "batch+torch"


@pytest.mark.parametrize(
    "make, message",
    [
        (lambda: BatchNorm(3, "instance"), "bn='instance'.*batch, support, running"),
        (lambda: normalised(nn.Linear(1, 1), "batch").__enter__(), "no minimeta BatchNorm"),
        (lambda: normalised(Conv4(), "running").__enter__(), "kept no running averages"),
    ],
)
def test_bad_input_gets_a_sentence(make, message):
    with pytest.raises(MinimetaError, match=message):
        make()


def test_running_averages_refuse_a_set_of_one_value():
    norm = BatchNorm(3, "running")
    with pytest.raises(MinimetaError, match="one value in each channel"):
        norm(torch.rand(2, 3), tasks=2)
    with pytest.raises(MinimetaError, match="one value in each channel"):
        norm.averages(torch.zeros(2, 3), torch.zeros(2, 3), count=1)
    assert norm.running_var.isfinite().all()
    assert norm.eval()(torch.rand(2, 3), tasks=2).isfinite().all()  # nothing is averaged there
