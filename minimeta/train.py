"""Meta-training: one loop for every learner.

Step i of a run sees the tasks number i·B..(i+1)·B-1 of its seed, so a run that stops and goes on
sees what an unbroken run sees.

>>> import minimeta as mm
>>> tasks = mm.tasks("sinusoids", shots=10, queries=10)
>>> mm.meta_train(mm.MAML(mm.MLP(1, 1), inner_lr=0.01), tasks, steps=3, meta_batch=25)
Training(3 steps of 25 tasks, loss ..., ... s)
"""

import os
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler
from tqdm import tqdm

from minimeta.episodes import Episode
from minimeta.errors import DivergedError, MinimetaError
from minimeta.evaluate import Result, meta_test, tasks_at_once
from minimeta.sources import Tasks

CHECKPOINT_FORMAT = 1


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


def meta_train(
    learner: nn.Module,
    tasks: Tasks,
    *,
    steps: int,
    meta_batch: int = 4,
    lr: float | None = None,
    optimizer: Optimizer | None = None,
    schedule: LRScheduler | None = None,
    clip: float | None = None,
    seed: int = 0,
    val_tasks: Tasks | None = None,
    val_every: int = 500,
    val_episodes: int = 100,
    checkpoint: str | Path | None = None,
    checkpoint_every: int = 500,
    chunk: int | None = None,
    progress: bool = True,
) -> Training:
    """Train a learner on tasks from a source; its weights change in place.

    Parameters
    ----------
    learner
        Has ``loss(episode)``, a scalar that is a mean over tasks.
    tasks
        Where the training tasks come from; it must hold its data where the learner is.
    steps
        Outer steps in all, resumed ones included.
    meta_batch
        Tasks a step.
    lr
        Rate of Adam (default 0.001), if you give no ``optimizer``.
    optimizer, schedule
        Any torch optimiser over the learner's parameters, and any schedule over it, stepped once an
        outer step.
    clip
        Largest gradient norm; None: no clipping.
    seed
        Chooses the stream of training tasks.
    val_tasks, val_every, val_episodes
        If given, every ``val_every`` steps and at the end the learner is scored on ``val_episodes``
        tasks of this source, and it ends up with the weights that scored best.
    checkpoint, checkpoint_every
        A file that is rewritten every so many steps, and from which the run goes on if it exists.
    chunk
        Tasks whose gradients are computed at a time (memory); None chooses. Statistics are never
        pooled over tasks, so it does not change the result.
    progress
        Show a progress bar; it stays quiet where the output is not a terminal.

    Raises
    ------
    DivergedError
        If the loss stops being a finite number; the weights are those before that step.
    MinimetaError
        If arguments contradict each other or a checkpoint belongs to another run.
    """
    parameters = [p for p in learner.parameters() if p.requires_grad]
    _check(learner, parameters, tasks, steps, meta_batch, lr, optimizer, schedule)
    optimizer = optimizer or torch.optim.Adam(parameters, lr=1e-3 if lr is None else lr)
    run = _Run(
        learner,
        optimizer,
        schedule,
        Training(meta_batch),
        _identity(learner, tasks, seed, meta_batch),
    )
    if checkpoint is not None and Path(checkpoint).exists():
        run.restore(Path(checkpoint))
    record = run.record
    learner.train()
    done = len(record.losses)
    bar = tqdm(total=steps, initial=done, disable=None if progress else True, unit="step")
    before, started = record.seconds, time.perf_counter()
    try:
        for step in range(done, steps):
            episode = tasks.at(range(step * meta_batch, (step + 1) * meta_batch), seed=seed)
            loss = _gradient(learner, optimizer, episode, chunk or tasks_at_once(tasks))
            if not torch.isfinite(loss):
                raise DivergedError(_diverged(float(loss), step, record.losses))
            if clip is not None:
                nn.utils.clip_grad_norm_(parameters, clip)
            optimizer.step()
            if schedule is not None:
                schedule.step()
            record.losses.append(float(loss))
            record.seconds = before + time.perf_counter() - started
            last = step + 1 == steps
            if val_tasks is not None and ((step + 1) % val_every == 0 or last):
                run.select(meta_test(learner, val_tasks, episodes=val_episodes, seed=seed))
            if checkpoint is not None and ((step + 1) % checkpoint_every == 0 or last):
                run.save(Path(checkpoint))
            bar.update()
            bar.set_postfix(loss=f"{record.losses[-1]:.3f}", refresh=False)
    except KeyboardInterrupt:
        if checkpoint is not None:
            run.save(Path(checkpoint))
            bar.write(
                f"stopped after {len(record.losses)} steps; the same call goes on from {checkpoint}"
            )
        raise
    finally:
        bar.close()
    record.seconds = before + time.perf_counter() - started
    if run.best is not None:
        learner.load_state_dict(run.best)
    return record


