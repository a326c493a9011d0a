"""Your own pictures: a folder, or a zip of it, that holds one folder a class.

Either ``root/class/picture`` or, if you divide the classes yourself, ``root/train/class/picture`` and
the same under ``val`` and ``test``. Pictures have any size, grey or colour, and classes any number of
them; see :mod:`minimeta.data.pictures` for what is read and how. Other files are ignored, and so are
pictures beside the class folders and one folder around everything, which zip programs like to add.
A zip is read where it is, never unpacked to disk.

>>> import tempfile
>>> from PIL import Image
>>> with tempfile.TemporaryDirectory() as root:
...     for name in ("cat", "dog"):
...         Path(root, name).mkdir()
...         Image.new("RGB", (40, 30)).save(Path(root, name, "1.png"))
...     load(Path(root), "all", size=28)
ClassPool(2 classes, 2 examples of 3x28x28)
"""

import hashlib
import os
from collections import Counter, defaultdict
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from minimeta.data import SPLITS
from minimeta.data.pictures import (
    ENDINGS,
    Parts,
    Picture,
    header,
    no_warnings,
    open_bytes,
    opened,
    pixels,
)
from minimeta.data.pool import ClassPool
from minimeta.errors import MinimetaError

THREADS = min(8, os.cpu_count() or 1)  # Pillow decodes and resizes without Python's lock
Classes = dict[str, list[Picture]]


def load(path: Path, split: str, *, size: int | None = None, grey: bool = False) -> ClassPool:
    """Return one split's pictures as a pool of classes.

    Parameters
    ----------
    path
        A folder or a zip, laid out as above.
    split
        ``"train"``, ``"val"`` or ``"test"``: the folder of that name or, if there are no such folders,
        the classes that :func:`divide` puts there. ``"all"``: every class.
    size
        Side of the square pictures in pixels; None: the side that all have. Other pictures are
        resized by Pillow's Lanczos filter, whole and so without keeping their proportions, as
        mini-ImageNet usually is.
    grey
        Whether colour pictures are made grey.

    Returns
    -------
    ClassPool
        items float32 (rows, channels, size, size) in [0, 1]; 1 channel if every picture of every
        split is grey, else 3. Classes in the order of their names, pictures in that of their files'.

    Raises
    ------
    MinimetaError
        For another layout, a class in two splits, a picture that cannot be read, pictures of several
        sizes without ``size``, or more than half of the memory.
    """
    if split not in (*SPLITS, "all"):
        raise MinimetaError(f"split {split!r} was given; the splits are {', '.join(SPLITS)}, all.")
    if size is not None and (isinstance(size, bool) or not isinstance(size, int) or size < 1):
        raise MinimetaError(f"size={size!r} was given; it is a whole number of pixels, at least 1.")
    path = path.expanduser()
    with opened(path) as listed, no_warnings(), ThreadPoolExecutor(THREADS) as threads:
        splits = _splits(*listed, path)
        # all splits are looked at, so that each gets the same shape
        every = [picture for c in splits.values() for group in c.values() for picture in group]
        headers = list(threads.map(header, every))
        channels = 1 if grey or all(is_grey for is_grey, _ in headers) else 3
        side = size or _common_side(Counter(shape for _, shape in headers), path)
        classes = _chosen(splits, split, path)
        chosen = [picture for group in classes.values() for picture in group]
        needed, limit = 4 * len(chosen) * channels * side**2, memory_limit()
        if needed > limit:
            raise MinimetaError(
                f"{len(chosen)} pictures of {channels}x{side}x{side} need {needed / 2**30:.2g} GiB but "
                f"half of the memory is {limit / 2**30:.2g} GiB; give a smaller size=."
            )
        items = np.empty((len(chosen), channels, side, side), np.float32)
        read = partial(pixels, channels=channels, size=side)
        for row, picture in zip(items, threads.map(read, chosen), strict=True):
            np.divide(picture, np.float32(255), out=row)
    sizes = torch.tensor([len(group) for group in classes.values()])
    return ClassPool(torch.from_numpy(items), sizes, tuple(classes))


def read(paths: Iterable[str | Path], *, size: int, grey: bool = False) -> Tensor:
    """Return single picture files as float32 (n, channels, size, size) in [0, 1], in their order.

    Three channels, or one with ``grey``; otherwise as in :func:`load`. For pictures to predict.
    """
    files = [Path(path).expanduser() for path in paths]
    with no_warnings():
        items = [
            pixels(
                Picture((f.name,), partial(open_bytes, f), str(f)),
                channels=1 if grey else 3,
                size=size,
            )
            for f in files
        ]
    if not items:
        raise MinimetaError("no picture files were given; give the paths of at least one.")
    return torch.from_numpy(np.stack(items)) / 255


