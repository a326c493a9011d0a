"""Pictures in a folder or a zip: which there are, and their pixels.

A picture is a file that ends as in `ENDINGS`. It becomes grey if its mode in Pillow has no colour (a
palette counts as colour), else RGB, with 8 bits a channel: transparency is laid on white, 16 bits are
rounded to 8, a camera's turn (EXIF) is undone, and a film gives its first picture.
"""

import io
import os
import unicodedata
import warnings
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path, PureWindowsPath
from typing import IO, NamedTuple

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from minimeta.errors import MinimetaError

ENDINGS = tuple(".jpg .jpeg .png .bmp .gif .tif .tiff .webp .ppm .pgm .pbm".split())
LITTER = ("__MACOSX", "@eaDir", "lost+found", "$RECYCLE.BIN", "System Volume Information")
GREY = ("1", "L", "LA", "I", "I;16", "I;16L", "I;16B", "I;16N", "F")
DEEPEST = 5  # folders below the root that are looked into: more than any layout has
Parts = tuple[str, ...]


class Picture(NamedTuple):
    """A picture file: its path from the root part by part, how to open it, how to name it."""

    parts: Parts
    open: Callable[[], IO[bytes]]
    where: str


@contextmanager
def opened(path: Path) -> Iterator[tuple[list[Picture], set[Parts]]]:
    """List the pictures and the folders in a folder or a zip, for reading within the block.

    Hidden files and folders, and what other systems leave behind (`LITTER`), are left out. Names are
    brought to Unicode's composed form (NFC), since macOS writes them decomposed.
    """
    if path.is_dir():
        yield _visible(path, _walk(path))
        return
    if not path.exists():
        raise MinimetaError(f"there is no folder or zip {path}; check the path.")
    try:
        archive = zipfile.ZipFile(path)
    except (OSError, zipfile.BadZipFile) as error:
        raise MinimetaError(
            f"{path} is neither a folder nor a zip that can be read ({error}); give one of the two."
        ) from error
    with archive:
        yield _visible(path, _members(path, archive))


Found = tuple[Parts, Callable[[], IO[bytes]] | None]  # no way to open: a folder


def _walk(root: Path) -> Iterator[Found]:
    def refuse(error: OSError) -> None:
        raise MinimetaError(f"{error.filename} cannot be listed ({error.strerror}); allow it.")

    for here, folders, files in os.walk(root, onerror=refuse, followlinks=True):
        parts = Path(here).relative_to(root).parts
        # links may go in circles, and what is left out may be closed to us
        deep = len(parts) == DEEPEST
        folders[:] = [name for name in folders if not deep and not _left_out(name)]
        yield from (((*parts, name), None) for name in folders)
        yield from (((*parts, name), partial(open_bytes, Path(here, name))) for name in files)


def open_bytes(file: Path) -> IO[bytes]:
    """Open a file as its bytes."""
    return open(file, "rb")


def _members(path: Path, archive: zipfile.ZipFile) -> Iterator[Found]:
    for name in dict.fromkeys(archive.namelist()):
        info = archive.getinfo(name)  # of files with one name the last, as when unpacking
        if not info.flag_bits & 0x800:  # not marked as UTF-8, which macOS's zips are nevertheless
            try:
                name = name.encode("cp437").decode("utf-8")
            except UnicodeError:
                pass
        inside = PureWindowsPath(name)  # splits at / and \
        if inside.anchor or ".." in inside.parts:
            raise MinimetaError(
                f"{path} holds a file named {name!r}, which points outside the zip; do not trust it, or "
                "make it again with plain names."
            )
        yield inside.parts, None if info.is_dir() else partial(archive.open, info)


def _left_out(name: str) -> bool:
    return name.startswith(".") or name in LITTER


def _visible(path: Path, found: Iterator[Found]) -> tuple[list[Picture], set[Parts]]:
    pictures, folders = [], set()
    for raw, way in found:
        parts = tuple(unicodedata.normalize("NFC", part) for part in raw)
        if any(map(_left_out, parts)):
            continue
        folders |= {parts[:i] for i in range(1, len(parts) + (way is None))}
        if way is not None and parts[-1].lower().endswith(ENDINGS):
            pictures.append(Picture(parts, way, f"{'/'.join(raw)} in {path}"))
    return sorted(pictures, key=lambda picture: (picture.parts, picture.where)), folders


def header(picture: Picture) -> tuple[bool, tuple[int, int]]:
    """Return whether the picture is grey, and its columns and rows, without decoding it."""
    with _naming(picture.where), picture.open() as file, Image.open(file) as image:
        return image.mode in GREY, image.size


def pixels(picture: Picture, *, channels: int, size: int) -> np.ndarray:
    """Return the picture, grey for one channel, resized: uint8 (channels, size, size)."""
    with _naming(picture.where), picture.open() as file:
        whole = io.BytesIO(file.read())  # all of it, so that a zip compares its checksum
        with Image.open(whole) as image:
            plain = eight_bit(ImageOps.exif_transpose(image)).convert(
                "L" if channels == 1 else "RGB"
            )
    if plain.size != (size, size):
        plain = plain.resize((size, size), Image.Resampling.LANCZOS)
    return levels(plain)


def levels(image: Image.Image) -> np.ndarray:
    """Return a Pillow image as uint8, (1, rows, columns) if it is grey, else (3, rows, columns).

    >>> levels(Image.new("RGB", (4, 3), "red")).shape, int(levels(Image.new("1", (4, 3), 1)).max())
    ((3, 3, 4), 255)
    """
    array = np.asarray(eight_bit(image))
    return array[None] if array.ndim == 2 else array.transpose(2, 0, 1)


def eight_bit(image: Image.Image) -> Image.Image:
    """Return the image in mode ``"L"`` if it is grey, else ``"RGB"``, without transparency."""
    mode = "L" if image.mode in GREY else "RGB"
    if image.mode[0] in "IF":
        wide = np.asarray(image)
        if wide.dtype.kind not in "ui" or wide.min() < 0 or wide.max() > 65535:
            raise MinimetaError(
                f"mode {image.mode} with levels from {wide.min()} to {wide.max()} has no known white; "
                "save it with 8 or 16 bits."
            )
        return Image.fromarray(np.rint(wide / 257).astype(np.uint8))
    if "A" in image.getbands() or "transparency" in image.info:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    return image.convert(mode)


@contextmanager
def no_warnings() -> Iterator[None]:
    """Keep Pillow's warnings from the user; only that of an enormous picture counts, as an error.

    Set once around all threads: Python's warning filters belong to the whole process.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        yield


@contextmanager
def _naming(where: str) -> Iterator[None]:
    try:
        yield
    except (Image.DecompressionBombWarning, Image.DecompressionBombError) as error:
        raise MinimetaError(
            f"{where} has more than {Image.MAX_IMAGE_PIXELS:,} pixels, Pillow's limit; make it smaller "
            "or leave it out."
        ) from error
    except Exception as error:  # a decoder fails with whatever it stumbles over
        unknown = isinstance(error, UnidentifiedImageError)
        reason = "its bytes are no format that Pillow knows" if unknown else f"{error}".rstrip(".")
        raise MinimetaError(
            f"{where} cannot be read as a picture ({reason}); repair it or leave it out."
        ) from error
