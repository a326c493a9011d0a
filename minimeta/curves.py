"""The MAML paper's regression curves: error against gradient steps, ``minimeta reproduce sinusoids``.

Four starts of the same network adapt to the same tasks: MAML's, first-order MAML's, that of joint training
on all tasks at once, and a random one. Rates of the last two are chosen on val tasks for each number of
steps, which favours them.
"""

from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from minimeta.catalog import tasks
from minimeta.episodes import Episode
from minimeta.errors import DivergedError, check_episodes, check_rate
from minimeta.evaluate import half_width, meta_test
from minimeta.maml import MAML
from minimeta.presets import PRESETS, start
from minimeta.rows import Row, held, opened, read, write
from minimeta.train import meta_train

RATES = (0.0, 0.001, 0.003, 0.01, 0.02, 0.03, 0.05, 0.1)
STEPS = tuple(range(11))


class Joint(MAML):
    """The same network trained as one regression on all points of all tasks, without an inner loop.

    >>> import minimeta as mm
    >>> episode = mm.tasks("sinusoids", shots=5, queries=5).at([0])
    >>> Joint(mm.MLP(1, 1), inner_lr=0.01).loss(episode).shape
    torch.Size([])
    """

    def loss(self, episode: Episode) -> Tensor:
        """Mean squared error on support and query points, a scalar."""
        assert episode.query_y is not None
        x = torch.cat([episode.support_x, episode.query_x], 1)
        y = torch.cat([episode.support_y, episode.query_y], 1)
        return F.mse_loss(self.network(x), y)


def sinusoids(
    folder: Path, *, seeds: Sequence[int] = (0, 1, 2), effort: float = 1.0, episodes: int = 1000,
    say: Callable[[str], object] = print,
) -> list[dict[str, Any]]:  # fmt: skip
    """Return a row for every K, method and number of steps: mean squared error over training seeds.

    A row also says at which rate each seed adapted.

    Parameters
    ----------
    folder
        Where each finished curve goes, and where an earlier run left its own.
    seeds
        Of the networks' start and the training tasks.
    effort
        The fraction of the preset's steps to take.
    episodes
        Test tasks of each point of a curve, and val tasks of each choice of a rate.
    """
    check_rate("effort", effort)
    check_episodes(episodes)
    folder, found = opened(folder), []
    for shots in (5, 10):
        done: dict[str, list[Row]] = {}
        for seed in seeds:
            for method in ("MAML", "FOMAML", "joint", "scratch"):
                stem = f"sinusoids-{shots}-{method}-seed{seed}-effort{effort:g}-{episodes}.json"
                with held(folder / stem, say):
                    row = read(folder / stem, ("curve", "rates"))
                    if row is None:
                        row = _curve(method, shots, seed, effort, episodes)
                        write(folder / stem, row)
                        start, one = row["curve"][:2]
                        say(
                            f"K = {shots}, {method}, seed {seed}: {start:.3f}, {one:.3f} after one step"
                        )
                done.setdefault(method, []).append(row)
        found += [
            {
                "shots": shots, "method": method, "inner_steps": j, "seeds": len(seeds),
                "episodes": episodes, "mse": sum(r["curve"][j] for r in rows) / len(rows),
                "ci95_over_seeds": (
                    half_width([r["curve"][j] for r in rows], over="seeds") if len(rows) > 1 else None
                ),
                "rates": [r["rates"][j] for r in rows],
            }
            for method, rows in done.items() for j in STEPS
        ]  # fmt: skip
    return found


def _curve(method: str, shots: int, seed: int, effort: float, episodes: int) -> Row:
    """Train one start and return its test error after 0, 1, ... inner steps, and the rate of each."""
    preset = PRESETS[f"maml-sinusoids-{shots}s-tuned"]
    val, test = (
        tasks("sinusoids", split=s, shots=shots, queries=preset.queries) for s in ("val", "test")
    )
    learner: MAML = start(preset, seed)  # type: ignore[assignment]
    learner.first_order = method == "FOMAML"
    if method == "joint":
        learner = Joint(learner.network, inner_lr=learner.inner_lr)
    if method != "scratch":
        steps = max(1, round(effort * preset.steps))
        optimizer, schedule = preset.optimizer(learner, steps)
        meta_train(
            learner, tasks("sinusoids", shots=shots, queries=preset.queries), steps=steps,
            meta_batch=preset.meta_batch, optimizer=optimizer, schedule=schedule, seed=seed,
        )  # fmt: skip
    rates = RATES if method in ("joint", "scratch") else (learner.inner_lr,)
    curve, chosen = [], []
    for learner.test_inner_steps in STEPS:
        scores = {}
        for learner.inner_lr in rates if len(rates) > 1 else ():
            with suppress(DivergedError):  # a rate too large to be scored is not a candidate
                scores[learner.inner_lr] = meta_test(learner, val, episodes=episodes).mean
        learner.inner_lr = min(scores, key=scores.__getitem__, default=rates[0])
        curve.append(meta_test(learner, test, episodes=episodes).mean)
        chosen.append(learner.inner_lr)
    return {"curve": curve, "rates": chosen}


def report(rows: Sequence[dict[str, Any]]) -> str:
    """Write the curves as text: a line for each K and method."""
    shown = (0, 1, 2, 5, 10)
    lines = ["K   method   " + "".join(f"{f'{j} steps':>18}" for j in shown)]
    for shots, method in dict.fromkeys((r["shots"], r["method"]) for r in rows):
        mine = {r["inner_steps"]: r for r in rows if (r["shots"], r["method"]) == (shots, method)}
        values = [
            f"{mine[j]['mse']:.3f}"
            + (f" ± {mine[j]['ci95_over_seeds']:.3f}" if mine[j]["ci95_over_seeds"] else "")
            for j in shown
        ]
        lines.append(f"{shots:<4}{method:<9}" + "".join(f"{v:>18}" for v in values))
    return "\n".join(lines)
