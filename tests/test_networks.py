"""The papers' shapes and sizes, and all tasks at once like one after another."""

import pytest
import torch

import minimeta as mm
from minimeta import Conv4, MinimetaError
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
