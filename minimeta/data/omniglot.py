"""Omniglot: 1,623 handwritten characters of 50 alphabets, each drawn once by 20 people.

Lake, Salakhutdinov and Tenenbaum, Science 350, 2015: the classic test of few-shot learning, with
many classes and few examples. ``load("train")`` returns a split's classes as one tensor; the first
call on a machine downloads the two official archives and keeps them in the cache as one file.
"""

import shutil
from collections.abc import Iterable
from math import gcd
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from minimeta.data.download import alone, cache_dir, fetch, find, save_arrays
from minimeta.data.omniglot_archives import ARCHIVES, SIDE, prepare
from minimeta.data.pool import ClassPool
from minimeta.errors import DataUnavailable, MinimetaError, check_count

__all__ = ["SOURCE", "available", "get", "lake_runs", "load", "prepare", "shrink"]

SOURCE = {
    "citation": "Lake, Salakhutdinov and Tenenbaum (2015), Human-level concept learning through "
    "probabilistic program induction, Science 350, 1332-1338",
    "licence": "MIT, copyright (c) 2015 Brenden Lake",
    "url": "https://github.com/brendenlake/omniglot",
}
FILE = "omniglot/omniglot_105.npz"
RESIZES = ("area", "nearest")
# name: the array that decides, its values for each split, rotations by default
PROTOCOLS: dict[str, tuple[str, dict[str, list[int]], bool]] = {
    "vinyals": ("vinyals_split", {"train": [0], "val": [1], "test": [2]}, True),
    "1200-423": ("vinyals_split", {"train": [0, 1], "test": [2]}, False),
    "lake": ("split", {"train": [0], "test": [1]}, False),
}


def load(
    split: str,
    *,
    protocol: str = "vinyals",
    resize: str = "area",
    rotations: bool | None = None,
    size: int = 28,
) -> ClassPool:
    """Return one split's characters, 20 drawings each, as a pool of classes.

    Parameters
    ----------
    split
        ``"train"``, ``"val"`` (only with protocol ``"vinyals"``) or ``"test"``.
    protocol
        Which characters, and whether their rotations are classes of their own unless told:

        - ``"vinyals"``: 1,028 / 172 / 423 characters, rotated to 4,112 / 688 / 1,692 classes; the
          split of Vinyals et al. 2016 as released with the Prototypical Networks code.
        - ``"1200-423"``: train and val together against the same 423, not rotated. The codes of
          MAML and Relation Networks draw their own 1,200 from a shuffled directory listing, which
          differs from disk to disk and cannot be repeated; this one is fixed.
        - ``"lake"``: the 964 background characters against the 659 evaluation ones, not rotated.
    resize
        ``"area"`` or ``"nearest"``, see :func:`shrink`.
    rotations
        Whether a character's turns by 90, 180 and 270 degrees (``np.rot90``) are three more
        classes. Turning pictures at random instead leaves the number of classes as it is.
    size
        Side of the square pictures in pixels; the originals have 105.

    Returns
    -------
    ClassPool
        items float32 (rows, 1, size, size) in [0, 1], ink = 1; 20 rows a class, drawers in order;
        names like ``"Greek/character01"``, with rotations ``"Greek/character01/rot090"``.

    Raises
    ------
    MinimetaError
        For an unknown split, protocol or resize.
    DataUnavailable
        If the data are not on this machine and cannot be downloaded now.

    Examples
    --------
    >>> load("val", protocol="lake")
    Traceback (most recent call last):
        ...
    minimeta.errors.MinimetaError: there is no split of protocol 'lake' named 'val'; the names ...
    """
    if protocol not in PROTOCOLS:
        raise MinimetaError(_unknown("protocol", protocol, PROTOCOLS))
    column, splits, rotated = PROTOCOLS[protocol]
    if split not in splits:
        hint = "choose settings on 'val' of protocol 'vinyals', whose characters train here"
        message = _unknown(f"split of protocol {protocol!r}", split, splits)
        raise MinimetaError(f"{message[:-1]}; {hint}." if split == "val" else message)
    turns = range(4 if (rotated if rotations is None else rotations) else 1)
    _check(resize, size)
    data = _read()
    rows = np.flatnonzero(np.isin(data[column], splits[split]))
    drawers = data["images"].shape[1]
    items = np.empty((len(rows), len(turns), drawers, 1, size, size), np.float32)
    for i in range(0, len(rows), 16):  # 16 characters at a time: 14 MB of pixels, not 900
        small = shrink(_unpack(data["images"][rows[i : i + 16]]), resize, size)
        for turn in turns:
            items[i : i + 16, turn, :, 0] = np.rot90(small, turn, axes=(-2, -1))
    alphabets, numbers = data["alphabets"][data["alphabet"][rows]], data["character"][rows]
    names = [f"{a}/character{n:02d}" for a, n in zip(alphabets, numbers, strict=True)]
    if len(turns) > 1:
        names = [f"{name}/rot{90 * turn:03d}" for name in names for turn in turns]
    sizes = torch.full((len(names),), drawers)
    return ClassPool(torch.from_numpy(items).reshape(-1, 1, size, size), sizes, tuple(names))


