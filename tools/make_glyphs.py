"""Make the embedded data set *glyphs*: letters x typefaces, 24 drawings a letter.

Every letter of five scripts that all twelve DejaVu text faces can draw is drawn twice in each face,
each time with a small seeded distortion of its own. Letters that look alike are thinned out first,
so that no class is another one's picture under a second name. One command writes the class list,
the drawings and the licence (one minute on one core)::

    python tools/make_glyphs.py
    python tools/make_glyphs.py --pairs pairs.png   # only draw letter pairs around the thresholds

It needs numpy, Pillow (for FreeType) and matplotlib (for its copy of the DejaVu fonts). The same
versions give the same bytes; they stand in the first line of the class list.
"""

import argparse
import io
import lzma
import unicodedata
from collections import Counter
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import matplotlib
import numpy as np
from matplotlib.ft2font import FT2Font
from PIL import Image, ImageDraw, ImageFont, features
from PIL import __version__ as pillow_version

DATA = Path(__file__).resolve().parents[1] / "minimeta" / "data"
FONTS = Path(matplotlib.get_data_path()) / "fonts" / "ttf"
SANS_STYLES = ("", "-Bold", "-Oblique", "-BoldOblique")
FACES = (
    *(f"DejaVuSans{style}" for style in SANS_STYLES),
    *(f"DejaVuSansMono{style}" for style in SANS_STYLES),
    *(f"DejaVuSerif{style}" for style in ("", "-Bold", "-Italic", "-BoldItalic")),
)
SPLITS = {"LATIN": "train", "CYRILLIC": "train", "ARMENIAN": "val", "GREEK": "test", "GEORGIAN": "test"}  # fmt: skip

SIDE = 28  # pixels a side
FINE = 4  # a letter is drawn and warped FINE times larger, then averaged down
EM = 23.0  # font size in pixels: capitals are about 17 pixels high, small letters about 13
BOX = 21.0  # one size for all keeps o smaller than O; only a letter larger than this is shrunk

COPIES = 2  # drawings of a letter in each face; each draws its distortion from these:
SEED = 0
ROTATION = 12.0  # degrees, at most
SHEAR = 0.15  # at most
SCALE = 0.12  # log of the stretch along each axis, at most
SHIFT = 1.5  # pixels, at most
WAVE = 0.4  # pixels: standard deviation of each of the nine cosine waves of the elastic warp
LEVELS = 16  # grey levels kept

# Two letters look alike when their ink differs by less than this many pixels (see `ink_gap`). About
# 3 still merges one accent with another and keeps a bare letter apart from an accented one; across
# splits the bar is higher, so that most accented twins (Latin î, Greek ἲ) go as well.
LOOK_ALIKE = 3.0
LOOK_ALIKE_ACROSS_SPLITS = 6.0


@dataclass(frozen=True)
class Letter:
    """One code point; script and split follow from its Unicode name.

    >>> Letter(0x416).script, Letter(0x416).split
    ('CYRILLIC', 'train')
    """

    codepoint: int

    @property
    def text(self) -> str:
        """The letter itself."""
        return chr(self.codepoint)

    @property
    def name(self) -> str:
        """The Unicode name."""
        return unicodedata.name(self.text)

    @property
    def script(self) -> str:
        """The first word of the name."""
        return self.name.split()[0]

    @property
    def split(self) -> str:
        """Train, val or test."""
        return SPLITS[self.script]


def candidates() -> list[Letter]:
    """Return the letters of the five scripts that every face has, by code point.

    Left out are modifier letters (category Lm) and code points that Unicode itself maps to other
    letters (NFKC: ligatures, digraphs, the long s, the Greek symbol forms, the ohm sign).
    """
    tables = [FT2Font(str(FONTS / f"{face}.ttf")).get_charmap() for face in FACES]
    shared = set.intersection(*({code for code, glyph in t.items() if glyph} for t in tables))
    letters = []
    for code in sorted(shared):
        text = chr(code)
        itself = unicodedata.normalize("NFKC", text) == text
        if unicodedata.category(text) in ("Lu", "Ll", "Lt", "Lo") and itself:
            letters.append(Letter(code))
    return [letter for letter in letters if letter.script in SPLITS]


@cache
def font(face: str, size: float) -> ImageFont.FreeTypeFont:
    """Open a face at ``size`` pixels an em."""
    basic = ImageFont.Layout.BASIC
    return ImageFont.truetype(str(FONTS / f"{face}.ttf"), size, layout_engine=basic)


