"""Meta-training: one loop for every learner.

Step i of a run sees the tasks number i·B..(i+1)·B-1 of its seed, so a run that stops and goes on
sees what an unbroken run sees.

>>> import minimeta as mm
>>> tasks = mm.tasks("sinusoids", shots=10, queries=10)
>>> mm.meta_train(mm.MAML(mm.MLP(1, 1), inner_lr=0.01), tasks, steps=3, meta_batch=25)
Training(3 steps of 25 tasks, loss ..., ... s)
"""

import math
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler
from tqdm import tqdm

from minimeta.checkpoint import Run, Training
from minimeta.episodes import Episode
from minimeta.errors import (
    DivergedError,
    MinimetaError,
    check_count,
    check_episodes,
    check_path,
    check_rate,
    check_seed,
    shown,
)
from minimeta.evaluate import meta_test, tasks_at_once
from minimeta.fast.captured import Captured, recorder
from minimeta.learner import require_learner
from minimeta.optimizers import adam, check_optimizer, optimised, recordable, trainable
from minimeta.sources import Tasks, require_tasks


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
    capture: bool | None = None,
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
        Any torch optimiser over the learner's parameters but LBFGS, and any schedule over it but
        ReduceLROnPlateau, stepped once an outer step.
    clip
        Largest gradient norm; None: no clipping.
    seed
        Chooses the stream of training tasks.
    val_tasks, val_every, val_episodes
        If given, every ``val_every`` steps and at the end the learner is scored on ``val_episodes``
        tasks of this source, and it ends up with the weights that scored best.
    checkpoint, checkpoint_every
        A file that is rewritten every so many steps, and from which the run goes on if it exists and is
        of this run, schedule included (functions in it are not compared). A run ends with the same
        bits whether it was broken or not, on a CPU at equal thread count.
    chunk
        Tasks whose gradients are computed at a time (memory); None chooses. Statistics are never
        pooled over tasks, so it does not change the result.
    capture
        On a GPU, record the step (sampling, inner loop, gradient, clipping) as a CUDA graph and replay
        it; None: yes where the step is always the same. The optimiser's own step is recorded too if it
        can be (``capturable=True`` and a rate that is a tensor, as in the optimiser made here).
    progress
        Show a progress bar; it stays quiet where the output is not a terminal.

    Raises
    ------
    DivergedError
        If the loss or its gradient stops being finite; the weights are those before that step.
    MinimetaError
        If arguments contradict each other or a checkpoint belongs to another run.
    KeyboardInterrupt
        After Ctrl-C, once the step is done and saved.
    """
    counts = dict(meta_batch=meta_batch, val_every=val_every, checkpoint_every=checkpoint_every)
    for word, value in (*counts.items(), ("chunk", 1 if chunk is None else chunk)):
        check_count(word, value)
    _check_numbers(steps, val_episodes, lr, clip)
    seed = check_seed("seed", seed)
    _check_fit(learner, tasks, val_tasks)
    if capture not in (None, True, False):
        raise MinimetaError(f"capture={shown(capture)} was given; it is True, False or None.")
    if optimizer is None:
        optimizer = adam(learner, 1e-3 if lr is None else lr)
    elif lr is not None:
        raise MinimetaError(
            f"both lr={lr} and an optimizer were given; set the rate in the optimizer alone."
        )
    check_optimizer(learner, optimizer, schedule)
    run = Run(learner, optimizer, schedule, Training(meta_batch))
    run.identify(
        tasks, val_tasks, seed=seed, clip=clip, val_every=val_every, val_episodes=val_episodes
    )
    path = None if checkpoint is None else check_path(checkpoint)
    if path is not None:
        run.restore(path, steps) if path.exists() else run.begin(path)
    record, done = run.record, len(run.record.losses)
    learner.train()
    bar = tqdm(total=steps, initial=done, disable=None if progress else True, unit="step")
    before, started = record.seconds, time.perf_counter()
    device = tasks.device
    numbers = torch.arange(done * meta_batch, (done + 1) * meta_batch, device=device)

    def differentiate() -> list[Tensor]:
        loss = _gradient(learner, tasks.at(numbers, seed=seed), chunk or tasks_at_once(tasks))
        norm = nn.utils.clip_grad_norm_(optimised(optimizer), math.inf if clip is None else clip)
        numbers.add_(meta_batch)
        return [torch.stack([loss, norm.to(loss)])]

    def move() -> list[Tensor]:
        optimizer.step()
        return []

    steady = not hasattr(learner, "begin_step")
    recording = recorder(device) if capture is not False and steady else None
    averages = [b for b in learner.buffers() if b.is_floating_point()]
    gradient = Captured(differentiate, recording)
    outer_step = Captured(move, recording if recordable(optimizer) else None)
    with _interruptible() as interrupted:
        for step in range(done, steps):
            if not steady:
                learner.begin_step(step)  # type: ignore[operator]
            known = [b.clone() for b in averages]
            loss, norm = gradient()[0].tolist()
            if not (math.isfinite(loss) and math.isfinite(norm)):
                for buffer, old in zip(averages, known, strict=True):
                    buffer.copy_(old)
                raise DivergedError(_diverged(loss, norm, step, record.losses))
            outer_step()
            if schedule is not None:
                schedule.step()
            record.losses.append(loss)
            record.seconds = before + time.perf_counter() - started
            last = step + 1 == steps
            if val_tasks is not None and ((step + 1) % val_every == 0 or last):
                run.select(meta_test(learner, val_tasks, episodes=val_episodes, seed=seed))
            stop = interrupted()
            if path is not None and ((step + 1) % checkpoint_every == 0 or last or stop):
                run.save(path)
            bar.update()
            bar.set_postfix(loss=f"{record.losses[-1]:.3f}", refresh=False)
            if stop:
                kept = f"; the same call goes on from {path}" if path is not None else ""
                bar.write(f"stopped after {step + 1} steps{kept}")
                bar.close()
                raise KeyboardInterrupt
    bar.close()
    record.seconds = before + time.perf_counter() - started
    if run.best is not None:
        learner.load_state_dict(run.best)
    return record


def _gradient(learner: nn.Module, episode: Episode, chunk: int) -> Tensor:
    """Leave the gradient of the mean loss over all tasks in ``.grad``, ``chunk`` tasks at a time."""
    learner.zero_grad()
    total = torch.zeros((), device=episode.support_x.device)
    for piece in episode.split(chunk):
        loss = learner.loss(piece) * (len(piece) / len(episode))  # type: ignore[operator]
        loss.backward()
        total = total + loss.detach()
    return total


@contextmanager
def _interruptible() -> Iterator[Callable[[], bool]]:
    """Let Ctrl-C wait for the end of a step, so that what is saved is whole; a second one does not."""
    asked = False

    def ask(signum: int, frame: object) -> None:
        nonlocal asked
        if asked:
            raise KeyboardInterrupt
        asked = True

    try:
        previous = signal.signal(signal.SIGINT, ask)
    except ValueError:  # only the main thread is told of Ctrl-C
        yield lambda: False
        return
    try:
        yield lambda: asked
    finally:
        signal.signal(signal.SIGINT, previous)


def _check_numbers(steps: int, val_episodes: int, lr: float | None, clip: float | None) -> None:
    if isinstance(steps, bool) or steps != 0:
        check_count("steps", steps)
    check_episodes(val_episodes, "val_episodes")
    for word, value in (("lr", lr), ("clip", clip)):
        if value is not None:
            check_rate(word, value)


def _check_fit(learner: nn.Module, tasks: Tasks, val_tasks: Tasks | None) -> None:
    require_learner(learner, "loss")
    require_tasks(tasks)
    require_tasks(tasks if val_tasks is None else val_tasks, "val_tasks")
    parameters = trainable(learner)
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


def _diverged(loss: float, norm: float, step: int, losses: list[float]) -> str:
    name, value = ("gradient's norm", norm) if math.isfinite(loss) else ("loss", loss)
    last = f" (the loss was {losses[-1]:.3g} before)" if losses else ""
    return (
        f"the {name} became {value} at step {step + 1}{last}, so training stopped with the weights before that step; try a "
        "smaller inner_lr or lr, fewer inner_steps, or clip=10, and look for NaN in the data."
    )
