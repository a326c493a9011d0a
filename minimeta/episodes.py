"""An episode: the support sets and query sets of a batch of tasks.

A task is a learning problem; an episode is what a learner sees of it: a support set to learn from
and a query set to predict. The one type that travels through the whole package.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, fields

import torch
from torch import Tensor

from minimeta.errors import MinimetaError


@dataclass(frozen=True, eq=False, repr=False)
class Episode:
    r"""T tasks, each with its support set and its query set.

    Parameters
    ----------
    support_x
        (T, S, \*item) floating point: the labelled examples. S = N·K when every class has K shots.
    support_y
        (T, S) int64 labels 0..N-1, every class present in every task, in any order and with any
        number of shots; or (T, S, D) floating-point targets.
    query_x
        (T, R, \*item): the examples to predict.
    query_y
        Like ``support_y``, for the queries; None when they are not known.

    Raises
    ------
    MinimetaError
        If shapes, types or labels do not fit together.

    Examples
    --------
    >>> x, y = torch.zeros(1, 2, 3), torch.tensor([[0, 1]])
    >>> Episode(x, y, query_x=x, query_y=y)
    Episode(1 task, 2-way 1-shot, 1 query, 3)
    """

    support_x: Tensor
    support_y: Tensor
    query_x: Tensor
    query_y: Tensor | None = None
    ways: int | None = field(init=False, default=None)  # N; None for regression

    def __post_init__(self) -> None:
        _check_shapes(self)
        if not self.support_y.is_floating_point():
            object.__setattr__(self, "ways", _checked_ways(self))

    @classmethod
    def _trusted(
        cls, support_x: Tensor, support_y: Tensor, query_x: Tensor, query_y: Tensor | None,
        ways: int | None,
    ) -> "Episode":  # fmt: skip
        """Build without looking at the tensors: for samplers, correct by construction."""
        episode = object.__new__(cls)
        values = dict(
            support_x=support_x, support_y=support_y, query_x=query_x, query_y=query_y, ways=ways
        )
        for name, value in values.items():
            object.__setattr__(episode, name, value)
        return episode

    def __len__(self) -> int:
        return self.support_x.shape[0]

    def __getitem__(self, tasks: slice) -> "Episode":
        """Return some of the tasks: ``episode[:4]``."""
        if not isinstance(tasks, slice):
            raise MinimetaError(
                f"an episode was indexed with {tasks!r}; take a slice of its tasks, as in "
                "episode[3:4], so that the task axis stays."
            )
        if not range(len(self))[tasks]:
            raise MinimetaError(
                f"the slice {tasks} takes none of the {len(self)} tasks; an episode has at least one."
            )
        return self._map(lambda tensor: tensor[tasks])

    def split(self, tasks: int) -> Iterator["Episode"]:
        """Yield the episode in pieces of at most ``tasks`` tasks, in order."""
        for first in range(0, len(self), tasks):
            yield self[first : first + tasks]

    def to(self, target: torch.device | str | torch.dtype) -> "Episode":
        """Return the episode on another device, or with its floating-point tensors in another dtype."""

        def move(tensor: Tensor) -> Tensor:
            keep = isinstance(target, torch.dtype) and not tensor.is_floating_point()
            return tensor if keep else tensor.to(target)

        return self._map(move)

    def _map(self, change: Callable[[Tensor], Tensor]) -> "Episode":
        """Return an episode of changed tensors, of as many ways."""
        query_y = None if self.query_y is None else change(self.query_y)
        return self._trusted(
            change(self.support_x), change(self.support_y), change(self.query_x), query_y, self.ways
        )

    def __repr__(self) -> str:
        tasks = f"{len(self)} task" + "s" * (len(self) != 1)
        item = "x".join(map(str, self.support_x.shape[2:])) or "scalar"
        support, queries = self.support_x.shape[1], self.query_x.shape[1]
        if self.ways is None:
            return f"Episode({tasks}, regression, {support}-shot, {count_queries(queries)}, {item})"
        counts = [self.support_y.eq(n).sum(1) for n in range(self.ways)]
        even = all(bool((c * self.ways == support).all()) for c in counts)
        shots = f"{support // self.ways}-shot" if even else f"unequal shots ({support} in all)"
        # queries are given a class, as in house style, when they divide evenly
        per_class = queries // self.ways if queries % self.ways == 0 else queries
        return f"Episode({tasks}, {self.ways}-way {shots}, {count_queries(per_class)}, {item})"


def count_queries(n: int) -> str:
    """Say '1 query' or '15 queries'."""
    return f"{n} quer{'y' if n == 1 else 'ies'}"


def _check_shapes(ep: Episode) -> None:
    given = {f.name: getattr(ep, f.name) for f in fields(ep) if f.init}
    for name, value in given.items():
        if not isinstance(value, Tensor) and not (name == "query_y" and value is None):
            raise MinimetaError(
                f"{name} is a {type(value).__name__}; an episode holds torch tensors, so convert it "
                "with torch.as_tensor."
            )
    for name in ("support", "query"):
        x, y = given[f"{name}_x"], given[f"{name}_y"]
        if x.ndim < 2 or 0 in x.shape or not x.is_floating_point():
            raise MinimetaError(
                f"{name}_x has shape {tuple(x.shape)} and type {x.dtype}; it must be (tasks, examples, "
                "*item), not empty and floating point: add the task axis with x[None] for one task, "
                "and convert with x.float()."
            )
        if y is not None and y.shape[:2] != x.shape[:2]:
            raise MinimetaError(
                f"{name}_x holds {tuple(x.shape[:2])} (tasks, examples) but {name}_y "
                f"{tuple(y.shape[:2])}; every example needs its label or target."
            )
        labels = y is None or (y.dtype == torch.int64 and y.ndim == 2)
        if not labels and not (y.is_floating_point() and y.ndim == 3):
            raise MinimetaError(
                f"{name}_y has shape {tuple(y.shape)} and type {y.dtype}; give class labels as int64 "
                "(tasks, examples) or targets as floats (tasks, examples, outputs)."
            )
    if (
        ep.support_x.shape[0] != ep.query_x.shape[0]
        or ep.support_x.shape[2:] != ep.query_x.shape[2:]
    ):
        raise MinimetaError(
            f"support_x has shape {tuple(ep.support_x.shape)} and query_x {tuple(ep.query_x.shape)}; "
            "they must agree in everything but the number of examples (axis 1)."
        )
    if ep.support_x.dtype != ep.query_x.dtype:
        raise MinimetaError(
            f"support_x is {ep.support_x.dtype} and query_x {ep.query_x.dtype}; give both one type."
        )
    for name, value in given.items():
        floats = value is not None and value.is_floating_point()
        if floats and not bool(torch.isfinite(value).all()):
            raise MinimetaError(
                f"{name} holds NaN or infinite numbers, which would spoil every prediction of their task; "
                "repair or leave out those examples."
            )
    if ep.query_y is None:
        return
    if ep.query_y.dtype != ep.support_y.dtype:
        raise MinimetaError(
            f"support_y is {ep.support_y.dtype} and query_y {ep.query_y.dtype}; both sets of a task "
            "have the same kind of target."
        )
    if ep.query_y.shape[2:] != ep.support_y.shape[2:]:
        raise MinimetaError(
            f"support targets have shape {tuple(ep.support_y.shape)} and query targets "
            f"{tuple(ep.query_y.shape)}; both sets of a task have the same number of outputs."
        )


def _checked_ways(ep: Episode) -> int:
    ways = int(ep.support_y.max()) + 1
    if ways > ep.support_y.shape[1]:
        raise MinimetaError(
            f"a support label is {ways - 1} but a task has {ep.support_y.shape[1]} support examples; labels "
            "are 0..N-1 with every one in use: relabel the classes."
        )
    present = torch.stack([(ep.support_y == n).any(1) for n in range(ways)], 1)  # (T, N)
    if int(ep.support_y.min()) < 0 or not bool(present.all()):
        raise MinimetaError(
            f"support labels reach from {int(ep.support_y.min())} to {ways - 1} with gaps in some "
            "task; each task must use every label 0..N-1 at least once: relabel the classes."
        )
    if ep.query_y is not None and (int(ep.query_y.min()) < 0 or int(ep.query_y.max()) >= ways):
        raise MinimetaError(
            f"query labels reach from {int(ep.query_y.min())} to {int(ep.query_y.max())} but the "
            f"support set shows the classes 0..{ways - 1} only; no learner can know the others."
        )
    return ways