def draw(letter: Letter, face: str) -> np.ndarray:
    """Draw the letter undistorted with its ink box centred: (SIDE * FINE, SIDE * FINE), ink = 1."""
    size, room = EM * FINE, BOX * FINE
    left, top, right, bottom = font(face, size).getbbox(letter.text)
    if max(right - left, bottom - top) > room:
        size *= room / max(right - left, bottom - top)
        left, top, right, bottom = font(face, size).getbbox(letter.text)
    corner = ((SIDE * FINE - right - left) // 2, (SIDE * FINE - bottom - top) // 2)
    canvas = Image.new("L", (SIDE * FINE, SIDE * FINE))
    ImageDraw.Draw(canvas).text(corner, letter.text, fill=255, font=font(face, size))
    return np.asarray(canvas, dtype=np.float64) / 255


def shrink(fine: np.ndarray) -> np.ndarray:
    """Average FINE x FINE blocks: (SIDE, SIDE)."""
    return fine.reshape(SIDE, FINE, SIDE, FINE).mean(axis=(1, 3))


def warp(fine: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Rotate, shear, stretch, shift and bend a drawing; same shape, bilinear."""
    n = SIDE * FINE
    angle = np.deg2rad(rng.uniform(-ROTATION, ROTATION))
    rotate = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    shear = np.array([[1.0, 0.0], [rng.uniform(-SHEAR, SHEAR), 1.0]])
    stretch = np.diag(np.exp(rng.uniform(-SCALE, SCALE, 2)))
    shift = rng.uniform(-SHIFT, SHIFT, (2, 1, 1)) * FINE
    waves = rng.normal(0.0, WAVE * FINE, (2, 3, 3))

    cosines = np.cos(np.pi * np.outer([1, 2, 3], (np.arange(n) + 0.5) / n))
    bend = np.einsum("dij,iy,jx->dyx", waves, cosines, cosines)
    centre = (n - 1) / 2
    target = np.indices((n, n)) - centre
    back = np.linalg.inv(stretch @ shear @ rotate)  # each target pixel asks where it came from
    source = np.einsum("ij,jyx->iyx", back, target - shift) + bend + centre

    padded = np.pad(fine, 1)  # blank paper around, which everything outside is clipped to
    source = np.clip(source + 1, 0, n + 0.999)
    (y, x), (v, u) = source.astype(int), source % 1
    upper = padded[y, x] * (1 - u) + padded[y, x + 1] * u
    lower = padded[y + 1, x] * (1 - u) + padded[y + 1, x + 1] * u
    return upper * (1 - v) + lower * v


def draw_class(letter: Letter) -> np.ndarray:
    """All drawings of a letter as grey levels: uint8, (len(FACES) * COPIES, SIDE, SIDE)."""
    drawings = []
    for number, face in enumerate(FACES):
        fine = draw(letter, face)
        for copy in range(COPIES):
            # one stream a drawing: a class comes out the same whatever else is drawn
            rng = np.random.default_rng([SEED, letter.codepoint, number, copy])
            drawings.append(shrink(warp(fine, rng)))
    return np.rint(np.stack(drawings) * (LEVELS - 1)).astype(np.uint8)


def plain(letters: list[Letter]) -> np.ndarray:
    """Undistorted drawings, slightly blurred: float32, (C, len(FACES), SIDE, SIDE)."""
    ink = np.array([[shrink(draw(letter, face)) for face in FACES] for letter in letters])
    for axis in (2, 3):  # the blur forgives an edge that is half a pixel off
        ink = (np.roll(ink, 1, axis) + 2 * ink + np.roll(ink, -1, axis)) / 4
    return ink.astype(np.float32)


def ink_gap(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """By how many pixels of ink each letter of ``a`` differs from each letter of ``b``.

    The sum of squared differences of two blurred drawings in one face, smallest over shifts by up
    to three rows and two columns, averaged over the faces.

    Parameters
    ----------
    a, b
        (A, F, SIDE, SIDE) and (B, F, SIDE, SIDE), from `plain`.

    Returns
    -------
    np.ndarray
        (A, B), pixels.
    """
    gap = np.zeros((len(a), len(b)), np.float32)
    for face in range(a.shape[1]):
        left, right = (x[:, face].reshape(len(x), -1) for x in (a, b))
        overlap = np.zeros_like(gap)
        for dy in range(-3, 4):
            for dx in range(-2, 3):  # BOX leaves a margin of three: no ink goes around the edge
                moved = np.roll(b[:, face], (dy, dx), (1, 2)).reshape(len(b), -1)
                np.maximum(overlap, left @ moved.T, out=overlap)
        gap += (left**2).sum(1)[:, None] + (right**2).sum(1)[None] - 2 * overlap
    return gap / a.shape[1]


def choose(letters: list[Letter], gap: np.ndarray) -> list[Letter]:
    """Drop look-alikes: of two, the one of train stays before test before val, then the lower code.

    Training classes choose first, so a Greek letter that looks like a Latin one is no test class.
    """
    rank = {"train": 0, "test": 1, "val": 2}
    kept: list[int] = []
    for i in sorted(range(len(letters)), key=lambda i: (rank[letters[i].split], i)):
        bars = [
            LOOK_ALIKE if letters[i].split == letters[j].split else LOOK_ALIKE_ACROSS_SPLITS
            for j in kept
        ]
        if np.all(gap[i, kept] >= bars):
            kept.append(i)
    order = ("train", "val", "test")
    return [letters[i] for i in sorted(kept, key=lambda i: (order.index(letters[i].split), i))]


def made_with() -> str:
    """One line: what decides the bytes besides this file."""
    version = FT2Font(str(FONTS / f"{FACES[0]}.ttf")).get_sfnt()[(1, 0, 0, 5)].decode()
    return (
        f"seed {SEED}, DejaVu {version}, FreeType {features.version('freetype2')}, "
        f"Pillow {pillow_version}, numpy {np.__version__}"
    )


def write_pairs(path: Path, plains: np.ndarray, gap: np.ndarray) -> None:
    """Draw 28 letter pairs a row (one sans, mono and serif face) nearest to each gap 1, 2, ... 8."""
    first, second = np.triu_indices(len(gap), 1)
    rows = []
    for level in range(1, 9):
        near = np.argsort(np.abs(gap[first, second] - level))[:28]
        ink = np.concatenate([plains[first[near]], plains[second[near]]], axis=3)[:, [0, 6, 8]]
        cells = [np.pad(cell.reshape(-1, 2 * SIDE), 2, constant_values=0.5) for cell in ink]
        rows.append(np.concatenate(cells, axis=1))
    sheet = 255 - 255 * np.clip(np.concatenate(rows), 0, 1)
    Image.fromarray(sheet.astype(np.uint8)).save(path)


def write(letters: list[Letter]) -> None:
    """Write the class list, the drawings (two grey levels a byte, xz) and the licence."""
    lines = [f"# made by tools/make_glyphs.py with {made_with()}", "codepoint\tletter\tname\tscript\tsplit"]  # fmt: skip
    for a in letters:
        lines.append(f"U+{a.codepoint:04X}\t{a.text}\t{a.name}\t{a.script}\t{a.split}")
    (DATA / "splits" / "glyphs.tsv").write_text("\n".join(lines) + "\n", encoding="utf-8")

    levels = np.stack([draw_class(letter) for letter in letters])  # (C, 24, 28, 28)
    buffer = io.BytesIO()
    # a byte holds two rows' pixels: xz then sees the neighbour above and the one to the left
    np.save(buffer, levels[:, :, 0::2] << 4 | levels[:, :, 1::2], allow_pickle=False)
    filters = [{"id": lzma.FILTER_LZMA2, "preset": 9, "dict_size": 1 << 24, "lc": 4, "lp": 0, "pb": 0}]  # fmt: skip
    (DATA / "glyphs.npy.xz").write_bytes(lzma.compress(buffer.getvalue(), filters=filters))

    licence = (FONTS / "LICENSE_DEJAVU").read_text(encoding="utf-8")
    (DATA / "glyphs_LICENSE.txt").write_text(
        "glyphs.npy.xz holds drawings of letters of the DejaVu fonts, whose licence follows. What was\n"
        "changed: the letters were rendered as small grey pictures, distorted, and reduced to 16\n"
        "levels of grey; no font is included.\n\n" + licence,
        encoding="utf-8",
    )


def main() -> None:
    """Choose the letters, write the files, print the counts."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--pairs", type=Path, help="draw letter pairs by ink gap and stop")
    pairs = parser.parse_args().pairs
    letters = candidates()
    plains = plain(letters)
    gap = ink_gap(plains, plains)
    if pairs:
        return write_pairs(pairs, plains, gap)
    chosen = choose(letters, gap)
    write(chosen)
    before, after = (Counter(a.script for a in group) for group in (letters, chosen))
    for script, split in SPLITS.items():
        print(f"{split:5} {script:8} {after[script]:4} of {before[script]:4} letters")
    size = (DATA / "glyphs.npy.xz").stat().st_size
    print(f"{len(chosen)} of {len(letters)} letters, {len(FACES) * COPIES} drawings each, {size:,} bytes")  # fmt: skip
    print(made_with())


if __name__ == "__main__":
    main()