def divide(names: list[str]) -> dict[str, list[str]]:
    """Divide classes into 60 % train, 20 % val and 20 % test, by their names alone.

    The classes are ordered by the SHA-256 of their names: the first fifth (at least one) is test, the
    next val, the rest train. So the order of listing does not matter, every machine divides alike, and
    a new class moves at most two others over each border.

    >>> divide(["ant", "bee", "cat", "dog", "eel"])
    {'train': ['cat', 'dog', 'eel'], 'val': ['ant'], 'test': ['bee']}
    """
    order = sorted(names, key=lambda name: hashlib.sha256(name.encode("utf-8", "replace")).digest())
    fifth = max(1, (len(names) + 2) // 5)
    parts = order[2 * fifth :], order[fifth : 2 * fifth], order[:fifth]
    return {split: sorted(part) for split, part in zip(SPLITS, parts, strict=True)}


def memory_limit() -> int:
    """Half of this machine's memory in bytes; where the system does not say, 8 GiB."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2
    except (AttributeError, ValueError, OSError):
        return 8 * 2**30


def _splits(pictures: list[Picture], folders: set[Parts], path: Path) -> dict[str, Classes]:
    """Sort the pictures into splits and classes; without split folders all are in the split ""."""
    tops = {parts[0] for parts in folders}
    around = len(tops) == 1 and not tops & set(SPLITS) and any(len(p.parts) > 2 for p in pictures)
    if around:
        pictures = [p._replace(parts=p.parts[1:]) for p in pictures if len(p.parts) > 1]
        folders = {parts[1:] for parts in folders if len(parts) > 1}
    divided = any(len(p.parts) == 3 and p.parts[0] in SPLITS for p in pictures)
    layout, depth = ("split/class/picture", 3) if divided else ("class/picture", 2)
    splits: dict[str, Classes] = defaultdict(dict)
    for parts in sorted(folders):
        if len(parts) == depth - 1 and (not divided or parts[0] in SPLITS):
            splits[parts[0] if divided else ""][parts[-1]] = []
    for picture in pictures:
        top, *inside = picture.parts
        if divided and inside and top not in SPLITS:
            raise MinimetaError(
                f"{path} holds pictures in {top} beside the split folders; name these train, val and "
                "test, and move other pictures elsewhere."
            )
        if len(picture.parts) > depth:
            raise MinimetaError(f"{picture.where} lies too deep; the layout is {layout}.")
        if len(picture.parts) == depth:  # others lie beside the class folders
            splits[top if divided else ""][picture.parts[-2]].append(picture)
    home: dict[str, str] = {}
    for split, classes in splits.items():
        for name, group in classes.items():
            if not group:
                raise MinimetaError(
                    f"the class folder {'/'.join(filter(None, (split, name)))} in {path} holds no "
                    f"picture (a file that ends in {', '.join(ENDINGS)}); fill it or delete it."
                )
            if name in home:
                raise MinimetaError(
                    f"the class {name} of {path} is in {home[name]} and in {split}; the splits of "
                    "few-shot learning share no class, so keep all its pictures in one."
                )
            home[name] = split
    if not home:
        raise MinimetaError(
            f"{path} holds no class folders with pictures; the layout is class/picture, or "
            "split/class/picture with the splits train, val and test."
        )
    return splits


def _chosen(splits: dict[str, Classes], split: str, path: Path) -> Classes:
    """Return the classes of one split, in the order of their names."""
    classes = {name: group for part in splits.values() for name, group in part.items()}
    if split == "all":
        return dict(sorted(classes.items()))
    if "" not in splits:
        if split not in splits:
            raise MinimetaError(
                f"{path} has no folder {split} with classes, only {', '.join(splits)}; make one, or say "
                "split='all'."
            )
        return dict(sorted(splits[split].items()))
    names = divide(list(classes))[split]
    if not names:
        raise MinimetaError(
            f"{path} has {len(classes)} classes, too few to divide into train, val and test; add "
            "classes, or say split='all'."
        )
    return {name: classes[name] for name in names}


def _common_side(shapes: Counter[tuple[int, int]], path: Path) -> int:
    (columns, rows), _ = shapes.most_common(1)[0]
    if len(shapes) == 1 and columns == rows:
        return rows
    met = ", ".join(f"{n} of {w}x{h}" for (w, h), n in shapes.most_common(3))
    more = f" and {len(shapes) - 3} other sizes" * (len(shapes) > 3)
    raise MinimetaError(
        f"the pictures in {path} are not of one square size ({met}{more}); say size=84, or another "
        "side in pixels, to resize them."
    )
