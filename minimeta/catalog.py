"""The data sets by name: from ``mm.tasks("glyphs", ...)`` to a task source.

>>> tasks("glyphs", split="test", ways=5, shots=1, queries=15)
ClassTasks(glyphs/test, 5-way 1-shot, 15 queries, 164 classes)
"""

import functools
from collections.abc import Callable
from typing import Any

import torch

from minimeta.data import SPLITS, glyphs, omniglot
from minimeta.data.pool import ClassPool
from minimeta.episodes import Episode
from minimeta.errors import MinimetaError
from minimeta.sources import ClassTasks, FixedTasks, SinusoidTasks, Tasks

POOLS: dict[str, Callable[..., ClassPool]] = {"glyphs": glyphs.load, "omniglot": omniglot.load}


def tasks(
    source: str | ClassPool,
    *,
    split: str = "train",
    ways: int | None = None,
    shots: int = 1,
    queries: int = 15,
    device: torch.device | str = "cpu",
    **options: Any,
) -> Tasks:
    """Return a distribution over tasks p(T).

    Parameters
    ----------
    source
        ``"glyphs"`` (in the package), ``"omniglot"`` (downloaded once), ``"omniglot-runs"`` (Lake's
        20 fixed one-shot tasks, split ``"test"``), ``"sinusoids"`` (regression), or a
        :class:`ClassPool` of your own examples.
    split
        ``"train"``, ``"val"`` or ``"test"``: disjoint classes for meta-training, model selection and
        meta-testing.
    ways
        N, classes a task (default 5); not for regression.
    shots, queries
        K and Q, support and query examples a class (for regression: a task).
    device
        Where the data live and episodes are drawn.
    **options
        Options of the data set, such as ``resize="nearest"``; see :mod:`minimeta.data.omniglot`.

    Raises
    ------
    MinimetaError
        For an unknown name, split or option, or counts that the data cannot meet.

    >>> tasks("sinusoids", shots=10, queries=10)
    SinusoidTasks(train, 10-shot, 10 queries)
    """
    if not isinstance(source, ClassPool) and split not in SPLITS:
        raise MinimetaError(f"split {split!r} was given; the splits are {', '.join(SPLITS)}.")
    if source == "sinusoids":
        if ways is not None or options:
            raise MinimetaError(
                f"sinusoids are regression tasks: they have no ways and no other options, but "
                f"{', '.join(['ways'] * (ways is not None) + list(options))} was given; leave it out."
            )
        return SinusoidTasks(shots=shots, queries=queries, split=split, device=device)
    if source == "omniglot-runs":
        if split != "test" or (ways or 20, shots) != (20, 1):
            raise MinimetaError(
                f"omniglot-runs was asked for with split={split!r}, ways={ways}, shots={shots}; it is a "
                "fixed list of test tasks of 20 ways and 1 shot: say split='test' and leave the rest."
            )
        runs = Episode(*omniglot.lake_runs(**options))
        return FixedTasks(runs.to(torch.device(device)), name=source)
    counts = dict(ways=5 if ways is None else ways, shots=shots, queries=queries, split=split)
    if isinstance(source, ClassPool):
        if options:
            raise MinimetaError(f"a class pool has no options, but {', '.join(options)} was given.")
        return ClassTasks(source.to(device), **counts)  # type: ignore[arg-type]
    if source not in POOLS:
        raise MinimetaError(
            f"there is no data set named {source!r}; the names are {', '.join(POOLS)}, omniglot-runs "
            "and sinusoids, and your own examples come as a minimeta.ClassPool."
        )
    return ClassTasks(_pool(source, split, **options).to(device), name=source, **counts)  # type: ignore[arg-type]


@functools.lru_cache(maxsize=4)
def _pool(name: str, split: str, **options: Any) -> ClassPool:
    # cached: chapters and tests ask for the same split again and again
    try:
        return POOLS[name](split, **options)
    except TypeError as error:
        if "unexpected keyword argument" not in str(error):
            raise
        raise MinimetaError(f"{name} was given an option it does not have: {error}.") from None
