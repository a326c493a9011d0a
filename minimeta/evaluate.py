"""Meta-testing: one protocol for every learner, and a result that says what it is.

>>> from torch import nn
>>> import minimeta as mm
>>> tasks = mm.tasks("glyphs", split="test", ways=5, shots=1, queries=15)
>>> mm.meta_test(mm.ProtoNet(nn.Flatten()), tasks, episodes=20)
0... ± 0.0... accuracy (20 episodes, glyphs/test, 5-way 1-shot, 15 queries, bn=none, seed 0)
"""

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from minimeta.episodes import Episode, count_queries
from minimeta.errors import DivergedError, MinimetaError, check_count, check_episodes, check_seed
from minimeta.learner import check_predictions, evaluating, query_targets, require_learner
from minimeta.norm import BN, bn_mode, normalised
from minimeta.sources import Tasks, require_tasks


@dataclass(frozen=True, repr=False, eq=False)
class Result:
    """What a learner scored on a number of episodes, with the protocol that produced it.

    Parameters
    ----------
    values
        One number an episode, float64 (episodes,): accuracy in [0, 1], or mean squared error.
    metric
        ``"accuracy"`` or ``"mse"``.
    tasks, learner
        Where the episodes came from, and whose score this is.
    ways, shots, queries
        N (None for regression), K and Q.
    bn
        Normalisation mode during the test.
    seed
        Of the episodes; task numbers are 0..episodes-1.
    data
        Fingerprint of the source's data: names and counts can agree where the examples differ.
    """

    values: Tensor
    metric: str
    tasks: str
    learner: str
    ways: int | None
    shots: int
    queries: int
    bn: str
    seed: int
    data: str = ""

    @property
    def mean(self) -> float:
        """Mean over episodes."""
        return float(self.values.mean())

    @property
    def ci95(self) -> float:
        """Half-width of the 95 % interval of the mean over episodes, 1.96·sd/√n."""
        return half_width(self.values)

    @property
    def episodes(self) -> int:
        """How many episodes were scored."""
        return len(self.values)

    def to_json(self) -> dict[str, object]:
        """Return the protocol, the mean and the interval as plain values."""
        names = [f.name for f in dataclasses.fields(self) if f.name != "values"]
        plain = {name: getattr(self, name) for name in names}
        return {"mean": self.mean, "ci95": self.ci95, "episodes": self.episodes, **plain}

    def protocol(self) -> str:
        """Say how the number was made."""
        kind = "" if self.ways is None else f"{self.ways}-way "
        return (
            f"{self.episodes} episodes, {self.tasks}, {kind}{self.shots}-shot, "
            f"{count_queries(self.queries)}, bn={self.bn}, seed {self.seed}"
        )

    def __repr__(self) -> str:
        return f"{self.mean:.3f} ± {self.ci95:.3f} {self.metric} ({self.protocol()})"


def half_width(values: Tensor | Sequence[float], *, over: str = "episodes") -> float:
    """Half-width of the 95 % interval of a mean.

    Parameters
    ----------
    values
        At least two numbers.
    over
        ``"episodes"``: many, so 1.96·sd/√n. ``"seeds"``: few, so Student's t with n - 1 degrees
        of freedom (n = 3: 4.30·sd/√n).

    Examples
    --------
    >>> round(half_width([1.0, 2.0, 3.0], over="seeds"), 2)
    2.48
    """
    x = torch.as_tensor(values, dtype=torch.float64)
    if x.ndim != 1 or len(x) < 2:
        raise MinimetaError(
            f"an interval was asked for from {x.numel()} number(s); it needs at least two."
        )
    if not bool(torch.isfinite(x).all()):
        raise MinimetaError(
            "an interval was asked for from numbers that are not all finite; leave those out."
        )
    if over not in ("episodes", "seeds"):
        raise MinimetaError(f"over={over!r} was given; it is 'episodes' or 'seeds'.")
    quantile = 1.96
    if over == "seeds":
        from scipy.stats import t  # here: importing it takes half a second

        quantile = float(t.ppf(0.975, len(x) - 1))
    return quantile * float(x.std()) / math.sqrt(len(x))


