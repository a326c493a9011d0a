"""The data sets by name, and your own: from ``mm.tasks("glyphs", ...)`` to a task source.

>>> tasks("glyphs", split="test", ways=5, shots=1, queries=15)
ClassTasks(glyphs/test, 5-way 1-shot, 15 queries, 164 classes)
"""

import functools
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch.utils.data import Dataset

from minimeta.data import SPLITS, glyphs, omniglot
from minimeta.data.pool import ClassPool
from minimeta.episodes import Episode
from minimeta.errors import MinimetaError, check_device
from minimeta.sources import ClassTasks, FixedTasks, SinusoidTasks, Tasks
from minimeta.synthetic import AttributeTasks

POOLS: dict[str, Callable[..., ClassPool]] = {"glyphs": glyphs.load, "omniglot": omniglot.load}
NAMES = (*POOLS, "omniglot-runs", "sinusoids", "attributes")
A = TypeVar("A")


def tasks(
    source: str | Path | tuple[Any, Any] | Dataset[Any] | ClassPool,
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
        20 fixed one-shot tasks, split ``"test"``), ``"sinusoids"`` (regression), ``"attributes"`` (two
        classes that one hidden attribute tells apart); or your own
        examples: a ``Path`` to a folder or zip of pictures, a pair (x, y) of examples and labels, a
        torch ``Dataset`` of such pairs, or a :class:`ClassPool`. See :mod:`minimeta.data.folder` and
        :mod:`minimeta.data.arrays`.
    split
        ``"train"``, ``"val"`` or ``"test"``: disjoint classes for meta-training, model selection and
        meta-testing. A ``Path`` also has ``"all"``. Your pair, ``Dataset`` or :class:`ClassPool` is
        used whole, since you made the split; the word then only names the stream of tasks.
    ways
        N, classes a task (default 5); not for regression.
    shots, queries
        K and Q, support and query examples a class (for regression: a task).
    device
        Where the data live and episodes are drawn.
    **options
        Options of the data set, such as ``resize="nearest"``, see :mod:`minimeta.data.omniglot`; of a
        ``Path``: ``size`` and ``grey``.

    Raises
    ------
    MinimetaError
        For an unknown name, split or option, a device that is not there, data that cannot be read, or counts that they cannot meet.

    Examples
    --------
    >>> tasks("sinusoids", shots=10, queries=10)
    SinusoidTasks(train, 10-shot, 10 queries)
    >>> x, y = torch.zeros(6, 2), ["cat", "dog", "cat", "dog", "dog", "cat"]
    >>> tasks((x, y), ways=2, shots=1, queries=2)
    ClassTasks(arrays/train, 2-way 1-shot, 2 queries, 2 classes)
    """
    device = check_device(device)
    counts = dict(ways=5 if ways is None else ways, shots=shots, queries=queries, split=split)
    if not isinstance(source, str):
        name, pool = _own(source, split, options)
        return ClassTasks(pool.to(device), name=name, **counts)  # type: ignore[arg-type]
    if split not in SPLITS:
        raise MinimetaError(f"split {split!r} was given; the splits are {', '.join(SPLITS)}.")
    if source == "sinusoids":
        if ways is not None or options:
            raise MinimetaError(
                f"sinusoids are regression tasks: they have no ways and no other options, but "
                f"{', '.join(['ways'] * (ways is not None) + list(options))} was given; leave it out."
            )
        return SinusoidTasks(shots=shots, queries=queries, split=split, device=device)
    if source == "attributes":
        if ways not in (None, 2) or set(options) - {"attributes"}:
            raise MinimetaError(
                f"attributes are two-way tasks whose one option is attributes=, but ways={ways} and "
                f"{', '.join(options) or 'no option'} were given; leave the rest out."
            )
        return AttributeTasks(shots=shots, queries=queries, split=split, device=device, **options)
    if source == "omniglot-runs":
        if split != "test" or (ways or 20, shots) != (20, 1):
            raise MinimetaError(
                f"omniglot-runs was asked for with split={split!r}, ways={ways}, shots={shots}; it is a "
                "fixed list of test tasks of 20 ways and 1 shot: say split='test' and leave the rest."
            )
        runs = Episode(*_load(omniglot.lake_runs, source, **options))
        return FixedTasks(runs.to(device), name=source)
    if source not in POOLS:
        if os.path.exists(source):
            raise MinimetaError(
                f"there is no data set named {source!r}, but a file or folder is; your own data is a "
                f"Path, so say Path({source!r})."
            )
        raise MinimetaError(
            f"there is no data set named {source!r}; the names are {', '.join(NAMES)}, and your own examples "
            "come as a Path, arrays, a Dataset or a ClassPool."
        )
    return ClassTasks(_pool(source, split, **options).to(device), name=source, **counts)  # type: ignore[arg-type]


def _own(source: Any, split: str, options: dict[str, Any]) -> tuple[str, ClassPool]:
    """Return a name for the user's own examples, and their pool."""
    from minimeta.data import arrays, folder  # here: names must work without Pillow

    if isinstance(source, Path):  # not cached: files change
        name = source.expanduser().resolve().name
        return name, _load(folder.load, name, source, split, **options)
    make: Callable[[], ClassPool]
    if isinstance(source, ClassPool):
        name, kind, make = "pool", "a class pool", lambda: source
    elif isinstance(source, Dataset):
        name, kind, make = "dataset", "a Dataset", lambda: arrays.from_dataset(source)
    elif isinstance(source, tuple) and len(source) == 2:
        name, kind, make = "arrays", "a pair of arrays", lambda: arrays.from_arrays(*source)
    else:
        raise MinimetaError(
            f"a source of type {type(source).__name__} was given; give a data set's name, a Path, "
            "a pair (x, y), a Dataset or a ClassPool."
        )
    if options:
        raise MinimetaError(f"{kind} has no options, but {', '.join(options)} was given.")
    return name, make()


@functools.lru_cache(maxsize=4)
def _pool(name: str, split: str, **options: Any) -> ClassPool:
    # cached: chapters and tests ask for the same split again and again
    return _load(POOLS[name], name, split, **options)


def _load(load: Callable[..., A], name: str, *source: Any, **options: Any) -> A:
    try:
        return load(*source, **options)
    except TypeError as error:
        if "unexpected keyword argument" not in str(error):
            raise
        raise MinimetaError(f"{name} was given an option it does not have: {error}.") from None