def lake_runs(*, resize: str = "area", size: int = 28) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return Lake's 20 official one-shot runs: 20 ways of one alphabet, 1 shot, 20 queries.

    One person drew a run's support, another its queries. All characters are evaluation ones, so
    train on split ``"train"`` of protocol ``"lake"``.

    Returns
    -------
    support_x, support_y, query_x, query_y
        float32 (20, 20, 1, size, size) and int64 (20, 20), axes run and item; ink = 1.
    """
    _check(resize, size)
    data = _read()
    shots, queries = data["oneshot_train"], data["oneshot_test"]
    if shots.min() < 0:
        raise MinimetaError("this copy lacks some of Lake's runs; prepare it from both archives.")
    support_x, query_x = (
        shrink(_unpack(data["images"][pairs[..., 0], pairs[..., 1]]), resize, size)[:, :, None]
        for pairs in (shots, queries)
    )
    query_y = torch.from_numpy(data["oneshot_label"].astype(np.int64))
    support_y = torch.arange(query_y.shape[1]).repeat(len(query_y), 1)
    return torch.from_numpy(support_x), support_y, torch.from_numpy(query_x), query_y


def shrink(pictures: np.ndarray, resize: str, size: int) -> np.ndarray:
    """Resize square pictures (..., 105, 105) of ink 0 or 1 to float32 (..., size, size).

    ``"area"``: the exact share of ink in each pixel's square, rounded to 15 levels above white.
    ``"nearest"``: the pixel under each middle. The papers' codes do this, unasked: they open the
    pictures in 1-bit mode, where Pillow takes the nearest pixel whatever filter is named.

    >>> left = np.arange(105) < 35  # ink in the left third of every line
    >>> shrink(np.tile(left, (105, 1)), "area", 2)
    array([[0.6666667, 0.       ],
           [0.6666667, 0.       ]], dtype=float32)
    """
    if resize == "nearest" or size == SIDE:
        middle = ((np.arange(size) + 0.5) * SIDE / size).astype(int)
        return pictures[..., middle[:, None], middle].astype(np.float32)
    # cut a side into equal steps, `new` to a new pixel and `old` to an old one: the overlaps are
    # whole numbers, float32 adds them exactly, and an odd `new` leaves no half to round
    old, new = size // gcd(SIDE, size), SIDE // gcd(SIDE, size)
    begin, first = np.arange(size)[:, None] * new, np.arange(SIDE) * old
    overlap = np.minimum(begin + new, first + old) - np.maximum(begin, first)
    weights = overlap.clip(0).astype(np.float32)  # (size, 105)
    steps = weights @ (pictures.astype(np.float32) @ weights.T)
    return np.rint(steps * 15 / new**2) / np.float32(15)


def available() -> Path | None:
    """Return the prepared file on this machine, or None."""
    return find(FILE)


def get() -> Path:
    """Return the prepared file; where there is none, download both official archives and make it.

    A download that was interrupted goes on where it stopped; of several processes one works and the
    others wait; the archives are deleted in the end. Raises DataUnavailable if this cannot be now.
    """
    if path := available():
        return path
    with alone("omniglot"):
        if path := available():  # made by another process in the meantime
            return path
        to = "omniglot/archives"
        archives = [fetch(url, md5, to=f"{to}/{Path(url).name}") for url, md5 in ARCHIVES.items()]
        path = save_arrays(cache_dir() / FILE, prepare(archives))
        shutil.rmtree(cache_dir() / to, ignore_errors=True)
        return path


def _read() -> dict[str, np.ndarray]:
    path = available() or get()
    try:
        with open(path, "rb") as file, np.load(file) as arrays:
            return dict(arrays)
    except Exception as error:  # damage makes zipfile, zlib and numpy raise nearly anything
        raise DataUnavailable(
            f"{path} is damaged or unreadable ({type(error).__name__}: {error}); delete it and run "
            "`minimeta data get omniglot`."
        ) from error


def _unpack(images: np.ndarray) -> np.ndarray:
    """Bits (..., 1379) to pictures (..., 105, 105) of 0 and 1."""
    bits = np.unpackbits(images, axis=-1, count=SIDE * SIDE)
    return bits.reshape(*images.shape[:-1], SIDE, SIDE)


def _check(resize: str, size: int) -> None:
    if resize not in RESIZES:
        raise MinimetaError(_unknown("resize", resize, RESIZES))
    check_count("size", size)


def _unknown(kind: str, given: str, known: Iterable[str]) -> str:
    return f"there is no {kind} named {given!r}; the names are {', '.join(map(repr, known))}."
