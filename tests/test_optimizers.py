"""Optimisers for the outer loop: what they hold and whether their step can be recorded."""

import pytest
import torch
from torch import nn
from torch.optim import lr_scheduler

from minimeta import MinimetaError
from minimeta.optimizers import adam, check_optimizer, optimised, recordable, trainable


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


LAYER = nn.Linear(2, 2)
SGD = torch.optim.SGD(LAYER.parameters(), lr=0.1)


@pytest.mark.parametrize(
    "optimizer, schedule, sentence",
    [
        ("adam", None, "optimizer='adam' was given; make one of torch's over the learner's"),
        (torch.optim.Adam, None, "optimizer=<class 'torch.optim.* was given; make one of torch's"),
        (torch.optim.LBFGS(LAYER.parameters()), None, "LBFGS was given as optimizer, but"),
        (SGD, lambda step: 1.0, "schedule=<function .* was given; make one of torch's over"),
        (SGD, lr_scheduler.StepLR, "schedule=<class .* was given; make one of torch's over"),
        (SGD, lr_scheduler.ReduceLROnPlateau(SGD), "ReduceLROnPlateau was given as schedule, but"),
    ],
)
def test_what_a_loop_cannot_step_gets_a_sentence(optimizer, schedule, sentence):
    with pytest.raises(MinimetaError, match=sentence) as refused:
        check_optimizer(LAYER, optimizer, schedule)
    assert "\n" not in str(refused.value) and str(refused.value).endswith(".")


def test_other_optimisers_and_schedules_pass():
    for make in (torch.optim.Adam, torch.optim.Adagrad, torch.optim.Rprop):
        optimizer = make(LAYER.parameters())
        check_optimizer(LAYER, optimizer, None)
        check_optimizer(LAYER, optimizer, lr_scheduler.StepLR(optimizer, 1))
