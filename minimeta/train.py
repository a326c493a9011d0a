"""Meta-training: one loop for every learner.

Step i of a run sees the tasks number i·B..(i+1)·B-1 of its seed, so a run that stops and goes on
sees what an unbroken run sees.

>>> import minimeta as mm
>>> tasks = mm.tasks("sinusoids", shots=10, queries=10)
>>> mm.meta_train(mm.MAML(mm.MLP(1, 1), inner_lr=0.01), tasks, steps=3, meta_batch=25)
Training(3 steps of 25 tasks, loss ..., ... s)
"""

import time
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler
from tqdm import tqdm

from minimeta.checkpoint import Run, Training, identity
from minimeta.episodes import Episode
from minimeta.errors import DivergedError, MinimetaError
from minimeta.evaluate import meta_test, tasks_at_once
from minimeta.sources import Tasks


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
    run = Run(
        learner,
        optimizer,
        schedule,
        Training(meta_batch),
        identity(learner, tasks, seed, meta_batch),
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