@torch.no_grad()
def meta_test(
    learner: nn.Module, tasks: Tasks, *, episodes: int = 600, seed: int = 0, bn: BN | None = None,
    chunk: int | None = None, name: str | None = None,
) -> Result:  # fmt: skip
    """Score a learner on tasks number 0..episodes-1 of a source.

    Parameters
    ----------
    learner
        A module that maps an episode to (T, R, N) scores or (T, R, D) values.
    tasks
        The task source, usually of the test split. It must hold its data where the learner is.
    episodes
        How many tasks; equal numbers and seeds give equal episodes, so results can be compared in
        pairs.
    seed
        Chooses the stream of tasks.
    bn
        Normalisation mode for this test; None: the network's own.
    chunk
        Tasks at a time (memory); None chooses. It does not change the numbers.
    name
        What the result calls the learner; None: its class.

    Examples
    --------
    >>> import minimeta as mm
    >>> tasks = mm.tasks("sinusoids", split="test", shots=10, queries=10)
    >>> meta_test(mm.MAML(mm.MLP(1, 1), inner_lr=0.01), tasks, episodes=50).metric
    'mse'
    """
    if chunk is not None:
        check_count("chunk", chunk)
    check_episodes(episodes)
    seed = check_seed("seed", seed)
    require_tasks(tasks)
    require_learner(learner)
    step = chunk or tasks_at_once(tasks)
    values = []
    with evaluating(learner), normalised(learner, bn):
        mode = bn_mode(learner)
        for first in range(0, episodes, step):
            batch = tasks.at(range(first, min(first + step, episodes)), seed=seed)
            values.append(score(learner(batch), batch))
    return Result(
        torch.cat(values).double().cpu(), "mse" if tasks.ways is None else "accuracy",
        f"{tasks.name}/{tasks.split}", name or type(learner).__name__, tasks.ways, tasks.shots,
        tasks.queries, mode, seed, tasks.fingerprint,
    )  # fmt: skip


def score(predictions: Tensor, episode: Episode) -> Tensor:
    """Accuracy, or mean squared error, of each task: (T, R, ·) -> (T,)."""
    target = query_targets(episode)
    check_predictions(predictions, target)
    if not bool(torch.isfinite(predictions).all()):
        raise DivergedError(
            "the learner's predictions are not all finite numbers, so they cannot be scored; for MAML try "
            "a smaller inner_lr or fewer inner steps, and look for NaN in the data."
        )
    if target.is_floating_point():
        return (predictions - target).square().mean((1, 2))
    return (predictions.argmax(-1) == target).double().mean(1)


def tasks_at_once(tasks: Tasks) -> int:
    """How many tasks to work on at a time: about a quarter of a million input numbers on a CPU.

    More fall out of the cache there, and memory grows with them; an accelerator gets 32 times as many.
    """
    numbers = (tasks.ways or 1) * (tasks.shots + tasks.queries) * math.prod(tasks.item_shape)
    budget = 1 << 18 if tasks.device.type == "cpu" else 1 << 23
    return max(1, min(256, budget // numbers))


@dataclass(frozen=True, repr=False, eq=False)
class Comparison:
    """The paired difference of two results on the same episodes."""

    first: Result
    second: Result

    @property
    def differences(self) -> Tensor:
        """First minus second, episode by episode."""
        return self.first.values - self.second.values

    @property
    def mean(self) -> float:
        """Mean difference, first minus second."""
        return float(self.differences.mean())

    @property
    def ci95(self) -> float:
        """Half-width of its 95 % interval over episodes."""
        return half_width(self.differences)

    def __repr__(self) -> str:
        verdict = "the interval holds 0" if abs(self.mean) <= self.ci95 else "0 lies outside"
        return (
            f"{self.first.learner} - {self.second.learner}: {self.mean:+.3f} ± {self.ci95:.3f} "
            f"{self.first.metric}, {verdict} ({self.first.episodes} paired episodes)"
        )


def compare(first: Result, second: Result) -> Comparison:
    """Compare two results on the same episodes, in pairs: what both find hard cancels.

    The interval is over episodes: it says how sure the difference of *these two trained learners* is,
    not of the two methods; for methods, train several seeds and use ``half_width(over="seeds")``.

    Raises
    ------
    MinimetaError
        If the results do not come from the same episodes.
    """
    protocol = ("metric", "tasks", "ways", "shots", "queries", "seed", "episodes", "data")
    differ = [
        f"{name} ({getattr(first, name)} and {getattr(second, name)})"
        for name in protocol
        if getattr(first, name) != getattr(second, name)
    ]
    if differ:
        raise MinimetaError(
            f"the results differ in {', '.join(differ)}; only results on the same episodes can be "
            "compared in pairs, so test both with the same tasks, episodes and seed."
        )
    return Comparison(first, second)
