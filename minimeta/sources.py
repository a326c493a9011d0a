"""Task sources: the distributions over tasks that episodes are drawn from.

``tasks.at(indices, seed=0)`` is a pure function of (seed, split, index), computed for the whole
batch at once on the device that holds the data: the same tasks on every machine, in every worker
and after a resume.

>>> import minimeta as mm
>>> mm.tasks("glyphs", split="test", ways=5, shots=1, queries=15).sample(32)
Episode(32 tasks, 5-way 1-shot, 15 queries, 1x28x28)
"""

import functools
import operator
from collections.abc import Sequence

import torch
from torch import Tensor

from minimeta import hashing
from minimeta.data import sinusoids
from minimeta.data.pool import ClassPool, fingerprint
from minimeta.episodes import Episode, count_queries
from minimeta.errors import MinimetaError, check_count, shown


class Tasks:
    """A distribution over tasks p(T), from which episodes are drawn. Subclasses define `_draw`."""

    shots: int
    queries: int
    item_shape: tuple[int, ...]

    def __init__(self, name: str, split: str, device: torch.device | str = "cpu") -> None:
        self.name, self.split, self.device = name, split, torch.device(device)

    @property
    def ways(self) -> int | None:
        """N, classes a task; None for regression."""
        return None

    @property
    def fingerprint(self) -> str:
        """Which data the tasks are drawn from; empty where they are made by a formula."""
        return ""

    def at(self, indices: Sequence[int] | Tensor, *, seed: int = 0) -> Episode:
        """Return the tasks with these numbers: a pure function of (seed, split, index).

        Parameters
        ----------
        indices
            T task numbers: a list, a range or an int64 tensor (T,).
        seed
            Chooses one of 2^64 unrelated streams of tasks.

        Returns
        -------
        Episode
            T tasks, on this source's device.

        Examples
        --------
        >>> import minimeta as mm
        >>> tasks = mm.tasks("sinusoids", shots=2, queries=1)
        >>> both, second = tasks.at([4, 7], seed=1), tasks.at([7], seed=1)
        >>> torch.equal(both.support_x[1:], second.support_x)
        True
        """
        try:
            numbers = torch.as_tensor(indices, device=self.device)
            seed = operator.index(seed)
        except (TypeError, ValueError, RuntimeError, OverflowError) as error:
            raise MinimetaError(
                f"task numbers {shown(indices)} and seed {shown(seed)} were given; the numbers are a list, range or "
                "int64 tensor, and the seed is one whole number."
            ) from error
        if numbers.ndim != 1 or len(numbers) == 0 or numbers.dtype != torch.int64:
            raise MinimetaError(
                f"task numbers of shape {tuple(numbers.shape)} and type {numbers.dtype} were given; "
                "give a list, range or int64 tensor of at least one number."
            )
        key = hashing.fold(hashing.start(seed, self.device), hashing.text_word(self.split))
        return self._draw(hashing.fold(key, numbers), numbers)

    def sample(self, tasks: int, generator: torch.Generator | None = None) -> Episode:
        """Draw a batch of new tasks: draws a seed from ``generator``, then calls :meth:`at`.

        Without a generator the seed comes from torch's default one, so ``torch.manual_seed`` rules.
        """
        seed = int(torch.randint(1 << 62, (), generator=generator))
        return self.at(range(check_count("tasks", tasks)), seed=seed)

    def _draw(self, key: Tensor, indices: Tensor) -> Episode:
        raise NotImplementedError


def require_tasks(source: object, word: str = "tasks") -> None:
    """Refuse what is no task source, such as a data set's name."""
    if not isinstance(source, Tasks):
        raise MinimetaError(
            f"a {type(source).__name__} was given as {word}; make a task source with minimeta.tasks."
        )


