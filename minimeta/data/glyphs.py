"""Glyphs: the letters of five scripts, each drawn 24 times; the data set inside the package.

A class is a letter. Its drawings are the twelve DejaVu text faces (sans, mono and serif, each in
four styles) times two fixed random distortions: 28 x 28, grey, ink = 1. Training, validation and
test use different scripts, so a test task shows letters of an alphabet never seen before: train is
Latin and Cyrillic, val Armenian, test Greek and Georgian. Letters that look alike, such as Latin A,
Cyrillic А and Greek Α, are kept once, in train before test before val.

``splits/glyphs.tsv`` lists the classes and their splits in the order of the drawings;
``glyphs.npy.xz`` holds the drawings; ``glyphs_LICENSE.txt`` is the licence of the DejaVu fonts.
All three are written by ``python tools/make_glyphs.py``, which also says what "alike" means.
"""

import csv
import io
import lzma
from importlib.resources import files

import numpy as np
import torch

from minimeta.data.pool import ClassPool
from minimeta.errors import MinimetaError

SOURCE = {
    "citation": "letters of the DejaVu fonts, drawn by tools/make_glyphs.py",
    "licence": "the DejaVu fonts' (Bitstream Vera and Arev), see glyphs_LICENSE.txt",
    "url": "https://dejavu-fonts.github.io",
}
PACKAGE = files("minimeta.data")


def classes() -> list[dict[str, str]]:
    """Return the class list, in the order of the drawings.

    Returns
    -------
    list of dict
        One a class, with the keys codepoint, letter, name, script and split.

    Examples
    --------
    >>> [c["name"] for c in classes() if c["letter"] == "Ж"]
    ['CYRILLIC CAPITAL LETTER ZHE']
    """
    text = (PACKAGE / "splits" / "glyphs.tsv").read_text(encoding="utf-8")
    rows = [line for line in text.splitlines() if not line.startswith("#")]
    return list(csv.DictReader(rows, delimiter="\t"))


def levels() -> np.ndarray:
    """Return all drawings as grey levels.

    Returns
    -------
    np.ndarray
        uint8, (classes, 24, 28, 28): 0 is paper, 15 is ink. Drawing 2 f + d is distortion d of
        face f.

    Examples
    --------
    >>> levels().shape[1:], int(levels().max())
    ((24, 28, 28), 15)
    """
    file = io.BytesIO(lzma.decompress((PACKAGE / "glyphs.npy.xz").read_bytes()))
    packed = np.load(file, allow_pickle=False)  # (C, 24, 14, 28): two rows' pixels in a byte
    return np.stack([packed >> 4, packed & 15], axis=3).reshape(*packed.shape[:2], 28, 28)


def load(split: str) -> ClassPool:
    """Return one split's letters, 24 drawings each, as a pool of classes.

    Parameters
    ----------
    split
        ``"train"``, ``"val"`` or ``"test"``.

    Returns
    -------
    ClassPool
        Items float32, (24 classes, 1, 28, 28) in [0, 1], ink = 1; names such as ``"Ж U+0416"``.

    Examples
    --------
    >>> pool = load("test")
    >>> pool.item_shape, set(pool.sizes.tolist()), pool.names[0]
    ((1, 28, 28), {24}, 'Ή U+0389')
    """
    letters = classes()
    rows = [i for i, letter in enumerate(letters) if letter["split"] == split]
    if not rows:
        known = ", ".join(dict.fromkeys(letter["split"] for letter in letters))
        raise MinimetaError(
            f"glyphs has no split {split!r}; its splits are {known}, so give one of those."
        )
    drawings = levels()[rows]  # (C, 24, 28, 28)
    return ClassPool(
        torch.from_numpy(drawings.reshape(-1, 1, 28, 28)).float() / 15,
        torch.full((len(rows),), drawings.shape[1]),
        tuple(f"{letters[i]['letter']} {letters[i]['codepoint']}" for i in rows),
    )
