"""Optimisers for the outer loop: what they hold and whether their step can be recorded."""

import torch
from torch import nn

from minimeta.optimizers import adam, optimised, recordable, trainable


def test_frozen_parameters_stay_out():
    layer = nn.Linear(2, 2)
    layer.bias.requires_grad_(False)
    assert trainable(layer) == [layer.weight] == optimised(adam(layer, 0.1))


def test_a_step_is_recordable_only_with_its_rate_on_the_device():
    layer = nn.Linear(2, 2)
    assert not recordable(adam(layer, 0.1))  # on a CPU nothing is recorded
    plain = torch.optim.SGD(layer.parameters(), lr=0.1)
    assert not recordable(plain)
    for group in plain.param_groups:
        group.update(capturable=True, lr=torch.tensor(0.1))
    assert recordable(plain)
