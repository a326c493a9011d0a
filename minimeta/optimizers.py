"""Optimisers for the outer loop: which parameters they hold, and whether a GPU can record their step."""

import torch
from torch import Tensor, nn
from torch.optim import LBFGS, Optimizer
from torch.optim.lr_scheduler import LRScheduler, ReduceLROnPlateau

from minimeta.errors import MinimetaError, shown


def adam(learner: nn.Module, lr: float) -> torch.optim.Adam:
    """Make Adam over the learner's parameters, on a GPU so that its step can be recorded."""
    parameters = trainable(learner)
    if not parameters or parameters[0].device.type != "cuda":
        return torch.optim.Adam(parameters, lr=lr)
    rate = torch.tensor(lr, device=parameters[0].device)
    return torch.optim.Adam(parameters, lr=rate, capturable=True)


def recordable(optimizer: Optimizer) -> bool:
    """Whether the optimiser's step reads its rate and its counters from the device."""
    groups = optimizer.param_groups
    return all(g.get("capturable") and isinstance(g["lr"], Tensor) for g in groups)


def trainable(learner: nn.Module) -> list[nn.Parameter]:
    """Return the parameters that may change."""
    return [p for p in learner.parameters() if p.requires_grad]


def optimised(optimizer: Optimizer) -> list[Tensor]:
    """Return the parameters that an optimiser changes."""
    return [p for group in optimizer.param_groups for p in group["params"]]


def check_optimizer(learner: nn.Module, optimizer: Optimizer, schedule: LRScheduler | None) -> None:
    """Refuse an optimiser or a schedule of something else, or one that a loop cannot step."""
    if not isinstance(optimizer, Optimizer):
        raise MinimetaError(
            f"optimizer={shown(optimizer)} was given; make one of torch's over the learner's parameters, "
            "such as torch.optim.SGD(learner.parameters(), lr=0.1)."
        )
    if isinstance(optimizer, LBFGS):
        raise MinimetaError(
            "LBFGS was given as optimizer, but it asks for the loss again and again within a step, which "
            "here sees its tasks once; use another, such as torch.optim.Adam."
        )
    if schedule is not None and not isinstance(schedule, LRScheduler):
        raise MinimetaError(
            f"schedule={shown(schedule)} was given; make one of torch's over the optimizer, such as "
            "torch.optim.lr_scheduler.LambdaLR(optimizer, function)."
        )
    if isinstance(schedule, ReduceLROnPlateau):
        raise MinimetaError(
            "ReduceLROnPlateau was given as schedule, but it waits for a score and here every step is the "
            "same to it; use one that counts steps, such as CosineAnnealingLR."
        )
    own = {id(p) for p in learner.parameters()}
    if not all(id(p) in own for p in optimised(optimizer)):
        raise MinimetaError(
            "the optimizer holds parameters that are not the learner's, so they would never be trained; "
            "make it over learner.parameters(), after any copying or moving of the learner."
        )
    if schedule is not None and schedule.optimizer is not optimizer:
        raise MinimetaError("the schedule drives another optimizer; give the one it was made for.")
