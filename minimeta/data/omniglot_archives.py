"""From Omniglot's official archives to the arrays that ``minimeta.data.omniglot`` reads.

The archives hold one small 1-bit png a drawing, called
``images_background/<Alphabet>/character<NN>/<character id>_<drawer>.png``. Nothing is unpacked to
the disk. The splits come from two tables in the package, never from the order of a listing.
"""

import csv
import io
import re
from collections.abc import Sequence
from pathlib import Path
from zipfile import BadZipFile, ZipFile

import numpy as np

from minimeta.errors import MinimetaError

_URL = "https://github.com/brendenlake/omniglot/raw/master/python/"
ARCHIVES = {  # address: checksum
    _URL + "images_background.zip": "md5:68d2efa1b9178cc56df9314c21c6e718",
    _URL + "images_evaluation.zip": "md5:6b91aef0f799c5bb55b94e3f2daec811",
}
SIDE = 105  # pixels
DRAWERS = 20
TABLES = Path(__file__).parent / "splits"
MEMBER = re.compile(r"images_(\w+)/([^/]+)/character(\d\d)/(\d{4})_(\d\d)\.png")
SETS = ("background", "evaluation")
VINYALS = ("train", "val", "test")

Drawings = dict[tuple[int, int], np.ndarray]  # (character id, drawer) -> packed bits


def prepare(archives: Sequence[Path], *, complete: bool = True) -> dict[str, np.ndarray]:
    """Turn the official archives into the arrays of ``omniglot_105.npz``.

    Characters are ordered by set (background first), alphabet and number; C = 1,623, D = 20.

    Parameters
    ----------
    archives
        Paths of ``images_background.zip`` and ``images_evaluation.zip``.
    complete
        Whether every one of the 1,623 characters must be there, by 20 drawers. False lets an
        excerpt through; items of Lake's runs that it lacks get the index -1.

    Returns
    -------
    dict
        - images uint8 (C, D, 1379): 105 x 105 bits, row by row (``np.packbits``), 1 = ink
        - alphabets str (50,), alphabet uint8 (C,) indexes it
        - character uint8 (C,): its number in the alphabet; char_id uint16 (C,): the official id
        - split uint8 (C,): 0 background, 1 evaluation; vinyals_split uint8 (C,): 0 train, 1 val,
          2 test
        - oneshot_train, oneshot_test int16 (20, 20, 2): (character, drawer), from 0, of each item
          of Lake's 20 runs; oneshot_label uint8 (20, 20): the right item for each test item

    Raises
    ------
    MinimetaError
        If a drawing is missing, doubled or unknown, or is no 105 x 105 picture of 1 bit.
    """
    listed = {int(row["char_id"]): row for row in _table("omniglot.tsv")}  # in the final order
    drawings: Drawings = {}
    for archive in archives:
        _add(archive, listed, drawings)
    present = {char_id for char_id, _ in drawings}
    ids = [char_id for char_id in listed if complete or char_id in present]
    drawers = DRAWERS if complete else max((drawer for _, drawer in drawings), default=0)
    wanted = [(char_id, drawer) for char_id in ids for drawer in range(1, drawers + 1)]
    if missing := [key for key in wanted if key not in drawings]:
        row = listed[missing[0][0]]
        raise MinimetaError(
            f"{len(missing)} of {len(wanted)} drawings are missing, the first one by drawer "
            f"{missing[0][1]} of {row['alphabet']}/character{row['character']}; "
            "give images_background.zip and images_evaluation.zip, both whole."
        )
    if not wanted:
        raise MinimetaError(
            f"no drawings in {[str(a) for a in archives]}; give Omniglot's two archives."
        )
    rows = [listed[i] for i in ids]
    alphabets = list(dict.fromkeys(row["alphabet"] for row in rows))
    images = [[drawings[i, d] for d in range(1, drawers + 1)] for i in ids]  # C x D
    return {
        "images": np.array(images, np.uint8),
        "alphabets": np.array(alphabets),
        "alphabet": np.array([alphabets.index(row["alphabet"]) for row in rows], np.uint8),
        "character": np.array([row["character"] for row in rows]).astype(np.uint8),
        "char_id": np.array(ids, np.uint16),
        "split": np.array([SETS.index(row["set"]) for row in rows], np.uint8),
        "vinyals_split": np.array([VINYALS.index(row["vinyals"]) for row in rows], np.uint8),
        **_lake_runs(ids),
    }


