"""The papers' shapes and sizes, and all tasks at once like one after another."""

import pytest
import torch
import torch.nn.functional as F
from torch.func import functional_call
from torch.nn.utils import prune

import minimeta as mm
from minimeta import Conv4, MinimetaError
from minimeta.kernels import small_convolution
from minimeta.networks import ConvBlock
from tests.conftest import with_support


@pytest.mark.parametrize(
    "options, image, shape",
    [
        (dict(), (1, 28, 28), (64,)),  # ProtoNet, Omniglot
        (dict(channels=3, size=84), (3, 84, 84), (1600,)),  # ProtoNet, miniImageNet
        (dict(ways=5, layout="strided"), (1, 28, 28), (5,)),  # MAML, Omniglot
        (dict(ways=5, filters=32, channels=3, size=84), (3, 84, 84), (5,)),  # MAML, miniImageNet
        (dict(layout="maps"), (1, 28, 28), (64, 5, 5)),  # RelationNet, Omniglot
        (dict(layout="maps", channels=3, size=84), (3, 84, 84), (64, 19, 19)),  # and miniImageNet
    ],
)
def test_the_papers_shapes(options, image, shape):
    net = Conv4(**options)
    assert net(torch.zeros(2, *image)).shape == (2, *shape)
    assert net(torch.zeros(3, 2, *image)).shape == (3, 2, *shape)


def test_parameter_counts_follow_from_the_papers():
    def convolutions(first):  # weights, and the scale and shift of the norm
        return first * 64 * 9 + 3 * 64 * 64 * 9 + 4 * 2 * 64

    assert sum(p.numel() for p in Conv4().parameters()) == convolutions(1)
    assert sum(p.numel() for p in Conv4(ways=5).parameters()) == convolutions(1) + 64 * 5 + 5
    relation = 128 * 64 * 9 + 64 * 64 * 9 + 2 * 2 * 64 + (64 * 8 + 8) + (8 + 1)
    assert sum(p.numel() for p in mm.RelationModule().parameters()) == relation


@pytest.mark.parametrize("layout", ["pool", "strided", "maps"])
@pytest.mark.parametrize("bn", ["batch", "support"])
def test_all_tasks_at_once_equal_one_after_another(layout, bn):
    net = Conv4(layout=layout, filters=4, size=20, bn=bn).double()
    x = torch.rand(3, 6, 1, 20, 20, dtype=torch.float64)
    loop = torch.stack([with_support(4, net, task) for task in x])
    assert torch.allclose(with_support(4, net, x), loop, atol=1e-12)


@pytest.mark.parametrize(
    "make, message",
    [
        (lambda: Conv4(bn="instance"), "bn='instance'.*batch, support, running"),
        (lambda: Conv4(layout="resnet"), "layout='resnet'.*pool, strided, maps"),
        (lambda: Conv4(size=8), "size=8 leaves no pixel"),
        (lambda: mm.RelationModule((64, 3, 3), padding=0), "maps of 3x3 leave no pixel"),
        (lambda: Conv4()(torch.zeros(2, 3, 28, 28)), r"\(3, 28, 28\).*channels=3"),
        (lambda: Conv4()(torch.zeros(28, 28)), "add the batch axis"),
    ],
)
def test_bad_input_gets_a_sentence(make, message):
    with pytest.raises(MinimetaError, match=message) as caught:
        make()
    assert str(caught.value).endswith((".", ")."))


@pytest.mark.parametrize("shape", [(1, 1), (1, 2), (2, 1), (2, 2)])
def test_maps_so_small_that_one_product_convolves_them(shape):
    """The same numbers and derivatives as torch's convolution, to the second order."""
    torch.manual_seed(0)
    x = torch.randn(3, 2, *shape, dtype=torch.float64, requires_grad=True)
    weight = torch.randn(4, 2, 3, 3, dtype=torch.float64, requires_grad=True)
    mine, theirs = small_convolution(x, weight), F.conv2d(x, weight, padding=1)
    assert torch.allclose(mine, theirs, rtol=1e-12, atol=1e-12)
    g = torch.randn_like(theirs)
    for a, b in zip(*(torch.autograd.grad(y, (x, weight), g) for y in (mine, theirs)), strict=True):
        assert torch.allclose(a, b, rtol=1e-12, atol=1e-12)
    assert torch.autograd.gradgradcheck(small_convolution, (x, weight))


def test_a_block_is_the_same_on_small_maps_and_in_any_transform():
    """A block chooses by the size of its maps; a loop over stacked weights and vmap must agree with it."""
    torch.manual_seed(0)
    block = ConvBlock(2, 3, "batch", pool=False).double()
    x, weights = (torch.randn(*s, dtype=torch.float64) for s in ((5, 2, 2, 2), (4, 3, 2, 3, 3)))

    def run(w):
        return functional_call(block, {"conv.weight": w}, (x,), {"tasks": 1})

    loop = torch.stack([run(w) for w in weights])
    assert torch.allclose(torch.func.vmap(run)(weights), loop, rtol=1e-10, atol=1e-12)
    assert torch.allclose(
        run(weights[0]), F.relu(block.norm(F.conv2d(x, weights[0], padding=1))), rtol=1e-10
    )


def test_hooks_and_pruning_are_seen_by_every_block():
    net, seen = Conv4(filters=4), []
    for block in net.blocks:
        for layer in (block.conv, block.norm):
            layer.register_forward_hook(lambda m, args, out: seen.append(m))
    net(torch.rand(2, 3, 1, 28, 28))
    assert seen == [layer for block in net.blocks for layer in (block.conv, block.norm)]
    net = Conv4(filters=4)
    first = net.blocks[0].conv
    prune.l1_unstructured(first, "weight", 0.5)
    x = torch.rand(2, 1, 28, 28)
    before = net(x)
    with torch.no_grad():
        first.weight_orig.add_(torch.rand_like(first.weight_orig))
    assert (net(x) - before).abs().max() > 1e-3


@pytest.mark.parametrize("layout", ["pool", "strided", "maps"])
def test_no_images_have_no_embeddings(layout):
    assert len(Conv4(layout=layout)(torch.zeros(0, 1, 28, 28))) == 0