class ClassTasks(Tasks):
    """N-way K-shot classification tasks from a class pool.

    Each task draws N different classes, gives them the labels 0..N-1 in random order, and draws
    K + Q different examples of each: K for the support set, Q for the query set. Rows are ordered by
    label; no learner may use that (and none here does: permuting them is a test).

    >>> pool = ClassPool(torch.arange(12.0).view(12, 1), torch.full((4,), 3), tuple("abcd"))
    >>> ClassTasks(pool, ways=2, shots=1, queries=2)
    ClassTasks(pool/train, 2-way 1-shot, 2 queries, 4 classes)
    """

    def __init__(
        self, pool: ClassPool, *, ways: int, shots: int, queries: int, split: str = "train",
        name: str = "pool",
    ) -> None:  # fmt: skip
        super().__init__(name, split, pool.items.device)
        ways, shots = check_count("ways", ways), check_count("shots", shots)
        queries = check_count("queries", queries)
        if ways > len(pool):
            raise MinimetaError(
                f"{ways} ways were asked for but the {split} split of {name} has {len(pool)} classes; "
                "ask for fewer ways or give more classes."
            )
        smallest = int(pool.sizes.min())
        if shots + queries > smallest:
            raise MinimetaError(
                f"{shots} shots and {queries} queries a class were asked for but the smallest class "
                f"of {name} ({pool.names[int(pool.sizes.argmin())]}) has {smallest} examples; support "
                "and query are disjoint, so ask for fewer or leave that class out."
            )
        self.pool, self._ways, self.shots, self.queries = pool, ways, shots, queries
        self.item_shape, self._starts = pool.item_shape, pool.starts
        self._most = int(pool.sizes.max())
        labels = torch.arange(ways, device=self.device)
        self._label_words = labels + (1 << 32)  # far from the numbers that choosing classes draws
        self._support_y, self._query_y = (labels.repeat_interleave(n) for n in (shots, queries))

    @property
    def ways(self) -> int:
        """N, classes a task."""
        return self._ways

    @functools.cached_property
    def fingerprint(self) -> str:
        """Which data the tasks are drawn from."""
        return self.pool.fingerprint

    def _draw(self, key: Tensor, indices: Tensor) -> Episode:
        rows = self.rows(key)  # (T, N, K + Q)
        support, query = rows[..., : self.shots], rows[..., self.shots :]
        return Episode._trusted(
            self._take(support), self._support_y.repeat(len(key), 1),
            self._take(query), self._query_y.repeat(len(key), 1), self.ways,
        )  # fmt: skip

    def rows(self, key: Tensor) -> Tensor:
        """Rows of the pool that each task uses, (T, N, K + Q); label n is row n of axis 1."""
        classes = hashing.choose(key, len(self.pool), self.ways)  # (T, N)
        member = hashing.fold(key.unsqueeze(-1), self._label_words)
        drawn, sizes = self.shots + self.queries, self.pool.sizes[classes]
        picks = hashing.choose(member, sizes, drawn, most=self._most)
        return self._starts[classes].unsqueeze(-1) + picks

    def _take(self, rows: Tensor) -> Tensor:
        items = self.pool.items.index_select(0, rows.reshape(-1))
        return items.view(len(rows), -1, *self.pool.item_shape)

    def to(self, device: torch.device | str) -> "ClassTasks":
        """Return the same tasks with the data on ``device``, where episodes are then drawn."""
        return ClassTasks(
            self.pool.to(device), ways=self.ways, shots=self.shots, queries=self.queries,
            split=self.split, name=self.name,
        )  # fmt: skip

    def __repr__(self) -> str:
        return (
            f"ClassTasks({self.name}/{self.split}, {self.ways}-way {self.shots}-shot, "
            f"{count_queries(self.queries)}, {len(self.pool)} classes)"
        )


class SinusoidTasks(Tasks):
    """Regression tasks y = A sin(x - b): see :mod:`minimeta.data.sinusoids`."""

    item_shape = (1,)

    def __init__(
        self, *, shots: int, queries: int, split: str = "train", device: torch.device | str = "cpu"
    ) -> None:
        super().__init__("sinusoids", split, device)
        self.shots, self.queries = check_count("shots", shots), check_count("queries", queries)

    def _draw(self, key: Tensor, indices: Tensor) -> Episode:
        x, y = sinusoids.draw(key, self.shots + self.queries)
        k = self.shots
        return Episode._trusted(x[:, :k], y[:, :k], x[:, k:], y[:, k:], None)

    def to(self, device: torch.device | str) -> "SinusoidTasks":
        """Return the same tasks, drawn on ``device``."""
        return SinusoidTasks(
            shots=self.shots, queries=self.queries, split=self.split, device=device
        )

    def __repr__(self) -> str:
        return f"SinusoidTasks({self.split}, {self.shots}-shot, {count_queries(self.queries)})"


class FixedTasks(Tasks):
    """A published list of episodes; task number i is episode i, whatever the seed.

    >>> x, y = torch.zeros(1, 2, 3), torch.tensor([[0, 1]])
    >>> FixedTasks(Episode(x, y, x, y), name="mine").at([0])
    Episode(1 task, 2-way 1-shot, 1 query, 3)
    """

    def __init__(self, episode: Episode, *, name: str, split: str = "test") -> None:
        super().__init__(name, split, episode.support_x.device)
        self.episode = episode
        self.item_shape = tuple(episode.support_x.shape[2:])
        classes = episode.ways or 1
        self.shots = episode.support_x.shape[1] // classes
        self.queries = episode.query_x.shape[1] // classes

    @property
    def ways(self) -> int | None:
        """N, classes a task; None for regression."""
        return self.episode.ways

    def __len__(self) -> int:
        return len(self.episode)

    @functools.cached_property
    def fingerprint(self) -> str:
        """Which episodes these are."""
        return fingerprint(*(t for t in vars(self.episode).values() if isinstance(t, Tensor)))

    def _draw(self, key: Tensor, indices: Tensor) -> Episode:
        if off := [i for i in indices.tolist() if not 0 <= i < len(self)]:
            raise MinimetaError(
                f"task {off[0]} was asked for but {self.name} has {len(self)} fixed tasks; "
                f"ask for numbers 0..{len(self) - 1}."
            )
        return self.episode._map(lambda tensor: tensor[indices])

    def to(self, device: torch.device | str) -> "FixedTasks":
        """Return the same tasks on ``device``."""
        return FixedTasks(self.episode.to(device), name=self.name, split=self.split)

    def __repr__(self) -> str:
        return f"FixedTasks({self.name}/{self.split}, {len(self)} tasks)"
