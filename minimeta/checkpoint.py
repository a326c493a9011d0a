"""The record of a training run and its checkpoints: atomic, checked, free of code."""

import io
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from minimeta.description import describe, to_json
from minimeta.errors import MinimetaError
from minimeta.evaluate import Result
from minimeta.files import replacing
from minimeta.sources import Tasks

FORMAT = 3
# what a schedule changes as it goes, and its base rates, which are the optimiser's initial_lr
MOVING = {
    *("last_epoch", "_step_count", "_last_lr", "T_cur", "T_i", "base_lrs"),
    *("_is_initial", "_get_lr_called_within_step"),
}
DRIVEN = {"lr", "momentum", "betas"}  # what a schedule changes in the optimiser


@dataclass(repr=False)
class Training:
    """What happened in a training run.

    Parameters
    ----------
    meta_batch
        Tasks a step.
    losses
        The loss of each step.
    val
        (steps done, result on val tasks) at every validation.
    best_step
        The step whose weights the learner holds now; None if nothing was selected.
    seconds
        Wall-clock time in the loop, validation included, over all resumed parts.
    """

    meta_batch: int
    losses: list[float] = field(default_factory=list)
    val: list[tuple[int, Result]] = field(default_factory=list)
    best_step: int | None = None
    seconds: float = 0.0

    def __repr__(self) -> str:
        tail = self.losses[-100:]
        text = f"{len(self.losses)} steps of {self.meta_batch} tasks"
        if tail:
            text += f", loss {sum(tail) / len(tail):.3f}"
        if self.best_step is not None:
            text += f", weights of step {self.best_step} (best on val)"
        return f"Training({text}, {self.seconds:.1f} s)"


class Run:
    """The state of a run: everything a checkpoint must hold."""

    def __init__(
        self,
        learner: nn.Module,
        optimizer: Optimizer,
        schedule: LRScheduler | None,
        record: Training,
    ) -> None:
        self.learner, self.optimizer, self.schedule = learner, optimizer, schedule
        self.record = record
        self.best: dict[str, Tensor] | None = None
        self.identity: dict[str, str] = {}

    def identify(self, tasks: Tasks, val_tasks: Tasks | None, **settings: object) -> None:
        """Say what makes this run this run: going on with anything else is another experiment."""
        left_out = {"params"} | (DRIVEN if self.schedule is not None else set())
        rates = [
            {k: _native(v) for k, v in group.items() if k not in left_out}
            for group in self.optimizer.param_groups
        ]
        shapes = {name: list(t.shape) for name, t in self.learner.state_dict().items()}
        self.identity = {
            "learner": to_json(describe(self.learner)),
            "adapts": str(getattr(self.learner, "_chosen", "")),
            "weights": str(shapes),
            "tasks": f"{tasks!r} {tasks.fingerprint}",
            "val_tasks": "" if val_tasks is None else f"{val_tasks!r} {val_tasks.fingerprint}",
            "meta_batch": str(self.record.meta_batch),
            "optimizer": f"{type(self.optimizer).__name__} {rates}",
            "schedule": f"{type(self.schedule).__name__} {_settings(self.schedule)}",
            **{name: str(value) for name, value in settings.items()},
        }

    def select(self, result: Result) -> None:
        """Keep the weights if they are the best so far on the val tasks."""
        sign = -1 if result.metric == "mse" else 1
        scores = [sign * r.mean for _, r in self.record.val]
        self.record.val.append((len(self.record.losses), result))
        if not scores or sign * result.mean > max(scores):
            self.record.best_step = len(self.record.losses)
            self.best = {k: v.detach().clone() for k, v in self.learner.state_dict().items()}

    def save(self, path: Path) -> None:
        """Write the checkpoint; a crash leaves either the old file or the new one."""
        record = self.record
        state = {
            "format": FORMAT,
            "identity": self.identity,
            "learner": self.learner.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "schedule": self.schedule.state_dict() if self.schedule else None,
            "best": self.best,
            "random": torch.get_rng_state(),  # dropout draws from it
            "record": {
                "losses": torch.tensor(record.losses, dtype=torch.float64),
                "val": [(step, vars(result)) for step, result in record.val],
                "best_step": record.best_step,
                "seconds": record.seconds,
            },
        }
        buffer = io.BytesIO()  # torch would hide what the disk says
        torch.save(_native(state), buffer)
        with replacing(path) as file:
            file.write(buffer.getbuffer())

    def begin(self, path: Path) -> None:
        """Write the first checkpoint and read it: what cannot be kept is known before the first step."""
        self.save(path)
        try:
            torch.load(path, weights_only=True, map_location="cpu")
        except Exception as error:
            path.unlink()
            raise MinimetaError(
                "a checkpoint was asked for, but the optimizer or the schedule holds an object that a file "
                f"without code cannot keep ({' '.join(str(error).split())[:120]}); hold numbers, tensors "
                "and functions only."
            ) from error

    def restore(self, path: Path, steps: int) -> None:
        """Go on from a checkpoint, if it belongs to this run."""
        try:
            state = torch.load(path, weights_only=True, map_location="cpu")  # never executes code
            found = state["format"], state["identity"]
        except Exception as error:
            raise MinimetaError(
                f"{path} is not a minimeta checkpoint that can be read "
                f"({type(error).__name__}); move it away to start anew."
            ) from error
        if found[0] != FORMAT:
            raise MinimetaError(
                f"{path} was saved by another version of minimeta (format {found[0]}, not {FORMAT}); finish "
                "that run with the version that began it, or move the file away to start anew."
            )
        if found[1] != self.identity:
            differ = [k for k, v in self.identity.items() if found[1].get(k) != v] or ["settings"]
            raise MinimetaError(
                f"{path} belongs to another run (different: {', '.join(differ)}); give another "
                "checkpoint file, or move this one away to start anew."
            )
        saved = state["record"]
        if len(saved["losses"]) > steps:
            raise MinimetaError(
                f"{path} holds {len(saved['losses'])} steps but steps={steps} was given; steps count from "
                "the start of the run, so give at least as many."
            )
        self.learner.load_state_dict(state["learner"])
        self.optimizer.load_state_dict(state["optimizer"])
        for group in self.optimizer.param_groups:  # a rate that is a tensor lives on the device
            if isinstance(group["lr"], Tensor):
                group["lr"] = group["lr"].to(group["params"][0].device)
        if self.schedule is not None:
            self.schedule.load_state_dict(state["schedule"])
        self.best = state["best"]
        torch.set_rng_state(state["random"])
        self.record.losses = saved["losses"].tolist()
        self.record.val = [(step, Result(**values)) for step, values in saved["val"]]
        self.record.best_step, self.record.seconds = saved["best_step"], saved["seconds"]


def _native(value: Any) -> Any:
    """Return the same structure with Python's numbers in the place of NumPy's."""
    if isinstance(value, np.generic):
        return value.item()
    if type(value) is dict:
        return {k: _native(v) for k, v in value.items()}
    return type(value)(map(_native, value)) if type(value) in (list, tuple) else value


def _settings(schedule: LRScheduler | None) -> dict[str, Any]:
    """Return what a schedule was made with, as plain data; functions cannot be compared."""
    return {} if schedule is None else _plain(schedule.state_dict())


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: _plain(v) for k, v in value.items() if k not in MOVING}
    if isinstance(value, list | tuple):
        return [_plain(v) for v in value]
    if isinstance(value, Tensor):
        return value.tolist()
    value = _native(value)
    # what an object looks like may hold its address, which is another one in every process
    return value if isinstance(value, str | int | float | None) else type(value).__name__