def _gradient(learner: nn.Module, optimizer: Optimizer, episode: Episode, chunk: int) -> Tensor:
    """Leave the gradient of the mean loss over all tasks in ``.grad``, ``chunk`` tasks at a time."""
    optimizer.zero_grad()
    total = torch.zeros((), device=episode.support_x.device)
    for piece in episode.split(chunk):
        loss = learner.loss(piece) * (len(piece) / len(episode))  # type: ignore[operator]
        loss.backward()
        total = total + loss.detach()
    return total


class _Run:
    """The state of a run: everything a checkpoint must hold."""

    def __init__(
        self, learner: nn.Module, optimizer: Optimizer, schedule: LRScheduler | None,
        record: Training, identity: dict[str, Any],
    ) -> None:  # fmt: skip
        self.learner, self.optimizer, self.schedule = learner, optimizer, schedule
        self.record, self.identity = record, identity
        self.best: dict[str, Tensor] | None = None

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
            "format": CHECKPOINT_FORMAT,
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
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=path.parent, prefix=path.name, delete=False) as file:
            try:
                torch.save(state, file)
                file.flush()
                os.fsync(file.fileno())
                os.replace(file.name, path)
            except BaseException:
                os.unlink(file.name)
                raise

    def restore(self, path: Path) -> None:
        """Go on from a checkpoint, if it belongs to this run."""
        try:
            state = torch.load(path, weights_only=True)  # never executes code
            found = state["format"], state["identity"]
        except Exception as error:
            raise MinimetaError(
                f"{path} is not a minimeta checkpoint that can be read "
                f"({type(error).__name__}); move it away to start anew."
            ) from error
        expected = CHECKPOINT_FORMAT, self.identity
        if found != expected:
            differ = [k for k, v in self.identity.items() if found[1].get(k) != v] or ["format"]
            raise MinimetaError(
                f"{path} belongs to another run (its {', '.join(differ)} differ); give another "
                "checkpoint file, or move this one away to start anew."
            )
        self.learner.load_state_dict(state["learner"])
        self.optimizer.load_state_dict(state["optimizer"])
        if self.schedule is not None:
            self.schedule.load_state_dict(state["schedule"])
        self.best = state["best"]
        torch.set_rng_state(state["random"])
        saved = state["record"]
        self.record.losses = saved["losses"].tolist()
        self.record.val = [(step, Result(**values)) for step, values in saved["val"]]
        self.record.best_step, self.record.seconds = saved["best_step"], saved["seconds"]


def _identity(learner: nn.Module, tasks: Tasks, seed: int, meta_batch: int) -> dict[str, Any]:
    shapes = {name: list(p.shape) for name, p in learner.state_dict().items()}
    return {
        "learner": type(learner).__name__, "weights": shapes, "tasks": repr(tasks), "seed": seed,
        "meta_batch": meta_batch,
    }  # fmt: skip


def _check(
    learner: nn.Module, parameters: list[nn.Parameter], tasks: Tasks, steps: int, meta_batch: int,
    lr: float | None, optimizer: Optimizer | None, schedule: LRScheduler | None,
) -> None:  # fmt: skip
    if not parameters:
        raise MinimetaError(
            f"this {type(learner).__name__} has no parameters to train; evaluate it with meta_test, or "
            "give it a network."
        )
    if parameters[0].device.type != tasks.device.type:
        raise MinimetaError(
            f"the learner is on {parameters[0].device} and the tasks on {tasks.device}; move one of "
            "them with .to(device)."
        )
    if steps < 0 or meta_batch < 1:
        raise MinimetaError(
            f"steps={steps} and meta_batch={meta_batch} were given; steps are at least 0 and a step "
            "takes at least one task."
        )
    if lr is not None and optimizer is not None:
        raise MinimetaError(
            f"both lr={lr} and an optimizer were given; set the rate in the optimizer alone."
        )
    if lr is not None and not 0 < lr < float("inf"):
        raise MinimetaError(f"lr={lr} was given; a learning rate is a number above 0.")
    if schedule is not None and schedule.optimizer is not optimizer:
        raise MinimetaError("the schedule drives another optimizer; give the one it was made for.")


def _diverged(loss: float, step: int, losses: list[float]) -> str:
    last = f" (it was {losses[-1]:.3g} before)" if losses else ""
    return (
        f"the loss became {loss} at step {step + 1}{last}, so training stopped with the weights before "
        "that step; try a smaller inner_lr or lr, fewer inner_steps, or clip=10, and look for NaN in "
        "the data."
    )
