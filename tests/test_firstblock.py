"""The first block as one product: the same maps and derivatives as a convolution, a norm and a pool."""

import pytest
import torch
import torch.nn.functional as F
from torch.func import functional_call

from minimeta.firstblock import PooledProduct, images
from minimeta.networks import Conv4, ConvBlock


def plainly(block, x, tasks):
    """What the block means, layer by layer."""
    return torch.cat(
        [
            F.relu(
                F.max_pool2d(
                    F.batch_norm(
                        F.conv2d(piece, block.conv.weight, None, 1, block.conv.padding),
                        None, None, block.norm.weight, block.norm.bias, True, 0.0, block.norm.eps,
                    ),
                    2,
                )
            )
            for piece in x.chunk(tasks)
        ]
    )  # fmt: skip


def made(channels=1, padding=1, outputs=5):
    torch.manual_seed(0)
    block = ConvBlock(channels, outputs, "batch", padding=padding).double()
    with torch.no_grad():
        for p in (block.norm.weight, block.norm.bias):
            p.copy_(torch.randn_like(p))  # of both signs: a negative scale turns the order round
    return block


@pytest.mark.parametrize("side", [6, 7, 28])
@pytest.mark.parametrize("padding", [0, 1])
@pytest.mark.parametrize(("channels", "tasks"), [(1, 1), (3, 2)])
def test_values_and_gradients_are_those_of_the_layers(side, padding, channels, tasks):
    block = made(channels, padding)
    x = torch.rand(tasks * 4, channels, side, side, dtype=torch.float64)
    out, expected = block(x, tasks=tasks), plainly(block, x, tasks)
    assert torch.allclose(out, expected, rtol=1e-10, atol=1e-12)
    g = torch.randn_like(expected)
    mine, theirs = (torch.autograd.grad(y, list(block.parameters()), g) for y in (out, expected))
    for a, b in zip(mine, theirs, strict=True):
        assert torch.allclose(a, b, rtol=1e-9, atol=1e-11)


def test_more_windows_than_one_piece_holds(monkeypatch):
    block = made(outputs=3)
    x = torch.rand(8, 1, 12, 12, dtype=torch.float64)
    whole = block(x, tasks=2)
    monkeypatch.setattr("minimeta.firstblock._PIECE", 1)  # pieces of 64 windows
    pieces = block(x, tasks=2)
    assert torch.allclose(whole, pieces, rtol=1e-12)
    (a,), (b,) = (torch.autograd.grad(y.square().sum(), block.conv.weight) for y in (whole, pieces))
    assert torch.allclose(a, b, rtol=1e-12)


def test_first_and_second_derivatives_are_right():
    torch.manual_seed(0)
    patches = torch.rand(2, 4, 6, 9, dtype=torch.float64)
    weight = torch.randn(2, 9, 3, dtype=torch.float64, requires_grad=True)
    constant = torch.randn(2, 1, 3, dtype=torch.float64, requires_grad=True)

    def squared(w, c):
        return PooledProduct.apply(patches, w, c).square()

    assert torch.autograd.gradcheck(squared, (weight, constant))
    assert torch.autograd.gradgradcheck(squared, (weight, constant))


def test_a_third_derivative_too():
    block = made()
    x = torch.rand(4, 1, 8, 8, dtype=torch.float64)
    w = block.conv.weight.detach().requires_grad_()

    def third(y):
        for _ in range(3):
            (g,) = torch.autograd.grad(y, w, create_graph=True)
            y = (g * g).sum()
        return y

    mine = third(functional_call(block, {"conv.weight": w}, (x,), {"tasks": 1}).square().sum())
    block.conv.weight.data = w
    expected = third(plainly_with(block, x, w).square().sum())
    assert torch.allclose(mine, expected, rtol=1e-8)


def plainly_with(block, x, w):
    h = F.conv2d(x, w, None, 1, 1)
    mean, var = h.mean((0, 2, 3), keepdim=True), h.var((0, 2, 3), keepdim=True, correction=0)
    h = (h - mean) * torch.rsqrt(var + block.norm.eps)
    scale, shift = (p.view(1, -1, 1, 1) for p in (block.norm.weight, block.norm.bias))
    return F.relu(F.max_pool2d(h * scale + shift, 2))


def test_bright_images_lose_no_digits():
    block = made().float()
    x = 1000 + torch.rand(6, 1, 16, 16)
    exact = plainly(block.double(), x.double(), 1)
    assert torch.allclose(block.float()(x, tasks=1).double(), exact, atol=2e-3)


def test_images_that_need_a_gradient_get_it():
    net = Conv4().double()
    x = torch.rand(3, 1, 28, 28, dtype=torch.float64, requires_grad=True)
    (g,) = torch.autograd.grad(net(x).sum(), x)
    assert g.abs().sum() > 0


def test_one_task_of_many():
    known = images(torch.rand(3, 2, 1, 6, 6), pool=True)
    alone = known.task(1)
    assert alone.patches.shape == (1, 4, 18, 9)
    assert torch.equal(alone.mean[0], known.mean[1])


def test_running_averages_are_torchs_in_training_and_in_evaluation():
    torch.manual_seed(0)
    block = ConvBlock(1, 4, "running").double()
    twin = torch.nn.BatchNorm2d(4).double()
    x = torch.rand(6, 1, 8, 8, dtype=torch.float64)
    for training in (True, True, False):
        block.train(training), twin.train(training)
        out = block(x, tasks=2 if training else 1)
        maps = F.conv2d(x, block.conv.weight, None, 1, 1)
        pieces = [twin(h) for h in maps.chunk(2 if training else 1)]
        assert torch.allclose(out, F.relu(F.max_pool2d(torch.cat(pieces), 2)), rtol=1e-10)
    assert torch.allclose(block.norm.running_mean, twin.running_mean, rtol=1e-12)
    assert torch.allclose(block.norm.running_var, twin.running_var, rtol=1e-12)