def _add(archive: Path, listed: dict[int, dict[str, str]], drawings: Drawings) -> None:
    """Read every drawing of one archive into ``drawings``."""
    try:
        with ZipFile(archive) as file:
            for member in file.namelist():
                # macOS puts a shadow beside each file
                if not member.endswith(".png") or member.startswith("__MACOSX/"):
                    continue
                key = _key(member, listed)
                if key in drawings:
                    raise MinimetaError(f"{member} is there twice; give each archive once.")
                drawings[key] = _bits(file.read(member), member)
    except (OSError, BadZipFile) as error:
        raise MinimetaError(
            f"{archive} is no readable zip file ({error}); download it again."
        ) from error


def _key(member: str, listed: dict[int, dict[str, str]]) -> tuple[int, int]:
    """Return (character id, drawer) of a file name that agrees with the table."""
    match = MEMBER.fullmatch(member)
    if match:
        place, char_id, drawer = match.groups()[:3], int(match[4]), int(match[5])
        row = listed.get(char_id, {})
        known = tuple(row.get(column) for column in ("set", "alphabet", "character"))
        if place == known and 1 <= drawer <= DRAWERS:
            return char_id, drawer
    raise MinimetaError(
        f"{member} is none of Omniglot's {len(listed)} x {DRAWERS} drawings; use the archives "
        "images_background.zip and images_evaluation.zip as they are."
    )


def _bits(content: bytes, member: str) -> np.ndarray:
    """Decode one png to packed bits, 1 = ink."""
    try:
        from PIL import Image
    except ImportError as error:
        raise MinimetaError(
            "reading Omniglot's pictures needs Pillow, which is not installed; run "
            "`pip install pillow`."
        ) from error
    try:
        with Image.open(io.BytesIO(content), formats=["PNG"]) as picture:
            if (picture.mode, picture.size) != ("1", (SIDE, SIDE)):
                raise MinimetaError(
                    f"{member} has mode {picture.mode} and size {picture.size}; a drawing has "
                    f"mode 1 (black and white) and size {SIDE, SIDE}."
                )
            return np.packbits(~np.asarray(picture))  # the files have black ink, False
    except (OSError, SyntaxError) as error:  # Pillow's words for a damaged picture
        raise MinimetaError(
            f"{member} is no readable png file ({error}); download its archive again."
        ) from error


def _lake_runs(ids: list[int]) -> dict[str, np.ndarray]:
    index = {char_id: i for i, char_id in enumerate(ids)}
    table = _table("omniglot_runs.tsv")

    def pairs(part: str) -> np.ndarray:
        found = [
            (index.get(int(row[f"{part}_id"]), -1), int(row[f"{part}_drawer"]) - 1) for row in table
        ]
        return np.array(found, np.int16).reshape(20, 20, 2)  # run, item, (character, drawer)

    labels = np.array([int(row["label"]) for row in table], np.uint8).reshape(20, 20)
    return {"oneshot_train": pairs("train"), "oneshot_test": pairs("test"), "oneshot_label": labels}


def _table(name: str) -> list[dict[str, str]]:
    """Read one of the package's tables: # comments, column names, tab-separated values."""
    with open(TABLES / name, encoding="utf-8", newline="") as file:
        lines = (line for line in file if not line.startswith("#"))
        return list(csv.DictReader(lines, delimiter="\t"))
